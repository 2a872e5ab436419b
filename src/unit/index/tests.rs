//! The index of a journal against a plain walk of what was written; journals that no writer makes.
//! Owns: those tests. May touch: all of `segment`.
//! Never: is part of the crate.

use super::super::IndexKey;
use super::super::tests::{World, assert_stored, timelines};
use super::*;
use crate::change::{Append, Commit};
use crate::error::ErrorKind;
use crate::id::GroupId;
use crate::unit::chunk::{Chunk, decode_edit};

#[test]
fn every_message_and_edit_of_a_journal_is_in_its_index_once() {
    for seed in 0..6 {
        println!("seed={seed}");
        let mut world = World::new(seed, 24 << 10);
        let units = world.units(3);
        for unit in units.iter() {
            let (mut messages, mut edits) = (0, 0);
            for table in unit.index.tables() {
                let mut cursor = table.cursor(&[]).unwrap();
                while let Some((key, value)) = cursor.entry() {
                    match IndexKey::decode(key).unwrap() {
                        IndexKey::Edit { timeline, seq, version } => {
                            let offset = decode_edit(value.unwrap()).unwrap();
                            let edited = &world.edits[&(timeline, seq, version)];
                            assert_eq!(Place::new(unit.lo, offset), edited.place);
                            assert_eq!(*unit.records.edited_body(offset).unwrap(), edited.body);
                            edits += 1;
                        }
                        IndexKey::Chunk { timeline, first_seq } => {
                            let chunk = Chunk::decode(first_seq, value.unwrap()).unwrap();
                            let sent = |seq| &world.sent[&(timeline, seq)];
                            for (seq, offset) in (first_seq..).zip(chunk.offsets().unwrap()) {
                                assert_eq!(Place::new(unit.lo, offset), sent(seq).place);
                                assert_stored(&unit.records, offset, sent(seq), false, true);
                                messages += 1;
                            }
                            let (first, last) = (sent(first_seq), sent(chunk.last_seq()));
                            assert_eq!(chunk.first_version, first.commit.version);
                            assert_eq!(chunk.first_timestamp, first.append.timestamp);
                            assert_eq!(chunk.last_timestamp, last.append.timestamp);
                            let bodies = (first_seq..=chunk.last_seq()).map(|seq| sent(seq).body.len() as u64);
                            assert_eq!(chunk.body_bytes, bodies.sum::<u64>());
                        }
                    }
                    cursor.advance().unwrap();
                }
            }
            let is_here = |place: &Place| place.file_id() == unit.lo;
            assert_eq!(messages, world.sent.values().filter(|sent| is_here(&sent.place)).count());
            assert_eq!(edits, world.edits.values().filter(|edited| is_here(&edited.place)).count());
        }
    }
}

#[test]
fn a_journal_without_messages_has_no_index() {
    let mut world = World::new(1, 16 << 10);
    world.roll();
    let unit = world.seal(0);
    assert_eq!(unit.index.tables().count(), 0);
    assert_eq!(unit.segments().count(), 0);
}

#[test]
fn an_error_of_the_caller_ends_the_pass() {
    let mut world = World::new(1, 16 << 10);
    world.fill(&timelines());
    let records = world.open(0);
    let mut calls = 0;
    let error = JournalIndex::of(&records, &mut |_, place| {
        calls += 1;
        if calls == 5 { Err(records.damage(place.offset(), "the end")) } else { Ok(()) }
    });
    assert_eq!((error.unwrap_err().kind(), calls), (ErrorKind::Corruption, 5));
}

/// What the checks at open let through once: seqs and timestamps of one journal that make no sense together.
#[test]
fn holes_and_clocks_that_run_back_are_damage() {
    let mut world = World::new(1, 16 << 10);
    let timeline = Timeline::Group(GroupId(1));
    world.append(timeline, b"hello".to_vec());
    let append = world.sent[&(timeline, 1)].append;
    let indexed = |appends: &[(u64, u64)]| {
        let mut index = JournalIndex {
            hasher: RandomState::new(),
            numbers: HashTable::new(),
            timelines: Vec::new(),
            messages: Buffer::with_capacity(0),
            edits: Vec::new(),
            first_version: 0,
        };
        appends.iter().enumerate().try_for_each(|(index_of, (seq, timestamp))| {
            let change = Change::Append(Append { seq: *seq, timestamp: *timestamp, mention_bytes: 0, ..append });
            let commit = Commit { version: 5 + index_of as u64, time: 1 };
            index.add(&Decoded { change, commit, tail: b"hello" }, Place::new(1, 5_000 + index_of as u64))
        })
    };
    assert_eq!(indexed(&[(3, 10), (4, 11), (5, 12)]), Ok(()));
    assert_eq!(indexed(&[(3, 10), (5, 11)]), Err("the next seq of its timeline"));
    assert_eq!(indexed(&[(3, 10), (3, 11)]), Err("the next seq of its timeline"));
    assert_eq!(indexed(&[(3, 10), (4, 10)]), Err("a later timestamp in its timeline"));
}
