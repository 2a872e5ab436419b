//! The unit in which a journal file is written and believed: a header, a payload, zeros up to a
//! multiple of eight.
//! Owns: the frame's bytes and its checksum. May touch: nothing.
//! Never: knows what a payload means.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | CRC-32 (IEEE) of: seed of the file (4), offset of the frame (8), the 12 bytes below, payload |
//! | 4 | 1 | kind, never 0, so that zeros are never a frame |
//! | 5 | 3 | payload length |
//! | 8 | 4 | version of the first change in it (or of the next one), minus the first version of the file |
//! | 12 | 4 | synced-up-to: offset in this file below which everything was synced when this was written; above 0 only if all files before this one were wholly synced too |
//!
//! All integers are little-endian.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Changes: their records.
    Changes = 1,
    /// The first frame of a file: the live files, the epochs.
    Files = 2,
    /// The last frame of a file that has a successor: the successor's id.
    Closing = 3,
    /// The store was closed: everything before is synced.
    Close = 4,
    /// The store was opened for work that is seen before it is synced, or a new epoch began.
    Open = 5,
    /// Segments were made and are live from here on, and what they replace is not.
    Installed = 6,
    /// Records of messages and edits, in a file that a merge made.
    Messages = 7,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<FrameKind> {
        Some(match byte {
            1 => FrameKind::Changes,
            2 => FrameKind::Files,
            3 => FrameKind::Closing,
            4 => FrameKind::Close,
            5 => FrameKind::Open,
            6 => FrameKind::Installed,
            7 => FrameKind::Messages,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    crc: U32,
    kind: u8,
    payload_bytes: [u8; 3],
    version_delta: U32,
    synced_up_to: U32,
}

/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = size_of::<RawHeader>();
/// Frames start at multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;
/// The longest payload.
pub(crate) const FRAME_PAYLOAD_MAX: usize = (1 << 24) - 1;

const _: () = assert!(FRAME_HEADER_BYTES == 16, "docs/format.md says 16 bytes");

/// A frame's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub kind: FrameKind,
    pub payload_bytes: usize,
    pub version_delta: u32,
    pub synced_up_to: u32,
}

impl FrameHeader {
    /// The bytes the whole frame takes.
    pub fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload_bytes)
    }
}

/// The bytes a frame with such a payload takes.
pub(crate) const fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(FRAME_ALIGN)
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadFrame {
    pub expected: &'static str,
    pub found: u64,
}

/// Opens a frame at the end of `out`: room for the header. The payload follows, then [`finish`].
pub(crate) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    start
}

/// Closes the frame that [`begin`] opened at `start` of `out`, which will lie at `offset` of the file.
pub(crate) fn finish(
    out: &mut Vec<u8>,
    start: usize,
    kind: FrameKind,
    seed: u32,
    offset: u64,
    version_delta: u32,
    synced_up_to: u32,
) {
    let payload_bytes = out.len() - start - FRAME_HEADER_BYTES;
    assert!(payload_bytes <= FRAME_PAYLOAD_MAX, "the caller keeps frames below the longest payload");
    let length = (payload_bytes as u32).to_le_bytes();
    let mut header = RawHeader {
        crc: U32::ZERO,
        kind: kind as u8,
        payload_bytes: [length[0], length[1], length[2]],
        version_delta: U32::new(version_delta),
        synced_up_to: U32::new(synced_up_to),
    };
    header.crc = U32::new(checksum(seed, offset, &header.as_bytes()[4..], &out[start + FRAME_HEADER_BYTES..]));
    out[start..start + FRAME_HEADER_BYTES].copy_from_slice(header.as_bytes());
    out.resize(start + frame_bytes(payload_bytes), 0);
}

/// Reads the header at the front of `bytes` and verifies nothing; `None` if it cannot be one.
pub(crate) fn peek_header(bytes: &[u8]) -> Option<FrameHeader> {
    let (raw, _) = RawHeader::ref_from_prefix(bytes).ok()?;
    let [low, middle, high] = raw.payload_bytes;
    Some(FrameHeader {
        kind: FrameKind::from_byte(raw.kind)?,
        payload_bytes: u32::from_le_bytes([low, middle, high, 0]) as usize,
        version_delta: raw.version_delta.get(),
        synced_up_to: raw.synced_up_to.get(),
    })
}

/// Reads and verifies the frame at the front of `bytes`, which lies at `offset` of the file.
pub(crate) fn decode(bytes: &[u8], seed: u32, offset: u64) -> Result<(FrameHeader, &[u8]), BadFrame> {
    let Some(header) = peek_header(bytes) else {
        let found = bytes.first_chunk::<5>().map_or(0, |first| first[4]);
        return Err(BadFrame { expected: "a frame", found: found.into() });
    };
    if header.frame_bytes() > bytes.len() {
        return Err(BadFrame { expected: "a payload inside the file", found: header.payload_bytes as u64 });
    }
    let payload = &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_bytes];
    let stored = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if stored != checksum(seed, offset, &bytes[4..FRAME_HEADER_BYTES], payload) {
        return Err(BadFrame { expected: "the frame's checksum", found: stored.into() });
    }
    let padding = &bytes[FRAME_HEADER_BYTES + header.payload_bytes..header.frame_bytes()];
    match padding.iter().find(|byte| **byte != 0) {
        Some(byte) => Err(BadFrame { expected: "zeros after the payload", found: (*byte).into() }),
        None => Ok((header, payload)),
    }
}

/// Adds a frame to the digest of the frames before it: their headers, whose checksums stand for the
/// payloads.
pub(crate) fn digest_frame(digest: u64, frame: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&frame[..FRAME_HEADER_BYTES], digest)
}

fn checksum(seed: u32, offset: u64, header: &[u8], payload: &[u8]) -> u32 {
    let mut prefix = [0u8; 24];
    prefix[..4].copy_from_slice(&seed.to_le_bytes());
    prefix[4..12].copy_from_slice(&offset.to_le_bytes());
    prefix[12..].copy_from_slice(header);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&prefix);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let start = begin(&mut bytes);
        bytes.extend_from_slice(b"hello");
        finish(&mut bytes, start, FrameKind::Changes, 0x1234_5678, 4096, 3, 4096);
        bytes
    }

    #[test]
    fn a_frame_comes_back() {
        let bytes = sample();
        assert_eq!(bytes.len(), 24);
        let (header, payload) = decode(&bytes, 0x1234_5678, 4096).unwrap();
        assert_eq!(payload, b"hello");
        assert_eq!(
            header,
            FrameHeader { kind: FrameKind::Changes, payload_bytes: 5, version_delta: 3, synced_up_to: 4096 }
        );
    }

    #[test]
    fn it_is_good_only_at_its_place_in_its_file() {
        let bytes = sample();
        assert!(decode(&bytes, 0x1234_5679, 4096).is_err());
        assert!(decode(&bytes, 0x1234_5678, 4104).is_err());
        assert!(decode(&[0; 64], 0, 0).is_err());
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut], 0x1234_5678, 4096).is_err(), "cut to {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, 0x1234_5678, 4096).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_frame_in_the_format_document_is_this() {
        let hex: Vec<String> = sample().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            include_str!("../../docs/format.md").contains(&hex.join(" ")),
            "docs/format.md lacks: {}",
            hex.join(" ")
        );
    }
}
