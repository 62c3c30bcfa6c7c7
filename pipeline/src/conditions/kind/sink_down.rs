//! A sink does not take what it is given.
//!
//! A paused sink stops the binding of epochs after a while, so it is said at once.

use super::{Kind, Signs};
use crate::conditions::{Patience, Sign, View};

/// See the module.
pub const KIND: Kind = Kind {
    code: "sink_down",
    level: 1,
    advice: "检查该服务及其连接；恢复后数据自动补送，不会丢失",
    patience: Patience::seconds(0, 5),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    view.sight.sinks.iter().map(|(name, wrong)| (name.clone(), Sign::of(wrong.clone()))).collect()
}
