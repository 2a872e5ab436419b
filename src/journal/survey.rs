//! What a journal file says by itself when the list that should name it cannot be read.
//! Owns: going through such a file, its lists and what it knows of its neighbours. May touch: every journal module, `storage`.
//! Never: writes, or believes bytes without their checksum.

use super::file::{journal_name, load_first_page};
use super::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_PAYLOAD_MAX, FrameKind, digest_frame, frame_bytes};
use super::header::{FRAMES_OFFSET, journal_seed};
use super::live::{Files, OpenMark, decode_closing};
use super::manifest::{Installed, LiveFile};
use super::salvage::{each_record, good_frames};
use crate::change;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Storage, StorageFile};

/// What is known of a journal file by what can be read of it.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub file_id: u64,
    /// What its first page says, if that is whole.
    pub uuid: Option<[u8; 16]>,
    pub first_version: Option<u64>,
    /// The id of the file before it, and where the live frames of that end.
    pub predecessor: Option<(u64, u64)>,
    /// The file that goes on from it, if it names one.
    pub successor: Option<u64>,
    /// What its good frames add up to.
    pub found: LiveFile,
    /// The ends of its good frames, with the last version and the digest up to there.
    pub ends: Vec<(u64, u64, u64)>,
    /// The list at its beginning, with what was installed after that, and the newest open mark.
    pub files: Option<Files>,
    /// Nobody knows how many changes there were behind the last one that is known.
    pub is_open_ended: bool,
}

/// Goes through the journal with this id; `None` if it is not there, or bears none of `uuids`, if any are known.
pub(crate) fn survey(storage: &dyn Storage, file_id: u64, uuids: &[[u8; 16]]) -> Result<Option<Surveyed>> {
    let name = journal_name(file_id);
    let path = storage.path(&name);
    let handle = match storage.open(&name) {
        Ok(handle) => handle,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", &path, error)),
    };
    let page = match load_first_page(&*handle, &path, file_id) {
        Ok(page) => Some(page),
        Err(error) if error.kind() == ErrorKind::Corruption => None,
        Err(error) => return Err(error),
    };
    if page.as_ref().is_some_and(|page| !uuids.is_empty() && !uuids.contains(&page.header.uuid)) {
        return Ok(None);
    }
    let seeds: Vec<u32> = match &page {
        Some(page) => vec![page.header.seed()],
        None => uuids.iter().filter_map(|uuid| journal_seed(&*handle, uuid, file_id)).collect(),
    };
    let written_end = written_end(&*handle).map_err(|error| Error::io("read", &path, error))?;
    // A frame may end with zeros.
    let limit = (written_end + frame_bytes(FRAME_PAYLOAD_MAX) as u64).min(handle.length());
    let mut surveyed = Surveyed {
        file_id,
        uuid: page.as_ref().map(|page| page.header.uuid),
        first_version: page.as_ref().map(|page| page.header.first_version),
        predecessor: page.as_ref().map(|page| (page.header.predecessor_id, page.header.predecessor_end)),
        successor: page.as_ref().and_then(|page| page.successor),
        found: LiveFile { file_id, end: FRAMES_OFFSET, last_version: 0, digest: 0 },
        ends: Vec::new(),
        files: None,
        is_open_ended: true,
    };
    for seed in seeds {
        let (mut proven, mut digest) = (page.as_ref().map_or(0, |page| page.stamp.synced), 0);
        let stamped = page.as_ref().map_or(0, |page| page.stamp.version);
        let mut last_version = surveyed.first_version.map_or(0, |first| first - 1);
        let mut last_end = FRAMES_OFFSET;
        let bad = good_frames(&*handle, &path, seed, limit, &mut |offset, header, bytes| {
            last_end = offset + header.frame_bytes() as u64;
            proven = proven.max(header.synced_up_to.into());
            if let Some(first) = surveyed.first_version {
                last_version = last_version.max(first + u64::from(header.version_delta) - 1);
            }
            let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.payload_bytes).unwrap_or_default();
            match header.kind {
                FrameKind::Files if offset == FRAMES_OFFSET => surveyed.files = Files::decode(payload),
                FrameKind::Changes => each_record(header, bytes, &mut |start, length| {
                    let mut record = &bytes[start..start + length];
                    let decoded = change::decode_length(&mut record).and_then(|_| change::decode(record));
                    last_version = last_version.max(decoded.map_or(0, |decoded| decoded.commit.version));
                }),
                FrameKind::Open => {
                    if let (Some(files), Some(open)) = (&mut surveyed.files, OpenMark::decode(payload)) {
                        files.open = open;
                    }
                }
                FrameKind::Installed => {
                    if let (Some(files), Some(installed)) = (&mut surveyed.files, Installed::decode(payload)) {
                        let mut manifest = files.manifest.clone();
                        // One that does not follow rests on one that is lost.
                        if manifest.install(&installed).is_ok() {
                            files.manifest = manifest;
                        }
                    }
                }
                FrameKind::Close => proven = proven.max(offset),
                FrameKind::Closing => {
                    surveyed.successor = decode_closing(payload).or(surveyed.successor);
                    return;
                }
                FrameKind::Files | FrameKind::Messages => {}
            }
            digest = digest_frame(digest, bytes);
            surveyed.ends.push((last_end, last_version, digest));
            surveyed.found = LiveFile { file_id, end: last_end, last_version, digest };
        })?;
        if surveyed.ends.is_empty() && surveyed.successor.is_none() {
            continue;
        }
        surveyed.found.last_version = surveyed.found.last_version.max(stamped);
        let is_torn = bad.last().is_some_and(|(from, _)| last_end <= *from && *from < written_end);
        // A tail that no proof reaches is what a crash leaves, and was never acknowledged as synced.
        surveyed.is_open_ended = if page.is_none() { is_torn } else { last_end < proven };
        break;
    }
    if surveyed.is_open_ended {
        // Whatever good frame is found later lies below this.
        surveyed.found.end = surveyed.found.end.max(written_end).max(FRAMES_OFFSET + FRAME_ALIGN as u64);
    }
    Ok(Some(surveyed))
}

/// Where the written bytes of a file end: behind the last that is no zero, at the end of a whole frame's alignment.
fn written_end(handle: &dyn StorageFile) -> std::io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = handle.length();
    let mut bytes = vec![0; STEP as usize];
    while end > FRAMES_OFFSET {
        let start = end.saturating_sub(STEP).max(FRAMES_OFFSET);
        let part = &mut bytes[..(end - start) as usize];
        handle.read_at(start, part)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok((start + last as u64 + 1).next_multiple_of(FRAME_ALIGN as u64).min(handle.length()));
        }
        end = start;
    }
    Ok(FRAMES_OFFSET)
}
