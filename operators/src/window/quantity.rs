//! Which metrics of which facility make which facts, and which facts roll up: the one table.
//!
//! | facility kind | metrics | rolls up to its scopes |
//! |---|---|---|
//! | station | the four water temperatures, set point, flows, heat, make-up, electricity, outdoor | all of it |
//! | plant, branch, boiler house | supply and return as primary side, flow, heat, make-up, electricity | reports and quality only |
//! | relay pump station, storage, tank | make-up, electricity | reports and quality only |
//! | household, building, community | room temperature | rooms, reports and quality |
//! | clean device | room temperature, electricity as the devices' own sum, outdoor | rooms, devices, reports and quality |
//! | weather station | outdoor | outdoor, reports and quality |
//!
//! So heat that passes plant, station and meter counts once, at the station (T 2.15.4.5), and a device's outdoor sensor
//! serves its own facility only. A source's own figures are the rows of the facility itself.

use schemas::{Catalogue, FacilityKind, MetricId};
use serde::{Deserialize, Serialize};

use super::{
    facts::{Component, Group},
    mask::Mask,
};

/// What a series feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quantity {
    /// Heat meter, GJ.
    HeatCounter,
    /// Heat power, kW.
    HeatPower,
    /// A water temperature, °C.
    Temperature(Pipe),
    /// Flow on the primary (false) or secondary (true) side, m³/h. A weight only.
    Flow(bool),
    /// The flow at the times at which the temperature of the side was measured too, m³/h.
    Weight(Pipe),
    /// Flow × temperature at those times.
    Product(Pipe),
    /// Make-up meter, m³.
    Makeup,
    /// Electricity meter of a station or source, kWh.
    Electricity,
    /// Electricity meter of a clean-heating device, kWh.
    DeviceElectricity,
    /// Outdoor temperature, °C.
    Outdoor,
    /// Room temperature, °C.
    Room,
    /// Set point of the secondary supply temperature, °C. For models only.
    Setpoint,
}

impl Quantity {
    /// What it contributes to the facts.
    #[must_use]
    pub fn feeds(self) -> Feeds {
        use Component as C;
        match self {
            Quantity::HeatCounter => Feeds::Counter([C::HeatCounter, C::HeatCounterTime], 1e9, Rise::Heat),
            Quantity::HeatPower => Feeds::Integral(C::HeatPower, Some(C::HeatPowerTime)),
            Quantity::Temperature(side) => Feeds::Integral(side.components()[0], Some(side.components()[1])),
            Quantity::Weight(side) => Feeds::Integral(side.components()[2], None),
            Quantity::Product(side) => Feeds::Integral(side.components()[3], None),
            Quantity::Makeup => Feeds::Counter([C::Makeup, C::MakeupTime], 1e6, Rise::Makeup),
            Quantity::Electricity => {
                Feeds::Counter([C::Electricity, C::ElectricityTime], 1e6, Rise::Electricity)
            }
            Quantity::DeviceElectricity => {
                Feeds::Counter([C::DeviceElectricity, C::DeviceElectricityTime], 1e6, Rise::Electricity)
            }
            Quantity::Outdoor => Feeds::Integral(C::Outdoor, Some(C::OutdoorTime)),
            Quantity::Room => Feeds::Room,
            Quantity::Flow(_) | Quantity::Setpoint => Feeds::Nothing,
        }
    }

    /// Whether it is a meter that counts.
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(self.feeds(), Feeds::Counter(..))
    }

    /// Whether what lies between two of its points tells something.
    #[must_use]
    pub fn tells(self) -> bool {
        self.feeds() != Feeds::Nothing
    }
}

/// How a quantity becomes facts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feeds {
    /// The increments of a counter: amount and time, amount per unit of the metric, and how far it can rise.
    Counter([Component; 2], f64, Rise),
    /// The integral of what is measured and, where it counts itself, its time.
    Integral(Component, Option<Component>),
    /// The integral of a room's temperature, its time, and the time above the limits of rooms.
    Room,
    /// Nothing itself: others are computed with it.
    Nothing,
}

/// Which limit of its object a counter goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rise {
    /// That of heat.
    Heat,
    /// That of make-up water.
    Makeup,
    /// That of electricity.
    Electricity,
}

/// A water temperature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Pipe {
    /// Primary supply.
    PrimarySupply,
    /// Primary return.
    PrimaryReturn,
    /// Secondary supply.
    SecondarySupply,
    /// Secondary return.
    SecondaryReturn,
}

impl Pipe {
    /// Every side.
    pub const ALL: [Pipe; 4] =
        [Pipe::PrimarySupply, Pipe::PrimaryReturn, Pipe::SecondarySupply, Pipe::SecondaryReturn];

    /// Whether the flow is that of the secondary side.
    #[must_use]
    pub fn secondary(self) -> bool {
        matches!(self, Pipe::SecondarySupply | Pipe::SecondaryReturn)
    }

