//! The checksums of a journal file, made right again after bytes were changed, so that an input gets past them.
//! Owns: as much of docs/format.md as that takes. May touch: nothing.
//! Never: is used to judge the store's own reading; it only lets bytes through to it.

use std::ops::Range;

pub const HEADER_BYTES: usize = 88;
pub const PAGE_BYTES: usize = 4096;
const FRAME_HEADER_BYTES: usize = 16;
const STAMP_OFFSET: usize = 2048;
const STAMP_BYTES: usize = 32;
const CHANGES: u8 = 1;

/// Makes magic, format, id, length and checksum of the first page right.
pub fn fix_header(file: &mut [u8], file_id: u64) {
    file[..8].copy_from_slice(b"restante");
    file[8..16].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    file[32..40].copy_from_slice(&file_id.to_le_bytes());
    let length = file.len() as u64;
    file[48..56].copy_from_slice(&length.to_le_bytes());
    let crc = crc32fast::hash(&file[..HEADER_BYTES - 4]);
    file[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the checksums of all frames right, one after another as their lengths say, and their version
/// numbers too if `versions`. Says where they end.
pub fn fix_frames(file: &mut [u8], versions: bool) -> usize {
    let seed = seed(file);
    let mut offset = PAGE_BYTES;
    let mut version_delta: u32 = 0;
    while let Some(range) = frame_at(file, offset) {
        if versions {
            file[offset + 8..offset + 12].copy_from_slice(&version_delta.to_le_bytes());
        }
        if file[offset + 4] == CHANGES {
            let records = &file[offset + FRAME_HEADER_BYTES..range.end];
            version_delta = version_delta.wrapping_add(count_records(records));
        }
        let crc = frame_crc(file, seed, range.clone());
        file[offset..offset + 4].copy_from_slice(&crc.to_le_bytes());
        offset = range.end.next_multiple_of(8);
        let padding_end = offset.min(file.len());
        file[range.end..padding_end].fill(0);
    }
    offset
}

/// Puts a stamp that says `synced` into a slot of the first page.
pub fn write_stamp(file: &mut [u8], synced: u64, version: u64) {
    let seed = seed(file);
    let slot = &mut file[STAMP_OFFSET..STAMP_OFFSET + STAMP_BYTES];
    slot.fill(0);
    slot[..8].copy_from_slice(&2u64.to_le_bytes());
    slot[8..16].copy_from_slice(&synced.to_le_bytes());
    slot[16..24].copy_from_slice(&version.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&slot[..STAMP_BYTES - 4]);
    slot[STAMP_BYTES - 4..].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// Whether `file` holds a header or a frame with a good checksum that `original` does not have in the
/// same place. A fuzzer learns checksums; what it forged proves nothing against the store.
pub fn is_forged(file: &[u8], original: Option<&[u8]>) -> bool {
    if file.len() < PAGE_BYTES {
        return false;
    }
    let same = |range: Range<usize>| original.and_then(|bytes| bytes.get(range.clone())) == Some(&file[range]);
    let header_crc = crc32fast::hash(&file[..HEADER_BYTES - 4]).to_le_bytes();
    if file[HEADER_BYTES - 4..HEADER_BYTES] == header_crc && !same(0..HEADER_BYTES) {
        return true;
    }
    let seed = seed(file);
    (PAGE_BYTES..file.len()).step_by(8).filter_map(|offset| frame_at(file, offset)).any(|range| {
        file[range.start..range.start + 4] == frame_crc(file, seed, range.clone()).to_le_bytes() && !same(range)
    })
}

fn seed(file: &[u8]) -> u32 {
    // uuid, file id and salt stand side by side.
    crc32fast::hash(&file[16..48])
}

/// Header and payload of what may be a frame.
fn frame_at(file: &[u8], offset: usize) -> Option<Range<usize>> {
    let header = file.get(offset..offset + FRAME_HEADER_BYTES)?;
    let payload_bytes = usize::from(header[5]) | usize::from(header[6]) << 8 | usize::from(header[7]) << 16;
    let end = offset + FRAME_HEADER_BYTES + payload_bytes;
    (header[4] != 0 && end <= file.len()).then_some(offset..end)
}

fn frame_crc(file: &[u8], seed: u32, range: Range<usize>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&(range.start as u64).to_le_bytes());
    hasher.update(&file[range.start + 4..range.end]);
    hasher.finalize()
}

fn count_records(mut records: &[u8]) -> u32 {
    let mut count = 0;
    while !records.is_empty() {
        let mut length: usize = 0;
        let mut digits: usize = 0;
        for byte in records {
            length |= usize::from(byte & 0x7f) << (7 * digits).min(56);
            digits += 1;
            if byte & 0x80 == 0 || digits == 9 {
                break;
            }
        }
        let Some(rest) = records.get(digits.saturating_add(length)..) else { break };
        records = rest;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    /// What this module does to a sound file must change nothing, or inputs would stop at the first check.
    #[test]
    fn sound_files_stay_as_they_are() {
        for seed in Seed::all() {
            for (name, bytes) in seed.files.iter().filter(|(name, _)| name.ends_with(".journal")) {
                let mut fixed = bytes.clone();
                fix_header(&mut fixed, u64::from_str_radix(&name[..16], 16).unwrap());
                fix_frames(&mut fixed, true);
                assert!(fixed == *bytes, "{} {name}", seed.subject);
                assert!(!is_forged(bytes, Some(bytes)));
                assert!(is_forged(bytes, None));
            }
        }
    }
}
