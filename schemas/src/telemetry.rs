//! Prometheus metrics, made in one way by every crate.

/// Metrics of the program, each made when it is first used, and `collectors`, which makes and gives all of them. Making
/// one fails only when its name is taken or malformed, which the first use in any test or start shows.
#[macro_export]
macro_rules! metrics {
    ($($(#[$doc:meta])* $visibility:vis $name:ident: $kind:ty = $make:expr;)*) => {
        $(
            $(#[$doc])*
            $visibility static $name: std::sync::LazyLock<$kind> =
                std::sync::LazyLock::new(|| $make.unwrap_or_else(|error| panic!("metric: {error}")));
        )*

        /// The metrics of this module.
        pub(crate) fn collectors() -> Vec<Box<dyn prometheus::core::Collector>> {
            vec![$(Box::new($name.clone()),)*]
        }
    };
}
