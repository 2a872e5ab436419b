//! Brings a journal back after any end, clean or not: the decision table of docs/durability.md in code.
//! Owns: which files are live, what is cut, what is copied. May touch: every journal module, `storage`.
//! Never: repairs in place, skips damage, or believes what is not proven without syncing a copy of it.

use super::file::{JournalFile, journal_id, journal_name};
use super::frame::{self, FrameKind};
use super::header::{FRAMES_OFFSET, FileHeader, STAMP_UNNAMED, Stamp, UUID_OFFSET, read_page, write_succession};
use super::live::{EpochEnd, Epochs, Files, LiveFile, OpenMark};
use super::prepare::{SPARE_NAME, is_evidence, is_unfinished, recycle_spare, set_aside};
use super::scan::{FrameAt, Loaded, Replayed, Scan};
use super::write::{JournalEnd, NextFile, TAIL_BYTES, create_file, unfinished_name};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Epoch, Version};
use crate::storage::Storage;
use std::path::PathBuf;
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

/// Bytes that recovery left out. They stay in the file, or in one named `*.evidence`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutTail {
    /// The file.
    pub file: PathBuf,
    /// Where its believable bytes end.
    pub offset: u64,
    /// How many bytes from there on were written, in this file and the next.
    pub bytes: u64,
}

/// A journal that is whole again.
pub(crate) struct Recovered {
    pub end: JournalEnd,
    pub files: Vec<Arc<JournalFile>>,
    pub report: Recovery,
}

/// How a journal is to be opened.
pub(crate) struct RecoverOptions {
    pub journal_bytes: u64,
    /// Changes may be seen before they are synced, from now on.
    pub unsynced: bool,
}

/// Gives every change to [`recover`]'s caller, in version order; an error says what it should have been.
pub(crate) type Apply<'a> = dyn FnMut(Replayed<'_>) -> std::result::Result<(), &'static str> + 'a;

