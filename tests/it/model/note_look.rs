//! Notes which traps a run has met in reading, from what the model answered.
//! Owns: when these traps count as met. May touch: `run`, `look`, `list`, `trap`.
//! Never: compares with the store, changes anything but the counts.

use std::ops::Bound;

use restante::{AmendmentKind, Edge, ErrorKind, SessionState, Timeline};

use super::answer::{Page, Plain, Seen, Session, Sessions, Sums};
use super::list::{Place, Wish};
use super::look::{Amendments, Bounds, Question, Since};
use super::note::Met;
use super::row::{Presence, Row};
use super::run::Run;
use super::state::Message;
use super::word::{With, group, user};

impl Run<'_> {
    pub fn note_history(&mut self, by: u8, with: With, question: &Question, model: &Plain<Page>) {
        let mut met = Met::default();
        let kind = model.as_ref().err().map(|wrong| wrong.kind);
        met.when(kind == Some(ErrorKind::LimitExceeded), "history: limit above its maximum");
        met.when(kind == Some(ErrorKind::NotFound), "history: never had the session");
        if let Ok(page) = model {
            self.note_page(by, with, question, page, &mut met);
        }
        self.hit_all(met);
    }

    fn note_page(&self, by: u8, with: With, question: &Question, page: &Page, met: &mut Met) {
        let view = self.world.seen();
        let Some(timeline) = view.state.timeline(user(by), with.peer()) else { return };
        let Some(row) = view.state.row(user(by), timeline) else {
            let is_gone = view.state.trace(user(by), timeline).is_some_and(|row| row.presence == Presence::Gone);
            return met.when(is_gone, "people: a removed user looks");
        };
        let line = view.state.line(timeline);
        let (floor, end) = (row.floor(line), row.end(line.last()));
        if let Bounds::Seqs(Bound::Included(low), Bound::Included(high)) = question.bounds {
            met.when(low > high, "history: bounds are inverted");
            met.when(low <= high && (high <= floor || low > end), "history: bounds outside of what is visible");
        }
        let is_inside = page.older == Edge::More && page.newer == Edge::More;
        let is_asked = question.limit > 0 && question.bytes > 0;
        let is_of_times = matches!(question.bounds, Bounds::Times(..));
        met.when(
            is_of_times && page.messages.is_empty() && is_inside && is_asked,
            "history: two bounds of time with nothing between",
        );
        met.when(page.older == Edge::NotVisible, "history: floor above 0 is the edge");
        let is_dissolved = line.dissolved().is_some();
        met.when(page.older == Edge::Trimmed && is_dissolved, "history: a dissolved group is trimmed");
        met.when(page.older == Edge::Trimmed && !is_dissolved, "trim: a page ends where the rest was");
        met.when(page.newer == Edge::NotVisible, "history: ceiling is the edge");
        met.when(question.limit == 0 && end > floor, "history: limit 0");
        let bytes: usize = page.messages.iter().map(|shown| shown.body.0.len()).sum();
        let beyond = if question.newest { page.older } else { page.newer };
        let is_cut = beyond == Edge::More && page.messages.len() < question.limit;
        let is_of_all = matches!(question.bounds, Bounds::All);
        met.when(is_cut && page.messages.len() > 1 && is_of_all, "history: ended by bytes");
        met.when(bytes > question.bytes, "history: one message above the byte limit");
        let visible = view.visible(timeline, &row);
        let is_expired = |message: &&&Message| message.letter.client_id != 0 && !view.in_window(message);
        met.when(visible.iter().any(|it| is_expired(&it)), "list: a client id is no longer shown");
        let Some((first, last)) = page.covers else { return };
        let hidden = row.hidden.keys().filter(|seq| first <= **seq && **seq <= last).count();
        met.when(hidden > 0 && !page.messages.is_empty(), "history: hidden ones left out of a page");
        met.when(page.messages.is_empty(), "history: all of a page is hidden");
        let is_hidden_beyond = |edge: Edge, mut seqs: std::ops::RangeInclusive<u64>| {
            edge != Edge::More && seqs.any(|seq| row.hidden.contains_key(&seq))
        };
        let at_edge =
            is_hidden_beyond(page.older, floor + 1..=first - 1) || is_hidden_beyond(page.newer, last + 1..=end);
        met.when(at_edge, "history: only hidden ones beyond an edge");
        met.when(page.messages.iter().any(|shown| shown.recalled.is_some()), "history: a recall notice");
        met.when(page.messages.iter().any(|shown| shown.edited.is_some()), "history: an edited message");
        let is_removed = row.is_removed(line);
        met.when(is_removed && !page.messages.is_empty(), "removed: history shows notices since");
        met.when(matches!(timeline, Timeline::Broadcast(_)) && floor > 0, "source: a broadcast from before");
    }

    pub fn note_list(
        &mut self,
        from: Option<Place>,
        slot: usize,
        by: u8,
        wish: &Wish,
        model: &Plain<(Sessions, Place)>,
    ) {
        let mut met = Met::default();
        let walking = self.slots[by as usize][slot].walking;
        match model {
            Err(wrong) if wrong.kind == ErrorKind::ResetRequired => {
                let is_old = from.is_some_and(|place| place.base < self.world.seen().state.horizon);
                met.when(!is_old, "list: cursor reset");
                met.when(is_old, "horizon: resets a cursor");
                met.when(is_old && walking.is_some(), "horizon: resets a walk");
            }
            Err(_) => {}
            Ok((sessions, _)) => {
                let is_old = from.is_some_and(|place| place.epoch != self.world.epoch);
                met.when(is_old && !sessions.entries.is_empty(), "list: cursor of an ended epoch goes on");
                let is_changed = walking.is_some_and(|version| version < self.world.published());
                met.when(is_changed, "list: a walk over pages with a change between");
                let changes = || &self.world.log[walking.unwrap_or(0) as usize..self.world.published() as usize];
                let is_amended = |change: &super::change::Change| {
                    matches!(change.what, super::change::What::Recalled { .. } | super::change::What::Edited { .. })
                };
                met.when(
                    is_changed && changes().iter().any(is_amended),
                    "list: a walk over pages with a recall between",
                );
                met.when(wish.limit == 0 && sessions.more, "list: limit 0 with more to come");
                let left_out = sessions.entries.iter().position(|entry| entry.messages_left_out);
                let taken_after = |index: usize| sessions.entries[index..].iter().any(|it| !it.messages.is_empty());
                met.when(left_out.is_some_and(taken_after), "list: catch-up leaves one out and takes a later one");
                let base = from.map_or(self.world.published(), |place| place.base);
                let shows_earlier = |it: &Session| it.messages.first().is_some_and(|shown| shown.version <= base);
                met.when(
                    sessions.entries.iter().any(shows_earlier),
                    "list: catch-up shows earlier messages to one who joined",
                );
                let position = from.map_or(0, |place| place.position);
                let told: Vec<Session> = self.world.seen().sessions(user(by), 0);
                let is_left_out = |it: &Session| !it.is_add && position < it.version && it.version <= base;
                met.when(told.iter().any(is_left_out), "list: a tombstone at or below base is left out");
                for entry in &sessions.entries {
                    self.note_entry(by, entry, wish, base, &mut met);
                }
            }
        }
        self.hit_all(met);
    }

    fn note_entry(&self, by: u8, entry: &Session, wish: &Wish, base: u64, met: &mut Met) {
        let view = self.world.seen();
        let timeline = view.state.timeline(user(by), entry.peer).expect("an entry has a timeline");
        let line = view.state.line(timeline);
        if !entry.is_add {
            let row = view.state.trace(user(by), timeline).expect("a tombstone has a row");
            met.when(entry.state == SessionState::Dissolved, "list: tombstone of a dissolved group");
            let was_left = row.presence == Presence::Left;
            met.when(entry.state == SessionState::Dissolved && was_left, "list: dissolved for one who left");
            met.when(row.presence == Presence::Gone, "list: tombstone of a removed user");
            met.when(row.presence != Presence::Gone && row.removed.is_some(), "list: tombstone of a removed session");
            return;
        }
        let row = view.state.row(user(by), timeline).expect("an entry has a row");
        let (visible, in_range) = (view.visible(timeline, &row), view.in_range(timeline, &row));
        let above: Vec<&&Message> = visible.iter().filter(|message| message.seq > entry.read_mark).collect();
        let is_own = |message: &&&&Message| message.letter.counts && message.letter.sender == user(by);
        let has_own = above.iter().any(|it| is_own(&it));
        met.when(entry.unread > 0 && has_own, "list: own messages above the mark are not unread");
        let has_notice = above.iter().any(|message| !message.letter.counts);
        met.when(entry.unread > 0 && has_notice, "list: notices above the mark are not unread");
        let has_recalled = above.iter().any(|message| message.recalled.is_some() && message.letter.counts);
        met.when(entry.unread > 0 && has_recalled, "list: recalled ones above the mark are not unread");
        let own_recalled = above.iter().any(|it| is_own(&it) && it.recalled.is_some());
        met.when(entry.unread > 0 && own_recalled, "list: own and recalled above the mark, counted out once");
        let hidden: Vec<&&Message> = in_range.iter().filter(|it| row.hidden.contains_key(&it.seq)).collect();
        let hidden_above: Vec<&&&Message> = hidden.iter().filter(|it| it.seq > entry.read_mark).collect();
        met.when(entry.unread > 0 && !hidden_above.is_empty(), "list: hidden ones above the mark are not unread");
        let twice = hidden_above.iter().any(|it| it.recalled.is_some());
        met.when(entry.unread > 0 && twice, "list: hidden and recalled above the mark, counted out once");
        let own_hidden = hidden_above.iter().any(is_own);
        met.when(entry.unread > 0 && own_hidden, "list: own and hidden above the mark, counted out once");
        met.when(entry.unread > 0 && !row.is_member(), "list: unread in a group that was left");
        let is_first_not_next = entry.goto.is_some_and(|(seq, _)| seq > entry.read_mark + 1);
        met.when(is_first_not_next, "list: goto is not the next after the mark");
        met.when(entry.latest_cut, "list: latest cut");
        let is_short = !entry.latest_cut && entry.latest.len() < wish.latest.min(visible.len());
        met.when(is_short, "list: latest ended by bytes");
        let newest = in_range.last().map(|message| message.seq);
        let shown = entry.latest.first().map(|shown| shown.seq);
        met.when(wish.latest > 0 && newest > shown, "list: latest leaves out what is hidden");
        let is_from_joining = entry.activity == row.joined_time && entry.last <= row.joined_at;
        met.when(is_from_joining, "list: activity is the time of joining");
        met.when(entry.first == entry.last + 1 && entry.last > 0, "list: nothing is shown, first is last + 1");
        met.when(row.read < row.floor, "list: a floor above the mark");
        met.when(entry.mentions.0 > 0, "list: mentioned");
        met.when(entry.mentions.0 > 0 && !row.is_member(), "mention: unread after leaving");
        met.when(!entry.alerts.is_empty(), "list: alerted");
        let alerting: u64 = entry.alerts.iter().map(|(_, count, _)| count).sum();
        let own_alert = above.iter().any(|it| is_own(&it) && it.letter.alerts != 0);
        met.when(own_alert && alerting > 0, "alert: one's own is not counted");
        met.when(entry.other_read > 0 || entry.other_delivered > 0, "list: how far the other one got");
        self.note_versions(by, entry, &row, timeline, met);
        for change in &entry.amendments {
            let message = line.message(change.seq).expect("what was amended is there");
            let is_hidden = change.kind == AmendmentKind::Hidden;
            let later = |amended: Option<super::state::Amended>| amended.is_some_and(|it| it.version > change.version);
            met.when(is_hidden && later(message.recalled), "list: hidden wins over a later recall");
            met.when(is_hidden && later(message.edited), "list: hidden wins over a later edit");
            met.when(
                is_hidden && message.recalled.is_some() && !later(message.recalled),
                "list: hidden wins over a recall",
            );
            met.when(message.version <= base, "list: an amendment of an old message");
        }
        met.when(entry.amendments_more.is_some(), "list: more amendments than an entry holds");
        let all = view.amendments_of(user(by), timeline, &row);
        met.when(all.iter().any(|change| change.version <= base), "list: amendments at or below base are left out");
        let below = |message: &Message| message.seq <= row.floor && message.recalled.or(message.edited).is_some();
        met.when(line.messages.iter().any(below), "list: an amendment below the floor is not told");
        let above = |seq: u64| row.ceiling.is_some_and(|ceiling| seq > ceiling);
        let is_beyond = |it: &Message| above(it.seq) && it.recalled.or(it.edited).is_some();
        met.when(line.messages.iter().any(is_beyond), "list: an amendment above a ceiling is not told");
        let is_held = |it: &&&Message| it.version > base && it.seq > row.floor;
        met.when(wish.messages.is_some() && hidden.iter().any(is_held), "list: catch-up leaves out what is hidden");
        if let (Some(removed), false) = (row.removed, row.is_removed(line)) {
            let since = || line.messages.iter().filter(|it| it.seq > removed && it.letter.counts);
            met.when(true, "removed: listed again once revived");
            met.when(since().all(|it| it.recalled.is_some()), "removed: what revived it was recalled");
        }
    }

    /// What raised an entry last.
    fn note_versions(&self, by: u8, entry: &Session, row: &Row, timeline: Timeline, met: &mut Met) {
        let view = self.world.seen();
        let line = view.state.line(timeline);
        if let Timeline::Direct(pair) = timeline {
            let other = pair.other(user(by)).and_then(|other| view.state.trace(other, timeline));
            let is_by_other =
                other.is_some_and(|row| row.receipts_version == entry.version) && row.version < entry.version;
            met.when(is_by_other, "list: raised by a mark of the other one");
        }
        let by_metadata = line.group.as_ref().is_some_and(|group| group.metadata_version == entry.version);
        met.when(by_metadata, "list: raised by a group's metadata");
        let of_version = |it: &&Message| it.recalled.or(it.edited).is_some_and(|it| it.version == entry.version);
        if let Some(message) = line.messages.iter().find(of_version) {
            met.when(true, "list: raised by an amendment");
            met.when(!row.is_member(), "list: raised by an amendment below a ceiling");
            met.when(message.seq <= row.floor, "list: raised by an amendment below the floor");
        }
        let is_stored = view.state.trace(user(by), timeline).is_some_and(|row| row.presence != Presence::Gone);
        met.when(!is_stored, "source: a broadcast nobody touched");
        let was_gone = view.state.trace(user(by), timeline).is_some_and(|row| row.presence == Presence::Gone);
        met.when(was_gone, "people: one who came back sees newer broadcasts");
    }

    pub fn note_recent(&mut self, entries: &[Session], pinned: &[Session]) {
        let is_tied = |pair: &[Session]| pair[0].activity == pair[1].activity;
        self.traps.hit_if(entries.windows(2).any(is_tied), "list: equal activity goes by peer");
        let is_outside = |it: &Session| entries.iter().all(|entry| entry.peer != it.peer);
        self.traps.hit_if(!pinned.is_empty(), "list: pinned in a list of their own");
        self.traps.hit_if(pinned.iter().any(is_outside), "list: pinned beyond the limit");
    }

    pub fn note_totals(&mut self, Sums(unread, muted, marked): Sums) {
        self.traps.hit_if(unread > 0 && muted > 0, "list: muted ones are counted apart");
        self.traps.hit_if(marked > 0, "list: marked unread are counted");
    }

    pub fn note_amendments(&mut self, by: u8, with: With, since: Option<Since>, model: &Plain<Amendments>) {
        let mut met = Met::default();
        let horizon = self.world.seen().state.horizon;
        match model {
            Err(wrong) => {
                let is_reset = wrong.kind == ErrorKind::ResetRequired;
                met.when(is_reset, "amendments: since is reset");
            }
            Ok(page) => {
                let is_old = since.is_some_and(|since| since.version < horizon);
                met.when(is_old, "horizon: leaves the since of amendments alone");
                met.when(page.more, "amendments: over pages");
                let is_next = since.is_some() && !page.amendments.is_empty();
                met.when(is_next, "amendments: go on");
                let pairs = page.amendments.windows(2).any(|pair| pair[0].version == pair[1].version);
                met.when(pairs, "amendments: one change hides many");
                let splits = page.more
                    && page.amendments.last().is_some_and(|last| {
                        let all = self.world.amendments(user(by), with.peer(), None, 1_000);
                        all.is_ok_and(|all| {
                            all.amendments.iter().any(|it| it.version == last.version && it.seq > last.seq)
                        })
                    });
                met.when(splits, "amendments: a page ends inside a change");
            }
        }
        self.hit_all(met);
    }

    pub fn note_receipts(&mut self, by: u8, with: With, seq: u64, model: &Plain<Seen>) {
        let mut met = Met::default();
        let view = self.world.seen();
        let kind = model.as_ref().err().map(|wrong| wrong.kind);
        let is_dissolved = matches!(with, With::Group(number) if view.state.group(group(number)).is_some_and(|it| it.dissolved.is_some()));
        met.when(kind == Some(ErrorKind::Trimmed) && is_dissolved, "receipts: in a dissolved group");
        met.when(kind == Some(ErrorKind::Trimmed) && !is_dissolved, "trim: receipts of what is gone");
        met.when(kind == Some(ErrorKind::NotFound) && seq > 0, "receipts: of what is not shown");
        if let (Ok(seen), Some(timeline)) = (model, view.state.timeline(user(by), with.peer())) {
            let is_group = matches!(timeline, Timeline::Group(_));
            let rows: Vec<_> = view.state.traces_of(timeline).collect();
            let sender = view.state.line(timeline).message(seq).map(|message| message.letter.sender);
            let has_later = rows.iter().any(|(_, row)| row.is_member() && row.joined_at >= seq);
            met.when(is_group && has_later, "receipts: who joined later is not asked");
            let is_sender = |(owner, row): &(restante::UserId, &Row)| Some(*owner) == sender && row.is_member();
            met.when(is_group && rows.iter().any(is_sender), "receipts: the sender is not asked");
            let has_left = rows.iter().any(|(_, row)| row.presence == Presence::Left && row.read_max >= seq);
            met.when(is_group && has_left, "receipts: who left is not asked");
            met.when(seen.read > 0 && seen.read < seen.delivered, "receipts: some read, some only received");
            met.when(seen.delivered < seen.members && seen.delivered > 0, "receipts: some have not received");
            met.when(seen.more, "receipts: over pages");
            let is_back = rows.iter().any(|(_, row)| row.is_member() && row.read < seq && row.read_max >= seq);
            met.when(is_back, "receipts: they do not go back with a mark");
            met.when(timeline == Timeline::direct(user(by), user(by)), "receipts: of a note to oneself");
            met.when(matches!(timeline, Timeline::Inbox(..)) && seen.delivered > 0, "receipts: in an inbox");
            met.when(matches!(timeline, Timeline::Broadcast(_)) && seen.members > 0, "receipts: in a broadcast");
        }
        self.hit_all(met);
    }
}
