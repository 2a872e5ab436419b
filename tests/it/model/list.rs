//! What the model answers to one who asks for its sessions, by full scans straight from the definitions.
//! Owns: entries, tombstones, walks, totals, when a cursor is refused. May touch: `look`, `world`, `answer`.
//! Never: changes the world, keeps a count.

use std::collections::BTreeMap;

use restante::limits::{
    CATCH_UP_BYTES_MAX, CATCH_UP_MESSAGES_MAX, ENTRY_AMENDMENTS_MAX, LATEST_MESSAGES_MAX, LIST_ENTRIES_MAX,
    MENTIONS_COUNTED_MAX,
};
use restante::{Epoch, ErrorKind, Pair, Peer, SessionState, Timeline, UserId};

use super::answer::{Bytes, Plain, Recents, Session, Sessions, Shown, Sums};
use super::change::Marks;
use super::row::{Presence, Row};
use super::world::{View, World};

/// What is asked of a list.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub limit: usize,
    pub latest: usize,
    /// `catch_up`: most messages and most bytes.
    pub messages: Option<(usize, usize)>,
}

/// What a cursor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub epoch: Epoch,
    pub base: u64,
    pub position: u64,
    /// The version published at its page. What is lost above it may have raised entries that the walk
    /// had yet to come to, and lets them fall back below its position: it would pass them over.
    pub seen: u64,
}

