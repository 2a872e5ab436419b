//! What the definitions say of a session, recounted from its whole history and from what was sent.
//! Owns: `Track`, the little that is noted beside the store, and `Follower`, a client that walks by cursor.
//! May touch: the public interface, `drive`, `support`.
//! Never: changes anything in a store.

use super::drive::*;
use crate::support::Rng;
use restante::*;
use std::collections::*;

/// What was sent, and became of it.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub ts: u64,
    pub sender: u64,
    pub counts: bool,
    pub alerts: u8,
    pub mentioned: BTreeSet<u64>,
    pub recalled: bool,
    pub edited: bool,
    pub body: Vec<u8>,
    pub version: u64,
}

/// What is noted beside the store.
#[derive(Default)]
pub struct Track {
    pub logs: BTreeMap<Timeline, Vec<Log>>,
    pub hidden: BTreeMap<(u64, Timeline), BTreeSet<u64>>,
    pub times: BTreeMap<u64, u64>,
    pub broadcast: BTreeSet<Source>,
}

/// All sessions of a user: at once and in small pages.
pub fn whole(store: &Store, user: UserId, rng: &mut Rng) -> Vec<Entry> {
    let latest = rng.below(21) as usize;
    let list = store.changed(user, None, &ListQuery::new().limit(1_000).latest(latest)).unwrap();
    assert!(!list.more);
    let mut again: Vec<Entry> = Vec::new();
    let mut cursor = None;
    let limit = 1 + rng.below(3) as usize;
    loop {
        let page = store.changed(user, cursor.as_ref(), &ListQuery::new().limit(limit).latest(latest)).unwrap();
        again.extend(page.entries);
        cursor = Some(Cursor::from_bytes(&page.next.to_bytes()).unwrap());
        if !page.more {
            break;
        }
    }
    assert_eq!(list.entries, again, "pages give the same: user={user:?}");
    list.entries
}

/// All that a user sees of a session: forward and backward, in small pages that cover it.
pub fn visible(store: &Store, user: UserId, peer: Peer, rng: &mut Rng, first: u64, last: u64) -> Vec<Message> {
    let mut all = Vec::new();
    let mut at = 0;
    let limit = 1 + rng.below(4) as usize;
    let mut covered = first - 1;
    loop {
        let page = store.history(user, peer, &HistoryQuery::oldest().seqs(Seq(at + 1)..).limit(limit)).unwrap();
        if let Some((low, high)) = page.covers {
            assert_eq!(low.0, covered + 1, "{user:?} {peer:?} {page:?} first={first}");
            assert!(page.messages.iter().all(|it| low <= it.seq && it.seq <= high));
            covered = high.0;
        } else {
            assert!(page.messages.is_empty());
        }
        all.extend(page.messages.clone());
        match page.newer {
            Edge::More => {
                assert!(page.covers.is_some(), "{page:?}");
                at = covered;
            }
            _ => {
                assert_eq!(covered, last, "{user:?} {peer:?} first={first} last={last} {page:?}");
                break;
            }
        }
    }
    let mut newest = Vec::new();
    let mut below = u64::MAX;
    let limit = 1 + rng.below(4) as usize;
    loop {
        let page = store.history(user, peer, &HistoryQuery::newest().seqs(..Seq(below)).limit(limit)).unwrap();
        newest.extend(page.messages.clone());
        if page.older != Edge::More {
            break;
        }
        below = page.covers.unwrap().0.0;
    }
    newest.reverse();
    assert_eq!(all, newest, "{user:?} {peer:?}");
    all
}

