//! The slots of timelines: where a head stands in memory, if it does.
//! Owns: `Cells`, which slot a timeline has and when it is given to another. May touch: `timeline`.
//! Never: lets go of a head that is not on disk, or of a slot that a row holds.

use super::growth::push_exactly;
use super::timeline::Head;
use crate::id::{GroupId, Timeline};
use ahash::RandomState;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is known of a timeline's head.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It may be on disk.
    Unknown,
    /// There is no such timeline.
    Absent,
    Here(Box<Head>),
}

/// [`Cell::newest`] while nobody knows it: newer than every cursor, so that whoever asks loads the head.
pub(super) const NEWEST_UNKNOWN: u64 = u64::MAX;

/// One slot. It stays with its timeline as long as a row in memory holds it, whatever becomes of the head.
#[derive(Debug)]
pub(super) struct Cell {
    /// The version of the newest change that any user could see here, but for those of rows.
    pub newest: u64,
    pub timeline: Timeline,
    pub standing: Standing,
    /// How many rows in memory hold the slot.
    pub rows: u32,
    /// The newest change of it that was sequenced: until that is published, it stays.
    pub pinned: AtomicU64,
    /// Looked at since the last sweep.
    pub used: AtomicBool,
}

impl Clone for Cell {
    fn clone(&self) -> Cell {
        Cell {
            pinned: AtomicU64::new(self.pinned.load(Ordering::Relaxed)),
            used: AtomicBool::new(true),
            standing: self.standing.clone(),
            ..*self
        }
    }
}

/// All slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    slots: HashMap<Timeline, u32, RandomState>,
    cells: Vec<Cell>,
    free: Vec<u32>,
}

/// The name of a slot that belongs to nobody.
const NOBODY: Timeline = Timeline::Group(GroupId::NONE);

impl Cells {
    pub fn slot(&self, timeline: Timeline) -> Option<u32> {
        self.slots.get(&timeline).copied()
    }

    /// The slot of a timeline, made if it has none.
    pub fn slot_or_insert(&mut self, timeline: Timeline) -> u32 {
        if let Some(slot) = self.slots.get(&timeline) {
            return *slot;
        }
        let cell = Cell {
            newest: NEWEST_UNKNOWN,
            timeline,
            standing: Standing::Unknown,
            rows: 0,
            pinned: AtomicU64::new(0),
            used: AtomicBool::new(true),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.cells[slot as usize] = cell;
                slot
            }
            None => {
                push_exactly(&mut self.cells, cell);
                (self.cells.len() - 1) as u32
            }
        };
        self.slots.insert(timeline, slot);
        slot
    }

    #[inline]
    pub fn get(&self, slot: u32) -> &Cell {
        &self.cells[slot as usize]
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> &mut Cell {
        &mut self.cells[slot as usize]
    }

    /// What is known of the head at a slot. Whoever asks uses it: it survives the next sweep.
    #[inline]
    pub fn standing(&self, slot: u32) -> &Standing {
        let cell = &self.cells[slot as usize];
        if !cell.used.load(Ordering::Relaxed) {
            cell.used.store(true, Ordering::Relaxed);
        }
        &cell.standing
    }

    /// The head at a slot, if it is in memory.
    #[inline]
    pub fn head(&self, slot: u32) -> Option<&Head> {
        match self.standing(slot) {
            Standing::Here(head) => Some(head),
            Standing::Unknown | Standing::Absent => None,
        }
    }

    pub fn head_mut(&mut self, slot: u32) -> Option<&mut Head> {
        match &mut self.cells[slot as usize].standing {
            Standing::Here(head) => Some(head),
            Standing::Unknown | Standing::Absent => None,
        }
    }

    /// Lets go of a slot that no row holds and of which nothing is in memory.
    pub fn remove_if_unheld(&mut self, slot: u32) {
        let cell = &mut self.cells[slot as usize];
        if cell.rows == 0 && !matches!(cell.standing, Standing::Here(_)) && cell.timeline != NOBODY {
            self.slots.remove(&cell.timeline);
            (cell.timeline, cell.standing) = (NOBODY, Standing::Unknown);
            self.free.push(slot);
        }
    }

    /// About how many bytes they take in memory, besides the heads.
    pub fn bytes(&self) -> usize {
        let slot_bytes = size_of::<Timeline>() + size_of::<u32>() + 2;
        self.cells.capacity() * size_of::<Cell>() + self.slots.capacity() * slot_bytes
    }

    /// How many slots there are, those that belong to nobody included.
    pub fn count(&self) -> usize {
        self.cells.len()
    }

    /// All slots that are somebody's.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Cell)> {
        let taken = self.cells.iter().enumerate().filter(|(_, cell)| cell.timeline != NOBODY);
        taken.map(|(slot, cell)| (slot as u32, cell))
    }
}