impl View<'_> {
    /// The timelines in which something is to be told to a user, also that the session is gone.
    pub fn timelines(&self, user: UserId) -> Vec<Timeline> {
        let all = self.state.lines.keys().copied();
        all.filter(|timeline| self.state.row(user, *timeline).or(self.state.trace(user, *timeline).cloned()).is_some())
            .collect()
    }

    fn is_present(&self, timeline: Timeline, row: &Row) -> bool {
        let line = self.state.line(timeline);
        line.dissolved().is_none() && row.presence != Presence::Gone && !row.is_removed(line)
    }

    pub fn session(&self, user: UserId, timeline: Timeline, latest_max: usize) -> Session {
        let line = self.state.line(timeline);
        let row = self.state.row(user, timeline).or(self.state.trace(user, timeline).cloned());
        let row = row.expect("only what is told is asked for");
        let peer = timeline.peer_of(user).expect("a session has a peer");
        if !self.is_present(timeline, &row) {
            return self.tombstone(timeline, &row, peer);
        }
        let (end, floor) = (row.end(line.last()), row.floor(line));
        let other = self.other_row(user, timeline);

        let mut versions = vec![row.version];
        for message in &line.messages {
            let is_told = row.ceiling.is_none_or(|ceiling| message.seq <= ceiling);
            let amended = [message.recalled, message.edited].into_iter().flatten();
            versions.extend(amended.filter(|_| is_told).map(|amended| amended.version));
        }
        if row.ceiling.is_none() {
            versions.extend(line.messages.iter().map(|message| message.version));
            versions.extend(line.group.as_ref().map(|group| group.metadata_version));
            versions.extend(other.as_ref().map(|row| row.receipts_version));
        }
        versions.push(line.told_trim(row.ceiling.unwrap_or(u64::MAX), self.state.horizon));
        let version = versions.into_iter().max().unwrap_or(0);

        let unread = self.unread(user, timeline, &row);
        let mentions: Vec<u64> =
            unread.iter().filter(|message| message.noted.contains(&user)).map(|message| message.seq).collect();
        let alerts = (0..8).filter_map(|kind| {
            let mut alerting = unread.iter().filter(|message| message.letter.alerts & 1 << kind != 0);
            let oldest = alerting.next()?.seq;
            Some((kind, 1 + alerting.count() as u64, oldest))
        });
        let newest_since_joining =
            line.messages.iter().rfind(|message| row.joined_at < message.seq && message.seq <= end);
        let (latest, latest_cut) = self.latest(timeline, &row, latest_max);
        Session {
            version,
            peer,
            is_add: true,
            state: if row.is_member() { SessionState::Member } else { SessionState::Left },
            session_timestamp: self.state.time_of(version),
            activity: newest_since_joining.map_or(row.joined_time, |message| message.timestamp),
            unread: unread.len() as u64,
            goto: unread.first().map(|message| (message.seq, message.timestamp)),
            latest,
            latest_cut,
            read_mark: row.mark(line).min(end),
            first: (floor + 1).min(end + 1),
            last: end,
            mentions: (
                mentions.len().min(MENTIONS_COUNTED_MAX) as u64,
                mentions.len() > MENTIONS_COUNTED_MAX,
                mentions.first().copied(),
            ),
            alerts: alerts.collect(),
            flags: row.flags,
            metadata: row.metadata.clone(),
            other_read: other.as_ref().map_or(0, |row| row.read_max),
            other_delivered: other.as_ref().map_or(0, |row| row.delivered_max),
            amendments: Vec::new(),
            amendments_more: None,
            messages: Vec::new(),
            messages_left_out: false,
        }
    }

    /// What of the entries that a client holds may be otherwise by now though nobody tells it: notices went,
    /// so that the entry begins later, and what went is as good as read.
    pub fn thin(&self, user: UserId, held: &mut BTreeMap<Peer, Session>) {
        for (peer, entry) in held {
            let Some(timeline) = self.state.timeline(user, *peer) else { continue };
            let Some(row) = self.state.row(user, timeline) else { continue };
            let line = self.state.line(timeline);
            let end = row.end(line.last());
            if line.is_thinner_since(entry.version, end) {
                entry.first = (row.floor(line) + 1).min(end + 1);
                entry.read_mark = row.mark(line).min(end);
            }
            // Of trims that the horizon has passed the newest speaks for all, and nobody is told again.
            let now = self.session(user, timeline, 0);
            if row.ceiling.is_some() && now.version <= self.state.horizon && entry.version <= now.version {
                (entry.version, entry.session_timestamp) = (now.version, now.session_timestamp);
            }
        }
    }

    /// All that is told of a session that is not there: that it is not, and since when.
    fn tombstone(&self, timeline: Timeline, row: &Row, peer: Peer) -> Session {
        let dissolved = self.state.line(timeline).dissolved();
        let version = row.version.max(dissolved.unwrap_or(0));
        Session {
            version,
            peer,
            is_add: false,
            state: match (dissolved, row.presence) {
                (Some(_), _) => SessionState::Dissolved,
                (None, Presence::Member) => SessionState::Member,
                (None, Presence::Left | Presence::Gone) => SessionState::Left,
            },
            session_timestamp: self.state.time_of(version),
            activity: 0,
            unread: 0,
            goto: None,
            latest: Vec::new(),
            latest_cut: false,
            read_mark: 0,
            first: 0,
            last: 0,
            mentions: (0, false, None),
            alerts: Vec::new(),
            flags: Marks::default(),
            metadata: Bytes::default(),
            other_read: 0,
            other_delivered: 0,
            amendments: Vec::new(),
            amendments_more: None,
            messages: Vec::new(),
            messages_left_out: false,
        }
    }

    /// The row of the other one of a direct timeline.
    fn other_row(&self, user: UserId, timeline: Timeline) -> Option<Row> {
        let other = |pair: Pair| pair.other(user).filter(|other| *other != user);
        match timeline {
            Timeline::Direct(pair) => self.state.trace(other(pair)?, timeline).cloned(),
            _ => None,
        }
    }

    /// The newest visible messages whose bodies fit; the first is cut if it alone does not.
    fn latest(&self, timeline: Timeline, row: &Row, latest_max: usize) -> (Vec<Shown>, bool) {
        let bytes_max = self.state.rules.latest_bytes_max;
        let mut latest: Vec<Shown> = Vec::new();
        let mut bytes = 0;
        for message in self.visible(timeline, row).iter().rev().take(latest_max) {
            let mut shown = self.show(message);
            bytes += shown.body.0.len();
            if bytes > bytes_max {
                if !latest.is_empty() {
                    break;
                }
                shown.body = Bytes(shown.body.0[..bytes_max].to_vec());
                return (vec![shown], true);
            }
            latest.push(shown);
        }
        (latest, false)
    }

    /// All entries and tombstones of a user, without amendments.
    pub fn sessions(&self, user: UserId, latest: usize) -> Vec<Session> {
        self.timelines(user).into_iter().map(|timeline| self.session(user, timeline, latest)).collect()
    }

    pub fn present_sessions(&self, user: UserId, latest: usize) -> Vec<Session> {
        self.sessions(user, latest).into_iter().filter(|session| session.is_add).collect()
    }

    pub fn total_unread(&self, user: UserId) -> Sums {
        let sessions = self.present_sessions(user, 0);
        let unread = |is_muted: bool| {
            sessions.iter().filter(|session| session.flags.muted == is_muted).map(|session| session.unread).sum()
        };
        let marked = sessions.iter().filter(|session| session.flags.marked_unread).count() as u64;
        Sums(unread(false), unread(true), marked)
    }

    /// A page of `recent`, and whether anything follows it.
    pub fn recent(&self, user: UserId, before: Option<(u64, Peer)>, wish: &Wish) -> Plain<(Recents, bool)> {
        check_wish(wish)?;
        if user.is_none() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut entries = self.present_sessions(user, wish.latest);
        entries.sort_by(|one, other| other.activity.cmp(&one.activity).then(one.peer.cmp(&other.peer)));
        let mut pinned = entries.clone();
        pinned.retain(|session| before.is_none() && session.flags.pinned);
        if let Some((activity, peer)) = before {
            entries
                .retain(|session| session.activity < activity || (session.activity == activity && session.peer > peer));
        }
        let follows = entries.len() > wish.limit;
        entries.truncate(wish.limit);
        Ok((Recents { entries, pinned }, follows))
    }
}