    /// Integral of temperature, its time, integral of flow, integral of the product.
    #[must_use]
    pub fn components(self) -> [Component; 4] {
        use Component as C;
        match self {
            Pipe::PrimarySupply => {
                [C::PrimarySupply, C::PrimarySupplyTime, C::PrimarySupplyFlow, C::PrimarySupplyProduct]
            }
            Pipe::PrimaryReturn => {
                [C::PrimaryReturn, C::PrimaryReturnTime, C::PrimaryReturnFlow, C::PrimaryReturnProduct]
            }
            Pipe::SecondarySupply => [
                C::SecondarySupply,
                C::SecondarySupplyTime,
                C::SecondarySupplyFlow,
                C::SecondarySupplyProduct,
            ],
            Pipe::SecondaryReturn => [
                C::SecondaryReturn,
                C::SecondaryReturnTime,
                C::SecondaryReturnFlow,
                C::SecondaryReturnProduct,
            ],
        }
    }
}

/// What a facility is to the KPIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A heat exchange station.
    Station,
    /// A plant, branch or boiler house.
    Source,
    /// Another facility of the network.
    Network,
    /// Rooms.
    Rooms,
    /// A clean-heating installation.
    CleanDevice,
    /// A weather station.
    Weather,
}

impl Role {
    /// The role of a kind.
    #[must_use]
    pub fn of(kind: FacilityKind) -> Role {
        match kind {
            FacilityKind::Station => Role::Station,
            FacilityKind::Plant | FacilityKind::PlantBranch | FacilityKind::BoilerHouse => Role::Source,
            FacilityKind::RelayPumpStation | FacilityKind::HeatStorage | FacilityKind::WaterTank => {
                Role::Network
            }
            FacilityKind::Household | FacilityKind::Building | FacilityKind::Community => Role::Rooms,
            FacilityKind::CleanDevice => Role::CleanDevice,
            FacilityKind::WeatherStation => Role::Weather,
        }
    }

    /// The facts that roll up to the scopes of the facility.
    #[must_use]
    pub fn rolls_up(self) -> Mask {
        const REPORTS: Mask = Mask::of_group(Group::Reports);
        const ROOMS: Mask = REPORTS.union(Mask::of_group(Group::Rooms));
        match self {
            Role::Station => Mask::ALL,
            Role::Source | Role::Network => REPORTS,
            Role::Rooms => ROOMS,
            Role::CleanDevice => const { ROOMS.union(Mask::of_group(Group::Devices)) },
            Role::Weather => const { REPORTS.union(Mask::of_group(Group::Outdoor)) },
        }
    }

    /// What a metric code feeds; `None` when no KPI or model needs it.
    fn quantity(self, code: &str) -> Option<Quantity> {
        use Quantity as Q;
        match (self, code) {
            (Role::Station | Role::Source, "heat_total") => Some(Q::HeatCounter),
            (Role::Station | Role::Source, "heat_power") => Some(Q::HeatPower),
            (Role::Station, "primary_supply_temp") | (Role::Source, "supply_temp") => {
                Some(Q::Temperature(Pipe::PrimarySupply))
            }
            (Role::Station, "primary_return_temp") | (Role::Source, "return_temp") => {
                Some(Q::Temperature(Pipe::PrimaryReturn))
            }
            (Role::Station, "secondary_supply_temp") => Some(Q::Temperature(Pipe::SecondarySupply)),
            (Role::Station, "secondary_supply_setpoint") => Some(Q::Setpoint),
            (Role::Station, "secondary_return_temp") => Some(Q::Temperature(Pipe::SecondaryReturn)),
            (Role::Station, "primary_flow") | (Role::Source, "supply_flow") => Some(Q::Flow(false)),
            (Role::Station, "secondary_flow") => Some(Q::Flow(true)),
            (Role::Station | Role::Source | Role::Network, "makeup_total") => Some(Q::Makeup),
            (Role::Station | Role::Source | Role::Network, "energy_total") => Some(Q::Electricity),
            (Role::CleanDevice, "energy_total") => Some(Q::DeviceElectricity),
            (Role::Station | Role::Weather | Role::CleanDevice, "outdoor_temp") => Some(Q::Outdoor),
            (Role::Rooms | Role::CleanDevice, "room_temp") => Some(Q::Room),
            _ => None,
        }
    }
}

/// The table above, by role and metric number.
#[derive(Debug)]
pub struct Quantities(Vec<[Option<Quantity>; 6]>);

impl Quantities {
    /// The table for the catalogue in force.
    #[must_use]
    pub fn in_force() -> Quantities {
        use Role::{CleanDevice, Network, Rooms, Source, Station, Weather};
        let roles = [Station, Source, Network, Rooms, CleanDevice, Weather];
        let metrics = Catalogue::in_force().iter();
        Quantities(metrics.map(|(_, metric)| roles.map(|role| role.quantity(&metric.code))).collect())
    }

    /// What a metric of a facility in this role feeds.
    #[must_use]
    pub fn of(&self, role: Role, metric: MetricId) -> Option<Quantity> {
        self.0.get(usize::from(metric.0))?[role as usize]
    }
}
