//! Tables against a `BTreeMap`, on every storage; every bit and length of a small one.
//! Owns: those tests. May touch: all of `table`.
//! Never: is part of the crate.

use super::super::header::SegmentKind;
use super::write::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use super::*;
use crate::error::ErrorKind;
use crate::storage::{CrashPlan, FailEffect, Loss, ReadMode, RealStorage, SimStorage};
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

/// A small table: several blocks of data, one with an entry larger than a block.
fn small(storage: &Arc<dyn Storage>) -> (Arc<Table>, Model) {
    let mut model = Model::new();
    for number in 0..9 {
        model.insert(key(number), (number != 4).then(|| vec![number as u8; number as usize]));
    }
    model.insert(key(9), Some(vec![9; 4_200]));
    model.insert(key(700), Some(Vec::new()));
    let table = write(storage, &model, plan(u64::MAX)).remove(0);
    assert_eq!(table.footer.data_block_count, 3);
    (table, model)
}

/// Asks an opened file for everything; what is answered must be right.
fn ask(table: &Table, model: &Model, place: &str) -> Result<()> {
    let (mut all, mut cursor) = (Model::new(), table.cursor(&[])?);
    while let Some((key, value)) = cursor.entry() {
        all.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        cursor.advance()?;
    }
    assert!(all == *model, "{place}");
    for (key, value) in model {
        assert_eq!(table.get(key)?, Some(found(value)), "{place}");
        assert_eq!(table.floor(key)?, Some((key.clone(), found(value))), "{place}");
        assert!(table.may_have(&key[..4])?, "{place}");
    }
    assert_eq!(table.get(&key(400))?, None, "{place}");
    Ok(())
}

fn damages(table: &Table) -> Vec<Error> {
    let mut found = Vec::new();
    table.verify(&mut |error| found.push(error)).unwrap();
    found
}

#[test]
fn every_flipped_bit_is_found() {
    let sim = SimStorage::new(1);
    let storage: Arc<dyn Storage> = sim.clone();
    let (table, model) = small(&storage);
    let name = segment_name(SegmentKind::Rows, table.header.id);
    assert_eq!(damages(&table).len(), 0);
    ask(&table, &model, "whole").unwrap();
    let mut wrong_answers = 0;
    for bit in 0..table.info.bytes * 8 {
        let (offset, mask) = (bit / 8, 1 << (bit % 8));
        sim.corrupt(&name, offset, mask);
        let place = format!("bit {bit}");
        let found = damages(&table);
        assert!(!found.is_empty(), "{place}");
        for error in &found {
            assert!(
                error.corruption().is_some_and(|at| at.file == table.path && at.offset <= offset.max(96)),
                "{place}"
            );
        }
        match Table::open(&*storage, &table.info, &[UUID]) {
            Ok(opened) => {
                assert!(!damages(&opened).is_empty(), "{place}");
                let asked = ask(&opened, &model, &place);
                assert!(asked.is_ok() || asked.is_err_and(|error| error.corruption().is_some()), "{place}");
            }
            Err(error) => {
                assert_eq!(error.corruption().map(|at| &at.file), Some(&table.path), "{place}");
                wrong_answers += 1;
            }
        }
        sim.corrupt(&name, offset, mask);
    }
    assert!(wrong_answers > 4096 * 8, "the first page is not looked at");
    assert_eq!(damages(&table).len(), 0);
}

