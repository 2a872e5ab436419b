//! Looks at every byte of journal files, and at a whole journal without opening it for writing.
//! Owns: what a whole journal file must be, byte for byte. May touch: every journal module, `storage`.
//! Never: changes a byte or a name, or takes what a crash may leave for damage.

use super::directory::SealedJournal;
use super::directory::{check_present_each, check_strays, has, list, missing, open_own, open_sealed};
use super::file::{digest_frame, journal_id, journal_name, judge_first_page};
use super::frame::{self, FrameKind};
use super::header::{FRAMES_OFFSET, FirstPage, UUID_OFFSET, damaged_slots, read_page};
use super::live::{Files, OpenMark, decode_closing};
use super::manifest::{Installed, LiveFile, Manifest};
use super::newest::{CutTail, Previous, Tail, check_listed};
use super::records::take_record;
use super::recover::{Found, ReplayTarget, check_versions};
use super::scan::{Loaded, Opened, Scan};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Storage, StorageFile};
use std::path::Path;

/// So many bytes behind the frames are looked at at once; the first one of them that is not zero is told.
const STEP_BYTES: usize = 512;
/// After so many of them that are not, the rest of the file is not looked at.
const STEPS_TOLD_MAX: usize = 256;
const ZEROS: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// Runs what it is given while nobody writes.
pub(crate) type Still<'a> = dyn Fn(&mut dyn FnMut() -> Result<()>) -> Result<()> + 'a;

/// A journal file to look at.
pub(crate) struct JournalSubject<'a> {
    pub handle: &'a dyn StorageFile,
    pub path: &'a Path,
    pub file_id: u64,
    /// What it may bear; anything if there are none.
    pub uuids: &'a [[u8; 16]],
    /// What its successors say of it, if anything is known of that.
    pub listed: Option<&'a LiveFile>,
    /// Of the file that is being written: where its frames end now.
    pub end_now: Option<&'a dyn Fn() -> u64>,
    /// Does something while nobody writes to the file.
    pub still: &'a Still<'a>,
}

/// Damage is told, everything else is an error.
pub(crate) fn sort_out(error: Error, damage: &mut dyn FnMut(Error)) -> Result<()> {
    match error.kind() {
        ErrorKind::Corruption => damage(error),
        _ => return Err(error),
    }
    Ok(())
}

