//! The plain model: every change ever made, in order, and what a call would add to them.
//! Owns: the log of changes, rows folded from it, the checks and outcomes of writing. May touch: `answer`.
//! Never: keeps anything that could be counted from the log, or asks the store.

use restante::limits::DEDUP_WINDOW_MICROS;
use restante::{Epoch, ErrorKind, GroupId, Outcome, Peer, Timeline, UserId};

use super::answer::{Admitted, Bytes, Plain, Written, Wrong};

/// Journal files of the model's stores; a body may take a quarter of one.
pub const JOURNAL_BYTES: u64 = 64 << 10;
const FRAME_BYTES_MAX: usize = (JOURNAL_BYTES / 4) as usize;

/// A message that someone wants to send.
#[derive(Clone, Debug)]
pub struct Letter {
    pub timeline: Timeline,
    pub sender: UserId,
    pub body: Bytes,
    pub kind: u16,
    pub counts: bool,
    /// 0 is none.
    pub client_id: u128,
    pub timestamp: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub shows_history: bool,
    pub members_only: bool,
}

pub const DEFAULTS: Settings = Settings { shows_history: false, members_only: true };

#[derive(Clone, Debug)]
pub enum What {
    Created { group: GroupId, settings: Settings },
    Joined { group: GroupId, user: UserId },
    Left { group: GroupId, user: UserId },
    Marked { user: UserId, timeline: Timeline, read: u64 },
    Sent { letter: Letter, seq: u64, timestamp: u64 },
}

#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub commit_time: u64,
    /// The last version of the batch it came in: after a crash all of a batch or none.
    pub batch_end: u64,
    pub what: What,
}

impl Change {
    pub fn timeline(&self) -> Timeline {
        match &self.what {
            What::Created { group, .. } | What::Joined { group, .. } | What::Left { group, .. } => {
                Timeline::Group(*group)
            }
            What::Marked { timeline, .. } => *timeline,
            What::Sent { letter, .. } => letter.timeline,
        }
    }
}

/// A message of the log.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    pub letter: &'a Letter,
    pub seq: u64,
    pub timestamp: u64,
    pub version: u64,
    pub commit_time: u64,
}

/// What a user's part in a timeline comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub read: u64,
    pub floor: u64,
    pub joined_at: u64,
    /// Set by leaving.
    pub ceiling: Option<u64>,
    /// Of the newest change of the row itself.
    pub version: u64,
    /// Of the newest joining, or of the first message of a direct timeline.
    pub joined_version: u64,
    pub joined_time: u64,
}

impl Row {
    pub fn mark(&self) -> u64 {
        self.read.max(self.floor)
    }

    pub fn is_member(&self) -> bool {
        self.ceiling.is_none()
    }

    /// The last seq this user may see, when the timeline has `last`.
    pub fn end(&self, last: u64) -> u64 {
        self.ceiling.map_or(last, |ceiling| ceiling.min(last))
    }
}

/// The log up to some version, at some time of the clock.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub log: &'a [Change],
    pub clock: u64,
}

impl<'a> View<'a> {
    pub fn version(&self) -> u64 {
        self.log.len() as u64
    }

    /// max(clock, last commit time).
    pub fn store_time(&self) -> u64 {
        self.clock.max(self.log.last().map_or(0, |change| change.commit_time))
    }

    pub fn messages(&self) -> impl Iterator<Item = Sent<'a>> + use<'a> {
        self.log.iter().filter_map(|change| match &change.what {
            What::Sent { letter, seq, timestamp } => Some(Sent {
                letter,
                seq: *seq,
                timestamp: *timestamp,
                version: change.version,
                commit_time: change.commit_time,
            }),
            _ => None,
        })
    }

