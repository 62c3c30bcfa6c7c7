//! Units that senders use, and how they become the unit of a metric.
//!
//! Symbols are those of SenML (RFC 8428 section 12.1, RFC 8798) and the usual ones beside them; letter case counts
//! (`mW` is not `MW`), superscripts and full-width forms do not.

use crate::{Metric, Reason};

/// `value · factor + offset` is in the wanted unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// Multiplied first.
    pub factor: f64,
    /// Added then.
    pub offset: f64,
}

impl Conversion {
    /// The same unit.
    pub const NONE: Conversion = Conversion { factor: 1.0, offset: 0.0 };

    /// The converted value, without the noise beyond nine decimals that binary fractions bring.
    #[must_use]
    pub fn apply(self, value: f64) -> f64 {
        if self == Conversion::NONE {
            return value;
        }
        let converted = value * self.factor + self.offset;
        if converted.abs() < 1e6 { (converted * 1e9).round() / 1e9 } else { converted }
    }
}

/// Symbols of one unit, and what makes it the first unit of its group: factor and offset.
type Unit = (&'static [&'static str], f64, f64);

/// Units that can be converted into each other, by group.
const GROUPS: &[&[Unit]] = &[
    &[
        (&["Cel", "°C", "℃", "degC", "C"], 1.0, 0.0),
        (&["K"], 1.0, -273.15),
        (&["degF", "°F", "℉", "F"], 5.0 / 9.0, -160.0 / 9.0),
    ],
    &[
        (&["Pa"], 1.0, 0.0),
        (&["hPa", "mbar"], 1e2, 0.0),
        (&["kPa"], 1e3, 0.0),
        (&["MPa"], 1e6, 0.0),
        (&["bar"], 1e5, 0.0),
        (&["psi"], 6_894.757_293_168, 0.0),
        (&["mH2O"], 9_806.65, 0.0),
        (&["kgf/cm2"], 98_066.5, 0.0),
    ],
    &[
        (&["W"], 1.0, 0.0),
        (&["mW"], 1e-3, 0.0),
        (&["kW"], 1e3, 0.0),
        (&["MW"], 1e6, 0.0),
        (&["GW"], 1e9, 0.0),
        (&["kcal/h"], 1.163, 0.0),
    ],
    &[
        (&["J"], 1.0, 0.0),
        (&["kJ"], 1e3, 0.0),
        (&["MJ"], 1e6, 0.0),
        (&["GJ"], 1e9, 0.0),
        (&["Wh"], 3.6e3, 0.0),
        (&["kWh"], 3.6e6, 0.0),
        (&["MWh"], 3.6e9, 0.0),
        (&["GWh"], 3.6e12, 0.0),
        (&["kcal"], 4_186.8, 0.0),
        (&["Gcal"], 4.186_8e9, 0.0),
    ],
    &[
        (&["m3/h"], 1.0, 0.0),
        (&["m3/s"], 3_600.0, 0.0),
        (&["m3/min"], 60.0, 0.0),
        (&["l/h", "L/h"], 1e-3, 0.0),
        (&["l/min", "L/min"], 0.06, 0.0),
        (&["l/s", "L/s"], 3.6, 0.0),
    ],
    &[(&["t/h"], 1.0, 0.0), (&["kg/h"], 1e-3, 0.0), (&["kg/s"], 3.6, 0.0)],
    &[(&["m3"], 1.0, 0.0), (&["l", "L"], 1e-3, 0.0)],
    &[(&["kg"], 1.0, 0.0), (&["g"], 1e-3, 0.0), (&["t"], 1e3, 0.0)],
    &[(&["", "/", "1"], 1.0, 0.0), (&["%", "%RH", "%EL"], 1e-2, 0.0)],
    &[(&["V"], 1.0, 0.0), (&["mV"], 1e-3, 0.0), (&["kV"], 1e3, 0.0)],
    &[(&["A"], 1.0, 0.0), (&["mA"], 1e-3, 0.0), (&["kA"], 1e3, 0.0)],
    &[(&["Hz"], 1.0, 0.0), (&["kHz"], 1e3, 0.0), (&["1/min"], 1.0 / 60.0, 0.0)],
    &[(&["m"], 1.0, 0.0), (&["cm"], 1e-2, 0.0), (&["mm"], 1e-3, 0.0), (&["km"], 1e3, 0.0)],
    &[(&["m/s"], 1.0, 0.0), (&["km/h"], 1.0 / 3.6, 0.0)],
    &[(&["W/m2"], 1.0, 0.0)],
    &[(&["°", "deg", "lat", "lon"], 1.0, 0.0), (&["rad"], 57.295_779_513_082_32, 0.0)],
    &[
        (&["mg/L", "mg/l", "g/m3"], 1.0, 0.0),
        (&["ug/L", "ug/l", "mg/m3"], 1e-3, 0.0),
        (&["ug/m3"], 1e-6, 0.0),
    ],
    &[(&["mmol/L", "mmol/l", "mol/m3"], 1.0, 0.0)],
    &[(&["FTU", "NTU", "FNU"], 1.0, 0.0)],
    &[(&["pH"], 1.0, 0.0)],
    &[(&["dBm"], 1.0, 0.0), (&["dBW"], 1.0, 30.0)],
    &[(&["dB"], 1.0, 0.0)],
];

