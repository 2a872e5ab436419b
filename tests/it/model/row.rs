//! What the model keeps of one user in one timeline, and what follows from it.
//! Owns: `Row`, `Presence`, `Made`. May touch: `change`, the `Line` of `state`.
//! Never: changes anything; the state does.

use std::collections::BTreeMap;

use super::answer::Bytes;
use super::change::Marks;
use super::state::Line;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Member,
    Left,
    /// The user was removed: the session is there no more.
    Gone,
}

/// The versions that made the values of a row what they are, so that it is known what rests on them; 0 for
/// one that was so from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub read: u64,
    pub delivered: u64,
    pub floor: u64,
    pub flags: u64,
    pub metadata: u64,
    pub role: u64,
    pub data: u64,
}

/// What a user's part in a timeline comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub presence: Presence,
    pub read: u64,
    pub read_max: u64,
    pub delivered_max: u64,
    pub floor: u64,
    /// The highest floor that the user asked for.
    pub clear_point: u64,
    pub joined_at: u64,
    /// Set by leaving.
    pub ceiling: Option<u64>,
    /// Up to where the session was removed, unless it was joined again since.
    pub removed: Option<u64>,
    pub flags: Marks,
    pub metadata: Bytes,
    /// Seqs that the user hid, and the version and time of that.
    pub hidden: BTreeMap<u64, (u64, u64)>,
    pub role: u8,
    pub data: Bytes,
    pub silenced_until: u64,
    pub silenced_version: u64,
    pub left_version: u64,
    /// Since when what it holds is so.
    pub made: Made,
    /// Of the newest change of the row itself.
    pub version: u64,
    /// Of the newest mark that the other one of a direct timeline is told.
    pub receipts_version: u64,
    /// Of the newest joining, or of what brought the session about.
    pub joined_version: u64,
    pub joined_time: u64,
}

impl Row {
    pub fn new() -> Row {
        Row {
            presence: Presence::Member,
            read: 0,
            read_max: 0,
            delivered_max: 0,
            floor: 0,
            clear_point: 0,
            joined_at: 0,
            ceiling: None,
            removed: None,
            flags: Marks::default(),
            metadata: Bytes::default(),
            hidden: BTreeMap::new(),
            role: 0,
            data: Bytes::default(),
            silenced_until: 0,
            silenced_version: 0,
            left_version: 0,
            made: Made::default(),
            version: 0,
            receipts_version: 0,
            joined_version: 0,
            joined_time: 0,
        }
    }

    pub fn is_member(&self) -> bool {
        self.presence == Presence::Member
    }

    /// The last seq this user may see, when the timeline has `last`.
    pub fn end(&self, last: u64) -> u64 {
        self.ceiling.map_or(last, |ceiling| ceiling.min(last))
    }

    /// Nothing at or below it is shown.
    pub fn floor(&self, line: &Line) -> u64 {
        self.floor.max(line.trim())
    }

    pub fn mark(&self, line: &Line) -> u64 {
        self.read.max(self.floor(line))
    }

    /// Whether the session was removed and nothing brought it back.
    pub fn is_removed(&self, line: &Line) -> bool {
        let end = self.end(line.last());
        let counts_since = |removed: u64| {
            line.messages.iter().any(|message| message.letter.counts && removed < message.seq && message.seq <= end)
        };
        self.removed.is_some_and(|removed| !counts_since(removed))
    }
}
