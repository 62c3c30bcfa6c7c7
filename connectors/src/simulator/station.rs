//! A heat exchange station: primary and secondary loop, control valve, pumps, meters.
//!
//! The controller holds the secondary supply temperature that the weather asks for. The secondary loop gives its heat
//! to the radiators; what it takes from the exchanger is `c·m·ΔT` on both sides.

use schemas::{Code, Millis, time::HOUR};

use super::{
    building::{Building, DESIGN_RADIATOR_RISE},
    fault::Effects,
    layout::{self, DESIGN_INDOOR, DESIGN_OUTDOOR, Layout},
    random::Dice,
    sheet::Sheet,
    source::{Draw, KW_PER_FLOW_KELVIN},
    weather::Sky,
};

/// Difference between secondary supply and return at design load, K.
const DESIGN_SPREAD: f64 = 10.0;
/// Minutes in which the supply, and after it the return, follow.
const SUPPLY_LAG: f64 = 10.0;
const RETURN_LAG: f64 = 8.0;
/// Minutes in which standing water cools.
const STANDING_LAG: f64 = 90.0;

/// The secondary supply temperature that keeps rooms at their design temperature, °C.
pub(super) fn supply_for(outdoor: f64) -> f64 {
    let load = (DESIGN_INDOOR - outdoor) / (DESIGN_INDOOR - DESIGN_OUTDOOR);
    DESIGN_INDOOR + load * (DESIGN_RADIATOR_RISE + DESIGN_SPREAD / 2.0)
}

/// One station.
#[derive(Clone, Debug)]
pub(super) struct Station {
    pub(super) code: Code,
    pub(super) phase: Millis,
    pub(super) source: usize,
    dice: Dice,
    design_flow: f64,
    design_primary_flow: f64,
    curve_offset: f64,
    primary_loss: f64,
    base_pressure: f64,
    setpoint: f64,
    primary_supply: f64,
    primary_return: f64,
    primary_flow: f64,
    supply: f64,
    ret: f64,
    flow: f64,
    power: f64,
    makeup: f64,
    leak: f64,
    over: f64,
    pump_fault: bool,
    heat_total: f64,
    primary_flow_total: f64,
    makeup_total: f64,
    energy_total: f64,
}

impl Station {
    /// A station of a layout, in balance with an outdoor temperature.
    pub(super) fn new(layout: &Layout, station: usize, outdoor: f64) -> Self {
        let dice = layout.dice(2, station);
        let load = Layout::design_load(layout.station_area(station));
        let curve_offset = dice.between(20, -0.7, 0.7);
        let supply = supply_for(outdoor) + curve_offset;
        Station {
            code: layout::station_code(station),
            phase: (dice.below(21, 60) * 1_000) as Millis,
            source: layout.source_of(station),
            dice,
            design_flow: load / (KW_PER_FLOW_KELVIN * DESIGN_SPREAD),
            design_primary_flow: load / (KW_PER_FLOW_KELVIN * 38.0),
            curve_offset,
            primary_loss: dice.between(22, 0.3, 2.0),
            base_pressure: dice.between(23, 0.33, 0.38),
            setpoint: supply,
            primary_supply: super::source::supply_for(outdoor),
            primary_return: supply - 3.0,
            primary_flow: 0.0,
            supply,
            ret: supply - 7.0,
            flow: 0.0,
            power: 0.0,
            makeup: 0.0,
            leak: 0.0,
            over: 0.0,
            pump_fault: false,
            heat_total: dice.between(24, 5e3, 9e4).round(),
            primary_flow_total: dice.between(25, 5e4, 9e5).round(),
            makeup_total: dice.between(26, 50.0, 3e3).round(),
            energy_total: dice.between(27, 1e4, 3e5).round(),
        }
    }

    /// Moves on by one minute with its buildings. `outdoor` is smoothed as the controller sees it.
    pub(super) fn step(
        &mut self,
        buildings: &mut [Building],
        sky: Sky,
        outdoor: f64,
        source_supply: f64,
        effects: Effects,
    ) -> Draw {
        self.setpoint = (supply_for(outdoor) + self.curve_offset).clamp(30.0, 58.0);
        self.primary_supply = source_supply - self.primary_loss;
        self.pump_fault = effects.pump_stopped;
        self.flow = if self.pump_fault { 0.0 } else { self.design_flow };
        let room = mean_room(buildings);
        self.secondary(buildings, room, effects.heat_factor);
        self.primary();
        self.water(effects);
        let water = (!self.pump_fault).then_some((self.supply + self.ret) / 2.0);
        for building in buildings {
            building.step(water, sky);
        }
        self.count();
        Draw { heat: self.power, flow: self.primary_flow }
    }

    /// Supply and return of the secondary loop, and the heat it takes.
    fn secondary(&mut self, buildings: &[Building], room: f64, heat_factor: f64) {
        if self.pump_fault {
            self.supply += (room + 1.0 - self.supply) / STANDING_LAG;
            self.ret += (room - self.ret) / STANDING_LAG;
            self.power = 0.0;
            return;
        }
        let target = room + heat_factor * (self.setpoint - room);
        self.supply += (target - self.supply) / SUPPLY_LAG;
        let capacity = KW_PER_FLOW_KELVIN * self.flow;
        let radiators: f64 = buildings.iter().map(|b| b.radiators).sum();
        let balanced =
            (self.supply * (capacity - radiators / 2.0) + radiators * room) / (capacity + radiators / 2.0);
        self.ret += (balanced - self.ret) / RETURN_LAG;
        self.power = capacity * (self.supply - self.ret).max(0.0);
    }

