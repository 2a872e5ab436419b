//! The state of a store in memory: what the journal says, applied.
//! Owns: heads, rows, dedup, names, the commit times. May touch: `change`, `settings`, `journal` (places
//! and files).
//! Never: does I/O or reads a clock; it is a pure function of the changes.

mod needs;

mod growth;

mod amended;

mod trims;

mod lost;

mod roster;

mod timeline;

mod cells;

mod member;

mod names;

mod dedup;

mod commit_times;

pub(crate) mod stored;

mod unsealed;

mod resident;

mod present;

mod apply;

mod admit;

mod overlay;

mod sequence;

pub(crate) use amended::{Amendment, Recalled};
pub(crate) use commit_times::CommitTimes;
pub(crate) use lost::{LostRun, LostRuns};
pub(crate) use member::{Hide, Notes, Presence, Row};
pub(crate) use needs::{Need, take_misses};
pub(crate) use overlay::Taken;
pub(crate) use present::{Finding, Needs};
pub(crate) use resident::Loaded;
pub(crate) use roster::Seat;
pub(crate) use sequence::{
    AmendFound, AmendPlan, Answer, ClearPlan, Decided, FlagsPlan, HidePlan, Known, MarkPlan, PreparedAppend, Sequenced,
    Sequencer, Stale, TrimPlan, UnreadPlan, change_bytes_max, is_within_window, join_bytes_max,
};
pub use sequence::{Appended, Effect, Joined, Maintained, Outcome, Resolved};
pub(crate) use timeline::{Alerts, Head, PART_SEQS, Part, Tip, Whereabouts, kinds};

use crate::id::{ClientId, NameKind, Peer, Source, Timeline, UserId};
use crate::journal::FileTable;
use crate::settings::Settings;
use crate::unit::Segments;
use ahash::RandomState;
use cells::{Cells, Standing};
use dedup::Dedup;
use member::Person;
use names::Names;
use needs::missed;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use unsealed::Pending;

/// Everything that is published, as far as it is in memory. What is asked for and is on disk only is noted
/// as a miss (see `needs`), and the answer means nothing then.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The newest version, and its commit time.
    pub version: u64,
    pub time: u64,
    /// What was removed up to this version may be forgotten.
    pub horizon: u64,
    pub files: Arc<FileTable>,
    /// What sealing made.
    pub segments: Arc<Segments>,
    cells: Cells,
    users: HashMap<UserId, u32, RandomState>,
    people: Vec<Person>,
    /// Places in `people` that are nobody's.
    free_people: Vec<u32>,
    dedup: Dedup,
    commit_times: CommitTimes,
    names: Names,
    /// Whether a source sends a broadcast, or to inboxes.
    sources: HashMap<Source, bool, RandomState>,
    /// The slots of all broadcasts. Their heads stay in memory.
    broadcasts: Vec<u32>,
    /// The settings there were, each with the version that set it.
    settings: Arc<Vec<(u64, Settings)>>,
    /// The longest for which a client id was ever taken, in microseconds.
    dedup_window_max: u64,
    /// What the disk does not have, and what it has that memory does not.
    pending: Pending,
    /// Stands in for a head that was missed.
    nobody: Arc<Head>,
}

