//! Threads write into a store with the least memory while others seal, purge, copy, verify and measure it without pause.
//! Owns: that run. May touch: the public interface, a directory of its own, `support`.
//! Never: knows the order in which the calls happened.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use restante::*;

use crate::support::{Rng, TempDir, number_from_env};

const WRITERS: u64 = 4;
const OTHERS: u64 = 60;
const GROUPS: u64 = 10;

/// What a writer knows to be there: the body, none once it is recalled.
type Sent = BTreeMap<(Timeline, Seq), Option<Vec<u8>>>;

struct Writer {
    number: u64,
    rng: Rng,
    sent: Sent,
    /// Timeline, body, where it was.
    ids: Vec<(Timeline, Vec<u8>, Seq)>,
}

impl Writer {
    fn user(&self) -> UserId {
        UserId(self.number)
    }

    fn timeline(&mut self) -> Timeline {
        match self.rng.percent(50) {
            true => Timeline::Group(GroupId(self.rng.between(1, GROUPS))),
            false => Timeline::direct(self.user(), UserId(100 + self.rng.below(OTHERS))),
        }
    }

    fn body(&mut self) -> Vec<u8> {
        let length = self.rng.pick(&[1, 50, 400, 1_500]);
        let mut body = format!("{} {} ", self.number, self.ids.len()).into_bytes();
        body.resize(body.len() + length, self.rng.next() as u8);
        body
    }

    fn step(&mut self, store: &Store) {
        let sender = self.user();
        match self.rng.below(10) {
            0..6 => {
                let (of, body) = (self.timeline(), self.body());
                let id = ClientId(self.ids.len() as u128 + 1);
                let done = store.append(Draft::new(of, sender, &body).client_id(id)).wait().unwrap();
                assert_eq!(done.outcome, Outcome::Written);
                self.ids.push((of, body.clone(), done.seq));
                assert_eq!(self.sent.insert((of, done.seq), Some(body)), None, "a seq was given twice");
            }
            6 if !self.ids.is_empty() => {
                // A retry of anything.
                let index = self.rng.below(self.ids.len() as u64) as usize;
                let (of, body, seq) = self.ids[index].clone();
                let draft = Draft::new(of, sender, &body).client_id(ClientId(index as u128 + 1));
                let batch = [draft, Draft::direct(sender, sender, b"note"), draft];
                let done = store.append_batch(&batch).wait().unwrap();
                let said: Vec<_> = done.iter().map(|it| (it.outcome, it.seq)).collect();
                assert_eq!((said[0], said[2]), ((Outcome::Duplicate, seq), (Outcome::Duplicate, seq)));
                self.sent.insert((Timeline::direct(sender, sender), said[1].1), Some(b"note".to_vec()));
            }
            7 if !self.ids.is_empty() => {
                let index = self.rng.below(self.ids.len() as u64) as usize;
                let (of, _, seq) = self.ids[index].clone();
                store.recall(sender, of, seq).wait().unwrap();
                self.sent.insert((of, seq), None);
            }
            8 if !self.ids.is_empty() => {
                let index = self.rng.below(self.ids.len() as u64) as usize;
                let ((of, _, seq), body) = (self.ids[index].clone(), self.body());
                match store.edit(sender, of, seq, &body).wait() {
                    Ok(_) => assert!(self.sent.insert((of, seq), Some(body)).unwrap().is_some()),
                    Err(error) => assert_eq!((error.kind(), &self.sent[&(of, seq)]), (ErrorKind::Refused, &None)),
                }
            }
            _ => {
                if let Some((of, _, _)) = self.ids.last() {
                    self.check(store, *of);
                }
            }
        }
    }

    /// All own messages of a timeline are there as they are known.
    fn check(&self, store: &Store, of: Timeline) {
        let peer = of.peer_of(self.user()).unwrap_or_else(|| match of {
            Timeline::Group(group) => Peer::Group(group),
            _ => panic!("not ours"),
        });
        let mut want: BTreeMap<Seq, &Option<Vec<u8>>> =
            self.sent.iter().filter(|((at, _), _)| *at == of).map(|((_, seq), body)| (*seq, body)).collect();
        let mut from = Seq(1);
        loop {
            let query = HistoryQuery::oldest().limit(100).bytes(1 << 20).seqs(from..);
            let page = store.history(self.user(), peer, &query).unwrap();
            for message in page.messages {
                assert_eq!(message.seq, from, "{of}: a hole");
                from.0 += 1;
                if message.sender == self.user() {
                    let body = want.remove(&message.seq).unwrap_or_else(|| panic!("{of} {message:?} was never sent"));
                    assert_eq!(message.recalled.is_some(), body.is_none(), "{of} {message:?}");
                    assert_eq!(&message.body[..], body.as_deref().unwrap_or_default(), "{of} {}", message.seq);
                }
            }
            if page.newer != Edge::More {
                break;
            }
        }
        assert!(want.is_empty(), "{of}: gone: {want:?}");
    }

