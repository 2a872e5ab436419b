//! Draws the operations of a run from a seed: few users, groups and ids, so that traps are met often.
//! Owns: how often what is drawn. May touch: `op`, `word`, `dice`.
//! Never: looks into the store or the model.

use restante::Durability;

use super::op::{How, Op, SENDING, Write};
use super::turnover::{Sizes, sprinkle};
use super::word::{Ask, At, Lost, PageSize, Point, Post, Restart, Step, Text, To, With, Within};
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
    pub sizes: Sizes,
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
    let length = rng.between(150, 400) as usize;
    let focus = match rng.below(10) {
        0..2 => Some(To::Pair(1, 2)),
        2..4 => Some(To::Group(1)),
        4 => Some(To::Inbox(SENDING[1], 1)),
        5 => Some(To::Broadcast(SENDING[0])),
        6 => Some(To::Pair(1, 1)),
        _ => None,
    };
    let habits = Habits {
        id_chance: rng.pick(&[20, 60, 95]),
        long_chance: rng.pick(&[0, 3, 30]),
        notice_chance: rng.pick(&[5, 25]),
        import_chance: rng.pick(&[2, 12]),
        group_chance: rng.pick(&[30, 60, 90]),
        source_chance: rng.pick(&[0, 10, 40]),
        repeat_chance: rng.pick(&[10, 30]),
        plain_chance: rng.pick(&[30, 70, 100]),
        mention_chance: rng.pick(&[5, 30]),
        amend_weight: rng.pick(&[60, 200]),
        session_weight: rng.pick(&[60, 160]),
        people_weight: rng.pick(&[8, 30, 60]),
        again_chance: rng.pick(&[0, 3, 8]),
        settings_weight: rng.pick(&[0, 5, 20]),
        end_weight: rng.pick(&[0, 4, 12]),
        trim_weight: rng.pick(&[0, 0, 10, 60]),
        keep_chance: rng.pick(&[0, 50, 90]),
        users: rng.pick(&[2, 3, 5]),
        groups: rng.pick(&[1, 3]),
        focus,
    };
    let mut draw = Draw { rng, habits, posts: Vec::new(), ops: Vec::new() };
    for group in 1..=habits.groups {
        if draw.rng.percent(80) {
            let (shows_history, members_only) = (draw.rng.percent(50), draw.rng.percent(50));
            let keep = draw.own_keep();
            draw.write(Write::Create { group, shows_history, members_only, keep });
        }
    }
    while draw.ops.len() < length {
        draw.step();
    }
    (Setup { seed, durability, files, sizes: Sizes::draw(seed) }, sprinkle(seed, draw.ops))
}

/// What a run does more often than others do.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub id_chance: u64,
    pub long_chance: u64,
    pub notice_chance: u64,
    pub import_chance: u64,
    pub group_chance: u64,
    pub source_chance: u64,
    pub repeat_chance: u64,
    pub plain_chance: u64,
    pub mention_chance: u64,
    pub amend_weight: u64,
    pub session_weight: u64,
    pub people_weight: u64,
    /// How often what was done unsynced is asked for again by one who syncs.
    pub again_chance: u64,
    pub settings_weight: u64,
    /// Of what ends something for good, or nearly: dissolving, removing users, the horizon.
    pub end_weight: u64,
    /// Of what lets messages go, and how often anything is told to let them go.
    pub trim_weight: u64,
    pub keep_chance: u64,
    pub users: u8,
    pub groups: u8,
    /// Where most of it happens.
    pub focus: Option<To>,
}

pub struct Draw {
    pub rng: Rng,
    pub habits: Habits,
    /// Posts with a client id, to be sent again.
    pub posts: Vec<Post>,
    pub ops: Vec<Op>,
}

/// Draws one operation, or a few that belong together.
type Draws = fn(&mut Draw);

impl Draw {
    fn step(&mut self) {
        let habits = self.habits;
        // Each with its weight; the first whose turn comes is taken.
        let steps: [(u64, Draws); 11] = [
            (430, Draw::send),
            (130, Draw::member),
            (160, Draw::mark),
            (habits.amend_weight, Draw::amend),
            (habits.session_weight, Draw::keep_session),
            (habits.people_weight, Draw::people),
            (habits.settings_weight, Draw::rule),
            (habits.end_weight, Draw::end),
            (habits.trim_weight, Draw::trim),
            (420, Draw::ask),
            (110, Draw::pass),
        ];
        let mut turn = self.rng.below(steps.iter().map(|(weight, _)| weight).sum());
        for (weight, step) in steps {
            if turn < weight {
                return step(self);
            }
            turn -= weight;
        }
    }

