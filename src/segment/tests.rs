//! Runs and their merging against one `BTreeMap` each.
//! Owns: those tests. May touch: all of `segment`.
//! Never: is part of the crate.

use super::merge::merge_runs_in_parts;
use super::table::tests::{Model, Random, UUID, check, key, model, plan, write};
use super::*;
use crate::error::{Error, ErrorKind};
use crate::storage::{SimStorage, Storage};
use std::sync::Arc;

const PREFIX_BYTES: usize = 4;

/// Runs on disk and what each of them says.
struct Kept {
    runs: Runs,
    /// By number, newest first.
    models: Vec<(u64, Model)>,
}

impl Kept {
    fn random(storage: &Arc<dyn Storage>, random: &mut Random, run_count: u64) -> Kept {
        let mut kept = Kept { runs: Runs::default(), models: Vec::new() };
        let mut tables = Vec::new();
        for number in 1..=run_count {
            let count = 1 + random.next(600);
            let model = model(random, count);
            let part_bytes = [u64::MAX, 40_000][random.next(2) as usize];
            tables.extend(write(storage, &model, RunPlan { first: number * 2, ..plan(part_bytes) }));
            kept.models.insert(0, (number * 2, model));
        }
        kept.runs = Runs::new(tables).unwrap();
        kept
    }

