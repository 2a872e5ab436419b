//! The handle: what a server calls.
//! Owns: `Store`, its opening and closing. May touch: everything above.
//! Never: changes state past the pipeline.

mod options;

mod progress;

mod pipeline;

mod ticket;

mod append;

mod groups;

mod marks;

mod read;

mod history;

mod cursor;

mod sessions;

mod digest;

pub use append::Draft;
pub use cursor::{Cursor, RecentCursor};
pub use history::{Edge, HistoryQuery, Page};
pub use options::{Durability, Options, Threads};
pub use read::Message;
pub use sessions::{CatchUpQuery, Entry, List, ListQuery, Recent, SessionState, Totals};
pub use ticket::Ticket;

use crate::error::{Error, Result};
use crate::id::{Epoch, Version};
use crate::journal::Recovery;
use crate::storage::{RealStorage, Storage};
use pipeline::Pipeline;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A store of messages, open.
///
/// Cheap to clone and to send to other threads; all handles are the same store. Dropping the last one
/// closes it cleanly; [`Store::close`] does so and says whether it worked.
#[derive(Clone)]
pub struct Store {
    pipeline: Arc<Pipeline>,
    durability: Durability,
    /// Held, not read: it closes the store when the last handle goes.
    _closer: Arc<Closer>,
}

/// Closes the store when the last handle goes.
struct Closer {
    pipeline: Arc<Pipeline>,
    threads: Vec<JoinHandle<()>>,
}

impl Store {
    /// Opens the store in the directory `path`, making it if the directory is absent or empty.
    ///
    /// Replays the whole journal, so it takes time and memory in proportion to the number of
    /// messages. What it found is in [`Store::recovery`].
    ///
    /// # Errors
    /// `Locked` if another process or handle has it open; `Corruption` with file and offset if
    /// something that was acknowledged is damaged or missing, and nothing is changed then;
    /// `Unsupported` for a newer format; `InvalidInput` or `LimitExceeded` for an option out of range
    /// or a directory that holds other things; `Full` or `Io` as the operating system says.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Store> {
        options.check()?;
        let path = path.as_ref();
        let storage =
            RealStorage::new(path, options.read_mode).map_err(|error| Error::io("open directory", path, error))?;
        Store::open_on(Arc::new(storage), options)
    }

    /// Opens the store in `storage`; with [`crate::SimStorage`] it can be crashed in every way.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(storage: Arc<dyn Storage>, options: Options) -> Result<Store> {
        let durability = options.durability;
        let has_threads = options.threads == Threads::Background;
        let pipeline = Arc::new(Pipeline::open(storage, options)?);
        let mut threads = Vec::new();
        if has_threads {
            for (name, work) in [
                ("restante-sync", Pipeline::sync_in_background as fn(&Pipeline)),
                ("restante-prepare", Pipeline::prepare_in_background),
            ] {
                let shared = pipeline.clone();
                let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared));
                match thread {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        // The thread that did start must end before the error is told.
                        drop(Closer { pipeline, threads });
                        return Err(Error::io("start a thread for", Path::new(name), error));
                    }
                }
            }
            pipeline.progress.kick_prepare();
        }
        let closer = Arc::new(Closer { pipeline: pipeline.clone(), threads });
        Ok(Store { pipeline, durability, _closer: closer })
    }

    /// The same store, with another durability for the changes made through the handle returned.
    pub fn at(&self, durability: Durability) -> Store {
        Store { durability, ..self.clone() }
    }

    /// Makes everything durable that was called before, and visible.
    ///
    /// # Errors
    /// `Unknown` if the sync fails, `Poisoned` if one failed before, `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.pipeline.sync_all()
    }

    /// Makes everything durable, writes the mark of a clean close and lets the directory go. Changes
    /// through other handles are refused as `Closed` from then on; reads through them go on.
    ///
    /// # Errors
    /// `Unknown` if the sync fails, `Poisoned` if one failed before: the next open finds out what is there.
    pub fn close(self) -> Result<()> {
        self.pipeline.close()
    }

    /// What opening found, and did about it.
    pub fn recovery(&self) -> &Recovery {
        &self.pipeline.recovery
    }

    /// The newest published version.
    pub fn version(&self) -> Version {
        Version(self.pipeline.state().version)
    }

    /// The present epoch.
    pub fn epoch(&self) -> Epoch {
        self.pipeline.epochs.current
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Nobody is left to be told; the next open finds out.
            let _ = self.pipeline.close();
        }
        self.pipeline.progress.stop();
        let own = std::thread::current().id();
        // A waker called by the syncing thread may drop the last handle.
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != own) {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("options", &self.pipeline.options).finish_non_exhaustive()
    }
}
