//! Writes one sorted run, cut into parts, each a table.
//! Owns: the order in which the files of a run come to be and become durable. May touch: `buffer`, `block`, `filter`, `footer`,
//! `header`, `storage`.
//! Never: leaves a file behind when it fails, as far as that is in its power; says what is live.
//!
//! A file is put together in memory, since its length must be known when it is made: written under its name with `.tmp`,
//! synced, renamed. When all are, the directory is synced, once.

use super::super::header::{PAGE_BYTES, SegmentHeader, SegmentInfo, SegmentKind, checksum, segment_name};
use super::Table;
use super::block::{BLOCK_BYTES, BlockBuilder, BlockPlace, CRC_BYTES};
use super::filter::{LINE_BYTES, line_add, line_check, line_count, line_of, line_seal, prefix_hash};
use super::footer::{FOOTER_BYTES, Footer};
use crate::buffer::Buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{REWRITABLE_BYTES, Storage};
use std::io;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Most bytes of a key.
pub(crate) const KEY_BYTES_MAX: usize = 1024;
/// Most bytes of a value.
pub(crate) const VALUE_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a part, unless one entry is larger. A part is put together in memory.
pub(crate) const PART_BYTES: u64 = 16 << 20;
/// Offsets in an index have 32 bits.
const PART_BYTES_MAX: u64 = 1 << 30;

/// What is to be written.
#[derive(Clone, Debug)]
pub(crate) struct RunPlan {
    pub kind: SegmentKind,
    pub level: u8,
    pub uuid: [u8; 16],
    /// Of rows the number of the run, of an index the oldest journal covered.
    pub first: u64,
    /// Of an index the newest journal covered; of rows the writer counts the parts itself.
    pub last: u64,
    pub first_version: u64,
    pub last_version: u64,
    /// Where to cut; [`PART_BYTES`], unless for a test.
    pub part_bytes: u64,
}

/// Writes one sorted run. Dropped unfinished, it takes its files away.
pub(crate) struct RunWriter<'a> {
    storage: &'a Arc<dyn Storage>,
    plan: RunPlan,
    next_id: &'a mut dyn FnMut() -> u64,
    /// `None` until something is added.
    part: Option<Part>,
    part_number: u64,
    last_key: Vec<u8>,
    entry_count: u64,
    /// Names to take away if the run is not finished, `.tmp` and final.
    made: Vec<String>,
    tables: Vec<Arc<Table>>,
}

impl<'a> RunWriter<'a> {
    /// `next_id` gives the ids of the files, none twice in a store.
    pub fn new(storage: &'a Arc<dyn Storage>, plan: RunPlan, next_id: &'a mut dyn FnMut() -> u64) -> RunWriter<'a> {
        let plan = RunPlan { part_bytes: plan.part_bytes.min(PART_BYTES_MAX), ..plan };
        RunWriter {
            storage,
            plan,
            next_id,
            part: None,
            part_number: 0,
            last_key: Vec::new(),
            entry_count: 0,
            made: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Adds an entry, `None` for a tombstone. Keys ascend strictly; the filter is given the first
    /// `filter_prefix_bytes` of the key, unless that is 0.
    pub fn add(&mut self, key: &[u8], filter_prefix_bytes: usize, value: Option<&[u8]>) -> Result<()> {
        let value_bytes = value.map_or(0, <[u8]>::len);
        if key.len() > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
            let message = format!(
                "row is above its limit: key_bytes_max={KEY_BYTES_MAX} value_bytes_max={VALUE_BYTES_MAX} key_bytes={} value_bytes={value_bytes}",
                key.len()
            );
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        assert!(filter_prefix_bytes <= key.len(), "the filter is given a part of the key");
        assert!(self.entry_count == 0 || *self.last_key < *key, "keys ascend strictly");
        let part_bytes = self.plan.part_bytes;
        if let Some(part) = self.part.take_if(|part| part.bytes_with(key, value) > part_bytes) {
            self.write_part(part)?;
        }
        self.part.get_or_insert_with(|| Part::new(part_bytes)).add(key, filter_prefix_bytes, value);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.entry_count += 1;
        Ok(())
    }

    /// How many entries were added.
    #[cfg(test)]
    pub fn entry_count(&self) -> u64 {
        self.entry_count
    }

    /// Writes what is left and makes all of it durable. Without an entry there is no file.
    pub fn finish(mut self) -> Result<Vec<Arc<Table>>> {
        if let Some(part) = self.part.take() {
            self.write_part(part)?;
        }
        if !self.tables.is_empty() {
            self.storage
                .sync_directory()
                .map_err(|error| Error::io("sync directory of", self.tables[0].path(), error))?;
        }
        self.made.clear();
        Ok(std::mem::take(&mut self.tables))
    }

    fn write_part(&mut self, part: Part) -> Result<()> {
        let id = (self.next_id)();
        let name = segment_name(self.plan.kind, id);
        let temporary = format!("{name}.tmp");
        let (path, temporary_path) = (self.storage.path(&name), self.storage.path(&temporary));
        let mut salt = [0; 8];
        self.storage.fill_random(&mut salt).map_err(|error| Error::io("draw a salt for", &path, error))?;
        let last = if self.plan.kind == SegmentKind::Rows { self.part_number } else { self.plan.last };
        let header = SegmentHeader {
            kind: self.plan.kind,
            level: self.plan.level,
            uuid: self.plan.uuid,
            id,
            first: self.plan.first,
            last,
            first_version: self.plan.first_version,
            last_version: self.plan.last_version,
            file_bytes: 0,
            salt: u64::from_le_bytes(salt),
        };
        let (header, page, body, digest) = part.finish(header);

        if self.storage.link_count(&name).is_ok() {
            // A renaming would replace it, and it may be a live file.
            return Err(Error::io("create", &path, io::ErrorKind::AlreadyExists.into()));
        }
        // Noted before each call: one that fails may have had its effect.
        self.made.push(temporary.clone());
        let file = self
            .storage
            .create_sparse(&temporary, header.file_bytes)
            .map_err(|error| Error::io("create", &temporary_path, error))?;
        file.write_at(0, &page)
            .and_then(|()| file.write_at(REWRITABLE_BYTES, &body))
            .map_err(|error| Error::io("write", &temporary_path, error))?;
        file.sync().map_err(|error| Error::io("sync", &temporary_path, error))?;
        self.made.push(name.clone());
        self.storage.rename(&temporary, &name).map_err(|error| Error::io("rename", &temporary_path, error))?;
        let info =
            SegmentInfo { kind: header.kind, id, bytes: header.file_bytes, last_version: header.last_version, digest };
        self.tables.push(Table::load(file, path, &info, &[self.plan.uuid])?);
        self.part_number += 1;
        Ok(())
    }
}

impl Drop for RunWriter<'_> {
    fn drop(&mut self) {
        for name in &self.made {
            // Best effort: most are gone by their renaming, and what stays is no live file.
            let _ = self.storage.remove(name);
        }
    }
}

