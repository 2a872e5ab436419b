//! Draws the operations of a run from a seed: few users, groups and ids, so that traps are met often.
//! Owns: how often what is drawn. May touch: `op`.
//! Never: looks into the store or the model.

use std::ops::Bound;

use restante::Durability;

use super::op::{
    Ask, At, How, Lost, Near, Op, PageSize, Point, Post, Restart, SLOTS, Step, Text, Time, To, With, Within, Write,
};
use crate::support::Rng;

/// On what the store of a run lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    Simulated,
    Mapped,
    Pread,
}

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    pub durability: Durability,
    pub files: Files,
}

/// The store and the operations that belong to a seed.
pub fn sequence(seed: u64) -> (Setup, Vec<Op>) {
    let mut rng = Rng::new(seed);
    // Real files are there for mapping and reading; the syncs of a `Sync` store would only cost time.
    let files = match rng.below(60) {
        0 => Files::Pread,
        1 | 2 => Files::Mapped,
        _ => Files::Simulated,
    };
    let durability = match files {
        Files::Simulated => rng.pick(&[Durability::Sync, Durability::Buffered]),
        _ => Durability::Buffered,
    };
    let habits = Habits {
        id_chance: rng.pick(&[20, 60, 95]),
        long_chance: rng.pick(&[0, 3, 30]),
        notice_chance: rng.pick(&[5, 25]),
        import_chance: rng.pick(&[2, 12]),
        group_chance: rng.pick(&[30, 60, 90]),
        repeat_chance: rng.pick(&[10, 30]),
        plain_chance: rng.pick(&[30, 70, 100]),
        users: rng.pick(&[2, 3, 5]),
        groups: rng.pick(&[1, 3]),
    };
    let length = rng.between(100, 200) as usize;
    let mut draw = Draw { rng, habits, posts: Vec::new(), ops: Vec::new() };
    for group in 1..=habits.groups {
        if draw.rng.percent(80) {
            let (shows_history, members_only) = (draw.rng.percent(50), draw.rng.percent(50));
            draw.write(Write::Create { group, shows_history, members_only });
        }
    }
    while draw.ops.len() < length {
        draw.step();
    }
    (Setup { seed, durability, files }, draw.ops)
}

/// What a run does more often than others do.
#[derive(Clone, Copy, Debug)]
struct Habits {
    id_chance: u64,
    long_chance: u64,
    notice_chance: u64,
    import_chance: u64,
    group_chance: u64,
    repeat_chance: u64,
    plain_chance: u64,
    users: u8,
    groups: u8,
}

struct Draw {
    rng: Rng,
    habits: Habits,
    /// Posts with a client id, to be sent again.
    posts: Vec<Post>,
    ops: Vec<Op>,
}

impl Draw {
    fn step(&mut self) {
        match self.rng.below(1015) {
            0..300 => {
                let post = self.post();
                self.write(Write::Append(post));
            }
            300..360 => {
                let posts = self.batch();
                self.write(Write::Batch(posts));
            }
            360..364 => {
                let (by, to) = (self.member(), self.member());
                self.write(Write::TooLong { by, to });
            }
            364..374 => {
                let (group, shows_history, members_only) = (self.group(), self.rng.percent(50), self.rng.percent(50));
                self.write(Write::Create { group, shows_history, members_only });
            }
            374..444 => {
                let (group, by) = (self.group(), self.member_or_none());
                self.write(Write::Join { group, by });
            }
            444..460 => {
                let group = self.group();
                let count = self.rng.below(8);
                let users = (0..count).map(|_| self.member_or_none()).collect();
                self.write(Write::JoinMany { group, users });
            }
            460..505 => {
                let (group, by) = (self.group_or_unknown(), self.member_or_none());
                self.write(Write::Leave { group, by });
            }
            505..590 => {
                let (by, with, upto) = (self.asker_or_none(), self.with(), self.point());
                self.write(Write::Read { by, with, upto });
            }
            590..650 => {
                let (by, with, seq) = (self.asker_or_none(), self.with(), self.point());
                self.write(Write::UnreadFrom { by, with, seq });
            }
            650..750 => {
                let (by, with, ask) = (self.asker_or_none(), self.with(), self.ask());
                self.ops.push(Op::History { by, with, ask });
            }
            750..820 => {
                let (by, slot, page) = (self.asker(), self.slot(), self.page_size());
                let through_bytes = self.rng.percent(30);
                self.ops.push(Op::Changed { by, slot, page, through_bytes });
            }
            820..835 => {
                let (by, slot, page, time) = (self.asker(), self.slot(), self.page_size(), self.time());
                self.ops.push(Op::Since { by, slot, page, time });
            }
            835..870 => {
                let (by, slot, page) = (self.asker(), self.slot(), self.page_size());
                let messages = self.rng.pick(&[None, None, Some(0), Some(1), Some(3), Some(10_000), Some(10_001)]);
                let bytes = self.rng.pick(&[None, None, Some(0), Some(20), Some(5_000), Some(64 << 20)]);
                self.ops.push(Op::CatchUp { by, slot, page, messages, bytes });
            }
            870..895 => {
                let (by, again, page) = (self.asker(), self.rng.percent(60), self.page_size());
                self.ops.push(Op::Recent { by, again, page });
            }
            895..905 => {
                let by = self.asker();
                self.ops.push(Op::Totals { by });
            }
            905..940 => {
                let step = self.clock_step();
                self.ops.push(Op::Clock(step));
            }
            940..952 => self.window(),
            952..962 => self.ops.push(Op::Sync),
            962..974 => {
                let newest_first = self.rng.percent(50);
                self.ops.push(Op::Wait { newest_first });
            }
            974..980 => {
                let (by, slot) = (self.asker(), self.slot());
                self.ops.push(Op::Forget { by, slot });
            }
            980..985 => {
                let (by, source, target) = (self.asker(), self.slot(), self.slot());
                self.ops.push(Op::Copy { by, source, target });
            }
            _ => {
                let restart = self.restart();
                self.ops.push(Op::Restart(restart));
                if self.rng.percent(10) {
                    let again = self.restart();
                    self.ops.push(Op::Restart(again));
                }
            }
        }
    }

