//! The words of which operations are made: who, with whom, where, how far, which bytes.
//! Owns: the few users, groups, sources and names a run draws on, by short numbers. May touch: nothing.
//! Never: refers to what an earlier operation returned; what it means is looked up when it is played.

use std::ops::Bound;

use restante::{BusinessId, GroupId, NameKind, Peer, Source, SystemId, Timeline, UserId};

/// Users by short number: 0 is none, 1 to 5 take part, 6 only ever asks, 7 has the first id that the
/// directory allots to a user.
pub const USERS: [u64; 8] = [0, 1, 2, 3, 1 << 40, u64::MAX, 77, (1 << 63) + 1];
/// Groups by short number: 0 is none, 1 to 3 take part, 4 is never there. Some share numbers with users.
pub const GROUPS: [u64; 5] = [0, 1, 2, u64::MAX - 1, 55];
/// Sources of either kind by short number: 0 is none, 1 to 3 send. They share numbers with users.
pub const SOURCES: [u64; 4] = [0, 5, 1, 1 << 40];
/// Names by short number, in every kind; 0 is none, 4 is too long.
pub const NAMES: [&[u8]; 5] = [b"", b"a", b"b", &[0xff; 255], &[7; 256]];
/// Kinds of names by short number.
pub const KINDS: [NameKind; 4] = [NameKind::User, NameKind::Group, NameKind::System, NameKind::Business];
/// Whom a message mentions, by short number: nobody, one, several, repeats, one without a number, too many.
pub const MENTIONS: [&[u8]; 10] =
    [&[], &[1], &[2], &[3], &[1, 2], &[2, 1, 3, 2, 1], &[5, 4, 3, 2, 1], &[6, 7, 1], &[2, 0], &[1; 129]];
/// Those who take part.
pub const SENDERS: [u8; 5] = [1, 2, 3, 4, 5];
/// Saved cursors of a user.
pub const SLOTS: usize = 3;

/// A user by short number; from the end of the list on, one of the crowd.
pub fn user(number: u8) -> UserId {
    UserId(USERS.get(number as usize).copied().unwrap_or(10_000 + u64::from(number)))
}

pub fn group(number: u8) -> GroupId {
    GroupId(GROUPS[number as usize])
}

pub fn mentions(number: u8) -> Vec<UserId> {
    MENTIONS[number as usize].iter().map(|number| user(*number)).collect()
}

/// Everyone and everything a user may ask about.
pub fn all_peers() -> Vec<With> {
    let users = (1..USERS.len() as u8).map(With::User);
    let groups = (1..GROUPS.len() as u8).map(With::Group);
    let sources = (1..SOURCES.len() as u8).flat_map(|number| [Src::System(number), Src::Business(number)]);
    users.chain(groups).chain(sources.map(With::Source)).collect()
}

/// A source of inbox messages or of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Src {
    System(u8),
    Business(u8),
}

impl Src {
    pub fn source(self) -> Source {
        match self {
            Src::System(number) => Source::System(SystemId(SOURCES[number as usize])),
            Src::Business(number) => Source::Business(BusinessId(SOURCES[number as usize])),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    User(u8),
    Group(u8),
    Source(Src),
}

impl With {
    pub fn peer(self) -> Peer {
        match self {
            With::User(number) => Peer::User(user(number)),
            With::Group(number) => Peer::Group(group(number)),
            With::Source(source) => source.source().into(),
        }
    }
}

/// A timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Of the one who acts and this one.
    User(u8),
    Group(u8),
    /// A direct timeline, named by its two users; who acts may be a third.
    Pair(u8, u8),
    Inbox(Src, u8),
    Broadcast(Src),
}

impl To {
    pub fn timeline(self, by: u8) -> Timeline {
        match self {
            To::User(number) => Timeline::direct(user(by), user(number)),
            To::Group(number) => Timeline::Group(group(number)),
            To::Pair(one, other) => Timeline::direct(user(one), user(other)),
            To::Inbox(source, recipient) => Timeline::Inbox(source.source(), user(recipient)),
            To::Broadcast(source) => Timeline::Broadcast(source.source()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Post {
    pub by: u8,
    pub to: To,
    /// Client id, 0 for none.
    pub id: u8,
    pub text: Text,
    pub kind: u16,
    pub counts: bool,
    pub at: At,
    /// Whom it mentions, by short number.
    pub mentions: u8,
    pub alerts: u8,
}

impl Post {
    pub fn timeline(&self) -> Timeline {
        self.to.timeline(self.by)
    }
}

/// A body: so many bytes that count up from the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text(pub u8, pub usize);

impl Text {
    pub fn bytes(self) -> Vec<u8> {
        (0..self.1).map(|index| self.0.wrapping_add((index % 251) as u8)).collect()
    }
}

/// An explicit timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Unset,
    /// So far from the timeline's last.
    Last(i64),
    /// So far from store time.
    Store(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    Seq(u64),
    /// So far from the end of the session or the timeline.
    End(i64),
}

/// Some of the flags; what is `None` stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flagging {
    pub pinned: Option<bool>,
    pub muted: Option<bool>,
    pub marked_unread: Option<bool>,
}

/// Settings of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub dedup_window_secs: u64,
    pub body_bytes_max: usize,
    pub mentions_max: usize,
    pub latest_bytes_max: usize,
    /// Of users, groups, systems, businesses.
    pub keeps: [Keep; 4],
}

/// What is kept of a timeline; 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    pub age_secs: u64,
    pub count: u64,
    pub body_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Forward(u64),
    Back(u64),
    /// So far from the end of the window of a message's client id.
    Window {
        post: Post,
        offset: i64,
    },
    /// So far from the moment when somebody may send again.
    Silence {
        group: u8,
        by: u8,
        offset: i64,
    },
    /// So far from 90 days after a change, counted back from the newest.
    Horizon {
        back: u64,
        offset: i64,
    },
    /// So far from the moment when a message is too old by a bound in seconds, counted back from the newest.
    Age {
        to: To,
        by: u8,
        back: u64,
        secs: u64,
        offset: i64,
    },
    /// Somebody sets the wall clock by so much, though no time has passed.
    Wall(i64),
    /// Somebody sets the wall clock to so far from where it last agreed with the watch.
    Agree(i64),
    /// Somebody says that the wall clock is right.
    Accept,
}

/// A question to `history`; `None` leaves the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub newest: bool,
    pub within: Within,
    pub limit: Option<usize>,
    pub bytes: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    All,
    Seqs(Bound<u64>, Bound<u64>),
    Times(Bound<Near>, Bound<Near>),
}

/// A time so far from that of the message with a seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near(pub u64, pub i64);

/// The size of a list page; `None` leaves the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize {
    pub limit: Option<usize>,
    pub latest: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    Zero,
    /// So far from the commit time of a change, counted back from the newest.
    Change(u64, i64),
    /// So far from store time.
    Store(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// By `close`.
    Close,
    /// By dropping the last handle.
    Drop,
    Crash(Lost, u64),
}

/// What of the unsynced a crash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    Nothing,
    All,
    Prefix,
    Random,
}
