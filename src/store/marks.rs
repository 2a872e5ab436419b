//! Read marks, forward and back.
//! Owns: clamping them to what is published, finding their ordinals. May touch: `pipeline`, `state`.
//! Never: stamps anything; the sequencer does.

use super::pipeline::Pipeline;
use super::{Store, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Peer, Seq, Timeline, UserId};
use crate::state::{Effect, MarkPlan, UnreadPlan};

impl Store {
    /// Moves the user's read mark forward to `upto`, on all its devices.
    ///
    /// The mark is clamped to the newest message that is published and shown. One that is not above
    /// the present mark changes nothing (`Unchanged`). Works also while the disk is full.
    ///
    /// # Errors
    /// `NotFound` if the user has no such session; `InvalidInput` for an id of 0; `Poisoned`, `Closed`.
    pub fn mark_read(&self, user: UserId, peer: Peer, upto: Seq) -> Ticket<Effect> {
        let plan = check_ids(user, peer).and_then(|timeline| plan_read(&self.pipeline, timeline, user, upto));
        let mut plan = match plan {
            Ok(plan) => plan,
            Err(error) => return Ticket::ready(Err(error)),
        };
        let decided = self.pipeline.sequence(
            self.durability,
            &mut plan,
            |plan, sequencer, state, now| sequencer.mark_read(state, now, plan),
            |_| Ok(()),
        );
        Ticket::new(&self.pipeline, self.durability, decided)
    }

    /// Moves the user's read mark back, so that the messages from `seq` on are unread again, but for
    /// its own. A mark that is already there or below changes nothing (`Unchanged`).
    ///
    /// # Errors
    /// `NotFound` if the user has no such session; `InvalidInput` for an id of 0, or a seq that is 0 or
    /// above the newest message published and shown; `Poisoned`, `Closed`.
    pub fn mark_unread_from(&self, user: UserId, peer: Peer, seq: Seq) -> Ticket<Effect> {
        if seq.is_none() {
            return Ticket::ready(Err(Error::new(ErrorKind::InvalidInput, "seq 0 means none")));
        }
        let plan = check_ids(user, peer).and_then(|timeline| plan_unread(&self.pipeline, timeline, user, seq));
        let mut plan = match plan {
            Ok(plan) => plan,
            Err(error) => return Ticket::ready(Err(error)),
        };
        let decided = self.pipeline.sequence(
            self.durability,
            &mut plan,
            |plan, sequencer, state, now| sequencer.mark_unread_from(state, now, plan),
            |_| Ok(()),
        );
        Ticket::new(&self.pipeline, self.durability, decided)
    }
}

fn plan_read(pipeline: &Pipeline, timeline: Timeline, user: UserId, upto: Seq) -> Result<MarkPlan> {
    let mut plan = MarkPlan { timeline, user, target: 0, ordinal: 0 };
    let Some((slot, end, last, last_ordinal)) = published_end(pipeline, timeline, user) else {
        return Ok(plan);
    };
    plan.target = upto.0.min(end);
    plan.ordinal = if plan.target == last { last_ordinal } else { pipeline.ordinal(slot, plan.target)? };
    Ok(plan)
}

fn plan_unread(pipeline: &Pipeline, timeline: Timeline, user: UserId, seq: Seq) -> Result<UnreadPlan> {
    let mut plan = UnreadPlan { timeline, user, seq: seq.0, end: 0, ordinal_before: 0 };
    let Some((slot, end, ..)) = published_end(pipeline, timeline, user) else {
        return Ok(plan);
    };
    plan.end = end;
    if (1..=end).contains(&seq.0) {
        plan.ordinal_before = pipeline.ordinal(slot, seq.0 - 1)?;
    }
    Ok(plan)
}

/// Slot, end of the session, and last seq and ordinal of the timeline, as published.
fn published_end(pipeline: &Pipeline, timeline: Timeline, user: UserId) -> Option<(u32, u64, u64, u64)> {
    let state = pipeline.state();
    let slot = state.slot(timeline)?;
    let tip = state.head(slot).tip;
    let row = state.row(user, slot)?;
    Some((slot, row.end(tip.last), tip.last, tip.ordinal))
}

fn check_ids(user: UserId, peer: Peer) -> Result<Timeline> {
    let timeline = Timeline::of(user, peer);
    if user.is_none() || timeline.is_none() {
        return Err(Error::new(ErrorKind::InvalidInput, "id 0 means none"));
    }
    Ok(timeline)
}
