//! Makes one unit of adjacent ones: a file of messages and its index.
//! Owns: the merge, and the order in which its files come to be. May touch: the rest of `segment`, `change`, `journal`.
//! Never: decides what is kept; changes what it reads; leaves a file behind when it fails, as far as it can.
//!
//! The messages of a timeline lie in adjacent units one after another, so the merge concatenates. It goes over its
//! input twice: first to ask what is kept and to find out how long everything becomes, then to copy.

use super::chunk::{Chunk, ChunkBuilder, IndexKey, Indexed, decode_edit, encode_edit};
use super::index::end_chunk;
use super::messages::{Layout, digest_start};
use super::units::Unit;
use crate::change::{self, Append, Change, Commit};
use crate::error::{Error, Result};
use crate::id::{ClientId, Timeline};
use crate::journal::frame::{self, FrameKind, digest_frame};
use crate::journal::{Records, WholeRecord};
use crate::segment::{PART_BYTES, RunPlan, RunWriter, Runs, Table, TableCursor};
use crate::segment::{SegmentHeader, SegmentInfo, SegmentKind, segment_name};
use crate::storage::{Storage, StorageFile};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is copied as it is.
    Keep,
    /// Its mentions, its alerts and its body go.
    Stub,
    /// Its client id goes.
    NoClientId,
    /// All of these go.
    BareStub,
    /// Its body goes, which another has replaced.
    NoBody,
    /// Its body and its client id go.
    BareNoBody,
    /// It goes, as do all of its timeline with a lower seq.
    Drop,
}

/// Decides what a merge keeps.
pub(crate) trait Judge {
    /// The next questions are about this timeline: once for its edits, if it has any, then once for its messages.
    fn timeline(&mut self, timeline: Timeline) -> Result<()>;
    /// What becomes of a message, in the order of their seqs.
    fn message(&mut self, append: &Append, commit: Commit) -> Fate;
    /// Whether an edit of this message with this version is kept.
    fn edit(&mut self, seq: u64, version: u64) -> bool;
}

/// What kind of files a merge makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MergePlan {
    pub uuid: [u8; 16],
    /// Where to cut the index; [`PART_BYTES`], unless for a test.
    pub part_bytes: u64,
}

impl MergePlan {
    pub fn new(uuid: [u8; 16]) -> MergePlan {
        MergePlan { uuid, part_bytes: PART_BYTES }
    }
}

