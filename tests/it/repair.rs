//! Repairing: whatever file is damaged or gone, all else is there, and the loss is told exactly.
//! Owns: the store that is damaged, the comparison with what it was. May touch: the simulated directory.
//! Never: takes a message that is only near the right one.

mod drawn;
mod end;

use std::collections::BTreeMap;
use std::sync::Arc;

use restante::{
    ClientId, CrashPlan, Draft, Edge, GroupId, GroupSettings, HistoryQuery, ListQuery, Loss, ManualClock, Message,
    Options, Peer, Repair, Seq, SimStorage, Store, Threads, Timeline, Timestamp, UserId,
};

const START: u64 = 1_700_000_000_000_000;
const ONE: UserId = UserId(1);
const TWO: UserId = UserId(2);
const THREE: UserId = UserId(3);
const GROUP: GroupId = GroupId(9);

fn options() -> Options {
    let clock = Arc::new(ManualClock::new(Timestamp(START)));
    Options::default().threads(Threads::Inline).journal_bytes(64 << 10).merge_fan_in(3).maintain(false).clock(clock)
}

fn open(storage: &Arc<SimStorage>) -> Store {
    Store::open_on(storage.clone(), options()).expect("opens")
}

fn talk(store: &Store, round: u64) {
    if round == 0 {
        store.create_group(GROUP, GroupSettings::default()).wait().unwrap();
        store.join_many(GROUP, &[ONE, TWO, THREE]).wait().unwrap();
    }
    for index in 0..40 {
        let body = format!("round {round} message {index}").repeat(8);
        let id = ClientId(u128::from(round * 100 + index + 1));
        store.append(Draft::direct(ONE, TWO, body.as_bytes()).client_id(id)).wait().unwrap();
        if index % 3 == 0 {
            store.append(Draft::group(GROUP, THREE, body.as_bytes()).alerts(1)).wait().unwrap();
        }
        if index % 5 == 0 {
            store.append(Draft::direct(TWO, ONE, body.as_bytes())).wait().unwrap();
        }
    }
    if round < 5 {
        // Nobody says anything here later.
        store.append(Draft::direct(THREE, TWO, b"early")).wait().unwrap();
    }
    let pair = Timeline::direct(ONE, TWO);
    store.edit(ONE, pair, Seq(round * 48 + 3), b"edited").wait().unwrap();
    store.recall(ONE, pair, Seq(round * 48 + 5)).wait().unwrap();
}

/// A closed store: a merged file of messages, sealed journals, rows, and a journal that is not sealed.
fn subject() -> Arc<SimStorage> {
    let storage = SimStorage::new(91);
    let store = open(&storage);
    for round in 0..5 {
        talk(&store, round);
        store.seal().unwrap();
    }
    talk(&store, 5);
    store.close().unwrap();
    storage.crash_at(storage.operations(), CrashPlan { seed: 1, loss: Loss::All })
}

type Said = BTreeMap<(Timeline, Seq), Message>;

const SESSIONS: [(UserId, Peer); 4] =
    [(TWO, Peer::User(ONE)), (ONE, Peer::User(TWO)), (TWO, Peer::User(THREE)), (TWO, Peer::Group(GROUP))];

/// All messages, and the runs that pages call lost.
fn read(store: &Store) -> (Said, Vec<(Timeline, Seq, Seq)>) {
    let (mut said, mut lost) = (Said::new(), Vec::new());
    for (user, peer) in SESSIONS {
        let mut next = Seq(1);
        loop {
            let page = store.history(user, peer, &HistoryQuery::oldest().seqs(next..).limit(100)).unwrap();
            let timeline = match peer {
                Peer::User(other) => Timeline::direct(user, other),
                _ => Timeline::Group(GROUP),
            };
            lost.extend(page.lost.iter().map(|(first, last)| (timeline, *first, *last)));
            said.extend(page.messages.into_iter().map(|message| ((timeline, message.seq), message)));
            match (page.newer, page.covers) {
                (Edge::More, Some((_, last))) => next = Seq(last.0 + 1),
                _ => break,
            }
        }
    }
    lost.sort_unstable();
    lost.dedup();
    (said, lost)
}

