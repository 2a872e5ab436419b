//! The vocabulary: everything that can happen to a store, and its bytes.
//! Owns: `Change` and the record that holds one. May touch: `id`, `varint`, `time`.
//! Never: reads a row or a clock; every value in a change is absolute and was computed before.
//!
//! A record is: length of the rest (varint), tag byte (kind in the low three bits, flags above), version,
//! commit time, then the fields of the kind, all varints unless said. It says everything by itself, so
//! that a message is read with one look at one place:
//!
//! | kind | flags, from bit 3 | fields |
//! |---|---|---|
//! | 1 append | group timeline, does not count, imported, sender is present, has client id | sender, group or other user, seq, seq − ordinal, seq − sender's previous own seq, kind, zigzag(timestamp − commit time), client id (16 bytes, if flagged), body (the rest) |
//! | 2 create group | shows history, members only | group |
//! | 3 join | creates the group | group, user, joined at, its ordinal, floor, its ordinal |
//! | 4 leave | – | group, user, ceiling, its ordinal, timestamp of the message there |
//! | 5 mark | group timeline | user, group or other user, read, its ordinal, highest read |

use crate::id::{ClientId, GroupId, Peer, Timeline, UserId};
use crate::time::Timestamp;
use crate::varint::{VARINT_BYTES_MAX, put, take, unzigzag, zigzag};

/// One thing that happened. Bodies lie beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Append(Append),
    CreateGroup(CreateGroup),
    Join(Join),
    Leave(Leave),
    Mark(Mark),
}

/// A message came into a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Append {
    pub timeline: Timeline,
    pub sender: UserId,
    pub seq: u64,
    /// How many messages up to and with this one count.
    pub ordinal: u64,
    /// The sender's counting message before this one, 0 if there is none.
    pub own_previous: u64,
    pub timestamp: u64,
    pub kind: u16,
    pub counts: bool,
    pub imported: bool,
    /// The sender has the session, so that sending a counting message moves its mark.
    pub sender_present: bool,
    pub client_id: ClientId,
}

/// A group came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CreateGroup {
    pub group: GroupId,
    pub settings: GroupSettings,
}

/// A user became a member of a group, which `creates` makes with defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub group: GroupId,
    pub user: UserId,
    pub creates: bool,
    pub joined_at: u64,
    pub joined_ordinal: u64,
    pub floor: u64,
    pub floor_ordinal: u64,
}

/// A member left; its session ends at the ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    pub group: GroupId,
    pub user: UserId,
    pub ceiling: u64,
    pub ceiling_ordinal: u64,
    pub ceiling_timestamp: u64,
}

/// A user's read mark moved, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub timeline: Timeline,
    pub user: UserId,
    pub read: u64,
    pub read_ordinal: u64,
    pub read_max: u64,
}

/// How a group behaves.
///
/// The default is that of a group made by its first join: newcomers do not see what was said before
/// them, and only members may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupSettings {
    /// Whether those who join see the messages from before they did.
    pub shows_history: bool,
    /// Whether only present members may append.
    pub members_only: bool,
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings { shows_history: false, members_only: true }
    }
}

impl GroupSettings {
    /// The same with [`GroupSettings::shows_history`] as given.
    pub fn shows_history(mut self, shows_history: bool) -> GroupSettings {
        self.shows_history = shows_history;
        self
    }

    /// The same with [`GroupSettings::members_only`] as given.
    pub fn members_only(mut self, members_only: bool) -> GroupSettings {
        self.members_only = members_only;
        self
    }
}

const TAG_APPEND: u8 = 1;
const TAG_CREATE_GROUP: u8 = 2;
const TAG_JOIN: u8 = 3;
const TAG_LEAVE: u8 = 4;
const TAG_MARK: u8 = 5;
const TAG_BITS: u8 = 0b111;

const FLAG_GROUP: u8 = 1 << 3;
const FLAG_SILENT: u8 = 1 << 4;
const FLAG_IMPORTED: u8 = 1 << 5;
const FLAG_PRESENT: u8 = 1 << 6;
const FLAG_CLIENT_ID: u8 = 1 << 7;
const FLAG_SHOWS_HISTORY: u8 = 1 << 3;
const FLAG_MEMBERS_ONLY: u8 = 1 << 4;
const FLAG_CREATES: u8 = 1 << 3;

