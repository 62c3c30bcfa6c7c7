//! Clocks disagree.

use super::{Kind, Signs};
use crate::conditions::{Patience, Sign, View};

/// See the module.
pub const KIND: Kind = Kind {
    code: "clock_skew",
    level: 2,
    advice: "检查各服务器的时间同步（NTP）服务",
    patience: Patience::seconds(10, 30),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    let clock = || ("clock".to_owned(), Sign::of(view.sight.clock.clone()));
    view.live.then(clock).into_iter().collect()
}
