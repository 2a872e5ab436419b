//! A client that keeps all its messages and follows `catch_up`: it must end up with what one has that pulls
//! everything now.
//! Owns: what such a client holds and how it takes a page. May touch: `run`, `list`, `answer`, `trap`.
//! Never: looks into the model, but to compare at the end of a walk.

use std::collections::{BTreeMap, BTreeSet};

use restante::{AmendmentCursor, AmendmentKind, CatchUpQuery, Cursor, ErrorKind, HistoryQuery, Peer, Seq, UserId};

use super::answer::{Bytes, Change, Session, Sessions, Shown, plain};
use super::list::{Place, Wish};
use super::run::{Checked, Run, must, same};
use super::word::user;

/// What a device of a user holds.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    cursor: Option<(Cursor, Place)>,
    entries: BTreeMap<Peer, Session>,
    held: BTreeMap<Peer, Held>,
    /// Sessions of which it heard that they are gone.
    gone: BTreeSet<Peer>,
    /// It came to the end of a walk.
    has_walked: bool,
    /// Nothing newer than this is in what it holds. A page of history does not say so itself: the server
    /// asks for the version after it.
    top: u64,
}

impl Follower {
    /// Of its walk: it holds what was shown up to here.
    fn base(&self) -> u64 {
        self.cursor.map_or(0, |(_, place)| place.base)
    }
}

/// What it holds of a session: all that is shown from `first` to `last`.
#[derive(Clone, Debug)]
struct Held {
    first: u64,
    last: u64,
    messages: BTreeMap<u64, Shown>,
}

