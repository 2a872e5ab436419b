//! Merging.
//! Owns: x. May touch: y.
//! Never: z.

use super::pipeline::Pipeline;
use crate::error::Result;

impl Pipeline {
    /// Merges what is due; false if nothing is.
    pub(super) fn merge_next(&self) -> Result<bool> {
        Ok(false)
    }
}
