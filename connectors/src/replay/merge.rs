//! Several files as one, by time.

use std::{cmp::Reverse, collections::BinaryHeap};

use schemas::{Millis, Report};

use super::{CsvRows, RowReject};

/// The rows of several files, merged by `received_at`; of equal times the file given first goes first. Rows that cannot
/// be read come when their file gets to them. A file that is not sorted is not sorted here either.
pub struct Merge {
    files: Vec<CsvRows>,
    heads: Vec<Option<Report>>,
    order: BinaryHeap<Reverse<(Millis, usize)>>,
    /// Files whose next row is not read yet.
    unread: Vec<usize>,
}

impl Merge {
    /// Merges files.
    #[must_use]
    pub fn new(files: Vec<CsvRows>) -> Self {
        let unread = (0..files.len()).rev().collect();
        Merge { heads: files.iter().map(|_| None).collect(), files, order: BinaryHeap::new(), unread }
    }
}

impl Iterator for Merge {
    type Item = Result<Report, RowReject>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(index) = self.unread.pop() {
            match self.files[index].next() {
                Some(Ok(report)) => {
                    self.order.push(Reverse((report.received_at, index)));
                    self.heads[index] = Some(report);
                }
                Some(Err(reject)) => {
                    self.unread.push(index);
                    return Some(Err(reject));
                }
                None => {}
            }
        }
        let Reverse((_, index)) = self.order.pop()?;
        self.unread.push(index);
        self.heads[index].take().map(Ok)
    }
}
