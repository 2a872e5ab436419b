//! A copy of a simulated directory under way.
//! Owns: `SimCopy`. May touch: `disk`, `file`, `machine`.
//! Never: does at once what takes a process several steps: a crash finds it between any two.

use super::super::{StorageCopy, StorageFile, unfinished_target};
use super::check_name;
use super::disk::{Change, FileId, Name, OUTSIDE};
use super::file::SimFile;
use super::machine::Machine;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Has the lock of the new directory, as the one on real files does.
pub(super) struct SimCopy {
    shared: Arc<Mutex<Machine>>,
    source: FileId,
    directory: FileId,
    unfinished: Name,
    target: Name,
    is_finished: bool,
}

impl SimCopy {
    pub(super) fn begin(shared: &Arc<Mutex<Machine>>, source: FileId, target: &Path) -> io::Result<SimCopy> {
        let (unfinished, target) = (name_of(&unfinished_target(target)?)?, name_of(target)?);
        let mut machine = Machine::powered(shared)?;
        check_free(&machine, &target)?;
        if let Ok(left) = machine.existing(OUTSIDE, &unfinished) {
            machine.lock(left, false)?;
            let removed = remove(&mut machine, left, &unfinished);
            machine.unlock(left);
            removed?;
        }
        if machine.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        machine.operate(Change::CreateDirectory { name: unfinished.clone() })?;
        let directory = machine.existing(OUTSIDE, &unfinished)?;
        machine.lock(directory, false)?;
        Ok(SimCopy { shared: shared.clone(), source, directory, unfinished, target, is_finished: false })
    }
}

impl StorageCopy for SimCopy {
    fn link(&self, name: &str) -> io::Result<bool> {
        let mut machine = Machine::powered(&self.shared)?;
        let file = machine.existing(self.source, name)?;
        if machine.existing(self.directory, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !machine.has_links {
            return Ok(false);
        }
        machine.operate(Change::Link { file, directory: self.directory, name: name.into() })?;
        Ok(true)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut machine = Machine::powered(&self.shared)?;
        check_name(name)?;
        if machine.existing(self.directory, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = machine.create(self.directory, name.into(), length)?;
        Ok(Arc::new(SimFile::new(&self.shared, id, length, false)))
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut machine = Machine::powered(&shared)?;
        machine.operate(Change::SyncDirectory { directory: self.directory })?;
        check_free(&machine, &self.target)?;
        let (source, target) = (self.unfinished.clone(), self.target.clone());
        machine.operate(Change::Rename { directory: OUTSIDE, source, target })?;
        self.is_finished = true;
        let synced = machine.operate(Change::SyncDirectory { directory: OUTSIDE });
        drop(machine);
        synced
    }
}

impl Drop for SimCopy {
    fn drop(&mut self) {
        let mut machine = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        machine.unlock(self.directory);
        // It may have its new name already: then the rename failed and was done nevertheless.
        let is_there = machine.existing(OUTSIDE, &self.unfinished).is_ok_and(|id| id == self.directory);
        if !self.is_finished && machine.has_power && is_there {
            // What cannot be removed is a leftover for the next attempt.
            let _ = remove(&mut machine, self.directory, &self.unfinished);
        }
    }
}

impl fmt::Debug for SimCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCopy").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Directories outside are known by their whole paths.
pub(super) fn name_of(path: &Path) -> io::Result<Name> {
    let name = path.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not UTF-8"))?;
    if path.starts_with("sim") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the target of a copy lies in what is copied"));
    }
    Ok(name.trim_end_matches('/').into())
}

fn check_free(machine: &Machine, target: &str) -> io::Result<()> {
    match machine.existing(OUTSIDE, target) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something at the target of a copy")),
        Err(_) => Ok(()),
    }
}

/// Removes a directory with what is in it, step by step.
fn remove(machine: &mut Machine, directory: FileId, name: &Name) -> io::Result<()> {
    let names: Vec<Name> = machine.record.disk().names(directory).keys().cloned().collect();
    for name in names {
        machine.operate(Change::Remove { directory, name })?;
    }
    machine.operate(Change::Remove { directory: OUTSIDE, name: name.clone() })
}
