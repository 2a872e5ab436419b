//! The handle: what a server calls.
//! Owns: `Store`, its opening and closing. May touch: everything above.
//! Never: changes state past the pipeline.

mod options;

mod clock;

mod progress;

mod statistics;

mod noted;

mod rounds;

mod needs;

mod rows;

mod shared;

mod sealing;

mod open;

mod pipeline;

mod note;

mod load;

mod seal;

mod merge;

mod backup;

mod ticket;

mod read;

mod append;

mod groups;

mod members;

mod marks;

mod flags;

mod report;

mod cursor;

mod since;

mod retention;

mod maintain;

mod visible;

mod people;

mod directory;

mod unread;

mod amend;

mod history;

mod list;

mod entry;

mod sessions;

mod digest;

mod verify;

mod repair;

pub use amend::Amendments;
pub use append::Draft;
pub use backup::Backup;
pub use clock::StoreTime;
pub use cursor::{AmendmentCursor, Cursor, RecentCursor};
pub use flags::FlagChange;
pub use groups::GroupInfo;
pub use history::{Edge, HistoryQuery, Page};
pub use list::{CatchUpQuery, Entry, List, ListQuery, Recent, SessionState, Totals};
pub use members::{Groups, Member, Members, Receipt, Receipts};
pub use merge::Purged;
pub use options::{Durability, Options, Threads};
pub use people::RemovedUser;
pub use read::{Amended, Message};
pub use repair::Repair;
pub use report::{
    CacheStatistics, FileKindStatistics, FileStatistics, LookUpStatistics, MemoryStatistics, Statistics,
    SyncStatistics, WorkStatistics, WrittenStatistics,
};
pub use ticket::Ticket;
pub use unread::{Alert, Mentions};
pub use verify::Verification;
pub use visible::{Amendment, AmendmentKind};

use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::id::{Epoch, Peer, Timeline, UserId, Version};
use crate::journal::Recovery;
use crate::state::{Answer, Needs, Sequencer, State};
use crate::storage::{RealStorage, Storage};
use pipeline::Pipeline;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

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
    /// Reads the first page of each live file and replays what is not sealed: nearly nothing after a clean close, at most a few
    /// journal files after any other end, whatever the store's size. What it found is in [`Store::recovery`].
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
        Store::open_with(Arc::new(storage), options, Some(path))
    }

    /// Opens the store in the directory `path` to look at it: a backup, or a store that nobody has open for
    /// writing. Nothing in the directory is changed, also not what a crash left there, and several processes may do so
    /// together. Every change is `Refused`.
    ///
    /// # Errors
    /// `NotFound` if there is no store; `Locked` if it is open for writing; otherwise as [`Store::open`].
    pub fn open_read_only(path: impl AsRef<Path>, options: Options) -> Result<Store> {
        options.check()?;
        let path = path.as_ref();
        let storage = RealStorage::read_only(path, options.read_mode).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::NotFound, format!("no store to look at: path={}", path.display()))
            }
            _ => Error::io("open directory", path, error),
        })?;
        Store::open_on(Arc::new(storage), options)
    }

    /// Opens the store in `storage`; with [`crate::SimStorage`] it can be crashed in every way.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(storage: Arc<dyn Storage>, options: Options) -> Result<Store> {
        Store::open_with(storage, options, None)
    }

    /// `directory` is where the catalogue goes.
    fn open_with(storage: Arc<dyn Storage>, options: Options, directory: Option<&Path>) -> Result<Store> {
        let started = Instant::now();
        let durability = options.durability;
        let has_threads = options.threads == Threads::Background && !storage.is_read_only();
        let maintains = options.maintain;
        let pipeline = Arc::new(Pipeline::open(storage, options)?);
        directory.iter().for_each(|directory| pipeline.notes.place(directory));
        if !has_threads {
            pipeline.notes.open();
        }
        let cut_bytes = pipeline.recovery.cut.as_ref().map_or(0, |cut| cut.bytes);
        events::opened(&pipeline.storage.path(""), pipeline.state().version, cut_bytes, started.elapsed());
        let mut threads = Vec::new();
        if has_threads {
            let works = [
                ("restante-sync", Pipeline::sync_in_background as fn(&Pipeline)),
                ("restante-prepare", Pipeline::prepare_in_background),
                ("restante-seal", Pipeline::seal_in_background),
                ("restante-merge", Pipeline::merge_in_background),
                ("restante-maintain", maintain::maintain_in_background),
            ];
            for (name, work) in works.into_iter().take(if maintains { 5 } else { 4 }) {
                let shared = pipeline.clone();
                let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared));
                match thread {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        // Those that did start must end before the error is told.
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

    /// The timeline that the user calls `peer`; the error that says that there is none.
    fn session_timeline(&self, user: UserId, peer: Peer) -> Result<Timeline> {
        if user.is_none() || peer.is_none() {
            return Err(Error::new(ErrorKind::InvalidInput, "id 0 means none"));
        }
        self.pipeline.state().timeline(user, peer).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no such session: {peer} has sent nothing user={}", user.0))
        })
    }

    /// A change that is decided from a plan. `needs` says what must be in memory for that.
    fn planned<P, T>(
        &self,
        plan: Result<P>,
        needs: impl Fn(&P, &Sequencer, &mut Needs<'_>),
        mut decide: impl FnMut(&mut P, &mut Sequencer, &State, u64) -> Answer<T>,
    ) -> Ticket<T> {
        match plan {
            Ok(plan) => self.ticket(plan, needs, &mut decide),
            Err(error) => Ticket::ready(Err(error)),
        }
    }

    /// A change that is decided without one, unless a check failed.
    fn checked<T>(
        &self,
        checked: Result<()>,
        needs: impl Fn(&mut Needs<'_>),
        mut decide: impl FnMut(&mut Sequencer, &State, u64) -> Answer<T>,
    ) -> Ticket<T> {
        let needs = |(): &(), _: &Sequencer, all: &mut Needs<'_>| needs(all);
        self.planned(checked, needs, |(), sequencer, state, now| decide(sequencer, state, now))
    }

    /// Sequences a change.
    fn ticket<P, T>(
        &self,
        mut plan: P,
        needs: impl Fn(&P, &Sequencer, &mut Needs<'_>),
        decide: impl FnMut(&mut P, &mut Sequencer, &State, u64) -> Answer<T>,
    ) -> Ticket<T> {
        let decided = self.pipeline.sequence(self.durability, &mut plan, needs, decide, |_| Ok(()));
        Ticket::new(&self.pipeline, self.durability, decided)
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
