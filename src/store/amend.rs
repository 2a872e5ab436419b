//! What becomes of a message after it was sent: recalled, edited, hidden.
//! Owns: reading what an amendment must know of its message. May touch: `pipeline`, `state`.
//! Never: asks who may; that is the server's to know.

use super::needs;
use super::pipeline::Pipeline;
use super::read::Files;
use super::since::check_reach;
use super::visible::{Amendment, amendments_after};
use super::{AmendmentCursor, Store, Ticket};
use crate::change::Hidden;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Peer, Seq, Timeline, UserId, Version};
use crate::limits::{AMENDMENTS_MAX, HIDE_SEQS_MAX, check};
use crate::state::{AmendFound, AmendPlan, Amendment as Newest, Effect, HidePlan, Need};

/// A page of amendments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Amendments {
    /// By version, then seq.
    pub amendments: Vec<Amendment>,
    /// Where to go on.
    pub next: AmendmentCursor,
    /// Whether more follows now.
    pub more: bool,
}

impl Store {
    /// Takes a message back, for everyone and for good: its body, mentions and alerts are not shown any
    /// more, and it is unread for nobody. Its place stays, with who recalled it and when.
    ///
    /// `by` is noted as it is; none stands for the server itself. Who may recall, and how long, is the
    /// server's policy. A second recall changes nothing (`Unchanged`). Works also while the disk is full.
    ///
    /// # Errors
    /// `NotFound` if there is no such message; `Trimmed` if it was there; `InvalidInput` for an id of 0;
    /// `Poisoned`, `Closed`.
    pub fn recall(&self, by: UserId, timeline: Timeline, seq: Seq) -> Ticket<Effect> {
        self.amend(by, timeline, seq, None)
    }

    /// Gives a message another body, for everyone. Nothing else about it changes. The newest edit holds;
    /// the body it has already changes nothing (`Unchanged`).
    ///
    /// # Errors
    /// As [`Store::recall`]; `Refused` if it was recalled; `Dissolved`; `LimitExceeded` as for the body of
    /// an append; `Full`.
    pub fn edit(&self, by: UserId, timeline: Timeline, seq: Seq, body: &[u8]) -> Ticket<Effect> {
        self.amend(by, timeline, seq, Some(body))
    }

    fn amend(&self, by: UserId, timeline: Timeline, seq: Seq, body: Option<&[u8]>) -> Ticket<Effect> {
        let pipeline = &self.pipeline;
        let plan = check_edit(pipeline, timeline, body).and_then(|()| {
            let mut plan = AmendPlan { timeline, seq: seq.0, by, recalls: body.is_none(), found: None };
            find(pipeline, &mut plan, body)?;
            Ok(plan)
        });
        let mut plan = match plan {
            Ok(plan) => plan,
            Err(error) => return Ticket::ready(Err(error)),
        };
        let decided = pipeline.sequence(
            self.durability,
            &mut plan,
            |plan, _, all| all.push(Need::Head(plan.timeline)),
            |plan, sequencer, state, now| sequencer.amend(state, now, plan, body.unwrap_or_default()),
            |plan| find(pipeline, plan, body),
        );
        Ticket::new(pipeline, self.durability, decided)
    }

    /// Hides messages from the user, on all its devices and for good; everyone else sees them. At most
    /// [`HIDE_SEQS_MAX`] in one change. Those that are hidden already are left out; if all are, nothing
    /// changes (`Unchanged`). Works also while the disk is full, as far as the reserve of a sixteenth of a
    /// journal file takes the list.
    ///
    /// # Errors
    /// `NotFound` if the user has no such session, or is not shown one of the messages; `Trimmed` for one
    /// that was there; then none is hidden. `LimitExceeded`, `InvalidInput` for an id of 0, `Poisoned`,
    /// `Closed`.
    pub fn hide(&self, user: UserId, peer: Peer, seqs: &[Seq]) -> Ticket<Effect> {
        let plan = check("messages to hide", seqs.len(), HIDE_SEQS_MAX)
            .and_then(|()| self.session_timeline(user, peer))
            .and_then(|timeline| self.pipeline.of_one_moment(|| plan_hide(&self.pipeline, timeline, user, seqs)));
        self.planned(
            plan,
            |plan, _, all| needs::session(plan.user, plan.timeline, all),
            |plan, sequencer, state, now| sequencer.hide(state, now, plan),
        )
    }

