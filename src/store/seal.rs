//! Sealing: a closed journal gets its index, and what changed goes into a run of rows; then memory may let
//! go of both.
//! Owns: the steps of that and their order, installing, letting go. May touch: `pipeline`, `load`, `journal`,
//! `segment`, `unit`, `state`.
//! Never: rests on a change that is not synced, or lets go of what the disk does not have.

use super::options::Threads;
use super::pipeline::Pipeline;
use super::rows::client_id_hash;
use super::sealing::{Job, Sealing};
use super::statistics::add;
use crate::change::{Change, Decoded};
use crate::error::Result;
use crate::events;
use crate::id::Timeline;
use crate::journal::{Installed, LiveFile, Manifest, Place, Records};
use crate::segment::{PART_BYTES, RunPlan, RunWriter, Runs, SegmentInfo, SegmentKind, Table};
use crate::state::CommitTimes;
use crate::state::stored::{self, Entries};
use crate::unit::{JournalIndex, Segments, Unit};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

/// So many things are written down, or let go, while nobody else has the state.
const STEP: usize = 1_024;
/// After so many changes it is looked whether memory is short.
const CHANGES_PER_CHECK: u64 = 4_096;
/// What a closed store may leave to be replayed.
const CLOSE_REPLAY_BYTES_MAX: u64 = 64 << 10;
/// This part of the memory may be taken by what no sealing has written down, before one begins early.
const UNSEALED_PART: u64 = 4;