/// How a value in `unit` becomes one in the metric's unit.
///
/// # Errors
/// [`Reason::WrongUnit`] with the unit that is expected.
pub fn conversion(unit: &str, metric: &Metric) -> Result<Conversion, (Reason, String)> {
    let (from, to) = (plain(unit), plain(&metric.unit));
    if from == to {
        return Ok(Conversion::NONE);
    }
    let both = GROUPS.iter().find_map(|group| Some((find(group, &from)?, find(group, &to)?)));
    match both {
        Some((from, to)) if from == to => Ok(Conversion::NONE),
        Some((from, to)) => Ok(Conversion { factor: from.1 / to.1, offset: (from.2 - to.2) / to.1 }),
        None => {
            let shown: String = unit.chars().take(40).collect();
            let wanted = if metric.unit.is_empty() { "no unit" } else { &metric.unit };
            Err((Reason::WrongUnit, format!("{} is in '{shown}', expected {wanted}", metric.code)))
        }
    }
}

fn find(group: &[Unit], plain: &str) -> Option<Unit> {
    group.iter().find(|unit| unit.0.contains(&plain)).copied()
}

/// Whether a symbol is one of a unit, or empty.
#[must_use]
pub fn is_known(symbol: &str) -> bool {
    let plain = plain(symbol);
    GROUPS.iter().any(|group| find(group, &plain).is_some())
}

/// Whether two symbols are of one unit, such as `m³/h` and `m3/h`.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    let (one, other) = (plain(one), plain(other));
    one == other || GROUPS.iter().any(|group| find(group, &one).is_some_and(|unit| unit.0.contains(&&*other)))
}

/// Every symbol, the usual one of each unit first among its own; not the empty one.
pub fn symbols() -> impl Iterator<Item = &'static str> + Clone {
    let units = GROUPS.iter().flat_map(|group| *group);
    units.flat_map(|unit| unit.0).copied().filter(|symbol| !symbol.is_empty())
}

/// The symbol without superscripts and full-width forms.
fn plain(unit: &str) -> String {
    crate::number::fold_full_width(unit.trim())
        .chars()
        .map(|c| match c {
            '³' => '3',
            '²' => '2',
            'µ' | 'μ' => 'u',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalogue;

    fn metric(code: &str) -> &'static Metric {
        Catalogue::in_force().id(code).unwrap().metric()
    }

    #[rstest::rstest]
    #[case("room_temp", "Cel", 21.5, 21.5)]
    #[case("room_temp", "K", 294.65, 21.5)]
    #[case("room_temp", "degF", 70.7, 21.5)]
    #[case("supply_pressure", "Pa", 450_000.0, 0.45)]
    #[case("supply_pressure", "kPa", 450.0, 0.45)]
    #[case("supply_pressure", "bar", 4.5, 0.45)]
    #[case("furnace_pressure", "kPa", -0.03, -30.0)]
    #[case("heat_power", "W", 1_500.0, 1.5)]
    #[case("heat_power", "MW", 1.5, 1_500.0)]
    #[case("heat_total", "kWh", 1_000.0, 3.6)]
    #[case("heat_total", "MJ", 3_600.0, 3.6)]
    #[case("energy_total", "GJ", 3.6, 1_000.0)]
    #[case("energy_total", "J", 3.6e6, 1.0)]
    #[case("primary_flow", "m³/h", 12.0, 12.0)]
    #[case("primary_flow", "m3/s", 0.01, 36.0)]
    #[case("primary_flow", "l/s", 10.0, 36.0)]
    #[case("primary_flow", "l/h", 500.0, 0.5)]
    #[case("makeup_total", "l", 1_500.0, 1.5)]
    #[case("room_humidity", "%RH", 45.0, 45.0)]
    #[case("room_humidity", "/", 0.45, 45.0)]
    #[case("power_factor", "/", 0.95, 0.95)]
    #[case("voltage", "kV", 0.38, 380.0)]
    #[case("current", "mA", 500.0, 0.5)]
    #[case("frequency", "Hz", 50.0, 50.0)]
    #[case("fuel_total", "kg", 1_500.0, 1.5)]
    #[case("drum_level", "m", 0.02, 20.0)]
    #[case("wind_speed", "km/h", 36.0, 10.0)]
    #[case("room_temp", "℃", 21.5, 21.5)]
    #[case("room_temp", "Ｃｅｌ", 21.5, 21.5)]
    fn converts(#[case] code: &str, #[case] unit: &str, #[case] value: f64, #[case] want: f64) {
        assert_eq!(conversion(unit, metric(code)).unwrap().apply(value), want);
    }

    #[rstest::rstest]
    #[case("room_temp", "Pa", "room_temp is in 'Pa', expected °C")]
    #[case("heat_power", "J", "heat_power is in 'J', expected kW")]
    #[case("running", "V", "running is in 'V', expected no unit")]
    #[case("heat_power", "furlong", "heat_power is in 'furlong', expected kW")]
    fn refuses_what_is_another_quantity(#[case] code: &str, #[case] unit: &str, #[case] detail: &str) {
        assert_eq!(conversion(unit, metric(code)), Err((Reason::WrongUnit, detail.to_owned())));
    }

    #[test]
    fn every_unit_of_the_catalogue_has_a_group() {
        for (_, metric) in Catalogue::in_force().iter() {
            assert!(is_known(&metric.unit), "{} is in {}", metric.code, metric.unit);
        }
    }

    #[rstest::rstest]
    #[case("m³/h", "m3/h", true)]
    #[case("°C", "Cel", true)]
    #[case("", "1", true)]
    #[case("kW", "MW", false)]
    #[case("mW", "MW", false)]
    #[case("furlong", "Furlong", false)]
    fn symbols_of_one_unit(#[case] one: &str, #[case] other: &str, #[case] want: bool) {
        assert_eq!((same(one, other), same(other, one)), (want, want));
    }
}
