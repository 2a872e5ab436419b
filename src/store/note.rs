//! Tells the catalogue of the files there are, and has it saved.
//! Owns: when that is. May touch: `noted`, `pipeline`, `catalog`.
//! Never: lets a call wait for it, but that which closes the store.

use super::noted::{SAVE_EVERY, rows_of, tell};
use super::pipeline::Pipeline;
use crate::catalog::{FileRow, Verified};
use crate::journal::Manifest;
use crate::time::Timestamp;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

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
        self.notes.close();
    }
}
