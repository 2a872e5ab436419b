//! Merges against a model, message by message, through several levels; merges that fail at each operation.
//! Owns: those tests. May touch: all of `segment`.
//! Never: is part of the crate.

use super::super::tests::{World, assert_stored, timelines};
use super::super::{Units, open_messages, verify_messages, verify_unit};
use super::*;
use crate::error::ErrorKind;
use crate::id::GroupId;
use crate::journal::Place;
use crate::storage::{FailEffect, ReadMode, RealStorage, SimStorage};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What the state says: which messages are trimmed or recalled, which client ids are past their window, which edits
/// were replaced.
#[derive(Clone, Debug, Default)]
struct Rules {
    trims: BTreeMap<Timeline, u64>,
    recalled: BTreeSet<(Timeline, u64)>,
    window_begins: u64,
    replaced: BTreeSet<(Timeline, u64, u64)>,
    present: Option<Timeline>,
    asked: Vec<Timeline>,
}

impl Rules {
    fn trim(&self, timeline: Timeline) -> u64 {
        self.trims.get(&timeline).copied().unwrap_or(0)
    }

    fn is_stub(&self, timeline: Timeline, seq: u64) -> bool {
        self.recalled.contains(&(timeline, seq))
    }

    fn has_edit(&self, timeline: Timeline, seq: u64, version: u64) -> bool {
        seq > self.trim(timeline) && !self.replaced.contains(&(timeline, seq, version))
    }
}

impl Judge for Rules {
    fn timeline(&mut self, timeline: Timeline) -> Result<()> {
        self.present = Some(timeline);
        self.asked.push(timeline);
        Ok(())
    }

    fn message(&mut self, append: &Append, commit: Commit) -> Fate {
        assert_eq!(self.present, Some(append.timeline));
        if append.seq <= self.trim(append.timeline) {
            return Fate::Drop;
        }
        match (self.is_stub(append.timeline, append.seq), commit.time < self.window_begins) {
            (false, false) => Fate::Keep,
            (true, false) => Fate::Stub,
            (false, true) => Fate::NoClientId,
            (true, true) => Fate::BareStub,
        }
    }

    fn edit(&mut self, seq: u64, version: u64) -> bool {
        self.has_edit(self.present.unwrap(), seq, version)
    }
}

fn merge(world: &mut World, units: &[Arc<Unit>], rules: &mut Rules) -> Result<Unit> {
    let next_segment = &mut world.next_segment;
    let mut next_id = || {
        *next_segment += 1;
        *next_segment
    };
    let plan = MergePlan { uuid: world.uuid, part_bytes: 9_000 };
    merge_units(&world.storage, units, plan, &mut next_id, rules, &mut |_| Ok(()))
}

/// The unit as a later process opens it, every byte of its files checked.
fn opened(world: &World, unit: &Unit) -> Unit {
    let uuids = [world.uuid];
    let (records, messages) = match &unit.messages {
        Some(info) => {
            let (records, header) = open_messages(&*world.storage, info, &uuids).unwrap();
            assert_eq!((header.first, header.last), (unit.lo, unit.hi));
            assert_eq!((header.first_version, header.last_version), (unit.first_version, unit.last_version));
            verify_messages(&records, info, &uuids, &mut |error| panic!("{error}")).unwrap();
            (records, Some(*info))
        }
        None => (unit.records.clone(), None),
    };
    let tables = unit.index.tables().map(|table| Table::open(&*world.storage, &table.info(), &uuids).unwrap());
    Unit { records, messages, index: Runs::new(tables.collect()).unwrap(), ..unit.clone() }
}

/// Checks all messages and edits. `merged` are the rules that each journal's content went through last, `now` the newest.
fn check(world: &World, units: &Units, merged: &BTreeMap<u64, Rules>, now: &Rules) {
    let none = Rules::default();
    let files = World::files(units);
    let rules_of = |place: Place| merged.get(&place.file_id()).unwrap_or(&none);
    let mut places: BTreeMap<Timeline, Vec<(u64, Option<Place>)>> = BTreeMap::new();
    for ((timeline, seq), sent) in &world.sent {
        let rules = rules_of(sent.place);
        let place = units.place(world.newest(*timeline), *timeline, *seq).unwrap();
        // What is trimmed may still lie in a unit that was not merged since, and a newer one may not lead there.
        if *seq > now.trim(*timeline) {
            assert!(place.is_some(), "{timeline} {seq}");
        } else if *seq <= rules.trim(*timeline) {
            assert!(place.is_none(), "{timeline} {seq}");
        }
        places.entry(*timeline).or_default().push((*seq, place));
        if let Some(place) = place {
            let has_client_id = sent.commit.time >= rules.window_begins;
            let records = files.get(place).unwrap();
            assert_stored(records, place.offset(), sent, rules.is_stub(*timeline, *seq), has_client_id);
        }
    }
    for (timeline, places) in places {
        let newest = world.newest(timeline);
        let run = places.iter().rev().map_while(|(_, place)| *place).collect::<Vec<_>>();
        let mut found = Vec::new();
        units.places(newest, timeline, 1, places.len() as u64, &mut found).unwrap();
        assert!(found.iter().rev().eq(&run), "{timeline}");
    }
    for ((timeline, seq, version), edited) in &world.edits {
        let place = units.edit_place(edited.place, *timeline, *seq, *version).unwrap();
        let rules = rules_of(edited.place);
        assert_eq!(place.is_some(), rules.has_edit(*timeline, *seq, *version), "{timeline} {seq} {version}");
        if let Some(place) = place {
            assert_eq!(*files.get(place).unwrap().edited_body(place.offset()).unwrap(), edited.body);
        }
    }
}

