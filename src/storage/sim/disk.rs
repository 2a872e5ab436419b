//! A directory as a process sees it, and beside it what of that is durable.
//! Owns: `Disk`, its files and names, and `Change`, the one way to alter them. May touch: `pages`.
//! Never: fails, or draws a random number; `crash` decides what is lost.

use super::pages::Pages;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) type Name = Arc<str>;
pub(super) type Names = BTreeMap<Name, FileId>;

/// Which file, whatever it is called: bytes follow the file through a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// One step. Applied once when it happens, and again for every crash that is tried after it.
#[derive(Clone)]
pub(super) enum Change {
    /// An operation that failed without an effect; still a point to crash at.
    Nothing,
    Create {
        name: Name,
        length: u64,
    },
    Write {
        file: FileId,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    Sync {
        file: FileId,
    },
    /// The oldest `durable_count` unsynced writes got through, the others are never to be trusted.
    SyncFailed {
        file: FileId,
        durable_count: usize,
    },
    Rename {
        source: Name,
        target: Name,
    },
    Remove {
        name: Name,
    },
    SyncDirectory,
    /// As `SyncFailed`, for name changes.
    SyncDirectoryFailed {
        durable_count: usize,
    },
    /// Damage from outside, as are the following: not operations.
    Corrupt {
        name: Name,
        offset: u64,
        mask: u8,
    },
    Replace {
        name: Name,
        bytes: Arc<[u8]>,
    },
    Vanish {
        name: Name,
    },
    LinkCount {
        name: Name,
        link_count: u64,
    },
}

/// The state after some number of changes. A clone shares all bytes.
#[derive(Clone, Default)]
pub(super) struct Disk {
    /// Files stay here when their last name goes: handles to them stay good, and a crash may bring the name back.
    pub(super) files: BTreeMap<FileId, Arc<FileState>>,
    /// As the process sees them.
    pub(super) names: Names,
    pub(super) durable_names: Names,
    /// What leads from `durable_names` to `names`, oldest first.
    pub(super) name_changes: Vec<NameChange>,
    pub(super) next_id: u64,
}

/// The bytes of one file.
#[derive(Clone)]
pub(super) struct FileState {
    /// As the process sees them.
    pub(super) current: Pages,
    pub(super) durable: Pages,
    /// Nothing was ever made durable here: what `durable` holds is anyone's guess.
    pub(super) is_virgin: bool,
    /// What leads from `durable` to `current`, oldest first.
    pub(super) writes: Vec<Write>,
    pub(super) link_count: u64,
}

/// A write that a crash may lose, or the memory of one that it may not (`Standing::Firm`).
#[derive(Clone)]
pub(super) struct Write {
    pub(super) operation: u64,
    pub(super) offset: u64,
    pub(super) fill: Fill,
    pub(super) standing: Standing,
}

#[derive(Clone)]
pub(super) enum Fill {
    /// What `create` writes.
    Zeros(u64),
    Bytes(Arc<[u8]>),
}

/// What a later sync does for a write or a name change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The next sync makes it durable.
    Unsynced,
    /// A sync failed over it: no later one vouches for it.
    Suspect,
    /// Durable, and listed only because it lies over a suspect one.
    Firm,
}

/// One change of names, all of it or nothing: `removed` goes, `added` comes.
#[derive(Clone)]
pub(super) struct NameChange {
    pub(super) operation: u64,
    pub(super) removed: Option<Name>,
    pub(super) added: Option<(Name, FileId)>,
    pub(super) standing: Standing,
}

impl Disk {
    /// A directory of files that are all durable.
    pub(super) fn durable(names: Names, files: BTreeMap<FileId, Arc<FileState>>, next_id: u64) -> Disk {
        Disk { files, names: names.clone(), durable_names: names, name_changes: Vec::new(), next_id }
    }

    /// Makes a change. The caller has checked that names exist or are free, and that ranges lie inside.
    pub(super) fn apply(&mut self, operation: u64, change: &Change) {
        match change {
            Change::Nothing => {}
            Change::Create { name, length } => {
                let id = self.add(FileState::new(operation, *length));
                self.change_names(operation, None, Some((name.clone(), id)));
            }
            Change::Write { file, offset, bytes } => {
                let file = self.file_mut(*file);
                file.current.write(*offset, bytes);
                let fill = Fill::Bytes(bytes.clone());
                file.writes.push(Write { operation, offset: *offset, fill, standing: Standing::Unsynced });
            }
            Change::Sync { file } => self.file_mut(*file).sync(),
            Change::SyncFailed { file, durable_count } => self.file_mut(*file).fail_sync(*durable_count),
            Change::Rename { source, target } => {
                let id = self.names[source];
                self.change_names(operation, Some(source.clone()), Some((target.clone(), id)));
            }
            Change::Remove { name } => self.change_names(operation, Some(name.clone()), None),
            Change::SyncDirectory => self.sync_names(),
            Change::SyncDirectoryFailed { durable_count } => {
                for change in self.name_changes.drain(..durable_count) {
                    change.apply(&mut self.durable_names);
                }
                self.name_changes.iter_mut().for_each(|change| change.standing = Standing::Suspect);
            }
            Change::Corrupt { name, offset, mask } => {
                let file = self.file_mut(self.names[name]);
                for pages in [&mut file.current, &mut file.durable] {
                    let mut byte = [0];
                    pages.read(*offset, &mut byte);
                    pages.write(*offset, &[byte[0] ^ mask]);
                }
            }
            Change::Replace { name, bytes } => {
                let id = self.add(FileState::durable(Pages::of(bytes), 1));
                self.names.insert(name.clone(), id);
                self.settle_names();
            }
            Change::Vanish { name } => {
                self.names.remove(name);
                self.settle_names();
            }
            Change::LinkCount { name, link_count } => self.file_mut(self.names[name]).link_count = *link_count,
        }
    }

