//! What the catalogue is told of the store's files, and when it is saved.
//! Owns: where the catalogue is, when it is opened and let go. May touch: `pipeline`, `catalog`, `journal`, `segment`.
//! Never: asks the catalogue for what an answer rests on, or lets a call wait for it, but that which closes the
//! store.

use super::pipeline::Pipeline;
use crate::catalog::{Catalog, FileRow, Verified};
use crate::journal::{Manifest, journal_name};
use crate::segment::segment_name;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A journal, as the manifest numbers kinds.
const KIND_JOURNAL: u8 = 1;
/// It is saved this often at most, and when the store is closed.
const SAVE_EVERY: Duration = Duration::from_secs(60);

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
    fn with(&self, act: impl FnOnce(&Catalog, &mut Option<Instant>)) {
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

    /// Opens it, which takes some time.
    pub fn open(&self) {
        self.with(|_, _| ());
    }

    /// What it knew when it was used last.
    pub(super) fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipeline {
    /// Tells the catalogue which files there are, and has it saved now and then.
    pub(super) fn note_files(&self) {
        let manifest = self.manifest(Manifest::clone);
        self.notes.with(|catalog, saved_at| {
            tell(catalog, &manifest);
            if saved_at.is_none_or(|at| at.elapsed() >= SAVE_EVERY) {
                catalog.flush();
                *saved_at = Some(Instant::now());
            }
        });
    }

    /// Tells the catalogue that every byte of the files in `manifest` was read, and which are damaged.
    pub(super) fn note_verified(&self, manifest: &Manifest, damaged: &BTreeSet<PathBuf>) {
        let at = Timestamp(self.now());
        self.notes.with(|catalog, _| {
            tell(catalog, manifest);
            for (name, row) in rows_of(manifest) {
                let is_sound = !damaged.contains(&self.storage.path(&name));
                catalog.put_file(&name, &FileRow { verified: Some(Verified { at, is_sound }), ..row });
            }
        });
    }

    /// Saves the catalogue and lets it go, while the directory still is this store's.
    pub(super) fn close_notes(&self) {
        let manifest = self.manifest(Manifest::clone);
        self.notes.with(|catalog, _| {
            tell(catalog, &manifest);
            catalog.flush();
        });
        let mut noted = self.notes.noted();
        (noted.directory, noted.catalog) = (None, None);
    }
}

/// What the manifest says of each file.
fn rows_of(manifest: &Manifest) -> impl Iterator<Item = (String, FileRow)> {
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
fn tell(catalog: &Catalog, manifest: &Manifest) {
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
