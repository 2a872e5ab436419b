//! The bytes of a journal file as docs/format.md describes them, read and made by hand.
//! Owns: the offsets, checksums, frames. May touch: the simulated directory.
//! Never: uses the store's own code; what it finds is a second opinion.

use restante::SimStorage;

pub const FRAMES: usize = 4096;
pub const STAMPS: [usize; 2] = [1024, 2048];
pub const STAMP_BYTES: usize = 32;
pub const SUCCESSION: usize = 3072;
pub const SUCCESSION_BYTES: usize = 16;
pub const HEADER_BYTES: usize = 88;
pub const CLOSE: u8 = 4;
pub const CLOSING: u8 = 3;
const FRAME_HEADER: usize = 16;

pub fn journal(id: u64) -> String {
    format!("{id:016x}.journal")
}

/// The ids of all journal files, ascending.
pub fn journals(storage: &SimStorage) -> Vec<u64> {
    let ids = storage.names().into_iter().filter_map(|name| {
        name.strip_suffix(".journal").map(|id| u64::from_str_radix(id, 16).expect("names are hexadecimal"))
    });
    ids.collect()
}

/// A frame that is whole.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub offset: usize,
    pub end: usize,
    pub kind: u8,
    pub synced_up_to: u32,
}

/// A file and its frames up to the first bytes that are none.
pub struct File {
    pub bytes: Vec<u8>,
    pub seed: u32,
    pub frames: Vec<Frame>,
}

impl File {
    pub fn load(storage: &SimStorage, id: u64) -> File {
        let bytes = storage.bytes(&journal(id)).expect("the file is there");
        let seed = crc32fast::hash(&[&bytes[16..32], &bytes[32..40], &bytes[40..48]].concat());
        let mut file = File { bytes, seed, frames: Vec::new() };
        let mut offset = FRAMES;
        while let Some(frame) = file.frame_at(offset) {
            offset = frame.end;
            file.frames.push(frame);
        }
        file
    }

    fn frame_at(&self, offset: usize) -> Option<Frame> {
        let bytes = self.bytes.get(offset..)?;
        let header = bytes.get(..FRAME_HEADER)?;
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let payload = u32::from_le_bytes([header[5], header[6], header[7], 0]) as usize;
        let whole = bytes.get(..(FRAME_HEADER + payload).next_multiple_of(8))?;
        let sum = checksum(self.seed, offset, &header[4..], &whole[FRAME_HEADER..FRAME_HEADER + payload]);
        let is_good = header[4] != 0 && number(0) == sum;
        is_good.then_some(Frame { offset, end: offset + whole.len(), kind: header[4], synced_up_to: number(12) })
    }

    pub fn last(&self) -> Frame {
        *self.frames.last().expect("a file has frames")
    }

    /// Where the frames end.
    pub fn end(&self) -> usize {
        self.last().end
    }

    pub fn slice(&self, frame: Frame) -> &[u8] {
        &self.bytes[frame.offset..frame.end]
    }

    /// How many bytes from `offset` on come before the zeros at the end.
    pub fn written_from(&self, offset: usize) -> u64 {
        self.bytes[offset..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
    }
}

fn checksum(seed: u32, offset: usize, header: &[u8], payload: &[u8]) -> u32 {
    let offset = offset as u64;
    crc32fast::hash(&[&seed.to_le_bytes()[..], &offset.to_le_bytes(), header, payload].concat())
}

/// A frame as the store would write it at `offset`.
pub fn frame(seed: u32, offset: usize, kind: u8, version_delta: u32, synced_up_to: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.push(kind);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes()[..3]);
    bytes.extend_from_slice(&version_delta.to_le_bytes());
    bytes.extend_from_slice(&synced_up_to.to_le_bytes());
    let sum = checksum(seed, offset, &bytes[4..], payload);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// Changes some bytes of a file, durably.
pub fn edit(storage: &SimStorage, id: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = storage.bytes(&journal(id)).expect("the file is there");
    change(&mut bytes);
    storage.replace(&journal(id), bytes);
}

/// Takes the stamps away, as a power cut may: they are not synced when they are written.
pub fn wipe_stamps(storage: &SimStorage, id: u64) {
    edit(storage, id, |bytes| STAMPS.iter().for_each(|at| bytes[*at..*at + STAMP_BYTES].fill(0)));
}

/// Makes the checksum of a header right again.
pub fn reseal(bytes: &mut [u8]) {
    let sum = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}
