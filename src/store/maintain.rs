//! Settings of the whole store, its time, and what it forgets.
//! Owns: the checks of these calls, rounds of maintenance. May touch: `pipeline`, `retention`, `state`.
//! Never: deletes for age while the clock is in doubt.

use super::options::Durability;
use super::pipeline::Pipeline;
use super::retention::{Round, Scope};
use super::{Store, StoreTime, Ticket};
use crate::error::{ErrorKind, Result};
use crate::events;
use crate::limits::HORIZON_MICROS;
use crate::settings::Settings;
use crate::state::{Decided, Effect, Maintained, Need, Needs, Sequencer, State, TrimPlan};
use crate::time::Timestamp;
use std::time::Duration;

/// How often the store maintains itself.
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);
/// So many trims are on their way before they are waited for, all with one sync.
const TRIMS_PER_WAIT: usize = 1_024;

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

    /// Does what is due at `now`, which is cut to store time.
    ///
    /// Forgets: the horizon rises to the newest version committed at least 90 days before. Cursors from below
    /// it are answered with `ResetRequired`, and tombstones below it are told to nobody.
    ///
    /// Trims: of every timeline that has a [`crate::Retention`] the oldest messages beyond its bounds go, for
    /// everyone, one change for each timeline. They are unread for nobody any more, pages end where they were
    /// with [`crate::Edge::Trimmed`], and whoever names one is told [`crate::ErrorKind::Trimmed`]. Blocks while
    /// there is much to trim.
    ///
    /// The store calls this itself once a minute, unless [`crate::Options::maintain`] says otherwise. While
    /// the wall clock is not followed ([`StoreTime::is_stepped`]), nothing is forgotten or trimmed for its age.
    ///
    /// # Errors
    /// `Full` once the reserve is used up, `Corruption`, `Io`, `Poisoned`, `Closed`. What was done before stays.
    pub fn maintain(&self, now: Timestamp) -> Ticket<Maintained> {
        let decided = maintain(&self.pipeline, self.durability, now, Scope::All);
        Ticket::new(&self.pipeline, self.durability, decided)
    }
}

/// Raises the horizon, then trims.
fn maintain(pipeline: &Pipeline, durability: Durability, now: Timestamp, scope: Scope) -> Result<Decided<Maintained>> {
    let now = trusted(pipeline, now);
    let horizon = now.map_or(Ok(0), |now| old_version(pipeline, now))?;
    let mut decided = pipeline.sequence(
        durability,
        &mut (),
        |(), _, _| (),
        |(), sequencer, _, now| sequencer.raise_horizon(now, horizon),
        |()| Ok(()),
    )?;
    let Ok(maintained) = &mut decided.result else { return Ok(decided) };
    let mut waiting = 0;
    Round::new(pipeline, now, scope).plan(|mut plan| {
        let needs = |plan: &TrimPlan, _: &Sequencer, all: &mut Needs<'_>| all.push(Need::Head(plan.timeline));
        let trim =
            |plan: &mut TrimPlan, sequencer: &mut Sequencer, state: &State, now| sequencer.trim(state, now, plan);
        let Decided { result, rests_on } = pipeline.sequence(durability, &mut plan, needs, trim, |_| Ok(()))?;
        let messages = result?;
        maintained.timelines_trimmed += u64::from(messages > 0);
        maintained.messages_trimmed += messages;
        decided.rests_on = decided.rests_on.max(rests_on);
        waiting += 1;
        if waiting == TRIMS_PER_WAIT {
            waiting = 0;
            pipeline.reach(rests_on, durability)?;
        }
        Ok(())
    })?;
    if maintained.messages_trimmed > 0 {
        events::trimmed(maintained.messages_trimmed);
    }
    match now.map_or(Ok(()), |now| pipeline.purge_in_time(now)) {
        // Files are written before others go. A later round finds more room.
        Err(error) if error.kind() == ErrorKind::Full => {}
        purged => purged?,
    }
    Ok(decided)
}

