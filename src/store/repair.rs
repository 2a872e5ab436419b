//! Brings a damaged store back as far as its files allow, and says what is lost.
//! Owns: `Repair`, which files are kept, made anew, set aside. May touch: `verify`, `rows`, `journal`, `segment`, `unit`,
//! `state`.
//! Never: takes a damaged file away, gives a lost seq again, or touches a file of a store that is whole.
//!
//! Where messages are lost, records without content take their places, so that the files stay as dense as all others; the
//! head of the timeline lists them, so that nobody is shown one.

mod stretch;

mod rebuild;

mod mend;

mod end;

mod list;

mod evidence;

use super::Store;
use super::options::Options;
use super::rows::load_head;
use super::verify::{is_whole_journal, is_whole_messages, is_whole_unit, lock};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Seq, Timeline, Version};
use crate::journal::{
    Examined, LiveFile, Manifest, RecoverOptions, TMP_SUFFIX, examine, journal_name, journal_seed, open_sealed_journal,
    salvage,
};
use crate::segment::{
    PART_BYTES, RunPlan, RunWriter, Runs, SegmentInfo, SegmentKind, Table, read_header, segment_id, segment_name,
    stored_seed,
};
use crate::state::stored::{self, Entries};
use crate::state::{LostRun, Part as HeadPart};
use crate::storage::{RealStorage, Storage};
use crate::unit::{Segments, Unit, Units, extents, open_messages};
use evidence::{damaged_leftovers, set_aside};
use list::write_list;
use mend::{mend_globals, mend_heads};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stretch::{End, Facts, Stretch};

/// What a repair could not bring back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// Files that were damaged, or missing. A damaged one stays beside the store, with `.evidence` behind its name.
    pub files_lost: Vec<PathBuf>,
    /// Bytes of files of messages, journals and rows in which nothing could be read, those of missing files with them.
    pub bytes_lost: u64,
    /// Messages that are lost: their timeline, the first and the last seq of each run.
    pub messages_lost: Vec<(Timeline, Seq, Seq)>,
    /// Runs of versions that are lost, the first and the last of each: what was in them cannot be known, but for the messages
    /// above. If nobody knows how many there were, the run is as long as it could be. Versions go on behind them.
    pub versions_lost: Vec<(Version, Version)>,
    /// Which rows are lost, in words: sessions, marks, settings. Where an older row of the same key is left, it holds.
    pub rows_lost: Vec<String>,
}

impl Store {
    /// Repairs the store in the directory `path`, which is not open: every file that is whole stays as it is, of a damaged
    /// one every frame and block that is whole is kept. A repair begins a new epoch; if nothing is damaged, nothing is
    /// done. The answer says exactly what is lost; those seqs are never given again.
    ///
    /// Can be called again if it fails, or the machine does: it loses nothing more.
    ///
    /// Where the end of the journal is damaged, the changes that are left of it are kept, whatever lies between them. A message is
    /// known to be lost where anything names it or a later one of its timeline; if the very newest file is damaged to its end, or
    /// missing, what was last in a timeline is not: it goes on behind the last message that is known. Versions go on above all
    /// that may have been given, and whoever saw more than is left is sent to reset by the new epoch.
    ///
    /// # Errors
    /// `Corruption` if no file says of which store it is; `Locked`, `Full`, `Io`, `Unsupported`.
    pub fn repair(path: impl AsRef<Path>, options: Options) -> Result<Repair> {
        let path = path.as_ref();
        let storage =
            RealStorage::new(path, options.read_mode).map_err(|error| Error::io("open directory", path, error))?;
        Store::repair_on(Arc::new(storage), options)
    }

