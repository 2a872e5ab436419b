//! The rows in which the state lies on disk.
//! Owns: their keys and values. May touch: the rest of `state`, `change`, `segment` (keys), `varint`.
//! Never: reads or writes a file; bytes in, values out. Bytes that are no row give `None`.
//!
//! | key | value (varints unless said) |
//! |---|---|
//! | `T`, timeline, 0 | a head: newest, tip, sides, newest indexed seq and its journal, trims, steps, lost runs (each first, last, ordinal before and after) |
//! | `T`, timeline, 1, seq | what became of a message |
//! | `T`, timeline, 2, kind, chunk | the seqs of a chunk that alert, as differences |
//! | `T`, timeline, 3, user | a member's seat |
//! | `T`, timeline, 4, chunk | version and ordinal of a broadcast's messages, as differences |
//! | `T`, timeline, 5 | a group's metadata |
//! | `U`, user, 0 | since when it exists |
//! | `U`, user, 1, timeline | a row with its notes |
//! | `N`, kind, name | the id |
//! | `I`, kind, id | the name |
//! | `S`, source as a broadcast's timeline | whether it sends a broadcast |
//! | `D`, hash, seq | a client id that is taken: commit time in seconds |
//! | `C`, version | commit times from that version on |
//! | `G` | what there is one of: horizon, time, settings, newest names |

use super::amended::{AmendedMessages, Amendment, Step};
use super::lost::{LostRun, LostRuns};
use super::member::{Hide, Notes, Presence, Row};
use super::names::Names;
use super::roster::{Roster, Seat};
use super::timeline::{Head, PART_SEQS, Part, Side, Tip};
use super::trims::CountingTrim;
use crate::change::{self, Change, Commit, Decoded, Flags};
use crate::id::{NameKind, Source, Timeline, UserId};
use crate::journal::Place;
use crate::segment::key::{put_timeline, take_timeline};
use crate::settings::{GroupSettings, Retention, Settings};
use crate::varint::{put, take};
use std::sync::Arc;

pub(crate) const TIMELINE: u8 = b'T';
pub(crate) const USER: u8 = b'U';
pub(crate) const NAME: u8 = b'N';
pub(crate) const NAME_OF: u8 = b'I';
pub(crate) const SOURCE: u8 = b'S';
pub(crate) const CLIENT_ID: u8 = b'D';
pub(crate) const COMMIT_TIMES: u8 = b'C';
pub(crate) const GLOBALS: u8 = b'G';

const CORE: u8 = 0;
const AMENDED: u8 = 1;
const ALERTS: u8 = 2;
const SEAT: u8 = 3;
const SENT: u8 = 4;
const METADATA: u8 = 5;
const ROW: u8 = 1;

/// Rows on their way to a sorted run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    bytes: Vec<u8>,
    list: Vec<Span>,
}

/// Where a row stands in [`Entries`].
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    key: u16,
    /// How much of the key filters are asked with.
    prefix: u16,
    /// `None` takes the row away.
    value: Option<u32>,
}

impl Entries {
    /// Adds a row, or that there is none, whose filters are asked with the first `prefix` bytes of its key.
    pub fn add(&mut self, key: &[u8], prefix: usize, value: Option<&[u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let value = value.map(|value| u32::try_from(value.len()).expect("no row is that long"));
        self.list.push(Span { start, key: key.len() as u16, prefix: prefix as u16, value });
    }

    /// Sorts them by key. Of several with one key the last one added stays.
    pub fn sort(&mut self) {
        let Entries { bytes, list } = self;
        let key = |span: &Span| &bytes[span.start..span.start + usize::from(span.key)];
        list.sort_by(|one, other| key(one).cmp(key(other)).then(other.start.cmp(&one.start)));
        list.dedup_by(|one, before| key(one) == key(before));
    }

    /// Key, length of its prefix, and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], usize, Option<&[u8]>)> {
        self.list.iter().map(|span| {
            let (key, rest) = self.bytes[span.start..].split_at(span.key.into());
            (key, span.prefix.into(), span.value.map(|length| &rest[..length as usize]))
        })
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// How many bytes they take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + self.list.capacity() * size_of::<Span>()
    }
}

