//! Recovery: each row of the decision table in docs/durability.md, by name, on hand-made damage.
//! Owns: the stores that are damaged, opening them, the judgement of one opening. May touch: its
//! submodules, the simulated directory.
//! Never: draws a crash; that is `crash`.

mod files;
mod layout;
mod proof;
mod sweep;
mod torn;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use restante::Durability::{self, Sync};
use restante::{
    CrashPlan, Draft, ErrorKind, Loss, ManualClock, Options, Result, SimStorage, Store, Threads, Timestamp, UserId,
};

use layout::journal;

const START: u64 = 1_700_000_000_000_000;
const JOURNAL_BYTES: u64 = 64 << 10;
/// One message of this size is most of what a file may take in one change.
const LARGE: usize = 15_000;

/// A store in a directory, and what it looked like at every version.
struct Subject {
    storage: Arc<SimStorage>,
    store: Store,
    digests: BTreeMap<u64, u64>,
}

fn options(durability: Durability) -> Options {
    let clock = Arc::new(ManualClock::new(Timestamp(START)));
    Options::default().durability(durability).threads(Threads::Inline).journal_bytes(JOURNAL_BYTES).clock(clock)
}

fn open(storage: &Arc<SimStorage>, durability: Durability) -> Result<Store> {
    Store::open_on(storage.clone(), options(durability))
}

impl Subject {
    fn new(seed: u64, durability: Durability) -> Subject {
        Subject::on(SimStorage::new(seed), durability)
    }

    fn on(storage: Arc<SimStorage>, durability: Durability) -> Subject {
        let store = open(&storage, durability).expect("opens");
        let mut subject = Subject { storage, store, digests: BTreeMap::new() };
        subject.look();
        subject
    }

    fn look(&mut self) {
        self.digests.insert(self.store.version().0, self.store.state_digest().expect("reads its own bytes"));
    }

    fn say(&mut self, body: &[u8]) {
        self.store.append(Draft::direct(UserId(1), UserId(2), body)).wait().expect("appends");
        self.look();
    }

    fn say_some(&mut self, count: usize, length: usize) {
        (0..count).for_each(|index| self.say(&vec![index as u8 + 1; length]));
    }

    fn sync(&mut self) {
        self.store.sync().expect("syncs");
        self.look();
    }

    /// What the next process finds if this one is killed: all that was written.
    fn killed(&self) -> Arc<SimStorage> {
        self.storage.crash_at(self.storage.operations(), CrashPlan { seed: 1, loss: Loss::Nothing })
    }

    /// What it finds after a clean close.
    fn closed(self) -> (Arc<SimStorage>, BTreeMap<u64, u64>) {
        self.store.close().expect("closes");
        (self.storage, self.digests)
    }
}

fn everything(storage: &SimStorage) -> Vec<(String, Option<Vec<u8>>)> {
    storage.names().into_iter().map(|name| (name.clone(), storage.bytes(&name))).collect()
}

/// How damage is met: opening is refused and changes nothing, or, in a sealed file, which opening does not read, whoever
/// reads it is told.
fn met(storage: &Arc<SimStorage>, durability: Durability) -> restante::Error {
    let before = everything(storage);
    let image = storage.deep_clone();
    match open(&image, durability) {
        Err(error) => {
            assert!(everything(&image) == before, "a refused store is left as it is");
            error
        }
        Ok(store) => store.state_digest().expect_err("damage is not believed"),
    }
}

/// There is damage in this file at this offset.
fn refused(storage: &Arc<SimStorage>, id: u64, offset: usize) {
    for durability in [Sync, Durability::Buffered] {
        let error = met(storage, durability);
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        let damage = error.corruption().expect("says where");
        let want = (Path::new("sim").join(journal(id)), offset as u64);
        assert_eq!((damage.file.clone(), damage.offset), want, "{error}");
        let text = format!("store damaged: file={} offset={offset} want=", want.0.display());
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}

/// Opening cuts the file at this offset, reports it, and shows the version before.
fn is_cut(storage: &Arc<SimStorage>, id: u64, offset: usize, bytes: u64, digest: (u64, u64)) {
    let store = open(storage, Sync).expect("a torn tail is cut");
    let cut = store.recovery().cut.clone().expect("a cut is reported");
    let want = (Path::new("sim").join(journal(id)), offset as u64, bytes);
    assert_eq!((cut.file, cut.offset, cut.bytes), want);
    assert!(!store.recovery().clean);
    assert_eq!((store.version().0, store.state_digest().unwrap()), digest);
    works(storage, store);
}

/// Opening finds nothing wrong.
fn is_whole(storage: &Arc<SimStorage>, digest: (u64, u64)) {
    let store = open(storage, Sync).expect("opens");
    assert_eq!(store.recovery().cut, None);
    assert_eq!((store.version().0, store.state_digest().unwrap()), digest);
    works(storage, store);
}

/// The store takes changes, keeps them through a power cut, and opens clean after a close.
fn works(storage: &Arc<SimStorage>, store: Store) {
    store.append(Draft::direct(UserId(7), UserId(8), b"after")).wait().unwrap();
    store.sync().unwrap();
    let digest = store.state_digest().unwrap();
    let image = storage.crash_at(storage.operations(), CrashPlan { seed: 2, loss: Loss::All });
    assert_eq!(open(&image, Sync).unwrap().state_digest().unwrap(), digest);
    store.close().unwrap();
    let store = open(storage, Sync).unwrap();
    assert!(store.recovery().clean && !store.recovery().new_epoch);
    assert_eq!(store.state_digest().unwrap(), digest);
}

fn last(digests: &BTreeMap<u64, u64>) -> (u64, u64) {
    digests.iter().next_back().map(|(version, digest)| (*version, *digest)).expect("not empty")
}

fn at(digests: &BTreeMap<u64, u64>, version: u64) -> (u64, u64) {
    (version, digests[&version])
}
