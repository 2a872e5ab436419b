//! The journal: every change, in order, in files that survive what may come.
//! Owns: the directory's journal, spare and evidence files. May touch: `change`, `storage`.
//! Never: knows what a change does to a store.

mod frame;

mod header;

mod live;

mod file;

mod prepare;

mod write;

mod commit;

mod scan;

mod recover;

pub(crate) use commit::{CommitPoint, LocalSync};
pub(crate) use file::{FileTable, Place, Stored};
pub use live::EpochEnd;
pub(crate) use live::{Epochs, OpenMark};
pub(crate) use prepare::{Spare, prepare_spare};
pub use recover::{CutTail, Recovery};
pub(crate) use recover::{RecoverOptions, ends_since, recover};
pub(crate) use write::{BATCH_BYTES_MAX, SyncPoint, Writer, change_bytes_max};
