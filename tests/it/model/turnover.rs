//! What a store does with its files by itself, done on purpose and often: sealing, merging, purging, letting go.
//! Owns: how small files and budgets are, where in a run that happens, what is seen of it. May touch: `run`, `op`.
//! Never: changes anything that a reader could tell.

use std::path::PathBuf;

use restante::{Options, Statistics, Store};

use super::op::{How, Op, Write};
use super::run::{Checked, Ground, Run, hold, must, same};
use super::word::{Ask, At, Post, Text, To, USERS, With, Within};
use crate::support::Rng;

/// Timelines that only fill the memory, each of two users of its own.
const CROWD: u64 = 100;
/// So many of them are written to at once.
const AT_ONCE: u64 = 25;

/// How soon a store needs another file, and lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub memory_bytes_max: Option<u64>,
    pub merge_fan_in: usize,
}

impl Sizes {
    /// Of a store that does all that as late as it can.
    pub const LARGE: Sizes = Sizes { memory_bytes_max: None, merge_fan_in: 16 };

    pub fn draw(seed: u64) -> Sizes {
        let mut rng = Rng::new(seed ^ 0x517e);
        let memory_bytes_max = if rng.percent(90) { Some(64 << 10) } else { None };
        Sizes { memory_bytes_max, merge_fan_in: rng.between(2, 4) as usize }
    }

    pub fn set(self, options: Options) -> Options {
        let options = options.merge_fan_in(self.merge_fan_in);
        match self.memory_bytes_max {
            Some(bytes) => options.memory_bytes_max(bytes),
            None => options,
        }
    }
}

/// Puts between the operations of a run what turns its files over.
pub fn sprinkle(seed: u64, ops: Vec<Op>) -> Vec<Op> {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let seal_chance = rng.pick(&[0, 0, 0, 3, 10, 30]);
    let purge_chance = rng.pick(&[0, 1, 5]);
    let backup_chance = rng.pick(&[0, 0, 2]);
    let crowd_chance = rng.pick(&[0, 3, 3]);
    let mut sprinkled = Vec::with_capacity(2 * ops.len());
    if crowd_chance > 0 {
        sprinkled.extend((0..CROWD / AT_ONCE).map(|part| Op::Crowd { first: (part * AT_ONCE) as u8, looks: false }));
    }
    for op in ops {
        sprinkled.push(op);
        if rng.percent(seal_chance) {
            sprinkled.push(Op::Seal);
        }
        if rng.percent(purge_chance) {
            sprinkled.push(Op::Purge);
        }
        if rng.percent(crowd_chance) {
            let first = rng.below(CROWD - AT_ONCE + 1) as u8;
            sprinkled.push(Op::Crowd { first, looks: rng.percent(30) });
        }
        if rng.percent(backup_chance) {
            sprinkled.push(Op::Backup);
        }
        if rng.percent(seal_chance) && rng.percent(20) {
            sprinkled.push(Op::Verify);
        }
        if rng.percent(1) {
            sprinkled.push(Op::Pause(rng.percent(30)));
        }
        if rng.percent(seal_chance) && rng.percent(10) {
            sprinkled.push(Op::Look);
        }
    }
    sprinkled
}

/// What a store did in the background of a run, and the newest copy of it.
#[derive(Debug, Default)]
pub struct Turnover {
    /// As of the last look; counted since the store was opened.
    before: Statistics,
    copies: u64,
    copy: Option<Copy>,
}

impl Turnover {
    /// A store was opened.
    pub fn begin(&mut self) {
        self.before = Statistics::default();
    }
}

/// A backup, and what it must hold.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
    version: u64,
    digest: u64,
}

