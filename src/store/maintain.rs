//! Settings of the whole store, its time, and what it forgets.
//! Owns: the checks of these calls. May touch: `pipeline`, `state`.
//! Never: deletes for age while the clock is in doubt.

use super::pipeline::Pipeline;
use super::{Store, StoreTime, Ticket};
use crate::error::Result;
use crate::limits::HORIZON_MICROS;
use crate::settings::Settings;
use crate::state::{Effect, Maintained, Sequencer, State};
use crate::time::Timestamp;
use std::time::Duration;

/// How often the store maintains itself.
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);

impl Store {
    /// How the store behaves now.
    pub fn settings(&self) -> Settings {
        self.pipeline.state().settings()
    }

    /// Changes how the store behaves, from the next call on. The same settings change nothing
    /// (`Unchanged`).
    ///
    /// # Errors
    /// `LimitExceeded` for one out of its range, `Full`, `Poisoned`, `Closed`.
    pub fn set_settings(&self, settings: Settings) -> Ticket<Effect> {
        self.checked(settings.check(), |_| (), |sequencer, _, now| sequencer.set_settings(now, settings))
    }

    /// What time it is for the store, and whether the wall clock is followed.
    pub fn time(&self) -> StoreTime {
        let time = self.pipeline.clock.time();
        StoreTime { now: time.now.max(Timestamp(self.pipeline.state().time)), ..time }
    }

    /// Follows the wall clock again after it was set by more than an hour: the operator has looked, and it
    /// is right.
    pub fn accept_clock(&self) {
        self.pipeline.clock.accept();
    }

    /// Forgets what is old enough at `now`, which is cut to store time: the horizon rises to the newest
    /// version committed at least 90 days before. Cursors from below it are answered with `ResetRequired`,
    /// and tombstones below it are told to nobody.
    ///
    /// The store calls this itself once a minute, unless [`crate::Options::maintain`] says otherwise. While
    /// the wall clock is not followed ([`StoreTime::is_stepped`]), nothing is forgotten.
    ///
    /// # Errors
    /// `Full`, `Poisoned`, `Closed`.
    pub fn maintain(&self, now: Timestamp) -> Ticket<Maintained> {
        let horizon = old_version(&self.pipeline, now);
        self.planned(horizon, |_, _, _, _| (), |horizon, sequencer, _, now| sequencer.raise_horizon(now, *horizon))
    }
}

/// The newest version that is old enough at `now` to be forgotten; 0 while the clock is in doubt.
fn old_version(pipeline: &Pipeline, now: Timestamp) -> Result<u64> {
    let time = pipeline.clock.time();
    if time.is_stepped {
        return Ok(0);
    }
    let now = now.min(time.now.max(Timestamp(pipeline.state().time)));
    now.0.checked_sub(HORIZON_MICROS).map_or(Ok(0), |time| pipeline.last_version_at(time))
}

/// The work of the maintaining thread: once a minute.
pub(super) fn maintain_in_background(pipeline: &Pipeline) {
    while pipeline.progress.wait_maintain(MAINTAIN_EVERY) {
        let Ok(horizon) = old_version(pipeline, Timestamp::MAX) else { continue };
        let durability = pipeline.options.durability;
        let raise = |(): &mut (), sequencer: &mut Sequencer, _: &State, now| sequencer.raise_horizon(now, horizon);
        // A failure poisons the store, or is met again by the next round.
        if let Ok(decided) = pipeline.sequence(durability, &mut (), |(), _, _, _| (), raise, |()| Ok(())) {
            let _ = pipeline.reach(decided.rests_on, durability);
        }
    }
}
