//! Small stores whose every state is known: what damage is done to, and what must come out of it.
//! Owns: the script by which they are made. May touch: the public interface.
//! Never: depends on chance or the clock.

use crate::reading::{GROUPS, SOURCES, USERS};
use restante::{
    ClientId, Draft, Durability, FlagChange, GroupId, GroupSettings, ManualClock, NameKind, Options, Peer, Seq,
    Settings, SimStorage, Store, Threads, Timeline, Timestamp, UserId, limits,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store, as bytes.
#[derive(Debug)]
pub struct Seed {
    pub subject: &'static str,
    pub files: Vec<(String, Vec<u8>)>,
    /// The digest after each change that could be seen alone, by version; that of no change first.
    pub digests: BTreeMap<u64, u64>,
    pub last_version: u64,
    /// Everything was synced, and the files say so.
    pub is_proven: bool,
}

/// What is done to make one.
#[derive(Clone, Copy, Debug)]
struct Script {
    subject: &'static str,
    durability: Durability,
    /// How often the round of changes is gone through, and how long its bodies are.
    rounds: u64,
    body_bytes: usize,
    closes: bool,
    /// Killed and opened again half-way, so that recovery has left its traces.
    breaks: bool,
}

const SMALL: usize = 24;
/// So long that three files are filled.
const LARGE: usize = 1_500;

const SCRIPTS: [Script; 6] = [
    Script {
        subject: "closed",
        durability: Durability::Sync,
        rounds: 3,
        body_bytes: SMALL,
        closes: true,
        breaks: false,
    },
    Script {
        subject: "killed",
        durability: Durability::Sync,
        rounds: 3,
        body_bytes: SMALL,
        closes: false,
        breaks: false,
    },
    Script {
        subject: "files",
        durability: Durability::Sync,
        rounds: 14,
        body_bytes: LARGE,
        closes: false,
        breaks: false,
    },
    Script {
        subject: "buffered",
        durability: Durability::Buffered,
        rounds: 3,
        body_bytes: SMALL,
        closes: false,
        breaks: false,
    },
    Script {
        subject: "broken",
        durability: Durability::Sync,
        rounds: 3,
        body_bytes: SMALL,
        closes: true,
        breaks: true,
    },
    Script {
        subject: "buffered-files",
        durability: Durability::Buffered,
        rounds: 14,
        body_bytes: LARGE,
        closes: true,
        breaks: true,
    },
];

/// Options under which every run is the same.
pub fn options(durability: Durability, clock: &Arc<ManualClock>) -> Options {
    Options::default()
        .durability(durability)
        .journal_bytes(limits::JOURNAL_BYTES_MIN)
        .clock(clock.clone())
        .threads(Threads::Inline)
}

impl Seed {
    pub fn all() -> Vec<Seed> {
        SCRIPTS.iter().map(Seed::of).collect()
    }

    fn of(script: &Script) -> Seed {
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_000_000)));
        let mut storage = SimStorage::new(9);
        let mut digests = BTreeMap::new();
        let mut store = Store::open_on(storage.clone(), options(script.durability, &clock)).expect("a new store");
        digests.insert(0, store.state_digest().expect("digest"));
        for round in 0..script.rounds {
            for step in 0..STEPS {
                clock.advance(1_000 + step);
                change(&store, script, round, step);
                let digest = store.state_digest().expect("digest");
                digests.insert(store.version().0, digest);
            }
            if script.breaks && round == script.rounds / 2 {
                storage = storage.deep_clone();
                store = Store::open_on(storage.clone(), options(script.durability, &clock)).expect("open again");
            }
        }
        let last_version = store.version().0;
        if script.closes {
            store.clone().close().expect("close");
        }
        let found = storage.deep_clone();
        let files = found.names().into_iter().map(|name| (name.clone(), found.bytes(&name).expect("listed"))).collect();
        let is_proven = script.closes || script.durability == Durability::Sync;
        Seed { subject: script.subject, files, digests, last_version, is_proven }
    }
}

const STEPS: u64 = 32;

