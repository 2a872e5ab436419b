//! A client's terminal: it walks `changed` with a cursor of its own, and holds what that brought.
//! Owns: `Terminal`, and what a server would show to compare it with. May touch: `scene`.
//! Never: asks for a message again that it holds, but one of which it was told that it was edited.

use std::collections::BTreeMap;

use restante::{AmendmentKind, Cursor, Entry, HistoryQuery, ListQuery, Message, Peer, Seq, UserId};

use crate::scene::Scene;

/// What a terminal holds of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Text(String),
    Recalled,
}

/// Which messages there are, by peer and seq.
pub type Messages = BTreeMap<(Peer, Seq), Held>;

pub struct Terminal {
    user: UserId,
    /// As it would be kept in a file: a terminal may end at any time.
    cursor: Option<Vec<u8>>,
    page: usize,
    pub sessions: BTreeMap<Peer, Entry>,
    pub messages: Messages,
    /// First and last seq of what was pulled of each session.
    pulled: BTreeMap<Peer, (u64, u64)>,
}

impl Terminal {
    /// A terminal that knows nothing, and asks for so many sessions at a time.
    pub fn new(user: UserId, page: usize) -> Terminal {
        let (sessions, messages, pulled) = Default::default();
        Terminal { user, cursor: None, page, sessions, messages, pulled }
    }

    /// Asks for one page and takes it in. Whether more follows.
    pub fn step(&mut self, scene: &Scene) -> (Vec<Entry>, bool) {
        let cursor = self.cursor.as_deref().map(|bytes| Cursor::from_bytes(bytes).unwrap());
        let query = ListQuery::new().limit(self.page).latest(2);
        let list = scene.store.changed(self.user, cursor.as_ref(), &query).expect("the next page");
        for entry in &list.entries {
            self.take(scene, entry);
        }
        self.cursor = Some(list.next.to_bytes().to_vec());
        (list.entries, list.more)
    }

    /// Asks for pages until nothing follows, and gives what came.
    pub fn walk(&mut self, scene: &Scene) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            let (page, more) = self.step(scene);
            entries.extend(page);
            if !more {
                return entries;
            }
        }
    }

    fn take(&mut self, scene: &Scene, entry: &Entry) {
        let peer = entry.peer;
        if !entry.is_add {
            self.sessions.remove(&peer);
            self.pulled.remove(&peer);
            self.messages.retain(|(of, _), _| *of != peer);
            return;
        }
        let mut shown = entry.clone();
        // These depend on how long a terminal slept; all else must be the same on all of them.
        shown.amendments.clear();
        shown.amendments_more = None;
        self.sessions.insert(peer, shown);
        let (first, last) = (entry.first.0, entry.last.0);
        self.messages.retain(|(of, seq), _| *of != peer || (first..=last).contains(&seq.0));
        let (from, to) = self.pulled.get(&peer).copied().unwrap_or((first, first - 1));
        self.pull(scene, peer, first, from - 1);
        self.pull(scene, peer, first.max(to + 1), last);
        self.pulled.insert(peer, (first, last));
        let mut amendments = entry.amendments.clone();
        let mut since = entry.amendments_more;
        while let Some(cursor) = since {
            let page = scene.store.amendments(self.user, peer, Some(&cursor), 5).expect("amendments");
            amendments.extend(page.amendments);
            since = page.more.then_some(page.next);
        }
        for amendment in amendments {
            let key = (peer, amendment.seq);
            match amendment.kind {
                AmendmentKind::Recalled => {
                    self.messages.insert(key, Held::Recalled);
                }
                AmendmentKind::Hidden => {
                    self.messages.remove(&key);
                }
                _ => {
                    self.messages.remove(&key);
                    self.pull(scene, peer, amendment.seq.0, amendment.seq.0);
                }
            }
        }
    }

    fn pull(&mut self, scene: &Scene, peer: Peer, mut first: u64, last: u64) {
        while first <= last {
            let page = scene.page(self.user, peer, HistoryQuery::oldest().seqs(Seq(first)..=Seq(last)).limit(3));
            self.messages.extend(page.messages.iter().map(|message| ((peer, message.seq), held(message))));
            let Some((_, covered)) = page.covers else { return };
            first = covered.0 + 1;
        }
    }
}

fn held(message: &Message) -> Held {
    match message.recalled {
        Some(_) => Held::Recalled,
        None => Held::Text(String::from_utf8(message.body.to_vec()).expect("text")),
    }
}

/// All that a user may see in the sessions it has, as the server shows it now.
pub fn shown(scene: &Scene, user: UserId) -> Messages {
    let mut shown = Messages::new();
    for entry in scene.list(user).entries.iter().filter(|entry| entry.is_add) {
        let messages = scene.all(user, entry.peer);
        shown.extend(messages.iter().map(|message| ((entry.peer, message.seq), held(message))));
    }
    shown
}
