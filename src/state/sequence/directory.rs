//! Names: resolved, allotted, freed.
//! Owns: what these calls come to. May touch: the sequencer, `state`, `change`.
//! Never: gives an id twice.

use super::super::overlay::Busy;
use super::{Answer, Class, Decided, Effect, Sequencer, change_bytes_max};
use crate::change::{Change, Name};
use crate::error::{Error, ErrorKind};
use crate::id::{NameKind, UserId};
use crate::state::State;
use crate::state::names::{ALLOTTED, PEOPLE};

/// The id that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The id.
    pub id: u64,
    /// The name was new, and got this id.
    pub created: bool,
}

impl Sequencer {
    /// Finds the id of a name, or allots one.
    pub fn resolve_or_create(&mut self, state: &State, now: u64, kind: NameKind, name: &[u8]) -> Answer<Resolved> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let thing = Busy::Name(kind, name.to_vec());
        self.wait_for(&thing)?;
        if let Some(id) = state.name_id(kind, name) {
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

    /// The id that the next new name of the kind gets.
    pub fn next_name(&self, kind: NameKind) -> u64 {
        self.newest_names.get(&kind).copied().unwrap_or(ALLOTTED).saturating_add(1)
    }

    /// Frees a name.
    pub fn free_name(&mut self, state: &State, now: u64, kind: NameKind, name: &[u8]) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let thing = Busy::Name(kind, name.to_vec());
        self.wait_for(&thing)?;
        let Some(id) = state.name_id(kind, name) else {
            let message = format!("no such name: kind={kind:?} name={}", name.escape_ascii());
            return Ok(Decided::refused(Error::new(ErrorKind::NotFound, message), 0));
        };
        self.reserve(change_bytes_max(name.len()), Class::Frees)?;
        self.overlay.set_busy(thing, self.next_version);
        let change = Change::FreeName(Name { kind, id, appears: false });
        Ok(self.queue_one(change, name.to_vec(), now))
    }
}