impl Pipeline {
    pub(super) fn sealing(&self) -> MutexGuard<'_, Sealing> {
        self.sealing.lock().expect("no thread panicked while it sealed")
    }

    /// How many bytes the state may take. The rest of the memory is for sealing and merging, for the indexes of segments, and
    /// for what an allocator cannot give back.
    pub(super) fn resident_bytes_max(&self) -> usize {
        usize::try_from(self.options.memory_bytes / 8 * 5).unwrap_or(usize::MAX)
    }

    /// Seals the oldest closed journal that is not sealed; false if there is none.
    pub(super) fn seal_next(&self) -> Result<bool> {
        self.wait_for_merges()?;
        let mut sealing = self.sealing();
        self.check_open()?;
        let journal = match &sealing.job {
            Some(job) => job.journal,
            None => match self.unsealed().first() {
                Some(journal) => *journal,
                None => return Ok(false),
            },
        };
        if sealing.job.is_none() {
            // Its changes are applied once they are synced.
            self.sync_to(journal.last_version)?;
            sealing.job = Some(self.write_down(journal));
        }
        let mut job = sealing.job.take().expect("it was just made sure of");
        match self.write_segments(&mut job) {
            Ok(()) => {
                drop(sealing);
                self.progress.kick_prepare();
                Ok(true)
            }
            Err(error) => {
                sealing.job = Some(job);
                Err(error)
            }
        }
    }

    /// Writes down what changed since the last sealing, as of one moment.
    fn write_down(&self, journal: LiveFile) -> Job {
        let version = {
            let mut state = self.state_mut();
            assert!(state.version >= journal.last_version, "what is synced is applied");
            state.freeze(journal.file_id, self.dedup_seed);
            state.version
        };
        self.in_steps(|state| state.write_down(STEP));
        let entries = self.state_mut().take_entries();
        Job { journal, version, entries, is_indexed: false }
    }

    fn write_segments(&self, job: &mut Job) -> Result<()> {
        let started = Instant::now();
        let Job { journal, version, .. } = *job;
        let (records, segments) = {
            let state = self.state();
            (state.files.get(Place::new(journal.file_id, 0))?.clone(), state.segments.clone())
        };
        let (index, first_version) = self.index(&records, job)?;
        let plan = RunPlan {
            kind: SegmentKind::Index,
            level: 0,
            uuid: self.uuid,
            first: journal.file_id,
            last: journal.file_id,
            first_version,
            last_version: journal.last_version,
            part_bytes: PART_BYTES,
        };
        let mut previous = |timeline: Timeline| {
            let state = self.state();
            Ok(state.head_if_here(timeline).map_or(0, |head| head.unit))
        };
        let index = index.write(&self.storage, plan, &mut || self.sealing_ids.next(), &mut previous)?;
        job.entries.sort();
        let rows = self.write_rows(&segments.rows, &job.entries, first_version, version)?;
        // What the rows say must not be taken back by a power cut.
        self.sync_to(version)?;

        let made: Vec<SegmentInfo> = index.iter().chain(&rows).map(|table| table.info()).collect();
        add(&self.statistics.sealing_bytes, made.iter().map(|info| info.bytes).sum());
        let unit = Unit {
            lo: journal.file_id,
            hi: journal.file_id,
            first_version,
            last_version: journal.last_version,
            level: 0,
            records,
            messages: None,
            index: Runs::new(index)?,
        };
        let units = segments.units.with(Arc::new(unit))?;
        let rows = Runs::new(segments.rows.tables().cloned().chain(rows).collect())?;
        let sealed = (journal.file_id, journal.last_version);
        self.install_segments(made, Vec::new(), Vec::new(), Some(sealed))?;
        let heads = {
            // Whoever decides with all in memory keeps nothing there; from the first sealing on things may go.
            let is_first = self.state().is_all_here();
            let sequencer = is_first.then(|| self.sequencer());
            let decided = sequencer.as_ref().map_or(0, |sequencer| sequencer.last_version());
            let mut state = self.state_mut();
            let generation = state.segments.generation + 1;
            state.segments = Arc::new(Segments { rows, units, generation });
            state.forget_commit_times(journal.last_version);
            state.sealed(decided)
        };
        let mut heads = heads.chunks(STEP);
        self.in_steps(|state| {
            let heads = heads.next();
            heads.inspect(|heads| state.forget_places(heads, journal.file_id)).is_some()
        });
        add(&self.statistics.seals, 1);
        add(&self.statistics.sealed_bytes, journal.end);
        events::sealed(journal.file_id, journal.end, started.elapsed());
        self.let_go();
        Ok(())
    }

    /// Goes through a journal: its index, and the rows that only it tells.
    fn index(&self, records: &Records, job: &mut Job) -> Result<(JournalIndex, u64)> {
        let Job { journal, entries, is_indexed, .. } = job;
        let is_new = !*is_indexed;
        let mut times: Option<CommitTimes> = None;
        let mut first_version = journal.last_version + 1;
        let index = JournalIndex::of(records, &mut |decoded: &Decoded<'_>, _| {
            let commit = decoded.commit;
            first_version = first_version.min(commit.version);
            times.get_or_insert_with(|| CommitTimes::after(commit.version - 1)).push(commit.time);
            if let Change::Append(append) = &decoded.change
                && is_new
                && !append.client_id.is_none()
            {
                let hash = client_id_hash(self.dedup_seed, append.timeline, append.sender, append.client_id);
                stored::add_client_id(entries, hash, append.seq, commit.time);
            }
            Ok(())
        })?;
        // What a sealing that failed has added is there still.
        *is_indexed = true;
        for (version, value) in times.iter().filter(|_| is_new).flat_map(CommitTimes::encode) {
            entries.add(&stored::commit_times_key(version), 1, Some(&value));
        }
        Ok((index, first_version))
    }

    fn write_rows(
        &self,
        before: &Runs,
        entries: &Entries,
        first_version: u64,
        last_version: u64,
    ) -> Result<Vec<Arc<Table>>> {
        let newest = before.tables().map(|table| table.header().first).max().unwrap_or(0);
        let plan = RunPlan {
            kind: SegmentKind::Rows,
            level: 0,
            uuid: self.uuid,
            first: newest + 1,
            last: 0,
            first_version: first_version.min(last_version),
            last_version,
            part_bytes: PART_BYTES,
        };
        let mut next_id = || self.sealing_ids.next();
        let mut run = RunWriter::new(&self.storage, plan, &mut next_id);
        for (key, prefix, value) in entries.iter() {
            run.add(key, prefix, value)?;
        }
        run.finish()
    }

    /// Writes to the journal, synced, that these segments are live and those they replace are not. The caller
    /// holds the lock of sealing.
    pub(super) fn install_segments(
        &self,
        mut added: Vec<SegmentInfo>,
        mut removed_segments: Vec<(SegmentKind, u64)>,
        removed_journals: Vec<u64>,
        sealed: Option<(u64, u64)>,
    ) -> Result<()> {
        added.sort_unstable_by_key(|segment| (segment.kind as u8, segment.id));
        removed_segments.sort_unstable_by_key(|(kind, id)| (*kind as u8, *id));
        self.install(|manifest| {
            let change = manifest.change();
            let (sealed_through, sealed_version) = sealed.unwrap_or((change.sealed_through, change.sealed_version));
            Installed {
                added: added.clone(),
                removed_journals: removed_journals.clone(),
                removed_segments: removed_segments.clone(),
                sealed_through,
                sealed_version,
                ..change
            }
        })
    }

    /// Changes the manifest, synced.
    pub(super) fn install(&self, install: impl Fn(&Manifest) -> Installed) -> Result<()> {
        // Whatever is installed was made with ids below this.
        let next_segment = self.sealing_ids.peek();
        while !self.write_install(|manifest| Installed { next_segment, ..install(manifest) })? {
            // The present journal has no room for it.
            self.roll_now()?;
        }
        Ok(())
    }

    /// Lets go of what memory does not need, as far as there is too much of it.
    pub(super) fn let_go(&self) {
        let bytes_max = self.resident_bytes_max();
        let mut steps = 0..2 * self.state().sweep_length() / STEP + 1;
        self.in_steps(|state| steps.next().is_some() && state.evict(STEP, bytes_max));
    }

    /// Lets the background seal early if too much waits to be written down.
    pub(super) fn check_memory(&self, version: u64) {
        let before = self.memory_checked.load(Ordering::Relaxed);
        if version >= before + CHANGES_PER_CHECK && self.options.threads == Threads::Background {
            self.memory_checked.store(version, Ordering::Relaxed);
            if self.is_sealing_due() {
                self.progress.kick_seal();
            }
        }
    }

    /// Before the store is closed: what an opening would have to replay is sealed, if it is much.
    pub(super) fn seal_for_close(&self) {
        let is_much = self.journal_position() > CLOSE_REPLAY_BYTES_MAX || !self.unsealed().is_empty();
        if is_much && self.options.threads == Threads::Background && !self.is_read_only {
            // A failure costs time at the next opening, and nothing else.
            let _ = self.sync_all().and_then(|()| self.roll_now()).and_then(|()| self.seal_all());
        }
    }

    /// Whether so much waits to be written down that a sealing is due before its journal is full.
    pub(super) fn is_sealing_due(&self) -> bool {
        let state = self.state();
        state.unsealed_bytes() as u64 > self.options.memory_bytes / UNSEALED_PART
    }

    /// Seals all that can be sealed.
    pub(super) fn seal_all(&self) -> Result<()> {
        while self.seal_next()? {}
        Ok(())
    }

    /// The work of the sealing thread.
    pub(super) fn seal_in_background(&self) {
        while self.progress.wait_seal() {
            if self.is_sealing_due() && self.unsealed().is_empty() {
                self.early_roll_bytes.store(self.journal_position(), Ordering::Relaxed);
                // A failure is met again by the next round, or by whoever needs a file.
                let _ = self.roll_now();
            }
            while self.seal_next().unwrap_or(false) {}
            self.progress.kick_merge();
        }
    }
}

#[cfg(test)]
mod tests;
