//! A file of messages: the records of a stretch of journals, ordered by timeline and seq, in frames.
//! Owns: these bytes, opening and verifying them, where the next record will lie. May touch: `header`, `journal`.
//! Never: decides which records it holds.
//!
//! ```text
//! first page | frames | directory | footer
//! ```
//!
//! Frames are those of a journal, of kind 7; version difference and synced-up-to are 0. One is closed before its payload
//! grows beyond 64 KiB, unless one record is larger. First come the edits, by timeline, seq and version, then the messages.
//! The directory has the offset of each frame (4 bytes each). The footer:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | offset of the directory, where the frames end |
//! | 8 | 8 | count of frames |
//! | 16 | 8 | count of messages |
//! | 24 | 8 | count of edits |
//! | 32 | 8 | digest: XXH3-64 of each frame's header, seeded with that of those before, from the file's seed |
//! | 40 | 4 | CRC-32 of seed (4), the directory's offset (8), the directory |
//! | 44 | 4 | CRC-32 of seed (4), the footer's offset (8), the 44 bytes before |

use crate::change::Change;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::frame::{FRAME_HEADER_BYTES, FrameKind, digest_frame, frame_bytes};
use crate::journal::{CheckedFrame, DIRECTORY_ENTRY_BYTES, DirectoryAt, Records, directory_crc};
use crate::segment::{SegmentHeader, SegmentInfo, SegmentKind, checksum, read_header, segment_name};
use crate::storage::{REWRITABLE_BYTES, Storage, StorageFile};
use std::io;
use std::path::Path;
use std::sync::Arc;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawFooter {
    directory_offset: U64,
    frame_count: U64,
    message_count: U64,
    edit_count: U64,
    digest: U64,
    directory_crc: U32,
    crc: U32,
}

const FOOTER_BYTES: usize = size_of::<RawFooter>();
const FOOTER_CRC_OFFSET: usize = FOOTER_BYTES - size_of::<U32>();
/// A frame is closed before its payload grows beyond this.
const PAYLOAD_BYTES_USUAL: usize = 64 << 10;

const _: () = assert!(FOOTER_BYTES == 48, "docs/format.md says 48 bytes");

/// The longest file: a place has 32 bits for an offset.
pub(crate) const MESSAGES_BYTES_MAX: u64 = u32::MAX as u64;

/// What stands at the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub at: DirectoryAt,
    pub message_count: u64,
    pub edit_count: u64,
    pub digest: u64,
}

impl Footer {
    /// Its bytes, which will lie behind the directory.
    fn encode(&self, seed: u32) -> [u8; FOOTER_BYTES] {
        let mut raw = RawFooter {
            directory_offset: U64::new(self.at.offset),
            frame_count: U64::new(self.at.frame_count),
            message_count: U64::new(self.message_count),
            edit_count: U64::new(self.edit_count),
            digest: U64::new(self.digest),
            directory_crc: U32::new(self.at.crc),
            crc: U32::ZERO,
        };
        let offset = directory_end(&self.at);
        raw.crc = U32::new(checksum(seed, offset, &raw.as_bytes()[..FOOTER_CRC_OFFSET]));
        let mut bytes = [0; FOOTER_BYTES];
        bytes.copy_from_slice(raw.as_bytes());
        bytes
    }

    fn read(file: &dyn StorageFile, path: &Path, seed: u32) -> Result<Footer> {
        let length = file.length();
        let offset = length.checked_sub(FOOTER_BYTES as u64).filter(|offset| *offset >= REWRITABLE_BYTES);
        let offset = offset.ok_or_else(|| Error::corruption_at(path, length, "a footer", "the end of the file"))?;
        let mut bytes = [0; FOOTER_BYTES];
        file.read_at(offset, &mut bytes).map_err(|error| Error::io("read", path, error))?;
        let damaged = |expected: &str, found: u64| Error::corruption_at(path, offset, expected, found.to_string());
        let raw = RawFooter::ref_from_bytes(&bytes).map_err(|_| damaged("a footer", 0))?;
        if raw.crc.get() != checksum(seed, offset, &bytes[..FOOTER_CRC_OFFSET]) {
            return Err(damaged("the footer's checksum", raw.crc.get().into()));
        }
        let (start, count) = (raw.directory_offset.get(), raw.frame_count.get());
        let at = DirectoryAt { offset: start, frame_count: count, crc: raw.directory_crc.get() };
        let is_inside = (REWRITABLE_BYTES..=offset).contains(&start) && count <= offset;
        if !is_inside || directory_end(&at) != offset {
            return Err(damaged("a directory that ends here", start));
        }
        Ok(Footer {
            at,
            message_count: raw.message_count.get(),
            edit_count: raw.edit_count.get(),
            digest: raw.digest.get(),
        })
    }
}