/// What was read once is not held against its checksum at each look; whoever verifies, or copies, looks again.
#[test]
fn verifying_checks_again_what_was_read() {
    let directory = std::env::temp_dir().join(format!("restante-table-again-{}", std::process::id()));
    let storage: Arc<dyn Storage> = Arc::new(RealStorage::new(&directory, ReadMode::Mapped).unwrap());
    let (table, model) = small(&storage);
    ask(&table, &model, "whole").unwrap();
    let mut bytes = std::fs::read(table.path()).unwrap();
    // In a value: nothing but the checksum tells.
    let value = bytes.windows(64).position(|window| window == [9; 64]).unwrap();
    bytes[value] ^= 1;
    // In place: the mapping sees it.
    std::fs::write(table.path(), &bytes).unwrap();
    assert_eq!(damages(&table).len(), 1);
    assert!(ask(&table, &model, "after verifying").is_err(), "what verifying found is not believed any more");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn every_truncation_is_found() {
    let sim = SimStorage::new(1);
    let storage: Arc<dyn Storage> = sim.clone();
    let (table, _) = small(&storage);
    let name = segment_name(SegmentKind::Rows, table.header.id);
    let bytes = sim.bytes(&name).unwrap();
    let check = |bytes: &[u8], info: &SegmentInfo| {
        sim.replace(&name, bytes.to_vec());
        let error = Table::open(&*storage, info, &[UUID]).unwrap_err();
        let at = error.corruption().unwrap();
        assert_eq!(at.file, table.path, "{} bytes", bytes.len());
        let (length, expected) = (bytes.len() as u64, info.bytes);
        assert!(length == expected || at.offset == length.min(expected), "{length} bytes: {error}");
    };
    for length in (0..bytes.len()).step_by(7).chain(bytes.len() - 100..bytes.len()) {
        check(&bytes[..length], &table.info);
        check(&bytes[..length], &SegmentInfo { bytes: length as u64, ..table.info });
    }
    check(&[&bytes[..], &[0]].concat(), &table.info);
    check(&bytes, &SegmentInfo { digest: 1, ..table.info });
    sim.remove_file(&name);
    assert!(Table::open(&*storage, &table.info, &[UUID]).unwrap_err().corruption().is_some());
    sim.replace(&name, bytes.clone());
    assert!(Table::open(&*storage, &table.info, &[[0; 16]]).unwrap_err().corruption().is_some());
    Table::open(&*storage, &table.info, &[[0; 16], UUID]).unwrap();
}

/// Bytes that no writer makes, under checksums that are right: any answer will do, but there must be one.
#[test]
fn forged_blocks_harm_nobody() {
    let sim = SimStorage::new(1);
    let storage: Arc<dyn Storage> = sim.clone();
    let (table, model) = small(&storage);
    let name = segment_name(SegmentKind::Rows, table.header.id);
    let bytes = sim.bytes(&name).unwrap();
    let mut places = vec![table.top_place()];
    places.extend(&table.top.places);
    let mut scratch = Vec::new();
    let (mut position, block) = (0, table.block(table.top.places[0], &mut scratch).unwrap());
    while let Some(entry) = block.next(&mut position).unwrap() {
        places.push(BlockPlace::decode(entry.value.unwrap()).unwrap());
    }
    assert_eq!(places.len(), 5);
    let (mut opened_count, mut noticed_count) = (0, 0);
    for seed in 0..6_000 {
        let mut random = Random(seed);
        let mut forged = bytes.clone();
        for _ in 0..1 + random.next(3) {
            let place = places[random.next(places.len() as u64) as usize];
            let (start, end) = (place.offset as usize, (place.offset + place.length) as usize - CRC_BYTES);
            // Mostly near the ends, where counts and places are.
            let width = (end - start) as u64;
            let at = start as u64
                + [random.next(width), random.next(width.min(30)), width - 1 - random.next(width.min(30))]
                    [random.next(3) as usize];
            forged[at as usize] = [0, 1, 0x7f, 0x80, 0xff, random.next(256) as u8][random.next(6) as usize];
            let crc = checksum(table.seed, u64::from(place.offset), &forged[start..end]);
            forged[end..end + CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        }
        let is_changed = forged != bytes;
        sim.replace(&name, forged);
        let Ok(opened) = Table::open(&*storage, &table.info, &[UUID]) else { continue };
        opened_count += 1;
        noticed_count += u32::from(!damages(&opened).is_empty());
        assert!(!is_changed || !damages(&opened).is_empty(), "seed={seed}");
        for sought in model.keys().cloned().chain([Vec::new(), key(400), vec![0xff]]) {
            let _ = (
                opened.get(&sought),
                opened.floor(&sought),
                opened.at_or_below(&sought, false),
                opened.ceiling(&sought),
            );
        }
        let Ok(mut cursor) = opened.cursor(&[]) else { continue };
        let mut steps = 0;
        while cursor.key().is_some() && cursor.advance().is_ok() {
            let _ = (cursor.entry(), cursor.filter_prefix_bytes());
            steps += 1;
            assert!(steps < 10_000, "seed={seed}");
        }
    }
    assert!(opened_count > 1_000 && noticed_count > 1_000, "opened={opened_count} noticed={noticed_count}");
}

/// A footer that a writer with a bug could make, under the digest it would have.
#[test]
fn a_file_that_contradicts_itself_is_found() {
    let sim = SimStorage::new(1);
    let storage: Arc<dyn Storage> = sim.clone();
    let (table, _) = small(&storage);
    let name = segment_name(SegmentKind::Rows, table.header.id);
    let bytes = sim.bytes(&name).unwrap();
    let offset = bytes.len() - FOOTER_BYTES;
    let whole = table.footer;
    type Forge = fn(&mut Footer);
    let forgeries: [(usize, Forge); 6] = [
        (0, |_| {}),
        (1, |footer| footer.entry_count += 1),
        (1, |footer| footer.tombstone_count += 1),
        (1, |footer| footer.prefix_count += 1),
        (1, |footer| footer.data_block_count += 1),
        (1, |footer| footer.index_block_count += 1),
    ];
    for (damage_count, forge) in forgeries {
        let mut footer = whole;
        forge(&mut footer);
        let mut checks = table.seed.to_le_bytes().to_vec();
        let mut block_check = |place: BlockPlace| {
            let end = (place.offset + place.length) as usize;
            checks.extend_from_slice(&bytes[end - CRC_BYTES..end]);
        };
        let mut scratch = Vec::new();
        let (mut position, block) = (0, table.block(table.top.places[0], &mut scratch).unwrap());
        while let Some(entry) = block.next(&mut position).unwrap() {
            block_check(BlockPlace::decode(entry.value.unwrap()).unwrap());
        }
        block_check(BlockPlace { offset: whole.index_offset() as u32 - LINE_BYTES as u32, length: LINE_BYTES as u32 });
        block_check(table.top.places[0]);
        block_check(table.top_place());
        checks.extend_from_slice(&footer.digested());
        footer.digest = xxhash_rust::xxh3::xxh3_64(&checks);
        let mut forged = bytes.clone();
        forged[offset..].copy_from_slice(&footer.encode(table.seed, offset as u64));
        sim.replace(&name, forged);
        let info = SegmentInfo { digest: footer.digest, ..table.info };
        let opened = Table::open(&*storage, &info, &[UUID]).unwrap();
        assert_eq!(damages(&opened).len(), damage_count, "{footer:?}");
    }
}

#[test]
fn a_finished_run_survives_any_crash_and_an_unfinished_one_is_taken_away() {
    let run = |storage: &Arc<dyn Storage>, model: &Model| -> Result<Vec<SegmentInfo>> {
        let mut id = 0;
        let mut next_id = || {
            id += 1;
            id
        };
        let mut writer = RunWriter::new(storage, plan(40_000), &mut next_id);
        for (key, value) in model {
            writer.add(key, 4, value.as_deref())?;
        }
        Ok(writer.finish()?.iter().map(|table| table.info()).collect())
    };
    let model = model(&mut Random(1), 500);
    let sim = SimStorage::new(1);
    let infos = run(&(sim.clone() as Arc<dyn Storage>), &model).unwrap();
    assert!(infos.len() > 1);
    let operation_count = sim.operations();
    for seed in 0..50 {
        let loss = [Loss::All, Loss::Random][seed as usize % 2];
        let crashed: Arc<dyn Storage> = sim.crash_at(operation_count, CrashPlan { seed, loss });
        for info in &infos {
            let table = Table::open(&*crashed, info, &[UUID]).unwrap_or_else(|error| panic!("seed={seed}: {error}"));
            assert_eq!(damages(&table).len(), 0, "seed={seed}");
        }
    }
    for operation in 0..operation_count {
        for effect in [FailEffect::Nothing, FailEffect::Part, FailEffect::All] {
            let sim = SimStorage::new(1);
            sim.fail_operation(operation, io::ErrorKind::StorageFull, effect);
            let error = run(&(sim.clone() as Arc<dyn Storage>), &model).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "operation={operation}");
            assert_eq!(sim.names(), Vec::<String>::new(), "operation={operation} {effect:?}");
        }
    }
}

#[test]
fn no_file_is_replaced() {
    let sim = SimStorage::new(1);
    let storage: Arc<dyn Storage> = sim.clone();
    let name = segment_name(SegmentKind::Rows, 7);
    sim.replace(&name, b"live".to_vec());
    let mut next_id = || 7;
    let mut writer = RunWriter::new(&storage, plan(u64::MAX), &mut next_id);
    writer.add(b"key", 0, None).unwrap();
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(sim.names(), std::slice::from_ref(&name));
    assert_eq!(sim.bytes(&name).unwrap(), b"live");
}

#[test]
fn keys_and_values_have_limits() {
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    let mut id = 0;
    let mut next_id = || {
        id += 1;
        id
    };
    let mut writer = RunWriter::new(&storage, plan(u64::MAX), &mut next_id);
    let (key, value) = (vec![1; KEY_BYTES_MAX], vec![1; VALUE_BYTES_MAX]);
    writer.add(&[], 0, Some(b"")).unwrap();
    writer.add(&key, KEY_BYTES_MAX, Some(&value)).unwrap();
    let above = vec![2; KEY_BYTES_MAX + 1];
    assert_eq!(writer.add(&above, 0, None).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let above = vec![1; VALUE_BYTES_MAX + 1];
    assert_eq!(writer.add(b"z", 0, Some(&above)).unwrap_err().kind(), ErrorKind::LimitExceeded);
    assert_eq!(writer.entry_count(), 2);
    let table = writer.finish().unwrap().remove(0);
    assert_eq!(table.get(&key).unwrap(), Some(Found::Value(value)));
    assert_eq!(table.get(b"").unwrap(), Some(Found::Value(Vec::new())));
    assert_eq!(damages(&table).len(), 0);

    // Long keys make many blocks of the index and a large top block.
    let mut writer = RunWriter::new(&storage, RunPlan { first: 4, ..plan(u64::MAX) }, &mut next_id);
    let long = |number: u32| [&[7; KEY_BYTES_MAX - 4][..], &number.to_be_bytes()].concat();
    let wide = |number: u32| [&number.to_be_bytes()[..], &[7; KEY_BYTES_MAX - 4]].concat();
    for number in 0..700 {
        writer.add(&wide(number), 0, Some(&number.to_le_bytes())).unwrap();
    }
    for number in 0..700 {
        writer.add(&long(number), 0, Some(&[9; 3_000])).unwrap();
    }
    let table = writer.finish().unwrap().remove(0);
    assert!(table.top_place().length > 1 << 16);
    for number in 0..700 {
        assert_eq!(table.get(&wide(number)).unwrap(), Some(Found::Value(number.to_le_bytes().to_vec())));
        assert_eq!(table.get(&long(number)).unwrap(), Some(Found::Value(vec![9; 3_000])));
    }
    assert_eq!(damages(&table).len(), 0);
    assert!(RunWriter::new(&storage, plan(u64::MAX), &mut next_id).finish().unwrap().is_empty());
}

#[test]
fn filters_know_who_is_not_there() {
    let storage: Arc<dyn Storage> = SimStorage::new(1);
    let mut next_id = || 1;
    let mut writer = RunWriter::new(&storage, plan(u64::MAX), &mut next_id);
    for number in 0..20_000u32 {
        writer.add(&(number * 2).to_be_bytes(), 4, None).unwrap();
        writer.add(&[&(number * 2).to_be_bytes()[..], &[1]].concat(), 4, None).unwrap();
        writer.add(&[&(number * 2).to_be_bytes()[..], &[2]].concat(), 0, None).unwrap();
    }
    let table = writer.finish().unwrap().remove(0);
    assert_eq!(table.footer.prefix_count, 20_000);
    let mut mistaken = 0;
    for number in 0..20_000u32 {
        assert!(table.may_have(&(number * 2).to_be_bytes()).unwrap());
        mistaken += u32::from(table.may_have(&(number * 2 + 1).to_be_bytes()).unwrap());
    }
    assert!(mistaken < 20_000 / 500, "mistaken={mistaken}");
}

#[test]
fn every_entry_keeps_its_filter_prefix() {
    for seed in 0..20 {
        let storage: Arc<dyn Storage> = SimStorage::new(1);
        let (mut random, mut expected) = (Random(seed), BTreeMap::new());
        for _ in 0..400 {
            let key: Vec<u8> = (0..1 + random.next(4)).map(|_| random.next(200) as u8).collect();
            let filter_prefix = [0, 0, key.len().min(2), key.len()][random.next(4) as usize];
            expected.insert(key, filter_prefix);
        }
        let mut next_id = || 1;
        let mut writer = RunWriter::new(&storage, plan(u64::MAX), &mut next_id);
        for (key, filter_prefix) in &expected {
            writer.add(key, *filter_prefix, Some(&key.repeat(8))).unwrap();
        }
        let table = writer.finish().unwrap().remove(0);
        assert_eq!(damages(&table).len(), 0, "seed={seed}");
        for (from, filter_prefix) in &expected {
            let mut cursor = table.cursor(from).unwrap();
            assert_eq!((cursor.key(), cursor.filter_prefix_bytes()), (Some(&from[..]), *filter_prefix), "seed={seed}");
            assert!(*filter_prefix == 0 || table.may_have(&from[..*filter_prefix]).unwrap(), "seed={seed}");
            cursor.advance().unwrap();
            let next = expected.range(from.clone()..).nth(1).map(|(key, filter_prefix)| (&key[..], *filter_prefix));
            assert_eq!(cursor.key().map(|key| (key, cursor.filter_prefix_bytes())), next, "seed={seed}");
        }
    }
}

#[test]
fn the_table_in_the_format_document_is_this() {
    let sim = SimStorage::new(1);
    let storage: Arc<dyn Storage> = sim.clone();
    let mut next_id = || 7;
    let mut writer = RunWriter::new(&storage, plan(u64::MAX), &mut next_id);
    writer.add(b"user1/a", 5, Some(b"first")).unwrap();
    writer.add(b"user1/b", 5, None).unwrap();
    writer.add(b"user2/a", 5, Some(b"")).unwrap();
    let table = writer.finish().unwrap().remove(0);
    let bytes = sim.bytes(&segment_name(SegmentKind::Rows, 7)).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let document = include_str!("../../../docs/format.md");
    for part in [&bytes[..100], &bytes[4096..]] {
        let lines: Vec<String> = part.chunks(16).map(hex).collect();
        assert!(document.contains(&lines.join("\n")), "docs/format.md lacks:\n{}", lines.join("\n"));
    }
    let digest = format!("{:016x}", table.info().digest);
    assert!(document.contains(&digest), "docs/format.md lacks: {digest}");
}
