//! What of each timeline is to go: by age, by count, by bytes.
//! Owns: choosing the trim points. May touch: `rounds`, `pipeline`, `state`.
//! Never: holds the state's lock while it reads a message, or trims anything itself.

use super::pipeline::Pipeline;
use super::read::{Files, Spot};
use super::rounds::{Memory, Weight};
use super::rows::damaged;
use crate::error::{Error, Result};
use crate::id::Timeline;
use crate::settings::Retention;
use crate::state::stored::{self, Owner};
use crate::state::{Amendment, Head, TrimPlan};
use std::sync::MutexGuard;

/// A day, in microseconds.
const DAY_MICROS: u64 = 24 * 3_600 * 1_000_000;
const MICROS_PER_SECOND: u64 = 1_000_000;
/// So many heads are looked at before the state's lock is let go, so that no writer waits for long.
const HEADS_AT_ONCE: usize = 1_024;
/// So many timelines are chosen before the first of them is trimmed.
const PLANS_MAX: usize = 1 << 16;
/// A bound is exceeded once there is more than this part above it: a sixteenth.
const SLACK_PART: u128 = 16;

/// Which timelines a round looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Once a day all, else those in which something happened since the last round.
    Due,
}

/// A timeline, at one moment.
struct Candidate {
    timeline: Timeline,
    trim: u64,
    last: u64,
    ordinal: u64,
    age_day: u64,
    news: u64,
    created: u64,
    retention: Retention,
}

/// Where a round goes on.
enum Next {
    /// At a slot in memory.
    Here(usize),
    /// At a key on disk.
    Stored(Vec<u8>),
}

/// One round over the timelines, one at a time.
pub(super) struct Round<'a> {
    pipeline: &'a Pipeline,
    memory: MutexGuard<'a, Memory>,
    /// The time by which ages are judged; `None` while the clock is in doubt.
    now: Option<u64>,
    since: u64,
    version: u64,
}

