//! Brings a journal back after any end, clean or not: the decision table of docs/durability.md in code.
//! Owns: which files are live, what is cut, what is copied. May touch: every journal module, `storage`.
//! Never: repairs in place, skips damage, or believes what is not proven without syncing a copy of it.

use super::copy::BACKUP_NAME;
use super::directory::{
    SealedJournal, check_present, check_strays, clean_up, has, list, load_synced, missing, open_own, open_sealed,
    remove_unfinished,
};
use super::file::{JournalFile, journal_id, journal_name};
use super::frame::{self, FrameKind};
use super::header::{FRAMES_OFFSET, Stamp, write_succession};
use super::live::{EpochEnd, Epochs, Files, OpenMark};
use super::manifest::{LINEAGE_MAX, Manifest};
use super::newest::{CutTail, Previous, Tail, check_listed};
use super::prepare::{SPARE_NAME, is_evidence, is_unfinished, recycle_spare};
use super::scan::{FrameAt, Loaded, Replayed, Scan, Unreplayable};
use super::write::{JournalEnd, NextFile, TAIL_BYTES, create_file, install_bytes_max, unfinished_name};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Epoch, Version};
use crate::segment::segment_id;
use crate::storage::Storage;
use std::sync::Arc;

/// What opening a store found, and did about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// There was no store, so one was made.
    pub created: bool,
    /// The store had been closed, and nothing was written since.
    pub clean: bool,
    /// What the last crash left half-written, if anything. It was never acknowledged as synced.
    pub cut: Option<CutTail>,
    /// How many changes were replayed.
    pub changes: u64,
    /// Something that had been seen may be lost, so a new epoch began.
    pub new_epoch: bool,
}

/// A journal that is whole again.
pub(crate) struct Recovered {
    pub end: JournalEnd,
    /// The journals whose changes were replayed, oldest first; the last is the newest.
    pub files: Vec<Arc<JournalFile>>,
    /// The live journals that are in segments, oldest first.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests look at what was not replayed"))]
    pub sealed: Vec<SealedJournal>,
    pub report: Recovery,
}

/// What there is before the first change is replayed.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// The live files before the newest journal. All are there; the segments have the length that it says.
    pub manifest: &'a Manifest,
    /// The journals that are not replayed.
    pub sealed: &'a [SealedJournal],
    /// What live files may bear; the first is the store's own.
    pub uuids: &'a [[u8; 16]],
}

