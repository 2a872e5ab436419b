//! A new phone pulls everything there is.
//! Owns: the story `roaming`, and what it wrote itself to compare with. May touch: `scene`.
//! Never: looks behind the public interface.

use std::collections::BTreeMap;

use restante::{
    ClientId, Draft, Edge, GroupSettings, HistoryQuery, ListQuery, Loss, Message, Peer, RecentCursor, Seq,
    SessionState, Timeline, UserId,
};

use crate::scene::{SECOND, Scene, group, room, user, with};
use crate::support::{Rng, number_from_env};

const OWNER: UserId = UserId(9527);

/// What a message must be, as its sender remembers it.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    seq: Seq,
    sender: UserId,
    kind: u16,
    counts: bool,
    client_id: Option<ClientId>,
    body: Vec<u8>,
}

impl Sent {
    fn of(message: &Message) -> Sent {
        let Message { seq, sender, kind, counts, client_id, .. } = *message;
        Sent { seq, sender, kind, counts, client_id, body: message.body.to_vec() }
    }
}

/// Everything that was said, and the part of each session that the owner may see.
struct Life {
    scene: Scene,
    rng: Rng,
    sent: BTreeMap<Timeline, Vec<Sent>>,
    windows: BTreeMap<Peer, (u64, Option<u64>)>,
}

#[test]
fn roaming() {
    let seed = number_from_env("RESTANTE_ROAMING_SEED").unwrap_or(20);
    println!("RESTANTE_ROAMING_SEED={seed}");
    let mut life = Life::lived(seed);
    // The server may have been restarted or have crashed since.
    life.compare();
    life.scene = life.scene.after_crash(Loss::All);
    life.compare();
}

impl Life {
    /// Some years: 9 chats, notes to oneself, groups of all kinds, about 2,000 messages.
    fn lived(seed: u64) -> Life {
        let scene = Scene::with(|options| options.journal_bytes(256 << 10));
        let mut life = Life { scene, rng: Rng::new(seed), sent: BTreeMap::new(), windows: BTreeMap::new() };
        for id in [1, 2, 3, 4, 5] {
            let settings = GroupSettings::default().shows_history(id == 3);
            life.scene.store.create_group(group(id), settings).wait().unwrap();
            life.scene.store.join(group(id), user(1)).wait().unwrap();
        }
        // 1 is joined at once, 2 and 3 later, 4 is left, 5 is left and joined again.
        for id in [1, 4, 5] {
            life.join(id);
        }
        life.talk(700);
        life.join(2);
        life.join(3);
        life.leave(4);
        life.leave(5);
        life.talk(700);
        life.join(5);
        life.talk(700);
        life
    }

    fn end(&self, peer: Peer) -> u64 {
        self.sent.get(&crate::support::timeline_of(OWNER, peer)).map_or(0, |messages| messages.len() as u64)
    }

    fn join(&mut self, id: u64) {
        self.scene.store.join(group(id), OWNER).wait().unwrap();
        let floor = if id == 3 { 0 } else { self.end(room(id)) };
        self.windows.insert(room(id), (floor, None));
    }

    fn leave(&mut self, id: u64) {
        self.scene.store.leave(group(id), OWNER).wait().unwrap();
        let end = self.end(room(id));
        self.windows.get_mut(&room(id)).unwrap().1 = Some(end);
    }

    /// So many messages, anywhere: in groups, by others and by the owner, in direct chats, in the notes.
    fn talk(&mut self, count: usize) {
        for _ in 0..count {
            self.scene.clock.advance(self.rng.below(90 * SECOND));
            let peer = if self.rng.percent(60) { room(self.rng.between(1, 5)) } else { self.someone() };
            let timeline = crate::support::timeline_of(OWNER, peer);
            let is_member = self.windows.get(&peer).is_some_and(|(_, ceiling)| ceiling.is_none());
            let sender = match peer {
                Peer::User(other) if self.rng.percent(60) => other,
                Peer::User(_) => OWNER,
                _ if is_member && self.rng.percent(20) => OWNER,
                _ => user(1),
            };
            let length = self.rng.below(200) as usize;
            let body: Vec<u8> = (0..length).map(|_| self.rng.next() as u8).collect();
            let (kind, counts) = (self.rng.below(5) as u16, !self.rng.percent(10));
            let client_id = self.rng.percent(30).then(|| ClientId(u128::from(self.rng.next())));
            let draft = Draft::new(timeline, sender, &body).kind(kind).counts(counts);
            let appended = self.scene.send(draft.client_id(client_id.unwrap_or_default()));
            let messages = self.sent.entry(timeline).or_default();
            assert_eq!(appended.seq.0, messages.len() as u64 + 1, "seqs are dense");
            messages.push(Sent { seq: appended.seq, sender, kind, counts, client_id, body });
            if let Peer::User(_) = peer {
                self.windows.entry(peer).or_insert((0, None));
            }
        }
    }

    /// A friend, or the owner itself.
    fn someone(&mut self) -> Peer {
        match self.rng.below(10) {
            0 => Peer::User(OWNER),
            number => with(100 + number),
        }
    }

