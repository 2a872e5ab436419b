//! Draws the words that operations are made of, and a few operations that belong together.
//! Owns: which users, groups, posts, points and bounds come up, and how often. May touch: `draw`, `word`.
//! Never: decides which operation comes next.

use std::ops::Bound;

use restante::limits::{RETENTION_AGE_SECS_MAX, RETENTION_BODY_BYTES_MAX, RETENTION_COUNT_MAX};

use super::draw::Draw;
use super::op::{How, Op, SENDING, Write, sends_for_none};
use super::state::RULES;
use super::word::{
    Ask, At, Flagging, Keep, Lost, Near, PageSize, Point, Post, Restart, Rules, SLOTS, Src, Step, Text, Time, To, With,
    Within,
};

/// For how long something is kept, in seconds.
const AGES: [u64; 5] = [1, 60, 3_600, 24 * 3_600, 3 * 24 * 3_600];
/// In microseconds.
const HALF_DAY: i64 = 12 * 3_600 * 1_000_000;

impl Draw {
    pub fn post(&mut self) -> Post {
        if !self.posts.is_empty() && self.rng.percent(self.habits.repeat_chance) {
            let back = self.rng.below(8.min(self.posts.len() as u64)) as usize;
            let post = self.posts[self.posts.len() - 1 - back];
            return match self.rng.below(10) {
                0 => Post { kind: post.kind + 1, ..post },
                1 => Post { text: Text(post.text.0 ^ 1, post.text.1), ..post },
                2 => Post { counts: !post.counts, at: At::Last(-1), mentions: 0, alerts: 0, ..post },
                _ => post,
            };
        }
        let to = match self.rng.below(200) {
            0 => To::Pair(self.someone(), self.someone_or_none()),
            1 => To::Group(self.group_or_unknown()),
            2..120 if self.habits.focus.is_some() => self.focus_line(),
            _ if self.rng.percent(self.habits.source_chance) => self.source_line(),
            _ if self.rng.percent(self.habits.group_chance) => To::Group(self.group()),
            _ => To::User(self.someone_or_none()),
        };
        let by = match sends_for_none(to) {
            true if self.rng.below(60) == 0 => self.someone(),
            true => 0,
            false => self.someone_or_none(),
        };
        let id = if self.rng.percent(self.habits.id_chance) { self.rng.between(1, 4) as u8 } else { 0 };
        let mut text = self.text();
        let counts = !self.rng.percent(self.habits.notice_chance);
        let speaks = self.rng.percent(self.habits.mention_chance) && (counts || self.rng.below(20) == 0);
        let mentions = if speaks { self.rng.between(0, 9) as u8 } else { 0 };
        let alerts = if speaks { self.rng.pick(&[0, 1, 1, 2, 3, 0x80, 0xff]) } else { 0 };
        // A fault is kept apart from what is above a limit: which of the two is told first is open.
        let is_faulty = is_faulty(by, to) || (!counts && speaks) || matches!(mentions, 8 | 9);
        if !is_faulty && self.rng.below(200) == 0 {
            text = Text(text.0, 17_000);
        }
        let at = match self.rng.percent(self.habits.import_chance) {
            false => At::Unset,
            true if self.rng.percent(50) => At::Last(self.rng.pick(&[-1, 0, 1, 1, 2, 1_000_000])),
            true => At::Store(self.rng.pick(&[-1, 0, 0, 1])),
        };
        let kind = self.rng.pick(&[0, 0, 1, 65_000]);
        let post = Post { by, to, id, text, kind, counts, at, mentions, alerts };
        if id != 0 {
            self.posts.push(post);
        }
        post
    }

    /// A batch that fits into a quarter of a journal file, whatever is around the bodies.
    pub fn batch(&mut self) -> Vec<Post> {
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
        let is_sound = posts.iter().all(|post| {
            let says_nothing = post.mentions == 0 && post.alerts == 0;
            !is_faulty(post.by, post.to) && says_nothing
        });
        if self.rng.percent(5) && !posts.is_empty() && is_sound {
            let index = self.rng.below(posts.len() as u64) as usize;
            posts[index] = Post { by: 1, to: To::User(2), id: 0, text: Text(0, 17_000), ..posts[index] };
        }
        posts
    }

    /// To whom a source sends; each is most often what it was the first time.
    fn source_line(&mut self) -> To {
        let source = self.rng.pick(&SENDING);
        match is_broadcast(source) != (self.rng.below(40) == 0) {
            true => To::Broadcast(source),
            false => To::Inbox(source, self.someone_or_none()),
        }
    }

