//! The list of live files made anew, of what the files in the directory say of themselves.
//! Owns: which files are live if no newest journal says it. May touch: `journal`, `segment`, `unit`.
//! Never: takes a file away, or makes another than the journal file that holds the list.
//!
//! The list names what is damaged or missing as well, so that a repair goes on with it as with any other, and begins at
//! the same point again if it is cut short: what it makes is in no list until it is done.

use crate::error::{Error, ErrorKind, Result};
use crate::journal::{
    LiveFile, Manifest, RecoverOptions, Surveyed, UUID_OFFSET, begin_with_list, journal_id, journal_name, survey,
};
use crate::segment::{SegmentHeader, SegmentInfo, SegmentKind, Table, read_header, segment_id, segment_name};
use crate::storage::Storage;
use crate::unit::messages_info;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many versions are left out where nobody knows how many there were: no file has room for more changes.
pub(super) const VERSIONS_SKIPPED: u64 = 1 << 29;
/// A file of which nothing is known but that it is missing is listed with this end.
const MISSING_END: u64 = 4096 + 8;
/// No more journals than this are listed for a hole in the versions.
const MISSING_MAX: u64 = 1_024;

/// A segment as far as it can be read.
struct Candidate {
    info: SegmentInfo,
    /// `None` if its first page is damaged, or the file missing.
    header: Option<SegmentHeader>,
    is_there: bool,
}

/// What covers a stretch of journals.
struct Covered {
    lo: u64,
    hi: u64,
    first_version: Option<u64>,
    last_version: u64,
}

