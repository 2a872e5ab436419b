//! One open file of a simulated directory.
//! Owns: `SimFile` and its settled border. May touch: `body`, `disk`, `machine`.
//! Never: maps bytes, or lets a range past the checks of the contract.

use super::super::{Body, StorageFile, check_read, check_write, is_settled, refuse_write};
use super::disk::{Change, FileId};
use super::machine::Machine;
use std::any::Any;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Shares the machine with the storage, so that it loses power with it.
pub(super) struct SimFile {
    shared: Arc<Mutex<Machine>>,
    id: FileId,
    length: u64,
    is_read_only: bool,
    /// Held while bytes are written, so that a range is never written and settled at once. Taken
    /// before the machine's lock.
    settled: Mutex<u64>,
    /// Lives as long as this handle; bodies are copies.
    held: Arc<()>,
}

impl SimFile {
    pub(super) fn new(shared: &Arc<Mutex<Machine>>, id: FileId, length: u64, is_read_only: bool) -> SimFile {
        SimFile { shared: shared.clone(), id, length, is_read_only, settled: Mutex::new(0), held: Arc::default() }
    }

    fn settled(&self) -> MutexGuard<'_, u64> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageFile for SimFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let settled = self.settled();
        let mut machine = Machine::powered(&self.shared)?;
        refuse_write(self.is_read_only)?;
        check_write(offset, bytes.len(), self.length, *settled)?;
        machine.operate(Change::Write { file: self.id, offset, bytes: bytes.into() })
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut machine = Machine::powered(&self.shared)?;
        check_read(offset, bytes.len(), self.length)?;
        machine.read_count += 1;
        machine.record.disk().files[&self.id].current.read(offset, bytes);
        Ok(())
    }

    fn settle(&self, offset: u64) {
        let mut settled = self.settled();
        *settled = offset.min(self.length).max(*settled);
    }

    fn mapped(&self, _offset: u64, _length: usize) -> Option<&[u8]> {
        None
    }

    fn body(&self, offset: u64, length: usize) -> io::Result<Body> {
        if !is_settled(offset, length, *self.settled()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "bytes are not settled"));
        }
        let mut bytes = vec![0; length];
        self.read_at(offset, &mut bytes)?;
        Ok(Body::copy_of(&bytes))
    }

    fn sync(&self) -> io::Result<()> {
        Machine::powered(&self.shared)?.operate(Change::Sync { file: self.id })
    }

    fn held(&self) -> Weak<dyn Any + Send + Sync> {
        let held: Arc<dyn Any + Send + Sync> = self.held.clone();
        Arc::downgrade(&held)
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("id", &self.id).field("length", &self.length).finish_non_exhaustive()
    }
}
