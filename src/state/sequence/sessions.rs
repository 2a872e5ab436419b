//! What a user does to a session of its own: marks, floors, flags, notes.
//! Owns: what these calls come to. May touch: the sequencer, `state`, `change`.
//! Never: touches another user's row.

use super::super::overlay::Busy;
use super::{Answer, Class, Decided, Effect, Sequencer, Session, change_bytes_max, no_session};
use crate::change::{Change, Clear, Flags, Hidden, Hide, Mark, Opening, RowKey, SetFlags, SetMetadata, encode_hides};
use crate::error::{Error, ErrorKind};
use crate::id::{Timeline, UserId};
use crate::state::{Row, State, Tip};

/// Marks that are ready to be moved: clamped to what is published, with the ordinal there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarkPlan {
    pub timeline: Timeline,
    pub user: UserId,
    pub target: u64,
    pub ordinal: u64,
}

/// A read mark that is ready to be moved back before `seq`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnreadPlan {
    pub timeline: Timeline,
    pub user: UserId,
    pub seq: u64,
    /// The newest published seq that the session shows.
    pub end: u64,
    /// The ordinal of the message before `seq`.
    pub ordinal_before: u64,
}

/// A floor that is ready to be raised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClearPlan {
    pub timeline: Timeline,
    pub user: UserId,
    pub target: u64,
    pub ordinal: u64,
    pub removes: bool,
}

/// Flags that are to be as named; what is `None` stays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlagsPlan {
    pub timeline: Timeline,
    pub user: UserId,
    pub pinned: Option<bool>,
    pub muted: Option<bool>,
    pub marked_unread: Option<bool>,
}

/// Messages that are ready to be hidden.
#[derive(Clone, Debug)]
pub(crate) struct HidePlan {
    pub timeline: Timeline,
    pub user: UserId,
    /// Ascending, each once, all published.
    pub hides: Vec<Hidden>,
    /// One that is not published.
    pub unknown: Option<u64>,
}

impl Sequencer {
    /// Moves a read mark forward.
    pub fn mark_read(&mut self, state: &State, now: u64, plan: &MarkPlan) -> Answer<Effect> {
        let session = match self.open_session(state, plan.timeline, plan.user) {
            Ok(session) => session,
            Err(decided) => return Ok(decided),
        };
        let row = session.row;
        if plan.target <= row.read && !row.flags.marked_unread {
            return Ok(Decided::unchanged(row.version));
        }
        let mut flags = row.flags;
        flags.marked_unread = false;
        let mut after = Row { flags, ..row };
        if plan.target > row.read {
            after.read = plan.target;
            after.read_ordinal = plan.ordinal;
            after.read_max = row.read_max.max(plan.target);
            after.delivered_max = row.delivered_max.max(after.read_max);
        }
        self.move_marks(now, plan.timeline, plan.user, session, after)
    }

    /// Raises the mark of what was delivered.
    pub fn mark_delivered(&mut self, state: &State, now: u64, plan: &MarkPlan) -> Answer<Effect> {
        let session = match self.open_session(state, plan.timeline, plan.user) {
            Ok(session) => session,
            Err(decided) => return Ok(decided),
        };
        if plan.target <= session.row.delivered_max {
            return Ok(Decided::unchanged(session.row.version));
        }
        let row = Row { delivered_max: plan.target, ..session.row };
        self.move_marks(now, plan.timeline, plan.user, session, row)
    }

    /// Moves a read mark back.
    pub fn mark_unread_from(&mut self, state: &State, now: u64, plan: &UnreadPlan) -> Answer<Effect> {
        let session = match self.open_session(state, plan.timeline, plan.user) {
            Ok(session) => session,
            Err(decided) => return Ok(decided),
        };
        let row = session.row;
        let Some(tip) = self.overlay.tip(state, plan.timeline) else {
            return Ok(Decided::refused(no_session(plan.timeline, plan.user), row.version));
        };
        if plan.seq > plan.end {
            let message = format!("no such message to begin unread with: end={} got={}", plan.end, plan.seq);
            return Ok(Decided::refused(Error::new(ErrorKind::InvalidInput, message), row.version));
        }
        let floor = row.floor(&tip);
        let (read, read_ordinal) =
            if plan.seq - 1 > floor { (plan.seq - 1, plan.ordinal_before) } else { (floor, row.floor_ordinal(&tip)) };
        if read >= row.mark(&tip) {
            return Ok(Decided::unchanged(row.version.max(tip.trim_version())));
        }
        self.move_marks(now, plan.timeline, plan.user, session, Row { read, read_ordinal, ..row })
    }