/// What changes are replayed into.
pub(crate) trait ReplayTarget {
    /// Called once, before the first change and before anything is written: an error leaves the store as it is.
    fn begin(&mut self, found: &Found<'_>) -> Result<()>;
    /// Takes the next change, in version order from the one after the seal.
    fn apply(&mut self, replayed: Replayed<'_>) -> std::result::Result<(), Unreplayable>;
}

/// A target that needs nothing but the changes; an error says what one should have been.
impl<F: FnMut(Replayed<'_>) -> std::result::Result<(), &'static str>> ReplayTarget for F {
    fn begin(&mut self, _: &Found<'_>) -> Result<()> {
        Ok(())
    }

    fn apply(&mut self, replayed: Replayed<'_>) -> std::result::Result<(), Unreplayable> {
        Ok(self(replayed)?)
    }
}

/// How a journal is to be opened.
pub(crate) struct RecoverOptions {
    pub journal_bytes: u64,
    /// Changes may be seen before they are synced, from now on.
    pub unsynced: bool,
}

/// Opens the journal in `storage`, making one if there is none, and replays what is not sealed.
pub(crate) fn recover(
    storage: &Arc<dyn Storage>,
    options: &RecoverOptions,
    target: &mut dyn ReplayTarget,
) -> Result<Recovered> {
    let names = list(&**storage)?;
    let journals = names.iter().filter_map(|name| journal_id(name));
    let Some(newest_id) = journals.max() else {
        return create(storage, options, &names, target);
    };
    // Row "anything found": what a process left in the page cache is not yet on the disk.
    let newest = load_synced(&**storage, newest_id)?;
    let newest_scan = newest.scan(None)?;
    if let Some(successor) = newest_scan.successor.or(newest.successor) {
        return Err(missing(&**storage, successor, "the file its predecessor names as successor"));
    }
    let mut uuids = vec![newest.header.uuid];
    uuids.extend_from_slice(&newest_scan.manifest.lineage);
    // Only the newest two files can hold bytes that were never synced; the others are believed by
    // their digest or refused. What is sealed was synced before.
    let previous = match newest_scan.manifest.unsealed().last() {
        Some(file) if !has(&names, &journal_name(file.file_id)) => {
            return Err(missing(&**storage, file.file_id, "a live file"));
        }
        Some(file) => Some(Previous::load(&**storage, file, &uuids, &newest, &newest_scan)?),
        None => None,
    };
    let tail = Tail::judge(previous.as_ref(), &newest, &newest_scan)?;
    check_present(&**storage, &names, tail.manifest)?;
    let merged = check_strays(&**storage, &names, newest_id, tail.manifest, &uuids)?;
    let last_version = tail.parts.iter().map(|part| part.last_version()).max().unwrap_or(0);
    check_versions(tail.manifest, last_version, &newest, &newest_scan)?;
    let sealed = tail.manifest.sealed().iter().map(|file| open_sealed(&**storage, file, &uuids));
    let sealed = sealed.collect::<Result<Vec<SealedJournal>>>()?;
    target.begin(&Found { manifest: tail.manifest, sealed: &sealed, uuids: &uuids })?;
    let next_version = tail.manifest.sealed_version + 1;
    let mut replay = Replay { files: Vec::new(), changes: 0, next_version, target };
    let older = tail.manifest.unsealed();
    let older = &older[..older.len() - usize::from(previous.is_some())];
    for file in older {
        let loaded = open_own(&**storage, file.file_id, &uuids)?.load()?;
        let scan = loaded.scan(Some(file.end))?;
        check_listed(&loaded, &scan, file)?;
        replay.file(&**storage, &loaded, &scan, file.end)?;
    }
    let clean = newest_scan.closed_cleanly && newest_scan.bad.is_none() && tail.cut.is_none();
    if storage.is_read_only() {
        return look_on(&**storage, replay, &tail, sealed, clean, last_version);
    }
    // A copy that is written to is a store of its own.
    let is_backup = has(&names, BACKUP_NAME);
    let mut open = tail.open.clone();
    let new_epoch = is_backup || (open.unsynced && !clean);
    if new_epoch {
        open.epochs.advance(Version(last_version), draw_epoch(&**storage)?);
    }
    let needs_mark = new_epoch || options.unsynced;
    open.unsynced = options.unsynced;

    // Room for the mark written now, and for one that a store opened for `Sync` may write later.
    let mark_bytes = 2 * frame::frame_bytes(open.bytes_max()) as u64;
    let mut manifest = tail.manifest.clone();
    let end =
        if tail.goes_on_in_place && !is_backup && newest_scan.end + mark_bytes + TAIL_BYTES <= newest.header.file_bytes
        {
            if let Some(previous) = &previous {
                replay.file(&**storage, &previous.loaded, &previous.scan, previous.listed.end)?;
            }
            replay.file(&**storage, &newest, &newest_scan, newest_scan.end)?;
            let current = replay.files.last().cloned().expect("the newest file was just replayed");
            let digest = newest_scan.digest_at(newest_scan.end).expect("it has its first frame");
            JournalEnd {
                current,
                manifest,
                open: newest_scan.open.clone(),
                digest,
                last_version,
                stamp: newest.stamp,
                ends_closed: newest_scan.closed_cleanly,
            }
        } else {
            manifest.journals.truncate(sealed.len() + older.len());
            let mut copied: Vec<(&Loaded, FrameAt)> = Vec::new();
            for part in &tail.parts {
                if let Some(file) = part.kept() {
                    manifest.journals.push(file);
                    replay.file(&**storage, part.loaded, part.scan, file.end)?;
                }
                copied.extend(part.copied().map(|frame| (part.loaded, frame)));
            }
            // What was installed is in the new file's list, so no frame that installs is copied.
            let mut uuid = newest.header.uuid;
            if is_backup {
                uuid = draw_uuid(&**storage)?;
                if manifest.lineage.len() >= LINEAGE_MAX {
                    let message = format!("copies of copies: limit={LINEAGE_MAX} got={}", manifest.lineage.len() + 1);
                    return Err(Error::new(ErrorKind::LimitExceeded, message));
                }
                manifest.lineage.insert(0, newest.header.uuid);
                uuids.insert(0, uuid);
            }
            let files = Files { open: open.clone(), manifest };
            let made = copy_on(storage, options, (uuid, newest.header.file_id + 1), files, &copied, last_version)?;
            let loaded = open_own(&**storage, newest_id + 1, &uuids)?.load()?;
            let scan = loaded.scan(None)?;
            replay.file(&**storage, &loaded, &scan, scan.end)?;
            // One handle per file: what is read through one must not be written through another.
            replay.files.pop();
            replay.files.push(made.current.clone());
            made
        };
    if replay.next_version != last_version + 1 {
        return Err(Error::corruption_at(
            &newest.path,
            FRAMES_OFFSET,
            format!("version {last_version}"),
            format!("version {}", replay.next_version - 1),
        ));
    }
    let Replay { files, changes, .. } = replay;
    // A file that closed in a crash cannot name its successor in a frame; its first page does, or a
    // successor that goes missing would not be missed.
    let live: Vec<&Arc<JournalFile>> = sealed.iter().map(|sealed| &sealed.file).chain(&files).collect();
    if let [.., before, current] = &live[..]
        && current.header.is_cut
        // One that a backup shares with its store is not this store's to write to.
        && storage.link_count(&journal_name(before.id())).is_ok_and(|names| names == 1)
    {
        name_successor(before, current.id())?;
    }
    // Only now, with the live files durable, do the others lose their names.
    let live_ids: Vec<u64> = live.iter().map(|file| file.id()).collect();
    clean_up(&**storage, &live_ids, &end.manifest, &merged)?;
    if is_backup {
        let context = |error| Error::io("remove", &storage.path(BACKUP_NAME), error);
        storage.remove(BACKUP_NAME).and_then(|()| storage.sync_directory()).map_err(context)?;
    }
    let report = Recovery { created: false, clean, cut: tail.cut, changes, new_epoch };
    let mut end = end;
    if needs_mark && end.open != open {
        end.open = open;
        mark(&mut end)?;
    }
    Ok(Recovered { end, files, sealed, report })
}

/// Writes and syncs an open mark at the end of the journal.
fn mark(end: &mut JournalEnd) -> Result<()> {
    let mut bytes = Vec::new();
    frame::begin(&mut bytes);
    end.open.encode(&mut bytes);
    let file = &end.current;
    let delta = (end.last_version + 1 - file.header.first_version) as u32;
    frame::finish(&mut bytes, 0, FrameKind::Open, file.seed, file.end(), delta, end.stamp.synced as u32);
    end.digest = super::file::digest_frame(end.digest, &bytes);
    end.ends_closed = false;
    file.append(&bytes)?;
    file.sync()?;
    end.stamp = Stamp { counter: end.stamp.counter + 1, synced: file.end(), version: end.last_version };
    file.stamp(end.stamp)
}

/// Refuses a manifest that rests on changes which are not there: segments are made of what is synced.
pub(super) fn check_versions(manifest: &Manifest, last_version: u64, newest: &Loaded, scan: &Scan) -> Result<()> {
    let segments = manifest.segments.iter().map(|segment| segment.last_version).max().unwrap_or(0);
    let want = segments.max(manifest.sealed_version).max(manifest.purged_version);
    if want > last_version {
        let (want, got) = (format!("changes up to version {want}"), format!("version {last_version}"));
        return Err(Error::corruption_at(&newest.path, scan.end, want, got));
    }
    Ok(())
}

/// Makes the first file of a new store.
fn create(
    storage: &Arc<dyn Storage>,
    options: &RecoverOptions,
    names: &[String],
    target: &mut dyn ReplayTarget,
) -> Result<Recovered> {
    let is_of_a_store = |name: &str| name == SPARE_NAME || is_evidence(name) || segment_id(name).is_some();
    if let Some(name) = names.iter().find(|name| is_of_a_store(name)) {
        return Err(Error::corruption_at(&storage.path(name), 0, "a journal file beside it", "none"));
    }
    if let Some(name) = names.iter().find(|name| *name != "LOCK" && !is_unfinished(name)) {
        let message = format!("the directory is not empty and holds no store: found={}", storage.path(name).display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    if storage.is_read_only() {
        let message = format!("no store to look at: path={}", storage.path("").display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    remove_unfinished(&**storage, names)?;
    let uuid = draw_uuid(&**storage)?;
    let epochs = Epochs { current: draw_epoch(&**storage)?, ended: Vec::new() };
    let open = OpenMark { unsynced: options.unsynced, epochs };
    let next = NextFile {
        uuid,
        file_id: 1,
        first_version: 1,
        is_cut: false,
        stamped_version: Some(0),
        files: Files { open: open.clone(), manifest: Manifest::new() },
    };
    target.begin(&Found { manifest: &next.files.manifest, sealed: &[], uuids: &[uuid] })?;
    let made = make_file(storage, &next, options.journal_bytes, &[])?;
    let report = Recovery { created: true, clean: true, ..Recovery::default() };
    let end = JournalEnd {
        current: made.file.clone(),
        manifest: next.files.manifest,
        open,
        digest: made.digest,
        last_version: 0,
        stamp: made.stamp,
        ends_closed: false,
    };
    Ok(Recovered { end, files: vec![made.file], sealed: Vec::new(), report })
}

/// The journal as it is, for a store that is only looked at: nothing is cut, copied or taken away.
fn look_on(
    storage: &dyn Storage,
    mut replay: Replay<'_>,
    tail: &Tail<'_>,
    sealed: Vec<SealedJournal>,
    clean: bool,
    last_version: u64,
) -> Result<Recovered> {
    for part in &tail.parts {
        replay.file(storage, part.loaded, part.scan, part.copy_end)?;
    }
    let Replay { files, changes, .. } = replay;
    let current = files.last().cloned().ok_or_else(|| missing(storage, 0, "a journal"))?;
    let end = JournalEnd {
        current,
        manifest: tail.manifest.clone(),
        open: tail.open.clone(),
        digest: 0,
        last_version,
        stamp: Stamp::default(),
        ends_closed: true,
    };
    let report = Recovery { created: false, clean, cut: tail.cut.clone(), changes, new_epoch: false };
    Ok(Recovered { end, files, sealed, report })
}

fn draw_uuid(storage: &dyn Storage) -> Result<[u8; 16]> {
    let mut uuid = [0; 16];
    storage.fill_random(&mut uuid).map_err(|error| Error::io("draw random bytes for", &storage.path(""), error))?;
    Ok(uuid)
}

/// Goes on in a new file that begins with `copied` frames and lists `files` before it.
fn copy_on(
    storage: &Arc<dyn Storage>,
    options: &RecoverOptions,
    (uuid, file_id): ([u8; 16], u64),
    files: Files,
    copied: &[(&Loaded, FrameAt)],
    last_version: u64,
) -> Result<JournalEnd> {
    let next = NextFile {
        uuid,
        file_id,
        first_version: copied.first().map_or(last_version + 1, |(_, frame)| frame.version),
        is_cut: true,
        stamped_version: Some(last_version),
        files,
    };
    let made = make_file(storage, &next, options.journal_bytes, copied)?;
    let Files { open, manifest } = next.files;
    Ok(JournalEnd {
        current: made.file,
        manifest,
        open,
        digest: made.digest,
        last_version,
        stamp: made.stamp,
        ends_closed: false,
    })
}

/// The room for changes in a file that recovery makes anew is at most this: an opening waits while it is zeroed.
const MADE_ROOM_BYTES_MAX: u64 = 8 << 20;

pub(super) fn make_file(
    storage: &Arc<dyn Storage>,
    next: &NextFile,
    journal_bytes: u64,
    copied: &[(&Loaded, FrameAt)],
) -> Result<super::write::MadeFile> {
    let needed: u64 = copied.iter().map(|(_, frame)| frame.header.frame_bytes() as u64).sum();
    let lists = 2 * next.files.bytes_max() as u64 + install_bytes_max(journal_bytes);
    let names = list(&**storage)?;
    let has_spare = names.iter().any(|name| name == SPARE_NAME);
    // A spare need not be zeroed and synced again in full; half the usual room is enough to go on with.
    let least = FRAMES_OFFSET + needed + lists + journal_bytes / 2;
    let recycled = if has_spare { recycle_spare(&**storage, |length| length >= least)? } else { None };
    let (name, handle) = match recycled {
        Some(handle) => (SPARE_NAME.to_owned(), handle),
        None => {
            let name = unfinished_name(next.file_id);
            if names.contains(&name) {
                storage.remove(&name).map_err(|error| Error::io("remove", &storage.path(&name), error))?;
            }
            let room = journal_bytes.min(MADE_ROOM_BYTES_MAX);
            let length = (room + needed + lists).next_multiple_of(FRAMES_OFFSET);
            let mut handle = storage.create(&name, length);
            let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded];
            if has_spare && handle.as_ref().is_err_and(|error| full.contains(&error.kind())) {
                // On a full disk the spare's room is better used by a store that opens.
                storage.remove(SPARE_NAME).map_err(|error| Error::io("remove", &storage.path(SPARE_NAME), error))?;
                handle = storage.create(&name, length);
            }
            let handle = handle.map_err(|error| Error::io("create", &storage.path(&name), error))?;
            (name, handle)
        }
    };
    create_file(storage, next, handle, &name, |out, seed, digest| {
        for (loaded, frame) in copied {
            let start = frame::begin(out);
            let payload = frame.offset as usize + frame::FRAME_HEADER_BYTES;
            out.extend_from_slice(&loaded.bytes[payload..payload + frame.header.payload_bytes]);
            let offset = FRAMES_OFFSET + start as u64;
            let delta = (frame.version - next.first_version) as u32;
            frame::finish(out, start, frame.header.kind, seed, offset, delta, 0);
            *digest = super::file::digest_frame(*digest, &out[start..]);
        }
    })
}

/// Hands changes on and checks that no version is missing.
struct Replay<'a> {
    files: Vec<Arc<JournalFile>>,
    changes: u64,
    next_version: u64,
    target: &'a mut dyn ReplayTarget,
}

impl Replay<'_> {
    fn file(&mut self, storage: &dyn Storage, loaded: &Loaded, scan: &Scan, end: u64) -> Result<()> {
        if loaded.header.first_version != self.next_version {
            return Err(Error::corruption_at(
                &loaded.path,
                72,
                format!("first version {}", self.next_version),
                format!("first version {}", loaded.header.first_version),
            ));
        }
        let changes = loaded.replay(scan, end, &mut |replayed| self.target.apply(replayed))?;
        self.next_version += changes;
        self.changes += changes;
        let file = JournalFile::new(storage, loaded.header.clone(), loaded.handle.clone(), end);
        self.files.push(Arc::new(file));
        Ok(())
    }
}

pub(super) fn draw_epoch(storage: &dyn Storage) -> Result<Epoch> {
    let mut bytes = [0; 8];
    storage.fill_random(&mut bytes).map_err(|error| Error::io("draw random bytes for", &storage.path(""), error))?;
    Ok(Epoch(u64::from_le_bytes(bytes).max(1)))
}

pub(super) fn name_successor(file: &JournalFile, successor: u64) -> Result<()> {
    let context = |error| Error::io("name the successor of", &file.path, error);
    if write_succession(&*file.handle, file.seed, successor).map_err(context)? {
        file.handle.sync().map_err(context)?;
    }
    Ok(())
}

/// The ends of the epochs that one who knows `epoch` has not seen; all of them for one who knows none.
pub(crate) fn ends_since(epochs: &Epochs, epoch: Option<Epoch>) -> Vec<EpochEnd> {
    match epoch {
        Some(epoch) if epoch == epochs.current => Vec::new(),
        Some(epoch) => {
            let from = epochs.ended.iter().position(|ended| ended.epoch == epoch).unwrap_or(0);
            epochs.ended[from..].to_vec()
        }
        None => epochs.ended.clone(),
    }
}

#[cfg(test)]
mod tests;