impl JournalSubject<'_> {
    /// Gives `damage` what is wrong with the file. An error means that it could not be read.
    pub fn verify(&self, damage: &mut dyn FnMut(Error)) -> Result<()> {
        let Some(page) = self.first_page(damage)? else { return Ok(()) };
        let limit = match (self.listed, self.end_now) {
            (Some(listed), _) => listed.end,
            (None, Some(end_now)) => end_now(),
            (None, None) => self.handle.length(),
        };
        if limit > self.handle.length() {
            damage(self.damaged(self.handle.length(), "the frames that its successors list"));
            return Ok(());
        }
        let Some(walked) = self.frames(&page, limit, damage)? else { return Ok(()) };
        if let Some(listed) = self.listed
            && (walked.digest, walked.last_version) != (listed.digest, listed.last_version)
        {
            damage(self.damaged(FRAMES_OFFSET, "the frames that its successors list"));
        }
        let is_closed = walked.is_closed || self.listed.is_some();
        let mut zeros_from = walked.end;
        if is_closed && !walked.is_closed {
            match self.closing_frame(&page, walked.end)? {
                Ok(end) => zeros_from = end,
                // What recovery cut off stays behind the end, and the first page names who went on.
                Err(_) if page.successor.is_some() => return Ok(()),
                Err(error) => {
                    damage(error);
                    return Ok(());
                }
            }
        }
        if page.successor.is_some() {
            return Ok(());
        }
        self.zeros(zeros_from, damage)
    }

    fn first_page(&self, damage: &mut dyn FnMut(Error)) -> Result<Option<FirstPage>> {
        let mut bytes = None;
        (self.still)(&mut || {
            bytes = read_page(self.handle).map_err(|error| Error::io("read", self.path, error))?;
            Ok(())
        })?;
        let page = match judge_first_page(bytes.as_ref(), self.handle.length(), self.path, self.file_id) {
            Ok(page) => page,
            Err(error) => return sort_out(error, damage).map(|()| None),
        };
        if !self.uuids.is_empty() && !self.uuids.contains(&page.header.uuid) {
            damage(self.damaged(UUID_OFFSET, "a file of this store"));
            return Ok(None);
        }
        for (offset, expected) in bytes.iter().flat_map(|bytes| damaged_slots(bytes, page.header.seed())) {
            damage(self.damaged(offset, expected));
        }
        Ok(Some(page))
    }

    /// Goes through the frames up to `limit`; `None` if one is bad.
    fn frames(&self, page: &FirstPage, limit: u64, damage: &mut dyn FnMut(Error)) -> Result<Option<Walked>> {
        let (seed, first_version) = (page.header.seed(), page.header.first_version);
        let mut walked = Walked { end: FRAMES_OFFSET, last_version: first_version - 1, digest: 0, is_closed: false };
        let mut buffer = Vec::new();
        while walked.end < limit && !walked.is_closed {
            let offset = walked.end;
            let bytes = match self.frame_bytes(offset, limit, &mut buffer)? {
                Some(bytes) => bytes,
                // Where nobody says how far the frames go, zeros are their end.
                None if self.listed.is_none() && self.end_now.is_none() && offset > FRAMES_OFFSET => break,
                None => {
                    damage(self.damaged(offset, "a frame"));
                    return Ok(None);
                }
            };
            let checked = frame::decode(bytes, seed, offset)
                .map_err(|bad| Error::corruption_at(self.path, offset, bad.expected, bad.found.to_string()))
                .and_then(|(header, payload)| {
                    let version = first_version + u64::from(header.version_delta);
                    if version != walked.last_version + 1 {
                        return Err(self.damaged(offset, "a frame that continues the versions"));
                    }
                    let count = self.payload(header.kind, payload, offset, version)?;
                    Ok((header, count))
                });
            match checked {
                Ok((header, count)) => {
                    walked.is_closed = header.kind == FrameKind::Closing;
                    if !walked.is_closed {
                        walked.digest = digest_frame(walked.digest, bytes);
                    }
                    walked.last_version += count;
                    walked.end += header.frame_bytes() as u64;
                }
                Err(error) => {
                    damage(error);
                    return Ok(None);
                }
            }
        }
        Ok(Some(walked))
    }

    /// The bytes of the frame at `offset`, not checked; `None` if only zeros follow.
    fn frame_bytes<'b>(&self, offset: u64, limit: u64, buffer: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>> {
        let room = (limit - offset) as usize;
        let mut length = room.min(frame::FRAME_HEADER_BYTES);
        loop {
            buffer.resize(length, 0);
            self.handle.read_at(offset, buffer).map_err(|error| Error::io("read", self.path, error))?;
            let wanted = frame::peek_header(buffer).map_or(length, |header| header.frame_bytes().min(room));
            if wanted <= length {
                break;
            }
            length = wanted;
        }
        let is_zero = buffer.iter().all(|byte| *byte == 0) && self.first_written(offset, limit)?.is_none();
        Ok((!is_zero).then_some(&buffer[..]))
    }

    /// Checks what a frame says; gives how many changes are in it.
    fn payload(&self, kind: FrameKind, payload: &[u8], offset: u64, version: u64) -> Result<u64> {
        let is_good = match kind {
            FrameKind::Changes => {
                let (mut rest, mut count) = (payload, 0);
                while !rest.is_empty() {
                    let decoded = take_record(&mut rest).filter(|decoded| decoded.commit.version == version + count);
                    if decoded.is_none() {
                        return Err(self.damaged(offset, "records of changes in their order"));
                    }
                    count += 1;
                }
                return Ok(count);
            }
            FrameKind::Files => offset == FRAMES_OFFSET && Files::decode(payload).is_some(),
            FrameKind::Open => OpenMark::decode(payload).is_some(),
            FrameKind::Installed => Installed::decode(payload).is_some(),
            FrameKind::Close => payload.is_empty(),
            FrameKind::Closing => decode_closing(payload).is_some_and(|successor| successor > self.file_id),
            FrameKind::Messages => false,
        };
        if is_good { Ok(0) } else { Err(self.damaged(offset, "a frame of this kind")) }
    }

    /// Where the closing frame at `offset` ends, or why there is none.
    fn closing_frame(&self, page: &FirstPage, offset: u64) -> Result<Result<u64>> {
        let mut buffer = Vec::new();
        let Some(bytes) = self.frame_bytes(offset, self.handle.length(), &mut buffer)? else {
            return Ok(Err(self.damaged(offset, "a closing frame")));
        };
        Ok(match frame::decode(bytes, page.header.seed(), offset) {
            Ok((header, payload)) if header.kind == FrameKind::Closing => {
                self.payload(header.kind, payload, offset, 0).map(|_| offset + header.frame_bytes() as u64)
            }
            Ok(_) => Err(self.damaged(offset, "a closing frame")),
            Err(bad) => Err(Error::corruption_at(self.path, offset, bad.expected, bad.found.to_string())),
        })
    }

    /// Whether only zeros follow from `start` on, or from where the file is written to by now.
    fn zeros(&self, start: u64, damage: &mut dyn FnMut(Error)) -> Result<()> {
        let (mut offset, mut told) = (start, 0);
        while offset < self.handle.length() && told < STEPS_TOLD_MAX {
            let end = (offset + 1).next_multiple_of(STEP_BYTES as u64).min(self.handle.length());
            let mut found = None;
            (self.still)(&mut || {
                let written_to = self.end_now.map_or(0, |end_now| end_now());
                found = self.first_written(offset.max(written_to).min(end), end)?;
                Ok(())
            })?;
            if let Some(at) = found {
                damage(self.damaged(at, "0"));
                told += 1;
            }
            offset = end;
        }
        Ok(())
    }

    fn first_written(&self, start: u64, end: u64) -> Result<Option<u64>> {
        let mut bytes = ZEROS;
        let mut offset = start;
        while offset < end {
            let part = &mut bytes[..(end - offset).min(STEP_BYTES as u64) as usize];
            self.handle.read_at(offset, part).map_err(|error| Error::io("read", self.path, error))?;
            if *part != ZEROS[..part.len()]
                && let Some(index) = part.iter().position(|byte| *byte != 0)
            {
                return Ok(Some(offset + index as u64));
            }
            offset += part.len() as u64;
        }
        Ok(None)
    }

    fn damaged(&self, offset: u64, expected: &str) -> Error {
        Error::corruption_at(self.path, offset, expected, "other bytes")
    }
}

