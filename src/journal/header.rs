//! The first page of a journal file: what the file is, and two stamps that say how far it is synced.
//! Owns: these bytes and the file's checksum seed. May touch: `storage`.
//! Never: is trusted beyond what its checksums cover.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `restante` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | feature bits a reader must know, none yet |
//! | 16 | 16 | uuid of the store |
//! | 32 | 8 | file id, the number in the file's name |
//! | 40 | 8 | salt, random per file |
//! | 48 | 8 | length of the file |
//! | 56 | 8 | id of the predecessor, 0 for the first file |
//! | 64 | 8 | where the predecessor's live frames end |
//! | 72 | 8 | version of the first change in this file |
//! | 80 | 4 | flags: bit 0, made by recovery in place of what came after the predecessor's end |
//! | 84 | 4 | CRC-32 of the 84 bytes before |
//! | 1024 | 32 | stamp slot 0 |
//! | 2048 | 32 | stamp slot 1 |
//! | 3072 | 16 | succession: id (8) of the file that recovery made to go on from this one, zeros (4), CRC-32 (4) of the file's seed and the 12 bytes before |
//!
//! A stamp: counter (8), synced-up-to offset (8), version synced (8), zeros (4), CRC-32 (4) of the file's
//! seed (4) and the 28 bytes before. The slot with the larger valid counter holds. Everything else in
//! the page is zero.

use crate::storage::{REWRITABLE_BYTES, StorageFile};
use std::io;
use std::mem::offset_of;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    format: U32,
    features: U32,
    uuid: [u8; 16],
    file_id: U64,
    salt: U64,
    file_bytes: U64,
    predecessor_id: U64,
    predecessor_end: U64,
    first_version: U64,
    flags: U32,
    crc: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawStamp {
    counter: U64,
    synced: U64,
    version: U64,
    zero: U32,
    crc: U32,
}

const MAGIC: [u8; 8] = *b"restante";
const FORMAT: u32 = 1;
const FLAG_CUT: u32 = 1;
const HEADER_BYTES: usize = size_of::<RawHeader>();
const CRC_OFFSET: usize = HEADER_BYTES - size_of::<U32>();
const STAMP_BYTES: usize = size_of::<RawStamp>();
const STAMP_CRC_OFFSET: usize = STAMP_BYTES - size_of::<U32>();
const STAMP_OFFSETS: [usize; 2] = [1024, 2048];
const SUCCESSION_OFFSET: usize = 3072;
const SUCCESSION_BYTES: usize = 16;
const PAGE_BYTES: usize = REWRITABLE_BYTES as usize;

/// Versions stay below this, so that adding to one cannot overflow.
pub(super) const VERSION_MAX: u64 = 1 << 62;
/// File ids end where a place cannot hold them any more: its top bit says that it lies in a segment. At 64 MiB
/// each, that is 128 PiB.
pub(crate) const FILE_ID_MAX: u64 = (1 << 31) - 1;

/// Counter of the stamp that a file may be made with. Any above it was written after the file's name was
/// synced. After a failed sync of the directory a name that is there may still vanish, whatever later
/// syncs say, so nothing may be acknowledged on it.
pub(crate) const STAMP_UNNAMED: u64 = 1;

/// Where the store's uuid lies.
pub(crate) const UUID_OFFSET: u64 = offset_of!(RawHeader, uuid) as u64;
const SALT_OFFSET: u64 = offset_of!(RawHeader, salt) as u64;
/// Where frames begin.
pub(crate) const FRAMES_OFFSET: u64 = REWRITABLE_BYTES;

const _: () = assert!(HEADER_BYTES == 88, "docs/format.md says 88 bytes");
const _: () = assert!(UUID_OFFSET == 16 && SALT_OFFSET == 40, "docs/format.md says where uuid and salt are");
const _: () = assert!(STAMP_BYTES == 32, "docs/format.md says 32 bytes");

/// What a journal file says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub uuid: [u8; 16],
    pub file_id: u64,
    pub salt: u64,
    pub file_bytes: u64,
    pub predecessor_id: u64,
    pub predecessor_end: u64,
    pub first_version: u64,
    pub is_cut: bool,
}

/// How far a file is synced, as last stamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub counter: u64,
    pub synced: u64,
    pub version: u64,
}

/// What a first page holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirstPage {
    pub header: FileHeader,
    pub stamp: Stamp,
    /// The file that recovery made to go on from this one.
    pub successor: Option<u64>,
}

