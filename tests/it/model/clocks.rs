//! The clocks of a run: the wall, the watch beside it, and which of them store time follows.
//! Owns: `Clocks`, steps of the clock. May touch: `run`, `world`, `word`, `trap`.
//! Never: sends anything, or lets time pass by itself.

use restante::limits::{CLOCK_STEP_MICROS, HORIZON_MICROS};
use restante::{Timeline, Timestamp};

use super::run::{Checked, Run, same};
use super::word::{Step, group, user};
use super::world::window_end;

/// The two clocks were noted to agree anew only when they had drifted so far apart.
const DRIFT_NOTED_MICROS: u64 = 1_000_000;

/// What wall and watch show, and by how much they differed when they last agreed.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    wall: i64,
    watch: i64,
    agreed: i64,
}

impl Clocks {
    pub fn new(time: u64) -> Clocks {
        Clocks { wall: time as i64, watch: time as i64, agreed: 0 }
    }

    fn difference(&self) -> i64 {
        self.wall - self.watch
    }

    pub fn wall(&self) -> u64 {
        self.wall as u64
    }

    pub fn is_stepped(&self) -> bool {
        self.difference().abs_diff(self.agreed) > CLOCK_STEP_MICROS
    }

    /// The time that is followed; a wall clock that was set by more than an hour is not.
    fn time(&self) -> u64 {
        let time = if self.is_stepped() { self.watch + self.agreed } else { self.wall };
        time as u64
    }

    /// The store looks: what is near enough is agreed to.
    fn look(&mut self) {
        if !self.is_stepped() && self.difference().abs_diff(self.agreed) > DRIFT_NOTED_MICROS {
            self.agreed = self.difference();
        }
    }

    /// Somebody says that the wall is right, or the store begins.
    fn accept(&mut self) {
        self.agreed = self.difference();
    }
}

impl Run<'_> {
    pub fn set_clock(&mut self, step: Step) -> Checked {
        // What is sequenced and unseen would make "store time" mean two things.
        self.sync()?;
        let was_stepped = self.clocks.is_stepped();
        let now = self.world.clock;
        let time = match step {
            Step::Forward(micros) => now + micros,
            Step::Back(micros) => now.saturating_sub(micros).max(1),
            Step::Window { post, offset } => {
                let sent = self.world.seen().newest_with_id(post.timeline(), user(post.by), u128::from(post.id));
                sent.map_or(now, |sent| window_end(sent).saturating_add_signed(offset))
            }
            Step::Silence { group: number, by, offset } => {
                let trace = self.world.seen().state.trace(user(by), Timeline::Group(group(number)));
                let until = trace.map_or(0, |row| row.silenced_until);
                if until > 0 { until.saturating_add_signed(offset) } else { now }
            }
            Step::Horizon { back, offset } => {
                let times = &self.world.seen().state.times;
                let index = times.len().checked_sub(back as usize + 1);
                index.map_or(now, |index| (times[index] + HORIZON_MICROS).saturating_add_signed(offset))
            }
            Step::Age { to, by, back, secs, offset } => {
                let messages = &self.world.seen().state.line(to.timeline(by)).messages;
                let index = messages.len().checked_sub(back as usize + 1);
                index.map_or(now, |index| (messages[index].timestamp + secs * 1_000_000).saturating_add_signed(offset))
            }
            Step::Wall(micros) => return self.set_wall(self.clocks.wall + micros),
            Step::Agree(micros) => {
                self.traps.hit_if(was_stepped, "clock: put right after a step");
                return self.set_wall(self.clocks.watch + self.clocks.agreed + micros);
            }
            Step::Accept => {
                self.traps.hit_if(was_stepped, "clock: accepted after a step");
                self.store().accept_clock();
                self.clocks.accept();
                return self.look();
            }
        };
        // As if so much time had passed, on both.
        let micros = time as i64 - now as i64;
        self.clocks.wall += micros;
        self.clocks.watch += micros;
        self.clock.set(Timestamp(self.clocks.wall as u64));
        self.look()
    }

    /// Somebody sets the wall clock.
    fn set_wall(&mut self, wall: i64) -> Checked {
        let was_stepped = self.clocks.is_stepped();
        self.clocks.wall = wall.max(1);
        self.clock.step(Timestamp(self.clocks.wall as u64));
        let by = self.clocks.difference().abs_diff(self.clocks.agreed);
        self.traps.hit_if(by == CLOCK_STEP_MICROS, "clock: set by an hour");
        self.traps.hit_if(by == CLOCK_STEP_MICROS + 1, "clock: set by a little more than an hour");
        self.traps.hit_if(0 < by && by <= DRIFT_NOTED_MICROS, "clock: set by less than a second");
        let is_stepped = self.clocks.is_stepped();
        self.traps.hit_if(was_stepped && !is_stepped, "clock: agrees again");
        self.traps.hit_if(is_stepped && self.clocks.difference() < self.clocks.agreed, "clock: set far back");
        self.look()
    }

    /// A store that was just opened has nothing to compare the wall clock with.
    pub fn clocks_begin(&mut self) {
        self.traps.hit_if(self.clocks.is_stepped(), "clock: a restart takes it as it is");
        self.clocks.accept();
        self.world.clock = self.clocks.time();
        self.world.is_stepped = false;
    }

    fn look(&mut self) -> Checked {
        self.clocks.look();
        self.world.clock = self.clocks.time();
        self.world.is_stepped = self.clocks.is_stepped();
        let time = self.store().time();
        let model = (self.world.seen().store_time(), self.world.is_stepped);
        same("store time", &(time.now.get(), time.is_stepped), &model)
    }
}
