//! Pages of history, session lists, receipts and read marks, each beside its raw probe.
//! Owns: what is timed. May touch: `town`, `wide`, `probe`.
//! Never: asserts a time.

mod probe;
mod town;
mod wide;

use criterion::{Criterion, criterion_group, criterion_main};
use restante::{HistoryQuery, ListQuery, Peer, UserId};
use std::hint::black_box;
use std::time::{Duration, Instant};
use town::{BODY_BYTES, BUSY_SESSIONS, Directory, FEW, Size, Town, raw_lists, raw_pages};

fn read(criterion: &mut Criterion) {
    let mut town = Town::lively("read", Size::chosen());
    let directory = Directory::new("read-raw");
    let pages = raw_pages(&mut town, directory.path());
    for count in [20, 12] {
        let mut group = criterion.benchmark_group(format!("newest page of {count}"));
        let query = HistoryQuery::newest().limit(count);
        let sessions: Vec<(UserId, Peer)> = (0..10_000).map(|_| town.draw_session()).collect();
        let mut next = sessions.iter().cycle();
        group.bench_function("store", |bencher| {
            bencher.iter(|| {
                let (user, peer) = next.next().expect("goes round");
                town.store.history(*user, *peer, &query).expect("page")
            });
        });
        let mut page = Vec::new();
        group.bench_function("raw", |bencher| {
            bencher.iter(|| {
                let (user, peer) = next.next().expect("goes round");
                black_box(pages.newest(town::key_of(*user, *peer), count, BODY_BYTES, &mut page))
            });
        });
        group.finish();
    }

    let lists = raw_lists(&town, directory.path());
    let user = town.busy_user(0);
    let query = ListQuery::new().limit(BUSY_SESSIONS as usize);
    let few = town.cursor_before_few(user);
    let mut answer = Vec::new();
    for (name, cursor, changed) in [("all", None, BUSY_SESSIONS), ("few", Some(&few), FEW)] {
        let mut group = criterion.benchmark_group(format!("login list of {BUSY_SESSIONS}, {name} changed"));
        group.bench_function("store", |bencher| {
            bencher.iter(|| town.store.changed(user, cursor, &query).expect("list"));
        });
        group.bench_function("raw", |bencher| {
            bencher.iter(|| lists.list(user.0, changed as usize, BODY_BYTES, black_box(&mut answer)));
        });
        group.finish();
    }

    let mut group = criterion.benchmark_group("mark read");
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    let readers = 2..=town.size.users;
    let mut reader = readers.clone();
    let mut upto = town.new_in_big_group();
    group.bench_function("store", |bencher| {
        bencher.iter_custom(|count| {
            let mut took = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                if reader.is_empty() {
                    // Everybody has read everything: something new comes, outside the time.
                    upto = town.new_in_big_group();
                    reader = readers.clone();
                }
                let part: Vec<u64> = reader.by_ref().take(left as usize).collect();
                left -= part.len() as u64;
                let started = Instant::now();
                for user in part {
                    let peer = Peer::Group(town.big_group());
                    town.store.mark_read(UserId(user), peer, upto).wait().expect("mark");
                }
                took += started.elapsed();
            }
            took
        });
    });
    group.finish();
}

fn wide_ones(criterion: &mut Criterion) {
    let world = wide::World::new(wide::Wide::chosen());
    for mut case in world.cases() {
        let mut group = criterion.benchmark_group(case.name);
        group.bench_function("store", |bencher| bencher.iter(&mut case.store));
        group.bench_function("raw", |bencher| bencher.iter(&mut case.probe));
        group.finish();
    }
}

criterion_group!(benches, read, wide_ones);
criterion_main!(benches);
