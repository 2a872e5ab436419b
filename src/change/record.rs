//! The bytes of a change.
//! Owns: the record. May touch: the rest of `change`, `id`, `settings`, `time`, `varint`.
//! Never: judges whether a change makes sense where it stands; `state` does.
//!
//! A record is: length of the rest (varint), kind (a byte), flags (a byte), version, commit time, then the
//! fields of the kind, all varints unless said, then the tail. It says everything by itself, so that a
//! message is read with one look at one place. `docs/format.md` has the table.

mod settings;

use super::{
    AddUser, Amend, Append, Change, Clear, Dissolve, Flags, Forget, Hide, Horizon, Join, Leave, Mark, Name, Opening,
    Opens, RemoveUser, RowKey, SetFlags, SetGroup, SetGroupMetadata, SetMember, SetMetadata, Trim,
};
use crate::id::{BusinessId, ClientId, GroupId, NameKind, Pair, Source, SystemId, Timeline, UserId};
use crate::settings::GroupSettings;
use crate::time::Timestamp;
use crate::varint::{VARINT_BYTES_MAX, put, take, unzigzag, zigzag};

const APPEND: u8 = 1;
const GROUP: u8 = 2;
const JOIN: u8 = 3;
const LEAVE: u8 = 4;
const MARK: u8 = 5;
const CLEAR: u8 = 6;
const FLAGS: u8 = 7;
const METADATA: u8 = 8;
const HIDE: u8 = 9;
const MEMBER: u8 = 10;
const AMEND: u8 = 11;
const GROUP_METADATA: u8 = 12;
const DISSOLVE: u8 = 13;
const ADD_USER: u8 = 14;
const NAME: u8 = 15;
const FREE_NAME: u8 = 16;
const FORGET: u8 = 17;
const REMOVE_USER: u8 = 18;
const SETTINGS: u8 = 19;
const HORIZON: u8 = 20;
const TRIM: u8 = 21;

/// Of what kind the timeline is, in the flags of every kind of change that has one.
const TIMELINE_BITS: u8 = 0b111;
const DIRECT: u8 = 0;
const OF_GROUP: u8 = 1;
const INBOX_SYSTEM: u8 = 2;
const INBOX_BUSINESS: u8 = 3;
const BROADCAST_SYSTEM: u8 = 4;
const BROADCAST_BUSINESS: u8 = 5;

const SILENT: u8 = 1 << 3;
const IMPORTED: u8 = 1 << 4;
const PRESENT: u8 = 1 << 5;
const CLIENT_ID: u8 = 1 << 6;
const MORE: u8 = 1 << 7;

const LOW_SESSION: u8 = 1;
const HIGH_SESSION: u8 = 1 << 1;
const LOW_APPEARS: u8 = 1 << 2;
const HIGH_APPEARS: u8 = 1 << 3;
const SENDER_APPEARS: u8 = 1 << 4;
const ALERTS: u8 = 1 << 5;
const MENTIONS: u8 = 1 << 6;

const OPENS: u8 = 1 << 3;
const APPEARS: u8 = 1 << 4;
const MARKED_UNREAD: u8 = 1 << 5;
const RECEIPTS: u8 = 1 << 6;
const REMOVES: u8 = 1 << 5;
const PINNED: u8 = 1 << 6;
const MUTED: u8 = 1 << 7;

const CREATES: u8 = 1 << 3;
const SHOWS_HISTORY: u8 = 1 << 4;
const MEMBERS_ONLY: u8 = 1 << 5;
const RETAINS: u8 = 1 << 6;

const ROLE: u8 = 1;
const SILENCED: u8 = 1 << 1;
const DATA: u8 = 1 << 2;

const RECALLS: u8 = 1 << 3;
const COUNTS: u8 = 1 << 4;

const NAME_KIND_BITS: u8 = 0b11;

/// The most a record takes besides its tail: length, kind, flags, twelve varints, client id, two bytes.
pub(crate) const RECORD_BYTES_MAX: usize = 5 + 2 + 12 * VARINT_BYTES_MAX + 16 + 2;

/// When a change was committed, in both orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub version: u64,
    /// Microseconds since the Unix epoch.
    pub time: u64,
}