/// The beginning of all keys of a timeline.
pub(crate) fn timeline_prefix(timeline: Timeline) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    key.push(TIMELINE);
    put_timeline(&mut key, timeline);
    key
}

/// The beginning of all keys of a user.
pub(crate) fn user_prefix(user: UserId) -> Vec<u8> {
    let mut key = Vec::with_capacity(36);
    key.push(USER);
    key.extend_from_slice(&user.0.to_be_bytes());
    key
}

/// The timeline that a key of its rows names, and the rest of the key.
pub(crate) fn head_of_key(key: &[u8]) -> Option<(Timeline, &[u8])> {
    let mut rest = key.strip_prefix(&[TIMELINE])?;
    Some((take_timeline(&mut rest)?, rest))
}

/// The key of a user's existence.
pub(crate) fn person_key(user: UserId) -> Vec<u8> {
    let mut key = user_prefix(user);
    key.push(CORE);
    key
}

/// The key of a row.
pub(crate) fn row_key(user: UserId, timeline: Timeline) -> Vec<u8> {
    let mut key = user_prefix(user);
    key.push(ROW);
    put_timeline(&mut key, timeline);
    key
}

/// Bytes of a user's keys with which filters are asked.
pub(crate) const USER_PREFIX: usize = 1 + 8;

/// The keys of a name and of an id.
pub(crate) fn name_key(kind: NameKind, name: &[u8]) -> Vec<u8> {
    let mut key = vec![NAME, Names::kind_byte(kind)];
    key.extend_from_slice(name);
    key
}

pub(crate) fn name_of_key(kind: NameKind, id: u64) -> Vec<u8> {
    let mut key = vec![NAME_OF, Names::kind_byte(kind)];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// The beginning of the keys of those who may have a client id.
pub(crate) fn client_id_prefix(hash: u64) -> [u8; 9] {
    let mut key = [CLIENT_ID; 9];
    key[1..].copy_from_slice(&hash.to_be_bytes());
    key
}

/// Notes that a client id is taken.
pub(crate) fn add_client_id(entries: &mut Entries, hash: u64, seq: u64, time: u64) {
    let mut key = client_id_prefix(hash).to_vec();
    key.extend_from_slice(&seq.to_be_bytes());
    let mut value = Vec::new();
    put(&mut value, time / 1_000_000);
    entries.add(&key, 9, Some(&value));
}

/// The seq in the key of a client id.
pub(crate) fn client_id_seq(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(9..)?.try_into().ok()?))
}

/// Whether the row of a client id is still of use when ids committed before `oldest` (microseconds) are free.
pub(crate) fn client_id_is_taken(mut value: &[u8], oldest: u64) -> bool {
    take(&mut value).is_none_or(|seconds| (seconds + 1) * 1_000_000 > oldest)
}

/// The key of the commit times from a version on.
pub(crate) fn commit_times_key(version: u64) -> Vec<u8> {
    let mut key = vec![COMMIT_TIMES];
    key.extend_from_slice(&version.to_be_bytes());
    key
}

/// Writes a head, but for its parts. `unit` and `indexed` are what an index will know of it.
pub(crate) fn add_head(entries: &mut Entries, head: &Head, newest: u64, indexed: u64, unit: u64) {
    let mut key = timeline_prefix(head.timeline);
    let prefix = key.len();
    key.push(CORE);
    let mut value = Vec::with_capacity(64);
    put(&mut value, newest);
    put_tip(&mut value, &head.tip);
    for side in &head.sides {
        [side.read_max, side.delivered_max, side.version, side.time].iter().for_each(|field| put(&mut value, *field));
    }
    put(&mut value, indexed);
    put(&mut value, unit);
    let trims = head.trims.as_ref().map_or(&[][..], |trims| trims.all());
    put(&mut value, trims.len() as u64);
    for trim in trims {
        [trim.ordinal_before, trim.version, trim.time].iter().for_each(|field| put(&mut value, *field));
    }
    // What became of messages that are trimmed is in no part any more.
    let steps: Vec<Step> = head.amended.iter().flat_map(|amended| amended.steps_up_to(head.tip.trim())).collect();
    put(&mut value, steps.len() as u64);
    for step in steps {
        [step.seq, step.version, step.time].iter().for_each(|field| put(&mut value, *field));
    }
    let lost = head.lost.as_ref().map_or(&[][..], |lost| lost.all());
    put(&mut value, lost.len() as u64);
    for LostRun { first, last, ordinal_before, ordinal_after } in lost {
        [first, last, ordinal_before, ordinal_after].iter().for_each(|field| put(&mut value, **field));
    }
    entries.add(&key, prefix, Some(&value));
}

