//! The files that lie in the directory, held against those that should: missing, foreign, not live.
//! Owns: names and first pages, taking away what is not live. May touch: `file`, `records`, `manifest`,
//! `prepare`, `scan`, `header`, `segment`, `storage`.
//! Never: reads a frame, or takes anything away before all that is live is durable.

use super::file::{self, JournalFile, journal_id, journal_name};
use super::header::UUID_OFFSET;
use super::manifest::{LiveFile, Manifest};
use super::prepare::{is_unfinished, set_aside};
use super::records::Sealed;
use super::scan::{Loaded, Opened};
use crate::error::{Error, Result};
use crate::segment::{SegmentInfo, segment_id, segment_name};
use crate::storage::Storage;
use std::sync::Arc;

/// A journal whose changes are in segments: open, its first page judged, its frames not looked at: they are
/// checked against the digest by who first reads one.
#[derive(Clone, Debug)]
pub(crate) struct SealedJournal {
    pub file: Arc<JournalFile>,
    pub last_version: u64,
    /// Of the headers of its frames up to the file's end, see `JournalFile`.
    pub digest: u64,
}

/// All names, sorted.
pub(super) fn list(storage: &dyn Storage) -> Result<Vec<String>> {
    let mut names = storage.list().map_err(|error| Error::io("list", &storage.path(""), error))?;
    names.sort_unstable();
    Ok(names)
}

/// Whether `names`, which are sorted, have this one.
pub(super) fn has(names: &[String], name: &str) -> bool {
    names.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
}

/// Loads a journal after making sure that the disk has what a process left in the page cache.
pub(super) fn load_synced(storage: &dyn Storage, file_id: u64) -> Result<Loaded> {
    let name = journal_name(file_id);
    let path = storage.path(&name);
    let file = storage.open(&name).map_err(|error| Error::io("open", &path, error))?;
    file.sync().map_err(|error| Error::io("sync", &path, error))?;
    storage.sync_directory().map_err(|error| Error::io("sync", &storage.path(""), error))?;
    Opened::open(storage, file_id)?.load()
}

/// Opens a journal that must bear one of `uuids`.
pub(super) fn open_own(storage: &dyn Storage, file_id: u64, uuids: &[[u8; 16]]) -> Result<Opened> {
    let opened = Opened::open(storage, file_id)?;
    if !uuids.contains(&opened.page.header.uuid) {
        return Err(Error::corruption_at(&opened.path, UUID_OFFSET, "a file of this store", "a file of another store"));
    }
    Ok(opened)
}

/// Opens a sealed journal; of its bytes it reads only the first page.
pub(crate) fn open_sealed(storage: &dyn Storage, listed: &LiveFile, uuids: &[[u8; 16]]) -> Result<SealedJournal> {
    let sealed = Sealed { end: listed.end, digest: listed.digest };
    let file = file::open_sealed(storage, listed.file_id, sealed, uuids)?;
    if file.header.first_version > listed.last_version + 1 {
        let path = storage.path(&journal_name(listed.file_id));
        let got = format!("first version {}", file.header.first_version);
        return Err(Error::corruption_at(&path, 72, format!("a version up to {}", listed.last_version + 1), got));
    }
    Ok(SealedJournal { file: Arc::new(file), last_version: listed.last_version, digest: listed.digest })
}

pub(super) fn missing(storage: &dyn Storage, file_id: u64, expected: &str) -> Error {
    Error::corruption_at(&storage.path(&journal_name(file_id)), 0, expected, "no such file")
}

/// Refuses a store that lacks a live file, or has a segment of another length.
pub(super) fn check_present(storage: &dyn Storage, names: &[String], manifest: &Manifest) -> Result<()> {
    if let Some(file) = manifest.journals.iter().find(|file| !has(names, &journal_name(file.file_id))) {
        return Err(missing(storage, file.file_id, "a live file"));
    }
    manifest.segments.iter().try_for_each(|segment| check_segment(storage, names, segment))
}