fn unread(store: &Store, user: UserId, peer: Peer) -> (u64, Option<Seq>) {
    let list = store.changed(user, None, &ListQuery::new()).unwrap();
    let entry = list.entries.iter().find(|entry| entry.peer == peer).unwrap();
    (entry.unread, entry.goto.map(|goto| goto.0))
}

/// Repairs, and holds what is there then against what was.
fn repaired(image: &Arc<SimStorage>, before: &Said, what: &str) -> Repair {
    let repair = Store::repair_on(image.clone(), options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let found = Store::verify_on(image.clone()).unwrap();
    assert!(found.is_whole(), "{what}: {found:?} {repair:?} {:?}", image.names());
    let store = open(image);
    let (after, mut lost) = read(&store);
    // Runs that pages cut at their ends are one.
    lost.dedup_by(|next, run| {
        let is_one = next.0 == run.0 && next.1.0 == run.2.0 + 1;
        if is_one {
            run.2 = next.2;
        }
        is_one
    });
    let is_lost = |timeline: Timeline, seq: Seq| {
        repair.messages_lost.iter().any(|run| run.0 == timeline && run.1 <= seq && seq <= run.2)
    };
    for (key, message) in before {
        match after.get(key) {
            Some(found) => assert_eq!(found, message, "{what}"),
            None => assert!(is_lost(key.0, key.1), "{what}: {key:?} is gone and not told: {repair:?}"),
        }
        assert!(!is_lost(key.0, key.1) || !after.contains_key(key), "{what}: {key:?} is told as lost and there");
    }
    assert!(after.keys().all(|key| before.contains_key(key)), "{what}: something that was never said");
    let told: u64 = repair.messages_lost.iter().map(|run| run.2.0 - run.1.0 + 1).sum();
    assert_eq!(told, lost.iter().map(|run| run.2.0 - run.1.0 + 1).sum::<u64>(), "{what}: {repair:?} {lost:?}");
    assert_eq!(told as usize, before.len() - after.len(), "{what}");
    if repair.rows_lost.is_empty() {
        for (user, peer) in SESSIONS {
            let timeline =
                if let Peer::User(other) = peer { Timeline::direct(user, other) } else { Timeline::Group(GROUP) };
            // Nobody has read anything, but by saying something.
            let own = before.iter().filter(|(key, message)| key.0 == timeline && message.sender == user);
            let mark = own.map(|(key, _)| key.1).max().unwrap_or(Seq(0));
            let counts = |message: &&Message| message.counts && message.recalled.is_none() && message.sender != user;
            let left: Vec<Seq> = after
                .iter()
                .filter(|(key, _)| key.0 == timeline && key.1 > mark)
                .filter(|(_, message)| counts(message))
                .map(|(key, _)| key.1)
                .collect();
            assert_eq!(
                unread(&store, user, peer),
                (left.len() as u64, left.first().copied()),
                "{what}: {user:?} {peer:?}"
            );
        }
    }
    let last = before.keys().filter(|key| key.0 == Timeline::direct(ONE, TWO)).map(|key| key.1.0).max().unwrap();
    let appended = store.append(Draft::direct(ONE, TWO, b"after")).wait().unwrap();
    assert_eq!(appended.seq.0, last + 1, "{what}: lost seqs are never given again");
    for run in &repair.messages_lost {
        let peer = match run.0 {
            Timeline::Group(group) => Peer::Group(group),
            other if other == Timeline::direct(ONE, TWO) => Peer::User(ONE),
            _ => Peer::User(THREE),
        };
        let page = store.history(TWO, peer, &HistoryQuery::oldest().seqs(run.1..=run.2)).unwrap();
        assert!(page.messages.is_empty(), "{what}");
        assert_eq!(page.lost, [(run.1, run.2)], "{what}");
    }
    // It goes on as any store: sealed, merged, opened again.
    store.seal().unwrap();
    let digest = store.state_digest().unwrap();
    store.close().unwrap();
    let store = open(image);
    assert_eq!(store.state_digest().unwrap(), digest, "{what}");
    assert!(store.verify().unwrap().is_whole(), "{what}: {:?}", store.verify());
    repair
}

fn sealed_files(storage: &SimStorage) -> Vec<String> {
    let names: Vec<String> = storage.names();
    let journals: Vec<&String> = names.iter().filter(|name| name.ends_with(".journal")).collect();
    // The newest two are not sealed, or hold what is.
    let newest = journals[journals.len() - 1].clone();
    let is_segment = |name: &&String| [".index", ".messages", ".rows"].iter().any(|suffix| name.ends_with(suffix));
    let sealed = names.iter().filter(is_segment).chain(journals.iter().copied().filter(|name| **name != newest));
    sealed.cloned().collect()
}

#[test]
fn a_store_that_is_whole_is_left_alone() {
    let storage = subject();
    let before: Vec<_> = storage.names().iter().map(|name| (name.clone(), storage.bytes(name))).collect();
    assert_eq!(Store::repair_on(storage.clone(), options()).unwrap(), Repair::default());
    let after: Vec<_> = storage.names().iter().map(|name| (name.clone(), storage.bytes(name))).collect();
    assert!(before == after);
}

#[test]
fn one_missing_file_costs_what_was_in_it() {
    let storage = subject();
    let (before, lost) = read(&open(&storage.deep_clone()));
    assert!(before.len() > 300 && lost.is_empty());
    let mut kinds = BTreeMap::new();
    for name in sealed_files(&storage).into_iter().filter(|name| !name.ends_with(".rows")) {
        let image = storage.deep_clone();
        image.remove_file(&name);
        let repair = repaired(&image, &before, &format!("without {name}"));
        assert!(repair.files_lost.iter().any(|file| file.ends_with(&name)), "{name}: {repair:?}");
        let is_index = name.ends_with(".index");
        assert_eq!(repair.messages_lost.is_empty(), is_index, "{name}: {repair:?}");
        *kinds.entry(name.split_once('.').unwrap().1.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

/// A journal with an edit and no message: its loss is that of the message, whose words are older than what was said last.
#[test]
fn a_missing_edit_costs_its_message() {
    let storage = subject();
    let journals =
        || -> Vec<String> { storage.names().into_iter().filter(|name| name.ends_with(".journal")).collect() };
    let store = open(&storage);
    store.pause_merges(true);
    store.seal().unwrap();
    let sealed = journals();
    let pair = Timeline::direct(ONE, TWO);
    store.edit(ONE, pair, Seq(10), b"at last").wait().unwrap();
    store.seal().unwrap();
    let edited = sealed.last().cloned().unwrap();
    store.append(Draft::direct(TWO, ONE, b"and more")).wait().unwrap();
    store.seal().unwrap();
    store.close().unwrap();
    let (before, _) = read(&open(&storage.deep_clone()));
    assert!(journals().contains(&edited), "{edited} of {:?}", journals());
    storage.remove_file(&edited);
    let repair = repaired(&storage, &before, "without the edit");
    assert_eq!(repair.messages_lost, [(pair, Seq(10), Seq(10))]);
}

#[test]
fn one_damaged_frame_costs_what_was_in_it() {
    let storage = subject();
    let (before, _) = read(&open(&storage.deep_clone()));
    for name in sealed_files(&storage).into_iter().filter(|name| !name.ends_with(".rows")) {
        let length = storage.bytes(&name).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        for at in [20, 4100, 4096 + (length - 4096) / 2, length - 60] {
            let image = storage.deep_clone();
            image.corrupt(&name, at as u64, 0x10);
            if Store::verify_on(image.clone()).unwrap().is_whole() {
                continue;
            }
            let repair = repaired(&image, &before, &format!("{name} damaged at {at}"));
            // The first page says what the list of files also says.
            assert!(at > 4096 || repair.messages_lost.is_empty(), "{name} at {at}: {repair:?}");
            let evidence = image.names().into_iter().any(|other| other == format!("{name}.evidence"));
            assert!(evidence, "{name} at {at}: {:?}", image.names());
        }
    }
}

#[test]
fn one_file_damaged_and_one_missing() {
    let storage = subject();
    let (before, _) = read(&open(&storage.deep_clone()));
    let files = sealed_files(&storage);
    let of_kind = |kind: &str| files.iter().filter(|name| name.ends_with(kind)).cloned().collect::<Vec<_>>();
    let (journals, messages, indexes) = (of_kind(".journal"), of_kind(".messages"), of_kind(".index"));
    for (damaged, missing) in [
        (&messages[0], &journals[0]),
        (&journals[0], &messages[0]),
        (&journals[0], &indexes[0]),
        (&messages[0], &indexes[0]),
        (&indexes[indexes.len() - 1], &journals[0]),
    ] {
        let image = storage.deep_clone();
        let length = storage.bytes(damaged).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        image.corrupt(damaged, 4096 + (length as u64 - 4096) / 3, 0x40);
        image.remove_file(missing);
        repaired(&image, &before, &format!("{damaged} damaged, {missing} missing"));
    }
}

#[test]
fn damaged_or_missing_rows_cost_no_message() {
    let storage = subject();
    let (before, _) = read(&open(&storage.deep_clone()));
    for name in sealed_files(&storage).into_iter().filter(|name| name.ends_with(".rows")) {
        let length = storage.bytes(&name).unwrap().len() as u64;
        for at in [4100, length - 300, length - 4, 20, 0] {
            let image = storage.deep_clone();
            if at == 0 {
                image.remove_file(&name);
            } else {
                image.corrupt(&name, at, 0x10);
            }
            let repair = Store::repair_on(image.clone(), options()).unwrap();
            assert!(repair.messages_lost.is_empty(), "{name} at {at}: {repair:?}");
            assert!(repair.files_lost.iter().any(|file| file.ends_with(&name)), "{name} at {at}: {repair:?}");
            let found = Store::verify_on(image.clone()).unwrap();
            assert!(found.is_whole(), "{name} at {at}: {found:?} {repair:?}");
            let store = open(&image);
            // Whoever lost its session, what was said is there, but for what became of it since.
            for ((timeline, seq), message) in &before {
                let peers = SESSIONS.iter().filter(|(user, peer)| match peer {
                    Peer::User(other) => Timeline::direct(*user, *other) == *timeline,
                    _ => Timeline::Group(GROUP) == *timeline,
                });
                for (user, peer) in peers {
                    let Ok(page) = store.history(*user, *peer, &HistoryQuery::oldest().seqs(*seq..=*seq)) else {
                        continue;
                    };
                    let Some(found) = page.messages.first() else { continue };
                    assert_eq!((found.seq, found.version, found.sender), (*seq, message.version, message.sender));
                    if message.edited.is_none() && message.recalled.is_none() {
                        assert_eq!(found.body, message.body, "{name} at {at}");
                    }
                }
            }
            let last =
                before.keys().filter(|key| key.0 == Timeline::direct(ONE, TWO)).map(|key| key.1.0).max().unwrap();
            let appended = store.append(Draft::direct(ONE, TWO, b"after")).wait().unwrap();
            assert_eq!(appended.seq.0, last + 1, "{name} at {at}");
            let appended = store.append(Draft::direct(THREE, TWO, b"after")).wait().unwrap();
            assert_eq!(appended.seq.0, 6, "{name} at {at}");
            store.seal().unwrap();
            store.close().unwrap();
            assert!(Store::verify_on(image.clone()).unwrap().is_whole(), "{name} at {at}");
        }
    }
}
