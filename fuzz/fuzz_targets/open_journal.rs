//! Damage to a small store: opening or reading it gives an error, or a state the store once was in.
//! Owns: what damage an input stands for, and what may come out. May touch: simulated storage.
//! Never: accepts a state that never was, unless the input forged a checksum.
#![no_main]

use libfuzzer_sys::fuzz_target;
use restante::{Durability, ErrorKind, ManualClock, SimStorage, Store, Timestamp};
use restante_fuzz::frames::is_forged;
use restante_fuzz::input::Input;
use restante_fuzz::reading::{read_all, recount_all};
use restante_fuzz::seed::{Seed, options};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

const SECTOR: usize = 512;
/// Names that a damaged directory may show.
const NAMES: [&str; 8] = [
    "0000000000000001.journal",
    "0000000000000002.journal",
    "0000000000000004.journal",
    "ffffffffffffffff.journal",
    "next.spare",
    "0000000000000001.evidence",
    "0000000000000003.journal.tmp",
    "LOCK",
];

type Files = BTreeMap<String, Vec<u8>>;

/// How much an input may have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// Nothing was harmed.
    None,
    /// One place was: what was proven synced must be there, or an error.
    One,
    /// Several places were, or names: the evidence may be gone with what it stood for.
    Much,
}

fuzz_target!(|bytes: &[u8]| {
    static SEEDS: OnceLock<Vec<Seed>> = OnceLock::new();
    let seeds = SEEDS.get_or_init(Seed::all);
    let mut input = Input(bytes);
    let seed = &seeds[input.below(seeds.len())];
    let original: Files = seed.files.iter().cloned().collect();
    let mut files = original.clone();
    let mut harm = Harm::None;
    while !input.is_empty() {
        let is_one = damage(&mut files, &mut input);
        harm = if is_one && harm == Harm::None { Harm::One } else { Harm::Much };
    }
    check(seed, &original, &files, harm);
});

/// Does one thing to the files, and says whether it is harm to one place.
fn damage(files: &mut Files, input: &mut Input<'_>) -> bool {
    let what = input.byte();
    let name = {
        let index = input.below(files.len());
        files.keys().nth(index).cloned()
    };
    let Some(name) = name else { return false };
    let file = files.get_mut(&name).expect("just listed");
    let sectors = file.len() / SECTOR;
    match what % 8 {
        0 => {
            let offset = input.below(file.len());
            let count = 1 + input.below(16);
            let masks = input.bytes(count);
            file[offset..].iter_mut().zip(masks).for_each(|(byte, mask)| *byte ^= mask);
            true
        }
        1 if sectors > 0 => {
            let first = input.below(sectors);
            let end = sectors.min(first + 1 + input.below(4));
            file[first * SECTOR..end * SECTOR].fill(0);
            true
        }
        2 => {
            let length = input.below(file.len());
            file.truncate(length);
            true
        }
        3 if sectors > 0 => {
            let (source, target) = (input.below(sectors) * SECTOR, input.below(sectors) * SECTOR);
            file.copy_within(source..source + SECTOR, target);
            true
        }
        4 => {
            files.remove(&name);
            // With its last file a store is gone, and an empty directory is the place for a new one.
            files.keys().any(|name| name.ends_with(".journal"))
        }
        5 => {
            let index = input.below(files.len());
            let other = files.keys().nth(index).cloned().expect("not empty");
            let bytes = files.insert(name, files[&other].clone()).expect("it was there");
            files.insert(other, bytes);
            true
        }
        6 => {
            let length = file.len() + input.below(16 << 10);
            file.resize(length, input.byte());
            true
        }
        _ => {
            let bytes = if input.flag() { files.remove(&name) } else { files.get(&name).cloned() };
            files.insert(NAMES[input.below(NAMES.len())].to_owned(), bytes.expect("it was there"));
            false
        }
    }
}

fn check(seed: &Seed, original: &Files, files: &Files, harm: Harm) {
    let storage = SimStorage::new(3);
    files.iter().for_each(|(name, bytes)| storage.replace(name, bytes.clone()));
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_700_001_000)));
    let store = match Store::open_on(storage.clone(), options(Durability::Sync, &clock)) {
        Ok(store) => store,
        Err(error) => {
            assert!(harm != Harm::None, "a sound store must open: {error}");
            let expected = [ErrorKind::Corruption, ErrorKind::Unsupported, ErrorKind::InvalidInput];
            assert!(expected.contains(&error.kind()), "the disk is sound: {error}");
            return;
        }
    };
    let is_mine = || files.iter().any(|(name, bytes)| is_forged(bytes, original.get(name).map(Vec::as_slice)));
    let digest = match read_all(&store) {
        Ok(digest) => digest,
        Err(error) => {
            // What is sealed is not read at opening: damage there is met by whoever reads it.
            assert!(harm != Harm::None, "a sound store must be readable: {error}");
            assert!(error.kind() == ErrorKind::Corruption, "the disk is sound: {error}");
            return;
        }
    };
    let version = store.version().0;
    if seed.digests.get(&version) != Some(&digest) {
        assert!(is_mine(), "the store never was in this state: seed={} version={version}", seed.subject);
        return;
    }
    if harm == Harm::None || (harm == Harm::One && seed.is_proven) {
        assert!(
            version == seed.last_version || is_mine(),
            "synced changes are gone: seed={} version={version}",
            seed.subject
        );
    }
    recount_all(&store).expect("a state that was is sound");
    // It goes on, and what it does now is there after the next end.
    let draft = restante::Draft::direct(restante::UserId(1), restante::UserId(2), b"goes on");
    store.append(draft).wait().expect("append");
    let digest = store.state_digest().expect("digest");
    let killed = storage.deep_clone();
    let again = Store::open_on(killed, options(Durability::Sync, &clock)).expect("open again");
    assert_eq!(again.state_digest().expect("digest"), digest, "after reopening");
}
