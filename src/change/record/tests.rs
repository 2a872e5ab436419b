//! The bytes of every kind of change, as `docs/format.md` prints them.
//! Owns: one sample of each. May touch: `change`.
//! Never: is part of the crate that others link.

use super::*;
use crate::change::{Hidden, Mentioned, encode_hides, encode_mentions};
use crate::limits::{
    BODY_BYTES_LIMIT, DEDUP_WINDOW_SECS_MAX, LATEST_BYTES_LIMIT, MENTIONS_MAX, RETENTION_AGE_SECS_MAX,
    RETENTION_BODY_BYTES_MAX, RETENTION_COUNT_MAX,
};
use crate::settings::{Retention, Settings};
use proptest::collection::vec;
use proptest::prelude::*;

const APPEND_TO_SEVEN: Append = Append {
    timeline: Timeline::Group(GroupId(5)),
    sender: UserId(9),
    seq: 300,
    ordinal: 299,
    own_previous: 0,
    timestamp: 1_000_007,
    kind: 513,
    counts: true,
    imported: false,
    sender_present: true,
    client_id: ClientId::NONE,
    opens: Opens {
        low_session: false,
        high_session: false,
        low_appears: false,
        high_appears: false,
        sender_appears: false,
    },
    alerts: 0,
    mention_bytes: 0,
};

/// Every kind of change with the tail it has in `docs/format.md`.
fn samples() -> Vec<(Change, Vec<u8>)> {
    let direct = Timeline::direct(UserId(7), UserId(9));
    let group = Timeline::Group(GroupId(5));
    let inbox = Timeline::Inbox(Source::System(SystemId(4)), UserId(7));
    let broadcast = Timeline::Broadcast(Source::Business(BusinessId(6)));
    let append = Append { timeline: direct, client_id: ClientId(0x0102_0304), ..APPEND_TO_SEVEN };
    let source = UserId::NONE;
    let mut mentions = Vec::new();
    let mentioned = [(UserId(7), true), (UserId(300), false)];
    encode_mentions(&mentioned.map(|(user, has_row)| Mentioned { user, has_row }), &mut mentions);
    let mention_bytes = mentions.len() as u16;
    let with_mentions = [&mentions[..], b"hi"].concat();
    let mut hides = Vec::new();
    let hidden = [(4, 3, true, 0), (9, 8, false, 2)];
    encode_hides(&hidden.map(|(seq, ordinal, counts, alerts)| Hidden { seq, ordinal, counts, alerts }), &mut hides);
    let row = RowKey { timeline: group, user: UserId(3), opening: None, appears: false };
    let opening = Some(Opening { floor: 2, floor_ordinal: 1 });
    let opened = RowKey { timeline: broadcast, opening, ..row };
    let flags = Flags { pinned: true, muted: false, marked_unread: true };
    let opens = Opens { low_session: true, high_session: true, low_appears: true, ..Opens::default() };
    let member = SetMember { group: GroupId(5), user: UserId(3), role: Some(2), silenced_until: None, data: false };
    let amend =
        Amend { timeline: direct, seq: 300, by: UserId(9), recalls: true, ordinal: 299, counts: true, alerts: 2 };
    let mark =
        Mark { row, read: 4, read_ordinal: 3, read_max: 9, delivered_max: 9, marked_unread: false, receipts: true };
    let week = Retention::default().age_secs(604_800).body_bytes(1 << 30);
    let most = Retention::default()
        .age_secs(RETENTION_AGE_SECS_MAX)
        .count(RETENTION_COUNT_MAX)
        .body_bytes(RETENTION_BODY_BYTES_MAX);
    let kept = GroupSettings::default().retention(Some(Retention::default().count(300)));
    let trim = Trim { timeline: group, trim: 300, trim_ordinal: 299, ordinal_before: 12, age_day: 20_000 };
    vec![
        (Change::Append(append), b"hello".to_vec()),
        (Change::Append(APPEND_TO_SEVEN), Vec::new()),
        (Change::Append(Append { alerts: 2, mention_bytes, ..APPEND_TO_SEVEN }), with_mentions),
        (Change::Append(Append { seq: 1, ordinal: 1, opens, ..append }), b"first".to_vec()),
        (Change::Append(Append { timeline: inbox, sender: source, sender_present: false, ..append }), vec![1]),
        (Change::Append(Append { timeline: broadcast, sender: source, ..APPEND_TO_SEVEN }), vec![2]),
        (Change::Append(Append { counts: false, imported: true, timestamp: 4, ..append }), vec![7; 200]),
        (Change::Group(SetGroup { group: GroupId(5), creates: true, settings: GroupSettings::default() }), Vec::new()),
        (
            Change::Join(Join {
                group: GroupId(5),
                user: UserId(u64::MAX),
                creates: true,
                appears: true,
                joined_at: 9,
                joined_ordinal: 8,
                floor: 0,
                floor_ordinal: 0,
            }),
            Vec::new(),
        ),
        (
            Change::Leave(Leave {
                group: GroupId(5),
                user: UserId(3),
                ceiling: 12,
                ceiling_ordinal: 11,
                ceiling_timestamp: 1_000_000,
            }),
            Vec::new(),
        ),
        (Change::Mark(mark), Vec::new()),
        (Change::Mark(Mark { row: opened, ..mark }), Vec::new()),
        (Change::Clear(Clear { row, floor: 9, floor_ordinal: 8, removes: true }), Vec::new()),
        (Change::Flags(SetFlags { row: RowKey { appears: true, ..row }, flags }), Vec::new()),
        (Change::Metadata(SetMetadata { row }), b"draft".to_vec()),
        (Change::Hide(Hide { row }), hides),
        (Change::Member(member), Vec::new()),
        (Change::Member(SetMember { role: None, silenced_until: Some(500), data: true, ..member }), vec![8]),
        (Change::Amend(amend), Vec::new()),
        (Change::Amend(Amend { recalls: false, timeline: inbox, ..amend }), b"better".to_vec()),
        (Change::GroupMetadata(SetGroupMetadata { group: GroupId(5) }), b"topic".to_vec()),
        (Change::Dissolve(Dissolve { group: GroupId(5) }), Vec::new()),
        (Change::AddUser(AddUser { user: UserId(3) }), Vec::new()),
        (Change::Name(Name { kind: NameKind::User, id: 1 << 63 | 1, appears: true }), b"ann".to_vec()),
        (Change::FreeName(Name { kind: NameKind::Group, id: 5, appears: false }), b"club".to_vec()),
        (Change::Forget(Forget { timeline: group, user: UserId(3), floor: 12, floor_ordinal: 11 }), Vec::new()),
        (Change::RemoveUser(RemoveUser { user: UserId(3) }), Vec::new()),
        (Change::Settings(Settings::default()), Vec::new()),
        (Change::Horizon(Horizon { version: 40 }), Vec::new()),
        (Change::Group(SetGroup { group: GroupId(5), creates: false, settings: kept }), Vec::new()),
        (Change::Settings(Settings::default().retention_group(week).retention_business(most)), Vec::new()),
        (Change::Trim(Trim { timeline: inbox, ..trim }), Vec::new()),
        (Change::Trim(trim), Vec::new()),
    ]
}

