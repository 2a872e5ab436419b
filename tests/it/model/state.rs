//! What the changes add up to, one after the other, in plain lists and maps.
//! Owns: users, timelines, rows, names, and what each change does to them. May touch: `change`, `word`.
//! Never: counts anything ahead of a question, looks at the clock, refuses a change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use restante::limits::{BODY_BYTES_MAX, DEDUP_WINDOW_MICROS, LATEST_BYTES_MAX, MENTIONS_MAX};
use restante::{GroupId, Pair, Peer, Source, Timeline, UserId};

use super::answer::Bytes;
use super::change::{Change, DEFAULTS, Letter, Marks, Settings, What};
use super::row::{Made, Presence, Row};
use super::word::{KINDS, Keep, NAMES, Rules};

/// Ids that the directory gives begin after this one.
const ALLOTTED: u64 = 1 << 63;

pub const RULES: Rules = Rules {
    dedup_window_secs: DEDUP_WINDOW_MICROS / 1_000_000,
    body_bytes_max: BODY_BYTES_MAX,
    mentions_max: MENTIONS_MAX,
    latest_bytes_max: LATEST_BYTES_MAX,
    keeps: [Keep { age_secs: 0, count: 0, body_bytes: 0 }; 4],
};

/// Who did something to a message, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amended {
    pub by: UserId,
    pub version: u64,
    pub time: u64,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub letter: Arc<Letter>,
    pub seq: u64,
    pub timestamp: u64,
    pub version: u64,
    pub commit_time: u64,
    /// The window in force when it was sent.
    pub window_secs: u64,
    /// What it says now.
    pub body: Bytes,
    pub recalled: Option<Amended>,
    pub edited: Option<Amended>,
    /// Of the first recall or edit: since then nobody can say what it first said.
    pub first_amended: Option<u64>,
    /// Who is told of having been mentioned.
    pub noted: BTreeSet<UserId>,
}

#[derive(Clone, Debug)]
pub struct Group {
    pub settings: Settings,
    pub created: u64,
    /// Version of the newest settings.
    pub settings_version: u64,
    pub metadata: Bytes,
    pub metadata_version: u64,
    pub dissolved: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub struct Line {
    pub messages: Vec<Message>,
    /// Of a group only.
    pub group: Option<Group>,
    /// The version that brought it about.
    pub made: u64,
    /// Oldest first.
    pub trims: Vec<Trim>,
    /// Of the newest trim for age.
    pub age_day: u64,
}

/// Everything above `from` and up to `upto` went.
#[derive(Clone, Copy, Debug)]
pub struct Trim {
    pub from: u64,
    pub upto: u64,
    pub version: u64,
}

impl Line {
    pub fn last(&self) -> u64 {
        self.messages.len() as u64
    }

    pub fn message(&self, seq: u64) -> Option<&Message> {
        self.messages.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }

    pub fn dissolved(&self) -> Option<u64> {
        self.group.as_ref()?.dissolved
    }

    /// Nothing up to here is kept.
    pub fn trim(&self) -> u64 {
        if self.dissolved().is_some() { self.last() } else { self.trims.last().map_or(0, |trim| trim.upto) }
    }

    /// The version by which a message was gone.
    pub fn gone(&self, seq: u64) -> Option<u64> {
        let trim = self.trims.iter().find(|trim| seq <= trim.upto).map(|trim| trim.version);
        trim.or(self.dissolved())
    }

    /// Whether a trim took a message that counts, of those up to `end`.
    pub fn counts(&self, trim: &Trim, end: u64) -> bool {
        let taken = self.messages.iter().filter(|message| trim.from < message.seq && message.seq <= trim.upto);
        taken.filter(|message| message.seq <= end).any(|message| message.letter.counts)
    }

    /// The newest trim that those whose session ends there are told of. Where that is at or below the horizon,
    /// the newest one there speaks for it.
    pub fn told_trim(&self, end: u64, horizon: u64) -> u64 {
        let told = self.trims.iter().rfind(|trim| self.counts(trim, end)).map_or(0, |trim| trim.version);
        let passed = self.trims.iter().filter(|trim| trim.version <= horizon && self.counts(trim, u64::MAX));
        if told == 0 { 0 } else { told.max(passed.map(|trim| trim.version).max().unwrap_or(0)) }
    }