/// A record as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'a> {
    pub change: Change,
    pub commit: Commit,
    pub tail: &'a [u8],
}

/// Appends the record of `change` to `out`.
pub(crate) fn encode(change: &Change, tail: &[u8], commit: Commit, out: &mut Vec<u8>) {
    // The length goes first and is a varint: write the fields behind room for a one-byte length and
    // move them only if they need more.
    let start = out.len();
    out.push(0);
    encode_fields(change, commit, out);
    out.extend_from_slice(tail);
    let length = out.len() - start - 1;
    if length < 0x80 {
        out[start] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(VARINT_BYTES_MAX);
        put(&mut prefix, length as u64);
        out.splice(start..=start, prefix);
    }
}

fn encode_fields(change: &Change, commit: Commit, out: &mut Vec<u8>) {
    let mut begin = |kind: u8, flags: u8, fields: &[u64]| {
        out.extend_from_slice(&[kind, flags]);
        put(out, commit.version);
        put(out, commit.time);
        fields.iter().for_each(|field| put(out, *field));
    };
    match *change {
        Change::Append(ref append) => encode_append(append, commit, out),
        Change::Group(SetGroup { group, creates, settings }) => {
            let flags = flag(creates, CREATES)
                | flag(settings.shows_history, SHOWS_HISTORY)
                | flag(settings.members_only, MEMBERS_ONLY)
                | flag(settings.retention.is_some(), RETAINS);
            begin(GROUP, flags, &[group.0]);
            settings.retention.iter().for_each(|retention| settings::put_retention(out, retention));
        }
        Change::Join(join) => {
            let flags = flag(join.creates, CREATES) | flag(join.appears, APPEARS);
            let marks = [join.joined_at, join.joined_ordinal, join.floor, join.floor_ordinal];
            begin(JOIN, flags, &[join.group.0, join.user.0]);
            put_all(out, &marks);
        }
        Change::Leave(leave) => {
            begin(LEAVE, 0, &[leave.group.0, leave.user.0]);
            put_all(out, &[leave.ceiling, leave.ceiling_ordinal, leave.ceiling_timestamp]);
        }
        Change::Mark(mark) => {
            let bits = flag(mark.marked_unread, MARKED_UNREAD) | flag(mark.receipts, RECEIPTS);
            begin(MARK, row_flags(mark.row) | bits, &[]);
            put_row(out, mark.row);
            put_all(out, &[mark.read, mark.read_ordinal, mark.read_max, mark.delivered_max]);
        }
        Change::Clear(clear) => {
            begin(CLEAR, row_flags(clear.row) | flag(clear.removes, REMOVES), &[]);
            put_row(out, clear.row);
            put_all(out, &[clear.floor, clear.floor_ordinal]);
        }
        Change::Flags(SetFlags { row, flags }) => {
            let bits = flag(flags.pinned, PINNED) | flag(flags.muted, MUTED) | flag(flags.marked_unread, MARKED_UNREAD);
            begin(FLAGS, row_flags(row) | bits, &[]);
            put_row(out, row);
        }
        Change::Metadata(SetMetadata { row }) => {
            begin(METADATA, row_flags(row), &[]);
            put_row(out, row);
        }
        Change::Hide(Hide { row }) => {
            begin(HIDE, row_flags(row), &[]);
            put_row(out, row);
        }
        Change::Member(member) => {
            let flags = flag(member.role.is_some(), ROLE)
                | flag(member.silenced_until.is_some(), SILENCED)
                | flag(member.data, DATA);
            begin(MEMBER, flags, &[member.group.0, member.user.0]);
            if let Some(role) = member.role {
                out.push(role);
            }
            if let Some(until) = member.silenced_until {
                put(out, until);
            }
        }
        Change::Amend(amend) => {
            let flags = flag(amend.recalls, RECALLS) | flag(amend.counts, COUNTS);
            begin(AMEND, timeline_code(amend.timeline) | flags, &timeline_ids(amend.timeline));
            put_all(out, &[amend.seq, amend.by.0, amend.ordinal]);
            out.push(amend.alerts);
        }
        Change::GroupMetadata(SetGroupMetadata { group }) => begin(GROUP_METADATA, 0, &[group.0]),
        Change::Dissolve(Dissolve { group }) => begin(DISSOLVE, 0, &[group.0]),
        Change::AddUser(AddUser { user }) => begin(ADD_USER, 0, &[user.0]),
        Change::Name(name) => {
            begin(NAME, name_kind_code(name.kind) | flag(name.appears, APPEARS), &[name.id]);
        }
        Change::FreeName(name) => begin(FREE_NAME, name_kind_code(name.kind), &[name.id]),
        Change::Forget(forget) => {
            let Forget { timeline, user, floor, floor_ordinal } = forget;
            begin(FORGET, timeline_code(timeline), &[user.0, id_beside(timeline, user), floor, floor_ordinal]);
        }
        Change::RemoveUser(RemoveUser { user }) => begin(REMOVE_USER, 0, &[user.0]),
        Change::Settings(settings) => {
            begin(SETTINGS, settings::flags(&settings), &[]);
            settings::put_settings(out, &settings);
        }
        Change::Horizon(Horizon { version }) => begin(HORIZON, 0, &[version]),
        Change::Trim(Trim { timeline, trim, trim_ordinal, ordinal_before, age_day }) => {
            begin(TRIM, timeline_code(timeline), &timeline_ids(timeline));
            put_all(out, &[trim, trim_ordinal, ordinal_before, age_day]);
        }
    }
}

