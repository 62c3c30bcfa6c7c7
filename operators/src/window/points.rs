//! The recent points of one series, packed.
//!
//! Enters: (time, value) in any order. Leaves: the same, ordered by time, bit for bit.
//! Guarantees: a point that continues the rhythm of the series takes 1 to 3 bytes when its value has no more decimals
//! than the series was made for; any other `f64` is kept exactly in 10 to 20. Appending is O(1) and allocates only to
//! grow; a point in the middle costs one scan and moves the bytes behind it.

use serde::{Deserialize, Serialize};

use schemas::Millis;

use super::packing::{State, append, decode, encode, scale};

/// One point of a series.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When.
    pub at: Millis,
    /// The value.
    pub value: f64,
}

/// What lies at a time and beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Around {
    /// The last point strictly before.
    pub before: Option<Point>,
    /// The value at the very time.
    pub here: Option<f64>,
    /// The first point strictly after.
    pub after: Option<Point>,
}

/// The recent points of one series, ordered by time, at most one per time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Points {
    first: Point,
    last: State,
    last_value: f64,
    #[serde(with = "packed")]
    bytes: Vec<u8>,
    count: u32,
    decimals: u8,
}

impl Points {
    /// An empty series whose values mostly have up to `decimals` decimals (at most 6 are used).
    #[must_use]
    pub fn new(decimals: u8) -> Points {
        let nowhere = Point { at: 0, value: 0.0 };
        Points {
            first: nowhere,
            last: State { at: 0, step: 0, scaled: 0 },
            last_value: 0.0,
            bytes: Vec::new(),
            count: 0,
            decimals: decimals.min(6),
        }
    }

    /// How many points there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes on the heap, for memory figures.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The earliest point.
    #[must_use]
    pub fn first(&self) -> Option<Point> {
        (self.count > 0).then_some(self.first)
    }

    /// The latest point.
    #[must_use]
    pub fn last(&self) -> Option<Point> {
        (self.count > 0).then_some(Point { at: self.last.at, value: self.last_value })
    }

    /// The value at exactly this time.
    #[must_use]
    pub fn get(&self, at: Millis) -> Option<f64> {
        match self.last() {
            Some(last) if last.at == at => Some(last.value),
            Some(last) if last.at > at => self.neighbours(at).here,
            _ => None,
        }
    }

    /// When the last point strictly before a time is. O(1) behind the end, else one scan.
    #[must_use]
    pub fn before(&self, at: Millis) -> Option<Millis> {
        self.neighbours(at).before.map(|point| point.at)
    }

    /// What lies at and beside a time. O(1) at or behind the end, else one scan.
    #[must_use]
    pub fn neighbours(&self, at: Millis) -> Around {
        let mut around = Around::default();
        if let Some(last) = self.last().filter(|last| last.at < at) {
            around.before = Some(last);
            return around;
        }
        for point in self.iter() {
            if point.at > at {
                around.after = Some(point);
                break;
            } else if point.at == at {
                around.here = Some(point.value);
            } else {
                around.before = Some(point);
            }
        }
        around
    }