/// Opens the journal in `storage`, making one if there is none, and replays it.
pub(crate) fn recover(
    storage: &Arc<dyn Storage>,
    options: &RecoverOptions,
    apply: &mut Apply<'_>,
) -> Result<Recovered> {
    let names = list(&**storage)?;
    let journals = names.iter().filter_map(|name| journal_id(name));
    let Some(newest_id) = journals.max() else {
        return create(storage, options, &names);
    };
    // Row "anything found": what a process left in the page cache is not yet on the disk.
    let newest = load_synced(&**storage, newest_id)?;
    let newest_scan = newest.scan(None)?;
    if let Some(successor) = newest_scan.successor.or(newest.successor) {
        return Err(missing(&**storage, successor, "the file its predecessor names as successor"));
    }
    let listed = &newest_scan.files.live;
    if listed.last().is_some_and(|last| last.file_id >= newest_id) {
        return Err(Error::corruption_at(&newest.path, FRAMES_OFFSET, "a list of older files", "a newer one"));
    }
    for file in listed {
        if !names.contains(&journal_name(file.file_id)) {
            return Err(missing(&**storage, file.file_id, "a live file"));
        }
    }
    check_strays(&**storage, &names, &newest, listed)?;
    // Only the newest two files can hold bytes that were never synced; the others are believed by
    // their digest or refused.
    let previous = match listed.last() {
        Some(file) => Some(Previous::load(&**storage, file, &newest, &newest_scan)?),
        None => None,
    };
    let mut replay = Replay { files: Vec::new(), changes: 0, next_version: 1, apply };
    for file in &listed[..listed.len().saturating_sub(1)] {
        let loaded = load(&**storage, file.file_id, &newest)?;
        let scan = loaded.scan(Some(file.end))?;
        check_listed(&loaded, &scan, file)?;
        replay.file(&**storage, &loaded, &scan, file.end)?;
    }
    let tail = Tail::judge(previous.as_ref(), &newest, &newest_scan)?;
    let last_version = tail.parts.iter().map(|part| part.last_version()).max().unwrap_or(0);
    let clean = newest_scan.closed_cleanly && newest_scan.bad.is_none() && tail.cut.is_none();
    let mut open = tail.open.clone();
    let new_epoch = open.unsynced && !clean;
    if new_epoch {
        open.epochs.advance(Version(last_version), draw_epoch(&**storage)?);
    }
    let needs_mark = new_epoch || options.unsynced;
    open.unsynced = options.unsynced;

    // Room for the mark written now, and for one that a store opened for `Sync` may write later.
    let mark_bytes = 2 * frame::frame_bytes(open.bytes_max()) as u64;
    let mut live: Vec<LiveFile> = listed[..listed.len().saturating_sub(1)].to_vec();
    let end = if tail.goes_on_in_place && newest_scan.end + mark_bytes + TAIL_BYTES <= newest.header.file_bytes {
        if let Some(previous) = &previous {
            live.push(previous.listed);
            replay.file(&**storage, &previous.loaded, &previous.scan, previous.listed.end)?;
        }
        replay.file(&**storage, &newest, &newest_scan, newest_scan.end)?;
        let current = replay.files.last().cloned().expect("the newest file was just replayed");
        let digest = newest_scan.digest_at(newest_scan.end).expect("it has its first frame");
        JournalEnd {
            current,
            live,
            open: newest_scan.open.clone(),
            digest,
            last_version,
            stamp: newest.stamp,
            ends_closed: newest_scan.closed_cleanly,
        }
    } else {
        let mut copied: Vec<(&Loaded, FrameAt)> = Vec::new();
        for part in &tail.parts {
            if let Some(file) = part.kept() {
                live.push(file);
                replay.file(&**storage, part.loaded, part.scan, file.end)?;
            }
            copied.extend(part.copied().map(|frame| (part.loaded, frame)));
        }
        let made = copy_on(storage, options, newest_id + 1, live, open.clone(), &copied, last_version)?;
        let loaded = load(&**storage, newest_id + 1, &newest)?;
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
    if let [.., before, current] = &files[..]
        && current.header.is_cut
    {
        name_successor(before, current.id())?;
    }
    // Only now, with the live files durable, do the others lose their names.
    let live_ids: Vec<u64> = files.iter().map(|file| file.id()).collect();
    clean_up(&**storage, &live_ids)?;
    let report = Recovery { created: false, clean, cut: tail.cut, changes, new_epoch };
    let mut end = end;
    if needs_mark && end.open != open {
        end.open = open;
        mark(&mut end)?;
    }
    Ok(Recovered { end, files, report })
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

/// Makes the first file of a new store.
fn create(storage: &Arc<dyn Storage>, options: &RecoverOptions, names: &[String]) -> Result<Recovered> {
    if let Some(name) = names.iter().find(|name| *name == SPARE_NAME || is_evidence(name)) {
        return Err(Error::corruption_at(&storage.path(name), 0, "a journal file beside it", "none"));
    }
    if let Some(name) = names.iter().find(|name| *name != "LOCK" && !is_unfinished(name)) {
        let message = format!("the directory is not empty and holds no store: found={}", storage.path(name).display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    remove_unfinished(&**storage, names)?;
    let mut uuid = [0; 16];
    let path = storage.path("");
    storage.fill_random(&mut uuid).map_err(|error| Error::io("draw random bytes for", &path, error))?;
    let epochs = Epochs { current: draw_epoch(&**storage)?, ended: Vec::new() };
    let open = OpenMark { unsynced: options.unsynced, epochs };
    let next = NextFile {
        uuid,
        file_id: 1,
        first_version: 1,
        is_cut: false,
        stamped_version: Some(0),
        files: Files { open: open.clone(), live: Vec::new() },
    };
    let made = make_file(storage, &next, options.journal_bytes, &[])?;
    let report = Recovery { created: true, clean: true, ..Recovery::default() };
    let end = JournalEnd {
        current: made.file.clone(),
        live: Vec::new(),
        open,
        digest: made.digest,
        last_version: 0,
        stamp: made.stamp,
        ends_closed: false,
    };
    Ok(Recovered { end, files: vec![made.file], report })
}

/// Goes on in a new file that begins with `copied` frames and lists `live` ones before it.
fn copy_on(
    storage: &Arc<dyn Storage>,
    options: &RecoverOptions,
    file_id: u64,
    live: Vec<LiveFile>,
    open: OpenMark,
    copied: &[(&Loaded, FrameAt)],
    last_version: u64,
) -> Result<JournalEnd> {
    let first = copied.first().map_or(last_version + 1, |(_, frame)| frame.version);
    let uuid = copied.first().map(|(loaded, _)| loaded.header.uuid);
    let uuid = match uuid {
        Some(uuid) => uuid,
        None => Loaded::load(&**storage, file_id - 1)?.header.uuid,
    };
    let next = NextFile {
        uuid,
        file_id,
        first_version: first,
        is_cut: true,
        stamped_version: Some(last_version),
        files: Files { open: open.clone(), live: live.clone() },
    };
    let made = make_file(storage, &next, options.journal_bytes, copied)?;
    Ok(JournalEnd {
        current: made.file,
        live,
        open,
        digest: made.digest,
        last_version,
        stamp: made.stamp,
        ends_closed: false,
    })
}

fn make_file(
    storage: &Arc<dyn Storage>,
    next: &NextFile,
    journal_bytes: u64,
    copied: &[(&Loaded, FrameAt)],
) -> Result<super::write::MadeFile> {
    let needed: u64 = copied.iter().map(|(_, frame)| frame.header.frame_bytes() as u64).sum();
    let lists = 2 * next.files.bytes_max() as u64;
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
            let length = (journal_bytes + needed + lists).next_multiple_of(FRAMES_OFFSET);
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

/// The file before the newest one, as far as it can be believed.
struct Previous {
    loaded: Loaded,
    scan: Scan,
    listed: LiveFile,
    /// All of it was synced.
    proven: bool,
}

impl Previous {
    fn load(storage: &dyn Storage, listed: &LiveFile, newest: &Loaded, newest_scan: &Scan) -> Result<Previous> {
        let loaded = load(storage, listed.file_id, newest)?;
        loaded.handle.sync().map_err(|error| Error::io("sync", &loaded.path, error))?;
        let scan = loaded.scan(Some(listed.end))?;
        let proven = newest.header.is_cut || newest_scan.proves_predecessors || scan.proven >= listed.end;
        let torn = scan.end < listed.end;
        if torn && (proven || scan.proven > scan.end) {
            return Err(bad_frame(&loaded, &scan));
        }
        if !torn {
            check_listed(&loaded, &scan, listed)?;
        }
        Ok(Previous { loaded, scan, listed: *listed, proven })
    }
}

/// What becomes of one of the newest two files.
struct Part<'a> {
    loaded: &'a Loaded,
    scan: &'a Scan,
    /// Frames below this stay where they are.
    keep_end: u64,
    /// The frames from there to here are copied on.
    copy_end: u64,
}

impl Part<'_> {
    /// A small proven start is copied too, so that a store that crashes often does not fill the disk
    /// with nearly empty files.
    fn judge<'a>(loaded: &'a Loaded, scan: &'a Scan, proven: u64, copy_end: u64) -> Part<'a> {
        let first_frame_end = scan.frames[0].end();
        let proven = scan.frames.iter().map(FrameAt::end).rfind(|end| *end <= proven).unwrap_or(first_frame_end);
        let keep = proven.min(copy_end);
        let keep_end = if keep < loaded.header.file_bytes / 4 { 0 } else { keep };
        Part { loaded, scan, keep_end, copy_end }
    }

    fn kept(&self) -> Option<LiveFile> {
        let digest = self.scan.digest_at(self.keep_end)?;
        Some(LiveFile {
            file_id: self.loaded.header.file_id,
            end: self.keep_end,
            last_version: self.scan.version_at(self.keep_end, &self.loaded.header),
            digest,
        })
    }

    fn copied(&self) -> impl Iterator<Item = FrameAt> + '_ {
        let range = self.keep_end..self.copy_end;
        let changes = |frame: &&FrameAt| frame.header.kind == FrameKind::Changes;
        self.scan.frames.iter().filter(changes).filter(move |frame| range.contains(&frame.offset)).copied()
    }

    fn last_version(&self) -> u64 {
        self.scan.version_at(self.copy_end, &self.loaded.header)
    }
}

/// What becomes of the newest two files.
struct Tail<'a> {
    parts: Vec<Part<'a>>,
    goes_on_in_place: bool,
    cut: Option<CutTail>,
    open: OpenMark,
}

impl<'a> Tail<'a> {
    fn judge(previous: Option<&'a Previous>, newest: &'a Loaded, scan: &'a Scan) -> Result<Tail<'a>> {
        if scan.bad.is_some() && scan.proven > scan.end {
            return Err(bad_frame(newest, scan));
        }
        if scan.bad.is_none() && scan.proven > scan.end {
            // Synced frames are gone and zeros stand there.
            return Err(Error::corruption_at(&newest.path, scan.end, "a frame that was synced", "zeros"));
        }
        let mut open = scan.open.clone();
        let whole = |previous: &&'a Previous| previous.scan.end == previous.listed.end;
        if let Some(torn) = previous.filter(|previous| !whole(previous)) {
            // The newest file lies beyond the cut, but its list was synced before it had a name.
            open = scan.files.open.clone();
            open.unsynced |= torn.scan.open.unsynced;
            let loaded = &torn.loaded;
            let part = Part::judge(loaded, &torn.scan, torn.scan.proven, torn.scan.end);
            let bytes = written(&loaded.bytes, torn.scan.end) + written(&newest.bytes, FRAMES_OFFSET);
            let cut = Some(CutTail { file: loaded.path.clone(), offset: torn.scan.end, bytes });
            return Ok(Tail { parts: vec![part], goes_on_in_place: false, cut, open });
        }
        let cut = scan.bad.map(|_| CutTail {
            file: newest.path.clone(),
            offset: scan.end,
            bytes: written(&newest.bytes, scan.end),
        });
        let mut parts = Vec::new();
        let previous_proven = previous.is_none_or(|previous| previous.proven);
        if let Some(previous) = previous {
            let end = previous.listed.end;
            let proven = if previous.proven { end } else { previous.scan.proven };
            parts.push(Part::judge(&previous.loaded, &previous.scan, proven, end));
        }
        if previous_proven {
            // A proven file stays as it is, however short it is.
            parts.iter_mut().for_each(|part| part.keep_end = part.copy_end);
            let mut part = Part::judge(newest, scan, scan.proven, scan.end);
            if newest.stamp.counter <= STAMP_UNNAMED {
                // Its name may not be durable, so nothing may depend on it.
                part.keep_end = 0;
            }
            parts.push(part);
        } else {
            parts.push(Part { loaded: newest, scan, keep_end: 0, copy_end: scan.end });
        }
        let all_proven = previous_proven && newest.stamp.counter > STAMP_UNNAMED && newest.stamp.synced == scan.end;
        Ok(Tail { parts, goes_on_in_place: all_proven && cut.is_none(), cut, open })
    }
}

/// Hands changes on and checks that no version is missing.
struct Replay<'a, 'b> {
    files: Vec<Arc<JournalFile>>,
    changes: u64,
    next_version: u64,
    apply: &'a mut Apply<'b>,
}

impl Replay<'_, '_> {
    fn file(&mut self, storage: &dyn Storage, loaded: &Loaded, scan: &Scan, end: u64) -> Result<()> {
        if loaded.header.first_version != self.next_version {
            return Err(Error::corruption_at(
                &loaded.path,
                72,
                format!("first version {}", self.next_version),
                format!("first version {}", loaded.header.first_version),
            ));
        }
        let changes = loaded.replay(scan, end, &mut *self.apply)?;
        self.next_version += changes;
        self.changes += changes;
        let file = JournalFile::new(storage, loaded.header.clone(), loaded.handle.clone(), end);
        self.files.push(Arc::new(file));
        Ok(())
    }
}

fn list(storage: &dyn Storage) -> Result<Vec<String>> {
    let mut names = storage.list().map_err(|error| Error::io("list", &storage.path(""), error))?;
    names.sort_unstable();
    Ok(names)
}

fn load_synced(storage: &dyn Storage, file_id: u64) -> Result<Loaded> {
    let name = journal_name(file_id);
    let path = storage.path(&name);
    let file = storage.open(&name).map_err(|error| Error::io("open", &path, error))?;
    file.sync().map_err(|error| Error::io("sync", &path, error))?;
    storage.sync_directory().map_err(|error| Error::io("sync", &storage.path(""), error))?;
    Loaded::load(storage, file_id)
}

/// Loads a file that must belong to the same store as `newest`.
fn load(storage: &dyn Storage, file_id: u64, newest: &Loaded) -> Result<Loaded> {
    let loaded = Loaded::load(storage, file_id)?;
    if loaded.header.uuid != newest.header.uuid {
        return Err(Error::corruption_at(&loaded.path, UUID_OFFSET, "a file of this store", "a file of another store"));
    }
    Ok(loaded)
}

/// Checks a file that was synced as a whole against what its successors say about it.
fn check_listed(loaded: &Loaded, scan: &Scan, listed: &LiveFile) -> Result<()> {
    if scan.end != listed.end {
        return Err(bad_frame(loaded, scan));
    }
    if scan.digest_at(listed.end) != Some(listed.digest) || scan.last_version != listed.last_version {
        return Err(Error::corruption_at(
            &loaded.path,
            FRAMES_OFFSET,
            "the frames its successors list",
            "other frames",
        ));
    }
    Ok(())
}

fn bad_frame(loaded: &Loaded, scan: &Scan) -> Error {
    match scan.bad {
        Some(bad) => Error::corruption_at(&loaded.path, scan.end, bad.expected, bad.found.to_string()),
        None => Error::corruption_at(&loaded.path, scan.end, "a frame", "zeros"),
    }
}

fn missing(storage: &dyn Storage, file_id: u64, expected: &str) -> Error {
    Error::corruption_at(&storage.path(&journal_name(file_id)), 0, expected, "no such file")
}

/// How many bytes from `offset` on are not the zeros of an unwritten end.
fn written(bytes: &[u8], offset: u64) -> u64 {
    let rest = &bytes[offset as usize..];
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn draw_epoch(storage: &dyn Storage) -> Result<Epoch> {
    let mut bytes = [0; 8];
    storage.fill_random(&mut bytes).map_err(|error| Error::io("draw random bytes for", &storage.path(""), error))?;
    Ok(Epoch(u64::from_le_bytes(bytes).max(1)))
}

fn remove_unfinished(storage: &dyn Storage, names: &[String]) -> Result<()> {
    for name in names.iter().filter(|name| is_unfinished(name)) {
        storage.remove(name).map_err(|error| Error::io("remove", &storage.path(name), error))?;
    }
    Ok(())
}

/// Refuses journal files of another store, also where no list names them.
fn check_strays(storage: &dyn Storage, names: &[String], newest: &Loaded, listed: &[LiveFile]) -> Result<()> {
    for file_id in names.iter().filter_map(|name| journal_id(name)) {
        let is_listed = listed.iter().any(|file| file.file_id == file_id);
        if is_listed || file_id == newest.header.file_id {
            continue;
        }
        match load(storage, file_id, newest) {
            Err(error) if error.corruption().is_some_and(|damage| damage.offset == UUID_OFFSET) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn name_successor(file: &JournalFile, successor: u64) -> Result<()> {
    let context = |error| Error::io("name the successor of", &file.path, error);
    let page = read_page(&*file.handle).map_err(context)?;
    if page.is_some_and(|page| FileHeader::decode(&page).is_ok_and(|page| page.successor == Some(successor))) {
        return Ok(());
    }
    write_succession(&*file.handle, file.seed, successor).and_then(|()| file.handle.sync()).map_err(context)
}

/// Takes unfinished files away and sets aside journal files that are not live.
fn clean_up(storage: &dyn Storage, live: &[u64]) -> Result<()> {
    // Listed anew: an unfinished file that an earlier recovery left may have been made anew and renamed.
    let names = list(storage)?;
    remove_unfinished(storage, &names)?;
    for name in &names {
        if journal_id(name).is_some_and(|id| !live.contains(&id)) {
            set_aside(storage, name)?;
        }
    }
    storage.sync_directory().map_err(|error| Error::io("sync", &storage.path(""), error))
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
