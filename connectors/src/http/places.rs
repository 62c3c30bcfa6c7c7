//! Places: who is connected, and who may be.
//!
//! Enters: connections that come and go. Leaves: a place, or why there is none. Guarantees: never more connections than
//! places, of one address and in all, but for the few that are just leaving; who waits without a request gives its place
//! to who comes, the longest wait first, so that idle connections keep nobody out.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::line::{Line, Patience};

/// Nobody is displaced before: its request may be on the way.
const SETTLED: Duration = Duration::from_secs(1);
/// Connections that may be leaving at once, beyond the places.
const LEAVING: usize = 64;

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// In all.
    pub total: usize,
    /// Of one address.
    pub per_address: usize,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The address has as many as one may have.
    Address,
    /// All are taken.
    Total,
}

/// The places of a listener; clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    most: Most,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    guests: BTreeMap<u64, Arc<Guest>>,
    by_address: BTreeMap<IpAddr, usize>,
    leaving: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Guest {
    number: u64,
    address: IpAddr,
    line: Mutex<Line>,
    displaced: AtomicBool,
    /// Tells the connection that it is displaced.
    pub leave: Notify,
}

impl Guest {
    /// Its state.
    pub fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn displaced(&self) -> bool {
        self.displaced.load(Ordering::Relaxed)
    }
}

/// A place that is taken; it is given back when dropped.
#[derive(Debug)]
pub struct Seat {
    places: Places,
    /// Who has it.
    pub guest: Arc<Guest>,
}

impl Places {
    /// Free places.
    pub fn new(most: Most) -> Places {
        Places { most, taken: Arc::default() }
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.taken().guests.len()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection of an address, if need be that of one that waits.
    ///
    /// # Errors
    /// [`Full`] when everyone has a request that is worked on, or has just come.
    pub fn take(&self, address: IpAddr, patience: Patience, now: Instant) -> Result<Seat, Full> {
        let address = counted(address);
        let mut taken = self.taken();
        let own = taken.by_address.get(&address).copied().unwrap_or(0);
        let (full, whose) = if own >= self.most.per_address {
            (Some(Full::Address), Some(address))
        } else {
            ((taken.staying() >= self.most.total).then_some(Full::Total), None)
        };
        if let Some(full) = full {
            taken.displace(whose, now).ok_or(full)?;
        }
        let number = taken.next;
        taken.next += 1;
        let line = Mutex::new(Line::new(patience, now));
        let guest = Arc::new(Guest {
            number,
            address,
            line,
            displaced: AtomicBool::new(false),
            leave: Notify::new(),
        });
        taken.guests.insert(number, Arc::clone(&guest));
        *taken.by_address.entry(address).or_default() += 1;
        drop(taken);
        Ok(Seat { places: self.clone(), guest })
    }
}

impl Places {
    /// Sends away who has waited longest: the process has no descriptor left.
    pub fn relieve(&self, now: Instant) {
        self.taken().displace(None, now);
    }
}

impl Taken {
    fn staying(&self) -> usize {
        self.guests.len() - self.leaving
    }

    /// Sends away who has waited longest.
    fn displace(&mut self, whose: Option<IpAddr>, now: Instant) -> Option<()> {
        if self.leaving >= LEAVING {
            return None;
        }
        let candidates =
            self.guests.values().filter(|guest| whose.is_none_or(|whose| guest.address == whose));
        let waiting = candidates.filter_map(|guest| {
            let since = guest.line().waiting_since().filter(|since| now.duration_since(*since) >= SETTLED)?;
            (!guest.displaced()).then_some((since, guest))
        });
        let (_, longest) = waiting.min_by_key(|(since, guest)| (*since, guest.number))?;
        longest.displaced.store(true, Ordering::Relaxed);
        longest.leave.notify_one();
        let address = longest.address;
        self.leaving += 1;
        self.forget(address);
        Some(())
    }

    fn forget(&mut self, address: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.guests.remove(&self.guest.number);
        if self.guest.displaced() {
            taken.leaving -= 1;
        } else {
            taken.forget(self.guest.address);
        }
    }
}

/// What counts as one address: a host with IPv6 has a whole network of 64 bits (RFC 4291, 2.5.4).
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head: SETTLED, idle: SETTLED, answer: SETTLED };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_end_per_address_and_in_all_and_are_given_back() {
        let places = Places::new(Most { total: 3, per_address: 2 });
        let now = Instant::now();
        let take = |text: &str| places.take(address(text), PATIENCE, now);
        let first = take("10.0.0.1").unwrap();
        let _second = take("::ffff:10.0.0.1").unwrap();
        assert_eq!(take("10.0.0.1").unwrap_err(), Full::Address);
        let _third = take("2001:db8::1").unwrap();
        assert_eq!(take("10.0.0.2").unwrap_err(), Full::Total);
        drop(first);
        let _fourth = take("2001:db8::2").unwrap();
        assert_eq!(take("2001:db8::3").unwrap_err(), Full::Address, "one host has the whole network");
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn who_waits_longest_gives_its_place_and_who_works_keeps_it() {
        let places = Places::new(Most { total: 3, per_address: 3 });
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let take = |text: &str, now| places.take(address(text), PATIENCE, now);
        let works = take("10.0.0.1", start).unwrap();
        works.guest.line().work();
        let answered = take("10.0.0.2", start).unwrap();
        answered.guest.line().answered(at(5));
        let idle = take("10.0.0.3", at(1)).unwrap();
        let _new = take("10.0.0.4", at(6)).unwrap();
        assert_eq!(places.len(), 4, "one is leaving");
        let sent_away = |place: &Seat| place.guest.displaced();
        assert!(sent_away(&idle) && !sent_away(&answered) && !sent_away(&works));
        drop(idle);
        let _newer = take("10.0.0.5", at(6)).unwrap();
        assert!(sent_away(&answered), "it is next");
        assert_eq!(take("10.0.0.6", at(6)).unwrap_err(), Full::Total, "the others have just come");
        drop((answered, works));
        assert!(take("10.0.0.6", at(6)).is_ok());
    }

    #[test]
    fn an_address_displaces_only_its_own() {
        let places = Places::new(Most { total: 8, per_address: 1 });
        let start = Instant::now();
        let other = places.take(address("10.0.0.1"), PATIENCE, start).unwrap();
        let own = places.take(address("10.0.0.2"), PATIENCE, start).unwrap();
        let later = start + 2 * SETTLED;
        let _next = places.take(address("10.0.0.2"), PATIENCE, later).unwrap();
        assert!(own.guest.displaced() && !other.guest.displaced());
        assert_eq!(places.take(address("10.0.0.2"), PATIENCE, later).unwrap_err(), Full::Address);
    }
}