    /// Every point, in the order of time.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { points: self, cursor: Cursor::start(self), done: self.count == 0, started: false }
    }

    /// The points at or after a time, in order.
    pub fn iter_from(&self, at: Millis) -> impl Iterator<Item = Point> + '_ {
        self.iter().skip_while(move |point| point.at < at)
    }

    /// Puts a point, and gives the value that stood at its time before.
    pub fn upsert(&mut self, at: Millis, value: f64) -> Option<f64> {
        if self.count == 0 {
            self.first = Point { at, value };
            self.last = self.start(self.first);
            self.last_value = value;
            self.count = 1;
            None
        } else if at > self.last.at {
            self.last = append(&mut self.bytes, self.last, Point { at, value }, self.decimals);
            self.last_value = value;
            self.count += 1;
            None
        } else {
            self.splice(at, Some(value))
        }
    }

    /// Takes the point at this time away, and gives its value.
    pub fn remove(&mut self, at: Millis) -> Option<f64> {
        if self.count == 0 || at > self.last.at || at < self.first.at { None } else { self.splice(at, None) }
    }

    /// The points before a time, as they are sealed. None when there is none but the first, and that one before `since`.
    pub(super) fn strip(&self, since: Millis, before: Millis) -> Option<Strip> {
        if self.count == 0 || self.first.at >= before {
            return None;
        }
        let mut cursor = Cursor::start(self);
        let mut next = cursor;
        while next.advance(self) && next.point.at < before {
            cursor = next;
        }
        let bytes = || self.bytes[..cursor.offset].to_vec();
        let strip = || Strip { first: self.first, decimals: self.decimals, bytes: bytes() };
        (cursor.point.at >= since).then(strip)
    }

    /// Puts points before those that there are; a point that both have is there once. Only the last of those before `floor`
    /// stays. `strips` are in the order of time, each with the time that its points lie before.
    pub(super) fn put_before<'a>(
        &mut self,
        strips: impl Iterator<Item = (&'a Strip, Millis)>,
        floor: Millis,
    ) {
        let own = std::mem::replace(self, self.bare());
        let mut put = |point: Point| {
            if self.last().is_none_or(|last| last.at < point.at) {
                self.upsert(point.at, point.value);
            }
        };
        for (strip, until) in strips {
            strip.points().iter().take_while(|point| point.at < until).for_each(&mut put);
        }
        own.iter().for_each(put);
        self.forget_before_but_one(floor);
    }

    /// Forgets every point before a time.
    pub fn forget_before(&mut self, at: Millis) {
        self.forget(at, false);
    }

    /// Forgets every point before a time but the last of them, which the first segment after it starts from.
    pub fn forget_before_but_one(&mut self, at: Millis) {
        self.forget(at, true);
    }

    fn forget(&mut self, at: Millis, keep_one: bool) {
        if self.count == 0 || self.first.at >= at {
            return;
        }
        if self.last.at < at {
            if keep_one {
                *self = Points {
                    first: Point { at: self.last.at, value: self.last_value },
                    count: 1,
                    ..self.bare()
                };
                self.last = self.start(self.first);
                self.last_value = self.first.value;
            } else {
                *self = Points::new(self.decimals);
            }
            return;
        }
        // The first point that stays, and how many go before it.
        let (mut cursor, mut gone) = (Cursor::start(self), 0);
        while cursor.point.at < at {
            let mut next = cursor;
            if !next.advance(self) || (keep_one && next.point.at >= at) {
                break;
            }
            (cursor, gone) = (next, gone + 1);
        }
        self.first = cursor.point;
        self.count -= gone;
        self.rewrite(0, cursor.offset, self.start(cursor.point), None, cursor);
        self.bytes.shrink_to(self.bytes.len() + self.bytes.len() / 2);
    }

    /// Replaces, inserts or removes the point at a time that is not behind the end.
    fn splice(&mut self, at: Millis, value: Option<f64>) -> Option<f64> {
        // `before` stands on the last point earlier than `at`, `after` on what the rest of the bytes continues from.
        let mut before = None;
        let mut after = Cursor::start(self);
        let mut more = true;
        while more && after.point.at < at {
            before = Some(after);
            more = after.advance(self);
        }
        let replaced = (more && after.point.at == at).then_some(after.point.value);
        if value.is_none() && replaced.is_none() {
            return None;
        }
        self.count = self.count + u32::from(value.is_some()) - u32::from(replaced.is_some());
        if self.count == 0 {
            *self = self.bare();
            return replaced;
        }
        let mut following = more.then_some(after);
        if replaced.is_some() {
            following = following.and_then(|mut c| c.advance(self).then_some(c));
        }
        let put = value.map(|value| Point { at, value });
        match (before, put, following) {
            (Some(before), put, None) => {
                self.bytes.truncate(before.offset);
                self.last = before.state;
                self.last_value = before.point.value;
                if let Some(point) = put {
                    self.last = append(&mut self.bytes, self.last, point, self.decimals);
                    self.last_value = point.value;
                }
            }
            (Some(before), put, Some(following)) => {
                self.rewrite(before.offset, following.offset, before.state, put, following);
            }
            (None, Some(point), following) => {
                self.first = point;
                let start = self.start(point);
                if let Some(following) = following {
                    self.rewrite(0, following.offset, start, None, following);
                } else {
                    self.bytes.clear();
                    (self.last, self.last_value) = (start, point.value);
                }
            }
            (None, None, Some(following)) => {
                self.first = following.point;
                let start = self.start(following.point);
                self.rewrite(0, following.offset, start, None, following);
            }
            // Nothing before, nothing put, nothing behind: the count would be 0, which was answered above.
            (None, None, None) => *self = self.bare(),
        }
        replaced
    }

    /// Writes `bytes[from..to]` anew: starting from `state`, the point `put`, the point that `following` stands on
    /// (unless the state is already on it) and the one after it; what lies behind stays as it is.
    fn rewrite(&mut self, from: usize, to: usize, state: State, put: Option<Point>, following: Cursor) {
        let mut fresh = smallvec::SmallVec::<[u8; 64]>::new();
        let mut state = state;
        if let Some(point) = put {
            state = encode(&mut fresh, state, point, self.decimals);
        }
        let (mut cursor, mut to) = (following, to);
        if cursor.point.at != state.at {
            state = encode(&mut fresh, state, cursor.point, self.decimals);
        }
        if cursor.advance(self) {
            state = encode(&mut fresh, state, cursor.point, self.decimals);
            to = cursor.offset;
        }
        let ends_here = to == self.bytes.len();
        let value = cursor.point.value;
        self.bytes.splice(from..to, fresh);
        if ends_here {
            self.last = state;
            self.last_value = value;
        }
    }

    fn start(&self, point: Point) -> State {
        State { at: point.at, step: 0, scaled: scale(point.value, self.decimals).0 }
    }

    fn bare(&self) -> Points {
        Points::new(self.decimals)
    }
}