impl<'a> Round<'a> {
    /// Begins a round; another one waits for its end.
    pub fn new(pipeline: &'a Pipeline, now: Option<u64>, scope: Scope) -> Round<'a> {
        let memory = pipeline.rounds.memory();
        let state = pipeline.state();
        let settings_version = state.settings_log().last().map_or(0, |(version, _)| *version);
        let is_due = now.is_some_and(|now| day_of(now) != memory.day) || settings_version > memory.version;
        let since = if scope == Scope::All || is_due { 0 } else { memory.version };
        let version = state.version;
        drop(state);
        Round { pipeline, memory, now, since, version }
    }

    /// Hands `trim` a plan for each timeline that is to be trimmed. What cannot be read does not keep the
    /// others from it: its error is given in the end.
    pub fn plan(mut self, mut trim: impl FnMut(TrimPlan) -> Result<()>) -> Result<()> {
        let mut unread: Option<Error> = None;
        let mut next = Some(Next::Here(0));
        let mut plans = Vec::new();
        while let Some(position) = next {
            let candidates;
            (candidates, next) = self.candidates(position)?;
            for candidate in candidates {
                match self.choose(&candidate) {
                    Ok(Some(plan)) => plans.push((candidate.created, plan)),
                    Ok(None) => {}
                    Err(error) => {
                        unread.get_or_insert(error);
                    }
                }
            }
            if plans.len() >= PLANS_MAX || next.is_none() {
                // Where a timeline is to be found must not show in the order of changes.
                plans.sort_unstable_by_key(|(created, plan): &(u64, TrimPlan)| (*created, plan.timeline));
                plans.drain(..).try_for_each(|(_, plan)| trim(plan))?;
            }
        }
        if let Some(error) = unread {
            return Err(error);
        }
        self.memory.version = self.version;
        self.memory.day = self.now.map_or(self.memory.day, day_of);
        Ok(())
    }

    /// Some of the timelines, first those that are in memory, then those that are only on disk.
    fn candidates(&self, position: Next) -> Result<(Vec<Candidate>, Option<Next>)> {
        let state = self.pipeline.state();
        let settings = state.settings();
        let mut found = Vec::new();
        let from = match position {
            Next::Here(slot) => {
                for head in state.heads_here(slot..slot + HEADS_AT_ONCE) {
                    found.extend(self.candidate(head, head.retention(&settings)));
                }
                let slot = slot + HEADS_AT_ONCE;
                let next =
                    if slot < state.slot_count() { Next::Here(slot) } else { Next::Stored(vec![stored::TIMELINE]) };
                return Ok((found, Some(next)));
            }
            Next::Stored(from) => from,
        };
        let segments = state.segments.clone();
        drop(state);
        let (mut heads, mut next) = (Vec::new(), None);
        segments.rows.walk(&from, &mut |key, value| {
            if heads.len() == HEADS_AT_ONCE || key.first() != Some(&stored::TIMELINE) {
                next = (heads.len() == HEADS_AT_ONCE).then(|| Next::Stored(key.to_vec()));
                return Ok(false);
            }
            if let Some(Owner::Timeline(timeline)) = stored::owner(key) {
                heads.push(stored::core_of(timeline, value).ok_or_else(|| damaged(key))?);
            }
            Ok(true)
        })?;
        let state = self.pipeline.state();
        for head in heads.iter().filter(|head| state.head_if_here(head.timeline).is_none()) {
            found.extend(self.candidate(head, head.retention(&settings)));
        }
        Ok((found, next))
    }

    /// The timeline, if a look at its messages may be worth it.
    fn candidate(&self, head: &Head, retention: Retention) -> Option<Candidate> {
        let tip = &head.tip;
        let has_news = tip.version.max(tip.settings_by) > self.since;
        let is_looked_at = retention.is_bounded() && has_news && tip.trim() < tip.last;
        is_looked_at.then_some(Candidate {
            timeline: head.timeline,
            trim: tip.trim(),
            last: tip.last,
            ordinal: tip.ordinal,
            age_day: tip.age_day,
            news: tip.news_version,
            created: tip.created,
            retention,
        })
    }

    fn choose(&mut self, candidate: &Candidate) -> Result<Option<TrimPlan>> {
        let Candidate { timeline, trim, last, ordinal, age_day, retention, .. } = *candidate;
        let mut target = trim;
        if is_exceeded(last - trim, retention.count) {
            target = last - retention.count;
        }
        if retention.body_bytes > 0 {
            target = target.max(self.lightened(candidate)?);
        }
        let by_age = self.aged(candidate)?.filter(|(aged, day)| *aged > target && *day > age_day);
        let target = by_age.map_or(target, |(aged, _)| aged);
        if target == trim {
            return Ok(None);
        }
        self.weigh_without(candidate, target)?;
        let trim_ordinal = if target == last { ordinal } else { self.pipeline.ordinal(timeline, target)? };
        Ok(Some(TrimPlan { timeline, trim: target, trim_ordinal, age_day: by_age.map(|(_, day)| day) }))
    }

    /// The newest message that is too old, and today's day.
    fn aged(&self, candidate: &Candidate) -> Result<Option<(u64, u64)>> {
        let Candidate { timeline, trim, last, retention, .. } = *candidate;
        let Some(now) = self.now.filter(|_| retention.age_secs > 0) else { return Ok(None) };
        let Some(oldest) = now.checked_sub(retention.age_secs * MICROS_PER_SECOND) else { return Ok(None) };
        if day_of(now) <= candidate.age_day || self.pipeline.stored(timeline, trim + 1)?.append.timestamp >= oldest {
            return Ok(None);
        }
        let kept = self.pipeline.first_not(timeline, trim + 2, last, |stored| stored.append.timestamp < oldest)?;
        Ok(Some((kept - 1, day_of(now))))
    }

    /// Up to where messages are to go so that the others weigh no more than they may; the present trim if
    /// that is not much exceeded.
    fn lightened(&mut self, candidate: &Candidate) -> Result<u64> {
        let Candidate { timeline, trim, last, retention, .. } = *candidate;
        let bound = retention.body_bytes;
        let known = self.memory.weights.get(&candidate.timeline).copied();
        let mut target = last;
        let mut bytes = 0;
        match known.filter(|known| known.trim == trim && known.last <= last && known.news == candidate.news) {
            Some(known) => {
                bytes = known.bytes;
                for seq in known.last + 1..=last {
                    bytes += self.body_bytes(timeline, seq)?;
                }
                target = trim;
                let mut left = bytes;
                while is_exceeded(bytes, bound) && bound < left {
                    target += 1;
                    left = left.saturating_sub(self.body_bytes(timeline, target)?);
                }
            }
            // From the newest down, and no further than what is kept.
            None => {
                for seq in (trim + 1..=last).rev() {
                    bytes += self.body_bytes(timeline, seq)?;
                    if bytes <= bound {
                        target = seq - 1;
                    }
                    if is_exceeded(bytes, bound) {
                        // What lies below is not weighed: it goes as well.
                        self.memory.weights.remove(&candidate.timeline);
                        return Ok(target);
                    }
                }
                target = trim;
            }
        }
        self.memory.remember(candidate.timeline, Weight { trim, last, news: candidate.news, bytes });
        Ok(target)
    }

    /// Takes what goes off what is remembered.
    fn weigh_without(&mut self, candidate: &Candidate, target: u64) -> Result<()> {
        let Some(mut weight) = self.memory.weights.remove(&candidate.timeline) else { return Ok(()) };
        if (weight.trim, weight.last) != (candidate.trim, candidate.last) {
            // Of an earlier round, when bytes were bounded.
            return Ok(());
        }
        for seq in weight.trim + 1..=target {
            weight.bytes = weight.bytes.saturating_sub(self.body_bytes(candidate.timeline, seq)?);
        }
        weight.trim = target;
        self.memory.remember(candidate.timeline, weight);
        Ok(())
    }

    fn body_bytes(&self, timeline: Timeline, seq: u64) -> Result<u64> {
        // What was recalled weighs nothing, whether its body is gone by now or not.
        let (spot, files) =
            self.pipeline.look(|state| (state.head_of(timeline).map(|head| Spot::of(head, seq)), Files::of(state)))?;
        let Some(spot) = spot else { return Ok(0) };
        match spot.amendment {
            None => Ok(files.read(timeline, seq, spot.at)?.body_bytes() as u64),
            Some(Amendment { edit: None, .. }) => Ok(0),
            Some(Amendment { edit: Some(edit), version, .. }) => {
                Ok(files.edited_body(timeline, seq, version, edit)?.len() as u64)
            }
        }
    }
}

/// Whether there is more than a sixteenth above a bound, if there is one.
fn is_exceeded(kept: u64, bound: u64) -> bool {
    bound > 0 && u128::from(kept.saturating_sub(bound)) * SLACK_PART > u128::from(bound)
}

/// Days are counted from 1, so that 0 is none.
fn day_of(time: u64) -> u64 {
    time / DAY_MICROS + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_exceeded_by_more_than_a_sixteenth() {
        for (bound, kept_max) in
            [(1, 1), (15, 15), (16, 17), (17, 18), (31, 32), (32, 34), (1 << 50, (1 << 50) * 17 / 16)]
        {
            assert!(!is_exceeded(0, bound) && !is_exceeded(kept_max, bound), "{bound}");
            assert!(is_exceeded(kept_max + 1, bound) && is_exceeded(u64::MAX, bound), "{bound}");
        }
        assert!(!is_exceeded(u64::MAX, 0), "no bound");
    }
}