    pub fn write(&mut self, write: Write) {
        let how = match self.rng.percent(self.habits.plain_chance) {
            true => How::Plain,
            false => self.rng.pick(&[How::Plain, How::Synced, How::Buffered, How::Later, How::Later, How::Dropped]),
        };
        // Asked again by one who wants to be sure, what is not yet durable must become so.
        if self.rng.percent(self.habits.again_chance) {
            self.ops.push(Op::Write(How::Buffered, write.clone()));
            return self.ops.push(Op::Write(How::Synced, write));
        }
        self.ops.push(Op::Write(how, write));
    }

    /// What was just done without a sync, and something that is now refused, or no change, for one who syncs.
    fn rest_on(&mut self, cause: Write, then: Write) {
        self.ops.push(Op::Write(How::Buffered, cause));
        self.ops.push(Op::Write(How::Synced, then));
    }

    fn send(&mut self) {
        match self.rng.below(100) {
            0..82 => {
                let post = self.post();
                self.write(Write::Append(post));
            }
            82..99 => {
                let posts = self.batch();
                self.write(Write::Batch(posts));
            }
            _ => {
                let (by, to) = (self.someone(), self.someone());
                self.write(Write::TooLong { by, to });
            }
        }
    }

    /// Groups and who is in them.
    fn member(&mut self) {
        let group = self.group_or_unknown();
        let (shows_history, members_only) = (self.rng.percent(50), self.rng.percent(50));
        let keep = self.own_keep();
        match self.rng.below(100) {
            0..6 => self.write(Write::Create { group, shows_history, members_only, keep }),
            6..12 => self.write(Write::SetGroup { group, shows_history, members_only, keep }),
            12..14 => {
                let post = Post { by: self.someone(), to: To::Group(group), id: 0, at: At::Unset, ..self.post() };
                let set = Write::SetGroup { group, shows_history, members_only: true, keep: None };
                self.rest_on(set, Write::Append(post));
            }
            14..50 => {
                let by = self.someone_or_none();
                self.write(Write::Join { group, by });
            }
            50..58 => {
                let users = (0..self.rng.below(8)).map(|_| self.someone_or_none()).collect();
                self.write(Write::JoinMany { group, users });
            }
            58..80 => {
                let by = self.asker_or_none();
                self.write(Write::Leave { group, by });
                // Coming back is where floors and marks go wrong.
                if self.rng.percent(30) {
                    self.write(Write::Join { group, by });
                }
            }
            80..84 => {
                let text = self.short_text(4_096);
                self.write(Write::GroupMetadata { group, text });
            }
            84..89 => {
                let (by, role) = (self.asker_or_none(), self.rng.below(3) as u8);
                self.write(Write::Role { group, by, role });
            }
            89..93 => {
                let (by, text) = (self.asker_or_none(), self.short_text(64));
                self.write(Write::MemberData { group, by, text });
            }
            _ => self.silence(group),
        }
    }

    fn mark(&mut self) {
        let (by, with) = self.session();
        let point = self.point();
        match self.rng.below(100) {
            0..48 => self.write(Write::Read { by, with, upto: point }),
            48..82 => self.write(Write::UnreadFrom { by, with, seq: point }),
            _ => self.write(Write::Delivered { by, with, upto: point }),
        }
        if self.rng.percent(10) {
            let ask = Op::Receipts { by: self.someone(), with, seq: Point::End(0), after: 0, limit: 10 };
            self.ops.push(ask);
        }
    }

