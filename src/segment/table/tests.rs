//! Tables against a `BTreeMap`, on every storage; every bit and length of a small one.
//! Owns: those tests. May touch: all of `table`.
//! Never: is part of the crate.

use super::super::header::SegmentKind;
use super::*;
use crate::storage::{ReadMode, RealStorage, SimStorage};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

pub(in super::super) const UUID: [u8; 16] = *b"0123456789abcdef";

pub(in super::super) fn plan(part_bytes: u64) -> RunPlan {
    RunPlan {
        kind: SegmentKind::Rows,
        level: 0,
        uuid: UUID,
        first: 3,
        last: 0,
        first_version: 10,
        last_version: 20,
        part_bytes,
    }
}

/// Numbers that look random, by a seed.
pub(in super::super) struct Random(pub u64);

impl Random {
    pub fn next(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

pub(in super::super) type Model = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

pub(in super::super) fn key(number: u64) -> Vec<u8> {
    let mut key = format!("k{:03}", number / 7).into_bytes();
    key.extend(std::iter::repeat_n(b'x', (number % 7) as usize));
    key
}

pub(in super::super) fn model(random: &mut Random, count: u64) -> Model {
    let mut model = Model::new();
    for _ in 0..count {
        let bytes = if random.next(40) == 0 { 6_000 } else { random.next(120) };
        let value = (random.next(5) > 0).then(|| vec![random.next(256) as u8; bytes as usize]);
        model.insert(key(random.next(5_000)), value);
    }
    model
}

pub(in super::super) fn write(storage: &Arc<dyn Storage>, model: &Model, plan: RunPlan) -> Vec<Arc<Table>> {
    let mut id = plan.first * 1_000;
    let mut next_id = || {
        id += 1;
        id
    };
    let mut writer = RunWriter::new(storage, plan, &mut next_id);
    for (key, value) in model {
        writer.add(key, 4, value.as_deref()).unwrap();
    }
    writer.finish().unwrap()
}

fn found(value: &Option<Vec<u8>>) -> Found {
    value.clone().map_or(Found::Tombstone, Found::Value)
}

/// Runs a test on an empty directory of each storage there is.
pub(in super::super) fn check(test: impl Fn(&Arc<dyn Storage>)) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for read_mode in [ReadMode::Mapped, ReadMode::Pread] {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("restante-table-{}-{number}", std::process::id()));
        let storage: Arc<dyn Storage> = Arc::new(RealStorage::new(&path, read_mode).unwrap());
        test(&storage);
        drop(storage);
        std::fs::remove_dir_all(&path).unwrap();
    }
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    test(&storage);
}

#[test]
fn tables_are_what_a_map_is() {
    check(|storage| {
        for seed in 0..4 {
            let mut random = Random(seed);
            let model = model(&mut random, [1, 40, 900, 3_000][seed as usize]);
            let part_bytes = [u64::MAX, u64::MAX, 100_000, u64::MAX][seed as usize];
            let tables = write(storage, &model, RunPlan { first: seed + 1, ..plan(part_bytes) });
            let mut rest = model.clone();
            for table in &tables {
                assert!(table.info().bytes <= part_bytes, "seed={seed}");
                let table = Table::open(&**storage, &table.info(), &[UUID]).unwrap();
                let behind = rest.split_off(table.last_key()).split_off(&[table.last_key(), &[0]].concat()[..]);
                let own: Model = model
                    .range(table.first_key().to_vec()..=table.last_key().to_vec())
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                assert_eq!(table.entry_count(), own.len() as u64, "seed={seed}");
                check_table(&table, &own, seed);
                rest = behind;
            }
            assert!(rest.is_empty());
        }
    });
}

fn check_table(table: &Table, model: &Model, seed: u64) {
    for number in 0..5_100 {
        let key = key(number);
        let expected = model.get(&key).map(found);
        assert_eq!(table.get(&key).unwrap(), expected, "seed={seed} key={}", key.escape_ascii());
        let floor = model.range(..=key.clone()).next_back().map(|(key, value)| (key.clone(), found(value)));
        assert_eq!(table.floor(&key).unwrap(), floor, "seed={seed} key={}", key.escape_ascii());
        let below = model.range(..key.clone()).next_back().map(|(key, value)| (key.clone(), found(value)));
        assert_eq!(table.at_or_below(&key, false).unwrap(), below, "seed={seed} key={}", key.escape_ascii());
        let ceiling = model.range(key.clone()..).next().map(|(key, value)| (key.clone(), found(value)));
        assert_eq!(table.ceiling(&key).unwrap(), ceiling, "seed={seed} key={}", key.escape_ascii());
        if expected.is_some() {
            assert!(table.may_have(&key[..4]).unwrap(), "seed={seed}");
        }
    }
    for from in [vec![], key(0), key(1_234), key(4_999), vec![0xff]] {
        let mut cursor = table.cursor(&from).unwrap();
        for (key, value) in model.range(from..) {
            assert_eq!(cursor.entry(), Some((&key[..], value.as_deref())), "seed={seed}");
            assert_eq!(cursor.filter_prefix_bytes(), 4);
            cursor.advance().unwrap();
        }
        assert_eq!(cursor.entry(), None);
        cursor.advance().unwrap();
        assert_eq!(cursor.entry(), None);
    }
}
