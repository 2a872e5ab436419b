//! Plays a run on a simulated directory and keeps what was promised when.
//! Owns: the store of the run, the promises, the digests of every version. May touch: `act`, `workload`.
//! Never: crashes anything but by `Step::Kill`, whose image is the run's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use restante::Durability::{self, Buffered, Sync};
use restante::{Epoch, Error, ErrorKind, ManualClock, Options, Result, SimStorage, Store, Threads, Timestamp, UserId};

use super::act::{Act, Asked};
use super::workload::{JOURNAL_BYTES, START, Step, Timed, point};

/// What every version looks like. A version inside a batch is in no table.
pub type Table = BTreeMap<u64, Look>;

/// What a version looks like.
#[derive(Clone, Debug)]
pub enum Look {
    /// An act ended there.
    Digest(u64),
    /// A user was being removed, change by change. Asked for again, the removal ends as it would have.
    Removing(Removal),
}

/// The removal of a user, and what it ends in.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    pub user: UserId,
    pub recall_all: bool,
    pub time: u64,
    pub version: u64,
    pub digest: u64,
}

/// Whether something may have been seen, or acknowledged, before it was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Never,
    Perhaps,
    Surely,
}

/// What holds from an operation on, until the next entry.
#[derive(Debug)]
pub struct Since<T> {
    pub operation: u64,
    pub what: T,
}

/// A clean close.
#[derive(Debug)]
pub struct Close {
    pub begun_at: u64,
    pub done_at: u64,
    /// The first operation that may write again.
    pub clean_until: u64,
    pub version: u64,
}

/// What a run promised.
#[derive(Debug, Default)]
pub struct Promises {
    /// Everything up to this version survives the end of the process (`Buffered`), or a power cut (`Sync`).
    pub floors: Vec<Since<(Durability, u64)>>,
    pub epochs: Vec<Since<(Epoch, Unsynced)>>,
    /// Which versions there can be, and what they look like.
    pub tables: Vec<Since<Arc<Table>>>,
    /// When the first open returned: before it there may be no store.
    pub created_at: Option<u64>,
    pub closes: Vec<Close>,
    pub copies: Vec<Copy>,
}

/// A backup that was made, or begun.
#[derive(Clone, Debug)]
pub struct Copy {
    pub begun_at: u64,
    pub path: PathBuf,
    /// From which operation on it is there for good, and its version.
    pub done: Option<(u64, u64)>,
}

impl Promises {
    pub fn floor(&self, operation: u64, level: Durability) -> u64 {
        let kept = |(promised, version): &(Durability, u64)| {
            if level == Buffered || *promised == Sync { *version } else { 0 }
        };
        let past = self.floors.iter().filter(|since| since.operation <= operation);
        past.map(|since| kept(&since.what)).max().unwrap_or(0)
    }

    pub fn epoch(&self, operation: u64) -> Option<(Epoch, Unsynced)> {
        self.epochs.iter().rev().find(|since| since.operation <= operation).map(|since| since.what)
    }

    pub fn table(&self, operation: u64) -> Arc<Table> {
        let table = self.tables.iter().rev().find(|since| since.operation <= operation);
        table.expect("the first table holds from the start").what.clone()
    }
}

/// A store that is being used, and what it promised so far.
pub struct Run {
    pub storage: Arc<SimStorage>,
    pub store: Option<Store>,
    pub clock: Arc<ManualClock>,
    pub promises: Promises,
    durability: Durability,
    unsynced: Unsynced,
    /// All acts that may have left a trace in what the store holds now.
    acts: Vec<(u64, Act)>,
    kept: Vec<(Asked, Durability)>,
    table_from: u64,
}

pub fn options(durability: Durability, clock: &Arc<ManualClock>) -> Options {
    let options = Options::default().durability(durability).threads(Threads::Inline).clock(clock.clone());
    options.journal_bytes(JOURNAL_BYTES).memory_bytes_max(64 << 10).merge_fan_in(2)
}

impl Run {
    pub fn new(storage: Arc<SimStorage>, durability: Durability) -> Run {
        Run {
            storage,
            store: None,
            clock: Arc::new(ManualClock::new(Timestamp(START))),
            promises: Promises::default(),
            durability,
            unsynced: Unsynced::Never,
            acts: Vec::new(),
            kept: Vec::new(),
            table_from: 0,
        }
    }

    fn now(&self) -> u64 {
        self.storage.operations()
    }

