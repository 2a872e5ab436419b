//! What a session list is asked for and made of.
//! Owns: the queries, `Entry`, the pages. May touch: `cursor`, `read`.
//! Never: gathers anything; `sessions` and `entry` do.

use super::cursor::{AmendmentCursor, Cursor, RecentCursor};
use super::read::Message;
use super::unread::{Alert, Mentions};
use super::visible::Amendment;
use crate::change::Flags;
use crate::error::Result;
use crate::id::{Epoch, Peer, Seq, Version};
use crate::journal::EpochEnd;
use crate::limits::{LATEST_MESSAGES_MAX, LIST_ENTRIES_MAX, check};
use crate::storage::Body;
use crate::time::Timestamp;

/// How much of a session list a page is to hold.
#[derive(Clone, Debug)]
pub struct ListQuery {
    pub(super) limit: usize,
    pub(super) latest: usize,
}

impl Default for ListQuery {
    fn default() -> ListQuery {
        ListQuery { limit: 100, latest: 1 }
    }
}

impl ListQuery {
    /// 100 entries, each with its latest message.
    pub fn new() -> ListQuery {
        ListQuery::default()
    }

    /// At most so many entries; 0 gives an empty page. At most [`LIST_ENTRIES_MAX`].
    pub fn limit(mut self, entries: usize) -> ListQuery {
        self.limit = entries;
        self
    }

    /// So many of the latest messages with each entry. At most [`LATEST_MESSAGES_MAX`].
    pub fn latest(mut self, messages: usize) -> ListQuery {
        self.latest = messages;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        check("entries of a list", self.limit, LIST_ENTRIES_MAX)?;
        check("latest messages", self.latest, LATEST_MESSAGES_MAX)
    }
}

/// How much a page of `catch_up` is to hold.
#[derive(Clone, Debug)]
pub struct CatchUpQuery {
    pub(super) list: ListQuery,
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Default for CatchUpQuery {
    fn default() -> CatchUpQuery {
        CatchUpQuery { list: ListQuery::default(), messages: 1_000, bytes: 1 << 20 }
    }
}

impl CatchUpQuery {
    /// 100 entries, each with its latest message, with up to 1,000 messages or 1 MiB among them.
    pub fn new() -> CatchUpQuery {
        CatchUpQuery::default()
    }

    /// As [`ListQuery::limit`].
    pub fn limit(mut self, entries: usize) -> CatchUpQuery {
        self.list.limit = entries;
        self
    }

    /// As [`ListQuery::latest`].
    pub fn latest(mut self, messages: usize) -> CatchUpQuery {
        self.list.latest = messages;
        self
    }

    /// At most so many messages in all entries together. At most [`crate::limits::CATCH_UP_MESSAGES_MAX`].
    pub fn messages(mut self, messages: usize) -> CatchUpQuery {
        self.messages = messages;
        self
    }

    /// At most so many bytes of their bodies. At most [`crate::limits::CATCH_UP_BYTES_MAX`].
    pub fn bytes(mut self, bytes: usize) -> CatchUpQuery {
        self.bytes = bytes;
        self
    }
}

/// Whether the user is in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// It is.
    Member,
    /// It left, or was removed as a user; the session is frozen where it did.
    Left,
    /// The group is no more.
    Dissolved,
}

/// One session of a user, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The newest change the user sees in it.
    pub version: Version,
    /// With whom.
    pub peer: Peer,
    /// Whether the session is there; otherwise this is a tombstone, of which only `version`, `peer`, `state`
    /// and `session_timestamp` mean anything.
    pub is_add: bool,
    /// Whether the user is in it.
    pub state: SessionState,
    /// Commit time of `version`; for synchronising only.
    pub session_timestamp: Timestamp,
    /// When something last happened in it, to sort by.
    pub activity: Timestamp,
    /// How many messages are unread.
    pub unread: u64,
    /// Seq and timestamp of the oldest unread message, to jump to.
    pub goto: Option<(Seq, Timestamp)>,
    /// The latest messages, newest first.
    pub latest: Vec<Message>,
    /// The first of `latest` is cut to [`crate::Settings::latest_bytes_max`].
    pub latest_cut: bool,
    /// Up to where the user has read.
    pub read_mark: Seq,
    /// The first seq that is shown; `last + 1` if none is.
    pub first: Seq,
    /// The last seq that is shown.
    pub last: Seq,
    /// What the user noted about it.
    pub flags: Flags,
    /// What the user's devices keep with it.
    pub metadata: Body,
    /// The unread messages that mention the user.
    pub mentions: Mentions,
    /// The unread messages that alert, by kind.
    pub alerts: Vec<Alert>,
    /// Of a direct session: up to where the other one has read; none elsewhere.
    pub other_read: Seq,
    /// Of a direct session: up to where messages were delivered to the other one; none elsewhere.
    pub other_delivered: Seq,
    /// What became of messages since the walk's base, the oldest first, at most
    /// [`crate::limits::ENTRY_AMENDMENTS_MAX`]. Not in `recent`.
    pub amendments: Vec<Amendment>,
    /// There are more; [`crate::Store::amendments`] goes on from here.
    pub amendments_more: Option<AmendmentCursor>,
    /// Of `catch_up` only: the messages above the walk's base, oldest first.
    pub messages: Vec<Message>,
    /// Of `catch_up` only: there are such messages, and they did not fit.
    pub messages_left_out: bool,
}

/// A page of a session list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct List {
    /// In the order of their versions.
    pub entries: Vec<Entry>,
    /// Where to go on, now or later.
    pub next: Cursor,
    /// Whether more follows now.
    pub more: bool,
    /// The present epoch.
    pub epoch: Epoch,
    /// The ends of epochs that the asker has not seen, oldest first: what it holds of them above
    /// their end was lost, and is to be dropped.
    pub epoch_ends: Vec<EpochEnd>,
}

/// A page of sessions by activity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recent {
    /// The one with the newest activity first.
    pub entries: Vec<Entry>,
    /// On the first page: all pinned sessions, in the same order. Those within its limit are in `entries`,
    /// too.
    pub pinned: Vec<Entry>,
    /// Where to go on; `None` if nothing follows.
    pub before: Option<RecentCursor>,
    /// On the first page: from where [`crate::Store::changed`] goes on.
    pub changed: Option<Cursor>,
    /// The present epoch.
    pub epoch: Epoch,
    /// On the first page: all ends of epochs, see [`List::epoch_ends`].
    pub epoch_ends: Vec<EpochEnd>,
}

/// Counts over all sessions of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// How many messages are unread, in sessions that are not muted.
    pub unread: u64,
    /// How many are unread in muted sessions.
    pub muted_unread: u64,
    /// How many sessions are marked unread.
    pub marked_unread: u64,
}
