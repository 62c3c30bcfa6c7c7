//! How the points of a series are packed into bytes.
//!
//! Enters: the state after one point, and the next. Leaves: a record of 1 to 20 bytes. Guarantees: bit for bit the same
//! back.
//!
//! The form: the first point stands in full. Every further record says how it differs from the one before it:
//!
//! | first byte | then | meaning |
//! |---|---|---|
//! | `0vvvvvvv` | | same step as before; 7 bits of value difference |
//! | `10vvvvvv` | 1 byte | same step; 14 bits |
//! | `110vvvvv` | 2 bytes | same step; 21 bits |
//! | `1110000r` | varint, and varint or 8 bytes | step changes by the varint; value difference, or with `r` the bits of the value |
//!
//! Differences are zigzag numbers in units of the last decimal. The state that a record builds on (time, step, scaled
//! value) is a function of the two points before it, so a change in the middle rewrites two records and no more.

use schemas::Millis;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::points::Point;

/// What the next record builds on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) at: Millis,
    pub(super) step: Millis,
    pub(super) scaled: i64,
}

const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// The value in units of its last decimal, and whether that is the value exactly.
pub(super) fn scale(value: f64, decimals: u8) -> (i64, bool) {
    let power = POWERS[usize::from(decimals)];
    // `as` saturates, and turns NaN into 0: still a function of the value, which is all the state needs.
    let scaled = (value * power).round() as i64;
    (scaled, (scaled as f64 / power).to_bits() == value.to_bits())
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// Appends the record of `point` to those of its series, and gives the state after it. Room is made a quarter at a time:
/// a million series must not carry half of their bytes empty.
pub(super) fn append(bytes: &mut Vec<u8>, state: State, point: Point, decimals: u8) -> State {
    let mut record = SmallVec::<[u8; 24]>::new();
    let state = encode(&mut record, state, point, decimals);
    if bytes.capacity() - bytes.len() < record.len() {
        bytes.reserve_exact((bytes.len() / 4).max(16).max(record.len()));
    }
    bytes.extend_from_slice(&record);
    state
}

/// Appends the record of `point`, and gives the state after it.
pub(super) fn encode(out: &mut impl Extend<u8>, state: State, point: Point, decimals: u8) -> State {
    let (scaled, exact) = scale(point.value, decimals);
    let step = point.at.wrapping_sub(state.at);
    let difference = zigzag(scaled.wrapping_sub(state.scaled));
    let d = difference;
    if step == state.step && exact && difference < 1 << 21 {
        if d < 1 << 7 {
            out.extend([d as u8]);
        } else if d < 1 << 14 {
            out.extend([0x80 | (d >> 8) as u8, d as u8]);
        } else {
            out.extend([0xc0 | (d >> 16) as u8, (d >> 8) as u8, d as u8]);
        }
    } else {
        out.extend([0xe0 | u8::from(!exact)]);
        put_varint(out, zigzag(step.wrapping_sub(state.step)));
        if exact {
            put_varint(out, difference);
        } else {
            out.extend(point.value.to_bits().to_le_bytes());
        }
    }
    State { at: point.at, step, scaled }
}

/// Reads the record at `offset`: its point, the state after it and where the next begins; `None` at the end.
pub(super) fn decode(
    bytes: &[u8],
    offset: usize,
    state: State,
    decimals: u8,
) -> Option<(Point, State, usize)> {
    let head = *bytes.get(offset)?;
    let byte = |n: usize| bytes.get(offset + n).map(|b| u64::from(*b));
    let (mut step, mut value, mut next) = (state.step, None, offset + 1);
    let difference = if head < 0x80 {
        u64::from(head)
    } else if head < 0xc0 {
        next += 1;
        u64::from(head & 0x3f) << 8 | byte(1)?
    } else if head < 0xe0 {
        next += 2;
        u64::from(head & 0x1f) << 16 | byte(1)? << 8 | byte(2)?
    } else {
        step = step.wrapping_add(unzigzag(get_varint(bytes, &mut next)?));
        if head & 1 == 1 {
            let raw = bytes.get(next..next + 8)?.try_into().ok()?;
            value = Some(f64::from_bits(u64::from_le_bytes(raw)));
            next += 8;
            0
        } else {
            get_varint(bytes, &mut next)?
        }
    };
    let (value, scaled) = match value {
        Some(value) => (value, scale(value, decimals).0),
        None => {
            let scaled = state.scaled.wrapping_add(unzigzag(difference));
            (scaled as f64 / POWERS[usize::from(decimals)], scaled)
        }
    };
    let at = state.at.wrapping_add(step);
    Some((Point { at, value }, State { at, step, scaled }, next))
}

fn put_varint(out: &mut impl Extend<u8>, mut n: u64) {
    while n >= 0x80 {
        out.extend([n as u8 | 0x80]);
        n >>= 7;
    }
    out.extend([n as u8]);
}

fn get_varint(bytes: &[u8], next: &mut usize) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*next)?;
        *next += 1;
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}
