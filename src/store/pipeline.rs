//! The one path of a change: sequenced, written to the journal, applied, published.
//! Owns: the locks, who writes, who syncs, who publishes. May touch: `journal`, `state`, `storage`.
//! Never: lets a reader wait for a sync, or a second way into the state.
//!
//! Locks, always taken in this order: round, merging, sealing, closing, writer, committing, spare, sequencer, state, progress.

use super::clock::WatchedClock;
use super::noted::Notes;
use super::open::Opening;
use super::options::{Durability, Options, Threads};
use super::progress::Progress;
use super::rounds::Rounds;
use super::sealing::{Sealing, SegmentIds, UNSEALED_MAX};
use super::shared::SharedState;
use super::statistics::{Counters, add};
use crate::change::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::journal::{
    CommitPoint, Epochs, Installed, JournalFile, LiveFile, LocalSync, Manifest, OpenMark, Place, RecoverOptions,
    Recovery, Spare, SyncPoint, Writer, prepare_spare, recover,
};
use crate::state::{Answer, Decided, Needs, Sequenced, Sequencer, Stale, State, take_misses};
use crate::storage::{Storage, StorageLock};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Once so many bytes of a `Buffered` store are not synced, the background thread syncs at once.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;
/// A `Buffered` store is synced after this time at the latest.
const BUFFERED_SYNC_DELAY: Duration = Duration::from_secs(1);
/// This part of a journal file is kept for what frees and marks while no next file can be made.
const RESERVE_PART: u64 = 16;
/// How long, at most, the leader of a group waits for those it expects.
const GATHER_MAX: Duration = Duration::from_micros(300);

/// Everything behind a store's handles.
pub(crate) struct Pipeline {
    pub options: Options,
    pub recovery: Recovery,
    pub epochs: Epochs,
    pub progress: Progress,
    pub clock: WatchedClock,
    pub rounds: Rounds,
    pub storage: Arc<dyn Storage>,
    commit_point: Box<dyn CommitPoint>,
    sequencer: Mutex<Sequencer>,
    writer: Mutex<WriterSide>,
    spare: Mutex<Option<Spare>>,
    state: SharedState,
    /// Something may be acknowledged before it is synced, and the journal says so.
    unsynced_marked: AtomicBool,
    /// Calls that queued something, and how many there had been at each of the last three syncs.
    calls: AtomicU64,
    calls_synced: [AtomicU64; 3],
    /// Held while a sync runs.
    committing: Mutex<()>,
    /// No file is touched any more. Set under the writer's and the spare's lock.
    closed: AtomicBool,
    closing: Mutex<Closing>,
    pub is_read_only: bool,
    pub uuid: [u8; 16],
    /// What the hashes of client ids in rows begin with.
    pub dedup_seed: u64,
    /// Held while a journal is sealed, or segments are installed.
    pub sealing: Mutex<Sealing>,
    pub sealing_ids: SegmentIds,
    /// Held while something is merged.
    pub merging: Mutex<()>,
    pub merges_paused: AtomicBool,
    /// The version at which it was last looked whether memory is short.
    pub memory_checked: AtomicU64,
    /// How full the last journal was that was closed because memory was short; 0 if the last one was full.
    pub early_roll_bytes: AtomicU64,
    pub statistics: Counters,
    pub notes: Notes,
}

/// The directory's lock, and what became of the store once it is let go.
struct Closing {
    lock: Option<Box<dyn StorageLock>>,
    result: Option<Result<()>>,
}

/// The newest end of the journal, and what is written but not published.
struct WriterSide {
    writer: Writer,
    /// Counts the files that this run has filled, as the sequencer does.
    file_number: u64,
    /// Emptied and filled again, so that no append allocates a queue.
    taken: Vec<Sequenced>,
    written: Vec<Written>,
    unsynced_bytes: u64,
}

/// A change that lies in the journal and waits to be published.
struct Written {
    item: Sequenced,
    place: Place,
}

