//! Holds everything the store shows against the recount: every figure of every session, every message.
//! Owns: the verdict. May touch: the store's reads, `recount`, `devices`.
//! Never: changes the store, uses the store's word for what is right.

use std::collections::BTreeMap;

use restante::{
    Cursor, Entry, ErrorKind, HistoryQuery, ListQuery, Peer, Seq, SessionState, Store, Timestamp, UserId, limits,
};

use crate::devices::{Devices, Shown};
use crate::recount::{Recount, Room, Session, hash};
use crate::report::grouped;
use crate::steps::Result;

/// So many differences are printed; the rest only counted.
const DIFFERENCES_PRINTED: u64 = 10;

/// What was looked at and what of it was wrong.
#[derive(Default)]
pub struct Verdict {
    figures: u64,
    figures_wrong: u64,
    messages: u64,
    messages_wrong: u64,
    others_wrong: u64,
    printed: u64,
}

/// Looks at everything.
pub fn check(store: &Store, recount: &Recount, devices: &mut Devices, now: Timestamp) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for user in recount.users() {
        verdict.user(store, recount, user)?;
    }
    for room in recount.rooms() {
        verdict.room(store, room)?;
    }
    for index in 0..devices.devices.len() {
        devices.sync(index, store, now)?;
        verdict.device(recount, devices, index);
    }
    verdict.strangers(store, recount)?;
    Ok(verdict)
}

impl Verdict {
    pub fn print(&self) {
        println!("checked {} unread figures, {} wrong", grouped(self.figures), grouped(self.figures_wrong));
        println!(
            "read back {} messages, {} wrong in order, sender, time or body",
            grouped(self.messages),
            grouped(self.messages_wrong)
        );
        println!("totals, both devices and strangers: {} wrong", grouped(self.others_wrong));
    }

    pub fn is_right(&self) -> bool {
        self.figures_wrong + self.messages_wrong + self.others_wrong == 0
    }

    /// Every session of a user, by a walk from nothing to the end, and the total.
    fn user(&mut self, store: &Store, recount: &Recount, user: UserId) -> Result<()> {
        let mut got = BTreeMap::new();
        let mut cursor: Option<Cursor> = None;
        let query = ListQuery::new();
        loop {
            let list = store.changed(user, cursor.as_ref(), &query)?;
            for entry in list.entries {
                if got.insert(entry.peer, shown(&entry)).is_some() || !entry.is_add {
                    self.figures_wrong += 1;
                    self.print_difference(|| format!("{user}, {}: listed twice or as removed", entry.peer));
                }
            }
            cursor = Some(list.next);
            if !list.more {
                break;
            }
        }
        let want = recount.sessions(user);
        let total: u64 = want.values().map(|session| session.unread).sum();
        for (peer, want) in want {
            self.figures += 1;
            let got = got.remove(&peer);
            if got.as_ref() != Some(&want) {
                self.figures_wrong += 1;
                self.print_difference(|| format!("{user}, {peer}: want={want:?} got={got:?}"));
            }
        }
        for (peer, got) in got {
            self.figures_wrong += 1;
            self.print_difference(|| format!("{user}, {peer}: want no session got={got:?}"));
        }
        let got = store.total_unread(user)?.unread;
        if got != total {
            self.others_wrong += 1;
            self.print_difference(|| format!("{user}: total unread: want={total} got={got}"));
        }
        Ok(())
    }

    /// Every message of a room, as the member sees it who may see most of it.
    fn room(&mut self, store: &Store, room: &Room) -> Result<()> {
        let span = |floor: u64, ceiling: Option<u64>| ceiling.unwrap_or(room.last()) - floor;
        let Some((user, row)) = room.rows.iter().max_by_key(|(_, row)| span(row.floor, row.ceiling)) else {
            return Ok(());
        };
        let Some(peer) = room.timeline.peer_of(*user) else {
            return Ok(());
        };
        let (mut next, end) = (row.floor + 1, row.ceiling.unwrap_or(room.last()));
        while next <= end {
            let query =
                HistoryQuery::oldest().seqs(Seq(next)..).limit(limits::PAGE_MESSAGES_MAX).bytes(limits::PAGE_BYTES_MAX);
            let page = store.history(*user, peer, &query)?;
            for message in &page.messages {
                let index = (next - 1) as usize;
                let want = (next <= end).then(|| (room.senders[index], room.times[index], room.body_hashes[index]));
                let got = (message.sender.get() as u32, message.timestamp.get(), hash(&message.body));
                self.messages += 1;
                if want != Some(got) || message.seq != Seq(next) {
                    self.messages_wrong += 1;
                    self.print_difference(|| format!("{} {next}: want={want:?} got={message:?}", room.timeline));
                }
                next += 1;
            }
            if page.messages.is_empty() {
                self.messages_wrong += end + 1 - next;
                self.print_difference(|| format!("{}: nothing from seq {next}, want up to {end}", room.timeline));
                break;
            }
        }
        Ok(())
    }

    /// What a device has put together from changes alone.
    fn device(&mut self, recount: &Recount, devices: &Devices, index: usize) {
        let device = &devices.devices[index];
        let want = recount.sessions(devices.user).into_iter();
        let want: BTreeMap<Peer, Shown> = want
            .map(|(peer, session)| (peer, Shown { unread: session.unread, read_mark: session.read_mark }))
            .collect();
        if device.shown != want {
            self.others_wrong += 1;
            self.print_difference(|| format!("{}: want={want:?} got={:?}", device.name, device.shown));
        }
    }

    /// Someone nobody has heard of has no session and nothing unread.
    fn strangers(&mut self, store: &Store, recount: &Recount) -> Result<()> {
        let stranger = UserId(recount.users().last().map_or(1, |user| user.get() + 1));
        let Some(Peer::Group(group)) = recount.rooms().iter().find_map(|room| room.timeline.peer_of(stranger)) else {
            return Ok(());
        };
        let list = store.changed(stranger, None, &ListQuery::new())?;
        let history = store.history(stranger, Peer::Group(group), &HistoryQuery::newest());
        let is_hidden = history.is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if !list.entries.is_empty() || store.total_unread(stranger)?.unread != 0 || !is_hidden {
            self.others_wrong += 1;
            self.print_difference(|| format!("{stranger} sees something of {group}"));
        }
        Ok(())
    }

    fn print_difference(&mut self, difference: impl FnOnce() -> String) {
        if self.printed < DIFFERENCES_PRINTED {
            eprintln!("WRONG {}", difference());
        }
        self.printed += 1;
    }
}

fn shown(entry: &Entry) -> Session {
    Session {
        unread: entry.unread,
        goto: entry.goto,
        read_mark: entry.read_mark,
        first: entry.first,
        last: entry.last,
        is_left: entry.state == SessionState::Left,
        version: entry.version,
    }
}
