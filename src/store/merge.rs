//! Merging: runs of rows become one, units of messages become one, and what nobody may see any more stays behind.
//! Owns: what is due, what a merge keeps, purging. May touch: `load`, `seal`, `pipeline`, `segment`, `unit`, `state`.
//! Never: acts on a change that is not sealed, and so synced.

use super::Store;
use super::pipeline::Pipeline;
use super::rows::{damaged, load_head};
use super::statistics::add;
use crate::change::{Append, Commit};
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::id::Timeline;
use crate::journal::Installed;
use crate::limits::PURGE_DAYS_MAX;
use crate::segment::{Runs, SegmentInfo, SegmentKind, Table, merge_runs, segment_name};
use crate::settings::Settings;
use crate::state::stored::{self, Globals};
use crate::state::{Head, dedup_window, is_within_window};
use crate::unit::{Fate, IndexKey, Judge, MergePlan, Segments, Unit, merge_units};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// No merge makes a file of messages of more bytes.
const UNIT_BYTES_MAX: u64 = 3 << 30;
/// So many runs of rows make a sealing wait for a merge.
const RUNS_WAITING_MAX: usize = 24;
/// How long a merge that is ahead of its rate sleeps at once.
const NAP: Duration = Duration::from_millis(20);

/// What [`Store::purge`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// Files of messages, and journals, that were written anew without what nobody may see.
    pub files: u64,
    /// Their bytes, before.
    pub bytes: u64,
}

impl Store {
    /// Seals the present journal and merges all that is due, within the call.
    ///
    /// The store does so itself in the background; an administrator may want it done before a backup, a test
    /// before it looks at files.
    ///
    /// # Errors
    /// `Full`, `Corruption`, `Io`, `Unknown`, `Poisoned`, `Closed`.
    pub fn seal(&self) -> Result<()> {
        let pipeline = &self.pipeline;
        pipeline.sync_all()?;
        pipeline.roll_now()?;
        pipeline.seal_all()?;
        while pipeline.merge_next()? {}
        Ok(())
    }

    /// Lets the background merge no more, or again. What is being merged stops where it is and begins anew.
    /// Sealing goes on, and so the number of files grows while merges are paused.
    pub fn pause_merges(&self, pause: bool) {
        self.pipeline.merges_paused.store(pause, Ordering::Release);
        self.pipeline.progress.kick_merge();
    }

    /// Takes what was recalled, edited away or trimmed out of all files of the store, at once. The store does
    /// so itself within [`crate::limits::PURGE_DAYS_MAX`] days.
    ///
    /// Writes every file anew that holds such a body, so it takes time in proportion to those. Blocks until
    /// it is done and durable. Not reached: backups, bodies that a reader holds, blocks that the device has freed.
    ///
    /// # Errors
    /// `Full`, `Corruption`, `Io`, `Unknown`, `Poisoned`, `Closed`. Call it again: it goes on.
    pub fn purge(&self) -> Result<Purged> {
        let version = self.pipeline.state().version;
        self.pipeline.sync_all()?;
        self.pipeline.roll_now()?;
        self.pipeline.seal_all()?;
        self.pipeline.purge(version)
    }
}

