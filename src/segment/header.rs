//! The first page of a segment file: what the file is; and the names of segment files.
//! Owns: these bytes, the file's checksum seed, the names. May touch: `storage`, `error`.
//! Never: looks behind the first page.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `rstn.seg` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | feature bits a reader must know, none yet |
//! | 16 | 1 | kind: 2 index, 3 messages, 4 rows |
//! | 17 | 1 | level: how often its oldest content was merged |
//! | 18 | 6 | zeros |
//! | 24 | 16 | uuid of the store |
//! | 40 | 8 | segment id, the number in the file's name |
//! | 48 | 8 | first: of index and messages the oldest journal file covered, of rows the number of the run |
//! | 56 | 8 | last: of index and messages the newest journal file covered, of rows the number of the part |
//! | 64 | 8 | version of the oldest change in it |
//! | 72 | 8 | version of the newest change in it |
//! | 80 | 8 | length of the file |
//! | 88 | 8 | salt, random per file |
//! | 96 | 4 | CRC-32 of the 96 bytes before: the *seed* of every other checksum in the file |
//!
//! The rest of the page is zero.

use crate::error::{Error, ErrorKind, Result};
use crate::storage::{REWRITABLE_BYTES, Storage, StorageFile};
use std::path::Path;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    format: U32,
    features: U32,
    kind: u8,
    level: u8,
    zero: [u8; 6],
    uuid: [u8; 16],
    id: U64,
    first: U64,
    last: U64,
    first_version: U64,
    last_version: U64,
    file_bytes: U64,
    salt: U64,
    crc: U32,
}

const MAGIC: [u8; 8] = *b"rstn.seg";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = size_of::<RawHeader>();
const CRC_OFFSET: usize = HEADER_BYTES - size_of::<U32>();
const KIND_OFFSET: u64 = 16;
const ZERO_OFFSET: u64 = 18;
const ID_OFFSET: u64 = 40;

/// Bytes of the first page.
pub(super) const PAGE_BYTES: usize = REWRITABLE_BYTES as usize;
/// Segment ids stay below the bit that tells record files apart in a place.
pub(crate) const SEGMENT_ID_MAX: u64 = (1 << 31) - 1;

const _: () = assert!(HEADER_BYTES == 100, "docs/format.md says 100 bytes");
const _: () = assert!(CRC_OFFSET == 96, "docs/format.md says the checksum is at 96");

/// What a segment file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentKind {
    /// Where each timeline's messages lie in one record file.
    Index = 2,
    /// Records, ordered by timeline and seq.
    Messages = 3,
    /// Part of a sorted run of rows.
    Rows = 4,
}

impl SegmentKind {
    const ALL: [SegmentKind; 3] = [SegmentKind::Index, SegmentKind::Messages, SegmentKind::Rows];

    /// The kind with this number.
    pub fn of(number: u8) -> Option<SegmentKind> {
        SegmentKind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    fn suffix(self) -> &'static str {
        match self {
            SegmentKind::Index => ".index",
            SegmentKind::Messages => ".messages",
            SegmentKind::Rows => ".rows",
        }
    }
}

/// The name of the segment file of this kind and id.
pub(crate) fn segment_name(kind: SegmentKind, id: u64) -> String {
    format!("{id:016x}{}", kind.suffix())
}

/// Kind and id in the name of a segment file; `None` for any other name, however similar.
pub(crate) fn segment_id(name: &str) -> Option<(SegmentKind, u64)> {
    SegmentKind::ALL.into_iter().find_map(|kind| {
        let id = u64::from_str_radix(name.strip_suffix(kind.suffix())?, 16).ok()?;
        let is_exact = 0 < id && id <= SEGMENT_ID_MAX && segment_name(kind, id) == name;
        is_exact.then_some((kind, id))
    })
}

/// What the journal says of a segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentInfo {
    pub kind: SegmentKind,
    pub id: u64,
    pub bytes: u64,
    pub last_version: u64,
    /// The digest in the file's footer.
    pub digest: u64,
}

/// What a segment file says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub kind: SegmentKind,
    pub level: u8,
    pub uuid: [u8; 16],
    pub id: u64,
    pub first: u64,
    pub last: u64,
    pub first_version: u64,
    pub last_version: u64,
    pub file_bytes: u64,
    pub salt: u64,
}