    /// Whether a trim above a version took something that is shown up to `end`, and nothing that counts: an
    /// entry does not tell.
    pub fn is_thinner_since(&self, version: u64, end: u64) -> bool {
        let since = self.trims.iter().filter(|trim| trim.version > version && trim.from < end);
        since.clone().count() > 0 && since.clone().all(|trim| !self.counts(trim, end))
    }
}

#[derive(Clone, Debug)]
pub struct State {
    /// Commit times by version, the first at 0.
    pub times: Vec<u64>,
    pub lines: BTreeMap<Timeline, Line>,
    rows: BTreeMap<(UserId, Timeline), Row>,
    /// Who exists, and since which version.
    pub users: BTreeMap<UserId, u64>,
    /// Those who were removed, and by which version.
    pub ended: BTreeMap<UserId, u64>,
    /// By short numbers of kind and name: the id, and the version that gave it.
    pub names: BTreeMap<(u8, u8), (u64, u64)>,
    /// How many ids were ever given, by kind.
    pub allotted: BTreeMap<u8, u64>,
    pub rules: Rules,
    pub rules_version: u64,
    pub horizon: u64,
    pub horizon_version: u64,
}

impl State {
    pub fn new() -> State {
        State {
            times: Vec::new(),
            lines: BTreeMap::new(),
            rows: BTreeMap::new(),
            users: BTreeMap::new(),
            ended: BTreeMap::new(),
            names: BTreeMap::new(),
            allotted: BTreeMap::new(),
            rules: RULES,
            rules_version: 0,
            horizon: 0,
            horizon_version: 0,
        }
    }

    pub fn version(&self) -> u64 {
        self.times.len() as u64
    }

    /// Commit time of the newest change.
    pub fn time(&self) -> u64 {
        self.times.last().copied().unwrap_or(0)
    }

    pub fn time_of(&self, version: u64) -> u64 {
        self.times[version as usize - 1]
    }

    /// A timeline, also one in which nothing ever was.
    pub fn line(&self, timeline: Timeline) -> &Line {
        static EMPTY: Line = Line { messages: Vec::new(), group: None, made: 0, trims: Vec::new(), age_day: 0 };
        self.lines.get(&timeline).unwrap_or(&EMPTY)
    }

    pub fn last_seq(&self, timeline: Timeline) -> u64 {
        self.line(timeline).last()
    }

    pub fn last_timestamp(&self, timeline: Timeline) -> u64 {
        self.line(timeline).messages.last().map_or(0, |message| message.timestamp)
    }

    pub fn group(&self, group: GroupId) -> Option<&Group> {
        self.line(Timeline::Group(group)).group.as_ref()
    }

    /// What is to be kept of a timeline.
    pub fn keep(&self, timeline: Timeline) -> Keep {
        let kind = match timeline {
            Timeline::Direct(_) => 0,
            Timeline::Group(_) => 1,
            Timeline::Inbox(Source::System(_), _) | Timeline::Broadcast(Source::System(_)) => 2,
            _ => 3,
        };
        let own = self.line(timeline).group.as_ref().and_then(|group| group.settings.keep);
        own.unwrap_or(self.rules.keeps[kind])
    }

    /// What a source was made by its first message.
    pub fn is_broadcast(&self, source: Source) -> Option<bool> {
        self.lines.keys().find_map(|timeline| match timeline {
            Timeline::Inbox(inbox, _) if *inbox == source => Some(false),
            Timeline::Broadcast(broadcast) if *broadcast == source => Some(true),
            _ => None,
        })
    }

    /// What a user means by a peer; `None` for a source that never sent.
    pub fn timeline(&self, user: UserId, peer: Peer) -> Option<Timeline> {
        let source = match peer {
            Peer::User(other) => return Some(Timeline::direct(user, other)),
            Peer::Group(group) => return Some(Timeline::Group(group)),
            Peer::System(system) => Source::System(system),
            Peer::Business(business) => Source::Business(business),
            _ => unreachable!("the model has no other peers"),
        };
        Some(match self.is_broadcast(source)? {
            true => Timeline::Broadcast(source),
            false => Timeline::Inbox(source, user),
        })
    }

    /// What is kept of a user in a timeline, also if the session is gone.
    pub fn trace(&self, user: UserId, timeline: Timeline) -> Option<&Row> {
        self.rows.get(&(user, timeline))
    }

    /// All of them of one user, by timeline.
    pub fn traces(&self, user: UserId) -> impl Iterator<Item = (Timeline, &Row)> {
        self.rows.iter().filter(move |((owner, _), _)| *owner == user).map(|((_, timeline), row)| (*timeline, row))
    }

