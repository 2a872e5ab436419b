//! What a store answers, held against what the specification says.
//! Owns: `Held`. May touch: the public interface, `plain`.
//! Never: changes the store.

use std::collections::BTreeMap;
use std::ops::Bound;

use restante::*;

use super::plain::*;
use crate::support::Rng;

pub struct Held<'a> {
    pub store: &'a Store,
    pub plain: &'a Plain,
    pub now: u64,
}

impl Held<'_> {
    pub fn user(&self, user: u64, rng: &mut Rng) {
        let (store, plain) = (self.store, self.plain);
        let latest = rng.below(3) as usize;
        let list = store.changed(UserId(user), None, &ListQuery::new().limit(1_000).latest(latest)).unwrap();
        let mut entries: BTreeMap<Peer, Entry> = BTreeMap::new();
        let mut before = 0;
        for entry in list.entries {
            assert!(entry.version.0 > before, "order of versions: user={user}");
            before = entry.version.0;
            entries.insert(entry.peer, entry);
        }
        let mut totals = (0, 0, 0);
        let mut order = Vec::new();
        for of in plain.sessions(user) {
            let peer = peer_of(user, of);
            if plain.is_tombstone(user, of) {
                assert!(!entries.contains_key(&peer), "a tombstone is listed from nothing: {user} {peer}");
                continue;
            }
            let entry = entries.remove(&peer).unwrap_or_else(|| panic!("no entry: {user} {peer}"));
            self.entry(user, of, &entry, 0, latest);
            let seat = &plain.seats[&(user, of)];
            let unread = plain.unread(user, of).len() as u64;
            if seat.muted {
                totals.1 += unread;
            } else {
                totals.0 += unread;
            }
            totals.2 += u64::from(seat.marked);
            order.push((u64::MAX - plain.activity(user, of), peer));
        }
        assert!(entries.is_empty(), "more entries than sessions: {user} {:?}", entries.keys());
        let said = store.total_unread(UserId(user)).unwrap();
        assert_eq!((said.unread, said.muted_unread, said.marked_unread), totals, "{user}");
        order.sort();
        let mut recent = Vec::new();
        let mut cursor = None;
        loop {
            let limit = rng.between(1, 7) as usize;
            let page = store.recent(UserId(user), cursor.as_ref(), &ListQuery::new().limit(limit).latest(0)).unwrap();
            recent.extend(page.entries.iter().map(|entry| (u64::MAX - entry.activity.0, entry.peer)));
            cursor = page.before;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(recent, order, "recent: {user}");
        let groups = store.groups_of(UserId(user), GroupId(0), 1_000).unwrap().groups;
        let own = plain.sessions(user).into_iter().filter_map(|of| match of {
            Timeline::Group(group) if plain.seats[&(user, of)].member && !plain.is_dissolved(of) => Some(group),
            _ => None,
        });
        assert_eq!(groups, own.collect::<Vec<_>>(), "groups of {user}");
    }

    pub fn entry(&self, user: u64, of: Timeline, entry: &Entry, base: u64, latest: usize) {
        let plain = self.plain;
        let seat = &plain.seats[&(user, of)];
        let what = format!(
            "{user} {of} {seat:?} trim={:?} {entry:?}",
            plain.talks.get(&of).map(|talk| (talk.trim, &talk.trims))
        );
        let version = plain.entry_version(user, of);
        assert_eq!(entry.version.0, version, "version {what}");
        assert_eq!(entry.session_timestamp.0, plain.times[version as usize], "session timestamp {what}");
        let state = if plain.is_dissolved(of) {
            SessionState::Dissolved
        } else if seat.ceiling.is_some() {
            SessionState::Left
        } else {
            SessionState::Member
        };
        assert_eq!(entry.is_add, !plain.is_tombstone(user, of), "is_add {what}");
        assert_eq!(entry.state, state, "state {what}");
        if !entry.is_add {
            return;
        }
        let unread = plain.unread(user, of);
        assert_eq!(entry.unread, unread.len() as u64, "unread {what}");
        let time = |seq: u64| Timestamp(plain.talks[&of].lines[seq as usize - 1].timestamp);
        assert_eq!(entry.goto, unread.first().map(|seq| (Seq(*seq), time(*seq))), "goto {what}");
        assert_eq!(entry.activity.0, plain.activity(user, of), "activity {what}");
        let (floor, end) = (plain.floor(user, of), plain.end(user, of));
        assert_eq!(entry.last.0, end, "last {what}");
        assert_eq!(entry.first.0, floor.min(end) + 1, "first {what}");
        assert_eq!(entry.read_mark.0, plain.mark(user, of), "read mark {what}");
        let flags = (entry.flags.pinned, entry.flags.muted, entry.flags.marked_unread);
        assert_eq!(flags, (seat.pinned, seat.muted, seat.marked), "flags {what}");
        assert_eq!(&entry.metadata[..], &seat.metadata[..], "metadata {what}");
        let line = |seq: &u64| &plain.talks[&of].lines[*seq as usize - 1];
        let told: Vec<u64> = unread.iter().copied().filter(|seq| line(seq).told.contains(&user)).collect();
        assert_eq!(
            (entry.mentions.count, entry.mentions.oldest),
            (told.len() as u64, told.first().map(|seq| Seq(*seq))),
            "mentions {what}"
        );
        let mut alerts = Vec::new();
        for kind in 0..8 {
            let with: Vec<u64> = unread.iter().copied().filter(|seq| line(seq).alerts >> kind & 1 == 1).collect();
            if let Some(oldest) = with.first() {
                alerts.push((kind, with.len() as u64, *oldest));
            }
        }
        let said: Vec<_> = entry.alerts.iter().map(|alert| (alert.kind, alert.count, alert.oldest.0)).collect();
        assert_eq!(said, alerts, "alerts {what}");
        let seqs: Vec<u64> = plain.visible(user, of).into_iter().rev().take(latest).collect();
        let said: Vec<u64> = entry.latest.iter().map(|message| message.seq.0).collect();
        assert_eq!(said, seqs, "latest {what}");
        entry.latest.iter().for_each(|message| self.message(of, message));
        if let Timeline::Direct(pair) = of {
            let other = pair.other(UserId(user)).unwrap().0;
            let marks = plain.seats.get(&(other, of)).filter(|_| other != user);
            let marks = marks.map_or((0, 0), |seat| (seat.read_max, seat.delivered_max));
            assert_eq!((entry.other_read.0, entry.other_delivered.0), marks, "other side {what}");
        }
        if base > 0 {
            let mut news = plain.amendments(user, of, base);
            assert_eq!(entry.amendments_more.is_some(), news.len() > 32, "amendments_more {what}");
            news.truncate(32);
            assert_eq!(amendments(&entry.amendments), news, "amendments {what}");
        }
    }

    pub fn message(&self, of: Timeline, message: &Message) {
        let line = &self.plain.talks[&of].lines[message.seq.0 as usize - 1];
        let what = format!("{of} {line:?} {message:?}");
        assert_eq!(message.timeline, of, "{what}");
        let stamps = (message.version.0, message.timestamp.0, message.commit_time.0, message.sender.0);
        assert_eq!(stamps, (line.version, line.timestamp, line.commit, line.sender), "{what}");
        let is_taken = line.client != 0 && self.now < line.taken_until;
        assert_eq!(message.client_id, is_taken.then_some(ClientId(line.client)), "client id {what}");
        assert_eq!((message.kind, message.counts, message.imported), (line.kind, line.counts, false), "{what}");
        let mentions: Vec<u64> = message.mentions.iter().map(|user| user.0).collect();
        assert_eq!((mentions, message.alerts), (line.mentions.clone(), line.alerts), "{what}");
        assert_eq!(&message.body[..], &line.body[..], "body {what}");
        let by = |it: &Option<Amended>| it.as_ref().map(|it| (it.by.0, it.at.0, it.version.0));
        assert_eq!(by(&message.recalled), line.recalled, "{what}");
        let edited = if line.recalled.is_some() { None } else { line.edited };
        assert_eq!(by(&message.edited), edited, "{what}");
    }

    pub fn session(&self, user: u64, of: Timeline, rng: &mut Rng) {
        let (store, plain) = (self.store, self.plain);
        let peer = peer_of(user, of);
        for _ in 0..3 {
            self.page(user, of, rng);
        }
        let mut found = Vec::new();
        let mut cursor: Option<AmendmentCursor> = None;
        loop {
            let limit = rng.between(1, 40) as usize;
            let page = store.amendments(UserId(user), peer, cursor.as_ref(), limit).unwrap();
            found.extend(amendments(&page.amendments));
            cursor = Some(page.next);
            if !page.more {
                break;
            }
        }
        assert_eq!(found, plain.amendments(user, of, 0), "amendments {user} {of}");
        let visible = plain.visible(user, of);
        if !visible.is_empty() {
            self.receipts(user, of, rng.pick(&visible));
        }
        if let Timeline::Group(group) = of {
            let members = store.members(group, UserId(0), 10_000).unwrap().members;
            let said: Vec<_> = members
                .iter()
                .map(|it| (it.user.0, it.role, it.silenced_until.0, it.joined_at.0, it.joined_time.0))
                .collect();
            let seats =
                plain.seats.iter().filter(|((_, at), seat)| *at == of && seat.member && !plain.is_dissolved(of));
            let want: Vec<_> =
                seats.map(|((user, _), seat)| (*user, seat.role, seat.silenced, seat.joined_at, seat.since)).collect();
            assert_eq!(said, want, "members {of}");
            let info = store.group(group).unwrap();
            let talk = &plain.talks[&of];
            assert_eq!((info.settings, info.last.0), (talk.settings, talk.last()), "{of}");
            assert!(info.metadata == talk.metadata[..] || talk.dissolved > 0, "metadata {of}");
            assert_eq!((info.dissolved, info.members), (talk.dissolved > 0, want.len() as u64), "{of}");
        }
    }

    fn receipts(&self, user: u64, of: Timeline, seq: u64) {
        let plain = self.plain;
        let sender = plain.talks[&of].lines[seq as usize - 1].sender;
        let seats: Vec<_> = plain
            .seats
            .iter()
            .filter(|((who, at), seat)| *at == of && seat.member && seat.joined_at < seq && *who != sender)
            .collect();
        let delivered: Vec<_> = seats
            .iter()
            .filter(|(_, seat)| seat.delivered_max >= seq)
            .map(|((who, _), seat)| (*who, seat.read_max >= seq))
            .collect();
        let said = self.store.receipts(UserId(user), peer_of(user, of), Seq(seq), UserId(0), 10_000).unwrap();
        let list: Vec<_> = said.receipts.iter().map(|it| (it.user.0, it.read)).collect();
        let what = format!("receipts {user} {of} {seq}");
        assert_eq!(list, delivered, "{what}");
        let counts = (seats.len() as u64, delivered.len() as u64, delivered.iter().filter(|it| it.1).count() as u64);
        assert_eq!((said.members, said.delivered, said.read), counts, "{what}");
    }

    /// A page with any bounds.
    fn page(&self, user: u64, of: Timeline, rng: &mut Rng) {
        let plain = self.plain;
        let (floor, end) = (plain.floor(user, of), plain.end(user, of));
        let empty = Vec::new();
        let lines = plain.talks.get(&of).map_or(&empty, |talk| &talk.lines);
        let last = lines.len() as u64;
        let is_oldest = rng.percent(50);
        let limit = rng.pick(&[1, 2, 5, 30, 1_000]);
        let bytes = rng.pick(&[1, 700, 5_000, 1 << 20]);
        let mut query = if is_oldest { HistoryQuery::oldest() } else { HistoryQuery::newest() };
        query = query.limit(limit).bytes(bytes);
        let (mut low, mut high) = (1, u64::MAX);
        match rng.below(3) {
            0 => {}
            1 => {
                let (one, two) = (rng.below(last + 3), rng.below(last + 3));
                (low, high) = (one.min(two), one.max(two));
                query = query.seqs(Seq(low)..=Seq(high));
            }
            _ => {
                // Bounds that are times of messages, with both kinds of edges, and one beside them.
                let edge = |rng: &mut Rng| {
                    let near = rng.below(3);
                    let time = if last == 0 { near } else { lines[rng.below(last) as usize].timestamp + near - 1 };
                    match rng.below(5) {
                        0 => Bound::Unbounded,
                        1 | 2 => Bound::Included(Timestamp(time)),
                        _ => Bound::Excluded(Timestamp(time)),
                    }
                };
                let bounds = (edge(rng), edge(rng));
                if is_backward(bounds) {
                    return;
                }
                use std::ops::RangeBounds;
                let inside: Vec<u64> =
                    (1..=last).filter(|seq| bounds.contains(&Timestamp(lines[*seq as usize - 1].timestamp))).collect();
                (low, high) = match (inside.first(), inside.last()) {
                    (Some(first), Some(last)) => (*first, *last),
                    _ => (1, 0),
                };
                query = query.times(bounds);
            }
        }
        let visible = plain.visible(user, of);
        let mut asked: Vec<u64> = visible.iter().copied().filter(|seq| low <= *seq && *seq <= high).collect();
        if !is_oldest {
            asked.reverse();
        }
        let mut got: Vec<u64> = Vec::new();
        let mut total = 0;
        for seq in &asked {
            total += lines[*seq as usize - 1].body.len();
            if got.len() == limit || (total > bytes && !got.is_empty()) {
                break;
            }
            got.push(*seq);
        }
        let page = self.store.history(UserId(user), peer_of(user, of), &query).unwrap();
        let what = format!(
            "{user} {of} {query:?} floor={floor} end={end} low={low} high={high} visible={visible:?} {:?}",
            (page.covers, page.older, page.newer)
        );
        let said: Vec<u64> = page.messages.iter().map(|message| message.seq.0).collect();
        assert_eq!(said, got, "page {what}");
        page.messages.iter().for_each(|message| self.message(of, message));
        let is_all = got.len() == asked.len();
        let (mut first, mut upto) = (low.max(floor + 1), high.min(end));
        if !is_all && is_oldest {
            upto = *got.last().unwrap();
        }
        if !is_all && !is_oldest {
            first = *got.last().unwrap();
        }
        let covers = (first <= upto).then_some((Seq(first), Seq(upto)));
        let is_trimmed_below = !is_oldest && high < floor + 1;
        if !is_trimmed_below {
            assert_eq!(page.covers, covers, "covers {what}");
        }
        assert!(page.lost.is_empty(), "{what}");
        if covers.is_some() {
            let trim = plain.talks.get(&of).map_or(0, |talk| talk.trim);
            let older = if visible.iter().any(|seq| *seq < first) {
                Edge::More
            } else if floor == 0 {
                Edge::End
            } else if trim >= floor {
                Edge::Trimmed
            } else {
                Edge::NotVisible
            };
            let newer = if visible.iter().any(|seq| *seq > upto) {
                Edge::More
            } else if plain.seats[&(user, of)].ceiling.is_some() {
                Edge::NotVisible
            } else {
                Edge::End
            };
            assert_eq!((page.older, page.newer), (older, newer), "edges {what}");
        }
    }
}

fn is_backward(bounds: (Bound<Timestamp>, Bound<Timestamp>)) -> bool {
    let time = |bound| match bound {
        Bound::Included(Timestamp(time)) | Bound::Excluded(Timestamp(time)) => Some(time),
        Bound::Unbounded => None,
    };
    matches!((time(bounds.0), time(bounds.1)), (Some(low), Some(high)) if low >= high)
}

pub fn amendments(said: &[Amendment]) -> Vec<(u64, u64, u8, u64)> {
    let kind = |kind| match kind {
        AmendmentKind::Recalled => 0,
        AmendmentKind::Edited => 1,
        _ => 2,
    };
    said.iter().map(|it| (it.version.0, it.seq.0, kind(it.kind), it.by.0)).collect()
}