/// The rules grow as the state does: trims rise, more is recalled, windows pass.
fn grow(world: &mut World, rules: &mut Rules) {
    for timeline in timelines() {
        let last = world.sent.range((timeline, 0)..=(timeline, u64::MAX)).next_back().map_or(0, |((_, seq), _)| *seq);
        if world.random.below(3) == 0 {
            let trim = rules.trim(timeline).max(world.random.below(last + 1));
            rules.trims.insert(timeline, if world.random.below(9) == 0 { last } else { trim });
        }
        (0..last / 8).for_each(|_| _ = rules.recalled.insert((timeline, 1 + world.random.below(last))));
    }
    let all: Vec<_> = world.edits.keys().copied().collect();
    rules.replaced.extend(all.into_iter().filter(|_| world.random.below(4) == 0));
    let newest = world.sent.values().map(|sent| sent.commit.time).max().unwrap_or(0);
    rules.window_begins = rules.window_begins.max(world.random.below(newest + 1));
    (rules.present, rules.asked) = (None, Vec::new());
}

/// Merges adjacent units at random, again and again, and checks everything after each.
fn merge_at_random(world: &mut World, journals: usize, rounds: usize) {
    let mut units = world.units(journals);
    let (mut rules, mut merged) = (Rules::default(), BTreeMap::new());
    for round in 0..rounds {
        let all: Vec<_> = units.iter().cloned().collect();
        let start = world.random.below(all.len() as u64) as usize;
        let count = 1 + world.random.below((all.len() - start).min(4) as u64) as usize;
        if round > 0 {
            grow(world, &mut rules);
        }
        let unit = merge(world, &all[start..start + count], &mut rules).unwrap();
        let level = all[start..start + count].iter().map(|unit| unit.level).max().unwrap();
        assert_eq!(unit.level, level + u8::from(count > 1));
        (unit.lo..=unit.hi).for_each(|journal| _ = merged.insert(journal, rules.clone()));
        units = units.with_merged(Arc::new(unit)).unwrap();
        check(world, &units, &merged, &rules);
        let reopened: Vec<_> = units.iter().map(|unit| Arc::new(opened(world, unit))).collect();
        reopened.iter().for_each(|unit| verify_unit(unit, &mut |error| panic!("{error}")).unwrap());
        check(world, &Units::new(reopened).unwrap(), &merged, &rules);
    }
}

#[test]
fn merged_units_hold_what_was_kept_message_by_message() {
    for seed in 0..8 {
        println!("seed={seed}");
        merge_at_random(&mut World::new(seed, 20 << 10), 10, 12);
    }
}

