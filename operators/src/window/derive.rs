//! Facts that are functions of other facts of one facility and window.

use schemas::{Millis, time::SECOND};

use super::{
    facts::{Across, Component as C, Facts},
    mask::Mask,
    quantity::Role,
    segment::Undated,
};

/// What the registry says of the facility.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FacilityTraits {
    pub(super) role: Role,
    /// Heated area, 0.01 m².
    pub(super) area: i64,
    /// Standard room temperature, thousandths of °C.
    pub(super) standard: i64,
}

/// What a window takes over from its parts: a day from its hours, a longer one from its days.
pub(super) const SUMS: Mask = Mask::of_across(Across::Sum);

/// What the facts of an hour do not say themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    /// How much of the hour has passed, ms.
    pub(super) elapsed: Millis,
    /// Its heat, J, and the time behind it, ms.
    pub(super) heat: (i64, Millis),
    /// The facility measures an outdoor temperature, in this hour or not.
    pub(super) outdoor: bool,
    /// Readings that its reports lack.
    pub(super) missing: i64,
}

/// Derives the facts of an hour.
pub(super) fn derive_hour(facts: &mut Facts, traits: &FacilityTraits, beside: Beside) {
    let Beside { elapsed, heat: (heat, time), outdoor, missing } = beside;
    facts.set(C::Heat, heat);
    facts.set(C::HeatTime, time);
    facts.set(C::HeatAreaTime, area_time(traits, time));
    let paired = time > 0 && facts.get(C::ElectricityTime) > 0;
    facts.set(C::PairedHeat, if paired { heat } else { 0 });
    facts.set(C::PairedElectricity, if paired { facts.get(C::Electricity) } else { 0 });
    let span = |holds: bool| if holds { elapsed } else { 0 };
    facts.set(C::StationSpan, span(matches!(traits.role, Role::Station | Role::Source | Role::Network)));
    facts.set(C::DeviceSpan, span(traits.role == Role::CleanDevice));
    let rooms = facts.get(C::RoomTime);
    let room_span = span(
        matches!(traits.role, Role::CleanDevice)
            || (traits.role == Role::Rooms && facts.get(C::Expected) > 0),
    );
    facts.set(C::RoomSpan, room_span);
    facts.set(C::RoomCovered, rooms.min(room_span));
    // An hour without a measurement counts, or a day of two hours would pass for a whole one.
    facts.set(C::OutdoorSpan, span(outdoor || traits.role == Role::Weather));
    facts.set(C::ReportsCounted, facts.get(C::ReportsReceived).min(facts.get(C::ReportsExpected)));
    facts.set(C::ReadingsMissing, missing);
    derive_static(facts, traits);
}

/// Adds what a counter counted in a time that is dated to no hour to the facts of a day. The time behind it is not that of
/// the day, and covers nothing of it; per area and degree the heat is that of all its time.
pub(super) fn book(day: &mut Facts, traits: &FacilityTraits, booked: &Undated) {
    day.add(booked.component, booked.amount);
    if booked.component == C::HeatCounter {
        day.add(C::Heat, booked.amount);
        day.add(C::HeatAreaTime, area_time(traits, booked.time));
    }
}

/// Area × time, m²·s.
fn area_time(traits: &FacilityTraits, time: Millis) -> i64 {
    let square_metre_seconds = i128::from(traits.area) * i128::from(time) / (100 * i128::from(SECOND));
    i64::try_from(square_metre_seconds).unwrap_or(i64::MAX)
}

/// Derives what says something about the window as a whole, for hours and days alike.
pub(super) fn derive_static(facts: &mut Facts, traits: &FacilityTraits) {
    let area_where = |time: i64| if time > 0 { traits.area } else { 0 };
    facts.set(C::HeatArea, area_where(facts.get(C::HeatTime)));
    facts.set(C::MakeupArea, area_where(facts.get(C::MakeupTime)));
    facts.set(C::ElectricityArea, area_where(facts.get(C::ElectricityTime)));
    facts.set(C::OutdoorFacilities, i64::from(facts.get(C::OutdoorSpan) > 0));
    let (time, integral) = (facts.get(C::RoomTime), facts.get(C::Room));
    facts.set(C::Households, i64::from(time > 0));
    // Thousandths of °C times seconds against thousandths of °C times milliseconds.
    let reached = i128::from(integral) * 1_000 >= i128::from(traits.standard) * i128::from(time);
    facts.set(C::HouseholdsCompliant, i64::from(time > 0 && reached));
}