#[inline]
fn encode_append(append: &Append, commit: Commit, out: &mut Vec<u8>) {
    let Opens { low_session, high_session, low_appears, high_appears, sender_appears } = append.opens;
    let more = flag(low_session, LOW_SESSION)
        | flag(high_session, HIGH_SESSION)
        | flag(low_appears, LOW_APPEARS)
        | flag(high_appears, HIGH_APPEARS)
        | flag(sender_appears, SENDER_APPEARS)
        | flag(append.alerts != 0, ALERTS)
        | flag(append.mention_bytes != 0, MENTIONS);
    let flags = timeline_code(append.timeline)
        | flag(!append.counts, SILENT)
        | flag(append.imported, IMPORTED)
        | flag(append.sender_present, PRESENT)
        | flag(!append.client_id.is_none(), CLIENT_ID)
        | flag(more != 0, MORE);
    let named_by = if let Timeline::Inbox(_, recipient) = append.timeline { recipient } else { append.sender };
    out.extend_from_slice(&[APPEND, flags]);
    put(out, commit.version);
    put(out, commit.time);
    put(out, named_by.0);
    put(out, id_beside(append.timeline, named_by));
    put(out, append.seq);
    put(out, append.seq - append.ordinal);
    put(out, append.seq - append.own_previous);
    put(out, u64::from(append.kind));
    put(out, zigzag(append.timestamp as i64 - commit.time as i64));
    if !append.client_id.is_none() {
        out.extend_from_slice(&append.client_id.0.to_le_bytes());
    }
    if more != 0 {
        out.push(more);
        if append.alerts != 0 {
            out.push(append.alerts);
        }
        if append.mention_bytes != 0 {
            put(out, append.mention_bytes.into());
        }
    }
}

/// Takes the length of a record off the front of `input`.
pub(crate) fn decode_length(input: &mut &[u8]) -> Option<usize> {
    usize::try_from(take(input)?).ok()
}

