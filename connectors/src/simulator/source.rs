//! Heat sources: plants, their branches, and boiler houses.
//!
//! A source supplies at a temperature that follows the weather, and delivers what its stations take plus the loss of
//! the primary network. A plant is the sum of its branches.

use schemas::{Code, Millis};

use super::{layout::DESIGN_OUTDOOR, random::Dice, sheet::Sheet};

/// kW carried by 1 m³/h of water per kelvin, at the density and heat capacity of heating water.
pub(super) const KW_PER_FLOW_KELVIN: f64 = 1.1628;
/// Loss of the primary network, as a share of the heat delivered.
const NETWORK_LOSS: f64 = 0.03;
/// Lower calorific value of coal, kJ/kg, and efficiency of a boiler house.
const COAL: f64 = 20_900.0;
const BOILER_EFFICIENCY: f64 = 0.86;

/// Supply temperature of a source for a smoothed outdoor temperature, °C.
pub(super) fn supply_for(outdoor: f64) -> f64 {
    (98.0 + 1.1 * (DESIGN_OUTDOOR - outdoor)).clamp(70.0, 110.0)
}

/// What a source's stations draw in one minute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Draw {
    /// Heat, kW.
    pub(super) heat: f64,
    /// Flow, m³/h.
    pub(super) flow: f64,
}

impl Draw {
    pub(super) fn add(&mut self, other: Draw) {
        self.heat += other.heat;
        self.flow += other.flow;
    }
}

/// One source.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) code: Code,
    pub(super) phase: Millis,
    dice: Dice,
    boiler: bool,
    /// Supply temperature now, °C.
    pub(super) supply: f64,
    ret: f64,
    flow: f64,
    power: f64,
    heat_total: f64,
    makeup_total: f64,
    energy_total: f64,
    fuel_total: f64,
}

impl Source {
    pub(super) fn new(code: Code, dice: Dice, boiler: bool, outdoor: f64) -> Self {
        Source {
            code,
            phase: (dice.below(10, 60) * 1_000) as Millis,
            dice,
            boiler,
            supply: supply_for(outdoor) + dice.between(11, -1.5, 1.5),
            ret: 45.0,
            flow: 0.0,
            power: 0.0,
            heat_total: dice.between(12, 1e5, 9e5).round(),
            makeup_total: dice.between(13, 1e3, 3e4).round(),
            energy_total: dice.between(14, 1e5, 2e6).round(),
            fuel_total: dice.between(15, 2e3, 2e4).round(),
        }
    }

    /// Moves on by one minute.
    pub(super) fn step(&mut self, outdoor: f64, draw: Draw) {
        let target = supply_for(outdoor) + self.dice.between(11, -1.5, 1.5);
        self.supply += (target - self.supply) / 60.0;
        self.power = draw.heat * (1.0 + NETWORK_LOSS);
        self.flow = draw.flow;
        if draw.flow > 0.0 {
            // The loss of the network shows as a colder return at the source.
            self.ret = self.supply - self.power / (KW_PER_FLOW_KELVIN * draw.flow);
        }
        self.heat_total += self.power * 60e-6;
        self.makeup_total += 0.000_5 * self.flow / 60.0;
        self.energy_total += self.pumps() / 60.0;
        if self.boiler {
            self.fuel_total += self.power * 60.0 / (COAL * BOILER_EFFICIENCY) / 1_000.0;
        }
    }

    fn pumps(&self) -> f64 {
        0.13 * self.flow
    }

    /// What the source reports.
    pub(super) fn report(&self, minute: u64, at: Millis) -> Sheet {
        let noise = |n: u64| self.dice.bell(minute.wrapping_mul(16).wrapping_add(n));
        let mut sheet = Sheet::new(&self.code, None, at, 11);
        sheet
            .tenths("supply_temp", self.supply + 0.05 * noise(0))
            .tenths("return_temp", self.ret + 0.05 * noise(1))
            .thousandths("supply_pressure", 1.05 + 0.003 * noise(2))
            .thousandths("return_pressure", 0.55 + 0.003 * noise(3))
            .hundredths("supply_flow", self.flow * (1.0 + 0.002 * noise(4)))
            .tenths("heat_power", self.power * (1.0 + 0.002 * noise(5)))
            .thousandths("heat_total", self.heat_total)
            .thousandths("makeup_total", self.makeup_total)
            .hundredths("energy_total", self.energy_total)
            .state("running", true);
        if self.boiler {
            sheet.thousandths("fuel_total", self.fuel_total).state("boiler_fault", false);
        }
        sheet
    }
}
