//! The operations of a model run, as values that can be listed, dropped one by one and played again.
//! Owns: the vocabulary, and the few users, groups, ids and bodies it draws on. May touch: nothing.
//! Never: refers to what an earlier operation returned; what it means is looked up when it is played.

use std::ops::Bound;

use restante::{GroupId, Peer, Timeline, UserId};

/// Users by short number: 0 is none, 1 to 5 take part, 6 only ever asks.
pub const USERS: [u64; 7] = [0, 1, 2, 3, 1 << 40, u64::MAX, 77];
/// Groups by short number: 0 is none, 1 to 3 take part, 4 is never there. Some share numbers with users.
pub const GROUPS: [u64; 5] = [0, 1, 2, u64::MAX - 1, 55];
/// Saved cursors of a user.
pub const SLOTS: usize = 3;

pub fn user(number: u8) -> UserId {
    UserId(USERS[number as usize])
}

pub fn group(number: u8) -> GroupId {
    GroupId(GROUPS[number as usize])
}

/// Everyone and everything a user may ask about.
pub fn all_peers() -> Vec<With> {
    (1..=6).map(With::User).chain((1..=4).map(With::Group)).collect()
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Write(How, Write),
    Sync,
    /// Waits for every ticket that is kept.
    Wait {
        newest_first: bool,
    },
    Clock(Step),
    History {
        by: u8,
        with: With,
        ask: Ask,
    },
    Changed {
        by: u8,
        slot: usize,
        page: PageSize,
        through_bytes: bool,
    },
    Since {
        by: u8,
        slot: usize,
        page: PageSize,
        time: Time,
    },
    CatchUp {
        by: u8,
        slot: usize,
        page: PageSize,
        messages: Option<usize>,
        bytes: Option<usize>,
    },
    Recent {
        by: u8,
        again: bool,
        page: PageSize,
    },
    Totals {
        by: u8,
    },
    Forget {
        by: u8,
        slot: usize,
    },
    Copy {
        by: u8,
        source: usize,
        target: usize,
    },
    Restart(Restart),
}

/// When and how a change is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As the store does by default.
    Plain,
    Synced,
    Buffered,
    /// The ticket is kept until a `Wait`.
    Later,
    /// The ticket is dropped at once.
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Append(Post),
    Batch(Vec<Post>),
    /// A batch that no journal file can take.
    TooLong {
        by: u8,
        to: u8,
    },
    Create {
        group: u8,
        shows_history: bool,
        members_only: bool,
    },
    Join {
        group: u8,
        by: u8,
    },
    JoinMany {
        group: u8,
        users: Vec<u8>,
    },
    Leave {
        group: u8,
        by: u8,
    },
    Read {
        by: u8,
        with: With,
        upto: Point,
    },
    UnreadFrom {
        by: u8,
        with: With,
        seq: Point,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    User(u8),
    Group(u8),
}

impl With {
    pub fn peer(self) -> Peer {
        match self {
            With::User(number) => Peer::User(user(number)),
            With::Group(number) => Peer::Group(group(number)),
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    User(u8),
    Group(u8),
    /// A direct timeline, named by its two users; the sender may be a third.
    Pair(u8, u8),
}

impl Post {
    pub fn timeline(&self) -> Timeline {
        match self.to {
            To::User(number) => Timeline::direct(user(self.by), user(number)),
            To::Group(number) => Timeline::Group(group(number)),
            To::Pair(one, other) => Timeline::direct(user(one), user(other)),
        }
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
    /// So far from the end of the session.
    End(i64),
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