    /// The timeline in focus, by one who takes part in it.
    fn focus_line(&mut self) -> To {
        match self.habits.focus {
            Some(To::Pair(one, other)) => To::User(self.rng.pick(&[one, other])),
            Some(to) => to,
            None => To::Group(1),
        }
    }

    /// A user and what it calls a timeline.
    pub fn session(&mut self) -> (u8, With) {
        let by = self.asker_or_none();
        match self.habits.focus {
            Some(to) if self.rng.percent(70) => match to {
                To::Pair(one, other) if self.rng.percent(50) => (one, With::User(other)),
                To::Pair(one, other) => (other, With::User(one)),
                To::User(number) => (by, With::User(number)),
                To::Group(number) => (by, With::Group(number)),
                To::Inbox(source, recipient) => (recipient, With::Source(source)),
                To::Broadcast(source) => (by, With::Source(source)),
            },
            _ => (by, self.with()),
        }
    }

    /// The timeline that a user calls so.
    pub fn line_of(&mut self, by: u8, with: With) -> To {
        match with {
            With::User(number) => To::Pair(by, number),
            With::Group(number) => To::Group(number),
            With::Source(source) if is_broadcast(source) => To::Broadcast(source),
            With::Source(source) => To::Inbox(source, by),
        }
    }

    /// A client hears that a session is gone; then a notice, which it does not see, and what brings it back.
    pub fn come_back(&mut self, by: u8, with: With) {
        if by == 0 {
            return;
        }
        let follow = Op::Follow { by, limit: 100, messages: 1_000, bytes: 1 << 20, whole: true };
        let (sender, to) = match (with, self.line_of(by, with)) {
            (With::User(other), _) => (other, To::User(by)),
            (With::Group(_), to) => (self.someone(), to),
            (With::Source(_), to) => (0, to),
        };
        let says = Post { by: sender, to, id: 0, at: At::Unset, mentions: 0, alerts: 0, ..self.post() };
        let send = |counts| Op::Write(How::Plain, Write::Append(Post { counts, ..says }));
        self.ops.extend([follow.clone(), send(false), follow.clone(), send(true), follow]);
    }

    /// Somebody may not send, and tries before and after the end of that.
    pub fn silence(&mut self, group: u8) {
        let by = self.asker_or_none();
        let micros = match self.rng.percent(80) {
            true => Some(self.rng.pick(&[1, 1_000_000, 3_600_000_000])),
            false => None,
        };
        self.write(Write::Silence { group, by, micros });
        if by == 0 || self.rng.percent(40) {
            return;
        }
        let post = Post { by, to: To::Group(group), id: 0, at: At::Unset, ..self.post() };
        let again = Op::Write(How::Plain, Write::Append(post));
        if self.rng.percent(40) {
            self.write(Write::Leave { group, by });
            self.ops.push(again.clone());
            self.write(Write::Join { group, by });
        }
        let clock_at = |offset| Op::Clock(Step::Silence { group, by, offset });
        self.ops.extend([again.clone(), clock_at(-1), again.clone(), clock_at(0), again]);
    }

    /// A timeline in which something may be amended.
    pub fn line(&mut self) -> To {
        match () {
            () if self.habits.focus.is_some() && self.rng.percent(60) => self.habits.focus.expect("it is some"),
            () if self.rng.percent(self.habits.source_chance) => self.source_line(),
            () if self.rng.percent(self.habits.group_chance) => To::Group(self.group_or_unknown()),
            () => To::Pair(self.someone_or_none(), self.someone()),
        }
    }

    pub fn text(&mut self) -> Text {
        let length = match self.rng.below(200) {
            0..10 => 0,
            _ if self.rng.percent(self.habits.long_chance) => self.rng.between(2_000, 10_000),
            10..60 => self.rng.between(1, 3),
            _ => self.rng.between(1, 40),
        };
        Text(self.rng.below(4) as u8, length as usize)
    }

    /// Bytes about something, with a limit of their own.
    pub fn short_text(&mut self, limit: usize) -> Text {
        let length = match self.rng.below(20) {
            0 => limit + 1,
            1 => limit,
            2..6 => 0,
            _ => self.rng.between(1, 3) as usize,
        };
        Text(self.rng.below(2) as u8, length)
    }

    pub fn flags(&mut self) -> Flagging {
        let mut flag = || match self.rng.below(10) {
            0..5 => None,
            5..8 => Some(true),
            _ => Some(false),
        };
        Flagging { pinned: flag(), muted: flag(), marked_unread: flag() }
    }

