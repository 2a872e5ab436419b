//! Answers in plain form, so that what the store says and what the model says can be compared whole.
//! Owns: plain copies of messages, entries, pages, lists, errors. May touch: the public types.
//! Never: computes an answer.

use std::fmt;

use restante::{
    Appended, Edge, Effect, Entry, Epoch, ErrorKind, Joined, List, Message, Outcome, Peer, SessionState, Timeline,
};

/// Bytes of a body, shown short.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes {:?}", self.0.len(), &self.0[..self.0.len().min(4)])
    }
}

/// An error, by what a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub kind: ErrorKind,
    pub item: Option<usize>,
}

impl From<ErrorKind> for Wrong {
    fn from(kind: ErrorKind) -> Wrong {
        Wrong { kind, item: None }
    }
}

pub type Plain<T> = Result<T, Wrong>;

/// The result of a call in plain form.
pub fn plain<T, P>(result: restante::Result<T>, into: impl FnOnce(T) -> P) -> Plain<P> {
    result.map(into).map_err(|error| Wrong { kind: error.kind(), item: error.item() })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub outcome: Outcome,
    pub seq: u64,
    pub timestamp: u64,
    pub version: u64,
}

impl From<Appended> for Written {
    fn from(real: Appended) -> Written {
        Written {
            outcome: real.outcome,
            seq: real.seq.get(),
            timestamp: real.timestamp.get(),
            version: real.version.get(),
        }
    }
}

/// The version of the change, 0 if nothing changed.
pub fn plain_effect(effect: Effect) -> u64 {
    match effect {
        Effect::Changed(version) => version.get(),
        Effect::Unchanged => 0,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub joined: usize,
    pub unchanged: usize,
    pub version: u64,
}

impl From<Joined> for Admitted {
    fn from(real: Joined) -> Admitted {
        Admitted { joined: real.joined, unchanged: real.unchanged, version: real.version.get() }
    }
}

/// A message as a user is shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub timeline: Timeline,
    pub seq: u64,
    pub version: u64,
    pub timestamp: u64,
    pub commit_time: u64,
    pub sender: u64,
    pub client_id: Option<u128>,
    pub kind: u16,
    pub counts: bool,
    pub imported: bool,
    pub body: Bytes,
}

impl From<&Message> for Shown {
    fn from(real: &Message) -> Shown {
        Shown {
            timeline: real.timeline,
            seq: real.seq.get(),
            version: real.version.get(),
            timestamp: real.timestamp.get(),
            commit_time: real.commit_time.get(),
            sender: real.sender.get(),
            client_id: real.client_id.map(|id| id.get()),
            kind: real.kind,
            counts: real.counts,
            imported: real.imported,
            body: Bytes(real.body.to_vec()),
        }
    }
}

fn all_shown(messages: &[Message]) -> Vec<Shown> {
    messages.iter().map(Shown::from).collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub messages: Vec<Shown>,
    pub covers: Option<(u64, u64)>,
    pub older: Edge,
    pub newer: Edge,
}

impl From<restante::Page> for Page {
    fn from(real: restante::Page) -> Page {
        Page {
            messages: all_shown(&real.messages),
            covers: real.covers.map(|(first, last)| (first.get(), last.get())),
            older: real.older,
            newer: real.newer,
        }
    }
}

/// One entry of a session list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub version: u64,
    pub peer: Peer,
    pub is_add: bool,
    pub state: SessionState,
    pub session_timestamp: u64,
    pub activity: u64,
    pub unread: u64,
    pub goto: Option<(u64, u64)>,
    pub latest: Vec<Shown>,
    pub latest_cut: bool,
    pub read_mark: u64,
    pub first: u64,
    pub last: u64,
    pub messages: Vec<Shown>,
    pub messages_left_out: bool,
}

impl Session {
    /// The entry without messages: what a client keeps of it.
    pub fn kept(&self) -> Session {
        let none = Vec::new();
        Session { latest: none.clone(), latest_cut: false, messages: none, messages_left_out: false, ..self.clone() }
    }
}

impl From<&Entry> for Session {
    fn from(real: &Entry) -> Session {
        Session {
            version: real.version.get(),
            peer: real.peer,
            is_add: real.is_add,
            state: real.state,
            session_timestamp: real.session_timestamp.get(),
            activity: real.activity.get(),
            unread: real.unread,
            goto: real.goto.map(|(seq, timestamp)| (seq.get(), timestamp.get())),
            latest: all_shown(&real.latest),
            latest_cut: real.latest_cut,
            read_mark: real.read_mark.get(),
            first: real.first.get(),
            last: real.last.get(),
            messages: all_shown(&real.messages),
            messages_left_out: real.messages_left_out,
        }
    }
}

/// One page of a session list, without its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    pub entries: Vec<Session>,
    pub more: bool,
    pub epoch: Epoch,
    pub ends: Vec<(Epoch, u64)>,
}

impl From<&List> for Sessions {
    fn from(real: &List) -> Sessions {
        Sessions {
            entries: real.entries.iter().map(Session::from).collect(),
            more: real.more,
            epoch: real.epoch,
            ends: real.epoch_ends.iter().map(|end| (end.epoch, end.end.get())).collect(),
        }
    }
}
