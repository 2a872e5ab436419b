//! What of the state is in memory, what of it the disk lacks, and the way between the two.
//! Owns: taking in what was loaded, letting go of what is on disk, what goes into the next sealing.
//! May touch: the rest of `state`.
//! Never: does I/O, or lets go of what the disk does not have.
//!
//! Sealings are counted in rounds. What changes is noted once in the lists of the present round. *Freezing*
//! ends a round at one version: whatever the lists name goes to disk as it was then. It is written down
//! little by little; what changes before its turn is written down just before it does.

use super::CommitTimes;
use super::State;
use super::cells::{NEWEST_UNKNOWN, Standing};
use super::growth::push_exactly;
use super::member::{Notes, Person, Row};
use super::stored::{self, Entries, Globals};
use super::timeline::{Head, Part, Tip, Unsealed};
use crate::id::{NameKind, Source, Timeline, UserId};
use crate::settings::GroupSettings;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the disk does not have.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Nothing lies only on disk.
    pub all_here: bool,
    /// Changes up to this version were decided while nothing did, and pinned nothing: until they are applied
    /// nothing goes, and what is not in memory is not at all.
    unpinned: u64,
    round: u32,
    /// The rounds up to this one are on disk.
    sealed: u32,
    lists: Lists,
    frozen: Option<Frozen>,
    /// Bytes in memory, about.
    resident_bytes: usize,
    /// Where letting go has got to.
    sweep: usize,
}

/// What changed in a round, each once.
#[derive(Clone, Debug, Default)]
struct Lists {
    heads: Vec<u32>,
    rows: Vec<(UserId, u32)>,
    people: Vec<UserId>,
    sources: Vec<Source>,
    names: Vec<(NameKind, u64, Arc<[u8]>)>,
}

/// A round that is being written down.
#[derive(Clone, Debug)]
struct Frozen {
    lists: Lists,
    /// The journal whose messages get an index with it.
    journal: u64,
    entries: Entries,
    /// The heads of the round, for when it is on disk.
    heads: Vec<u32>,
}

impl Pending {
    pub fn new() -> Pending {
        Pending {
            all_here: true,
            unpinned: 0,
            round: 1,
            sealed: 0,
            lists: Lists::default(),
            frozen: None,
            resident_bytes: 0,
            sweep: 0,
        }
    }

    /// Whether what is not in memory is not at all, for a change that comes after `version`.
    fn is_all_here_at(&self, version: u64) -> bool {
        self.all_here || version < self.unpinned
    }

    fn is_on_disk(&self, unsealed: Unsealed) -> bool {
        unsealed.0 <= 2 * self.sealed + 1
    }
}

/// Changed in a round; one more once it is written down.
fn changed_in(round: u32) -> Unsealed {
    Unsealed(2 * round)
}

/// What was loaded of a need.
#[derive(Debug)]
pub(crate) enum Loaded {
    Head(Timeline, Option<(Box<Head>, u64)>),
    Person(UserId, u64),
    Row(UserId, Timeline, Option<(Row, Option<Box<Notes>>)>),
    Rows(UserId, u64, Vec<(Timeline, Row, Option<Box<Notes>>)>),
    Name(NameKind, Vec<u8>, Option<u64>),
    NameOf(NameKind, u64, Option<Vec<u8>>),
}

impl State {
    /// Whether nothing lies only on disk, so that what is not in memory is not at all.
    #[inline]
    pub fn is_all_here(&self) -> bool {
        self.pending.all_here
    }

    /// There are rows on disk, and the commit times that they do not have begin with `times`.
    pub fn set_rows_on_disk(&mut self, times: CommitTimes) {
        self.pending.all_here = false;
        self.commit_times = times;
    }

    /// Takes in what was loaded, unless it is in memory by now.
    pub fn install(&mut self, loaded: Loaded) {
        match loaded {
            Loaded::Head(timeline, found) => {
                let slot = self.cells.slot_or_insert(timeline);
                let cell = self.cells.get_mut(slot);
                if !matches!(cell.standing, Standing::Unknown) {
                    return;
                }
                match found {
                    Some((head, newest)) => {
                        (cell.newest, cell.standing) = (newest, Standing::Here(head));
                        self.reckon_head(slot);
                    }
                    None => (cell.newest, cell.standing) = (0, Standing::Absent),
                }
            }
            Loaded::Person(user, exists_since) => self.install_person(user, exists_since),
            Loaded::Row(user, timeline, found) => self.install_row(user, timeline, found),
            Loaded::Rows(user, exists_since, rows) => {
                self.install_person(user, exists_since);
                for (timeline, row, notes) in rows {
                    self.install_row(user, timeline, Some((row, notes)));
                }
                self.person_or_insert(user).is_complete = true;
            }
            Loaded::Name(kind, name, id) => self.names.learn(kind, &name, id, self.version),
            Loaded::NameOf(kind, id, name) => self.names.learn_of(kind, id, name.as_deref(), self.version),
        }
    }

