//! Recovers what a crash left and holds it against what was promised.
//! Owns: the checks of one image. May touch: `run`.
//! Never: decides where to crash.

use std::path::PathBuf;
use std::sync::Arc;

use restante::Durability::{self, Buffered, Sync};
use restante::{
    CrashPlan, Draft, Epoch, HistoryQuery, ListQuery, Loss, ManualClock, Peer, Recovery, SimStorage, Store, Timestamp,
    UserId,
};

use super::run::{Look, Promises, Removal, Table, Unsynced, options};

/// Later than any run.
const LATER: u64 = 3_000_000_000_000_000;
/// Of so many images one is verified, every byte of it.
const VERIFY_EVERY: u64 = 8;
/// Two users who do nothing before.
const AFTER: (UserId, UserId) = (UserId(77), UserId(78));

pub type Checked<T = ()> = Result<T, String>;

fn hold(is_so: bool, what: impl FnOnce() -> String) -> Checked {
    if is_so { Ok(()) } else { Err(what()) }
}

/// What an image must hold.
#[derive(Clone)]
pub struct Expected {
    /// Everything up to here must be there.
    pub floor: u64,
    /// Nothing above it may be.
    pub ceiling: u64,
    pub table: Arc<Table>,
    /// There may be no store yet.
    pub may_be_new: bool,
    /// The epoch in which the last process worked; none if none did.
    pub epoch: Option<(Epoch, Unsynced)>,
    /// Whether it must (not) look as if it had been closed.
    pub clean: Option<bool>,
    /// The newest backup that was begun, and what it holds if it was made.
    pub copy: Option<(PathBuf, Option<u64>)>,
}

impl Expected {
    /// What the promises say about a crash within an operation.
    pub fn of(promises: &Promises, operation: u64, loss: Loss) -> Expected {
        let level = if loss == Loss::Nothing { Buffered } else { Sync };
        let floor = promises.floor(operation, level);
        let closed = promises.closes.iter().rev().find(|close| close.begun_at <= operation);
        let copy = promises.copies.iter().rev().find(|copy| copy.begun_at <= operation);
        Expected {
            copy: copy.map(|copy| {
                let done = copy.done.filter(|(done_at, _)| *done_at <= operation);
                (copy.path.clone(), done.map(|(_, version)| version))
            }),
            floor,
            ceiling: u64::MAX,
            table: promises.table(operation),
            may_be_new: promises.created_at.is_none_or(|created| operation < created),
            epoch: promises.epoch(operation),
            clean: match closed {
                Some(close) if (close.done_at..close.clean_until).contains(&operation) => Some(true),
                Some(close) if promises.floor(operation, Sync) > close.version => Some(false),
                Some(_) => None,
                None => Some(false),
            },
        }
    }
}

/// What was found and done on an image.
pub struct Seen {
    pub recovery: Recovery,
    /// How many journal files were live after opening.
    pub files: usize,
    pub version: u64,
    pub digest: u64,
    pub epoch: Epoch,
    pub durability: Durability,
    /// How many operations there were when open returned, when the change made then was durable, when
    /// closing began and when it ended.
    pub opened_at: u64,
    pub appended_at: u64,
    pub closed_at: u64,
    /// The digest with that change.
    pub digest_after: u64,
}

impl Seen {
    /// What must be there if what was done on the image is crashed at one of its operations.
    pub fn expected(&self, before: &Expected, operation: u64) -> Expected {
        let after = self.version + 1;
        let is_open = operation >= self.opened_at;
        let unsynced = if self.durability == Buffered { Unsynced::Surely } else { Unsynced::Never };
        Expected {
            copy: None,
            floor: if operation >= self.appended_at { after } else { self.version },
            ceiling: if is_open { after } else { self.version },
            table: Arc::new(
                [(self.version, Look::Digest(self.digest)), (after, Look::Digest(self.digest_after))].into(),
            ),
            may_be_new: !is_open && before.may_be_new,
            epoch: match (is_open, self.durability) {
                (false, _) => match before.epoch {
                    Some((epoch, Unsynced::Never)) if self.durability == Buffered => Some((epoch, Unsynced::Perhaps)),
                    epoch => epoch,
                },
                (true, Buffered) if operation >= self.appended_at => Some((self.epoch, Unsynced::Perhaps)),
                (true, _) => Some((self.epoch, unsynced)),
            },
            clean: match () {
                () if operation == self.closed_at => Some(true),
                () if operation == self.appended_at => Some(false),
                () => None,
            },
        }
    }
}

