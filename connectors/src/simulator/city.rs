//! The city at work: minute after minute of weather, physics, faults and uploads.
//!
//! Enters: a plan and faults. Leaves: for every minute the reports that arrive in it, in order of arrival. Guarantees:
//! the same plan and faults give the same reports, and every arrival of a minute stands in that minute.

use std::collections::{BTreeMap, HashMap};

use schemas::{
    Code, Millis, Report,
    fnv::fnv_64,
    time::{HOUR, MINUTE},
};

use super::{
    building::{Building, Room},
    clean_device::{CleanDevice, feeders},
    fault::{self, Effects, Fault, Memory, Upload},
    layout::{self, DISTRICTS, Layout},
    plan::{Plan, PlanError},
    random::Dice,
    sheet::Sheet,
    source::{Draw, Source},
    station::Station,
    weather::{Sky, Weather},
};

/// How long the city runs before its first report, so that it starts in balance.
const BURN_IN: Millis = 18 * HOUR;
/// The same for devices, which forget faster.
const DEVICE_BURN_IN: Millis = 2 * HOUR;
/// Minutes over which controllers smooth the outdoor temperature.
const SMOOTHING: f64 = 180.0;

/// What arrived in one minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Minute {
    /// The beginning of the minute.
    pub at: Millis,
    /// What arrived in it, by `received_at`.
    pub reports: Vec<Report>,
}

/// A simulated city; an iterator over [`Minute`]s. After the plan's end it yields the minutes in which the last reports
/// arrive, then ends.
#[derive(Debug)]
pub struct Simulator {
    layout: Layout,
    weather: Weather,
    smoothed: f64,
    now: Millis,
    sources: Vec<Source>,
    plants: Vec<Source>,
    stations: Vec<Station>,
    buildings: Vec<Building>,
    rooms: Vec<Room>,
    devices: Vec<CleanDevice>,
    voltages: Vec<f64>,
    draws: Vec<Draw>,
    wire: Wire,
}

/// Faults on the way from an object to the platform, and what is still on that way.
#[derive(Debug)]
struct Wire {
    dice: Dice,
    faults: Vec<Fault>,
    memories: Vec<Memory>,
    /// Which faults an object has, by facility and device. Only looked up, never walked.
    of_object: HashMap<(Code, Option<Code>), Vec<usize>>,
    /// Reports that arrive in a later minute.
    pending: BTreeMap<Millis, Vec<Report>>,
}

impl Simulator {
    /// Builds the city in balance at the plan's start.
    ///
    /// # Errors
    /// [`PlanError`] when the plan cannot be, or when a fault names an object that the plan does not have.
    pub fn new(plan: &Plan, faults: Vec<Fault>) -> Result<Self, PlanError> {
        plan.check()?;
        let layout = Layout::new(plan);
        let weather = Weather::new(plan.seed, plan.from() - BURN_IN - 24 * HOUR, plan.until());
        let start = plan.from() - BURN_IN;
        let smoothed = (0..8).map(|h| weather.sky(start - h * HOUR / 2).temperature).sum::<f64>() / 8.0;
        let size = plan.size;
        let source = |s: usize| {
            let code = layout::source_code(&layout, s);
            Source::new(code, layout.dice(1, s), s >= size.branches, smoothed)
        };
        let mut city = Simulator {
            sources: (0..layout.sources).map(source).collect(),
            plants: (0..size.plants)
                .map(|p| Source::new(layout::plant_code(p), layout.dice(8, p), false, smoothed))
                .collect(),
            stations: (0..size.stations).map(|s| Station::new(&layout, s, smoothed)).collect(),
            buildings: (0..layout.buildings).map(|b| Building::new(&layout, b)).collect(),
            rooms: (0..layout.households)
                .flat_map(|h| layout.rooms_of(h).map(move |r| (h, r)))
                .map(|(h, r)| Room::new(&layout, h, r))
                .collect(),
            devices: (0..size.clean_devices).map(|c| CleanDevice::new(&layout, c)).collect(),
            voltages: Vec::new(),
            draws: vec![Draw::default(); layout.sources],
            wire: Wire::new(plan.seed, faults),
            now: start,
            smoothed,
            weather,
            layout,
        };
        city.wire.check(&city.layout)?;
        while city.now < plan.from() {
            city.physics(city.now >= plan.from() - DEVICE_BURN_IN);
            city.now += MINUTE;
        }
        Ok(city)
    }

