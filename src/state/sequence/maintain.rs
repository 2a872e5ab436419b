//! Settings and the horizon.
//! Owns: what these calls come to. May touch: the sequencer, `change`, `settings`.
//! Never: decides what is old enough; whoever calls has looked at the clock.

use super::{Answer, Class, Decided, Effect, Sequencer, change_bytes_max};
use crate::change::{Change, Horizon};
use crate::id::Version;
use crate::settings::Settings;

/// What a round of maintenance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Maintained {
    /// Cursors with a base below this version are answered with `ResetRequired`.
    pub horizon: Version,
    /// Whether the horizon rose.
    pub effect: Effect,
    /// How many timelines were trimmed, as their retention says.
    pub timelines_trimmed: u64,
    /// How many messages that took.
    pub messages_trimmed: u64,
}

impl Maintained {
    /// A round that trimmed nothing so far.
    fn of(horizon: u64, effect: Effect) -> Maintained {
        Maintained { horizon: Version(horizon), effect, timelines_trimmed: 0, messages_trimmed: 0 }
    }
}

impl Sequencer {
    /// Changes how the store behaves.
    pub fn set_settings(&mut self, now: u64, settings: Settings) -> Answer<Effect> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        if self.settings.1 == settings {
            return Ok(Decided::unchanged(self.settings.0));
        }
        self.reserve(change_bytes_max(0), Class::Adds)?;
        self.settings = (self.next_version, settings);
        Ok(self.queue_one(Change::Settings(settings), Vec::new(), now))
    }

    /// Raises the horizon to `version`, which is published.
    pub fn raise_horizon(&mut self, now: u64, version: u64) -> Answer<Maintained> {
        if let Some(refusal) = self.refused() {
            return Ok(refusal);
        }
        let (raised_by, horizon) = self.horizon;
        if version <= horizon {
            return Ok(Decided { result: Ok(Maintained::of(horizon, Effect::Unchanged)), rests_on: raised_by });
        }
        self.reserve(change_bytes_max(0), Class::Frees)?;
        self.horizon = (self.next_version, version);
        let Decided { result, rests_on } = self.queue_one(Change::Horizon(Horizon { version }), Vec::new(), now);
        Ok(Decided { result: result.map(|effect| Maintained::of(version, effect)), rests_on })
    }
}