/// What is wrong with a first page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// The bytes are not what they should be.
    Damaged { offset: u64, expected: &'static str, found: String },
    /// A newer version of the crate wrote it.
    Unsupported { format: u32, features: u32 },
}

impl FileHeader {
    /// The seed of every checksum in the file, so that no frame of another store or file, and none
    /// that stood here before the file was reused, is taken for one of this file.
    pub fn seed(&self) -> u32 {
        seed_of(&self.uuid, self.file_id, self.salt)
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut raw = RawHeader {
            magic: MAGIC,
            format: U32::new(FORMAT),
            features: U32::ZERO,
            uuid: self.uuid,
            file_id: U64::new(self.file_id),
            salt: U64::new(self.salt),
            file_bytes: U64::new(self.file_bytes),
            predecessor_id: U64::new(self.predecessor_id),
            predecessor_end: U64::new(self.predecessor_end),
            first_version: U64::new(self.first_version),
            flags: U32::new(if self.is_cut { FLAG_CUT } else { 0 }),
            crc: U32::ZERO,
        };
        raw.crc = U32::new(crc32fast::hash(&raw.as_bytes()[..CRC_OFFSET]));
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    /// Reads the first page of a file.
    pub fn decode(page: &[u8; PAGE_BYTES]) -> Result<FirstPage, BadHeader> {
        let damaged =
            |offset: usize, expected, found: String| BadHeader::Damaged { offset: offset as u64, expected, found };
        let Ok((raw, _)) = RawHeader::ref_from_prefix(&page[..]) else {
            return Err(damaged(0, "a header", String::new()));
        };
        if raw.magic != MAGIC {
            return Err(damaged(0, "restante", raw.magic.escape_ascii().to_string()));
        }
        let crc = crc32fast::hash(&page[..CRC_OFFSET]);
        if raw.crc.get() != crc {
            return Err(damaged(CRC_OFFSET, "the header's checksum", format!("{:08x}", raw.crc.get())));
        }
        if raw.format.get() != FORMAT || raw.features.get() != 0 {
            return Err(BadHeader::Unsupported { format: raw.format.get(), features: raw.features.get() });
        }
        if raw.flags.get() & !FLAG_CUT != 0 {
            return Err(BadHeader::Unsupported { format: FORMAT, features: raw.flags.get() });
        }
        let header = FileHeader {
            uuid: raw.uuid,
            file_id: raw.file_id.get(),
            salt: raw.salt.get(),
            file_bytes: raw.file_bytes.get(),
            predecessor_id: raw.predecessor_id.get(),
            predecessor_end: raw.predecessor_end.get(),
            first_version: raw.first_version.get(),
            is_cut: raw.flags.get() & FLAG_CUT != 0,
        };
        if header.first_version == 0 || header.first_version > VERSION_MAX || header.file_id > FILE_ID_MAX {
            return Err(damaged(72, "ids in range", format!("{:?}", (header.file_id, header.first_version))));
        }
        let stamps = STAMP_OFFSETS.map(|offset| offset..offset + STAMP_BYTES);
        let succession = SUCCESSION_OFFSET..SUCCESSION_OFFSET + SUCCESSION_BYTES;
        let is_slot = |index: usize| succession.contains(&index) || stamps.iter().any(|stamp| stamp.contains(&index));
        let stray = (HEADER_BYTES..PAGE_BYTES).find(|index| page[*index] != 0 && !is_slot(*index));
        if let Some(index) = stray {
            return Err(damaged(index, "0", page[index].to_string()));
        }
        let seed = header.seed();
        let newest = stamps.into_iter().filter_map(|range| decode_stamp(&page[range], seed)).max_by_key(|s| s.counter);
        let successor = decode_succession(&page[succession], seed);
        Ok(FirstPage { header, stamp: newest.unwrap_or_default(), successor })
    }
}

impl Stamp {
    /// Writes the stamp into the slot its counter chooses, so that the one before it stays whole.
    pub fn write(&self, file: &dyn StorageFile, seed: u32) -> io::Result<()> {
        let mut raw = RawStamp {
            counter: U64::new(self.counter),
            synced: U64::new(self.synced),
            version: U64::new(self.version),
            zero: U32::ZERO,
            crc: U32::ZERO,
        };
        raw.crc = U32::new(checksum(&raw.as_bytes()[..STAMP_CRC_OFFSET], seed));
        file.write_at(STAMP_OFFSETS[(self.counter % 2) as usize] as u64, raw.as_bytes())
    }
}

/// Names the file that goes on from this one, and takes away stamps that are none: the end of a process tore them, and
/// nobody writes another one. False if there is nothing to write. The caller syncs.
pub(crate) fn write_succession(file: &dyn StorageFile, seed: u32, successor: u64) -> io::Result<bool> {
    if let Some(page) = read_page(file)? {
        let torn: Vec<usize> = damaged_stamps(&page, seed).collect();
        let is_named = FileHeader::decode(&page).is_ok_and(|page| page.successor == Some(successor));
        if torn.is_empty() && is_named {
            return Ok(false);
        }
        torn.iter().try_for_each(|offset| file.write_at(*offset as u64, &[0; STAMP_BYTES]))?;
    }
    let mut bytes = [0; SUCCESSION_BYTES];
    bytes[..8].copy_from_slice(&successor.to_le_bytes());
    let crc = checksum(&bytes[..SUCCESSION_BYTES - 4], seed);
    bytes[SUCCESSION_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    file.write_at(SUCCESSION_OFFSET as u64, &bytes)?;
    Ok(true)
}

/// Where a slot of the first page is neither empty nor good, and what should be there. A slot lies in one sector, so no
/// power cut tears it; the end of a process may, and the next opening mends what it tore.
pub(super) fn damaged_slots(page: &[u8; PAGE_BYTES], seed: u32) -> Vec<(u64, &'static str)> {
    let mut damaged: Vec<_> = damaged_stamps(page, seed).map(|offset| (offset as u64, "a stamp")).collect();
    let bytes = &page[SUCCESSION_OFFSET..SUCCESSION_OFFSET + SUCCESSION_BYTES];
    if !is_empty(bytes) && decode_succession(bytes, seed).is_none() {
        damaged.push((SUCCESSION_OFFSET as u64, "a succession"));
    }
    damaged
}

fn damaged_stamps(page: &[u8; PAGE_BYTES], seed: u32) -> impl Iterator<Item = usize> {
    let stamp = |offset: usize| &page[offset..offset + STAMP_BYTES];
    let is_damaged = move |offset: &usize| !is_empty(stamp(*offset)) && decode_stamp(stamp(*offset), seed).is_none();
    STAMP_OFFSETS.into_iter().filter(is_damaged)
}

fn is_empty(slot: &[u8]) -> bool {
    slot.iter().all(|byte| *byte == 0)
}

fn seed_of(uuid: &[u8; 16], file_id: u64, salt: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(uuid);
    hasher.update(&file_id.to_le_bytes());
    hasher.update(&salt.to_le_bytes());
    hasher.finalize()
}

fn decode_succession(bytes: &[u8], seed: u32) -> Option<u64> {
    let (fields, crc) = bytes.split_last_chunk::<4>()?;
    let (successor, zeros) = fields.split_first_chunk::<8>()?;
    let good = u32::from_le_bytes(*crc) == checksum(fields, seed) && zeros == [0; 4];
    good.then_some(u64::from_le_bytes(*successor))
}

fn decode_stamp(bytes: &[u8], seed: u32) -> Option<Stamp> {
    let raw = RawStamp::ref_from_bytes(bytes).ok()?;
    if raw.crc.get() != checksum(&bytes[..STAMP_CRC_OFFSET], seed) || raw.zero.get() != 0 || raw.counter.get() == 0 {
        return None;
    }
    Some(Stamp { counter: raw.counter.get(), synced: raw.synced.get(), version: raw.version.get() })
}

fn checksum(fields: &[u8], seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(fields);
    hasher.finalize()
}

/// The seed of a file whose first page may be damaged. The rest of it being known from elsewhere, only the salt is read,
/// and is not checked: with a wrong seed no frame of the file is good. `None` if there is no salt to read.
pub(crate) fn journal_seed(file: &dyn StorageFile, uuid: &[u8; 16], file_id: u64) -> Option<u32> {
    let mut salt = [0; size_of::<U64>()];
    file.read_at(SALT_OFFSET, &mut salt).ok()?;
    Some(seed_of(uuid, file_id, u64::from_le_bytes(salt)))
}

/// Reads the first page of `file`; a shorter file is padded with what no header has.
pub(crate) fn read_page(file: &dyn StorageFile) -> io::Result<Option<[u8; PAGE_BYTES]>> {
    if file.length() < REWRITABLE_BYTES {
        return Ok(None);
    }
    let mut page = [0; PAGE_BYTES];
    file.read_at(0, &mut page)?;
    Ok(Some(page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{SimStorage, Storage};

    fn header() -> FileHeader {
        FileHeader {
            uuid: *b"0123456789abcdef",
            file_id: 2,
            salt: 0x0807_0605_0403_0201,
            file_bytes: 65_536,
            predecessor_id: 1,
            predecessor_end: 5_000,
            first_version: 42,
            is_cut: true,
        }
    }

    fn page_of(file: &dyn StorageFile) -> [u8; PAGE_BYTES] {
        read_page(file).unwrap().unwrap()
    }

    fn file() -> std::sync::Arc<dyn StorageFile> {
        let file = SimStorage::new(1).create("x", 65_536).unwrap();
        file.write_at(0, &header().encode()).unwrap();
        file
    }

    #[test]
    fn the_newer_stamp_holds_and_a_torn_one_leaves_the_older() {
        let (file, seed) = (file(), header().seed());
        let page = FirstPage { header: header(), stamp: Stamp::default(), successor: None };
        assert_eq!(FileHeader::decode(&page_of(&*file)), Ok(page));
        for counter in 1..5 {
            let stamp = Stamp { counter, synced: 4096 + counter, version: counter };
            stamp.write(&*file, seed).unwrap();
            assert_eq!(FileHeader::decode(&page_of(&*file)).unwrap().stamp, stamp);
        }
        file.write_at(STAMP_OFFSETS[0] as u64, &[0xff]).unwrap();
        assert_eq!(FileHeader::decode(&page_of(&*file)).unwrap().stamp.counter, 3);
        write_succession(&*file, seed, 9).unwrap();
        assert_eq!(FileHeader::decode(&page_of(&*file)).unwrap().successor, Some(9));
        file.write_at(SUCCESSION_OFFSET as u64, &[8]).unwrap();
        assert_eq!(FileHeader::decode(&page_of(&*file)).unwrap().successor, None);
    }

    #[test]
    fn every_flipped_bit_outside_the_stamps_is_noticed() {
        let page = page_of(&*file());
        for bit in 0..PAGE_BYTES * 8 {
            let byte = bit / 8;
            let is_slot = STAMP_OFFSETS.iter().any(|offset| (*offset..offset + STAMP_BYTES).contains(&byte));
            if is_slot || (SUCCESSION_OFFSET..SUCCESSION_OFFSET + SUCCESSION_BYTES).contains(&byte) {
                continue;
            }
            let mut flipped = page;
            flipped[byte] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn of_a_damaged_page_only_the_salt_is_needed() {
        let FileHeader { uuid, file_id, salt, .. } = header();
        let storage = SimStorage::new(1);
        let seed_in = |page: &[u8]| {
            storage.replace("x", page.to_vec());
            journal_seed(&*storage.open("x").unwrap(), &uuid, file_id)
        };
        let mut page = [0xee; PAGE_BYTES];
        page[40..48].copy_from_slice(&salt.to_le_bytes());
        assert_eq!(seed_in(&page), Some(header().seed()));
        assert_eq!(seed_in(&page[..48]), Some(header().seed()));
        assert_eq!(seed_in(&page[..47]), None);
        for byte in 40..48 {
            page[byte] ^= 1;
            assert!(seed_in(&page).is_some_and(|seed| seed != header().seed()), "byte {byte}");
            page[byte] ^= 1;
        }
    }

    #[test]
    fn a_newer_format_is_not_called_damage() {
        let mut page = page_of(&*file());
        page[8] = 2;
        let crc = crc32fast::hash(&page[..CRC_OFFSET]);
        page[CRC_OFFSET..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(FileHeader::decode(&page), Err(BadHeader::Unsupported { format: 2, features: 0 }));
    }

    #[test]
    fn the_header_in_the_format_document_is_this() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let document = include_str!("../../docs/format.md");
        for line in header().encode().chunks(16) {
            assert!(document.contains(&hex(line)), "docs/format.md lacks: {}", hex(line));
        }
        let file = file();
        Stamp { counter: 1, synced: 8192, version: 50 }.write(&*file, header().seed()).unwrap();
        for line in page_of(&*file)[2048..2080].chunks(16) {
            assert!(document.contains(&hex(line)), "docs/format.md lacks: {}", hex(line));
        }
    }
}