/// Reads a record without its length. `None` for bytes that no [`encode`] writes; values are in range
/// for arithmetic, their sense is judged elsewhere. A tail may be cut short: its bytes are not looked at.
pub(crate) fn decode(record: &[u8]) -> Option<Decoded<'_>> {
    let (&[kind, flags], mut rest) = record.split_first_chunk::<2>()?;
    let input = &mut rest;
    let only = |mask: u8| (flags & !mask == 0).then_some(());
    let commit = Commit { version: take(input)?, time: take(input)? };
    (commit.time <= Timestamp::MAX.0).then_some(())?;
    let is_set = |bit: u8| flags & bit != 0;
    let mut has_tail = false;
    let change = match kind {
        APPEND => {
            has_tail = true;
            Change::Append(decode_append(flags, commit, input)?)
        }
        GROUP => {
            only(CREATES | SHOWS_HISTORY | MEMBERS_ONLY | RETAINS)?;
            let group = take_group(input)?;
            let settings = GroupSettings::default()
                .shows_history(is_set(SHOWS_HISTORY))
                .members_only(is_set(MEMBERS_ONLY))
                .retention(if is_set(RETAINS) { Some(settings::take_retention(input)?) } else { None });
            Change::Group(SetGroup { group, creates: is_set(CREATES), settings })
        }
        JOIN => {
            only(CREATES | APPEARS)?;
            Change::Join(Join {
                creates: is_set(CREATES),
                appears: is_set(APPEARS),
                group: take_group(input)?,
                user: take_user(input)?,
                joined_at: take(input)?,
                joined_ordinal: take(input)?,
                floor: take(input)?,
                floor_ordinal: take(input)?,
            })
        }
        LEAVE => {
            only(0)?;
            Change::Leave(Leave {
                group: take_group(input)?,
                user: take_user(input)?,
                ceiling: take(input)?,
                ceiling_ordinal: take(input)?,
                ceiling_timestamp: take(input)?,
            })
        }
        MARK => {
            only(TIMELINE_BITS | OPENS | APPEARS | MARKED_UNREAD | RECEIPTS)?;
            Change::Mark(Mark {
                row: take_row(flags, input)?,
                read: take(input)?,
                read_ordinal: take(input)?,
                read_max: take(input)?,
                delivered_max: take(input)?,
                marked_unread: is_set(MARKED_UNREAD),
                receipts: is_set(RECEIPTS),
            })
        }
        CLEAR => {
            only(TIMELINE_BITS | OPENS | APPEARS | REMOVES)?;
            Change::Clear(Clear {
                row: take_row(flags, input)?,
                floor: take(input)?,
                floor_ordinal: take(input)?,
                removes: is_set(REMOVES),
            })
        }
        FLAGS => {
            let row = take_row(flags, input)?;
            let (pinned, muted, marked_unread) = (is_set(PINNED), is_set(MUTED), is_set(MARKED_UNREAD));
            Change::Flags(SetFlags { row, flags: Flags { pinned, muted, marked_unread } })
        }
        METADATA => {
            only(TIMELINE_BITS | OPENS | APPEARS)?;
            has_tail = true;
            Change::Metadata(SetMetadata { row: take_row(flags, input)? })
        }
        HIDE => {
            only(TIMELINE_BITS | OPENS | APPEARS)?;
            has_tail = true;
            Change::Hide(Hide { row: take_row(flags, input)? })
        }
        MEMBER => {
            only(ROLE | SILENCED | DATA)?;
            (flags != 0).then_some(())?;
            has_tail = is_set(DATA);
            let (group, user) = (take_group(input)?, take_user(input)?);
            let role = if is_set(ROLE) { Some(take_byte(input)?) } else { None };
            let silenced_until = if is_set(SILENCED) { Some(take_time(input)?) } else { None };
            Change::Member(SetMember { group, user, role, silenced_until, data: is_set(DATA) })
        }
        AMEND => {
            only(TIMELINE_BITS | RECALLS | COUNTS)?;
            has_tail = !is_set(RECALLS);
            Change::Amend(Amend {
                timeline: take_timeline(flags, input)?,
                seq: take(input)?,
                by: UserId(take(input)?),
                ordinal: take(input)?,
                recalls: is_set(RECALLS),
                counts: is_set(COUNTS),
                alerts: take_byte(input)?,
            })
        }
        GROUP_METADATA => {
            only(0)?;
            has_tail = true;
            Change::GroupMetadata(SetGroupMetadata { group: take_group(input)? })
        }
        DISSOLVE => {
            only(0)?;
            Change::Dissolve(Dissolve { group: take_group(input)? })
        }
        ADD_USER => {
            only(0)?;
            Change::AddUser(AddUser { user: take_user(input)? })
        }
        NAME | FREE_NAME => {
            only(NAME_KIND_BITS | if kind == NAME { APPEARS } else { 0 })?;
            has_tail = true;
            let id = take(input)?;
            (id != 0).then_some(())?;
            let name = Name { kind: name_kind(flags), id, appears: is_set(APPEARS) };
            if kind == NAME { Change::Name(name) } else { Change::FreeName(name) }
        }
        FORGET => {
            only(TIMELINE_BITS)?;
            let user = take_user(input)?;
            let timeline = timeline_of(flags, user, take(input)?)?;
            Change::Forget(Forget { timeline, user, floor: take(input)?, floor_ordinal: take(input)? })
        }
        REMOVE_USER => {
            only(0)?;
            Change::RemoveUser(RemoveUser { user: take_user(input)? })
        }
        SETTINGS => Change::Settings(settings::take_settings(flags, input)?),
        HORIZON => {
            only(0)?;
            Change::Horizon(Horizon { version: take(input)? })
        }
        TRIM => {
            only(TIMELINE_BITS)?;
            let timeline = take_timeline(flags, input)?;
            let (trim, trim_ordinal, ordinal_before) = (take(input)?, take(input)?, take(input)?);
            Change::Trim(Trim { timeline, trim, trim_ordinal, ordinal_before, age_day: take(input)? })
        }
        _ => return None,
    };
    (has_tail || rest.is_empty()).then_some(Decoded { change, commit, tail: rest })
}

