//! Reads newest pages of many timelines: what they touch, how fast they come, whether they are right.
//! Owns: drawing timelines, the figures of a round. May touch: `traffic`.
//! Never: writes.

use super::traffic::{Random, Target, Town};
use restante::{HistoryQuery, Result, Store};
use std::time::Instant;

/// Messages of a page.
const PAGE: usize = 20;

/// Which timelines pages are read of.
#[derive(Clone, Copy)]
pub enum Of {
    Groups,
    Chats,
}

impl Of {
    pub fn name(self) -> &'static str {
        match self {
            Of::Groups => "groups",
            Of::Chats => "direct",
        }
    }
}

/// What a round of pages came to.
#[derive(Default)]
pub struct Round {
    pub pages: u64,
    /// Of these pages nothing was there.
    pub empty: u64,
    pub messages: u64,
    pub seconds: f64,
    /// Per page that was not empty, ascending.
    pub units: Vec<u64>,
    pub micros: Vec<f64>,
}

impl Round {
    pub fn rate(&self) -> f64 {
        self.pages as f64 / self.seconds
    }
}

/// The value below which this part of the sorted values lies.
pub fn quantile<T: Copy + Default>(sorted: &[T], part: f64) -> T {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Reads pages of random timelines; with `counts_units` it asks the store after each what it touched, which takes longer than
/// the page.
pub fn read(store: &Store, town: &Town, of: Of, pages: u64, seed: u64, counts_units: bool) -> Result<Round> {
    let mut random = Random(seed);
    let mut round = Round::default();
    let query = HistoryQuery::newest().limit(PAGE);
    for _ in 0..pages {
        let target = match of {
            Of::Groups => Target::Group(random.below(town.groups)),
            Of::Chats => Target::Direct(random.below(town.timelines)),
        };
        let (user, peer) = target.viewed(town);
        let before = if counts_units { store.statistics().look_ups.units_touched } else { 0 };
        let started = Instant::now();
        let page = store.history(user, peer, &query)?;
        let mut is_right = true;
        for message in &page.messages {
            is_right &= message.body.starts_with(&target.mark().to_le_bytes());
        }
        let took = started.elapsed().as_secs_f64();
        assert!(is_right, "a page of {peer} shows what was not written there");
        round.seconds += took;
        round.pages += 1;
        round.messages += page.messages.len() as u64;
        if page.messages.is_empty() {
            round.empty += 1;
            continue;
        }
        round.micros.push(took * 1e6);
        if counts_units {
            round.units.push(store.statistics().look_ups.units_touched - before);
        }
    }
    round.units.sort_unstable();
    round.micros.sort_by(f64::total_cmp);
    Ok(round)
}
