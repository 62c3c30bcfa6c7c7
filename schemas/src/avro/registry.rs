//! The body of a registry entry: a union of its five kinds.

use super::{
    Record,
    records::{by_name, metric_code},
    wire::{Cursor, Put},
};
use crate::{
    Attributes, Catalogue, Device, District, Enterprise, Error, Facility, FacilityKind, RegistryEntry, Side,
    Threshold, Topic,
};

impl Record for RegistryEntry {
    const TOPIC: Topic = Topic::Registry;

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            RegistryEntry::District(district) => {
                out.put_long(0);
                out.put_str(&district.code);
                out.put_str(&district.name);
                out.put_option(district.parent.as_deref(), |out, code| out.put_str(code));
            }
            RegistryEntry::Enterprise(enterprise) => {
                out.put_long(1);
                out.put_str(&enterprise.code);
                out.put_str(&enterprise.name);
            }
            RegistryEntry::Facility(facility) => {
                out.put_long(2);
                put_facility(facility, out);
            }
            RegistryEntry::Device(device) => {
                out.put_long(3);
                out.put_str(&device.code);
                out.put_str(&device.facility);
                out.put_str(&device.kind);
                out.put_str(&device.model);
                out.put_str(&device.maker);
                out.put_str(&device.installed);
                out.put_map(texts(&device.attributes));
            }
            RegistryEntry::Threshold(threshold) => {
                let metric = metric_code(Self::TOPIC, threshold.metric)?;
                out.put_long(4);
                put_threshold(threshold, metric, out);
            }
        }
        Ok(())
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(Self::TOPIC, bytes);
        let entry = match cursor.branch("entry", 5)? {
            0 => RegistryEntry::District(District {
                code: cursor.code("code")?,
                name: cursor.string("name")?,
                parent: cursor.option("parent", |cursor| cursor.code("parent"))?,
            }),
            1 => RegistryEntry::Enterprise(Enterprise {
                code: cursor.code("code")?,
                name: cursor.string("name")?,
            }),
            2 => RegistryEntry::Facility(facility(&mut cursor)?),
            3 => RegistryEntry::Device(Device {
                code: cursor.code("code")?,
                facility: cursor.code("facility")?,
                kind: cursor.code("type")?,
                model: cursor.string("model")?,
                maker: cursor.string("maker")?,
                installed: cursor.string("installed")?,
                attributes: attributes(&mut cursor)?,
            }),
            _ => RegistryEntry::Threshold(threshold(&mut cursor)?),
        };
        cursor.end()?;
        Ok(entry)
    }
}

fn put_facility(facility: &Facility, out: &mut Vec<u8>) {
    out.put_str(&facility.code);
    out.put_str(facility.kind.name());
    out.put_str(&facility.name);
    for code in [&facility.parent, &facility.enterprise, &facility.district] {
        out.put_option(code.as_deref(), |out, code| out.put_str(code));
    }
    for number in [facility.longitude, facility.latitude, facility.heated_area] {
        out.put_option(number, Put::put_double);
    }
    out.put_map(texts(&facility.attributes));
}

fn facility(cursor: &mut Cursor<'_>) -> Result<Facility, Error> {
    Ok(Facility {
        code: cursor.code("code")?,
        kind: cursor.named("kind", |text| by_name(FacilityKind::ALL, FacilityKind::name, text))?,
        name: cursor.string("name")?,
        parent: cursor.option("parent", |cursor| cursor.code("parent"))?,
        enterprise: cursor.option("enterprise", |cursor| cursor.code("enterprise"))?,
        district: cursor.option("district", |cursor| cursor.code("district"))?,
        longitude: cursor.option("longitude", |cursor| cursor.double("longitude"))?,
        latitude: cursor.option("latitude", |cursor| cursor.double("latitude"))?,
        heated_area: cursor.option("heated_area", |cursor| cursor.double("heated_area"))?,
        attributes: attributes(cursor)?,
    })
}

fn texts(attributes: &Attributes) -> impl ExactSizeIterator<Item = (&str, &str)> {
    attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn attributes(cursor: &mut Cursor<'_>) -> Result<Attributes, Error> {
    let texts = cursor.map("attributes")?;
    Ok(texts.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}

fn put_threshold(threshold: &Threshold, metric: &str, out: &mut Vec<u8>) {
    out.put_str(&threshold.scope);
    out.put_str(metric);
    out.put_str(threshold.side.name());
    for level in [threshold.level1, threshold.level2, threshold.level3] {
        out.put_option(level, Put::put_double);
    }
    out.put_double(threshold.deadband);
    out.put_long(threshold.on_delay.into());
    out.put_long(threshold.off_delay.into());
    out.put_boolean(threshold.enabled);
    out.put_str(&threshold.advice);
    out.put_str(&threshold.rule);
}

fn threshold(cursor: &mut Cursor<'_>) -> Result<Threshold, Error> {
    Ok(Threshold {
        scope: cursor.code("scope")?,
        metric: cursor.named("metric", |text| Catalogue::in_force().id(text))?,
        side: cursor.named("side", |text| by_name(Side::ALL, Side::name, text))?,
        level1: cursor.option("level1", |cursor| cursor.double("level1"))?,
        level2: cursor.option("level2", |cursor| cursor.double("level2"))?,
        level3: cursor.option("level3", |cursor| cursor.double("level3"))?,
        deadband: cursor.double("deadband")?,
        on_delay: cursor.number("on_delay")?,
        off_delay: cursor.number("off_delay")?,
        enabled: cursor.boolean("enabled")?,
        advice: cursor.string("advice")?,
        rule: cursor.code("rule")?,
    })
}
