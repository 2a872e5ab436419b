//! What the model answers to a reader, by full scans straight from the definitions.
//! Owns: history pages, entries, lists, totals. May touch: `world`, `answer`.
//! Never: changes the world, keeps a count.

use std::ops::Bound;

use restante::limits::{
    CATCH_UP_BYTES_MAX, CATCH_UP_MESSAGES_MAX, LATEST_BYTES_MAX, LATEST_MESSAGES_MAX, LIST_ENTRIES_MAX, PAGE_BYTES_MAX,
    PAGE_MESSAGES_MAX,
};
use restante::{Edge, Epoch, ErrorKind, Peer, SessionState, Timeline, UserId};

use super::answer::{Bytes, Page, Plain, Session, Sessions, Shown};
use super::world::{Row, Sent, View, World, is_none};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    All,
    Seqs(Bound<u64>, Bound<u64>),
    Times(Bound<u64>, Bound<u64>),
}

/// What is asked of `history`.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub newest: bool,
    pub bounds: Bounds,
    pub limit: usize,
    pub bytes: usize,
}

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
    pub fn show(&self, sent: &Sent<'_>) -> Shown {
        let letter = sent.letter;
        Shown {
            timeline: letter.timeline,
            seq: sent.seq,
            version: sent.version,
            timestamp: sent.timestamp,
            commit_time: sent.commit_time,
            sender: letter.sender.get(),
            client_id: Some(letter.client_id).filter(|id| *id != 0 && self.in_window(sent)),
            kind: letter.kind,
            counts: letter.counts,
            imported: letter.timestamp.is_some(),
            body: letter.body.clone(),
        }
    }

    /// Messages that a user may see, oldest first.
    pub fn visible(&self, timeline: Timeline, row: &Row) -> Vec<Sent<'_>> {
        let mut messages = self.messages_of(timeline);
        let end = row.end(messages.len() as u64);
        messages.retain(|sent| row.floor < sent.seq && sent.seq <= end);
        messages
    }

    /// U(user, timeline): what the badge counts, oldest first.
    pub fn unread(&self, user: UserId, timeline: Timeline, row: &Row) -> Vec<Sent<'_>> {
        let mut messages = self.messages_of(timeline);
        let end = row.end(messages.len() as u64);
        messages.retain(|sent| row.mark() < sent.seq && sent.seq <= end);
        messages.retain(|sent| sent.letter.counts && sent.letter.sender != user);
        messages
    }

    pub fn history(&self, user: UserId, peer: Peer, question: &Question) -> Plain<Page> {
        if question.limit > PAGE_MESSAGES_MAX || question.bytes > PAGE_BYTES_MAX {
            return Err(ErrorKind::LimitExceeded.into());
        }
        if user.is_none() || is_none(peer) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let timeline = crate::support::timeline_of(user, peer);
        let Some(row) = self.row(user, timeline) else {
            return match peer {
                Peer::User(_) => Ok(Page { messages: vec![], covers: None, older: Edge::End, newer: Edge::End }),
                _ => Err(ErrorKind::NotFound.into()),
            };
        };
        let visible = self.visible(timeline, &row);
        let (lowest, highest) = self.seqs_within(timeline, question.bounds);
        let selected: Vec<&Sent<'_>> =
            visible.iter().filter(|sent| lowest <= sent.seq && sent.seq <= highest).collect();

        let mut taken: Vec<&Sent<'_>> = Vec::new();
        let mut bytes = 0;
        let in_order: Vec<&&Sent<'_>> =
            if question.newest { selected.iter().rev().collect() } else { selected.iter().collect() };
        for sent in in_order {
            bytes += sent.letter.body.0.len();
            let is_first = taken.is_empty();
            if question.limit == 0 || question.bytes == 0 || taken.len() == question.limit {
                break;
            }
            if bytes > question.bytes && !is_first {
                break;
            }
            taken.push(sent);
        }

        // Where nothing was taken, both sides are judged at one gap: it follows the message `gap`.
        let end = row.end(self.last_seq(timeline));
        let gap = match (selected.first(), selected.last()) {
            (Some(_), Some(newest)) if question.newest => newest.seq,
            (Some(oldest), _) => oldest.seq - 1,
            _ => highest.clamp(row.floor, end),
        };
        let covers = taken.iter().map(|sent| sent.seq).min().zip(taken.iter().map(|sent| sent.seq).max());
        let (before, after) = covers.map_or((gap, gap), |(first, last)| (first - 1, last));
        Ok(Page {
            messages: taken.iter().map(|sent| self.show(sent)).collect(),
            covers,
            older: match visible.iter().any(|sent| sent.seq <= before) {
                true => Edge::More,
                false if row.floor > 0 => Edge::NotVisible,
                false => Edge::End,
            },
            newer: match visible.iter().any(|sent| sent.seq > after) {
                true => Edge::More,
                false if row.ceiling.is_some() => Edge::NotVisible,
                false => Edge::End,
            },
        })
    }

    /// Bounds as a first and a last seq; the last is below the first where they select nothing.
    fn seqs_within(&self, timeline: Timeline, bounds: Bounds) -> (u64, u64) {
        match bounds {
            Bounds::All => (1, u64::MAX),
            Bounds::Seqs(low, high) => {
                let lowest = match low {
                    Bound::Included(seq) => seq.max(1),
                    Bound::Excluded(seq) => seq.saturating_add(1),
                    Bound::Unbounded => 1,
                };
                let highest = match high {
                    Bound::Included(seq) => seq,
                    Bound::Excluded(seq) => seq.saturating_sub(1),
                    Bound::Unbounded => u64::MAX,
                };
                (lowest, highest)
            }
            Bounds::Times(low, high) => {
                let messages = self.messages_of(timeline);
                let is_below = |sent: &&Sent<'_>| match low {
                    Bound::Included(time) => sent.timestamp < time,
                    Bound::Excluded(time) => sent.timestamp <= time,
                    Bound::Unbounded => false,
                };
                let is_not_above = |sent: &&Sent<'_>| match high {
                    Bound::Included(time) => sent.timestamp <= time,
                    Bound::Excluded(time) => sent.timestamp < time,
                    Bound::Unbounded => true,
                };
                let lowest = messages.iter().filter(is_below).count() as u64 + 1;
                let highest = messages.iter().filter(is_not_above).count() as u64;
                (lowest, highest.max(lowest - 1))
            }
        }
    }

    /// What a user calls the timelines it has sessions in, in the order that breaks ties.
    pub fn peers(&self, user: UserId) -> Vec<Peer> {
        let mut timelines: Vec<Timeline> = self.log.iter().map(|change| change.timeline()).collect();
        timelines.sort();
        timelines.dedup();
        timelines.retain(|timeline| self.row(user, *timeline).is_some());
        let mut peers: Vec<Peer> = timelines.iter().filter_map(|timeline| timeline.peer_of(user)).collect();
        peers.sort();
        peers
    }

    pub fn session(&self, user: UserId, peer: Peer, latest_max: usize) -> Session {
        let timeline = crate::support::timeline_of(user, peer);
        let row = self.row(user, timeline).expect("only sessions are asked for");
        let messages = self.messages_of(timeline);
        let last = messages.len() as u64;
        let end = row.end(last);
        let newest_of_timeline = match row.ceiling {
            None => messages.last().map_or(0, |sent| sent.version),
            Some(_) => 0,
        };
        let version = row.version.max(newest_of_timeline);
        let unread = self.unread(user, timeline, &row);
        let newest_since_joining = messages.iter().rfind(|sent| row.joined_at < sent.seq && sent.seq <= end);
        let (latest, latest_cut) = self.latest(timeline, &row, latest_max);
        Session {
            version,
            peer,
            is_add: true,
            state: if row.is_member() { SessionState::Member } else { SessionState::Left },
            session_timestamp: self.log[version as usize - 1].commit_time,
            activity: newest_since_joining.map_or(row.joined_time, |sent| sent.timestamp),
            unread: unread.len() as u64,
            goto: unread.first().map(|sent| (sent.seq, sent.timestamp)),
            latest,
            latest_cut,
            read_mark: row.mark(),
            first: row.floor + 1,
            last: end,
            messages: Vec::new(),
            messages_left_out: false,
        }
    }

    /// The newest visible messages whose bodies fit; the first is cut if it alone does not.
    fn latest(&self, timeline: Timeline, row: &Row, latest_max: usize) -> (Vec<Shown>, bool) {
        let mut latest: Vec<Shown> = Vec::new();
        let mut bytes = 0;
        for sent in self.visible(timeline, row).iter().rev().take(latest_max) {
            let mut shown = self.show(sent);
            bytes += shown.body.0.len();
            if bytes > LATEST_BYTES_MAX {
                if !latest.is_empty() {
                    break;
                }
                shown.body = Bytes(shown.body.0[..LATEST_BYTES_MAX].to_vec());
                return (vec![shown], true);
            }
            latest.push(shown);
        }
        (latest, false)
    }

    pub fn sessions(&self, user: UserId, latest: usize) -> Vec<Session> {
        self.peers(user).into_iter().map(|peer| self.session(user, peer, latest)).collect()
    }

    pub fn total_unread(&self, user: UserId) -> u64 {
        self.sessions(user, 0).iter().map(|session| session.unread).sum()
    }

    /// A page of `recent`, and whether anything follows it.
    pub fn recent(&self, user: UserId, before: Option<(u64, Peer)>, wish: &Wish) -> Plain<(Vec<Session>, bool)> {
        check_wish(wish)?;
        let mut sessions = self.sessions(user, wish.latest);
        sessions.sort_by(|one, other| other.activity.cmp(&one.activity).then(one.peer.cmp(&other.peer)));
        if let Some((activity, peer)) = before {
            sessions
                .retain(|session| session.activity < activity || (session.activity == activity && session.peer > peer));
        }
        let follows = sessions.len() > wish.limit;
        sessions.truncate(wish.limit);
        Ok((sessions, follows))
    }
}

