//! Looking up places through units against a model; how many units a look costs.
//! Owns: those tests. May touch: all of `segment`.
//! Never: is part of the crate.

use super::super::tests::{World, timelines};
use super::*;
use crate::id::GroupId;

/// Checks every look at `units`, in which every message above its timeline's `trim` is where `place_of` says.
fn check(world: &mut World, units: &Units) {
    for timeline in timelines() {
        let newest = world.newest(timeline);
        let seqs: Vec<u64> = world.sent.range((timeline, 0)..=(timeline, u64::MAX)).map(|((_, seq), _)| *seq).collect();
        let last = seqs.last().copied().unwrap_or(0);
        for seq in 0..=last + 2 {
            let expected = world.sent.get(&(timeline, seq)).map(|sent| sent.place);
            assert_eq!(units.place(newest, timeline, seq).unwrap(), expected, "{timeline} {seq}");
        }
        assert_eq!(units.oldest_seq(newest, timeline).unwrap(), (last > 0).then_some(1));
        for _ in 0..40 {
            let (first, end) = (world.random.below(last + 3), world.random.below(last + 3));
            let mut places = vec![Place::new(1, 1)];
            units.places(newest, timeline, first, end, &mut places).unwrap();
            // The run that ends at `end`: nothing if that is not there.
            let range = if (1..=last).contains(&end) { first.max(1)..end + 1 } else { 0..0 };
            let sent: Vec<_> = range.map(|seq| &world.sent[&(timeline, seq)]).collect();
            assert_eq!(places[1..], sent.iter().map(|sent| sent.place).collect::<Vec<_>>());
            let bytes = sent.iter().map(|sent| sent.body.len() as u64).sum::<u64>();
            assert_eq!(units.body_bytes(newest, timeline, first, end).unwrap(), bytes);
        }
    }
    for ((timeline, seq, version), edited) in &world.edits {
        assert_eq!(units.edit_place(edited.place, *timeline, *seq, *version).unwrap(), Some(edited.place));
    }
}

#[test]
fn every_message_is_found_in_the_unit_that_has_it() {
    for seed in 0..4 {
        println!("seed={seed}");
        let mut world = World::new(seed, 24 << 10);
        let units = world.units(9);
        check(&mut world, &units);
    }
}

#[test]
fn a_look_touches_only_units_that_hold_the_timeline() {
    let mut world = World::new(3, 16 << 10);
    let (sparse, dense) = (Timeline::Group(GroupId(1)), Timeline::Group(GroupId(2)));
    let count = 12;
    for journal in 0..count {
        if journal % 3 == 0 {
            world.append(sparse, b"once in a while".to_vec());
        }
        world.fill(&[dense]);
    }
    let units = Units::new((0..count).map(|index| world.seal(index)).collect()).unwrap();
    let newest = world.newest(sparse);
    assert_eq!(newest, 10);
    let touched = |look: &mut dyn FnMut()| {
        let read = || units.statistics().units_touched.load(Ordering::Relaxed);
        let before = read();
        look();
        read() - before
    };
    let mut places = Vec::new();
    assert_eq!(touched(&mut || units.places(newest, sparse, 1, 4, &mut places).unwrap()), 4);
    assert_eq!(touched(&mut || assert!(units.place(newest, sparse, 4).unwrap().is_some())), 1);
    assert_eq!(touched(&mut || assert!(units.place(newest, sparse, 1).unwrap().is_some())), 4);
    assert_eq!(touched(&mut || assert!(units.place(0, sparse, 1).unwrap().is_none())), 0);
    assert_eq!(units.statistics().calls.load(Ordering::Relaxed), 4);
}

#[test]
fn units_cover_no_journal_twice() {
    let mut world = World::new(4, 16 << 10);
    let units = world.units(4);
    let all: Vec<_> = units.iter().cloned().collect();
    for wrong in [[0, 0], [1, 0], [3, 2]] {
        assert!(Units::new(wrong.map(|index: usize| all[index].clone()).to_vec()).is_err());
    }
    // Recovery may leave ids out.
    let units = Units::new(vec![all[0].clone(), all[2].clone()]).unwrap();
    assert!(units.covering(2).is_none() && units.covering(0).is_none() && units.covering(4).is_none());
    assert_eq!(units.covering(3).unwrap().lo, 3);
    assert_eq!(units.with(all[3].clone()).unwrap().iter().len(), 3);
    assert!(units.with(all[1].clone()).is_err());
    let merged = Arc::new(Unit { hi: 3, ..(*all[0]).clone() });
    assert_eq!(units.with_merged(merged.clone()).unwrap().iter().len(), 1);
    let other = Arc::new(Unit { hi: 4, ..(*all[0]).clone() });
    assert!(units.with_merged(other).is_none());
}

#[test]
fn what_is_due_is_enough_of_one_level() {
    let mut world = World::new(5, 16 << 10);
    world.roll();
    let unit = world.seal(0);
    let due = |levels: &[u8], fan_in, bytes_max| {
        let of = |(index, level): (usize, &u8)| {
            Arc::new(Unit { lo: 1 + index as u64, hi: 1 + index as u64, level: *level, ..(*unit).clone() })
        };
        Units::new(levels.iter().enumerate().map(of).collect()).unwrap().due(fan_in, bytes_max)
    };
    let all = u64::MAX;
    assert_eq!(due(&[], 4, all), None);
    assert_eq!(due(&[0, 0, 0], 4, all), None);
    assert_eq!(due(&[0, 0, 0, 0, 0], 4, all), Some(0..5));
    assert_eq!(due(&[1, 0, 0, 0, 0], 4, all), Some(1..5));
    assert_eq!(due(&[1, 1, 1, 1, 0, 0], 4, all), Some(0..4));
    assert_eq!(due(&[1, 1, 0, 1, 1, 0, 0], 4, all), Some(0..5));
    assert_eq!(due(&[2, 1, 1, 2, 1, 1], 4, all), None);
    assert_eq!(due(&[0, 0, 0, 0, 0], 4, 4 * unit.record_bytes()), Some(0..4));
    assert_eq!(due(&[0, 0, 0, 0, 0], 4, 4 * unit.record_bytes() - 1), None);
}

#[test]
fn a_chunk_that_leads_in_a_circle_is_damage() {
    let mut world = World::new(6, 16 << 10);
    let timeline = Timeline::Group(GroupId(1));
    world.newest.insert(timeline, 1);
    world.fill(&[timeline]);
    let unit = world.seal(0);
    let units = Units::new(vec![unit]).unwrap();
    assert!(units.place(1, timeline, 1).is_err());
    assert!(units.oldest_seq(1, timeline).is_err());
}