/// Makes one unit of `units`, which are adjacent, the oldest first; one alone is rewritten. `pace` is told of bytes
/// written, and stops the merge with an error. The files of the new unit are durable, names included.
pub(crate) fn merge_units(
    storage: &Arc<dyn Storage>,
    units: &[Arc<Unit>],
    plan: MergePlan,
    next_id: &mut dyn FnMut() -> u64,
    judge: &mut dyn Judge,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Unit> {
    let (Some(oldest), Some(newest)) = (units.first(), units.last()) else { panic!("a merge is of something") };
    assert!(units.windows(2).all(|pair| pair[0].hi < pair[1].lo), "units are given oldest first");
    let mut fates = Fates::default();
    let layout = lay_out(units, judge, &mut fates)?;
    let level = units.iter().map(|unit| unit.level).max().unwrap_or(0);
    let level = level.saturating_add(u8::from(units.len() > 1));
    let id = next_id();
    let mut salt = [0; 8];
    let name = segment_name(SegmentKind::Messages, id);
    let path = storage.path(&name);
    storage.fill_random(&mut salt).map_err(|error| Error::io("draw a salt for", &path, error))?;
    let header = SegmentHeader {
        kind: SegmentKind::Messages,
        level,
        uuid: plan.uuid,
        id,
        first: oldest.lo,
        last: newest.hi,
        first_version: oldest.first_version,
        last_version: newest.last_version,
        file_bytes: layout.file_bytes()?,
        salt: u64::from_le_bytes(salt),
    };
    let run_plan = RunPlan {
        kind: SegmentKind::Index,
        level,
        uuid: plan.uuid,
        first: oldest.lo,
        last: newest.hi,
        first_version: oldest.first_version,
        last_version: newest.last_version,
        part_bytes: plan.part_bytes,
    };
    let file = MessagesFile::create(storage, &name, path, &header)?;
    let run = RunWriter::new(storage, run_plan, next_id);
    let mut copy = Copy::new(oldest.lo, file, run, pace);
    sweep(units, &mut |entry| copy.entry(entry, &mut fates))?;
    let (mut file, run) = copy.finish(&layout)?;
    let (records, info) = file.finish(&header)?;
    let tables = run.finish()?;
    file.is_kept = true;
    Ok(Unit {
        lo: oldest.lo,
        hi: newest.hi,
        first_version: oldest.first_version,
        last_version: newest.last_version,
        level,
        records: Arc::new(records),
        messages: Some(info),
        index: Runs::new(tables)?,
    })
}

/// What was decided, four bits each, so that both passes go by the same. A gigabyte may hold ten million messages.
#[derive(Debug, Default)]
struct Fates {
    pairs: Vec<u8>,
    count: usize,
    read: usize,
}

impl Fates {
    const ALL: [Fate; 7] =
        [Fate::Keep, Fate::Stub, Fate::NoClientId, Fate::BareStub, Fate::NoBody, Fate::BareNoBody, Fate::Drop];

    fn push(&mut self, fate: Fate) {
        if self.count.is_multiple_of(2) {
            self.pairs.push(fate as u8);
        } else if let Some(pair) = self.pairs.last_mut() {
            *pair |= (fate as u8) << 4;
        }
        self.count += 1;
    }

    /// The next one that was pushed.
    fn next(&mut self) -> Option<Fate> {
        let pair = self.pairs.get(self.read / 2)?;
        let fate = if self.read.is_multiple_of(2) { pair & 0xf } else { pair >> 4 };
        self.read += 1;
        Fates::ALL.get(usize::from(fate)).copied()
    }
}

/// One entry of one unit's index.
pub(super) struct Entry<'a> {
    pub unit: &'a Unit,
    pub key: IndexKey,
    pub value: &'a [u8],
}

/// Goes through the entries of all units in the order of their keys.
pub(super) fn sweep(units: &[Arc<Unit>], each: &mut dyn FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
    let mut sources = units.iter().map(|unit| Source::of(unit)).collect::<Result<Vec<_>>>()?;
    loop {
        // There are few sources. Of equal keys the older unit's comes first, and is refused by what looks at seqs.
        let next = sources.iter_mut().filter(|source| source.key.is_some()).min_by_key(|source| source.key);
        let Some(source) = next else { return Ok(()) };
        source.give(each)?;
        source.advance()?;
    }
}

/// The index of one unit, entry by entry.
struct Source<'u> {
    unit: &'u Unit,
    /// Those of its parts that come after the present one.
    parts: std::vec::IntoIter<&'u Arc<Table>>,
    cursor: Option<TableCursor<'u>>,
    key: Option<IndexKey>,
}