/// Writes parts of a head as they are now; those that are there no more are taken away.
pub(crate) fn add_parts(entries: &mut Entries, head: &Head, parts: &[Part]) {
    let prefix = timeline_prefix(head.timeline);
    let mut value = Vec::new();
    for part in parts {
        let mut key = prefix.clone();
        value.clear();
        let is_there = match *part {
            Part::Amended(seq) => {
                key.push(AMENDED);
                key.extend_from_slice(&seq.to_be_bytes());
                put_amendment(&mut value, head, seq)
            }
            Part::Alerts(kind, chunk) => {
                key.extend_from_slice(&[ALERTS, kind]);
                key.extend_from_slice(&chunk.to_be_bytes());
                let seqs = head.alerts.as_ref().map_or(&[][..], |alerts| &alerts.0[usize::from(kind)]);
                let first = seqs.partition_point(|seq| *seq / PART_SEQS < chunk);
                put_ascending(&mut value, seqs[first..].iter().take_while(|seq| *seq / PART_SEQS == chunk))
            }
            Part::Seat(user) => {
                key.push(SEAT);
                key.extend_from_slice(&user.0.to_be_bytes());
                let seat = head.roster.as_ref().and_then(|roster| roster.get(user));
                seat.is_some_and(|seat| {
                    [seat.joined_at, seat.read_max, seat.delivered_max].iter().for_each(|mark| put(&mut value, *mark));
                    true
                })
            }
            Part::Sent(chunk) => {
                key.push(SENT);
                key.extend_from_slice(&chunk.to_be_bytes());
                let sent = head.sent.iter().skip((chunk * PART_SEQS) as usize).take(PART_SEQS as usize);
                for (version, ordinal) in sent {
                    put(&mut value, *version);
                    put(&mut value, *ordinal);
                }
                !value.is_empty()
            }
            Part::Metadata => {
                key.push(METADATA);
                value.extend_from_slice(head.metadata.as_deref().unwrap_or_default());
                !value.is_empty()
            }
        };
        entries.add(&key, prefix.len(), is_there.then_some(&value));
    }
}

fn put_amendment(value: &mut Vec<u8>, head: &Head, seq: u64) -> bool {
    let Some(amended) = &head.amended else { return false };
    let Some(Amendment { version, time, by, edit }) = amended.get(seq) else { return false };
    let recalled = amended.recalled();
    let counting = recalled.binary_search_by_key(&seq, |one| one.seq).ok().map(|index| recalled[index].ordinal);
    [*version, *time, by.0].iter().for_each(|field| put(value, *field));
    put(value, edit.map_or(0, |place| place.file_id()));
    put(value, edit.map_or(0, |place| place.offset()));
    put(value, counting.map_or(0, |ordinal| ordinal + 1));
    true
}

fn put_ascending<'a>(value: &mut Vec<u8>, seqs: impl Iterator<Item = &'a u64>) -> bool {
    let mut before = 0;
    for seq in seqs {
        put(value, seq - before);
        before = *seq;
    }
    before > 0
}

fn take_ascending(value: &mut &[u8], seqs: &mut Vec<u64>) -> Option<()> {
    let mut before = 0u64;
    while !value.is_empty() {
        before = before.checked_add(take(value).filter(|step| *step > 0)?)?;
        seqs.push(before);
    }
    Some(())
}

/// Puts a head together from the rows of its timeline, which come in order.
#[derive(Debug)]
pub(crate) struct HeadRows {
    timeline: Timeline,
    newest: u64,
    head: Option<Head>,
    amended: Vec<(u64, Amendment, Option<u64>)>,
    /// Of messages that are trimmed.
    steps: Vec<Step>,
}

impl HeadRows {
    pub fn new(timeline: Timeline) -> HeadRows {
        HeadRows { timeline, newest: 0, head: None, amended: Vec::new(), steps: Vec::new() }
    }

