//! Directories with their past and with the faults that are to come.
//! Owns: `Machine`, `FailEffect`. May touch: `disk`, `random`, `record`.
//! Never: checks what a caller asks for; it does it, or as much as a fault lets through.

use super::disk::{Change, Disk, FileId, FileState, Name};
use super::random::Random;
use super::record::Record;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much of its effect a failing operation has. Names change whole: there `Part` is all or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailEffect {
    /// None.
    Nothing,
    /// Some, chosen by the seed: the first bytes of a write, the oldest changes that a sync was to make durable.
    Part,
    /// All, and the call fails nevertheless.
    All,
}

/// The run so far, and what is to come of it.
pub(super) struct Machine {
    pub(super) seed: u64,
    pub(super) record: Record,
    pub(super) random: Random,
    pub(super) read_count: u64,
    /// By number of the operation.
    pub(super) faults: BTreeMap<u64, (io::ErrorKind, FailEffect)>,
    pub(super) fails_from: Option<(u64, io::ErrorKind)>,
    pub(super) is_full: bool,
    /// Whether a copy can have links to the files it is a copy of.
    pub(super) has_links: bool,
    /// Who has which directory.
    pub(super) locks: BTreeMap<FileId, Holders>,
    pub(super) has_power: bool,
}

/// Who has the lock of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holders {
    Writer,
    Readers(u64),
}

impl Machine {
    pub(super) fn new(seed: u64, disk: Disk) -> Machine {
        Machine {
            seed,
            record: Record::new(disk),
            random: Random::new(&[seed]),
            read_count: 0,
            faults: BTreeMap::new(),
            fails_from: None,
            is_full: false,
            has_links: true,
            locks: BTreeMap::new(),
            has_power: true,
        }
    }

    pub(super) fn powered(shared: &Mutex<Machine>) -> io::Result<MutexGuard<'_, Machine>> {
        let machine = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if machine.has_power { Ok(machine) } else { Err(io::Error::other("simulated storage is powered off")) }
    }

    pub(super) fn file(&self, directory: FileId, name: &str) -> Option<&FileState> {
        let disk = self.record.disk();
        disk.names(directory).get(name).map(|id| &*disk.files[id])
    }

    /// What a name stands for.
    pub(super) fn existing(&self, directory: FileId, name: &str) -> io::Result<FileId> {
        self.record.disk().names(directory).get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes a file of zeros.
    pub(super) fn create(&mut self, directory: FileId, name: Name, length: u64) -> io::Result<FileId> {
        if self.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.operate(Change::Create { directory, name: name.clone(), length })?;
        self.existing(directory, &name)
    }

    pub(super) fn lock(&mut self, directory: FileId, is_shared: bool) -> io::Result<()> {
        let holders = match (self.locks.get(&directory), is_shared) {
            (None, false) => Holders::Writer,
            (None, true) => Holders::Readers(1),
            (Some(Holders::Readers(count)), true) => Holders::Readers(count + 1),
            (Some(_), _) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        self.locks.insert(directory, holders);
        Ok(())
    }

    pub(super) fn unlock(&mut self, directory: FileId) {
        match self.locks.get_mut(&directory) {
            Some(Holders::Readers(count)) if *count > 1 => *count -= 1,
            _ => drop(self.locks.remove(&directory)),
        }
    }

    /// Makes a change that is due, or as much of it as a fault lets through.
    pub(super) fn operate(&mut self, change: Change) -> io::Result<()> {
        let operation = self.record.operation_count();
        let fault = match (self.faults.remove(&operation), self.fails_from) {
            (Some(fault), _) => fault,
            (None, Some((first, kind))) if first <= operation => (kind, FailEffect::Nothing),
            (None, _) => {
                self.record.operate(change);
                return Ok(());
            }
        };
        let (kind, effect) = fault;
        let mut random = Random::new(&[self.seed, operation]);
        let change = failed(change, effect, self.record.disk(), &mut random);
        self.record.operate(change);
        Err(io::Error::new(kind, "simulated fault"))
    }
}

/// What a failing operation does instead of what it was to do.
fn failed(change: Change, effect: FailEffect, disk: &Disk, random: &mut Random) -> Change {
    let mut part = |whole: usize| match effect {
        FailEffect::Nothing => 0,
        FailEffect::Part => random.below(whole as u64 + 1) as usize,
        FailEffect::All => whole,
    };
    match change {
        Change::Sync { file } => Change::SyncFailed { file, durable_count: part(disk.files[&file].writes.len()) },
        Change::SyncDirectory { directory } => {
            let durable_count = part(disk.directories[&directory].name_changes.len());
            Change::SyncDirectoryFailed { directory, durable_count }
        }
        Change::Write { file, offset, bytes } => {
            Change::Write { file, offset, bytes: bytes[..part(bytes.len())].into() }
        }
        change if part(1) == 1 => change,
        _ => Change::Nothing,
    }
}