impl State {
    pub fn new() -> State {
        let nobody = Head::new(Timeline::Group(crate::id::GroupId::NONE), Tip::new(Default::default(), 0));
        State {
            version: 0,
            time: 0,
            horizon: 0,
            files: Arc::default(),
            segments: Arc::default(),
            cells: Cells::default(),
            users: HashMap::default(),
            people: Vec::new(),
            free_people: Vec::new(),
            dedup: Dedup::new(),
            commit_times: CommitTimes::default(),
            names: Names::default(),
            sources: HashMap::default(),
            broadcasts: Vec::new(),
            settings: Arc::default(),
            dedup_window_max: Settings::default().dedup_window_micros(),
            pending: Pending::new(),
            nobody: Arc::new(nobody),
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

    /// The slot of a timeline that exists.
    pub fn slot(&self, timeline: Timeline) -> Option<u32> {
        match self.cells.slot(timeline) {
            Some(slot) => match self.cells.standing(slot) {
                Standing::Here(_) => return Some(slot),
                Standing::Absent => return None,
                Standing::Unknown => {}
            },
            None if self.is_all_here() => return None,
            None => {}
        }
        missed(Need::Head(timeline));
        None
    }

    /// The head at a slot that a row holds, or that this state handed out just now.
    #[inline]
    pub fn head(&self, slot: u32) -> &Head {
        self.cells.head(slot).unwrap_or_else(|| self.missed_head(slot))
    }

    #[cold]
    fn missed_head(&self, slot: u32) -> &Head {
        missed(Need::Head(self.cells.get(slot).timeline));
        &self.nobody
    }

    /// The timeline whose slot this is.
    pub fn timeline_at(&self, slot: u32) -> Timeline {
        self.cells.get(slot).timeline
    }

    /// The version of the newest change that any user could see in the timeline at a slot, but for those
    /// of rows; the largest there is while nobody knows it.
    #[inline]
    pub fn newest(&self, slot: u32) -> u64 {
        self.cells.get(slot).newest
    }

    pub fn head_of(&self, timeline: Timeline) -> Option<&Head> {
        self.slot(timeline).map(|slot| self.head(slot))
    }

    /// A user's rows, in no order that means anything. Some may be blank.
    pub fn rows(&self, user: UserId) -> &[Row] {
        match self.person(user) {
            Some(person) if person.is_complete => &person.rows,
            None if self.is_all_here() => &[],
            _ => {
                missed(Need::Rows(user));
                &[]
            }
        }
    }

    pub fn row(&self, user: UserId, slot: u32) -> Option<&Row> {
        let person = self.person(user);
        if let Some(row) = person.and_then(|person| person.row(slot)) {
            return if row.is_blank() { None } else { Some(row) };
        }
        if !person.map_or(self.is_all_here(), |person| person.is_complete) {
            missed(Need::Row(user, self.cells.get(slot).timeline));
        }
        None
    }

    pub fn row_of(&self, user: UserId, timeline: Timeline) -> Option<&Row> {
        match self.cells.slot(timeline) {
            Some(slot) => self.row(user, slot),
            None => {
                if !self.person(user).map_or(self.is_all_here(), |person| person.is_complete) {
                    missed(Need::Row(user, timeline));
                }
                None
            }
        }
    }

    /// The row of a session, also one that a broadcast gives without a row of its own.
    pub fn session(&self, user: UserId, slot: u32) -> Option<Row> {
        match self.row(user, slot) {
            Some(row) if row.is_session() => Some(*row),
            row => self.broadcast_session(slot, row, user),
        }
    }

    /// What a broadcast shows to a user who has no session of its own there: what was sent since the user
    /// exists, and since its session was dropped, of which `row` may tell.
    fn broadcast_session(&self, slot: u32, row: Option<&Row>, user: UserId) -> Option<Row> {
        match self.cells.get(slot).timeline {
            Timeline::Broadcast(_) => self.broadcast_since(slot, row, self.exists_since(user)),
            Timeline::Direct(_) | Timeline::Group(_) | Timeline::Inbox(..) => None,
        }
    }

    /// The same, for one who exists since a version; nothing where no broadcast is.
    pub fn broadcast_since(&self, slot: u32, row: Option<&Row>, exists_since: u64) -> Option<Row> {
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
        match self.person(user) {
            Some(person) if person.is_known => return person.exists_since,
            None if self.is_all_here() => return 0,
            _ => missed(Need::Person(user)),
        }
        0
    }

    /// The id that a name stands for.
    pub fn name_id(&self, kind: NameKind, name: &[u8]) -> Option<u64> {
        match self.names.id(kind, name) {
            Some(id) => id,
            None => {
                if !self.is_all_here() {
                    missed(Need::Name(kind, name.to_vec()));
                }
                None
            }
        }
    }

    /// The name that an id has.
    pub fn name_of(&self, kind: NameKind, id: u64) -> Option<&Arc<[u8]>> {
        match self.names.name(kind, id) {
            Some(name) => name,
            None => {
                if !self.is_all_here() {
                    missed(Need::NameOf(kind, id));
                }
                None
            }
        }
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

    /// The longest for which a client id was ever taken, in microseconds.
    pub fn dedup_window_max(&self) -> u64 {
        self.dedup_window_max
    }

    /// What stands for a client id in this process.
    pub fn dedup_hash(&self, timeline: Timeline, sender: UserId, id: ClientId) -> u64 {
        self.dedup.hash(timeline, sender, id)
    }

    /// The messages that may have the client id and are in no index yet, newest first. Another timeline's
    /// may be among them.
    pub fn dedup_candidates(&self, hash: u64) -> Vec<u64> {
        self.dedup.candidates(hash)
    }

    /// Looks at what appends to these timelines by these senders will need, all of one kind before the next,
    /// so that the memory fetches many at once instead of one after another.
    pub fn warm(&self, appends: impl Iterator<Item = (Timeline, UserId)>) {
        let found: Vec<(u32, u32)> = appends
            .filter_map(|(timeline, sender)| Some((self.cells.slot(timeline)?, *self.users.get(&sender)?)))
            .collect();
        let heads = found.iter().map(|(slot, _)| self.cells.head(*slot).map_or(0, |head| head.tip.version));
        let people = found.iter().map(|(_, person)| self.people[*person as usize].exists_since);
        std::hint::black_box(heads.chain(people).fold(0, |all, one| all ^ one));
        self.warm_rows_of(&found);
    }

    /// Looks at rows, by their slots and by where their users stand, before any of them is waited for.
    fn warm_rows_of(&self, found: &[(u32, u32)]) {
        let rows = found.iter().filter_map(|(slot, person)| self.people[*person as usize].row(*slot));
        let rows: Vec<&Row> = rows.collect();
        std::hint::black_box(rows.iter().fold(0, |all, row| all ^ row.version ^ row.read_max ^ row.own_last));
    }

    /// The commit times of what is in no index yet.
    pub fn commit_times(&self) -> &CommitTimes {
        &self.commit_times
    }

    /// Rises whenever the files change.
    pub fn segments_generation(&self) -> u64 {
        self.segments.generation
    }

    fn person(&self, user: UserId) -> Option<&Person> {
        Some(self.person_at(*self.users.get(&user)?))
    }

    fn person_at(&self, index: u32) -> &Person {
        let person = &self.people[index as usize];
        if !person.used.load(Ordering::Relaxed) {
            person.used.store(true, Ordering::Relaxed);
        }
        person
    }
}

/// For how long the client id of the message with this version is taken: as the settings said then.
pub(crate) fn dedup_window(log: &[(u64, Settings)], version: u64) -> u64 {
    let before = log.partition_point(|(set, _)| *set < version);
    let settings = before.checked_sub(1).map_or_else(Settings::default, |index| log[index].1);
    settings.dedup_window_micros()
}
