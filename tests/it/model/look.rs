//! What the model answers to one who looks into a session or a group, by full scans straight from the definitions.
//! Owns: what is visible, history pages, amendments, receipts, members. May touch: `world`, `answer`.
//! Never: changes the world, keeps a count.

use std::ops::Bound;

use restante::limits::{AMENDMENTS_MAX, MEMBERS_MAX, PAGE_BYTES_MAX, PAGE_MESSAGES_MAX};
use restante::{AmendmentKind, Edge, Epoch, ErrorKind, GroupId, Peer, Timeline, UserId};

use super::answer::{About, Change, OneMember, Page, Plain, Seen, Shown};
use super::judge::is_nameless;
use super::row::Row;
use super::state::{Line, Message};
use super::world::{View, World, is_none};

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

/// What an amendment cursor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    pub epoch: Epoch,
    pub version: u64,
    pub seq: u64,
    /// What was published at its page: all of that must have survived.
    pub newest: u64,
}

/// A page of amendments, and the version and seq after which the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendments {
    pub amendments: Vec<Change>,
    pub next: (u64, u64),
    pub more: bool,
}

impl<'a> View<'a> {
    pub fn show(&self, message: &Message) -> Shown {
        let letter = &message.letter;
        let is_recalled = message.recalled.is_some();
        let mentions = if is_recalled { &[] } else { &letter.mentions[..] };
        Shown {
            timeline: letter.timeline,
            seq: message.seq,
            version: message.version,
            timestamp: message.timestamp,
            commit_time: message.commit_time,
            sender: letter.sender.get(),
            client_id: Some(letter.client_id).filter(|id| *id != 0 && self.in_window(message)),
            kind: letter.kind,
            counts: letter.counts,
            imported: letter.timestamp.is_some(),
            mentions: mentions.iter().map(|user| user.get()).collect(),
            alerts: if is_recalled { 0 } else { letter.alerts },
            body: message.body.clone(),
            recalled: message.recalled.map(|amended| (amended.by.get(), amended.time)),
            edited: message.edited.map(|amended| (amended.by.get(), amended.time)),
        }
    }

