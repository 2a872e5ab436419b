//! What a call that changes something does, by what has happened: messages and what becomes of them.
//! Owns: decisions, the order of checks of appending, recalls, edits. May touch: `state`, `change`, `answer`.
//! Never: makes a change.

use std::sync::Arc;

use restante::limits::BROADCAST_SOURCES_MAX;
use restante::{ErrorKind, Outcome, Source, Timeline, UserId};

use super::answer::{Admitted, Bytes, Plain, Written, Wrong};
use super::change::{Letter, What};
use super::state::State;
use super::world::{JOURNAL_BYTES, View, with_change};

/// A quarter of a journal file.
const FRAME_BYTES_MAX: usize = (JOURNAL_BYTES / 4) as usize;

/// What a call says when it goes well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The version of the change, 0 if nothing changed.
    Version(u64),
    Written(Written),
    All(Vec<Written>),
    Admitted(Admitted),
    Named {
        id: u64,
        created: bool,
    },
    Maintained {
        horizon: u64,
        version: u64,
        timelines: u64,
        messages: u64,
    },
    Dropped {
        sessions: u64,
        recalled: u64,
        names: u64,
    },
}

/// What a call says and does, and how much of the log that rests on.
#[derive(Clone, Debug)]
pub struct Decision {
    pub result: Plain<Said>,
    /// The newest version without which the answer would be another one; 0 if that is not worth knowing.
    pub rests_on: u64,
    pub whats: Vec<What>,
    /// After a crash all of it or nothing.
    pub is_batch: bool,
}

impl Decision {
    pub fn refused(kind: ErrorKind) -> Decision {
        Decision::refused_for(kind, 0)
    }

    pub fn refused_for(kind: ErrorKind, rests_on: u64) -> Decision {
        Decision { result: Err(kind.into()), rests_on, whats: Vec::new(), is_batch: false }
    }

    pub fn unchanged(rests_on: u64) -> Decision {
        Decision { result: Ok(Said::Version(0)), rests_on, whats: Vec::new(), is_batch: false }
    }

    pub fn changes(&self) -> bool {
        !self.whats.is_empty()
    }

    /// Whether it says that something is not there.
    pub fn is_not_found(&self) -> bool {
        self.result.as_ref().is_err_and(|wrong| wrong.kind == ErrorKind::NotFound)
    }
}

/// Decides by everything that has happened; what a user may not know yet clamps marks.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    pub state: &'a State,
    pub seen: &'a State,
    pub clock: u64,
    pub is_stepped: bool,
}

