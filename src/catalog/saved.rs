//! The rows on disk, kept by sled: the only module that names it.
//! Owns: the directory `catalog` of a store, and that nothing which goes wrong in it gets out. May touch: `row`, `seal`.
//! Never: gives sled bytes that it did not leave there itself, keeps it open, or trusts it with what cannot be lost.
//!
//! sled 0.34.7 answers most damage with an error (all of 382 flipped bits that we tried), but it allocates lengths that
//! it reads, asserts much, and its threads are those of the whole process: where one panics, no sled in it may work again. No
//! `catch_unwind` helps against an allocation that fails or a panic within a panic. So a seal is left over
//! its files whenever it has closed them, and checked before it opens them. What remains to be fenced is what
//! goes wrong with sound files: each job has a thread, which may panic or be given up.

use super::{row, seal};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const DIRECTORY: &str = "catalog";
const BROKEN: &str = "catalog.broken";
/// In the directory: what sled has, and the seal over it.
const SLED: &str = "sled";
const SEAL: &str = "seal";

/// Ten times what tens of thousands of rows take.
const SLED_BYTES_MAX: u64 = 256 << 20;
/// sled writes whole segments, and a small one keeps a small catalogue small.
const SEGMENT_BYTES: usize = 64 << 10;
const CACHE_BYTES: u64 = 1 << 20;
/// A job takes tens of milliseconds. After this long it is given up, with its thread.
const PATIENCE: Duration = Duration::from_secs(10);

type Values = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug)]
pub(super) struct Saved {
    store: PathBuf,
    /// It failed twice in a row: the rows stay in memory for as long as the store is open.
    is_given_up: bool,
    rebuilds: u64,
}

impl Saved {
    pub(super) fn open(store: &Path) -> (Saved, Values) {
        let mut saved = Saved { store: store.to_owned(), is_given_up: false, rebuilds: 0 };
        let directory = saved.directory();
        if let Err(error) = fs::symlink_metadata(&directory)
            && error.kind() == io::ErrorKind::NotFound
        {
            return (saved, Values::new());
        }
        match fenced(move || load(&directory)) {
            Ok(values) => (saved, values),
            Err(_) => {
                saved.set_aside();
                (saved, Values::new())
            }
        }
    }

    pub(super) fn rebuilds(&self) -> u64 {
        self.rebuilds
    }

    /// Saves what changed, or if that fails all there is, anew. Whether it is saved.
    pub(super) fn save(&mut self, changes: Changes, all: impl FnOnce() -> Values) -> bool {
        if self.is_given_up {
            return false;
        }
        let directory = self.directory();
        if changes.is_empty() || fenced(move || write(&directory, changes)).is_ok() {
            return true;
        }
        self.set_aside();
        let directory = self.directory();
        let all = all().into_iter().map(|(key, value)| (key, Some(value))).collect();
        if !self.is_given_up && fenced(move || write(&directory, all)).is_ok() {
            return true;
        }
        // A disk that is full is not to be kept so by half a catalogue.
        let _ = remove(&self.directory());
        self.is_given_up = true;
        false
    }

    fn directory(&self) -> PathBuf {
        self.store.join(DIRECTORY)
    }

    /// Gets what is damaged out of the way.
    fn set_aside(&mut self) {
        self.rebuilds += 1;
        let (directory, broken) = (self.directory(), self.store.join(BROKEN));
        let is_gone = remove(&broken).and_then(|()| fs::rename(&directory, broken)).or_else(|_| remove(&directory));
        self.is_given_up |= is_gone.is_err();
    }
}

/// Does a job in a thread of its own, which may panic, or never come back.
fn fenced<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    fenced_for(PATIENCE, job)
}

fn fenced_for<T: Send + 'static>(
    patience: Duration,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name("restante-catalog".to_owned()).spawn(move || {
        let done = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| Err(io::Error::other("sled panicked")));
        // Nobody may be waiting any more.
        let _ = sender.send(done);
    })?;
    let done = receiver.recv_timeout(patience).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    let _ = thread.join();
    done
}

fn load(directory: &Path) -> io::Result<Values> {
    let mut values = Values::new();
    with_sled(directory, |rows| {
        for entry in rows.iter() {
            let (key, value) = entry?;
            if row::open(&key, &value).is_none() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a row with a wrong checksum"));
            }
            values.insert(key.to_vec(), value.to_vec());
        }
        Ok(())
    })?;
    Ok(values)
}

fn write(directory: &Path, changes: Changes) -> io::Result<()> {
    if let Err(error) = DirBuilder::new().mode(0o700).create(directory)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    with_sled(directory, |rows| {
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key, value)?,
                None => rows.remove(key)?,
            };
        }
        Ok(())
    })
}

/// Opens what is sealed, or makes it if there is nothing at all, and seals it again.
fn with_sled(directory: &Path, work: impl FnOnce(&sled::Db) -> io::Result<()>) -> io::Result<()> {
    let (files, seal) = (directory.join(SLED), directory.join(SEAL));
    if fs::read_dir(directory)?.next().is_some() && !is_sealed(&files, &seal)? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the catalogue is not as it was left"));
    }
    let config = sled::Config::new().path(&files).mode(sled::Mode::LowSpace);
    let config = config.cache_capacity(CACHE_BYTES).flush_every_ms(None).segment_size(SEGMENT_BYTES);
    // After a panic or an error it is left as it is: to drop it would be to go on using it.
    let sled = ManuallyDrop::new(config.open()?);
    work(&sled)?;
    sled.flush()?;
    drop(ManuallyDrop::into_inner(sled));
    // Not synced: bytes and seal that a crash of the machine leaves apart do not match.
    fs::write(seal, seal::of(&files, SLED_BYTES_MAX)?)
}

fn is_sealed(files: &Path, seal: &Path) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(seal)?;
    let has_shape = metadata.is_file() && metadata.len() == seal::SEAL_BYTES as u64;
    Ok(has_shape && fs::read(seal)? == seal::of(files, SLED_BYTES_MAX)?)
}

/// Removes whatever has this name, if there is anything.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_may_panic_or_never_come_back() {
        assert_eq!(fenced(|| Ok(7)).unwrap(), 7);
        let panicked = fenced::<()>(|| panic!("expected in this test"));
        assert_eq!(panicked.unwrap_err().to_string(), "sled panicked");
        let (_sender, receiver) = mpsc::channel::<()>();
        let waited = fenced_for(Duration::from_millis(20), move || Ok(receiver.recv().is_ok()));
        assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
