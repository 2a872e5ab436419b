//! What the catalogue is told of the store's files, and when it is saved.
//! Owns: where the catalogue is, when it is opened and let go. May touch: `catalog`, `journal`, `segment`.
//! Never: asks the catalogue for what an answer rests on, or lets a call wait for it, but that which closes the
//! store.

use crate::catalog::{Catalog, FileRow};
use crate::journal::{Manifest, journal_name};
use crate::segment::segment_name;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A journal, as the manifest numbers kinds.
const KIND_JOURNAL: u8 = 1;
/// It is saved this often at most, and when the store is closed.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The catalogue of a store, if it has a directory for one.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    noted: Mutex<Noted>,
    /// As of the last use: who asks does not wait for one that is under way.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Noted {
    /// Where it is; none before it is known and once the store is closed.
    directory: Option<PathBuf>,
    catalog: Option<Catalog>,
    saved_at: Option<Instant>,
}

/// What the catalogue knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub rebuilds: u64,
    pub verified_files: u64,
    pub damaged_files: u64,
}

impl Notes {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, whose lock is held, lies in this directory.
    pub fn place(&self, directory: &Path) {
        self.noted().directory = Some(directory.to_owned());
    }

    /// Does something with the catalogue, opened if it was not yet; nothing without a directory.
    pub(super) fn with(&self, act: impl FnOnce(&Catalog, &mut Option<Instant>)) {
        let mut noted = self.noted();
        let Noted { directory: Some(directory), catalog, saved_at } = &mut *noted else { return };
        let catalog = catalog.get_or_insert_with(|| Catalog::open(directory));
        act(catalog, saved_at);
        let files = catalog.files();
        let count = |sound: bool| {
            let rows = files.iter().filter(|(_, row)| row.verified.is_some_and(|verified| verified.is_sound == sound));
            rows.count() as u64
        };
        let known = Known { rebuilds: catalog.rebuilds(), verified_files: count(true), damaged_files: count(false) };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// Lets it go for good.
    pub(super) fn close(&self) {
        let mut noted = self.noted();
        (noted.directory, noted.catalog) = (None, None);
    }

    /// Opens it, which takes some time.
    pub fn open(&self) {
        self.with(|_, _| ());
    }

    /// What it knew when it was used last.
    pub(super) fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the manifest says of each file.
pub(super) fn rows_of(manifest: &Manifest) -> impl Iterator<Item = (String, FileRow)> {
    let journals = manifest.journals.iter().map(|file| {
        let row = FileRow { kind: KIND_JOURNAL, bytes: file.end, digest: file.digest, verified: None };
        (journal_name(file.file_id), row)
    });
    let segments = manifest.segments.iter().map(|file| {
        let row = FileRow { kind: file.kind as u8, bytes: file.bytes, digest: file.digest, verified: None };
        (segment_name(file.kind, file.id), row)
    });
    journals.chain(segments)
}

/// Makes the catalogue have the files of the manifest and no others.
pub(super) fn tell(catalog: &Catalog, manifest: &Manifest) {
    let mut live = BTreeSet::new();
    for (name, row) in rows_of(manifest) {
        // What was verified stays so only for the very same file.
        let before = catalog.file(&name).filter(|before| FileRow { verified: None, ..*before } == row);
        if before.is_none() {
            catalog.put_file(&name, &row);
        }
        live.insert(name);
    }
    catalog.files().iter().filter(|(name, _)| !live.contains(name)).for_each(|(name, _)| catalog.remove_file(name));
}