/// One step of the script. Refusals are part of it.
fn change(store: &Store, script: &Script, round: u64, step: u64) {
    let body: Vec<u8> = (0..script.body_bytes).map(|at| (at as u64 * 7 + round * 31 + step) as u8 | 1).collect();
    let user = |number: u64| UserId(1 + (number + round) % USERS);
    let group = |number: u64| GroupId(1 + number % GROUPS);
    let direct = Draft::direct(user(step), user(step + 1), &body);
    let to_group = Draft::group(group(step), user(0), &body);
    let id = ClientId(u128::from(round * STEPS + step + 1));
    match step {
        0 => drop(
            store.create_group(group(round), GroupSettings::default().shows_history(round.is_multiple_of(2))).wait(),
        ),
        1 => drop(store.join_many(group(0), &[user(0), user(1), user(2)]).wait()),
        2 => drop(store.append(direct.client_id(id)).wait()),
        3 => drop(store.append(to_group.kind(5).client_id(id)).wait()),
        4 => drop(store.append_batch(&[direct, to_group.counts(false), direct.kind(2)]).wait()),
        5 => drop(store.mark_read(user(5), Peer::User(user(4)), Seq(1 + round)).wait()),
        6 => drop(store.append(Draft::group(group(0), user(1), &body)).wait()),
        7 => drop(store.mark_unread_from(user(1), Peer::Group(group(0)), Seq(1)).wait()),
        8 => drop(store.leave(group(round), user(2)).wait()),
        9 => drop(store.append(Draft::direct(user(3), user(3), &body)).wait()),
        10 => drop(store.append(direct).wait()),
        11 => drop(store.join(group(1), user(3)).wait()),
        12 => drop(store.append(to_group.mentions(&[user(1), user(2)]).alerts(5)).wait()),
        13 => drop(store.recall(user(0), Timeline::Group(group(0)), Seq(1 + round)).wait()),
        14 => drop(store.edit(user(0), Timeline::direct(user(2), user(3)), Seq(1), &body).wait()),
        15 => drop(store.hide(user(1), Peer::Group(group(0)), &[Seq(2), Seq(3)]).wait()),
        16 => drop(store.mark_delivered(user(3), Peer::User(user(2)), Seq(9)).wait()),
        17 => drop(store.clear(user(2), Peer::Group(group(0)), Seq(2)).wait()),
        18 => drop(store.remove_session(user(3), Peer::User(user(3))).wait()),
        19 => drop(store.set_flags(user(1), Peer::User(user(5)), FlagChange::new().pinned(true).muted(true)).wait()),
        20 => drop(store.set_metadata(user(1), Peer::User(user(5)), &body[..9]).wait()),
        21 => drop(store.set_group(group(0), GroupSettings::default().members_only(round.is_multiple_of(2))).wait()),
        22 => drop(store.set_group_metadata(group(0), &body[..8]).wait()),
        23 => drop(store.set_role(group(0), user(1), round as u8).wait()),
        24 => drop(store.set_member_data(group(0), user(1), &body[..7]).wait()),
        25 => drop(store.silence(group(0), user(2), Timestamp(1_700_000_001_000_000)).wait()),
        26 => drop(store.append(Draft::broadcast(SOURCES[0], &body)).wait()),
        27 => drop(store.append(Draft::inbox(SOURCES[1], user(0), &body)).wait()),
        28 => drop(store.resolve_or_create(NameKind::User, &body[..3]).wait()),
        29 => drop(store.free_name(NameKind::User, &body[..3]).wait()),
        30 if round == 2 => drop(store.dissolve(group(2)).wait()),
        30 => drop(store.add_user(UserId(50 + round)).wait()),
        // It has no session, so that this is one change: those within are in no table.
        _ if round == 1 => drop(store.remove_user(UserId(50), true)),
        _ => drop(store.set_settings(Settings::default().latest_bytes_max(10 + round as usize)).wait()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::recount_all;

    /// What damage is done to must be sound before.
    #[test]
    fn seeds_open_as_they_were_left() {
        for seed in Seed::all() {
            let storage = SimStorage::new(3);
            seed.files.iter().for_each(|(name, bytes)| storage.replace(name, bytes.clone()));
            let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_001_000)));
            let store = Store::open_on(storage, options(Durability::Sync, &clock)).expect("sound");
            assert_eq!(store.version().0, seed.last_version, "{}", seed.subject);
            let digest = store.state_digest().expect("readable");
            assert_eq!(seed.digests.get(&seed.last_version), Some(&digest), "{}", seed.subject);
            recount_all(&store).expect("readable");
        }
    }
}