/// Begins a new journal file with a list of what is, or should be, in the directory.
pub(super) fn write_list(storage: &Arc<dyn Storage>, options: &RecoverOptions) -> Result<()> {
    let names = storage.list().map_err(|error| Error::io("list", &storage.path(""), error))?;
    let mut ids: Vec<u64> = names.iter().filter_map(|name| journal_id(name)).collect();
    ids.sort_unstable();
    let mut segments: Vec<(SegmentKind, u64)> = names.iter().filter_map(|name| segment_id(name)).collect();
    segments.sort_unstable_by_key(|(kind, id)| (*kind as u8, *id));
    let uuids = find_uuids(&**storage, &ids, &segments)?;
    let Some(own) = uuids.first().copied() else {
        return Err(Error::corruption_at(&storage.path(""), 0, "a file that says of which store it is", "none"));
    };
    let mut journals: BTreeMap<u64, Surveyed> = BTreeMap::new();
    for id in ids.iter().copied() {
        if let Some(surveyed) = survey(&**storage, id, &uuids)? {
            journals.insert(id, surveyed);
        }
    }
    // The newest list that can be read says most; what is newer than it shows by itself.
    let listed = journals.values().rev().find_map(|surveyed| surveyed.files.as_ref().map(|files| (surveyed, files)));
    let base = listed.map_or_else(Manifest::new, |(_, files)| files.manifest.clone());
    let open = listed.map(|(_, files)| files.open.clone());
    let base_id = listed.map_or(0, |(surveyed, _)| surveyed.file_id);

    let mut manifest = Manifest::new();
    manifest.purged_version = base.purged_version;
    let mut lineage: Vec<[u8; 16]> = uuids[1..].to_vec();
    lineage.truncate(64);
    manifest.lineage = lineage;
    let candidates = find_segments(&**storage, &segments, &base, &uuids)?;
    let newest_segment = segments.iter().map(|(_, id)| id + 1).max().unwrap_or(1);
    manifest.next_segment = base.next_segment.max(newest_segment);

    let rows = live_rows(&candidates);
    let rows_version = rows.iter().filter_map(|at| at.header.as_ref()).map(|header| header.last_version).max();
    let messages = live_messages(&candidates);
    let covers = |id: u64| {
        let ranges = messages.iter().filter_map(|at| at.header.as_ref()).map(|header| header.first..=header.last);
        ranges.into_iter().any(|range| range.contains(&id))
    };
    // A journal is sealed if a list says so, if a merge took it, or if it has its index and the rows with it.
    (manifest.sealed_through, manifest.sealed_version) = (base.sealed_through, base.sealed_version);
    let readable = candidates.iter().filter_map(|at| at.header.as_ref());
    for header in readable.filter(|header| header.kind != SegmentKind::Rows) {
        let is_sealed = header.kind == SegmentKind::Messages || rows_version >= Some(header.last_version);
        if is_sealed && header.last > manifest.sealed_through {
            (manifest.sealed_through, manifest.sealed_version) = (header.last, header.last_version);
        }
    }
    let sealed_through = manifest.sealed_through;

    // What each journal's end is, by the lists of later ones, by the first page of the next, by itself.
    let mut ends: BTreeMap<u64, LiveFile> = BTreeMap::new();
    for surveyed in journals.values() {
        ends.entry(surveyed.file_id).or_insert(surveyed.found);
    }
    for surveyed in journals.values() {
        if let Some((id, end)) = surveyed.predecessor
            && let Some(before) = journals.get(&id)
            && let Some((end, last_version, digest)) = before.ends.iter().find(|(at, ..)| *at == end).copied()
        {
            ends.insert(id, LiveFile { file_id: id, end, last_version, digest });
        }
    }
    for file in
        journals.values().filter_map(|surveyed| surveyed.files.as_ref()).flat_map(|files| &files.manifest.journals)
    {
        ends.insert(file.file_id, *file);
    }

    let mut live: BTreeMap<u64, LiveFile> = BTreeMap::new();
    let indexed: BTreeSet<u64> = candidates
        .iter()
        .filter_map(|at| at.header.as_ref())
        .filter(|header| header.kind == SegmentKind::Index && header.first == header.last)
        .map(|header| header.first)
        .collect();
    for (id, file) in ends.iter().filter(|(id, _)| !covers(**id)) {
        let is_listed = base.journals.iter().any(|file| file.file_id == *id);
        let is_sealed = *id <= sealed_through;
        let is_live =
            if is_sealed { is_listed || indexed.contains(id) || base_id == 0 || *id >= base_id } else { true };
        // Recovery may have copied all that was in it.
        let superseded = journals.get(id).and_then(|surveyed| surveyed.first_version).is_some_and(|first| {
            let mut later = journals.range(id + 1..).filter_map(|(_, later)| later.first_version);
            later.any(|later| later <= first)
        });
        if is_live && (is_listed || !superseded) {
            live.insert(*id, *file);
        }
    }
    for id in indexed.iter().filter(|id| **id <= sealed_through && !covers(**id)) {
        let version = candidates.iter().filter_map(|at| at.header.as_ref()).find(|header| header.first == *id);
        let last_version = version.map_or(0, |header| header.last_version);
        live.entry(*id).or_insert(LiveFile { file_id: *id, end: MISSING_END, last_version, digest: 0 });
    }
    // Those that are named by others and are not there.
    let mut is_open_ended = false;
    let newest = journals.keys().next_back().copied().unwrap_or(sealed_through);
    for surveyed in journals.values() {
        let Some(successor) = surveyed.successor.filter(|id| *id > sealed_through && !journals.contains_key(id)) else {
            continue;
        };
        let is_replaced = journals.values().any(|other| {
            other.file_id > surveyed.file_id
                && other.first_version <= Some(surveyed.found.last_version + 1)
                && other.first_version.is_some()
        });
        if !is_replaced {
            live.entry(successor).or_insert(LiveFile {
                file_id: successor,
                end: MISSING_END,
                last_version: 0,
                digest: 0,
            });
            is_open_ended |= successor > newest;
        }
    }
    if live.keys().next_back().is_none_or(|id| *id <= sealed_through) {
        // There is always one that is in no segments.
        let file_id = sealed_through + 1;
        live.insert(file_id, LiveFile { file_id, end: MISSING_END, last_version: 0, digest: 0 });
        is_open_ended = true;
    }
    is_open_ended |= journals.get(&newest).is_some_and(|surveyed| surveyed.is_open_ended);

    // Holes in the versions are journals that nobody names.
    let mut covered: Vec<Covered> = Vec::new();
    for header in messages.iter().filter_map(|at| at.header.as_ref()) {
        let (lo, hi) = (header.first, header.last);
        let first_version = Some(header.first_version);
        covered.push(Covered { lo, hi, first_version, last_version: header.last_version });
    }
    for file in live.values() {
        let first_version = journals.get(&file.file_id).and_then(|surveyed| surveyed.first_version);
        covered.push(Covered { lo: file.file_id, hi: file.file_id, first_version, last_version: file.last_version });
    }
    covered.sort_by_key(|covered| covered.lo);
    let (mut next, mut version) = (1, 0);
    for at in &covered {
        if at.first_version.is_some_and(|first| first > version + 1) && at.lo > next && base_id == 0 {
            let last_version = at.first_version.unwrap_or(1) - 1;
            for id in next.max(at.lo.saturating_sub(MISSING_MAX))..at.lo {
                live.entry(id).or_insert(LiveFile { file_id: id, end: MISSING_END, last_version, digest: 0 });
            }
        }
        next = next.max(at.hi + 1);
        version = version.max(at.last_version);
    }

    manifest.segments = rows.into_iter().chain(messages.iter().copied()).map(|at| at.info).collect();
    let ranges: BTreeSet<(u64, u64, u8)> = messages
        .iter()
        .filter_map(|at| at.header.as_ref())
        .map(|header| (header.first, header.last, header.level))
        .chain(live.keys().filter(|id| **id <= sealed_through).map(|id| (*id, *id, 0)))
        .collect();
    let is_unknown = messages.iter().any(|at| at.header.is_none());
    manifest.segments.extend(candidates.iter().filter(|at| at.info.kind == SegmentKind::Index).filter_map(|at| {
        let is_live = match &at.header {
            Some(header) => ranges.contains(&(header.first, header.last, header.level)) || is_unknown,
            None => true,
        };
        is_live.then_some(at.info)
    }));
    manifest.segments.sort_by_key(|info| (info.kind as u8, info.id));
    manifest.segments.dedup_by_key(|info| (info.kind as u8, info.id));

    // Versions do not go back along the journals.
    let mut last_version = 0;
    manifest.journals = live.into_values().collect();
    for file in &mut manifest.journals {
        file.end = file.end.clamp(MISSING_END, u32::MAX.into());
        last_version = last_version.max(file.last_version);
        if file.file_id <= sealed_through {
            last_version = last_version.min(manifest.sealed_version);
        } else {
            last_version = last_version.max(manifest.sealed_version);
        }
        file.last_version = last_version;
    }
    let known = manifest.segments.iter().map(|info| info.last_version).max().unwrap_or(0);
    last_version = last_version.max(known).max(manifest.sealed_version).max(manifest.purged_version);
    if is_open_ended {
        last_version += VERSIONS_SKIPPED;
    }
    let file_id = ids.last().copied().unwrap_or(0).max(manifest.journals.last().map_or(0, |file| file.file_id));
    let file_id = file_id.max(sealed_through) + 1;
    begin_with_list(storage, (own, file_id, last_version + 1), open, manifest, options)
}