    fn check_all(&self, store: &Store) {
        let mut timelines: Vec<Timeline> = self.sent.keys().map(|key| key.0).collect();
        timelines.dedup();
        timelines.iter().for_each(|of| self.check(store, *of));
        for (index, (of, body, seq)) in self.ids.iter().enumerate() {
            let found = store.find(*of, self.user(), ClientId(index as u128 + 1)).unwrap();
            assert_eq!(found, Some(*seq), "{of} {}", body.len());
        }
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn keeper(store: &Store, directory: &Path, number: u64, seed: u64) {
    match number % 7 {
        0 => store.seal().unwrap(),
        1 => drop(store.purge().unwrap()),
        2 => {
            let target = directory.join(format!("copy-{seed}-{number}"));
            let backup = store.backup(&target).unwrap();
            let options = Options::default().threads(Threads::Inline).memory_bytes_max(64 << 10);
            let copy = Store::open_read_only(&target, options).unwrap();
            assert_eq!(copy.version(), backup.version);
            drop(copy);
            assert!(Store::verify_directory(&target).unwrap().is_whole());
            std::fs::remove_dir_all(&target).unwrap();
        }
        3 => {
            let found = store.verify().unwrap();
            assert!(found.is_whole(), "{found:?}");
        }
        4 => assert!(store.statistics().memory.budget_bytes == 64 << 10),
        5 => drop(store.maintain(Timestamp::MAX).wait().unwrap()),
        _ => store.sync().unwrap(),
    }
}

fn busy(seed: u64, mode: ReadMode, time: Duration) {
    eprintln!("seed={seed} {mode:?}");
    let directory = TempDir::new("busy");
    let options = Options::default()
        .journal_bytes(64 << 10)
        .memory_bytes_max(64 << 10)
        .merge_fan_in(2)
        .read_mode(mode)
        .durability(if seed.is_multiple_of(2) { Durability::Sync } else { Durability::Buffered });
    let path = directory.path().join("store");
    let store = Store::open(&path, options.clone()).unwrap();
    let users: Vec<UserId> = (1..=WRITERS).map(UserId).collect();
    for group in 1..=GROUPS {
        store.join_many(GroupId(group), &users).wait().unwrap();
    }
    let stop = AtomicBool::new(false);
    let writers: Vec<Writer> = thread::scope(|scope| {
        let (store, stop, directory) = (&store, &stop, &directory);
        for keepers in 0..2 {
            scope.spawn(move || {
                let _stop = Stop(stop);
                let mut number = keepers * 3;
                while !stop.load(Ordering::Relaxed) {
                    keeper(store, directory.path(), number, keepers);
                    number += 1;
                }
            });
        }
        let writers: Vec<_> = (1..=WRITERS)
            .map(|number| {
                scope.spawn(move || {
                    let _stop = Stop(stop);
                    let rng = Rng::new(seed * 10 + number);
                    let mut writer = Writer { number, rng, sent: Sent::new(), ids: Vec::new() };
                    let end = Instant::now() + time;
                    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
                        writer.step(store);
                    }
                    writer
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    writers.iter().for_each(|writer| writer.check_all(&store));
    let statistics = store.statistics();
    let (version, digest) = (store.version(), store.state_digest().unwrap());
    store.close().unwrap();
    assert!(Store::verify_directory(&path).unwrap().is_whole());
    let store = Store::open(&path, options).unwrap();
    assert_eq!((store.version(), store.state_digest().unwrap()), (version, digest));
    writers.iter().for_each(|writer| writer.check_all(&store));
    // Every message of a group is known to one of the writers.
    for group in 1..=GROUPS {
        let of = Timeline::Group(GroupId(group));
        let sent: usize = writers.iter().map(|it| it.sent.keys().filter(|key| key.0 == of).count()).sum();
        assert_eq!(store.group(GroupId(group)).unwrap().last.0, sent as u64, "{of}");
    }
    for other in 100..100 + OTHERS {
        let sent = |of| {
            writers.iter().flat_map(|it| &it.sent).filter(move |((at, _), body)| *at == of && body.is_some()).count()
        };
        let unread: usize = (1..=WRITERS).map(|it| sent(Timeline::direct(UserId(it), UserId(other)))).sum();
        assert_eq!(store.total_unread(UserId(other)).unwrap().unread, unread as u64, "{other}");
    }
    assert!(statistics.work.unit_merges > 0 && statistics.cache.loads > 0, "all was in memory: {statistics:?}");
}

#[test]
fn threads_write_while_files_are_sealed_purged_copied_and_read() {
    let first = number_from_env("BUSY_SEED").unwrap_or(1);
    let time = Duration::from_millis(number_from_env("BUSY_MS").unwrap_or(1_000));
    for seed in first..first + number_from_env("BUSY_SEEDS").unwrap_or(2) {
        busy(seed, if seed.is_multiple_of(2) { ReadMode::Mapped } else { ReadMode::Pread }, time);
    }
}
