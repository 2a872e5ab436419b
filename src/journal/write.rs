//! The newest end of the journal: frames go in here, one file after another.
//! Owns: the current file, the closed one that is not synced yet, the buffer. May touch: `file`,
//! `frame`, `header`, `live`, `manifest`, `prepare`, `storage`.
//! Never: decides what a change is, or when to sync; it says what a sync would cover.

use super::file::{JournalFile, Place, digest_frame, journal_name};
use super::frame::{self, FRAME_HEADER_BYTES, FrameKind};
use super::header::{FILE_ID_MAX, FRAMES_OFFSET, FileHeader, STAMP_UNNAMED, Stamp};
use super::live::{Files, OpenMark, encode_closing};
use super::manifest::{Installed, LIVE_FILE_BYTES_MAX, LiveFile, Manifest};
use super::prepare::{Spare, TMP_SUFFIX};
use crate::change::{self, Change, Commit, RECORD_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::BODY_BYTES_LIMIT;
use crate::storage::{Storage, StorageFile};
use crate::varint::VARINT_BYTES_MAX;
use std::sync::Arc;

/// Kept free at the end of every file, besides room for an open mark: a closing frame, a close mark.
pub(crate) const TAIL_BYTES: u64 = (frame::frame_bytes(VARINT_BYTES_MAX) + frame::frame_bytes(0)) as u64;

/// The most a change takes in a frame of its own, tail and padding included.
pub(crate) const fn change_bytes_max(tail_bytes: usize) -> u64 {
    (frame::frame_bytes(RECORD_BYTES_MAX + tail_bytes)) as u64
}

/// The most a batch may take: it must fit one frame behind what is already in it.
pub(crate) const BATCH_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(BATCH_BYTES_MAX + 2 * FRAME_BYTES_USUAL + BODY_BYTES_LIMIT < frame::FRAME_PAYLOAD_MAX);

/// The longest list of files, with room for what a file adds to it.
const FILES_PAYLOAD_MAX: usize = frame::FRAME_PAYLOAD_MAX - (1 << 20);

/// A frame is closed before it grows beyond this, unless a batch must stay together.
const FRAME_BYTES_USUAL: usize = 256 << 10;

/// The bytes of the frame that installs this.
pub(crate) fn install_bytes(installed: &Installed) -> u64 {
    let mut payload = Vec::new();
    installed.encode(&mut payload);
    frame::frame_bytes(payload.len()) as u64
}

/// How many bytes of a journal file of this length are kept for records of installed segments. A file of 64 KiB
/// takes some 200 segments, one of 16 MiB or more takes 12,000.
pub(crate) const fn install_bytes_max(file_bytes: u64) -> u64 {
    let part = file_bytes / 64;
    let bytes = if part < 4 << 10 {
        4 << 10
    } else if part > 256 << 10 {
        256 << 10
    } else {
        part
    };
    bytes / frame::FRAME_ALIGN as u64 * frame::FRAME_ALIGN as u64
}

/// The newest end of the journal.
#[derive(Debug)]
pub(crate) struct Writer {
    storage: Arc<dyn Storage>,
    current: Arc<JournalFile>,
    /// The file before, while it is not wholly synced; there is at most one.
    closed: Option<Arc<JournalFile>>,
    /// All live files before the current one.
    manifest: Manifest,
    /// What is left in the current file of the bytes kept for `Installed` frames.
    install_room: u64,
    open: OpenMark,
    digest: u64,
    last_version: u64,
    /// Everything up to it is durable.
    synced_version: u64,
    stamp: Stamp,
    /// The newest frame is a close mark.
    ends_closed: bool,
    /// Frames that are not in the file yet, and where the one being filled starts.
    buffer: Vec<u8>,
    frame: Option<OpenFrame>,
}

#[derive(Debug)]
struct OpenFrame {
    start: usize,
    first_version: u64,
}

/// What one sync makes durable.
#[derive(Clone, Debug)]
pub(crate) struct SyncPoint {
    pub files: Vec<Arc<JournalFile>>,
    pub version: u64,
    synced: u64,
}

/// Everything about the end of the journal that recovery found out.
#[derive(Debug)]
pub(crate) struct JournalEnd {
    pub current: Arc<JournalFile>,
    /// All live files before the current one.
    pub manifest: Manifest,
    pub open: OpenMark,
    pub digest: u64,
    pub last_version: u64,
    pub stamp: Stamp,
    /// The newest frame is a close mark.
    pub ends_closed: bool,
}

impl Writer {
    /// Goes on at `end`, which is wholly synced.
    pub fn new(storage: Arc<dyn Storage>, end: JournalEnd) -> Writer {
        let JournalEnd { current, manifest, open, digest, last_version, stamp, ends_closed } = end;
        let mut writer = Writer {
            storage,
            current,
            closed: None,
            manifest,
            install_room: 0,
            open,
            digest,
            last_version,
            synced_version: last_version,
            stamp,
            ends_closed,
            buffer: Vec::new(),
            frame: None,
        };
        writer.keep_install_room();
        writer
    }

    /// Keeps as much of the current file for `Installed` frames as there should be, or is left.
    fn keep_install_room(&mut self) {
        self.install_room = 0;
        self.install_room = install_bytes_max(self.current.handle.length()).min(self.room());
    }

    pub fn open_mark(&self) -> &OpenMark {
        &self.open
    }

    /// Where the next frame will begin in the current file, or the open one goes on.
    pub fn position(&self) -> u64 {
        self.current.end() + self.buffer.len() as u64
    }

    /// Bytes still free for changes in the current file.
    pub fn room(&self) -> u64 {
        let tail = TAIL_BYTES + frame::frame_bytes(self.open.bytes_max()) as u64 + self.install_room;
        self.current.handle.length().saturating_sub(tail + self.position())
    }

    /// Bytes that a new file of `length` has free for frames, once it is the current one. What is installed
    /// until then is reckoned with.
    pub fn room_of_next(&self, length: u64) -> u64 {
        let first = frame::frame_bytes(self.files_bytes_max() + LIVE_FILE_BYTES_MAX) as u64;
        let mark = frame::frame_bytes(self.open.bytes_max()) as u64;
        let installs = self.list_growth_max() + install_bytes_max(length);
        length.saturating_sub(FRAMES_OFFSET + first + mark + installs + TAIL_BYTES)
    }

    /// How long the next file must be to be as roomy as one of `journal_bytes` is at first.
    pub fn next_length(&self, journal_bytes: u64) -> u64 {
        let lists = (self.files_bytes_max() + self.open.bytes_max()) as u64;
        let installs = self.list_growth_max() + install_bytes_max(2 * journal_bytes);
        (journal_bytes + installs + lists.saturating_sub(1024)).next_multiple_of(FRAMES_OFFSET)
    }

    fn files_bytes_max(&self) -> usize {
        self.open.bytes_max() + self.manifest.bytes_max()
    }

    /// By how much the list may grow before the next file begins: a file takes as many bytes in the record that
    /// installs it as it does in the list.
    fn list_growth_max(&self) -> u64 {
        install_bytes_max(self.current.handle.length())
    }

    /// All live files before the current one, and what is sealed.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether [`Writer::install`] would find room for this in the current file.
    #[cfg(test)]
    pub fn can_install(&self, installed: &Installed) -> bool {
        install_bytes(installed) <= self.install_room
    }

    /// Whether all that this rests on is noted as synced.
    pub fn can_rest_on(&self, installed: &Installed) -> bool {
        let is_unsynced = |closed: &Arc<JournalFile>| closed.id() <= installed.sealed_through;
        installed.newest_version() <= self.synced_version && !self.closed.as_ref().is_some_and(is_unsynced)
    }

    /// Writes that these segments are live from here on, and what they replace is not; `false` if that needs a
    /// new file first. The caller syncs before it takes away a file, and before it lets a reader see one.
    ///
    /// # Panics
    /// If it does not follow from the present manifest, or rests on what is not synced.
    pub fn install(&mut self, installed: &Installed) -> Result<bool> {
        let mut manifest = self.manifest.clone();
        let follows = manifest.install(installed);
        assert_eq!(follows, Ok(()), "what is installed follows from the manifest");
        assert!(self.can_rest_on(installed), "segments are made of what is synced, and of synced journals");
        let bytes = install_bytes(installed);
        if bytes > self.install_room {
            return Ok(false);
        }
        if manifest.bytes_max() + self.open.bytes_max() > FILES_PAYLOAD_MAX {
            let got = manifest.segments.len();
            return Err(Error::new(ErrorKind::LimitExceeded, format!("too many live files: got={got}")));
        }
        self.flush()?;
        let start = frame::begin(&mut self.buffer);
        installed.encode(&mut self.buffer);
        self.finish_frame(start, FrameKind::Installed, self.last_version + 1);
        self.flush()?;
        self.install_room -= bytes;
        self.manifest = manifest;
        Ok(true)
    }

    /// Puts a change into the frame being filled and says where it will lie. `joined` keeps it in one
    /// frame with the change before it. There is room: the sequencer reserved it.
    pub fn push(&mut self, change: &Change, tail: &[u8], commit: Commit, joined: bool) -> Place {
        if !joined && self.frame.as_ref().is_some_and(|frame| self.buffer.len() - frame.start > FRAME_BYTES_USUAL) {
            self.end_frame();
        }
        assert_eq!(commit.version, self.last_version + 1, "versions are dense");
        if self.frame.is_none() {
            self.frame = Some(OpenFrame { start: frame::begin(&mut self.buffer), first_version: commit.version });
        }
        let offset = self.current.end() + self.buffer.len() as u64;
        change::encode(change, tail, commit, &mut self.buffer);
        self.last_version = commit.version;
        Place::new(self.current.id(), offset)
    }

    /// Hands all frames to the operating system and lets readers read them.
    pub fn flush(&mut self) -> Result<()> {
        self.end_frame();
        if !self.buffer.is_empty() {
            self.current.append(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Writes a mark that something may be seen before it is synced. The caller syncs.
    pub fn write_open_mark(&mut self, open: OpenMark) -> Result<()> {
        self.flush()?;
        self.open = open;
        let start = frame::begin(&mut self.buffer);
        self.open.encode(&mut self.buffer);
        self.finish_frame(start, FrameKind::Open, self.last_version + 1);
        self.flush()
    }

    /// Whether nothing was written since a close mark, so that another would say nothing new.
    pub fn ends_closed(&self) -> bool {
        self.ends_closed && self.stamp.synced == self.current.end()
    }

    /// Writes the mark of a clean close. The caller has synced everything before it and syncs again.
    pub fn write_close_mark(&mut self) -> Result<()> {
        self.flush()?;
        let start = frame::begin(&mut self.buffer);
        self.finish_frame(start, FrameKind::Close, self.last_version + 1);
        self.flush()?;
        self.ends_closed = true;
        Ok(())
    }

    /// Goes on in `spare`: its header and name are durable before the current file names it.
    ///
    /// The caller has synced the file before the current one.
    pub fn roll(&mut self, spare: Spare) -> Result<Arc<JournalFile>> {
        self.flush()?;
        assert!(self.closed.is_none(), "at most one closed file is not synced");
        let mut manifest = self.manifest.clone();
        manifest.journals.push(LiveFile {
            file_id: self.current.id(),
            end: self.current.end(),
            last_version: self.last_version,
            digest: self.digest,
        });
        let next = NextFile {
            uuid: self.current.header.uuid,
            file_id: self.current.id() + 1,
            first_version: self.last_version + 1,
            is_cut: false,
            stamped_version: None,
            files: Files { open: self.open.clone(), manifest },
        };
        let made = create_file(&self.storage, &next, spare.file, spare.name, |_, _, _| {})?;
        let start = frame::begin(&mut self.buffer);
        encode_closing(made.file.id(), &mut self.buffer);
        self.finish_frame(start, FrameKind::Closing, self.last_version + 1);
        self.current.append(&self.buffer)?;
        self.buffer.clear();
        self.closed = Some(std::mem::replace(&mut self.current, made.file.clone()));
        self.manifest = next.files.manifest;
        self.digest = made.digest;
        self.stamp = made.stamp;
        self.keep_install_room();
        Ok(made.file)
    }

    /// Whether the file before the current one still needs a sync.
    pub fn closed_unsynced(&self) -> bool {
        self.closed.is_some()
    }

    /// What a sync begun now covers. The caller has flushed.
    pub fn sync_point(&self) -> SyncPoint {
        let mut files: Vec<_> = self.closed.iter().cloned().collect();
        files.push(self.current.clone());
        SyncPoint { files, version: self.last_version, synced: self.current.end() }
    }

    /// Notes that `point` is synced, in the stamp and in every later frame.
    pub fn synced(&mut self, point: &SyncPoint) -> Result<()> {
        self.synced_version = self.synced_version.max(point.version);
        let is_covered = |file: &Arc<JournalFile>| point.files.iter().any(|synced| Arc::ptr_eq(synced, file));
        if point.files.last().is_some_and(|last| Arc::ptr_eq(last, &self.current)) {
            self.closed = None;
            if point.synced > self.stamp.synced {
                self.stamp = Stamp { counter: self.stamp.counter + 1, synced: point.synced, version: point.version };
                self.current.stamp(self.stamp)?;
            }
        } else if self.closed.as_ref().is_some_and(|closed| is_covered(closed) && closed.end() <= point.synced) {
            self.closed = None;
        }
        Ok(())
    }

    fn end_frame(&mut self) {
        if let Some(open) = self.frame.take() {
            self.finish_frame(open.start, FrameKind::Changes, open.first_version);
        }
    }

    fn finish_frame(&mut self, start: usize, kind: FrameKind, version: u64) {
        self.ends_closed = false;
        let offset = self.current.end() + start as u64;
        let version_delta = version - self.current.header.first_version;
        let version_delta = u32::try_from(version_delta).expect("a file is too short for so many changes");
        let synced_up_to = if self.closed.is_some() { 0 } else { self.stamp.synced };
        let synced_up_to = u32::try_from(synced_up_to).expect("files are shorter than 4 GiB");
        frame::finish(&mut self.buffer, start, kind, self.current.seed, offset, version_delta, synced_up_to);
        if kind != FrameKind::Closing {
            self.digest = digest_frame(self.digest, &self.buffer[start..start + FRAME_HEADER_BYTES]);
        }
    }
}

/// What a new journal file begins with.
#[derive(Debug)]
pub(crate) struct NextFile {
    pub uuid: [u8; 16],
    pub file_id: u64,
    pub first_version: u64,
    pub is_cut: bool,
    /// The last version in the file as it is made, if all files before it are wholly synced: then it
    /// begins with a stamp. The stamp is there before the sync, but the file is not live until after.
    pub stamped_version: Option<u64>,
    pub files: Files,
}

/// A new journal file, and the digest of its frames so far.
pub(crate) struct MadeFile {
    pub file: Arc<JournalFile>,
    pub digest: u64,
    pub stamp: Stamp,
}

/// Turns a zeroed file into a journal file: header, list of live files, frames that `copy` adds, all
/// synced before the name is, which is synced too.
pub(crate) fn create_file(
    storage: &Arc<dyn Storage>,
    next: &NextFile,
    handle: Arc<dyn StorageFile>,
    name: &str,
    copy: impl FnOnce(&mut Vec<u8>, u32, &mut u64),
) -> Result<MadeFile> {
    let target = journal_name(next.file_id);
    let path = storage.path(&target);
    if next.file_id > FILE_ID_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, format!("file ids are used up: got={}", next.file_id)));
    }
    let mut salt = [0; 8];
    storage.fill_random(&mut salt).map_err(|error| Error::io("draw random bytes for", &path, error))?;
    let last = next.files.manifest.journals.last();
    let header = FileHeader {
        uuid: next.uuid,
        file_id: next.file_id,
        salt: u64::from_le_bytes(salt),
        file_bytes: handle.length(),
        predecessor_id: last.map_or(0, |file| file.file_id),
        predecessor_end: last.map_or(0, |file| file.end),
        first_version: next.first_version,
        is_cut: next.is_cut,
    };
    let seed = header.seed();
    let mut frames = Vec::new();
    frame::begin(&mut frames);
    next.files.encode(&mut frames);
    frame::finish(&mut frames, 0, FrameKind::Files, seed, FRAMES_OFFSET, 0, 0);
    let mut digest = digest_frame(0, &frames);
    copy(&mut frames, seed, &mut digest);
    let end = FRAMES_OFFSET + frames.len() as u64;
    let mut stamp = Stamp { counter: STAMP_UNNAMED, ..Stamp::default() };
    let mut write = || {
        handle.write_at(0, &header.encode())?;
        if let Some(version) = next.stamped_version {
            stamp = Stamp { synced: end, version, ..stamp };
            stamp.write(&*handle, seed)?;
        }
        handle.write_at(FRAMES_OFFSET, &frames)?;
        handle.sync()?;
        storage.rename(name, &target)?;
        storage.sync_directory()?;
        if next.stamped_version.is_some() {
            stamp.counter += 1;
            stamp.write(&*handle, seed)?;
        }
        Ok(())
    };
    write().map_err(|error| Error::io("begin", &path, error))?;
    Ok(MadeFile { file: Arc::new(JournalFile::new(&**storage, header, handle, end)), digest, stamp })
}

/// The name under which the file with this id is made, before it is part of the journal.
pub(crate) fn unfinished_name(file_id: u64) -> String {
    format!("{}{TMP_SUFFIX}", journal_name(file_id))
}