impl Run<'_> {
    /// Seals, merges, and holds that nobody can tell.
    pub fn seal(&mut self) -> Checked {
        self.sync()?;
        let before = must("digest", self.store().state_digest())?;
        must("seal", self.store().seal())?;
        self.sync()?;
        same("digest after sealing", &must("digest", self.store().state_digest())?, &before)?;
        self.note_work();
        Ok(())
    }

    /// Takes out what nobody may see, and holds that nobody can tell.
    pub fn purge(&mut self) -> Checked {
        self.sync()?;
        let before = must("digest", self.store().state_digest())?;
        let purged = must("purge", self.store().purge())?;
        self.sync()?;
        same("digest after purging", &must("digest", self.store().state_digest())?, &before)?;
        self.traps.hit_if(purged.files > 0, "disk: purged");
        let again = must("purge again", self.store().purge())?;
        same("files that a second purge finds", &again.files, &0)?;
        self.note_work();
        Ok(())
    }

    pub fn pause(&mut self, pause: bool) -> Checked {
        self.store().pause_merges(pause);
        Ok(())
    }

    /// Users whom nobody else knows write to each other, or look.
    pub fn crowd(&mut self, first: u8, looks: bool) -> Checked {
        let pairs = (first..first + AT_ONCE as u8).map(|number| {
            let by = USERS.len() as u8 + 2 * number;
            (by, by + 1)
        });
        if looks {
            let ask = Ask { newest: true, within: Within::All, limit: Some(3), bytes: None };
            return pairs.into_iter().try_for_each(|(one, other)| {
                self.ask_history(one, With::User(other), &ask)?;
                self.ask_totals(other)
            });
        }
        let posts: Vec<Post> = pairs
            .map(|(by, other)| Post {
                by,
                to: To::User(other),
                id: by % 3,
                text: Text(by, usize::from(by)),
                kind: 0,
                counts: by % 5 > 0,
                at: At::Unset,
                mentions: 0,
                alerts: 0,
            })
            .collect();
        posts.into_iter().try_for_each(|post| self.write(How::Plain, &Write::Append(post)))
    }

    /// Every byte is as it should be.
    pub fn verify(&mut self) -> Checked {
        let verified = must("verify", self.store().verify())?;
        let units = self.store().statistics().work.units;
        self.traps.hit_if(units > 2, "disk: verified with much in segments");
        hold(verified.is_whole(), || format!("damage where there is none: {verified:?}"))
    }

    /// Copies the store. The copy before is still what it was, whatever happened to the files that it shared.
    pub fn back_up(&mut self) -> Checked {
        self.sync()?;
        self.check_copy()?;
        self.turnover.copies += 1;
        let name = format!("copy-{}", self.turnover.copies);
        let path = match &self.files {
            Ground::Simulated(_) => PathBuf::from(name),
            Ground::Directory(dir, _) => dir.path().with_extension(name),
        };
        let made = must("back up", self.store().backup(&path))?;
        let version = self.world.published();
        same("version of a copy", &made.version.get(), &version)?;
        let digest = must("digest", self.store().state_digest())?;
        self.turnover.copy = Some(Copy { path, version, digest });
        self.check_copy()
    }

    /// Opens the newest copy and holds it against what was copied.
    pub fn check_copy(&mut self) -> Checked {
        let Some(Copy { path, version, digest }) = &self.turnover.copy else { return Ok(()) };
        let store = match &self.files {
            Ground::Simulated(storage) => {
                let copy = storage.copy_at(path).ok_or_else(|| format!("no copy at {path:?}"))?;
                // Every other one is looked at as an administrator would, the others are made stores of their own.
                match self.turnover.copies % 2 {
                    0 => Store::open_on(copy.read_only(), self.options()),
                    _ => Store::open_on(copy.deep_clone(), self.options()),
                }
            }
            Ground::Directory(..) => Store::open_read_only(path, self.options()),
        };
        let store = must("open a copy", store)?;
        same("version in a copy", &store.version().get(), version)?;
        same("digest of a copy", &must("digest of a copy", store.state_digest())?, digest)?;
        let verified = must("verify a copy", store.verify())?;
        hold(verified.is_whole(), || format!("damage in a copy: {verified:?}"))?;
        self.traps.hit_if(self.world.published() > *version, "disk: a copy of before is as it was");
        Ok(())
    }

    /// The end of the run: no copy stays in the directory of the machine.
    pub fn drop_copies(&mut self) -> Checked {
        self.check_copy()?;
        if let Ground::Directory(dir, _) = &self.files {
            for number in 1..=self.turnover.copies {
                let removed = std::fs::remove_dir_all(dir.path().with_extension(format!("copy-{number}")));
                removed.map_err(|error| format!("remove a copy: {error}"))?;
            }
        }
        Ok(())
    }

    /// Counts what the store did since this was last asked.
    pub fn note_work(&mut self) {
        let now = self.store().statistics();
        let before = std::mem::replace(&mut self.turnover.before, now.clone());
        self.traps.hit_times(now.work.seals - before.work.seals, "disk: sealed");
        self.traps.hit_times(now.work.row_merges - before.work.row_merges, "disk: rows merged");
        self.traps.hit_times(now.work.unit_merges - before.work.unit_merges, "disk: messages merged");
        self.traps.hit_times(now.cache.loads - before.cache.loads, "disk: loaded");
        self.traps.hit_if(now.memory.resident_bytes < before.memory.resident_bytes, "disk: let go");
    }
}
