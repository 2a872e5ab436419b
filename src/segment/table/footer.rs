//! The last bytes of a table: where its parts begin, how much is in it, its digest.
//! Owns: these bytes. May touch: `header`, `storage`.
//! Never: lets a number through that does not fit the file.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `rstn.end` |
//! | 8 | 8 | where the data blocks end |
//! | 16 | 8 | lines of the filter, which begins at the next multiple of 64 |
//! | 24 | 8 | where the index blocks end and the top block begins, which ends at the footer |
//! | 32 | 8 | data blocks |
//! | 40 | 8 | index blocks |
//! | 48 | 8 | entries |
//! | 56 | 8 | tombstones among them |
//! | 64 | 8 | distinct filter prefixes |
//! | 72 | 8 | digest |
//! | 80 | 4 | zeros |
//! | 84 | 4 | CRC-32 of the file's seed, the footer's offset (8 bytes), and the 84 bytes before |
//!
//! The digest: XXH3-64 of the seed and, in the order of the file, the checksums of all data blocks, filter lines, index blocks
//! and the top block, then the 72 bytes before the digest.

use super::super::header::checksum;
use super::filter::{LINE_BYTES, line_count};
use crate::error::{Error, Result};
use crate::storage::{REWRITABLE_BYTES, StorageFile};
use std::path::Path;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFooter {
    magic: [u8; 8],
    data_end: U64,
    filter_lines: U64,
    top_offset: U64,
    data_block_count: U64,
    index_block_count: U64,
    entry_count: U64,
    tombstone_count: U64,
    prefix_count: U64,
    digest: U64,
    zero: U32,
    crc: U32,
}

const MAGIC: [u8; 8] = *b"rstn.end";
pub(super) const FOOTER_BYTES: usize = size_of::<RawFooter>();
const CRC_OFFSET: usize = FOOTER_BYTES - size_of::<U32>();
const DIGEST_OFFSET: usize = 72;

const _: () = assert!(FOOTER_BYTES == 88, "docs/format.md says 88 bytes");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footer {
    pub data_end: u64,
    pub filter_lines: u64,
    pub top_offset: u64,
    pub data_block_count: u64,
    pub index_block_count: u64,
    pub entry_count: u64,
    pub tombstone_count: u64,
    pub prefix_count: u64,
    pub digest: u64,
}

impl Footer {
    pub fn filter_offset(&self) -> u64 {
        self.data_end.next_multiple_of(LINE_BYTES as u64)
    }

    pub fn index_offset(&self) -> u64 {
        self.filter_offset() + self.filter_lines * LINE_BYTES as u64
    }

    /// The bytes that the digest also covers.
    pub fn digested(&self) -> [u8; DIGEST_OFFSET] {
        let mut bytes = [0; DIGEST_OFFSET];
        bytes.copy_from_slice(&self.encode(0, 0)[..DIGEST_OFFSET]);
        bytes
    }

    pub fn encode(&self, seed: u32, offset: u64) -> [u8; FOOTER_BYTES] {
        let mut raw = RawFooter {
            magic: MAGIC,
            data_end: U64::new(self.data_end),
            filter_lines: U64::new(self.filter_lines),
            top_offset: U64::new(self.top_offset),
            data_block_count: U64::new(self.data_block_count),
            index_block_count: U64::new(self.index_block_count),
            entry_count: U64::new(self.entry_count),
            tombstone_count: U64::new(self.tombstone_count),
            prefix_count: U64::new(self.prefix_count),
            digest: U64::new(self.digest),
            zero: U32::ZERO,
            crc: U32::ZERO,
        };
        raw.crc = U32::new(checksum(seed, offset, &raw.as_bytes()[..CRC_OFFSET]));
        let mut bytes = [0; FOOTER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads the footer of an open file.
    pub fn read(file: &dyn StorageFile, path: &Path, seed: u32) -> Result<Footer> {
        let file_bytes = file.length();
        let Some(offset) = file_bytes.checked_sub(FOOTER_BYTES as u64).filter(|offset| *offset >= REWRITABLE_BYTES)
        else {
            return Err(Error::corruption_at(path, file_bytes, "a footer", "the end of the file"));
        };
        let damaged = |expected: &str, found: String| Error::corruption_at(path, offset, expected, found);
        let mut bytes = [0; FOOTER_BYTES];
        file.read_at(offset, &mut bytes).map_err(|error| Error::io("read", path, error))?;
        let Ok(raw) = RawFooter::ref_from_bytes(&bytes) else { return Err(damaged("a footer", String::new())) };
        if raw.magic != MAGIC {
            return Err(damaged("rstn.end", raw.magic.escape_ascii().to_string()));
        }
        let crc = checksum(seed, offset, &bytes[..CRC_OFFSET]);
        if raw.crc.get() != crc {
            return Err(damaged(&format!("crc {crc:08x}"), format!("crc {:08x}", raw.crc.get())));
        }
        let footer = Footer {
            data_end: raw.data_end.get(),
            filter_lines: raw.filter_lines.get(),
            top_offset: raw.top_offset.get(),
            data_block_count: raw.data_block_count.get(),
            index_block_count: raw.index_block_count.get(),
            entry_count: raw.entry_count.get(),
            tombstone_count: raw.tombstone_count.get(),
            prefix_count: raw.prefix_count.get(),
            digest: raw.digest.get(),
        };
        // Checked one after the other, so that none of the sums can overflow.
        let is_in_range = offset <= u64::from(u32::MAX)
            && (REWRITABLE_BYTES..offset).contains(&footer.data_end)
            && footer.prefix_count <= footer.entry_count
            && footer.filter_lines == line_count(footer.prefix_count)
            && footer.filter_lines <= (offset - footer.data_end) / LINE_BYTES as u64
            && (footer.index_offset()..offset).contains(&footer.top_offset)
            && raw.zero == U32::ZERO;
        if !is_in_range {
            return Err(damaged("numbers that fit the file", format!("{footer:?}")));
        }
        Ok(footer)
    }
}
