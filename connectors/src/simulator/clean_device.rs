//! A rural clean-heating installation: one small house, one device with a thermostat, one electricity meter.

use schemas::{Code, Millis, time::HOUR};

use super::{
    layout::{self, DESIGN_OUTDOOR, DEVICES_PER_TRANSFORMER, Layout, Site},
    random::Dice,
    sheet::Sheet,
};

/// The thermostat switches this far below and above its setting, K.
const HYSTERESIS: f64 = 0.4;

/// One installation.
#[derive(Clone, Debug)]
pub(super) struct CleanDevice {
    pub(super) facility: Code,
    pub(super) device: Code,
    /// When in its interval it reports, minutes.
    pub(super) phase: u32,
    pub(super) second: Millis,
    pub(super) site: Site,
    transformer: usize,
    dice: Dice,
    heat_pump: bool,
    setting: f64,
    loss: f64,
    heat: f64,
    per_kw_minute: f64,
    room: f64,
    water: f64,
    running: bool,
    power: f64,
    energy_total: f64,
}

impl CleanDevice {
    /// An installation of a layout.
    pub(super) fn new(layout: &Layout, clean: usize) -> Self {
        let dice = layout.dice(5, clean);
        let area = dice.between(0, 70.0, 130.0).round();
        let setting = dice.between(3, 19.6, 21.6);
        let loss = area * 0.055 / (21.0 - DESIGN_OUTDOOR);
        CleanDevice {
            facility: layout::clean_code(clean),
            device: layout::device_code(clean),
            phase: dice.below(4, 60) as u32,
            second: (dice.below(5, 60) * 1_000) as Millis,
            site: layout.clean_site(clean),
            transformer: clean / DEVICES_PER_TRANSFORMER,
            dice,
            heat_pump: layout.device_type(clean) != 1,
            setting,
            loss,
            heat: loss * 63.0,
            per_kw_minute: 1.0 / (60.0 * loss * dice.between(6, 16.0, 26.0)),
            room: setting + dice.between(7, -HYSTERESIS, HYSTERESIS),
            water: 30.0,
            running: dice.unit(8) < 0.6,
            power: 0.0,
            energy_total: dice.between(9, 500.0, 2e4).round(),
        }
    }

    /// Moves on by one minute.
    pub(super) fn step(&mut self, outdoor: f64) {
        if self.room < self.setting - HYSTERESIS {
            self.running = true;
        } else if self.room > self.setting + HYSTERESIS {
            self.running = false;
        }
        let heat = if self.running { self.heat } else { 0.0 };
        self.room += (heat - self.loss * (self.room - outdoor)) * self.per_kw_minute;
        let water = if self.running { 43.0 } else { self.room + 2.0 };
        self.water += (water - self.water) / 8.0;
        let efficiency = if self.heat_pump { (3.1 + 0.05 * outdoor).clamp(1.5, 4.2) } else { 0.98 };
        self.power = if self.running { heat / efficiency } else { 0.02 };
        self.energy_total += self.power / 60.0;
    }

    /// What the device reports: 12 readings. `feeders` are the voltages of the transformers now.
    pub(super) fn report(&self, minute: u64, at: Millis, outdoor: f64, feeders: &[f64], moved: f64) -> Sheet {
        let noise = |n: u64| self.dice.bell(minute.wrapping_mul(8).wrapping_add(n));
        let drop = if self.running { 1.5 } else { 0.0 };
        let voltage = feeders[self.transformer] - drop + 0.4 * noise(0);
        let power = (self.power * (1.0 + 0.01 * noise(1))).max(0.0);
        let factor = if !self.running {
            0.55
        } else if self.heat_pump {
            0.93 + 0.005 * noise(2)
        } else {
            0.99
        };
        let spread = if self.running { 5.0 } else { 0.3 };
        let mut sheet = Sheet::new(&self.facility, Some(&self.device), at, 12);
        sheet
            .state("running", self.running)
            .tenths("room_temp", self.room + 0.05 * noise(3))
            .tenths("water_supply_temp", self.water + 0.1 * noise(4))
            .tenths("water_return_temp", self.water - spread + 0.1 * noise(5))
            .tenths("outdoor_temp", outdoor + 0.1 * noise(6))
            .tenths("voltage", voltage)
            .hundredths("current", power * 1_000.0 / (voltage * factor))
            .hundredths("active_power", power)
            .thousandths("power_factor", factor)
            .hundredths("energy_total", self.energy_total)
            .degrees("latitude", self.site.latitude + moved)
            .degrees("longitude", self.site.longitude + moved);
        sheet
    }
}

/// The voltages of all transformers at a moment, V.
pub(super) fn feeders(layout: &Layout, at: Millis, voltages: &mut Vec<f64>) {
    let hours = at as f64 / HOUR as f64;
    let transformers = layout.plan.size.clean_devices.div_ceil(DEVICES_PER_TRANSFORMER);
    voltages.clear();
    voltages.extend((0..transformers).map(|t| 226.0 + 5.0 * layout.dice(7, t).wander(hours / 2.0)));
}
