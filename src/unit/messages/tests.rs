//! Files of messages with every bit wrong in turn, and cut at every length.
//! Owns: those tests. May touch: all of `segment`.
//! Never: is part of the crate.

use super::super::tests::{World, assert_stored};
use super::super::{Fate, Judge, MergePlan, Unit, Units, merge_units};
use super::*;
use crate::change::{Append, Commit};
use crate::id::{GroupId, Timeline};
use crate::segment::{Runs, Table};
use crate::storage::SimStorage;

struct KeepAll;

impl Judge for KeepAll {
    fn timeline(&mut self, _: Timeline) -> Result<()> {
        Ok(())
    }

    fn message(&mut self, _: &Append, _: Commit) -> Fate {
        Fate::Keep
    }

    fn edit(&mut self, _: u64, _: u64) -> bool {
        true
    }
}

/// The bodies of a file with three frames, the second one an odd one.
const THREE_FRAMES: [usize; 5] = [30, 40, 65_530, 20, 50];

/// A file with an edit and these messages.
fn merged(bodies: &[usize]) -> (World, Unit) {
    let mut world = World::new(5, 1 << 20);
    let timeline = Timeline::Group(GroupId(3));
    for &bytes in bodies {
        world.append(timeline, vec![7; bytes]);
    }
    world.amend(timeline, 2, Some(b"another body".to_vec()));
    world.roll();
    let unit = world.seal(0);
    let (storage, plan) = (world.storage.clone(), MergePlan::new(world.uuid));
    let mut id = 10;
    let mut next_id = || {
        id += 1;
        id
    };
    let merged = merge_units(&storage, &[unit], plan, &mut next_id, &mut KeepAll, &mut |_| Ok(())).unwrap();
    (world, merged)
}

/// What opening, verifying and reading of a file say that is not as it was made: how often damage was told. Wrong data
/// is not let through.
fn damage(world: &World, storage: &dyn Storage, unit: &Unit) -> u64 {
    let info = unit.messages.unwrap();
    let mut told = 0;
    let records = match open_messages(storage, &info, &[world.uuid]) {
        Ok((records, _)) => records,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Unsupported), "{error}");
            return 1;
        }
    };
    for sent in world.sent.values() {
        let (timeline, seq) = (sent.append.timeline, sent.append.seq);
        let units = Units::new(vec![std::sync::Arc::new(unit.clone())]).unwrap();
        let offset = units.place(1, timeline, seq).unwrap().unwrap().offset();
        match records.read(offset) {
            Ok(_) => assert_stored(&records, offset, sent, false, true),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corruption);
                assert!(records.whole(offset).is_err() && records.read(offset).is_err());
            }
        }
    }
    verify_messages(&records, &info, &[world.uuid], &mut |_| told += 1).unwrap();
    told
}

fn flip(bodies: &[usize], is_flipped: &dyn Fn(u64, u64) -> bool) {
    let (world, unit) = merged(bodies);
    let info = unit.messages.unwrap();
    let name = segment_name(SegmentKind::Messages, info.id);
    assert_eq!(damage(&world, &*world.storage, &unit), 0);
    for bit in (0..8 * info.bytes).filter(|bit| is_flipped(bit / 8, bit % 8)) {
        world.sim.corrupt(&name, bit / 8, 1 << (bit % 8));
        assert!(damage(&world, &*world.storage, &unit) > 0, "offset {} bit {}", bit / 8, bit % 8);
        world.sim.corrupt(&name, bit / 8, 1 << (bit % 8));
    }
    assert_eq!(damage(&world, &*world.storage, &unit), 0);
}

#[test]
fn every_flipped_bit_is_told_and_nothing_wrong_is_read() {
    flip(&[30, 0, 20], &|_, _| true);
    // Where frames meet, and here and there in a long body.
    let is_dull = |offset| offset < 4096 || (4_600..69_600).contains(&offset);
    flip(&THREE_FRAMES, &|offset, bit| offset % 8 == bit && (!is_dull(offset) || offset % 499 == 0));
}