    pub fn messages_of(&self, timeline: Timeline) -> Vec<Sent<'a>> {
        self.messages().filter(|sent| sent.letter.timeline == timeline).collect()
    }

    pub fn last_seq(&self, timeline: Timeline) -> u64 {
        self.messages_of(timeline).len() as u64
    }

    pub fn last_timestamp(&self, timeline: Timeline) -> u64 {
        self.messages_of(timeline).last().map_or(0, |sent| sent.timestamp)
    }

    /// `None` if there is no such group. What created it, or the first who joined, decides.
    pub fn settings(&self, group: GroupId) -> Option<Settings> {
        self.log.iter().find_map(|change| match change.what {
            What::Created { group: created, settings } if created == group => Some(settings),
            What::Joined { group: joined, .. } if joined == group => Some(DEFAULTS),
            _ => None,
        })
    }

    /// The part of a user in a timeline, or `None` if the user never had the session.
    pub fn row(&self, user: UserId, timeline: Timeline) -> Option<Row> {
        let mut row: Option<Row> = None;
        let mut last = 0;
        for change in self.log.iter().filter(|change| change.timeline() == timeline) {
            let fresh = Row {
                read: last,
                floor: last,
                joined_at: last,
                ceiling: None,
                version: change.version,
                joined_version: change.version,
                joined_time: change.commit_time,
            };
            match &change.what {
                What::Created { .. } => {}
                What::Joined { group, user: joined } => {
                    if *joined == user {
                        let shows_history = self.settings(*group).is_some_and(|settings| settings.shows_history);
                        row = Some(Row { floor: if shows_history { 0 } else { last }, ..fresh });
                    }
                }
                What::Left { user: left, .. } => {
                    if let (true, Some(row)) = (*left == user, &mut row) {
                        row.ceiling = Some(last);
                        row.version = change.version;
                    }
                }
                What::Marked { user: reader, read, .. } => {
                    if let (true, Some(row)) = (*reader == user, &mut row) {
                        row.read = *read;
                        row.version = change.version;
                    }
                }
                What::Sent { letter, seq, .. } => {
                    last = *seq;
                    if matches!(timeline, Timeline::Direct(_)) && row.is_none() && timeline.peer_of(user).is_some() {
                        row = Some(fresh);
                    }
                    if let (true, true, Some(row)) = (letter.sender == user, letter.counts, &mut row)
                        && row.is_member()
                    {
                        row.read = *seq;
                        row.version = change.version;
                    }
                }
            }
        }
        row
    }

    pub fn is_member(&self, user: UserId, timeline: Timeline) -> bool {
        self.row(user, timeline).is_some_and(|row| row.is_member())
    }

    /// Whether the client id of a message still counts at this view's time.
    pub fn in_window(&self, sent: &Sent<'_>) -> bool {
        self.store_time() < sent.commit_time + DEDUP_WINDOW_MICROS
    }

    /// The newest message under a client id, inside its window or not.
    pub fn newest_with_id(&self, timeline: Timeline, sender: UserId, client_id: u128) -> Option<Sent<'a>> {
        self.messages().filter(|sent| is_same_id(sent.letter, timeline, sender, client_id)).last()
    }

    /// The message that has taken a client id.
    pub fn taken(&self, timeline: Timeline, sender: UserId, client_id: u128) -> Option<Sent<'a>> {
        self.messages().find(|sent| is_same_id(sent.letter, timeline, sender, client_id) && self.in_window(sent))
    }
}

fn is_same_id(letter: &Letter, timeline: Timeline, sender: UserId, client_id: u128) -> bool {
    client_id != 0 && letter.client_id == client_id && letter.sender == sender && letter.timeline == timeline
}

/// What a call says, and how much of the log that rests on.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    pub result: Plain<T>,
    /// The newest version without which the answer would be another one; 0 if that is not worth knowing.
    pub rests_on: u64,
    pub changed: bool,
}

/// The whole model.
#[derive(Debug)]
pub struct World {
    pub log: Vec<Change>,
    /// The newest version that readers see; what follows is sequenced only.
    pub published: u64,
    pub clock: u64,
    pub epoch: Epoch,
    /// Epochs that ended and their last surviving versions, oldest first.
    pub ends: Vec<(Epoch, u64)>,
}

impl World {
    pub fn new(epoch: Epoch, clock: u64) -> World {
        World { log: Vec::new(), published: 0, clock, epoch, ends: Vec::new() }
    }