#[test]
fn so_they_do_in_files_of_the_system_mapped_and_not() {
    for (seed, read_mode) in [(21, ReadMode::Mapped), (22, ReadMode::Pread)] {
        println!("seed={seed}");
        let directory = std::env::temp_dir().join(format!("restante-unite-{}-{seed}", std::process::id()));
        let storage = Arc::new(RealStorage::new(&directory, read_mode).unwrap());
        merge_at_random(&mut World::on(storage, SimStorage::new(1), seed, 20 << 10), 6, 5);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn a_timeline_is_asked_about_once_for_its_edits_and_once_for_its_messages() {
    let mut world = World::new(11, 16 << 10);
    let all: Vec<_> = world.units(4).iter().cloned().collect();
    let mut rules = Rules::default();
    let unit = merge(&mut world, &all, &mut rules).unwrap();
    let edited: BTreeSet<Timeline> = world.edits.keys().map(|(timeline, ..)| *timeline).collect();
    let sent: BTreeSet<Timeline> = world.sent.keys().map(|(timeline, _)| *timeline).collect();
    assert_eq!(rules.asked, edited.into_iter().chain(sent).collect::<Vec<_>>());
    // Bytes are as they were in the journals, unless something was taken away.
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (units, bytes) in [(&all[..], &mut old), (&[Arc::new(unit)][..], &mut new)] {
        sweep(units, &mut |entry| {
            read_entry(&entry, &mut |_, _, whole| {
                bytes.push(whole.bytes().to_vec());
                Ok(())
            })
        })
        .unwrap();
    }
    assert!(old.len() > 100 && old == new);
}

#[test]
fn a_merge_of_nothing_makes_a_file_of_nothing() {
    let mut world = World::new(1, 16 << 10);
    world.roll();
    world.roll();
    let all = [world.seal(0), world.seal(1)];
    let unit = merge(&mut world, &all, &mut Rules::default()).unwrap();
    assert_eq!((unit.index.tables().count(), unit.messages.unwrap().bytes), (0, 4096 + 48));
    let unit = Arc::new(opened(&world, &unit));
    assert!(unit.records.read(4096).is_err());
    let again = merge(&mut world, &[unit], &mut Rules::default()).unwrap();
    assert_eq!(again.messages.unwrap().bytes, 4096 + 48);
}

#[test]
fn large_records_have_frames_of_their_own() {
    let mut world = World::new(1, 1 << 20);
    let timeline = Timeline::Group(GroupId(3));
    for bytes in [10, 200_000, 60_000, 6_000, 65_535, 65_536, 1, 70_000, 70_000] {
        world.append(timeline, vec![7; bytes]);
    }
    world.roll();
    let unit = world.seal(0);
    let merged = merge(&mut world, &[unit], &mut Rules::default()).unwrap();
    let units = Units::new(vec![Arc::new(opened(&world, &merged))]).unwrap();
    check(&world, &units, &BTreeMap::new(), &Rules::default());
}

#[test]
fn a_merge_that_fails_leaves_nothing_behind() {
    let mut world = World::new(2, 16 << 10);
    let all: Vec<_> = world.units(3).iter().cloned().collect();
    let names = |sim: &SimStorage| sim.names().into_iter().collect::<BTreeSet<_>>();
    let before = names(&world.sim);
    let operations = world.sim.operations();
    let unit = merge(&mut world, &all, &mut Rules::default()).unwrap();
    let count = world.sim.operations() - operations;
    assert!(count > 8, "operations={count}");
    unit.segments().for_each(|info| world.storage.remove(&segment_name(info.kind, info.id)).unwrap());
    for number in 0..count {
        for effect in [FailEffect::Nothing, FailEffect::Part, FailEffect::All] {
            world.sim.fail_operation(number, io::ErrorKind::Other, effect);
            let error = merge(&mut world, &all, &mut Rules::default()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "operation {number}");
            // An unfinished part of the index is the writer of tables' to take away, or that of the next open.
            let left = names(&world.sim).into_iter().filter(|name| !name.ends_with(".index.tmp"));
            assert_eq!(left.collect::<BTreeSet<_>>(), before, "operation {number}");
        }
    }
    // So does one that is told to stop, or whose judge fails.
    let mut calls = 0;
    let stop = Error::new(ErrorKind::Closed, "closed");
    let plan = MergePlan::new(world.uuid);
    let mut pace = |_| {
        calls += 1;
        if calls == 2 { Err(stop.clone()) } else { Ok(()) }
    };
    let mut id = 900;
    let mut next_id = || {
        id += 1;
        id
    };
    let mut world = World::new(3, 200 << 10);
    let all: Vec<_> = world.units(1).iter().cloned().collect();
    let before = names(&world.sim);
    let error = merge_units(&world.storage, &all, plan, &mut next_id, &mut Rules::default(), &mut pace).unwrap_err();
    assert_eq!((error.kind(), names(&world.sim)), (ErrorKind::Closed, before));
}

#[test]
#[should_panic(expected = "only the oldest messages of a timeline go")]
fn a_hole_cannot_be_made() {
    struct Hole;
    impl Judge for Hole {
        fn timeline(&mut self, _: Timeline) -> Result<()> {
            Ok(())
        }
        fn message(&mut self, append: &Append, _: Commit) -> Fate {
            if append.seq == 2 { Fate::Drop } else { Fate::Keep }
        }
        fn edit(&mut self, _: u64, _: u64) -> bool {
            true
        }
    }
    let mut world = World::new(2, 16 << 10);
    let all: Vec<_> = world.units(1).iter().cloned().collect();
    let plan = MergePlan::new(world.uuid);
    let _ = merge_units(&world.storage, &all, plan, &mut || 1, &mut Hole, &mut |_| Ok(()));
}

#[test]
fn units_that_overlap_or_leave_something_out_are_damage() {
    let mut world = World::new(2, 16 << 10);
    let timeline = Timeline::Group(GroupId(3));
    for _ in 0..3 {
        world.append(timeline, b"hello".to_vec());
        world.roll();
    }
    let all: Vec<_> = (0..3).map(|index| world.seal(index)).collect();
    let again = Arc::new(Unit { lo: 9, hi: 9, ..(*all[2]).clone() });
    for (wrong, expected) in [
        (vec![all[0].clone(), all[2].clone()], Err(ErrorKind::Corruption)),
        (vec![all[2].clone(), again], Err(ErrorKind::Corruption)),
        (all, Ok(())),
    ] {
        let merged = merge(&mut world, &wrong, &mut Rules::default());
        assert_eq!(merged.map(|_| ()).map_err(|error| error.kind()), expected);
    }
}