#[inline]
fn decode_append(flags: u8, commit: Commit, input: &mut &[u8]) -> Option<Append> {
    let named_by = UserId(take(input)?);
    let timeline = timeline_of(flags, named_by, take(input)?)?;
    let sender = match timeline {
        Timeline::Direct(_) | Timeline::Group(_) if named_by.is_none() => return None,
        Timeline::Direct(_) | Timeline::Group(_) => named_by,
        Timeline::Broadcast(_) if !named_by.is_none() => return None,
        Timeline::Inbox(..) | Timeline::Broadcast(_) => UserId::NONE,
    };
    let seq = take(input)?;
    let ordinal = seq.checked_sub(take(input)?)?;
    let own_previous = seq.checked_sub(take(input)?)?;
    let kind = u16::try_from(take(input)?).ok()?;
    let timestamp = commit.time.checked_add_signed(unzigzag(take(input)?))?;
    if seq == 0 || own_previous == seq || timestamp > 2 * Timestamp::MAX.0 {
        return None;
    }
    let mut client_id = ClientId::NONE;
    if flags & CLIENT_ID != 0 {
        let (id, rest) = input.split_first_chunk::<16>()?;
        *input = rest;
        client_id = ClientId(u128::from_le_bytes(*id));
        (!client_id.is_none()).then_some(())?;
    }
    let mut more = 0;
    let mut alerts = 0;
    let mut mention_bytes = 0;
    if flags & MORE != 0 {
        more = take_byte(input)?;
        (more != 0 && more >> 7 == 0).then_some(())?;
        if more & ALERTS != 0 {
            alerts = take_byte(input)?;
            (alerts != 0).then_some(())?;
        }
        if more & MENTIONS != 0 {
            mention_bytes = u16::try_from(take(input)?).ok()?;
            (mention_bytes != 0).then_some(())?;
        }
    }
    Some(Append {
        timeline,
        sender,
        seq,
        ordinal,
        own_previous,
        timestamp,
        kind,
        counts: flags & SILENT == 0,
        imported: flags & IMPORTED != 0,
        sender_present: flags & PRESENT != 0,
        client_id,
        opens: Opens {
            low_session: more & LOW_SESSION != 0,
            high_session: more & HIGH_SESSION != 0,
            low_appears: more & LOW_APPEARS != 0,
            high_appears: more & HIGH_APPEARS != 0,
            sender_appears: more & SENDER_APPEARS != 0,
        },
        alerts,
        mention_bytes,
    })
}

fn flag(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}

fn put_all(out: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| put(out, *value));
}

fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = input.split_first()?;
    *input = rest;
    Some(byte)
}

fn take_user(input: &mut &[u8]) -> Option<UserId> {
    take(input).filter(|id| *id != 0).map(UserId)
}

fn take_group(input: &mut &[u8]) -> Option<GroupId> {
    take(input).filter(|id| *id != 0).map(GroupId)
}