    /// What became of the session's messages since a cursor, or ever: of each message the newest, as far
    /// as the user may see it. An entry of the session list holds the first of these, and a cursor to go on
    /// here if it cannot hold all.
    ///
    /// A list tells what happened since its walk's base. A device that begins to hold messages from before
    /// it, of a session that is new to it or whose [`crate::Entry::first`] went down, has them as they are by
    /// [`Store::history`]; or it asks here from nothing.
    ///
    /// # Errors
    /// `NotFound` if the user has no such session; `ResetRequired` if the cursor is of an unknown epoch, or
    /// beyond the end of its own; `LimitExceeded` above [`AMENDMENTS_MAX`]; `InvalidInput` for an id of 0.
    pub fn amendments(
        &self,
        user: UserId,
        peer: Peer,
        since: Option<&AmendmentCursor>,
        limit: usize,
    ) -> Result<Amendments> {
        check("amendments of a page", limit, AMENDMENTS_MAX)?;
        let timeline = self.session_timeline(user, peer)?;
        let epochs = &self.pipeline.epochs;
        self.pipeline.look(|state| {
            if let Some(since) = since {
                // Amendments are kept as long as their messages, so a position among them never lies too far back.
                check_reach(state, epochs, since.epoch, since.version.max(since.newest))?;
            }
            let slot = state.slot(timeline);
            let Some(row) = slot.and_then(|slot| state.session(user, slot)) else {
                let message = format!("no such session: {timeline} user={}", user.0);
                return Err(Error::new(ErrorKind::NotFound, message));
            };
            let (version, seq) = since.map_or((0, 0), |since| (since.version.0, since.seq.0));
            let head = state.head(row.slot);
            let (amendments, more) = amendments_after(state, head, user, &row, version, seq, limit);
            let (version, seq) = match amendments.last() {
                Some(last) => (last.version, last.seq),
                None if limit == 0 || since.is_some() => (Version(version), Seq(seq)),
                None => (Version(state.version), Seq(u64::MAX)),
            };
            let next = AmendmentCursor { epoch: epochs.current, version, seq, newest: Version(state.version) };
            Ok(Amendments { amendments, next, more })
        })?
    }
}

fn check_edit(pipeline: &Pipeline, timeline: Timeline, body: Option<&[u8]>) -> Result<()> {
    if timeline.is_none() {
        return Err(Error::new(ErrorKind::InvalidInput, "id 0 means none"));
    }
    let Some(body) = body else { return Ok(()) };
    let settings = pipeline.state().settings();
    check("body bytes", body.len(), settings.body_bytes_max)?;
    let bytes_max = super::append::batch_bytes_max(pipeline.options.journal_bytes);
    let bytes = crate::state::change_bytes_max(body.len()) as usize;
    check("bytes of a message in the journal", bytes, bytes_max)
}

/// Reads what the amendment must know of its message, if it is published.
fn find(pipeline: &Pipeline, plan: &mut AmendPlan, body: Option<&[u8]>) -> Result<()> {
    plan.found = None;
    let AmendPlan { timeline, seq, .. } = *plan;
    let found = pipeline.look(|state| {
        let head = state.head_of(timeline)?;
        (seq > head.tip.trim() && !head.is_lost(seq)).then_some(())?;
        let amendment = head.amended.as_ref().and_then(|amended| amended.get(seq).copied());
        Some((head.whereabouts(seq)?, amendment, Files::of(state)))
    })?;
    let Some((at, amendment, files)) = found else { return Ok(()) };
    let (stored, present) = files.body(timeline, seq, at)?;
    let is_same = match (body, amendment) {
        (None, _) | (_, Some(Newest { edit: None, .. })) => false,
        (Some(body), Some(Newest { edit: Some(edit), version, .. })) => {
            *files.edited_body(timeline, seq, version, edit)? == *body
        }
        (Some(body), None) => *present == *body,
    };
    let append = &stored.append;
    plan.found = Some(AmendFound {
        ordinal: append.ordinal,
        counts: append.counts,
        alerts: append.alerts,
        body_version: amendment.map_or(0, |amendment| amendment.version),
        is_same,
    });
    Ok(())
}

fn plan_hide(pipeline: &Pipeline, timeline: Timeline, user: UserId, seqs: &[Seq]) -> Result<HidePlan> {
    let mut seqs: Vec<u64> = seqs.iter().map(|seq| seq.0).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let (trim, last, lost) = pipeline.look(|state| {
        state.head_of(timeline).map_or((0, 0, None), |head| (head.tip.trim(), head.tip.last, head.lost.clone()))
    })?;
    let mut plan = HidePlan { timeline, user, hides: Vec::new(), unknown: None };
    for seq in seqs {
        if seq == 0 || seq > last || lost.as_ref().is_some_and(|lost| lost.has(seq)) {
            plan.unknown = Some(seq);
            break;
        }
        if seq <= trim {
            // Refused once the sequencer sees it.
            plan.hides.push(Hidden { seq, ordinal: 0, counts: false, alerts: 0 });
            continue;
        }
        let append = pipeline.stored(timeline, seq)?.append;
        let counts = append.counts && append.sender != user;
        plan.hides.push(Hidden { seq, ordinal: append.ordinal, counts, alerts: append.alerts });
    }
    Ok(plan)
}