    fn install_person(&mut self, user: UserId, exists_since: u64) {
        let person = self.person_or_insert(user);
        if !person.is_known {
            (person.is_known, person.exists_since) = (true, exists_since);
        }
    }

    fn install_row(&mut self, user: UserId, timeline: Timeline, found: Option<(Row, Option<Box<Notes>>)>) {
        let slot = self.cells.slot_or_insert(timeline);
        if self.person_or_insert(user).row(slot).is_some() {
            self.cells.remove_if_unheld(slot);
            return;
        }
        // One that is blank keeps the knowledge that there is none.
        let (row, notes) = found.unwrap_or((Row::outside(slot), None));
        self.cells.get_mut(slot).rows += 1;
        self.person_or_insert(user).insert(Row { slot, ..row }, notes);
        self.reckon_person(user);
    }

    /// Takes in what a store has one of.
    pub fn install_globals(&mut self, globals: Globals, sources: Vec<(Source, bool)>) {
        (self.version, self.time, self.horizon) = (globals.version, globals.time, globals.horizon);
        let longest = globals.settings.iter().map(|(_, settings)| settings.dedup_window_micros()).max();
        self.dedup_window_max = self.dedup_window_max.max(longest.unwrap_or(0));
        self.settings = Arc::new(globals.settings);
        globals.newest_names.into_iter().for_each(|(kind, id)| self.names.learn_newest(kind, id));
        self.sources = sources.into_iter().collect();
    }

    /// The timelines of all broadcasts, by their sources.
    pub fn broadcast_timelines(&self) -> Vec<Timeline> {
        let broadcasts = self.sources.iter().filter(|(_, is_broadcast)| **is_broadcast);
        broadcasts.map(|(source, _)| Timeline::Broadcast(*source)).collect()
    }

    /// The head of a broadcast, just loaded, is to stay.
    pub fn keep_broadcast(&mut self, timeline: Timeline) {
        if let Some(slot) = self.slot(timeline) {
            self.broadcasts.push(slot);
        }
    }

    pub(super) fn person_or_insert(&mut self, user: UserId) -> &mut Person {
        let index = self.index_or_insert(user);
        &mut self.people[index]
    }

    fn index_or_insert(&mut self, user: UserId) -> usize {
        let State { users, people, free_people, pending, version, .. } = self;
        let index = *users.entry(user).or_insert_with(|| {
            let person = if pending.is_all_here_at(*version) { Person::new(user) } else { Person::unknown(user) };
            // A place behind the end was given back since.
            while let Some(index) = free_people.pop() {
                if let Some(place) = people.get_mut(index as usize) {
                    *place = person;
                    return index;
                }
            }
            push_exactly(people, person);
            (people.len() - 1) as u32
        });
        index as usize
    }

    /// A head that is about to change; made if there is none.
    pub(super) fn head_to_change(&mut self, timeline: Timeline, settings: GroupSettings, version: u64) -> u32 {
        let slot = self.cells.slot_or_insert(timeline);
        if !matches!(self.cells.get(slot).standing, Standing::Here(_)) {
            let is_here = self.pending.is_all_here_at(self.version);
            let is_known = is_here || matches!(self.cells.get(slot).standing, Standing::Absent);
            debug_assert!(is_known, "a timeline is made only if there is none on disk: {timeline}");
            let cell = self.cells.get_mut(slot);
            cell.newest = version;
            cell.standing = Standing::Here(Box::new(Head::new(timeline, Tip::new(settings, version))));
            self.reckon_head(slot);
            if let Some(source) = timeline.source() {
                let is_broadcast = matches!(timeline, Timeline::Broadcast(_));
                if self.sources.insert(source, is_broadcast).is_none() {
                    self.pending.lists.sources.push(source);
                }
                if is_broadcast {
                    self.broadcasts.push(slot);
                }
            }
        }
        self.touch_head(slot);
        slot
    }