    /// Takes one row; `rest` is its key behind the timeline.
    pub fn take(&mut self, rest: &[u8], mut value: &[u8]) -> Option<()> {
        let (&tag, rest) = rest.split_first()?;
        let value = &mut value;
        if tag == CORE {
            self.newest = take(value)?;
            let mut head = Head::new(self.timeline, take_tip(value)?);
            for side in &mut head.sides {
                let (read_max, delivered_max) = (take(value)?, take(value)?);
                *side = Side { read_max, delivered_max, version: take(value)?, time: take(value)? };
            }
            (head.indexed, head.unit) = (take(value)?, take(value)?);
            for _ in 0..take(value)? {
                let (ordinal_before, version, time) = (take(value)?, take(value)?, take(value)?);
                head.trims.get_or_insert_default().put(CountingTrim { ordinal_before, version, time });
            }
            for _ in 0..take(value)? {
                self.steps.push(Step { seq: take(value)?, version: take(value)?, time: take(value)? });
            }
            let mut lost = Vec::new();
            for _ in 0..take(value)? {
                let (first, last) = (take(value)?, take(value)?);
                lost.push(LostRun { first, last, ordinal_before: take(value)?, ordinal_after: take(value)? });
            }
            if !lost.is_empty() {
                head.lost = Some(Arc::new(LostRuns::new(lost)?));
            }
            (rest.is_empty() && value.is_empty() && head.indexed <= head.tip.last).then_some(())?;
            self.head = Some(head);
            return Some(());
        }
        let head = self.head.as_mut()?;
        match tag {
            AMENDED => {
                let seq = be(rest)?;
                let (version, time, by) = (take(value)?, take(value)?, UserId(take(value)?));
                let (file_id, offset) = (take(value)?, take(value)?);
                let edit = if file_id == 0 { None } else { Some(Place::checked(file_id, offset)?) };
                let counting = take(value)?.checked_sub(1);
                (value.is_empty() && seq <= head.tip.last).then_some(())?;
                self.amended.push((seq, Amendment { version, time, by, edit }, counting));
            }
            ALERTS => {
                let (&kind, rest) = rest.split_first()?;
                be(rest)?;
                let alerts = Arc::make_mut(head.alerts.get_or_insert_default());
                take_ascending(value, alerts.0.get_mut(usize::from(kind))?)?;
            }
            SEAT => {
                let user = UserId(be(rest)?);
                let (joined_at, read_max, delivered_max) = (take(value)?, take(value)?, take(value)?);
                value.is_empty().then_some(())?;
                head.roster.get_or_insert_default().insert(Seat { user, joined_at, read_max, delivered_max });
            }
            SENT => {
                be(rest)?;
                while !value.is_empty() {
                    head.sent.push((take(value)?, take(value)?));
                }
            }
            METADATA => {
                rest.is_empty().then_some(())?;
                head.metadata = Some((*value).into());
            }
            _ => return None,
        }
        Some(())
    }

    /// The head and its newest version; `None` if there is no such timeline.
    pub fn finish(mut self) -> Option<(Head, u64)> {
        let mut head = self.head?;
        if !self.amended.is_empty() || !self.steps.is_empty() {
            self.amended.sort_unstable_by_key(|(seq, amendment, _)| (amendment.version, *seq));
            let mut amended = AmendedMessages::default();
            for (seq, amendment, counting) in self.amended {
                amended.insert(seq, amendment, counting);
            }
            amended.add_steps(self.steps);
            head.amended = Some(Box::new(amended));
        }
        if let Some(alerts) = head.alerts.as_mut() {
            Arc::make_mut(alerts).0.iter_mut().for_each(|seqs| seqs.sort_unstable());
        }
        if let (Timeline::Group(_) | Timeline::Broadcast(_), None) = (self.timeline, &head.roster) {
            head.roster = Some(Box::<Roster>::default());
        }
        Some((head, self.newest))
    }
}

/// A head without its parts.
pub(crate) fn core_of(timeline: Timeline, value: &[u8]) -> Option<Head> {
    let mut head = HeadRows::new(timeline);
    head.take(&[CORE], value)?;
    head.head
}