fn cut(storage: &SimStorage, loss: Loss) -> Arc<SimStorage> {
    storage.crash_at(storage.operations(), CrashPlan { seed: 5, loss })
}

/// Opens the image and looks whether it is what was promised.
fn open(found: &Arc<SimStorage>, durability: Durability, expected: &Expected) -> Checked<(Store, u64)> {
    let clock = Arc::new(ManualClock::new(Timestamp(LATER)));
    let store =
        Store::open_on(found.clone(), options(durability, &clock)).map_err(|error| format!("open: {error:?}"))?;
    let (version, recovery) = (store.version().0, store.recovery().clone());
    hold(expected.may_be_new || !recovery.created, || format!("the store is gone: {recovery:?}"))?;
    hold(expected.floor <= version && version <= expected.ceiling, || {
        format!("version {version}, promised {} to {}: {recovery:?}", expected.floor, expected.ceiling)
    })?;
    let digest = store.state_digest().map_err(|error| format!("digest: {error:?}"))?;
    match expected.table.get(&version) {
        Some(Look::Removing(removal)) => go_on(found, durability, removal)?,
        want => hold(matches!(want, Some(Look::Digest(want)) if *want == digest), || {
            format!("digest at version {version}: want {want:x?} got {digest:x}: {recovery:?}")
        })?,
    }
    // What is sealed is not replayed.
    hold(recovery.changes <= version, || format!("changes: {recovery:?}"))?;
    hold(expected.clean.is_none_or(|clean| clean == recovery.clean || recovery.created), || {
        format!("clean: want {:?}: {recovery:?}", expected.clean)
    })?;
    hold(!(recovery.clean && recovery.cut.is_some()), || format!("clean and cut: {recovery:?}"))?;

    let list = store.changed(UserId(1), None, &ListQuery::new().limit(0));
    let ends = list.map_err(|error| format!("changed: {error:?}"))?.epoch_ends;
    let end_of = |epoch: Epoch| ends.iter().find(|end| end.epoch == epoch).map(|end| end.end.0);
    hold(end_of(store.epoch()).is_none(), || format!("the present epoch has ended: {ends:?}"))?;
    hold(!recovery.new_epoch || ends.last().is_some_and(|end| end.end.0 == version), || format!("ends: {ends:?}"))?;
    if let Some((epoch, unsynced)) = expected.epoch {
        let is_new = store.epoch() != epoch;
        let want = match unsynced {
            Unsynced::Never => !is_new,
            Unsynced::Surely => is_new,
            Unsynced::Perhaps => true,
        };
        let context =
            || format!("epoch {epoch:?} {unsynced:?} is_new={is_new} ends={ends:?} at {version}: {recovery:?}");
        hold(want && (!is_new || end_of(epoch) == Some(version)), context)?;
    }
    Ok((store, digest))
}

/// A backup is there whole or not at all, and one that was made stays.
fn check_copy(found: &SimStorage, durability: Durability, expected: &Expected) -> Checked {
    let Some((path, done)) = &expected.copy else { return Ok(()) };
    let Some(copy) = found.copy_at(path) else {
        return hold(done.is_none(), || format!("a copy is gone: {path:?}"));
    };
    let clock = Arc::new(ManualClock::new(Timestamp(LATER)));
    let store = Store::open_on(copy.read_only(), options(durability, &clock));
    let store = store.map_err(|error| format!("open a copy: {error:?}"))?;
    let version = store.version().0;
    hold(done.is_none_or(|done| done == version), || format!("a copy of {done:?} holds {version}"))?;
    let digest = store.state_digest().map_err(|error| format!("digest of a copy: {error:?}"))?;
    // A copy of before a kill may hold what is in no later table.
    let is_right = match expected.table.get(&version) {
        Some(Look::Digest(want)) => *want == digest,
        _ => true,
    };
    hold(is_right, || format!("digest of a copy at version {version}: {digest:x}"))
}