impl Run<'_> {
    /// One page more, or as many as there are.
    pub fn follow(&mut self, by: u8, limit: usize, most: (usize, usize), whole: bool) -> Checked {
        loop {
            let mut follower = std::mem::take(&mut self.followers[by as usize]);
            let from = follower.cursor;
            let wish = Wish { limit, latest: 1, messages: Some(most) };
            let model = self.world.changed(user(by), from.map(|(_, place)| place), &wish);
            let query = CatchUpQuery::new().limit(limit).latest(1).messages(most.0).bytes(most.1);
            let store = self.store().catch_up(user(by), from.as_ref().map(|(cursor, _)| cursor), &query);
            let list = store.as_ref().ok().cloned();
            let what = format!("catch-up of user {by} from {from:?}: {wish:?}");
            let plain_model = model.clone().map(|(sessions, _)| sessions);
            same(&what, &plain(store, |list| Sessions::from(&list)), &plain_model)?;
            let (Ok((sessions, place)), Some(list)) = (model, list) else {
                let is_reset = plain_model.err().is_some_and(|wrong| wrong.kind == ErrorKind::ResetRequired);
                self.traps.hit_if(is_reset, "follow: reset");
                if is_reset && whole {
                    continue;
                }
                return Ok(());
            };
            let survived = sessions.ends.iter().map(|(_, end)| *end).min().unwrap_or(u64::MAX);
            if from.is_some() && survived < follower.top {
                // The cursor still fits, but what was pulled after it may be of what was lost.
                self.traps.hit("follow: lost in a crash what was pulled after the cursor");
                continue;
            }
            self.traps.hit_if(from.is_some() && sessions.entries.is_empty(), "follow: a walk ends where it began");
            for (entry, real) in sessions.entries.iter().zip(&list.entries) {
                self.take_entry(user(by), &mut follower, entry, real.amendments_more)?;
            }
            // A page of nothing, with more to come, hands out nothing.
            if !sessions.entries.is_empty() || !sessions.more {
                follower.top = self.store().version().get();
            }
            follower.cursor = Some((list.next, place));
            follower.has_walked |= !sessions.more;
            if !sessions.more {
                self.compare_follower(user(by), &follower, &what)?;
            }
            self.followers[by as usize] = follower;
            if !sessions.more || !whole {
                return Ok(());
            }
        }
    }

    /// The newest of each session that it holds, whatever its cursor says: this may be of after the cursor.
    pub fn read_on(&mut self, by: u8) -> Checked {
        let mut follower = std::mem::take(&mut self.followers[by as usize]);
        for (peer, held) in &mut follower.held {
            let query = HistoryQuery::newest().seqs(Seq(held.first)..).limit(5);
            let Ok(page) = self.store().history(user(by), *peer, &query) else { continue };
            let pulled = page.messages.iter().map(Shown::from).map(|shown| (shown.seq, ageless(&shown)));
            held.messages.extend(pulled);
            follower.top = self.store().version().get();
        }
        self.followers[by as usize] = follower;
        Ok(())
    }

    fn take_entry(
        &mut self,
        by: UserId,
        follower: &mut Follower,
        entry: &Session,
        amendments_more: Option<AmendmentCursor>,
    ) -> Checked {
        let peer = entry.peer;
        let before = follower.held.remove(&peer);
        if !entry.is_add {
            follower.entries.remove(&peer);
            follower.gone.insert(peer);
            return Ok(());
        }
        let was_gone = follower.gone.remove(&peer);
        self.traps.hit_if(was_gone, "follow: a session that was gone is listed again");
        let is_from_before = entry.messages.first().is_some_and(|shown| shown.version <= follower.base());
        self.traps.hit_if(was_gone && is_from_before, "follow: what is from before its revival is carried");
        follower.entries.insert(peer, entry.kept());

        let (first, last) = (entry.first, entry.last);
        let carried = entry.messages.first().map(|shown| shown.seq);
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        match &before {
            // What is not carried is from before the client began: later each entry has all that is new to it.
            None if !follower.has_walked && !entry.messages_left_out => {
                gaps.push((first, carried.map_or(last, |seq| seq - 1)));
            }
            None if entry.messages_left_out => gaps.push((first, last)),
            None => {}
            Some(held) if entry.messages_left_out => {
                self.traps.hit("follow: one left out is pulled");
                gaps.push((first, held.first - 1));
                gaps.push((first.max(held.last + 1), last));
            }
            Some(_) => {}
        }
        let is_lower = before.as_ref().is_some_and(|held| first < held.first);
        self.traps.hit_if(is_lower && first <= last, "follow: earlier ones come into sight");
        let mut messages = before.map_or_else(BTreeMap::new, |held| held.messages);
        let count_before = messages.len();
        messages.retain(|seq, _| first <= *seq && *seq <= last);
        self.traps.hit_if(messages.len() < count_before, "follow: a session is cut at its beginning");
        messages.extend(entry.messages.iter().map(|shown| (shown.seq, ageless(shown))));
        for (first, last) in gaps {
            let pulled = self.pull(by, peer, first, last)?;
            messages.extend(pulled.into_iter().map(|shown| (shown.seq, shown)));
        }

        let mut amendments = entry.amendments.clone();
        let mut more = amendments_more;
        while let Some(since) = more {
            self.traps.hit("follow: more amendments than an entry holds");
            let page = must("amendments", self.store().amendments(by, peer, Some(&since), 10))?;
            amendments.extend(page.amendments.iter().map(Change::from));
            more = page.more.then_some(page.next);
        }
        for change in amendments {
            let held = messages.get(&change.seq).cloned();
            match (change.kind, held) {
                (AmendmentKind::Hidden, held) => {
                    self.traps.hit_if(held.is_some(), "follow: hidden since it was pulled");
                    messages.remove(&change.seq);
                }
                (AmendmentKind::Recalled, Some(held)) => {
                    self.traps.hit_if(held.recalled.is_none(), "follow: recalled since it was pulled");
                    let recalled = Some((change.by, change.at));
                    let notice = Shown { recalled, edited: None, body: Bytes::default(), ..held };
                    messages.insert(change.seq, Shown { mentions: Vec::new(), alerts: 0, ..notice });
                }
                (AmendmentKind::Edited, Some(held)) => {
                    // An amendment does not carry the new body.
                    let pulled = self.pull(by, peer, change.seq, change.seq)?;
                    self.traps.hit_if(pulled != [held], "follow: a message edited since it was pulled");
                    messages.extend(pulled.into_iter().map(|shown| (shown.seq, shown)));
                }
                (_, None) => return Err(format!("user {by:?} with {peer:?}: {change:?} of what the client lacks")),
                (kind, _) => return Err(format!("an amendment of another kind: {kind:?}")),
            }
        }
        follower.held.insert(peer, Held { first, last, messages });
        Ok(())
    }

    /// What the store shows between two seqs, both included.
    fn pull(&mut self, by: UserId, peer: Peer, first: u64, last: u64) -> Checked<Vec<Shown>> {
        let mut pulled = Vec::new();
        let mut from = first;
        while from <= last {
            let query = HistoryQuery::oldest().seqs(Seq(from)..=Seq(last)).limit(5);
            let page = must("history", self.store().history(by, peer, &query))?;
            pulled.extend(page.messages.iter().map(Shown::from).map(|shown| ageless(&shown)));
            let Some((_, covered)) = page.covers else { break };
            from = covered.get() + 1;
        }
        Ok(pulled)
    }

    /// At the end of a walk it holds what one holds who asks for everything now.
    fn compare_follower(&self, by: UserId, follower: &Follower, what: &str) -> Checked {
        let view = self.world.seen();
        let sessions = view.present_sessions(by, 0);
        let all: BTreeMap<Peer, Session> = sessions.iter().map(|entry| (entry.peer, entry.kept())).collect();
        let mut entries = follower.entries.clone();
        view.thin(by, &mut entries);
        same(&format!("{what}: the sessions that a client holds"), &entries, &all)?;
        for (peer, entry) in &all {
            let timeline = view.state.timeline(by, *peer).expect("a session has a timeline");
            let row = view.state.row(by, timeline).expect("a session has a row");
            let visible = view.visible(timeline, &row);
            let all: Vec<Shown> = visible.iter().map(|message| ageless(&view.show(message))).collect();
            // It is not told that notices went.
            let held = follower.held[peer].messages.range(entry.first..);
            let held: Vec<Shown> = held.map(|(_, shown)| shown.clone()).collect();
            same(&format!("{what}: the messages that a client holds of {peer:?}"), &held, &all)?;
        }
        Ok(())
    }
}

/// A message without its client id, which is shown for a time only.
fn ageless(shown: &Shown) -> Shown {
    Shown { client_id: None, ..shown.clone() }
}
