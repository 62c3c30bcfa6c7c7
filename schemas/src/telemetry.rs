//! Prometheus metrics, made in one way by every crate.

/// A metric of the program, made when it is first used. Making it fails only when its name is taken or malformed, which
/// the first use in any test or start shows.
#[macro_export]
macro_rules! metric {
    ($(#[$doc:meta])* $visibility:vis $name:ident: $kind:ty = $make:expr) => {
        $(#[$doc])*
        $visibility static $name: std::sync::LazyLock<$kind> =
            std::sync::LazyLock::new(|| $make.unwrap_or_else(|error| panic!("metric: {error}")));
    };
}
