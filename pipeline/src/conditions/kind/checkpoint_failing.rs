//! Checkpoints cannot be written.

use super::{Kind, Signs};
use crate::conditions::{Patience, Sign, View};

/// See the module.
pub const KIND: Kind = Kind {
    code: "checkpoint_failing",
    level: 2,
    advice: "检查检查点存储的空间、权限与连接；在恢复之前重启耗时更长，数据不会丢失",
    patience: Patience::seconds(0, 30),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    vec![("checkpoints".to_owned(), Sign::of(view.sight.checkpoint.clone()))]
}
