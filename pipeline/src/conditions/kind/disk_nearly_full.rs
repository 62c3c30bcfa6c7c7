//! A disk is nearly full.

use super::{Kind, Signs};
use crate::conditions::{Patience, Sign, View};

/// See the module.
pub const KIND: Kind = Kind {
    code: "disk_nearly_full",
    level: 2,
    advice: "清理该磁盘或扩容，避免写入失败",
    patience: Patience::seconds(10, 60),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    let free = view.sight.disk_free_percent.into_iter();
    free.map(|free| ("state".to_owned(), sign(free, view.limits.disk_free_percent))).collect()
}

fn sign(free: f64, limit: f64) -> Sign {
    if free < limit {
        Sign::Bad(format!("less than {limit} % of the disk of the state directory is free"))
    } else if free < limit * 1.2 {
        Sign::Unclear
    } else {
        Sign::Good
    }
}
