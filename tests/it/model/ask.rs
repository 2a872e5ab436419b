//! Puts questions to the store and the model of a run and compares the answers, one by one or all there are.
//! Owns: what a reader asks, the copy of a store made from its changes. May touch: `run`, `look`, `trap`.
//! Never: asks for a change that would be made.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use restante::{
    CatchUpQuery, Cursor, Draft, Durability, ErrorKind, HistoryQuery, ListQuery, ManualClock, Peer, RecentCursor, Seq,
    SimStorage, Store, Timestamp, UserId,
};

use super::answer::{Page, Plain, Session, Sessions, Written, plain, plain_effect};
use super::look::{Bounds, Place, Question, Wish};
use super::op::{Ask, Near, PageSize, Time, USERS, With, Within, all_peers, user};
use super::run::{Checked, Run, Slot, dress, hold, options, real_settings, same};
use super::world::{Letter, View, What};

/// How a page of a list came to be asked for.
#[derive(Clone, Copy, Debug)]
enum Walk {
    Begins,
    GoesOn,
    Since,
}

impl Run<'_> {
    pub fn ask_history(&mut self, by: u8, with: With, ask: &Ask) -> Checked {
        let timeline = crate::support::timeline_of(user(by), with.peer());
        let bounds = match ask.within {
            Within::All => Bounds::All,
            Within::Seqs(low, high) => Bounds::Seqs(low, high),
            Within::Times(low, high) => {
                let near = |Near(seq, offset): Near| {
                    let messages = self.world.seen().messages_of(timeline);
                    let nearest = messages.iter().rfind(|sent| sent.seq <= seq);
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
        let change = |back: u64| {
            let index = view.version().checked_sub(back + 1)?;
            Some(view.log[index as usize].commit_time)
        };
        let since = match time {
            Time::Zero => 0,
            Time::Change(back, offset) => change(back).unwrap_or(1).saturating_add_signed(offset),
            Time::Store(offset) => view.store_time().saturating_add_signed(offset),
        };
        let is_exact = view.log.iter().any(|change| change.commit_time == since);
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
            held.extend(sessions.entries.iter().map(|entry| (entry.peer, entry.kept())));
            held
        });
        if let (false, Some(held)) = (sessions.more, &client) {
            let all = self.world.seen().sessions(user(by), 0);
            let all: BTreeMap<Peer, Session> = all.iter().map(|entry| (entry.peer, entry.kept())).collect();
            same(&format!("{what}: what a client holds at the end"), held, &all)?;
        }
        let walking = sessions.more.then_some(self.world.published);
        self.slots[by as usize][slot] = Slot { cursor, client, walking };
        Ok(())
    }

    pub fn ask_recent(&mut self, by: u8, again: bool, page: &PageSize) -> Checked {
        let before = if again { self.recents[by as usize] } else { None };
        let model = self.world.seen().recent(user(by), before.map(|(_, place)| place), &wish(page));
        let store = self.store().recent(user(by), before.as_ref().map(|(cursor, _)| cursor), &list_query(page));
        let what = format!("recent of user {by} before {before:?}: {page:?}");
        let next = store.as_ref().ok().map(|recent| (recent.before, recent.changed, recent.epoch));
        let entries = |recent: restante::Recent| recent.entries.iter().map(Session::from).collect::<Vec<Session>>();
        same(&what, &plain(store, entries), &model.clone().map(|(entries, _)| entries))?;
        let (Ok((entries, follows)), Some((next, changed, epoch))) = (model, next) else { return Ok(()) };
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
        let unread = plain(self.store().total_unread(user(by)), |totals| totals.unread);
        same(&format!("total of user {by}"), &unread, &Ok(self.world.seen().total_unread(user(by))))
    }

    /// Everything that anyone may ask, also those who left and those who were never there.
    pub fn compare_all(&mut self) -> Checked {
        for by in 1..USERS.len() as u8 {
            self.ask_totals(by)?;
            for with in all_peers() {
                let all = Ask { newest: false, within: Within::All, limit: Some(1_000), bytes: Some(16 << 20) };
                self.ask_history(by, with, &all)?;
                self.ask_history(by, with, &Ask { newest: true, limit: Some(3), bytes: None, ..all })?;
                let middle = self.world.seen().last_seq(crate::support::timeline_of(user(by), with.peer())) / 2;
                let around = Within::Seqs(Bound::Included(middle), Bound::Excluded(middle + 4));
                self.ask_history(by, with, &Ask { newest: true, within: around, limit: None, bytes: None })?;
            }
            // Whole walks, in a slot that is given back as it was.
            let slot = self.slots[by as usize][0].clone();
            let recent = self.recents[by as usize];
            for (limit, most) in [(None, None), (Some(2), None), (Some(3), Some((5, 200)))] {
                self.slots[by as usize][0] = Slot::default();
                let page = PageSize { limit, latest: Some(3) };
                self.ask_changed(by, 0, &page, most, false)?;
                while self.slots[by as usize][0].walking.is_some() {
                    self.ask_changed(by, 0, &page, most, true)?;
                }
            }
            let page = PageSize { limit: Some(2), latest: None };
            self.ask_recent(by, false, &page)?;
            while self.recents[by as usize].is_some() {
                self.ask_recent(by, true, &page)?;
            }
            self.slots[by as usize][0] = slot;
            self.recents[by as usize] = recent;
        }
        Ok(())
    }

    /// Sends everything with a client id again: each is known, another body under it is a conflict, and nothing changes.
    fn send_all_again(&mut self) -> Checked {
        let sent: Vec<Letter> = self.world.seen().messages().map(|sent| sent.letter.clone()).collect();
        for letter in sent.into_iter().filter(|letter| letter.client_id != 0) {
            let (timeline, sender, id) = (letter.timeline, letter.sender, letter.client_id);
            if self.world.seen().taken(timeline, sender, id).is_none() {
                continue;
            }
            for kind in [letter.kind, letter.kind ^ 1] {
                let letter = Letter { kind, ..letter.clone() };
                let answer = self.world.append(&letter);
                hold(!answer.changed, || format!("the model wrote again: {letter:?}"))?;
                let draft = dress(Draft::new(timeline, sender, &letter.body.0), &letter);
                let store = plain(self.store().append(draft).wait(), Written::from);
                same(&format!("sent again: {letter:?}"), &store, &answer.result)?;
            }
        }
        same("version after retries", &self.store().version().get(), &self.world.published)
    }

    /// What is checked when all operations are played.
    pub fn finish(&mut self) -> Checked {
        self.sync()?;
        self.compare_all()?;
        self.send_all_again()?;
        self.close_and_open(true)?;
        self.send_all_again()?;
        let copy = copy_of(self.world.seen())?;
        let digests = (self.store().state_digest(), copy.state_digest());
        let digests = (plain(digests.0, |digest| digest), plain(digests.1, |digest| digest));
        same("digest of a store with the same changes", &digests.0, &digests.1)?;
        // A cursor of another store is of an unknown epoch.
        let list = copy.changed(UserId(1), None, &ListQuery::new()).map_err(|error| format!("copy: {error:?}"))?;
        let foreign = self.store().changed(UserId(1), Some(&list.next), &ListQuery::new());
        let kind = foreign.map(|list| list.entries.len()).map_err(|error| error.kind());
        same("a cursor of another store", &kind, &Err(ErrorKind::ResetRequired))?;
        self.traps.hit("list: an unknown epoch");
        for bytes in [&[0; 31][..], &[0; 33], &[]] {
            let kind = Cursor::from_bytes(bytes).map_err(|error| error.kind());
            same("a cursor of wrong length", &kind.err(), &Some(ErrorKind::InvalidInput))?;
        }
        for bytes in [&[0; 16][..], &[0; 18], &[]] {
            let kind = RecentCursor::from_bytes(bytes).map_err(|error| error.kind());
            same("a recent cursor of wrong length", &kind.err(), &Some(ErrorKind::InvalidInput))?;
        }
        self.note_end();
        Ok(())
    }
}

