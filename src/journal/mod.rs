//! The journal: every change, in order, in files that survive what may come.
//! Owns: the directory's journal, spare and evidence files, and the list of all. May touch: `change`, `segment`
//! (names), `storage`.
//! Never: knows what a change does to a store.

pub(crate) mod frame;

mod header;

mod manifest;

mod live;

mod records;

mod file;

mod prepare;

mod write;

mod commit;

mod copy;

mod scan;

mod directory;

mod newest;

mod recover;

mod verify;

mod salvage;

mod survey;

#[cfg(test)]
mod scene;

pub(crate) use commit::{CommitPoint, LocalSync};
pub(crate) use copy::BACKUP_NAME;
pub(crate) use directory::{SealedJournal, open_sealed as open_sealed_journal};
#[cfg(test)]
pub(crate) use file::open_sealed;
pub(crate) use file::{FileTable, JournalFile, journal_id, journal_name};
pub(crate) use header::{UUID_OFFSET, journal_seed};
pub use live::EpochEnd;
pub(crate) use live::{Epochs, OpenMark};
pub(crate) use manifest::{Installed, LiveFile, Manifest};
pub use newest::CutTail;
pub(crate) use prepare::{EVIDENCE_SUFFIX, JournalFileKind, Spare, TMP_SUFFIX, journal_file_kind, prepare_spare};
pub(crate) use records::{
    CheckedFrame, DIRECTORY_ENTRY_BYTES, DirectoryAt, MESSAGES_BIT, Place, Records, Sealed, Stored, WholeRecord,
    directory_crc,
};
pub use recover::Recovery;
pub(crate) use recover::{Found, RecoverOptions, ReplayTarget, ends_since, recover};
pub(crate) use salvage::{begin_with_list, evidence_name, records_bytes_max, salvage, write_records};
pub(crate) use scan::{Replayed, Unreplayable};
pub(crate) use survey::{Surveyed, survey};
pub(crate) use verify::{Examined, JournalSubject, examine, sort_out};
pub(crate) use write::{BATCH_BYTES_MAX, SyncPoint, Writer, change_bytes_max};
