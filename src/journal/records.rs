//! The records of one file, found again by their place: of a journal, or of a file that a merge made.
//! Owns: places, reading, what is checked before a byte is believed. May touch: `change`, `frame`, `header`,
//! `storage`.
//! Never: writes, or believes a record outside of a frame that was checked.
//!
//! What this process wrote or replayed is trusted. A journal that was sealed by an earlier process is
//! checked as a whole when it is first read, a file of messages frame by frame; after that a read
//! is a plain read.

use super::frame::{self, FrameHeader, FrameKind, digest_frame};
use super::header::{FILE_ID_MAX, FRAMES_OFFSET};
use crate::change::{self, Append, Change, Commit, Decoded, Mentioned};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Body, StorageFile};
use crate::varint::VARINT_BYTES_MAX;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Set in the file id of a place in a `.messages` file, so that these have ids apart from those of journals.
pub(crate) const MESSAGES_BIT: u64 = 1 << 31;

const _: () = assert!(FILE_ID_MAX < MESSAGES_BIT);

/// Where a record lies: file and offset, in eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    pub fn new(file_id: u64, offset: u64) -> Place {
        let is_possible = file_id & !MESSAGES_BIT <= FILE_ID_MAX && offset <= u64::from(u32::MAX);
        assert!(is_possible, "the writer rolls long before");
        Place(file_id << 32 | offset)
    }

    /// The same, of numbers that may be anything.
    pub fn checked(file_id: u64, offset: u64) -> Option<Place> {
        let fits = file_id <= u64::from(u32::MAX) && offset <= u64::from(u32::MAX);
        fits.then_some(Place(file_id << 32 | offset))
    }

    /// The id of a journal, or of a file of messages with [`MESSAGES_BIT`].
    pub fn file_id(self) -> u64 {
        self.0 >> 32
    }

    pub fn offset(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }
}

/// A message as it lies in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub append: Append,
    pub commit: Commit,
    /// Where the mentions begin, which the body follows.
    tail_offset: u64,
    tail_bytes: usize,
}

impl Stored {
    /// How long the body is.
    pub fn body_bytes(&self) -> usize {
        self.tail_bytes - usize::from(self.append.mention_bytes)
    }
}

/// A record whose fields were read, and where its tail lies.
struct Parsed {
    change: Change,
    commit: Commit,
    tail_offset: u64,
    tail_bytes: usize,
}

/// All bytes of one record, its length included.
#[derive(Clone, Debug)]
pub(crate) struct WholeRecord {
    bytes: Body,
    /// How many of them its length takes.
    prefix_bytes: usize,
}

impl WholeRecord {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the record says.
    pub fn decoded(&self) -> Decoded<'_> {
        change::decode(&self.bytes[self.prefix_bytes..]).expect("it was decoded when it was read")
    }
}

/// A frame whose checksum is good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckedFrame<'a> {
    pub offset: u64,
    pub header: FrameHeader,
    /// All of it, up to where the next one begins.
    pub bytes: &'a [u8],
    pub payload: &'a [u8],
}

/// One record of a walk over a whole file.
pub(crate) struct WalkedRecord<'a> {
    pub decoded: Decoded<'a>,
    pub place: Place,
}

/// A file of records that is open for reading.
#[derive(Debug)]
pub(crate) struct Records {
    pub handle: Arc<dyn StorageFile>,
    pub path: PathBuf,
    pub seed: u32,
    file_id: u64,
    /// Where the frames end that may be read.
    end: AtomicU64,
    check: Check,
}

/// What must be done before a record is believed.
#[derive(Debug)]
enum Check {
    /// Nothing: this process wrote the frames or has gone through them.
    Trusted,
    /// All frames, once.
    Whole(WholeCheck),
    /// The directory of frames, once, and each frame, once.
    Frames(FrameCheck),
}

/// What the successors of a journal say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Where its live frames end.
    pub end: u64,
    /// Of the headers of its frames up to there.
    pub digest: u64,
}

#[derive(Debug)]
struct WholeCheck {
    sealed: Sealed,
    /// What came out. Damage stays damage; an I/O error is no verdict.
    verdict: OnceLock<Result<()>>,
    /// Held while someone checks, so that others wait instead of doing it too.
    checking: Mutex<()>,
}