impl<'u> Source<'u> {
    fn of(unit: &'u Unit) -> Result<Source<'u>> {
        let mut parts: Vec<&Arc<Table>> = unit.index.tables().collect();
        parts.sort_unstable_by_key(|part| part.first_key());
        let mut source = Source { unit, parts: parts.into_iter(), cursor: None, key: None };
        source.settle()?;
        Ok(source)
    }

    fn give(&self, each: &mut dyn FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
        let (Some(key), Some((_, value))) = (self.key, self.cursor.as_ref().and_then(TableCursor::entry)) else {
            return Ok(());
        };
        let value = value.ok_or_else(|| self.unit.index_damage("an entry", "the end of one"))?;
        each(Entry { unit: self.unit, key, value })
    }

    fn advance(&mut self) -> Result<()> {
        if let Some(cursor) = &mut self.cursor {
            cursor.advance()?;
        }
        self.settle()
    }

    /// Finds the entry that the cursor is on, or the first one of the next part.
    fn settle(&mut self) -> Result<()> {
        loop {
            if let Some(key) = self.cursor.as_ref().and_then(TableCursor::key) {
                let decoded = IndexKey::decode(key);
                let found = || format!("{key:02x?}");
                let key = decoded.ok_or_else(|| self.unit.index_damage("a key of an index", found()))?;
                if self.key.is_some_and(|before| before >= key) {
                    return Err(self.unit.index_damage("keys in order", format!("{key:?}")));
                }
                self.key = Some(key);
                return Ok(());
            }
            let Some(part) = self.parts.next() else {
                self.key = None;
                return Ok(());
            };
            // What is copied gets a checksum of its own.
            part.check_again();
            self.cursor = Some(part.cursor(&[])?);
        }
    }
}

/// Reads what an entry tells of: each record with the seq (and version, of an edit) that it should have.
pub(super) fn read_entry(entry: &Entry<'_>, each: &mut dyn FnMut(u64, u64, &WholeRecord) -> Result<()>) -> Result<()> {
    let (unit, records) = (entry.unit, &entry.unit.records);
    match entry.key {
        IndexKey::Edit { timeline, seq, version } => {
            let offset = decode_edit(entry.value);
            let offset = offset.ok_or_else(|| unit.index_damage("the offset of an edit", "other bytes"))?;
            let whole = records.whole(offset)?;
            let decoded = whole.decoded();
            match decoded.change {
                Change::Amend(amend)
                    if !amend.recalls
                        && (amend.timeline, amend.seq, decoded.commit.version) == (timeline, seq, version) => {}
                _ => return Err(records.damage(offset, "the edit that the index names")),
            }
            each(seq, offset, &whole)
        }
        IndexKey::Chunk { timeline, first_seq } => {
            let chunk = Chunk::decode(first_seq, entry.value);
            let offsets = chunk.and_then(|chunk| chunk.offsets());
            let offsets = offsets.ok_or_else(|| unit.index_damage("the offsets of messages", "other bytes"))?;
            for (seq, offset) in (first_seq..).zip(offsets) {
                let whole = records.whole(offset)?;
                match whole.decoded().change {
                    Change::Append(append)
                        if (append.timeline, append.seq) == (timeline, seq)
                            && usize::from(append.mention_bytes) <= whole.decoded().tail.len() => {}
                    _ => return Err(records.damage(offset, "the message that the index names")),
                }
                each(seq, offset, &whole)?;
            }
            Ok(())
        }
    }
}

/// The first pass: asks what is kept, and says where it will lie.
fn lay_out(units: &[Arc<Unit>], judge: &mut dyn Judge, fates: &mut Fates) -> Result<Layout> {
    let mut layout = Layout::default();
    let mut present = None;
    let mut order = SeqOrder::default();
    let mut rewritten = Vec::new();
    sweep(units, &mut |entry| {
        let (timeline, is_edit) = match entry.key {
            IndexKey::Edit { timeline, .. } => (timeline, true),
            IndexKey::Chunk { timeline, .. } => (timeline, false),
        };
        if present != Some((timeline, is_edit)) {
            present = Some((timeline, is_edit));
            order = SeqOrder::default();
            judge.timeline(timeline)?;
        }
        read_entry(&entry, &mut |seq, offset, whole| {
            let decoded = whole.decoded();
            let fate = match &decoded.change {
                Change::Append(append) => {
                    let fate = judge.message(append, decoded.commit);
                    let expected = order.check(seq, append.timestamp, fate);
                    expected.map_err(|expected| entry.unit.records.damage(offset, expected))?;
                    fate
                }
                _ if judge.edit(seq, decoded.commit.version) => Fate::Keep,
                _ => Fate::Drop,
            };
            fates.push(fate);
            if fate != Fate::Drop {
                layout.add(record_as(whole, fate, &mut rewritten).len())?;
            }
            Ok(())
        })
    })?;
    Ok(layout)
}

/// Holds the messages of one timeline to their order, in all units together.
#[derive(Clone, Copy, Debug, Default)]
struct SeqOrder {
    last: u64,
    last_timestamp: u64,
    kept: bool,
}

impl SeqOrder {
    /// What is kept has no holes; below it there may be one, where an earlier merge took away what was trimmed.
    fn check(&mut self, seq: u64, timestamp: u64, fate: Fate) -> std::result::Result<(), &'static str> {
        if seq <= self.last || (self.kept && seq != self.last + 1) {
            return Err("the next seq of its timeline");
        }
        if self.last > 0 && timestamp <= self.last_timestamp {
            return Err("a later timestamp in its timeline");
        }
        assert!(fate != Fate::Drop || !self.kept, "only the oldest messages of a timeline go");
        (self.last, self.last_timestamp) = (seq, timestamp);
        self.kept |= fate != Fate::Drop;
        Ok(())
    }
}

