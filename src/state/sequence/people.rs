//! Users: added, removed with their sessions.
//! Owns: what these calls come to. May touch: the sequencer, `state`, `change`.
//! Never: touches a session but to drop those of a removed user.

use super::super::overlay::Busy;
use super::{Answer, Class, Decided, Effect, Sequencer, Session, Stale, change_bytes_max};
use crate::change::{AddUser, Change, Forget, RemoveUser};
use crate::id::{Timeline, UserId};
use crate::state::names::PEOPLE;
use crate::state::{Row, State, Tip};

impl Sequencer {
    /// Lets a user exist.
    pub fn add_user(&mut self, state: &State, now: u64, user: UserId) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let since = self.overlay.exists_since(user).unwrap_or_else(|| state.exists_since(user));
        if since > 0 {
            return Ok(Decided::unchanged(since));
        }
        self.reserve(change_bytes_max(0), Class::Adds)?;
        self.overlay.set_exists_since(user, self.next_version, self.next_version);
        Ok(self.queue_one(Change::AddUser(AddUser { user }), Vec::new(), now))
    }

    /// Drops a session of a user who is being removed.
    pub fn forget(&mut self, state: &State, now: u64, timeline: Timeline, user: UserId) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let session = self.session(state, timeline, user);
        let (Some(Session { row, .. }), Some(tip)) = (session, self.overlay.tip(state, timeline)) else {
            return Ok(Decided::unchanged(self.overlay.newest().max(state.version)));
        };
        self.wait_for(&Busy::Notes(timeline, user))?;
        self.reserve(change_bytes_max(0), Class::Frees)?;
        let (version, time) = (self.next_version, now.max(self.last_time));
        let (floor, floor_ordinal) = (row.end(tip.last), row.end_ordinal(&tip));
        let after = row.forgotten((floor, floor_ordinal), version, time);
        self.overlay.set_busy(Busy::Notes(timeline, user), version);
        self.overlay.set_row(timeline, user, after, version);
        self.overlay.set_tip(timeline, Tip { opens: true, ..tip }, version);
        Ok(self.queue_one(Change::Forget(Forget { timeline, user, floor, floor_ordinal }), Vec::new(), now))
    }

    /// Ends a user's existence. `None` if it has a session again.
    pub fn remove_user(&mut self, state: &State, now: u64, user: UserId) -> Answer<Option<Effect>> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        if !self.exists(state, user) {
            let rests_on = self.overlay.newest().max(state.version);
            return Ok(Decided { result: Ok(Some(Effect::Unchanged)), rests_on });
        }
        if self.overlay.has_session(user) {
            return Err(Stale::Pending(self.last_version()));
        }
        let is_pending_gone =
            |row: &Row| self.overlay.row(state, state.timeline_at(row.slot), user).is_some_and(|row| !row.is_session());
        let sees = |slot: &u32| self.session(state, state.timeline_at(*slot), user).is_some();
        let has_session = state.rows(user).iter().any(|row| row.is_session() && !is_pending_gone(row));
        if has_session || state.broadcasts().iter().any(sees) {
            return Ok(Decided { result: Ok(None), rests_on: 0 });
        }
        // A name that is about to be given, or freed, is settled first.
        if let Some(version) = self.overlay.busy_name() {
            return Err(Stale::Pending(version));
        }
        self.reserve(change_bytes_max(0), Class::Frees)?;
        self.overlay.set_exists_since(user, 0, self.next_version);
        if let Some(name) = state.name_of(PEOPLE, user.0) {
            self.overlay.set_busy(Busy::Name(PEOPLE, name.to_vec()), self.next_version);
        }
        let Decided { result, rests_on } = self.queue_one(Change::RemoveUser(RemoveUser { user }), Vec::new(), now);
        Ok(Decided { result: result.map(Some), rests_on })
    }
}
