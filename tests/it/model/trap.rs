//! Situations in which stores of this kind go wrong, and how often a run met each of them.
//! Owns: the list of names and the counts. May touch: nothing.
//! Never: lets a name be counted that is not in the list.

use std::collections::BTreeMap;

/// Every trap that the random sequences must meet.
pub const TRAPS: &[&str] = &[
    "append: a retry is a duplicate",
    "append: a retry after its sender left is a duplicate",
    "append: a retry 1 µs before the end of the window",
    "append: a retry at the end of the window is written",
    "append: a client id comes back because the clock went back",
    "append: conflict of kind",
    "append: conflict of body with equal length",
    "append: a notice does not move its sender's mark",
    "append: a stranger sends to an open group",
    "append: one who left sends to an open group",
    "append: refused to one who left",
    "append: refused to a stranger",
    "append: unknown group",
    "append: sender is neither of the two",
    "append: id 0",
    "append: body above the limit",
    "append: timestamp equal to the timeline's last is refused",
    "append: timestamp 1 µs above the timeline's last",
    "append: timestamp at store time",
    "append: timestamp above store time is refused",
    "append: timestamp runs ahead of the commit time",
    "append: clock behind store time",
    "append: note to oneself",
    "append: empty body",
    "batch: repeats its own item",
    "batch: contradicts its own item",
    "batch: refused after good items",
    "batch: only duplicates",
    "batch: too long for a journal file",
    "group: rejoin where history is shown",
    "group: rejoin where it is not",
    "group: one who had sent as a stranger joins and sees it",
    "group: one who had sent after leaving joins again",
    "group: join while a member",
    "group: leave again",
    "group: bulk join with repeats and members",
    "group: created twice",
    "mark: moved back below own messages",
    "mark: back stopped at a floor",
    "mark: back above the end is refused",
    "mark: clamped at a ceiling",
    "mark: clamped to what is published",
    "mark: part of what is unread, own messages between",
    "mark: none, no session",
    "history: bounds are inverted",
    "history: bounds outside of what is visible",
    "history: two bounds of time with nothing between",
    "history: floor above 0 is the edge",
    "history: ceiling is the edge",
    "history: limit 0",
    "history: ended by bytes",
    "history: one message above the byte limit",
    "history: limit above its maximum",
    "history: never had the session",
    "list: own messages above the mark are not unread",
    "list: notices above the mark are not unread",
    "list: unread in a group that was left",
    "list: latest cut",
    "list: latest ended by bytes",
    "list: activity is the time of joining",
    "list: equal activity goes by peer",
    "list: a client id is no longer shown",
    "list: a walk over pages with a change between",
    "list: limit 0 with more to come",
    "list: cursor of an ended epoch goes on",
    "list: cursor reset",
    "list: an unknown epoch",
    "list: since the very time of a change",
    "list: catch-up leaves one out and takes a later one",
    "list: catch-up shows earlier messages to one who joined",
    "ticket: waited out of order",
    "ticket: buffered call not seen in a sync store",
    "crash: loses what was seen",
    "crash: loses what was not seen",
    "crash: takes a batch whole",
    "crash: loses nothing, no new epoch",
    "crash: second in a row",
    "store: more than one journal file",
];

/// How often each was met.
#[derive(Clone, Debug, Default)]
pub struct Traps(BTreeMap<&'static str, u64>);

impl Traps {
    pub fn hit(&mut self, name: &'static str) {
        self.hit_if(true, name);
    }

    pub fn hit_if(&mut self, is_met: bool, name: &'static str) {
        debug_assert!(TRAPS.contains(&name), "not in the list: {name}");
        if is_met {
            *self.0.entry(name).or_default() += 1;
        }
    }

    pub fn add(&mut self, other: &Traps) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    pub fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// One line for each trap, the rarest first.
    pub fn table(&self) -> String {
        let mut lines: Vec<(u64, &str)> = TRAPS.iter().map(|name| (self.count(name), *name)).collect();
        lines.sort();
        lines.iter().map(|(count, name)| format!("{count:>9}  {name}\n")).collect()
    }

    pub fn never_met(&self) -> Vec<&'static str> {
        TRAPS.iter().copied().filter(|name| self.count(name) == 0).collect()
    }
}
