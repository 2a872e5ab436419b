//! Puts questions about amendments, groups, people and names to store and model, and asks all there is to ask.
//! Owns: these questions, the sweep over everything. May touch: `run`, `look`, `ask`, `trap`.
//! Never: asks for a change that would be made.

use std::ops::Bound;

use restante::{AmendmentCursor, ClientId, ErrorKind, Seq};

use super::answer::{About, Change, OneMember, Seen, pair_of, plain};
use super::judge::Decision;
use super::look::{Amendments, Since};
use super::op::Write;
use super::run::{Checked, Run, Slot, hold, same};
use super::word::At;
use super::word::{
    Ask, GROUPS, KINDS, NAMES, PageSize, Point, Post, SENDERS, Text, To, USERS, With, Within, all_peers, group, user,
};
use super::write::{real_rules, real_settings};

impl Run<'_> {
    pub fn ask_amendments(&mut self, by: u8, with: With, again: bool, limit: usize) -> Checked {
        let from = if again { self.amendments[by as usize] } else { None };
        let since = from.map(|(_, since)| since);
        let is_reset =
            since.is_some_and(|it| self.world.check_reach(it.epoch, it.newest.max(it.version), u64::MAX).is_err());
        if is_reset && self.world.seen().session_of(user(by), with.peer()).map_or(true, |session| session.is_none()) {
            // Which of the two is told first is open.
            return Ok(());
        }
        let model = self.world.amendments(user(by), with.peer(), since, limit);
        let cursor = from.map(|(cursor, _)| cursor);
        let store = self.store().amendments(user(by), with.peer(), cursor.as_ref(), limit);
        let next = store.as_ref().ok().map(|page| page.next);
        let what = format!("amendments of user {by} with {with:?} since {from:?}, at most {limit}");
        // Where a page of nothing from nothing ends is said by no rule if there is something.
        let is_open = limit == 0 && from.is_none();
        let store = plain(store, |page| Amendments {
            amendments: page.amendments.iter().map(Change::from).collect(),
            next: if is_open { (0, 0) } else { pair_of(&page.next.to_bytes()) },
            more: page.more,
        });
        let model = model.map(|page| Amendments { next: if is_open { (0, 0) } else { page.next }, ..page });
        same(&what, &store, &model)?;
        self.note_amendments(by, with, since, &model);
        let Some(cursor) = next.filter(|_| !is_open) else {
            self.amendments[by as usize] = None;
            return Ok(());
        };
        let bytes = cursor.to_bytes();
        let same_again = AmendmentCursor::from_bytes(&bytes).map_err(|error| format!("amendment cursor: {error:?}"))?;
        same("an amendment cursor through bytes", &same_again, &cursor)?;
        let (version, seq) = pair_of(&bytes);
        let (epoch, newest) = (self.world.epoch, self.world.published());
        self.amendments[by as usize] = Some((cursor, Since { epoch, version, seq, newest }));
        Ok(())
    }

    pub fn ask_receipts(&mut self, by: u8, with: With, seq: u64, after: u8, limit: usize) -> Checked {
        let model = self.world.seen().receipts(user(by), with.peer(), seq, user(after), limit);
        let store = self.store().receipts(user(by), with.peer(), Seq(seq), user(after), limit);
        let what = format!("receipts of user {by} with {with:?} for {seq} after {after}, at most {limit}");
        same(&what, &plain(store, Seen::from), &model)?;
        self.note_receipts(by, with, seq, &model);
        Ok(())
    }

    pub fn ask_members(&mut self, number: u8, after: u8, limit: usize) -> Checked {
        let view = self.world.seen();
        let store = plain(self.store().group(group(number)), About::from);
        same(&format!("group {number}"), &store, &view.group(group(number)))?;
        let model = view.members(group(number), user(after), limit);
        let store = plain(self.store().members(group(number), user(after), limit), |page| {
            (page.members.iter().map(OneMember::from).collect(), page.more)
        });
        self.traps.hit_if(model.as_ref().is_ok_and(|(_, more)| *more), "people: members over pages");
        same(&format!("members of group {number} after {after}, at most {limit}"), &store, &model)
    }

    pub fn ask_groups(&mut self, by: u8, after: u8, limit: usize) -> Checked {
        let model = self.world.seen().groups_of(user(by), group(after), limit);
        let store = self.store().groups_of(user(by), group(after), limit);
        let store = plain(store, |page| (page.groups, page.more));
        same(&format!("groups of user {by} after {after}, at most {limit}"), &store, &model)
    }

    pub fn ask_find(&mut self, post: &Post) -> Checked {
        let (timeline, sender, id) = (post.timeline(), user(post.by), u128::from(post.id));
        let model = self.world.seen().find(timeline, sender, id);
        let store = self.store().find(timeline, sender, ClientId(id));
        let store = plain(store, |seq| seq.map(|seq| seq.get()));
        self.traps.hit_if(matches!(model, Ok(Some(_))), "append: a client id is found");
        same(&format!("find {post:?}"), &store, &model)
    }

    /// Names, who exists, settings, time.
    fn ask_store(&mut self) -> Checked {
        let (state, store) = (self.world.seen().state, self.store());
        for (number, kind) in KINDS.into_iter().enumerate() {
            let number = number as u8;
            for (short, name) in NAMES.iter().enumerate() {
                let id = state.names.get(&(number, short as u8)).map(|(id, _)| *id);
                same(&format!("name {short} of kind {kind:?}"), &store.resolve(kind, name).unwrap(), &id)?;
            }
            for id in (1 << 63)..=state.next_id(number) {
                let of_id = state.names.iter().find(|((kind, _), (named, _))| *kind == number && *named == id);
                let name = of_id.map(|((_, short), _)| NAMES[*short as usize].to_vec());
                same(&format!("name of {id} of kind {kind:?}"), &store.name_of(kind, id).unwrap(), &name)?;
            }
        }
        for number in 1..USERS.len() as u8 {
            let exists = state.users.contains_key(&user(number));
            same(&format!("user {number} exists"), &store.user_exists(user(number)).unwrap(), &exists)?;
        }
        same("settings", &store.settings(), &real_rules(state.rules))?;
        let time = store.time();
        let model = (self.world.seen().store_time(), self.world.is_stepped);
        same("store time", &(time.now.get(), time.is_stepped), &model)
    }

    /// Everything that anyone may ask, also those who left and those who were never there.
    pub fn compare_all(&mut self) -> Checked {
        self.ask_store()?;
        for number in 1..GROUPS.len() as u8 {
            for limit in [2, 10_000] {
                self.ask_members(number, 0, limit)?;
                self.ask_members(number, 2, limit)?;
            }
        }
        for by in 1..USERS.len() as u8 {
            self.ask_totals(by)?;
            self.ask_groups(by, 0, 10_000)?;
            self.ask_groups(by, 1, 1)?;
            // Whole walks, in slots that are given back as they were.
            let amended = self.amendments[by as usize];
            for with in all_peers() {
                let all = Ask { newest: false, within: Within::All, limit: Some(1_000), bytes: Some(16 << 20) };
                self.ask_history(by, with, &all)?;
                self.ask_history(by, with, &Ask { newest: true, limit: Some(3), bytes: None, ..all })?;
                let state = self.world.seen().state;
                let last = state.timeline(user(by), with.peer()).map_or(0, |it| state.last_seq(it));
                let middle = last / 2;
                let around = Within::Seqs(Bound::Included(middle), Bound::Excluded(middle + 4));
                self.ask_history(by, with, &Ask { newest: true, within: around, limit: None, bytes: None })?;
                self.amendments[by as usize] = None;
                self.ask_amendments(by, with, false, 2)?;
                self.ask_amendments(by, with, true, 1_000)?;
                self.ask_receipts(by, with, middle, 0, 10_000)?;
                self.ask_receipts(by, with, last, 2, 1)?;
            }
            self.amendments[by as usize] = amended;
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

    /// Asks for what is already so: nothing changes, and every call says so.
    pub fn ask_for_what_is_so(&mut self) -> Checked {
        let before = self.store().version();
        for number in 1..GROUPS.len() as u8 {
            let Some(it) = self.world.seen().state.group(group(number)).cloned() else { continue };
            let asked = self.store().set_group(group(number), real_settings(it.settings)).wait();
            let model = self.world.judge().set_group(group(number), it.settings);
            same(&format!("group {number} as it is"), &kind_of(asked), &kind_of_decision(&model))?;
        }
        let rules = self.world.seen().state.rules;
        let asked = self.store().set_settings(real_rules(rules)).wait();
        same("settings as they are", &kind_of(asked), &Ok(true))?;
        for by in SENDERS {
            for with in all_peers() {
                for write in [
                    Write::Clear { by, with, upto: Point::Seq(0) },
                    Write::Delivered { by, with, upto: Point::Seq(0) },
                    Write::Hide { by, with, seqs: vec![Point::End(1)] },
                ] {
                    let decision = self.decide(&self.world.judge(), &write);
                    hold(!decision.changes(), || format!("the model would change: {write:?}"))?;
                    let store = match write {
                        Write::Clear { .. } => self.store().clear(user(by), with.peer(), Seq(0)).wait(),
                        Write::Delivered { .. } => self.store().mark_delivered(user(by), with.peer(), Seq(0)).wait(),
                        _ => {
                            let seq = self.point(by, with, Point::End(1));
                            self.store().hide(user(by), with.peer(), &[Seq(seq)]).wait()
                        }
                    };
                    same(&format!("{write:?}"), &kind_of(store), &kind_of_decision(&decision))?;
                }
            }
        }
        same("version after asking for what is so", &self.store().version(), &before)
    }

    /// Client ids of everyone in every timeline that could be meant.
    pub fn find_all(&mut self) -> Checked {
        let text = Text(0, 0);
        for by in 0..USERS.len() as u8 {
            for id in 0..5 {
                for to in [To::Group(1), To::User(1), To::User(2), To::Broadcast(super::op::SENDING[0])] {
                    if by == 0 && !super::op::sends_for_none(to) {
                        continue;
                    }
                    let post = Post { by, to, id, text, kind: 0, counts: true, at: At::Unset, mentions: 0, alerts: 0 };
                    if id > 0 && (by > 0) != super::op::sends_for_none(to) {
                        self.ask_find(&post)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// An error, or whether nothing changed.
fn kind_of(result: restante::Result<restante::Effect>) -> Result<bool, ErrorKind> {
    result.map(|effect| effect == restante::Effect::Unchanged).map_err(|error| error.kind())
}

fn kind_of_decision(decision: &Decision) -> Result<bool, ErrorKind> {
    decision.result.clone().map(|_| !decision.changes()).map_err(|wrong| wrong.kind)
}
