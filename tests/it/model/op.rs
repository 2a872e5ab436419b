//! The operations of a model run, as values that can be listed, dropped one by one and played again.
//! Owns: what can be asked of a store. May touch: `word`.
//! Never: says how it is asked or what the answer is.

use super::word::{Ask, Flagging, Keep, PageSize, Point, Post, Restart, Rules, Src, Step, Text, Time, To, With};

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
    /// `again`: from the cursor that the last one gave.
    Amendments {
        by: u8,
        with: With,
        again: bool,
        limit: usize,
    },
    Receipts {
        by: u8,
        with: With,
        seq: Point,
        after: u8,
        limit: usize,
    },
    Members {
        group: u8,
        after: u8,
        limit: usize,
    },
    GroupsOf {
        by: u8,
        after: u8,
        limit: usize,
    },
    Find(Post),
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
    /// The next page of a client that catches up, or all pages to the end.
    Follow {
        by: u8,
        limit: usize,
        messages: usize,
        bytes: usize,
        whole: bool,
    },
    /// Such a client reads on in what it holds, without a walk.
    ReadOn {
        by: u8,
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

    // What no reader can tell.
    Seal,
    Purge,
    Backup,
    Verify,
    Pause(bool),
    /// Users whom nobody else knows write to each other, or look.
    Crowd {
        first: u8,
        looks: bool,
    },
    /// All that anyone may ask is asked.
    Look,
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

    Recall {
        by: u8,
        to: To,
        seq: Point,
    },
    Edit {
        by: u8,
        to: To,
        seq: Point,
        text: Text,
    },
    Hide {
        by: u8,
        with: With,
        seqs: Vec<Point>,
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
    Delivered {
        by: u8,
        with: With,
        upto: Point,
    },
    Clear {
        by: u8,
        with: With,
        upto: Point,
    },
    Remove {
        by: u8,
        with: With,
    },
    Flags {
        by: u8,
        with: With,
        flags: Flagging,
    },
    Metadata {
        by: u8,
        with: With,
        text: Text,
    },

    Create {
        group: u8,
        shows_history: bool,
        members_only: bool,
        keep: Option<Keep>,
    },
    SetGroup {
        group: u8,
        shows_history: bool,
        members_only: bool,
        keep: Option<Keep>,
    },
    GroupMetadata {
        group: u8,
        text: Text,
    },
    Dissolve {
        group: u8,
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
    Role {
        group: u8,
        by: u8,
        role: u8,
    },
    MemberData {
        group: u8,
        by: u8,
        text: Text,
    },
    /// For so many microseconds from store time on; `None` lifts it.
    Silence {
        group: u8,
        by: u8,
        micros: Option<u64>,
    },

    AddUser {
        by: u8,
    },
    RemoveUser {
        by: u8,
        recall_all: bool,
    },
    /// A name of a kind, both by short number.
    Resolve {
        kind: u8,
        name: u8,
    },
    FreeName {
        kind: u8,
        name: u8,
    },
    Settings(Rules),
    /// At so far from store time.
    Maintain {
        offset: i64,
    },
}

/// A source never acts for a user: its posts name none.
pub fn sends_for_none(to: To) -> bool {
    matches!(to, To::Inbox(..) | To::Broadcast(_))
}

/// All sources that take part.
pub const SENDING: [Src; 4] = [Src::System(1), Src::Business(1), Src::System(2), Src::Business(3)];
