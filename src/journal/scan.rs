//! Reads a journal file frame by frame and says how far it can be believed.
//! Owns: the judgement of one file. May touch: `change`, `file`, `frame`, `header`, `live`, `manifest`, `storage`.
//! Never: changes a file, or decides what becomes of one.

use super::file::{Place, digest_frame, journal_name, load_first_page};
use super::frame::{self, BadFrame, FrameHeader, FrameKind};
use super::header::{FRAMES_OFFSET, FileHeader, FirstPage, Stamp};
use super::live::{Files, OpenMark, decode_closing};
use super::manifest::{Installed, Manifest};
use crate::change::{self, Decoded};
use crate::error::{Error, Result};
use crate::storage::{REWRITABLE_BYTES, Storage, StorageFile};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// So much is read at once.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// A journal file whose first page was read and judged, and nothing else of it.
#[derive(Debug)]
pub(super) struct Opened {
    pub handle: Arc<dyn StorageFile>,
    pub path: PathBuf,
    pub page: FirstPage,
}

/// A journal file with its bytes.
#[derive(Debug)]
pub(super) struct Loaded {
    pub handle: Arc<dyn StorageFile>,
    pub path: PathBuf,
    pub header: FileHeader,
    pub stamp: Stamp,
    /// The file that recovery made to go on from this one.
    pub successor: Option<u64>,
    /// The whole file, so that an offset in the file is an index here.
    pub bytes: Vec<u8>,
}

/// A frame that is what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameAt {
    pub offset: u64,
    pub header: FrameHeader,
    /// The version of the first change in it, or of the next one.
    pub version: u64,
    /// How many changes it holds.
    pub count: u64,
    /// The digest of all frames up to and with this one.
    pub digest: u64,
}

impl FrameAt {
    pub fn end(&self) -> u64 {
        self.offset + self.header.frame_bytes() as u64
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Scan {
    pub files: Files,
    /// The frames, in order, without a closing frame.
    pub frames: Vec<FrameAt>,
    /// Where the believable frames end.
    pub end: u64,
    /// What is wrong there, unless only zeros follow.
    pub bad: Option<BadFrame>,
    /// The successor that the file names, if it is closed.
    pub successor: Option<u64>,
    /// The files that are live after the last frame, but for this one.
    pub manifest: Manifest,
    /// The last open mark, its flag lowered by a close mark after it.
    pub open: OpenMark,
    /// The last frame is a close mark.
    pub closed_cleanly: bool,
    /// Below this everything was synced, by the file's own evidence, wherever in it that stands.
    pub proven: u64,
    /// The file's own evidence says that all files before it are wholly synced.
    pub proves_predecessors: bool,
    pub last_version: u64,
}

impl Scan {
    pub fn digest_at(&self, end: u64) -> Option<u64> {
        self.frames.iter().rev().find(|frame| frame.end() == end).map(|frame| frame.digest)
    }

    /// The last version in the frames below `end`.
    pub fn version_at(&self, end: u64, header: &FileHeader) -> u64 {
        let last = self.frames.iter().rev().find(|frame| frame.end() <= end);
        last.map_or(header.first_version, |frame| frame.version + frame.count) - 1
    }
}

impl Opened {
    /// Opens the journal file with this id; of its bytes it reads only the first page.
    pub fn open(storage: &dyn Storage, file_id: u64) -> Result<Opened> {
        let name = journal_name(file_id);
        let path = storage.path(&name);
        let io = |operation| {
            let path = path.clone();
            move |error| Error::io(operation, &path, error)
        };
        let handle = storage.open(&name).map_err(io("open"))?;
        let page = load_first_page(&*handle, &path, file_id)?;
        Ok(Opened { handle, path, page })
    }

    /// Reads the rest.
    pub fn load(self) -> Result<Loaded> {
        let Opened { handle, path, page: FirstPage { header, stamp, successor } } = self;
        let mut bytes = vec![0; handle.length() as usize];
        read_but_zeros(&*handle, &mut bytes).map_err(|error| Error::io("read", &path, error))?;
        Ok(Loaded { handle, path, header, stamp, successor, bytes })
    }
}

/// Fills `bytes`, which are zeros. Most of them stay so, and take no memory as long as nobody writes them.
fn read_but_zeros(file: &dyn StorageFile, bytes: &mut [u8]) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES.min(bytes.len())];
    for (index, part) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
        let piece = &mut piece[..part.len()];
        file.read_at((index * PIECE_BYTES) as u64, piece)?;
        if !is_zero(piece) {
            part.copy_from_slice(piece);
        }
    }
    Ok(())
}