    pub fn rules(&mut self) -> Rules {
        const DAY: u64 = 24 * 3_600;
        let mut rules = RULES;
        match self.rng.below(6) {
            0 | 1 => rules.dedup_window_secs = self.rng.pick(&[0, 1, 3_600, DAY, 30 * DAY, 30 * DAY + 1]),
            2 => rules.body_bytes_max = self.rng.pick(&[0, 10, 100, 3_000, 4 << 20, (4 << 20) + 1]),
            3 => rules.mentions_max = self.rng.pick(&[0, 1, 2, 127, 129]),
            4 => rules.latest_bytes_max = self.rng.pick(&[0, 1, 5, 20, 65_536, 65_537]),
            _ => {}
        }
        if self.rng.percent(self.habits.keep_chance) {
            rules.keeps = std::array::from_fn(|_| self.keep());
        }
        rules
    }

    /// Of a group: most often what is kept of all groups.
    pub fn own_keep(&mut self) -> Option<Keep> {
        self.rng.percent(self.habits.keep_chance / 2).then(|| self.keep())
    }

    /// Mostly one bound.
    pub fn keep(&mut self) -> Keep {
        let mut keep = Keep::default();
        let kinds = self.rng.pick(&[0, 1, 1, 1, 2, 2, 4, 4, 3, 5, 6, 7]);
        if kinds & 1 != 0 {
            keep.count = self.rng.pick(&[1, 2, 3, 5, 8, 15, 16, 17, 30]);
        }
        if kinds & 2 != 0 {
            keep.body_bytes = self.rng.pick(&[1, 16, 30, 60, 100, 1_000, 20_000]);
        }
        if kinds & 4 != 0 {
            keep.age_secs = self.rng.pick(&AGES);
        }
        match self.rng.below(100) {
            0 => keep.count = RETENTION_COUNT_MAX + 1,
            1 => keep.body_bytes = RETENTION_BODY_BYTES_MAX + 1,
            2 => keep.age_secs = RETENTION_AGE_SECS_MAX + 1,
            _ => {}
        }
        keep
    }

    /// A timeline is trimmed, or just not; then somebody turns to what is gone, and to what is left.
    pub fn trim(&mut self) {
        match self.rng.below(10) {
            0..3 => self.rule(),
            3..5 => {
                let (group, keep) = (self.group(), self.own_keep());
                let (shows_history, members_only) = (self.rng.percent(50), self.rng.percent(50));
                self.write(Write::SetGroup { group, shows_history, members_only, keep });
            }
            5..8 => {
                let (by, with) = self.session();
                let (to, secs) = (self.line_of(by, with), self.rng.pick(&AGES));
                let (back, offset) = (self.rng.below(12), self.rng.pick(&[0, 1, 1, 1_000_000]));
                self.ops.push(Op::Clock(Step::Age { to, by, back, secs, offset }));
            }
            _ => {}
        }
        let (by, with) = self.session();
        let follow = Op::Follow { by: by.max(1), limit: 100, messages: 1_000, bytes: 1 << 20, whole: true };
        if self.rng.percent(30) {
            self.ops.push(follow.clone());
        }
        let offset = self.rng.pick(&[0, 0, 0, 0, -1, -HALF_DAY]);
        self.write(Write::Maintain { offset });
        let (to, seq) = (self.line_of(by, with), Point::Seq(self.rng.between(1, 6)));
        match self.rng.below(12) {
            0 => self.write(Write::Recall { by, to, seq }),
            1 => self.write(Write::Edit { by, to, seq, text: Text(1, 1) }),
            2 => self.write(Write::Hide { by, with, seqs: vec![seq, Point::End(0)] }),
            3 => self.write(Write::Read { by, with, upto: seq }),
            4 => self.write(Write::UnreadFrom { by, with, seq }),
            5 => self.write(Write::Clear { by, with, upto: seq }),
            6 => {
                self.write(Write::Remove { by, with });
                self.come_back(by, with);
            }
            7 => self.ops.push(Op::Receipts { by, with, seq, after: 0, limit: 10 }),
            8 => {
                let group = self.group();
                self.write(Write::Leave { group, by });
                self.write(Write::Maintain { offset: 0 });
            }
            9 => {
                let Some(post) = self.posts.iter().find(|post| post.to == to).copied() else { return };
                self.write(Write::Append(Post { kind: post.kind ^ 1, ..post }));
            }
            10 => self.ops.push(follow),
            _ => {
                let ask = self.history();
                self.ops.push(Op::History { by, with, ask });
            }
        }
    }

