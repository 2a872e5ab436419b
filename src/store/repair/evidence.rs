//! Damaged files that are live no more, kept under other names.
//! Owns: which they are, and those names. May touch: `verify`, `journal` (names), `segment` (names).
//! Never: takes a damaged file away, unless an older one has its name.

use super::super::verify::is_whole_unlisted;
use crate::error::{Error, Result};
use crate::journal::{Examined, evidence_name, journal_id};
use crate::segment::segment_id;
use crate::storage::Storage;

/// Files of the store that are in no list, and damaged.
pub(super) fn damaged_leftovers(storage: &dyn Storage, examined: &Examined) -> Result<Vec<String>> {
    let manifest = &examined.manifest;
    let mut names = storage.list().map_err(|error| Error::io("list", &storage.path(""), error))?;
    names.retain(|name| match (journal_id(name), segment_id(name)) {
        (Some(id), _) => {
            examined.newest_file().file_id != id && manifest.journals.iter().all(|file| file.file_id != id)
        }
        (None, Some((kind, id))) => !manifest.has_segment(kind, id),
        (None, None) => false,
    });
    let mut damaged = Vec::new();
    for name in names {
        if !is_whole_unlisted(storage, &name)? {
            damaged.push(name);
        }
    }
    Ok(damaged)
}

/// Gives damaged files names under which they stay.
pub(super) fn set_aside(storage: &dyn Storage, names: &[String]) -> Result<()> {
    for name in names {
        let target = evidence_name(name);
        let taken = storage.list().map_err(|error| Error::io("list", &storage.path(""), error))?;
        if taken.contains(&target) {
            // A file of this name was damaged before; the newer one may be the last copy of something.
            storage.remove(&target).map_err(|error| Error::io("remove", &storage.path(&target), error))?;
        }
        storage.rename(name, &target).map_err(|error| Error::io("set aside", &storage.path(name), error))?;
    }
    if names.is_empty() {
        return Ok(());
    }
    storage.sync_directory().map_err(|error| Error::io("sync", &storage.path(""), error))
}
