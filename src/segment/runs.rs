//! Sorted runs of tables, of which the newest that knows a key is right.
//! Owns: finding a key in few of them, and which to merge next. May touch: `table`, `union`.
//! Never: writes; remembers an answer.

use super::table::{Found, Table, prefix_hash};
use super::union::{RunCursor, Union};
use crate::error::{Error, Result};
use std::sync::Arc;

/// Most runs to look into once nothing is due.
pub(crate) const RUNS_MAX: usize = 8;

/// What is given each key and value.
pub(crate) type Each<'a, T> = dyn FnMut(&[u8], &[u8]) -> Result<T> + 'a;

/// One run: parts by key, whose ranges do not overlap.
#[derive(Debug)]
pub(super) struct Run {
    pub number: u64,
    pub parts: Vec<Arc<Table>>,
    pub bytes: u64,
}

impl Run {
    /// The parts from the first one on whose keys are not all below `key`.
    fn parts_from(&self, key: &[u8]) -> &[Arc<Table>] {
        &self.parts[self.parts.partition_point(|part| part.last_key() < key)..]
    }

    fn floor(&self, key: &[u8], included: bool, prefix: &[u8]) -> Result<Option<(Vec<u8>, Found)>> {
        let rest = self.parts_from(key);
        if let Some(part) = rest.first()
            && (prefix.is_empty() || part.may_have(prefix)?)
            && let Some(found) = part.at_or_below(key, included)?
            && found.0.starts_with(prefix)
        {
            return Ok(Some(found));
        }
        // The greatest key of the part before is the next one below.
        let before = self.parts[..self.parts.len() - rest.len()].last();
        let Some(part) = before.filter(|part| part.last_key().starts_with(prefix)) else { return Ok(None) };
        part.floor(part.last_key())
    }
}

/// Sorted runs, to read. Cheap to clone; a clone keeps its files until it is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    /// Newest first.
    runs: Arc<[Run]>,
}

impl Runs {
    /// Sorts tables of one kind into runs by number, and the parts of each by key.
    pub fn new(tables: Vec<Arc<Table>>) -> Result<Runs> {
        let mut tables = tables;
        tables.sort_by(|one, other| {
            let (first, second) = (one.header().first, other.header().first);
            second.cmp(&first).then_with(|| one.first_key().cmp(other.first_key()))
        });
        let mut runs: Vec<Run> = Vec::new();
        for table in tables {
            let number = table.header().first;
            let bytes = table.info().bytes;
            match runs.last_mut().filter(|run| run.number == number) {
                Some(run) => {
                    if let Some(before) = run.parts.last()
                        && before.last_key() >= table.first_key()
                    {
                        let found = format!("a key that {} also covers", before.path().display());
                        return Err(Error::corruption_at(table.path(), 0, "parts of a run that do not overlap", found));
                    }
                    run.bytes += bytes;
                    run.parts.push(table);
                }
                None => runs.push(Run { number, bytes, parts: vec![table] }),
            }
        }
        Ok(Runs { runs: runs.into() })
    }

