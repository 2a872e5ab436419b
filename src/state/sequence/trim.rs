//! Trims: the oldest messages of a timeline go, for everyone.
//! Owns: what a trim comes to. May touch: the sequencer, `state`, `change`.
//! Never: chooses what is to go; whoever calls has looked at the messages.

use super::{Answer, Class, Decided, Sequencer, change_bytes_max};
use crate::change::{Change, Trim};
use crate::id::Timeline;
use crate::state::{State, Tip};

/// A timeline that is ready to be trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrimPlan {
    pub timeline: Timeline,
    /// The newest message that goes, and how many count up to and with it.
    pub trim: u64,
    pub trim_ordinal: u64,
    /// The day, if it goes for its age: at most once each.
    pub age_day: Option<u64>,
}

impl Sequencer {
    /// Trims a timeline, and says how many messages that took.
    pub fn trim(&mut self, state: &State, now: u64, plan: &TrimPlan) -> Answer<u64> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let TrimPlan { timeline, trim, trim_ordinal, age_day } = *plan;
        let published = state.head_of(timeline).map_or(0, |head| head.tip.last);
        let Some(tip) = self.overlay.tip(state, timeline) else {
            return Ok(Decided { result: Ok(0), rests_on: 0 });
        };
        // Another round may have been here since the plan was made.
        let is_day_done = age_day.is_some_and(|day| day <= tip.age_day);
        if tip.dissolved || trim <= tip.trimmed || trim > published || is_day_done {
            return Ok(Decided { result: Ok(0), rests_on: tip.trim_version() });
        }
        self.reserve(change_bytes_max(0), Class::Frees)?;
        let age_day = age_day.unwrap_or(tip.age_day);
        let change = Trim { timeline, trim, trim_ordinal, ordinal_before: tip.trimmed_ordinal, age_day };
        let version = self.next_version;
        let after = Tip { trimmed: trim, trimmed_ordinal: trim_ordinal, trimmed_by: version, age_day, ..tip };
        if change.counts() {
            self.set_news(timeline, after, now);
        } else {
            self.overlay.set_tip(timeline, after, version);
        }
        let Decided { result, rests_on } = self.queue_one(Change::Trim(change), Vec::new(), now);
        Ok(Decided { result: result.map(|_| trim - tip.trimmed), rests_on })
    }
}
