//! Groups: made, set, joined, left, dissolved.
//! Owns: the checks of these calls, `GroupInfo`. May touch: `pipeline`, `state`.
//! Never: stamps anything; the sequencer does.

use super::append::batch_bytes_max;
use super::needs;
use super::{Store, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, Seq, Timeline, UserId, Version};
use crate::limits::{JOIN_USERS_MAX, METADATA_BYTES_MAX, check};
use crate::settings::GroupSettings;
use crate::state::{Effect, Joined, Need, Needs, join_bytes_max};
use crate::storage::Body;

/// What is known of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// How it behaves.
    pub settings: GroupSettings,
    /// What the server noted about it.
    pub metadata: Body,
    /// How many members it has now.
    pub members: u64,
    /// Its newest message.
    pub last: Seq,
    /// It is no more.
    pub dissolved: bool,
}

impl Store {
    /// Makes a group; one that exists stays as it is (`Unchanged`).
    ///
    /// # Errors
    /// `Dissolved`; `InvalidInput` for id 0, `Full`, `Poisoned`, `Closed`.
    pub fn create_group(&self, group: GroupId, settings: GroupSettings) -> Ticket<Effect> {
        let checked = settings.check().and_then(|()| check_id(group.is_none()));
        self.checked(
            checked,
            |all| all.push(Need::Head(Timeline::Group(group))),
            |sequencer, state, now| sequencer.create_group(state, now, group, settings),
        )
    }

    /// Changes how a group behaves: whether history is shown goes for later joins, who may send for later
    /// messages. The same settings change nothing (`Unchanged`).
    ///
    /// # Errors
    /// `NotFound`, `Dissolved`; `InvalidInput` for id 0, `Full`, `Poisoned`, `Closed`.
    pub fn set_group(&self, group: GroupId, settings: GroupSettings) -> Ticket<Effect> {
        let checked = settings.check().and_then(|()| check_id(group.is_none()));
        self.checked(
            checked,
            |all| all.push(Need::Head(Timeline::Group(group))),
            |sequencer, state, now| sequencer.set_group(state, now, group, settings),
        )
    }

    /// Replaces what the server noted about a group (its name, its picture): at most
    /// [`METADATA_BYTES_MAX`] bytes, opaque; no bytes take it away. All members' entries rise, so that their
    /// devices come and ask.
    ///
    /// # Errors
    /// As [`Store::set_group`]; `LimitExceeded`.
    pub fn set_group_metadata(&self, group: GroupId, metadata: &[u8]) -> Ticket<Effect> {
        let checked =
            check("metadata bytes", metadata.len(), METADATA_BYTES_MAX).and_then(|()| check_id(group.is_none()));
        self.checked(
            checked,
            |all| all.push(Need::Head(Timeline::Group(group))),
            |sequencer, state, now| sequencer.set_group_metadata(state, now, group, metadata),
        )
    }

    /// What is known of a group.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput` for id 0.
    pub fn group(&self, group: GroupId) -> Result<GroupInfo> {
        check_id(group.is_none())?;
        let found = self.pipeline.look(|state| {
            let head = state.head_of(Timeline::Group(group))?;
            Some(GroupInfo {
                settings: head.tip.settings,
                metadata: head.metadata.clone().map_or_else(Body::empty, Body::shared),
                members: head.roster.as_ref().map_or(0, |roster| roster.len() as u64),
                last: Seq(head.tip.last),
                dissolved: head.tip.dissolved,
            })
        })?;
        found.ok_or_else(|| no_group(group))
    }

    /// Ends a group for good: for everyone who has the session, also those who left, it becomes a
    /// tombstone, and all its messages are trimmed. Its id is not used again. Costs the same however
    /// large the group is. Works also while the disk is full.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for id 0, `Poisoned`, `Closed`.
    pub fn dissolve(&self, group: GroupId) -> Ticket<Effect> {
        self.checked(
            check_id(group.is_none()),
            |all| all.push(Need::Head(Timeline::Group(group))),
            |sequencer, state, now| sequencer.dissolve(state, now, group),
        )
    }

    /// Makes the user a member; a present member stays one (`Unchanged`). The first join of an unknown
    /// group makes it, with default settings.
    ///
    /// The session begins read, and shows the messages from before only where the group shows history.
    ///
    /// # Errors
    /// `Dissolved`; `InvalidInput` for an id of 0, `Full`, `Poisoned`, `Closed`.
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
        let needs =
            |all: &mut Needs<'_>| users.iter().for_each(|user| needs::member(*user, Timeline::Group(group), all));
        self.checked(checked, needs, |sequencer, state, now| sequencer.join(state, now, group, users))
    }

    /// Ends a membership. The session stays: frozen at the newest message, readable, counted until
    /// read. One who has left already stays so (`Unchanged`).
    ///
    /// Works also while the disk is full.
    ///
    /// # Errors
    /// `NotFound` if the user never was a member; `InvalidInput`, `Poisoned`, `Closed`.
    pub fn leave(&self, group: GroupId, user: UserId) -> Ticket<Effect> {
        self.checked(
            check_id(group.is_none() || user.is_none()),
            |all| needs::session(user, Timeline::Group(group), all),
            |sequencer, state, now| sequencer.leave(state, now, group, user),
        )
    }
}

pub(super) fn no_group(group: GroupId) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such group: {group}"))
}

pub(super) fn check_id(is_none: bool) -> Result<()> {
    if is_none { Err(Error::new(ErrorKind::InvalidInput, "id 0 means none")) } else { Ok(()) }
}
