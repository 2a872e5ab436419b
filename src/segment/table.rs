//! One file of sorted entries: a key, and a value or the mark that there is none any more.
//! Owns: the bytes of a table behind its first page, finding keys in them. May touch: `header`, `storage`, `varint`.
//! Never: looks into another file; believes a byte that its checksum does not cover.
//!
//! ```text
//! first page | data blocks | zeros | filter | index blocks | top block | footer
//! ```
//!
//! An index block names each of its data blocks by its last key; the top block, which is kept in memory, names each index
//! block by its last key. So a look-up touches one index block and one data block. Of a file that is mapped each of them is held
//! against its checksum when it is touched first; what is read into memory, every time.

mod block;

mod checked;

mod filter;

mod footer;

mod cursor;

mod write;

mod verify;

use super::header::{SegmentHeader, SegmentInfo, SegmentKind, checksum, read_header, segment_name};
use crate::error::{Error, Result};
use crate::storage::{REWRITABLE_BYTES, Storage, StorageFile};
use block::{BLOCK_BYTES_MIN, Block, BlockPlace, CRC_BYTES, Entry};
use checked::Checked;
pub(crate) use cursor::TableCursor;
pub(super) use filter::prefix_hash;
use filter::{LINE_BYTES, line_has, line_is_good, line_of};
use footer::{FOOTER_BYTES, Footer};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub(crate) use write::{PART_BYTES, RunPlan, RunWriter};

/// What is known of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Value(Vec<u8>),
    /// It is no more, whatever older tables say.
    Tombstone,
}

impl Found {
    fn of(value: Option<&[u8]>) -> Found {
        value.map_or(Found::Tombstone, |value| Found::Value(value.to_vec()))
    }
}

/// The top block: the last key of each index block and where that lies.
#[derive(PartialEq, Eq)]
struct Top {
    keys: Vec<u8>,
    /// Where each key ends in `keys`; the first one is the first key of the table, the others belong to `places`.
    key_ends: Vec<u32>,
    places: Vec<BlockPlace>,
}

impl Top {
    /// The key with this index; the 0th is the first key of the table, the n-th the last key of index block n − 1.
    fn key(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.key_ends[before] as usize);
        &self.keys[start..self.key_ends[index] as usize]
    }

    /// The index block that may name `key`: the first one whose last key is not below it. The number of index
    /// blocks if `key` is above all.
    fn find(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.places.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle + 1) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// One file, open for reading.
pub(crate) struct Table {
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    header: SegmentHeader,
    footer: Footer,
    info: SegmentInfo,
    seed: u32,
    top: Top,
    checked: Checked,
}

/// Which blocks a place may lie among.
#[derive(Clone, Copy)]
enum Region {
    Data,
    Index,
}