    /// Notes that a head is about to change.
    pub(super) fn touch_head(&mut self, slot: u32) {
        let State { cells, pending, .. } = self;
        let now = changed_in(pending.round);
        let newest = cells.get(slot).newest;
        let Some(head) = cells.head_mut(slot) else { return };
        if head.unsealed != now {
            pending.write_down_head(head, newest);
            head.unsealed = now;
            pending.lists.heads.push(slot);
        }
    }

    /// Notes that a part of a head changes; the head itself was noted.
    pub(super) fn touch_part(&mut self, slot: u32, part: Part) {
        if let Some(head) = self.cells.head_mut(slot)
            && head.parts.last() != Some(&part)
        {
            head.parts.push(part);
        }
    }

    /// A row that is about to change; made if there is none.
    pub(super) fn row_to_change(&mut self, user: UserId, slot: u32) -> &mut Row {
        let index = self.index_or_insert(user);
        let place = self.people[index].place(slot).unwrap_or_else(|| self.add_row(user, slot));
        let State { cells, pending, people, .. } = self;
        let person = &mut people[index];
        let now = changed_in(pending.round);
        if person.rows[place].unsealed != now {
            let row = person.rows[place];
            pending.write_down_row(user, cells.get(slot).timeline, &row, person);
            pending.lists.rows.push((user, slot));
        }
        let row = &mut person.rows[place];
        row.unsealed = now;
        row
    }

    /// Makes a row where there is none, and says where it stands among the user's.
    #[cold]
    fn add_row(&mut self, user: UserId, slot: u32) -> usize {
        let is_known = self.pending.is_all_here_at(self.version) || self.person_or_insert(user).is_complete;
        debug_assert!(is_known, "a row is made only if there is none on disk: {}", user.0);
        self.cells.get_mut(slot).rows += 1;
        let person = self.person_or_insert(user);
        person.insert(Row::outside(slot), None);
        let place = person.rows.len() - 1;
        self.reckon_person(user);
        place
    }

    /// A user whose existence is about to change.
    pub(super) fn person_to_change(&mut self, user: UserId) -> &mut Person {
        self.person_or_insert(user);
        let State { pending, users, people, .. } = self;
        let person = &mut people[users[&user] as usize];
        let now = changed_in(pending.round);
        if person.unsealed != now {
            pending.write_down_person(user, person);
            person.unsealed = now;
            pending.lists.people.push(user);
        }
        person.is_known = true;
        person
    }

    /// Notes that a name was given or freed.
    pub(super) fn touch_name(&mut self, kind: NameKind, id: u64, name: &[u8]) {
        self.pending.lists.names.push((kind, id, name.into()));
    }

    /// About how many bytes of memory are taken by what no sealing has written down.
    pub fn unsealed_bytes(&self) -> usize {
        const HEAD_BYTES: usize = size_of::<Head>() + 160;
        const ROW_BYTES: usize = size_of::<Row>() + size_of::<Person>() / 2;
        let lists = &self.pending.lists;
        lists.heads.len() * HEAD_BYTES + lists.rows.len() * ROW_BYTES + self.dedup.bytes()
    }

    /// About how many bytes all this takes in memory.
    pub fn resident_bytes(&self) -> usize {
        let tables = self.cells.bytes() + self.users.capacity() * 24 + self.people.capacity() * size_of::<Person>();
        self.pending.resident_bytes + tables + self.dedup.bytes() + self.commit_times.bytes()
    }

    /// The same as it was noted of each thing.
    #[cfg(test)]
    pub fn resident_bytes_summed(&self) -> usize {
        let heads = self.heads_here(0..self.cells.count()).map(|head| head.reckoned_bytes);
        let people = self.people.iter().map(|person| person.reckoned_bytes);
        self.resident_bytes() - self.pending.resident_bytes + heads.chain(people).sum::<usize>()
    }