    /// Everything that has happened, seen or not.
    pub fn sequenced(&self) -> View<'_> {
        View { log: &self.log, clock: self.clock }
    }

    /// What readers see.
    pub fn seen(&self) -> View<'_> {
        View { log: &self.log[..self.published as usize], clock: self.clock }
    }

    /// A crash that left only the first `version` changes.
    pub fn cut(&mut self, version: u64) {
        self.log.truncate(version as usize);
        self.published = version;
    }

    pub fn append(&mut self, letter: &Letter) -> Answer<Written> {
        let Answer { result, rests_on, changed } = self.append_batch(std::slice::from_ref(letter));
        let result = result.map(|written| written[0]).map_err(|wrong| wrong.kind.into());
        Answer { result, rests_on, changed }
    }

    pub fn append_batch(&mut self, letters: &[Letter]) -> Answer<Vec<Written>> {
        let start = self.log.len();
        let mut rests_on = 0;
        let mut written = Vec::new();
        let faulty = letters.iter().enumerate().find_map(|(item, letter)| Some((item, edge_fault(letter)?)));
        if let Some((item, kind)) = faulty {
            return Answer { result: Err(Wrong { kind, item: Some(item) }), rests_on: 0, changed: false };
        }
        for (item, letter) in letters.iter().enumerate() {
            let view = self.sequenced();
            let last = view.last_timestamp(letter.timeline);
            let store_time = view.store_time();
            match judge(view, letter) {
                Ok(Some(first)) => {
                    rests_on = rests_on.max(first.version);
                    written.push(first);
                }
                Ok(None) => {
                    let seq = view.last_seq(letter.timeline) + 1;
                    let timestamp = letter.timestamp.unwrap_or(store_time.max(last + 1));
                    let version = self.push(What::Sent { letter: letter.clone(), seq, timestamp });
                    rests_on = version;
                    written.push(Written { outcome: Outcome::Written, seq, timestamp, version });
                }
                Err(kind) => {
                    let left = view.row(letter.sender, letter.timeline).filter(|row| !row.is_member());
                    // Versions of this very batch do not stay, so nothing can rest on them.
                    let rests_on = if kind == ErrorKind::Refused { left.map_or(0, |row| row.version) } else { 0 };
                    self.log.truncate(start);
                    return Answer { result: Err(Wrong { kind, item: Some(item) }), rests_on, changed: false };
                }
            }
        }
        self.end_batch(start);
        Answer { result: Ok(written), rests_on, changed: self.log.len() > start }
    }

    pub fn create_group(&mut self, group: GroupId, settings: Settings) -> Answer<u64> {
        if group.is_none() {
            return refused(ErrorKind::InvalidInput);
        }
        if self.sequenced().settings(group).is_some() {
            return unchanged(0);
        }
        let version = self.push(What::Created { group, settings });
        changed(version)
    }

    pub fn join(&mut self, group: GroupId, user: UserId) -> Answer<u64> {
        if group.is_none() || user.is_none() {
            return refused(ErrorKind::InvalidInput);
        }
        match self.sequenced().row(user, Timeline::Group(group)) {
            Some(row) if row.is_member() => unchanged(row.joined_version),
            _ => changed(self.push(What::Joined { group, user })),
        }
    }

    pub fn join_many(&mut self, group: GroupId, users: &[UserId]) -> Answer<Admitted> {
        if group.is_none() {
            return refused(ErrorKind::InvalidInput);
        }
        if let Some(item) = users.iter().position(|user| user.is_none()) {
            let wrong = Wrong { kind: ErrorKind::InvalidInput, item: Some(item) };
            return Answer { result: Err(wrong), rests_on: 0, changed: false };
        }
        let start = self.log.len();
        let mut admitted = Admitted { joined: 0, unchanged: 0, version: 0 };
        let mut rests_on = 0;
        for user in users {
            let answer = self.join(group, *user);
            rests_on = rests_on.max(answer.rests_on);
            if answer.changed {
                admitted.joined += 1;
                admitted.version = answer.rests_on;
            } else {
                admitted.unchanged += 1;
            }
        }
        self.end_batch(start);
        Answer { result: Ok(admitted), rests_on, changed: admitted.joined > 0 }
    }

    pub fn leave(&mut self, group: GroupId, user: UserId) -> Answer<u64> {
        if group.is_none() || user.is_none() {
            return refused(ErrorKind::InvalidInput);
        }
        match self.sequenced().row(user, Timeline::Group(group)) {
            None => refused(ErrorKind::NotFound),
            Some(row) if !row.is_member() => unchanged(0),
            Some(_) => changed(self.push(What::Left { group, user })),
        }
    }

    pub fn mark_read(&mut self, user: UserId, peer: Peer, upto: u64) -> Answer<u64> {
        if user.is_none() || is_none(peer) {
            return refused(ErrorKind::InvalidInput);
        }
        let timeline = crate::support::timeline_of(user, peer);
        let Some(row) = self.sequenced().row(user, timeline) else { return refused(ErrorKind::NotFound) };
        // A mark is clamped to what is published when the call is made.
        let read = upto.min(row.end(self.seen().last_seq(timeline)));
        if read <= row.mark() {
            return unchanged(0);
        }
        changed(self.push(What::Marked { user, timeline, read }))
    }

    pub fn mark_unread_from(&mut self, user: UserId, peer: Peer, seq: u64) -> Answer<u64> {
        if user.is_none() || is_none(peer) || seq == 0 {
            return refused(ErrorKind::InvalidInput);
        }
        let timeline = crate::support::timeline_of(user, peer);
        let Some(row) = self.sequenced().row(user, timeline) else { return refused(ErrorKind::NotFound) };
        if seq > row.end(self.seen().last_seq(timeline)) {
            return refused(ErrorKind::InvalidInput);
        }
        let read = (seq - 1).max(row.floor);
        if read >= row.mark() {
            return unchanged(0);
        }
        changed(self.push(What::Marked { user, timeline, read }))
    }

    /// Adds a change at the next version and the present store time.
    fn push(&mut self, what: What) -> u64 {
        let version = self.log.len() as u64 + 1;
        let commit_time = self.sequenced().store_time();
        self.log.push(Change { version, commit_time, batch_end: version, what });
        version
    }

    fn end_batch(&mut self, start: usize) {
        let batch_end = self.log.len() as u64;
        for change in &mut self.log[start..] {
            change.batch_end = batch_end;
        }
    }
}

