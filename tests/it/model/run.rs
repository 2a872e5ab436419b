//! Plays operations against a store and the model at once and compares every answer.
//! Owns: the store under test, its clock and files, durability, restarts. May touch: `world`, `op`, `write`, `ask`.
//! Never: decides what is right; that is the model's work.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use restante::{
    AmendmentCursor, CrashPlan, Cursor, Durability, Epoch, Loss, ManualClock, Options, Peer, ReadMode, RecentCursor,
    SimStorage, Store, Threads, Timestamp,
};

use super::answer::Session;
use super::clocks::Clocks;
use super::draw::{Files, Setup};
use super::follow::Follower;
use super::list::Place;
use super::look::Since;
use super::op::Op;
use super::trap::Traps;
use super::turnover::Turnover;
use super::word::{Lost, Restart, SLOTS, USERS};
use super::world::{JOURNAL_BYTES, World};
use super::write::Kept;
use crate::support::TempDir;

/// Where every run's clock starts.
const START: u64 = 1_700_000_000_000_000;

/// More file operations than any run needs between two restarts.
const OPERATIONS_MAX: u64 = 20_000;

/// What went wrong, in words.
pub type Checked<T = ()> = Result<T, String>;

pub fn same<T: PartialEq + Debug>(what: &str, store: &T, model: &T) -> Checked {
    if store == model {
        return Ok(());
    }
    let (store, model) = (format!("{store:?}"), format!("{model:?}"));
    // Of long answers, where they begin to differ.
    let same = store.bytes().zip(model.bytes()).take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(BEFORE_DIFFERENCE);
    let part = |text: &str| {
        String::from_utf8_lossy(&text.as_bytes()[from..text.len().min(same + AFTER_DIFFERENCE)]).into_owned()
    };
    Err(format!("{what}\n  store: {}\n  model: {}", part(&store), part(&model)))
}

/// How much of two answers is shown around the first difference.
const BEFORE_DIFFERENCE: usize = 400;
const AFTER_DIFFERENCE: usize = 200;

pub fn hold(is_so: bool, what: impl FnOnce() -> String) -> Checked {
    if is_so { Ok(()) } else { Err(what()) }
}

pub fn must<T>(what: &str, result: restante::Result<T>) -> Checked<T> {
    result.map_err(|error| format!("{what} failed: {error:?}"))
}

/// A saved cursor, and what a client that follows it holds.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub cursor: Option<(Cursor, Place)>,
    /// Entries without messages; `None` if the walk did not begin at nothing.
    pub client: Option<BTreeMap<Peer, Session>>,
    /// In the middle of a walk: the version at its last page.
    pub walking: Option<u64>,
}

/// Whether an unclean end now must be, may be or must not be followed by a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unsynced {
    Never,
    Perhaps,
    Surely,
}

pub enum Ground {
    Simulated(Arc<SimStorage>),
    Directory(TempDir, ReadMode),
}

pub struct Run<'a> {
    pub setup: Setup,
    pub clock: Arc<ManualClock>,
    pub clocks: Clocks,
    pub files: Ground,
    store: Option<Store>,
    pub world: World,
    pub kept: Vec<Kept>,
    pub slots: [[Slot; SLOTS]; USERS.len()],
    pub recents: [Option<(RecentCursor, (u64, Peer))>; USERS.len()],
    pub amendments: [Option<(AmendmentCursor, Since)>; USERS.len()],
    pub followers: [Follower; USERS.len()],
    /// Everything up to here survives a power cut.
    durable: u64,
    /// Everything up to here survives the end of the process.
    written: u64,
    unsynced: Unsynced,
    /// The version that the last opening found.
    opened_at: u64,
    crashed_last: bool,
    /// The latest store time that ever was.
    latest_time: u64,
    body_bytes: u64,
    pub turnover: Turnover,
    pub traps: &'a mut Traps,
}

