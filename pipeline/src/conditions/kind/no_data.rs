//! A topic has brought nothing for too long.
//!
//! Asked of the reports alone: the other topics are silent for days when all is well. A topic that never brought anything is
//! not silent, nor one that is not read to its end.

use std::time::Duration;

use schemas::Topic;

use super::{Kind, Signs};
use crate::conditions::{Patience, Sign, View, input::TopicFlow};

/// See the module.
pub const KIND: Kind = Kind {
    code: "no_data",
    level: 2,
    advice: "检查该主题的采集接入服务、上游平台与网络；恢复后自动继续处理",
    patience: Patience::seconds(0, 0),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    let topics = view.topics.iter().filter(|flow| view.live && flow.topic == Topic::Reports);
    topics.map(|flow| (flow.topic.name().to_owned(), sign(flow, view))).collect()
}

fn sign(flow: &TopicFlow, view: &View<'_>) -> Sign {
    let seconds = view.limits.no_data_seconds;
    if view.away() {
        Sign::Unclear
    } else if flow.came {
        Sign::Good
    } else if flow.quiet >= Duration::from_secs(seconds) && flow.behind == 0 && flow.high > 0 {
        Sign::Bad(format!("no record for {seconds} s"))
    } else {
        Sign::Unclear
    }
}
