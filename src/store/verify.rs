//! Looks at every byte of a store, open or not, and says where it is damaged.
//! Owns: `Verification`, which files are looked at and what they are held against. May touch: `pipeline`, `open`,
//! `change`, `journal`, `segment`, `unit`, `state`.
//! Never: changes a byte or a name, stops at the first damage, or keeps writers waiting for long.
//!
//! First each file by itself: every byte that carries something, and every one that is to be zero. Then, of what is whole,
//! files against one another: each index against its records, heads against indexes. Last, of a store that is not
//! open, what an opening would replay.

use super::Store;
use super::open::{Opening, open_segments};
use super::pipeline::Pipeline;
use crate::change::{Change, Decoded};
use crate::error::{Corruption, Error, ErrorKind, Result};
use crate::id::Timeline;
use crate::journal::{
    CutTail, Examined, FileTable, JournalSubject, LiveFile, MESSAGES_BIT, Manifest, Place, Records, SealedJournal,
    examine, journal_id, journal_name, open_sealed_journal, sort_out,
};
use crate::segment::{SegmentInfo, SegmentKind, Table, read_uuid, segment_id, segment_name};
use crate::state::stored::{self, Globals, HeadRows};
use crate::state::{CommitTimes, Head};
use crate::storage::{ReadMode, RealStorage, Storage};
use crate::unit::{Segments, Unit, messages_info, open_messages, verify_messages, verify_unit};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many places are looked up at once.
const PLACES_STEP: u64 = 4_096;

/// What verifying a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// How many files were looked at.
    pub files: u64,
    /// Their bytes; each was read.
    pub bytes: u64,
    /// Where the store is damaged, in the order in which it was found. Of a file in which nothing can be found behind some
    /// damage, only that is told.
    pub damage: Vec<Corruption>,
    /// Of a store that is not open: what an opening would cut as the torn end of a crash. It was never acknowledged as
    /// synced, so it is no damage; but if the machine never crashed, it is.
    pub cut: Option<CutTail>,
}

impl Verification {
    /// Nothing is damaged, and nothing would be cut.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty() && self.cut.is_none()
    }
}

impl Store {
    /// Reads every byte of every file of the store and holds them against their checksums, and the files against one
    /// another. Takes about as long as reading them; other calls go on meanwhile, and what is written after the call
    /// began is not looked at.
    ///
    /// # Errors
    /// `Io` if a file cannot be read. Damage is no error: it is in the answer.
    pub fn verify(&self) -> Result<Verification> {
        verify_open(&self.pipeline)
    }

    /// The same for a store that is not open, in the directory `path`. Nothing there is changed.
    ///
    /// # Errors
    /// `Locked` if it is open, `Io`, `Unsupported` for a newer format. Damage is no error, however bad.
    pub fn verify_directory(path: impl AsRef<Path>) -> Result<Verification> {
        let path = path.as_ref();
        let storage = RealStorage::read_only(path, ReadMode::default())
            .map_err(|error| Error::io("open directory", path, error))?;
        Store::verify_on(Arc::new(storage))
    }

    /// The same for a store in `storage`.
    ///
    /// # Errors
    /// As [`Store::verify_directory`].
    pub fn verify_on(storage: Arc<dyn Storage>) -> Result<Verification> {
        let _lock = lock(&*storage)?;
        let mut findings = Findings::default();
        let examined = examine(&*storage, &mut |error| findings.note(error))?;
        match &examined {
            Some(examined) => verify_examined(&storage, examined, &mut findings)?,
            None => verify_each(&storage, &mut findings)?,
        }
        findings.verification.cut = examined.and_then(|examined| examined.cut);
        Ok(findings.verification)
    }
}

/// Takes the directory for this process.
pub(super) fn lock(storage: &dyn Storage) -> Result<Box<dyn crate::storage::StorageLock>> {
    storage.lock().map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let path = storage.path("");
            Error::new(ErrorKind::Locked, format!("another process has the store open: path={}", path.display()))
        }
        _ => Error::io("lock", &storage.path(""), error),
    })
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    verification: Verification,
    damaged_files: BTreeSet<PathBuf>,
}

impl Findings {
    fn note(&mut self, error: Error) {
        let Some(corruption) = error.corruption() else { return };
        self.damaged_files.insert(corruption.file.clone());
        self.verification.damage.push(corruption.clone());
    }

    /// Notes damage, unless it is of a file that is known to be damaged: then it is the same once more.
    fn note_once(&mut self, error: Error) {
        if error.corruption().is_some_and(|corruption| !self.damaged_files.contains(&corruption.file)) {
            self.note(error);
        }
    }

    fn looked_at(&mut self, bytes: u64) {
        self.verification.files += 1;
        self.verification.bytes += bytes;
    }
}