fn directory_end(at: &DirectoryAt) -> u64 {
    at.offset + at.frame_count * DIRECTORY_ENTRY_BYTES as u64
}

/// Where records will lie that are added one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Where each frame begins.
    starts: Vec<u32>,
    /// How long the payload of the last one is so far.
    payload_bytes: usize,
}

/// Where one record will lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub offset: u64,
    pub begins_frame: bool,
}

impl Layout {
    /// Adds a record.
    pub fn add(&mut self, record_bytes: usize) -> Result<Spot> {
        let begins_frame = self.starts.is_empty() || self.payload_bytes + record_bytes > PAYLOAD_BYTES_USUAL;
        if begins_frame {
            let start = u32::try_from(self.frames_end()).map_err(|_| too_long())?;
            self.starts.push(start);
            self.payload_bytes = 0;
        }
        let start = self.starts.last().copied().unwrap_or_default();
        let offset = u64::from(start) + (FRAME_HEADER_BYTES + self.payload_bytes) as u64;
        self.payload_bytes += record_bytes;
        Ok(Spot { offset, begins_frame })
    }

    /// Where the last frame begins.
    pub fn frame_start(&self) -> u64 {
        self.starts.last().copied().map_or(REWRITABLE_BYTES, u64::from)
    }

    fn frames_end(&self) -> u64 {
        let last = self.starts.last().map(|start| u64::from(*start) + frame_bytes(self.payload_bytes) as u64);
        last.unwrap_or(REWRITABLE_BYTES)
    }

    /// How long the file will be.
    pub fn file_bytes(&self) -> Result<u64> {
        let bytes = self.frames_end() + (self.starts.len() * DIRECTORY_ENTRY_BYTES + FOOTER_BYTES) as u64;
        if bytes <= MESSAGES_BYTES_MAX { Ok(bytes) } else { Err(too_long()) }
    }

    /// Directory and footer, and where they will lie.
    pub fn end(&self, seed: u32, counts: [u64; 2], digest: u64) -> (u64, Vec<u8>, Footer) {
        let offset = self.frames_end();
        let mut bytes: Vec<u8> = self.starts.iter().flat_map(|start| start.to_le_bytes()).collect();
        let crc = directory_crc(seed, offset, &bytes);
        let at = DirectoryAt { offset, frame_count: self.starts.len() as u64, crc };
        let footer = Footer { at, message_count: counts[0], edit_count: counts[1], digest };
        bytes.extend_from_slice(&footer.encode(seed));
        (offset, bytes, footer)
    }
}

fn too_long() -> Error {
    Error::new(ErrorKind::LimitExceeded, format!("file of messages is above its limit: limit={MESSAGES_BYTES_MAX}"))
}

/// Opens the file of messages that `info` names: reads its first page and its footer. Frames are checked when they are
/// first read. `uuids` are those the store has had.
pub(crate) fn open_messages(
    storage: &dyn Storage,
    info: &SegmentInfo,
    uuids: &[[u8; 16]],
) -> Result<(Arc<Records>, SegmentHeader)> {
    let name = segment_name(SegmentKind::Messages, info.id);
    let path = storage.path(&name);
    let file = storage.open(&name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::corruption_at(&path, 0, "a live file", "no such file"),
        _ => Error::io("open", &path, error),
    })?;
    let (header, footer) = read_ends(&*file, &path, info, uuids)?;
    Ok((Arc::new(Records::messages(file, path, info.id, header.seed(), footer.at)), header))
}

fn read_ends(
    file: &dyn StorageFile,
    path: &Path,
    info: &SegmentInfo,
    uuids: &[[u8; 16]],
) -> Result<(SegmentHeader, Footer)> {
    if file.length() != info.bytes {
        let (length, bytes) = (file.length(), info.bytes);
        return Err(Error::corruption_at(path, length.min(bytes), bytes.to_string(), length.to_string()));
    }
    let header = read_header(file, path)?;
    header.check(info, uuids, path)?;
    let footer = Footer::read(file, path, header.seed())?;
    if footer.digest != info.digest {
        let (want, got) = (format!("digest {:016x}", info.digest), format!("digest {:016x}", footer.digest));
        return Err(Error::corruption_at(path, directory_end(&footer.at), want, got));
    }
    Ok((header, footer))
}

