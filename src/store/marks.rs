//! Marks of what was read and delivered, forward and back; floors.
//! Owns: clamping them to what is published, finding their ordinals. May touch: `pipeline`, `state`.
//! Never: stamps anything; the sequencer does.

use super::needs;
use super::pipeline::Pipeline;
use super::{Store, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Peer, Seq, Timeline, UserId};
use crate::state::{ClearPlan, Effect, MarkPlan, UnreadPlan};

impl Store {
    /// Moves the user's read mark forward to `upto`, on all its devices, and takes away the mark that
    /// [`crate::FlagChange::marked_unread`] set.
    ///
    /// The mark is clamped to the newest message that is published and shown. One that is not above
    /// the present mark moves nothing (`Unchanged`, unless the session was marked unread). The receipts of
    /// what was read rise with it, and of what was delivered. Works also while the disk is full.
    ///
    /// # Errors
    /// `NotFound` if the user has no such session; `InvalidInput` for an id of 0; `Poisoned`, `Closed`.
    pub fn mark_read(&self, user: UserId, peer: Peer, upto: Seq) -> Ticket<Effect> {
        let plan = self.session_timeline(user, peer).and_then(|timeline| {
            let (target, ordinal) = target(&self.pipeline, timeline, user, upto)?;
            Ok(MarkPlan { timeline, user, target, ordinal })
        });
        self.planned(
            plan,
            |plan, _, all| needs::session(plan.user, plan.timeline, all),
            |plan, sequencer, state, now| sequencer.mark_read(state, now, plan),
        )
    }

    /// Notes that everything up to `upto` reached the user, for the receipts of those who sent it. The
    /// mark only rises, and is clamped as that of [`Store::mark_read`]. Works also while the disk is full.
    ///
    /// # Errors
    /// As [`Store::mark_read`].
    pub fn mark_delivered(&self, user: UserId, peer: Peer, upto: Seq) -> Ticket<Effect> {
        let plan = self.session_timeline(user, peer).and_then(|timeline| {
            let end = published_end(&self.pipeline, timeline, user)?.map_or(0, |end| end.seq);
            Ok(MarkPlan { timeline, user, target: upto.0.min(end), ordinal: 0 })
        });
        self.planned(
            plan,
            |plan, _, all| needs::session(plan.user, plan.timeline, all),
            |plan, sequencer, state, now| sequencer.mark_delivered(state, now, plan),
        )
    }

    /// Moves the user's read mark back, so that the messages from `seq` on are unread again, but for
    /// its own. A mark that is already there or below changes nothing (`Unchanged`). Receipts stay.
    ///
    /// # Errors
    /// `NotFound` if the user has no such session; `InvalidInput` for an id of 0, or a seq that is 0 or
    /// above the newest message published and shown; `Poisoned`, `Closed`.
    pub fn mark_unread_from(&self, user: UserId, peer: Peer, seq: Seq) -> Ticket<Effect> {
        if seq.is_none() {
            return Ticket::ready(Err(Error::new(ErrorKind::InvalidInput, "seq 0 means none")));
        }
        let plan =
            self.session_timeline(user, peer).and_then(|timeline| plan_unread(&self.pipeline, timeline, user, seq));
        self.planned(
            plan,
            |plan, _, all| needs::session(plan.user, plan.timeline, all),
            |plan, sequencer, state, now| sequencer.mark_unread_from(state, now, plan),
        )
    }

    /// Takes everything up to `upto` out of the user's sight, on all its devices, for good. The session
    /// stays listed; what others see does not change, nor do receipts.
    ///
    /// `upto` is clamped to the newest message that is published and shown; what is cleared already
    /// changes nothing (`Unchanged`). Works also while the disk is full.
    ///
    /// # Errors
    /// As [`Store::mark_read`].
    pub fn clear(&self, user: UserId, peer: Peer, upto: Seq) -> Ticket<Effect> {
        self.clear_upto(user, peer, upto, false)
    }

    /// Takes the session off the user's list: clears it to its end, and drops its pin, its metadata and
    /// that it was marked unread. Whether it is muted stays, and the membership.
    ///
    /// Other devices learn it by a tombstone. The next message that counts, of whomever, brings the session
    /// back with what is new. Works also while the disk is full.
    ///
    /// # Errors
    /// As [`Store::mark_read`].
    pub fn remove_session(&self, user: UserId, peer: Peer) -> Ticket<Effect> {
        self.clear_upto(user, peer, Seq(u64::MAX), true)
    }

    fn clear_upto(&self, user: UserId, peer: Peer, upto: Seq, removes: bool) -> Ticket<Effect> {
        let plan = self.session_timeline(user, peer).and_then(|timeline| {
            let (target, ordinal) = target(&self.pipeline, timeline, user, upto)?;
            Ok(ClearPlan { timeline, user, target, ordinal, removes })
        });
        self.planned(
            plan,
            |plan, _, all| needs::session(plan.user, plan.timeline, all),
            |plan, sequencer, state, now| sequencer.clear(state, now, plan),
        )
    }
}

/// `upto`, clamped to what is published and shown, and the ordinal there.
fn target(pipeline: &Pipeline, timeline: Timeline, user: UserId, upto: Seq) -> Result<(u64, u64)> {
    let Some(end) = published_end(pipeline, timeline, user)? else {
        return Ok((0, 0));
    };
    let target = upto.0.min(end.seq);
    Ok((target, if target == end.seq { end.ordinal } else { pipeline.ordinal(timeline, target)? }))
}

fn plan_unread(pipeline: &Pipeline, timeline: Timeline, user: UserId, seq: Seq) -> Result<UnreadPlan> {
    let mut plan = UnreadPlan { timeline, user, seq: seq.0, end: 0, ordinal_before: 0 };
    let Some(end) = published_end(pipeline, timeline, user)? else {
        return Ok(plan);
    };
    plan.end = end.seq;
    if (1..=end.seq).contains(&seq.0) {
        plan.ordinal_before = pipeline.ordinal(timeline, seq.0 - 1)?;
    }
    Ok(plan)
}

/// The newest message of a session that is published.
struct PublishedEnd {
    seq: u64,
    ordinal: u64,
}

fn published_end(pipeline: &Pipeline, timeline: Timeline, user: UserId) -> Result<Option<PublishedEnd>> {
    pipeline.look(|state| {
        let slot = state.slot(timeline)?;
        let row = state.session(user, slot)?;
        let tip = state.head(slot).tip;
        Some(PublishedEnd { seq: row.end(tip.last), ordinal: row.end_ordinal(&tip) })
    })
}