/// What the frames of a file add up to.
struct Walked {
    end: u64,
    last_version: u64,
    digest: u64,
    is_closed: bool,
}

/// A journal as it lies in a directory, read without changing anything.
pub(crate) struct Examined {
    pub(super) newest: Loaded,
    pub(super) scan: Scan,
    pub(super) previous: Option<Previous>,
    /// The live files before the newest journal.
    pub manifest: Manifest,
    pub uuids: Vec<[u8; 16]>,
    /// What an opening would cut.
    pub cut: Option<CutTail>,
}

/// Reads the newest end of the journal in `storage` and judges it as an opening would. `None` if that is damaged,
/// of which `damage` is told; an error also if there is no journal at all.
pub(crate) fn examine(storage: &dyn Storage, damage: &mut dyn FnMut(Error)) -> Result<Option<Examined>> {
    let names = list(storage)?;
    let Some(newest_id) = names.iter().filter_map(|name| journal_id(name)).max() else {
        return Err(Error::corruption_at(&storage.path(""), 0, "a journal file", "none"));
    };
    match examine_newest(storage, &names, newest_id, damage) {
        Ok(examined) => Ok(Some(examined)),
        Err(error) => sort_out(error, damage).map(|()| None),
    }
}

fn examine_newest(
    storage: &dyn Storage,
    names: &[String],
    newest_id: u64,
    damage: &mut dyn FnMut(Error),
) -> Result<Examined> {
    let newest = Opened::open(storage, newest_id)?.load()?;
    let scan = newest.scan(None)?;
    if let Some(successor) = scan.successor.or(newest.successor) {
        return Err(missing(storage, successor, "the file its predecessor names as successor"));
    }
    let mut uuids = vec![newest.header.uuid];
    uuids.extend_from_slice(&scan.manifest.lineage);
    let previous = match scan.manifest.unsealed().last() {
        Some(file) if has(names, &journal_name(file.file_id)) => {
            match Previous::load(storage, file, &uuids, &newest, &scan) {
                Ok(previous) => Some(previous),
                // What the newest one says can be believed all the same.
                Err(error) => sort_out(error, damage).map(|()| None)?,
            }
        }
        // That it is missing shows with the others.
        _ => None,
    };
    let tail = Tail::judge(previous.as_ref(), &newest, &scan)?;
    let (manifest, cut) = (tail.manifest.clone(), tail.cut.clone());
    let last_version = tail.parts.iter().map(|part| part.last_version()).max().unwrap_or(0);
    check_versions(&manifest, last_version, &newest, &scan).or_else(|error| sort_out(error, damage))?;
    check_present_each(storage, names, &manifest, &mut |error| sort_out(error, damage))?;
    check_strays(storage, names, newest_id, &manifest, &uuids).map(|_| ()).or_else(|error| sort_out(error, damage))?;
    let first_page = read_page(&*newest.handle).map_err(|error| Error::io("read", &newest.path, error))?;
    for (offset, expected) in first_page.iter().flat_map(|page| damaged_slots(page, newest.header.seed())) {
        damage(Error::corruption_at(&newest.path, offset, expected, "other bytes"));
    }
    Ok(Examined { newest, scan, previous, manifest, uuids, cut })
}

