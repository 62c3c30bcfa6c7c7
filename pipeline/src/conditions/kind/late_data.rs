//! Readings of an enterprise come after their windows have closed: they are stored and flagged, and revise nothing.

use super::{Kind, Signs};
use crate::conditions::{Patience, Sign, View};

/// See the module.
pub const KIND: Kind = Kind {
    code: "late_data",
    level: 3,
    advice: "核查该企业的上传链路与补传；需要计入统计时，延长 rules.day_lateness_hours 后回放该时段数据",
    patience: Patience::seconds(0, 10),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    let late = view.sight.late.iter().filter(|_| view.live);
    late.map(|(enterprise, readings)| (enterprise.clone(), sign(enterprise, *readings))).collect()
}

fn sign(enterprise: &str, readings: u64) -> Sign {
    if readings == 0 {
        return Sign::Good;
    }
    let whose = if enterprise.is_empty() { "facilities without an enterprise" } else { enterprise };
    let least = at_least(readings);
    Sign::Growing(format!(
        "at least {least} readings of {whose} came after their windows had closed: they are stored and flagged, and revise \
         nothing; see beyond_revision in the table quality"
    ))
}

/// The greatest of 1, 2, 5, 10, 20, 50, … that is not more: each that is reached is told, and nothing between.
fn at_least(readings: u64) -> u64 {
    let ten = 10_u64.pow(readings.ilog10());
    [5, 2].into_iter().map(|step| step * ten).find(|step| *step <= readings).unwrap_or(ten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_in_steps() {
        assert_eq!(
            [1, 2, 4, 5, 9, 10, 19, 20, 499, 500, 12_345].map(at_least),
            [1, 2, 2, 5, 5, 10, 10, 20, 200, 500, 10_000]
        );
    }
}