/// The most a record takes besides the body: length, tag, nine varints, client id.
pub(crate) const RECORD_BYTES_MAX: usize = 5 + 1 + 9 * VARINT_BYTES_MAX + 16;

/// When a change was committed, in both orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub version: u64,
    /// Microseconds since the Unix epoch.
    pub time: u64,
}

/// Appends the record of `change` to `out`.
pub(crate) fn encode(change: &Change, body: &[u8], commit: Commit, out: &mut Vec<u8>) {
    // The length goes first and is a varint: write the fields behind room for a one-byte length and
    // move them only if they need more.
    let start = out.len();
    out.push(0);
    match change {
        Change::Append(append) => {
            let (group, other) = timeline_fields(append.timeline, append.sender);
            let mut tag = TAG_APPEND | group;
            tag |= if append.counts { 0 } else { FLAG_SILENT };
            tag |= if append.imported { FLAG_IMPORTED } else { 0 };
            tag |= if append.sender_present { FLAG_PRESENT } else { 0 };
            tag |= if append.client_id.is_none() { 0 } else { FLAG_CLIENT_ID };
            out.push(tag);
            put(out, commit.version);
            put(out, commit.time);
            put(out, append.sender.0);
            put(out, other);
            put(out, append.seq);
            put(out, append.seq - append.ordinal);
            put(out, append.seq - append.own_previous);
            put(out, u64::from(append.kind));
            put(out, zigzag(append.timestamp as i64 - commit.time as i64));
            if !append.client_id.is_none() {
                out.extend_from_slice(&append.client_id.0.to_le_bytes());
            }
            out.extend_from_slice(body);
        }
        Change::CreateGroup(create) => {
            let mut tag = TAG_CREATE_GROUP;
            tag |= if create.settings.shows_history { FLAG_SHOWS_HISTORY } else { 0 };
            tag |= if create.settings.members_only { FLAG_MEMBERS_ONLY } else { 0 };
            out.push(tag);
            put_all(out, &[commit.version, commit.time, create.group.0]);
        }
        Change::Join(join) => {
            out.push(TAG_JOIN | if join.creates { FLAG_CREATES } else { 0 });
            let marks = [join.joined_at, join.joined_ordinal, join.floor, join.floor_ordinal];
            put_all(out, &[commit.version, commit.time, join.group.0, join.user.0]);
            put_all(out, &marks);
        }
        Change::Leave(leave) => {
            out.push(TAG_LEAVE);
            put_all(out, &[commit.version, commit.time, leave.group.0, leave.user.0]);
            put_all(out, &[leave.ceiling, leave.ceiling_ordinal, leave.ceiling_timestamp]);
        }
        Change::Mark(mark) => {
            let (group, other) = timeline_fields(mark.timeline, mark.user);
            out.push(TAG_MARK | group);
            put_all(out, &[commit.version, commit.time, mark.user.0, other]);
            put_all(out, &[mark.read, mark.read_ordinal, mark.read_max]);
        }
    }
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let mut prefix = [0u8; 10];
        let mut count = 0;
        let mut rest = length;
        while rest >= 0x80 {
            prefix[count] = rest as u8 | 0x80;
            rest >>= 7;
            count += 1;
        }
        prefix[count] = rest as u8;
        out.splice(start..=start, prefix[..=count].iter().copied());
    }
}

/// A record as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    pub change: Change,
    pub commit: Commit,
    pub body: &'a [u8],
}

/// Takes the length of a record off the front of `input`.
pub(crate) fn decode_length(input: &mut &[u8]) -> Option<usize> {
    usize::try_from(take(input)?).ok()
}