impl Track {
    pub fn timeline(&self, user: UserId, peer: Peer) -> Timeline {
        match peer {
            Peer::User(other) => Timeline::direct(user, other),
            Peer::Group(group) => Timeline::Group(group),
            Peer::System(id) => self.of_source(Source::System(id), user),
            Peer::Business(id) => self.of_source(Source::Business(id), user),
            _ => unreachable!(),
        }
    }
    fn of_source(&self, source: Source, user: UserId) -> Timeline {
        if self.broadcast.contains(&source) { Timeline::Broadcast(source) } else { Timeline::Inbox(source, user) }
    }
    pub fn check(&self, store: &Store, rng: &mut Rng) {
        for user in (1..=USERS + 1).map(UserId) {
            self.check_user(store, user, rng);
        }
    }
    fn check_user(&self, store: &Store, user: UserId, rng: &mut Rng) {
        let entries = whole(store, user, rng);
        let mut totals = (0, 0, 0);
        for entry in &entries {
            let what = format!("user={user:?} {entry:?}");
            assert_eq!(entry.session_timestamp.0, self.times[&entry.version.0], "session timestamp {what}");
            if !entry.is_add {
                panic!("from nothing no tombstone at or below base {what}");
            }
            let timeline = self.timeline(user, entry.peer);
            let none = Vec::new();
            let log = self.logs.get(&timeline).unwrap_or(&none);
            let no = BTreeSet::new();
            let hidden = self.hidden.get(&(user.0, timeline)).unwrap_or(&no);
            let (first, last) = (entry.first.0, entry.last.0);
            assert!(first >= 1 && first <= last + 1 && last <= log.len() as u64, "{what}");
            if entry.state == SessionState::Member {
                assert_eq!(last, log.len() as u64, "{what}");
            }
            let all = visible(store, user, entry.peer, rng, first, last);
            let seqs: Vec<u64> = all.iter().map(|it| it.seq.0).collect();
            let wanted: Vec<u64> = (first..=last).filter(|it| !hidden.contains(it)).collect();
            assert_eq!(seqs, wanted, "{what}");
            for m in &all {
                let l = &log[m.seq.0 as usize - 1];
                assert_eq!(
                    (m.timestamp.0, m.sender.0, m.counts, m.version.0),
                    (l.ts, l.sender, l.counts, l.version),
                    "{what}"
                );
                assert_eq!(m.commit_time.0, self.times[&m.version.0]);
                assert_eq!(m.recalled.is_some(), l.recalled, "{what} {m:?}");
                assert_eq!(m.edited.is_some(), l.edited && !l.recalled, "{what} {m:?}");
                assert_eq!(m.body.to_vec(), if l.recalled { Vec::new() } else { l.body.clone() }, "{what} {m:?}");
                assert_eq!(m.alerts, if l.recalled { 0 } else { l.alerts });
            }
            let u: Vec<&Message> = all
                .iter()
                .filter(|m| m.seq > entry.read_mark && m.counts && m.recalled.is_none() && m.sender != user)
                .collect();
            assert_eq!(entry.unread, u.len() as u64, "unread {what} {all:#?}");
            assert_eq!(entry.goto, u.first().map(|m| (m.seq, m.timestamp)), "goto {what}");
            let mentions: Vec<Seq> =
                u.iter().filter(|m| log[m.seq.0 as usize - 1].mentioned.contains(&user.0)).map(|m| m.seq).collect();
            assert_eq!(
                (entry.mentions.count, entry.mentions.oldest),
                (mentions.len() as u64, mentions.first().copied()),
                "mentions {what}"
            );
            let mut alerts = Vec::new();
            for kind in 0..8u8 {
                let with: Vec<Seq> = u.iter().filter(|m| m.alerts >> kind & 1 > 0).map(|m| m.seq).collect();
                if let Some(oldest) = with.first() {
                    alerts.push((kind, with.len() as u64, *oldest));
                }
            }
            assert_eq!(
                entry.alerts.iter().map(|it| (it.kind, it.count, it.oldest)).collect::<Vec<_>>(),
                alerts,
                "alerts {what}"
            );
            let latest: Vec<Message> = all.iter().rev().take(entry.latest.len()).cloned().collect();
            assert_eq!(entry.latest, latest, "latest {what}");
            if let Peer::Group(group) = entry.peer
                && entry.state == SessionState::Member
            {
                let member = store.members(group, UserId(user.0 - 1), 1).unwrap().members.remove(0);
                assert_eq!(member.user, user);
                let activity = if last > member.joined_at.0 { log[last as usize - 1].ts } else { member.joined_time.0 };
                assert_eq!(entry.activity.0, activity, "activity {what} {member:?}");
            } else if last > 0
                && entry.state == SessionState::Member
                && !matches!(entry.peer, Peer::System(_) | Peer::Business(_))
            {
                assert!(entry.activity.0 >= log[last as usize - 1].ts, "activity {what}");
            }
            if entry.flags.muted {
                totals.1 += entry.unread
            } else {
                totals.0 += entry.unread
            }
            totals.2 += u64::from(entry.flags.marked_unread);
            // Amendments, in pages.
            let mut found: BTreeMap<u64, AmendmentKind> = BTreeMap::new();
            let (mut since, mut before) = (None, (0, 0));
            let limit = 1 + rng.below(4) as usize;
            loop {
                let page = store.amendments(user, entry.peer, since.as_ref(), limit).unwrap();
                for a in page.amendments {
                    assert!(before < (a.version.0, a.seq.0), "{what}");
                    before = (a.version.0, a.seq.0);
                    assert_eq!(a.at.0, self.times[&a.version.0]);
                    assert!(found.insert(a.seq.0, a.kind).is_none(), "{what}");
                }
                since = Some(AmendmentCursor::from_bytes(&page.next.to_bytes()).unwrap());
                if !page.more {
                    break;
                }
            }
            let mut wanted = BTreeMap::new();
            for seq in first..=last {
                let l = &log[seq as usize - 1];
                let kind = if hidden.contains(&seq) {
                    AmendmentKind::Hidden
                } else if l.recalled {
                    AmendmentKind::Recalled
                } else if l.edited {
                    AmendmentKind::Edited
                } else {
                    continue;
                };
                wanted.insert(seq, kind);
            }
            assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "amendments {what}");
            // Receipts are at least consistent.
            if first <= last {
                let seq = Seq(first + rng.below(last - first + 1));
                if let Ok(r) = store.receipts(user, entry.peer, seq, UserId::NONE, 100) {
                    assert!(
                        r.read <= r.delivered && r.delivered <= r.members && r.receipts.len() as u64 == r.delivered,
                        "{r:?} {what}"
                    );
                    assert_eq!(r.receipts.iter().filter(|it| it.read).count() as u64, r.read);
                } else {
                    assert!(hidden.contains(&seq.0), "{what} {seq}");
                }
            }
        }
        let t = store.total_unread(user).unwrap();
        assert_eq!((t.unread, t.muted_unread, t.marked_unread), totals);
        let mut recent: Vec<Entry> = Vec::new();
        let (mut before, limit) = (None, 1 + rng.below(3) as usize);
        loop {
            let page = store.recent(user, before.as_ref(), &ListQuery::new().limit(limit)).unwrap();
            if before.is_none() {
                let mut pinned: Vec<Peer> = page.pinned.iter().map(|it| it.peer).collect();
                pinned.sort();
                let mut wanted: Vec<Peer> = entries.iter().filter(|it| it.flags.pinned).map(|it| it.peer).collect();
                wanted.sort();
                assert_eq!(pinned, wanted);
            }
            recent.extend(page.entries);
            before = page.before;
            if before.is_none() {
                break;
            }
        }
        assert!(recent.iter().map(|it| (std::cmp::Reverse(it.activity), it.peer)).is_sorted());
        let mut peers: Vec<_> = recent.iter().map(|it| (it.peer, it.version, it.unread)).collect();
        peers.sort();
        let mut wanted: Vec<_> = entries.iter().map(|it| (it.peer, it.version, it.unread)).collect();
        wanted.sort();
        assert_eq!(peers, wanted, "recent user={user:?}");
    }
}

