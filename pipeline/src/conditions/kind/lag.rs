//! The flow is behind its input.

use std::time::Duration;

use super::{Kind, Signs};
use crate::conditions::{Limits, Patience, Sign, View, input::TopicFlow};

/// See the module.
pub const KIND: Kind = Kind {
    code: "lag",
    level: 2,
    advice: "检查处理能力与各输出服务的速度；积压数据会自动补算，不会丢失",
    patience: Patience::seconds(10, 30),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    let topics = view.topics.iter().filter(|_| view.live);
    topics.map(|flow| (flow.topic.name().to_owned(), sign(flow, view))).collect()
}

fn sign(flow: &TopicFlow, view: &View<'_>) -> Sign {
    let Limits { lag_records, lag_seconds, .. } = view.limits;
    let allowed = Duration::from_secs(*lag_seconds);
    if view.away() {
        Sign::Unclear
    } else if flow.behind > *lag_records {
        Sign::Bad(format!("more than {lag_records} records are not read yet"))
    } else if flow.unread > allowed {
        Sign::Bad(format!("not read to its end for {lag_seconds} s"))
    } else if flow.behind <= lag_records / 2 && flow.unread <= allowed / 2 {
        Sign::Good
    } else {
        Sign::Unclear
    }
}
