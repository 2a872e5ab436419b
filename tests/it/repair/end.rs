//! Damage in journals that are in no segments yet, and in the list of live files.
//! Owns: a store with such journals, the comparison with what it was. May touch: the simulated directory.
//! Never: takes a loss that is not told for none.

use super::{GROUP, ONE, SESSIONS, START, Said, THREE, TWO, read, talk};
use std::sync::Arc;

use restante::{
    CrashPlan, Draft, Loss, ManualClock, Options, Peer, Repair, Seq, SimStorage, Store, Threads, Timeline, Timestamp,
};

fn options() -> Options {
    let clock = Arc::new(ManualClock::new(Timestamp(START)));
    Options::default().threads(Threads::Inline).journal_bytes(64 << 10).merge_fan_in(3).maintain(false).clock(clock)
}

fn open(storage: &Arc<SimStorage>) -> Store {
    Store::open_on(storage.clone(), options()).unwrap_or_else(|error| panic!("{error:?} {:?}", storage.names()))
}

/// A closed store: files of messages, a sealed journal, rows, and four journals that are not sealed: after each crash, what
/// has no proof of its sync goes into a new one.
fn subject() -> Arc<SimStorage> {
    let mut storage = SimStorage::new(92);
    let store = open(&storage);
    for round in 0..5 {
        store.pause_merges(round > 2);
        talk(&store, round);
        store.mark_read(TWO, Peer::User(ONE), Seq(round * 48 + 20)).wait().unwrap();
        store.seal().unwrap();
    }
    drop(store);
    for round in 5..9 {
        // The newest stamp is lost.
        storage = storage.crash_at(storage.operations() - 1, CrashPlan { seed: round, loss: Loss::All });
        let store = open(&storage);
        talk(&store, round);
        store.mark_read(ONE, Peer::Group(GROUP), Seq(round * 10)).wait().unwrap();
        // Enough that the file stays.
        store.append(Draft::group(GROUP, ONE, &[7; 12 << 10])).wait().unwrap();
        store.mark_read(TWO, Peer::User(ONE), Seq(round * 48 + 30)).wait().unwrap();
        if round == 8 {
            store.close().unwrap();
        }
    }
    storage.crash_at(storage.operations(), CrashPlan { seed: 1, loss: Loss::All })
}

fn journals(storage: &SimStorage) -> Vec<String> {
    let mut names: Vec<String> = storage.names().into_iter().filter(|name| name.ends_with(".journal")).collect();
    names.sort();
    names
}

/// All files but rows: without those some have no session, and see nothing.
fn store_files(storage: &SimStorage) -> Vec<String> {
    let is_of_store = |name: &String| [".journal", ".index", ".messages"].iter().any(|suffix| name.ends_with(suffix));
    storage.names().into_iter().filter(is_of_store).collect()
}

/// The last byte of a file that is no zero.
fn written(storage: &SimStorage, name: &str) -> u64 {
    storage.bytes(name).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64
}

fn is_lost(repair: &Repair, timeline: Timeline, seq: Seq) -> bool {
    repair.messages_lost.iter().any(|run| run.0 == timeline && run.1 <= seq && seq <= run.2)
}

