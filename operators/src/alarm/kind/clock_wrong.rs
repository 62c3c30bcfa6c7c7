//! In contact and of no use: reports come, and their time cannot be true.

use schemas::time::SECOND;

use super::{Kind, Signal};
use crate::alarm::arrival::{Brought, describe, limits};

/// See the module.
pub const KIND: Kind = Kind {
    id: 2,
    code: "clock_wrong",
    meaning: "reports arrive and are refused for their time",
    advice: "设备在线但时钟错误：校准设备时钟，检查对时服务与时区设置",
    signal: Signal::Arrival {
        value: wrong,
        evidence: |rule, series, told| describe(rule, series, told, true),
    },
    limits,
};

/// How wrong the clock is, s; 0 when its time can be true.
fn wrong(brought: Brought) -> Option<f64> {
    Some(match brought {
        Brought::WrongTime(offset) => (offset.abs() / SECOND).max(1) as f64,
        Brought::Value | Brought::Nothing | Brought::Known => 0.0,
    })
}