    /// All of them of one timeline, by user.
    pub fn traces_of(&self, timeline: Timeline) -> impl Iterator<Item = (UserId, &Row)> {
        self.rows.iter().filter(move |((_, of), _)| *of == timeline).map(|((user, _), row)| (*user, row))
    }

    /// The part of a user in a timeline, or `None` if the user does not have the session.
    pub fn row(&self, user: UserId, timeline: Timeline) -> Option<Row> {
        let trace = self.trace(user, timeline);
        match trace {
            Some(row) if row.presence != Presence::Gone => Some(row.clone()),
            _ => match timeline {
                Timeline::Broadcast(_) => self.broadcast_row(user, timeline),
                _ => None,
            },
        }
    }

    /// The session of one who never did anything in a broadcast: all that was sent since it exists.
    fn broadcast_row(&self, user: UserId, timeline: Timeline) -> Option<Row> {
        let since = *self.users.get(&user)?;
        let line = self.line(timeline);
        let before = line.messages.iter().filter(|message| message.version <= since).count() as u64;
        // What was dropped with its session stays so, also if a crash cut the removal of the user in two.
        let (dropped, clear_point) = self.trace(user, timeline).map_or((0, 0), |row| (row.floor, row.clear_point));
        let floor = before.max(dropped);
        let joined_time = self.time_of(since);
        (line.last() > floor).then(|| Row {
            read: floor,
            floor,
            clear_point,
            joined_at: floor,
            joined_version: since,
            joined_time,
            ..Row::new()
        })
    }

    pub fn is_member(&self, user: UserId, timeline: Timeline) -> bool {
        self.row(user, timeline).is_some_and(|row| row.is_member())
    }

    /// The present members of a group, or those who have the session anyhow, by id.
    pub fn members(&self, timeline: Timeline) -> Vec<(UserId, Row)> {
        let rows = self.traces_of(timeline).filter(|(_, row)| row.is_member());
        rows.map(|(user, row)| (user, row.clone())).collect()
    }

