//! The state of a store in memory: what the journal says, applied.
//! Owns: heads, rows, dedup, names, the commit times. May touch: `change`, `settings`, `journal` (places
//! and files).
//! Never: does I/O or reads a clock; it is a pure function of the changes.

mod amended;

mod trims;

mod roster;

mod timeline;

mod member;

mod names;

mod dedup;

mod commit_times;

mod apply;

mod admit;

mod overlay;

mod sequence;

pub(crate) use amended::{Amendment, Recalled};
pub(crate) use member::{Hide, Notes, Presence, Row};
pub(crate) use overlay::Taken;
pub(crate) use roster::Seat;
pub(crate) use sequence::{
    AmendFound, AmendPlan, Answer, ClearPlan, Decided, FlagsPlan, HidePlan, Known, MarkPlan, PreparedAppend, Sequenced,
    Sequencer, Stale, TrimPlan, UnreadPlan, change_bytes_max, is_within_window, join_bytes_max,
};
pub use sequence::{Appended, Effect, Joined, Maintained, Outcome, Resolved};
pub(crate) use timeline::{Alerts, Head, Tip, kinds};

use crate::id::{ClientId, Peer, Source, Timeline, UserId};
use crate::journal::FileTable;
use crate::settings::Settings;
use ahash::RandomState;
use commit_times::CommitTimes;
use dedup::Dedup;
use member::Person;
use names::Names;
use std::collections::HashMap;
use std::sync::Arc;

/// Everything that is published.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The newest version, and its commit time.
    pub version: u64,
    pub time: u64,
    /// What was removed up to this version may be forgotten.
    pub horizon: u64,
    pub files: Arc<FileTable>,
    slots: HashMap<Timeline, u32, RandomState>,
    heads: Vec<Head>,
    users: HashMap<UserId, u32, RandomState>,
    people: Vec<Person>,
    dedup: Dedup,
    commit_times: CommitTimes,
    names: Names,
    /// Whether a source sends a broadcast, or to inboxes.
    sources: HashMap<Source, bool, RandomState>,
    /// The slots of all broadcasts.
    broadcasts: Vec<u32>,
    /// The settings there were, each with the version that set it.
    settings: Arc<Vec<(u64, Settings)>>,
    /// The longest for which a client id was ever taken, in microseconds.
    dedup_window_max: u64,
}

impl State {
    pub fn new() -> State {
        State {
            version: 0,
            time: 0,
            horizon: 0,
            files: Arc::default(),
            slots: HashMap::default(),
            heads: Vec::new(),
            users: HashMap::default(),
            people: Vec::new(),
            dedup: Dedup::new(),
            commit_times: CommitTimes::default(),
            names: Names::default(),
            sources: HashMap::default(),
            broadcasts: Vec::new(),
            settings: Arc::default(),
            dedup_window_max: Settings::default().dedup_window_micros(),
        }
    }

    /// The timeline that `user` calls `peer`. What a source is shows with its first message.
    pub fn timeline(&self, user: UserId, peer: Peer) -> Option<Timeline> {
        let source = match peer {
            Peer::User(other) => return Some(Timeline::direct(user, other)),
            Peer::Group(group) => return Some(Timeline::Group(group)),
            Peer::System(system) => Source::System(system),
            Peer::Business(business) => Source::Business(business),
        };
        let is_broadcast = *self.sources.get(&source)?;
        Some(if is_broadcast { Timeline::Broadcast(source) } else { Timeline::Inbox(source, user) })
    }

    /// Whether a source sends a broadcast; `None` if it has sent nothing.
    pub fn is_broadcast(&self, source: Source) -> Option<bool> {
        self.sources.get(&source).copied()
    }

    /// The slots of all broadcasts.
    pub fn broadcasts(&self) -> &[u32] {
        &self.broadcasts
    }

    pub fn slot(&self, timeline: Timeline) -> Option<u32> {
        self.slots.get(&timeline).copied()
    }

    /// The head at a slot that this state handed out.
    pub fn head(&self, slot: u32) -> &Head {
        &self.heads[slot as usize]
    }

    pub fn head_of(&self, timeline: Timeline) -> Option<&Head> {
        self.slot(timeline).map(|slot| self.head(slot))
    }

    /// All heads, in the order in which their timelines came to be.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// A user's rows, in no order that means anything.
    pub fn rows(&self, user: UserId) -> &[Row] {
        self.person(user).map_or(&[], |person| &person.rows)
    }

    pub fn row(&self, user: UserId, slot: u32) -> Option<&Row> {
        self.person(user)?.row(slot)
    }