/// A client that follows by cursor.
#[derive(Default)]
pub struct Follower {
    pub cursor: Option<Cursor>,
    pub entries: BTreeMap<Peer, Entry>,
    pub messages: BTreeMap<Peer, BTreeMap<u64, Message>>,
    pub catches_up: bool,
}

fn strip(mut message: Message) -> Message {
    message.client_id = None;
    message
}
fn strip_entry(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    entry.amendments.clear();
    entry.amendments_more = None;
    entry.messages.clear();
    entry.messages_left_out = false;
    entry.latest.iter_mut().for_each(|it| it.client_id = None);
    entry
}

impl Follower {
    /// One whole walk.
    pub fn walk(&mut self, store: &Store, user: UserId, rng: &mut Rng) {
        let mut first_ever = self.cursor.is_none();
        loop {
            let limit = 1 + rng.below(4) as usize;
            let list = if self.catches_up {
                store.catch_up(
                    user,
                    self.cursor.as_ref(),
                    &CatchUpQuery::new().limit(limit).messages(rng.below(9) as usize),
                )
            } else {
                store.changed(user, self.cursor.as_ref(), &ListQuery::new().limit(limit))
            };
            let list = match list {
                Ok(list) => list,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ResetRequired);
                    *self = Follower { catches_up: self.catches_up, ..Default::default() };
                    first_ever = true;
                    continue;
                }
            };
            for entry in list.entries {
                let held = self.messages.entry(entry.peer).or_default();
                if !entry.is_add {
                    held.clear();
                    self.entries.remove(&entry.peer);
                    continue;
                }
                held.retain(|seq, _| *seq >= entry.first.0 && *seq <= entry.last.0);
                let mut amendments = entry.amendments.clone();
                let mut more = entry.amendments_more;
                while let Some(cursor) = more {
                    let page = store.amendments(user, entry.peer, Some(&cursor), 2).unwrap();
                    amendments.extend(page.amendments);
                    more = page.more.then_some(page.next);
                }
                for a in &amendments {
                    match (a.kind, held.get_mut(&a.seq.0)) {
                        (AmendmentKind::Hidden, _) => {
                            held.remove(&a.seq.0);
                        }
                        (_, None) => {}
                        (AmendmentKind::Recalled, Some(m)) => {
                            let again = store
                                .history(user, entry.peer, &HistoryQuery::oldest().seqs(a.seq..=a.seq))
                                .unwrap()
                                .messages;
                            m.body = again[0].body.clone();
                            m.mentions.clear();
                            m.alerts = 0;
                            m.edited = None;
                            m.recalled = Some(again[0].recalled.unwrap());
                            assert_eq!((m.recalled.unwrap().by, m.recalled.unwrap().at), (a.by, a.at));
                        }
                        (_, Some(m)) => {
                            let again = store
                                .history(user, entry.peer, &HistoryQuery::oldest().seqs(a.seq..=a.seq))
                                .unwrap()
                                .messages;
                            *m = strip(again[0].clone());
                        }
                    }
                }
                if first_ever || entry.messages_left_out {
                    for m in visible(store, user, entry.peer, rng, entry.first.0, entry.last.0) {
                        held.insert(m.seq.0, strip(m));
                    }
                }
                for m in &entry.messages {
                    held.insert(m.seq.0, strip(m.clone()));
                }
                self.entries.insert(entry.peer, entry);
            }
            self.cursor = Some(list.next);
            if !list.more {
                break;
            }
        }
        let whole = store.changed(user, None, &ListQuery::new().limit(1_000)).unwrap().entries;
        let now: BTreeMap<Peer, Entry> = whole.iter().map(|it| (it.peer, strip_entry(it))).collect();
        let held: BTreeMap<Peer, Entry> = self.entries.iter().map(|(peer, it)| (*peer, strip_entry(it))).collect();
        assert_eq!(now, held, "followed user={user:?} catches_up={}", self.catches_up);
        if self.catches_up {
            for entry in &whole {
                let all: Vec<Message> =
                    visible(store, user, entry.peer, rng, entry.first.0, entry.last.0).into_iter().map(strip).collect();
                let held: Vec<Message> = self.messages[&entry.peer].values().cloned().collect();
                assert_eq!(all, held, "caught up user={user:?} {entry:?}");
            }
        }
    }
}
