//! For tests: a journal at work, with a sealer whose segments hold nothing.
//! Owns: the scene, and what it was promised when. May touch: every journal module, the simulated directory.
//! Never: looks into a segment, or judges what is found after a crash.

use super::commit::{CommitPoint, LocalSync};
use super::file::{Place, journal_name};
use super::manifest::{Installed, Manifest};
use super::prepare::prepare_spare;
use super::recover::{Found, RecoverOptions, Recovered, ReplayTarget, recover};
use super::scan::{Replayed, Unreplayable};
use super::write::{Writer, change_bytes_max};
use crate::change::{Change, Commit, SetGroupMetadata};
use crate::error::{Corruption, Result};
use crate::id::GroupId;
use crate::segment::{SegmentInfo, SegmentKind, segment_name};
use crate::storage::{CrashPlan, Loss, SimStorage, Storage};
use std::sync::Arc;

const JOURNAL_BYTES: u64 = 64 << 10;

/// The manifest but for the journals, which recovery may replace.
pub(super) type Marks = (Vec<SegmentInfo>, u64, u64, u64);

pub(super) fn marks(manifest: &Manifest) -> Marks {
    (manifest.segments.clone(), manifest.sealed_version, manifest.next_segment, manifest.purged_version)
}

/// What a target was shown.
#[derive(Default)]
pub(super) struct Shown {
    pub manifest: Option<Manifest>,
    pub sealed: Vec<u64>,
    pub versions: Vec<u64>,
}

impl ReplayTarget for Shown {
    fn begin(&mut self, found: &Found<'_>) -> Result<()> {
        assert!(self.manifest.replace(found.manifest.clone()).is_none(), "begun once");
        self.sealed = found.sealed.iter().map(|sealed| sealed.file.id()).collect();
        assert!(self.versions.is_empty(), "begun before the first change");
        Ok(())
    }

    fn apply(&mut self, replayed: Replayed<'_>) -> std::result::Result<(), Unreplayable> {
        self.versions.push(replayed.decoded.commit.version);
        Ok(())
    }
}

pub(super) fn open(storage: &Arc<SimStorage>) -> Result<(Recovered, Shown)> {
    let mut shown = Shown::default();
    let options = RecoverOptions { journal_bytes: JOURNAL_BYTES, unsynced: false };
    let storage: Arc<dyn Storage> = storage.clone();
    let recovered = recover(&storage, &options, &mut shown)?;
    Ok((recovered, shown))
}

pub(super) fn damage(storage: &Arc<SimStorage>) -> (Corruption, String) {
    let before: Vec<_> = storage.names().into_iter().map(|name| (storage.bytes(&name), name)).collect();
    let error = open(storage).err().expect("damage is refused");
    let after: Vec<_> = storage.names().into_iter().map(|name| (storage.bytes(&name), name)).collect();
    assert!(before == after, "a refused store is left as it is");
    (error.corruption().unwrap_or_else(|| panic!("{error}")).clone(), error.to_string())
}

/// Draws the same numbers for the same seed.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 29)) % end
    }
}

/// What holds from an operation on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub operation: u64,
    /// Survives the end of the process, and a power cut.
    pub written: u64,
    pub synced: u64,
    /// Of `Scene::history`: what surely is there, and what may be.
    pub installed: usize,
    pub installing: usize,
}

/// A journal at work, with a sealer.
pub(super) struct Scene {
    pub storage: Arc<SimStorage>,
    pub writer: Writer,
    pub promises: Vec<Promise>,
    /// Every manifest there was.
    pub history: Vec<Marks>,
    /// How long the next file will be and what room it was promised to have, as soon as the present one began.
    next: (u64, u64),
}

impl Scene {
    pub fn new(seed: u64) -> Scene {
        Scene::on(SimStorage::new(seed))
    }

    pub fn on(storage: Arc<SimStorage>) -> Scene {
        let (recovered, _) = open(&storage).expect("opens");
        let history = vec![marks(&recovered.end.manifest)];
        let version = recovered.end.last_version;
        let operation = storage.operations();
        let promise = Promise { operation, written: version, synced: version, installed: 0, installing: 0 };
        let writer = Writer::new(storage.clone(), recovered.end);
        let next = Scene::next(&writer);
        Scene { storage, writer, promises: vec![promise], history, next }
    }

    pub fn promise(&mut self, change: impl FnOnce(&mut Promise)) {
        let mut promise = *self.promises.last().expect("there is the first");
        promise.operation = self.storage.operations();
        change(&mut promise);
        self.promises.push(promise);
    }

    pub fn version(&self) -> u64 {
        self.writer.sync_point().version
    }

    pub fn say(&mut self, length: usize) -> Place {
        if self.writer.room() < change_bytes_max(length) {
            self.roll();
        }
        let commit = Commit { version: self.version() + 1, time: 1_000 };
        let change = Change::GroupMetadata(SetGroupMetadata { group: GroupId(1) });
        let place = self.writer.push(&change, &vec![7; length], commit, false);
        self.writer.flush().expect("writes");
        self.promise(|promise| promise.written = commit.version);
        place
    }

