//! Holds everything the store shows against the recount: every figure of every session, every message.
//! Owns: the verdict. May touch: the store's reads, `recount`, `devices`.
//! Never: changes the store, uses the store's word for what is right.

use std::collections::BTreeMap;

use restante::{
    Cursor, Entry, ErrorKind, HistoryQuery, ListQuery, Message, Peer, Seq, SessionState, Store, Timestamp, UserId,
    limits,
};

use crate::devices::{Device, Devices};
use crate::recount::{Change, Recount, Room, Session, Told, hash};
use crate::report::grouped;
use crate::steps::Result;

/// So many differences are printed; the rest only counted.
const DIFFERENCES_PRINTED: u64 = 10;
/// Of so many users one is asked for all amendments it may see.
const USERS_PER_AMENDMENTS: u64 = 40;
/// Of so many messages of a room one is asked who has read it; of a big room only the last few.
const SEQS_PER_RECEIPTS: u64 = 200;
const RECEIPTS_PER_ROOM: usize = 5;

/// What was looked at and what of it was wrong.
#[derive(Default)]
pub struct Verdict {
    sessions: Tally,
    messages: Tally,
    amendments: Tally,
    receipts: Tally,
    devices: Tally,
    others_wrong: u64,
    mentions_counted: u64,
    printed: u64,
}

/// How many things of a kind were looked at, and how many of them were wrong.
#[derive(Default)]
struct Tally {
    count: u64,
    wrong: u64,
}

/// Looks at everything.
pub fn check(store: &Store, recount: &Recount, devices: &mut Devices, now: Timestamp) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for user in recount.users() {
        verdict.user(store, recount, user)?;
    }
    for room in recount.rooms() {
        verdict.room(store, recount, room)?;
        verdict.receipts(store, recount, room)?;
    }
    for index in 0..devices.devices.len() {
        devices.sync(index, store, now)?;
        verdict.device(store, &devices.devices[index])?;
        verdict.amendments(store, recount, devices.devices[index].user)?;
    }
    for user in recount.users().filter(|user| user.get().is_multiple_of(USERS_PER_AMENDMENTS)) {
        verdict.amendments(store, recount, user)?;
    }
    verdict.strangers(store, recount)?;
    Ok(verdict)
}

impl Verdict {
    pub fn print(&self) {
        println!(
            "checked {} unread figures, {} wrong (goto, marks, flags, order, and {} mentions with them)",
            grouped(self.sessions.count),
            grouped(self.sessions.wrong),
            grouped(self.mentions_counted),
        );
        for (what, tally) in [
            ("messages read back: sender, time, body, mentions, who recalled or edited it", &self.messages),
            ("amendments listed", &self.amendments),
            ("receipts of messages recounted", &self.receipts),
            ("devices that only asked for changes, against a fresh walk", &self.devices),
        ] {
            println!("{:>9} {what}: {} wrong", grouped(tally.count), grouped(tally.wrong));
        }
        println!("totals and strangers: {} wrong", grouped(self.others_wrong));
    }

    pub fn is_right(&self) -> bool {
        let tallies = [&self.sessions, &self.messages, &self.amendments, &self.receipts, &self.devices];
        self.others_wrong + tallies.iter().map(|tally| tally.wrong).sum::<u64>() == 0
    }

    /// Every session of a user, by a walk from nothing to the end, and the totals.
    fn user(&mut self, store: &Store, recount: &Recount, user: UserId) -> Result<()> {
        let mut got = BTreeMap::new();
        let mut cursor: Option<Cursor> = None;
        let query = ListQuery::new();
        loop {
            let list = store.changed(user, cursor.as_ref(), &query)?;
            for entry in list.entries {
                if got.insert(entry.peer, shown(&entry)).is_some() || !entry.is_add {
                    self.sessions.wrong += 1;
                    self.print_difference(|| format!("{user}, {}: listed twice or as removed", entry.peer));
                }
            }
            cursor = Some(list.next);
            if !list.more {
                break;
            }
        }
        let want = recount.sessions(user);
        let unread_of = |muted: bool| -> u64 {
            want.values().filter(|session| session.flags[1] == muted).map(|session| session.unread).sum()
        };
        let marked = want.values().filter(|session| session.flags[2]).count() as u64;
        let want_totals = (unread_of(false), unread_of(true), marked);
        for (peer, want) in want {
            self.sessions.count += 1;
            self.mentions_counted += want.mentions.0;
            let got = got.remove(&peer);
            if got.as_ref() != Some(&want) {
                self.sessions.wrong += 1;
                self.print_difference(|| format!("{user}, {peer}: want={want:?} got={got:?}"));
            }
        }
        for (peer, got) in got {
            self.sessions.wrong += 1;
            self.print_difference(|| format!("{user}, {peer}: want no session got={got:?}"));
        }
        let totals = store.total_unread(user)?;
        let got = (totals.unread, totals.muted_unread, totals.marked_unread);
        if got != want_totals {
            self.others_wrong += 1;
            self.print_difference(|| format!("{user}: unread, muted, marked: want={want_totals:?} got={got:?}"));
        }
        Ok(())
    }