impl Judge<'_> {
    pub fn view(&self) -> View<'_> {
        View { state: self.state, clock: self.clock }
    }

    pub fn changed(&self, what: What) -> Decision {
        let version = self.state.version() + 1;
        Decision { result: Ok(Said::Version(version)), rests_on: version, whats: vec![what], is_batch: false }
    }

    pub fn append(&self, letter: &Letter) -> Decision {
        let decision = self.append_batch(std::slice::from_ref(letter));
        let result = decision.result.map_err(|wrong| wrong.kind.into());
        let result = result.map(|said| match said {
            Said::All(written) => Said::Written(written[0]),
            other => other,
        });
        Decision { result, ..decision }
    }

    pub fn append_batch(&self, letters: &[Letter]) -> Decision {
        let faulty = letters.iter().enumerate().find_map(|(item, letter)| Some((item, self.fault(letter)?)));
        if let Some((item, kind)) = faulty {
            return Decision { result: Err(Wrong { kind, item: Some(item) }), ..Decision::refused(kind) };
        }
        let start = self.state.version();
        let mut state = self.state.clone();
        let mut decision =
            Decision { result: Ok(Said::All(Vec::new())), rests_on: 0, whats: Vec::new(), is_batch: true };
        let mut written = Vec::new();
        for (item, letter) in letters.iter().enumerate() {
            let view = View { state: &state, clock: self.clock };
            match judge(view, letter) {
                Ok(Some((first, rests_on))) => {
                    decision.rests_on = decision.rests_on.max(rests_on);
                    written.push(first);
                }
                Ok(None) => {
                    let seq = state.last_seq(letter.timeline) + 1;
                    let timestamp =
                        letter.timestamp.unwrap_or(view.store_time().max(state.last_timestamp(letter.timeline) + 1));
                    let what = What::Sent { letter: Arc::new(letter.clone()), seq, timestamp };
                    let version = with_change(&mut state, self.clock, what.clone());
                    decision.whats.push(what);
                    decision.rests_on = version;
                    written.push(Written { outcome: Outcome::Written, seq, timestamp, version });
                }
                Err((kind, rests_on)) => {
                    // Versions of this very batch do not stay, so nothing can rest on them.
                    let rests_on = if rests_on <= start { rests_on } else { 0 };
                    let result = Err(Wrong { kind, item: Some(item) });
                    return Decision { result, ..Decision::refused_for(kind, rests_on) };
                }
            }
        }
        Decision { result: Ok(Said::All(written)), ..decision }
    }

    /// What is wrong with a letter whatever the store holds.
    fn fault(&self, letter: &Letter) -> Option<ErrorKind> {
        match () {
            () if self.is_above(letter) => Some(ErrorKind::LimitExceeded),
            () if self.is_faulty(letter) => Some(ErrorKind::InvalidInput),
            () => None,
        }
    }

    /// A batch that is too long as a whole, of bodies that may be too long themselves.
    pub fn too_long(&self, body_bytes: usize) -> Decision {
        let item = self.is_long(body_bytes).then_some(0);
        let kind = ErrorKind::LimitExceeded;
        Decision { result: Err(Wrong { kind, item }), ..Decision::refused(kind) }
    }

    pub fn is_long(&self, body_bytes: usize) -> bool {
        body_bytes > self.state.rules.body_bytes_max || body_bytes > FRAME_BYTES_MAX
    }

    /// Whether a letter is above a limit.
    pub fn is_above(&self, letter: &Letter) -> bool {
        self.is_long(letter.body.0.len()) || letter.mentions.len() > self.state.rules.mentions_max
    }

    /// Whether a letter contradicts itself.
    pub fn is_faulty(&self, letter: &Letter) -> bool {
        let is_one_of_them = match letter.timeline {
            Timeline::Inbox(..) | Timeline::Broadcast(_) => letter.sender.is_none(),
            _ => !letter.sender.is_none() && letter.timeline.peer_of(letter.sender).is_some(),
        };
        let alerts_for_nothing = !letter.counts && (letter.alerts != 0 || !letter.mentions.is_empty());
        let mentions_nobody = letter.mentions.iter().any(|user| user.is_none());
        is_nameless(letter.timeline) || !is_one_of_them || alerts_for_nothing || mentions_nobody
    }

    pub fn recall(&self, by: UserId, timeline: Timeline, seq: u64) -> Decision {
        match self.amended(timeline, seq) {
            Err(refused) => refused,
            Ok(()) => {
                let message = self.state.line(timeline).message(seq).expect("it was found");
                match message.recalled {
                    Some(recalled) => Decision::unchanged(recalled.version),
                    None => self.changed(What::Recalled { timeline, seq, by }),
                }
            }
        }
    }

    pub fn edit(&self, by: UserId, timeline: Timeline, seq: u64, body: Bytes) -> Decision {
        if self.is_long(body.0.len()) {
            return Decision::refused(ErrorKind::LimitExceeded);
        }
        match self.amended(timeline, seq) {
            Err(refused) => match self.state.line(timeline).dissolved() {
                Some(version) if !refused.is_not_found() => Decision::refused_for(ErrorKind::Dissolved, version),
                _ => refused,
            },
            Ok(()) => {
                let message = self.state.line(timeline).message(seq).expect("it was found");
                match (message.recalled, message.edited) {
                    (Some(recalled), _) => Decision::refused_for(ErrorKind::Refused, recalled.version),
                    (None, edited) if message.body == body => {
                        Decision::unchanged(edited.map_or(message.version, |edited| edited.version))
                    }
                    (None, _) => self.changed(What::Edited { timeline, seq, by, body }),
                }
            }
        }
    }

    fn amended(&self, timeline: Timeline, seq: u64) -> Result<(), Decision> {
        let line = self.state.line(timeline);
        if is_nameless(timeline) {
            return Err(Decision::refused(ErrorKind::InvalidInput));
        }
        if seq == 0 || seq > line.last() {
            return Err(Decision::refused(ErrorKind::NotFound));
        }
        if seq <= line.trim() {
            return Err(Decision::refused_for(ErrorKind::Trimmed, line.gone(seq).unwrap_or(0)));
        }
        Ok(())
    }
}