    /// Pulls everything as a new phone does, by pages, and compares it with what was sent.
    fn compare(&self) {
        let sessions = self.pull_list();
        assert_eq!(sessions, self.windows.keys().copied().collect::<Vec<_>>());
        assert_eq!(self.pull_recent(), sessions);
        for (peer, (floor, ceiling)) in &self.windows {
            let end = ceiling.unwrap_or(self.end(*peer));
            let none = Vec::new();
            let sent = self.sent.get(&crate::support::timeline_of(OWNER, *peer)).unwrap_or(&none);
            let want = &sent[*floor as usize..end as usize];
            let newest_first = self.pull_down(*peer, *floor, end, ceiling.is_some());
            let oldest_first = self.pull_up(*peer, *floor, end, ceiling.is_some());
            assert_eq!(newest_first, oldest_first, "{peer}: both directions");
            let got: Vec<Sent> = oldest_first.iter().map(Sent::of).collect();
            assert_eq!(got, want, "{peer}");
            assert!(oldest_first.windows(2).all(|pair| pair[0].timestamp < pair[1].timestamp), "{peer}");
            assert!(oldest_first.windows(2).all(|pair| pair[0].version < pair[1].version), "{peer}");
        }
    }

    /// The list from nothing, four sessions a page; the peers in order.
    fn pull_list(&self) -> Vec<Peer> {
        let (mut peers, mut cursor, mut before) = (Vec::new(), None, 0);
        loop {
            let query = ListQuery::new().limit(4).latest(3);
            let list = self.scene.store.changed(OWNER, cursor.as_ref(), &query).unwrap();
            for entry in &list.entries {
                assert!(entry.version.0 > before, "in the order of versions");
                before = entry.version.0;
                let (floor, ceiling) = self.windows[&entry.peer];
                let end = ceiling.unwrap_or(self.end(entry.peer));
                assert_eq!((entry.first.0, entry.last.0), (floor + 1, end), "{}", entry.peer);
                assert_eq!(entry.state == SessionState::Left, ceiling.is_some(), "{}", entry.peer);
                let latest: Vec<u64> = (floor + 1..=end).rev().take(3).collect();
                assert_eq!(entry.latest.iter().map(|message| message.seq.0).collect::<Vec<_>>(), latest);
            }
            peers.extend(list.entries.iter().map(|entry| entry.peer));
            cursor = Some(list.next);
            if !list.more {
                break;
            }
            assert_eq!(list.entries.len(), 4);
        }
        // From there on nothing is new.
        let list = self.scene.store.changed(OWNER, cursor.as_ref(), &ListQuery::new()).unwrap();
        assert_eq!((list.entries.len(), list.more), (0, false));
        peers.sort();
        peers
    }

    /// The list by activity, three sessions a page; the peers in order.
    fn pull_recent(&self) -> Vec<Peer> {
        let mut entries = Vec::new();
        let mut before: Option<RecentCursor> = None;
        loop {
            let page = self.scene.store.recent(OWNER, before.as_ref(), &ListQuery::new().limit(3)).unwrap();
            assert_eq!(page.changed.is_some(), before.is_none());
            entries.extend(page.entries);
            before = page.before;
            if before.is_none() {
                break;
            }
        }
        let is_sorted = |one: &restante::Entry, next: &restante::Entry| {
            (std::cmp::Reverse(one.activity), one.peer) < (std::cmp::Reverse(next.activity), next.peer)
        };
        assert!(entries.windows(2).all(|pair| is_sorted(&pair[0], &pair[1])), "newest activity first");
        let mut peers: Vec<Peer> = entries.iter().map(|entry| entry.peer).collect();
        peers.sort();
        peers
    }

    /// Newest first, seven messages a page, turned round at the end.
    fn pull_down(&self, peer: Peer, floor: u64, end: u64, has_left: bool) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut below = end + 1;
        loop {
            let page = self.scene.page(OWNER, peer, HistoryQuery::newest().seqs(..Seq(below)).limit(7));
            let Some((first, last)) = page.covers else {
                assert_eq!(below, floor + 1, "{peer}: an empty page only when nothing is left");
                break;
            };
            assert_eq!(last.0, below - 1, "{peer}: pages meet");
            let is_newest = messages.is_empty();
            assert_eq!(page.newer, if is_newest { edge(has_left) } else { Edge::More }, "{peer}");
            below = first.0;
            messages.extend(page.messages);
            if page.older != Edge::More {
                assert_eq!(page.older, edge(floor > 0), "{peer}");
                break;
            }
        }
        messages.reverse();
        messages
    }

    /// Oldest first, in pages bounded by bytes.
    fn pull_up(&self, peer: Peer, floor: u64, end: u64, has_left: bool) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut from = floor + 1;
        loop {
            let page = self.scene.page(OWNER, peer, HistoryQuery::oldest().seqs(Seq(from)..).bytes(900));
            let Some((first, last)) = page.covers else {
                assert_eq!(from, end + 1, "{peer}: an empty page only when nothing is left");
                break;
            };
            assert_eq!(first.0, from, "{peer}: pages meet");
            let is_oldest = messages.is_empty();
            assert_eq!(page.older, if is_oldest { edge(floor > 0) } else { Edge::More }, "{peer}");
            from = last.0 + 1;
            messages.extend(page.messages);
            if page.newer != Edge::More {
                assert_eq!(page.newer, edge(has_left), "{peer}");
                break;
            }
        }
        messages
    }
}

/// What lies beyond the end of what is shown.
fn edge(is_hidden: bool) -> Edge {
    if is_hidden { Edge::NotVisible } else { Edge::End }
}
