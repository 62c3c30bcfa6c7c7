//! GCJ-02, the shifted datum of Chinese maps, and WGS-84.
//!
//! The shift is the published polynomial; its inverse is found by iteration, to less than a millimetre.

use std::f64::consts::PI;

/// Longitude and latitude in degrees.
pub type Position = (f64, f64);

/// Whether the position lies in the rectangle 73–135 °E, 3–54 °N.
#[must_use]
pub fn in_china((longitude, latitude): Position) -> bool {
    (73.0..=135.1).contains(&longitude) && (3.0..=54.0).contains(&latitude)
}

/// Semi-major axis in m and squared eccentricity of the Krasovsky ellipsoid.
const AXIS: f64 = 6_378_245.0;
const ECCENTRICITY_SQUARED: f64 = 0.006_693_421_622_965_943;

/// WGS-84 to GCJ-02; unchanged outside China.
#[must_use]
pub fn to_gcj02((longitude, latitude): Position) -> Position {
    if !in_china((longitude, latitude)) {
        return (longitude, latitude);
    }
    let (x, y) = (longitude - 105.0, latitude - 35.0);
    let waves = |a: f64, b: f64, c: f64, v: f64| {
        (20.0 * (6.0 * x * PI).sin() + 20.0 * (2.0 * x * PI).sin()) * 2.0 / 3.0
            + (20.0 * (v * PI).sin() + 40.0 * (v / 3.0 * PI).sin()) * 2.0 / 3.0
            + (a * (v / 12.0 * PI).sin() + b * (v / c * PI).sin()) * 2.0 / 3.0
    };
    let root = x.abs().sqrt();
    let north =
        -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + waves(160.0, 320.0, 30.0, y);
    let east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + waves(150.0, 300.0, 30.0, x);
    let sine = latitude.to_radians().sin();
    let flattened = 1.0 - ECCENTRICITY_SQUARED * sine * sine;
    let meridian = AXIS * (1.0 - ECCENTRICITY_SQUARED) / flattened.powf(1.5);
    let parallel = AXIS / flattened.sqrt() * latitude.to_radians().cos();
    (longitude + (east / parallel).to_degrees(), latitude + (north / meridian).to_degrees())
}

/// GCJ-02 to WGS-84.
#[must_use]
pub fn from_gcj02(shifted: Position) -> Position {
    let mut position = shifted;
    // The shift varies by less than 1 % of the error, so each round gains two digits.
    for _ in 0..12 {
        let (longitude, latitude) = to_gcj02(position);
        position = (position.0 + shifted.0 - longitude, position.1 + shifted.1 - latitude);
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEGREES_PER_METRE: f64 = 1.0 / 111_320.0;

    #[rstest::rstest]
    #[case((121.527_210_6, 31.177_427_6), (121.531_541_859_215, 31.175_303_983_645_97))]
    #[case((113.912_316, 22.543_847), (113.917_176_480_836_3, 22.540_796_131_694_766))]
    #[case((116.377_817, 39.911_954), (116.384_047_224_556_57, 39.913_345_455_360_69))]
    fn agrees_with_published_points(#[case] wgs: Position, #[case] gcj: Position) {
        let near = |a: Position, b: Position, metres: f64| {
            (a.0 - b.0).abs() < metres * DEGREES_PER_METRE && (a.1 - b.1).abs() < metres * DEGREES_PER_METRE
        };
        assert!(near(to_gcj02(wgs), gcj, 0.1), "{:?}", to_gcj02(wgs));
        assert!(near(from_gcj02(gcj), wgs, 0.2), "{:?}", from_gcj02(gcj));
    }

    proptest::proptest! {
        #[test]
        fn the_inverse_is_exact_to_a_millimetre(longitude in 74.0..134.0f64, latitude in 4.0..53.0f64) {
            let back = from_gcj02(to_gcj02((longitude, latitude)));
            proptest::prop_assert!((back.0 - longitude).abs() < 1e-8 && (back.1 - latitude).abs() < 1e-8);
        }
    }

    #[test]
    fn nothing_shifts_abroad() {
        assert_eq!(to_gcj02((21.9, 43.32)), (21.9, 43.32));
    }
}