    /// Messages of a session's range, hidden or not, oldest first.
    pub fn in_range(&self, timeline: Timeline, row: &Row) -> Vec<&'a Message> {
        let line = self.state.line(timeline);
        let (floor, end) = (row.floor(line), row.end(line.last()));
        line.messages.iter().filter(|message| floor < message.seq && message.seq <= end).collect()
    }

    /// Messages that a user is shown, oldest first.
    pub fn visible(&self, timeline: Timeline, row: &Row) -> Vec<&'a Message> {
        let mut messages = self.in_range(timeline, row);
        messages.retain(|message| !row.hidden.contains_key(&message.seq));
        messages
    }

    /// U(user, timeline): what the badge counts, oldest first.
    pub fn unread(&self, user: UserId, timeline: Timeline, row: &Row) -> Vec<&'a Message> {
        let line = self.state.line(timeline);
        let (mark, end) = (row.mark(line), row.end(line.last()));
        let mut messages: Vec<&Message> = line.messages.iter().collect();
        messages.retain(|message| mark < message.seq && message.seq <= end);
        messages.retain(|message| message.letter.counts && message.recalled.is_none());
        messages.retain(|message| !row.hidden.contains_key(&message.seq) && message.letter.sender != user);
        messages
    }

    /// The session that a user asks about. `Ok(None)`: another user, with whom there is none.
    pub fn session_of(&self, user: UserId, peer: Peer) -> Plain<Option<(Timeline, Row)>> {
        if user.is_none() || is_none(peer) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let timeline = self.state.timeline(user, peer);
        let session = timeline.and_then(|timeline| Some((timeline, self.state.row(user, timeline)?)));
        match (session, peer) {
            (None, Peer::User(_)) => Ok(None),
            (None, _) => Err(ErrorKind::NotFound.into()),
            (session, _) => Ok(session),
        }
    }

    pub fn history(&self, user: UserId, peer: Peer, question: &Question) -> Plain<Page> {
        if question.limit > PAGE_MESSAGES_MAX || question.bytes > PAGE_BYTES_MAX {
            return Err(ErrorKind::LimitExceeded.into());
        }
        let Some((timeline, row)) = self.session_of(user, peer)? else {
            return Ok(Page { messages: vec![], covers: None, older: Edge::End, newer: Edge::End });
        };
        let line = self.state.line(timeline);
        let (floor, end) = (row.floor(line), row.end(line.last()));
        let visible = self.visible(timeline, &row);
        let (lowest, highest) = seqs_within(line, question.bounds);
        let (first, last) = (lowest.max(floor + 1), highest.min(end));
        let mut selected: Vec<&Message> =
            visible.iter().copied().filter(|message| first <= message.seq && message.seq <= last).collect();
        if question.newest {
            selected.reverse();
        }

        let is_asked = question.limit > 0 && question.bytes > 0;
        let mut taken: Vec<&Message> = Vec::new();
        let mut bytes = 0;
        for message in selected.iter().filter(|_| is_asked) {
            bytes += message.body.0.len();
            if taken.len() == question.limit || (bytes > question.bytes && !taken.is_empty()) {
                break;
            }
            taken.push(message);
        }

        let is_all = taken.len() == selected.len();
        let covers = match taken.last() {
            _ if first > last || !is_asked => None,
            Some(oldest) if question.newest && !is_all => Some((oldest.seq, last)),
            Some(newest) if !question.newest && !is_all => Some((first, newest.seq)),
            _ => Some((first, last)),
        };
        // A page that covers nothing lies between two messages: after `gap` and before the next one.
        let gap = match question.newest {
            _ if first > last => highest.clamp(floor, end.max(floor)),
            true => last,
            false => first - 1,
        };
        let (before, after) = covers.map_or((gap, gap), |(first, last)| (first - 1, last));
        Ok(Page {
            messages: taken.iter().map(|message| self.show(message)).collect(),
            covers,
            older: match visible.iter().any(|message| message.seq <= before) {
                true => Edge::More,
                false if floor > 0 && line.trim() >= row.floor => Edge::Trimmed,
                false if floor > 0 => Edge::NotVisible,
                false => Edge::End,
            },
            newer: match visible.iter().any(|message| message.seq > after) {
                true => Edge::More,
                false if row.ceiling.is_some() => Edge::NotVisible,
                false => Edge::End,
            },
        })
    }

    /// Every amendment that a user may see in a session, in the order of (version, seq).
    pub fn amendments_of(&self, user: UserId, timeline: Timeline, row: &Row) -> Vec<Change> {
        let of = |message: &&Message| {
            let seq = message.seq;
            if let Some((version, at)) = row.hidden.get(&seq) {
                let kind = AmendmentKind::Hidden;
                return Some(Change { seq, version: *version, at: *at, by: user.get(), kind });
            }
            let (amended, kind) = match (message.recalled, message.edited) {
                (Some(recalled), _) => (recalled, AmendmentKind::Recalled),
                (None, edited) => (edited?, AmendmentKind::Edited),
            };
            Some(Change { seq, version: amended.version, at: amended.time, by: amended.by.get(), kind })
        };
        let mut amendments: Vec<Change> = self.in_range(timeline, row).iter().filter_map(of).collect();
        amendments.sort_by_key(|change| (change.version, change.seq));
        amendments
    }

    pub fn find(&self, timeline: Timeline, sender: UserId, client_id: u128) -> Plain<Option<u64>> {
        if is_nameless(timeline) || client_id == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(self.taken(timeline, sender, client_id).map(|message| message.seq))
    }

    pub fn receipts(&self, user: UserId, peer: Peer, seq: u64, after: UserId, limit: usize) -> Plain<Seen> {
        if limit > MEMBERS_MAX {
            return Err(ErrorKind::LimitExceeded.into());
        }
        let not_found = ErrorKind::NotFound;
        let (timeline, row) = self.session_of(user, peer)?.ok_or(not_found)?;
        let line = self.state.line(timeline);
        if seq > 0 && seq <= line.trim() {
            return Err(ErrorKind::Trimmed.into());
        }
        if seq <= row.floor || seq > row.end(line.last()) {
            return Err(not_found.into());
        }
        let sender = line.message(seq).expect("it is in range").letter.sender;
        let mut members = self.state.members(timeline);
        members.retain(|(member, row)| *member != sender && row.joined_at < seq);
        let (delivered, read) = (
            members.iter().filter(|(_, row)| row.delivered_max >= seq).count() as u64,
            members.iter().filter(|(_, row)| row.read_max >= seq).count() as u64,
        );
        let told = members.iter().filter(|(member, row)| row.delivered_max >= seq && *member > after);
        let mut receipts: Vec<(u64, bool)> = told.map(|(member, row)| (member.get(), row.read_max >= seq)).collect();
        let more = receipts.len() > limit;
        receipts.truncate(limit);
        Ok(Seen { members: members.len() as u64, delivered, read, receipts, more })
    }

    pub fn group(&self, group: GroupId) -> Plain<About> {
        if group.is_none() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let timeline = Timeline::Group(group);
        let it = self.state.group(group).ok_or(ErrorKind::NotFound)?;
        let members = if it.dissolved.is_some() { 0 } else { self.state.members(timeline).len() as u64 };
        Ok(About {
            settings: it.settings,
            metadata: it.metadata.clone(),
            members,
            last: self.state.last_seq(timeline),
            dissolved: it.dissolved.is_some(),
        })
    }

    pub fn members(&self, group: GroupId, after: UserId, limit: usize) -> Plain<(Vec<OneMember>, bool)> {
        if limit > MEMBERS_MAX {
            return Err(ErrorKind::LimitExceeded.into());
        }
        let is_dissolved = self.group(group)?.dissolved;
        let mut members = self.state.members(Timeline::Group(group));
        members.retain(|(user, _)| *user > after && !is_dissolved);
        let more = members.len() > limit;
        members.truncate(limit);
        let plain = |(user, row): &(UserId, Row)| OneMember {
            user: user.get(),
            role: row.role,
            silenced_until: row.silenced_until,
            joined_at: row.joined_at,
            joined_time: row.joined_time,
            data: row.data.clone(),
        };
        Ok((members.iter().map(plain).collect(), more))
    }

    pub fn groups_of(&self, user: UserId, after: GroupId, limit: usize) -> Plain<(Vec<GroupId>, bool)> {
        if limit > MEMBERS_MAX {
            return Err(ErrorKind::LimitExceeded.into());
        }
        if user.is_none() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let of = |(timeline, row): (Timeline, &Row)| match timeline {
            Timeline::Group(group) => {
                let is_living = self.state.line(timeline).dissolved().is_none();
                (row.is_member() && is_living && group > after).then_some(group)
            }
            _ => None,
        };
        let mut groups: Vec<GroupId> = self.state.traces(user).filter_map(of).collect();
        let more = groups.len() > limit;
        groups.truncate(limit);
        Ok((groups, more))
    }
}