    /// What all runs say together.
    fn sum(&self) -> Model {
        let mut sum = Model::new();
        for (_, model) in self.models.iter().rev() {
            sum.extend(model.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        sum.retain(|_, value| value.is_some());
        sum
    }

    fn check(&self, seed: u64) {
        let sum = self.sum();
        let pair = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| (key.clone(), value.clone().unwrap());
        for number in (0..5_100).step_by(3) {
            let key = key(number);
            let place = format!("seed={seed} key={}", key.escape_ascii());
            let expected = sum.get(&key).cloned().flatten();
            assert_eq!(self.runs.get(&key, PREFIX_BYTES).unwrap(), expected, "{place}");
            assert_eq!(self.runs.get(&key, 0).unwrap(), expected, "{place}");
            let floor = sum.range(..=key.clone()).next_back().map(pair);
            assert_eq!(self.runs.floor(&key, 0).unwrap(), floor, "{place}");
            let floor = floor.filter(|floor| floor.0.starts_with(&key[..PREFIX_BYTES]));
            assert_eq!(self.runs.floor(&key, PREFIX_BYTES).unwrap(), floor, "{place}");
            let ceiling = sum.range(key.clone()..).next().map(pair);
            assert_eq!(self.runs.ceiling(&key, 0).unwrap(), ceiling, "{place}");
            let ceiling = ceiling.filter(|ceiling| ceiling.0.starts_with(&key[..PREFIX_BYTES]));
            assert_eq!(self.runs.ceiling(&key, PREFIX_BYTES).unwrap(), ceiling, "{place}");
        }
        for prefix in ["", "k", "k0", "k12", "k123", "k123x", "k123xx", "k999", "l", "a"] {
            let prefix = prefix.as_bytes();
            let expected: Vec<_> = sum.iter().filter(|(key, _)| key.starts_with(prefix)).map(pair).collect();
            for prefix_bytes in [0, PREFIX_BYTES] {
                if prefix_bytes <= prefix.len() {
                    let mut found = Vec::new();
                    let mut each = |key: &[u8], value: &[u8]| {
                        found.push((key.to_vec(), value.to_vec()));
                        Ok(())
                    };
                    self.runs.scan(prefix, prefix_bytes, &mut each).unwrap();
                    assert!(found == expected, "seed={seed} prefix={}", prefix.escape_ascii());
                }
            }
        }
        for (from, count) in [(vec![], usize::MAX), (key(777), 9), (key(4_000), usize::MAX), (vec![0xff], 1)] {
            let mut found = Vec::new();
            let mut each = |key: &[u8], value: &[u8]| {
                found.push((key.to_vec(), value.to_vec()));
                Ok(found.len() < count)
            };
            self.runs.walk(&from, &mut each).unwrap();
            let expected: Vec<_> = sum.range(from..).map(pair).take(count).collect();
            assert!(found == expected, "seed={seed}");
        }
    }

    /// Merges `width` runs from the `start`-th newest on, drops what `keep` refuses, and does the same to the models.
    fn merge(&mut self, storage: &Arc<dyn Storage>, start: usize, width: usize, keep: fn(&[u8], &[u8]) -> bool) {
        let which: Vec<u64> = self.runs.numbers().skip(start).take(width).collect();
        let mut id =
            storage.list().unwrap().iter().filter_map(|name| segment_id(name)).map(|(_, id)| id).max().unwrap();
        let mut next_id = || {
            id += 1;
            id
        };
        let (mut paced, mut keep_each) = (0, keep);
        let mut pace = |bytes: u64| {
            paced += bytes;
            Ok(())
        };
        let part_bytes = 60_000;
        let made =
            merge_runs_in_parts(storage, &self.runs, &which, UUID, &mut next_id, &mut keep_each, &mut pace, part_bytes)
                .unwrap();
        assert!(paced > 0);
        assert!(made.iter().all(|table| table.header().first == which[0] && table.header().level > 0));
        assert!(made.iter().all(|table| table.info().bytes <= part_bytes));
        let has_oldest = start + width == self.models.len();
        assert!(!has_oldest || made.iter().all(|table| table.tombstone_count() == 0));
        let others = self.runs.tables().filter(|table| !which.contains(&table.header().first));
        self.runs = Runs::new(others.chain(&made).cloned().collect()).unwrap();

        let mut merged = Model::new();
        for (_, model) in self.models.drain(start..start + width).rev() {
            merged.extend(model);
        }
        for (key, value) in &mut merged {
            if value.as_ref().is_some_and(|value| !keep(key, value)) {
                *value = None;
            }
        }
        let count = made.iter().map(|table| table.entry_count()).sum::<u64>();
        assert_eq!(count, merged.values().filter(|value| value.is_some() || !has_oldest).count() as u64);
        self.models.insert(start, (which[0], merged));
    }
}

fn keep_all(_: &[u8], _: &[u8]) -> bool {
    true
}

fn keep_some(key: &[u8], value: &[u8]) -> bool {
    !key.ends_with(b"1") && value.len() > 10
}

#[test]
fn runs_are_what_a_map_is() {
    check(|storage| {
        for seed in 0..2 {
            for name in storage.list().unwrap() {
                storage.remove(&name).unwrap();
            }
            let mut random = Random(seed);
            let mut kept = Kept::random(storage, &mut random, 6);
            assert_eq!(kept.runs.run_count(), 6);
            kept.check(seed);
            kept.merge(storage, 1, 3, keep_all);
            kept.check(seed);
            kept.merge(storage, 0, 2, keep_some);
            kept.check(seed);
            kept.merge(storage, 1, 2, keep_all);
            kept.check(seed);
            kept.merge(storage, 0, 2, keep_some);
            assert_eq!(kept.runs.run_count(), 1);
            kept.check(seed);
            kept.merge(storage, 0, 1, |_, _| false);
            assert_eq!(kept.runs.run_count(), 0);
            kept.check(seed);
            for name in storage.list().unwrap() {
                assert!(segment_id(&name).is_some(), "{name}");
            }
        }
    });
}

#[test]
fn runs_that_are_not_neighbours_are_not_merged() {
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    let kept = Kept::random(&storage, &mut Random(1), 3);
    for which in [vec![2, 6], vec![2, 2], vec![4, 5], vec![8], vec![]] {
        let merged = merge_runs(&storage, &kept.runs, &which, UUID, &mut || 9, &mut keep_all, &mut |_| Ok(()));
        assert_eq!(merged.unwrap_err().kind(), ErrorKind::InvalidInput, "{which:?}");
    }
    // In any order.
    let mut id = 9_000;
    let mut next_id = || {
        id += 1;
        id
    };
    merge_runs(&storage, &kept.runs, &[2, 4], UUID, &mut next_id, &mut keep_all, &mut |_| Ok(())).unwrap();
}

#[test]
fn a_merge_that_is_stopped_leaves_nothing() {
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    let kept = Kept::random(&storage, &mut Random(1), 9);
    let names = storage.list().unwrap();
    let mut id = 9_000;
    let mut next_id = || {
        id += 1;
        id
    };
    let mut calls = 0;
    let mut pace = |_| {
        calls += 1;
        if calls < 2 { Ok(()) } else { Err(Error::new(ErrorKind::Closed, "closing")) }
    };
    let which: Vec<u64> = kept.runs.numbers().collect();
    let stopped =
        merge_runs_in_parts(&storage, &kept.runs, &which, UUID, &mut next_id, &mut keep_all, &mut pace, 20_000);
    assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(calls, 2);
    assert!(id > 9_000, "stopped before anything was made");
    assert_eq!(storage.list().unwrap(), names);
}

#[test]
fn parts_that_overlap_are_no_run() {
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    let one = write(&storage, &Model::from([(key(1), None), (key(3), None)]), plan(u64::MAX));
    let other = write(&storage, &Model::from([(key(3), None)]), RunPlan { first: 4, ..plan(u64::MAX) });
    Runs::new([&one[..], &other[..]].concat()).unwrap();
    let again = RunPlan { first: 5, ..plan(u64::MAX) };
    let both = [write(&storage, &Model::from([(key(3), None)]), again), one].concat();
    assert_eq!(Runs::new(both).unwrap().run_count(), 2);
    let mut id = 77_000;
    let mut next_id = || {
        id += 1;
        id
    };
    let mut tables = Vec::new();
    for number in [3, 3, 7] {
        let mut writer = RunWriter::new(&storage, plan(u64::MAX), &mut next_id);
        writer.add(&key(number), 0, None).unwrap();
        tables.extend(writer.finish().unwrap());
    }
    let error = Runs::new(tables.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    Runs::new(tables[1..].to_vec()).unwrap();
}

#[test]
fn at_most_eight_runs_stay_and_bytes_are_written_few_times() {
    use super::runs::due_width;
    let (mut sizes, mut written) = (Vec::<u64>::new(), 0);
    for _ in 0..2_500 {
        sizes.insert(0, 1_000);
        written += 1_000;
        while let Some(width) = due_width(&sizes) {
            assert!(width >= 2);
            let merged: u64 = sizes.drain(..width).sum();
            written += merged;
            sizes.insert(0, merged);
        }
        assert!(sizes.len() <= RUNS_MAX);
    }
    assert!(written < 7 * 2_500_000, "written={written}");
    assert_eq!(due_width(&[1; 9]), Some(9));
    assert_eq!(due_width(&[1, 1, 3, 5, 9, 17, 33, 65, 129]), Some(2));
    assert_eq!(due_width(&[1; 8]), None);
}

#[test]
fn a_look_up_touches_one_block_of_the_index_and_one_of_data() {
    let sim = SimStorage::new(1);
    let storage: Arc<dyn Storage> = sim.clone();
    let all: Model = (0..5_000).map(|number| (key(number), Some(vec![7; 100]))).collect();
    let mut tables = Vec::new();
    for number in 1..=8 {
        // Each run has every eighth timeline.
        let own = all.iter().filter(|(key, _)| key[3] as u64 % 8 == number - 1);
        let own = own.map(|(key, value)| (key.clone(), value.clone())).collect();
        tables.extend(write(&storage, &own, RunPlan { first: number, ..plan(u64::MAX) }));
    }
    let runs = Runs::new(tables).unwrap();
    let (mut most, mut sum) = (0, 0);
    for key in all.keys() {
        let before = sim.reads();
        assert!(runs.get(key, PREFIX_BYTES).unwrap().is_some());
        most = most.max(sim.reads() - before);
        sum += sim.reads() - before;
    }
    // Eight lines of filters at most, and rarely a filter that is mistaken.
    assert!(most <= 8 + 2 * 2 && sum <= 5_000 * 8, "most={most} sum={sum}");
    let before = sim.reads();
    runs.scan(b"k123", PREFIX_BYTES, &mut |_, _| Ok(())).unwrap();
    assert!(sim.reads() - before <= 8 + 3, "reads={}", sim.reads() - before);
    let before = sim.reads();
    for number in 1_000..2_000 {
        assert_eq!(runs.get(format!("m{number}").as_bytes(), 4).unwrap(), None);
        assert_eq!(runs.get(format!("k12{number}").as_bytes(), 6).unwrap(), None);
    }
    assert!(sim.reads() - before <= 8 * 1_000 + 100, "reads={}", sim.reads() - before);
}
