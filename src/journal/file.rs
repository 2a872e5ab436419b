//! One journal file: its name, its header, and the messages in it found again by their place.
//! Owns: names, places, reading. May touch: `change`, `frame`, `header`, `storage`.
//! Never: writes frames; that is the writer's work.

use super::frame::FRAME_HEADER_BYTES;
use super::header::{FILE_ID_MAX, FRAMES_OFFSET, FileHeader, Stamp};
use crate::change::{self, Append, Change, Commit, Mentioned};
use crate::error::{Error, Result};
use crate::storage::{Body, Storage, StorageFile};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SUFFIX: &str = ".journal";

/// The name of the journal file with this id.
pub(crate) fn journal_name(file_id: u64) -> String {
    format!("{file_id:016x}{SUFFIX}")
}

/// The id in the name of a journal file; `None` for any other name, however similar.
pub(crate) fn journal_id(name: &str) -> Option<u64> {
    let id = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (id != 0 && journal_name(id) == name).then_some(id)
}

/// Where a record lies: file and offset, in eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

impl Place {
    pub fn new(file_id: u64, offset: u64) -> Place {
        assert!(file_id <= FILE_ID_MAX && offset <= u64::from(u32::MAX), "the writer rolls long before");
        Place(file_id << 32 | offset)
    }

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

/// A journal file that is open for reading, and for writing if it is the newest.
#[derive(Debug)]
pub(crate) struct JournalFile {
    pub header: FileHeader,
    pub handle: Arc<dyn StorageFile>,
    pub path: PathBuf,
    pub seed: u32,
    /// Where the frames end that may be read.
    end: AtomicU64,
}

impl JournalFile {
    /// `end` is where the frames end that are already there.
    pub fn new(storage: &dyn Storage, header: FileHeader, handle: Arc<dyn StorageFile>, end: u64) -> JournalFile {
        let path = storage.path(&journal_name(header.file_id));
        handle.settle(end);
        JournalFile { seed: header.seed(), header, handle, path, end: AtomicU64::new(end) }
    }

    pub fn id(&self) -> u64 {
        self.header.file_id
    }

    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Writes frames behind the present end and lets readers see them.
    pub fn append(&self, frames: &[u8]) -> Result<()> {
        let end = self.end();
        self.handle.write_at(end, frames).map_err(|error| Error::io("write", &self.path, error))?;
        let end = end + frames.len() as u64;
        self.handle.settle(end);
        self.end.store(end, Ordering::Release);
        Ok(())
    }

    /// Makes all frames durable.
    pub fn sync(&self) -> Result<()> {
        self.handle.sync().map_err(|error| Error::io("sync", &self.path, error))
    }

    /// Notes how far the file is synced. The note itself is not synced.
    pub fn stamp(&self, stamp: Stamp) -> Result<()> {
        stamp.write(&*self.handle, self.seed).map_err(|error| Error::io("write", &self.path, error))
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

    fn record(&self, offset: u64) -> Result<Parsed> {
        let end = self.end();
        if !(FRAMES_OFFSET..end).contains(&offset) {
            return Err(self.damaged(offset));
        }
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

    #[cold]
    fn damaged(&self, offset: u64) -> Error {
        Error::corruption_at(&self.path, offset, "the record of a message", "other bytes")
    }
}

/// The live files, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileTable(Vec<Arc<JournalFile>>);

impl FileTable {
    /// Adds a file newer than all others.
    pub fn add(&mut self, file: Arc<JournalFile>) {
        self.0.push(file);
    }

    pub fn get(&self, place: Place) -> Result<&Arc<JournalFile>> {
        // Ids mostly follow one another, so the newest is a good mark to count from.
        let id = place.file_id();
        let newest = self.0.last().map_or(0, |file| file.id());
        let guess =
            (self.0.len() - 1).checked_sub(newest.wrapping_sub(id) as usize).and_then(|index| self.0.get(index));
        if let Some(file) = guess.filter(|file| file.id() == id) {
            return Ok(file);
        }
        match self.0.binary_search_by_key(&id, |file| file.id()) {
            Ok(index) => Ok(&self.0[index]),
            Err(_) => {
                let path = PathBuf::from(journal_name(id));
                Err(Error::corruption_at(&path, place.offset(), "a live file", "no such file"))
            }
        }
    }

    /// Reads the message at `place`.
    pub fn read(&self, place: Place) -> Result<Stored> {
        self.get(place)?.read(place.offset())
    }
}

/// Adds a frame to the digest of the frames before it: their headers, whose checksums stand for the
/// payloads.
pub(crate) fn digest_frame(digest: u64, frame: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&frame[..FRAME_HEADER_BYTES], digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_journal_files() {
        assert_eq!(journal_id("000000000000000a.journal"), Some(10));
        assert_eq!(journal_name(10), "000000000000000a.journal");
        for name in ["000000000000000A.journal", "a.journal", "+00000000000000a.journal", "0000000000000000.journal"] {
            assert_eq!(journal_id(name), None, "{name}");
        }
        for name in ["000000000000000a.journal.tmp", "000000000000000a.spare", "LOCK", ""] {
            assert_eq!(journal_id(name), None, "{name}");
        }
    }

    #[test]
    fn a_place_keeps_file_and_offset() {
        let place = Place::new(FILE_ID_MAX, 1 << 30);
        assert_eq!((place.file_id(), place.offset()), (FILE_ID_MAX, 1 << 30));
    }
}