    fn move_marks(&mut self, now: u64, timeline: Timeline, user: UserId, session: Session, row: Row) -> Answer<Effect> {
        self.reserve(change_bytes_max(0), Class::Frees)?;
        let before = session.row;
        let receipts = (row.read_max, row.delivered_max) != (before.read_max, before.delivered_max);
        let key = session.key(timeline, user);
        let Row { read, read_ordinal, read_max, delivered_max, flags, .. } = row;
        let marked_unread = flags.marked_unread;
        let mark = Mark { row: key, read, read_ordinal, read_max, delivered_max, marked_unread, receipts };
        Ok(self.queue_row(now, key, row, Change::Mark(mark), Vec::new()))
    }

    /// Raises a floor, and removes the session if that is asked.
    pub fn clear(&mut self, state: &State, now: u64, plan: &ClearPlan) -> Answer<Effect> {
        let session = match self.open_session(state, plan.timeline, plan.user) {
            Ok(session) => session,
            Err(decided) => return Ok(decided),
        };
        let row = session.row;
        let tip = self.overlay.tip(state, plan.timeline);
        // What was trimmed need not be cleared.
        let is_cleared = tip.map_or(row.floor, |tip| row.floor(&tip)) >= plan.target;
        let is_bare = !row.flags.pinned && !row.flags.marked_unread && !row.has_metadata;
        let is_removed = tip.is_some_and(|tip| row.is_removed(&tip)) && is_bare;
        if is_cleared && (!plan.removes || is_removed) {
            let trimmed = tip.filter(|_| row.floor < plan.target).map_or(0, |tip| tip.trim_version());
            return Ok(Decided::unchanged(row.version.max(trimmed)));
        }
        let notes = Busy::Notes(plan.timeline, plan.user);
        if plan.removes {
            self.wait_for(&notes)?;
        }
        self.reserve(change_bytes_max(0), Class::Frees)?;
        if plan.removes {
            self.overlay.set_busy(notes, self.next_version);
        }
        // A session that shows nothing ends at its floor.
        let (floor, floor_ordinal) =
            if plan.target <= row.floor { (row.floor, row.floor_ordinal) } else { (plan.target, plan.ordinal) };
        let mut after = Row { floor, floor_ordinal, cleared: floor, cleared_ordinal: floor_ordinal, ..row };
        if plan.removes {
            after.removed_at = Some(floor_ordinal);
            after.flags = Flags { muted: row.flags.muted, ..Flags::default() };
            after.has_metadata = false;
        }
        let key = session.key(plan.timeline, plan.user);
        let change = Clear { row: key, floor, floor_ordinal, removes: plan.removes };
        Ok(self.queue_row(now, key, after, Change::Clear(change), Vec::new()))
    }

