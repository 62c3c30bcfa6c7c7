//! Records were gone before they were read, and the operator accepted that.
//!
//! It stays as long as the process runs that stepped over them.

use super::{Kind, Signs};
use crate::conditions::{Patience, Sign, View};

/// See the module.
pub const KIND: Kind = Kind {
    code: "data_lost",
    level: 1,
    advice: "核对证据中的分区与偏移量，从上游补传该时段数据；延长主题保留时间",
    patience: Patience::seconds(0, 10),
    signs,
};

fn signs(view: &View<'_>) -> Signs {
    view.sight.lost.iter().map(|(partition, gone)| (partition.clone(), Sign::Bad(gone.clone()))).collect()
}