/// As [`check_present`], but goes on after what `each` takes.
pub(super) fn check_present_each(
    storage: &dyn Storage,
    names: &[String],
    manifest: &Manifest,
    each: &mut dyn FnMut(Error) -> Result<()>,
) -> Result<()> {
    for file in manifest.journals.iter().filter(|file| !has(names, &journal_name(file.file_id))) {
        each(missing(storage, file.file_id, "a live file"))?;
    }
    manifest.segments.iter().try_for_each(|segment| check_segment(storage, names, segment).or_else(&mut *each))
}

fn check_segment(storage: &dyn Storage, names: &[String], segment: &SegmentInfo) -> Result<()> {
    let name = segment_name(segment.kind, segment.id);
    let path = storage.path(&name);
    if !has(names, &name) {
        return Err(Error::corruption_at(&path, 0, "a live file", "no such file"));
    }
    let length = storage.file_bytes(&name).map_err(|error| Error::io("inspect", &path, error))?.length;
    if length != segment.bytes {
        let at = length.min(segment.bytes);
        return Err(Error::corruption_at(&path, at, format!("{} bytes", segment.bytes), format!("{length} bytes")));
    }
    Ok(())
}

/// Refuses journal files of another store, also where no list names them. Of those that no list names it gives
/// back the ids of the ones that may be unlinked: what was in them is in segments.
///
/// A journal that is not live and lies at or below the seal was taken off the list by an `Installed` record:
/// what recovery leaves out is above the seal, and loses its name before the store goes on to seal anything.
pub(super) fn check_strays(
    storage: &dyn Storage,
    names: &[String],
    newest_id: u64,
    manifest: &Manifest,
    uuids: &[[u8; 16]],
) -> Result<Vec<u64>> {
    let mut merged = Vec::new();
    for file_id in names.iter().filter_map(|name| journal_id(name)) {
        let is_listed = manifest.journals.binary_search_by_key(&file_id, |file| file.file_id).is_ok();
        if is_listed || file_id == newest_id {
            continue;
        }
        match open_own(storage, file_id, uuids) {
            Err(error) if error.corruption().is_some_and(|damage| damage.offset == UUID_OFFSET) => return Err(error),
            Ok(_) if file_id <= manifest.sealed_through => merged.push(file_id),
            // Whatever it is, it is not the store's to destroy.
            _ => {}
        }
    }
    merged.sort_unstable();
    Ok(merged)
}

/// Takes away unfinished files, segments that are not live and journals that were `merged`, and sets aside the
/// other journals that are not live. `live` are the journals, ascending.
///
/// A segment that is not live was made by the store itself, of changes that are elsewhere: either the record that
/// installs it was never durable, or one that removes it is.
pub(super) fn clean_up(storage: &dyn Storage, live: &[u64], manifest: &Manifest, merged: &[u64]) -> Result<()> {
    let remove = |name: &str| storage.remove(name).map_err(|error| Error::io("remove", &storage.path(name), error));
    // Listed anew: an unfinished file that an earlier recovery left may have been made anew and renamed.
    let names = list(storage)?;
    remove_unfinished(storage, &names)?;
    for name in &names {
        if let Some((kind, id)) = segment_id(name)
            && !manifest.has_segment(kind, id)
        {
            remove(name)?;
        }
        let Some(id) = journal_id(name).filter(|id| live.binary_search(id).is_err()) else { continue };
        match merged.binary_search(&id) {
            Ok(_) => remove(name)?,
            Err(_) => set_aside(storage, name)?,
        }
    }
    storage.sync_directory().map_err(|error| Error::io("sync", &storage.path(""), error))
}

pub(super) fn remove_unfinished(storage: &dyn Storage, names: &[String]) -> Result<()> {
    for name in names.iter().filter(|name| is_unfinished(name)) {
        storage.remove(name).map_err(|error| Error::io("remove", &storage.path(name), error))?;
    }
    Ok(())
}