pub fn is_nameless(timeline: Timeline) -> bool {
    let is_none = |source: Source| match source {
        Source::System(system) => system.is_none(),
        Source::Business(business) => business.is_none(),
    };
    match timeline {
        Timeline::Direct(pair) => pair.low().is_none(),
        Timeline::Group(group) => group.is_none(),
        Timeline::Inbox(source, recipient) => is_none(source) || recipient.is_none(),
        Timeline::Broadcast(source) => is_none(source),
        _ => unreachable!("the model has no other timelines"),
    }
}

/// Whether a letter may be written (`None`), is a duplicate of a first one, or is refused, and what that
/// rests on; in the documented order: duplicate, existence, policy, explicit timestamp.
fn judge(view: View<'_>, letter: &Letter) -> Result<Option<(Written, u64)>, (ErrorKind, u64)> {
    let state = view.state;
    let line = state.line(letter.timeline);
    if let Some(first) = view.taken(letter.timeline, letter.sender, letter.client_id) {
        let (seq, timestamp, version) = (first.seq, first.timestamp, first.version);
        let is_other = first.letter.kind != letter.kind || first.letter.body != letter.body;
        // It would be a conflict, were not the first body gone: by what took it away first.
        let gone = [first.first_amended, line.gone(first.seq)].into_iter().flatten().min();
        return match gone {
            None if is_other => Err((ErrorKind::Conflict, version)),
            gone => {
                let rests_on = if is_other { gone.unwrap_or(0).max(version) } else { version };
                Ok(Some((Written { outcome: Outcome::Duplicate, seq, timestamp, version }, rests_on)))
            }
        };
    }
    match letter.timeline {
        Timeline::Group(group) => {
            let group = state.group(group).ok_or((ErrorKind::NotFound, 0))?;
            if let Some(version) = group.dissolved {
                return Err((ErrorKind::Dissolved, version));
            }
            let row = state.row(letter.sender, letter.timeline);
            if group.settings.members_only && !row.as_ref().is_some_and(|row| row.is_member()) {
                let left = row.map_or(0, |row| row.left_version);
                return Err((ErrorKind::Refused, left.max(group.settings_version)));
            }
            let trace = state.trace(letter.sender, letter.timeline);
            if let Some(row) = trace.filter(|row| view.store_time() < row.silenced_until) {
                return Err((ErrorKind::Refused, row.silenced_version));
            }
        }
        Timeline::Inbox(source, _) if state.is_broadcast(source) == Some(true) => {
            return Err((ErrorKind::InvalidInput, 0));
        }
        Timeline::Broadcast(source) => match state.is_broadcast(source) {
            Some(false) => return Err((ErrorKind::InvalidInput, 0)),
            None if broadcasts(state) >= BROADCAST_SOURCES_MAX => return Err((ErrorKind::LimitExceeded, 0)),
            _ => {}
        },
        _ => {}
    }
    match letter.timestamp {
        Some(timestamp) if timestamp <= state.last_timestamp(letter.timeline) => {
            Err((ErrorKind::InvalidInput, line.messages.last().map_or(0, |message| message.version)))
        }
        Some(timestamp) if timestamp > view.store_time() => Err((ErrorKind::InvalidInput, 0)),
        _ => Ok(None),
    }
}

fn broadcasts(state: &State) -> usize {
    state.lines.keys().filter(|timeline| matches!(timeline, Timeline::Broadcast(_))).count()
}
