//! Files made ready before they are needed, so that no append waits for zeros to reach the disk.
//! Owns: spare files and evidence files. May touch: `segment` (names), `storage`.
//! Never: gives a file a place in the journal; the writer does.

use crate::error::{Error, Result};
use crate::limits::EVIDENCE_FILES_MAX;
use crate::segment::segment_id;
use crate::storage::{Storage, StorageFile};
use std::sync::Arc;

/// The name of the one spare file.
pub(crate) const SPARE_NAME: &str = "next.spare";
const SPARE_TMP_NAME: &str = "next.spare.tmp";
pub(crate) const EVIDENCE_SUFFIX: &str = ".evidence";
/// Files that a call to make something did not get to finish.
pub(crate) const TMP_SUFFIX: &str = ".tmp";

/// A zeroed, synced file that waits to become the next journal file.
#[derive(Debug)]
pub(crate) struct Spare {
    pub file: Arc<dyn StorageFile>,
    pub name: &'static str,
}

/// Makes a spare of `length` bytes. On success its zeros are durable; its name need not be.
pub(crate) fn prepare_spare(storage: &dyn Storage, length: u64) -> Result<Spare> {
    let context = |operation, name| move |error| Error::io(operation, &storage.path(name), error);
    let names = storage.list().map_err(context("list", ""))?;
    if names.iter().any(|name| name == SPARE_TMP_NAME) {
        storage.remove(SPARE_TMP_NAME).map_err(context("remove", SPARE_TMP_NAME))?;
    }
    if names.iter().any(|name| name == SPARE_NAME) {
        if let Some(file) = recycle_spare(storage, |bytes| bytes == length)? {
            return Ok(Spare { file, name: SPARE_NAME });
        }
        storage.remove(SPARE_NAME).map_err(context("remove", SPARE_NAME))?;
    }
    let file = storage.create(SPARE_TMP_NAME, length).map_err(context("create", SPARE_TMP_NAME))?;
    let made = file.sync().and_then(|()| storage.rename(SPARE_TMP_NAME, SPARE_NAME));
    if let Err(error) = made {
        // The file was made here and holds nothing; what matters is the first error.
        let _ = storage.remove(SPARE_TMP_NAME);
        return Err(Error::io("prepare", &storage.path(SPARE_NAME), error));
    }
    Ok(Spare { file, name: SPARE_NAME })
}

/// Zeroes a spare that an earlier process left, unless someone else holds it or its length does not
/// fit. On success the zeros are durable.
pub(crate) fn recycle_spare(
    storage: &dyn Storage,
    fits: impl FnOnce(u64) -> bool,
) -> Result<Option<Arc<dyn StorageFile>>> {
    let context = |operation| move |error| Error::io(operation, &storage.path(SPARE_NAME), error);
    if storage.link_count(SPARE_NAME).map_err(context("inspect"))? != 1 {
        return Ok(None);
    }
    let file = storage.open(SPARE_NAME).map_err(context("open"))?;
    let length = file.length();
    if !fits(length) {
        return Ok(None);
    }
    // Whatever it holds, it was never part of the journal, or it would not bear this name.
    let mut bytes = vec![0; 64 << 10];
    let zeros = bytes.clone();
    let mut offset = 0;
    while offset < length {
        let part = (length - offset).min(bytes.len() as u64) as usize;
        file.read_at(offset, &mut bytes[..part]).map_err(context("read"))?;
        if bytes[..part] != zeros[..part] {
            file.write_at(offset, &zeros[..part]).map_err(context("zero"))?;
        }
        offset += part as u64;
    }
    file.sync().map_err(context("sync"))?;
    Ok(Some(file))
}

/// Gives a file that is not live a name under which nothing reads it, and lets go of the oldest such
/// files above the number kept.
pub(crate) fn set_aside(storage: &dyn Storage, name: &str) -> Result<()> {
    let stem = name.split('.').next().unwrap_or(name);
    let target = format!("{stem}{EVIDENCE_SUFFIX}");
    let list = || storage.list().map_err(|error| Error::io("list", &storage.path(""), error));
    if list()?.contains(&target) {
        storage.remove(&target).map_err(|error| Error::io("remove", &storage.path(&target), error))?;
    }
    storage.rename(name, &target).map_err(|error| Error::io("set aside", &storage.path(name), error))?;
    let mut evidence: Vec<String> = list()?.into_iter().filter(|name| is_evidence(name)).collect();
    evidence.sort_unstable();
    for name in evidence.iter().rev().skip(EVIDENCE_FILES_MAX) {
        storage.remove(name).map_err(|error| Error::io("remove", &storage.path(name), error))?;
    }
    Ok(())
}

/// Whether recovery set this file aside.
pub(crate) fn is_evidence(name: &str) -> bool {
    name.strip_suffix(EVIDENCE_SUFFIX)
        .is_some_and(|stem| stem.len() == 16 && stem.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// What a file other than a segment is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalFileKind {
    Journal,
    /// Ready to become one, or not finished yet.
    Spare,
    Evidence,
}

/// What the file of this name is; `None` for a finished segment and for what is not the store's.
pub(crate) fn journal_file_kind(name: &str) -> Option<JournalFileKind> {
    match name {
        _ if super::file::journal_id(name).is_some() => Some(JournalFileKind::Journal),
        _ if name == SPARE_NAME || is_unfinished(name) => Some(JournalFileKind::Spare),
        _ if is_evidence(name) => Some(JournalFileKind::Evidence),
        _ => None,
    }
}

/// Whether this is an unfinished file of the store's own.
pub(crate) fn is_unfinished(name: &str) -> bool {
    let is_own = |name| super::file::journal_id(name).is_some() || segment_id(name).is_some();
    name == SPARE_TMP_NAME || name.strip_suffix(TMP_SUFFIX).is_some_and(is_own)
}
