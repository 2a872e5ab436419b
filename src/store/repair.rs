//! Brings a damaged store back as far as its files allow, and says what is lost.
//! Owns: `Repair`, which files are kept, made anew, set aside. May touch: `verify`, `rows`, `journal`, `segment`, `unit`,
//! `state`.
//! Never: takes a damaged file away, gives a lost seq again, or touches a file of a store that is whole.
//!
//! Where messages are lost, records without content take their places, so that the files stay as dense as all others; the
//! head of the timeline lists them, so that nobody is shown one.

use super::Store;
use super::open::Opening;
use super::options::Options;
use super::rows::load_head;
use super::verify::{is_whole_journal, is_whole_messages, is_whole_unit, lock};
use crate::change::{self, Append, Change, Commit, Opens};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ClientId, Seq, Timeline, UserId};
use crate::journal::{
    Examined, Found as JournalsFound, LiveFile, Manifest, Records, RecoverOptions, ReplayTarget, Sealed, SealedJournal,
    Unreplayable, evidence_name, examine, journal_name, journal_seed, open_sealed_journal, records_bytes_max, salvage,
    write_records,
};
use crate::segment::{
    PART_BYTES, RunPlan, RunWriter, Runs, SegmentInfo, SegmentKind, Table, read_header, segment_id, segment_name,
};
use crate::state::stored::{self, Entries, Globals};
use crate::state::{Head, LostRun, PART_SEQS, Part as HeadPart, Tip as HeadTip};
use crate::storage::{RealStorage, Storage, StorageFile};
use crate::unit::{Segments, Unit, Units, extent, extents, open_messages, rebuild_unit};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Which rows are lost, in words: sessions, marks, settings. Where an older row of the same key is left, it holds.
    pub rows_lost: Vec<String>,
}

impl Store {
    /// Repairs the store in the directory `path`, which is not open: every file that is whole stays as it is, of a damaged
    /// one every frame and block that is whole is kept. A repair begins a new epoch; if nothing is damaged, nothing is
    /// done. The answer says exactly what is lost; those seqs are never given again.
    ///
    /// Can be called again if it fails, or the machine does. The newest journal files, those that are not in
    /// segments yet, must be whole.
    ///
    /// # Errors
    /// `Corruption` if what is damaged is the newest end of the journal; `Locked`, `Full`, `Io`, `Unsupported`.
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
        let mut first = None;
        let examined = examine(&*storage, &mut |error| {
            first.get_or_insert(error);
        })?;
        let Some(examined) = examined else {
            let path = storage.path("");
            return Err(
                first.unwrap_or_else(|| Error::corruption_at(&path, 0, "a journal that can be read", "another"))
            );
        };
        for file in examined.manifest.unsealed() {
            if !is_whole_journal(&*storage, file, &examined.uuids)? {
                let path = storage.path(&journal_name(file.file_id));
                return Err(Error::corruption_at(&path, 0, "a whole journal that is not sealed", "another"));
            }
        }
        let mut work = Work::new(&storage, &examined)?;
        work.sort_out_rows()?;
        work.sort_out_units()?;
        if work.repair.files_lost.is_empty() {
            return Ok(work.repair);
        }
        work.rebuild()?;
        let how = RecoverOptions { journal_bytes: options.journal_bytes, unsynced: false };
        work.finish(&how)
    }
}

/// The records of a stretch of journals, whole or not.
struct Stretch {
    lo: u64,
    hi: u64,
    level: u8,
    first_version: u64,
    last_version: u64,
    /// What the manifest says of it.
    journal: Option<LiveFile>,
    messages: Option<SegmentInfo>,
    /// What of its index is whole.
    index: Vec<Arc<Table>>,
    /// If all of it is.
    unit: Option<Arc<Unit>>,
    /// What is left of it, if not.
    left: Left,
    /// The timelines that it held, and from which seq to which.
    held: Vec<(Timeline, u64, u64)>,
    /// Nobody knows what it held but by what is missing elsewhere.
    is_blind: bool,
}

