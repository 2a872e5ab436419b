//! Which files a store consists of, and how much of its journal is in segments.
//! Owns: the bytes and the rules of the manifest and of `Installed` frames. May touch: `header`, `segment`,
//! `varint`.
//! Never: looks at a directory, or decides what is sealed or merged.
//!
//! | what | fields (varints unless said) |
//! |---|---|
//! | manifest | count of files, the files, sealed through, sealed version, next segment, purged version, count of ancestors, per ancestor its uuid (16 bytes) |
//! | installed | count of added files, the files; count of removed files, per file its id and kind (1 byte); sealed through, sealed version, next segment, purged version |
//! | file | id, kind (1 byte: 1 journal, 2 index, 3 messages, 4 rows), end of its frames or length, last version, digest (8 bytes) |
//!
//! Files stand in the order of kind, then id. Only segments are added; a journal enters the list when the next one begins.

use super::header::{FILE_ID_MAX, FRAMES_OFFSET, VERSION_MAX};
use crate::segment::{SegmentInfo, SegmentKind};
use crate::varint::{VARINT_BYTES_MAX, put, take};

const KIND_JOURNAL: u8 = 1;
const SEGMENT_KINDS: [SegmentKind; 3] = [SegmentKind::Index, SegmentKind::Messages, SegmentKind::Rows];
/// The fewest and the most bytes that a file takes in a list.
const FILE_BYTES_MIN: usize = 3 + 1 + 8;
pub(crate) const LIVE_FILE_BYTES_MAX: usize = 3 * VARINT_BYTES_MAX + 1 + 8;
/// The fewest bytes of a removed file.
const REMOVED_BYTES_MIN: usize = 2;
/// Most ancestors whose files a store can hold.
pub(crate) const LINEAGE_MAX: usize = 64;
/// The first id that no segment can have: a place has 31 bits for it.
pub(crate) const SEGMENT_ID_END: u64 = 1 << 31;

/// A journal file that is closed, as the manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveFile {
    pub file_id: u64,
    /// Where its live frames end.
    pub end: u64,
    pub last_version: u64,
    /// Of the headers of its frames up to `end`, see `JournalFile`.
    pub digest: u64,
}

/// All live files before the newest journal, and what is in segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Ascending by id.
    pub journals: Vec<LiveFile>,
    /// Ascending by kind, then id.
    pub segments: Vec<SegmentInfo>,
    /// Every journal up to this id is in segments; 0 if none is.
    pub sealed_through: u64,
    /// The last version of that journal.
    pub sealed_version: u64,
    /// No segment of the store has this id, or one above it. An id is given once.
    pub next_segment: u64,
    /// Every body that was recalled, edited away or trimmed up to this version is gone from the files.
    pub purged_version: u64,
    /// The stores that this one was made of by copying: live files may bear their uuid.
    pub lineage: Vec<[u8; 16]>,
}

/// A change of the manifest: files that were made, and what they replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Ascending by kind, then id.
    pub added: Vec<SegmentInfo>,
    /// Ascending.
    pub removed_journals: Vec<u64>,
    /// Ascending by kind, then id.
    pub removed_segments: Vec<(SegmentKind, u64)>,
    pub sealed_through: u64,
    pub sealed_version: u64,
    pub next_segment: u64,
    pub purged_version: u64,
}

impl Manifest {
    /// Of a store that has nothing yet.
    pub fn new() -> Manifest {
        Manifest {
            journals: Vec::new(),
            segments: Vec::new(),
            sealed_through: 0,
            sealed_version: 0,
            next_segment: 1,
            purged_version: 0,
            lineage: Vec::new(),
        }
    }

    /// A change that so far changes nothing.
    pub fn change(&self) -> Installed {
        Installed {
            added: Vec::new(),
            removed_journals: Vec::new(),
            removed_segments: Vec::new(),
            sealed_through: self.sealed_through,
            sealed_version: self.sealed_version,
            next_segment: self.next_segment,
            purged_version: self.purged_version,
        }
    }

    /// The closed journals that are not in segments yet.
    pub fn unsealed(&self) -> &[LiveFile] {
        &self.journals[self.sealed_count()..]
    }

    /// The journals that are in segments and still live.
    pub fn sealed(&self) -> &[LiveFile] {
        &self.journals[..self.sealed_count()]
    }