    /// All tables, those of the newest run first, those of a run by key.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.runs.iter().flat_map(|run| &run.parts)
    }

    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// The numbers of all runs, newest first.
    #[cfg(test)]
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().map(|run| run.number)
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The value of `key`. Filters are asked with its first `filter_prefix_bytes`, unless that is 0.
    pub fn get(&self, key: &[u8], filter_prefix_bytes: usize) -> Result<Option<Vec<u8>>> {
        self.get_with(key, filter_prefix_bytes, <[u8]>::to_vec)
    }

    /// As `get`, and `read` makes something of the value where it lies.
    pub fn get_with<R>(
        &self,
        key: &[u8],
        filter_prefix_bytes: usize,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>> {
        let hash = prefix_hash(&key[..filter_prefix_bytes]);
        let mut scratch = Vec::new();
        let mut read = Some(read);
        for run in &*self.runs {
            let Some(part) = run.parts_from(key).first() else { continue };
            if key < part.first_key() || (filter_prefix_bytes > 0 && !part.may_have_hash(hash)?) {
                continue;
            }
            let found =
                part.get_with(key, &mut scratch, |value| value.map(|value| read.take().map(|read| read(value))))?;
            if let Some(found) = found {
                return Ok(found.flatten());
            }
        }
        Ok(None)
    }

    /// The entry with the greatest key not above `key`, among those that begin with the same `filter_prefix_bytes`, which
    /// filters are asked with, unless that is 0.
    pub fn floor(&self, key: &[u8], filter_prefix_bytes: usize) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let prefix = &key[..filter_prefix_bytes];
        let (mut bound, mut included) = (key.to_vec(), true);
        loop {
            let mut greatest: Option<(Vec<u8>, Found)> = None;
            for run in &*self.runs {
                let found = run.floor(&bound, included, prefix)?;
                // Of equal keys the newest run's stays.
                if let Some(found) = found
                    && greatest.as_ref().is_none_or(|greatest| greatest.0 < found.0)
                {
                    greatest = Some(found);
                }
            }
            match greatest {
                None => return Ok(None),
                Some((key, Found::Value(value))) => return Ok(Some((key, value))),
                Some((key, Found::Tombstone)) => (bound, included) = (key, false),
            }
        }
    }

    /// The entry with the least key not below `key`, among those that begin with the same `filter_prefix_bytes`.
    pub fn ceiling(&self, key: &[u8], filter_prefix_bytes: usize) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut found = None;
        self.range(key, &key[..filter_prefix_bytes], filter_prefix_bytes, &mut |key, value| {
            found = Some((key.to_vec(), value.to_vec()));
            Ok(false)
        })?;
        Ok(found)
    }

    /// Gives `each` all entries whose key begins with `prefix`, ascending, without tombstones. Filters are asked with
    /// the first `filter_prefix_bytes` of it, unless that is 0.
    pub fn scan(&self, prefix: &[u8], filter_prefix_bytes: usize, each: &mut Each<'_, ()>) -> Result<()> {
        self.range(prefix, prefix, filter_prefix_bytes, &mut |key, value| each(key, value).map(|()| true))
    }

    /// Gives `each` all entries whose key is not below `from`, ascending, without tombstones, until it says false.
    pub fn walk(&self, from: &[u8], each: &mut Each<'_, bool>) -> Result<()> {
        self.range(from, &[], 0, each)
    }

    /// Entries not below `from` that begin with `prefix`.
    fn range(&self, from: &[u8], prefix: &[u8], filter_prefix_bytes: usize, each: &mut Each<'_, bool>) -> Result<()> {
        let hash = prefix_hash(&prefix[..filter_prefix_bytes]);
        let mut cursors = Vec::new();
        for runs in self.runs.chunks(RUNS_MAX) {
            let mut found: [&[Arc<Table>]; RUNS_MAX] = [&[]; RUNS_MAX];
            let mut touched = 0;
            for (run, parts) in runs.iter().zip(&mut found) {
                *parts = run.parts_from(from);
                let Some(part) = parts.first() else { continue };
                let first_key = part.first_key();
                if first_key > from && !first_key.starts_with(prefix) {
                    *parts = &[];
                } else if filter_prefix_bytes > 0 {
                    touched ^= part.touch_filter(hash);
                }
            }
            // All lines of filters are fetched at once, before any of them is waited for.
            std::hint::black_box(touched);
            for parts in found {
                // If this part has none, the later ones have none either: it ends above `from`, and if not with the
                // prefix, then above all that begins with it.
                let Some(part) = parts.first() else { continue };
                if filter_prefix_bytes == 0 || part.may_have_hash(hash)? {
                    cursors.extend(RunCursor::new(parts, from, prefix)?);
                }
            }
        }
        let mut union = Union::new(cursors);
        while let Some(entry) = union.entry() {
            if let Some(value) = entry.value
                && !each(entry.key, value)?
            {
                return Ok(());
            }
            union.advance()?;
        }
        Ok(())
    }

    /// The numbers of adjacent runs to merge next, newest first, until at most [`RUNS_MAX`] are left.
    pub fn due(&self) -> Option<Vec<u64>> {
        let sizes: Vec<u64> = self.runs.iter().map(|run| run.bytes).collect();
        let width = due_width(&sizes)?;
        Some(self.runs[..width].iter().map(|run| run.number).collect())
    }
}

/// How many of the newest runs to merge, by their sizes, newest first.
///
/// So many that each older run is larger than all newer ones together. Simulated for sealed runs of one size, up to 2,500
/// of them, this writes each byte about 6 times with at most 8 runs; merging the cheapest neighbours writes it 35 to 120 times,
/// always all of them 157 times.
pub(super) fn due_width(sizes: &[u64]) -> Option<usize> {
    if sizes.len() <= RUNS_MAX {
        return None;
    }
    let mut merged_bytes = 0u64;
    for (width, bytes) in sizes.iter().enumerate() {
        if width >= 2 && *bytes > merged_bytes {
            return Some(width);
        }
        merged_bytes = merged_bytes.saturating_add(*bytes);
    }
    Some(sizes.len())
}
