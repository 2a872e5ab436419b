//! Groups: made, joined, left.
//! Owns: the checks of these calls. May touch: `pipeline`, `state`.
//! Never: stamps anything; the sequencer does.

use super::append::batch_bytes_max;
use super::{Store, Ticket};
use crate::change::GroupSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, UserId, Version};
use crate::limits::{JOIN_USERS_MAX, check};
use crate::state::{Effect, Joined, join_bytes_max};

impl Store {
    /// Makes a group; one that exists stays as it is (`Unchanged`).
    ///
    /// # Errors
    /// `InvalidInput` for id 0, `Full`, `Poisoned`, `Closed`.
    pub fn create_group(&self, group: GroupId, settings: GroupSettings) -> Ticket<Effect> {
        if let Err(error) = check_id(group.is_none()) {
            return Ticket::ready(Err(error));
        }
        let decided = self.pipeline.sequence(
            self.durability,
            &mut (),
            |(), sequencer, state, now| sequencer.create_group(state, now, group, settings),
            |()| Ok(()),
        );
        Ticket::new(&self.pipeline, self.durability, decided)
    }

    /// Makes the user a member; a present member stays one (`Unchanged`). The first join of an unknown
    /// group makes it, with default settings.
    ///
    /// The session begins read, and shows the messages from before only where the group shows history.
    ///
    /// # Errors
    /// `InvalidInput` for an id of 0, `Full`, `Poisoned`, `Closed`.
    pub fn join(&self, group: GroupId, user: UserId) -> Ticket<Effect> {
        if let Err(error) = check_id(user.is_none()) {
            return Ticket::ready(Err(error));
        }
        self.join_many(group, &[user]).map(|joined| match joined.version {
            Version::NONE => Effect::Unchanged,
            version => Effect::Changed(version),
        })
    }

    /// Makes members of all these users in one commit: after a crash all are, or none.
    ///
    /// # Errors
    /// As [`Store::join`]; [`Error::item`] names the user with id 0. `LimitExceeded` for more than
    /// [`JOIN_USERS_MAX`] users, or more than fit a quarter of a journal file.
    pub fn join_many(&self, group: GroupId, users: &[UserId]) -> Ticket<Joined> {
        let journal_bytes = self.pipeline.options.journal_bytes;
        let checked = check("users of a bulk join", users.len(), JOIN_USERS_MAX)
            .and_then(|()| check_id(group.is_none()))
            .and_then(|()| {
                let item = |(item, user): (usize, &UserId)| check_id(user.is_none()).map_err(|e| e.with_item(item));
                users.iter().enumerate().try_for_each(item)
            })
            .and_then(|()| {
                let bytes = join_bytes_max(users.len()) as usize;
                check("bytes of a bulk join", bytes, batch_bytes_max(journal_bytes))
            });
        if let Err(error) = checked {
            return Ticket::ready(Err(error));
        }
        let decided = self.pipeline.sequence(
            self.durability,
            &mut (),
            |(), sequencer, state, now| sequencer.join(state, now, group, users),
            |()| Ok(()),
        );
        Ticket::new(&self.pipeline, self.durability, decided)
    }

    /// Ends a membership. The session stays: frozen at the newest message, readable, counted until
    /// read. One who has left already stays so (`Unchanged`).
    ///
    /// Works also while the disk is full.
    ///
    /// # Errors
    /// `NotFound` if the user never was a member; `InvalidInput`, `Poisoned`, `Closed`.
    pub fn leave(&self, group: GroupId, user: UserId) -> Ticket<Effect> {
        if let Err(error) = check_id(group.is_none() || user.is_none()) {
            return Ticket::ready(Err(error));
        }
        let decided = self.pipeline.sequence(
            self.durability,
            &mut (),
            |(), sequencer, state, now| sequencer.leave(state, now, group, user),
            |()| Ok(()),
        );
        Ticket::new(&self.pipeline, self.durability, decided)
    }
}

fn check_id(is_none: bool) -> Result<()> {
    if is_none { Err(Error::new(ErrorKind::InvalidInput, "id 0 means none")) } else { Ok(()) }
}