    fn write(&mut self, write: Write) {
        let how = match self.rng.percent(self.habits.plain_chance) {
            true => How::Plain,
            false => self.rng.pick(&[How::Plain, How::Synced, How::Buffered, How::Later, How::Later, How::Dropped]),
        };
        self.ops.push(Op::Write(how, write));
    }

    fn post(&mut self) -> Post {
        if !self.posts.is_empty() && self.rng.percent(self.habits.repeat_chance) {
            let back = self.rng.below(8.min(self.posts.len() as u64)) as usize;
            let post = self.posts[self.posts.len() - 1 - back];
            return match self.rng.below(10) {
                0 => Post { kind: post.kind + 1, ..post },
                1 => Post { text: Text(post.text.0 ^ 1, post.text.1), ..post },
                2 => Post { counts: !post.counts, at: At::Last(-1), ..post },
                _ => post,
            };
        }
        let by = self.member_or_none();
        let to = match self.rng.below(200) {
            0 => To::Pair(self.member(), self.member_or_none()),
            1 => To::Group(self.group_or_unknown()),
            _ if self.rng.percent(self.habits.group_chance) => To::Group(self.group()),
            _ => To::User(self.member_or_none()),
        };
        let id = if self.rng.percent(self.habits.id_chance) { self.rng.between(1, 4) as u8 } else { 0 };
        let length = match self.rng.below(200) {
            0 if !is_faulty(by, to) => 17_000,
            1..=20 => 0,
            _ if self.rng.percent(self.habits.long_chance) => self.rng.between(2_000, 10_000),
            _ => self.rng.between(1, 40),
        };
        let at = match self.rng.percent(self.habits.import_chance) {
            false => At::Unset,
            true if self.rng.percent(50) => At::Last(self.rng.pick(&[-1, 0, 1, 1, 2, 1_000_000])),
            true => At::Store(self.rng.pick(&[-1, 0, 0, 1])),
        };
        let text = Text(self.rng.below(4) as u8, length as usize);
        let (kind, counts) = (self.rng.pick(&[0, 0, 1, 65_000]), !self.rng.percent(self.habits.notice_chance));
        let post = Post { by, to, id, text, kind, counts, at };
        if id != 0 {
            self.posts.push(post);
        }
        post
    }

    /// A batch that fits into a quarter of a journal file, whatever is around the bodies.
    fn batch(&mut self) -> Vec<Post> {
        let mut posts: Vec<Post> = Vec::new();
        for _ in 0..self.rng.below(8) {
            let post = match posts.is_empty() || self.rng.percent(70) {
                true => self.post(),
                false => self.rng.pick(&posts),
            };
            posts.push(match self.rng.below(20) {
                0 => Post { kind: post.kind + 1, ..post },
                _ => post,
            });
        }
        let mut room = 12_000;
        posts.retain(|post| {
            let fits = post.text.1 <= room;
            room -= if fits { post.text.1 } else { 0 };
            fits
        });
        let is_sound = posts.iter().all(|post| !is_faulty(post.by, post.to));
        if self.rng.percent(5) && !posts.is_empty() && is_sound {
            let index = self.rng.below(posts.len() as u64) as usize;
            posts[index] = Post { by: 1, to: To::User(2), id: 0, text: Text(0, 17_000), ..posts[index] };
        }
        posts
    }