impl SegmentHeader {
    /// The first page of the file, and the seed of its other checksums.
    pub fn encode(&self) -> ([u8; PAGE_BYTES], u32) {
        let mut raw = RawHeader {
            magic: MAGIC,
            format: U32::new(FORMAT),
            features: U32::ZERO,
            kind: self.kind as u8,
            level: self.level,
            zero: [0; 6],
            uuid: self.uuid,
            id: U64::new(self.id),
            first: U64::new(self.first),
            last: U64::new(self.last),
            first_version: U64::new(self.first_version),
            last_version: U64::new(self.last_version),
            file_bytes: U64::new(self.file_bytes),
            salt: U64::new(self.salt),
            crc: U32::ZERO,
        };
        let crc = crc32fast::hash(&raw.as_bytes()[..CRC_OFFSET]);
        raw.crc = U32::new(crc);
        let mut page = [0; PAGE_BYTES];
        page[..HEADER_BYTES].copy_from_slice(raw.as_bytes());
        (page, crc)
    }

    /// The seed of every checksum behind the first page: no block of another store or file, and none that
    /// stood in the same place before, is taken for one of this file.
    pub fn seed(&self) -> u32 {
        self.encode().1
    }

    /// Reads the first page of the file at `path`.
    pub fn decode(page: &[u8; PAGE_BYTES], path: &Path) -> Result<SegmentHeader> {
        let damaged = |offset: u64, expected: &str, found: String| Error::corruption_at(path, offset, expected, found);
        let Ok((raw, rest)) = RawHeader::ref_from_prefix(&page[..]) else {
            return Err(damaged(0, "a header", String::new()));
        };
        if raw.magic != MAGIC {
            return Err(damaged(0, "rstn.seg", raw.magic.escape_ascii().to_string()));
        }
        let crc = crc32fast::hash(&page[..CRC_OFFSET]);
        if raw.crc.get() != crc {
            return Err(damaged(CRC_OFFSET as u64, &format!("crc {crc:08x}"), format!("crc {:08x}", raw.crc.get())));
        }
        if raw.format.get() != FORMAT || raw.features.get() != 0 {
            let message = format!(
                "segment file is of a newer version: file={} format={} features={:#x}",
                path.display(),
                raw.format.get(),
                raw.features.get()
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let Some(kind) = SegmentKind::of(raw.kind) else {
            return Err(damaged(KIND_OFFSET, "kind 2 to 4", raw.kind.to_string()));
        };
        if raw.zero != [0; 6] {
            return Err(damaged(ZERO_OFFSET, "zeros", format!("{:?}", raw.zero)));
        }
        if let Some(index) = rest.iter().position(|byte| *byte != 0) {
            return Err(damaged((HEADER_BYTES + index) as u64, "0", rest[index].to_string()));
        }
        let id = raw.id.get();
        if !(1..=SEGMENT_ID_MAX).contains(&id) {
            return Err(damaged(ID_OFFSET, "an id in range", id.to_string()));
        }
        Ok(SegmentHeader {
            kind,
            level: raw.level,
            uuid: raw.uuid,
            id,
            first: raw.first.get(),
            last: raw.last.get(),
            first_version: raw.first_version.get(),
            last_version: raw.last_version.get(),
            file_bytes: raw.file_bytes.get(),
            salt: raw.salt.get(),
        })
    }

    /// Checks what the journal says of the file, and that it is of this store (or of the one it came from).
    pub fn check(&self, info: &SegmentInfo, uuids: &[[u8; 16]], path: &Path) -> Result<()> {
        let found = (self.kind, self.id, self.file_bytes, self.last_version);
        let expected = (info.kind, info.id, info.bytes, info.last_version);
        if found != expected {
            return Err(Error::corruption_at(path, KIND_OFFSET, format!("{expected:?}"), format!("{found:?}")));
        }
        if !uuids.contains(&self.uuid) {
            return Err(Error::corruption_at(
                path,
                ZERO_OFFSET + 6,
                "the uuid of the store",
                format!("{:02x?}", self.uuid),
            ));
        }
        Ok(())
    }
}

/// Reads the first page of an open file.
pub(crate) fn read_header(file: &dyn StorageFile, path: &Path) -> Result<SegmentHeader> {
    if file.length() < REWRITABLE_BYTES {
        return Err(Error::corruption_at(path, file.length(), "a first page", "the end of the file"));
    }
    let mut page = [0; PAGE_BYTES];
    file.read_at(0, &mut page).map_err(|error| Error::io("read", path, error))?;
    SegmentHeader::decode(&page, path)
}

/// The seed of a file whose first page may be damaged: the checksum that stands there, whatever the rest of the page
/// says. It is not checked: with a wrong seed nothing behind the page is good. `None` if there is none to read.
pub(crate) fn stored_seed(file: &dyn StorageFile) -> Option<u32> {
    let mut seed = [0; size_of::<U32>()];
    file.read_at(CRC_OFFSET as u64, &mut seed).ok()?;
    Some(u32::from_le_bytes(seed))
}

/// The uuid that a segment file bears.
pub(crate) fn read_uuid(storage: &dyn Storage, info: &SegmentInfo) -> Result<[u8; 16]> {
    let name = segment_name(info.kind, info.id);
    let path = storage.path(&name);
    let file = storage.open(&name).map_err(|error| Error::io("open", &path, error))?;
    Ok(read_header(&*file, &path)?.uuid)
}

/// The CRC-32 of the file's seed, the place of the bytes in the file, and the bytes.
pub(crate) fn checksum(seed: u32, offset: u64, bytes: &[u8]) -> u32 {
    let mut start = [0; 12];
    start[..4].copy_from_slice(&seed.to_le_bytes());
    start[4..].copy_from_slice(&offset.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&start);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimStorage;

    fn header() -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Rows,
            level: 2,
            uuid: *b"0123456789abcdef",
            id: 7,
            first: 3,
            last: 1,
            first_version: 42,
            last_version: 50,
            file_bytes: 65_536,
            salt: 0x0807_0605_0403_0201,
        }
    }