    fn amend(&mut self) {
        let (by, to) = (self.someone_or_none(), self.line());
        match self.rng.below(100) {
            0..40 => {
                let seq = self.point();
                self.write(Write::Recall { by, to, seq });
            }
            40..70 => {
                let (seq, text) = (self.point(), self.text());
                self.write(Write::Edit { by, to, seq, text });
                if self.rng.percent(10) {
                    self.write(Write::Edit { by, to, seq, text });
                }
                if self.rng.percent(15) {
                    self.write(Write::Recall { by, to, seq });
                    self.write(Write::Edit { by, to, seq, text });
                }
            }
            70..72 => self.amend_many(to),
            72..74 => {
                let (seq, text) = (Point::End(0), self.text());
                let Some(post) = self.posts.last().copied() else { return };
                let (by, to) = (post.by, post.to);
                self.write(Write::Append(post));
                let cause = match self.rng.percent(50) {
                    true => Write::Recall { by, to, seq },
                    false => Write::Edit { by, to, seq, text },
                };
                self.rest_on(cause, Write::Append(Post { kind: post.kind ^ 1, ..post }));
            }
            _ => {
                let (by, with) = self.session();
                let count = self.rng.pick(&[0, 1, 1, 1, 2, 3, 5]);
                let mut seqs: Vec<Point> = (0..count).map(|_| self.point()).collect();
                if self.rng.below(60) == 0 {
                    seqs = vec![Point::End(0); self.rng.pick(&[256, 257])];
                }
                let points = seqs.clone();
                self.write(Write::Hide { by, with, seqs });
                for seq in points.into_iter().take(5) {
                    let (to, text) = (self.line_of(by, with), self.text());
                    match self.rng.percent(50) {
                        _ if self.rng.percent(70) => {}
                        true => self.write(Write::Recall { by, to, seq }),
                        false => self.write(Write::Edit { by, to, seq, text }),
                    }
                }
                if self.rng.percent(20) {
                    let (limit, again) = (self.rng.pick(&[0, 1, 2, 1_000]), self.rng.percent(50));
                    self.ops.push(Op::Amendments { by, with, again, limit });
                }
            }
        }
    }

    /// So many in one timeline that an entry of a list cannot hold all.
    fn amend_many(&mut self, to: To) {
        let (by, text) = (if matches!(to, To::Inbox(..) | To::Broadcast(_)) { 0 } else { 1 }, self.text());
        let posts = |this: &mut Draw| Post { by, to, id: 0, at: At::Unset, counts: true, mentions: 0, ..this.post() };
        let posts: Vec<Post> = (0..34).map(|_| Post { text: Text(1, 3), ..posts(self) }).collect();
        let reader = self.someone();
        self.ops.push(Op::Write(How::Plain, Write::Batch(posts)));
        let slot = self.slot();
        let page = PageSize { limit: None, latest: None };
        self.ops.push(Op::Changed { by: reader, slot, page, through_bytes: false });
        let follow = Op::Follow { by: reader, limit: 100, messages: 1_000, bytes: 1 << 20, whole: true };
        self.ops.push(follow.clone());
        for back in 0..34 {
            let seq = Point::End(-back);
            self.ops.push(Op::Write(
                How::Plain,
                match back % 3 {
                    0 => Write::Edit { by, to, seq, text },
                    _ => Write::Recall { by, to, seq },
                },
            ));
        }
        self.ops.extend([follow, Op::Changed { by: reader, slot, page, through_bytes: true }]);
    }

    /// What a user keeps of a session, or throws away.
    fn keep_session(&mut self) {
        let (by, with) = self.session();
        match self.rng.below(100) {
            0..25 => {
                let upto = self.point();
                self.write(Write::Clear { by, with, upto });
            }
            25..50 => {
                self.write(Write::Remove { by, with });
                if self.rng.percent(40) {
                    self.write(Write::Remove { by, with });
                }
                if self.rng.percent(20) {
                    self.come_back(by, with);
                }
            }
            50..85 => {
                let flags = self.flags();
                self.write(Write::Flags { by, with, flags });
            }
            _ => {
                let text = self.short_text(4_096);
                self.write(Write::Metadata { by, with, text });
            }
        }
    }

    /// Users and names.
    fn people(&mut self) {
        let (kind, name) = (self.rng.pick(&[0, 0, 1, 2, 3]), self.rng.pick(&[0, 1, 1, 2, 2, 3, 4]));
        match self.rng.below(10) {
            0..3 => {
                let by = self.asker_or_none();
                self.write(Write::AddUser { by });
            }
            3..7 => {
                self.write(Write::Resolve { kind, name });
                if self.rng.percent(30) {
                    self.write(Write::Resolve { kind, name });
                }
            }
            _ => {
                self.write(Write::FreeName { kind, name });
                if self.rng.percent(50) {
                    self.write(Write::Resolve { kind, name });
                }
            }
        }
    }

