//! Store time: the wall clock, unless someone set it far away.
//! Owns: noticing steps. May touch: `time`, `limits`.
//! Never: orders changes; commit times never go back, whatever this says.

use crate::limits::CLOCK_STEP_MICROS;
use crate::time::{Clock, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// What time it is for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreTime {
    /// The present time. Commit times and what hangs on them (windows, silences) follow it.
    pub now: Timestamp,
    /// The wall clock was set by more than an hour, and is not followed: time goes on with the monotonic
    /// clock, and nothing is forgotten for its age, until both agree again or
    /// [`crate::Store::accept_clock`] is called.
    pub is_stepped: bool,
}

/// The wall clock with a watch beside it.
pub(crate) struct WatchedClock {
    clock: Arc<dyn Clock>,
    /// Wall minus monotonic time when both last agreed.
    offset: AtomicI64,
}

/// The offset is noted again only when it has drifted so far, so that readers share its cache line.
const DRIFT_NOTED_MICROS: u64 = 1_000_000;

impl WatchedClock {
    pub fn new(clock: Arc<dyn Clock>) -> WatchedClock {
        let watched = WatchedClock { clock, offset: AtomicI64::new(0) };
        watched.accept();
        watched
    }

    pub fn time(&self) -> StoreTime {
        let (wall, monotonic) = self.clocks();
        let agreed = self.offset.load(Ordering::Relaxed);
        let drift = (wall - monotonic).abs_diff(agreed);
        let is_stepped = drift > CLOCK_STEP_MICROS;
        if !is_stepped && drift > DRIFT_NOTED_MICROS {
            self.offset.store(wall - monotonic, Ordering::Relaxed);
        }
        let now = if is_stepped { (monotonic + agreed).max(0) } else { wall };
        StoreTime { now: Timestamp(now as u64).min(Timestamp::MAX), is_stepped }
    }

    /// From now on the wall clock is right.
    pub fn accept(&self) {
        let (wall, monotonic) = self.clocks();
        self.offset.store(wall - monotonic, Ordering::Relaxed);
    }

    /// Both clocks, far enough from overflow to be subtracted.
    fn clocks(&self) -> (i64, i64) {
        let bounded = |time: Timestamp| time.min(Timestamp::MAX).0 as i64;
        (bounded(self.clock.now()), bounded(self.clock.monotonic()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    const HOUR: u64 = CLOCK_STEP_MICROS;

    #[test]
    fn a_step_of_more_than_an_hour_is_not_followed() {
        let start = 1_000 * HOUR;
        let clock = Arc::new(ManualClock::new(Timestamp(start)));
        let watched = WatchedClock::new(clock.clone());
        let check = |now: u64, is_stepped: bool| {
            assert_eq!(watched.time(), StoreTime { now: Timestamp(now), is_stepped });
        };
        clock.advance(500 * HOUR);
        check(start + 500 * HOUR, false);
        clock.step(Timestamp(start + 501 * HOUR));
        check(start + 501 * HOUR, false);
        clock.step(Timestamp(start + 502 * HOUR + 1));
        check(start + 501 * HOUR, true);
        clock.advance(5);
        check(start + 501 * HOUR + 5, true);
        clock.step(Timestamp(7));
        check(start + 501 * HOUR + 5, true);
        clock.step(Timestamp(start + 501 * HOUR));
        check(start + 501 * HOUR, false);
        clock.step(Timestamp(start));
        check(start + 501 * HOUR + 5, true);
        watched.accept();
        check(start, false);
    }
}
