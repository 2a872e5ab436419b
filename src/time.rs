//! Points in time and the clocks that tell them.
//! Owns: the unit (microseconds since the Unix epoch) and the clock trait. May touch: nothing.
//! Never: orders changes; that is the sequencer's work, which only asks a clock.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

    /// A time that only goes on, at the pace of the wall clock, from whatever start. By it the store
    /// notices that the wall clock was set to another time; see [`crate::Store::time`].
    fn monotonic(&self) -> Timestamp {
        static START: OnceLock<Instant> = OnceLock::new();
        let micros = START.get_or_init(Instant::now).elapsed().as_micros();
        Timestamp(u64::try_from(micros).unwrap_or(u64::MAX))
    }
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
pub struct ManualClock {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `time`.
    pub fn new(time: Timestamp) -> ManualClock {
        ManualClock { wall: AtomicU64::new(time.0), monotonic: AtomicU64::new(time.0) }
    }

    /// Shows `time` from now on, earlier or later, as if all the time between had passed.
    pub fn set(&self, time: Timestamp) {
        let before = self.wall.swap(time.0, Ordering::AcqRel);
        let moved = |monotonic: u64| Some((monotonic.saturating_add(time.0)).saturating_sub(before));
        // The closure always gives a value.
        let _ = self.monotonic.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
    }

    /// Moves on by so many microseconds.
    pub fn advance(&self, micros: u64) {
        self.wall.fetch_add(micros, Ordering::AcqRel);
        self.monotonic.fetch_add(micros, Ordering::AcqRel);
    }

    /// Shows `time` from now on although no time has passed: someone set the wall clock.
    pub fn step(&self, time: Timestamp) {
        self.wall.store(time.0, Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall.load(Ordering::Acquire))
    }

    fn monotonic(&self) -> Timestamp {
        Timestamp(self.monotonic.load(Ordering::Acquire))
    }
}
