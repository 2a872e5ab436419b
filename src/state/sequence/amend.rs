//! Recalls and edits.
//! Owns: what these calls come to. May touch: the sequencer, `state`, `change`.
//! Never: asks who may; that is the server's to know.

use super::super::overlay::Busy;
use super::{Answer, Class, Decided, Effect, Sequencer, Stale, change_bytes_max, dissolved};
use crate::change::{Amend, Change};
use crate::error::{Error, ErrorKind};
use crate::id::{Timeline, UserId};
use crate::state::State;

/// A message that is ready to be recalled or edited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AmendPlan {
    pub timeline: Timeline,
    pub seq: u64,
    pub by: UserId,
    pub recalls: bool,
    /// What the message says of itself, if it is published.
    pub found: Option<AmendFound>,
}

/// What a published message says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AmendFound {
    pub ordinal: u64,
    pub counts: bool,
    pub alerts: u8,
    /// The version of the amendment whose body was compared with the new one; 0 for the first body.
    pub body_version: u64,
    /// The new body is the same.
    pub is_same: bool,
}

impl Sequencer {
    /// Recalls a message, or gives it another body.
    pub fn amend(&mut self, state: &State, now: u64, plan: &AmendPlan, body: &[u8]) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let AmendPlan { timeline, seq, by, recalls, .. } = *plan;
        let Some(tip) = self.overlay.tip(state, timeline).filter(|tip| 0 < seq && seq <= tip.last) else {
            let message = format!("no such message: {timeline} seq={seq}");
            return Ok(Decided::refused(Error::new(ErrorKind::NotFound, message), 0));
        };
        if tip.dissolved && !recalls {
            return Ok(Decided::refused(dissolved(timeline), tip.news_version));
        }
        if seq <= tip.trim() {
            let message = format!("the message was trimmed: {timeline} seq={seq}");
            return Ok(Decided::refused(Error::new(ErrorKind::Trimmed, message), tip.trim_version()));
        }
        if state.head_of(timeline).is_none_or(|head| head.tip.last < seq) {
            return Err(Stale::Pending(tip.version));
        }
        if state.head_of(timeline).is_some_and(|head| head.is_lost(seq)) {
            let message = format!("the message is lost: {timeline} seq={seq}");
            return Ok(Decided::refused(Error::new(ErrorKind::NotFound, message), 0));
        }
        self.wait_for(&Busy::Message(timeline, seq))?;
        let head = state.head_of(timeline);
        let before = head.and_then(|head| head.amended.as_ref()?.get(seq));
        match before {
            Some(before) if before.is_recall() && recalls => return Ok(Decided::unchanged(before.version)),
            Some(before) if before.is_recall() => {
                let message = format!("the message was recalled: {timeline} seq={seq}");
                return Ok(Decided::refused(Error::new(ErrorKind::Refused, message), before.version));
            }
            _ => {}
        }
        let body_version = before.map_or(0, |before| before.version);
        let Some(found) = plan.found.filter(|found| recalls || found.body_version == body_version) else {
            return Err(Stale::Recheck);
        };
        if found.is_same && !recalls {
            return Ok(Decided::unchanged(body_version.max(tip.version)));
        }
        let class = if recalls { Class::Frees } else { Class::Adds };
        self.reserve(change_bytes_max(body.len()), class)?;
        let AmendFound { ordinal, counts, alerts, .. } = found;
        self.overlay.set_busy(Busy::Message(timeline, seq), self.next_version);
        self.set_news(timeline, tip, now);
        let amend = Amend { timeline, seq, by, recalls, ordinal, counts, alerts };
        Ok(self.queue_one(Change::Amend(amend), body.to_vec(), now))
    }
}