const COMMIT: Commit = Commit { version: 44, time: 1_000_005 };

#[test]
fn every_kind_comes_back() {
    for (change, tail) in samples() {
        let mut bytes = vec![0xee];
        encode(&change, &tail, COMMIT, &mut bytes);
        let mut input = &bytes[1..];
        assert_eq!(decode_length(&mut input), Some(input.len()));
        assert_eq!(decode(input), Some(Decoded { change, commit: COMMIT, tail: &tail }));
        assert!(input.len() - tail.len() + 5 <= RECORD_BYTES_MAX);
    }
}

#[test]
fn the_largest_settings_fit_a_record() {
    let most = Retention::default()
        .age_secs(RETENTION_AGE_SECS_MAX)
        .count(RETENTION_COUNT_MAX)
        .body_bytes(RETENTION_BODY_BYTES_MAX);
    let settings = Settings::default()
        .dedup_window_secs(DEDUP_WINDOW_SECS_MAX)
        .body_bytes_max(BODY_BYTES_LIMIT)
        .mentions_max(MENTIONS_MAX)
        .latest_bytes_max(LATEST_BYTES_LIMIT)
        .retention_user(most)
        .retention_group(most)
        .retention_system(most)
        .retention_business(most);
    settings.check().unwrap();
    let mut bytes = Vec::new();
    encode(&Change::Settings(settings), &[], Commit { version: u64::MAX, time: Timestamp::MAX.0 }, &mut bytes);
    assert!(bytes.len() <= RECORD_BYTES_MAX, "{}", bytes.len());
    let mut input = &bytes[..];
    decode_length(&mut input);
    assert_eq!(decode(input).unwrap().change, Change::Settings(settings));
}

#[test]
fn no_cut_or_flip_panics_and_cuts_of_fields_are_refused() {
    for (change, tail) in samples() {
        let mut bytes = Vec::new();
        encode(&change, &tail, COMMIT, &mut bytes);
        let mut input = &bytes[..];
        decode_length(&mut input).unwrap();
        for cut in 0..input.len() - tail.len() {
            assert_eq!(decode(&input[..cut]), None, "{change:?} cut to {cut}");
        }
        for bit in 0..input.len() * 8 {
            let mut flipped = input.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&flipped), Some(Decoded { change, commit: COMMIT, tail: &tail }));
        }
    }
}

#[test]
fn arithmetic_on_hostile_values_does_not_overflow() {
    let mut bytes = vec![APPEND, 0];
    put_all(&mut bytes, &[1, 0, 1, 1, u64::MAX, 0, 0, 0, u64::MAX]);
    assert_eq!(decode(&bytes), None);
    let mut bytes = vec![MARK, 0];
    put_all(&mut bytes, &[1, u64::MAX, 1, 1, 1, 1, 1, 1]);
    assert_eq!(decode(&bytes), None);
}

proptest! {
    /// Whatever decodes is what encoding it again gives, so no value has two encodings.
    #[test]
    fn any_bytes_decode_to_nothing_or_to_themselves(
        kind in 0..TRIM + 2,
        flags: u8,
        fields in vec(prop_oneof![0..3u8, any::<u8>()], 0..40),
    ) {
        let record = [&[kind, flags], &fields[..]].concat();
        if let Some(decoded) = decode(&record) {
            let mut bytes = Vec::new();
            encode(&decoded.change, decoded.tail, decoded.commit, &mut bytes);
            let mut input = &bytes[..];
            decode_length(&mut input);
            prop_assert_eq!(input, &record[..]);
        }
    }
}

#[test]
fn the_records_in_the_format_document_are_these() {
    let document = include_str!("../../../docs/format.md");
    let mut missing = Vec::new();
    for (change, tail) in samples().into_iter().filter(|(_, tail)| tail.len() < 100) {
        let mut bytes = Vec::new();
        encode(&change, &tail, COMMIT, &mut bytes);
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if !document.contains(&hex.join(" ")) {
            missing.push(hex.join(" "));
        }
    }
    assert!(missing.is_empty(), "docs/format.md lacks:\n{}", missing.join("\n"));
}