/// The uuids that live files may bear: first the store's own, by the newest file that says one, then those that lists name
/// as its ancestors'. If no list can be read, all there are.
fn find_uuids(storage: &dyn Storage, journals: &[u64], segments: &[(SegmentKind, u64)]) -> Result<Vec<[u8; 16]>> {
    let mut own = None;
    let mut ancestors: Option<Vec<[u8; 16]>> = None;
    let mut all = Vec::new();
    for id in journals.iter().rev() {
        let Some(surveyed) = survey(storage, *id, &[])? else { continue };
        let Some(uuid) = surveyed.uuid else { continue };
        own = own.or(Some(uuid));
        all.push(uuid);
        if ancestors.is_none()
            && let Some(files) = surveyed.files
        {
            ancestors = Some(files.manifest.lineage.iter().copied().chain([uuid]).collect());
        }
    }
    for (kind, id) in segments.iter().rev() {
        let name = segment_name(*kind, *id);
        let path = storage.path(&name);
        let handle = storage.open(&name).map_err(|error| Error::io("open", &path, error))?;
        match read_header(&*handle, &path) {
            Ok(header) => all.push(header.uuid),
            Err(error) if error.kind() == ErrorKind::Corruption => {}
            Err(error) => return Err(error),
        }
    }
    let mut own = own.or(all.first().copied());
    for id in journals.iter().rev().filter(|_| own.is_none()).copied().collect::<Vec<u64>>() {
        // A uuid by which frames are good is the right one, whatever is wrong with the page it stands in.
        let name = journal_name(id);
        let path = storage.path(&name);
        let handle = storage.open(&name).map_err(|error| Error::io("open", &path, error))?;
        let mut uuid = [0; 16];
        if handle.read_at(UUID_OFFSET, &mut uuid).is_ok()
            && survey(storage, id, &[uuid])?.is_some_and(|surveyed| !surveyed.ends.is_empty())
        {
            own = own.or(Some(uuid));
            all.push(uuid);
        }
    }
    let Some(own) = own else { return Ok(Vec::new()) };
    let mut uuids = vec![own];
    for uuid in ancestors.unwrap_or(all) {
        if !uuids.contains(&uuid) {
            uuids.push(uuid);
        }
    }
    Ok(uuids)
}