/// An index block that is closed.
struct IndexBlock {
    last_key: Vec<u8>,
    /// From the first index block.
    start: usize,
    length: usize,
}

/// One file in the making.
struct Part {
    /// Closed data blocks, from the second page on.
    data: Buffer,
    /// The block that was closed last, on its way there.
    closed: Vec<u8>,
    data_blocks: Vec<BlockPlace>,
    block: BlockBuilder,
    index: Vec<u8>,
    index_blocks: Vec<IndexBlock>,
    index_block: BlockBuilder,
    first_key: Vec<u8>,
    /// Bytes of the keys of `index_blocks`, and what else the top block needs.
    top_bytes: usize,
    /// Of the distinct filter prefixes.
    hashes: Buffer,
    last_hash: u64,
    entry_count: u64,
    tombstone_count: u64,
}

impl Part {
    /// An empty one that will be about so long at most.
    fn new(bytes: u64) -> Part {
        Part {
            data: Buffer::with_capacity(bytes as usize),
            closed: Vec::new(),
            data_blocks: Vec::new(),
            block: BlockBuilder::default(),
            index: Vec::new(),
            index_blocks: Vec::new(),
            index_block: BlockBuilder::default(),
            first_key: Vec::new(),
            top_bytes: 0,
            hashes: Buffer::with_capacity(bytes as usize / 4),
            last_hash: 0,
            entry_count: 0,
            tombstone_count: 0,
        }
    }

    /// How many distinct prefixes the filter is given.
    fn prefix_count(&self) -> u64 {
        (self.hashes.len() / size_of::<u64>()) as u64
    }

    /// An upper bound of the length of the file if this entry is the last one.
    fn bytes_with(&self, key: &[u8], value: Option<&[u8]>) -> u64 {
        // The data block, its index entry, that one's index block and top entry may each be new ones.
        let index_entry = BlockBuilder::entry_bytes_max(key, Some(&[0; 8]));
        let open = self.block.bytes() + BlockBuilder::entry_bytes_max(self.block.last_key(), Some(&[0; 8]));
        let new = BLOCK_BYTES / 4 + BlockBuilder::entry_bytes_max(key, value) + 2 * index_entry;
        let blocks = self.data.len() + open + self.index.len() + self.index_block.bytes() + self.top_bytes + new;
        let filter = (line_count(self.prefix_count() + 1) + 1) * LINE_BYTES as u64;
        (PAGE_BYTES + blocks + self.first_key.len() + KEY_BYTES_MAX + FOOTER_BYTES) as u64 + filter
    }