impl Pipeline {
    /// Opens or makes the store in `storage`.
    pub fn open(storage: Arc<dyn Storage>, options: Options) -> Result<Pipeline> {
        options.check()?;
        let lock = storage.lock().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                let path = storage.path("");
                Error::new(ErrorKind::Locked, format!("another process has the store open: path={}", path.display()))
            }
            _ => Error::io("lock", &storage.path(""), error),
        })?;
        let unsynced = options.durability == Durability::Buffered;
        let how = RecoverOptions { journal_bytes: options.journal_bytes, unsynced };
        let is_read_only = storage.is_read_only();
        let mut opening = Opening::new(&storage);
        let recovered = recover(&storage, &how, &mut opening)?;
        let Opening { mut state, dedup_seed, .. } = opening;
        let mut files = (*state.files).clone();
        recovered.files.into_iter().for_each(|file| files.add(file));
        state.files = Arc::new(files);
        let uuid = recovered.end.current.header.uuid;
        let dedup_seed = dedup_seed.unwrap_or(xxhash_rust::xxh3::xxh3_64(&uuid));
        let writer = Writer::new(storage.clone(), recovered.end);
        let reserve = options.journal_bytes / RESERVE_PART;
        let next_segment = writer.manifest().next_segment;
        let sequencer = Sequencer::new(&state, writer.room(), reserve);
        let version = state.version;
        Ok(Pipeline {
            recovery: recovered.report,
            epochs: writer.open_mark().epochs.clone(),
            progress: Progress::new(version),
            clock: WatchedClock::new(options.clock.clone()),
            rounds: Rounds::default(),
            storage,
            commit_point: Box::new(LocalSync),
            sequencer: Mutex::new(sequencer),
            unsynced_marked: AtomicBool::new(writer.open_mark().unsynced),
            writer: Mutex::new(WriterSide {
                writer,
                file_number: 0,
                taken: Vec::new(),
                written: Vec::new(),
                unsynced_bytes: 0,
            }),
            spare: Mutex::new(None),
            state: SharedState::new(state),
            calls: AtomicU64::new(0),
            calls_synced: [const { AtomicU64::new(0) }; 3],
            committing: Mutex::new(()),
            closed: AtomicBool::new(false),
            closing: Mutex::new(Closing { lock: Some(lock), result: None }),
            is_read_only,
            uuid,
            dedup_seed,
            sealing: Mutex::default(),
            sealing_ids: SegmentIds::new(next_segment),
            merging: Mutex::new(()),
            merges_paused: AtomicBool::new(false),
            memory_checked: AtomicU64::new(version),
            early_roll_bytes: AtomicU64::new(0),
            statistics: Counters::default(),
            notes: Notes::default(),
            options,
        })
    }

    /// What is published. Held only to gather: never while a message is read or anything waits.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The same, for whoever takes in what is on disk or lets it go.
    pub fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }

    /// Long work on what is in memory, in steps between which others have it; see [`SharedState::in_steps`].
    pub fn in_steps(&self, step: impl FnMut(&mut State) -> bool) {
        self.state.in_steps(step);
    }

    /// The clock, within the range the store takes.
    pub fn now(&self) -> u64 {
        self.clock.time().now.0
    }

    /// Runs `decide` on the sequencer until it has all it needs. `recheck`, which may read messages,
    /// fetches again what was found stale.
    pub fn sequence<C: ?Sized, T>(
        &self,
        durability: Durability,
        call: &mut C,
        needs: impl Fn(&C, &Sequencer, &mut Needs<'_>),
        mut decide: impl FnMut(&mut C, &mut Sequencer, &State, u64) -> Answer<T>,
        mut recheck: impl FnMut(&mut C) -> Result<()>,
    ) -> Result<Decided<T>> {
        self.check_writable()?;
        if durability == Durability::Buffered && !self.unsynced_marked.load(Ordering::Acquire) {
            self.mark_unsynced().map_err(|error| self.refusal(error))?;
        }
        let mut lacking = None;
        loop {
            let answer = {
                let mut sequencer = self.sequencer();
                let queued = sequencer.forming.len();
                let state = self.state();
                let mut needed = Needs::new(&state);
                if !state.is_all_here() {
                    needs(call, &sequencer, &mut needed);
                    take_misses();
                }
                let answer = if needed.are_met() {
                    if !state.is_all_here() {
                        add(&self.statistics.hits.0, 1);
                    }
                    decide(call, &mut sequencer, &state, self.now())
                } else {
                    Err(Stale::Missing)
                };
                if sequencer.forming.len() > queued {
                    self.calls.fetch_add(1, Ordering::Relaxed);
                    needed.keep(sequencer.last_version());
                    debug_assert_eq!(take_misses(), [], "a change is decided with all it needs in memory");
                }
                if !needed.are_met() {
                    lacking = Some((state.segments.clone(), needed.into_missing()));
                }
                answer
            };
            match answer {
                Ok(decided) => {
                    // What others are to see goes to the operating system within the call.
                    if durability == Durability::Buffered && self.progress.written() < decided.rests_on {
                        self.write_forming()?;
                    }
                    if self.options.threads == Threads::Background {
                        self.arm_sync(decided.rests_on);
                    }
                    return Ok(decided);
                }
                Err(Stale::Recheck) => recheck(call)?,
                Err(Stale::Pending(version)) => self.publish_up_to(version).map_err(|error| self.refusal(error))?,
                Err(Stale::Missing) => {
                    let (segments, missing) = lacking.take().expect("it was kept with the answer");
                    self.load(&segments, &missing)?;
                }
                Err(Stale::NeedsRoom) => self.make_room().map_err(|error| self.refusal(error))?,
            }
        }
    }

    /// Returns once `version` is published.
    fn publish_up_to(&self, version: u64) -> Result<()> {
        match self.options.durability {
            Durability::Sync => self.sync_to(version),
            Durability::Buffered => self.write_forming(),
        }
    }

    /// What a call is told that has queued nothing yet and met a failure.
    fn refusal(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Unknown => self.sequencer().refuses.clone().unwrap_or(error),
            _ => error,
        }
    }

    /// Returns once `version` is as durable as asked, and published if that goes with it.
    pub fn reach(&self, version: u64, durability: Durability) -> Result<()> {
        match durability {
            Durability::Buffered if self.progress.written() >= version => Ok(()),
            Durability::Buffered => self.write_forming(),
            Durability::Sync => self.sync_to(version),
        }
    }

    /// Everything sequenced so far is durable and published on return.
    pub fn sync_all(&self) -> Result<()> {
        if self.is_read_only {
            return Ok(());
        }
        let version = {
            let sequencer = self.sequencer();
            match &sequencer.refuses {
                Some(error) => return Err(error.clone()),
                None => sequencer.last_version(),
            }
        };
        self.sync_to(version)
    }

    /// Writes what is sequenced. In a `Buffered` store it is published, too.
    fn write_forming(&self) -> Result<()> {
        let mut side = self.writer();
        self.progress.check()?;
        std::mem::swap(&mut self.sequencer().forming, &mut side.taken);
        self.write_taken(&mut side)
    }

    /// Writes what was taken from the sequencer.
    fn write_taken(&self, side: &mut WriterSide) -> Result<()> {
        let Some(last) = side.taken.last().map(|item| item.commit.version) else {
            return Ok(());
        };
        let mut start = side.writer.position();
        let (mut reserved, mut payload, mut journal) = (0, 0, 0);
        let mut taken = std::mem::take(&mut side.taken);
        let mut result = Ok(());
        for item in taken.drain(..) {
            if item.rolls {
                journal += side.writer.position() - start;
                // It was full before memory was short.
                let early = self.early_roll_bytes.load(Ordering::Relaxed);
                let longer = if early < self.options.journal_bytes { 2 * early } else { 0 };
                self.early_roll_bytes.store(longer, Ordering::Relaxed);
                result = self.roll(side);
                if result.is_err() {
                    break;
                }
                start = side.writer.position();
                reserved = 0;
            }
            reserved += item.bytes_max;
            payload += payload_bytes(&item.change, item.tail.len());
            let place = side.writer.push(&item.change, &item.tail, item.commit, item.joined);
            side.written.push(Written { item, place });
        }
        side.taken = taken;
        if let Err(error) = result.and_then(|()| side.writer.flush()) {
            return Err(self.poison(error));
        }
        let used = side.writer.position() - start;
        side.unsynced_bytes += used;
        add(&self.statistics.payload_bytes, payload);
        add(&self.statistics.journal_bytes, journal + used);
        let file_number = side.file_number;
        if self.options.durability == Durability::Buffered {
            self.publish(&mut side.written, Some((file_number, reserved - used)));
            if side.unsynced_bytes > UNSYNCED_BYTES_MAX {
                self.progress.kick_sync(Instant::now());
            }
        } else {
            self.sequencer().written(file_number, reserved - used);
        }
        self.progress.set_written(last);
        Ok(())
    }

    /// Applies and lets readers see. Called by one thread at a time, in version order.
    fn publish(&self, written: &mut Vec<Written>, unused: Option<(u64, u64)>) {
        let Some(version) = written.last().map(|last| last.item.commit.version) else {
            return;
        };
        let mut state = self.state.write();
        for Written { item, place } in written.iter() {
            state.apply(&item.change, &item.tail, *place, item.commit);
        }
        drop(state);
        written.clear();
        self.check_memory(version);
        let mut sequencer = self.sequencer();
        sequencer.overlay.published(version);
        if let Some((file_number, unused)) = unused {
            sequencer.written(file_number, unused);
        }
    }

    /// Goes on in the next journal file.
    fn roll(&self, side: &mut WriterSide) -> Result<()> {
        if side.writer.closed_unsynced() {
            // At most one closed file is not synced, or recovery would have to doubt more than two.
            let point = side.writer.sync_point();
            self.commit(&point)?;
            side.writer.synced(&point)?;
        }
        // Held until the file has its own name: who prepares the next one meanwhile would find this one
        // under the spare's name, and zero it.
        let mut spare = self.spare();
        let ready = spare.take().expect("the sequencer rolls only to a file that is ready");
        let file = side.writer.roll(ready)?;
        drop(spare);
        side.file_number += 1;
        add(&self.statistics.journal_bytes, side.writer.position());
        let mut state = self.state.write();
        let mut files = (*state.files).clone();
        files.add(file);
        state.files = Arc::new(files);
        drop(state);
        self.progress.kick_prepare();
        self.progress.kick_seal();
        self.progress.kick_sync(Instant::now());
        Ok(())
    }

    /// Makes everything up to `version` durable: one thread syncs for all who wait meanwhile.
    pub fn sync_to(&self, version: u64) -> Result<()> {
        while self.progress.lead_or_wait(version)? {
            let result = self.lead();
            self.progress.wake();
            result?;
        }
        Ok(())
    }

    /// Syncs for all who wait. Wakes no task.
    fn lead(&self) -> Result<()> {
        let _lead = Lead(&self.progress);
        self.sync_group()
    }

    fn sync_group(&self) -> Result<()> {
        self.gather();
        self.write_forming()?;
        let calls = self.calls.load(Ordering::Relaxed);
        let (point, mut unpublished) = {
            let mut side = self.writer();
            // A failed write leaves changes queued that lie in no file.
            self.progress.check()?;
            side.unsynced_bytes = 0;
            (side.writer.sync_point(), std::mem::take(&mut side.written))
        };
        let started = Instant::now();
        self.commit(&point)?;
        self.publish(&mut unpublished, None);
        self.statistics.syncs.group(calls.saturating_sub(self.calls_synced[0].load(Ordering::Relaxed)));
        let mut calls = calls;
        for mark in &self.calls_synced {
            calls = mark.swap(calls, Ordering::Relaxed);
        }
        self.progress.set_synced(point.version, started.elapsed());
        self.note_synced(&point, unpublished)
    }

    /// One sync at a time, and none after one that failed: the operating system tells of a failure
    /// once, and a second sync would report success over bytes that are lost.
    fn commit(&self, point: &SyncPoint) -> Result<()> {
        let _one_at_a_time = self.committing.lock().expect("no thread panicked while it synced");
        self.progress.check()?;
        let started = Instant::now();
        self.commit_point.commit(point).map_err(|error| self.poison(error))?;
        self.statistics.syncs.took(started.elapsed());
        Ok(())
    }

    fn note_synced(&self, point: &SyncPoint, emptied: Vec<Written>) -> Result<()> {
        let mut side = self.writer();
        if side.written.capacity() == 0 {
            side.written = emptied;
        }
        side.writer.synced(point).map_err(|error| self.poison(error))
    }

    /// Waits a little for the callers that the last sync woke, so that they share the next one: without
    /// this, half of them always miss it. Who is alone does not wait.
    fn gather(&self) {
        let [last, before, long_before] =
            [0, 1, 2].map(|index: usize| self.calls_synced[index].load(Ordering::Relaxed));
        let expected = (last - before).max(before - long_before);
        if expected <= 1 {
            return;
        }
        let patience = (self.progress.sync_time() / 2).min(GATHER_MAX);
        let started = Instant::now();
        while self.calls.load(Ordering::Relaxed) - last < expected && started.elapsed() < patience {
            std::thread::yield_now();
        }
    }

    /// Before the first change that is acknowledged before it is synced: says so in the journal, synced.
    fn mark_unsynced(&self) -> Result<()> {
        let mut side = self.writer();
        self.check_open()?;
        self.progress.check()?;
        if side.writer.open_mark().unsynced {
            return Ok(());
        }
        let open = OpenMark { unsynced: true, epochs: self.epochs.clone() };
        side.writer.write_open_mark(open).map_err(|error| self.poison(error))?;
        let point = side.writer.sync_point();
        self.commit(&point)?;
        side.writer.synced(&point).map_err(|error| self.poison(error))?;
        self.unsynced_marked.store(true, Ordering::Release);
        Ok(())
    }

    /// Gets the next journal file ready within the call.
    fn make_room(&self) -> Result<()> {
        // A roll that is queued but not done still holds the last spare.
        self.write_forming()?;
        if self.options.threads == Threads::Inline {
            self.seal_all()?;
            while self.merge_next()? {}
        } else if self.unsealed_count() >= UNSEALED_MAX {
            // Who writes faster than can be sealed seals, too: what waits stays bounded.
            add(&self.statistics.stalls, 1);
            let started = Instant::now();
            self.seal_next()?;
            events::stalled(started.elapsed());
        }
        self.prepare_next().map_err(|error| match error.kind() {
            ErrorKind::Full => {
                Error::new(ErrorKind::Full, "no room on the disk for another journal file").caused_by(error)
            }
            _ => error,
        })
    }

    /// How long the next journal file is to be: as long as the options say, but shorter while memory makes sealings
    /// come early, since the rest of each would be zeros.
    fn next_journal_bytes(&self) -> u64 {
        let most = self.options.journal_bytes;
        // Twice the largest batch, which is a quarter of a file.
        let least = most.min(most.div_ceil(2).min(2 * crate::journal::BATCH_BYTES_MAX as u64) + (64 << 10));
        match self.early_roll_bytes.load(Ordering::Relaxed) {
            0 => most,
            bytes => (bytes + bytes / 4).clamp(least, most),
        }
    }

    /// How many closed journals are not sealed.
    fn unsealed_count(&self) -> usize {
        self.writer().writer.manifest().unsealed().len()
    }

    /// How much of the present journal file is used.
    pub fn journal_position(&self) -> u64 {
        self.writer().writer.position()
    }

    /// Goes on in a new journal file at once, so that the present one can be sealed.
    pub fn roll_now(&self) -> Result<()> {
        self.check_writable()?;
        loop {
            self.write_forming()?;
            self.prepare_next()?;
            let mut side = self.writer();
            self.check_open()?;
            self.progress.check()?;
            {
                // What is queued by now goes to the present file, all that comes after to the next: decided at once, or
                // busy writers would keep this from ever happening.
                let mut sequencer = self.sequencer();
                if !sequencer.rolls_now() {
                    continue;
                }
                std::mem::swap(&mut sequencer.forming, &mut side.taken);
            }
            self.write_taken(&mut side)?;
            return self.roll(&mut side).map_err(|error| self.poison(error));
        }
    }

    /// The closed journals that are not sealed, oldest first.
    pub fn unsealed(&self) -> Vec<LiveFile> {
        self.writer().writer.manifest().unsealed().to_vec()
    }

    /// The newest end of the journal, all of it synced: the list of live files, the newest journal, where it ends, and
    /// with which version.
    pub fn synced_end(&self) -> Result<(Manifest, Arc<JournalFile>, u64, u64)> {
        self.sync_all()?;
        self.write_forming()?;
        let mut side = self.writer();
        self.check_open()?;
        self.progress.check()?;
        let side = &mut *side;
        let point = side.writer.sync_point();
        self.commit(&point)?;
        side.writer.synced(&point).map_err(|error| self.poison(error))?;
        let current = point.files.last().cloned().expect("a sync covers the newest file");
        Ok((side.writer.manifest().clone(), current.clone(), current.end(), point.version))
    }

    /// What the journal says of the live files.
    pub fn manifest<T>(&self, look: impl FnOnce(&Manifest) -> T) -> T {
        look(self.writer().writer.manifest())
    }

    /// Writes to the journal, synced, that the manifest changes; false if the present journal has no room.
    pub fn write_install(&self, install: impl FnOnce(&Manifest) -> Installed) -> Result<bool> {
        let mut side = self.writer();
        self.check_open()?;
        self.progress.check()?;
        let installed = install(side.writer.manifest());
        if !side.writer.can_rest_on(&installed) {
            // Another synced it and has not noted it yet; or nothing in it needed a sync.
            let point = side.writer.sync_point();
            self.commit(&point)?;
            side.writer.synced(&point).map_err(|error| self.poison(error))?;
        }
        let start = side.writer.position();
        if !side.writer.install(&installed).map_err(|error| self.poison(error))? {
            return Ok(false);
        }
        add(&self.statistics.journal_bytes, side.writer.position() - start);
        let point = side.writer.sync_point();
        self.commit(&point)?;
        side.writer.synced(&point).map_err(|error| self.poison(error))?;
        Ok(true)
    }

    /// Makes a spare file if there is none.
    pub fn prepare_next(&self) -> Result<()> {
        let (length, room) = {
            let side = self.writer();
            let length = side.writer.next_length(self.next_journal_bytes());
            (length, side.writer.room_of_next(length))
        };
        let mut spare = self.spare();
        self.check_open()?;
        if spare.is_none() {
            *spare = Some(prepare_spare(&*self.storage, length)?);
            add(&self.statistics.prepared_bytes, length);
            self.sequencer().next_file_is_ready(room);
        }
        Ok(())
    }

    /// Remembers that a write or sync failed: the disk is not tried again, and nothing more is taken.
    fn poison(&self, error: Error) -> Error {
        events::poisoned(&error);
        let refusal = Error::new(ErrorKind::Poisoned, "an earlier write or sync failed").caused_by(error.clone());
        // Refused first: who was told of the failure begins nothing more.
        self.sequencer().refuses.get_or_insert(refusal);
        self.progress.fail(&error);
        self.progress.unknown()
    }

    /// Syncs and marks the store closed. Handles that are left get `Closed`. Who calls it again gets
    /// the same answer.
    pub fn close(&self) -> Result<()> {
        if !self.closed.load(Ordering::Acquire) {
            self.seal_for_close();
            self.close_notes();
        }
        let result = self.close_once();
        self.progress.wake();
        result
    }

    /// Wakes no task: a waker may close the store itself, and would wait for this.
    fn close_once(&self) -> Result<()> {
        let mut closing = self.closing.lock().expect("no thread panicked while it closed the store");
        if let Some(result) = &closing.result {
            return result.clone();
        }
        let (version, refused) = {
            let mut sequencer = self.sequencer();
            let refused = sequencer.refuses.replace(closed());
            (sequencer.last_version(), refused)
        };
        let sync = || {
            while self.progress.lead_or_wait(version)? {
                self.lead()?;
            }
            Ok(())
        };
        let synced = refused.map_or(Ok(()), Err).and_then(|()| sync());
        let mut side = self.writer();
        let result = synced.and_then(|()| self.mark_closed(&mut side));
        // From here on nothing is written or prepared, so that the directory may be another's.
        let spare = self.spare();
        self.closed.store(true, Ordering::Release);
        drop((spare, side));
        closing.lock = None;
        closing.result = Some(result.clone());
        result
    }

    fn mark_closed(&self, side: &mut WriterSide) -> Result<()> {
        if self.is_read_only || side.writer.ends_closed() {
            return Ok(());
        }
        let sync = |side: &mut WriterSide| {
            let point = side.writer.sync_point();
            self.commit(&point)?;
            side.writer.synced(&point)?;
            Ok(point)
        };
        let mut mark = || {
            sync(side)?;
            side.writer.write_close_mark()?;
            let point = sync(side)?;
            // The stamp, too: it is what lets the next open go on in this file.
            self.commit(&point)
        };
        mark().map_err(|error| self.poison(error))
    }

    /// Refuses what would change a store that is only looked at.
    fn check_writable(&self) -> Result<()> {
        if self.is_read_only {
            return Err(Error::new(ErrorKind::Refused, "the store was opened to be looked at"));
        }
        Ok(())
    }

    pub fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Sees to it that the background thread syncs in time what no call may come to wait for.
    fn arm_sync(&self, version: u64) {
        if version > self.progress.synced() && !self.progress.is_armed() {
            let delay = match self.options.durability {
                Durability::Sync => self.options.sync_delay,
                Durability::Buffered => BUFFERED_SYNC_DELAY,
            };
            self.progress.kick_sync(Instant::now() + delay);
        }
    }

    /// The work of the syncing thread.
    pub fn sync_in_background(&self) {
        while self.progress.wait_sync() {
            let version = self.sequencer().last_version();
            // A failure poisons the store, and whoever waits is told.
            let _ = self.sync_to(version);
            self.progress.wake();
        }
        self.progress.wake();
    }

    /// The work of the preparing thread.
    pub fn prepare_in_background(&self) {
        while self.progress.wait_prepare() {
            if self.unsealed_count() >= UNSEALED_MAX {
                // Who needs a file seals first; afterwards this thread is asked again.
                continue;
            }
            // A failure is met again, and reported, by the call that needs the file.
            let _ = self.prepare_next();
        }
    }

    pub(super) fn sequencer(&self) -> MutexGuard<'_, Sequencer> {
        self.sequencer.lock().expect("no thread panicked while it sequenced")
    }

    fn writer(&self) -> MutexGuard<'_, WriterSide> {
        self.writer.lock().expect("no thread panicked while it wrote")
    }

    fn spare(&self) -> MutexGuard<'_, Option<Spare>> {
        self.spare.lock().expect("no thread panicked while it prepared a file")
    }
}

/// Leading a sync; ends also if the leader panics, so that nobody waits for it for ever.
struct Lead<'a>(&'a Progress);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&Error::new(ErrorKind::Unknown, "the thread that synced panicked"));
        }
        self.0.end_lead();
    }
}

/// Bytes of a body that a change brings.
fn payload_bytes(change: &Change, tail_bytes: usize) -> u64 {
    match change {
        Change::Append(append) => tail_bytes.saturating_sub(append.mention_bytes.into()) as u64,
        Change::Amend(_) => tail_bytes as u64,
        _ => 0,
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store was closed")
}