    /// The same for a store in `storage`.
    ///
    /// # Errors
    /// As [`Store::repair`].
    pub fn repair_on(storage: Arc<dyn Storage>, options: Options) -> Result<Repair> {
        options.check()?;
        let _lock = lock(&*storage)?;
        let how = RecoverOptions { journal_bytes: options.journal_bytes, unsynced: false };
        let mut first = None;
        let mut examined = examine(&*storage, &mut |error| {
            first.get_or_insert(error);
        });
        if examined.as_ref().map_or_else(|error| error.kind() == ErrorKind::Corruption, Option::is_none) {
            write_list(&storage, &how)?;
            examined = examine(&*storage, &mut |_| ());
        }
        let Some(examined) = examined? else {
            let path = storage.path("");
            return Err(
                first.unwrap_or_else(|| Error::corruption_at(&path, 0, "a journal that can be read", "another"))
            );
        };
        let mut work = Work::new(&storage, &examined)?;
        let is_end_damaged = is_end_damaged(&*storage, &examined)?;
        work.sort_out_rows()?;
        if is_end_damaged {
            work.find_rows_holes();
        }
        // Where rows are lost, a change that rests on one cannot be replayed as it is.
        if is_end_damaged || !work.repair.rows_lost.is_empty() {
            work.take_end();
        }
        work.sort_out_units()?;
        if work.repair.files_lost.is_empty() && !work.takes_in_end {
            // A repair that was cut short may not have got to it.
            let damaged = damaged_leftovers(&*storage, &examined)?;
            set_aside(&*storage, &damaged)?;
            return Ok(work.repair);
        }
        if examined.torn_previous().is_some() && !work.takes_in_end {
            // Such a file cannot be listed as it is.
            work = Work::new(&storage, &examined)?;
            work.take_end();
            work.sort_out_rows()?;
            work.sort_out_units()?;
        }
        work.rebuild()?;
        work.finish(&how)
    }
}

/// Whether journals that are in no segments are damaged or missing, but for what an opening would cut.
fn is_end_damaged(storage: &dyn Storage, examined: &Examined) -> Result<bool> {
    let torn = examined.torn_previous();
    let mut next = examined.manifest.sealed_version + 1;
    for file in examined.manifest.unsealed() {
        if torn.as_ref().is_some_and(|torn| torn.file_id == file.file_id) {
            return Ok(false);
        }
        if !is_whole_journal(storage, file, &examined.uuids)? {
            return Ok(true);
        }
        let journal = open_sealed_journal(storage, file, &examined.uuids)?;
        if journal.file.header.first_version != next {
            return Ok(true);
        }
        next = file.last_version + 1;
    }
    Ok(examined.newest_first_version() != next)
}

struct Work<'a> {
    storage: &'a Arc<dyn Storage>,
    examined: &'a Examined,
    /// What is, or should be, live. If the end of the journal is damaged, all of it is to be in segments.
    manifest: Manifest,
    takes_in_end: bool,
    end: End,
    /// Whoever knows more than this version has to forget it.
    epoch_end: u64,
    next_segment: u64,
    rows: Runs,
    stretches: Vec<Stretch>,
    /// Of each timeline the first message that is in no index.
    unsealed: BTreeMap<Timeline, (u64, Facts)>,
    /// Of each timeline the newest of those that the rows know.
    unsealed_known: BTreeMap<Timeline, (u64, Facts)>,
    lost: BTreeMap<Timeline, Vec<LostRun>>,
    /// Names of files that are damaged and there.
    damaged: Vec<String>,
    repair: Repair,
}