/// Whether all bytes are zero. Looks at many at once: most of a file may be its unwritten end.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<256>();
    words.iter().all(|word| word.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

impl Loaded {
    /// Goes through the frames up to `limit`, or to where they end.
    ///
    /// A frame that is whole but senseless is damage, whatever its place: no crash makes one.
    pub fn scan(&self, limit: Option<u64>) -> Result<Scan> {
        let seed = self.header.seed();
        let limit = limit.unwrap_or(self.bytes.len() as u64).min(self.bytes.len() as u64);
        let senseless = |offset, expected: &str| Error::corruption_at(&self.path, offset, expected, "other bytes");
        let files = self.files()?;
        let mut scan = Scan {
            manifest: files.manifest.clone(),
            open: files.open.clone(),
            files,
            frames: Vec::new(),
            end: FRAMES_OFFSET,
            bad: None,
            successor: None,
            closed_cleanly: false,
            proven: self.stamp.synced,
            proves_predecessors: self.stamp.synced > 0,
            last_version: self.header.first_version - 1,
        };
        let mut digest = 0;
        while scan.end < limit {
            let rest = &self.bytes[scan.end as usize..limit as usize];
            let (header, payload) = match frame::decode(rest, seed, scan.end) {
                Ok(frame) => frame,
                Err(bad) => {
                    scan.bad = (!is_zero(rest)).then_some(bad);
                    break;
                }
            };
            let offset = scan.end;
            let version = self.header.first_version + u64::from(header.version_delta);
            if version != scan.last_version + 1 {
                return Err(senseless(offset, "a frame that continues the versions"));
            }
            scan.proven = scan.proven.max(header.synced_up_to.into());
            scan.proves_predecessors |= header.synced_up_to > 0;
            scan.closed_cleanly = false;
            let mut count = 0;
            match header.kind {
                FrameKind::Files if offset == FRAMES_OFFSET => {}
                FrameKind::Files => return Err(senseless(offset, "a list of files only at the start")),
                FrameKind::Messages => return Err(senseless(offset, "a frame of a journal")),
                FrameKind::Changes => {
                    count = count_records(payload).ok_or_else(|| senseless(offset, "records"))?;
                }
                FrameKind::Open => {
                    scan.open = OpenMark::decode(payload).ok_or_else(|| senseless(offset, "an open mark"))?;
                }
                FrameKind::Installed => {
                    let installed = Installed::decode(payload).ok_or_else(|| senseless(offset, "installed files"))?;
                    // What is made of changes is installed after them.
                    if installed.newest_version() >= version || installed.sealed_through >= self.header.file_id {
                        return Err(senseless(offset, "files made of what came before"));
                    }
                    scan.manifest.install(&installed).map_err(|expected| senseless(offset, expected))?;
                }
                FrameKind::Close if !payload.is_empty() => {
                    return Err(senseless(offset, "a close mark without payload"));
                }
                FrameKind::Close => {
                    scan.open.unsynced = false;
                    scan.closed_cleanly = true;
                    scan.proven = scan.proven.max(offset);
                    scan.proves_predecessors = true;
                }
                FrameKind::Closing => {
                    let successor = decode_closing(payload).ok_or_else(|| senseless(offset, "a successor"))?;
                    scan.successor = Some(successor);
                    break;
                }
            }
            digest = digest_frame(digest, rest);
            scan.last_version += count;
            scan.frames.push(FrameAt { offset, header, version, count, digest });
            scan.end = offset + header.frame_bytes() as u64;
        }
        if scan.frames.is_empty() {
            return Err(senseless(FRAMES_OFFSET, "a list of files"));
        }
        if scan.bad.is_some() {
            self.search_proof(&mut scan, limit)?;
        }
        Ok(scan)
    }

    /// The first frame, which was synced before the file got its name.
    fn files(&self) -> Result<Files> {
        let frame = frame::decode(&self.bytes[FRAMES_OFFSET as usize..], self.header.seed(), FRAMES_OFFSET);
        let (header, payload) = frame
            .map_err(|bad| Error::corruption_at(&self.path, FRAMES_OFFSET, bad.expected, bad.found.to_string()))?;
        let files = Files::decode(payload).filter(|_| header.kind == FrameKind::Files);
        let files =
            files.ok_or_else(|| Error::corruption_at(&self.path, FRAMES_OFFSET, "a list of files", "other bytes"))?;
        let newest_listed = files.manifest.journals.last().map_or(0, |file| file.file_id);
        if newest_listed.max(files.manifest.sealed_through) >= self.header.file_id {
            return Err(Error::corruption_at(&self.path, FRAMES_OFFSET, "a list of older files", "a newer one"));
        }
        Ok(files)
    }

    /// Looks beyond the first bad frame for one that was written after what is bad had been synced.
    fn search_proof(&self, scan: &mut Scan, limit: u64) -> Result<()> {
        let seed = self.header.seed();
        // Only bytes made to mislead bring a checksum to be taken often; they are refused, not obeyed.
        let mut budget = 4 * limit as usize;
        let next_delta = scan.last_version + 1 - self.header.first_version;
        for offset in (scan.end + 8..limit).step_by(frame::FRAME_ALIGN) {
            let rest = &self.bytes[offset as usize..limit as usize];
            let Some(header) = frame::peek_header(rest) else { continue };
            let synced_up_to = u64::from(header.synced_up_to);
            // Bodies may be any bytes, often encrypted ones: what cannot stand here costs no checksum. A change
            // takes more than a byte, so no more changes than bytes lie between.
            let changes_between = u64::from(header.version_delta).checked_sub(next_delta);
            let is_close = header.kind == FrameKind::Close && header.payload_bytes == 0;
            let is_beyond = synced_up_to > scan.end
                && synced_up_to <= offset
                && synced_up_to.is_multiple_of(frame::FRAME_ALIGN as u64);
            let would_prove =
                (is_close || is_beyond) && changes_between.is_some_and(|count| count <= offset - scan.end);
            if !would_prove || header.frame_bytes() > rest.len() {
                continue;
            }
            budget = budget.checked_sub(header.frame_bytes()).ok_or_else(|| {
                Error::corruption_at(&self.path, scan.end, "a frame", "bytes that imitate many frames")
            })?;
            if frame::decode(rest, seed, offset).is_ok() {
                scan.proven = scan.proven.max(if is_close { offset } else { synced_up_to });
                scan.proves_predecessors = true;
            }
        }
        Ok(())
    }

    /// Goes through the changes of the frames that `scan` found below `end`.
    pub fn replay(
        &self,
        scan: &Scan,
        end: u64,
        apply: &mut dyn FnMut(Replayed<'_>) -> std::result::Result<(), Unreplayable>,
    ) -> Result<u64> {
        let mut changes = 0;
        for frame in scan.frames.iter().filter(|frame| frame.end() <= end && frame.header.kind == FrameKind::Changes) {
            let start = frame.offset as usize + frame::FRAME_HEADER_BYTES;
            let payload = &self.bytes[start..start + frame.header.payload_bytes];
            let senseless = |at: u64, what| Error::corruption_at(&self.path, at, what, "another record");
            let mut records = payload;
            for index in 0..frame.count {
                let offset = (start + payload.len() - records.len()) as u64;
                let decoded =
                    take_record(&mut records).and_then(change::decode).ok_or_else(|| senseless(offset, "a record"))?;
                if decoded.commit.version != frame.version + index {
                    return Err(senseless(offset, "the next version"));
                }
                let place = Place::new(self.header.file_id, offset);
                apply(Replayed { decoded, place }).map_err(|refused| match refused {
                    Unreplayable::Senseless(expected) => senseless(offset, expected),
                    Unreplayable::Failed(error) => error,
                })?;
                changes += 1;
            }
        }
        Ok(changes)
    }
}

/// A change on its way back into the state.
pub(crate) struct Replayed<'a> {
    pub decoded: Decoded<'a>,
    pub place: Place,
}

/// Why a change did not get back.
#[derive(Debug)]
pub(crate) enum Unreplayable {
    /// No sequencer makes such a change; it should have been this.
    Senseless(&'static str),
    /// What it must be held against could not be read.
    Failed(Error),
}

impl From<&'static str> for Unreplayable {
    fn from(expected: &'static str) -> Unreplayable {
        Unreplayable::Senseless(expected)
    }
}

impl From<Error> for Unreplayable {
    fn from(error: Error) -> Unreplayable {
        Unreplayable::Failed(error)
    }
}

fn take_record<'a>(records: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = change::decode_length(records)?;
    let (record, rest) = records.split_at_checked(length)?;
    *records = rest;
    Some(record)
}

fn count_records(payload: &[u8]) -> Option<u64> {
    let mut records = payload;
    let mut count = 0;
    while !records.is_empty() {
        take_record(&mut records)?;
        count += 1;
    }
    (count > 0).then_some(count)
}

const _: () = assert!(FRAMES_OFFSET == REWRITABLE_BYTES);