fn verify_open(pipeline: &Pipeline) -> Result<Verification> {
    // Held, nothing is installed: the list of files and what the state has are of one moment.
    let (manifest, files, segments) = {
        let _sealing = pipeline.sealing();
        pipeline.manifest(|manifest| {
            let state = pipeline.state();
            (manifest.clone(), state.files.clone(), state.segments.clone())
        })
    };
    let mut uuids = vec![pipeline.uuid];
    uuids.extend_from_slice(&manifest.lineage);
    let still = |act: &mut dyn FnMut() -> Result<()>| pipeline.manifest(|_| act());
    let mut findings = Findings::default();
    for records in files.iter() {
        findings.looked_at(records.handle.length());
        if records.id() >= MESSAGES_BIT {
            let info = find(&manifest, SegmentKind::Messages, records.id() & !MESSAGES_BIT);
            if let Some(info) = info {
                verify_messages(records, info, &uuids, &mut |error| findings.note(error))?;
            }
            continue;
        }
        let end_now = || records.end();
        let listed = manifest.journals.iter().find(|file| file.file_id == records.id());
        let subject = JournalSubject {
            handle: &*records.handle,
            path: &records.path,
            file_id: records.id(),
            uuids: &uuids,
            listed,
            end_now: listed.is_none().then_some(&end_now),
            still: &still,
        };
        subject.verify(&mut |error| findings.note(error))?;
    }
    let indexes = segments.units.iter().flat_map(|unit| unit.index.tables());
    for table in segments.rows.tables().chain(indexes) {
        findings.looked_at(table.info().bytes);
        table.verify(&mut |error| findings.note(error))?;
    }
    cross_check(&segments, &files, manifest.sealed_version, &mut findings)?;
    pipeline.note_verified(&manifest, &findings.damaged_files);
    Ok(findings.verification)
}

fn find(manifest: &Manifest, kind: SegmentKind, id: u64) -> Option<&SegmentInfo> {
    manifest.segments.iter().find(|segment| (segment.kind, segment.id) == (kind, id))
}

/// A store whose list of files can be believed.
fn verify_examined(storage: &Arc<dyn Storage>, examined: &Examined, findings: &mut Findings) -> Result<()> {
    let (manifest, uuids) = (&examined.manifest, &examined.uuids);
    findings.looked_at(examined.newest_bytes());
    for file in manifest.journals.iter().filter(|file| !examined.is_cut(file)) {
        verify_journal(&**storage, file.file_id, Some(file), uuids, findings)?;
    }
    for segment in &manifest.segments {
        verify_segment(&**storage, segment, uuids, findings)?;
    }
    if !findings.verification.damage.is_empty() {
        return Ok(());
    }
    let sealed = manifest.sealed().iter().map(|file| open_sealed_journal(&**storage, file, uuids));
    let sealed = sealed.collect::<Result<Vec<SealedJournal>>>();
    let segments = sealed.and_then(|sealed| open_segments(&**storage, manifest, &sealed, uuids));
    match segments {
        Ok(segments) => {
            let mut files = FileTable::default();
            segments.units.iter().for_each(|unit| files.insert(unit.records.clone()));
            cross_check(&segments, &files, manifest.sealed_version, findings)?;
        }
        Err(error) => sort_out(error, &mut |error| findings.note(error))?,
    }
    if findings.verification.damage.is_empty() {
        let mut opening = Opening::new(storage);
        examined
            .replay(&**storage, &mut opening)
            .or_else(|error| sort_out(error, &mut |error| findings.note(error)))?;
    }
    Ok(())
}

/// A store whose list of files is damaged: each file by what it says itself.
fn verify_each(storage: &Arc<dyn Storage>, findings: &mut Findings) -> Result<()> {
    let mut names = storage.list().map_err(|error| Error::io("list", &storage.path(""), error))?;
    names.sort_unstable();
    for name in &names {
        // Of the newest file more is known by now.
        if journal_id(name).is_none() || !findings.damaged_files.contains(&storage.path(name)) {
            verify_unlisted(&**storage, name, findings)?;
        }
    }
    Ok(())
}

/// A file by what it says itself.
fn verify_unlisted(storage: &dyn Storage, name: &str, findings: &mut Findings) -> Result<()> {
    if let Some(id) = journal_id(name) {
        verify_journal(storage, id, None, &[], findings)?;
    }
    let Some((kind, id)) = segment_id(name) else { return Ok(()) };
    let info = match kind {
        SegmentKind::Messages => messages_info(storage, id),
        SegmentKind::Index | SegmentKind::Rows => Table::info_of(storage, kind, id),
    };
    match info {
        Ok(info) => verify_segment(storage, &info, &[], findings)?,
        Err(error) => sort_out(error, &mut |error| findings.note(error))?,
    }
    Ok(())
}

