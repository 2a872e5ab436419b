//! What a journal file says beside changes and lists: which epochs the store has lived through, whether anything
//! may be seen before it is synced, and which file comes next.
//! Owns: the payloads of `Files`, `Open` and `Closing` frames. May touch: `manifest`, `varint`, `id`, `limits`.
//! Never: looks at a directory.
//!
//! | payload | fields (varints unless said) |
//! |---|---|
//! | files | unsynced flag (1 byte), epochs, manifest |
//! | open | unsynced flag (1 byte), epochs |
//! | epochs | current epoch (8 bytes), count of ended ones, then per ended one, oldest first: epoch (8 bytes), last version |
//! | closing | id of the successor |

use super::manifest::{Manifest, take_eight};
use crate::id::{Epoch, Version};
use crate::limits::EPOCHS_MAX;
use crate::varint::{VARINT_BYTES_MAX, put, take};

/// The end of an epoch: changes of it above `end` were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: Epoch,
    /// The last version of it that survived.
    pub end: Version,
}

/// The epochs of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Epochs {
    pub current: Epoch,
    /// The ended ones, oldest first.
    pub ended: Vec<EpochEnd>,
}

impl Epochs {
    /// Ends the current epoch at `end` and goes on as `next`.
    pub fn advance(&mut self, end: Version, next: Epoch) {
        self.ended.push(EpochEnd { epoch: self.current, end });
        if self.ended.len() > EPOCHS_MAX {
            self.ended.remove(0);
        }
        self.current = next;
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.current.0.to_le_bytes());
        put(out, self.ended.len() as u64);
        for ended in &self.ended {
            out.extend_from_slice(&ended.epoch.0.to_le_bytes());
            put(out, ended.end.0);
        }
    }

    fn decode(input: &mut &[u8]) -> Option<Epochs> {
        let current = Epoch(take_eight(input)?);
        let count = take(input)?;
        if count > EPOCHS_MAX as u64 {
            return None;
        }
        let mut ended = Vec::new();
        for _ in 0..count {
            ended.push(EpochEnd { epoch: Epoch(take_eight(input)?), end: Version(take(input)?) });
        }
        Some(Epochs { current, ended })
    }
}

/// What the open mark says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenMark {
    /// Something may be published or acknowledged before it is synced, from here on.
    pub unsynced: bool,
    pub epochs: Epochs,
}

impl OpenMark {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.unsynced));
        self.epochs.encode(out);
    }

    pub fn decode(mut payload: &[u8]) -> Option<OpenMark> {
        let mark = OpenMark::take(&mut payload)?;
        payload.is_empty().then_some(mark)
    }

    fn take(input: &mut &[u8]) -> Option<OpenMark> {
        let (&unsynced, rest) = input.split_first()?;
        *input = rest;
        (unsynced <= 1).then_some(())?;
        Some(OpenMark { unsynced: unsynced == 1, epochs: Epochs::decode(input)? })
    }

    /// The most bytes [`OpenMark::encode`] writes.
    pub fn bytes_max(&self) -> usize {
        1 + 8 + VARINT_BYTES_MAX + self.epochs.ended.len() * (8 + VARINT_BYTES_MAX)
    }
}

/// The first frame of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub open: OpenMark,
    /// All live files before this one.
    pub manifest: Manifest,
}

impl Files {
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.open.encode(out);
        self.manifest.encode(out);
    }

    pub fn decode(mut payload: &[u8]) -> Option<Files> {
        let input = &mut payload;
        let files = Files { open: OpenMark::take(input)?, manifest: Manifest::take(input)? };
        payload.is_empty().then_some(files)
    }

    /// The most bytes [`Files::encode`] writes.
    pub fn bytes_max(&self) -> usize {
        self.open.bytes_max() + self.manifest.bytes_max()
    }
}

/// The payload of a closing frame.
pub(crate) fn encode_closing(successor: u64, out: &mut Vec<u8>) {
    put(out, successor);
}

/// Reads the payload of a closing frame.
pub(crate) fn decode_closing(mut payload: &[u8]) -> Option<u64> {
    let successor = take(&mut payload)?;
    payload.is_empty().then_some(successor)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::sample;
    use super::*;

    fn files() -> Files {
        let ended = vec![EpochEnd { epoch: Epoch(7), end: Version(300) }];
        Files { open: OpenMark { unsynced: true, epochs: Epochs { current: Epoch(9), ended } }, manifest: sample() }
    }

    #[test]
    fn lists_come_back_and_every_cut_is_refused() {
        let mut bytes = Vec::new();
        files().encode(&mut bytes);
        assert_eq!(Files::decode(&bytes), Some(files()));
        assert!(bytes.len() <= files().bytes_max());
        for cut in 0..bytes.len() {
            assert_eq!(Files::decode(&bytes[..cut]), None, "cut to {cut}");
        }
        let mut bytes = Vec::new();
        files().open.encode(&mut bytes);
        assert_eq!(OpenMark::decode(&bytes), Some(files().open));
        for cut in 0..bytes.len() {
            assert_eq!(OpenMark::decode(&bytes[..cut]), None, "cut to {cut}");
        }
    }

    #[test]
    fn a_huge_count_allocates_nothing() {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&[0; 8]);
        put(&mut bytes, u64::MAX);
        assert_eq!(OpenMark::decode(&bytes), None);
        let mut bytes = vec![0];
        bytes.extend_from_slice(&[0; 8]);
        put(&mut bytes, 0);
        put(&mut bytes, u64::MAX);
        assert_eq!(Files::decode(&bytes), None);
    }

    #[test]
    fn only_the_newest_epochs_are_kept() {
        let mut epochs = files().open.epochs;
        for end in 0..2 * EPOCHS_MAX as u64 {
            epochs.advance(Version(1_000 + end), Epoch(end));
        }
        assert_eq!(epochs.ended.len(), EPOCHS_MAX);
        assert_eq!(epochs.ended.last().unwrap().end, Version(1_000 + 2 * EPOCHS_MAX as u64 - 1));
    }

    #[test]
    fn the_list_in_the_format_document_is_this() {
        let mut bytes = Vec::new();
        files().encode(&mut bytes);
        // The document breaks lines where the manifest begins and after each of its files.
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let document = include_str!("../../docs/format.md").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(document.contains(&hex.join(" ")), "docs/format.md lacks: {}", hex.join(" "));
    }
}