impl Examined {
    /// The length of the newest file.
    pub fn newest_bytes(&self) -> u64 {
        self.newest.bytes.len() as u64
    }

    /// Whether a listed file is the one that would be cut, so that what is listed of it does not hold.
    pub fn is_cut(&self, file: &LiveFile) -> bool {
        self.previous
            .as_ref()
            .is_some_and(|previous| previous.listed.file_id == file.file_id && previous.scan.end < previous.listed.end)
    }

    /// Hands what an opening would replay to `target`. All live files are there and whole.
    pub fn replay(&self, storage: &dyn Storage, target: &mut dyn ReplayTarget) -> Result<()> {
        let sealed = self.manifest.sealed().iter().map(|file| open_sealed(storage, file, &self.uuids));
        let sealed = sealed.collect::<Result<Vec<SealedJournal>>>()?;
        target.begin(&Found { manifest: &self.manifest, sealed: &sealed, uuids: &self.uuids })?;
        let older = self.manifest.unsealed();
        for file in &older[..older.len() - usize::from(self.previous.is_some())] {
            let loaded = open_own(storage, file.file_id, &self.uuids)?.load()?;
            let scan = loaded.scan(Some(file.end))?;
            check_listed(&loaded, &scan, file)?;
            loaded.replay(&scan, file.end, &mut |replayed| target.apply(replayed))?;
        }
        if let Some(Previous { loaded, scan, .. }) = &self.previous {
            loaded.replay(scan, scan.end, &mut |replayed| target.apply(replayed))?;
        }
        if self.previous.as_ref().is_none_or(|previous| previous.scan.end == previous.listed.end) {
            self.newest.replay(&self.scan, self.scan.end, &mut |replayed| target.apply(replayed))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
