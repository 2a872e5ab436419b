//! Answers in plain form, so that what the store says and what the model says can be compared whole.
//! Owns: plain copies of messages, entries, pages, lists, members, errors. May touch: the public types.
//! Never: computes an answer.

use std::fmt;

use restante::{
    AmendmentKind, Appended, Edge, Effect, Entry, Epoch, ErrorKind, GroupInfo, Joined, List, Message, Outcome, Peer,
    SessionState, Timeline,
};

use super::change::{Marks, Settings};
use super::word::Keep;

/// Bytes of a body, shown short.
#[derive(Clone, Default, PartialEq, Eq)]
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
    pub mentions: Vec<u64>,
    pub alerts: u8,
    pub body: Bytes,
    /// By whom and when.
    pub recalled: Option<(u64, u64)>,
    pub edited: Option<(u64, u64)>,
}

impl From<&Message> for Shown {
    fn from(real: &Message) -> Shown {
        let plain = |amended: restante::Amended| (amended.by.get(), amended.at.get());
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
            mentions: real.mentions.iter().map(|user| user.get()).collect(),
            alerts: real.alerts,
            body: Bytes(real.body.to_vec()),
            recalled: real.recalled.map(plain),
            edited: real.edited.map(plain),
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

/// One amendment: seq, version, time, by whom, what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub seq: u64,
    pub version: u64,
    pub at: u64,
    pub by: u64,
    pub kind: AmendmentKind,
}

impl From<&restante::Amendment> for Change {
    fn from(real: &restante::Amendment) -> Change {
        Change {
            seq: real.seq.get(),
            version: real.version.get(),
            at: real.at.get(),
            by: real.by.get(),
            kind: real.kind,
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
    /// How many, whether there are more, which is the oldest.
    pub mentions: (u64, bool, Option<u64>),
    /// Kind, count, oldest.
    pub alerts: Vec<(u8, u64, u64)>,
    pub flags: Marks,
    pub metadata: Bytes,
    pub other_read: u64,
    pub other_delivered: u64,
    pub amendments: Vec<Change>,
    /// Version and seq of the last one listed, if more follow.
    pub amendments_more: Option<(u64, u64)>,
    pub messages: Vec<Shown>,
    pub messages_left_out: bool,
}

impl Session {
    /// What a client keeps of an entry: not the messages, and not what was said of them since a cursor.
    pub fn kept(&self) -> Session {
        Session {
            latest: Vec::new(),
            latest_cut: false,
            messages: Vec::new(),
            messages_left_out: false,
            amendments: Vec::new(),
            amendments_more: None,
            ..self.clone()
        }
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
            mentions: (real.mentions.count, real.mentions.saturated, real.mentions.oldest.map(|seq| seq.get())),
            alerts: real.alerts.iter().map(|alert| (alert.kind, alert.count, alert.oldest.get())).collect(),
            flags: Marks {
                pinned: real.flags.pinned,
                muted: real.flags.muted,
                marked_unread: real.flags.marked_unread,
            },
            metadata: Bytes(real.metadata.to_vec()),
            other_read: real.other_read.get(),
            other_delivered: real.other_delivered.get(),
            amendments: real.amendments.iter().map(Change::from).collect(),
            amendments_more: real.amendments_more.as_ref().map(|cursor| pair_of(&cursor.to_bytes())),
            messages: all_shown(&real.messages),
            messages_left_out: real.messages_left_out,
        }
    }
}

/// Version and seq in the bytes of an amendment cursor, which are epoch, version, seq.
pub fn pair_of(bytes: &[u8]) -> (u64, u64) {
    let number = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    (number(8), number(16))
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

/// Pages of `recent`: those of the page, the pinned ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recents {
    pub entries: Vec<Session>,
    pub pinned: Vec<Session>,
}

impl From<&restante::Recent> for Recents {
    fn from(real: &restante::Recent) -> Recents {
        Recents {
            entries: real.entries.iter().map(Session::from).collect(),
            pinned: real.pinned.iter().map(Session::from).collect(),
        }
    }
}

/// Unread, unread in muted sessions, marked unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums(pub u64, pub u64, pub u64);

impl From<restante::Totals> for Sums {
    fn from(real: restante::Totals) -> Sums {
        Sums(real.unread, real.muted_unread, real.marked_unread)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub settings: Settings,
    pub metadata: Bytes,
    pub members: u64,
    pub last: u64,
    pub dissolved: bool,
}

impl From<GroupInfo> for About {
    fn from(real: GroupInfo) -> About {
        let restante::GroupSettings { shows_history, members_only, retention, .. } = real.settings;
        let keep = retention.map(|it| Keep { age_secs: it.age_secs, count: it.count, body_bytes: it.body_bytes });
        About {
            settings: Settings { shows_history, members_only, keep },
            metadata: Bytes(real.metadata.to_vec()),
            members: real.members,
            last: real.last.get(),
            dissolved: real.dissolved,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneMember {
    pub user: u64,
    pub role: u8,
    pub silenced_until: u64,
    pub joined_at: u64,
    pub joined_time: u64,
    pub data: Bytes,
}

impl From<&restante::Member> for OneMember {
    fn from(real: &restante::Member) -> OneMember {
        OneMember {
            user: real.user.get(),
            role: real.role,
            silenced_until: real.silenced_until.get(),
            joined_at: real.joined_at.get(),
            joined_time: real.joined_time.get(),
            data: Bytes(real.data.to_vec()),
        }
    }
}

/// Members, delivered, read; who received or read it; whether more follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub members: u64,
    pub delivered: u64,
    pub read: u64,
    pub receipts: Vec<(u64, bool)>,
    pub more: bool,
}

impl From<restante::Receipts> for Seen {
    fn from(real: restante::Receipts) -> Seen {
        Seen {
            members: real.members,
            delivered: real.delivered,
            read: real.read,
            receipts: real.receipts.iter().map(|receipt| (receipt.user.get(), receipt.read)).collect(),
            more: real.more,
        }
    }
}
