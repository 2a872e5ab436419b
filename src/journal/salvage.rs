//! What is left of damaged files of records, and the journal going on without what is not.
//! Owns: finding good frames behind bad ones, a file of records in the making, the file that a repair goes on in.
//! May touch: every journal module, `storage`.
//! Never: believes bytes without their checksum, or takes a damaged file away.

use super::file::{JournalFile, journal_name};
use super::frame::{self, FrameHeader, FrameKind};
use super::header::FRAMES_OFFSET;
use super::live::{Epochs, Files, OpenMark};
use super::manifest::{LiveFile, Manifest};
use super::newest::Previous;
use super::prepare::{EVIDENCE_SUFFIX, TMP_SUFFIX};
use super::records::Records;
use super::recover::{RecoverOptions, draw_epoch, make_file, name_successor};
use super::verify::Examined;
use super::write::NextFile;
use crate::change;
use crate::error::{Error, Result};
use crate::id::Version;
use crate::storage::{Storage, StorageFile};
use std::path::Path;
use std::sync::Arc;

/// What is left of a file of records.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    /// Where each good record begins, its length included, and how long it is, in the order of the file.
    pub records: Vec<(u64, usize)>,
    /// Bytes, from where to where, in which no frame was found.
    pub bad: Vec<(u64, u64)>,
}

/// Under which name a damaged file stays.
pub(crate) fn evidence_name(name: &str) -> String {
    format!("{name}{EVIDENCE_SUFFIX}")
}

/// Finds the good frames below `end`, and the good records in them.
pub(crate) fn salvage(handle: &dyn StorageFile, path: &Path, seed: u32, end: u64) -> Result<Salvaged> {
    let mut records = Vec::new();
    let bad = good_frames(handle, path, seed, end, &mut |offset, header, bytes| {
        if let FrameKind::Changes | FrameKind::Messages = header.kind {
            each_record(header, bytes, &mut |start, length| {
                records.push((offset + start as u64, length));
            });
        }
    })?;
    Ok(Salvaged { records, bad })
}

/// Gives each frame below `end` whose checksum is right: where it lies, its header, its bytes. What is not in one comes
/// back, from where to where.
pub(super) fn good_frames(
    handle: &dyn StorageFile,
    path: &Path,
    seed: u32,
    end: u64,
    each: &mut dyn FnMut(u64, &FrameHeader, &[u8]),
) -> Result<Vec<(u64, u64)>> {
    let mut bad = Vec::new();
    let mut buffer = Vec::new();
    let mut offset = FRAMES_OFFSET;
    let mut bad_from = None;
    // Only bytes made to mislead look like the headers of frames often.
    let mut budget = 4 * handle.length();
    while offset + frame::FRAME_HEADER_BYTES as u64 <= end {
        buffer.resize(frame::FRAME_HEADER_BYTES, 0);
        let io = |error| Error::io("read", path, error);
        handle.read_at(offset, &mut buffer).map_err(io)?;
        let header = frame::peek_header(&buffer).filter(|header| header.frame_bytes() as u64 <= end - offset);
        let length = header.map_or(0, |header| header.frame_bytes());
        if header.is_some() && bad_from.is_some() {
            match budget.checked_sub(length as u64) {
                Some(left) => budget = left,
                None => break,
            }
        }
        buffer.resize(length.max(frame::FRAME_HEADER_BYTES), 0);
        handle.read_at(offset, &mut buffer).map_err(io)?;
        let frame = header.and_then(|_| frame::decode(&buffer, seed, offset).ok());
        let Some((header, _)) = frame else {
            bad_from.get_or_insert(offset);
            offset += frame::FRAME_ALIGN as u64;
            continue;
        };
        if let Some(from) = bad_from.take() {
            bad.push((from, offset));
        }
        each(offset, &header, &buffer);
        offset += length as u64;
    }
    if let Some(from) = bad_from {
        bad.push((from, end));
    }
    Ok(bad)
}

/// Gives where in a good frame each record begins, its length included, and how long it is.
pub(super) fn each_record(header: &FrameHeader, frame: &[u8], each: &mut dyn FnMut(usize, usize)) {
    let end = frame::FRAME_HEADER_BYTES + header.payload_bytes;
    let mut rest = frame.get(frame::FRAME_HEADER_BYTES..end).unwrap_or_default();
    while !rest.is_empty() {
        let start = end - rest.len();
        let Some(bytes) = change::decode_length(&mut rest) else { break };
        let Some((_, after)) = rest.split_at_checked(bytes) else { break };
        rest = after;
        each(start, end - rest.len() - start);
    }
}

