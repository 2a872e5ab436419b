//! What a user notes about a session: flags and metadata.
//! Owns: the checks of these calls. May touch: `pipeline`, `state`.
//! Never: stamps anything; the sequencer does.

use super::needs;
use super::{Store, Ticket};
use crate::error::Result;
use crate::id::{Peer, UserId};
use crate::limits::{METADATA_BYTES_MAX, check};
use crate::state::{Effect, FlagsPlan};

/// Which flags of a session are to change; what is not named stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagChange {
    pinned: Option<bool>,
    muted: Option<bool>,
    marked_unread: Option<bool>,
}

impl FlagChange {
    /// Nothing yet.
    pub fn new() -> FlagChange {
        FlagChange::default()
    }

    /// Whether the session stands above the others.
    pub fn pinned(mut self, pinned: bool) -> FlagChange {
        self.pinned = Some(pinned);
        self
    }

    /// Whether it makes no sound, and is left out of the total of unread messages.
    pub fn muted(mut self, muted: bool) -> FlagChange {
        self.muted = Some(muted);
        self
    }

    /// Whether the user wants to come back to it, whatever it has read. Reading and sending take this
    /// away.
    pub fn marked_unread(mut self, marked_unread: bool) -> FlagChange {
        self.marked_unread = Some(marked_unread);
        self
    }
}

impl Store {
    /// Sets flags of a session, on all the user's devices. With another user there need be no session
    /// yet: this makes one, for the user who sets the flag alone.
    ///
    /// # Errors
    /// `NotFound` if the user has no such session with a group or a source; `InvalidInput` for an id of
    /// 0; `Full`, `Poisoned`, `Closed`.
    pub fn set_flags(&self, user: UserId, peer: Peer, change: FlagChange) -> Ticket<Effect> {
        let FlagChange { pinned, muted, marked_unread } = change;
        let plan = self.session_timeline(user, peer).map(|timeline| FlagsPlan {
            timeline,
            user,
            pinned,
            muted,
            marked_unread,
        });
        self.planned(
            plan,
            |plan, _, all| needs::session(plan.user, plan.timeline, all),
            |plan, sequencer, state, now| sequencer.set_flags(state, now, plan),
        )
    }

    /// Replaces the user's metadata of a session (a draft, a colour): at most [`METADATA_BYTES_MAX`] bytes,
    /// opaque, on all its devices. No bytes take them away. Makes a session as [`Store::set_flags`] does.
    ///
    /// # Errors
    /// As [`Store::set_flags`]; `LimitExceeded`.
    pub fn set_metadata(&self, user: UserId, peer: Peer, metadata: &[u8]) -> Ticket<Effect> {
        let timeline: Result<_> = check("metadata bytes", metadata.len(), METADATA_BYTES_MAX)
            .and_then(|()| self.session_timeline(user, peer));
        self.planned(
            timeline,
            |timeline, _, all| needs::session(user, *timeline, all),
            |timeline, sequencer, state, now| sequencer.set_metadata(state, now, *timeline, user, metadata),
        )
    }
}
