//! Points in time and the clocks that tell them.
//! Owns: the unit (microseconds since the Unix epoch) and the clock trait. May touch: nothing.
//! Never: orders changes; that is the sequencer's work, which only asks a clock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The largest time the store takes; far enough that adding to it cannot overflow.
    pub const MAX: Timestamp = Timestamp(u64::MAX / 4);

    /// So many whole seconds after the Unix epoch.
    pub const fn from_secs(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    /// The microseconds.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Tells the store what time it is.
///
/// The store never goes back: the commit time of a change is the later of the clock and the last
/// commit time, so a clock may jump without harm to order. It is asked under the store's shortest
/// lock and must not block or call the store.
pub trait Clock: Send + Sync {
    /// The present time. Values above [`Timestamp::MAX`] are taken as that.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
        Timestamp(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still until it is set: for tests, imports and replays.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `time`.
    pub fn new(time: Timestamp) -> ManualClock {
        ManualClock(AtomicU64::new(time.0))
    }

    /// Shows `time` from now on, earlier or later.
    pub fn set(&self, time: Timestamp) {
        self.0.store(time.0, Ordering::Release);
    }

    /// Moves on by so many microseconds.
    pub fn advance(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::AcqRel);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Acquire))
    }
}