fn be(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

const DISSOLVED: u8 = 1;
const OPENS: u8 = 1 << 1;
const SHOWS_HISTORY: u8 = 1 << 2;
const MEMBERS_ONLY: u8 = 1 << 3;
const RETENTION: u8 = 1 << 4;
const TRIMMED: u8 = 1 << 5;

fn put_tip(value: &mut Vec<u8>, tip: &Tip) {
    let bits = [
        (tip.dissolved, DISSOLVED),
        (tip.opens, OPENS),
        (tip.settings.shows_history, SHOWS_HISTORY),
        (tip.settings.members_only, MEMBERS_ONLY),
        (tip.settings.retention.is_some(), RETENTION),
        (tip.trimmed_by > 0, TRIMMED),
    ];
    value.push(bits.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum());
    let Tip { last, last_timestamp, ordinal, version, time, news_version, news_time, created, .. } = *tip;
    for field in [last, last_timestamp, ordinal, version, time, news_version, news_time, created] {
        put(value, field);
    }
    put(value, tip.settings_by);
    if let Some(Retention { age_secs, count, body_bytes, .. }) = tip.settings.retention {
        [age_secs, count, body_bytes].iter().for_each(|bound| put(value, *bound));
    }
    if tip.trimmed_by > 0 {
        [tip.trimmed, tip.trimmed_ordinal, tip.trimmed_by, tip.age_day].iter().for_each(|field| put(value, *field));
    }
}

fn take_tip(value: &mut &[u8]) -> Option<Tip> {
    let bits = take_byte(value)?;
    (bits < 1 << 6).then_some(())?;
    let has = |bit| bits & bit != 0;
    let settings = GroupSettings::default().shows_history(has(SHOWS_HISTORY)).members_only(has(MEMBERS_ONLY));
    let (last, last_timestamp, ordinal) = (take(value)?, take(value)?, take(value)?);
    let (version, time, news_version, news_time) = (take(value)?, take(value)?, take(value)?, take(value)?);
    let mut tip = Tip::new(settings, take(value)?);
    tip = Tip { last, last_timestamp, ordinal, version, time, news_version, news_time, ..tip };
    (tip.dissolved, tip.opens) = (has(DISSOLVED), has(OPENS));
    tip.settings_by = take(value)?;
    if has(RETENTION) {
        let (age_secs, count, body_bytes) = (take(value)?, take(value)?, take(value)?);
        tip.settings.retention = Some(Retention { age_secs, count, body_bytes });
    }
    if has(TRIMMED) {
        (tip.trimmed, tip.trimmed_ordinal) = (take(value)?, take(value)?);
        (tip.trimmed_by, tip.age_day) = (take(value)?, take(value)?);
    }
    Some(tip)
}

fn take_byte(value: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = value.split_first()?;
    *value = rest;
    Some(byte)
}

/// Writes since when a user exists.
pub(crate) fn add_person(entries: &mut Entries, user: UserId, exists_since: u64) {
    let mut value = Vec::new();
    put(&mut value, exists_since);
    entries.add(&person_key(user), USER_PREFIX, Some(&value));
}

/// Since when a user exists.
pub(crate) fn take_person(mut value: &[u8]) -> Option<u64> {
    let exists_since = take(&mut value)?;
    value.is_empty().then_some(exists_since)
}

const PINNED: u8 = 1;
const MUTED: u8 = 1 << 1;
const MARKED_UNREAD: u8 = 1 << 2;
const HAS_METADATA: u8 = 1 << 3;
const HAS_NOTES: u8 = 1 << 4;
const REMOVED: u8 = 1 << 5;

/// Writes a row with what its user noted.
pub(crate) fn add_row(entries: &mut Entries, user: UserId, timeline: Timeline, row: &Row, notes: Option<&Notes>) {
    let mut value = Vec::with_capacity(64);
    value.push(match row.presence {
        Presence::Outside => 0,
        Presence::Member => 1,
        Presence::Left => 2,
        Presence::Gone => 3,
    });
    let bits = [
        (row.flags.pinned, PINNED),
        (row.flags.muted, MUTED),
        (row.flags.marked_unread, MARKED_UNREAD),
        (row.has_metadata, HAS_METADATA),
        (row.has_notes, HAS_NOTES),
        (row.removed_at.is_some(), REMOVED),
    ];
    value.push(bits.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum());
    value.push(row.role);
    for field in fields(row) {
        put(&mut value, field);
    }
    if let Some(removed_at) = row.removed_at {
        put(&mut value, removed_at);
    }
    if row.has_notes {
        put_notes(&mut value, notes.unwrap_or(&Notes::default()));
    }
    entries.add(&row_key(user, timeline), USER_PREFIX, Some(&value));
}

fn fields(row: &Row) -> [u64; 18] {
    [
        row.version,
        row.time,
        row.read,
        row.read_ordinal,
        row.read_max,
        row.delivered_max,
        row.floor,
        row.floor_ordinal,
        row.cleared,
        row.cleared_ordinal,
        row.ceiling,
        row.ceiling_ordinal,
        row.ceiling_timestamp,
        row.joined_at,
        row.joined_time,
        row.joined_version,
        row.own_last,
        row.silenced_until,
    ]
}

/// A row without its slot, and what its user noted.
pub(crate) fn take_row(mut value: &[u8]) -> Option<(Row, Option<Box<Notes>>)> {
    let value = &mut value;
    let presence = match take_byte(value)? {
        0 => Presence::Outside,
        1 => Presence::Member,
        2 => Presence::Left,
        3 => Presence::Gone,
        _ => return None,
    };
    let bits = take_byte(value)?;
    (bits < 1 << 6).then_some(())?;
    let has = |bit| bits & bit != 0;
    let role = take_byte(value)?;
    let flags = Flags { pinned: has(PINNED), muted: has(MUTED), marked_unread: has(MARKED_UNREAD) };
    let mut next = || take(value);
    let mut row = Row { presence, flags, role, ..Row::outside(0) };
    (row.version, row.time) = (next()?, next()?);
    (row.read, row.read_ordinal) = (next()?, next()?);
    (row.read_max, row.delivered_max) = (next()?, next()?);
    (row.floor, row.floor_ordinal) = (next()?, next()?);
    (row.cleared, row.cleared_ordinal) = (next()?, next()?);
    (row.ceiling, row.ceiling_ordinal, row.ceiling_timestamp) = (next()?, next()?, next()?);
    (row.joined_at, row.joined_time, row.joined_version) = (next()?, next()?, next()?);
    (row.own_last, row.silenced_until) = (next()?, next()?);
    if has(REMOVED) {
        row.removed_at = Some(next()?);
    }
    (row.has_metadata, row.has_notes) = (has(HAS_METADATA), has(HAS_NOTES));
    let notes = if row.has_notes { Some(Box::new(take_notes(value)?)) } else { None };
    value.is_empty().then_some((row, notes))
}

fn put_notes(value: &mut Vec<u8>, notes: &Notes) {
    put(value, notes.mentions.len() as u64);
    put_ascending(value, notes.mentions.iter());
    put(value, notes.hidden.len() as u64);
    for (seq, hide) in &notes.hidden {
        [*seq, hide.version, hide.time, hide.ordinal].iter().for_each(|field| put(value, *field));
        value.extend_from_slice(&[hide.counts.into(), hide.alerts]);
    }
    for blob in [&notes.metadata, &notes.data] {
        put(value, blob.as_ref().map_or(0, |blob| blob.len() as u64 + 1));
        value.extend_from_slice(blob.as_deref().unwrap_or_default());
    }
}

fn take_notes(value: &mut &[u8]) -> Option<Notes> {
    let mut notes = Notes::default();
    let mut before = 0u64;
    for _ in 0..take(value)? {
        before = before.checked_add(take(value).filter(|step| *step > 0)?)?;
        notes.mentions.push(before);
    }
    for _ in 0..take(value)? {
        let (seq, version, time, ordinal) = (take(value)?, take(value)?, take(value)?, take(value)?);
        let (counts, alerts) = (take_byte(value)?, take_byte(value)?);
        (counts <= 1).then_some(())?;
        notes.hidden.insert(seq, Hide { version, time, ordinal, counts: counts == 1, alerts });
    }
    for blob in [&mut notes.metadata, &mut notes.data] {
        if let Some(length) = take(value)?.checked_sub(1) {
            let (bytes, rest) = value.split_at_checked(usize::try_from(length).ok()?)?;
            *blob = Some(bytes.into());
            *value = rest;
        }
    }
    Some(notes)
}

/// Writes whether a source sends a broadcast.
pub(crate) fn add_source(entries: &mut Entries, source: Source, is_broadcast: bool) {
    let mut key = vec![SOURCE];
    put_timeline(&mut key, Timeline::Broadcast(source));
    entries.add(&key, key.len(), Some(&[is_broadcast.into()]));
}

/// A source, and whether it sends a broadcast.
pub(crate) fn take_source_row(mut key: &[u8], value: &[u8]) -> Option<(Source, bool)> {
    let timeline = take_timeline(&mut key)?;
    match (timeline, key, value) {
        (Timeline::Broadcast(source), [], [is_broadcast @ (0 | 1)]) => Some((source, *is_broadcast == 1)),
        _ => None,
    }
}

/// What a store has one of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Globals {
    pub version: u64,
    pub time: u64,
    pub horizon: u64,
    pub settings: Vec<(u64, Settings)>,
    pub newest_names: Vec<(NameKind, u64)>,
    /// What the hashes of client ids begin with.
    pub dedup_seed: u64,
}