impl Pipeline {
    pub(super) fn merging(&self) -> MutexGuard<'_, ()> {
        self.merging.lock().expect("no thread panicked while it merged")
    }

    fn segments(&self) -> Arc<Segments> {
        self.state().segments.clone()
    }

    /// Merges what is due; false if nothing is.
    pub(super) fn merge_next(&self) -> Result<bool> {
        let _one_at_a_time = self.merging();
        if self.merges_paused.load(Ordering::Acquire) {
            return Ok(false);
        }
        let segments = self.segments();
        if let Some(which) = segments.rows.due() {
            self.merge_rows(&segments, &which)?;
            return Ok(true);
        }
        if let Some(units) = segments.units.due(self.options.merge_fan_in, UNIT_BYTES_MAX) {
            self.merge_messages(&segments, units)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The work of the merging thread.
    pub(super) fn merge_in_background(&self) {
        self.notes.open();
        while self.progress.wait_merge() {
            // A failure is met again by the next round.
            while self.merge_next().unwrap_or(false) {}
            self.note_files();
        }
    }

    /// Before another run of rows is made: no more of them than can be looked through.
    pub(super) fn wait_for_merges(&self) -> Result<()> {
        while self.segments().rows.run_count() >= RUNS_WAITING_MAX && self.merge_next()? {}
        Ok(())
    }

    fn merge_rows(&self, segments: &Segments, which: &[u64]) -> Result<()> {
        let started = Instant::now();
        let (time, windows) = (sealed_time(segments)?, self.state().dedup_window_max());
        let oldest = time.saturating_sub(windows);
        let mut keep = |key: &[u8], value: &[u8]| {
            key.first() != Some(&stored::CLIENT_ID) || stored::client_id_is_taken(value, oldest)
        };
        let mut pace = Pace::new(self);
        let made = merge_runs(
            &self.storage,
            &segments.rows,
            which,
            self.uuid,
            &mut || self.sealing_ids.next(),
            &mut keep,
            &mut |bytes| pace.wait(bytes),
        )?;
        let is_merged = |table: &Arc<Table>| which.contains(&table.header().first);
        let gone: Vec<Arc<Table>> = segments.rows.tables().filter(|table| is_merged(table)).cloned().collect();
        let removed = gone.iter().map(|table| (SegmentKind::Rows, table.info().id)).collect();
        let added: Vec<SegmentInfo> = made.iter().map(|table| table.info()).collect();
        let (made_count, made_bytes) = (added.len(), added.iter().map(|info| info.bytes).sum());
        add(&self.statistics.merging_bytes, made_bytes);
        let _sealing = self.sealing();
        self.install_segments(added, removed, Vec::new(), None)?;
        {
            let mut state = self.state_mut();
            let now = state.segments.clone();
            let kept = now.rows.tables().filter(|table| !is_merged(table)).cloned();
            let rows = Runs::new(kept.chain(made).collect())?;
            state.segments = Arc::new(Segments { rows, units: now.units.clone(), generation: now.generation + 1 });
        }
        add(&self.statistics.row_merges, 1);
        events::merged("rows", gone.len(), made_count, made_bytes, started.elapsed());
        gone.iter().for_each(|table| self.statistics.pins.note(table.file()));
        self.take_away(gone.iter().map(|table| segment_name(SegmentKind::Rows, table.info().id)));
        Ok(())
    }

    fn merge_messages(&self, segments: &Segments, which: Range<usize>) -> Result<()> {
        let started = Instant::now();
        let units: Vec<Arc<Unit>> = segments.units.iter().skip(which.start).take(which.len()).cloned().collect();
        let mut keeper = Keeper::new(self, segments, units[0].lo)?;
        let mut pace = Pace::new(self);
        let made = merge_units(
            &self.storage,
            &units,
            MergePlan::new(self.uuid),
            &mut || self.sealing_ids.next(),
            &mut keeper,
            &mut |bytes| pace.wait(bytes),
        )?;
        let bytes = made.record_bytes();
        let _sealing = self.sealing();
        self.install_unit(&units, made)?;
        events::merged("messages", units.len(), 1, bytes, started.elapsed());
        Ok(())
    }

    /// Puts a unit in place of those that it was made of.
    fn install_unit(&self, units: &[Arc<Unit>], made: Unit) -> Result<()> {
        let journals: Vec<u64> =
            units.iter().filter(|unit| unit.messages.is_none()).map(|unit| unit.records.id()).collect();
        let removed: Vec<_> = units.iter().flat_map(|unit| unit.segments()).map(|info| (info.kind, info.id)).collect();
        let added: Vec<SegmentInfo> = made.segments().collect();
        add(&self.statistics.merging_bytes, added.iter().map(|info| info.bytes).sum());
        self.install_segments(added, removed.clone(), journals.clone(), None)?;
        {
            let mut state = self.state_mut();
            let now = state.segments.clone();
            let mut files = (*state.files).clone();
            for unit in units {
                files.remove(unit.records.id());
            }
            files.insert(made.records.clone());
            let units = now.units.with_merged(Arc::new(made)).expect("only merges take units away, one at a time");
            state.files = Arc::new(files);
            state.segments = Arc::new(Segments { rows: now.rows.clone(), units, generation: now.generation + 1 });
        }
        add(&self.statistics.unit_merges, 1);
        for unit in units {
            self.statistics.pins.note(&*unit.records.handle);
            unit.index.tables().for_each(|table| self.statistics.pins.note(table.file()));
        }
        let journals = journals.into_iter().map(crate::journal::journal_name);
        self.take_away(removed.into_iter().map(|(kind, id)| segment_name(kind, id)).chain(journals));
        Ok(())
    }

    /// Takes away files that are live no more. Whoever reads them goes on. What cannot be taken away now is
    /// when the store is opened.
    fn take_away(&self, names: impl Iterator<Item = String>) {
        names.for_each(|name| drop(self.storage.remove(&name)));
    }

    /// Rewrites the units that hold what nobody may see any more.
    pub(super) fn purge(&self, version: u64) -> Result<Purged> {
        let started = Instant::now();
        let _one_at_a_time = self.merging();
        let before = self.manifest(|manifest| manifest.purged_version);
        let mut purged = Purged::default();
        let journals: Vec<u64> = self.segments().units.iter().map(|unit| unit.hi).collect();
        for journal in journals {
            let segments = self.segments();
            let Some(unit) = segments.units.covering(journal).cloned() else { continue };
            let mut keeper = Keeper::new(self, &segments, unit.lo)?;
            if !keeper.has_dead(&unit, before)? {
                continue;
            }
            let mut never_waits = |_| Ok(());
            let made = merge_units(
                &self.storage,
                std::slice::from_ref(&unit),
                MergePlan::new(self.uuid),
                &mut || self.sealing_ids.next(),
                &mut keeper,
                &mut never_waits,
            )?;
            purged.files += 1;
            purged.bytes += unit.record_bytes();
            let _sealing = self.sealing();
            self.install_unit(&[unit], made)?;
        }
        self.purge_leftovers()?;
        let _sealing = self.sealing();
        self.install(|manifest| Installed {
            purged_version: version.max(manifest.purged_version),
            ..manifest.change()
        })?;
        events::purged(purged.files, purged.bytes, started.elapsed());
        Ok(purged)
    }

    /// Purges if something may be in the files for longer than it may. `now` is the time.
    pub(super) fn purge_in_time(&self, now: u64) -> Result<()> {
        const DAY_MICROS: u64 = 24 * 3_600 * 1_000_000;
        let Some(old) = now.checked_sub((PURGE_DAYS_MAX - 1) * DAY_MICROS) else { return Ok(()) };
        let purged = self.manifest(|manifest| manifest.purged_version);
        if self.last_version_at(old)? <= purged {
            return Ok(());
        }
        let version = self.state().version;
        self.sync_all()?;
        self.roll_now()?;
        self.seal_all()?;
        self.purge(version).map(|_| ())
    }

    /// Takes away the files that recovery set aside: what is in them may be what was recalled.
    fn purge_leftovers(&self) -> Result<()> {
        let names = self.storage.list().map_err(|error| Error::io("list", &self.storage.path(""), error))?;
        for name in names.iter().filter(|name| name.ends_with(crate::journal::EVIDENCE_SUFFIX)) {
            self.storage.remove(name).map_err(|error| Error::io("remove", &self.storage.path(name), error))?;
        }
        self.storage.sync_directory().map_err(|error| Error::io("sync", &self.storage.path(""), error))
    }
}

/// The commit time that the newest sealing knows.
fn sealed_time(segments: &Segments) -> Result<u64> {
    let key = [stored::GLOBALS];
    let globals = segments.rows.get_with(&key, 1, Globals::take)?;
    Ok(globals.map(|globals| globals.ok_or_else(|| damaged(&key))).transpose()?.map_or(0, |globals| globals.time))
}

/// Decides what a merge keeps, by what is sealed.
struct Keeper<'a> {
    segments: &'a Segments,
    /// The first journal of the units that are merged.
    lo: u64,
    settings: Arc<Vec<(u64, Settings)>>,
    /// By which client ids are free.
    time: u64,
    head: Option<Head>,
    /// A message of this timeline is kept, here or in an older unit: those after it are, too, or there would
    /// be a hole.
    keeps: bool,
}