    /// Sends something, then again just before and just after its window ends.
    fn window(&mut self) {
        let Some(post) = self.posts.last().copied() else { return };
        let post = Post { at: At::Unset, ..post };
        let again = Op::Write(How::Plain, Write::Append(post));
        let clock_at = |offset| Op::Clock(Step::Window { post, offset });
        if self.rng.percent(30) {
            self.ops.extend([again.clone(), clock_at(0), clock_at(-1), again.clone()]);
        }
        self.ops.extend([again.clone(), clock_at(-1), again.clone()]);
        let (by, with) = (self.member(), self.with());
        let ask = Ask { newest: true, within: Within::All, limit: None, bytes: None };
        self.ops.extend([clock_at(0), Op::History { by, with, ask }, again]);
    }

    fn ask(&mut self) -> Ask {
        let within = match self.rng.below(10) {
            0..4 => Within::All,
            4..8 => Within::Seqs(self.seq_bound(), self.seq_bound()),
            _ => Within::Times(self.time_bound(), self.time_bound()),
        };
        Ask {
            newest: self.rng.percent(50),
            within,
            limit: self.rng.pick(&[None, None, Some(0), Some(1), Some(2), Some(3), Some(7), Some(1_000), Some(1_001)]),
            bytes: self.rng.pick(&[None, None, None, Some(0), Some(1), Some(30), Some(5_000), Some((16 << 20) + 1)]),
        }
    }

    fn seq_bound(&mut self) -> Bound<u64> {
        let seq = match self.rng.below(20) {
            0 => u64::MAX,
            1 => 1_000,
            _ => self.rng.below(14),
        };
        self.bound(seq)
    }

    fn time_bound(&mut self) -> Bound<Near> {
        let near = Near(self.rng.between(1, 14), self.rng.pick(&[-1, 0, 0, 1]));
        self.bound(near)
    }

    fn bound<T>(&mut self, value: T) -> Bound<T> {
        match self.rng.below(4) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(value),
            _ => Bound::Included(value),
        }
    }

    fn point(&mut self) -> Point {
        match self.rng.below(10) {
            0..6 => Point::End(self.rng.pick(&[-5, -3, -2, -1, 0, 0, 0, 1])),
            6 => Point::Seq(self.rng.pick(&[0, u64::MAX])),
            _ => Point::Seq(self.rng.between(1, 14)),
        }
    }

    fn time(&mut self) -> Time {
        match self.rng.below(5) {
            0 => Time::Zero,
            1 => Time::Store(self.rng.pick(&[-1, 0, 1])),
            _ => Time::Change(self.rng.below(40), self.rng.pick(&[-1, 0, 1])),
        }
    }

    fn clock_step(&mut self) -> Step {
        const SECOND: u64 = 1_000_000;
        match self.rng.below(10) {
            0..5 => Step::Forward(self.rng.between(1, 30)),
            5..8 => Step::Forward(self.rng.between(1, 40 * 3_600) * SECOND),
            _ => Step::Back(self.rng.pick(&[1, 5, SECOND, 3_600 * SECOND])),
        }
    }

    fn restart(&mut self) -> Restart {
        match self.rng.below(10) {
            0..2 => Restart::Close,
            2..4 => Restart::Drop,
            _ => {
                let lost = self.rng.pick(&[Lost::Nothing, Lost::All, Lost::Prefix, Lost::Random]);
                Restart::Crash(lost, self.rng.below(1 << 20))
            }
        }
    }

    fn page_size(&mut self) -> PageSize {
        PageSize {
            limit: self.rng.pick(&[None, None, Some(0), Some(1), Some(1), Some(2), Some(3), Some(1_000), Some(1_001)]),
            latest: self.rng.pick(&[None, None, None, Some(0), Some(2), Some(5), Some(20), Some(21)]),
        }
    }

    fn slot(&mut self) -> usize {
        self.rng.below(SLOTS as u64) as usize
    }

    fn member(&mut self) -> u8 {
        self.rng.between(1, u64::from(self.habits.users)) as u8
    }

    fn asker(&mut self) -> u8 {
        if self.rng.percent(4) { 6 } else { self.member() }
    }

    fn member_or_none(&mut self) -> u8 {
        if self.rng.below(150) == 0 { 0 } else { self.member() }
    }

    fn asker_or_none(&mut self) -> u8 {
        if self.rng.below(150) == 0 { 0 } else { self.asker() }
    }

    fn group(&mut self) -> u8 {
        self.rng.between(1, u64::from(self.habits.groups)) as u8
    }

    fn group_or_unknown(&mut self) -> u8 {
        match self.rng.below(40) {
            0 => 0,
            1 => 4,
            _ => self.group(),
        }
    }

    fn with(&mut self) -> With {
        match self.rng.percent(self.habits.group_chance) {
            true => With::Group(self.group_or_unknown()),
            false => With::User(self.asker_or_none()),
        }
    }
}

/// A faulty input is kept apart from one above a limit: which of the two is told first is open.
fn is_faulty(by: u8, to: To) -> bool {
    by == 0 || matches!(to, To::Pair(..) | To::User(0) | To::Group(0))
}
