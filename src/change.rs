//! The vocabulary: everything that can happen to a store.
//! Owns: `Change`; its bytes are in `record`, lists within them in `tail`. May touch: `id`, `settings`,
//! `time`, `varint`.
//! Never: reads a row or a clock; every value in a change is absolute and was computed before.

mod tail;

mod record;

pub(crate) use record::{Commit, Decoded, RECORD_BYTES_MAX, decode, decode_length, encode};
pub(crate) use tail::{Hidden, Mentioned, decode_hides, decode_mentions, encode_hides, encode_mentions};

use crate::id::{ClientId, GroupId, NameKind, Timeline, UserId};
use crate::settings::{GroupSettings, Settings};

/// One thing that happened. What has no fixed length (a body, a name, a list) lies beside it, as its
/// *tail*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Tail: mentions, then body.
    Append(Append),
    Group(SetGroup),
    Join(Join),
    Leave(Leave),
    Mark(Mark),
    Clear(Clear),
    Flags(SetFlags),
    /// Tail: the bytes.
    Metadata(SetMetadata),
    /// Tail: the messages.
    Hide(Hide),
    /// Tail: the bytes, if they are set.
    Member(SetMember),
    /// Tail: the body of an edit.
    Amend(Amend),
    /// Tail: the bytes.
    GroupMetadata(SetGroupMetadata),
    Dissolve(Dissolve),
    AddUser(AddUser),
    /// Tail: the name.
    Name(Name),
    /// Tail: the name.
    FreeName(Name),
    Forget(Forget),
    RemoveUser(RemoveUser),
    Settings(Settings),
    Horizon(Horizon),
    Trim(Trim),
}

/// A message came into a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Append {
    pub timeline: Timeline,
    /// None where a source sends.
    pub sender: UserId,
    pub seq: u64,
    /// How many messages up to and with this one count.
    pub ordinal: u64,
    /// The sender's message before this one, 0 if there is none.
    pub own_previous: u64,
    pub timestamp: u64,
    pub kind: u16,
    pub counts: bool,
    pub imported: bool,
    /// The sender has the session, so that sending a counting message moves its mark.
    pub sender_present: bool,
    pub client_id: ClientId,
    /// What it does to those who were not there before.
    pub opens: Opens,
    /// One bit for each kind of alert.
    pub alerts: u8,
    /// How much of the tail the mentions take.
    pub mention_bytes: u16,
}

/// Whom a message lets appear, and whose session it opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opens {
    pub low_session: bool,
    pub high_session: bool,
    pub low_appears: bool,
    pub high_appears: bool,
    /// A sender who is not one of the ends of the timeline.
    pub sender_appears: bool,
}

/// A group came to be, or behaves otherwise from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetGroup {
    pub group: GroupId,
    pub creates: bool,
    pub settings: GroupSettings,
}

/// A user became a member of a group, which `creates` makes with defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub group: GroupId,
    pub user: UserId,
    pub creates: bool,
    pub appears: bool,
    pub joined_at: u64,
    pub joined_ordinal: u64,
    pub floor: u64,
    pub floor_ordinal: u64,
}

/// A member left; its session ends at the ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    pub group: GroupId,
    pub user: UserId,
    pub ceiling: u64,
    pub ceiling_ordinal: u64,
    pub ceiling_timestamp: u64,
}

/// The row a change sets, and how it is made if it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowKey {
    pub timeline: Timeline,
    pub user: UserId,
    pub opening: Option<Opening>,
    /// The user exists from this change on.
    pub appears: bool,
}

/// How a session begins that no message and no join opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub floor: u64,
    pub floor_ordinal: u64,
}

/// A user's marks moved, the badge's in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub row: RowKey,
    pub read: u64,
    pub read_ordinal: u64,
    pub read_max: u64,
    pub delivered_max: u64,
    pub marked_unread: bool,
    /// One of the two highest marks rose, which the other side of a direct timeline is to learn.
    pub receipts: bool,
}

/// A user wants to see nothing any more up to the floor; or, if it `removes`, the session neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clear {
    pub row: RowKey,
    pub floor: u64,
    pub floor_ordinal: u64,
    pub removes: bool,
}

/// A session's flags are these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetFlags {
    pub row: RowKey,
    pub flags: Flags,
}

/// What a user noted about a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flags {
    /// It stands above the others.
    pub pinned: bool,
    /// It makes no sound, and is left out of the total of unread messages.
    pub muted: bool,
    /// The user wants to come back to it, whatever it has read.
    pub marked_unread: bool,
}

/// A session's metadata is the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetMetadata {
    pub row: RowKey,
}

/// The messages in the tail are hidden from this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hide {
    pub row: RowKey,
}

/// What a server says about a member; what is `None` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetMember {
    pub group: GroupId,
    pub user: UserId,
    pub role: Option<u8>,
    pub silenced_until: Option<u64>,
    /// The tail replaces the member's bytes.
    pub data: bool,
}

/// A message was recalled for everyone, or has another body, the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amend {
    pub timeline: Timeline,
    pub seq: u64,
    pub by: UserId,
    pub recalls: bool,
    /// Of the message: its ordinal, whether it counts, its alerts.
    pub ordinal: u64,
    pub counts: bool,
    pub alerts: u8,
}

/// A group's metadata is the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetGroupMetadata {
    pub group: GroupId,
}

/// A group is no more; everything in it is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dissolve {
    pub group: GroupId,
}

/// A user exists from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddUser {
    pub user: UserId,
}

/// A name, the tail, got an id or lost it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub kind: NameKind,
    pub id: u64,
    /// The user so named exists from this change on.
    pub appears: bool,
}

/// A removed user's session is dropped; only its floor is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forget {
    pub timeline: Timeline,
    pub user: UserId,
    pub floor: u64,
    pub floor_ordinal: u64,
}

/// A user, who has no sessions left, exists no more; its names are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemoveUser {
    pub user: UserId,
}

/// What was removed up to this version may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Horizon {
    pub version: u64,
}

/// The oldest messages of a timeline, up to and with `trim`, are gone for everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trim {
    pub timeline: Timeline,
    pub trim: u64,
    pub trim_ordinal: u64,
    /// How many counting messages were gone before: the trim removed the one after that, unless this is
    /// `trim_ordinal`.
    pub ordinal_before: u64,
    /// The day of the newest trim for age, counted from 1 at the Unix epoch; 0 if there was none.
    pub age_day: u64,
}

impl Trim {
    /// Whether it removed a counting message.
    pub fn counts(&self) -> bool {
        self.ordinal_before < self.trim_ordinal
    }
}
