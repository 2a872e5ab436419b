//! The rows in which the state lies on disk.
//! Owns: their keys and values. May touch: the rest of `state`, `change`, `segment` (keys), `varint`.
//! Never: reads or writes a file; bytes in, values out. Bytes that are no row give `None`.
//!
//! | key | value (varints unless said) |
//! |---|---|
//! | `T`, timeline, 0 | a head: tip, newest, newest indexed seq and its journal, sides, trims, steps, lost runs (each first, last, ordinal before and after) |
//! | `T`, timeline, 1, seq | what became of a message |
//! | `T`, timeline, 2, kind, chunk | the seqs of a chunk that alert, as differences |
//! | `T`, timeline, 3, user | a member's seat |
//! | `T`, timeline, 4, chunk | version and ordinal of a broadcast's messages |
//! | `T`, timeline, 5 | a group's metadata |
//! | `U`, user, 0 | since when it exists |
//! | `U`, user, 1, timeline | a row with its notes |
//! | `N`, kind, name | the id |
//! | `I`, kind, id | the name |
//! | `S`, source as a broadcast's timeline | whether it sends a broadcast |
//! | `D`, upper 48 bits of the hash, seq (varint) | a client id that is taken: commit time in hours |
//! | `C`, version | commit times from that version on |
//! | `G` | what there is one of: horizon, time, settings, newest names |

mod entries;

mod numbers;

mod head;

mod row;

use super::names::Names;
use crate::change::{self, Change, Commit, Decoded};
use crate::id::{NameKind, Source, Timeline, UserId};
use crate::segment::key::{put_timeline, take_timeline};
use crate::settings::Settings;
use crate::varint::{put, take};
pub(crate) use entries::Entries;
pub(crate) use head::{HeadRows, add_head, add_parts, core_of};
pub(crate) use row::{add_row, take_row};

pub(crate) const TIMELINE: u8 = b'T';
pub(crate) const USER: u8 = b'U';
pub(crate) const NAME: u8 = b'N';
pub(crate) const NAME_OF: u8 = b'I';
pub(crate) const SOURCE: u8 = b'S';
pub(crate) const CLIENT_ID: u8 = b'D';
pub(crate) const COMMIT_TIMES: u8 = b'C';
pub(crate) const GLOBALS: u8 = b'G';

const CORE: u8 = 0;
const ROW: u8 = 1;

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

/// Bytes of the keys of client ids that are the same for all who may have one: the hash's upper 48 bits are enough, since
/// whether it is the same id is seen in the message.
const CLIENT_ID_PREFIX: usize = 1 + 6;

/// The beginning of the keys of those who may have a client id.
pub(crate) fn client_id_prefix(hash: u64) -> [u8; CLIENT_ID_PREFIX] {
    let mut key = [CLIENT_ID; CLIENT_ID_PREFIX];
    key[1..].copy_from_slice(&hash.to_be_bytes()[..CLIENT_ID_PREFIX - 1]);
    key
}

/// Notes that a client id is taken.
pub(crate) fn add_client_id(entries: &mut Entries, hash: u64, seq: u64, time: u64) {
    let mut key = client_id_prefix(hash).to_vec();
    put(&mut key, seq);
    let mut value = Vec::new();
    put(&mut value, time / CLIENT_ID_STEP);
    entries.add(&key, CLIENT_ID_PREFIX, Some(&value));
}

/// The commit time of a client id is kept in steps of an hour.
const CLIENT_ID_STEP: u64 = 3_600_000_000;

/// The seq in the key of a client id.
pub(crate) fn client_id_seq(key: &[u8]) -> Option<u64> {
    let mut seq = key.get(CLIENT_ID_PREFIX..)?;
    let found = take(&mut seq)?;
    seq.is_empty().then_some(found)
}

/// Whether the row of a client id is still of use when ids committed before `oldest` (microseconds) are free.
pub(crate) fn client_id_is_taken(mut value: &[u8], oldest: u64) -> bool {
    take(&mut value).is_none_or(|step| (step.saturating_add(1)).saturating_mul(CLIENT_ID_STEP) > oldest)
}

/// The key of the commit times from a version on.
pub(crate) fn commit_times_key(version: u64) -> Vec<u8> {
    let mut key = vec![COMMIT_TIMES];
    key.extend_from_slice(&version.to_be_bytes());
    key
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

fn be(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
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