    /// The faults that this city has.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.wire.faults
    }

    /// How many minutes the plan measures, without the minutes in which late uploads still arrive.
    #[must_use]
    pub fn minutes(&self) -> u64 {
        ((self.layout.plan.until() - self.layout.plan.from()) / MINUTE) as u64
    }

    /// Writes the reports of the next minute in which something arrives, or is measured, to `out` (which is cleared
    /// first) and returns the minute; `None` at the end.
    pub fn next_minute(&mut self, out: &mut Vec<Report>) -> Option<Millis> {
        out.clear();
        if self.now >= self.layout.plan.until() {
            let (at, reports) = self.wire.pending.pop_first()?;
            out.extend(reports);
            out.sort_by_key(|r| r.received_at);
            return Some(at);
        }
        let at = self.now;
        let sky = self.physics(true);
        if let Some(reports) = self.wire.pending.remove(&at) {
            out.extend(reports);
        }
        self.measure(at, sky, out);
        out.sort_by_key(|r| r.received_at);
        self.now += MINUTE;
        Some(at)
    }

    /// Moves everything on by one minute.
    fn physics(&mut self, devices: bool) -> Sky {
        let sky = self.weather.sky(self.now);
        self.smoothed += (sky.temperature - self.smoothed) / SMOOTHING;
        self.draws.fill(Draw::default());
        let per_station = self.layout.buildings_per_station;
        for (index, station) in self.stations.iter_mut().enumerate() {
            let effects = self.wire.effects(&station.code, self.now);
            let buildings = &mut self.buildings[index * per_station..(index + 1) * per_station];
            let supply = self.sources[station.source].supply;
            let draw = station.step(buildings, sky, self.smoothed, supply, effects);
            self.draws[station.source].add(draw);
        }
        let mut plants = vec![Draw::default(); self.plants.len()];
        for (index, source) in self.sources.iter_mut().enumerate() {
            source.step(self.smoothed, self.draws[index]);
            if index < self.layout.plan.size.branches {
                plants[self.layout.plant_of(index)].add(self.draws[index]);
            }
        }
        for (plant, draw) in self.plants.iter_mut().zip(plants) {
            plant.step(self.smoothed, draw);
        }
        if devices {
            for device in &mut self.devices {
                device.step(sky.temperature + district_offset(device.site.district));
            }
        }
        sky
    }

    /// Lets everything report whose turn it is.
    fn measure(&mut self, at: Millis, sky: Sky, out: &mut Vec<Report>) {
        let number = (at / MINUTE) as u64;
        let intervals = self.layout.plan.intervals;
        let turn =
            |interval: u32, phase: u32| (number + u64::from(phase)).is_multiple_of(u64::from(interval));
        if turn(intervals.weather, 0) {
            for district in self.layout.districts() {
                self.wire.send(at, weather_report(district, sky, at), out);
            }
        }
        if turn(intervals.source, 0) {
            for source in self.plants.iter().chain(&self.sources) {
                self.wire.send(at, source.report(number, at + source.phase), out);
            }
        }
        if turn(intervals.station, 0) {
            for station in &self.stations {
                self.wire.send(at, station.report(number, at + station.phase, sky.temperature), out);
            }
        }
        for room in self.rooms.iter().filter(|r| turn(intervals.room, r.phase)) {
            let temperature = self.buildings[room.building as usize].temperature;
            let mut sheet = room.report(temperature, number, at);
            let upload = u64::from(intervals.room_upload);
            if intervals.room_upload > intervals.room {
                let wait = (upload - (number + u64::from(room.phase)) % upload) % upload;
                // What is stored at the end is uploaded then, so that nothing falls silent beside the last bursts.
                let end = self.layout.plan.until().max(sheet.0.observed_at);
                sheet.0.received_at = (sheet.0.received_at + wait as Millis * MINUTE).min(end);
            }
            self.wire.send(at, sheet, out);
        }
        feeders(&self.layout, at, &mut self.voltages);
        for device in self.devices.iter().filter(|d| turn(intervals.clean_device, d.phase)) {
            let outdoor = sky.temperature + district_offset(device.site.district);
            let moved = self.wire.moved(&device.facility, &device.device, at);
            let sheet = device.report(number, at + device.second, outdoor, &self.voltages, moved);
            self.wire.send(at, sheet, out);
        }
    }
}

impl Iterator for Simulator {
    type Item = Minute;

    fn next(&mut self) -> Option<Minute> {
        let mut reports = Vec::new();
        self.next_minute(&mut reports).map(|at| Minute { at, reports })
    }
}