/// What is wrong with a letter whatever the store holds.
fn edge_fault(letter: &Letter) -> Option<ErrorKind> {
    let is_none = match letter.timeline {
        Timeline::Direct(pair) => pair.low().is_none(),
        Timeline::Group(group) => group.is_none(),
        _ => unreachable!("the model has no other timelines"),
    };
    if letter.body.0.len() > FRAME_BYTES_MAX {
        Some(ErrorKind::LimitExceeded)
    } else if letter.sender.is_none() || is_none || letter.timeline.peer_of(letter.sender).is_none() {
        Some(ErrorKind::InvalidInput)
    } else {
        None
    }
}

/// Whether a letter may be written (`None`), is a duplicate of a first one, or is refused; in the
/// documented order: duplicate, existence, policy, explicit timestamp.
fn judge(view: View<'_>, letter: &Letter) -> Result<Option<Written>, ErrorKind> {
    if let Some(first) = view.taken(letter.timeline, letter.sender, letter.client_id) {
        if first.letter.kind != letter.kind || first.letter.body != letter.body {
            return Err(ErrorKind::Conflict);
        }
        let Sent { seq, timestamp, version, .. } = first;
        return Ok(Some(Written { outcome: Outcome::Duplicate, seq, timestamp, version }));
    }
    if let Timeline::Group(group) = letter.timeline {
        let settings = view.settings(group).ok_or(ErrorKind::NotFound)?;
        if settings.members_only && !view.is_member(letter.sender, letter.timeline) {
            return Err(ErrorKind::Refused);
        }
    }
    match letter.timestamp {
        Some(timestamp) if timestamp <= view.last_timestamp(letter.timeline) => Err(ErrorKind::InvalidInput),
        Some(timestamp) if timestamp > view.store_time() => Err(ErrorKind::InvalidInput),
        _ => Ok(None),
    }
}

pub fn is_none(peer: Peer) -> bool {
    match peer {
        Peer::User(user) => user.is_none(),
        Peer::Group(group) => group.is_none(),
        _ => unreachable!("the model has no other peers"),
    }
}

fn refused<T>(kind: ErrorKind) -> Answer<T> {
    Answer { result: Err(kind.into()), rests_on: 0, changed: false }
}

fn unchanged(rests_on: u64) -> Answer<u64> {
    Answer { result: Ok(0), rests_on, changed: false }
}

fn changed(version: u64) -> Answer<u64> {
    Answer { result: Ok(version), rests_on: version, changed: true }
}