    fn sealed_count(&self) -> usize {
        self.journals.partition_point(|file| file.file_id <= self.sealed_through)
    }

    /// Makes the change; an error says what the change should have been, and leaves the list undefined.
    pub fn install(&mut self, installed: &Installed) -> Result<(), &'static str> {
        let Installed { added, removed_journals, removed_segments, .. } = installed;
        let goes_back = installed.sealed_through < self.sealed_through
            || installed.sealed_version < self.sealed_version
            || installed.next_segment < self.next_segment
            || installed.purged_version < self.purged_version;
        if goes_back || installed.next_segment > SEGMENT_ID_END {
            return Err("marks that only rise");
        }
        if installed.sealed_through != self.sealed_through {
            let sealed = self.journals.binary_search_by_key(&installed.sealed_through, |file| file.file_id);
            if !sealed.is_ok_and(|index| self.journals[index].last_version == installed.sealed_version) {
                return Err("a live journal that is sealed");
            }
        } else if installed.sealed_version != self.sealed_version {
            return Err("a live journal that is sealed");
        }
        let (journal_count, segment_count) = (self.journals.len(), self.segments.len());
        self.journals.retain(|file| removed_journals.binary_search(&file.file_id).is_err());
        let key = |kind: SegmentKind, id: u64| (kind as u8, id);
        self.segments.retain(|file| {
            let found = removed_segments.binary_search_by_key(&key(file.kind, file.id), |(kind, id)| key(*kind, *id));
            found.is_err()
        });
        let removed_count = (journal_count - self.journals.len(), segment_count - self.segments.len());
        if removed_count != (removed_journals.len(), removed_segments.len()) {
            return Err("removed files that are live");
        }
        if removed_journals.last().is_some_and(|id| *id > installed.sealed_through) {
            return Err("removed journals that are sealed");
        }
        let mut ids: Vec<u64> = added.iter().map(|file| file.id).collect();
        ids.sort_unstable();
        let are_new = ids.is_sorted_by(|a, b| a < b)
            && !ids.iter().any(|id| SEGMENT_KINDS.iter().any(|kind| self.has_segment(*kind, *id)));
        if !are_new || ids.last().is_some_and(|id| *id >= installed.next_segment) {
            return Err("added files with ids of their own");
        }
        self.segments.extend_from_slice(added);
        self.segments.sort_by_key(|file| key(file.kind, file.id));
        self.sealed_through = installed.sealed_through;
        self.sealed_version = installed.sealed_version;
        self.next_segment = installed.next_segment;
        self.purged_version = installed.purged_version;
        Ok(())
    }

    /// Whether this segment is live.
    pub fn has_segment(&self, kind: SegmentKind, id: u64) -> bool {
        self.segments.binary_search_by_key(&(kind as u8, id), |file| (file.kind as u8, file.id)).is_ok()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put(out, (self.journals.len() + self.segments.len()) as u64);
        for file in &self.journals {
            put_file(out, file.file_id, KIND_JOURNAL, file.end, file.last_version, file.digest);
        }
        put_segments(out, &self.segments);
        for mark in [self.sealed_through, self.sealed_version, self.next_segment, self.purged_version] {
            put(out, mark);
        }
        put(out, self.lineage.len() as u64);
        self.lineage.iter().for_each(|uuid| out.extend_from_slice(uuid));
    }

    /// The bytes that [`Manifest::encode`] writes, with the marks at their longest.
    pub fn bytes_max(&self) -> usize {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes.len() + 5 * VARINT_BYTES_MAX
    }

    pub fn take(input: &mut &[u8]) -> Option<Manifest> {
        let mut manifest = Manifest::new();
        for _ in 0..take_count(input, FILE_BYTES_MIN)? {
            let (id, kind, length, last_version, digest) = take_file(input)?;
            if kind != KIND_JOURNAL {
                let segment = segment(id, kind, length, last_version, digest)?;
                manifest.segments.push(segment);
                continue;
            }
            let in_range = id <= FILE_ID_MAX && FRAMES_OFFSET < length && length <= u32::MAX.into();
            (in_range && manifest.segments.is_empty()).then_some(())?;
            manifest.journals.push(LiveFile { file_id: id, end: length, last_version, digest });
        }
        manifest.sealed_through = take(input).filter(|id| *id <= FILE_ID_MAX)?;
        manifest.sealed_version = take_version(input)?;
        manifest.next_segment = take(input).filter(|id| 0 < *id && *id <= SEGMENT_ID_END)?;
        manifest.purged_version = take_version(input)?;
        let count = take_count(input, 16)?;
        if count > LINEAGE_MAX {
            return None;
        }
        for _ in 0..count {
            let (uuid, rest) = input.split_first_chunk::<16>()?;
            *input = rest;
            manifest.lineage.push(*uuid);
        }
        manifest.is_sound().then_some(manifest)
    }

    /// What no encoding shows by itself.
    fn is_sound(&self) -> bool {
        let mut ids: Vec<u64> = self.segments.iter().map(|file| file.id).collect();
        ids.sort_unstable();
        let mut uuids = self.lineage.clone();
        uuids.sort_unstable();
        self.journals.is_sorted_by(|a, b| a.file_id < b.file_id && a.last_version <= b.last_version)
            && is_ascending(&self.segments)
            && ids.is_sorted_by(|a, b| a < b)
            && ids.last().is_none_or(|id| *id < self.next_segment)
            && uuids.is_sorted_by(|a, b| a < b)
            && (self.sealed_through > 0 || self.sealed_version == 0)
            && self.sealed().last().is_none_or(|file| file.last_version <= self.sealed_version)
            && self.unsealed().first().is_none_or(|file| file.last_version >= self.sealed_version)
    }
}