fn verify_journal(
    storage: &dyn Storage,
    file_id: u64,
    listed: Option<&LiveFile>,
    uuids: &[[u8; 16]],
    findings: &mut Findings,
) -> Result<()> {
    let name = journal_name(file_id);
    let path = storage.path(&name);
    let handle = match storage.open(&name) {
        Ok(handle) => handle,
        // That it is missing was noted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("open", &path, error)),
    };
    findings.looked_at(handle.length());
    let still = |act: &mut dyn FnMut() -> Result<()>| act();
    let subject =
        JournalSubject { handle: &*handle, path: &path, file_id, uuids, listed, end_now: None, still: &still };
    subject.verify(&mut |error| findings.note(error))
}

fn verify_segment(
    storage: &dyn Storage,
    segment: &SegmentInfo,
    uuids: &[[u8; 16]],
    findings: &mut Findings,
) -> Result<()> {
    // That it is missing, or has another length, was noted.
    if findings.damaged_files.contains(&storage.path(&segment_name(segment.kind, segment.id))) {
        return Ok(());
    }
    findings.looked_at(segment.bytes);
    let own = if uuids.is_empty() { read_uuid(storage, segment).map(|uuid| vec![uuid]) } else { Ok(uuids.to_vec()) };
    let verified = own.and_then(|uuids| match segment.kind {
        SegmentKind::Messages => open_messages(storage, segment, &uuids)
            .and_then(|(records, _)| verify_messages(&records, segment, &uuids, &mut |error| findings.note(error))),
        SegmentKind::Index | SegmentKind::Rows => {
            Table::open(storage, segment, &uuids).and_then(|table| table.verify(&mut |error| findings.note(error)))
        }
    });
    verified.or_else(|error| sort_out(error, &mut |error| findings.note(error)))
}

/// Whether a journal is there and nothing in it is damaged.
pub(super) fn is_whole_journal(storage: &dyn Storage, listed: &LiveFile, uuids: &[[u8; 16]]) -> Result<bool> {
    let mut findings = Findings::default();
    verify_journal(storage, listed.file_id, Some(listed), uuids, &mut findings)?;
    Ok(findings.verification.files == 1 && findings.verification.damage.is_empty())
}

/// Whether a file of messages is there and nothing in it is damaged.
pub(super) fn is_whole_messages(storage: &dyn Storage, info: &SegmentInfo, uuids: &[[u8; 16]]) -> Result<bool> {
    let mut findings = Findings::default();
    verify_segment(storage, info, uuids, &mut findings)?;
    Ok(findings.verification.damage.is_empty())
}

/// Whether nothing is damaged in a file that is in no list, by what it says itself. True for what is no file of a store.
pub(super) fn is_whole_unlisted(storage: &dyn Storage, name: &str) -> Result<bool> {
    let mut findings = Findings::default();
    verify_unlisted(storage, name, &mut findings)?;
    Ok(findings.verification.damage.is_empty())
}

/// Whether index and records of a unit tell the same.
pub(super) fn is_whole_unit(unit: &Arc<Unit>) -> Result<bool> {
    let mut is_whole = true;
    verify_unit(unit, &mut |_| is_whole = false)?;
    Ok(is_whole)
}

/// Holds files that are whole against one another.
fn cross_check(segments: &Segments, files: &FileTable, sealed_version: u64, findings: &mut Findings) -> Result<()> {
    for unit in segments.units.iter() {
        verify_unit(unit, &mut |error| findings.note_once(error))?;
    }
    let mut rows = RowCheck { segments, files, sealed_version, head: None, damage: Vec::new() };
    let walked = segments.rows.walk(&[], &mut |key, value| {
        rows.row(key, value)?;
        Ok(true)
    });
    walked.and_then(|()| rows.end_head()).or_else(|error| sort_out(error, &mut |error| rows.damage.push(error)))?;
    rows.damage.into_iter().for_each(|error| findings.note_once(error));
    Ok(())
}

/// Reads all rows, in order, and holds heads against the indexes.
struct RowCheck<'a> {
    segments: &'a Segments,
    files: &'a FileTable,
    /// What was changed up to here lies in units.
    sealed_version: u64,
    head: Option<(Timeline, HeadRows)>,
    damage: Vec<Error>,
}