    pub fn rule(&mut self) {
        let rules = self.rules();
        self.write(Write::Settings(rules));
    }

    fn end(&mut self) {
        match self.rng.below(10) {
            0..2 => self.dissolve(),
            2..7 => {
                let by = if self.rng.below(8) == 0 { 7 } else { self.asker_or_none() };
                let recall_all = self.rng.percent(40);
                self.write(Write::RemoveUser { by, recall_all });
                if self.rng.percent(20) {
                    let lost = self.rng.pick(&[Lost::Prefix, Lost::Random]);
                    let seed = self.rng.below(1 << 20);
                    self.ops.push(Op::Restart(Restart::Crash(lost, seed)));
                    self.write(Write::RemoveUser { by, recall_all });
                }
                if self.rng.percent(20) {
                    self.write(Write::AddUser { by });
                }
                if self.rng.percent(20) {
                    let post = Post { by: self.someone(), to: To::User(by), id: 0, at: At::Unset, ..self.post() };
                    self.write(Write::Append(post));
                }
            }
            7 => self.write(Write::Maintain { offset: -1 }),
            _ => {
                let (back, offset) = (self.rng.below(60), self.rng.pick(&[-1, 0, 0, 1]));
                self.ops.push(Op::Clock(Step::Horizon { back, offset }));
                let offset = self.rng.pick(&[0, 0, 1, -1, i64::MAX]);
                self.write(Write::Maintain { offset });
            }
        }
    }

    /// A group ends, and those who were in it find out.
    fn dissolve(&mut self) {
        let group = self.group_or_unknown();
        let (by, with, to) = (self.someone(), With::Group(group), To::Group(group));
        for _ in 0..self.rng.below(3) {
            match self.rng.below(3) {
                0 => self.write(Write::Leave { group, by }),
                1 => self.write(Write::Remove { by, with }),
                _ => self.write(Write::RemoveUser { by, recall_all: false }),
            }
        }
        let (slot, page) = (self.slot(), PageSize { limit: None, latest: None });
        let walk = Op::Changed { by, slot, page, through_bytes: false };
        self.ops.push(walk.clone());
        match self.rng.below(4) {
            0 => {
                let seqs = vec![Point::End(0)];
                self.rest_on(Write::Dissolve { group }, Write::Hide { by, with, seqs });
            }
            1 => self.rest_on(Write::Dissolve { group }, Write::Recall { by, to, seq: Point::End(0) }),
            _ => self.write(Write::Dissolve { group }),
        }
        self.ops.push(walk);
        for _ in 0..self.rng.below(8) {
            let (by, seq) = (self.someone(), self.point());
            match self.rng.below(7) {
                0 => self.write(Write::Dissolve { group }),
                1 => self.write(Write::Hide { by, with, seqs: vec![seq] }),
                2 => self.write(Write::Recall { by, to, seq }),
                3 => self.write(Write::Edit { by, to, seq, text: Text(1, 1) }),
                4 => {
                    let flags = self.flags();
                    self.write(Write::Flags { by, with, flags });
                }
                5 => self.write(Write::Read { by, with, upto: seq }),
                _ => {
                    let post = self.posts.iter().rev().find(|post| post.to == to).copied();
                    let post = post.unwrap_or(Post { by, to, ..self.post() });
                    self.write(Write::Append(Post { kind: post.kind ^ 1, ..post }));
                }
            }
        }
    }