impl<'a> Keeper<'a> {
    fn new(pipeline: &Pipeline, segments: &'a Segments, lo: u64) -> Result<Keeper<'a>> {
        let settings = pipeline.state().settings_log().clone();
        Ok(Keeper { segments, lo, settings, time: sealed_time(segments)?, head: None, keeps: false })
    }

    fn trim(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.tip.trim())
    }

    /// Whether a unit holds a body that nobody may see any more, because of something above the version up to
    /// which all were taken out.
    fn has_dead(&mut self, unit: &Unit, purged: u64) -> Result<bool> {
        let mut is_dead = false;
        let mut present = None;
        unit.index.walk(&[], &mut |key, value| {
            let key = IndexKey::decode(key).ok_or_else(|| damaged(key))?;
            let (timeline, first) = match key {
                IndexKey::Chunk { timeline, first_seq } => (timeline, first_seq),
                IndexKey::Edit { timeline, seq, .. } => (timeline, seq),
            };
            if present != Some(timeline) {
                present = Some(timeline);
                self.timeline(timeline)?;
            }
            let Some(head) = &self.head else { return Ok(true) };
            // What happened up to the last purge left nothing behind.
            is_dead = first <= head.tip.trim() && head.tip.trim_version() > purged
                || head.amended.as_ref().is_some_and(|amended| match key {
                    IndexKey::Edit { seq, .. } => amended.has_any(seq..seq + 1, purged),
                    IndexKey::Chunk { first_seq, .. } => {
                        let count = value.first().copied().unwrap_or(0);
                        amended.has_any(first_seq..first_seq.saturating_add(count.into()), purged)
                    }
                });
            Ok(!is_dead)
        })?;
        Ok(is_dead)
    }
}

