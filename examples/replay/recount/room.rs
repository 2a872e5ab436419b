//! One conversation and what is kept for each user in it, counted by looking at every message.
//! Owns: messages, amendments, mentions and alerts of a room; its rows; what a session and its receipts come to.
//! May touch: `steps`. Never: keeps a count.

use std::collections::{BTreeMap, HashMap};

use restante::{AmendmentKind, Seq, Timeline, Timestamp, UserId, Version};

use super::hash;
use crate::steps::Post;

/// In the place of a sender: a source sent it. No script has so many users.
const SOURCE: u32 = u32::MAX;
/// Mentions are counted up to here.
const MENTIONS_COUNTED: usize = 1_000;

/// One conversation. The message with seq n is at index n - 1.
pub struct Room {
    pub timeline: Timeline,
    pub senders: Vec<u32>,
    pub times: Vec<u64>,
    pub versions: Vec<u64>,
    pub body_hashes: Vec<u64>,
    pub rows: BTreeMap<UserId, Row>,
    pub recalled: BTreeMap<u64, Told>,
    pub edited: BTreeMap<u64, Told>,
    /// As they were given.
    pub mentions: BTreeMap<u64, Vec<UserId>>,
    pub alerts: BTreeMap<u64, u8>,
    pub shows_history: bool,
    pub members_only: bool,
    counts: Vec<bool>,
    /// The senders once more, but 0 where the message does not count or is recalled.
    counted: Vec<u32>,
    /// Where a user was mentioned by somebody else while it was in the room.
    mentioned: HashMap<UserId, Vec<u64>>,
    newest_version: u64,
}

/// What is kept for a user in a room.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub read: u64,
    pub read_max: u64,
    pub delivered_max: u64,
    pub joined_at: u64,
    pub joined_time: u64,
    pub floor: u64,
    pub clear_point: u64,
    pub ceiling: Option<u64>,
    /// The end of the session when the user removed it.
    pub removed: Option<u64>,
    pub pinned: bool,
    pub muted: bool,
    pub marked_unread: bool,
    pub hidden: BTreeMap<u64, Told>,
    pub version: u64,
}

/// Who did something to a message, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub by: UserId,
    pub at: u64,
    pub version: u64,
}

/// An amendment as a device gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub seq: Seq,
    pub kind: AmendmentKind,
    pub told: Told,
}

/// What the store should show of a session.
#[derive(Debug, PartialEq, Eq)]
pub struct Session {
    pub unread: u64,
    pub goto: Option<(Seq, Timestamp)>,
    pub mentions: (u64, bool, Option<Seq>),
    pub alerts: Vec<(u8, u64, Seq)>,
    pub read_mark: Seq,
    pub first: Seq,
    pub last: Seq,
    /// The other one's marks for received and read.
    pub other: [Seq; 2],
    pub is_left: bool,
    /// Pinned, muted, marked unread.
    pub flags: [bool; 3],
    pub activity: Timestamp,
    pub version: Version,
}

impl Row {
    pub fn mark(&self) -> u64 {
        self.read.max(self.floor)
    }

    pub fn end(&self, room: &Room) -> u64 {
        self.ceiling.unwrap_or(room.last())
    }

    /// It is until a message that counts comes after.
    pub fn is_removed(&self, room: &Room) -> bool {
        self.removed.is_some_and(|removed| !room.counts[removed as usize..self.end(room) as usize].contains(&true))
    }
}

impl Room {
    pub fn new(timeline: Timeline) -> Room {
        Room {
            timeline,
            senders: Vec::new(),
            times: Vec::new(),
            versions: Vec::new(),
            body_hashes: Vec::new(),
            rows: BTreeMap::new(),
            recalled: BTreeMap::new(),
            edited: BTreeMap::new(),
            mentions: BTreeMap::new(),
            alerts: BTreeMap::new(),
            shows_history: false,
            members_only: true,
            counts: Vec::new(),
            counted: Vec::new(),
            mentioned: HashMap::new(),
            newest_version: 0,
        }
    }

    pub fn last(&self) -> u64 {
        self.senders.len() as u64
    }

    pub fn is_present(&self, user: UserId) -> bool {
        self.rows.get(&user).is_some_and(|row| row.ceiling.is_none())
    }

    /// Adds a message and says what time it bears.
    pub fn add(&mut self, post: &Post, version: u64, now: u64) -> u64 {
        let following = self.times.last().map_or(0, |last| last + 1);
        let time = post.timestamp.map_or(now.max(following), Timestamp::get);
        let sender = u32::try_from(post.sender.get()).expect("scripts number their users from 1");
        self.senders.push(sender);
        let counted = if sender == 0 { SOURCE } else { sender };
        self.counted.push(if post.counts { counted } else { 0 });
        self.counts.push(post.counts);
        self.times.push(time);
        self.versions.push(version);
        self.body_hashes.push(hash(&post.body));
        self.newest_version = version;
        let seq = self.last();
        if post.alerts != 0 {
            self.alerts.insert(seq, post.alerts);
        }
        if !post.mentions.is_empty() {
            self.mentions.insert(seq, post.mentions.clone());
        }
        for (index, user) in post.mentions.iter().enumerate() {
            let is_first = !post.mentions[..index].contains(user);
            if *user != post.sender && is_first && self.is_present(*user) && self.makes_mention_rows() {
                self.mentioned.entry(*user).or_default().push(seq);
            }
        }
        time
    }

    fn makes_mention_rows(&self) -> bool {
        !matches!(self.timeline, Timeline::Broadcast(_))
    }

