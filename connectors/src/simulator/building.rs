//! Buildings as one resistance and one capacity each, and the rooms in them.

use schemas::{Code, Millis, time::HOUR};

use super::{
    layout::{DESIGN_INDOOR, DESIGN_OUTDOOR, Layout, POSITIONS},
    random::Dice,
    sheet::Sheet,
    weather::{Sky, local_hour},
};

/// How far the mean water temperature stands above the room at design load, K.
pub(super) const DESIGN_RADIATOR_RISE: f64 = 26.0;

/// One building.
#[derive(Clone, Copy, Debug)]
pub(super) struct Building {
    /// Heat that its radiators give per kelvin between water and room, kW/K.
    pub(super) radiators: f64,
    /// Heat it loses per kelvin between room and outdoors, kW/K.
    loss: f64,
    /// Kelvin gained per kW and minute.
    per_kw_minute: f64,
    /// Solar gain, kW per W/m².
    aperture: f64,
    /// Mean room temperature, °C.
    pub(super) temperature: f64,
}

impl Building {
    /// A building of a layout, with a good or poor radiator surface, and heavy or light walls.
    pub(super) fn new(layout: &Layout, building: usize) -> Self {
        let dice = layout.dice(3, building);
        let load = Layout::design_load(layout.building_area(building));
        let loss = load / (DESIGN_INDOOR - DESIGN_OUTDOOR);
        let capacity = loss * dice.between(1, 35.0, 55.0);
        Building {
            radiators: load / DESIGN_RADIATOR_RISE * dice.between(2, 0.965, 1.035),
            loss,
            per_kw_minute: 1.0 / (60.0 * capacity),
            aperture: load * 2.5e-5,
            temperature: DESIGN_INDOOR,
        }
    }

    /// Moves on by one minute with water of mean temperature `water` in the radiators, or none. Returns the heat
    /// taken, kW.
    pub(super) fn step(&mut self, water: Option<f64>, sky: Sky) -> f64 {
        let heat = water.map_or(0.0, |water| self.radiators * (water - self.temperature).max(0.0));
        let lost = self.loss * (self.temperature - sky.temperature);
        let sun = self.aperture * sky.irradiance;
        self.temperature += (heat + sun - lost) * self.per_kw_minute;
        heat
    }
}

/// A room with a sensor.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) household: Code,
    pub(super) device: Code,
    pub(super) building: u32,
    /// When in the hour it stores and uploads, minutes.
    pub(super) phase: u32,
    second: Millis,
    offset: f64,
    dice: Dice,
}

impl Room {
    /// A room of a layout.
    pub(super) fn new(layout: &Layout, household: usize, room: usize) -> Self {
        let dice = layout.dice(6, room);
        Room {
            household: super::layout::household_code(household),
            device: super::layout::room_code(room),
            building: layout.building_of(household) as u32,
            phase: layout.dice(4, household).below(7, 60) as u32,
            second: (dice.below(1, 60) * 1_000) as Millis,
            offset: POSITIONS[layout.position(household)].1 + dice.between(2, -0.25, 0.25),
            dice,
        }
    }

    /// What the sensor stores at `minute_at`: the building's temperature, the room's place in it, and its people.
    pub(super) fn report(&self, temperature: f64, minute: u64, minute_at: Millis) -> Sheet {
        let at = minute_at + self.second;
        let hours = at as f64 / HOUR as f64;
        let people = if (17.0..23.0).contains(&local_hour(at)) { 0.1 } else { 0.0 };
        let drift = 0.2 * self.dice.stream(1).wander(hours / 3.0);
        let value = temperature + self.offset + people + drift + 0.06 * self.dice.bell(minute);
        let humidity = 34.0 + 8.0 * self.dice.stream(2).wander(hours / 6.0) + self.dice.bell(!minute);
        let mut sheet = Sheet::new(&self.household, Some(&self.device), at, 2);
        sheet.tenths("room_temp", value).tenths("room_humidity", humidity);
        sheet
    }
}
