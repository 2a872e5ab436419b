//! Several sorted runs read as one, ascending; of equal keys the newest run's entry.
//! Owns: that order. May touch: `table`.
//! Never: leaves a tombstone out; that is for those who know whether there is an older run.

use super::table::{Table, TableCursor};
use crate::error::Result;
use std::sync::Arc;

/// A position in one run, which is its parts by key.
pub(super) struct RunCursor<'t> {
    cursor: TableCursor<'t>,
    /// The parts behind that of the cursor.
    rest: &'t [Arc<Table>],
    /// Keys that do not begin with it are not looked for.
    prefix: &'t [u8],
    /// Whether it is on an entry that begins with `prefix`; kept, since it is asked for at every step of the others.
    has_entry: bool,
}

impl<'t> RunCursor<'t> {
    /// On the first entry of `parts` not below `from`; `parts` begin with the one that may hold it. `None` if there is
    /// none that begins with `prefix`.
    pub fn new(parts: &'t [Arc<Table>], from: &[u8], prefix: &'t [u8]) -> Result<Option<RunCursor<'t>>> {
        let Some((first, rest)) = parts.split_first() else { return Ok(None) };
        let mut run = RunCursor { cursor: first.cursor(from)?, rest, prefix, has_entry: false };
        run.settle()?;
        Ok(run.has_entry.then_some(run))
    }

    fn key(&self) -> Option<&[u8]> {
        if self.has_entry { self.cursor.key() } else { None }
    }

    fn advance(&mut self) -> Result<()> {
        self.cursor.advance()?;
        self.settle()
    }

    /// Goes on to the next part at the end of one.
    fn settle(&mut self) -> Result<()> {
        while self.cursor.key().is_none()
            && let Some((next, rest)) = self.rest.split_first()
            && next.first_key().starts_with(self.prefix)
        {
            self.cursor = next.cursor(&[])?;
            self.rest = rest;
        }
        self.has_entry = self.cursor.key().is_some_and(|key| key.starts_with(self.prefix));
        Ok(())
    }
}

/// Positions in several runs.
pub(super) struct Union<'t> {
    /// Newest first, none at its end.
    runs: Vec<RunCursor<'t>>,
    /// The one whose entry is next.
    least: usize,
}

/// An entry as a run has it.
pub(super) struct UnionEntry<'u> {
    pub key: &'u [u8],
    /// `None` for a tombstone.
    pub value: Option<&'u [u8]>,
    pub filter_prefix_bytes: usize,
}

impl<'t> Union<'t> {
    /// Of runs that come newest first.
    pub fn new(runs: Vec<RunCursor<'t>>) -> Union<'t> {
        let mut union = Union { runs, least: 0 };
        union.find_least();
        union
    }

    /// The entry with the least key.
    pub fn entry(&self) -> Option<UnionEntry<'_>> {
        let cursor = &self.runs.get(self.least)?.cursor;
        let (key, value) = cursor.entry()?;
        Some(UnionEntry { key, value, filter_prefix_bytes: cursor.filter_prefix_bytes() })
    }

    /// Goes on to the next larger key.
    pub fn advance(&mut self) -> Result<()> {
        if self.least >= self.runs.len() {
            return Ok(());
        }
        let (newer, older) = self.runs.split_at_mut(self.least + 1);
        let present = &mut newer[self.least];
        for run in older.iter_mut().filter(|run| run.key() == present.key()) {
            run.advance()?;
        }
        present.advance()?;
        self.runs.retain(|run| run.has_entry);
        self.find_least();
        Ok(())
    }

    fn find_least(&mut self) {
        self.least = 0;
        for index in 1..self.runs.len() {
            if self.runs[index].key() < self.runs[self.least].key() {
                self.least = index;
            }
        }
    }
}