/// Reads a record without its length. `None` for bytes that no [`encode`] writes; values are in range
/// for arithmetic, their sense is judged elsewhere.
pub(crate) fn decode(record: &[u8]) -> Option<Decoded<'_>> {
    let (&tag, mut rest) = record.split_first()?;
    let input = &mut rest;
    let flags = tag & !TAG_BITS;
    let known = |mask: u8| (flags & !mask == 0).then_some(());
    let commit = Commit { version: take(input)?, time: take(input)? };
    (commit.time <= Timestamp::MAX.0).then_some(())?;
    let change = match tag & TAG_BITS {
        TAG_APPEND => {
            let sender = user(take(input)?)?;
            let timeline = timeline(flags, sender, take(input)?)?;
            let seq = take(input)?;
            let ordinal = seq.checked_sub(take(input)?)?;
            let own_previous = seq.checked_sub(take(input)?)?;
            let kind = u16::try_from(take(input)?).ok()?;
            let timestamp = commit.time.checked_add_signed(unzigzag(take(input)?))?;
            if seq == 0 || own_previous == seq || timestamp > 2 * Timestamp::MAX.0 {
                return None;
            }
            let client_id = if flags & FLAG_CLIENT_ID == 0 {
                ClientId::NONE
            } else {
                let (id, body) = input.split_first_chunk::<16>()?;
                *input = body;
                ClientId(u128::from_le_bytes(*id)).some()?
            };
            return Some(Decoded {
                change: Change::Append(Append {
                    timeline,
                    sender,
                    seq,
                    ordinal,
                    own_previous,
                    timestamp,
                    kind,
                    counts: flags & FLAG_SILENT == 0,
                    imported: flags & FLAG_IMPORTED != 0,
                    sender_present: flags & FLAG_PRESENT != 0,
                    client_id,
                }),
                commit,
                body: rest,
            });
        }
        TAG_CREATE_GROUP => {
            known(FLAG_SHOWS_HISTORY | FLAG_MEMBERS_ONLY)?;
            let settings = GroupSettings {
                shows_history: flags & FLAG_SHOWS_HISTORY != 0,
                members_only: flags & FLAG_MEMBERS_ONLY != 0,
            };
            Change::CreateGroup(CreateGroup { group: group(take(input)?)?, settings })
        }
        TAG_JOIN => {
            known(FLAG_CREATES)?;
            Change::Join(Join {
                creates: flags & FLAG_CREATES != 0,
                group: group(take(input)?)?,
                user: user(take(input)?)?,
                joined_at: take(input)?,
                joined_ordinal: take(input)?,
                floor: take(input)?,
                floor_ordinal: take(input)?,
            })
        }
        TAG_LEAVE => {
            known(0)?;
            Change::Leave(Leave {
                group: group(take(input)?)?,
                user: user(take(input)?)?,
                ceiling: take(input)?,
                ceiling_ordinal: take(input)?,
                ceiling_timestamp: take(input)?,
            })
        }
        TAG_MARK => {
            known(FLAG_GROUP)?;
            let user = user(take(input)?)?;
            Change::Mark(Mark {
                user,
                timeline: timeline(flags, user, take(input)?)?,
                read: take(input)?,
                read_ordinal: take(input)?,
                read_max: take(input)?,
            })
        }
        _ => return None,
    };
    rest.is_empty().then_some(Decoded { change, commit, body: &[] })
}

impl ClientId {
    fn some(self) -> Option<ClientId> {
        (!self.is_none()).then_some(self)
    }
}

fn put_all(out: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| put(out, *value));
}

fn user(id: u64) -> Option<UserId> {
    (id != 0).then_some(UserId(id))
}

fn group(id: u64) -> Option<GroupId> {
    (id != 0).then_some(GroupId(id))
}

/// The flag and the id by which `user` names a timeline.
fn timeline_fields(timeline: Timeline, user: UserId) -> (u8, u64) {
    match timeline {
        Timeline::Group(group) => (FLAG_GROUP, group.0),
        Timeline::Direct(pair) => (0, pair.other(user).unwrap_or(user).0),
    }
}

