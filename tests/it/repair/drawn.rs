//! Stores with changes of every kind, damaged at random: whatever is left is a store.
//! Owns: the damage, what holds of any repair. May touch: the runs of `crash`, the simulated directory.
//! Never: knows what a change does.

use std::collections::BTreeMap;
use std::sync::Arc;

use restante::Durability::{Buffered, Sync};
use restante::{
    CrashPlan, Draft, Edge, HistoryQuery, ListQuery, Loss, ManualClock, Message, Peer, Seq, SimStorage, Store,
    Timestamp, UserId, Version,
};

use crate::crash::run::{Run, options};
use crate::crash::workload::{Shape, draw};
use crate::support::{Rng, number_from_env};

const RUNS: u64 = 20;
const DAMAGES: u64 = 10;
const SUFFIXES: [&str; 4] = [".journal", ".rows", ".index", ".messages"];
/// Two users who do nothing before.
const AFTER: (UserId, UserId) = (UserId(77), UserId(78));
const LATER: u64 = 3_000_000_000_000_000;

type Said = BTreeMap<Version, Message>;

/// What all users see.
fn read(store: &Store) -> Said {
    let mut said = Said::new();
    for user in (1..=9).map(UserId) {
        let mut since = None;
        loop {
            let list = store.changed(user, since.as_ref(), &ListQuery::new()).unwrap();
            for entry in &list.entries {
                let mut next = Seq(1);
                loop {
                    let query = HistoryQuery::oldest().seqs(next..).limit(100);
                    let Ok(page) = store.history(user, entry.peer, &query) else { break };
                    said.extend(page.messages.into_iter().map(|message| (message.version, message)));
                    match (page.newer, page.covers) {
                        (Edge::More, Some((_, last))) => next = Seq(last.0 + 1),
                        _ => break,
                    }
                }
            }
            if !list.more {
                break;
            }
            since = Some(list.next);
        }
        store.total_unread(user).unwrap();
    }
    said
}

fn image(seed: u64) -> Arc<SimStorage> {
    let durability = if seed.is_multiple_of(3) { Buffered } else { Sync };
    let shape = Shape {
        first: durability,
        second: durability,
        third: Sync,
        changes: 250,
        buffered_percent: 0,
        sync_percent: 5,
        large_percent: 20,
        seal_permille: [0, 8, 20][(seed / 3 % 3) as usize],
    };
    let mut run = Run::new(SimStorage::new(seed), durability);
    run.open().unwrap();
    for timed in &draw(seed, &shape) {
        run.play(timed).unwrap();
    }
    if seed.is_multiple_of(2) {
        run.finish();
    } else {
        run.store.as_ref().unwrap().sync().unwrap();
    }
    run.storage.crash_at(run.storage.operations(), CrashPlan { seed, loss: Loss::All })
}

fn hurt(image: &SimStorage, rng: &mut Rng) -> String {
    let names: Vec<String> =
        image.names().into_iter().filter(|name| SUFFIXES.iter().any(|suffix| name.ends_with(suffix))).collect();
    let mut told = String::new();
    for _ in 0..rng.between(1, 3) {
        let name = rng.pick(&names);
        let Some(bytes) = image.bytes(&name) else { continue };
        if rng.percent(25) {
            image.remove_file(&name);
            told += &format!(" {name} missing");
            continue;
        }
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64 + 1;
        for _ in 0..rng.between(1, 3) {
            let at = if rng.percent(15) { rng.below(4200) } else { rng.below(written) };
            image.corrupt(&name, at.min(written - 1), 1 << rng.below(8));
            told += &format!(" {name} at {at}");
        }
    }
    told
}

#[test]
fn whatever_is_left_is_a_store() {
    let one_seed = number_from_env("RESTANTE_REPAIR_SEED");
    let seeds = one_seed.map_or(1..=RUNS, |seed| seed..=seed);
    let clock = Arc::new(ManualClock::new(Timestamp(LATER)));
    let options = || options(Sync, &clock).maintain(false);
    for seed in seeds {
        let whole = image(seed);
        let before = read(&Store::open_on(whole.deep_clone(), options()).unwrap());
        let mut rng = Rng::new(seed);
        for _ in 0..DAMAGES {
            let image = whole.deep_clone();
            let what = format!("RESTANTE_REPAIR_SEED={seed}{}", hurt(&image, &mut rng));
            if one_seed.is_some() {
                eprintln!("{what} {:?}", image.names());
            }
            if !image.names().iter().any(|name| SUFFIXES.iter().any(|suffix| name.ends_with(suffix))) {
                // Nobody knows of which store it was.
                assert!(Store::repair_on(image, options()).is_err(), "{what}");
                continue;
            }
            let repair = Store::repair_on(image.clone(), options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let what = format!("{what}: {repair:?}");
            if one_seed.is_some() {
                eprintln!("{what}");
            }
            let found = Store::verify_on(image.clone()).unwrap();
            assert!(found.damage.is_empty(), "{what}: {found:?} {:?}", image.names());
            let store = Store::open_on(image.clone(), options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            for (key, message) in &read(&store) {
                // A session that is lost may show again what its user had cleared.
                let Some(known) = before.get(key) else { continue };
                assert_eq!((known.seq, known.sender), (message.seq, message.sender), "{what}");
                if known.edited.is_none() && message.edited.is_none() && known.recalled == message.recalled {
                    assert!(known.body == message.body, "{what}: {known:?} {message:?}");
                }
            }
            // What nothing proves to have been synced is cut, as after a crash.
            if repair.files_lost.is_empty() && found.cut.is_none() {
                assert_eq!(read(&store), before, "{what}");
            }
            let last = before.keys().next_back().copied().unwrap_or(Version(0));
            let appended = store.append(Draft::direct(AFTER.0, AFTER.1, b"after")).wait().unwrap();
            assert!(appended.version > last || found.cut.is_some(), "{what}: {appended:?} {last:?}");
            store.seal().unwrap();
            let (digest, said) = (store.state_digest().unwrap(), read(&store));
            store.close().unwrap();
            let store = Store::open_on(image.clone(), options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert_eq!(store.state_digest().unwrap(), digest, "{what}");
            assert_eq!(read(&store), said, "{what}");
            let page = store.history(AFTER.1, Peer::User(AFTER.0), &HistoryQuery::newest()).unwrap();
            assert_eq!(page.messages.len(), 1, "{what}");
            assert!(store.verify().unwrap().is_whole(), "{what}: {:?}", store.verify());
            store.close().unwrap();
        }
    }
}
