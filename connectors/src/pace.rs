//! How fast recorded or simulated time passes: as the data did, faster, or as fast as the receiver takes it.

use std::{str::FromStr, time::Duration};

use schemas::Millis;
use tokio::time::Instant;

/// A speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many seconds of the data per second; 1 is real time.
    Times(f64),
    /// As fast as the receiver acknowledges.
    Fastest,
}

impl FromStr for Pace {
    type Err = String;

    /// Reads `realtime`, `fastest`, `60` or `x60`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fastest" => return Ok(Pace::Fastest),
            "realtime" => return Ok(Pace::Times(1.0)),
            _ => {}
        }
        match text.trim_start_matches(['x', '×']).parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Pace::Times(times)),
            _ => Err(format!(
                "speed {text:?} is neither `realtime`, `fastest` nor a number above 0 such as `60`"
            )),
        }
    }
}

/// Holds data back until its turn.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    began: Option<(Instant, Millis)>,
}

impl Pacer {
    pub(crate) fn new(pace: Pace) -> Self {
        Pacer { pace, began: None }
    }

    /// Waits until `at` of the data has come. The first call begins the count.
    pub(crate) async fn until(&mut self, at: Millis) {
        let Pace::Times(times) = self.pace else { return };
        let (wall, first) = *self.began.get_or_insert_with(|| (Instant::now(), at));
        let seconds = (at - first).max(0) as f64 / 1_000.0 / times;
        tokio::time::sleep_until(wall + Duration::from_secs_f64(seconds)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("fastest", Some(Pace::Fastest))]
    #[case("realtime", Some(Pace::Times(1.0)))]
    #[case("x60", Some(Pace::Times(60.0)))]
    #[case("0.5", Some(Pace::Times(0.5)))]
    #[case("0", None)]
    #[case("x-1", None)]
    #[case("quick", None)]
    #[case("inf", None)]
    fn speeds_are_read(#[case] text: &str, #[case] want: Option<Pace>) {
        assert_eq!(text.parse::<Pace>().ok(), want);
    }
}
