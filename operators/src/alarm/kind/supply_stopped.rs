//! A repair has stopped the supply of an area (T 2.15.4.8): somebody has said so, and says when heat flows again.

use schemas::{Event, Side};

use super::{Kind, Signal};
use crate::{
    Profile,
    alarm::{episode::Limits, matter::Matter},
};

/// See the module.
pub const KIND: Kind = Kind {
    id: 3,
    code: "supply_stopped",
    meaning: "a repair has stopped the supply of an area",
    advice: "跟踪抢修进度，通知受影响用户，恢复供热后上报结束时间",
    signal: Signal::Event(stopped),
    limits,
};

/// The area without heat, m².
fn stopped(event: &Event) -> Option<Matter> {
    let stopped = event.stopped_supply().ok().flatten()?;
    Some(Matter { from: event.at, until: stopped.until, value: stopped.area })
}

/// Faults are counted by the affected area: up to 1, up to 5 and more than 5 million m² (T 2.15.4.8), in whole m².
fn limits(_profile: &Profile, _device: &str) -> Limits {
    Limits::plain(Side::High, [Some(5_000_001.0), Some(1_000_001.0), Some(1.0)])
}
