//! What can happen in the model: one value for each change, with the words of the promise.
//! Owns: `What`, `Change`, letters. May touch: `answer`.
//! Never: says what a change does; the state does.

use std::sync::Arc;

use restante::{GroupId, Timeline, UserId};

use super::answer::Bytes;
use super::word::{Keep, Rules};

/// A message that someone wants to send.
#[derive(Clone, Debug)]
pub struct Letter {
    pub timeline: Timeline,
    /// None where a source sends.
    pub sender: UserId,
    pub body: Bytes,
    pub kind: u16,
    pub counts: bool,
    /// 0 is none.
    pub client_id: u128,
    pub timestamp: Option<u64>,
    pub mentions: Vec<UserId>,
    pub alerts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub shows_history: bool,
    pub members_only: bool,
    /// Instead of what is kept of groups.
    pub keep: Option<Keep>,
}

pub const DEFAULTS: Settings = Settings { shows_history: false, members_only: true, keep: None };

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub pinned: bool,
    pub muted: bool,
    pub marked_unread: bool,
}

#[derive(Clone, Debug)]
pub enum What {
    Sent {
        letter: Arc<Letter>,
        seq: u64,
        timestamp: u64,
    },
    Recalled {
        timeline: Timeline,
        seq: u64,
        by: UserId,
    },
    Edited {
        timeline: Timeline,
        seq: u64,
        by: UserId,
        body: Bytes,
    },

    Hidden {
        user: UserId,
        timeline: Timeline,
        seqs: Vec<u64>,
    },
    Read {
        user: UserId,
        timeline: Timeline,
        upto: u64,
    },
    MarkedBack {
        user: UserId,
        timeline: Timeline,
        read: u64,
    },
    Delivered {
        user: UserId,
        timeline: Timeline,
        upto: u64,
    },
    Cleared {
        user: UserId,
        timeline: Timeline,
        upto: u64,
    },
    Removed {
        user: UserId,
        timeline: Timeline,
        upto: u64,
    },
    Flagged {
        user: UserId,
        timeline: Timeline,
        flags: Marks,
    },
    Noted {
        user: UserId,
        timeline: Timeline,
        metadata: Bytes,
    },

    Created {
        group: GroupId,
        settings: Settings,
    },
    Set {
        group: GroupId,
        settings: Settings,
    },
    GroupNoted {
        group: GroupId,
        metadata: Bytes,
    },
    Dissolved {
        group: GroupId,
    },
    Joined {
        group: GroupId,
        user: UserId,
    },
    Left {
        group: GroupId,
        user: UserId,
    },
    Role {
        group: GroupId,
        user: UserId,
        role: u8,
    },
    MemberData {
        group: GroupId,
        user: UserId,
        data: Bytes,
    },
    Silenced {
        group: GroupId,
        user: UserId,
        until: u64,
    },

    Added {
        user: UserId,
    },
    /// A session of a user who is being removed.
    Dropped {
        user: UserId,
        timeline: Timeline,
    },
    /// The last change of removing a user.
    Ended {
        user: UserId,
    },
    /// Kind and name by short number.
    Named {
        kind: u8,
        name: u8,
        id: u64,
    },
    Freed {
        kind: u8,
        name: u8,
    },
    Ruled {
        rules: Rules,
    },
    Horizon {
        version: u64,
    },
    /// Everything up to a seq is gone, for its age if there is a day; found at a moment.
    Trimmed {
        timeline: Timeline,
        upto: u64,
        age_day: Option<u64>,
        now: u64,
    },
}

#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub commit_time: u64,
    /// The last version of the batch it came in: after a crash all of a batch or none.
    pub batch_end: u64,
    /// The last version of the call that made it; a crash may cut between, unless it is one batch.
    pub call_end: u64,
    pub what: What,
}