    pub fn apply(&mut self, change: &Change) {
        let (version, time) = (change.version, change.commit_time);
        assert_eq!(version, self.version() + 1, "changes come one after the other");
        self.times.push(time);
        match &change.what {
            What::Sent { letter, seq, timestamp } => self.send(letter, *seq, *timestamp, version, time),
            What::Recalled { timeline, seq, by } => {
                let message = self.message_mut(*timeline, *seq);
                message.recalled = Some(Amended { by: *by, version, time });
                message.first_amended.get_or_insert(version);
                message.edited = None;
                message.body = Bytes::default();
            }
            What::Edited { timeline, seq, by, body } => {
                let message = self.message_mut(*timeline, *seq);
                message.edited = Some(Amended { by: *by, version, time });
                message.first_amended.get_or_insert(version);
                message.body = body.clone();
            }
            What::Hidden { user, timeline, seqs } => {
                let row = self.changing(*user, *timeline, version);
                row.hidden.extend(seqs.iter().map(|seq| (*seq, (version, time))));
            }
            What::Read { user, timeline, upto } => {
                let row = self.changing(*user, *timeline, version);
                row.flags.marked_unread = false;
                row.made.flags = version;
                if *upto > row.read {
                    row.read = *upto;
                    row.made.read = version;
                    let before = (row.read_max, row.delivered_max);
                    row.read_max = row.read_max.max(*upto);
                    row.delivered_max = row.delivered_max.max(row.read_max);
                    row.made.delivered = version;
                    if (row.read_max, row.delivered_max) != before {
                        row.receipts_version = version;
                    }
                }
            }
            What::MarkedBack { user, timeline, read } => {
                let row = self.changing(*user, *timeline, version);
                row.read = *read;
                row.made.read = version;
            }
            What::Delivered { user, timeline, upto } => {
                let row = self.changing(*user, *timeline, version);
                row.delivered_max = *upto;
                row.made.delivered = version;
                row.receipts_version = version;
            }
            What::Cleared { user, timeline, upto } => {
                let row = self.changing(*user, *timeline, version);
                row.floor = *upto;
                row.clear_point = *upto;
                row.made.floor = version;
            }
            What::Removed { user, timeline, upto } => {
                let row = self.changing(*user, *timeline, version);
                row.floor = row.floor.max(*upto);
                row.clear_point = row.clear_point.max(*upto);
                row.removed = Some(*upto);
                row.flags = Marks { muted: row.flags.muted, ..Marks::default() };
                row.metadata = Bytes::default();
                row.made = Made { floor: version, flags: version, metadata: version, ..row.made };
            }
            What::Flagged { user, timeline, flags } => {
                self.open(*user, *timeline, version, time);
                let row = self.changing(*user, *timeline, version);
                row.flags = *flags;
                row.made.flags = version;
            }
            What::Noted { user, timeline, metadata } => {
                self.open(*user, *timeline, version, time);
                let row = self.changing(*user, *timeline, version);
                row.metadata = metadata.clone();
                row.made.metadata = version;
            }
            What::Created { group, settings } => self.create(*group, *settings, version),
            What::Set { group, settings } => {
                let group = self.group_mut(*group);
                group.settings = *settings;
                group.settings_version = version;
            }
            What::GroupNoted { group, metadata } => {
                let group = self.group_mut(*group);
                group.metadata = metadata.clone();
                group.metadata_version = version;
            }
            What::Dissolved { group } => {
                let group = self.group_mut(*group);
                group.dissolved = Some(version);
                group.metadata = Bytes::default();
            }
            What::Joined { group, user } => self.join(*group, *user, version, time),
            What::Left { group, user } => {
                let timeline = Timeline::Group(*group);
                let last = self.last_seq(timeline);
                let row = self.changing(*user, timeline, version);
                row.presence = Presence::Left;
                row.ceiling = Some(last);
                row.left_version = version;
            }
            What::Role { group, user, role } => {
                let row = self.changing(*user, Timeline::Group(*group), version);
                row.role = *role;
                row.made.role = version;
            }
            What::MemberData { group, user, data } => {
                let row = self.changing(*user, Timeline::Group(*group), version);
                row.data = data.clone();
                row.made.data = version;
            }
            What::Silenced { group, user, until } => {
                let row = self.changing(*user, Timeline::Group(*group), version);
                row.silenced_until = *until;
                row.silenced_version = version;
            }
            What::Added { user } => self.appear(*user, version),
            What::Dropped { user, timeline } => self.drop_session(*user, *timeline, version),
            What::Ended { user } => {
                self.users.remove(user);
                self.ended.insert(*user, version);
                self.names.retain(|(kind, _), (id, _)| *kind != 0 || *id != user.0);
            }
            What::Named { kind, name, id } => {
                self.names.insert((*kind, *name), (*id, version));
                *self.allotted.entry(*kind).or_default() += 1;
                if *kind == 0 {
                    self.appear(UserId(*id), version);
                }
            }
            What::Freed { kind, name } => {
                self.names.remove(&(*kind, *name));
            }
            What::Ruled { rules } => {
                self.rules = *rules;
                self.rules_version = version;
            }
            What::Horizon { version: horizon } => (self.horizon, self.horizon_version) = (*horizon, version),
            What::Trimmed { timeline, upto, age_day, .. } => {
                let line = self.lines.get_mut(timeline).expect("what is trimmed is there");
                line.trims.push(Trim { from: line.trims.last().map_or(0, |trim| trim.upto), upto: *upto, version });
                line.age_day = age_day.unwrap_or(line.age_day);
            }
        }
        for line in self.lines.values_mut().filter(|line| line.made == 0) {
            line.made = version;
        }
    }

    /// The id that the next new name of a kind gets.
    pub fn next_id(&self, kind: u8) -> u64 {
        debug_assert!(usize::from(kind) < KINDS.len() && NAMES.len() > 1);
        ALLOTTED + 1 + self.allotted.get(&kind).copied().unwrap_or(0)
    }

    fn appear(&mut self, user: UserId, version: u64) {
        self.users.entry(user).or_insert(version);
    }

    fn message_mut(&mut self, timeline: Timeline, seq: u64) -> &mut Message {
        let line = self.lines.get_mut(&timeline).expect("what is amended is there");
        &mut line.messages[seq as usize - 1]
    }

    fn group_mut(&mut self, group: GroupId) -> &mut Group {
        let line = self.lines.get_mut(&Timeline::Group(group)).expect("what is changed is there");
        line.group.as_mut().expect("a group's timeline has a group")
    }

    /// The row of a session that changes; a broadcast's is written down by its first change.
    fn changing(&mut self, user: UserId, timeline: Timeline, version: u64) -> &mut Row {
        let row = self.row(user, timeline).expect("what is changed is there");
        let row = self.rows.entry((user, timeline)).and_modify(|stored| *stored = row.clone()).or_insert(row);
        row.version = version;
        row
    }