/// Another store to which the same changes are made, one by one, each at its commit time.
fn copy_of(view: View<'_>) -> Checked<Store> {
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let storage = SimStorage::new(0x00c0_97ed);
    let store = Store::open_on(storage, options(Durability::Buffered, &clock)).map_err(|error| format!("{error:?}"))?;
    for (index, change) in view.log.iter().enumerate() {
        clock.set(Timestamp(change.commit_time));
        let version = match &change.what {
            What::Created { group, settings } => {
                plain(store.create_group(*group, real_settings(*settings)).wait(), plain_effect)
            }
            What::Joined { group, user } => plain(store.join(*group, *user).wait(), plain_effect),
            What::Left { group, user } => plain(store.leave(*group, *user).wait(), plain_effect),
            What::Marked { user, timeline, read } => {
                let before = View { log: &view.log[..index], clock: change.commit_time };
                let row = before.row(*user, *timeline).ok_or("a mark without a row")?;
                let peer = timeline.peer_of(*user).ok_or("a mark without a peer")?;
                let ticket = match *read > row.mark() {
                    true => store.mark_read(*user, peer, Seq(*read)),
                    false => store.mark_unread_from(*user, peer, Seq(*read + 1)),
                };
                plain(ticket.wait(), plain_effect)
            }
            What::Sent { letter, .. } => {
                let draft = dress(Draft::new(letter.timeline, letter.sender, &letter.body.0), letter);
                plain(store.append(draft).wait(), |appended| appended.version.get())
            }
        };
        same(&format!("made again: {change:?}"), &version, &Ok(change.version))?;
    }
    Ok(store)
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
