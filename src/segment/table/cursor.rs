//! Goes through the entries of a table, ascending.
//! Owns: a position and the key there. May touch: `block`.
//! Never: looks at another table; keeps more than two blocks.

use super::block::{Block, BlockPlace, join};
use super::{Region, Table};
use crate::error::Result;

/// A position in a table. Keys and values are those of the entry there until it moves.
pub(crate) struct TableCursor<'t> {
    table: &'t Table,
    /// Which index block `index` is.
    top_index: usize,
    index: Page<'t>,
    /// Behind the index entry of `data`.
    index_position: usize,
    data: Page<'t>,
    /// Behind the present entry.
    position: usize,
    key: Vec<u8>,
    /// Where the value lies in `data`; `None` for a tombstone.
    value: Option<(usize, usize)>,
    filter_prefix: usize,
    is_at_end: bool,
}

/// A block whose checksum was right: in the mapped file, or a copy.
struct Page<'t> {
    place: BlockPlace,
    mapped: Option<&'t [u8]>,
    copy: Vec<u8>,
}

impl<'t> Page<'t> {
    fn new() -> Page<'t> {
        Page { place: BlockPlace { offset: 0, length: 0 }, mapped: None, copy: Vec::new() }
    }

    fn bytes(&self) -> &[u8] {
        self.mapped.unwrap_or(&self.copy)
    }

    fn load(&mut self, table: &'t Table, place: BlockPlace) -> Result<()> {
        self.place = place;
        self.mapped = None;
        let length = table.block_bytes(place, &mut self.copy)?.len();
        self.mapped = table.file.mapped(u64::from(place.offset), length);
        self.copy.truncate(length);
        Ok(())
    }

    fn block(&self, table: &Table) -> Result<Block<'_>> {
        Block::new(self.bytes()).ok_or_else(|| table.malformed(self.place))
    }
}

impl Table {
    /// A cursor on the first entry whose key is not below `from`.
    pub fn cursor(&self, from: &[u8]) -> Result<TableCursor<'_>> {
        let mut cursor = TableCursor {
            table: self,
            top_index: self.top.find(from),
            index: Page::new(),
            index_position: 0,
            data: Page::new(),
            position: 0,
            key: Vec::new(),
            value: None,
            filter_prefix: 0,
            is_at_end: false,
        };
        cursor.seek(from)?;
        Ok(cursor)
    }
}

impl<'t> TableCursor<'t> {
    /// The entry it is on; `None` at the end.
    #[inline]
    pub fn entry(&self) -> Option<(&[u8], Option<&[u8]>)> {
        if self.is_at_end {
            return None;
        }
        let value = self.value.and_then(|(start, end)| self.data.bytes().get(start..end));
        Some((&self.key, value))
    }

    /// The key of the entry it is on; `None` at the end.
    #[inline]
    pub fn key(&self) -> Option<&[u8]> {
        (!self.is_at_end).then_some(&self.key[..])
    }

    /// How many bytes of the key the filter was given.
    pub fn filter_prefix_bytes(&self) -> usize {
        self.filter_prefix.min(self.key.len())
    }

    /// Goes to the next entry.
    #[inline]
    pub fn advance(&mut self) -> Result<()> {
        if self.is_at_end || self.step()? {
            return Ok(());
        }
        loop {
            if !self.next_block()? {
                self.is_at_end = true;
                return Ok(());
            }
            if self.step()? {
                return Ok(());
            }
        }
    }

    fn seek(&mut self, from: &[u8]) -> Result<()> {
        let Some(&place) = self.table.top.places.get(self.top_index) else {
            self.is_at_end = true;
            return Ok(());
        };
        self.index.load(self.table, place)?;
        let block = self.index.block(self.table)?;
        let malformed = |_| self.table.malformed(place);
        // The first data block whose last key is not below `from`.
        let mut position = block.restart_below(from, true).map_err(malformed)?;
        self.key.clear();
        let data_place = loop {
            let entry = block.next(&mut position).map_err(malformed)?.ok_or_else(|| self.table.malformed(place))?;
            join(&mut self.key, &entry).map_err(malformed)?;
            if self.key[..] >= *from {
                break self.table.place(entry.value, Region::Data, place)?;
            }
        };
        self.index_position = position;
        self.data.load(self.table, data_place)?;
        let block = self.data.block(self.table)?;
        self.position = block.restart_below(from, true).map_err(|_| self.table.malformed(data_place))?;
        self.key.clear();
        self.filter_prefix = 0;
        loop {
            // Its last key is not below `from`.
            if !self.step()? {
                return Err(self.table.malformed(data_place));
            }
            if self.key[..] >= *from {
                return Ok(());
            }
        }
    }

    /// Loads the data block after the present one.
    fn next_block(&mut self) -> Result<bool> {
        loop {
            let malformed = |_| self.table.malformed(self.index.place);
            let entry = self.index.block(self.table)?.next(&mut self.index_position).map_err(malformed)?;
            if let Some(entry) = entry {
                let place = self.table.place(entry.value, Region::Data, self.index.place)?;
                self.data.load(self.table, place)?;
                self.position = 0;
                self.key.clear();
                return Ok(true);
            }
            self.top_index += 1;
            let Some(&place) = self.table.top.places.get(self.top_index) else { return Ok(false) };
            self.index.load(self.table, place)?;
            self.index_position = 0;
        }
    }

    /// Goes to the next entry of the present block, if it has another one.
    #[inline]
    fn step(&mut self) -> Result<bool> {
        let bytes = self.data.mapped.unwrap_or(&self.data.copy);
        let malformed = || self.table.malformed(self.data.place);
        let block = Block::new(bytes).ok_or_else(malformed)?;
        let Some(entry) = block.next(&mut self.position).map_err(|_| malformed())? else { return Ok(false) };
        join(&mut self.key, &entry).map_err(|_| malformed())?;
        // The value is the last thing in an entry.
        self.value = entry.value.map(|value| (self.position - value.len(), self.position));
        if let Some(filter_prefix) = entry.filter_prefix {
            self.filter_prefix = filter_prefix;
        } else if entry.shared == 0 {
            self.filter_prefix = 0;
        }
        Ok(true)
    }
}