    fn send(&mut self, letter: &Arc<Letter>, seq: u64, timestamp: u64, version: u64, time: u64) {
        let (timeline, sender) = (letter.timeline, letter.sender);
        let ends = match timeline {
            Timeline::Direct(pair) => Some(pair),
            Timeline::Inbox(_, recipient) => Some(Pair::new(recipient, recipient)),
            _ => None,
        };
        if let Some(pair) = ends {
            self.open(pair.low(), timeline, version, time);
            self.open(pair.high(), timeline, version, time);
        }
        if !sender.is_none() {
            self.appear(sender, version);
        }
        let is_told = |user: &UserId| match timeline {
            Timeline::Broadcast(_) => false,
            _ => *user != sender && self.is_member(*user, timeline),
        };
        let noted = letter.mentions.iter().copied().filter(is_told).collect();
        self.lines.entry(timeline).or_default().messages.push(Message {
            letter: letter.clone(),
            seq,
            timestamp,
            version,
            commit_time: time,
            window_secs: self.rules.dedup_window_secs,
            body: letter.body.clone(),
            recalled: None,
            edited: None,
            first_amended: None,
            noted,
        });
        if letter.counts && self.trace(sender, timeline).is_some_and(|row| row.is_member()) {
            let row = self.changing(sender, timeline, version);
            row.read = seq;
            row.read_max = row.read_max.max(seq);
            row.delivered_max = row.delivered_max.max(seq);
            row.flags.marked_unread = false;
            row.made = Made { read: version, delivered: version, flags: version, ..row.made };
        }
    }

    /// Lets a user have a session that nobody joins, if it has not.
    fn open(&mut self, user: UserId, timeline: Timeline, version: u64, time: u64) {
        if self.row(user, timeline).is_some() {
            return;
        }
        self.appear(user, version);
        let last = self.lines.entry(timeline).or_default().last();
        let before = self.trace(user, timeline).cloned().unwrap_or(Row::new());
        let row = Row {
            presence: Presence::Member,
            joined_at: last,
            version,
            joined_version: version,
            joined_time: time,
            ..before
        };
        self.rows.insert((user, timeline), row);
    }

    fn create(&mut self, group: GroupId, settings: Settings, version: u64) {
        let line = self.lines.entry(Timeline::Group(group)).or_default();
        line.group.get_or_insert(Group {
            settings,
            created: version,
            settings_version: version,
            metadata: Bytes::default(),
            metadata_version: 0,
            dissolved: None,
        });
    }

    fn join(&mut self, group: GroupId, user: UserId, version: u64, time: u64) {
        self.create(group, DEFAULTS, version);
        self.appear(user, version);
        let timeline = Timeline::Group(group);
        let last = self.last_seq(timeline);
        let before = self.trace(user, timeline).cloned().unwrap_or(Row::new());
        let shows_history = self.group_mut(group).settings.shows_history;
        let floor = if shows_history { before.clear_point } else { last };
        // Who was told is forgotten once the floor passes the message, also if the message is shown again.
        let messages = &mut self.lines.get_mut(&timeline).expect("the group is there").messages;
        for message in &mut messages[..floor as usize] {
            message.noted.remove(&user);
        }
        let row = Row {
            presence: Presence::Member,
            read: last,
            joined_at: last,
            floor,
            ceiling: None,
            removed: None,
            role: 0,
            data: Bytes::default(),
            made: Made { read: version, floor: version, role: version, data: version, ..before.made },
            version,
            joined_version: version,
            joined_time: time,
            ..before
        };
        self.rows.insert((user, timeline), row);
    }

    /// A removed user's session is cleared to its end; what it held is forgotten, but for the floor.
    fn drop_session(&mut self, user: UserId, timeline: Timeline, version: u64) {
        let before = self.row(user, timeline).expect("what is dropped is there");
        let end = before.end(self.last_seq(timeline));
        let floor = before.floor.max(end);
        // What others were told stays told, and who may not speak still may not.
        let row = Row {
            presence: Presence::Gone,
            floor,
            clear_point: floor,
            read: floor,
            read_max: before.read_max,
            delivered_max: before.delivered_max,
            receipts_version: before.receipts_version,
            silenced_until: before.silenced_until,
            silenced_version: before.silenced_version,
            made: Made { floor: version, read: version, ..Made::default() },
            version,
            ..Row::new()
        };
        self.rows.insert((user, timeline), row);
    }
}
