//! What is good to know and costs nothing to forget: files and when they were verified, and how far background work got.
//! Owns: the rows, in memory. May touch: `id`, `time`, and what it declares below.
//! Never: holds anything that is true only here, fails, or makes a caller wait for sled (but in `open` and `flush`).

mod row;

#[cfg(feature = "catalog")]
mod seal;

#[cfg(feature = "catalog")]
mod saved;

pub(crate) use row::{FileRow, Scrub, Verified};

use crate::id::Version;
#[cfg(feature = "catalog")]
use saved::Saved;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Few, small, advisory rows. They are read and written in memory; `flush` saves those that changed, where there is a place
/// for them. Whatever is wrong with what was saved, the catalogue starts empty and goes on.
#[derive(Debug)]
pub(crate) struct Catalog {
    rows: Mutex<Rows>,
    /// Taken before `rows`.
    #[cfg(feature = "catalog")]
    saved: Mutex<Option<Saved>>,
    rebuilds: AtomicU64,
}

/// Keys and values as they are saved: each value has its checksum, see `row`.
#[derive(Debug, Default)]
struct Rows {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Since the last flush.
    changed: BTreeSet<Vec<u8>>,
}

impl Catalog {
    /// What was saved for the store in `directory`, or nothing.
    ///
    /// It lies in the directory `catalog` there. One that is damaged, or that a crash caught while it was written, is set aside as
    /// `catalog.broken` (an older one goes) and counted in `rebuilds`. Without the feature `catalog` neither is looked at.
    pub(crate) fn open(directory: &Path) -> Catalog {
        let catalog = Catalog::in_memory();
        #[cfg(feature = "catalog")]
        {
            let (saved, values) = Saved::open(directory);
            catalog.rebuilds.store(saved.rebuilds(), Ordering::Relaxed);
            catalog.rows().values = values;
            *catalog.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        }
        #[cfg(not(feature = "catalog"))]
        let _ = directory;
        catalog
    }

    /// A catalogue that is never saved.
    pub(crate) fn in_memory() -> Catalog {
        Catalog {
            rows: Mutex::default(),
            #[cfg(feature = "catalog")]
            saved: Mutex::default(),
            rebuilds: AtomicU64::new(0),
        }
    }

    /// How often what was saved could not be read or written, and was begun anew.
    pub(crate) fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    pub(crate) fn put_file(&self, name: &str, file: &FileRow) {
        self.put(row::file_key(name), &file.encode());
    }

    pub(crate) fn file(&self, name: &str) -> Option<FileRow> {
        FileRow::decode(&self.get(&row::file_key(name))?)
    }

    pub(crate) fn remove_file(&self, name: &str) {
        self.remove(row::file_key(name));
    }

    /// All files, by name.
    pub(crate) fn files(&self) -> Vec<(String, FileRow)> {
        let rows = self.rows();
        let from_first_file = rows.values.range(row::file_key("")..);
        let files = from_first_file.map_while(|(key, value)| Some((row::file_name(key)?, key, value)));
        files
            .filter_map(|(name, key, value)| Some((name.to_owned(), FileRow::decode(row::open(key, value)?)?)))
            .collect()
    }

    /// Where the verification in the background is to go on; none: at the beginning.
    pub(crate) fn scrub(&self) -> Option<Scrub> {
        Scrub::decode(&self.get(row::SCRUB_KEY)?)
    }

    pub(crate) fn set_scrub(&self, scrub: Option<&Scrub>) {
        match scrub {
            Some(scrub) => self.put(row::SCRUB_KEY.to_vec(), &scrub.encode()),
            None => self.remove(row::SCRUB_KEY.to_vec()),
        }
    }

    /// Up to where a named consumer of the feed has come. One that is forgotten begins anew: it gets things again.
    pub(crate) fn position(&self, consumer: &str) -> Option<Version> {
        let bytes = self.get(&row::position_key(consumer))?;
        Some(Version(u64::from_le_bytes(bytes.try_into().ok()?)))
    }

    pub(crate) fn set_position(&self, consumer: &str, version: Version) {
        self.put(row::position_key(consumer), &version.0.to_le_bytes());
    }

    /// Saves what changed since the last time; whether all of it is saved. It takes tens of milliseconds, rarely seconds: not to be called
    /// by one who is waited for. A crash while it runs loses the saved rows, a crash at another time the changes since.
    pub(crate) fn flush(&self) -> bool {
        #[cfg(feature = "catalog")]
        if let Some(saved) = &mut *self.saved.lock().unwrap_or_else(PoisonError::into_inner) {
            let changed = std::mem::take(&mut self.rows().changed);
            let changed = {
                let rows = self.rows();
                changed
                    .into_iter()
                    .map(|key| (rows.values.get(&key).cloned(), key))
                    .map(|(value, key)| (key, value))
                    .collect()
            };
            let is_saved = saved.save(changed, || self.rows().values.clone());
            self.rebuilds.store(saved.rebuilds(), Ordering::Relaxed);
            return is_saved;
        }
        false
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        row::open(key, self.rows().values.get(key)?).map(<[u8]>::to_vec)
    }

    fn put(&self, key: Vec<u8>, bytes: &[u8]) {
        let value = row::sealed(&key, bytes);
        let mut rows = self.rows();
        if rows.values.get(&key) != Some(&value) {
            rows.values.insert(key.clone(), value);
            rows.changed.insert(key);
        }
    }

    fn remove(&self, key: Vec<u8>) {
        let mut rows = self.rows();
        if rows.values.remove(&key).is_some() {
            rows.changed.insert(key);
        }
    }
}

#[cfg(test)]
mod tests;