/// The record as it is after its fate, in `rewritten` if it changes.
fn record_as<'a>(whole: &'a WholeRecord, fate: Fate, rewritten: &'a mut Vec<u8>) -> &'a [u8] {
    let decoded = whole.decoded();
    let Change::Append(mut append) = decoded.change else { return whole.bytes() };
    let mut tail = decoded.tail;
    match fate {
        Fate::Keep | Fate::Drop => return whole.bytes(),
        Fate::Stub | Fate::BareStub => (append.alerts, append.mention_bytes, tail) = (0, 0, &[]),
        // Its length was checked when it was read.
        Fate::NoBody | Fate::BareNoBody => tail = &tail[..append.mention_bytes.into()],
        Fate::NoClientId => {}
    }
    if let Fate::NoClientId | Fate::BareStub | Fate::BareNoBody = fate {
        append.client_id = ClientId::NONE;
    }
    rewritten.clear();
    change::encode(&Change::Append(append), tail, decoded.commit, rewritten);
    rewritten
}

/// The second pass.
struct Copy<'a> {
    /// The oldest journal of all.
    lo: u64,
    run: RunWriter<'a>,
    file: MessagesFile,
    pace: &'a mut dyn FnMut(u64) -> Result<()>,
    layout: Layout,
    buffer: Vec<u8>,
    rewritten: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
    chunk: ChunkBuilder,
    /// Of the chunks: their timeline, the first seq of it that is kept, the journal where it goes on before.
    timeline: Option<(Timeline, u64, u64)>,
}

