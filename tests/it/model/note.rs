//! Notes which traps a run has met, from what the model knew before and what it answered.
//! Owns: when a trap counts as met. May touch: `run`, `world`, `look`, `trap`.
//! Never: compares with the store, changes anything but the counts.

use restante::limits::DEDUP_WINDOW_MICROS;
use restante::{Edge, ErrorKind, Outcome, Peer, Timeline};

use super::answer::{Page, Plain, Session, Sessions, Written};
use super::look::{Bounds, Place, Question, Wish};
use super::op::{With, Write, group, user};
use super::run::Run;
use super::world::{Answer, Letter, Sent, View};

impl Run<'_> {
    /// The log as it was when it had `before` changes.
    fn view_before(&self, before: usize) -> View<'_> {
        View { log: &self.world.log[..before], clock: self.world.clock }
    }

    /// Traps of joining and creating, before it happens.
    pub fn note_write(&mut self, write: &Write) {
        let view = self.world.sequenced();
        let mut met = Vec::new();
        let joins: Vec<(u8, u8)> = match write {
            Write::Join { group, by } => vec![(*group, *by)],
            Write::JoinMany { group, users } => users.iter().map(|by| (*group, *by)).collect(),
            _ => Vec::new(),
        };
        for (number, by) in joins {
            let timeline = Timeline::Group(group(number));
            let shows_history = view.settings(group(number)).is_some_and(|settings| settings.shows_history);
            let row = view.row(user(by), timeline);
            let sent_outside = view.messages_of(timeline).iter().any(|sent| {
                let then = View { log: &view.log[..sent.version as usize - 1], clock: view.clock };
                sent.letter.sender == user(by) && !then.is_member(user(by), timeline)
            });
            match row {
                Some(row) if row.is_member() => met.push("group: join while a member"),
                Some(_) if shows_history => met.push("group: rejoin where history is shown"),
                Some(_) => met.push("group: rejoin where it is not"),
                None if sent_outside && shows_history => {
                    met.push("group: one who had sent as a stranger joins and sees it");
                }
                None => {}
            }
            if row.is_some_and(|row| !row.is_member()) && sent_outside {
                met.push("group: one who had sent after leaving joins again");
            }
        }
        if let Write::Create { group: number, .. } = write
            && view.settings(group(*number)).is_some()
        {
            met.push("group: created twice");
        }
        for name in met {
            self.traps.hit(name);
        }
    }

    pub fn note_append(&mut self, before: usize, letter: &Letter, answer: &Answer<Written>) {
        let view = self.view_before(before);
        let (timeline, sender) = (letter.timeline, letter.sender);
        let row = view.row(sender, timeline);
        let is_member = row.is_some_and(|row| row.is_member());
        let has_left = row.is_some_and(|row| !row.is_member());
        let is_group = matches!(timeline, Timeline::Group(_));
        let last = view.last_timestamp(timeline);
        let store_time = view.store_time();
        let mut met = Vec::new();
        match answer.result {
            Ok(Written { outcome: Outcome::Duplicate, version, .. }) => {
                met.push("append: a retry is a duplicate");
                let first = &view.log[version as usize - 1];
                let end = first.commit_time + DEDUP_WINDOW_MICROS;
                if has_left {
                    met.push("append: a retry after its sender left is a duplicate");
                }
                if store_time + 1 == end {
                    met.push("append: a retry 1 µs before the end of the window");
                }
                if self.latest_time() >= end {
                    met.push("append: a client id comes back because the clock went back");
                }
            }
            Ok(Written { timestamp, .. }) => {
                let first = view.newest_with_id(timeline, sender, letter.client_id);
                if first.is_some_and(|first| first.commit_time + DEDUP_WINDOW_MICROS == store_time) {
                    met.push("append: a retry at the end of the window is written");
                }
                if is_member && !letter.counts && !view.unread(sender, timeline, &row.expect("a member")).is_empty() {
                    met.push("append: a notice does not move its sender's mark");
                }
                if is_group && row.is_none() {
                    met.push("append: a stranger sends to an open group");
                }
                if has_left {
                    met.push("append: one who left sends to an open group");
                }
                if letter.timestamp.is_some() && timestamp == last + 1 {
                    met.push("append: timestamp 1 µs above the timeline's last");
                }
                if letter.timestamp == Some(store_time) {
                    met.push("append: timestamp at store time");
                }
                if timestamp > store_time {
                    met.push("append: timestamp runs ahead of the commit time");
                }
                if view.clock < store_time {
                    met.push("append: clock behind store time");
                }
                if timeline.peer_of(sender) == Some(Peer::User(sender)) {
                    met.push("append: note to oneself");
                }
                if letter.body.0.is_empty() {
                    met.push("append: empty body");
                }
            }
            Err(wrong) => {
                let first = view.taken(timeline, sender, letter.client_id);
                let is_same_kind = first.is_some_and(|first| first.letter.kind == letter.kind);
                let is_same_length =
                    first.is_some_and(|first| first.letter.body.0.len() == letter.body.0.len() && is_same_kind);
                let is_from_none = sender.is_none() || timeline.peer_of(sender).is_some();
                match wrong.kind {
                    ErrorKind::Conflict if !is_same_kind => met.push("append: conflict of kind"),
                    ErrorKind::Conflict if is_same_length => met.push("append: conflict of body with equal length"),
                    ErrorKind::Refused if has_left => met.push("append: refused to one who left"),
                    ErrorKind::Refused => met.push("append: refused to a stranger"),
                    ErrorKind::NotFound => met.push("append: unknown group"),
                    ErrorKind::LimitExceeded => met.push("append: body above the limit"),
                    ErrorKind::InvalidInput => match letter.timestamp {
                        Some(timestamp) if timestamp == last => {
                            met.push("append: timestamp equal to the timeline's last is refused");
                        }
                        Some(timestamp) if timestamp > store_time => {
                            met.push("append: timestamp above store time is refused");
                        }
                        None if is_from_none => met.push("append: id 0"),
                        None => met.push("append: sender is neither of the two"),
                        Some(_) => {}
                    },
                    _ => {}
                }
            }
        }
        for name in met {
            self.traps.hit(name);
        }
    }

    pub fn note_batch(&mut self, before: usize, letters: &[Letter], answer: &Answer<Vec<Written>>) {
        match &answer.result {
            Ok(written) => {
                let is_own = |it: &Written| it.outcome == Outcome::Duplicate && it.version > before as u64;
                self.traps.hit_if(written.iter().any(is_own), "batch: repeats its own item");
                let is_met = !written.is_empty() && written.iter().all(|it| it.outcome == Outcome::Duplicate);
                self.traps.hit_if(is_met, "batch: only duplicates");
            }
            Err(wrong) => {
                let item = wrong.item.unwrap_or(0);
                self.traps.hit_if(item > 0, "batch: refused after good items");
                let letter = &letters[item];
                let view = self.view_before(before);
                let is_known = view.taken(letter.timeline, letter.sender, letter.client_id).is_some();
                let is_met = wrong.kind == ErrorKind::Conflict && !is_known;
                self.traps.hit_if(is_met, "batch: contradicts its own item");
            }
        }
    }

    /// Traps of reading, before it happens.
    pub fn note_mark_read(&mut self, by: u8, with: With, upto: u64) {
        let timeline = crate::support::timeline_of(user(by), with.peer());
        let view = self.world.sequenced();
        let seen_last = self.world.seen().last_seq(timeline);
        let mut met = Vec::new();
        match view.row(user(by), timeline) {
            None => met.push("mark: none, no session"),
            Some(row) => {
                let end = row.end(seen_last);
                if row.ceiling.is_some_and(|ceiling| upto > ceiling && ceiling < seen_last) {
                    met.push("mark: clamped at a ceiling");
                }
                if row.is_member() && upto > seen_last && view.last_seq(timeline) > seen_last {
                    met.push("mark: clamped to what is published");
                }
                let is_own = |sent: &Sent<'_>| sent.letter.sender == user(by) && sent.letter.counts;
                let own =
                    view.messages_of(timeline).iter().any(|it| is_own(it) && row.mark() < it.seq && it.seq < upto);
                let remains = view.unread(user(by), timeline, &row).iter().any(|sent| sent.seq > upto);
                if row.mark() < upto && upto < end && own && remains {
                    met.push("mark: part of what is unread, own messages between");
                }
            }
        }
        for name in met {
            self.traps.hit(name);
        }
    }

    pub fn note_mark_back(&mut self, before: usize, by: u8, with: With, seq: u64, answer: &Answer<u64>) {
        let timeline = crate::support::timeline_of(user(by), with.peer());
        let view = self.view_before(before);
        let Some(row) = view.row(user(by), timeline) else { return };
        let is_own = |sent: &Sent<'_>| sent.letter.sender == user(by) && sent.letter.counts;
        let own = view.messages_of(timeline).iter().any(|it| is_own(it) && seq <= it.seq && it.seq <= row.mark());
        let is_above = seq > row.end(view.last_seq(timeline)) && answer.result.is_err();
        self.traps.hit_if(answer.changed && own, "mark: moved back below own messages");
        self.traps.hit_if(seq > 0 && seq - 1 < row.floor && answer.changed, "mark: back stopped at a floor");
        self.traps.hit_if(is_above, "mark: back above the end is refused");
    }

    pub fn note_history(&mut self, by: u8, with: With, question: &Question, model: &Plain<Page>) {
        let timeline = crate::support::timeline_of(user(by), with.peer());
        let view = self.world.seen();
        let mut met = Vec::new();
        match model {
            Err(wrong) if wrong.kind == ErrorKind::LimitExceeded => met.push("history: limit above its maximum"),
            Err(wrong) if wrong.kind == ErrorKind::NotFound => met.push("history: never had the session"),
            Err(_) => {}
            Ok(page) => {
                let Some(row) = view.row(user(by), timeline) else { return };
                let end = row.end(view.last_seq(timeline));
                if let Bounds::Seqs(low, high) = question.bounds
                    && let (std::ops::Bound::Included(low), std::ops::Bound::Included(high)) = (low, high)
                {
                    if low > high {
                        met.push("history: bounds are inverted");
                    } else if high <= row.floor || low > end {
                        met.push("history: bounds outside of what is visible");
                    }
                }
                let is_inside = page.older == Edge::More && page.newer == Edge::More;
                let is_asked = question.limit > 0 && question.bytes > 0;
                if matches!(question.bounds, Bounds::Times(..)) && page.messages.is_empty() && is_inside && is_asked {
                    met.push("history: two bounds of time with nothing between");
                }
                if page.older == Edge::NotVisible {
                    met.push("history: floor above 0 is the edge");
                }
                if page.newer == Edge::NotVisible {
                    met.push("history: ceiling is the edge");
                }
                if question.limit == 0 && end > row.floor {
                    met.push("history: limit 0");
                }
                let bytes: usize = page.messages.iter().map(|shown| shown.body.0.len()).sum();
                let beyond = if question.newest { page.older } else { page.newer };
                let is_cut = beyond == Edge::More && page.messages.len() < question.limit;
                if is_cut && page.messages.len() > 1 && matches!(question.bounds, Bounds::All) {
                    met.push("history: ended by bytes");
                }
                if bytes > question.bytes {
                    met.push("history: one message above the byte limit");
                }
                let is_expired = |sent: &Sent<'_>| sent.letter.client_id != 0 && !view.in_window(sent);
                if view.visible(timeline, &row).iter().any(is_expired) {
                    met.push("list: a client id is no longer shown");
                }
            }
        }
        for name in met {
            self.traps.hit(name);
        }
    }

    pub fn note_list(
        &mut self,
        from: Option<Place>,
        slot: usize,
        by: u8,
        wish: &Wish,
        model: &Plain<(Sessions, Place)>,
    ) {
        let mut met = Vec::new();
        let walking = self.slots[by as usize][slot].walking;
        match model {
            Err(wrong) if wrong.kind == ErrorKind::ResetRequired => met.push("list: cursor reset"),
            Err(_) => {}
            Ok((sessions, _)) => {
                let is_old = from.is_some_and(|place| place.epoch != self.world.epoch);
                if is_old && !sessions.entries.is_empty() {
                    met.push("list: cursor of an ended epoch goes on");
                }
                if walking.is_some_and(|version| version < self.world.published) {
                    met.push("list: a walk over pages with a change between");
                }
                if wish.limit == 0 && sessions.more {
                    met.push("list: limit 0 with more to come");
                }
                let left_out = sessions.entries.iter().position(|entry| entry.messages_left_out);
                let taken_after = |index: usize| sessions.entries[index..].iter().any(|it| !it.messages.is_empty());
                if left_out.is_some_and(taken_after) {
                    met.push("list: catch-up leaves one out and takes a later one");
                }
                let base = from.map_or(self.world.published, |place| place.base);
                if sessions.entries.iter().any(|it| it.messages.first().is_some_and(|shown| shown.version <= base)) {
                    met.push("list: catch-up shows earlier messages to one who joined");
                }
                met.extend(sessions.entries.iter().flat_map(|entry| self.traps_of(by, entry, wish)));
            }
        }
        for name in met {
            self.traps.hit(name);
        }
    }

    fn traps_of(&self, by: u8, entry: &Session, wish: &Wish) -> Vec<&'static str> {
        let timeline = crate::support::timeline_of(user(by), entry.peer);
        let view = self.world.seen();
        let row = view.row(user(by), timeline).expect("an entry has a row");
        let visible = view.visible(timeline, &row);
        let above: Vec<&Sent<'_>> = visible.iter().filter(|sent| sent.seq > entry.read_mark).collect();
        let mut met = Vec::new();
        if entry.unread > 0 && above.iter().any(|sent| sent.letter.counts && sent.letter.sender == user(by)) {
            met.push("list: own messages above the mark are not unread");
        }
        if entry.unread > 0 && above.iter().any(|sent| !sent.letter.counts) {
            met.push("list: notices above the mark are not unread");
        }
        if entry.unread > 0 && !row.is_member() {
            met.push("list: unread in a group that was left");
        }
        if entry.latest_cut {
            met.push("list: latest cut");
        } else if entry.latest.len() < wish.latest.min(visible.len()) {
            met.push("list: latest ended by bytes");
        }
        if entry.activity == row.joined_time && entry.last <= row.joined_at {
            met.push("list: activity is the time of joining");
        }
        met
    }
}
