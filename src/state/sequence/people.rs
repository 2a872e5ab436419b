//! Users, names, settings, the horizon.
//! Owns: what these calls come to. May touch: the sequencer, `state`, `change`.
//! Never: touches a session but to drop those of a removed user.

use super::super::overlay::Busy;
use super::{Answer, Class, Decided, Effect, Sequencer, Session, Stale, change_bytes_max};
use crate::change::{AddUser, Change, Forget, Horizon, Name, RemoveUser};
use crate::error::{Error, ErrorKind};
use crate::id::{NameKind, Timeline, UserId, Version};
use crate::settings::Settings;
use crate::state::names::{ALLOTTED, PEOPLE};
use crate::state::{Row, State, Tip};

/// The id that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The id.
    pub id: u64,
    /// The name was new, and got this id.
    pub created: bool,
}

/// What a round of maintenance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// Cursors with a base below this version are answered with `ResetRequired`.
    pub horizon: Version,
    /// Whether the horizon rose.
    pub effect: Effect,
}

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
        let is_pending_gone = |row: &Row| {
            self.overlay.row(state, state.head(row.slot).timeline, user).is_some_and(|row| !row.is_session())
        };
        let sees = |slot: &u32| self.session(state, state.head(*slot).timeline, user).is_some();
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
        if let Some(name) = state.names().name(PEOPLE, user.0) {
            self.overlay.set_busy(Busy::Name(PEOPLE, name.to_vec()), self.next_version);
        }
        let Decided { result, rests_on } = self.queue_one(Change::RemoveUser(RemoveUser { user }), Vec::new(), now);
        Ok(Decided { result: result.map(Some), rests_on })
    }

    /// Finds the id of a name, or allots one.
    pub fn resolve_or_create(&mut self, state: &State, now: u64, kind: NameKind, name: &[u8]) -> Answer<Resolved> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let thing = Busy::Name(kind, name.to_vec());
        self.wait_for(&thing)?;
        if let Some(id) = state.names().id(kind, name) {
            // Which change gave it is not kept.
            return Ok(Decided { result: Ok(Resolved { id, created: false }), rests_on: state.version });
        }
        let newest = self.newest_names.get(&kind).copied().unwrap_or(ALLOTTED);
        let Some(id) = newest.checked_add(1) else {
            return Ok(Decided::refused(Error::new(ErrorKind::LimitExceeded, "no id is left for another name"), 0));
        };
        self.reserve(change_bytes_max(name.len()), Class::Adds)?;
        let appears = kind == PEOPLE && !self.exists(state, UserId(id));
        let version = self.next_version;
        if appears {
            self.overlay.set_exists_since(UserId(id), version, version);
        }
        self.newest_names.insert(kind, id);
        self.overlay.set_busy(thing, version);
        let Decided { result, rests_on } = self.queue_one(Change::Name(Name { kind, id, appears }), name.to_vec(), now);
        Ok(Decided { result: result.map(|_| Resolved { id, created: true }), rests_on })
    }

    /// Frees a name.
    pub fn free_name(&mut self, state: &State, now: u64, kind: NameKind, name: &[u8]) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let thing = Busy::Name(kind, name.to_vec());
        self.wait_for(&thing)?;
        let Some(id) = state.names().id(kind, name) else {
            let message = format!("no such name: kind={kind:?} name={}", name.escape_ascii());
            return Ok(Decided::refused(Error::new(ErrorKind::NotFound, message), 0));
        };
        self.reserve(change_bytes_max(name.len()), Class::Frees)?;
        self.overlay.set_busy(thing, self.next_version);
        let change = Change::FreeName(Name { kind, id, appears: false });
        Ok(self.queue_one(change, name.to_vec(), now))
    }

    /// Changes how the store behaves.
    pub fn set_settings(&mut self, now: u64, settings: Settings) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        if self.settings.1 == settings {
            return Ok(Decided::unchanged(self.settings.0));
        }
        self.reserve(change_bytes_max(0), Class::Adds)?;
        self.settings = (self.next_version, settings);
        Ok(self.queue_one(Change::Settings(settings), Vec::new(), now))
    }

    /// Raises the horizon to `version`, which is published.
    pub fn raise_horizon(&mut self, now: u64, version: u64) -> Answer<Maintained> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let (raised_by, horizon) = self.horizon;
        if version <= horizon {
            let maintained = Maintained { horizon: Version(horizon), effect: Effect::Unchanged };
            return Ok(Decided { result: Ok(maintained), rests_on: raised_by });
        }
        self.reserve(change_bytes_max(0), Class::Frees)?;
        self.horizon = (self.next_version, version);
        let Decided { result, rests_on } = self.queue_one(Change::Horizon(Horizon { version }), Vec::new(), now);
        let maintained = |effect| Maintained { horizon: Version(version), effect };
        Ok(Decided { result: result.map(maintained), rests_on })
    }
}