impl World {
    /// A page of `changed`, or of `catch_up` where the wish says so, and the cursor after it.
    pub fn changed(&self, user: UserId, from: Option<Place>, wish: &Wish) -> Plain<(Sessions, Place)> {
        check_wish(wish)?;
        let ends = match from {
            None => self.ends.clone(),
            Some(place) => self.check_reach(place.epoch, place.base.max(place.position).max(place.seen), place.base)?,
        };
        let start = from.unwrap_or(Place { position: 0, ..self.place_now() });
        Ok(self.page(user, start, wish, ends))
    }

    pub fn changed_since(&self, user: UserId, since: u64, wish: &Wish) -> Plain<(Sessions, Place)> {
        check_wish(wish)?;
        let before = self.seen().state.times.iter().filter(|time| **time < since).count() as u64;
        if before < self.seen().state.horizon {
            return Err(ErrorKind::ResetRequired.into());
        }
        let start = Place { epoch: self.epoch, base: before, position: before, seen: before };
        Ok(self.page(user, start, wish, self.ends.clone()))
    }

    /// What a cursor stands for that has seen everything there is.
    pub fn place_now(&self) -> Place {
        let published = self.published();
        Place { epoch: self.epoch, base: published, position: published, seen: published }
    }

    /// The ends of epochs that the holder of a cursor has not seen, if what it saw is still there and
    /// what it did not see is still told.
    pub fn check_reach(&self, epoch: Epoch, top: u64, base: u64) -> Plain<Vec<(Epoch, u64)>> {
        let reset = ErrorKind::ResetRequired.into();
        if top > self.published() || base < self.seen().state.horizon {
            return Err(reset);
        }
        if epoch == self.epoch {
            return Ok(Vec::new());
        }
        let index = self.ends.iter().position(|(ended, _)| *ended == epoch).ok_or(reset)?;
        if top > self.ends[index].1 {
            return Err(reset);
        }
        Ok(self.ends[index..].to_vec())
    }

    fn page(&self, user: UserId, start: Place, wish: &Wish, ends: Vec<(Epoch, u64)>) -> (Sessions, Place) {
        let view = self.seen();
        let mut found: Vec<(Timeline, Session)> =
            view.timelines(user).into_iter().map(|it| (it, view.session(user, it, wish.latest))).collect();
        found.retain(|(_, entry)| entry.version > start.position);
        found.retain(|(_, entry)| entry.is_add || entry.version > start.base);
        found.sort_by_key(|(_, entry)| entry.version);
        let more = found.len() > wish.limit;
        found.truncate(wish.limit);

        let (mut messages, mut bytes) = (0, 0);
        for (timeline, entry) in found.iter_mut().filter(|(_, entry)| entry.is_add) {
            let row = view.state.row(user, *timeline).expect("an entry has a row");
            let mut amendments = view.amendments_of(user, *timeline, &row);
            amendments.retain(|change| change.version > start.base);
            if amendments.len() > ENTRY_AMENDMENTS_MAX {
                amendments.truncate(ENTRY_AMENDMENTS_MAX);
                entry.amendments_more = amendments.last().map(|change| (change.version, change.seq));
            }
            entry.amendments = amendments;

            let Some((messages_max, bytes_max)) = wish.messages else { continue };
            let mut above = view.visible(*timeline, &row);
            // A session that came back after the walk's base was a tombstone until then: nothing was carried.
            let revival = row.removed.and_then(|removed| {
                let messages = &view.state.line(*timeline).messages;
                messages.iter().find(|message| message.letter.counts && message.seq > removed)
            });
            let is_back = revival.is_some_and(|revival| revival.version > start.base);
            let came = is_back || row.joined_version > start.base;
            above.retain(|message| came || message.version > start.base);
            let body_bytes: usize = above.iter().map(|message| message.body.0.len()).sum();
            if messages + above.len() <= messages_max && bytes + body_bytes <= bytes_max {
                messages += above.len();
                bytes += body_bytes;
                entry.messages = above.iter().map(|message| view.show(message)).collect();
            } else {
                entry.messages_left_out = true;
            }
        }
        let entries: Vec<Session> = found.into_iter().map(|(_, entry)| entry).collect();
        let now = self.place_now();
        let next = match entries.last() {
            Some(last) if more => Place { base: start.base, position: last.version, ..now },
            None if more => Place { epoch: self.epoch, ..start },
            _ => now,
        };
        (Sessions { entries, more, epoch: self.epoch, ends }, next)
    }
}

fn check_wish(wish: &Wish) -> Plain<()> {
    let (messages, bytes) = wish.messages.unwrap_or((0, 0));
    let is_above = wish.limit > LIST_ENTRIES_MAX
        || wish.latest > LATEST_MESSAGES_MAX
        || messages > CATCH_UP_MESSAGES_MAX
        || bytes > CATCH_UP_BYTES_MAX;
    if is_above { Err(ErrorKind::LimitExceeded.into()) } else { Ok(()) }
}