    fn decode(page: &[u8; PAGE_BYTES]) -> Result<SegmentHeader> {
        SegmentHeader::decode(page, Path::new("x"))
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (page, seed) = header().encode();
        assert_eq!((decode(&page).unwrap(), header().seed()), (header(), seed));
        for bit in 0..PAGE_BYTES * 8 {
            let mut flipped = page;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped).unwrap_err().kind(), ErrorKind::Corruption, "bit {bit}");
        }
    }

    #[test]
    fn of_a_damaged_page_the_seed_is_left() {
        let storage = SimStorage::new(1);
        let seed_in = |page: &[u8]| {
            storage.replace("x", page.to_vec());
            stored_seed(&*storage.open("x").unwrap())
        };
        let (whole, seed) = header().encode();
        let mut page = [0xee; PAGE_BYTES];
        page[96..100].copy_from_slice(&whole[96..100]);
        assert_eq!(seed_in(&page), Some(seed));
        assert_eq!(seed_in(&page[..100]), Some(seed));
        assert_eq!(seed_in(&page[..99]), None);
    }

    #[test]
    fn what_no_header_says_is_refused() {
        let check = |offset: usize, byte: u8, kind| {
            let (mut page, _) = header().encode();
            page[offset] = byte;
            let crc = crc32fast::hash(&page[..CRC_OFFSET]);
            page[CRC_OFFSET..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(decode(&page).unwrap_err().kind(), kind, "byte {offset}");
        };
        check(8, 2, ErrorKind::Unsupported);
        check(12, 1, ErrorKind::Unsupported);
        check(16, 1, ErrorKind::Corruption);
        check(16, 5, ErrorKind::Corruption);
        check(23, 1, ErrorKind::Corruption);
        check(40, 0, ErrorKind::Corruption);
        check(43, 0x80, ErrorKind::Corruption);
    }

    #[test]
    fn a_file_is_what_the_journal_says() {
        let info = SegmentInfo { kind: SegmentKind::Rows, id: 7, bytes: 65_536, last_version: 50, digest: 0 };
        let check = |info: SegmentInfo, uuid: &[u8; 16]| header().check(&info, &[[0; 16], *uuid], Path::new("x"));
        check(info, b"0123456789abcdef").unwrap();
        let wrong = [
            check(SegmentInfo { kind: SegmentKind::Index, ..info }, b"0123456789abcdef"),
            check(SegmentInfo { id: 8, ..info }, b"0123456789abcdef"),
            check(SegmentInfo { bytes: 65_535, ..info }, b"0123456789abcdef"),
            check(SegmentInfo { last_version: 51, ..info }, b"0123456789abcdef"),
            check(info, b"1123456789abcdef"),
        ];
        assert!(
            wrong.iter().all(|result| result.as_ref().is_err_and(|error| error.corruption().is_some())),
            "{wrong:?}"
        );
    }

    #[test]
    fn names_are_exact() {
        for kind in SegmentKind::ALL {
            for id in [1, 0xabcd, SEGMENT_ID_MAX] {
                assert_eq!(segment_id(&segment_name(kind, id)), Some((kind, id)));
            }
        }
        assert_eq!(segment_name(SegmentKind::Rows, 10), "000000000000000a.rows");
        for name in [
            "0000000000000000.rows",
            "0000000080000000.rows",
            "000000000000000A.rows",
            "+00000000000000a.rows",
            "00000000000000a.rows",
            "000000000000000a.rows.tmp",
            "000000000000000a.journal",
            ".rows",
        ] {
            assert_eq!(segment_id(name), None, "{name}");
        }
    }
}