    fn add(&mut self, file: FileState) -> FileId {
        let id = FileId(self.next_id);
        self.next_id += 1;
        self.files.insert(id, Arc::new(file));
        id
    }

    fn file_mut(&mut self, id: FileId) -> &mut FileState {
        Arc::make_mut(self.files.get_mut(&id).expect("files stay when their names go"))
    }

    fn change_names(&mut self, operation: u64, removed: Option<Name>, added: Option<(Name, FileId)>) {
        let change = NameChange { operation, removed, added, standing: Standing::Unsynced };
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn sync_names(&mut self) {
        // A suspect change stays one, unless a change that is now durable builds upon it: a file that
        // has durably been renamed has been created.
        let mut needed: Vec<&Name> = Vec::new();
        let mut is_durable = vec![false; self.name_changes.len()];
        for (index, change) in self.name_changes.iter().enumerate().rev() {
            if change.standing == Standing::Unsynced || change.touched().any(|name| needed.contains(&name)) {
                needed.extend(change.touched());
                is_durable[index] = true;
            }
        }
        let mut is_durable = is_durable.into_iter();
        let durable_names = &mut self.durable_names;
        self.name_changes.retain(|change| {
            let goes = is_durable.next() == Some(true);
            if goes {
                change.apply(durable_names);
            }
            !goes
        });
    }

    fn settle_names(&mut self) {
        self.durable_names = self.names.clone();
        self.name_changes.clear();
    }
}

impl FileState {
    fn new(operation: u64, length: u64) -> FileState {
        let zeros = Pages::zeros(length);
        let fill = Write { operation, offset: 0, fill: Fill::Zeros(length), standing: Standing::Unsynced };
        FileState { current: zeros.clone(), durable: zeros, is_virgin: true, writes: vec![fill], link_count: 1 }
    }

    pub(super) fn durable(pages: Pages, link_count: u64) -> FileState {
        FileState { current: pages.clone(), durable: pages, is_virgin: false, writes: Vec::new(), link_count }
    }

    fn sync(&mut self) {
        if self.writes.iter().all(|write| write.standing == Standing::Unsynced) {
            self.durable = self.current.clone();
            self.is_virgin = false;
            self.writes.clear();
            return;
        }
        for write in self.writes.iter_mut().filter(|write| write.standing == Standing::Unsynced) {
            write.standing = Standing::Firm;
        }
    }

    fn fail_sync(&mut self, durable_count: usize) {
        for write in self.writes.drain(..durable_count) {
            // The oldest write of a virgin file fills all of it.
            self.is_virgin = false;
            match write.fill {
                Fill::Zeros(length) => self.durable = Pages::zeros(length),
                Fill::Bytes(bytes) => self.durable.write(write.offset, &bytes),
            }
        }
        for write in self.writes.iter_mut().filter(|write| write.standing == Standing::Unsynced) {
            write.standing = Standing::Suspect;
        }
    }
}

impl Write {
    pub(super) fn end(&self) -> u64 {
        self.offset
            + match &self.fill {
                Fill::Zeros(length) => *length,
                Fill::Bytes(bytes) => bytes.len() as u64,
            }
    }

    /// Copies what the write has of `start..start + bytes.len()` into `bytes`.
    pub(super) fn copy_to(&self, start: u64, bytes: &mut [u8]) {
        let from = self.offset.max(start);
        let to = self.end().min(start + bytes.len() as u64);
        if from >= to {
            return;
        }
        let target = &mut bytes[(from - start) as usize..(to - start) as usize];
        match &self.fill {
            Fill::Zeros(_) => target.fill(0),
            Fill::Bytes(source) => {
                target.copy_from_slice(&source[(from - self.offset) as usize..(to - self.offset) as usize]);
            }
        }
    }
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut Names) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, id)) = &self.added {
            names.insert(name.clone(), *id);
        }
    }

    pub(super) fn touched(&self) -> impl Iterator<Item = &Name> {
        self.removed.iter().chain(self.added.iter().map(|(name, _)| name))
    }
}