impl World {
    /// A page of `changed`, or of `catch_up` where the wish says so, and the cursor after it.
    pub fn changed(&self, user: UserId, from: Option<Place>, wish: &Wish) -> Plain<(Sessions, Place)> {
        check_wish(wish)?;
        let ends = match from {
            None => self.ends.clone(),
            Some(place) => self.check_place(place)?,
        };
        let start = from.unwrap_or(Place { position: 0, ..self.place_now() });
        Ok(self.page(user, start, wish, ends))
    }

    pub fn changed_since(&self, user: UserId, since: u64, wish: &Wish) -> Plain<(Sessions, Place)> {
        check_wish(wish)?;
        let first = self.seen().log.iter().find(|change| change.commit_time >= since);
        let before = first.map_or(self.published, |change| change.version - 1);
        let start = Place { epoch: self.epoch, base: before, position: before, seen: before };
        Ok(self.page(user, start, wish, self.ends.clone()))
    }

    /// What a cursor stands for that has seen everything there is.
    pub fn place_now(&self) -> Place {
        Place { epoch: self.epoch, base: self.published, position: self.published, seen: self.published }
    }

    /// The ends of epochs that the holder of a cursor has not seen, if the cursor is still good.
    fn check_place(&self, place: Place) -> Plain<Vec<(Epoch, u64)>> {
        let top = place.base.max(place.position).max(place.seen);
        let reset = ErrorKind::ResetRequired.into();
        if top > self.published {
            return Err(reset);
        }
        if place.epoch == self.epoch {
            return Ok(Vec::new());
        }
        let index = self.ends.iter().position(|(epoch, _)| *epoch == place.epoch).ok_or(reset)?;
        if top > self.ends[index].1 {
            return Err(reset);
        }
        Ok(self.ends[index..].to_vec())
    }

    fn page(&self, user: UserId, start: Place, wish: &Wish, ends: Vec<(Epoch, u64)>) -> (Sessions, Place) {
        let view = self.seen();
        let mut entries = view.sessions(user, wish.latest);
        entries.retain(|entry| entry.version > start.position);
        entries.sort_by_key(|entry| entry.version);
        let more = entries.len() > wish.limit;
        entries.truncate(wish.limit);
        if let Some((messages_max, bytes_max)) = wish.messages {
            let (mut messages, mut bytes) = (0, 0);
            for entry in &mut entries {
                let timeline = crate::support::timeline_of(user, entry.peer);
                let row = view.row(user, timeline).expect("an entry has a row");
                let mut above = view.visible(timeline, &row);
                above.retain(|sent| row.joined_version > start.base || sent.version > start.base);
                let body_bytes: usize = above.iter().map(|sent| sent.letter.body.0.len()).sum();
                let fits = messages + above.len() <= messages_max && bytes + body_bytes <= bytes_max;
                if fits {
                    messages += above.len();
                    bytes += body_bytes;
                    entry.messages = above.iter().map(|sent| view.show(sent)).collect();
                } else {
                    entry.messages_left_out = true;
                }
            }
        }
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