    pub fn sync(&mut self) {
        let point = self.writer.sync_point();
        LocalSync.commit(&point).expect("syncs");
        self.promise(|promise| {
            promise.synced = promise.written;
            promise.installed = promise.installing;
        });
        self.writer.synced(&point).expect("stamps");
    }

    pub fn roll(&mut self) {
        if self.writer.closed_unsynced() {
            self.sync();
        }
        let (length, promised) = self.next;
        let spare = prepare_spare(&*self.storage, length).expect("there is room");
        self.writer.roll(spare).expect("rolls");
        assert!(self.writer.room() >= promised, "room: want {promised} got {}", self.writer.room());
        assert!(promised >= JOURNAL_BYTES - 4096 - 1280, "room: got {promised}");
        self.next = Scene::next(&self.writer);
    }

    fn next(writer: &Writer) -> (u64, u64) {
        let length = writer.next_length(JOURNAL_BYTES);
        (length, writer.room_of_next(length))
    }

    /// A file of nothing but its id, or what a crash leaves of making one.
    pub fn make(&self, kind: SegmentKind, id: u64, bytes: u64, is_finished: bool) -> SegmentInfo {
        let name = segment_name(kind, id);
        let unfinished = format!("{name}.tmp");
        let file = self.storage.create(&unfinished, bytes).expect("there is room");
        file.write_at(0, &vec![id as u8; bytes as usize]).expect("writes");
        if is_finished {
            file.sync().expect("syncs");
            self.storage.rename(&unfinished, &name).expect("renames");
            self.storage.sync_directory().expect("syncs");
        }
        SegmentInfo { kind, id, bytes, last_version: self.promises.last().expect("one").synced, digest: id }
    }

    /// Installs, in a new file if it must be, without a sync.
    pub fn install(&mut self, installed: &Installed) {
        if !self.writer.can_install(installed) {
            let before = self.storage.operations();
            assert!(!self.writer.install(installed).expect("writes nothing"));
            assert_eq!(self.storage.operations(), before);
            self.roll();
        }
        let mut next = self.writer.manifest().clone();
        next.install(installed).expect("follows");
        self.history.push(marks(&next));
        let installing = self.history.len() - 1;
        self.promise(|promise| promise.installing = installing);
        assert!(self.writer.install(installed).expect("writes"));
        assert_eq!(self.writer.manifest(), &next);
        assert!(!self.writer.ends_closed());
    }

    /// What a sealer does with the oldest closed journal, without the last sync.
    pub fn seal(&mut self) -> bool {
        let Some(oldest) = self.writer.manifest().unsealed().first().copied() else { return false };
        self.sync();
        let mut installed = self.writer.manifest().change();
        let id = installed.next_segment;
        let index = self.make(SegmentKind::Index, id, 4096 + id, true);
        installed.added.push(SegmentInfo { last_version: oldest.last_version, ..index });
        installed.added.push(self.make(SegmentKind::Rows, id + 1, 5000, true));
        installed.next_segment += 2;
        (installed.sealed_through, installed.sealed_version) = (oldest.file_id, oldest.last_version);
        self.install(&installed);
        true
    }

    /// Merges all sealed journals, and all segments. The caller syncs and then takes `removed` away.
    pub fn merge(&mut self) -> Option<Installed> {
        let manifest = self.writer.manifest();
        let mut installed = manifest.change();
        installed.removed_journals = manifest.sealed().iter().map(|file| file.file_id).collect();
        if installed.removed_journals.is_empty() {
            return None;
        }
        installed.removed_segments = manifest.segments.iter().map(|segment| (segment.kind, segment.id)).collect();
        installed.purged_version = installed.sealed_version;
        let first = installed.next_segment;
        for (number, kind) in [SegmentKind::Index, SegmentKind::Messages, SegmentKind::Rows].into_iter().enumerate() {
            installed.added.push(self.make(kind, first + number as u64, 4100, true));
        }
        installed.next_segment += 3;
        self.install(&installed);
        Some(installed)
    }

    pub fn take_away(&self, installed: &Installed) {
        let journals = installed.removed_journals.iter().map(|id| journal_name(*id));
        let segments = installed.removed_segments.iter().map(|(kind, id)| segment_name(*kind, *id));
        journals.chain(segments).for_each(|name| self.storage.remove(&name).expect("is there"));
    }

    pub fn close(mut self) -> Arc<SimStorage> {
        self.sync();
        self.writer.write_close_mark().expect("writes");
        self.sync();
        LocalSync.commit(&self.writer.sync_point()).expect("syncs");
        self.storage
    }

    pub fn crashed(&self, loss: Loss) -> Arc<SimStorage> {
        self.storage.crash_at(self.storage.operations(), CrashPlan { seed: 3, loss })
    }

    /// Three journals and some segments: the first journal is sealed, the second is not.
    pub fn sealed(seed: u64) -> Scene {
        let mut scene = Scene::new(seed);
        for _ in 0..2 {
            scene.say(9_000);
            scene.roll();
        }
        assert!(scene.seal());
        scene.sync();
        scene.say(100);
        scene
    }
}
