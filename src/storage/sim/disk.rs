//! Directories as a process sees them, and beside it what of that is durable.
//! Owns: `Disk`, its files, directories and names, and `Change`, the one way to alter them. May touch: `pages`.
//! Never: fails, or draws a random number; `crash` decides what is lost.

use super::pages::Pages;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) type Name = Arc<str>;
pub(super) type Names = BTreeMap<Name, FileId>;

/// Which file or directory, whatever it is called: bytes follow the file through a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// The directory that the storage was made as. Nothing takes it away.
pub(super) const HOME: FileId = FileId(0);
/// What holds the directories beside it: copies, under their whole paths.
pub(super) const OUTSIDE: FileId = FileId(1);
const FIRST_FREE: FileId = FileId(2);

/// One step. Applied once when it happens, and again for every crash that is tried after it.
#[derive(Clone)]
pub(super) enum Change {
    /// An operation that failed without an effect; still a point to crash at.
    Nothing,
    Create {
        directory: FileId,
        name: Name,
        length: u64,
    },
    /// A directory, in `OUTSIDE`.
    CreateDirectory {
        name: Name,
    },
    /// Another name for a file.
    Link {
        file: FileId,
        directory: FileId,
        name: Name,
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
        directory: FileId,
        source: Name,
        target: Name,
    },
    /// Takes a name away, of a directory too if it is empty.
    Remove {
        directory: FileId,
        name: Name,
    },
    SyncDirectory {
        directory: FileId,
    },
    /// As `SyncFailed`, for name changes.
    SyncDirectoryFailed {
        directory: FileId,
        durable_count: usize,
    },
    /// Damage from outside, as are the following: not operations.
    Corrupt {
        file: FileId,
        offset: u64,
        mask: u8,
    },
    Replace {
        directory: FileId,
        name: Name,
        bytes: Arc<[u8]>,
    },
    Vanish {
        directory: FileId,
        name: Name,
    },
    LinkCount {
        file: FileId,
        link_count: u64,
    },
}

/// The state after some number of changes. A clone shares all bytes.
#[derive(Clone)]
pub(super) struct Disk {
    /// Files stay here when their last name goes: handles to them stay good, and a crash may bring the name back.
    pub(super) files: BTreeMap<FileId, Arc<FileState>>,
    /// Directories stay here as files do.
    pub(super) directories: BTreeMap<FileId, Directory>,
    pub(super) next_id: FileId,
}

/// Names of files, or in `OUTSIDE` of directories.
#[derive(Clone, Default)]
pub(super) struct Directory {
    /// As the process sees them.
    pub(super) names: Names,
    pub(super) durable_names: Names,
    /// What leads from `durable_names` to `names`, oldest first.
    pub(super) name_changes: Vec<NameChange>,
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
    /// How many names it has besides those that are simulated.
    pub(super) other_names: u64,
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

impl Default for Disk {
    fn default() -> Disk {
        let directories = [HOME, OUTSIDE].map(|id| (id, Directory::default())).into();
        Disk { files: BTreeMap::new(), directories, next_id: FIRST_FREE }
    }
}

impl Disk {
    /// The present names in a directory.
    pub(super) fn names(&self, directory: FileId) -> &Names {
        &self.directories[&directory].names
    }

    /// Under how many names a process finds a file.
    pub(super) fn link_count(&self, file: FileId) -> u64 {
        self.files[&file].other_names + self.own_names(file)
    }