    /// Every message of a room, as the member sees it who may see most of it.
    fn room(&mut self, store: &Store, recount: &Recount, room: &Room) -> Result<()> {
        let viewer = match room.rows.is_empty() {
            true => recount.users().next(),
            false => room.rows.iter().max_by_key(|(_, row)| row.end(room) - row.floor).map(|(user, _)| *user),
        };
        let Some((user, peer)) = viewer.and_then(|user| Some((user, room.timeline.peer_of(user)?))) else {
            return Ok(());
        };
        let Some(row) = recount.row(user, room) else {
            return Ok(());
        };
        let end = row.end(room);
        let mut seqs = (row.floor + 1..=end).filter(|seq| !row.hidden.contains_key(seq)).peekable();
        while let Some(next) = seqs.peek().copied() {
            let query =
                HistoryQuery::oldest().seqs(Seq(next)..).limit(limits::PAGE_MESSAGES_MAX).bytes(limits::PAGE_BYTES_MAX);
            let page = store.history(user, peer, &query)?;
            for message in &page.messages {
                let seq = seqs.next();
                self.messages.count += 1;
                if seq != Some(message.seq.get()) || !is_as_sent(room, message) {
                    self.messages.wrong += 1;
                    self.print_difference(|| format!("{} {seq:?}: got={message:?}", room.timeline));
                }
            }
            if page.messages.is_empty() {
                self.messages.wrong += end + 1 - next;
                self.print_difference(|| format!("{}: nothing from seq {next}, want up to {end}", room.timeline));
                break;
            }
        }
        Ok(())
    }

    /// Who has received and read some messages, asked by one who sees them.
    fn receipts(&mut self, store: &Store, recount: &Recount, room: &Room) -> Result<()> {
        let chosen = (1..=room.last()).rev().filter(|seq| *seq == room.last() || seq.is_multiple_of(SEQS_PER_RECEIPTS));
        for seq in chosen.take(RECEIPTS_PER_ROOM) {
            let is_shown =
                |user: &UserId| recount.row(*user, room).is_some_and(|row| row.floor < seq && seq <= row.end(room));
            let sender = UserId(room.senders[seq as usize - 1].into());
            let Some(user) = [sender].into_iter().chain(room.rows.keys().copied()).find(is_shown) else {
                continue;
            };
            let Some(peer) = room.timeline.peer_of(user) else {
                continue;
            };
            self.receipts.count += 1;
            let (mut after, mut got, mut counts) = (UserId::NONE, Vec::new(), Vec::new());
            loop {
                let page = store.receipts(user, peer, Seq(seq), after, limits::MEMBERS_MAX)?;
                got.extend(page.receipts.iter().map(|receipt| (receipt.user, receipt.read)));
                counts.push((page.members, page.delivered, page.read));
                after = got.last().map_or(after, |(user, _)| *user);
                if !page.more || page.receipts.is_empty() {
                    break;
                }
            }
            let (members, want) = room.receipts(seq);
            let read = want.iter().filter(|(_, read)| *read).count() as u64;
            let want_counts = (members, want.len() as u64, read);
            if got != want || counts.iter().any(|counts| *counts != want_counts) {
                self.receipts.wrong += 1;
                self.print_difference(|| {
                    let place = got.iter().zip(&want).position(|(got, want)| got != want);
                    format!(
                        "receipts of {} {seq} for {user}: want={want_counts:?} got={counts:?}, first difference at {place:?}, {} listed",
                        room.timeline,
                        got.len()
                    )
                });
            }
        }
        Ok(())
    }