impl RowCheck<'_> {
    fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let family = key.first().copied().unwrap_or(0);
        let mut is_good = true;
        if family == stored::TIMELINE {
            match stored::head_of_key(key) {
                Some((timeline, rest)) => {
                    if self.head.as_ref().is_none_or(|(present, _)| *present != timeline) {
                        self.end_head()?;
                        self.head = Some((timeline, HeadRows::new(timeline)));
                    }
                    is_good = self.head.as_mut().is_some_and(|(_, rows)| rows.take(rest, value).is_some());
                }
                None => is_good = false,
            }
        } else {
            self.end_head()?;
            is_good = is_good && is_row(family, key, value);
        }
        if !is_good {
            self.damage.push(super::rows::damaged(key));
        }
        Ok(())
    }

    /// The rows of a timeline were all there: its messages are to be found by them.
    fn end_head(&mut self) -> Result<()> {
        let Some((timeline, rows)) = self.head.take() else { return Ok(()) };
        match rows.finish() {
            Some((head, _)) => {
                let checked = check_head(self.segments, self.files, self.sealed_version, &head);
                checked.or_else(|error| sort_out(error, &mut |error| self.damage.push(error)))
            }
            None => {
                self.damage.push(super::rows::damaged(&stored::timeline_prefix(timeline)));
                Ok(())
            }
        }
    }
}

/// Whether the bytes are a row of their family.
fn is_row(family: u8, key: &[u8], value: &[u8]) -> bool {
    match family {
        stored::USER if stored::is_person_key(key) => stored::take_person(value).is_some(),
        stored::USER => stored::row_timeline(key).is_some() && stored::take_row(value).is_some(),
        stored::NAME => value.len() == 8 && key.len() > 2,
        stored::NAME_OF => stored::owner(key).is_some() && !value.is_empty(),
        stored::SOURCE => stored::take_source_row(&key[1..], value).is_some(),
        stored::CLIENT_ID => stored::client_id_seq(key).is_some(),
        stored::COMMIT_TIMES => key.len() == 9 && CommitTimes::decode(value).is_some(),
        stored::GLOBALS => key.len() == 1 && Globals::take(value).is_some(),
        _ => false,
    }
}

/// Every message of a head that is in an index is found, in order, and every edit.
fn check_head(segments: &Segments, files: &FileTable, sealed_version: u64, head: &Head) -> Result<()> {
    let timeline = head.timeline;
    let wrong = |seq: u64| {
        let mut key = stored::timeline_prefix(timeline);
        key.extend_from_slice(&seq.to_be_bytes());
        let expected = format!("the message of {timeline} with seq={seq}");
        Error::corruption_at(Path::new("index"), 0, expected, "none or another")
    };
    let mut first = head.tip.trim() + 1;
    let mut before = (0, 0);
    while first <= head.indexed {
        let last = (first + PLACES_STEP - 1).min(head.indexed);
        let mut places = Vec::new();
        segments.units.places(head.unit, timeline, first, last, &mut places)?;
        if places.len() as u64 != last - first + 1 {
            return Err(wrong(last - places.len() as u64));
        }
        for (seq, place) in (first..).zip(places) {
            let append = files.read(place)?.append;
            let ordinal_before = append.ordinal.wrapping_sub(append.counts.into());
            let follows = before == (0, 0) || append.timestamp > before.0 && ordinal_before == before.1;
            if (append.timeline, append.seq) != (timeline, seq) || !follows {
                return Err(wrong(seq));
            }
            before = (append.timestamp, append.ordinal);
        }
        first = last + 1;
    }
    for (seq, amendment) in head.amended.iter().flat_map(|amended| amended.iter()) {
        let Some(edit) = amendment.edit else { continue };
        let place = segments.units.edit_place(edit, timeline, seq, amendment.version)?;
        let is_found = match place.and_then(|place| Some((sealed_records(segments, files, place)?, place.offset()))) {
            Some((records, offset)) => is_edit(&records.whole(offset)?.decoded(), timeline, seq, amendment.version),
            // What no unit has yet is replayed, and where it lies is noted anew.
            None => place.is_some() && amendment.version > sealed_version,
        };
        if !is_found {
            return Err(wrong(seq));
        }
    }
    Ok(())
}

/// Whether the record is the edit of this message that was made as this version.
fn is_edit(record: &Decoded<'_>, timeline: Timeline, seq: u64, version: u64) -> bool {
    match record.change {
        Change::Amend(amend) => {
            !amend.recalls && (amend.timeline, amend.seq, record.commit.version) == (timeline, seq, version)
        }
        _ => false,
    }
}

fn sealed_records<'f>(segments: &Segments, files: &'f FileTable, place: Place) -> Option<&'f Arc<Records>> {
    let is_sealed = place.file_id() >= MESSAGES_BIT || segments.units.covering(place.file_id()).is_some();
    is_sealed.then(|| files.get(place).ok()).flatten()
}

#[cfg(test)]
mod tests;