    /// Makes a change. The caller has checked that names exist or are free, and that ranges lie inside.
    pub(super) fn apply(&mut self, operation: u64, change: &Change) {
        match change {
            Change::Nothing => {}
            Change::Create { directory, name, length } => {
                let id = self.add(FileState::new(operation, *length));
                self.directory_mut(*directory).change(operation, None, Some((name.clone(), id)));
            }
            Change::CreateDirectory { name } => {
                let id = self.new_id();
                self.directories.insert(id, Directory::default());
                self.directory_mut(OUTSIDE).change(operation, None, Some((name.clone(), id)));
            }
            Change::Link { file, directory, name } => {
                self.directory_mut(*directory).change(operation, None, Some((name.clone(), *file)));
            }
            Change::Write { file, offset, bytes } => {
                let file = self.file_mut(*file);
                file.current.write(*offset, bytes);
                let fill = Fill::Bytes(bytes.clone());
                file.writes.push(Write { operation, offset: *offset, fill, standing: Standing::Unsynced });
            }
            Change::Sync { file } => self.file_mut(*file).sync(),
            Change::SyncFailed { file, durable_count } => self.file_mut(*file).fail_sync(*durable_count),
            Change::Rename { directory, source, target } => {
                let directory = self.directory_mut(*directory);
                let id = directory.names[source];
                directory.change(operation, Some(source.clone()), Some((target.clone(), id)));
            }
            Change::Remove { directory, name } => {
                self.directory_mut(*directory).change(operation, Some(name.clone()), None);
            }
            Change::SyncDirectory { directory } => self.directory_mut(*directory).sync(),
            Change::SyncDirectoryFailed { directory, durable_count } => {
                self.directory_mut(*directory).fail_sync(*durable_count);
            }
            Change::Corrupt { file, offset, mask } => {
                let file = self.file_mut(*file);
                for pages in [&mut file.current, &mut file.durable] {
                    let mut byte = [0];
                    pages.read(*offset, &mut byte);
                    pages.write(*offset, &[byte[0] ^ mask]);
                }
            }
            Change::Replace { directory, name, bytes } => {
                let id = self.add(FileState::durable(Pages::of(bytes), 0));
                let directory = self.directory_mut(*directory);
                directory.names.insert(name.clone(), id);
                directory.settle();
            }
            Change::Vanish { directory, name } => {
                let directory = self.directory_mut(*directory);
                directory.names.remove(name);
                directory.settle();
            }
            Change::LinkCount { file, link_count } => {
                let own_names = self.own_names(*file);
                self.file_mut(*file).other_names = link_count.saturating_sub(own_names);
            }
        }
    }

    fn own_names(&self, file: FileId) -> u64 {
        self.directories.values().flat_map(|directory| directory.names.values()).filter(|id| **id == file).count()
            as u64
    }

    fn new_id(&mut self) -> FileId {
        let id = self.next_id;
        self.next_id = FileId(id.0 + 1);
        id
    }

    fn add(&mut self, file: FileState) -> FileId {
        let id = self.new_id();
        self.files.insert(id, Arc::new(file));
        id
    }

    fn file_mut(&mut self, id: FileId) -> &mut FileState {
        Arc::make_mut(self.files.get_mut(&id).expect("files stay when their names go"))
    }

    fn directory_mut(&mut self, id: FileId) -> &mut Directory {
        self.directories.get_mut(&id).expect("directories stay when their names go")
    }
}

impl Directory {
    /// Names that are all durable.
    pub(super) fn durable(names: Names) -> Directory {
        Directory { names: names.clone(), durable_names: names, name_changes: Vec::new() }
    }

    fn change(&mut self, operation: u64, removed: Option<Name>, added: Option<(Name, FileId)>) {
        let change = NameChange { operation, removed, added, standing: Standing::Unsynced };
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn sync(&mut self) {
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

    fn fail_sync(&mut self, durable_count: usize) {
        for change in self.name_changes.drain(..durable_count) {
            change.apply(&mut self.durable_names);
        }
        self.name_changes.iter_mut().for_each(|change| change.standing = Standing::Suspect);
    }

    fn settle(&mut self) {
        self.durable_names = self.names.clone();
        self.name_changes.clear();
    }
}

impl FileState {
    fn new(operation: u64, length: u64) -> FileState {
        let zeros = Pages::zeros(length);
        let fill = Write { operation, offset: 0, fill: Fill::Zeros(length), standing: Standing::Unsynced };
        FileState { current: zeros.clone(), durable: zeros, is_virgin: true, writes: vec![fill], other_names: 0 }
    }

    pub(super) fn durable(pages: Pages, other_names: u64) -> FileState {
        FileState { current: pages.clone(), durable: pages, is_virgin: false, writes: Vec::new(), other_names }
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