/// Writes records into a file that is taken away by the next opening at the latest; they lie there as in a journal of
/// this id. `each` gives one after another, appended to what it gets, until it says false.
pub(crate) fn write_records(
    storage: &Arc<dyn Storage>,
    file_id: u64,
    bytes_max: u64,
    each: &mut dyn FnMut(&mut Vec<u8>) -> Result<bool>,
) -> Result<Records> {
    let name = format!("{}{TMP_SUFFIX}", journal_name(file_id));
    let path = storage.path(&name);
    let names = storage.list().map_err(|error| Error::io("list", &storage.path(""), error))?;
    if names.contains(&name) {
        storage.remove(&name).map_err(|error| Error::io("remove", &path, error))?;
    }
    // Each record in a frame of its own takes the most.
    let length = (FRAMES_OFFSET + bytes_max).next_multiple_of(FRAMES_OFFSET);
    let handle = storage.create(&name, length).map_err(|error| Error::io("create", &path, error))?;
    let (mut offset, mut more) = (FRAMES_OFFSET, true);
    while more {
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        while more && bytes.len() < 64 << 10 {
            more = each(&mut bytes)?;
        }
        if bytes.len() == frame::FRAME_HEADER_BYTES {
            break;
        }
        frame::finish(&mut bytes, start, FrameKind::Changes, 0, offset, 0, 0);
        handle.write_at(offset, &bytes).map_err(|error| Error::io("write", &path, error))?;
        offset += bytes.len() as u64;
    }
    Ok(Records::trusted(handle, path, file_id, 0, offset))
}

/// The bytes that so many records of so many bytes take in such a file at most.
pub(crate) fn records_bytes_max(count: u64, bytes: u64) -> u64 {
    bytes + (count + 1) * (frame::FRAME_HEADER_BYTES + frame::FRAME_ALIGN) as u64
}

impl Examined {
    /// Goes through the changes of the journals that are not sealed.
    pub fn unsealed(&self, storage: &dyn Storage, each: &mut dyn FnMut(super::scan::Replayed<'_>)) -> Result<()> {
        let mut replay = |replayed: super::scan::Replayed<'_>| {
            each(replayed);
            Ok(())
        };
        for file in self.manifest.unsealed() {
            let loaded = super::directory::open_own(storage, file.file_id, &self.uuids)?.load()?;
            let scan = loaded.scan(Some(file.end))?;
            loaded.replay(&scan, file.end, &mut replay)?;
        }
        self.newest.replay(&self.scan, self.scan.end, &mut replay)?;
        Ok(())
    }

    /// The newest file, as it will be listed by the next.
    pub fn newest_file(&self) -> LiveFile {
        let digest = self.scan.digest_at(self.scan.end).unwrap_or_default();
        let (file_id, end, last_version) = (self.newest.header.file_id, self.scan.end, self.scan.last_version);
        LiveFile { file_id, end, last_version, digest }
    }

    /// The file before the newest one if its end is torn as a crash tears it: it, as far as it is whole. Nothing of the
    /// newest one is believed then.
    pub fn torn_previous(&self) -> Option<LiveFile> {
        let Previous { scan, listed, loaded, .. } =
            self.previous.as_ref().filter(|previous| previous.scan.end < previous.listed.end)?;
        let last_version = scan.version_at(scan.end, &loaded.header);
        Some(LiveFile { end: scan.end, last_version, digest: scan.digest_at(scan.end).unwrap_or_default(), ..*listed })
    }

    /// The version of the first change in the newest file.
    pub fn newest_first_version(&self) -> u64 {
        self.newest.header.first_version
    }

    /// Begins a new epoch in a new journal file, with these live files and the newest one before it.
    pub fn go_on(&self, storage: &Arc<dyn Storage>, mut manifest: Manifest, options: &RecoverOptions) -> Result<()> {
        let newest = &self.newest;
        newest.handle.sync().map_err(|error| Error::io("sync", &newest.path, error))?;
        let last = self.newest_file();
        manifest.journals.push(last);
        self.begin_epoch(storage, manifest, (last.last_version, last.last_version), options)?;
        let file = JournalFile::new(&**storage, newest.header.clone(), newest.handle.clone(), last.end);
        name_successor(&file, newest.header.file_id + 1)
    }

    /// Begins a new epoch in a new journal file, with these live files before it, which hold or make up for all versions
    /// up to the second one of `versions`; whoever knows more than the first has to forget it.
    pub fn begin_epoch(
        &self,
        storage: &Arc<dyn Storage>,
        manifest: Manifest,
        (epoch_end, last_version): (u64, u64),
        options: &RecoverOptions,
    ) -> Result<()> {
        let mut open = self.scan.open.clone();
        open.epochs.advance(Version(epoch_end), draw_epoch(&**storage)?);
        open.unsynced = false;
        let next = NextFile {
            uuid: self.newest.header.uuid,
            file_id: self.newest.header.file_id + 1,
            first_version: last_version + 1,
            is_cut: true,
            stamped_version: Some(last_version),
            files: Files { open, manifest },
        };
        make_file(storage, &next, options.journal_bytes, &[]).map(|_| ())
    }
}

/// Makes the next journal file after ones whose own lists are damaged.
pub(crate) fn begin_with_list(
    storage: &Arc<dyn Storage>,
    (uuid, file_id, first_version): ([u8; 16], u64, u64),
    open: Option<OpenMark>,
    manifest: Manifest,
    options: &RecoverOptions,
) -> Result<()> {
    let open = match open {
        Some(open) => open,
        None => OpenMark { unsynced: false, epochs: Epochs { current: draw_epoch(&**storage)?, ended: Vec::new() } },
    };
    let next = NextFile {
        uuid,
        file_id,
        first_version,
        is_cut: true,
        stamped_version: Some(first_version - 1),
        files: Files { open, manifest },
    };
    make_file(storage, &next, options.journal_bytes, &[]).map(|_| ())
}