    pub fn history(&mut self) -> Ask {
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

    pub fn point(&mut self) -> Point {
        match self.rng.below(10) {
            0..6 => Point::End(self.rng.pick(&[-5, -3, -2, -1, 0, 0, 0, 1])),
            6 if self.rng.percent(50) => Point::Seq(self.rng.pick(&[0, u64::MAX])),
            _ => Point::Seq(self.rng.between(1, 14)),
        }
    }

    pub fn time(&mut self) -> Time {
        match self.rng.below(5) {
            0 => Time::Zero,
            1 => Time::Store(self.rng.pick(&[-1, 0, 1])),
            _ => Time::Change(self.rng.below(40), self.rng.pick(&[-1, 0, 1])),
        }
    }

    pub fn clock_step(&mut self) -> Step {
        const SECOND: u64 = 1_000_000;
        match self.rng.below(10) {
            0..5 => Step::Forward(self.rng.between(1, 30)),
            5..8 => Step::Forward(self.rng.between(1, 40 * 3_600) * SECOND),
            _ => Step::Back(self.rng.pick(&[1, 5, SECOND, 3_600 * SECOND])),
        }
    }

    pub fn restart(&mut self) -> Restart {
        match self.rng.below(10) {
            0..2 => Restart::Close,
            2..4 => Restart::Drop,
            _ => {
                let lost = self.rng.pick(&[Lost::Nothing, Lost::All, Lost::Prefix, Lost::Random]);
                Restart::Crash(lost, self.rng.below(1 << 20))
            }
        }
    }

    /// A client in mid-walk reads on in what it holds, and hears of amendments; a power cut takes both back.
    pub fn lose_what_was_read(&mut self) {
        let (by, with) = self.session();
        let (by, limit) = (by.max(1), self.rng.pick(&[1, 2, 100]));
        let follow = |limit, whole| Op::Follow { by, limit, messages: 1_000, bytes: 1 << 20, whole };
        let amendments = |again| Op::Amendments { by, with, again, limit: 1_000 };
        self.ops.extend([Op::Sync, follow(limit, false)]);
        for _ in 0..self.rng.between(1, 4) {
            let post = self.post();
            self.ops.push(Op::Write(How::Buffered, Write::Append(post)));
        }
        let seed = self.rng.below(1 << 20);
        self.ops.extend([Op::ReadOn { by }, amendments(false)]);
        self.ops.push(Op::Restart(Restart::Crash(Lost::All, seed)));
        self.ops.extend([follow(100, true), amendments(true)]);
    }

    pub fn page_size(&mut self) -> PageSize {
        PageSize {
            limit: self.rng.pick(&[None, None, Some(0), Some(1), Some(1), Some(2), Some(3), Some(1_000), Some(1_001)]),
            latest: self.rng.pick(&[None, None, None, Some(0), Some(2), Some(5), Some(20), Some(21)]),
        }
    }

    pub fn slot(&mut self) -> usize {
        self.rng.below(SLOTS as u64) as usize
    }

    /// One of those who take part; rarely the one whom the directory named.
    pub fn someone(&mut self) -> u8 {
        if self.rng.below(50) == 0 { 7 } else { self.rng.between(1, u64::from(self.habits.users)) as u8 }
    }

    pub fn asker(&mut self) -> u8 {
        if self.rng.percent(4) { 6 } else { self.someone() }
    }

    pub fn someone_or_none(&mut self) -> u8 {
        if self.rng.below(150) == 0 { 0 } else { self.someone() }
    }

    pub fn asker_or_none(&mut self) -> u8 {
        if self.rng.below(150) == 0 { 0 } else { self.asker() }
    }

    pub fn group(&mut self) -> u8 {
        self.rng.between(1, u64::from(self.habits.groups)) as u8
    }

    pub fn group_or_unknown(&mut self) -> u8 {
        match self.rng.below(40) {
            0 => 0,
            1 => 4,
            _ => self.group(),
        }
    }

    fn with(&mut self) -> With {
        match () {
            () if self.rng.percent(self.habits.source_chance) => With::Source(self.rng.pick(&SENDING)),
            () if self.rng.percent(self.habits.group_chance) => With::Group(self.group_or_unknown()),
            () => With::User(self.asker_or_none()),
        }
    }
}

/// What a source most often is.
fn is_broadcast(source: Src) -> bool {
    source == SENDING[0] || source == SENDING[3]
}

fn is_faulty(by: u8, to: To) -> bool {
    match to {
        To::Pair(..) | To::User(0) | To::Group(0) | To::Inbox(_, 0) => true,
        To::Inbox(..) | To::Broadcast(_) => by != 0,
        To::User(_) | To::Group(_) => by == 0,
    }
}