/// Repairs, and holds what is there then against what was.
fn repaired(image: &Arc<SimStorage>, before: &Said, what: &str) -> Repair {
    let repair = Store::repair_on(image.clone(), options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    check(image, before, &repair, what);
    repair
}

fn check(image: &Arc<SimStorage>, before: &Said, repair: &Repair, what: &str) {
    let found = Store::verify_on(image.clone()).unwrap();
    assert!(found.is_whole(), "{what}: {found:?} {repair:?} {:?}", image.names());
    let store = open(image);
    let (after, _) = read(&store);
    let is_version_lost = |version| repair.versions_lost.iter().any(|run| run.0 <= version && version <= run.1);
    for (key, message) in before {
        match after.get(key) {
            Some(found) => {
                assert_eq!((found.sender, found.version), (message.sender, message.version), "{what}: {key:?}");
                // What became of it since may be lost with its version, and nothing else.
                if found != message {
                    let amended = message.edited.or(message.recalled).map(|amended| amended.version);
                    let is_told = amended.is_some_and(is_version_lost);
                    assert!(is_told, "{what}: {found:?} {message:?} {repair:?}");
                }
                assert!(!is_lost(repair, key.0, key.1), "{what}: {key:?} is told as lost and there");
            }
            None => assert!(
                is_lost(repair, key.0, key.1) || is_version_lost(message.version),
                "{what}: {key:?} is gone and not told: {message:?} {repair:?}"
            ),
        }
    }
    assert!(after.keys().all(|key| before.contains_key(key)), "{what}: something that was never said");
    for run in &repair.messages_lost {
        assert!(before.contains_key(&(run.0, run.1)) && before.contains_key(&(run.0, run.2)), "{what}: {run:?}");
        let peer = match run.0 {
            Timeline::Group(group) => Peer::Group(group),
            other if other == Timeline::direct(ONE, TWO) => Peer::User(ONE),
            _ => Peer::User(THREE),
        };
        let page = store.history(TWO, peer, &restante::HistoryQuery::oldest().seqs(run.1..=run.2)).unwrap();
        assert!(page.messages.is_empty() && page.lost == [(run.1, run.2)], "{what}: {run:?} {page:?}");
    }
    // Who goes on gets a seq above all that are there or lost, and a version above all there ever were.
    for (from, to) in [(ONE, TWO), (THREE, TWO)] {
        let timeline = Timeline::direct(from, to);
        let last = after.keys().filter(|key| key.0 == timeline).map(|key| key.1).max().unwrap_or(Seq(0));
        let lost = repair.messages_lost.iter().filter(|run| run.0 == timeline).map(|run| run.2).max();
        let appended = store.append(Draft::direct(from, to, b"after")).wait().unwrap();
        assert_eq!(appended.seq.0, last.max(lost.unwrap_or(Seq(0))).0 + 1, "{what}: {repair:?}");
        assert!(before.values().all(|message| message.version < appended.version), "{what}: {appended:?}");
    }
    for (user, peer) in SESSIONS {
        store.history(user, peer, &restante::HistoryQuery::newest().limit(3)).unwrap();
    }
    store.seal().unwrap();
    let digest = store.state_digest().unwrap();
    store.close().unwrap();
    let store = open(image);
    assert_eq!(store.state_digest().unwrap(), digest, "{what}");
    assert!(store.verify().unwrap().is_whole(), "{what}: {:?}", store.verify());
    store.close().unwrap();
}

#[test]
fn any_missing_file_costs_what_was_in_it() {
    let storage = subject();
    let (before, _) = read(&open(&storage.deep_clone()));
    assert!(journals(&storage).len() > 4, "{:?}", storage.names());
    assert!(store_files(&storage).iter().any(|name| name.ends_with(".messages")), "{:?}", storage.names());
    for name in store_files(&storage) {
        let image = storage.deep_clone();
        image.remove_file(&name);
        let repair = repaired(&image, &before, &format!("without {name}"));
        assert!(repair.files_lost.iter().any(|file| file.ends_with(&name)), "{name}: {repair:?}");
    }
}

#[test]
fn any_damaged_file_costs_what_was_damaged() {
    let storage = subject();
    let (before, _) = read(&open(&storage.deep_clone()));
    for name in store_files(&storage) {
        let end = written(&storage, &name);
        for at in [20, 4100, 4096 + (end - 4096) / 3, 4096 + (end - 4096) / 2, end - 60, end - 20] {
            let image = storage.deep_clone();
            image.corrupt(&name, at, 0x10);
            if Store::verify_on(image.clone()).unwrap().is_whole() {
                continue;
            }
            let what = format!("{name} damaged at {at}");
            let repair = repaired(&image, &before, &what);
            assert!(repair.files_lost.iter().any(|file| file.ends_with(&name)), "{what}: {repair:?}");
            let kept = before.keys().filter(|key| !is_lost(&repair, key.0, key.1)).count();
            if name.ends_with(".journal") {
                assert!(at > 4200 || repair.messages_lost.is_empty(), "{what}: {repair:?}");
                assert!(kept + 60 > before.len(), "{what}: {repair:?}");
            }
        }
    }
}

/// Store and messages as a repair leaves them that nothing cuts short. A crash may have torn a stamp, which the store writes
/// anew when it is closed.
fn outcome(image: &Arc<SimStorage>, what: &str) -> (u64, Said) {
    let store = open(image);
    let outcome = (store.state_digest().unwrap(), read(&store).0);
    store.close().unwrap();
    assert!(Store::verify_on(image.clone()).unwrap().is_whole(), "{what}: {:?}", Store::verify_on(image.clone()));
    outcome
}

/// What is damaged, and where, and what is missing.
type Damage = (&'static str, Vec<(String, u64)>, Vec<String>);

fn damages(storage: &SimStorage) -> Vec<Damage> {
    let journals = journals(storage);
    let half = |name: &String| (name.clone(), 4096 + (written(storage, name) - 4096) / 2);
    let newest = &journals[journals.len() - 1];
    let files = store_files(storage);
    let messages = files.iter().find(|name| name.ends_with(".messages")).unwrap();
    let index = files.iter().find(|name| name.ends_with(".index")).unwrap();
    vec![
        ("an older journal damaged", vec![half(&journals[2])], vec![]),
        ("the newest list damaged", vec![(newest.clone(), 4100)], vec![]),
        ("the newest journal missing", vec![], vec![newest.clone()]),
        ("newest damaged, older missing", vec![(newest.clone(), 4100), half(newest)], vec![journals[3].clone()]),
        ("newest missing, older damaged", vec![half(&journals[4])], vec![newest.clone()]),
        ("newest missing, messages damaged", vec![half(messages)], vec![newest.clone()]),
        ("sealed journal damaged, unsealed missing", vec![half(&journals[1])], vec![journals[2].clone()]),
        ("messages damaged, newest damaged", vec![half(messages), half(newest)], vec![]),
        ("index missing, newest list damaged", vec![(newest.clone(), 4100)], vec![index.clone()]),
    ]
}

fn damage(storage: &Arc<SimStorage>, damaged: &[(String, u64)], missing: &[String]) -> Arc<SimStorage> {
    let image = storage.deep_clone();
    damaged.iter().for_each(|(name, at)| image.corrupt(name, *at, 0x40));
    missing.iter().for_each(|name| image.remove_file(name));
    image
}

#[test]
fn one_file_damaged_and_one_missing_at_the_end() {
    let storage = subject();
    let (before, _) = read(&open(&storage.deep_clone()));
    for (what, damaged, missing) in damages(&storage) {
        let repair = repaired(&damage(&storage, &damaged, &missing), &before, what);
        for name in damaged.iter().map(|(name, _)| name).chain(&missing) {
            assert!(repair.files_lost.iter().any(|file| file.ends_with(name)), "{what}: {name} {repair:?}");
        }
    }
}

#[test]
fn a_repair_that_is_cut_short_is_done_again() {
    let storage = subject();
    let mut sampled = 0;
    for (index, (what, damaged, missing)) in damages(&storage).into_iter().enumerate() {
        let image = damage(&storage, &damaged, &missing);
        let began = image.operations();
        Store::repair_on(image.clone(), options()).unwrap();
        let ended = image.operations();
        let expected = outcome(&image.deep_clone(), what);
        for operation in began..ended {
            let loss = [Loss::All, Loss::Random, Loss::Nothing, Loss::Prefix][(operation as usize + index) % 4];
            let what = format!("{what}: cut short at {} of {}, {loss:?}", operation - began, ended - began);
            let cut = image.crash_at(operation, CrashPlan { seed: operation, loss });
            Store::repair_on(cut.clone(), options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            for (name, _) in &damaged {
                let names = cut.names();
                assert!(!names.contains(name), "{what}: {names:?}");
                assert!(names.contains(&format!("{name}.evidence")), "{what}: {names:?}");
            }
            assert!(outcome(&cut, &what) == expected, "{what}");
            sampled += 1;
        }
    }
    assert!(sampled > 200, "{sampled}");
}