impl Table {
    /// Opens the file that `info` names. Reads its first page, its footer and its top block.
    pub fn open(storage: &dyn Storage, info: &SegmentInfo, uuids: &[[u8; 16]]) -> Result<Arc<Table>> {
        let name = segment_name(info.kind, info.id);
        let path = storage.path(&name);
        let file = storage.open(&name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::corruption_at(&path, 0, "a live file", "no such file"),
            _ => Error::io("open", &path, error),
        })?;
        Table::load(file, path, info, uuids)
    }

    /// What the journal would say of the table with this id, by the file's own word.
    pub fn info_of(storage: &dyn Storage, kind: SegmentKind, id: u64) -> Result<SegmentInfo> {
        let name = segment_name(kind, id);
        let path = storage.path(&name);
        let file = storage.open(&name).map_err(|error| Error::io("open", &path, error))?;
        let header = read_header(&*file, &path)?;
        let footer = Footer::read(&*file, &path, header.seed())?;
        let bytes = file.length();
        let info = SegmentInfo { kind, id, bytes, last_version: header.last_version, digest: footer.digest };
        header.check(&info, &[header.uuid], &path)?;
        Ok(info)
    }

    /// As `open`, for a file that is open already.
    fn load(file: Arc<dyn StorageFile>, path: PathBuf, info: &SegmentInfo, uuids: &[[u8; 16]]) -> Result<Arc<Table>> {
        if file.length() != info.bytes {
            let (length, bytes) = (file.length(), info.bytes);
            return Err(Error::corruption_at(&path, length.min(bytes), bytes.to_string(), length.to_string()));
        }
        let header = read_header(&*file, &path)?;
        header.check(info, uuids, &path)?;
        let seed = header.seed();
        let footer = Footer::read(&*file, &path, seed)?;
        if footer.digest != info.digest {
            let found = format!("digest {:016x}", footer.digest);
            let offset = info.bytes - FOOTER_BYTES as u64;
            return Err(Error::corruption_at(&path, offset, format!("digest {:016x}", info.digest), found));
        }
        file.settle(info.bytes);
        let mut table = Table {
            file,
            path,
            header,
            footer,
            info: *info,
            seed,
            checked: Checked::new(info.bytes),
            top: Top { keys: Vec::new(), key_ends: Vec::new(), places: Vec::new() },
        };
        table.top = table.read_top()?;
        Ok(Arc::new(table))
    }

    /// What the file says about itself.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The file itself.
    pub fn file(&self) -> &dyn StorageFile {
        &*self.file
    }

    /// What the journal says of the file.
    pub fn info(&self) -> SegmentInfo {
        self.info
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many entries it has, tombstones with them.
    #[cfg(test)]
    pub fn entry_count(&self) -> u64 {
        self.footer.entry_count
    }

    #[cfg(test)]
    pub fn tombstone_count(&self) -> u64 {
        self.footer.tombstone_count
    }

    /// Whatever was found good is held against its checksum once more when it is touched next. For whoever copies it, or
    /// was asked to verify it: since it was checked, the disk may have changed it.
    pub fn check_again(&self) {
        self.checked.forget();
    }

    /// Its least key.
    pub fn first_key(&self) -> &[u8] {
        self.top.key(0)
    }

    /// Its greatest key.
    pub fn last_key(&self) -> &[u8] {
        self.top.key(self.top.places.len())
    }

    /// Whether an entry with this filter prefix may be there: if not, there is surely none.
    pub fn may_have(&self, prefix: &[u8]) -> Result<bool> {
        self.may_have_hash(prefix_hash(prefix))
    }

    /// Where the filter's line for a prefix lies, if there is a filter.
    fn line_offset(&self, hash: u64) -> Option<u64> {
        let line_count = self.footer.filter_lines;
        (line_count > 0).then(|| self.footer.filter_offset() + line_of(hash, line_count) * LINE_BYTES as u64)
    }

    /// Makes the CPU fetch what `may_have_hash` looks at; whoever calls it uses the answer for nothing else.
    pub(super) fn touch_filter(&self, hash: u64) -> u8 {
        let line = self.line_offset(hash).and_then(|offset| self.file.mapped(offset, LINE_BYTES));
        line.map_or(0, |line| line[0])
    }

    /// As `may_have`, by the prefix's hash.
    pub(super) fn may_have_hash(&self, hash: u64) -> Result<bool> {
        let Some(offset) = self.line_offset(hash) else { return Ok(false) };
        let mut copy = [0; LINE_BYTES];
        let mapped = self.file.mapped(offset, LINE_BYTES).and_then(|line| line.first_chunk());
        let line = match mapped {
            Some(line) => line,
            None => {
                self.file.read_at(offset, &mut copy).map_err(|error| Error::io("read", &self.path, error))?;
                &copy
            }
        };
        let is_checked = mapped.is_some() && self.checked.has(offset, LINE_BYTES);
        if !is_checked {
            if !line_is_good(line, self.seed, offset) {
                return Err(self.damaged(offset, "a line of the filter with its checksum"));
            }
            if mapped.is_some() {
                self.checked.note(offset, LINE_BYTES);
            }
        }
        Ok(line_has(line, hash))
    }

    /// What it knows of `key`.
    #[cfg(test)]
    pub fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.get_with(key, &mut Vec::new(), Found::of)
    }

    /// What it knows of `key`, given to `read`. `scratch` is for storages that do not map.
    pub(super) fn get_with<R>(
        &self,
        key: &[u8],
        scratch: &mut Vec<u8>,
        read: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Result<Option<R>> {
        if key < self.first_key() {
            return Ok(None);
        }
        let Some(place) = self.data_place(key, scratch)? else { return Ok(None) };
        let block = self.block(place, scratch)?;
        let Ok(hit) = block.seek(key) else { return Err(self.malformed(place)) };
        Ok(hit.filter(|hit| hit.is_equal).map(|hit| read(hit.entry.value)))
    }

    /// The entry with the greatest key that is not above `key`.
    pub fn floor(&self, key: &[u8]) -> Result<Option<(Vec<u8>, Found)>> {
        self.at_or_below(key, true)
    }

    /// The entry with the greatest key that is below `key`, or also `key` itself if that is `included`.
    pub(super) fn at_or_below(&self, key: &[u8], included: bool) -> Result<Option<(Vec<u8>, Found)>> {
        let first = self.first_key();
        if key < first || (!included && key == first) {
            return Ok(None);
        }
        let mut scratch = Vec::new();
        let (bound, included) = if key > self.last_key() { (self.last_key(), true) } else { (key, included) };
        let place = self.data_place(bound, &mut scratch)?.ok_or_else(|| self.malformed(self.top_place()))?;
        if let Some(found) = self.below(place, bound, included, &mut scratch)? {
            return Ok(Some(found));
        }
        // The block begins above it (or with it), so the answer is the last key of the block before, which the index
        // names.
        let index = self.top.find(bound);
        let index_place = self.top.places[index];
        let before = match self.block(index_place, &mut scratch)?.below(bound, false) {
            Ok(Some((before, _))) => before,
            Ok(None) if index > 0 => self.top.key(index).to_vec(),
            _ => return Err(self.malformed(index_place)),
        };
        let place = self.data_place(&before, &mut scratch)?.ok_or_else(|| self.malformed(index_place))?;
        let found = self.below(place, &before, true, &mut scratch)?;
        if found.is_none() {
            return Err(self.malformed(place));
        }
        Ok(found)
    }

    /// The greatest key of one data block that is below `bound`, or `bound` itself if that is `included`.
    fn below(
        &self,
        place: BlockPlace,
        bound: &[u8],
        included: bool,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<(Vec<u8>, Found)>> {
        match self.block(place, scratch)?.below(bound, included) {
            Ok(found) => Ok(found.map(|(key, entry)| (key, Found::of(entry.value)))),
            Err(_) => Err(self.malformed(place)),
        }
    }

    /// The entry with the least key that is not below `key`.
    #[cfg(test)]
    pub fn ceiling(&self, key: &[u8]) -> Result<Option<(Vec<u8>, Found)>> {
        let cursor = self.cursor(key)?;
        Ok(cursor.entry().map(|(key, value)| (key.to_vec(), Found::of(value))))
    }

    /// The data block that holds `key` if any does: the first one whose last key is not below it.
    fn data_place(&self, key: &[u8], scratch: &mut Vec<u8>) -> Result<Option<BlockPlace>> {
        let Some(&place) = self.top.places.get(self.top.find(key)) else { return Ok(None) };
        let block = self.block(place, scratch)?;
        match block.seek(key) {
            Ok(Some(hit)) => Ok(Some(self.place(hit.entry.value, Region::Data, place)?)),
            // The top block names this one for `key`, so its last key is not below it.
            _ => Err(self.malformed(place)),
        }
    }

    /// The bytes of a block without their checksum, which was right.
    fn block_bytes<'b>(&'b self, place: BlockPlace, scratch: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let (offset, length) = (u64::from(place.offset), place.length as usize);
        let mapped = self.file.mapped(offset, length);
        let bytes = match mapped {
            Some(bytes) => bytes,
            None => {
                scratch.resize(length, 0);
                self.file.read_at(offset, scratch).map_err(|error| Error::io("read", &self.path, error))?;
                &scratch[..]
            }
        };
        let Some((bytes, crc)) = bytes.split_last_chunk::<CRC_BYTES>() else { return Err(self.malformed(place)) };
        if mapped.is_some() && self.checked.has(offset, length) {
            return Ok(bytes);
        }
        let (expected, found) = (checksum(self.seed, offset, bytes), u32::from_le_bytes(*crc));
        if expected != found {
            let (expected, found) = (format!("crc {expected:08x}"), format!("crc {found:08x}"));
            return Err(Error::corruption_at(&self.path, offset, expected, found));
        }
        if mapped.is_some() {
            self.checked.note(offset, length);
        }
        Ok(bytes)
    }

    fn block<'b>(&'b self, place: BlockPlace, scratch: &'b mut Vec<u8>) -> Result<Block<'b>> {
        let bytes = self.block_bytes(place, scratch)?;
        Block::new(bytes).ok_or_else(|| self.malformed(place))
    }

    /// The place that an entry of the index block at `source` names.
    fn place(&self, value: Option<&[u8]>, region: Region, source: BlockPlace) -> Result<BlockPlace> {
        let (start, end) = match region {
            Region::Data => (REWRITABLE_BYTES, self.footer.data_end),
            Region::Index => (self.footer.index_offset(), self.footer.top_offset),
        };
        value
            .and_then(BlockPlace::decode)
            .filter(|place| {
                let (offset, length) = (u64::from(place.offset), u64::from(place.length));
                start <= offset && offset + length <= end && length >= BLOCK_BYTES_MIN
            })
            .ok_or_else(|| self.malformed(source))
    }

    fn top_place(&self) -> BlockPlace {
        // The footer was checked: the top block lies before it and offsets fit 32 bits.
        let end = self.info.bytes - FOOTER_BYTES as u64;
        BlockPlace { offset: self.footer.top_offset as u32, length: (end - self.footer.top_offset) as u32 }
    }

    fn read_top(&self) -> Result<Top> {
        let mut scratch = Vec::new();
        let top_place = self.top_place();
        let block = self.block(top_place, &mut scratch)?;
        let malformed = || self.malformed(top_place);
        let mut top = Top { keys: Vec::new(), key_ends: Vec::new(), places: Vec::new() };
        let (mut position, mut key) = (0, Vec::new());
        while let Some(entry) = block.next(&mut position).map_err(|_| malformed())? {
            let Entry { shared, suffix, value, .. } = entry;
            if shared > key.len() {
                return Err(malformed());
            }
            let before = key.clone();
            key.truncate(shared);
            key.extend_from_slice(suffix);
            // The table's first key may be its last one too; the others ascend strictly.
            match top.key_ends.len() {
                0 => {}
                1 if before <= key => top.places.push(self.place(value, Region::Index, top_place)?),
                _ if before < key => top.places.push(self.place(value, Region::Index, top_place)?),
                _ => return Err(malformed()),
            }
            top.keys.extend_from_slice(&key);
            top.key_ends.push(u32::try_from(top.keys.len()).map_err(|_| malformed())?);
        }
        if top.places.is_empty() {
            return Err(malformed());
        }
        Ok(top)
    }

    /// Bytes with a good checksum that are not what this code writes.
    fn malformed(&self, place: BlockPlace) -> Error {
        self.damaged(u64::from(place.offset), "a well-formed block")
    }

    fn damaged(&self, offset: u64, expected: &str) -> Error {
        Error::corruption_at(&self.path, offset, expected, "other bytes")
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("path", &self.path).field("header", &self.header).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
