//! The rows of a user in a timeline, with what the user noted there.
//! Owns: their values. May touch: the rest of `state`, `numbers`, `varint`.
//! Never: sees two of them at once.

use super::numbers::{far, near, put_numbers, take_numbers};
use super::{Entries, USER_PREFIX, put_ascending, row_key, take_byte};
use crate::change::Flags;
use crate::id::{Timeline, UserId};
use crate::state::member::{Hide, Notes, Presence, Row};
use crate::varint::{put, take};

const PINNED: u8 = 1;
const MUTED: u8 = 1 << 1;
const MARKED_UNREAD: u8 = 1 << 2;
const HAS_METADATA: u8 = 1 << 3;
const HAS_NOTES: u8 = 1 << 4;
const REMOVED: u8 = 1 << 5;
const PRESENCE_SHIFT: u32 = 6;

/// Writes a row with what its user noted.
pub(crate) fn add_row(entries: &mut Entries, user: UserId, timeline: Timeline, row: &Row, notes: Option<&Notes>) {
    let mut value = Vec::with_capacity(64);
    let bits = [
        (row.flags.pinned, PINNED),
        (row.flags.muted, MUTED),
        (row.flags.marked_unread, MARKED_UNREAD),
        (row.has_metadata, HAS_METADATA),
        (row.has_notes, HAS_NOTES),
        (row.removed_at.is_some(), REMOVED),
    ];
    let presence = match row.presence {
        Presence::Outside => 0,
        Presence::Member => 1,
        Presence::Left => 2,
        Presence::Gone => 3,
    };
    value.push(bits.iter().filter(|(is_set, _)| *is_set).map(|(_, bit)| bit).sum::<u8>() | presence << PRESENCE_SHIFT);
    put_numbers(&mut value, numbers(row));
    if let Some(removed_at) = row.removed_at {
        put(&mut value, removed_at);
    }
    if row.has_notes {
        put_notes(&mut value, notes.unwrap_or(&Notes::default()));
    }
    entries.add(&row_key(user, timeline), USER_PREFIX, Some(&value));
}

fn numbers(row: &Row) -> [u64; 19] {
    [
        row.version,
        row.time,
        row.own_last,
        near(row.read, row.own_last),
        near(row.read_ordinal, row.read),
        near(row.read_max, row.read),
        near(row.delivered_max, row.read),
        near(row.joined_version, row.version),
        near(row.joined_time, row.time),
        row.joined_at,
        row.floor,
        near(row.floor_ordinal, row.floor),
        row.cleared,
        near(row.cleared_ordinal, row.cleared),
        row.ceiling,
        near(row.ceiling_ordinal, row.ceiling),
        near(row.ceiling_timestamp, row.time),
        near(row.silenced_until, row.time),
        row.role.into(),
    ]
}

/// A row without its slot, and what its user noted.
pub(crate) fn take_row(mut value: &[u8]) -> Option<(Row, Option<Box<Notes>>)> {
    let value = &mut value;
    let bits = take_byte(value)?;
    let presence = match bits >> PRESENCE_SHIFT {
        0 => Presence::Outside,
        1 => Presence::Member,
        2 => Presence::Left,
        _ => Presence::Gone,
    };
    let has = |bit| bits & bit != 0;
    let flags = Flags { pinned: has(PINNED), muted: has(MUTED), marked_unread: has(MARKED_UNREAD) };
    let mut row = Row { presence, flags, ..Row::outside(0) };
    let numbers = take_numbers::<19>(value)?;
    let [version, time, own_last, read, read_ordinal, read_max, delivered_max, ..] = numbers;
    let [.., silenced_until, role] = numbers;
    (row.version, row.time, row.own_last) = (version, time, own_last);
    row.read = far(read, own_last)?;
    (row.read_ordinal, row.read_max) = (far(read_ordinal, row.read)?, far(read_max, row.read)?);
    row.delivered_max = far(delivered_max, row.read)?;
    let [joined_version, joined_time, joined_at, floor, floor_ordinal, cleared, cleared_ordinal, ..] = numbers[7..]
    else {
        return None;
    };
    (row.joined_version, row.joined_time) = (far(joined_version, version)?, far(joined_time, time)?);
    (row.joined_at, row.floor, row.cleared) = (joined_at, floor, cleared);
    (row.floor_ordinal, row.cleared_ordinal) = (far(floor_ordinal, floor)?, far(cleared_ordinal, cleared)?);
    let [ceiling, ceiling_ordinal, ceiling_timestamp, ..] = numbers[14..] else { return None };
    (row.ceiling, row.ceiling_ordinal) = (ceiling, far(ceiling_ordinal, ceiling)?);
    row.ceiling_timestamp = far(ceiling_timestamp, time)?;
    row.silenced_until = far(silenced_until, time)?;
    row.role = u8::try_from(role).ok()?;
    if has(REMOVED) {
        row.removed_at = Some(take(value)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_in_the_format_document_is_this() {
        let flags = Flags { pinned: true, muted: false, marked_unread: false };
        let row = Row { presence: Presence::Member, flags, version: 300, time: 1_000, own_last: 5, ..Row::outside(0) };
        let row = Row { read: 5, read_ordinal: 4, read_max: 5, joined_version: 290, joined_time: 900, ..row };
        let mut entries = Entries::default();
        add_row(&mut entries, UserId(1), Timeline::direct(UserId(1), UserId(2)), &row, None);
        entries.sort();
        let (_, _, value) = entries.iter().next().unwrap();
        let expected = [0x41, 0xbf, 0x03, 0xac, 0x02, 0xe8, 0x07, 0x05, 0x01, 0x02, 0x01, 0x14, 0xc8, 0x01];
        assert_eq!(value, Some(&expected[..]));
        let (taken, notes) = take_row(&expected).unwrap();
        assert!(notes.is_none());
        assert_eq!(numbers(&taken), numbers(&row));
        assert_eq!((taken.presence, taken.flags), (row.presence, row.flags));
        for end in 0..expected.len() {
            assert!(take_row(&expected[..end]).is_none());
        }
    }
}