    fn ask(&mut self) {
        let (by, slot, page) = (self.asker(), self.slot(), self.page_size());
        match self.rng.below(100) {
            0..28 => {
                let ((by, with), ask) = (self.session(), self.history());
                self.ops.push(Op::History { by, with, ask });
            }
            28..36 => {
                let ((by, with), again) = (self.session(), self.rng.percent(60));
                let limit = self.rng.pick(&[0, 1, 1, 2, 5, 1_000, 1_001]);
                self.ops.push(Op::Amendments { by, with, again, limit });
            }
            36..43 => {
                let ((by, with), seq, after) = (self.session(), self.point(), self.rng.below(4) as u8);
                let limit = self.rng.pick(&[0, 1, 2, 10_000, 10_001]);
                self.ops.push(Op::Receipts { by, with, seq, after, limit });
            }
            43..46 => {
                let (group, after) = (self.group_or_unknown(), self.rng.below(6) as u8);
                let limit = self.rng.pick(&[0, 1, 2, 10_000, 10_001]);
                self.ops.push(Op::Members { group, after, limit });
            }
            46..48 => {
                let (by, after) = (self.asker_or_none(), self.rng.below(3) as u8);
                let limit = self.rng.pick(&[0, 1, 2, 10_000, 10_001]);
                self.ops.push(Op::GroupsOf { by, after, limit });
            }
            48..52 => {
                if let Some(post) = self.posts.last() {
                    self.ops.push(Op::Find(*post));
                }
            }
            52..72 => {
                let through_bytes = self.rng.percent(30);
                self.ops.push(Op::Changed { by, slot, page, through_bytes });
            }
            72..77 => {
                let time = self.time();
                self.ops.push(Op::Since { by, slot, page, time });
            }
            77..88 => {
                let messages = self.rng.pick(&[None, None, Some(0), Some(1), Some(3), Some(10_000), Some(10_001)]);
                let bytes = self.rng.pick(&[None, None, Some(0), Some(20), Some(5_000), Some(64 << 20)]);
                self.ops.push(Op::CatchUp { by, slot, page, messages, bytes });
            }
            88..92 => {
                let (messages, bytes) = (self.rng.pick(&[0, 1, 3, 1_000]), self.rng.pick(&[20, 5_000, 1 << 20]));
                let limit = self.rng.pick(&[0, 1, 1, 2, 100]);
                self.ops.push(Op::Follow { by, limit, messages, bytes, whole: self.rng.percent(60) && limit > 0 });
            }
            92..97 => {
                let again = self.rng.percent(60);
                self.ops.push(Op::Recent { by, again, page });
            }
            _ => self.ops.push(Op::Totals { by }),
        }
    }

    /// Time passes, things are waited for, the store ends and begins again.
    fn pass(&mut self) {
        match self.rng.below(110) {
            0..35 => {
                let step = self.clock_step();
                self.ops.push(Op::Clock(step));
            }
            35..47 => self.window(),
            47..51 => self.set_wall(),
            51..57 => self.ops.push(Op::Sync),
            57..69 => {
                let newest_first = self.rng.percent(50);
                self.ops.push(Op::Wait { newest_first });
            }
            69..75 => {
                let (by, slot) = (self.asker(), self.slot());
                self.ops.push(Op::Forget { by, slot });
            }
            75..80 => {
                let (by, source, target) = (self.asker(), self.slot(), self.slot());
                self.ops.push(Op::Copy { by, source, target });
            }
            80..84 => self.lose_what_was_read(),
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

    /// Somebody sets the wall clock; later somebody puts it right, or says that it is.
    fn set_wall(&mut self) {
        const SECOND: i64 = 1_000_000;
        const HOUR: i64 = 3_600 * SECOND;
        let far = self.rng.pick(&[HOUR + 1, 10 * 24 * HOUR, 100 * 24 * HOUR]);
        let near = self.rng.pick(&[1, SECOND, SECOND + 1, 1_800 * SECOND, HOUR]);
        let by = if self.rng.percent(60) { far } else { near };
        let by = if self.rng.percent(70) { by } else { -by };
        self.ops.push(Op::Clock(Step::Wall(by)));
        for _ in 0..self.rng.below(6) {
            match self.rng.below(4) {
                0 => self.send(),
                1 => self.window(),
                _ => {
                    let back = self.rng.below(60);
                    self.ops.push(Op::Clock(Step::Horizon { back, offset: 0 }));
                    self.write(Write::Maintain { offset: 0 });
                }
            }
        }
        let offset = self.rng.pick(&[0, 0, near, -near, HOUR + 1, -HOUR - 1]);
        match self.rng.below(10) {
            0..4 => self.ops.push(Op::Clock(Step::Agree(offset))),
            4..6 => self.ops.push(Op::Clock(Step::Accept)),
            _ => {}
        }
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
        self.ops.extend([again.clone(), clock_at(-1), again.clone(), Op::Find(post)]);
        let (by, with) = self.session();
        let ask = Ask { newest: true, within: Within::All, limit: None, bytes: None };
        self.ops.extend([clock_at(0), Op::History { by, with, ask }, Op::Find(post), again]);
    }
}
