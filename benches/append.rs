//! Appends, one at a time, in batches, and durable with many threads, each beside its raw probe.
//! Owns: what is timed. May touch: `town`, `probe`.
//! Never: asserts a time.

mod probe;
mod town;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use probe::{GroupCommit, RawFile, TwoMaps};
use restante::Durability;
use std::time::{Duration, Instant};
use town::{BATCH, BODY_BYTES, Directory, Letter, Size, Town, is_test};

/// About what a message takes in the journal; `ratios` measures it.
const MESSAGE_BYTES: usize = BODY_BYTES + 56;

fn raw_bytes() -> usize {
    if is_test() { 1 << 20 } else { 256 << 20 }
}

fn buffered(criterion: &mut Criterion) {
    let mut town = Town::lively("append", Size::chosen());
    let directory = Directory::new("append-raw");
    let message = [7; MESSAGE_BYTES];

    let mut group = criterion.benchmark_group("append one, buffered");
    limit(&mut group, 1);
    group.bench_function("store", |bencher| {
        bencher.iter_custom(|count| {
            let letters: Vec<Letter> = (0..count).map(|_| town.letter()).collect();
            let started = Instant::now();
            for letter in &letters {
                town.store.append(town.draft(letter)).wait().expect("append");
            }
            started.elapsed()
        });
    });
    let mut raw = RawFile::new(&directory.path().join("one"), raw_bytes());
    group.bench_function("raw pwrite", |bencher| bencher.iter(|| raw.pwrite(&message)));
    let mut maps = TwoMaps::default();
    group.bench_function("raw copy, two maps", |bencher| {
        bencher.iter_custom(|count| {
            let letters: Vec<Letter> = (0..count).map(|_| town.letter()).collect();
            let started = Instant::now();
            for letter in &letters {
                let offset = raw.copy(&message);
                maps.note(town::key(letter.timeline), letter.sender.0, offset);
            }
            started.elapsed()
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("append 100, buffered");
    limit(&mut group, BATCH as u64);
    group.bench_function("store", |bencher| {
        bencher.iter_custom(|count| {
            let letters: Vec<Letter> = (0..count * BATCH as u64).map(|_| town.letter()).collect();
            let started = Instant::now();
            letters.chunks(BATCH).for_each(|letters| town.send_all(letters));
            started.elapsed()
        });
    });
    let batch = vec![7; MESSAGE_BYTES * BATCH];
    group.bench_function("raw pwrite", |bencher| bencher.iter(|| raw.pwrite(&batch)));
    group.finish();

    let mut group = criterion.benchmark_group("append to members");
    limit(&mut group, 1);
    for (name, to) in [("2", town.small_group()), ("all", town.big_group())] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let letters: Vec<Letter> = (0..count).map(|at| town.letter_of_two(at, to)).collect();
                let started = Instant::now();
                for letter in &letters {
                    town.store.append(town.draft(letter)).wait().expect("append");
                }
                started.elapsed()
            });
        });
    }
    group.finish();
}

fn durable(criterion: &mut Criterion) {
    let mut town = Town::quiet("durable", Size::chosen(), Durability::Sync);
    let directory = Directory::new("durable-raw");
    let raw = GroupCommit::new(&directory.path().join("group"), raw_bytes());
    let message = [7; MESSAGE_BYTES];
    for threads in [1, 16, 64] {
        let mut group = criterion.benchmark_group(format!("append durable, {threads} threads"));
        limit(&mut group, threads as u64);
        group.bench_function("store", |bencher| {
            bencher.iter_custom(|count| {
                let letters: Vec<Letter> = (0..count * threads as u64).map(|_| town.letter()).collect();
                let town = &town;
                at_once(letters.chunks(count as usize), |letters| {
                    for letter in letters {
                        town.store.append(town.draft(letter)).wait().expect("append");
                    }
                })
            });
        });
        group.bench_function("raw group commit", |bencher| {
            bencher.iter_custom(|count| at_once(0..threads, |_| (0..count).for_each(|_| raw.commit(&message))));
        });
        group.finish();
    }
}

/// Runs the work of all threads and says how long it took.
fn at_once<T: Send>(parts: impl Iterator<Item = T>, work: impl Fn(T) + Sync) -> Duration {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for part in parts {
            let work = &work;
            scope.spawn(move || work(part));
        }
    });
    started.elapsed()
}

/// Short, since every message stays in the store and on the disk.
fn limit(group: &mut BenchmarkGroup<'_, WallTime>, messages: u64) {
    group.throughput(Throughput::Elements(messages));
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
}

criterion_group!(benches, buffered, durable);
criterion_main!(benches);
