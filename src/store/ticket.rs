//! The answer of a change, and the wait until it holds.
//! Owns: `Ticket`. May touch: `pipeline`.
//! Never: decides anything; the answer stands when the ticket is made.

use super::options::{Durability, Threads};
use super::pipeline::Pipeline;
use crate::error::Result;
use crate::state::Decided;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The answer of a change, given once it is as durable as was asked.
///
/// The change itself is on its way when the ticket is made: its place in the order is fixed, and
/// dropping the ticket does not take it back. Wait for it on a thread with [`Ticket::wait`], or
/// `.await` it in any async runtime; a store needs none. The call that gave the ticket may itself
/// have blocked for the time of a sync: when a journal file was full, or before the first `Buffered`
/// change of a `Sync` store.
///
/// # Errors
/// Besides the errors of the call: `Unknown` if the commit failed half-way. Whether the change is
/// there is settled when the store is opened again.
#[must_use = "the change is not known to be durable until the ticket is waited for"]
pub struct Ticket<T> {
    result: Option<Result<T>>,
    wait: Option<Wait>,
}

struct Wait {
    pipeline: Arc<Pipeline>,
    version: u64,
    durability: Durability,
    /// By which the pipeline knows whom to wake, once it has been polled.
    waker: Option<u64>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(waker) = self.waker {
            self.pipeline.progress.forget(waker);
        }
    }
}

impl<T> Ticket<T> {
    /// A ticket that rests on no change.
    pub(crate) fn ready(result: Result<T>) -> Ticket<T> {
        Ticket { result: Some(result), wait: None }
    }

    /// A ticket for what the sequencer decided.
    pub(crate) fn new(pipeline: &Arc<Pipeline>, durability: Durability, decided: Result<Decided<T>>) -> Ticket<T> {
        match decided {
            Err(error) => Ticket::ready(Err(error)),
            Ok(Decided { result, rests_on }) => {
                let wait = Wait { pipeline: pipeline.clone(), version: rests_on, durability, waker: None };
                let wait = (!wait.is_over()).then_some(wait);
                Ticket { result: Some(result), wait }
            }
        }
    }

    /// The same ticket with another answer.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Ticket<U> {
        Ticket { result: self.result.map(|result| result.map(change)), wait: self.wait }
    }

    /// Blocks until the answer holds, and gives it.
    ///
    /// One of the threads that wait syncs for all of them.
    pub fn wait(mut self) -> Result<T> {
        if let Some(wait) = self.wait.take() {
            wait.pipeline.reach(wait.version, wait.durability)?;
        }
        self.result.take().expect("a ticket gives its answer once")
    }

    /// Whether [`Ticket::wait`] would return at once.
    pub fn is_done(&self) -> bool {
        self.wait.as_ref().is_none_or(Wait::is_over)
    }
}

impl Wait {
    fn is_over(&self) -> bool {
        let progress = &self.pipeline.progress;
        match self.durability {
            Durability::Buffered => progress.written() >= self.version,
            Durability::Sync => progress.synced() >= self.version,
        }
    }
}

impl<T: Unpin> Future for Ticket<T> {
    type Output = Result<T>;

    /// With [`Threads::Inline`] there is nobody else to sync, so this blocks.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if let Some(wait) = &mut self.wait
            && !wait.is_over()
        {
            let is_left_to_others =
                wait.durability == Durability::Sync && wait.pipeline.options.threads == Threads::Background;
            if is_left_to_others {
                if wait.pipeline.progress.wake_at(&mut wait.waker, wait.version, context.waker()) {
                    wait.pipeline.progress.kick_sync(Instant::now());
                    return Poll::Pending;
                }
                if !wait.is_over() {
                    return Poll::Ready(Err(wait.pipeline.progress.unknown()));
                }
            } else {
                wait.pipeline.reach(wait.version, wait.durability)?;
            }
        }
        self.wait = None;
        Poll::Ready(self.result.take().expect("a ticket gives its answer once"))
    }
}

impl<T: fmt::Debug> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("result", &self.result).field("is_done", &self.is_done()).finish()
    }
}