fn timeline(flags: u8, named_by: UserId, id: u64) -> Option<Timeline> {
    let peer = if flags & FLAG_GROUP == 0 { Peer::User(user(id)?) } else { Peer::Group(group(id)?) };
    Some(Timeline::of(named_by, peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn samples() -> Vec<(Change, &'static [u8])> {
        let append = Append {
            timeline: Timeline::direct(UserId(7), UserId(9)),
            sender: UserId(9),
            seq: 300,
            ordinal: 299,
            own_previous: 0,
            timestamp: 1_000_007,
            kind: 513,
            counts: true,
            imported: false,
            sender_present: true,
            client_id: ClientId(0x0102_0304),
        };
        let group = Timeline::Group(GroupId(5));
        vec![
            (Change::Append(append), b"hello"),
            (Change::Append(Append { timeline: group, client_id: ClientId::NONE, ..append }), b""),
            (
                Change::Append(Append { counts: false, imported: true, timestamp: 4, sender_present: false, ..append }),
                &[7; 200],
            ),
            (Change::CreateGroup(CreateGroup { group: GroupId(5), settings: GroupSettings::default() }), b""),
            (
                Change::Join(Join {
                    group: GroupId(5),
                    user: UserId(u64::MAX),
                    creates: true,
                    joined_at: 9,
                    joined_ordinal: 8,
                    floor: 0,
                    floor_ordinal: 0,
                }),
                b"",
            ),
            (
                Change::Leave(Leave {
                    group: GroupId(5),
                    user: UserId(3),
                    ceiling: 12,
                    ceiling_ordinal: 11,
                    ceiling_timestamp: 1_000_000,
                }),
                b"",
            ),
            (Change::Mark(Mark { timeline: group, user: UserId(3), read: 4, read_ordinal: 3, read_max: 9 }), b""),
        ]
    }

    const COMMIT: Commit = Commit { version: 44, time: 1_000_005 };

    #[test]
    fn every_kind_comes_back() {
        for (change, body) in samples() {
            let mut bytes = vec![0xee];
            encode(&change, body, COMMIT, &mut bytes);
            let mut input = &bytes[1..];
            assert_eq!(decode_length(&mut input), Some(input.len()));
            let decoded = decode(input).unwrap();
            assert_eq!(decoded, Decoded { change, commit: COMMIT, body });
            assert!(input.len() - body.len() + 5 <= RECORD_BYTES_MAX);
        }
    }

    #[test]
    fn no_cut_or_flip_panics_and_cuts_of_bodiless_records_are_refused() {
        for (change, body) in samples() {
            let mut bytes = Vec::new();
            encode(&change, body, COMMIT, &mut bytes);
            let mut input = &bytes[..];
            decode_length(&mut input).unwrap();
            for cut in 0..input.len() - body.len() {
                assert_eq!(decode(&input[..cut]), None, "{change:?} cut to {cut}");
            }
            for bit in 0..input.len() * 8 {
                let mut flipped = input.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(decode(&flipped), Some(Decoded { change, commit: COMMIT, body }));
            }
        }
    }

    #[test]
    fn arithmetic_on_hostile_values_does_not_overflow() {
        let mut bytes = vec![TAG_APPEND];
        put_all(&mut bytes, &[1, 0, 1, 1, u64::MAX, 0, 0, 0, u64::MAX]);
        assert_eq!(decode(&bytes), None);
        let mut bytes = vec![TAG_MARK];
        put_all(&mut bytes, &[1, u64::MAX, 1, 1, 1, 1, 1]);
        assert_eq!(decode(&bytes), None);
    }

    proptest! {
        /// Whatever decodes is what encoding it again gives, so no value has two encodings.
        #[test]
        fn any_bytes_decode_to_nothing_or_to_themselves(tag: u8, fields in vec(prop_oneof![0..3u8, any::<u8>()], 0..40)) {
            let record = [&[tag], &fields[..]].concat();
            if let Some(decoded) = decode(&record) {
                let mut bytes = Vec::new();
                encode(&decoded.change, decoded.body, decoded.commit, &mut bytes);
                let mut input = &bytes[..];
                decode_length(&mut input);
                prop_assert_eq!(input, &record[..]);
            }
        }
    }

    #[test]
    fn the_records_in_the_format_document_are_these() {
        let document = include_str!("../docs/format.md");
        for (change, body) in samples().into_iter().filter(|(_, body)| body.len() < 100) {
            let mut bytes = Vec::new();
            encode(&change, body, COMMIT, &mut bytes);
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(document.contains(&hex.join(" ")), "docs/format.md lacks: {}", hex.join(" "));
        }
    }
}