impl<'a> Copy<'a> {
    fn new(lo: u64, file: MessagesFile, run: RunWriter<'a>, pace: &'a mut dyn FnMut(u64) -> Result<()>) -> Copy<'a> {
        Copy {
            lo,
            run,
            file,
            pace,
            layout: Layout::default(),
            buffer: Vec::new(),
            rewritten: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
            chunk: ChunkBuilder::default(),
            timeline: None,
        }
    }

    fn entry(&mut self, entry: Entry<'_>, fates: &mut Fates) -> Result<()> {
        if let IndexKey::Chunk { timeline, first_seq } = entry.key
            && self.timeline.is_none_or(|(present, ..)| present != timeline)
        {
            self.end_chunk()?;
            // What the oldest unit says, the others do not know. If it leads into this merge, the chunk it led to was
            // trimmed before, as was all that is older.
            let previous = Chunk::decode(first_seq, entry.value).map_or(0, |chunk| chunk.previous);
            let previous = if previous < self.lo { previous } else { 0 };
            self.timeline = Some((timeline, 0, previous));
        }
        read_entry(&entry, &mut |seq, _, whole| match fates.next() {
            Some(Fate::Drop) => Ok(()),
            Some(fate) => self.record(entry.key, seq, whole, fate),
            None => Err(self.not_planned()),
        })
    }

    fn record(&mut self, key: IndexKey, seq: u64, whole: &WholeRecord, fate: Fate) -> Result<()> {
        let mut rewritten = std::mem::take(&mut self.rewritten);
        let bytes = record_as(whole, fate, &mut rewritten);
        let frame_start = self.layout.frame_start();
        let spot = self.layout.add(bytes.len())?;
        if spot.begins_frame {
            self.end_frame(frame_start)?;
            frame::begin(&mut self.buffer);
        }
        self.buffer.extend_from_slice(bytes);
        self.rewritten = rewritten;
        let decoded = whole.decoded();
        match decoded.change {
            Change::Append(append) => {
                self.file.message_count += 1;
                if let Some((_, begins_at, _)) = &mut self.timeline
                    && *begins_at == 0
                {
                    *begins_at = seq;
                }
                if self.chunk.is_full() {
                    self.end_chunk()?;
                }
                let body_bytes = match fate {
                    Fate::Stub | Fate::BareStub | Fate::NoBody | Fate::BareNoBody => 0,
                    _ => (decoded.tail.len() - usize::from(append.mention_bytes)) as u64,
                };
                let (version, timestamp) = (decoded.commit.version, append.timestamp);
                self.chunk.push(seq, Indexed { offset: spot.offset, version, timestamp, body_bytes });
            }
            _ => {
                self.file.edit_count += 1;
                let filter_prefix_bytes = key.encode(&mut self.key);
                encode_edit(spot.offset, &mut self.value);
                self.run.add(&self.key, filter_prefix_bytes, Some(&self.value))?;
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<()> {
        match self.timeline {
            Some(timeline) => end_chunk(&mut self.run, &mut self.chunk, timeline, &mut self.key),
            None => Ok(()),
        }
    }

    /// The input is not the same any more: nothing writes to it, so its bytes were damaged meanwhile.
    fn not_planned(&self) -> Error {
        Error::corruption_at(&self.file.path, 0, "the records that were planned", "others")
    }

    /// Writes the frame that begins at `start`, if one was begun.
    fn end_frame(&mut self, start: u64) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        frame::finish(&mut self.buffer, 0, FrameKind::Messages, self.file.seed, start, 0, 0);
        self.file.digest = digest_frame(self.file.digest, &self.buffer);
        self.file.write(start, &self.buffer)?;
        (self.pace)(self.buffer.len() as u64)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the frame that is left.
    fn finish(mut self, planned: &Layout) -> Result<(MessagesFile, RunWriter<'a>)> {
        self.end_chunk()?;
        self.end_frame(self.layout.frame_start())?;
        if self.layout != *planned {
            return Err(self.not_planned());
        }
        self.file.layout = self.layout;
        Ok((self.file, self.run))
    }
}

/// A file of messages that is being made. Dropped before it is kept, it is taken away.
struct MessagesFile {
    storage: Arc<dyn Storage>,
    name: String,
    temporary: String,
    is_kept: bool,
    path: PathBuf,
    handle: Arc<dyn StorageFile>,
    seed: u32,
    layout: Layout,
    digest: u64,
    message_count: u64,
    edit_count: u64,
}

impl MessagesFile {
    fn create(storage: &Arc<dyn Storage>, name: &str, path: PathBuf, header: &SegmentHeader) -> Result<MessagesFile> {
        let temporary = format!("{name}.tmp");
        let handle = storage.create_sparse(&temporary, header.file_bytes).map_err(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                // A call that failed may have had its effect.
                let _ = storage.remove(&temporary);
            }
            Error::io("create", &storage.path(&temporary), error)
        })?;
        let seed = header.seed();
        Ok(MessagesFile {
            storage: storage.clone(),
            name: name.to_owned(),
            temporary,
            is_kept: false,
            path,
            handle,
            seed,
            layout: Layout::default(),
            digest: digest_start(seed),
            message_count: 0,
            edit_count: 0,
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.handle.write_at(offset, bytes).map_err(|error| Error::io("write", &self.path, error))
    }

    /// Gives it its end, its first page and its name, all durable.
    fn finish(&self, header: &SegmentHeader) -> Result<(Records, SegmentInfo)> {
        let (offset, end, footer) = self.layout.end(self.seed, [self.message_count, self.edit_count], self.digest);
        self.write(offset, &end)?;
        self.write(0, &header.encode().0)?;
        self.handle.sync().map_err(|error| Error::io("sync", &self.path, error))?;
        let renamed = self.storage.rename(&self.temporary, &self.name);
        renamed.map_err(|error| Error::io("rename", &self.path, error))?;
        self.storage.sync_directory().map_err(|error| Error::io("sync directory of", &self.path, error))?;
        let info = SegmentInfo {
            kind: SegmentKind::Messages,
            id: header.id,
            bytes: header.file_bytes,
            last_version: header.last_version,
            digest: self.digest,
        };
        let records = Records::messages(self.handle.clone(), self.path.clone(), header.id, self.seed, footer.at);
        Ok((records, info))
    }
}

impl Drop for MessagesFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // What failed before is what the caller learns of; a renaming that failed may have been done.
            let _ = self.storage.remove(&self.temporary);
            let _ = self.storage.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests;