/// What the journal would say of the file of messages with this id, by the file's own word.
pub(crate) fn messages_info(storage: &dyn Storage, id: u64) -> Result<SegmentInfo> {
    let name = segment_name(SegmentKind::Messages, id);
    let path = storage.path(&name);
    let file = storage.open(&name).map_err(|error| Error::io("open", &path, error))?;
    let header = read_header(&*file, &path)?;
    let footer = Footer::read(&*file, &path, header.seed())?;
    let bytes = file.length();
    let info = SegmentInfo {
        kind: SegmentKind::Messages,
        id,
        bytes,
        last_version: header.last_version,
        digest: footer.digest,
    };
    header.check(&info, &[header.uuid], &path)?;
    Ok(info)
}

/// The digest of no frames yet.
pub(super) fn digest_start(seed: u32) -> u64 {
    seed.into()
}

/// Reads every byte of a file of messages that is open and gives `damage` what is wrong with it. An error means that
/// it could not be read.
pub(crate) fn verify_messages(
    records: &Records,
    info: &SegmentInfo,
    uuids: &[[u8; 16]],
    damage: &mut dyn FnMut(Error),
) -> Result<()> {
    let (_, footer) = match read_ends(&*records.handle, &records.path, info, uuids) {
        Ok(ends) => ends,
        Err(error) => return sort_out(error, damage),
    };
    let wrong = |offset: u64, expected: &str| Error::corruption_at(&records.path, offset, expected, "something else");
    let at = footer.at;
    // The footer was checked: this much is there.
    let mut directory = vec![0; at.frame_count as usize * DIRECTORY_ENTRY_BYTES];
    records.handle.read_at(at.offset, &mut directory).map_err(|error| Error::io("read", &records.path, error))?;
    let is_good = directory_crc(records.seed, at.offset, &directory) == at.crc;
    if !is_good {
        damage(wrong(at.offset, "a directory with its checksum"));
    }
    let (starts, _) = directory.as_chunks::<DIRECTORY_ENTRY_BYTES>();
    let mut starts = starts.iter().map(|start| u64::from(u32::from_le_bytes(*start)));
    let mut found = Found { digest: digest_start(records.seed), messages: 0, edits: 0, is_whole: true };
    let mut buffer = Vec::new();
    let mut offset = REWRITABLE_BYTES;
    while offset < at.offset {
        if is_good && starts.next() != Some(offset) {
            damage(wrong(at.offset, "a directory of its frames"));
            return Ok(());
        }
        let frame = records.checked_frame(offset, at.offset, &mut buffer);
        let next = frame.and_then(|frame| {
            found.add(records, frame)?;
            Ok(offset + frame.bytes.len() as u64)
        });
        let after_damage = starts.clone().next().filter(|_| is_good);
        offset = match next {
            Ok(next) => next,
            Err(error) => {
                found.is_whole = false;
                sort_out(error, damage)?;
                // The frames behind a bad one are found again by the directory.
                after_damage.unwrap_or(at.offset)
            }
        };
    }
    if is_good && starts.next().is_some() {
        damage(wrong(at.offset, "a directory of its frames"));
    }
    if found.is_whole
        && (found.digest, found.messages, found.edits) != (footer.digest, footer.message_count, footer.edit_count)
    {
        damage(wrong(directory_end(&at), "the digest and the counts of its records"));
    }
    Ok(())
}

/// What the frames of a file add up to.
struct Found {
    digest: u64,
    messages: u64,
    edits: u64,
    /// All of them were good so far.
    is_whole: bool,
}

impl Found {
    fn add(&mut self, records: &Records, frame: CheckedFrame<'_>) -> Result<()> {
        let header = frame.header;
        if header.kind != FrameKind::Messages || header.version_delta != 0 || header.synced_up_to != 0 {
            return Err(records.damage(frame.offset, "a frame of messages"));
        }
        self.digest = digest_frame(self.digest, frame.bytes);
        records.walk_frame(frame, &mut |record| {
            match record.decoded.change {
                Change::Append(_) => self.messages += 1,
                Change::Amend(amend) if !amend.recalls => self.edits += 1,
                _ => return Err(records.damage(record.place.offset(), "a message or an edit")),
            }
            Ok(())
        })
    }
}

/// Damage is told, everything else is an error.
pub(super) fn sort_out(error: Error, damage: &mut dyn FnMut(Error)) -> Result<()> {
    match error.kind() {
        ErrorKind::Corruption => damage(error),
        _ => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
