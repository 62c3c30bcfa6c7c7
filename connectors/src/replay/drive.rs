//! Files onto Kafka.

use std::{path::PathBuf, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use schemas::{RawValue, Report};
use tokio::sync::mpsc;

use super::{CsvRows, Mapping, Merge, RowReject};
use crate::{
    Error, Outgoing, Publisher,
    feed::{BATCH, Feed},
    pace::{Pace, Pacer},
};

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Rows read.
    pub rows: u64,
    /// Reports sent.
    pub reports: u64,
    /// Readings in them, those reported as not measured included.
    pub readings: u64,
    /// Of these, reported as not measured.
    pub missing: u64,
    /// Rows and single readings that could not be read and went to the rejects.
    pub rejects: u64,
}

/// Replays files through a mapping onto Kafka, merged by time, and returns once all is confirmed. `visible` shows a
/// progress bar on standard error.
///
/// # Errors
/// [`Error::Io`] or [`Error::Setting`] for a file that cannot be opened, or does not fit the mapping, before anything
/// is sent; else what Kafka answered after repeated attempts.
pub async fn run(
    files: &[PathBuf],
    mapping: &Mapping,
    publisher: Publisher,
    pace: Pace,
    visible: bool,
) -> Result<Replayed, Error> {
    let bar = progress(files, visible);
    let rows = files
        .iter()
        .map(|file| CsvRows::open(file, mapping, |opened| bar.wrap_read(opened)))
        .collect::<Result<Vec<_>, Error>>()?;
    let (sender, mut receiver) = mpsc::channel::<Vec<Result<Report, RowReject>>>(4);
    let reader = std::thread::spawn(move || read(Merge::new(rows), &sender, pace));
    let mut feed = Feed::new(publisher);
    let mut pacer = Pacer::new(pace);
    let mut sum = Replayed::default();
    let mut last = 0;
    while let Some(items) = receiver.recv().await {
        let mut batch = Vec::with_capacity(items.len());
        for item in items {
            sum.rows += u64::from(item.as_ref().err().is_none_or(|reject| reject.metric.is_none()));
            match item {
                Ok(report) => {
                    last = report.received_at;
                    sum.count(&report);
                    batch.push(Outgoing::Report(report));
                }
                Err(reject) => {
                    sum.rejects += 1;
                    batch.push(Outgoing::Reject(reject.into_reject(last)));
                }
            }
        }
        pacer.until(last).await;
        bar.set_message(format!("{} readings, {} rejects", sum.readings, sum.rejects));
        feed.send(batch).await?;
    }
    feed.settle().await?;
    bar.finish();
    // The reader ended when its channel closed.
    reader.join().map_or_else(|_| Err(ended()), |()| Ok(sum))
}

fn ended() -> Error {
    Error::Io { object: "thread that reads the files".to_owned(), source: std::io::Error::other("panicked") }
}

/// Reads in batches: large ones when speed counts, one row at a time when the pace does.
fn read(merge: Merge, sender: &mpsc::Sender<Vec<Result<Report, RowReject>>>, pace: Pace) {
    let size = if pace == Pace::Fastest { BATCH } else { 1 };
    let mut batch = Vec::with_capacity(size);
    for item in merge {
        batch.push(item);
        if batch.len() == size && sender.blocking_send(std::mem::take(&mut batch)).is_err() {
            return;
        }
    }
    if !batch.is_empty() {
        // A closed channel means that the driver has failed and says why itself.
        let _ = sender.blocking_send(batch);
    }
}

impl Replayed {
    fn count(&mut self, report: &Report) {
        self.reports += 1;
        self.readings += report.readings.len() as u64;
        self.missing += report.readings.iter().filter(|r| r.value == RawValue::Missing).count() as u64;
    }
}

fn progress(files: &[PathBuf], visible: bool) -> ProgressBar {
    if !visible {
        return ProgressBar::hidden();
    }
    let bytes = files.iter().filter_map(|file| std::fs::metadata(file).ok()).map(|m| m.len()).sum();
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {msg} ({eta} left)") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
