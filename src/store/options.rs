//! How a store is opened.
//! Owns: the options and their ranges. May touch: `limits`, `time`, `storage`.
//! Never: holds anything that can change an answer; such settings are changes.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_BYTES_MIN, MEMORY_BYTES_MIN, MERGE_FAN_IN_MAX, SYNC_DELAY_MS_MAX};
use crate::storage::ReadMode;
use crate::time::{Clock, SystemClock};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// When a change counts as done. `docs/durability.md` has the table of what each level survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync`, which concurrent callers share: survives a power cut.
    #[default]
    Sync,
    /// Once the operating system has it: survives the end of the process, however it ends.
    Buffered,
}

/// Who does the work that no call waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// Five threads of the store: one syncs, one prepares journal files, one seals, one merges, one maintains.
    #[default]
    Background,
    /// Nobody: the calls do it themselves, when there is no other way. A `Buffered` change in a `Sync`
    /// store becomes visible with the next [`crate::Store::sync`] or `Sync` call, and awaiting a
    /// ticket blocks. Every run is the same: made for tests.
    Inline,
}

/// How a store is opened. Old files stay readable whatever is changed here.
#[derive(Clone)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) journal_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) read_mode: ReadMode,
    pub(crate) threads: Threads,
    pub(crate) sync_delay: Duration,
    pub(crate) maintain: bool,
    pub(crate) memory_bytes: u64,
    pub(crate) merge_fan_in: usize,
    pub(crate) merge_bytes_per_second: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::default(),
            journal_bytes: 64 << 20,
            clock: Arc::new(SystemClock),
            read_mode: ReadMode::default(),
            threads: Threads::default(),
            sync_delay: Duration::from_millis(10),
            maintain: true,
            memory_bytes: 256 << 20,
            merge_fan_in: 16,
            merge_bytes_per_second: 0,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("durability", &self.durability)
            .field("journal_bytes", &self.journal_bytes)
            .field("read_mode", &self.read_mode)
            .field("threads", &self.threads)
            .field("sync_delay", &self.sync_delay)
            .field("maintain", &self.maintain)
            .field("memory_bytes_max", &self.memory_bytes)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// When a change counts as done, and what readers see: in a `Sync` store only what is durable, in a
    /// `Buffered` store all that was written. Default `Sync`.
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// The length of a journal file, in bytes. Default 64 MiB, at least [`JOURNAL_BYTES_MIN`], at most
    /// [`JOURNAL_BYTES_MAX`]. One file more than those in use is always kept ready. A batch takes at
    /// most a quarter. A change applies to files made from then on.
    pub fn journal_bytes(mut self, bytes: u64) -> Options {
        self.journal_bytes = bytes;
        self
    }

    /// Where commit times come from. Default [`SystemClock`].
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Options {
        self.clock = clock;
        self
    }

    /// How files are read and written. Default [`ReadMode::Mapped`]. Of no effect on
    /// [`crate::Store::open_on`].
    pub fn read_mode(mut self, read_mode: ReadMode) -> Options {
        self.read_mode = read_mode;
        self
    }

    /// Whether the store has threads of its own. Default [`Threads::Background`].
    pub fn threads(mut self, threads: Threads) -> Options {
        self.threads = threads;
        self
    }

    /// The longest time, in milliseconds, that a `Buffered` call in a `Sync` store stays invisible.
    /// Default 10, at most [`SYNC_DELAY_MS_MAX`]. Longer means fewer syncs.
    pub fn sync_delay_ms(mut self, milliseconds: u64) -> Options {
        self.sync_delay = Duration::from_millis(milliseconds);
        self
    }

    /// Whether the store calls [`crate::Store::maintain`] itself once a minute, on a thread of its own.
    /// Default true; of no effect with [`Threads::Inline`]. A server that compares the digests of two
    /// stores calls it itself.
    pub fn maintain(mut self, maintain: bool) -> Options {
        self.maintain = maintain;
        self
    }

    /// About how many bytes of memory what the store keeps of its timelines and users may take. Default
    /// 256 MiB, at least [`MEMORY_BYTES_MIN`]. What is not used is let go and read again when it is needed;
    /// what no sealing has written down yet stays, and a sealing begins early when that is a quarter of it. The state of
    /// timelines and users takes five eighths, the rest is for sealing, merging and indexes of files.
    ///
    /// A bound for journal files that fit it: what the newest file and up to two closed ones before it changed stays, some times
    /// their length for small messages in many timelines. With [`Threads::Inline`] no sealing begins early, so there
    /// [`Options::journal_bytes`] should be a small part of this.
    /// Mapped files are not counted: the operating system takes their pages back as it likes.
    pub fn memory_bytes_max(mut self, bytes: u64) -> Options {
        self.memory_bytes = bytes;
        self
    }

    /// How many adjacent files of messages of like size a merge makes one of. Default 16, at least 2, at most
    /// [`MERGE_FAN_IN_MAX`]. More means that less is written twice, and that a timeline with few messages lies in
    /// more files.
    pub fn merge_fan_in(mut self, files: usize) -> Options {
        self.merge_fan_in = files;
        self
    }

    /// How many bytes a second merges read, at most. Default 0, which sets no bound.
    pub fn merge_bytes_per_second(mut self, bytes: u64) -> Options {
        self.merge_bytes_per_second = bytes;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.merge_fan_in < 2 {
            let message = format!("merge_fan_in is too small: least=2 got={}", self.merge_fan_in);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        crate::limits::check("merge_fan_in", self.merge_fan_in, MERGE_FAN_IN_MAX)?;
        if self.memory_bytes < MEMORY_BYTES_MIN {
            let message = format!("memory_bytes_max is too small: least={MEMORY_BYTES_MIN} got={}", self.memory_bytes);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if self.journal_bytes < JOURNAL_BYTES_MIN {
            let message = format!("journal_bytes is too small: least={JOURNAL_BYTES_MIN} got={}", self.journal_bytes);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        crate::limits::check("journal_bytes", self.journal_bytes as usize, JOURNAL_BYTES_MAX as usize)?;
        crate::limits::check("sync_delay_ms", self.sync_delay.as_millis() as usize, SYNC_DELAY_MS_MAX as usize)
    }
}
