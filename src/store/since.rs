//! Whether what an asker has seen still fits this store.
//! Owns: that judgement, for every kind of cursor. May touch: `journal` (epochs), `state`.
//! Never: says what happened since; the lists do.

use crate::error::{Error, ErrorKind, Result};
use crate::id::{Epoch, Version};
use crate::journal::Epochs;
use crate::state::State;

/// Checks that everything the asker has seen, up to `reach`, is in this store.
pub(super) fn check_reach(state: &State, epochs: &Epochs, epoch: Epoch, reach: Version) -> Result<()> {
    let end = match epochs.ended.iter().find(|ended| ended.epoch == epoch) {
        _ if epoch == epochs.current => Version(state.version),
        Some(ended) => ended.end,
        None => return Err(Error::new(ErrorKind::ResetRequired, "the cursor's epoch is unknown here")),
    };
    if reach > end {
        let message = format!("the cursor is beyond the end of its epoch: end={} got={}", end.0, reach.0);
        return Err(Error::new(ErrorKind::ResetRequired, message));
    }
    Ok(())
}

/// Checks that nothing that was removed above `base` was forgotten.
pub(super) fn check_horizon(state: &State, base: Version) -> Result<()> {
    if base.0 >= state.horizon {
        return Ok(());
    }
    let message = format!("what was removed since the cursor is forgotten: horizon={} got={}", state.horizon, base.0);
    Err(Error::new(ErrorKind::ResetRequired, message))
}
