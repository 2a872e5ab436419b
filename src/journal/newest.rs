//! The newest two journal files: what of them is believed, what is cut, what is copied on.
//! Owns: that judgement, the rows of docs/durability.md about it. May touch: `directory`, `frame`, `header`,
//! `live`, `manifest`, `scan`, `storage`.
//! Never: writes anything, but for syncing what it is about to believe.

use super::directory::open_own;
use super::frame::FrameKind;
use super::header::{FRAMES_OFFSET, STAMP_UNNAMED};
use super::live::OpenMark;
use super::manifest::{LiveFile, Manifest};
use super::scan::{FrameAt, Loaded, Scan};
use crate::error::{Error, Result};
use crate::storage::Storage;
use std::path::PathBuf;

/// Bytes that recovery left out. They stay in the file, or in one named `*.evidence`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CutTail {
    /// The file.
    pub file: PathBuf,
    /// Where its believable bytes end.
    pub offset: u64,
    /// How many bytes from there on were written, in this file and the next.
    pub bytes: u64,
}

/// The file before the newest one, as far as it can be believed. There is none if that file is sealed: before it
/// was, all of it was synced, and its frames are not looked at.
pub(super) struct Previous {
    pub loaded: Loaded,
    pub scan: Scan,
    pub listed: LiveFile,
    /// All of it was synced.
    proven: bool,
}

impl Previous {
    pub fn load(
        storage: &dyn Storage,
        listed: &LiveFile,
        uuids: &[[u8; 16]],
        newest: &Loaded,
        newest_scan: &Scan,
    ) -> Result<Previous> {
        let loaded = open_own(storage, listed.file_id, uuids)?.load()?;
        loaded.handle.sync().map_err(|error| Error::io("sync", &loaded.path, error))?;
        let scan = loaded.scan(Some(listed.end))?;
        let proven = newest.header.is_cut || newest_scan.proves_predecessors || scan.proven >= listed.end;
        let torn = scan.end < listed.end;
        if torn && (proven || scan.proven > scan.end) {
            return Err(bad_frame(&loaded, &scan));
        }
        if !torn {
            check_listed(&loaded, &scan, listed)?;
        }
        Ok(Previous { loaded, scan, listed: *listed, proven })
    }
}

/// What becomes of one of the newest two files.
pub(super) struct Part<'a> {
    pub loaded: &'a Loaded,
    pub scan: &'a Scan,
    /// Frames below this stay where they are.
    keep_end: u64,
    /// The frames from there to here are copied on.
    pub(super) copy_end: u64,
}

impl Part<'_> {
    /// A small proven start is copied too, so that a store that crashes often does not fill the disk
    /// with nearly empty files.
    fn judge<'a>(loaded: &'a Loaded, scan: &'a Scan, proven: u64, copy_end: u64) -> Part<'a> {
        let first_frame_end = scan.frames[0].end();
        let proven = scan.frames.iter().map(FrameAt::end).rfind(|end| *end <= proven).unwrap_or(first_frame_end);
        let keep = proven.min(copy_end);
        let keep_end = if keep < loaded.header.file_bytes / 4 { 0 } else { keep };
        Part { loaded, scan, keep_end, copy_end }
    }

    pub fn kept(&self) -> Option<LiveFile> {
        let digest = self.scan.digest_at(self.keep_end)?;
        Some(LiveFile {
            file_id: self.loaded.header.file_id,
            end: self.keep_end,
            last_version: self.scan.version_at(self.keep_end, &self.loaded.header),
            digest,
        })
    }

    pub fn copied(&self) -> impl Iterator<Item = FrameAt> + '_ {
        let range = self.keep_end..self.copy_end;
        let changes = |frame: &&FrameAt| frame.header.kind == FrameKind::Changes;
        self.scan.frames.iter().filter(changes).filter(move |frame| range.contains(&frame.offset)).copied()
    }

    pub fn last_version(&self) -> u64 {
        self.scan.version_at(self.copy_end, &self.loaded.header)
    }
}