impl Globals {
    pub fn add(&self, entries: &mut Entries) {
        let mut value = Vec::new();
        [self.version, self.time, self.horizon, self.dedup_seed].iter().for_each(|field| put(&mut value, *field));
        put(&mut value, self.settings.len() as u64);
        for (version, settings) in &self.settings {
            // A record says its own length and its version.
            let commit = Commit { version: *version, time: 0 };
            change::encode(&Change::Settings(*settings), &[], commit, &mut value);
        }
        put(&mut value, self.newest_names.len() as u64);
        for (kind, id) in &self.newest_names {
            value.push(Names::kind_byte(*kind));
            put(&mut value, *id);
        }
        entries.add(&[GLOBALS], 1, Some(&value));
    }

    pub fn take(mut value: &[u8]) -> Option<Globals> {
        let value = &mut value;
        let mut globals = Globals {
            version: take(value)?,
            time: take(value)?,
            horizon: take(value)?,
            dedup_seed: take(value)?,
            ..Globals::default()
        };
        for _ in 0..take(value)? {
            let length = change::decode_length(value)?;
            let (record, rest) = value.split_at_checked(length)?;
            let Decoded { change: Change::Settings(settings), commit, tail: [] } = change::decode(record)? else {
                return None;
            };
            globals.settings.push((commit.version, settings));
            *value = rest;
        }
        for _ in 0..take(value)? {
            globals.newest_names.push((Names::kind_of(take_byte(value)?)?, take(value)?));
        }
        value.is_empty().then_some(globals)
    }
}