    fn add(&mut self, key: &[u8], filter_prefix_bytes: usize, value: Option<&[u8]>) {
        if !self.block.has_room(key, value) {
            self.close_block();
        }
        if self.entry_count == 0 {
            self.first_key.extend_from_slice(key);
        }
        if filter_prefix_bytes > 0 {
            let hash = prefix_hash(&key[..filter_prefix_bytes]);
            // Keys with one prefix are neighbours.
            if self.hashes.is_empty() || self.last_hash != hash {
                self.hashes.extend_from_slice(&hash.to_ne_bytes());
                self.last_hash = hash;
            }
        }
        self.block.add(key, filter_prefix_bytes, value);
        self.entry_count += 1;
        self.tombstone_count += u64::from(value.is_none());
    }

    fn close_block(&mut self) {
        let start = self.data.len();
        let last_key = self.block.last_key().to_vec();
        self.closed.clear();
        self.block.finish(&mut self.closed);
        self.data.extend_from_slice(&self.closed);
        // A part is cut below 1 GiB and one entry has at most 16 MiB.
        let place = BlockPlace { offset: (PAGE_BYTES + start) as u32, length: (self.data.len() - start) as u32 };
        self.data_blocks.push(place);
        let value = place.encode();
        if !self.index_block.has_room(&last_key, Some(&value)) {
            self.close_index_block();
        }
        self.index_block.add(&last_key, 0, Some(&value));
    }

    fn close_index_block(&mut self) {
        let start = self.index.len();
        let last_key = self.index_block.last_key().to_vec();
        self.index_block.finish(&mut self.index);
        self.top_bytes += BlockBuilder::entry_bytes_max(&last_key, Some(&[0; 8]));
        self.index_blocks.push(IndexBlock { last_key, start, length: self.index.len() - start });
    }

    /// The header with its length, the first page, the bytes behind it, and the digest.
    fn finish(mut self, mut header: SegmentHeader) -> (SegmentHeader, [u8; PAGE_BYTES], Buffer, u64) {
        self.close_block();
        self.close_index_block();
        let mut footer = Footer {
            data_end: (PAGE_BYTES + self.data.len()) as u64,
            filter_lines: line_count(self.prefix_count()),
            top_offset: 0,
            data_block_count: self.data_blocks.len() as u64,
            index_block_count: self.index_blocks.len() as u64,
            entry_count: self.entry_count,
            tombstone_count: self.tombstone_count,
            prefix_count: self.prefix_count(),
            digest: 0,
        };
        let in_body = |offset: u64| offset as usize - PAGE_BYTES;
        let filter = in_body(footer.filter_offset())..in_body(footer.index_offset());
        let mut body = self.data;
        body.extend_to(filter.end);
        for hash in self.hashes.as_chunks().0 {
            let hash = u64::from_ne_bytes(*hash);
            let line = line_of(hash, footer.filter_lines) as usize;
            line_add(&mut body[filter.start + line * LINE_BYTES..][..LINE_BYTES], hash);
        }
        let index_offset = footer.index_offset();
        body.extend_from_slice(&self.index);
        footer.top_offset = (PAGE_BYTES + body.len()) as u64;
        let mut top = BlockBuilder::default();
        top.add(&self.first_key, 0, Some(&[]));
        let mut index_places = Vec::with_capacity(self.index_blocks.len());
        for block in &self.index_blocks {
            let offset = u32::try_from(index_offset as usize + block.start).expect("a part is cut below 4 GiB");
            let place = BlockPlace { offset, length: block.length as u32 };
            top.add(&block.last_key, 0, Some(&place.encode()));
            index_places.push(place);
        }
        self.closed.clear();
        top.finish(&mut self.closed);
        body.extend_from_slice(&self.closed);
        let footer_offset = (PAGE_BYTES + body.len()) as u64;
        let top_place =
            BlockPlace { offset: footer.top_offset as u32, length: (footer_offset - footer.top_offset) as u32 };

        // The checksums need the length, which is in the header.
        header.file_bytes = footer_offset + FOOTER_BYTES as u64;
        let (page, seed) = header.encode();
        let mut digest = Xxh3::new();
        digest.update(&seed.to_le_bytes());
        for place in &self.data_blocks {
            digest.update(&seal_block(&mut body, *place, seed));
        }
        for start in filter.step_by(LINE_BYTES) {
            let line = &mut body[start..start + LINE_BYTES];
            line_seal(line, seed, (PAGE_BYTES + start) as u64);
            digest.update(line_check(line));
        }
        for place in index_places.iter().chain([&top_place]) {
            digest.update(&seal_block(&mut body, *place, seed));
        }
        digest.update(&footer.digested());
        footer.digest = digest.digest();
        body.extend_from_slice(&footer.encode(seed, footer_offset));
        (header, page, body, footer.digest)
    }
}

/// Writes the checksum of a block; returns its bytes.
fn seal_block(body: &mut [u8], place: BlockPlace, seed: u32) -> [u8; CRC_BYTES] {
    let block = &mut body[place.offset as usize - PAGE_BYTES..][..place.length as usize];
    let (bytes, crc) = block.split_at_mut(place.length as usize - CRC_BYTES);
    let sum = checksum(seed, u64::from(place.offset), bytes).to_le_bytes();
    crc.copy_from_slice(&sum);
    sum
}