/// Where the directory of a file of messages lies: the offset of each frame, four bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryAt {
    /// Where it begins, which is where the frames end.
    pub offset: u64,
    pub frame_count: u64,
    /// CRC-32 of seed (4), its own offset (8), its bytes.
    pub crc: u32,
}

#[derive(Debug)]
struct FrameCheck {
    at: DirectoryAt,
    directory: OnceLock<Directory>,
}

#[derive(Debug)]
struct Directory {
    offsets: Body,
    /// A bit for each frame: its checksum is good.
    checked: Box<[AtomicU64]>,
}

pub(crate) const DIRECTORY_ENTRY_BYTES: usize = size_of::<u32>();

impl Directory {
    fn offset(&self, index: usize) -> u64 {
        let entry = self.offsets[index * DIRECTORY_ENTRY_BYTES..].first_chunk();
        u32::from_le_bytes(*entry.expect("the index is below the count")).into()
    }

    fn count(&self) -> usize {
        self.offsets.len() / DIRECTORY_ENTRY_BYTES
    }

    /// The last frame that begins at or below `offset`.
    fn frame_of(&self, offset: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.offset(middle) <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }
}

/// The checksum of a directory that lies at `offset`.
pub(crate) fn directory_crc(seed: u32, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

impl Records {
    /// Of a journal whose frames up to `end` are known to be good.
    pub fn trusted(handle: Arc<dyn StorageFile>, path: PathBuf, file_id: u64, seed: u32, end: u64) -> Records {
        Records::new(handle, path, file_id, seed, end, Check::Trusted)
    }

    /// Of a journal that is complete and that nobody has gone through yet. The caller has made sure that
    /// the end lies within the file.
    pub fn sealed(handle: Arc<dyn StorageFile>, path: PathBuf, file_id: u64, seed: u32, sealed: Sealed) -> Records {
        let check = WholeCheck { sealed, verdict: OnceLock::new(), checking: Mutex::new(()) };
        Records::new(handle, path, file_id, seed, sealed.end, Check::Whole(check))
    }

    /// Of a file of messages, whose id is that of its segment. The caller has made sure that the
    /// directory lies within the file.
    pub fn messages(
        handle: Arc<dyn StorageFile>,
        path: PathBuf,
        segment_id: u64,
        seed: u32,
        at: DirectoryAt,
    ) -> Records {
        let directory_end = at.offset + at.frame_count * DIRECTORY_ENTRY_BYTES as u64;
        let check = Check::Frames(FrameCheck { at, directory: OnceLock::new() });
        let records = Records::new(handle, path, segment_id | MESSAGES_BIT, seed, at.offset, check);
        records.handle.settle(directory_end);
        records
    }

    fn new(handle: Arc<dyn StorageFile>, path: PathBuf, file_id: u64, seed: u32, end: u64, check: Check) -> Records {
        handle.settle(end);
        Records { handle, path, seed, file_id, end: AtomicU64::new(end), check }
    }

    /// What places in this file have as file id.
    pub fn id(&self) -> u64 {
        self.file_id
    }

    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Lets readers read up to `end`, whose frames were just written whole.
    pub(super) fn extend(&self, end: u64) {
        self.handle.settle(end);
        self.end.store(end, Ordering::Release);
    }

    /// Reads the message whose record begins at `offset`.
    pub fn read(&self, offset: u64) -> Result<Stored> {
        let Parsed { change, commit, tail_offset, tail_bytes } = self.record(offset)?;
        match change {
            Change::Append(append) if usize::from(append.mention_bytes) <= tail_bytes => {
                Ok(Stored { append, commit, tail_offset, tail_bytes })
            }
            _ => Err(self.damaged(offset)),
        }
    }

    /// The body of the edit whose record begins at `offset`.
    pub fn edited_body(&self, offset: u64) -> Result<Body> {
        let Parsed { change, tail_offset, tail_bytes, .. } = self.record(offset)?;
        match change {
            Change::Amend(amend) if !amend.recalls => self.bytes(tail_offset, tail_bytes),
            _ => Err(self.damaged(offset)),
        }
    }

    /// All of the record at `offset`, to copy it elsewhere.
    pub fn whole(&self, offset: u64) -> Result<WholeRecord> {
        let end = self.believed_end(offset)?;
        let prefix_bytes_max = VARINT_BYTES_MAX.min((end - offset) as usize);
        let start = self.bytes(offset, prefix_bytes_max)?;
        let mut rest = &start[..];
        let length = change::decode_length(&mut rest).ok_or_else(|| self.damaged(offset))?;
        let prefix_bytes = start.len() - rest.len();
        if length as u64 > end - offset - prefix_bytes as u64 {
            return Err(self.damaged(offset));
        }
        let bytes = self.bytes(offset, prefix_bytes + length)?;
        change::decode(&bytes[prefix_bytes..]).ok_or_else(|| self.damaged(offset))?;
        Ok(WholeRecord { bytes, prefix_bytes })
    }

    /// The first byte of the record at `offset`, if it costs nothing but memory to look.
    #[inline]
    pub fn first_byte(&self, offset: u64) -> u8 {
        self.handle.mapped(offset, 1).map_or(0, |bytes| bytes[0])
    }

    /// The body of a message, where it lies.
    pub fn body(&self, stored: &Stored) -> Result<Body> {
        let mention_bytes = u64::from(stored.append.mention_bytes);
        self.bytes(stored.tail_offset + mention_bytes, stored.body_bytes())
    }

    /// Whom a message mentions.
    pub fn mentions(&self, stored: &Stored) -> Result<Vec<Mentioned>> {
        if stored.append.mention_bytes == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.bytes(stored.tail_offset, stored.append.mention_bytes.into())?;
        change::decode_mentions(&bytes).ok_or_else(|| self.damaged(stored.tail_offset))
    }

    /// Goes through all records in the order in which they lie, each frame checked. What a frame that
    /// holds no records says is passed over.
    pub fn walk(&self, each: &mut dyn FnMut(WalkedRecord<'_>) -> Result<()>) -> Result<()> {
        self.walk_frames(&mut |frame| self.walk_frame(frame, each))
    }

    /// Goes through the records of one frame.
    pub fn walk_frame(
        &self,
        frame: CheckedFrame<'_>,
        each: &mut dyn FnMut(WalkedRecord<'_>) -> Result<()>,
    ) -> Result<()> {
        if !matches!(frame.header.kind, FrameKind::Changes | FrameKind::Messages) {
            return Ok(());
        }
        let payload_offset = frame.offset + frame::FRAME_HEADER_BYTES as u64;
        let mut rest = frame.payload;
        while !rest.is_empty() {
            let offset = payload_offset + (frame.payload.len() - rest.len()) as u64;
            let decoded = take_record(&mut rest).ok_or_else(|| self.damaged(offset))?;
            each(WalkedRecord { decoded, place: Place::new(self.file_id, offset) })?;
        }
        Ok(())
    }

    /// Goes through all frames. What comes out stands for the whole of a sealed journal.
    pub fn walk_frames(&self, each: &mut dyn FnMut(CheckedFrame<'_>) -> Result<()>) -> Result<()> {
        match &self.check {
            Check::Trusted => self.walk_up_to(self.end(), each).map(|_| ()),
            Check::Whole(whole) => {
                if let Some(Err(error)) = whole.verdict.get() {
                    return Err(error.clone());
                }
                let verdict = self.walk_up_to(self.end(), each).and_then(|digest| self.judge(whole, digest));
                verdict.inspect(|()| {
                    // Another may have been faster; one verdict is as good as the other.
                    let _ = whole.verdict.set(Ok(()));
                })
            }
            Check::Frames(frames) => {
                self.directory(frames)?;
                self.walk_up_to(self.end(), each).map(|_| ())
            }
        }
    }

    fn walk_up_to(&self, end: u64, each: &mut dyn FnMut(CheckedFrame<'_>) -> Result<()>) -> Result<u64> {
        let mut buffer = Vec::new();
        let mut offset = FRAMES_OFFSET;
        let mut digest = 0;
        while offset < end {
            let frame = self.checked_frame(offset, end, &mut buffer)?;
            digest = digest_frame(digest, frame.bytes);
            each(frame)?;
            offset += frame.bytes.len() as u64;
        }
        Ok(digest)
    }

    /// The frame that begins at `offset` and does not go beyond `end`: where it lies, or read into `buffer`.
    pub fn checked_frame<'a>(&'a self, offset: u64, end: u64, buffer: &'a mut Vec<u8>) -> Result<CheckedFrame<'a>> {
        let bytes = self.frame_bytes(offset, end, buffer)?;
        let (header, payload) = frame::decode(bytes, self.seed, offset)
            .map_err(|bad| Error::corruption_at(&self.path, offset, bad.expected, bad.found.to_string()))?;
        Ok(CheckedFrame { offset, header, bytes, payload })
    }

    /// The bytes that a frame at `offset` takes, not checked: where they lie, or read into `buffer`.
    fn frame_bytes<'a>(&'a self, offset: u64, end: u64, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let beyond = |found: u64| Error::corruption_at(&self.path, offset, "a frame", found.to_string());
        let io = |error| Error::io("read", &self.path, error);
        let room = end - offset;
        if room < frame::FRAME_HEADER_BYTES as u64 {
            return Err(beyond(room));
        }
        if let Some(bytes) = self.handle.mapped(offset, room as usize) {
            let header = frame::peek_header(bytes).ok_or_else(|| beyond(bytes[4].into()))?;
            return bytes.get(..header.frame_bytes()).ok_or_else(|| beyond(header.payload_bytes as u64));
        }
        let mut start = [0; frame::FRAME_HEADER_BYTES];
        self.handle.read_at(offset, &mut start).map_err(io)?;
        let header = frame::peek_header(&start).ok_or_else(|| beyond(start[4].into()))?;
        if header.frame_bytes() as u64 > room {
            return Err(beyond(header.payload_bytes as u64));
        }
        buffer.resize(header.frame_bytes(), 0);
        self.handle.read_at(offset, buffer).map_err(io)?;
        Ok(buffer)
    }

    /// Where what holds the record at `offset` ends, once it may be believed.
    #[inline]
    fn believed_end(&self, offset: u64) -> Result<u64> {
        let end = match &self.check {
            Check::Trusted => self.end(),
            Check::Whole(whole) => match whole.verdict.get() {
                Some(Ok(())) => self.end(),
                _ => self.check_whole(whole)?,
            },
            Check::Frames(frames) => self.check_frame(frames, offset)?,
        };
        if (FRAMES_OFFSET..end).contains(&offset) { Ok(end) } else { Err(self.damaged(offset)) }
    }

    #[cold]
    fn check_whole(&self, whole: &WholeCheck) -> Result<u64> {
        let _one_at_a_time = whole.checking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = whole.verdict.get() {
            return verdict.clone().map(|()| self.end());
        }
        let digest = self.walk_up_to(self.end(), &mut |_| Ok(()));
        let verdict = digest.and_then(|digest| self.judge(whole, digest));
        if verdict.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Corruption) {
            let _ = whole.verdict.set(verdict.clone());
        }
        verdict.map(|()| self.end())
    }

    /// The headers of all frames make the digest, so it stands for their lengths and versions too.
    fn judge(&self, whole: &WholeCheck, digest: u64) -> Result<()> {
        if digest == whole.sealed.digest {
            return Ok(());
        }
        Err(Error::corruption_at(&self.path, FRAMES_OFFSET, "the frames its successors list", "other frames"))
    }

    fn directory<'a>(&self, frames: &'a FrameCheck) -> Result<&'a Directory> {
        if let Some(directory) = frames.directory.get() {
            return Ok(directory);
        }
        let DirectoryAt { offset, frame_count, crc } = frames.at;
        let offsets = self.bytes(offset, frame_count as usize * DIRECTORY_ENTRY_BYTES)?;
        let found = directory_crc(self.seed, offset, &offsets);
        if found != crc {
            let expected = format!("a directory with checksum {crc:08x}");
            return Err(Error::corruption_at(&self.path, offset, expected, format!("{found:08x}")));
        }
        let words = (frame_count as usize).div_ceil(64);
        let directory = Directory { offsets, checked: (0..words).map(|_| AtomicU64::new(0)).collect() };
        let starts = (0..directory.count()).map(|index| directory.offset(index));
        let is_ascending = starts.clone().zip(starts.skip(1)).all(|(start, next)| start < next);
        let begins = directory.count() == 0 || directory.offset(0) == FRAMES_OFFSET;
        let is_inside = directory.count().checked_sub(1).is_none_or(|last| directory.offset(last) < offset);
        if !is_ascending || !begins || !is_inside {
            return Err(Error::corruption_at(&self.path, offset, "frames in order", "other offsets"));
        }
        Ok(frames.directory.get_or_init(|| directory))
    }

    /// Checks the frame that holds `offset`, unless that was done, and says where it ends.
    fn check_frame(&self, frames: &FrameCheck, offset: u64) -> Result<u64> {
        let directory = self.directory(frames)?;
        let index = directory.frame_of(offset).ok_or_else(|| self.damaged(offset))?;
        let start = directory.offset(index);
        let next = if index + 1 < directory.count() { directory.offset(index + 1) } else { frames.at.offset };
        let (word, bit) = (&directory.checked[index / 64], 1 << (index % 64));
        // The bytes never change, so nothing hangs on who sees the bit when.
        if word.load(Ordering::Relaxed) & bit == 0 {
            let mut buffer = Vec::new();
            let frame = self.checked_frame(start, next, &mut buffer)?;
            if frame.header.kind != FrameKind::Messages || start + frame.bytes.len() as u64 != next {
                return Err(Error::corruption_at(&self.path, start, "a frame of messages", "another frame"));
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        if offset < start + frame::FRAME_HEADER_BYTES as u64 {
            return Err(self.damaged(offset));
        }
        Ok(next)
    }

    fn record(&self, offset: u64) -> Result<Parsed> {
        let end = self.believed_end(offset)?;
        let available = (end - offset) as usize;
        if let Some(bytes) = self.handle.mapped(offset, available) {
            return self.parse(offset, end, bytes);
        }
        // Enough for any record's fields, so that only the tail is read another time.
        let mut bytes = [0; change::RECORD_BYTES_MAX];
        let bytes = &mut bytes[..available.min(change::RECORD_BYTES_MAX)];
        self.handle.read_at(offset, bytes).map_err(|error| Error::io("read", &self.path, error))?;
        self.parse(offset, end, bytes)
    }

    fn bytes(&self, offset: u64, length: usize) -> Result<Body> {
        self.handle.body(offset, length).map_err(|error| Error::io("read", &self.path, error))
    }

    /// `bytes` begin with the record and hold at least its fields.
    #[inline]
    fn parse(&self, offset: u64, end: u64, bytes: &[u8]) -> Result<Parsed> {
        let mut record = bytes;
        let length = change::decode_length(&mut record).ok_or_else(|| self.damaged(offset))?;
        let record_offset = offset + (bytes.len() - record.len()) as u64;
        if length as u64 > end - record_offset {
            return Err(self.damaged(offset));
        }
        let record = &record[..length.min(record.len())];
        let decoded = change::decode(record).ok_or_else(|| self.damaged(offset))?;
        let fields = record.len() - decoded.tail.len();
        Ok(Parsed {
            change: decoded.change,
            commit: decoded.commit,
            tail_offset: record_offset + fields as u64,
            tail_bytes: length - fields,
        })
    }

    /// What to say of a record at `offset` that is not what it should be.
    #[cold]
    pub fn damage(&self, offset: u64, expected: &str) -> Error {
        Error::corruption_at(&self.path, offset, expected, "another record")
    }

    #[cold]
    fn damaged(&self, offset: u64) -> Error {
        Error::corruption_at(&self.path, offset, "the record of a message", "other bytes")
    }
}

/// Takes the next record off the front of a checked payload.
pub(super) fn take_record<'a>(rest: &mut &'a [u8]) -> Option<Decoded<'a>> {
    let length = change::decode_length(rest)?;
    let (record, after) = rest.split_at_checked(length)?;
    *rest = after;
    change::decode(record)
}

#[cfg(test)]
mod tests;