/// A removal that a crash cut short ends as it would have when it is asked for again.
fn go_on(found: &SimStorage, durability: Durability, removal: &Removal) -> Checked {
    let clock = Arc::new(ManualClock::new(Timestamp(removal.time)));
    let resumed = || {
        let store = Store::open_on(found.deep_clone(), options(durability, &clock))?;
        store.remove_user(removal.user, removal.recall_all)?;
        store.sync()?;
        Ok((store.version().0, store.state_digest()?))
    };
    let got = resumed().map_err(|error: restante::Error| format!("{removal:?}: {error:?}"))?;
    hold(got == (removal.version, removal.digest), || format!("{removal:x?}: got {got:x?}"))
}

/// Recovers an image, recovers what a power cut leaves of it, works on, and so on.
pub fn check(found: &Arc<SimStorage>, durability: Durability, expected: &Expected) -> Checked<Seen> {
    let (store, digest) = open(found, durability, expected)?;
    let (version, epoch, opened_at) = (store.version().0, store.epoch(), found.operations());
    let unsynced = if durability == Buffered { Unsynced::Surely } else { Unsynced::Never };
    check_copy(found, durability, expected)?;
    let mut again = Expected {
        copy: None,
        floor: version,
        ceiling: version,
        table: Arc::new([(version, Look::Digest(digest))].into()),
        may_be_new: false,
        epoch: Some((epoch, unsynced)),
        clean: None,
    };
    // Whatever a store shows when it opens survives a power cut.
    let (names, recovery) = (found.names(), store.recovery().clone());
    let files = names.iter().filter(|name| name.ends_with(".journal")).count();
    open(&cut(found, Loss::All), durability, &again).map_err(|error| format!("after a power cut at once: {error}"))?;
    let evidence = names.iter().filter(|name| name.ends_with(".evidence")).count();
    hold(evidence <= restante::limits::EVIDENCE_FILES_MAX, || format!("evidence: {names:?}"))?;
    hold(names.iter().all(|name| !name.ends_with(".tmp")), || format!("unfinished: {names:?}"))?;
    if digest.is_multiple_of(VERIFY_EVERY) {
        let verified = store.verify().map_err(|error| format!("verify: {error:?}"))?;
        hold(verified.is_whole(), || format!("damage after recovery: {verified:?}"))?;
    }

    let work = || {
        store.append(Draft::direct(AFTER.0, AFTER.1, b"after")).wait()?;
        store.sync()?;
        store.state_digest()
    };
    let digest_after = work().map_err(|error| format!("append after recovery: {error:?}"))?;
    let appended_at = found.operations();
    again.floor = version + 1;
    again.ceiling = again.floor;
    again.table = Arc::new([(again.floor, Look::Digest(digest_after))].into());
    let (survivor, _) = open(&cut(found, Loss::All), durability, &again)
        .map_err(|error| format!("after a power cut after an append: {error}"))?;
    let page = survivor.history(AFTER.1, Peer::User(AFTER.0), &HistoryQuery::newest());
    let page = page.map_err(|error| format!("history: {error:?}"))?;
    hold(page.messages.first().is_some_and(|message| &*message.body == b"after"), || format!("{page:?}"))?;

    store.close().map_err(|error| format!("close: {error:?}"))?;
    let closed_at = found.operations();
    again.epoch = Some((epoch, Unsynced::Never));
    again.clean = Some(true);
    open(&cut(found, Loss::All), durability, &again).map_err(|error| format!("after a clean close: {error}"))?;
    Ok(Seen { recovery, files, version, digest, epoch, durability, opened_at, appended_at, closed_at, digest_after })
}