impl<'a> Run<'a> {
    pub fn new(setup: Setup, traps: &'a mut Traps) -> Checked<Run<'a>> {
        let clock = Arc::new(ManualClock::new(Timestamp(START)));
        let files = match setup.files {
            Files::Simulated => Ground::Simulated(SimStorage::new(setup.seed)),
            Files::Mapped => Ground::Directory(TempDir::new("model"), ReadMode::Mapped),
            Files::Pread => Ground::Directory(TempDir::new("model"), ReadMode::Pread),
        };
        let mut run = Run {
            setup,
            clock,
            clocks: Clocks::new(START),
            files,
            store: None,
            world: World::new(Epoch::NONE, START),
            kept: Vec::new(),
            slots: Default::default(),
            recents: Default::default(),
            amendments: Default::default(),
            followers: Default::default(),
            durable: 0,
            written: 0,
            unsynced: Unsynced::Never,
            opened_at: 0,
            crashed_last: false,
            latest_time: START,
            body_bytes: 0,
            turnover: Turnover::default(),
            traps,
        };
        let store = run.open()?;
        hold(store.recovery().created && store.version().is_none(), || format!("new: {:?}", store.recovery()))?;
        run.world.epoch = store.epoch();
        run.opened(store);
        Ok(run)
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("a run has a store between restarts")
    }

    pub fn play(&mut self, op: &Op) -> Checked {
        match op {
            Op::Write(how, write) => self.write(*how, write)?,
            Op::Sync => self.sync()?,
            Op::Wait { newest_first } => self.wait(*newest_first)?,
            Op::Clock(step) => self.set_clock(*step)?,
            Op::History { by, with, ask } => self.ask_history(*by, *with, ask)?,
            Op::Amendments { by, with, again, limit } => self.ask_amendments(*by, *with, *again, *limit)?,
            Op::Receipts { by, with, seq, after, limit } => {
                self.ask_receipts(*by, *with, self.point(*by, *with, *seq), *after, *limit)?;
            }
            Op::Members { group, after, limit } => self.ask_members(*group, *after, *limit)?,
            Op::GroupsOf { by, after, limit } => self.ask_groups(*by, *after, *limit)?,
            Op::Find(post) => self.ask_find(post)?,
            Op::Changed { by, slot, page, through_bytes } => {
                self.ask_changed(*by, *slot, page, None, *through_bytes)?;
            }
            Op::CatchUp { by, slot, page, messages, bytes } => {
                let most = (messages.unwrap_or(1_000), bytes.unwrap_or(1 << 20));
                self.ask_changed(*by, *slot, page, Some(most), false)?;
            }
            Op::Follow { by, limit, messages, bytes, whole } => {
                self.follow(*by, *limit, (*messages, *bytes), *whole)?;
            }
            Op::ReadOn { by } => self.read_on(*by)?,
            Op::Since { by, slot, page, time } => self.ask_since(*by, *slot, page, *time)?,
            Op::Recent { by, again, page } => self.ask_recent(*by, *again, page)?,
            Op::Totals { by } => self.ask_totals(*by)?,
            Op::Forget { by, slot } => self.slots[*by as usize][*slot] = Slot::default(),
            Op::Copy { by, source, target } => {
                self.slots[*by as usize][*target] = self.slots[*by as usize][*source].clone();
            }
            Op::Restart(restart) => self.restart(*restart)?,
            Op::Seal => self.seal()?,
            Op::Purge => self.purge()?,
            Op::Backup => self.back_up()?,
            Op::Verify => self.verify()?,
            Op::Pause(pause) => self.pause(*pause)?,
            Op::Crowd { first, looks } => self.crowd(*first, *looks)?,
            Op::Look => {
                self.sync()?;
                self.compare_all()?;
            }
        }
        self.crashed_last = matches!(op, Op::Restart(Restart::Crash(..)));
        self.latest_time = self.latest_time.max(self.world.sequenced().store_time());
        self.publish(0)
    }

    // Time and durability.

    pub fn sync(&mut self) -> Checked {
        must("sync", self.store().sync())?;
        let all = self.world.sequenced().state.version();
        self.durable = all;
        self.written = all;
        self.publish(all)
    }

    /// Looks up what is published now; it must be at least `least`.
    fn publish(&mut self, least: u64) -> Checked {
        let version = self.store().version().get();
        let (least, most) = (least.max(self.world.published()), self.world.sequenced().state.version());
        hold(least <= version && version <= most, || {
            format!("published version must be in {least}..={most}, is {version}")
        })?;
        self.world.publish(version);
        self.written = self.written.max(version);
        if self.setup.durability == Durability::Sync {
            self.durable = self.durable.max(version);
        }
        Ok(())
    }

    fn wait(&mut self, newest_first: bool) -> Checked {
        let mut kept = std::mem::take(&mut self.kept);
        if newest_first {
            kept.reverse();
            self.traps.hit_if(kept.len() > 1, "ticket: waited out of order");
        }
        kept.into_iter().try_for_each(|kept| self.acknowledge(kept))
    }

    /// Waits for a change, checks what it says, and notes what may no longer be lost or unseen.
    pub fn acknowledge(&mut self, kept: Kept) -> Checked {
        let Kept { level, rests_on, changed, label, check } = kept;
        check()?;
        if level == Durability::Sync && !changed && rests_on > self.durable {
            self.cut_power_after(&label, rests_on)?;
        }
        self.written = self.written.max(rests_on);
        match (level, self.setup.durability) {
            (Durability::Sync, _) => {
                self.durable = self.durable.max(rests_on);
                self.publish(rests_on)
            }
            (Durability::Buffered, Durability::Buffered) => self.publish(rests_on),
            (Durability::Buffered, Durability::Sync) => {
                self.publish(0)?;
                if changed && rests_on > self.durable {
                    self.unsynced = Unsynced::Surely;
                    self.traps.hit("ticket: buffered call not seen in a sync store");
                }
                Ok(())
            }
        }
    }

    /// What an answer of a `Sync` call rests on must survive a power cut right after it, also where the call
    /// changed nothing: else the caller builds on what never was.
    fn cut_power_after(&mut self, label: &str, least: u64) -> Checked {
        let Ground::Simulated(storage) = &self.files else { return Ok(()) };
        let plan = CrashPlan { seed: self.setup.seed, loss: Loss::All };
        let image = storage.crash_at(storage.operations(), plan);
        let store = must("open after a power cut", Store::open_on(image, self.options()))?;
        let version = store.version().get();
        self.traps.hit("ticket: an answer without a change waits for what it rests on");
        hold(least <= version, || format!("{label}: the answer rests on version {least}, a power cut leaves {version}"))
    }

    /// A `Buffered` call in a `Sync` store may be told before it is synced.
    pub fn note_level(&mut self, level: Durability) {
        if level == Durability::Buffered && self.setup.durability == Durability::Sync {
            self.unsynced = self.unsynced.max(Unsynced::Perhaps);
        }
    }

    pub fn note_bytes(&mut self, bytes: usize) {
        self.body_bytes += bytes as u64;
    }

    /// For the traps: what only a run knows.
    pub fn latest_time(&self) -> u64 {
        self.latest_time
    }

    // Restarts.

    fn restart(&mut self, restart: Restart) -> Checked {
        let is_simulated = matches!(self.files, Ground::Simulated(_));
        match restart {
            Restart::Crash(lost, seed) if is_simulated => self.crash(lost, seed),
            restart => self.close_and_open(restart == Restart::Close),
        }
    }

    pub fn close_and_open(&mut self, by_close: bool) -> Checked {
        let all = self.world.sequenced().state.version();
        let digest = match all == self.world.published() {
            true => Some(must("digest", self.store().state_digest())?),
            false => None,
        };
        self.kept.clear();
        self.note_work();
        let store = self.store.take().expect("a run has a store between restarts");
        if by_close {
            must("close", store.close())?;
        } else {
            drop(store);
        }
        let store = self.open()?;
        let recovery = store.recovery();
        hold(recovery.clean && !recovery.created && !recovery.new_epoch && recovery.cut.is_none(), || {
            format!("after a clean close: {recovery:?}")
        })?;
        same("version after a clean close", &store.version().get(), &all)?;
        same("epoch after a clean close", &store.epoch(), &self.world.epoch)?;
        if let Some(digest) = digest {
            same("digest after a clean close", &must("digest", store.state_digest())?, &digest)?;
        }
        self.opened(store);
        self.compare_all()
    }

    fn crash(&mut self, lost: Lost, seed: u64) -> Checked {
        let Ground::Simulated(storage) = &self.files else { return Ok(()) };
        let loss = match lost {
            Lost::Nothing => Loss::Nothing,
            Lost::All => Loss::All,
            Lost::Prefix => Loss::Prefix,
            Lost::Random => Loss::Random,
        };
        let image = storage.crash_at(storage.operations(), CrashPlan { seed, loss });
        // The old process is dead: what its handles do from now on reaches nothing.
        storage.power_off();
        self.files = Ground::Simulated(image);
        self.kept.clear();
        self.note_work();
        drop(self.store.take());

        let store = self.open()?;
        let recovery = store.recovery();
        let (version, all) = (store.version().get(), self.world.sequenced().state.version());
        // Where nothing since the store was opened survives, its last clean end is the last thing that does.
        let may_be_clean = version == self.opened_at;
        hold(!recovery.created && (!recovery.clean || may_be_clean), || format!("after a crash: {recovery:?}"))?;
        let least = if lost == Lost::Nothing { self.written } else { self.durable };
        hold(least <= version && version <= all, || {
            format!("a crash with {lost:?} lost must leave version {least}..={all}, left {version}")
        })?;
        if let Some(change) = (version as usize).checked_sub(1).map(|index| &self.world.log[index]) {
            hold(change.batch_end == version, || format!("a crash cut a batch: {change:?}"))?;
        }
        let old_epoch = self.world.epoch;
        let is_new = store.epoch() != old_epoch;
        same("recovery says whether the epoch is new", &recovery.new_epoch, &is_new)?;
        let unsynced = match self.setup.durability {
            Durability::Buffered => Unsynced::Surely,
            Durability::Sync => self.unsynced,
        };
        hold(unsynced == Unsynced::Perhaps || is_new == (unsynced == Unsynced::Surely), || {
            format!("new epoch after a crash: {is_new}, something unsynced was told: {unsynced:?}")
        })?;

        self.traps.hit_if(version < self.world.published(), "crash: loses what was seen");
        self.traps.hit_if(version < all && version >= self.world.published(), "crash: loses what was not seen");
        self.traps.hit_if(version == all && !is_new, "crash: loses nothing, no new epoch");
        self.traps.hit_if(self.crashed_last, "crash: second in a row");
        let first_lost = self.world.log.get(version as usize);
        self.traps.hit_if(first_lost.is_some_and(|it| it.batch_end > it.version), "crash: takes a batch whole");

        self.world.cut(version);
        if is_new {
            self.world.ends.push((old_epoch, version));
            self.world.epoch = store.epoch();
        }
        self.opened(store);
        self.compare_all()
    }

    pub fn options(&self) -> Options {
        self.setup.sizes.set(options(self.setup.durability, &self.clock))
    }

    fn open(&self) -> Checked<Store> {
        let options = self.options();
        must(
            "open",
            match &self.files {
                Ground::Simulated(storage) => {
                    // A store that goes round in circles shall fail, not fill the memory.
                    storage.fail_from(OPERATIONS_MAX, std::io::ErrorKind::Other);
                    Store::open_on(storage.clone(), options)
                }
                Ground::Directory(dir, mode) => Store::open(dir.path(), options.read_mode(*mode)),
            },
        )
    }

    fn opened(&mut self, store: Store) {
        self.clocks_begin();
        let version = store.version().get();
        self.world.publish(version);
        self.durable = version;
        self.written = version;
        self.unsynced = Unsynced::Never;
        self.opened_at = version;
        self.store = Some(store);
        self.turnover.begin();
    }

    pub fn note_end(&mut self) {
        self.traps.hit_if(self.body_bytes > 2 * JOURNAL_BYTES, "store: more than one journal file");
    }
}

pub fn options(durability: Durability, clock: &Arc<ManualClock>) -> Options {
    let options = Options::default().durability(durability).journal_bytes(JOURNAL_BYTES);
    options.clock(clock.clone()).threads(Threads::Inline).maintain(false)
}