    pub fn row_of(&self, user: UserId, timeline: Timeline) -> Option<&Row> {
        self.row(user, self.slot(timeline)?)
    }

    /// The row of a session, also one that a broadcast gives without a row of its own.
    pub fn session(&self, user: UserId, slot: u32) -> Option<Row> {
        match self.row(user, slot) {
            Some(row) if row.is_session() => Some(*row),
            row => self.broadcast_session(slot, row, self.exists_since(user)),
        }
    }

    /// What a broadcast shows to a user who has no session of its own there: what was sent since the user
    /// exists, and since its session was dropped, of which `row` may tell.
    pub fn broadcast_session(&self, slot: u32, row: Option<&Row>, exists_since: u64) -> Option<Row> {
        let head = self.head(slot);
        if !matches!(head.timeline, Timeline::Broadcast(_)) || exists_since == 0 {
            return None;
        }
        let dropped = row.map_or((0, 0), |row| (row.floor, row.floor_ordinal));
        let (floor, floor_ordinal) = head.sent_before(exists_since).max(dropped);
        (floor < head.tip.last).then(|| Row::of_broadcast(slot, floor, floor_ordinal))
    }

    /// What the user has in a session that few have.
    pub fn notes(&self, user: UserId, row: &Row) -> Option<&Notes> {
        if row.has_notes { self.person(user)?.notes(row) } else { None }
    }

    /// The version since which the user exists; 0 if it does not.
    pub fn exists_since(&self, user: UserId) -> u64 {
        self.person(user).map_or(0, |person| person.exists_since)
    }

    /// Everyone who ever had a row, a name or existed.
    pub fn users(&self) -> impl Iterator<Item = UserId> + '_ {
        self.users.keys().copied()
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.settings.last().map_or_else(Settings::default, |(_, settings)| *settings)
    }

    /// All settings there were, each with the version that set it.
    pub fn settings_log(&self) -> &Arc<Vec<(u64, Settings)>> {
        &self.settings
    }

    /// For how long the client id of the message with this version is taken, in microseconds.
    pub fn dedup_window(&self, version: u64) -> u64 {
        dedup_window(&self.settings, version)
    }

    /// What stands for a client id in this process.
    pub fn dedup_hash(&self, timeline: Timeline, sender: UserId, id: ClientId) -> u64 {
        self.dedup.hash(timeline, sender, id)
    }

    /// The slot of a timeline with the messages there that may have the client id, newest first; `None` if
    /// there is none.
    pub fn dedup_candidates(&self, hash: u64, timeline: Timeline) -> Option<(u32, Vec<u64>)> {
        // Few ids are found at all, so the timeline is looked up only then.
        if !self.dedup.may_have(hash) {
            return None;
        }
        let slot = self.slot(timeline)?;
        let seqs = self.dedup.candidates(hash, slot);
        (!seqs.is_empty()).then_some((slot, seqs))
    }

    /// Looks at what appends to these timelines by these senders will need, all of one kind before the next,
    /// so that the memory fetches many at once instead of one after another.
    pub fn warm(&self, appends: impl Iterator<Item = (Timeline, UserId)>) {
        let found: Vec<(u32, u32)> =
            appends.filter_map(|(timeline, sender)| Some((self.slot(timeline)?, *self.users.get(&sender)?))).collect();
        let heads = found.iter().map(|(slot, _)| self.head(*slot).newest);
        let people = found.iter().map(|(_, person)| self.people[*person as usize].exists_since);
        std::hint::black_box(heads.chain(people).fold(0, |all, one| all ^ one));
        let rows: Vec<&Row> =
            found.iter().filter_map(|(slot, person)| self.people[*person as usize].row(*slot)).collect();
        std::hint::black_box(rows.iter().fold(0, |all, row| all ^ row.version ^ row.read_max ^ row.own_last));
    }

    /// The first version committed at or after `time`, if there is one.
    pub fn first_version_at(&self, time: u64) -> Option<u64> {
        self.commit_times.first_at(time)
    }

    /// The newest version committed at or before `time`; 0 if there is none.
    pub fn last_version_at(&self, time: u64) -> u64 {
        self.commit_times.first_at(time + 1).map_or(self.version, |after| after - 1)
    }

    fn person(&self, user: UserId) -> Option<&Person> {
        self.users.get(&user).map(|index| &self.people[*index as usize])
    }
}

/// For how long the client id of the message with this version is taken: as the settings said then.
pub(crate) fn dedup_window(log: &[(u64, Settings)], version: u64) -> u64 {
    let before = log.partition_point(|(set, _)| *set < version);
    let settings = before.checked_sub(1).map_or_else(Settings::default, |index| log[index].1);
    settings.dedup_window_micros()
}