/// The segments that may be live: those the newest list names, and those that were made after it.
fn find_segments(
    storage: &dyn Storage,
    segments: &[(SegmentKind, u64)],
    base: &Manifest,
    uuids: &[[u8; 16]],
) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for (kind, id) in segments.iter().copied() {
        let listed = base.segments.iter().find(|info| (info.kind, info.id) == (kind, id)).copied();
        if listed.is_none() && id < base.next_segment {
            continue;
        }
        let name = segment_name(kind, id);
        let path = storage.path(&name);
        let handle = storage.open(&name).map_err(|error| Error::io("open", &path, error))?;
        let header = match read_header(&*handle, &path) {
            Ok(header) if !uuids.contains(&header.uuid) => continue,
            Ok(header) => Some(header),
            Err(error) if error.kind() == ErrorKind::Corruption => None,
            Err(error) => return Err(error),
        };
        let own = match kind {
            SegmentKind::Messages => messages_info(storage, id),
            SegmentKind::Index | SegmentKind::Rows => Table::info_of(storage, kind, id),
        };
        let last_version = header.as_ref().map_or(0, |header| header.last_version);
        let unknown = SegmentInfo { kind, id, bytes: handle.length(), last_version, digest: 0 };
        let info = match (listed, own) {
            (Some(listed), _) => listed,
            (None, Ok(own)) => own,
            (None, Err(error)) if error.kind() == ErrorKind::Corruption => unknown,
            (None, Err(error)) => return Err(error),
        };
        candidates.push(Candidate { info, header, is_there: true });
    }
    let is_there = |info: &SegmentInfo| segments.contains(&(info.kind, info.id));
    for info in base.segments.iter().filter(|info| !is_there(info)) {
        candidates.push(Candidate { info: *info, header: None, is_there: false });
    }
    // What is listed and gone may have been replaced since by what a merge made of it after the list.
    let newer: Vec<SegmentHeader> = candidates.iter().filter_map(|at| at.header.clone()).collect();
    let is_replaced = |info: &SegmentInfo| {
        newer.iter().filter(|header| header.kind == info.kind && header.id >= base.next_segment).any(|header| {
            header.level > 0 && header.first_version <= info.last_version && info.last_version <= header.last_version
        })
    };
    candidates.retain(|at| at.is_there || !is_replaced(&at.info));
    Ok(candidates)
}

/// Rows that no merged run has taken in.
fn live_rows(candidates: &[Candidate]) -> Vec<&Candidate> {
    let of_kind = || candidates.iter().filter(|at| at.info.kind == SegmentKind::Rows);
    let is_replaced = |at: &&Candidate| {
        let Some(header) = &at.header else { return false };
        of_kind().filter_map(|other| other.header.as_ref()).any(|other| {
            other.level > header.level
                && other.first >= header.first
                && other.first_version <= header.first_version
                && header.last_version <= other.last_version
        })
    };
    of_kind().filter(|at| !is_replaced(at)).collect()
}

/// Files of messages that no merged one has taken in.
fn live_messages(candidates: &[Candidate]) -> Vec<&Candidate> {
    let of_kind = || candidates.iter().filter(|at| at.info.kind == SegmentKind::Messages);
    let has_index = |header: &SegmentHeader| {
        let mut indexes = candidates.iter().filter(|at| at.info.kind == SegmentKind::Index);
        indexes.any(|at| {
            let range = at.header.as_ref().map(|index| (index.first, index.last, index.level));
            range == Some((header.first, header.last, header.level))
        })
    };
    let is_replaced = |at: &&Candidate| {
        let Some(header) = &at.header else { return false };
        of_kind().filter(|other| other.info.id != at.info.id).filter_map(|other| other.header.as_ref()).any(|other| {
            let takes_in = other.first <= header.first && header.last <= other.last;
            let is_newer = (other.first, other.last) != (header.first, header.last) || other.id > header.id;
            takes_in && is_newer && (has_index(other) || !has_index(header))
        })
    };
    of_kind().filter(|at| !is_replaced(at)).collect()
}