    /// All amendments of all sessions of a user.
    fn amendments(&mut self, store: &Store, recount: &Recount, user: UserId) -> Result<()> {
        for (peer, want) in recount.changes(user) {
            let (mut got, mut since) = (Vec::new(), None);
            loop {
                let page = store.amendments(user, peer, since.as_ref(), limits::AMENDMENTS_MAX / 3)?;
                got.extend(page.amendments.into_iter().map(|amendment| Change {
                    seq: amendment.seq,
                    kind: amendment.kind,
                    told: Told { by: amendment.by, at: amendment.at.get(), version: amendment.version.get() },
                }));
                since = Some(page.next);
                if !page.more {
                    break;
                }
            }
            self.amendments.count += want.len() as u64;
            if got != want {
                self.amendments.wrong += 1;
                self.print_difference(|| format!("{user}, {peer}: amendments: want={want:?} got={got:?}"));
            }
        }
        Ok(())
    }

    /// What a device has put together from changes alone is what one knows that asks for the first time.
    fn device(&mut self, store: &Store, device: &Device) -> Result<()> {
        let mut fresh = Device::new(device.user, "new");
        fresh.sync(store)?;
        self.devices.count += 1;
        if device.shown != fresh.shown || device.amended != fresh.amended {
            self.devices.wrong += 1;
            let differs = |peer: &&Peer| {
                device.shown.get(peer) != fresh.shown.get(peer) || device.amended.get(peer) != fresh.amended.get(peer)
            };
            let peers = device.shown.keys().chain(fresh.shown.keys());
            for peer in peers.filter(differs).take(2) {
                let of = |device: &Device| format!("{:?} {:?}", device.shown.get(peer), device.amended.get(peer));
                self.print_difference(|| {
                    format!("{} of {}, {peer}: want={} got={}", device.name, device.user, of(&fresh), of(device))
                });
            }
        }
        Ok(())
    }

    /// Someone nobody has heard of has no session and nothing unread.
    fn strangers(&mut self, store: &Store, recount: &Recount) -> Result<()> {
        let stranger = UserId(recount.users().last().map_or(1, |user| user.get() + 1));
        let list = store.changed(stranger, None, &ListQuery::new())?;
        let mut sees_nothing = list.entries.is_empty() && store.total_unread(stranger)?.unread == 0;
        for peer in recount.rooms().iter().filter_map(|room| room.timeline.peer_of(stranger)) {
            let history = store.history(stranger, peer, &HistoryQuery::newest());
            sees_nothing &= history.is_err_and(|error| error.kind() == ErrorKind::NotFound);
        }
        if !sees_nothing || store.user_exists(stranger).unwrap() {
            self.others_wrong += 1;
            self.print_difference(|| format!("{stranger} sees something"));
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

fn is_as_sent(room: &Room, message: &Message) -> bool {
    let (seq, index) = (message.seq.get(), message.seq.get() as usize - 1);
    let told = |amended: &BTreeMap<u64, Told>| amended.get(&seq).map(|told| (told.by, Timestamp(told.at)));
    message.sender == UserId(room.senders[index].into())
        && message.timestamp == Timestamp(room.times[index])
        && message.version.get() == room.versions[index]
        && hash(&message.body) == room.body_hashes[index]
        && message.mentions == *room.mentions.get(&seq).unwrap_or(&Vec::new())
        && message.alerts == room.alerts.get(&seq).copied().unwrap_or(0)
        && message.recalled.as_ref().map(|amended| (amended.by, amended.at)) == told(&room.recalled)
        && message.edited.as_ref().map(|amended| (amended.by, amended.at)) == told(&room.edited)
}

fn shown(entry: &Entry) -> Session {
    Session {
        unread: entry.unread,
        goto: entry.goto,
        mentions: (entry.mentions.count, entry.mentions.saturated, entry.mentions.oldest),
        alerts: entry.alerts.iter().map(|alert| (alert.kind, alert.count, alert.oldest)).collect(),
        read_mark: entry.read_mark,
        first: entry.first,
        last: entry.last,
        other: [entry.other_delivered, entry.other_read],
        is_left: entry.state == SessionState::Left,
        flags: [entry.flags.pinned, entry.flags.muted, entry.flags.marked_unread],
        activity: entry.activity,
        version: entry.version,
    }
}