    pub fn recall(&mut self, seq: u64, told: Told) {
        self.recalled.insert(seq, told);
        self.edited.remove(&seq);
        self.mentions.remove(&seq);
        self.alerts.remove(&seq);
        let index = seq as usize - 1;
        (self.counted[index], self.body_hashes[index]) = (0, hash(b""));
        self.newest_version = told.version;
    }

    pub fn edit(&mut self, seq: u64, told: Told, body_hash: u64) {
        self.edited.insert(seq, told);
        self.body_hashes[seq as usize - 1] = body_hash;
        self.newest_version = told.version;
    }

    /// The row of a user who has done nothing about this broadcast: it sees what was sent since it exists.
    pub fn row_of_broadcast(&self, existing: u64) -> Option<Row> {
        let floor = self.versions.iter().filter(|version| **version <= existing).count() as u64;
        let is_shown = matches!(self.timeline, Timeline::Broadcast(_)) && floor < self.last();
        is_shown.then(|| Row { read: floor, floor, joined_at: floor, ..Row::default() })
    }

    /// What was recalled, edited and hidden of what the user may see, in the order in which it is told.
    pub fn changes(&self, row: &Row) -> Vec<Change> {
        let end = row.end(self);
        let mut changes = BTreeMap::new();
        let kinds = [
            (AmendmentKind::Edited, &self.edited),
            (AmendmentKind::Recalled, &self.recalled),
            (AmendmentKind::Hidden, &row.hidden),
        ];
        for (kind, all) in kinds {
            for (seq, told) in all.range(row.floor + 1..).filter(|(seq, _)| **seq <= end) {
                changes.insert(*seq, Change { seq: Seq(*seq), kind, told: *told });
            }
        }
        let mut changes: Vec<Change> = changes.into_values().collect();
        changes.sort_by_key(|change| (change.told.version, change.seq));
        changes
    }

    /// Counts by looking at every message after the mark.
    pub fn session(&self, user: UserId, row: &Row) -> Session {
        let (mark, end) = (row.mark(), row.end(self));
        let own = user.get() as u32;
        let is_unread = |seq: u64| {
            let sender = self.counted[seq as usize - 1];
            sender != 0 && sender != own && !row.hidden.contains_key(&seq)
        };
        let seqs = mark + 1..=end.max(mark);
        let (unread, oldest) = if row.hidden.is_empty() {
            let after_mark = &self.counted[mark as usize..end.max(mark) as usize];
            let oldest = after_mark.iter().position(|sender| *sender != 0 && *sender != own);
            let unread = after_mark.iter().filter(|sender| **sender != 0 && **sender != own).count();
            (unread, oldest.map(|offset| mark + 1 + offset as u64))
        } else {
            (seqs.clone().filter(|seq| is_unread(*seq)).count(), seqs.clone().find(|seq| is_unread(*seq)))
        };
        let mentioned = self.mentioned.get(&user).into_iter().flatten().copied();
        let mentioned: Vec<u64> = mentioned.filter(|seq| seqs.contains(seq) && is_unread(*seq)).collect();
        let mut alerts: BTreeMap<u8, (u64, Seq)> = BTreeMap::new();
        for (seq, bits) in self.alerts.range(mark + 1..).filter(|(seq, _)| **seq <= end && is_unread(**seq)) {
            for kind in (0..8).filter(|kind| bits >> kind & 1 == 1) {
                alerts.entry(kind).or_insert((0, Seq(*seq))).0 += 1;
            }
        }
        let amended_below = |ceiling| {
            let all = self.recalled.range(..=ceiling).chain(self.edited.range(..=ceiling));
            all.map(|(_, told)| told.version).max().unwrap_or(0)
        };
        let other = match self.timeline {
            Timeline::Direct(pair) => pair.other(user).filter(|other| *other != user),
            _ => None,
        };
        let other = other.and_then(|other| self.rows.get(&other));
        let newest = if end > row.joined_at { self.times[end as usize - 1] } else { row.joined_time };
        Session {
            unread: unread as u64,
            goto: oldest.map(|seq| (Seq(seq), Timestamp(self.times[seq as usize - 1]))),
            mentions: (
                mentioned.len().min(MENTIONS_COUNTED) as u64,
                mentioned.len() > MENTIONS_COUNTED,
                mentioned.first().map(|seq| Seq(*seq)),
            ),
            alerts: alerts.into_iter().map(|(kind, (count, oldest))| (kind, count, oldest)).collect(),
            read_mark: Seq(mark),
            first: Seq(row.floor + 1),
            last: Seq(end),
            other: other.map_or([Seq::NONE; 2], |other| [Seq(other.delivered_max), Seq(other.read_max)]),
            is_left: row.ceiling.is_some(),
            flags: [row.pinned, row.muted, row.marked_unread],
            activity: Timestamp(newest),
            version: Version(row.version.max(row.ceiling.map_or(self.newest_version, amended_below))),
        }
    }

    /// Who should have received a message, and who of them has received and read it, by id.
    pub fn receipts(&self, seq: u64) -> (u64, Vec<(UserId, bool)>) {
        let sender = UserId(self.senders[seq as usize - 1].into());
        let is_asked = |(user, row): &(&UserId, &Row)| row.ceiling.is_none() && row.joined_at < seq && **user != sender;
        let asked: Vec<_> = self.rows.iter().filter(is_asked).collect();
        let received = asked.iter().filter(|(_, row)| row.delivered_max >= seq);
        (asked.len() as u64, received.map(|(user, row)| (**user, row.read_max >= seq)).collect())
    }
}