impl Installed {
    pub fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.added.len() as u64);
        put_segments(out, &self.added);
        put(out, (self.removed_journals.len() + self.removed_segments.len()) as u64);
        for id in &self.removed_journals {
            put(out, *id);
            out.push(KIND_JOURNAL);
        }
        for (kind, id) in &self.removed_segments {
            put(out, *id);
            out.push(*kind as u8);
        }
        for mark in [self.sealed_through, self.sealed_version, self.next_segment, self.purged_version] {
            put(out, mark);
        }
    }

    pub fn decode(mut payload: &[u8]) -> Option<Installed> {
        let input = &mut payload;
        let mut installed = Manifest::new().change();
        for _ in 0..take_count(input, FILE_BYTES_MIN)? {
            let (id, kind, length, last_version, digest) = take_file(input)?;
            installed.added.push(segment(id, kind, length, last_version, digest)?);
        }
        for _ in 0..take_count(input, REMOVED_BYTES_MIN)? {
            let id = take(input).filter(|id| *id > 0)?;
            match take_byte(input)? {
                KIND_JOURNAL if installed.removed_segments.is_empty() => installed.removed_journals.push(id),
                kind => installed.removed_segments.push((kind_of(kind)?, id)),
            }
        }
        installed.sealed_through = take(input).filter(|id| *id <= FILE_ID_MAX)?;
        installed.sealed_version = take_version(input)?;
        installed.next_segment = take(input)?;
        installed.purged_version = take_version(input)?;
        let removed = &installed.removed_segments;
        let is_sound = is_ascending(&installed.added)
            && installed.removed_journals.is_sorted_by(|a, b| a < b)
            && removed.is_sorted_by(|a, b| (a.0 as u8, a.1) < (b.0 as u8, b.1));
        (payload.is_empty() && is_sound).then_some(installed)
    }

    /// The newest version that what is added rests on.
    pub fn newest_version(&self) -> u64 {
        let added = self.added.iter().map(|file| file.last_version).max().unwrap_or(0);
        added.max(self.sealed_version).max(self.purged_version)
    }
}

fn is_ascending(segments: &[SegmentInfo]) -> bool {
    segments.is_sorted_by(|a, b| (a.kind as u8, a.id) < (b.kind as u8, b.id))
}

fn put_file(out: &mut Vec<u8>, id: u64, kind: u8, length: u64, last_version: u64, digest: u64) {
    put(out, id);
    out.push(kind);
    put(out, length);
    put(out, last_version);
    out.extend_from_slice(&digest.to_le_bytes());
}

fn put_segments(out: &mut Vec<u8>, segments: &[SegmentInfo]) {
    for file in segments {
        put_file(out, file.id, file.kind as u8, file.bytes, file.last_version, file.digest);
    }
}

/// How many entries of at least `bytes_min` follow; never more than the bytes that are there can hold.
fn take_count(input: &mut &[u8], bytes_min: usize) -> Option<usize> {
    let count = take(input)?;
    (count <= (input.len() / bytes_min) as u64).then_some(count as usize)
}