impl Wire {
    fn new(seed: u64, faults: Vec<Fault>) -> Self {
        let mut of_object: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, fault) in faults.iter().enumerate() {
            of_object.entry((fault.facility.clone(), fault.device.clone())).or_default().push(index);
        }
        let memories = vec![Memory::default(); faults.len()];
        Wire { dice: Dice::new(seed).stream(0x13e), faults, memories, of_object, pending: BTreeMap::new() }
    }

    fn check(&self, layout: &Layout) -> Result<(), PlanError> {
        let size = layout.plan.size;
        let number = |code: &str, prefix: &str| code.strip_prefix(prefix).and_then(|n| n.parse().ok());
        for fault in &self.faults {
            let there = match (number(&fault.facility, "ST-"), number(&fault.facility, "CD-")) {
                (Some(n), _) => (1..=size.stations).contains(&n) && fault.device.is_none(),
                (_, Some(n)) => (1..=size.clean_devices).contains(&n) && fault.device.is_some(),
                _ => false,
            };
            if !there {
                let name = fault.kind.name();
                return Err(PlanError(format!("{name} names {}, which is not simulated", fault.facility)));
            }
        }
        Ok(())
    }

    fn of(&self, facility: &Code, device: Option<&Code>) -> &[usize] {
        if self.of_object.is_empty() {
            return &[];
        }
        self.of_object.get(&(facility.clone(), device.cloned())).map_or(&[], Vec::as_slice)
    }

    fn effects(&self, station: &Code, at: Millis) -> Effects {
        let mut effects = Effects::NONE;
        for fault in self.of(station, None).iter().map(|i| &self.faults[*i]).filter(|f| f.active(at)) {
            effects.add(fault);
        }
        effects
    }

    fn moved(&self, facility: &Code, device: &Code, at: Millis) -> f64 {
        let faults = self.of(facility, Some(device)).iter().map(|i| &self.faults[*i]);
        faults.filter(|f| f.kind == fault::FaultKind::DeviceMoved && f.active(at)).map(|f| f.magnitude).sum()
    }

    /// Sends a report measured in the minute `at`: now when it arrives in that minute, else later.
    fn send(&mut self, at: Millis, sheet: Sheet, out: &mut Vec<Report>) {
        let mut report = sheet.0;
        let true_time = report.observed_at;
        let dice =
            self.dice.stream(true_time as u64 ^ fold(report.device.as_ref().unwrap_or(&report.facility)));
        // Most of the way takes 0.2 to 1.5 s.
        report.received_at += 200 + (1_300.0 * dice.unit(0) * dice.unit(1)) as Millis;
        let mut upload = Upload::default();
        let healthy = self.of_object.is_empty();
        let object = (!healthy).then(|| (report.facility.clone(), report.device.clone()));
        for index in object.and_then(|object| self.of_object.get(&object)).into_iter().flatten() {
            fault::distort(&self.faults[*index], &mut self.memories[*index], &mut report);
            fault::divert(&self.faults[*index], dice, true_time, &mut report, &mut upload);
        }
        if upload.lost {
            return;
        }
        report.received_at = report.received_at.max(upload.held_until.unwrap_or(report.received_at));
        let later = upload.again_after.map(|later| report.received_at + later);
        for received_at in later.into_iter().chain(upload.again_at) {
            self.deliver(at, Report { received_at, ..report.clone() }, out);
        }
        self.deliver(at, report, out);
    }

    fn deliver(&mut self, at: Millis, report: Report, out: &mut Vec<Report>) {
        let minute = report.received_at.div_euclid(MINUTE) * MINUTE;
        if minute <= at {
            out.push(report);
        } else {
            self.pending.entry(minute).or_default().push(report);
        }
    }
}

/// A code as a number, to tell streams of chance apart.
fn fold(code: &Code) -> u64 {
    fnv_64(code.bytes())
}

/// How much colder or warmer a district is than the city, K.
fn district_offset(district: usize) -> f64 {
    [0.0, 0.2, -0.1, 0.1, -0.2, 0.3, -0.8, -0.6, -1.0][district % DISTRICTS.len()]
}

fn weather_report(district: usize, sky: Sky, at: Millis) -> Sheet {
    let dice = Dice::new(district as u64).stream(at as u64);
    let mut sheet = Sheet::new(&layout::weather_code(district), None, at, 5);
    sheet
        .tenths("outdoor_temp", sky.temperature + district_offset(district) + 0.05 * dice.bell(0))
        .tenths("outdoor_humidity", sky.humidity + 0.3 * dice.bell(1))
        .tenths("wind_speed", (sky.wind + 0.2 * dice.bell(2)).max(0.0))
        .whole("irradiance", sky.irradiance)
        .whole("pm25", sky.dust + dice.bell(3));
    sheet
}
