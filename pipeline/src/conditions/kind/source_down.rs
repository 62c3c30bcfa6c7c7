//! The brokers do not answer.

use super::{Kind, Signs};
use crate::conditions::{Patience, Sign, View};

/// See the module.
pub const KIND: Kind = Kind {
    code: "source_down",
    level: 1,
    advice: "检查 Kafka 服务及其连接；恢复后自动继续处理，期间时钟停走，不误报离线",
    patience: Patience::seconds(0, 10),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    let away = view.away().then(|| "the brokers do not say how far the input reaches".to_owned());
    vec![("kafka".to_owned(), Sign::of(away))]
}