impl<'a> Work<'a> {
    fn new(storage: &'a Arc<dyn Storage>, examined: &'a Examined) -> Result<Work<'a>> {
        let names = storage.list().map_err(|error| Error::io("list", &storage.path(""), error))?;
        // Also of those that a repair which was cut short did not get to finish.
        let finished = names.iter().map(|name| name.strip_suffix(TMP_SUFFIX).unwrap_or(name));
        let given = finished.filter_map(segment_id).map(|(_, id)| id + 1).max().unwrap_or(0);
        let manifest = examined.manifest.clone();
        let newest = examined.newest_file();
        let end = End {
            sealed_through: manifest.sealed_through,
            sealed_version: manifest.sealed_version,
            last_version: newest.last_version,
            ..End::default()
        };
        Ok(Work {
            storage,
            examined,
            next_segment: given.max(manifest.next_segment),
            manifest,
            takes_in_end: false,
            epoch_end: newest.last_version,
            end,
            rows: Runs::default(),
            stretches: Vec::new(),
            unsealed: BTreeMap::new(),
            unsealed_known: BTreeMap::new(),
            lost: BTreeMap::new(),
            damaged: Vec::new(),
            repair: Repair::default(),
        })
    }

    /// All journals are to be in segments.
    fn take_end(&mut self) {
        let mut last = self.examined.newest_file();
        let newest_id = last.file_id;
        self.takes_in_end = true;
        if let Some(torn) = self.examined.torn_previous() {
            self.manifest.journals.pop();
            // What recovery would leave out stays as it would then.
            self.damaged.extend([journal_name(torn.file_id), journal_name(newest_id)]);
            self.end.last_version = torn.last_version;
            self.epoch_end = torn.last_version;
            last = torn;
        }
        self.manifest.journals.push(last);
        (self.manifest.sealed_through, self.manifest.sealed_version) = (newest_id, last.last_version);
    }

    fn of_kind(&self, kind: SegmentKind) -> impl Iterator<Item = SegmentInfo> + use<> {
        let segments: Vec<SegmentInfo> = self.manifest.segments.clone();
        segments.into_iter().filter(move |segment| segment.kind == kind)
    }

    /// What the rows say is as of this version.
    fn rows_version(&self) -> u64 {
        let known = self.of_kind(SegmentKind::Rows).map(|info| info.last_version).max().unwrap_or(0);
        known.max(self.end.sealed_version)
    }

    /// Notes that a file is damaged or missing.
    fn lose(&mut self, name: String) -> Result<()> {
        let path = self.storage.path(&name);
        if !self.repair.files_lost.contains(&path) {
            self.repair.files_lost.push(path);
            let names = self.storage.list().map_err(|error| Error::io("list", &self.storage.path(""), error))?;
            if names.contains(&name) {
                self.damaged.push(name);
            }
        }
        Ok(())
    }

    /// The table, and whether all of it is whole; `None` if nothing of it can be read.
    fn table(&self, info: &SegmentInfo) -> Result<Option<(Arc<Table>, bool)>> {
        let mut is_whole = true;
        let opened = Table::open(&**self.storage, info, &self.examined.uuids).and_then(|table| {
            table.verify(&mut |_| is_whole = false)?;
            Ok(table)
        });
        match opened {
            Ok(table) => Ok(Some((table, is_whole))),
            Err(error) if error.kind() == ErrorKind::Corruption => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps what can be read of the rows.
    fn sort_out_rows(&mut self) -> Result<()> {
        let mut tables = Vec::new();
        for info in self.of_kind(SegmentKind::Rows) {
            let name = segment_name(info.kind, info.id);
            match self.table(&info)? {
                Some((table, true)) => tables.push(table),
                Some((table, false)) => {
                    self.lose(name.clone())?;
                    let header = table.header().clone();
                    let plan = RunPlan {
                        kind: SegmentKind::Rows,
                        level: header.level,
                        uuid: header.uuid,
                        first: header.first,
                        last: header.last,
                        first_version: header.first_version,
                        last_version: header.last_version,
                        part_bytes: PART_BYTES,
                    };
                    let next_segment = &mut self.next_segment;
                    let mut next_id = || take_id(next_segment);
                    let mut run = RunWriter::new(self.storage, plan, &mut next_id);
                    let rows_lost = &mut self.repair.rows_lost;
                    table.salvage(&mut |key, prefix, value| run.add(key, prefix, value), &mut |above, upto| {
                        rows_lost.push(format!("{name}: rows above {} up to {}", words(above), words(Some(upto))));
                    })?;
                    tables.extend(run.finish()?);
                }
                None => {
                    self.lose(name.clone())?;
                    self.repair.bytes_lost += info.bytes;
                    self.repair.rows_lost.push(format!("{name}: all rows in it"));
                }
            }
        }
        let known = tables.iter().map(|table| table.header().last_version).max().unwrap_or(0);
        if known < self.end.sealed_version && self.repair.rows_lost.is_empty() {
            let told = format!("all rows of versions {} to {}", known + 1, self.end.sealed_version);
            self.repair.rows_lost.push(told);
        }
        self.rows = Runs::new(tables)?;
        Ok(())
    }

    /// A run of rows that no list names any more shows by the versions that no other run covers.
    fn find_rows_holes(&mut self) {
        let versions = self.rows.tables().map(|table| (table.header().first_version, table.header().last_version));
        let mut versions: Vec<(u64, u64)> = versions.collect();
        versions.sort_unstable();
        let mut covered = 0;
        for (first, last) in versions {
            if first > covered + 1 {
                self.repair.rows_lost.push(format!("all rows of versions {} to {}", covered + 1, first - 1));
            }
            covered = covered.max(last);
        }
    }

    /// Finds out which records are whole, and what is left of the others.
    fn sort_out_units(&mut self) -> Result<()> {
        let (manifest, uuids) = (self.manifest.clone(), &self.examined.uuids);
        let mut indexes: BTreeMap<(u64, u64), Vec<Arc<Table>>> = BTreeMap::new();
        for info in self.of_kind(SegmentKind::Index) {
            match self.table(&info)? {
                Some((table, true)) => {
                    let header = table.header();
                    indexes.entry((header.first, header.last)).or_default().push(table);
                }
                _ => self.lose(segment_name(info.kind, info.id))?,
            }
        }
        let mut stretches: BTreeMap<u64, Stretch> = BTreeMap::new();
        let mut before = 0;
        for journal in manifest.sealed() {
            let (lo, range) = (journal.file_id, (journal.file_id, journal.file_id));
            let mut stretch = Stretch::new(range, (before + 1, journal.last_version), 0);
            stretch.index = indexes.remove(&range).unwrap_or_default();
            stretch.journal = Some(*journal);
            stretch.is_unsealed = journal.file_id > self.end.sealed_through;
            before = journal.last_version;
            stretches.insert(lo, stretch);
        }
        let mut unplaced = Vec::new();
        for info in self.of_kind(SegmentKind::Messages) {
            let header = match open_messages(&**self.storage, &info, uuids) {
                Ok((_, header)) => Some(header),
                Err(error) if error.kind() == ErrorKind::Corruption => {
                    // An index of the same journals was made with it.
                    let mut beside = indexes.values().flatten().map(|table| table.header());
                    beside.find(|header| header.last_version == info.last_version).cloned()
                }
                Err(error) => return Err(error),
            };
            let Some(header) = header else {
                unplaced.push(info);
                continue;
            };
            let range = (header.first, header.last);
            let versions = (header.first_version, header.last_version);
            let mut stretch = Stretch::new(range, versions, header.level);
            stretch.index = indexes.remove(&range).unwrap_or_default();
            stretch.messages = Some(info);
            stretches.insert(range.0, stretch);
        }
        // What covered the journals that nothing else covers was in these, the older changes in the older ones.
        unplaced.sort_by_key(|info| info.last_version);
        let mut unplaced = unplaced.into_iter();
        let mut next = 1;
        let mut gaps = Vec::new();
        for stretch in stretches.values() {
            if next < stretch.lo {
                gaps.push((next, stretch.lo - 1));
            }
            next = stretch.hi + 1;
        }
        if next <= manifest.sealed_through {
            gaps.push((next, manifest.sealed_through));
        }
        for range in gaps {
            let Some(info) = unplaced.next() else { break };
            let mut stretch = Stretch::new(range, (1, info.last_version), 0);
            stretch.messages = Some(info);
            stretches.insert(range.0, stretch);
        }
        for info in unplaced {
            self.lose(segment_name(info.kind, info.id))?;
            self.repair.bytes_lost += info.bytes;
        }
        for mut stretch in stretches.into_values() {
            self.look_at(&mut stretch)?;
            self.stretches.push(stretch);
        }
        Ok(())
    }

    /// Finds out whether a stretch is whole, and if not, what is left.
    fn look_at(&mut self, stretch: &mut Stretch) -> Result<()> {
        let uuids = &self.examined.uuids;
        let storage = &**self.storage;
        let (name, bytes, is_whole) = match (&stretch.journal, &stretch.messages) {
            (Some(journal), _) => {
                let is_whole = self.is_believed(journal) || is_whole_journal(storage, journal, uuids)?;
                (journal_name(journal.file_id), journal.end, is_whole)
            }
            (None, Some(info)) => {
                (segment_name(info.kind, info.id), info.bytes, is_whole_messages(storage, info, uuids)?)
            }
            (None, None) => return Ok(()),
        };
        let index = Runs::new(stretch.index.clone())?;
        stretch.is_damaged = !is_whole;
        if stretch.is_unsealed {
            stretch.is_blind = true;
            if !is_whole {
                self.lose(name.clone())?;
            }
        } else if is_whole {
            let unit = Arc::new(stretch.open(storage, uuids, index.clone())?);
            if is_whole_unit(&unit)? {
                stretch.unit = Some(unit);
                return Ok(());
            }
            stretch.is_blind = true;
        } else {
            self.lose(name.clone())?;
            stretch.is_blind = stretch.index.is_empty();
        }
        if !stretch.is_blind {
            stretch.held = extents(&index)?;
        }
        let path = self.storage.path(&name);
        let handle = match self.storage.open(&name) {
            Ok(handle) => handle,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.repair.bytes_lost += bytes;
                return Ok(());
            }
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        let (seeds, end) = match (&stretch.journal, &stretch.messages) {
            (Some(journal), _) => {
                let seeds = uuids.iter().filter_map(|uuid| journal_seed(&*handle, uuid, journal.file_id));
                (seeds.collect::<Vec<u32>>(), journal.end.min(handle.length()))
            }
            (None, info) => {
                let opened = info.and_then(|info| open_messages(storage, &info, uuids).ok());
                let end = opened.map_or(handle.length(), |(records, _)| records.end());
                let sound = read_header(&*handle, &path).ok().map(|header| header.seed());
                (sound.into_iter().chain(stored_seed(&*handle)).collect(), end)
            }
        };
        let mut best = None;
        for seed in seeds {
            let salvaged = salvage(&*handle, &path, seed, end)?;
            if !salvaged.records.is_empty() {
                best = Some(salvaged);
                break;
            }
        }
        let Some(salvaged) = best else {
            self.repair.bytes_lost += if is_whole { 0 } else { bytes };
            return Ok(());
        };
        self.repair.bytes_lost += salvaged.bad.iter().map(|(from, to)| to - from).sum::<u64>();
        stretch.left.read(handle, &path, &salvaged.records, stretch.is_unsealed)
    }

    /// Of one of the newest two files an opening believes what was read of it, also if it has no closing frame.
    fn is_believed(&self, journal: &LiveFile) -> bool {
        let torn = self.examined.torn_previous().map(|torn| torn.file_id);
        self.takes_in_end && (journal.file_id == self.examined.newest_file().file_id || Some(journal.file_id) == torn)
    }

    /// Writes down which messages are lost, begins a new journal file, sets aside what is damaged.
    fn finish(mut self, how: &RecoverOptions) -> Result<Repair> {
        let units = self.stretches.iter().filter_map(|stretch| stretch.unit.clone()).collect();
        let segments = Segments { rows: self.rows.clone(), units: Units::new(units)?, generation: 1 };
        self.lose_edits(&segments)?;
        let mut entries = Entries::default();
        let mut heads = BTreeMap::new();
        if !self.repair.rows_lost.is_empty() {
            // Of what is to be taken in the rows know nothing yet.
            let is_before = |unit: &&Arc<Unit>| !self.takes_in_end || unit.hi <= self.end.sealed_through;
            let units = Units::new(segments.units.iter().filter(is_before).cloned().collect())?;
            let before = Segments { units, ..segments.clone() };
            heads = mend_heads(&before, &self.unsealed_known, &self.heads()?, &mut entries)?;
            mend_globals(&segments, self.rows_version(), self.examined.uuids[0], &heads, &mut entries)?;
        }
        for (timeline, runs) in &self.lost {
            let head = match heads.remove(timeline) {
                Some(head) => Some(head),
                None => load_head(&segments, *timeline)?,
            };
            let Some((mut head, newest)) = head else { continue };
            head.lose(runs);
            heads.insert(*timeline, (head, newest));
        }
        for (head, newest) in heads.values_mut() {
            let parts: Vec<HeadPart> = std::mem::take(&mut head.parts);
            stored::add_parts(&mut entries, head, &parts);
            stored::add_head(&mut entries, head, *newest, head.indexed, head.unit);
        }
        let mut manifest = self.manifest.clone();
        let mut rows: Vec<SegmentInfo> = segments.rows.tables().map(|table| table.info()).collect();
        if !entries.is_empty() {
            entries.sort();
            let last_version = self.rows_version();
            let newest = segments.rows.tables().map(|table| table.header().first).max().unwrap_or(0);
            let plan = RunPlan {
                kind: SegmentKind::Rows,
                level: 0,
                uuid: self.examined.uuids[0],
                first: newest + 1,
                last: 0,
                first_version: last_version,
                last_version,
                part_bytes: PART_BYTES,
            };
            let next_segment = &mut self.next_segment;
            let mut next_id = || take_id(next_segment);
            let mut run = RunWriter::new(self.storage, plan, &mut next_id);
            for (key, prefix, value) in entries.iter() {
                run.add(key, prefix, value)?;
            }
            rows.extend(run.finish()?.iter().map(|table| table.info()));
        }
        let is_before = |unit: &&Arc<Unit>| unit.hi <= self.end.sealed_through;
        let before = segments.units.iter().filter(is_before).flat_map(|unit| unit.segments().collect::<Vec<_>>());
        let mut before: Vec<SegmentInfo> = before.chain(rows.iter().copied()).collect();
        before.sort_by_key(|segment| (segment.kind as u8, segment.id));
        let live = || segments.units.iter();
        manifest.segments = live().flat_map(|unit| unit.segments().collect::<Vec<_>>()).chain(rows).collect();
        manifest.segments.sort_by_key(|segment| (segment.kind as u8, segment.id));
        let sealed_through = manifest.sealed_through;
        let is_live = |id: u64| live().any(|unit| unit.messages.is_none() && unit.lo == id);
        manifest.journals.retain(|file| file.file_id > sealed_through || is_live(file.file_id));
        if self.takes_in_end {
            manifest.segments.extend(self.take_in_end(&manifest, &before)?);
            manifest.segments.sort_by_key(|segment| (segment.kind as u8, segment.id));
        }
        manifest.next_segment = self.next_segment;
        if self.takes_in_end {
            let versions = (self.epoch_end, manifest.sealed_version);
            self.examined.begin_epoch(self.storage, manifest, versions, how)?;
        } else {
            self.examined.go_on(self.storage, manifest, how)?;
        }
        set_aside(&**self.storage, &self.damaged)?;
        let lost = &mut self.repair.messages_lost;
        lost.sort_unstable();
        lost.dedup_by(|next, run| {
            let is_one = next.0 == run.0 && next.1.0 <= run.2.0 + 1;
            if is_one {
                run.2 = run.2.max(next.2);
            }
            is_one
        });
        Ok(self.repair)
    }
}

fn take_id(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

/// A key of a row, for people.
fn words(key: Option<&[u8]>) -> String {
    let Some(key) = key else { return "the beginning".to_owned() };
    match stored::owner(key) {
        Some(stored::Owner::Timeline(timeline)) => format!("the head of {timeline}"),
        Some(stored::Owner::User(user)) => format!("those of user {}", user.0),
        Some(stored::Owner::Name(..)) => format!("the name {}", key.escape_ascii()),
        None => match stored::head_of_key(key) {
            Some((timeline, _)) => format!("a part of {timeline}"),
            None => key.escape_ascii().to_string(),
        },
    }
}