/// The timeline in the key of a row, behind its user and tag.
pub(crate) fn row_timeline(key: &[u8]) -> Option<Timeline> {
    let mut rest = key.get(USER_PREFIX..)?;
    (take_byte(&mut rest)? == ROW).then_some(())?;
    let timeline = take_timeline(&mut rest)?;
    rest.is_empty().then_some(timeline)
}

/// Whether a key of a user is that of its existence.
pub(crate) fn is_person_key(key: &[u8]) -> bool {
    key.get(USER_PREFIX..) == Some(&[CORE])
}

/// Whose row a key names, if it is the one that everyone of the kind has or may have.
pub(crate) enum Owner {
    Timeline(Timeline),
    User(UserId),
    /// An id with a name.
    Name(NameKind, u64),
}

/// Whose row a key names.
pub(crate) fn owner(key: &[u8]) -> Option<Owner> {
    let (&family, mut rest) = key.split_first()?;
    match family {
        TIMELINE => {
            let timeline = take_timeline(&mut rest)?;
            (rest == [CORE]).then_some(Owner::Timeline(timeline))
        }
        USER => Some(Owner::User(UserId(be(rest.get(..8)?)?))),
        NAME_OF => {
            let kind = Names::kind_of(take_byte(&mut rest)?)?;
            Some(Owner::Name(kind, be(rest)?))
        }
        _ => None,
    }
}