    fn set_epoch(&mut self, epoch: Epoch, unsynced: Unsynced) {
        self.unsynced = unsynced;
        self.promises.epochs.push(Since { operation: self.now(), what: (epoch, unsynced) });
    }

    fn set_unsynced(&mut self, unsynced: Unsynced) {
        let epoch = self.store.as_ref().map(Store::epoch);
        self.set_epoch(epoch.expect("a store is open"), unsynced);
    }

    fn promise(&mut self, level: Durability, version: u64) {
        self.promises.floors.push(Since { operation: self.now(), what: (level, version) });
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("a store is open")
    }

    /// What readers saw is promised at the store's own level.
    fn promise_what_is_seen(&mut self) {
        if let Some(version) = self.store.as_ref().map(|store| store.version().0) {
            self.promise(self.durability, version);
        }
    }

    /// Opens; what a store shows when it opens is durable, whatever its level.
    pub fn open(&mut self) -> Result<()> {
        let store = Store::open_on(self.storage.clone(), options(self.durability, &self.clock))?;
        self.promise(Sync, store.version().0);
        let unsynced = if self.durability == Buffered { Unsynced::Surely } else { Unsynced::Never };
        self.set_epoch(store.epoch(), unsynced);
        self.store = Some(store);
        let now = self.now();
        self.promises.created_at.get_or_insert(now);
        Ok(())
    }

    /// Makes one step. After an error the store may be poisoned; further steps say so.
    pub fn play(&mut self, timed: &Timed) -> Result<()> {
        self.clock.set(Timestamp(timed.time));
        let result = match &timed.step {
            Step::Ask(act, level, wait) => self.ask(act.clone(), timed.time, *level, *wait),
            Step::Point { user, peer, part, what, level, wait } => {
                match point(self.store(), *user, *peer, *part, *what) {
                    Some(act) => self.ask(act, timed.time, *level, *wait),
                    None => Ok(()),
                }
            }
            Step::Sync => self.store().sync().map(|()| {
                let version = self.store().version().0;
                self.promise(Sync, version);
            }),
            Step::Seal => self.store().seal().map(|()| {
                let version = self.store().version().0;
                self.promise(Sync, version);
            }),
            Step::Purge => self.store().purge().map(|_| {
                let version = self.store().version().0;
                self.promise(Sync, version);
            }),
            Step::Backup => self.back_up(),
            Step::Reopen(durability) => self.reopen(*durability),
            Step::Kill(durability) => self.kill(*durability),
        };
        self.promise_what_is_seen();
        result
    }

    fn ask(&mut self, act: Act, time: u64, level: Option<Durability>, wait: bool) -> Result<()> {
        if act.looks_at_published() {
            self.publish()?;
        }
        let level = level.unwrap_or(self.durability);
        let marks = level == Buffered && self.unsynced != Unsynced::Surely;
        if marks {
            self.set_unsynced(Unsynced::Perhaps);
        }
        let store = self.store().at(level);
        self.acts.push((time, act));
        let (_, act) = self.acts.last().expect("just pushed");
        let mut asked = act.ask(&store, time);
        // A file that could not be prepared may have stopped a removal half-way; it goes on where it was.
        if matches!(&asked, Asked::Removed(Err(error), _) if error.kind() != ErrorKind::Unknown) {
            asked = act.ask(&store, time);
        }
        drop(store);
        // What is answered at once may have been refused before it came to the store.
        let is_done = asked.is_done();
        if marks && !is_done {
            self.set_unsynced(Unsynced::Surely);
        }
        if !wait && !is_done {
            self.kept.push((asked, level));
            return if self.kept.len() > 5 { self.wait_for_oldest() } else { Ok(()) };
        }
        let result = asked.wait();
        // A removal is many changes, the first of which may be there although it failed.
        let is_removal = matches!(self.acts.last(), Some((_, Act::RemoveUser(..))));
        if result.as_ref().is_err_and(leaves_no_trace) && !is_removal {
            self.acts.pop();
        }
        result.map(|version| self.promise(level, version))
    }

    /// Everything asked for so far becomes visible.
    fn publish(&mut self) -> Result<()> {
        while !self.kept.is_empty() {
            self.wait_for_oldest()?;
        }
        if self.durability == Buffered {
            return Ok(());
        }
        self.store().sync()?;
        self.promise(Sync, self.store().version().0);
        Ok(())
    }

    fn wait_for_oldest(&mut self) -> Result<()> {
        let (asked, level) = self.kept.remove(0);
        asked.wait().map(|version| self.promise(level, version))
    }