/// Points that are sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Strip {
    first: Point,
    decimals: u8,
    #[serde(with = "packed")]
    bytes: Vec<u8>,
}

impl Strip {
    /// The points, to be walked over from the first on.
    fn points(&self) -> Points {
        let bytes = self.bytes.clone();
        Points { first: self.first, bytes, count: 1, ..Points::new(self.decimals) }
    }

    /// An empty series for its points.
    pub(super) fn series(&self) -> Points {
        Points::new(self.decimals)
    }
}

/// Writes and reads the packed bytes at once, where serde goes through a list one by one.
mod packed {
    use serde::{
        Deserializer, Serializer,
        de::{Error, SeqAccess, Visitor},
    };

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("packed points")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = list.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}

/// Stands on one point: its value, the state after it and where the next record begins.
#[derive(Clone, Copy)]
struct Cursor {
    point: Point,
    state: State,
    offset: usize,
}

impl Cursor {
    fn start(points: &Points) -> Cursor {
        Cursor { point: points.first, state: points.start(points.first), offset: 0 }
    }

    /// Steps to the next point; false at the end.
    fn advance(&mut self, points: &Points) -> bool {
        let Some((point, state, offset)) = decode(&points.bytes, self.offset, self.state, points.decimals)
        else {
            return false;
        };
        *self = Cursor { point, state, offset };
        true
    }
}

/// Walks over the points of a series.
pub struct Iter<'a> {
    points: &'a Points,
    cursor: Cursor,
    started: bool,
    done: bool,
}

impl Iterator for Iter<'_> {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        if self.done {
            return None;
        }
        if self.started && !self.cursor.advance(self.points) {
            self.done = true;
            return None;
        }
        self.started = true;
        Some(self.cursor.point)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Everything the packed series says, against a plain ordered map.
    fn agrees(points: &Points, oracle: &BTreeMap<Millis, u64>) {
        let packed: Vec<(Millis, u64)> = points.iter().map(|p| (p.at, p.value.to_bits())).collect();
        let plain: Vec<(Millis, u64)> = oracle.iter().map(|(t, v)| (*t, *v)).collect();
        assert_eq!(packed, plain);
        assert_eq!(points.len(), plain.len());
        let bits = |p: Option<Point>| p.map(|p| (p.at, p.value.to_bits()));
        assert_eq!(bits(points.first()), plain.first().copied());
        assert_eq!(bits(points.last()), plain.last().copied());
    }

    fn values() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => (-900i32..9000).prop_map(|n| f64::from(n) / 10.0),
            1 => any::<f64>(),
            1 => Just(-0.0),
            1 => Just(0.1 + 0.2),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn is_an_ordered_map(
            steps in prop::collection::vec((0u8..12, -40i64..40, values()), 0..120),
            decimals in 0u8..8,
        ) {
            let (mut points, mut oracle) = (Points::new(decimals), BTreeMap::new());
            for (what, at, value) in steps {
                let at = at * 1_000;
                let (before, after) = (oracle.range(..at).next_back(), oracle.range(at + 1..).next());
                let beside = points.neighbours(at);
                prop_assert_eq!(beside.before.map(|p| p.at), before.map(|p| *p.0));
                prop_assert_eq!(beside.after.map(|p| p.at), after.map(|p| *p.0));
                prop_assert_eq!(beside.here.map(f64::to_bits), oracle.get(&at).copied());
                prop_assert_eq!(points.get(at).map(f64::to_bits), oracle.get(&at).copied());
                match what {
                    0..8 => {
                        let was = points.upsert(at, value).map(f64::to_bits);
                        prop_assert_eq!(was, oracle.insert(at, value.to_bits()));
                    }
                    8..10 => prop_assert_eq!(points.remove(at).map(f64::to_bits), oracle.remove(&at)),
                    10 => {
                        points.forget_before(at);
                        oracle = oracle.split_off(&at);
                    }
                    _ => {
                        points.forget_before_but_one(at);
                        let from = oracle.range(..at).next_back().map_or(at, |p| *p.0);
                        oracle = oracle.split_off(&from);
                    }
                }
                agrees(&points, &oracle);
                let from: Vec<Millis> = points.iter_from(at).map(|p| p.at).collect();
                prop_assert_eq!(from, oracle.range(at..).map(|p| *p.0).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_regular_point_takes_few_bytes() {
        let mut points = Points::new(1);
        for minute in 0..360 {
            points.upsert(minute * 60_000, 45.0 + ((minute * 7) % 11) as f64 / 10.0);
        }
        assert!(points.bytes.len() <= 366, "{} bytes for 360 temperatures", points.bytes.len());
        let room = points.bytes.capacity() - points.bytes.len();
        assert!(room <= points.bytes.len() / 4 + 16, "room for {room} bytes more");
        let mut jittered = Points::new(3);
        for minute in 0..360i64 {
            jittered.upsert(minute * 60_000 + (minute * 37) % 900, minute as f64 * 0.317);
        }
        assert!(jittered.bytes.len() <= 360 * 5, "{} bytes for 360 counts", jittered.bytes.len());
    }
}