    /// Sets flags.
    pub fn set_flags(&mut self, state: &State, now: u64, plan: &FlagsPlan) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let FlagsPlan { timeline, user, .. } = *plan;
        let found = self.session(state, timeline, user);
        let before = found.map_or(Flags::default(), |session| session.row.flags);
        let flags = Flags {
            pinned: plan.pinned.unwrap_or(before.pinned),
            muted: plan.muted.unwrap_or(before.muted),
            marked_unread: plan.marked_unread.unwrap_or(before.marked_unread),
        };
        let is_same = flags == before;
        let (key, row) = match self.noted_session(state, now, timeline, user, is_same) {
            Ok(session) => session,
            Err(decided) => return Ok(decided),
        };
        self.reserve(change_bytes_max(0), Class::Adds)?;
        self.open_noted(state, key);
        let row = Row { flags, ..row };
        Ok(self.queue_row(now, key, row, Change::Flags(SetFlags { row: key, flags }), Vec::new()))
    }

    /// Sets what the user noted about a session.
    pub fn set_metadata(
        &mut self,
        state: &State,
        now: u64,
        timeline: Timeline,
        user: UserId,
        metadata: &[u8],
    ) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        self.wait_for(&Busy::Notes(timeline, user))?;
        let row = state.row_of(user, timeline).filter(|row| row.is_session());
        let before = row.and_then(|row| state.notes(user, row)?.metadata.as_deref()).unwrap_or_default();
        let (key, row) = match self.noted_session(state, now, timeline, user, before == metadata) {
            Ok(session) => session,
            Err(decided) => return Ok(decided),
        };
        self.reserve(change_bytes_max(metadata.len()), Class::Adds)?;
        self.open_noted(state, key);
        self.overlay.set_busy(Busy::Notes(timeline, user), self.next_version);
        let row = Row { has_metadata: !metadata.is_empty(), ..row };
        Ok(self.queue_row(now, key, row, Change::Metadata(SetMetadata { row: key }), metadata.to_vec()))
    }

    /// The session that flags or metadata are set in; with a user it need not be there yet. `is_same` says
    /// that there is nothing to set.
    fn noted_session(
        &self,
        state: &State,
        now: u64,
        timeline: Timeline,
        user: UserId,
        is_same: bool,
    ) -> std::result::Result<(RowKey, Row), Decided<Effect>> {
        let session = self.session(state, timeline, user);
        match (session, timeline) {
            (Some(session), _) if is_same => Err(Decided::unchanged(session.row.version)),
            (Some(session), _) => Ok((session.key(timeline, user), session.row)),
            (None, Timeline::Direct(_)) if is_same => {
                let row = self.overlay.row(state, timeline, user);
                Err(Decided::unchanged(row.map_or(0, |row| row.version)))
            }
            (None, Timeline::Direct(_)) => {
                // After its user was removed the floor is kept.
                let row = self.overlay.row(state, timeline, user).unwrap_or(Row::outside(0));
                let opening = Some(Opening { floor: row.floor, floor_ordinal: row.floor_ordinal });
                let appears = !self.exists(state, user);
                let row = row.opened(row.floor, self.next_version, now.max(self.last_time));
                Ok((RowKey { timeline, user, opening, appears }, row))
            }
            (None, _) => Err(Decided::refused(no_session(timeline, user), 0)),
        }
    }

    /// The pending values of a session that flags or metadata open. Call it once room is reserved.
    fn open_noted(&mut self, state: &State, key: RowKey) {
        if key.opening.is_none() || self.overlay.tip(state, key.timeline).is_some() {
            return;
        }
        let version = self.next_version;
        self.overlay.set_tip(key.timeline, Tip::new(Default::default(), version), version);
    }

    /// Hides messages from the user.
    pub fn hide(&mut self, state: &State, now: u64, plan: &HidePlan) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let HidePlan { timeline, user, .. } = *plan;
        let Some(session) = self.session(state, timeline, user) else {
            return Ok(Decided::refused(no_session(timeline, user), 0));
        };
        let row = session.row;
        let tip = self.overlay.tip(state, timeline);
        let trim = tip.map_or(0, |tip| tip.trim());
        let unseen = plan
            .hides
            .iter()
            .map(|hidden| hidden.seq)
            .find(|seq| *seq <= row.floor.max(trim) || *seq > row.end(u64::MAX));
        if let Some(seq) = unseen.or(plan.unknown) {
            let (kind, what) = if seq <= trim && seq > 0 {
                (ErrorKind::Trimmed, "was trimmed")
            } else {
                (ErrorKind::NotFound, "is not there")
            };
            let message = format!("the message {what}: {timeline} user={} seq={seq}", user.0);
            let trimmed = tip.filter(|_| kind == ErrorKind::Trimmed).map_or(0, |tip| tip.trim_version());
            return Ok(Decided::refused(Error::new(kind, message), row.version.max(trimmed)));
        }
        self.wait_for(&Busy::Notes(timeline, user))?;
        let notes = state.row_of(user, timeline).and_then(|row| state.notes(user, row));
        let is_new = |hidden: &&Hidden| !notes.is_some_and(|notes| notes.hidden.contains_key(&hidden.seq));
        let hides: Vec<Hidden> = plan.hides.iter().filter(is_new).copied().collect();
        if hides.is_empty() {
            return Ok(Decided::unchanged(row.version));
        }
        let mut tail = Vec::new();
        encode_hides(&hides, &mut tail);
        self.reserve(change_bytes_max(tail.len()), Class::Frees)?;
        self.overlay.set_busy(Busy::Notes(timeline, user), self.next_version);
        let key = session.key(timeline, user);
        Ok(self.queue_row(now, key, row, Change::Hide(Hide { row: key }), tail))
    }

    /// The session that a mark or a floor is set in, unless there is nothing to set.
    fn open_session(
        &self,
        state: &State,
        timeline: Timeline,
        user: UserId,
    ) -> std::result::Result<Session, Decided<Effect>> {
        if let Some(refusal) = self.refused() {
            return Err(refusal);
        }
        let Some(session) = self.session(state, timeline, user) else {
            return Err(Decided::refused(no_session(timeline, user), 0));
        };
        match self.overlay.tip(state, timeline) {
            Some(tip) if tip.dissolved => Err(Decided::unchanged(tip.news_version)),
            _ => Ok(session),
        }
    }
}