    /// Return and flow of the primary loop for that heat.
    fn primary(&mut self) {
        let load = self.power / (KW_PER_FLOW_KELVIN * DESIGN_SPREAD * self.design_flow);
        let target = self.ret + 2.0 + 3.0 * load;
        self.primary_return += (target - self.primary_return) / 5.0;
        let spread = (self.primary_supply - self.primary_return).max(5.0);
        self.primary_flow = self.power / (KW_PER_FLOW_KELVIN * spread);
    }

    /// Make-up water and what leak and over-pressure do to the pressures. Both build up over some minutes.
    fn water(&mut self, effects: Effects) {
        self.leak += (effects.leak - self.leak) / 15.0;
        self.over += (effects.overpressure - self.over) / 5.0;
        self.makeup = 0.000_4 * self.design_flow + self.leak;
    }

    fn count(&mut self) {
        self.heat_total += self.power * 60e-6;
        self.primary_flow_total += self.primary_flow / 60.0;
        self.makeup_total += self.makeup / 60.0;
        self.energy_total += self.pump_power() / 60.0;
    }

    fn pump_power(&self) -> f64 {
        if self.pump_fault { 0.4 } else { 0.4 + 0.105 * self.flow }
    }

    /// What the station reports: 29 readings. The outdoor temperature, °C, is that of its controller's own sensor.
    pub(super) fn report(&self, minute: u64, at: Millis, outdoor: f64) -> Sheet {
        let noise = |n: u64| self.dice.bell(minute.wrapping_mul(32).wrapping_add(n));
        let running = !self.pump_fault;
        let lift = if running { 0.12 } else { 0.005 };
        // The leak lowers the pressure by 0.03 MPa for every m³/h that escapes, until the pump holds it.
        let base = self.base_pressure - (0.03 * self.leak).min(0.15) + self.over;
        let level = 1.5 + 0.2 * self.dice.stream(1).wander(at as f64 / HOUR as f64 / 2.0);
        let opening =
            100.0 * (self.primary_flow / (1.6 * self.design_primary_flow)).clamp(0.0, 1.0).powf(0.7);
        let mut sheet = Sheet::new(&self.code, None, at, 29);
        sheet
            .tenths("primary_supply_temp", self.primary_supply + 0.05 * noise(0))
            .tenths("primary_return_temp", self.primary_return + 0.05 * noise(1))
            .tenths("secondary_supply_temp", self.supply + 0.05 * noise(2))
            .tenths("secondary_return_temp", self.ret + 0.05 * noise(3))
            .thousandths("primary_supply_pressure", 0.95 + 0.003 * noise(4))
            .thousandths("primary_return_pressure", 0.70 + 0.003 * noise(5))
            .thousandths("secondary_supply_pressure", base + lift + 0.002 * noise(6))
            .thousandths("secondary_return_pressure", base + 0.002 * noise(7))
            .hundredths("primary_flow", self.primary_flow * (1.0 + 0.003 * noise(8)))
            .hundredths("secondary_flow", self.flow * (1.0 + 0.003 * noise(9)))
            .thousandths("makeup_flow", self.makeup * (1.0 + 0.05 * noise(10)))
            .tenths("heat_power", self.power * (1.0 + 0.003 * noise(11)))
            .thousandths("heat_total", self.heat_total)
            .hundredths("primary_flow_total", self.primary_flow_total)
            .thousandths("makeup_total", self.makeup_total)
            .hundredths("energy_total", self.energy_total)
            .tenths("valve_opening", opening)
            .hundredths("pump_frequency", if running { 42.0 + 0.03 * noise(12) } else { 0.0 })
            .hundredths("tank_level", level)
            .hundredths("active_power", self.pump_power() * (1.0 + 0.01 * noise(13)))
            .tenths("secondary_supply_setpoint", self.setpoint)
            .tenths("outdoor_temp", outdoor + 0.1 * noise(14))
            .state("running", true)
            .state("circulation_pump_fault", self.pump_fault)
            .state("makeup_pump_fault", false)
            .state("vfd_fault", false)
            .state("valve_fault", false)
            .state("power_lost", false)
            .state("flooding", false);
        sheet.0.sequence = Some(minute as i64);
        sheet
    }
}

fn mean_room(buildings: &[Building]) -> f64 {
    let radiators: f64 = buildings.iter().map(|b| b.radiators).sum();
    if radiators > 0.0 {
        buildings.iter().map(|b| b.radiators * b.temperature).sum::<f64>() / radiators
    } else {
        DESIGN_INDOOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_mild_in_autumn_and_hot_in_january() {
        assert!((supply_for(DESIGN_OUTDOOR) - 52.0).abs() < 1e-9);
        assert!((35.0..37.0).contains(&supply_for(1.0)));
    }
}
