//! The journal: every change, in order, in files that survive what may come.
//! Owns: the directory's journal, spare and evidence files. May touch: `change`, `storage`.
//! Never: knows what a change does to a store.

pub(crate) mod frame;

mod header;

mod live;

mod records;

mod file;

mod prepare;

mod write;

mod commit;

mod scan;

mod recover;

pub(crate) use commit::{CommitPoint, LocalSync};
pub(crate) use file::{FileTable, JournalFile, open_sealed, verify_journal};
pub use live::EpochEnd;
pub(crate) use live::{Epochs, OpenMark};
pub(crate) use prepare::{Spare, prepare_spare};
pub(crate) use records::{
    CheckedFrame, DIRECTORY_ENTRY_BYTES, DirectoryAt, MESSAGES_BIT, Place, Records, Sealed, Stored, WalkedRecord,
    WholeRecord, directory_crc,
};
pub use recover::{CutTail, Recovery};
pub(crate) use recover::{RecoverOptions, ends_since, recover};
pub(crate) use write::{BATCH_BYTES_MAX, SyncPoint, Writer, change_bytes_max};
