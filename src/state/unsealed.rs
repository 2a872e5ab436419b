//! What of the state the disk does not have, and the way there.
//! Owns: `Pending`, the lists of what changed, writing it down. May touch: the state's things and `stored`.
//! Never: does I/O, or writes a thing down as it was not at the moment that counts.
//!
//! Sealings are counted in rounds. What changes is noted once in the lists of the present round. *Freezing*
//! ends a round at one version: whatever the lists name goes to disk as it was then. It is written down
//! little by little; what changes before its turn is written down just before it does.

use super::State;
use super::cells::Standing;
use super::growth::push_exactly;
use super::member::{Person, Row};
use super::stored::{self, Entries, Globals};
use super::timeline::{Head, Part, Tip, Unsealed};
use crate::id::{NameKind, Source, Timeline, UserId};
use crate::settings::GroupSettings;
use std::sync::Arc;

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
    pub resident_bytes: usize,
    /// Where letting go has got to.
    pub sweep: usize,
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
    pub fn is_all_here_at(&self, version: u64) -> bool {
        self.all_here || version < self.unpinned
    }

    pub fn is_on_disk(&self, unsealed: Unsealed) -> bool {
        unsealed.0 <= 2 * self.sealed + 1
    }
}

/// Changed in a round; one more once it is written down.
fn changed_in(round: u32) -> Unsealed {
    Unsealed(2 * round)
}

impl State {
    /// A user's place, made if there is none.
    pub(super) fn person_or_insert(&mut self, user: UserId) -> &mut Person {
        let index = self.index_or_insert(user);
        &mut self.people[index]
    }

    pub(super) fn index_or_insert(&mut self, user: UserId) -> usize {
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

    /// Reckons anew what a head takes.
    pub(super) fn reckon_head(&mut self, slot: u32) {
        let State { cells, pending, .. } = self;
        if let Some(head) = cells.head_mut(slot) {
            let bytes = head.bytes();
            pending.reckon(&mut head.reckoned_bytes, bytes);
        }
    }

    /// Reckons anew what a user takes.
    pub(super) fn reckon_person(&mut self, user: UserId) {
        let State { users, people, pending, .. } = self;
        let person = &mut people[users[&user] as usize];
        let bytes = person.bytes();
        pending.reckon(&mut person.reckoned_bytes, bytes);
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
        let position = self.people[index].position(slot).unwrap_or_else(|| self.add_row(user, slot));
        let State { cells, pending, people, .. } = self;
        let person = &mut people[index];
        let now = changed_in(pending.round);
        if person.rows[position].unsealed != now {
            let row = person.rows[position];
            pending.write_down_row(user, cells.get(slot).timeline, &row, person);
            pending.lists.rows.push((user, slot));
        }
        let row = &mut person.rows[position];
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
        let position = person.rows.len() - 1;
        self.reckon_person(user);
        position
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
            let rows_count = count.saturating_sub(heads.len());
            self.warm_heads(&heads[heads.len().saturating_sub(count)..]);
            self.warm_rows(&rows[rows.len().saturating_sub(rows_count)..]);
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

    /// The same for rows of users at slots.
    fn warm_rows(&self, rows: &[(UserId, u32)]) {
        let found = rows.iter().filter_map(|(user, slot)| Some((*slot, *self.users.get(user)?)));
        let found: Vec<(u32, u32)> = found.collect();
        let cells = found.iter().map(|(slot, _)| self.cells.get(*slot).newest);
        std::hint::black_box(cells.fold(0, |all, one| all ^ one));
        self.warm_rows_of(&found);
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
}

impl Pending {
    /// What was reckoned at `before` takes so many bytes now.
    pub(super) fn reckon(&mut self, before: &mut usize, bytes: usize) {
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
