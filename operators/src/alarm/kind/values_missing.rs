//! In contact and of no use: reports come, and no usable value with them.

use super::{Kind, Signal};
use crate::alarm::arrival::{Brought, describe, limits};

/// See the module.
pub const KIND: Kind = Kind {
    id: 1,
    code: "values_missing",
    meaning: "reports arrive and hold no usable value",
    advice: "设备在线但无有效数据：检查传感器、接线与采集配置",
    signal: Signal::Arrival {
        value: missing,
        evidence: |rule, series, told| describe(rule, series, told, false),
    },
    limits,
};

/// 1 when values are missing; `None` where an arrival says nothing of that.
fn missing(brought: Brought) -> Option<f64> {
    match brought {
        Brought::Value => Some(0.0),
        Brought::Nothing => Some(1.0),
        Brought::Known | Brought::WrongTime(_) => None,
    }
}
