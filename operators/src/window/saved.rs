//! How the windows outlive the process.
//!
//! Enters: sections of the facilities that this worker holds, then the epoch of the checkpoint once more, carrying the
//! registry alone. Leaves: in that epoch everything that the open windows add to the scopes, and no change of any window.
//! Guarantees: what follows is the same as if the process had never ended.
//!
//! Form 5: per facility its objects, the hours in memory and since when they are there, open days and longer windows,
//! under its code; the clock and the horizon, for all alike. What is sealed lies beside it ([`super::sealed`]), in the same
//! form. What follows from the profile (scopes, traits and season) is derived again from the same profile. Sums of rooms
//! that were measured against other temperatures than 18 and 24 °C say so, for all alike; a state without that entry reads
//! as before. Form 4 sealed nothing, and kept hours since a silence instead. Form 3 is the same, but for what its facts
//! counted of changes, which is passed over: components that are no more, and entries (their keys begin with 0 and go on)
//! of scopes that a facility had left. Form 2 had no longer windows than days; form 1 ([`super::former`]) knew less of a
//! facility.

use schemas::Millis;
use serde::{Deserialize, Serialize};

use super::{
    Calendar, Horizon, Window, WindowedEpoch,
    former::FormerSite,
    open::{FourthSite, SecondSite},
    site::Site,
    traits::RoomLimits,
};
use crate::{
    CheckedEpoch,
    durable::{Durable, GLOBAL, RestoreError, Saved, append_entry, decode, entries, known_form},
};

/// How far time had come at a checkpoint. The horizon is that of the clock an epoch before, so it is no function of the
/// clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Time {
    clock: Option<Millis>,
    first_open_hour: Millis,
    first_open_day: Millis,
}

impl Durable for Window {
    const STATE: &'static str = "window";
    const FORM: u16 = 5;

    fn begin(&mut self) {
        let time =
            Time { clock: self.clock, first_open_hour: self.horizon.hour, first_open_day: self.horizon.day };
        self.common_to_save = Some((time, self.rooms_of_sums));
        self.sites.begin();
    }

    fn save(&mut self, entries: usize, out: &mut Saved) -> bool {
        if let Some((time, rooms)) = self.common_to_save.take() {
            out.put(GLOBAL, "time", Some(&time));
            self.rooms_named |= rooms != RoomLimits::UNNAMED;
            if self.rooms_named {
                out.put(GLOBAL, ROOMS, Some(&(2_u8, rooms.standard, rooms.over_high)));
            }
        }
        self.sites.save(entries, out)
    }

    fn restore(&mut self, shard: u16, form: u16, section: &[u8]) -> Result<(), RestoreError> {
        known_form(Self::STATE, form, Self::FORM)?;
        if !std::mem::replace(&mut self.resuming, true) {
            self.rooms_of_sums = RoomLimits::UNNAMED;
        }
        if shard == GLOBAL {
            return self.restore_common(section);
        }
        let mut sites = Vec::with_capacity(section.len());
        entries(Self::STATE, section, |key, value| {
            if key.len() == 1 || key.first() != Some(&0) {
                append_entry(&mut sites, key, value);
            }
            Ok(())
        })?;
        match form {
            1 => self.sites.restore_former::<FormerSite>(Self::STATE, &sites),
            2 => self.sites.restore_former::<SecondSite>(Self::STATE, &sites),
            3 | 4 => self.sites.restore_former::<FourthSite>(Self::STATE, &sites),
            _ => self.sites.restore(Self::STATE, &sites),
        }
    }
}

/// The key of the room temperatures. Their value begins with a 2, which no [`Time`] does: a version that does not know
/// them refuses the section.
const ROOMS: &str = "rooms";

impl Window {
    /// Takes over what is the same for all facilities.
    fn restore_common(&mut self, section: &[u8]) -> Result<(), RestoreError> {
        entries(Self::STATE, section, |key, value| {
            let key: String = decode(Self::STATE, "", key)?;
            match (key.as_str(), value) {
                (_, None) => {}
                (ROOMS, Some(value)) => {
                    let (_, standard, over_high): (u8, f64, f64) =
                        decode(Self::STATE, "room temperatures: ", value)?;
                    (self.rooms_of_sums, self.rooms_named) = (RoomLimits { standard, over_high }, true);
                }
                (_, Some(value)) => {
                    let time: Time = decode(Self::STATE, "", value)?;
                    self.clock = time.clock;
                    self.horizon = Horizon { hour: time.first_open_hour, day: time.first_open_day };
                }
            }
            Ok(())
        })
    }

    /// Applies the epoch of the checkpoint once more: the facilities in its registry take their restored forms. All it
    /// tells is what the scopes hold, for downstream begins empty.
    ///
    /// Forms of facilities that are not registered are dropped: one that leaves is forgotten in the epoch in which it
    /// does. A facility without a form begins anew.
    pub(super) fn resume(&mut self, epoch: &CheckedEpoch) -> WindowedEpoch {
        let clock = self.clock.unwrap_or(epoch.clock);
        for change in &epoch.profiles {
            let Some(profile) = &change.profile else { continue };
            let mut site = Site::new(self.registered(profile, self.rooms_of_sums));
            let (totals, series, horizon) = (&mut self.totals, &mut self.series, self.horizon);
            self.sites.know(change.facility.clone(), |form| {
                let known = form.is_some();
                match form {
                    Some(form) => site.restore(form, horizon.hour),
                    None => site.expect_registered(Calendar::hour(clock)),
                }
                totals.contribute_all(&site, horizon);
                *series += site.entries();
                (site, known)
            });
        }
        self.sites.forget_restored();
        self.clock = Some(clock);
        // How far it had come is not saved.
        self.sealing = Some(0);
        // Downstream begins empty: that is no reason.
        let (contributions, _) = self.totals.take();
        WindowedEpoch {
            epoch: epoch.epoch,
            clock,
            horizon: self.horizon,
            contributions,
            profiles: epoch.profiles.clone(),
            ..WindowedEpoch::default()
        }
    }
}