/// Records that were found in a damaged stretch.
#[derive(Default)]
struct Left {
    file: Option<Arc<dyn StorageFile>>,
    messages: BTreeMap<Timeline, BTreeMap<u64, Found>>,
    /// By timeline, seq and version.
    edits: Vec<(Timeline, u64, Found)>,
}

/// A record that was found.
#[derive(Clone, Copy)]
struct Found {
    offset: u64,
    length: usize,
    facts: Facts,
}

/// What is to be known of a message beside a lost one.
#[derive(Clone, Copy)]
struct Facts {
    version: u64,
    time: u64,
    timestamp: u64,
    /// How many messages count before it, and with it.
    ordinal_before: u64,
    ordinal: u64,
}

impl Facts {
    fn of(append: &Append, commit: Commit) -> Facts {
        Facts {
            version: commit.version,
            time: commit.time,
            timestamp: append.timestamp,
            ordinal_before: append.ordinal.saturating_sub(append.counts.into()),
            ordinal: append.ordinal,
        }
    }
}

struct Work<'a> {
    storage: &'a Arc<dyn Storage>,
    examined: &'a Examined,
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
        let given = names.iter().filter_map(|name| segment_id(name)).map(|(_, id)| id + 1).max().unwrap_or(0);
        Ok(Work {
            storage,
            examined,
            next_segment: given.max(examined.manifest.next_segment),
            rows: Runs::default(),
            stretches: Vec::new(),
            unsealed: BTreeMap::new(),
            unsealed_known: BTreeMap::new(),
            lost: BTreeMap::new(),
            damaged: Vec::new(),
            repair: Repair::default(),
        })
    }

    fn of_kind(&self, kind: SegmentKind) -> impl Iterator<Item = SegmentInfo> + use<> {
        let segments: Vec<SegmentInfo> = self.examined.manifest.segments.clone();
        segments.into_iter().filter(move |segment| segment.kind == kind)
    }

    /// What the rows say is as of this version.
    fn rows_version(&self) -> u64 {
        self.of_kind(SegmentKind::Rows).map(|info| info.last_version).max().unwrap_or(0)
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
        self.rows = Runs::new(tables)?;
        Ok(())
    }

    /// Finds out which records are whole, and what is left of the others.
    fn sort_out_units(&mut self) -> Result<()> {
        let (manifest, uuids) = (&self.examined.manifest, &self.examined.uuids);
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
            before = journal.last_version;
            stretches.insert(lo, stretch);
        }
        let mut unplaced = Vec::new();
        for info in self.of_kind(SegmentKind::Messages) {
            let header = match open_messages(&**self.storage, &info, uuids) {
                Ok((_, header)) => Some(header),
                Err(error) if error.kind() == ErrorKind::Corruption => {
                    // An index of the same journals was made with it.
                    let beside = indexes.values().flatten().map(|table| table.header());
                    beside.filter(|header| header.last_version == info.last_version).next().cloned()
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
                (journal_name(journal.file_id), journal.end, is_whole_journal(storage, journal, uuids)?)
            }
            (None, Some(info)) => {
                (segment_name(info.kind, info.id), info.bytes, is_whole_messages(storage, info, uuids)?)
            }
            (None, None) => return Ok(()),
        };
        let index = Runs::new(stretch.index.clone())?;
        if is_whole {
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
                let mut stored = [0; 4];
                // The checksum of the first page is the seed of all others, whatever the rest of the page says.
                let seed = handle.read_at(96, &mut stored).ok().map(|()| u32::from_le_bytes(stored));
                let sound = read_header(&*handle, &path).ok().map(|header| header.seed());
                (sound.into_iter().chain(seed).collect(), end)
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
            self.repair.bytes_lost += bytes;
            return Ok(());
        };
        self.repair.bytes_lost += salvaged.bad.iter().map(|(from, to)| to - from).sum::<u64>();
        stretch.left.read(handle, &path, &salvaged.records)
    }

    /// Makes what is damaged anew, and finds out what is lost.
    fn rebuild(&mut self) -> Result<()> {
        let rows_version = self.rows_version();
        let (unsealed, known) = (&mut self.unsealed, &mut self.unsealed_known);
        self.examined.unsealed(&**self.storage, &mut |replayed| {
            if let Change::Append(append) = &replayed.decoded.change {
                let first = (append.seq, Facts::of(append, replayed.decoded.commit));
                unsealed.entry(append.timeline).or_insert(first);
                if replayed.decoded.commit.version <= rows_version {
                    known.insert(append.timeline, first);
                }
            }
        })?;
        let heads = self.heads()?;
        if self.stretches.iter().any(|stretch| stretch.is_blind) {
            for head in &heads {
                self.guess(head)?;
            }
        }
        let tips: BTreeMap<Timeline, Tip> = heads.into_iter().map(|tip| (tip.timeline, tip)).collect();
        for index in 0..self.stretches.len() {
            if self.stretches[index].unit.is_none() {
                self.rebuild_stretch(index, &tips)?;
            }
        }
        Ok(())
    }

    /// What the heads say, by the rows that are left.
    fn heads(&self) -> Result<Vec<Tip>> {
        let mut heads = Vec::new();
        self.rows.walk(&[stored::TIMELINE], &mut |key, value| {
            let Some((timeline, rest)) = stored::head_of_key(key) else { return Ok(key[0] == stored::TIMELINE) };
            if rest == [0]
                && let Some(head) = stored::core_of(timeline, value)
            {
                heads.push(Tip {
                    timeline,
                    trim: head.tip.trim(),
                    trim_ordinal: head.tip.trim_ordinal(),
                    last: head.tip.last,
                    ordinal: head.tip.ordinal,
                    indexed: head.indexed,
                    unit: head.unit,
                });
            }
            Ok(true)
        })?;
        Ok(heads)
    }

    /// What a timeline must have had in stretches of which nobody says it: what is nowhere else.
    fn guess(&mut self, tip: &Tip) -> Result<()> {
        let timeline = tip.timeline;
        let (mut upper, mut pointer) = (tip.indexed, tip.unit);
        for index in (0..self.stretches.len()).rev() {
            if !self.stretches[index].is_blind {
                if let Some((first, _, previous)) = self.stretches[index].extent(timeline)? {
                    (upper, pointer) = (first - 1, previous);
                }
                continue;
            }
            let (lo, hi) = (self.stretches[index].lo, self.stretches[index].hi);
            let found = self.stretches[index].left.messages.get(&timeline);
            if !(lo..=hi).contains(&pointer) && found.is_none() {
                continue;
            }
            let found_first = found.and_then(|found| found.keys().next().copied());
            let mut older = (0, 0);
            for stretch in self.stretches[..index].iter().rev() {
                if let Some((_, last, _)) = stretch.extent(timeline)? {
                    older = (last, stretch.hi);
                    break;
                }
            }
            let mut low = older.0.max(tip.trim) + 1;
            if let Some(first) = found_first.filter(|first| *first < low && older.0 < *first) {
                low = first;
            }
            if low <= upper {
                self.stretches[index].held.push((timeline, low, upper));
                upper = low - 1;
            }
            pointer = older.1;
        }
        Ok(())
    }

    /// What is known of a message, if it is there.
    fn facts(&self, timeline: Timeline, seq: u64) -> Result<Option<Facts>> {
        for stretch in &self.stretches {
            if let Some(found) = stretch.left.messages.get(&timeline).and_then(|messages| messages.get(&seq)) {
                return Ok(Some(found.facts));
            }
            let Some(unit) = &stretch.unit else { continue };
            let units = Units::new(vec![unit.clone()])?;
            if let Some(place) = units.place(unit.hi, timeline, seq)? {
                let stored = unit.records.read(place.offset())?;
                if stored.append.seq == seq && stored.append.timeline == timeline {
                    return Ok(Some(Facts::of(&stored.append, stored.commit)));
                }
            }
        }
        Ok(self.unsealed.get(&timeline).filter(|(first, _)| *first == seq).map(|(_, facts)| *facts))
    }

    /// Makes one stretch anew: what is left, and in the places of what is not, records without content.
    fn rebuild_stretch(&mut self, index: usize, tips: &BTreeMap<Timeline, Tip>) -> Result<()> {
        let left = std::mem::take(&mut self.stretches[index].left);
        let held = std::mem::take(&mut self.stretches[index].held);
        // Looked up by others' facts, too.
        self.stretches[index].left.messages = left.messages.clone();
        let mut plan: Vec<(u64, u64, Planned)> = Vec::new();
        for (timeline, first, last) in held {
            let empty = BTreeMap::new();
            let messages = left.messages.get(&timeline).unwrap_or(&empty);
            let mut seq = first;
            while seq <= last {
                if let Some(found) = messages.get(&seq) {
                    plan.push((found.facts.version, seq, Planned::Found(found.offset, found.length)));
                    seq += 1;
                    continue;
                }
                let end = messages.range(seq..).next().map_or(last, |(next, _)| (next - 1).min(last));
                let before = if seq > 1 { self.facts(timeline, seq - 1)? } else { None };
                let after = match messages.get(&(end + 1)) {
                    Some(found) => Some((end + 1, found.facts)),
                    None => self.next_facts(index, timeline, end + 1)?,
                };
                let run = self.lost_run(tips.get(&timeline), (seq, end), before, after);
                for seq in seq..=end {
                    let (append, commit) = stand_in(timeline, seq, &run, before, after);
                    plan.push((commit.version, seq, Planned::Lost(append, commit)));
                }
                let trim = tips.get(&timeline).map_or(0, |tip| tip.trim);
                if end > trim {
                    let run = LostRun { first: run.first.max(trim + 1), ..run };
                    self.lost.entry(timeline).or_default().push(run);
                    self.repair.messages_lost.push((timeline, Seq(run.first), Seq(run.last)));
                }
                seq = end + 1;
            }
        }
        for (_, seq, found) in &left.edits {
            plan.push((found.facts.version, *seq, Planned::Found(found.offset, found.length)));
        }
        if plan.is_empty() {
            return Ok(());
        }
        plan.sort_by_key(|(version, seq, _)| (*version, *seq));
        let bytes: u64 = plan.iter().map(|(_, _, planned)| planned.bytes_max()).sum();
        let (lo, hi, level) = (self.stretches[index].lo, self.stretches[index].hi, self.stretches[index].level);
        let (count, mut planned) = (plan.len() as u64, plan.into_iter());
        let path = self.storage.path("");
        let records = write_records(self.storage, lo, records_bytes_max(count, bytes), &mut |out| {
            let Some((_, _, planned)) = planned.next() else { return Ok(false) };
            match (planned, &left.file) {
                (Planned::Found(offset, length), Some(file)) => {
                    let start = out.len();
                    out.resize(start + length, 0);
                    file.read_at(offset, &mut out[start..]).map_err(|error| Error::io("read", &path, error))?;
                }
                (Planned::Lost(append, commit), _) => change::encode(&Change::Append(append), &[], commit, out),
                (Planned::Found(..), None) => {}
            }
            Ok(true)
        })?;
        let temporary = records.path.clone();
        let versions = (self.stretches[index].first_version, self.stretches[index].last_version);
        let (older, next_segment) = (&self.stretches[..index], &mut self.next_segment);
        let mut previous = |timeline: Timeline| {
            for stretch in older.iter().rev() {
                if stretch.extent(timeline)?.is_some() {
                    return Ok(stretch.hi);
                }
            }
            Ok(0)
        };
        let uuid = self.examined.uuids[0];
        let mut next_id = || take_id(next_segment);
        let unit = rebuild_unit(self.storage, records, (lo, hi, level), versions, uuid, &mut next_id, &mut previous)?;
        if let Some(name) = temporary.file_name().and_then(|name| name.to_str()) {
            self.storage.remove(name).map_err(|error| Error::io("remove", &temporary, error))?;
        }
        let stretch = &mut self.stretches[index];
        stretch.is_blind = false;
        stretch.left.messages.clear();
        stretch.unit = Some(Arc::new(unit));
        Ok(())
    }

    /// The first message from `seq` on that is left behind a stretch, and its seq.
    fn next_facts(&self, index: usize, timeline: Timeline, seq: u64) -> Result<Option<(u64, Facts)>> {
        for stretch in &self.stretches[index + 1..] {
            let next = match &stretch.unit {
                Some(unit) => extent(&unit.index, timeline)?.map(|(first, ..)| first),
                None => stretch.left.messages.get(&timeline).and_then(|messages| messages.keys().next().copied()),
            };
            if let Some(next) = next.filter(|next| *next >= seq)
                && let Some(facts) = self.facts(timeline, next)?
            {
                return Ok(Some((next, facts)));
            }
        }
        Ok(self.unsealed.get(&timeline).copied().filter(|(first, _)| *first >= seq))
    }

    /// What is known of the messages `first..=last`, which are lost. Others that follow them may be, too.
    fn lost_run(
        &self,
        tip: Option<&Tip>,
        (first, last): (u64, u64),
        before: Option<Facts>,
        after: Option<(u64, Facts)>,
    ) -> LostRun {
        let start = || tip.filter(|tip| tip.trim + 1 == first).map(|tip| tip.trim_ordinal);
        let (next, ordinal_next) = match (&after, tip) {
            (Some((next, facts)), _) => (*next, Some(facts.ordinal_before)),
            (None, Some(tip)) => (tip.last + 1, Some(tip.ordinal)),
            (None, None) => (last + 1, None),
        };
        let ordinal_before = before.map(|facts| facts.ordinal).or_else(start);
        let ordinal_before =
            ordinal_before.unwrap_or_else(|| ordinal_next.map_or(0, |ordinal| ordinal.saturating_sub(next - first)));
        let ordinal_next = ordinal_next.unwrap_or(ordinal_before).max(ordinal_before);
        LostRun { first, last, ordinal_before, ordinal_after: ordinal_next.min(ordinal_before + last - first + 1) }
    }

    /// Writes down which messages are lost, begins a new journal file, sets aside what is damaged.
    fn finish(mut self, how: &RecoverOptions) -> Result<Repair> {
        let units = self.stretches.iter().filter_map(|stretch| stretch.unit.clone()).collect();
        let segments = Segments { rows: self.rows.clone(), units: Units::new(units)?, generation: 1 };
        self.lose_edits(&segments)?;
        let mut entries = Entries::default();
        let mut heads = BTreeMap::new();
        if !self.repair.rows_lost.is_empty() {
            heads = mend_heads(&segments, &self.unsealed_known, &mut entries)?;
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
        let mut manifest = self.examined.manifest.clone();
        let mut rows: Vec<SegmentInfo> = segments.rows.tables().map(|table| table.info()).collect();
        if entries.len() > 0 {
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
        let mended = !self.repair.rows_lost.is_empty();
        let live = || segments.units.iter();
        manifest.segments = live().flat_map(|unit| unit.segments().collect::<Vec<_>>()).chain(rows).collect();
        manifest.segments.sort_by_key(|segment| (segment.kind as u8, segment.id));
        let sealed_through = manifest.sealed_through;
        let is_live = |id: u64| live().any(|unit| unit.messages.is_none() && unit.lo == id);
        manifest.journals.retain(|file| file.file_id > sealed_through || is_live(file.file_id));
        if mended {
            manifest.segments.extend(self.take_in_unsealed(&manifest)?);
            manifest.segments.sort_by_key(|segment| (segment.kind as u8, segment.id));
        }
        manifest.next_segment = self.next_segment;
        self.examined.go_on(self.storage, manifest, how)?;
        for name in &self.damaged {
            let renamed = self.storage.rename(name, &evidence_name(name));
            renamed.map_err(|error| Error::io("set aside", &self.storage.path(name), error))?;
        }
        let synced = self.storage.sync_directory();
        synced.map_err(|error| Error::io("sync", &self.storage.path(""), error))?;
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

    /// Writes down what the journals that are not sealed make of the rows that are left: held against those, a change may
    /// be one that no sequencer makes, and an opening would refuse it.
    fn take_in_unsealed(&mut self, manifest: &Manifest) -> Result<Vec<SegmentInfo>> {
        let uuids = &self.examined.uuids;
        let sealed = manifest.sealed().iter().map(|file| open_sealed_journal(&**self.storage, file, uuids));
        let sealed = sealed.collect::<Result<Vec<SealedJournal>>>()?;
        let mut opening = Opening::new(self.storage);
        opening.takes_all = true;
        opening.begin(&JournalsFound { manifest, sealed: &sealed, uuids })?;
        let mut failed = None;
        self.examined.unsealed(&**self.storage, &mut |replayed| {
            if failed.is_none()
                && let Err(Unreplayable::Failed(error)) = opening.apply(replayed)
            {
                failed = Some(error);
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let seed = opening.dedup_seed.unwrap_or_else(|| xxhash_rust::xxh3::xxh3_64(&uuids[0]));
        let state = &mut opening.state;
        let (version, newest) = (state.version, state.segments.rows.tables().map(|table| table.header().first).max());
        state.freeze(manifest.sealed_through, seed);
        while state.write_down(usize::MAX) {}
        let mut entries = state.take_entries();
        entries.sort();
        let plan = RunPlan {
            kind: SegmentKind::Rows,
            level: 0,
            uuid: uuids[0],
            first: newest.unwrap_or(0) + 1,
            last: 0,
            first_version: version,
            last_version: version,
            part_bytes: PART_BYTES,
        };
        let next_segment = &mut self.next_segment;
        let mut next_id = || take_id(next_segment);
        let mut run = RunWriter::new(self.storage, plan, &mut next_id);
        for (key, prefix, value) in entries.iter() {
            run.add(key, prefix, value)?;
        }
        Ok(run.finish()?.iter().map(|table| table.info()).collect())
    }

    /// A message whose newest body was an edit that is lost is lost with it.
    fn lose_edits(&mut self, segments: &Segments) -> Result<()> {
        for tip in self.heads()? {
            let Some((head, _)) = load_head(segments, tip.timeline)? else { continue };
            for (seq, amendment) in head.amended.iter().flat_map(|amended| amended.iter()) {
                let Some(edit) = amendment.edit else { continue };
                let place = segments.units.edit_place(edit, tip.timeline, seq, amendment.version)?;
                let is_known = self
                    .lost
                    .get(&tip.timeline)
                    .is_some_and(|runs| runs.iter().any(|run| run.first <= seq && seq <= run.last));
                if place.is_some() || is_known {
                    continue;
                }
                let Some(facts) = self.facts(tip.timeline, seq)? else { continue };
                let (ordinal_before, ordinal_after) = (facts.ordinal_before, facts.ordinal);
                let run = LostRun { first: seq, last: seq, ordinal_before, ordinal_after };
                self.lost.entry(tip.timeline).or_default().push(run);
                self.repair.messages_lost.push((tip.timeline, Seq(seq), Seq(seq)));
            }
        }
        Ok(())
    }
}

/// Heads that are lost, or older than their messages, made of what the newest of these says.
fn mend_heads(
    segments: &Segments,
    unsealed: &BTreeMap<Timeline, (u64, Facts)>,
    entries: &mut Entries,
) -> Result<BTreeMap<Timeline, (Head, u64)>> {
    let mut ends: BTreeMap<Timeline, (u64, u64)> = BTreeMap::new();
    for unit in segments.units.iter() {
        for (timeline, _, last) in extents(&unit.index)? {
            ends.insert(timeline, (last, unit.hi));
        }
    }
    unsealed.keys().for_each(|timeline| drop(ends.entry(*timeline).or_default()));
    let mut mended = BTreeMap::new();
    for (timeline, (indexed, unit)) in ends {
        if let Some(source) = timeline.source() {
            stored::add_source(entries, source, matches!(timeline, Timeline::Broadcast(_)));
        }
        let known = load_head(segments, timeline)?;
        let newest_known = unsealed.get(&timeline);
        let last = newest_known.map_or(indexed, |(seq, _)| *seq);
        if known.as_ref().is_some_and(|(head, _)| head.indexed == indexed && head.tip.last >= last) {
            continue;
        }
        let read = |seq: u64| -> Result<Option<Facts>> {
            let Some(place) = segments.units.place(unit, timeline, seq)? else { return Ok(None) };
            let Some(unit) = segments.units.iter().find(|unit| unit.records.id() == place.file_id()) else {
                return Ok(None);
            };
            let stored = unit.records.read(place.offset())?;
            Ok(Some(Facts::of(&stored.append, stored.commit)))
        };
        let facts = match newest_known {
            Some((_, facts)) => Some(*facts),
            None => read(indexed)?,
        };
        let Some(facts) = facts else { continue };
        let (mut head, newest) =
            known.unwrap_or_else(|| (Head::new(timeline, HeadTip::new(Default::default(), 1)), facts.version));
        head.tip = HeadTip {
            last,
            last_timestamp: facts.timestamp,
            ordinal: facts.ordinal,
            version: facts.version,
            time: facts.time,
            opens: false,
            ..head.tip
        };
        (head.indexed, head.unit) = (indexed, unit);
        if let Timeline::Broadcast(_) = timeline {
            for seq in head.sent.len() as u64 + 1..=indexed {
                head.sent.push(read(seq)?.map_or((0, 0), |facts| (facts.version, facts.ordinal)));
                head.parts.push(HeadPart::Sent((seq - 1) / PART_SEQS));
            }
            head.parts.dedup();
        }
        mended.insert(timeline, (head, newest.max(facts.version)));
    }
    Ok(mended)
}

/// What a store has one of, if that is lost or older than the rows.
fn mend_globals(
    segments: &Segments,
    version: u64,
    uuid: [u8; 16],
    heads: &BTreeMap<Timeline, (Head, u64)>,
    entries: &mut Entries,
) -> Result<()> {
    let found = segments.rows.get_with(&[stored::GLOBALS], 1, Globals::take)?.flatten();
    if found.as_ref().is_some_and(|globals| globals.version >= version) {
        return Ok(());
    }
    let mut globals =
        found.unwrap_or_else(|| Globals { dedup_seed: xxhash_rust::xxh3::xxh3_64(&uuid), ..Globals::default() });
    globals.version = version;
    let newest = heads.values().map(|(head, _)| head.tip.time).max().unwrap_or(0);
    globals.time = globals.time.max(newest);
    segments.rows.walk(&[stored::NAME_OF], &mut |key, _| {
        let Some(stored::Owner::Name(kind, id)) = stored::owner(key) else { return Ok(key[0] == stored::NAME_OF) };
        globals.newest_names.retain(|(other, newest)| *other != kind || *newest > id);
        if !globals.newest_names.iter().any(|(other, _)| *other == kind) {
            globals.newest_names.push((kind, id));
        }
        Ok(true)
    })?;
    globals.add(entries);
    Ok(())
}

/// What a head says.
struct Tip {
    timeline: Timeline,
    trim: u64,
    trim_ordinal: u64,
    last: u64,
    ordinal: u64,
    indexed: u64,
    unit: u64,
}

/// What goes into a stretch that is made anew.
enum Planned {
    Found(u64, usize),
    Lost(Append, Commit),
}

impl Planned {
    fn bytes_max(&self) -> u64 {
        match self {
            Planned::Found(_, length) => *length as u64,
            Planned::Lost(..) => change::RECORD_BYTES_MAX as u64,
        }
    }
}

impl Stretch {
    fn new((lo, hi): (u64, u64), (first_version, last_version): (u64, u64), level: u8) -> Stretch {
        Stretch {
            lo,
            hi,
            level,
            first_version,
            last_version,
            journal: None,
            messages: None,
            index: Vec::new(),
            unit: None,
            left: Left::default(),
            held: Vec::new(),
            is_blind: false,
        }
    }

    /// The unit; its records are whole.
    fn open(&self, storage: &dyn Storage, uuids: &[[u8; 16]], index: Runs) -> Result<Unit> {
        let Stretch { lo, hi, level, first_version, last_version, messages, .. } = *self;
        let records: Arc<Records> = match (&self.journal, &messages) {
            (Some(journal), _) => {
                let SealedJournal { file, digest, .. } = open_sealed_journal(storage, journal, uuids)?;
                let sealed = Sealed { end: journal.end, digest };
                let (handle, path, id, seed) = (file.handle.clone(), file.path.clone(), file.id(), file.seed);
                Arc::new(Records::sealed(handle, path, id, seed, sealed))
            }
            (None, Some(info)) => open_messages(storage, info, uuids)?.0,
            (None, None) => return Err(Error::corruption_at(&storage.path(""), 0, "records", "none")),
        };
        Ok(Unit { lo, hi, first_version, last_version, level, records, messages, index })
    }

    /// Which messages of a timeline it has: the first and last seq, the newest journal before.
    fn extent(&self, timeline: Timeline) -> Result<Option<(u64, u64, u64)>> {
        match &self.unit {
            Some(unit) => extent(&unit.index, timeline),
            None if !self.is_blind => extent(&Runs::new(self.index.clone())?, timeline),
            None => Ok(self
                .left
                .messages
                .get(&timeline)
                .and_then(|messages| Some((*messages.keys().next()?, *messages.keys().next_back()?, 0)))),
        }
    }
}

impl Left {
    /// Reads what the records say that were found.
    fn read(&mut self, file: Arc<dyn StorageFile>, path: &Path, records: &[(u64, usize)]) -> Result<()> {
        let mut bytes = Vec::new();
        for (offset, length) in records.iter().copied() {
            bytes.resize(length, 0);
            file.read_at(offset, &mut bytes).map_err(|error| Error::io("read", path, error))?;
            let mut rest = &bytes[..];
            let Some(decoded) = change::decode_length(&mut rest).and_then(|_| change::decode(rest)) else { continue };
            match &decoded.change {
                Change::Append(append) => {
                    let facts = Facts::of(append, decoded.commit);
                    let messages = self.messages.entry(append.timeline).or_default();
                    messages.insert(append.seq, Found { offset, length, facts });
                }
                Change::Amend(amend) if !amend.recalls => {
                    let Commit { version, time } = decoded.commit;
                    let facts = Facts { version, time, timestamp: 0, ordinal_before: 0, ordinal: 0 };
                    self.edits.push((amend.timeline, amend.seq, Found { offset, length, facts }));
                }
                _ => {}
            }
        }
        self.file = Some(file);
        Ok(())
    }
}

/// A record without content for a lost message, which fits between those beside the run.
fn stand_in(
    timeline: Timeline,
    seq: u64,
    run: &LostRun,
    before: Option<Facts>,
    after: Option<(u64, Facts)>,
) -> (Append, Commit) {
    let from_start = seq - run.first + 1;
    // Timestamps and versions rise by at least one with each message, so there is room.
    let between = |value: fn(&Facts) -> u64| match (&before, &after) {
        (Some(before), _) => value(before) + from_start,
        (None, Some((next, after))) => value(after).saturating_sub(next - seq).max(from_start),
        (None, None) => from_start,
    };
    let ordinal = (run.ordinal_before + from_start).min(run.ordinal_after);
    // A record names a sender where users send; whose it was nobody knows, and nobody is told.
    let sender = match timeline {
        Timeline::Direct(pair) => pair.low(),
        Timeline::Group(_) => UserId(u64::MAX),
        Timeline::Inbox(..) | Timeline::Broadcast(_) => UserId::NONE,
    };
    let append = Append {
        timeline,
        sender,
        seq,
        ordinal,
        own_previous: 0,
        timestamp: between(|facts| facts.timestamp),
        kind: 0,
        counts: run.ordinal_before + from_start <= run.ordinal_after,
        imported: false,
        sender_present: false,
        client_id: ClientId::NONE,
        opens: Opens::default(),
        alerts: 0,
        mention_bytes: 0,
    };
    let time = before.or(after.map(|(_, facts)| facts)).map_or(0, |facts| facts.time);
    (append, Commit { version: between(|facts| facts.version), time })
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
