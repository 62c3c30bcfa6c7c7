//! Chance without state: every number is a pure function of a seed, a stream and a counter.
//!
//! Nothing here remembers anything, so objects may be computed in any order, or skipped, and the rest stays the same.

/// SplitMix64's output function: a bijection of 64 bits whose results pass the usual tests of randomness.
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of chance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The root stream of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Dice(mix(seed))
    }

    /// An independent stream.
    pub(super) fn stream(self, key: u64) -> Self {
        Dice(mix(self.0 ^ mix(key)))
    }

    /// The bits at a place of the stream.
    pub(super) fn bits(self, n: u64) -> u64 {
        mix(self.0.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(self, n: u64) -> f64 {
        (self.bits(n) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub(super) fn between(self, n: u64, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit(n)
    }

    /// A whole number below `below`; 0 when `below` is 0.
    pub(super) fn below(self, n: u64, below: usize) -> usize {
        ((self.unit(n) * below as f64) as usize).min(below.saturating_sub(1))
    }

    /// Bell-shaped with mean 0 and standard deviation 1, never beyond ±3.47: the sum of four uniform numbers.
    pub(super) fn bell(self, n: u64) -> f64 {
        let bits = self.bits(n);
        let sum = (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
        (sum as f64 / 65_536.0 - 2.0) * 1.732_050_8
    }

    /// A smooth wandering curve within ±1: random values at multiples of a period, joined by cosines.
    pub(super) fn wander(self, periods: f64) -> f64 {
        let node = periods.floor();
        let blend = (1.0 - (std::f64::consts::PI * (periods - node)).cos()) / 2.0;
        let at = |n: f64| self.between(n as i64 as u64, -1.0, 1.0);
        at(node) * (1.0 - blend) + at(node + 1.0) * blend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_shape_they_claim() {
        let dice = Dice::new(7).stream(3);
        let n = 100_000u64;
        let mean = |f: &dyn Fn(u64) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        assert!((mean(&|i| dice.unit(i)) - 0.5).abs() < 0.01);
        assert!(mean(&|i| dice.bell(i)).abs() < 0.02);
        assert!((mean(&|i| dice.bell(i).powi(2)) - 1.0).abs() < 0.02);
        assert!((0..n).all(|i| dice.wander(i as f64 / 7.0).abs() <= 1.0));
    }

    #[test]
    fn streams_differ() {
        assert_ne!(Dice::new(1).bits(0), Dice::new(2).bits(0));
        assert_ne!(Dice::new(1).stream(1).bits(0), Dice::new(1).stream(2).bits(0));
    }
}