/// By what ages are judged: `now`, but not later than store time; `None` while the clock is in doubt.
fn trusted(pipeline: &Pipeline, now: Timestamp) -> Option<u64> {
    let time = pipeline.clock.time();
    let store_time = time.now.max(Timestamp(pipeline.state().time));
    (!time.is_stepped).then_some(now.min(store_time).0)
}

/// The newest version that is old enough at `now` to be forgotten; 0 if there is none.
fn old_version(pipeline: &Pipeline, now: u64) -> Result<u64> {
    now.checked_sub(HORIZON_MICROS).map_or(Ok(0), |time| pipeline.last_version_at(time))
}

/// The work of the maintaining thread: once a minute.
pub(super) fn maintain_in_background(pipeline: &Pipeline) {
    while pipeline.progress.wait_maintain(MAINTAIN_EVERY) {
        let durability = pipeline.options.durability;
        // A failure poisons the store, or is met again by the next round.
        if let Ok(decided) = maintain(pipeline, durability, Timestamp::MAX, Scope::Due) {
            let _ = pipeline.reach(decided.rests_on, durability);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupId, UserId};
    use crate::settings::{GroupSettings, Retention};
    use crate::storage::SimStorage;
    use crate::store::{Draft, Options, Threads};
    use crate::time::ManualClock;
    use std::sync::Arc;

    const DAY: u64 = 24 * 3_600 * 1_000_000;

    /// What the background thread finds to trim right now, in messages.
    fn due(store: &Store) -> u64 {
        let decided = maintain(&store.pipeline, Durability::Sync, Timestamp::MAX, Scope::Due).unwrap();
        store.pipeline.reach(decided.rests_on, Durability::Sync).unwrap();
        decided.result.unwrap().messages_trimmed
    }

    #[test]
    fn the_background_looks_where_something_happened_and_once_a_day_everywhere() {
        let clock = Arc::new(ManualClock::new(Timestamp(1_000 * DAY)));
        let options = Options::default().threads(Threads::Inline).journal_bytes(1 << 20).clock(clock.clone());
        let store = Store::open_on(SimStorage::new(1), options).unwrap();
        let say = |draft| {
            store.append(draft).wait().unwrap();
        };
        let send = |to| say(Draft::direct(UserId(1), UserId(to), b"x"));
        let keep = Retention::default().age_secs(3_600).count(2);
        let _ = store.set_settings(Settings::default().retention_user(keep)).wait().unwrap();
        (2..5).for_each(|_| send(2));
        send(3);
        assert_eq!(due(&store), 1, "down to two");
        assert_eq!(due(&store), 0);
        (2..5).for_each(|_| send(2));
        assert_eq!(due(&store), 3);
        // What grew too old meanwhile is found the next day, or once something is said there.
        clock.advance(DAY / 2);
        assert_eq!(due(&store), 0);
        send(2);
        assert_eq!(due(&store), 2, "an hour old, all but the last");
        clock.advance(DAY / 2);
        assert_eq!(due(&store), 2, "the last of those, and one of a timeline where nothing happened");
        // Other settings are looked at everywhere, a group's own at once.
        (2..4).for_each(|_| send(5));
        let group = |count| GroupSettings::default().retention(Some(Retention::default().count(count)));
        let _ = store.create_group(GroupId(7), group(3)).wait().unwrap();
        let _ = store.join(GroupId(7), UserId(1)).wait().unwrap();
        (0..3).for_each(|_| say(Draft::group(GroupId(7), UserId(1), b"x")));
        assert_eq!(due(&store), 0);
        let _ = store.set_group(GroupId(7), group(2)).wait().unwrap();
        assert_eq!(due(&store), 1);
        let _ = store.set_settings(Settings::default().retention_user(keep.count(1))).wait().unwrap();
        assert_eq!(due(&store), 1);
    }
}