    /// Ends the round: what it names is written down as it is now. `journal` is the newest whose messages
    /// get an index with it; all its changes are applied.
    pub fn freeze(&mut self, journal: u64, dedup_seed: u64) {
        let mut lists = std::mem::take(&mut self.pending.lists);
        let mut entries = Entries::default();
        for source in lists.sources.drain(..) {
            stored::add_source(&mut entries, source, self.sources[&source]);
        }
        for (kind, id, name) in lists.names.drain(..) {
            let now = self.names.id(kind, &name).flatten();
            let value = now.map(|id| id.to_be_bytes());
            let key = stored::name_key(kind, &name);
            entries.add(&key, key.len(), value.as_ref().map(|value| &value[..]));
            let key = stored::name_of_key(kind, id);
            let now = self.names.name(kind, id).flatten();
            entries.add(&key, key.len(), now.map(|name| &name[..]));
        }
        let globals = Globals {
            version: self.version,
            time: self.time,
            horizon: self.horizon,
            settings: self.settings.to_vec(),
            newest_names: self.names.newest_ids().collect(),
            dedup_seed,
        };
        globals.add(&mut entries);
        let heads = lists.heads.clone();
        self.pending.frozen = Some(Frozen { lists, journal, entries, heads });
        self.pending.round += 1;
    }

    /// Writes down some more of the frozen round; false once there is no more.
    pub fn write_down(&mut self, count: usize) -> bool {
        if let Some(Frozen { lists: Lists { heads, rows, .. }, .. }) = &self.pending.frozen {
            self.warm_heads(&heads[heads.len().saturating_sub(count)..]);
            self.warm_rows(&rows[rows.len().saturating_sub(count)..]);
        }
        for _ in 0..count {
            let State { cells, pending, users, people, .. } = self;
            let Some(frozen) = &mut pending.frozen else { return false };
            if let Some(slot) = frozen.lists.heads.pop() {
                let newest = cells.get(slot).newest;
                if let Some(head) = cells.head_mut(slot) {
                    pending.write_down_head(head, newest);
                }
            } else if let Some((user, slot)) = frozen.lists.rows.pop() {
                if let Some(person) = users.get(&user).map(|index| &mut people[*index as usize])
                    && let Some(row) = person.row(slot).copied()
                    && pending.write_down_row(user, cells.get(slot).timeline, &row, person)
                    && let Some(row) = person.row_mut(slot)
                {
                    row.unsealed.0 += 1;
                }
            } else if let Some(user) = frozen.lists.people.pop() {
                if let Some(person) = users.get(&user).map(|index| &mut people[*index as usize])
                    && pending.write_down_person(user, person)
                {
                    person.unsealed.0 += 1;
                }
            } else {
                return false;
            }
        }
        true
    }

    /// Looks at these heads one after another, so that the memory fetches many at once.
    fn warm_heads(&self, slots: &[u32]) {
        let heads = slots.iter().filter_map(|slot| match &self.cells.get(*slot).standing {
            Standing::Here(head) => Some(head),
            Standing::Unknown | Standing::Absent => None,
        });
        let heads: Vec<&Head> = heads.map(|head| &**head).collect();
        let seen = heads.iter().map(|head| {
            let place = head.places.last().map_or(0, |place| place.offset());
            place ^ u64::from(head.unsealed.0) ^ head.tip.version ^ head.sides[0].time ^ head.sides[1].time
        });
        std::hint::black_box(seen.fold(0, |all, one| all ^ one));
    }

    /// The same for rows, each kind of thing that leads to them before the next.
    fn warm_rows(&self, rows: &[(UserId, u32)]) {
        let found = rows.iter().filter_map(|(user, slot)| Some((*self.users.get(user)?, *slot)));
        let found: Vec<(u32, u32)> = found.collect();
        let people = found.iter().map(|(index, slot)| (&self.people[*index as usize], *slot));
        let places: Vec<(&Person, usize)> =
            people.filter_map(|(person, slot)| Some((person, person.place(slot)?))).collect();
        let rows = places.iter().map(|(person, place)| {
            let row = &person.rows[*place];
            row.version ^ row.read_max ^ row.own_last
        });
        let cells = found.iter().map(|(_, slot)| self.cells.get(*slot).newest);
        std::hint::black_box(rows.chain(cells).fold(0, |all, one| all ^ one));
    }

    /// The rows of the frozen round, all written down.
    pub fn take_entries(&mut self) -> Entries {
        self.pending.frozen.as_mut().map(|frozen| std::mem::take(&mut frozen.entries)).unwrap_or_default()
    }

