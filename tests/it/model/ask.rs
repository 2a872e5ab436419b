//! Puts questions about history and session lists to the store and the model of a run and compares the answers.
//! Owns: pages, walks and their cursors, what a client holds of a walk. May touch: `run`, `look`, `list`, `trap`.
//! Never: asks for a change.

use std::collections::BTreeMap;

use restante::{CatchUpQuery, Cursor, ErrorKind, HistoryQuery, ListQuery, Peer, RecentCursor, Seq, Timestamp};

use super::answer::{Page, Plain, Recents, Session, Sessions, Sums, plain};
use super::list::{Place, Wish};
use super::look::{Bounds, Question};
use super::run::{Checked, Run, Slot, same};
use super::word::{Ask, Near, PageSize, Time, With, Within, user};

/// How a page of a list came to be asked for.
#[derive(Clone, Copy, Debug)]
enum Walk {
    Begins,
    GoesOn,
    Since,
}

impl Run<'_> {
    pub fn ask_history(&mut self, by: u8, with: With, ask: &Ask) -> Checked {
        let timeline = self.world.seen().state.timeline(user(by), with.peer());
        let bounds = match ask.within {
            Within::All => Bounds::All,
            Within::Seqs(low, high) => Bounds::Seqs(low, high),
            Within::Times(low, high) => {
                let near = |Near(seq, offset): Near| {
                    let line = timeline.map(|timeline| self.world.seen().state.line(timeline));
                    let nearest = line.and_then(|line| line.messages.iter().rfind(|sent| sent.seq <= seq));
                    nearest.map_or(self.world.clock, |sent| sent.timestamp).saturating_add_signed(offset)
                };
                Bounds::Times(low.map(near), high.map(near))
            }
        };
        let (limit, bytes) = (ask.limit.unwrap_or(20), ask.bytes.unwrap_or(1 << 20));
        let question = Question { newest: ask.newest, bounds, limit, bytes };
        let mut query = within(ask.newest, bounds);
        if let Some(limit) = ask.limit {
            query = query.limit(limit);
        }
        if let Some(bytes) = ask.bytes {
            query = query.bytes(bytes);
        }
        let model = self.world.seen().history(user(by), with.peer(), &question);
        let store = plain(self.store().history(user(by), with.peer(), &query), Page::from);
        same(&format!("history of user {by} with {with:?}: {ask:?}"), &store, &model)?;
        self.note_history(by, with, &question, &model);
        Ok(())
    }

    /// One page of `changed`, or of `catch_up` if `most` says how much.
    pub fn ask_changed(
        &mut self,
        by: u8,
        slot: usize,
        page: &PageSize,
        most: Option<(usize, usize)>,
        through_bytes: bool,
    ) -> Checked {
        let wish = Wish { messages: most, ..wish(page) };
        let from = self.slots[by as usize][slot].cursor;
        let mut cursor = from.map(|(cursor, _)| cursor);
        if let (true, Some(real)) = (through_bytes, cursor) {
            cursor = Some(Cursor::from_bytes(&real.to_bytes()).map_err(|error| format!("cursor: {error:?}"))?);
            same("a cursor through bytes", &cursor, &Some(real))?;
        }
        let model = self.world.changed(user(by), from.map(|(_, place)| place), &wish);
        let store = match most {
            None => self.store().changed(user(by), cursor.as_ref(), &list_query(page)),
            Some((messages, bytes)) => {
                let mut query = CatchUpQuery::new().messages(messages).bytes(bytes);
                if let Some(limit) = page.limit {
                    query = query.limit(limit);
                }
                if let Some(latest) = page.latest {
                    query = query.latest(latest);
                }
                self.store().catch_up(user(by), cursor.as_ref(), &query)
            }
        };
        let what = format!("list of user {by} from {from:?}: {wish:?}");
        self.note_list(from.map(|(_, place)| place), slot, by, &wish, &model);
        let walk = if from.is_none() { Walk::Begins } else { Walk::GoesOn };
        self.take_page(&what, by, slot, store, model, walk)
    }

    pub fn ask_since(&mut self, by: u8, slot: usize, page: &PageSize, time: Time) -> Checked {
        let view = self.world.seen();
        let times = &view.state.times;
        let change = |back: u64| Some(times[times.len().checked_sub(back as usize + 1)?]);
        let since = match time {
            Time::Zero => 0,
            Time::Change(back, offset) => change(back).unwrap_or(1).saturating_add_signed(offset),
            Time::Store(offset) => view.store_time().saturating_add_signed(offset),
        };
        let is_exact = times.contains(&since);
        self.traps.hit_if(is_exact, "list: since the very time of a change");
        let model = self.world.changed_since(user(by), since, &wish(page));
        let store = self.store().changed_since(user(by), Timestamp(since), &list_query(page));
        self.take_page(&format!("list of user {by} since {since}: {page:?}"), by, slot, store, model, Walk::Since)
    }

    /// Compares a page and keeps its cursor; at the end of a walk from nothing the client must hold everything.
    fn take_page(
        &mut self,
        what: &str,
        by: u8,
        slot: usize,
        store: restante::Result<restante::List>,
        model: Plain<(Sessions, Place)>,
        walk: Walk,
    ) -> Checked {
        let next = store.as_ref().ok().map(|list| list.next);
        same(what, &plain(store, |list| Sessions::from(&list)), &model.clone().map(|(sessions, _)| sessions))?;
        let (sessions, place) = match model {
            Ok(page) => page,
            Err(wrong) if wrong.kind == ErrorKind::ResetRequired => {
                self.slots[by as usize][slot] = Slot::default();
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        let cursor = next.map(|cursor| (cursor, place));
        let client = match walk {
            Walk::Begins => Some(BTreeMap::new()),
            Walk::GoesOn => self.slots[by as usize][slot].client.clone(),
            Walk::Since => None,
        };
        let client = client.map(|mut held| {
            for entry in &sessions.entries {
                match entry.is_add {
                    true => held.insert(entry.peer, entry.kept()),
                    false => held.remove(&entry.peer),
                };
            }
            held
        });
        if let (false, Some(held)) = (sessions.more, &client) {
            let all = self.world.seen().present_sessions(user(by), 0);
            let all: BTreeMap<Peer, Session> = all.iter().map(|entry| (entry.peer, entry.kept())).collect();
            let mut held = held.clone();
            self.world.seen().thin(user(by), &mut held);
            same(&format!("{what}: what a client holds at the end"), &held, &all)?;
        }
        let walking = sessions.more.then_some(self.world.published());
        self.slots[by as usize][slot] = Slot { cursor, client, walking };
        Ok(())
    }

    pub fn ask_recent(&mut self, by: u8, again: bool, page: &PageSize) -> Checked {
        let before = if again { self.recents[by as usize] } else { None };
        let model = self.world.seen().recent(user(by), before.map(|(_, place)| place), &wish(page));
        let store = self.store().recent(user(by), before.as_ref().map(|(cursor, _)| cursor), &list_query(page));
        let what = format!("recent of user {by} before {before:?}: {page:?}");
        let next = store.as_ref().ok().map(|recent| (recent.before, recent.changed, recent.epoch));
        same(&what, &plain(store, |recent| Recents::from(&recent)), &model.clone().map(|(recents, _)| recents))?;
        let (Ok((Recents { entries, pinned }, follows)), Some((next, changed, epoch))) = (model, next) else {
            return Ok(());
        };
        self.note_recent(&entries, &pinned);
        let is_tied = |pair: &[Session]| pair[0].activity == pair[1].activity;
        self.traps.hit_if(entries.windows(2).any(is_tied), "list: equal activity goes by peer");
        same(&format!("{what}: epoch"), &epoch, &self.world.epoch)?;
        same(&format!("{what}: leads on to changed"), &changed.is_some(), &before.is_none())?;
        // What follows a page of nothing that was asked for is said by no rule.
        if page.limit != Some(0) {
            same(&format!("{what}: more follow"), &next.is_some(), &follows)?;
            self.recents[by as usize] = next.zip(entries.last().map(|last| (last.activity, last.peer)));
        }
        if let Some((cursor, _)) = &self.recents[by as usize] {
            let again = RecentCursor::from_bytes(&cursor.to_bytes()).map_err(|error| format!("recent: {error:?}"))?;
            same("a recent cursor through bytes", &again, cursor)?;
        }
        if let Some(changed) = changed {
            let place = self.world.place_now();
            self.slots[by as usize][0] = Slot { cursor: Some((changed, place)), client: None, walking: None };
        }
        Ok(())
    }

    pub fn ask_totals(&mut self, by: u8) -> Checked {
        let sums = self.world.seen().total_unread(user(by));
        self.note_totals(sums);
        same(&format!("totals of user {by}"), &plain(self.store().total_unread(user(by)), Sums::from), &Ok(sums))
    }
}

fn wish(page: &PageSize) -> Wish {
    Wish { limit: page.limit.unwrap_or(100), latest: page.latest.unwrap_or(1), messages: None }
}

fn list_query(page: &PageSize) -> ListQuery {
    let mut query = ListQuery::new();
    if let Some(limit) = page.limit {
        query = query.limit(limit);
    }
    if let Some(latest) = page.latest {
        query = query.latest(latest);
    }
    query
}

fn within(newest: bool, bounds: Bounds) -> HistoryQuery {
    let query = if newest { HistoryQuery::newest() } else { HistoryQuery::oldest() };
    match bounds {
        Bounds::All => query,
        Bounds::Seqs(low, high) => query.seqs((low.map(Seq), high.map(Seq))),
        Bounds::Times(low, high) => query.times((low.map(Timestamp), high.map(Timestamp))),
    }
}