fn take_time(input: &mut &[u8]) -> Option<u64> {
    take(input).filter(|time| *time <= Timestamp::MAX.0)
}

fn row_flags(row: RowKey) -> u8 {
    timeline_code(row.timeline) | flag(row.opening.is_some(), OPENS) | flag(row.appears, APPEARS)
}

/// User, the id that names the timeline beside it, and how the row begins if the change opens it.
fn put_row(out: &mut Vec<u8>, row: RowKey) {
    put_all(out, &[row.user.0, id_beside(row.timeline, row.user)]);
    if let Some(opening) = row.opening {
        put_all(out, &[opening.floor, opening.floor_ordinal]);
    }
}

fn take_row(flags: u8, input: &mut &[u8]) -> Option<RowKey> {
    let user = take_user(input)?;
    let timeline = timeline_of(flags, user, take(input)?)?;
    let opening = match flags & OPENS {
        0 => None,
        _ => Some(Opening { floor: take(input)?, floor_ordinal: take(input)? }),
    };
    Some(RowKey { timeline, user, opening, appears: flags & APPEARS != 0 })
}

fn timeline_code(timeline: Timeline) -> u8 {
    match timeline {
        Timeline::Direct(_) => DIRECT,
        Timeline::Group(_) => OF_GROUP,
        Timeline::Inbox(Source::System(_), _) => INBOX_SYSTEM,
        Timeline::Inbox(Source::Business(_), _) => INBOX_BUSINESS,
        Timeline::Broadcast(Source::System(_)) => BROADCAST_SYSTEM,
        Timeline::Broadcast(Source::Business(_)) => BROADCAST_BUSINESS,
    }
}

/// The id that, with a user beside it, names a timeline: of the other user, the group or the source.
fn id_beside(timeline: Timeline, user: UserId) -> u64 {
    match timeline {
        Timeline::Direct(pair) => pair.other(user).unwrap_or(user).0,
        Timeline::Group(group) => group.0,
        Timeline::Inbox(source, _) | Timeline::Broadcast(source) => match source {
            Source::System(system) => system.0,
            Source::Business(business) => business.0,
        },
    }
}

fn timeline_of(flags: u8, user: UserId, id: u64) -> Option<Timeline> {
    let timeline = match flags & TIMELINE_BITS {
        DIRECT => Timeline::Direct(Pair::new(user, UserId(id))),
        OF_GROUP => Timeline::Group(GroupId(id)),
        INBOX_SYSTEM => Timeline::Inbox(Source::System(SystemId(id)), user),
        INBOX_BUSINESS => Timeline::Inbox(Source::Business(BusinessId(id)), user),
        BROADCAST_SYSTEM => Timeline::Broadcast(Source::System(SystemId(id))),
        BROADCAST_BUSINESS => Timeline::Broadcast(Source::Business(BusinessId(id))),
        _ => return None,
    };
    // A broadcast's own changes name no user.
    (!timeline.is_none()).then_some(timeline)
}

/// What names a timeline when no user does: the lower user or the recipient, or 0; then the id beside it.
fn timeline_ids(timeline: Timeline) -> [u64; 2] {
    let user = match timeline {
        Timeline::Direct(pair) => pair.low(),
        Timeline::Inbox(_, recipient) => recipient,
        Timeline::Group(_) | Timeline::Broadcast(_) => UserId::NONE,
    };
    [user.0, id_beside(timeline, user)]
}

fn take_timeline(flags: u8, input: &mut &[u8]) -> Option<Timeline> {
    let ids = [take(input)?, take(input)?];
    let timeline = timeline_of(flags, UserId(ids[0]), ids[1])?;
    (timeline_ids(timeline) == ids).then_some(timeline)
}

fn name_kind_code(kind: NameKind) -> u8 {
    match kind {
        NameKind::User => 0,
        NameKind::Group => 1,
        NameKind::System => 2,
        NameKind::Business => 3,
    }
}

fn name_kind(flags: u8) -> NameKind {
    match flags & NAME_KIND_BITS {
        0 => NameKind::User,
        1 => NameKind::Group,
        2 => NameKind::System,
        _ => NameKind::Business,
    }
}

#[cfg(test)]
mod tests;