impl Judge for Keeper<'_> {
    fn timeline(&mut self, timeline: Timeline) -> Result<()> {
        self.head = load_head(self.segments, timeline)?.map(|(head, _)| head);
        self.keeps = self.trim() > 0 && self.segments.units.has_before(self.lo, timeline)?;
        Ok(())
    }

    fn message(&mut self, append: &Append, commit: Commit) -> Fate {
        let window = dedup_window(&self.settings, commit.version);
        let is_taken = !append.client_id.is_none() && is_within_window(commit.time, self.time, window);
        if append.seq <= self.trim() && !is_taken && !self.keeps {
            return Fate::Drop;
        }
        self.keeps = true;
        let amendment = self.head.as_ref().and_then(|head| head.amended.as_ref()?.get(append.seq));
        let is_seen = append.seq > self.trim() && !amendment.is_some_and(|amendment| amendment.is_recall());
        match (is_seen, amendment.is_some(), is_taken || append.client_id.is_none()) {
            (true, false, true) => Fate::Keep,
            (true, false, false) => Fate::NoClientId,
            (true, true, true) => Fate::NoBody,
            (true, true, false) => Fate::BareNoBody,
            (false, _, true) => Fate::Stub,
            (false, _, false) => Fate::BareStub,
        }
    }

    fn edit(&mut self, seq: u64, version: u64) -> bool {
        let amendment = self.head.as_ref().and_then(|head| head.amended.as_ref()?.get(seq));
        seq > self.trim() && amendment.is_some_and(|newest| newest.version == version && !newest.is_recall())
    }
}

/// Keeps a merge to its rate, and ends it when the store closes or merges are paused.
struct Pace<'a> {
    pipeline: &'a Pipeline,
    began: Instant,
    bytes: u64,
}

impl<'a> Pace<'a> {
    fn new(pipeline: &'a Pipeline) -> Pace<'a> {
        Pace { pipeline, began: Instant::now(), bytes: 0 }
    }

    fn wait(&mut self, bytes: u64) -> Result<()> {
        self.pipeline.check_open()?;
        add(&self.pipeline.statistics.merged_bytes, bytes);
        if self.pipeline.merges_paused.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Refused, "merges are paused"));
        }
        self.bytes += bytes;
        let rate = self.pipeline.options.merge_bytes_per_second;
        while rate > 0 && self.began.elapsed().as_secs_f64() < self.bytes as f64 / rate as f64 {
            self.pipeline.check_open()?;
            std::thread::sleep(NAP);
        }
        Ok(())
    }
}