#[test]
fn every_length_but_its_own_is_told() {
    let (world, unit) = merged(&THREE_FRAMES);
    let info = unit.messages.unwrap();
    let name = segment_name(SegmentKind::Messages, info.id);
    let bytes = world.sim.bytes(&name).unwrap();
    let lengths = (0..200).chain(4_000..4_200).chain(info.bytes as usize - 200..info.bytes as usize);
    for length in lengths {
        world.sim.replace(&name, bytes[..length].to_vec());
        let error = open_messages(&*world.storage, &info, &[world.uuid]).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    world.sim.replace(&name, longer);
    assert!(open_messages(&*world.storage, &info, &[world.uuid]).is_err());
    world.sim.remove_file(&name);
    let error = open_messages(&*world.storage, &info, &[world.uuid]).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
}

#[test]
fn a_file_of_another_store_is_refused() {
    let (world, unit) = merged(&THREE_FRAMES);
    let info = unit.messages.unwrap();
    assert!(open_messages(&*world.storage, &info, &[[1; 16]]).is_err());
    assert!(open_messages(&*world.storage, &info, &[[1; 16], world.uuid]).is_ok());
    assert!(open_messages(&*world.storage, &SegmentInfo { digest: 1, ..info }, &[world.uuid]).is_err());
    let other = SimStorage::new(9);
    let file = other.create(&segment_name(SegmentKind::Messages, info.id), info.bytes).unwrap();
    file.sync().unwrap();
    assert!(open_messages(&*other, &info, &[world.uuid]).is_err());
}

/// Two bad frames of three are told, each at its place, and the third is still read.
#[test]
fn frames_behind_a_bad_one_are_still_checked() {
    let (world, unit) = merged(&THREE_FRAMES);
    let info = unit.messages.unwrap();
    let name = segment_name(SegmentKind::Messages, info.id);
    let (records, _) = open_messages(&*world.storage, &info, &[world.uuid]).unwrap();
    let mut starts = Vec::new();
    records
        .walk_frames(&mut |frame| {
            starts.push(frame.offset);
            Ok(())
        })
        .unwrap();
    assert_eq!(starts.len(), 3);
    world.sim.corrupt(&name, starts[0] + 30, 1);
    world.sim.corrupt(&name, starts[2] + 30, 1);
    let mut told = Vec::new();
    let (records, _) = open_messages(&*world.storage, &info, &[world.uuid]).unwrap();
    verify_messages(&records, &info, &[world.uuid], &mut |error| told.push(error.corruption().unwrap().offset))
        .unwrap();
    assert_eq!(told, [starts[0], starts[2]]);
    let tables = unit.index.tables().map(|table| Table::open(&*world.storage, &table.info(), &[world.uuid]).unwrap());
    let unit = Unit { records, index: Runs::new(tables.collect()).unwrap(), ..unit.clone() };
    let units = Units::new(vec![std::sync::Arc::new(unit)]).unwrap();
    let timeline = Timeline::Group(GroupId(3));
    let readable = |seq| {
        let place = units.place(1, timeline, seq).unwrap().unwrap();
        World::files(&units).read(place).is_ok()
    };
    assert_eq!([1, 2, 3, 4, 5].map(readable), [false, false, true, false, false]);
}

#[test]
fn a_layout_says_where_records_lie() {
    let mut layout = Layout::default();
    assert_eq!(layout.file_bytes().unwrap(), 4096 + 48);
    let spots = [65_000, 536, 1, 70_000, 1].map(|bytes| layout.add(bytes).unwrap());
    let expected = [
        (4096 + 16, true),
        (4096 + 16 + 65_000, false),
        (4096 + 16 + 65_536 + 16, true),
        (4096 + 16 + 65_536 + 24 + 16, true),
        (4096 + 16 + 65_536 + 24 + 70_016 + 16, true),
    ];
    assert_eq!(spots.map(|spot| (spot.offset, spot.begins_frame)), expected);
    assert_eq!(layout.file_bytes().unwrap(), 4096 + 16 + 65_536 + 24 + 70_016 + 24 + 4 * 4 + 48);
    let mut layout = Layout::default();
    let refused = (0..1 << 20).find_map(|_| layout.add(1 << 20).and_then(|_| layout.file_bytes()).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn the_end_in_the_format_document_is_this() {
    let mut layout = Layout::default();
    layout.add(100).unwrap();
    let (offset, bytes, _) = layout.end(0x1234_5678, [1, 0], 9);
    assert_eq!(offset, 4096 + 120);
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let example = hex.chunks(26).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n");
    assert!(include_str!("../../../docs/format.md").contains(&example), "docs/format.md lacks: {example}");
}