impl World {
    pub fn amendments(&self, user: UserId, peer: Peer, since: Option<Since>, limit: usize) -> Plain<Amendments> {
        if limit > AMENDMENTS_MAX {
            return Err(ErrorKind::LimitExceeded.into());
        }
        let view = self.seen();
        if user.is_none() || is_none(peer) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Some(since) = since {
            self.check_reach(since.epoch, since.newest.max(since.version), u64::MAX)?;
        }
        let (timeline, row) = view.session_of(user, peer)?.ok_or(ErrorKind::NotFound)?;
        let from = since.map(|since| (since.version, since.seq));
        let mut amendments = view.amendments_of(user, timeline, &row);
        amendments.retain(|change| from.is_none_or(|from| (change.version, change.seq) > from));
        let more = amendments.len() > limit;
        amendments.truncate(limit);
        let last = amendments.last().map(|change| (change.version, change.seq));
        let next = last.or(from).unwrap_or((self.published(), u64::MAX));
        Ok(Amendments { amendments, next, more })
    }
}

/// Bounds as a first and a last seq; the last is below the first where they select nothing.
fn seqs_within(line: &Line, bounds: Bounds) -> (u64, u64) {
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
            let is_below = |message: &&Message| match low {
                Bound::Included(time) => message.timestamp < time,
                Bound::Excluded(time) => message.timestamp <= time,
                Bound::Unbounded => false,
            };
            let is_not_above = |message: &&Message| match high {
                Bound::Included(time) => message.timestamp <= time,
                Bound::Excluded(time) => message.timestamp < time,
                Bound::Unbounded => true,
            };
            let lowest = line.messages.iter().filter(is_below).count() as u64 + 1;
            let highest = line.messages.iter().filter(is_not_above).count() as u64;
            (lowest, highest.max(lowest - 1))
        }
    }
}