    fn back_up(&mut self) -> Result<()> {
        let path = PathBuf::from(format!("copy-{}", self.promises.copies.len()));
        self.promises.copies.push(Copy { begun_at: self.now(), path: path.clone(), done: None });
        let made = self.store().backup(path)?;
        let done = Some((self.now(), made.version.0));
        self.promises.copies.last_mut().expect("it was begun").done = done;
        Ok(())
    }

    fn reopen(&mut self, durability: Durability) -> Result<()> {
        self.kept.clear();
        let begun_at = self.now();
        if self.unsynced == Unsynced::Surely {
            self.set_unsynced(Unsynced::Perhaps);
        }
        let store = self.store.take().expect("a store is open");
        let (epoch, reader) = (store.epoch(), store.clone());
        store.close()?;
        let (done_at, version) = (self.now(), reader.version().0);
        drop(reader);
        self.promise(Sync, version);
        self.durability = durability;
        self.set_epoch(epoch, if durability == Buffered { Unsynced::Perhaps } else { Unsynced::Never });
        self.open()?;
        let clean_until = if durability == Buffered { done_at + 1 } else { self.now() };
        self.promises.closes.push(Close { begun_at, done_at, clean_until, version });
        let store = self.store();
        assert!(store.recovery().clean && !store.recovery().new_epoch, "{:?}", store.recovery());
        assert_eq!((store.version().0, store.epoch()), (version, epoch));
        Ok(())
    }

    /// The next process finds all that the killed one had handed to the operating system.
    fn kill(&mut self, durability: Durability) -> Result<()> {
        self.kept.clear();
        let next = self.storage.deep_clone();
        self.storage.power_off();
        self.storage = next;
        self.store = None;
        let (epoch, unsynced) = self.promises.epoch(self.now()).expect("a store was open");
        let table = self.tabulate();
        self.keep_table(&table);
        if unsynced == Unsynced::Never && durability == Buffered {
            self.promises.epochs.push(Since { operation: self.now(), what: (epoch, Unsynced::Perhaps) });
        }
        self.durability = durability;
        self.open()?;
        let version = self.store().version().0;
        // What was not even written is gone, and its versions are given again.
        let left = table.iter().rev().find(|row| row.0 == version).map_or(0, |row| row.2);
        self.acts.truncate(left);
        self.table_from = self.now();
        let is_new = self.store().epoch() != epoch;
        let is_right = unsynced == Unsynced::Perhaps || is_new == (unsynced == Unsynced::Surely);
        assert!(is_right, "{unsynced:?} is_new={is_new}: {:?}", self.store().recovery());
        Ok(())
    }

    /// Ends the run; what it promised is complete.
    pub fn finish(&mut self) {
        let table = self.tabulate();
        self.keep_table(&table);
    }

    fn keep_table(&mut self, table: &[(u64, Look, usize)]) {
        let table = table.iter().map(|(version, look, _)| (*version, look.clone())).collect();
        self.promises.tables.push(Since { operation: self.table_from, what: Arc::new(table) });
    }

    /// What a store that nothing ever happened to looks like at each version, and after how many acts.
    fn tabulate(&self) -> Vec<(u64, Look, usize)> {
        let clock = Arc::new(ManualClock::new(Timestamp(START)));
        let options = options(Buffered, &clock).journal_bytes(4 << 20).memory_bytes_max(1 << 30);
        let store = Store::open_on(SimStorage::new(1), options).expect("opens a new store");
        let digest = |store: &Store| store.state_digest().expect("reads its own bytes");
        let mut table = vec![(0, Look::Digest(digest(&store)), 0)];
        for (index, (time, act)) in self.acts.iter().enumerate() {
            clock.set(Timestamp(*time));
            act.ask(&store, *time).wait().expect("nothing fails here");
            let (before, version) = (table.last().map_or(0, |row| row.0), store.version().0);
            if version == before {
                table.last_mut().expect("not empty").2 = index + 1;
                continue;
            }
            let digest = digest(&store);
            if let Act::RemoveUser(user, recall_all) = *act {
                let removal = Removal { user, recall_all, time: *time, version, digest };
                table.extend((before + 1..version).map(|version| (version, Look::Removing(removal), index)));
            }
            table.push((version, Look::Digest(digest), index + 1));
        }
        table
    }
}

/// `Unknown` may have.
fn leaves_no_trace(error: &Error) -> bool {
    error.kind() != ErrorKind::Unknown
}