/// Id, kind, length, last version, digest.
fn take_file(input: &mut &[u8]) -> Option<(u64, u8, u64, u64, u64)> {
    let id = take(input).filter(|id| *id > 0)?;
    Some((id, take_byte(input)?, take(input)?, take_version(input)?, take_eight(input)?))
}

fn segment(id: u64, kind: u8, bytes: u64, last_version: u64, digest: u64) -> Option<SegmentInfo> {
    let kind = kind_of(kind)?;
    (id < SEGMENT_ID_END).then_some(SegmentInfo { kind, id, bytes, last_version, digest })
}

fn kind_of(byte: u8) -> Option<SegmentKind> {
    SEGMENT_KINDS.into_iter().find(|kind| *kind as u8 == byte)
}

fn take_version(input: &mut &[u8]) -> Option<u64> {
    take(input).filter(|version| *version <= VERSION_MAX)
}

fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = input.split_first()?;
    *input = rest;
    Some(byte)
}

pub(super) fn take_eight(input: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
pub(super) fn sample() -> Manifest {
    let index = SegmentInfo { kind: SegmentKind::Index, id: 4, bytes: 5_000, last_version: 41, digest: 0x0506 };
    let messages = SegmentInfo { kind: SegmentKind::Messages, id: 2, bytes: 70_000, last_version: 30, digest: 0x0708 };
    let rows = SegmentInfo { kind: SegmentKind::Rows, id: 5, bytes: 9_000, last_version: 45, digest: 0x090a };
    Manifest {
        journals: vec![
            LiveFile { file_id: 3, end: 60_000, last_version: 41, digest: 0x0102 },
            LiveFile { file_id: 5, end: 4_200, last_version: 50, digest: 0x0304 },
        ],
        segments: vec![index, messages, rows],
        sealed_through: 3,
        sealed_version: 41,
        next_segment: 7,
        purged_version: 12,
        lineage: vec![*b"fedcba9876543210"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(manifest: &Manifest) -> Vec<u8> {
        let mut bytes = Vec::new();
        manifest.encode(&mut bytes);
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Manifest> {
        let manifest = Manifest::take(&mut bytes)?;
        bytes.is_empty().then_some(manifest)
    }

    /// Journal 5 is sealed into an index and rows; journal 3 and the older rows are not needed any more.
    fn installed() -> Installed {
        let index = SegmentInfo { kind: SegmentKind::Index, id: 8, bytes: 4_500, last_version: 50, digest: 0x0b0c };
        let rows = SegmentInfo { kind: SegmentKind::Rows, id: 7, bytes: 9_500, last_version: 52, digest: 0x0d0e };
        Installed {
            added: vec![index, rows],
            removed_journals: vec![3],
            removed_segments: vec![(SegmentKind::Index, 4), (SegmentKind::Rows, 5)],
            sealed_through: 5,
            sealed_version: 50,
            next_segment: 9,
            purged_version: 50,
        }
    }

    #[test]
    fn manifests_come_back_and_every_cut_is_refused() {
        let bytes = bytes_of(&sample());
        assert_eq!(decode(&bytes), Some(sample()));
        assert!(bytes.len() <= sample().bytes_max());
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut to {cut}");
        }
        assert_eq!(decode(&bytes_of(&Manifest::new())), Some(Manifest::new()));
    }

    #[test]
    fn installs_come_back_and_every_cut_is_refused() {
        let mut bytes = Vec::new();
        installed().encode(&mut bytes);
        assert_eq!(Installed::decode(&bytes), Some(installed()));
        for cut in 0..bytes.len() {
            assert_eq!(Installed::decode(&bytes[..cut]), None, "cut to {cut}");
        }
        assert_eq!(installed().newest_version(), 52);
    }

    #[test]
    fn no_flipped_bit_makes_a_panic_and_what_is_taken_is_sound() {
        let bytes = bytes_of(&sample());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Some(manifest) = decode(&flipped) {
                assert!(manifest.is_sound() && bytes_of(&manifest) == flipped, "bit {bit}");
            }
        }
        let mut bytes = Vec::new();
        installed().encode(&mut bytes);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = Installed::decode(&flipped).map(|installed| sample().install(&installed));
        }
    }

    #[test]
    fn a_huge_count_allocates_nothing() {
        let mut bytes = Vec::new();
        put(&mut bytes, u64::MAX);
        assert_eq!(decode(&bytes), None);
        assert_eq!(Installed::decode(&bytes), None);
        // As many as there are bytes, which is more than there can be.
        let mut bytes = vec![0xff, 0x7f];
        bytes.resize(2 + 0x3fff, 1);
        assert_eq!(take_count(&mut &bytes[..], FILE_BYTES_MIN), None);
        assert_eq!(Installed::decode(&[0, 0xff, 0x7f, 1, 1]), None);
    }

    #[test]
    fn what_no_writer_makes_is_refused() {
        let changes: [fn(&mut Manifest); 16] = [
            |m| m.journals.swap(0, 1),
            |m| m.journals[1].file_id = 3,
            |m| m.journals[1].file_id = FILE_ID_MAX + 1,
            |m| m.journals[1].last_version = 40,
            |m| m.journals[0].end = FRAMES_OFFSET,
            |m| m.journals[0].end = 1 << 32,
            |m| m.journals[0].last_version = VERSION_MAX + 1,
            |m| m.segments.swap(0, 1),
            |m| m.segments[1].id = 4,
            |m| m.segments[2].id = 7,
            |m| m.segments[2].id = 0,
            |m| m.next_segment = SEGMENT_ID_END + 1,
            |m| m.sealed_version = 40,
            |m| m.sealed_through = 0,
            |m| m.lineage.push(*b"fedcba9876543210"),
            |m| m.lineage = (0..=LINEAGE_MAX as u8).map(|number| [number; 16]).collect(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut manifest = sample();
            change(&mut manifest);
            assert_eq!(decode(&bytes_of(&manifest)), None, "change {index}");
        }
    }

    #[test]
    fn installing_changes_the_list_and_nothing_else() {
        let mut manifest = sample();
        manifest.install(&installed()).unwrap();
        let messages = sample().segments[1];
        let [index, rows] = installed().added[..] else { panic!("two are added") };
        assert_eq!(manifest.segments, [index, messages, rows]);
        assert_eq!(manifest.journals, sample().journals[1..]);
        assert_eq!((manifest.sealed_through, manifest.sealed_version), (5, 50));
        assert_eq!((manifest.next_segment, manifest.purged_version), (9, 50));
        assert_eq!(manifest.lineage, sample().lineage);
        assert_eq!(decode(&bytes_of(&manifest)), Some(manifest.clone()));
        assert_eq!((manifest.sealed().len(), manifest.unsealed().len()), (1, 0));
        let before = manifest.clone();
        manifest.install(&before.change()).unwrap();
        assert_eq!(manifest, before);
    }

    #[test]
    fn an_install_that_does_not_follow_is_refused() {
        let changes: [fn(&mut Installed); 13] = [
            |i| i.sealed_through = 4,
            |i| i.sealed_version = 49,
            |i| i.sealed_through = 2,
            |i| i.next_segment = 6,
            |i| i.next_segment = 8,
            |i| i.next_segment = SEGMENT_ID_END + 1,
            |i| i.purged_version = 11,
            |i| i.removed_journals = vec![4],
            |i| i.removed_segments[0].1 = 6,
            |i| i.added[0].id = 2,
            |i| i.added[0].id = 9,
            |i| i.added[0].id = 7,
            |i| {
                i.removed_journals = vec![3, 5];
                (i.sealed_through, i.sealed_version) = (3, 41);
            },
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut installed = installed();
            change(&mut installed);
            sample().install(&installed).expect_err(&format!("change {index}"));
        }
        let mut unsorted = [installed(), installed(), installed()];
        unsorted[0].added.swap(0, 1);
        unsorted[1].removed_segments.swap(0, 1);
        unsorted[2].removed_journals = vec![3, 3];
        for installed in unsorted {
            let mut bytes = Vec::new();
            installed.encode(&mut bytes);
            assert_eq!(Installed::decode(&bytes), None, "{installed:?}");
        }
    }

    #[test]
    fn the_install_in_the_format_document_is_this() {
        let mut bytes = Vec::new();
        installed().encode(&mut bytes);
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let document = include_str!("../../docs/format.md").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(document.contains(&hex.join(" ")), "docs/format.md lacks: {}", hex.join(" "));
    }
}