    /// The frozen round is on disk, and so is the index of its journal. The heads whose places that index
    /// has now. `decided` is the newest version that is decided, and nothing is decided meanwhile; asked for only
    /// while all is here.
    pub fn sealed(&mut self, decided: u64) -> Vec<u32> {
        let Some(frozen) = self.pending.frozen.take() else { return Vec::new() };
        self.pending.sealed = self.pending.round - 1;
        // Until now all of it was in memory.
        if std::mem::take(&mut self.pending.all_here) {
            self.pending.unpinned = decided;
            self.names.pin(decided);
        }
        self.dedup.forget_up_to(frozen.journal);
        self.names.sealed(&self.pending.lists.names);
        frozen.heads
    }

    /// Forgets the places of messages in `journal` and older ones: an index has them.
    pub fn forget_places(&mut self, heads: &[u32], journal: u64) {
        self.warm_heads(heads);
        for slot in heads {
            if let Some(head) = self.cells.head_mut(*slot) {
                head.index_up_to(journal);
                let has_places = !head.places.is_empty();
                self.reckon_head(*slot);
                // Messages that came before the round was frozen lie in the next journal already: its sealing has
                // to say of this head that they are indexed.
                if has_places {
                    self.touch_head(*slot);
                }
            }
        }
    }

    /// Forgets the commit times up to a version: rows on disk have them.
    pub fn forget_commit_times(&mut self, version: u64) {
        self.commit_times.forget_up_to(version);
    }

    /// Lets go of what is on disk and was not used since the last sweep, while more than `bytes_max` are in
    /// memory. At most `count` things are looked at. False if all is well.
    pub fn evict(&mut self, count: usize, bytes_max: usize) -> bool {
        if self.pending.is_all_here_at(self.version) {
            return false;
        }
        for _ in 0..count {
            if self.resident_bytes() <= bytes_max {
                return false;
            }
            let (position, people) = (self.pending.sweep, self.people.len());
            if position < people {
                self.evict_person(position);
            } else if position - people < self.cells.count() {
                self.evict_head((position - people) as u32);
            }
            self.pending.sweep = if position < people + self.cells.count() { position + 1 } else { 0 };
            self.close_ranks();
        }
        true
    }

    /// Where half of the places for users are nobody's, the last one is given up, and who stood there stands elsewhere.
    fn close_ranks(&mut self) {
        let State { users, people, free_people, .. } = self;
        if 2 * free_people.len() <= people.len() {
            return;
        }
        let Some(last) = people.pop() else { return };
        if !last.user.is_none() {
            // Places behind the end were given up since they became free.
            let free = std::iter::from_fn(|| free_people.pop()).find(|index| (*index as usize) < people.len());
            let Some(place) = free else {
                people.push(last);
                return;
            };
            users.insert(last.user, place);
            people[place as usize] = last;
        }
        if people.len() < people.capacity() / 2 {
            people.shrink_to(people.len() + people.len() / 8);
            free_people.retain(|index| (*index as usize) < people.len());
            users.shrink_to(2 * people.len());
        }
    }

    /// The most members that a group among some slots has in memory.
    pub fn members_max_here(&self, slots: std::ops::Range<usize>) -> u64 {
        let rosters = self.heads_here(slots).filter(|head| matches!(head.timeline, Timeline::Group(_)));
        rosters.filter_map(|head| head.roster.as_ref()).map(|roster| roster.len() as u64).max().unwrap_or(0)
    }

    /// The heads in memory among some slots.
    pub fn heads_here(&self, slots: std::ops::Range<usize>) -> impl Iterator<Item = &Head> {
        slots.take_while(|slot| *slot < self.cells.count()).filter_map(|slot| self.cells.head(slot as u32))
    }

    /// How many slots there are.
    pub fn slot_count(&self) -> usize {
        self.cells.count()
    }

