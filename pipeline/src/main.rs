//! The binary `nuanliu`.
fn main() {}
