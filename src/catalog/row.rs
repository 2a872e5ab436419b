//! The rows of the catalogue, as bytes.
//! Owns: keys, `FileRow`, `Scrub`, and the checksum that every value ends with. May touch: `time`.
//! Never: believes a value whose checksum, length or reserved bytes are wrong.

use crate::time::Timestamp;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keys begin with a letter for what they are of.
pub(super) const SCRUB_KEY: &[u8] = b"s";
const FILE: u8 = b'f';
const POSITION: u8 = b'p';

const CHECKSUM_BYTES: usize = size_of::<u64>();

/// What is known of a file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileRow {
    /// As the manifest has it.
    pub(crate) kind: u8,
    pub(crate) bytes: u64,
    pub(crate) digest: u64,
    pub(crate) verified: Option<Verified>,
}

/// When every byte of a file was last read, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) at: Timestamp,
    pub(crate) is_sound: bool,
}

/// How far the verification in the background has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scrub {
    pub(crate) file: String,
    pub(crate) offset: u64,
}

/// | offset | size | field |
/// |---|---|---|
/// | 0 | 1 | kind |
/// | 1 | 1 | 0 never verified, 1 sound, 2 damaged |
/// | 2 | 6 | zero |
/// | 8 | 8 | length |
/// | 16 | 8 | digest |
/// | 24 | 8 | when it was verified, 0 if never |
const FILE_ROW_BYTES: usize = 32;

impl FileRow {
    pub(super) fn encode(&self) -> [u8; FILE_ROW_BYTES] {
        let (outcome, at) = match self.verified {
            None => (0, 0),
            Some(Verified { at, is_sound }) => (if is_sound { 1 } else { 2 }, at.0),
        };
        let mut bytes = [0; FILE_ROW_BYTES];
        bytes[..2].copy_from_slice(&[self.kind, outcome]);
        bytes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.digest.to_le_bytes());
        bytes[24..].copy_from_slice(&at.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<FileRow> {
        let bytes: &[u8; FILE_ROW_BYTES] = bytes.try_into().ok()?;
        let number = |offset: usize| Some(u64::from_le_bytes(bytes[offset..offset + 8].try_into().ok()?));
        let at = Timestamp(number(24)?);
        let verified = match bytes[1] {
            0 if at.0 == 0 => None,
            1 => Some(Verified { at, is_sound: true }),
            2 => Some(Verified { at, is_sound: false }),
            _ => return None,
        };
        let is_zero = bytes[2..8] == [0; 6];
        is_zero.then_some(FileRow { kind: bytes[0], bytes: number(8)?, digest: number(16)?, verified })
    }
}

impl Scrub {
    /// The offset in 8 bytes, then the name.
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.offset.to_le_bytes(), self.file.as_bytes()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Scrub> {
        let (offset, file) = bytes.split_first_chunk()?;
        Some(Scrub { file: std::str::from_utf8(file).ok()?.to_owned(), offset: u64::from_le_bytes(*offset) })
    }
}

pub(super) fn file_key(name: &str) -> Vec<u8> {
    [&[FILE], name.as_bytes()].concat()
}

/// The name in the key of a file.
pub(super) fn file_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(&[FILE])?).ok()
}

pub(super) fn position_key(consumer: &str) -> Vec<u8> {
    [&[POSITION], consumer.as_bytes()].concat()
}

/// The value of a row: its bytes and their checksum, which covers the key too.
pub(super) fn sealed(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    [bytes, &checksum(key, bytes).to_le_bytes()].concat()
}

/// The bytes of a value, if its checksum is right.
pub(super) fn open<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (bytes, found) = value.split_last_chunk::<CHECKSUM_BYTES>()?;
    (u64::from_le_bytes(*found) == checksum(key, bytes)).then_some(bytes)
}

fn checksum(key: &[u8], bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, xxh3_64_with_seed(key, key.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_damaged_ones_do_not() {
        for verified in [None, Some(true), Some(false)] {
            let verified = verified.map(|is_sound| Verified { at: Timestamp(77), is_sound });
            let row = FileRow { kind: 3, bytes: 1 << 40, digest: u64::MAX - 1, verified };
            assert_eq!(FileRow::decode(&row.encode()), Some(row));
            for offset in 2..8 {
                let mut bytes = row.encode();
                bytes[offset] = 1;
                assert_eq!(FileRow::decode(&bytes), None, "offset={offset}");
            }
            assert_eq!(FileRow::decode(&row.encode()[1..]), None);
        }
        let mut bytes = FileRow { kind: 3, bytes: 1, digest: 1, verified: None }.encode();
        bytes[1] = 3;
        assert_eq!(FileRow::decode(&bytes), None);
        bytes[..2].copy_from_slice(&[3, 0]);
        bytes[30] = 1;
        assert_eq!(FileRow::decode(&bytes), None);

        let scrub = Scrub { file: "letters".to_owned(), offset: 9 };
        assert_eq!(Scrub::decode(&scrub.encode()), Some(scrub.clone()));
        assert_eq!(Scrub::decode(b"short"), None);
        assert_eq!(Scrub::decode(b"12345678\xff"), None);

        let value = sealed(b"key", b"bytes");
        assert_eq!(open(b"key", &value), Some(&b"bytes"[..]));
        assert_eq!(open(b"kez", &value), None);
        for (offset, bit) in (0..value.len()).flat_map(|offset| (0..8).map(move |bit| (offset, bit))) {
            let mut damaged = value.clone();
            damaged[offset] ^= 1 << bit;
            assert_eq!(open(b"key", &damaged), None, "offset={offset} bit={bit}");
        }
        for length in 0..value.len() {
            assert_eq!(open(b"key", &value[..length]), None, "length={length}");
        }
    }
}