    /// The timelines whose heads are in memory.
    pub fn timelines_here(&self) -> impl Iterator<Item = Timeline> + '_ {
        let here = self.cells.iter().filter(|(_, cell)| matches!(cell.standing, Standing::Here(_)));
        here.map(|(_, cell)| cell.timeline)
    }

    /// The users of whom something is in memory.
    pub fn users_here(&self) -> impl Iterator<Item = UserId> + '_ {
        self.users.keys().copied()
    }

    /// Reckons anew what a head takes.
    fn reckon_head(&mut self, slot: u32) {
        let State { cells, pending, .. } = self;
        if let Some(head) = cells.head_mut(slot) {
            let bytes = head.bytes();
            pending.reckon(&mut head.reckoned_bytes, bytes);
        }
    }

    /// Reckons anew what a user takes.
    fn reckon_person(&mut self, user: UserId) {
        let State { users, people, pending, .. } = self;
        let person = &mut people[users[&user] as usize];
        let bytes = person.bytes();
        pending.reckon(&mut person.reckoned_bytes, bytes);
    }

    /// How many things [`State::evict`] looks at in a sweep.
    pub fn sweep_length(&self) -> usize {
        self.people.len() + self.cells.count() + 1
    }

    fn evict_person(&mut self, index: usize) {
        let State { cells, pending, users, people, free_people, version, .. } = self;
        let person = &mut people[index];
        if person.user.is_none() {
            return;
        }
        if person.used.swap(false, Ordering::Relaxed) || person.pinned.load(Ordering::Relaxed) > *version {
            return;
        }
        let gone = person.retain(|row| !pending.is_on_disk(row.unsealed));
        for slot in gone {
            cells.get_mut(slot).rows -= 1;
            cells.remove_if_unheld(slot);
        }
        let is_nothing_left = person.rows.is_empty() && pending.is_on_disk(person.unsealed);
        let bytes = if is_nothing_left { 0 } else { person.bytes() };
        pending.reckon(&mut person.reckoned_bytes, bytes);
        if is_nothing_left {
            users.remove(&person.user);
            *person = Person::unknown(UserId::NONE);
            free_people.push(index as u32);
        }
    }

    fn evict_head(&mut self, slot: u32) {
        let State { cells, pending, version, .. } = self;
        let cell = cells.get_mut(slot);
        if cell.used.swap(false, Ordering::Relaxed) || cell.pinned.load(Ordering::Relaxed) > *version {
            return;
        }
        match &cell.standing {
            Standing::Here(head) if pending.is_on_disk(head.unsealed) && head.places.is_empty() => {
                if matches!(cell.timeline, Timeline::Broadcast(_)) {
                    return;
                }
                let mut reckoned = head.reckoned_bytes;
                pending.reckon(&mut reckoned, 0);
                cell.standing = Standing::Unknown;
            }
            Standing::Absent => {
                cell.standing = Standing::Unknown;
                cell.newest = NEWEST_UNKNOWN;
            }
            Standing::Here(_) | Standing::Unknown => return,
        }
        cells.remove_if_unheld(slot);
    }
}

impl Pending {
    /// What was reckoned at `before` takes so many bytes now.
    fn reckon(&mut self, before: &mut usize, bytes: usize) {
        self.resident_bytes = self.resident_bytes + bytes - *before;
        *before = bytes;
    }

    /// Whether a thing of the frozen round still is to be written down.
    fn is_frozen(&self, unsealed: Unsealed) -> bool {
        self.frozen.is_some() && unsealed == changed_in(self.round - 1)
    }

    fn write_down_head(&mut self, head: &mut Head, newest: u64) {
        if !self.is_frozen(head.unsealed) {
            return;
        }
        let Some(frozen) = &mut self.frozen else { return };
        let count = head.places.partition_point(|place| place.file_id() <= frozen.journal);
        let unit = count.checked_sub(1).map_or(head.unit, |last| head.places[last].file_id());
        stored::add_head(&mut frozen.entries, head, newest, head.indexed + count as u64, unit);
        let mut parts = std::mem::take(&mut head.parts);
        parts.sort_unstable();
        parts.dedup();
        stored::add_parts(&mut frozen.entries, head, &parts);
        head.unsealed.0 += 1;
    }

    fn write_down_row(&mut self, user: UserId, timeline: Timeline, row: &Row, person: &Person) -> bool {
        let is_frozen = self.is_frozen(row.unsealed);
        if let Some(frozen) = self.frozen.as_mut().filter(|_| is_frozen) {
            stored::add_row(&mut frozen.entries, user, timeline, row, person.notes(row));
        }
        is_frozen
    }

    fn write_down_person(&mut self, user: UserId, person: &Person) -> bool {
        let is_frozen = self.is_frozen(person.unsealed);
        if let Some(frozen) = self.frozen.as_mut().filter(|_| is_frozen) {
            stored::add_person(&mut frozen.entries, user, person.exists_since);
        }
        is_frozen
    }
}
