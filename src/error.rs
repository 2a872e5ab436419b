//! What can go wrong, in kinds by which a caller acts differently.
//! Owns: `Error` and its kinds. May touch: `id`.
//! Never: logs, retries or hides an error.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input contradicts itself or the rules: correct it. Nothing was written.
    InvalidInput,
    /// The input is above a documented limit of [`crate::limits`]: make it smaller. Nothing was written.
    LimitExceeded,
    /// The named session, group or message is not there. Nothing was written.
    NotFound,
    /// The rules forbid it (a sender who is no member or silenced, an edit of a recalled message).
    /// Nothing was written.
    Refused,
    /// The group was dissolved, for good. Nothing was written.
    Dissolved,
    /// The message was there and is trimmed. Nothing was written.
    Trimmed,
    /// The client id was used for another message within the window. Nothing was written.
    Conflict,
    /// The cursor does not fit this store any more: walk again from nothing.
    ResetRequired,
    /// There is no room on the disk for another journal file: make room, then call again.
    /// Nothing was written; reads, marks and leaves still work.
    Full,
    /// The commit failed half-way: whether the change is there is settled when the store is opened
    /// again. A retry with the same client id is safe.
    Unknown,
    /// An earlier write or sync failed, so this store takes no more changes: open it again.
    /// Nothing was written; reads go on.
    Poisoned,
    /// Another process, or another handle, has this store open.
    Locked,
    /// Bytes that were surely read break the format, or a file that must be there is missing.
    /// Stop and repair; [`Error::corruption`] names file and offset. A full disk or a missing
    /// permission is not corruption; a torn tail after a crash is neither: it is cut and reported
    /// by [`crate::Store::recovery`].
    Corruption,
    /// The store was written by a newer version of this crate.
    Unsupported,
    /// The operating system refused: `source()` keeps its error.
    Io,
    /// The store was closed.
    Closed,
}

/// Where a store is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file.
    pub file: PathBuf,
    /// The position in it, in bytes.
    pub offset: u64,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Why a call failed. Branch on [`Error::kind`], never on the message.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    item: Option<usize>,
    corruption: Option<Corruption>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The result of a call to the store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), item: None, corruption: None, source: None }))
    }

    pub(crate) fn io(operation: &str, path: &Path, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            _ => ErrorKind::Io,
        };
        let mut error = Error::new(kind, format!("cannot {operation}: path={}: {source}", path.display()));
        error.0.source = Some(Arc::new(source));
        error
    }

    pub(crate) fn corruption_at(
        file: &Path,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        let corruption = Corruption { file: file.to_owned(), offset, expected: expected.into(), found: found.into() };
        let mut error = Error::new(
            ErrorKind::Corruption,
            format!(
                "store damaged: file={} offset={offset} want={} got={}",
                file.display(),
                corruption.expected,
                corruption.found
            ),
        );
        error.0.corruption = Some(corruption);
        error
    }

    pub(crate) fn with_item(mut self, item: usize) -> Error {
        self.0.item = Some(item);
        self
    }

    pub(crate) fn caused_by(mut self, cause: Error) -> Error {
        self.0.message = format!("{}: {}", self.0.message, cause.0.message);
        self.0.source = Some(Arc::new(cause));
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Which item of a batch is meant, counted from 0.
    pub fn item(&self) -> Option<usize> {
        self.0.item
    }

    /// Where the store is damaged, for [`ErrorKind::Corruption`].
    pub fn corruption(&self) -> Option<&Corruption> {
        self.0.corruption.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.item {
            Some(item) => write!(f, ": item={item}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn messages_are_lowercase_with_values_last() {
        let error = Error::corruption_at(Path::new("0a.journal"), 4096, "crc 1", "crc 2");
        assert_eq!(error.to_string(), "store damaged: file=0a.journal offset=4096 want=crc 1 got=crc 2");
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert_eq!(error.corruption().unwrap().offset, 4096);
        let error = Error::new(ErrorKind::Refused, "sender is not a member: sender=7").with_item(3);
        assert_eq!(error.to_string(), "sender is not a member: sender=7: item=3");
    }

    #[test]
    fn a_full_disk_is_a_kind_of_its_own_and_keeps_its_cause() {
        let error = Error::io("create", Path::new("x"), io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(error.source().unwrap().downcast_ref::<io::Error>().is_some());
        let error = Error::io("create", Path::new("x"), io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}
