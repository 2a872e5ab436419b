//! What the machine says: memory of this process, bytes of a directory, page cache; and what it could do at best.
//! Owns: reading `/proc`, the raw probe. May touch: the directory of the soak.
//! Never: calls a store.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    pub all: u64,
    pub anonymous: u64,
    pub files: u64,
}

pub fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) << 10
    };
    Memory { all: field("VmRSS"), anonymous: field("RssAnon"), files: field("RssFile") }
}

/// What a directory takes of the device, in bytes, all below it included.
pub fn directory_bytes(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // The store took it away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        bytes += if metadata.is_dir() { directory_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Empties the page cache of the whole machine; `false` if this process may not.
pub fn drop_caches(directory: &Path) -> bool {
    // Dirty pages stay where they are.
    let synced = fs::read_dir(directory).is_ok_and(|entries| {
        entries
            .flatten()
            .filter(|entry| entry.path().is_file())
            .all(|entry| File::open(entry.path()).and_then(|file| file.sync_all()).is_ok())
    });
    synced && fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

/// Bytes of the probe's file.
const PROBE_BYTES: usize = 64 << 20;

/// A file of zeros that was synced, into which as many bytes are written as the store writes, and nothing else is done.
pub struct Probe {
    file: File,
    path: PathBuf,
    bytes: Vec<u8>,
    offset: usize,
}

impl Probe {
    pub fn new(directory: &Path) -> io::Result<Probe> {
        let path = directory.join("soak.probe");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let zeros = vec![0; 1 << 20];
        for offset in (0..PROBE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset as u64)?;
        }
        file.sync_data()?;
        Ok(Probe { file, path, bytes: Vec::new(), offset: 0 })
    }

    /// Writes `bodies` with so many bytes between them that it is `bytes` altogether; the time of the writing alone.
    pub fn write<'a>(&mut self, bodies: impl Iterator<Item = &'a [u8]>, bytes: usize) -> io::Result<Duration> {
        self.bytes.clear();
        bodies.for_each(|body| self.bytes.extend_from_slice(body));
        self.bytes.resize(bytes, 0x5a);
        if self.offset + bytes > PROBE_BYTES {
            self.offset = 0;
        }
        let started = Instant::now();
        self.file.write_all_at(&self.bytes, self.offset as u64)?;
        let took = started.elapsed();
        self.offset += bytes;
        Ok(took)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It lies in the directory of the soak, where it would only be found again.
        let _ = fs::remove_file(&self.path);
    }
}