/// What becomes of the newest two files.
pub(super) struct Tail<'a> {
    pub parts: Vec<Part<'a>>,
    pub goes_on_in_place: bool,
    pub cut: Option<CutTail>,
    pub open: OpenMark,
    /// The live files before the newest, as its believed frames leave them.
    pub manifest: &'a Manifest,
}

impl<'a> Tail<'a> {
    pub fn judge(previous: Option<&'a Previous>, newest: &'a Loaded, scan: &'a Scan) -> Result<Tail<'a>> {
        if scan.bad.is_some() && scan.proven > scan.end {
            return Err(bad_frame(newest, scan));
        }
        if scan.bad.is_none() && scan.proven > scan.end {
            // Synced frames are gone and zeros stand there.
            return Err(Error::corruption_at(&newest.path, scan.end, "a frame that was synced", "zeros"));
        }
        let mut open = scan.open.clone();
        let whole = |previous: &&'a Previous| previous.scan.end == previous.listed.end;
        if let Some(torn) = previous.filter(|previous| !whole(previous)) {
            // The newest file lies beyond the cut, but its list was synced before it had a name.
            open = scan.files.open.clone();
            open.unsynced |= torn.scan.open.unsynced;
            let loaded = &torn.loaded;
            let part = Part::judge(loaded, &torn.scan, torn.scan.proven, torn.scan.end);
            let bytes = written(&loaded.bytes, torn.scan.end) + written(&newest.bytes, FRAMES_OFFSET);
            let cut = Some(CutTail { file: loaded.path.clone(), offset: torn.scan.end, bytes });
            // What it installed was not acknowledged, so what that replaces is still there.
            let manifest = &scan.files.manifest;
            return Ok(Tail { parts: vec![part], goes_on_in_place: false, cut, open, manifest });
        }
        let cut = scan.bad.map(|_| CutTail {
            file: newest.path.clone(),
            offset: scan.end,
            bytes: written(&newest.bytes, scan.end),
        });
        let mut parts = Vec::new();
        let previous_proven = previous.is_none_or(|previous| previous.proven);
        if let Some(previous) = previous {
            let end = previous.listed.end;
            let proven = if previous.proven { end } else { previous.scan.proven };
            parts.push(Part::judge(&previous.loaded, &previous.scan, proven, end));
        }
        if previous_proven {
            // A proven file stays as it is, however short it is.
            parts.iter_mut().for_each(|part| part.keep_end = part.copy_end);
            let mut part = Part::judge(newest, scan, scan.proven, scan.end);
            if newest.stamp.counter <= STAMP_UNNAMED {
                // Its name may not be durable, so nothing may depend on it.
                part.keep_end = 0;
            }
            parts.push(part);
        } else {
            parts.push(Part { loaded: newest, scan, keep_end: 0, copy_end: scan.end });
        }
        let all_proven = previous_proven && newest.stamp.counter > STAMP_UNNAMED && newest.stamp.synced == scan.end;
        let goes_on_in_place = all_proven && cut.is_none();
        Ok(Tail { parts, goes_on_in_place, cut, open, manifest: &scan.manifest })
    }
}

/// Checks a file that was synced as a whole against what its successors say about it.
pub(super) fn check_listed(loaded: &Loaded, scan: &Scan, listed: &LiveFile) -> Result<()> {
    if scan.end != listed.end {
        return Err(bad_frame(loaded, scan));
    }
    if scan.digest_at(listed.end) != Some(listed.digest) || scan.last_version != listed.last_version {
        return Err(Error::corruption_at(
            &loaded.path,
            FRAMES_OFFSET,
            "the frames its successors list",
            "other frames",
        ));
    }
    Ok(())
}

fn bad_frame(loaded: &Loaded, scan: &Scan) -> Error {
    match scan.bad {
        Some(bad) => Error::corruption_at(&loaded.path, scan.end, bad.expected, bad.found.to_string()),
        None => Error::corruption_at(&loaded.path, scan.end, "a frame", "zeros"),
    }
}

/// How many bytes from `offset` on are not the zeros of an unwritten end.
fn written(bytes: &[u8], offset: u64) -> u64 {
    let rest = &bytes[offset as usize..];
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}
