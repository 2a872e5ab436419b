//! The directory of names.
//! Owns: the checks of these calls. May touch: `pipeline`, `state`.
//! Never: allots an id; the sequencer does.

use super::{Store, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NameKind, UserId};
use crate::limits::{NAME_BYTES_MAX, check};
use crate::state::{Effect, Need, Resolved};

impl Store {
    /// The id that a name stands for, by what is published.
    pub fn resolve(&self, kind: NameKind, name: &[u8]) -> Result<Option<u64>> {
        self.pipeline.look(|state| state.name_id(kind, name))
    }

    /// The name of an id, by what is published.
    pub fn name_of(&self, kind: NameKind, id: u64) -> Result<Option<Vec<u8>>> {
        self.pipeline.look(|state| state.name_of(kind, id).map(|name| name.to_vec()))
    }

    /// The id that a name stands for; a new name gets one, in one change. Ids that are given so begin with
    /// 2⁶³ + 1, rise by one for each kind, and none is given twice. A server that uses the directory must
    /// not give ids in that range itself. The name of a user lets that user exist.
    ///
    /// # Errors
    /// `InvalidInput` for an empty name, `LimitExceeded` above [`NAME_BYTES_MAX`] bytes, `Full`, `Poisoned`,
    /// `Closed`.
    pub fn resolve_or_create(&self, kind: NameKind, name: &[u8]) -> Ticket<Resolved> {
        self.planned(
            check_name(name),
            |(), sequencer, all| {
                all.push(Need::Name(kind, name.to_vec()));
                if kind == NameKind::User {
                    all.push(Need::Person(UserId(sequencer.next_name(kind))));
                }
            },
            |(), sequencer, state, now| sequencer.resolve_or_create(state, now, kind, name),
        )
    }

    /// Frees a name. It can be given to another id; its id is never given again.
    ///
    /// # Errors
    /// `NotFound` if there is no such name; as [`Store::resolve_or_create`].
    pub fn free_name(&self, kind: NameKind, name: &[u8]) -> Ticket<Effect> {
        self.checked(
            check_name(name),
            |all| all.push(Need::Name(kind, name.to_vec())),
            |sequencer, state, now| sequencer.free_name(state, now, kind, name),
        )
    }
}

fn check_name(name: &[u8]) -> Result<()> {
    check("name bytes", name.len(), NAME_BYTES_MAX)?;
    if name.is_empty() { Err(Error::new(ErrorKind::InvalidInput, "a name has at least one byte")) } else { Ok(()) }
}
