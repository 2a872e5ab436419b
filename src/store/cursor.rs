//! Where a client's walk through its sessions stands.
//! Owns: the cursors and their bytes. May touch: `id`, `time`.
//! Never: decides whether a cursor still fits; the session list does.

use crate::error::{Error, ErrorKind, Result};
use crate::id::{BusinessId, Epoch, GroupId, Peer, Seq, SystemId, UserId, Version};
use crate::time::Timestamp;

/// Bytes of an encoded [`Cursor`].
const CURSOR_BYTES: usize = 32;
/// Bytes of an encoded [`AmendmentCursor`].
const AMENDMENT_CURSOR_BYTES: usize = 32;
/// Bytes of an encoded [`RecentCursor`].
const RECENT_CURSOR_BYTES: usize = 17;

/// Where a walk of `changed` stands: opaque, to be kept by the client and handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch of the versions below.
    pub(crate) epoch: Epoch,
    /// What was committed up to here is known to the client from earlier walks.
    pub(crate) base: Version,
    /// Sessions up to this version were handed out in this walk.
    pub(crate) position: Version,
    /// The newest version that was published when this walk's last page was made.
    pub(crate) newest: Version,
}

impl Cursor {
    /// The cursor as bytes, for sending and storing.
    pub fn to_bytes(&self) -> [u8; CURSOR_BYTES] {
        let mut bytes = [0; CURSOR_BYTES];
        let fields = [self.epoch.0, self.base.0, self.position.0, self.newest.0];
        for (chunk, field) in bytes.chunks_exact_mut(8).zip(fields) {
            chunk.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// The cursor that [`Cursor::to_bytes`] gave these bytes for.
    ///
    /// # Errors
    /// `InvalidInput` if the length is wrong. Whether the store knows the cursor shows when it is used.
    pub fn from_bytes(bytes: &[u8]) -> Result<Cursor> {
        let bytes: &[u8; CURSOR_BYTES] = bytes.try_into().map_err(|_| bad_length(CURSOR_BYTES, bytes.len()))?;
        let mut fields = bytes.chunks_exact(8).map(eight);
        let mut next = || fields.next().unwrap_or(0);
        Ok(Cursor { epoch: Epoch(next()), base: Version(next()), position: Version(next()), newest: Version(next()) })
    }

    /// The largest version in it.
    pub(crate) fn reach(&self) -> Version {
        self.base.max(self.position).max(self.newest)
    }
}

/// Where a walk through the amendments of one session stands: opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmendmentCursor {
    pub(crate) epoch: Epoch,
    /// What was listed last.
    pub(crate) version: Version,
    pub(crate) seq: Seq,
    /// The newest version that was published when that was listed. What stood above the page because of a
    /// change that a crash takes back falls below it, so all of this must have survived.
    pub(crate) newest: Version,
}

impl AmendmentCursor {
    /// The cursor as bytes, for sending and storing.
    pub fn to_bytes(&self) -> [u8; AMENDMENT_CURSOR_BYTES] {
        let mut bytes = [0; AMENDMENT_CURSOR_BYTES];
        for (chunk, field) in bytes.chunks_exact_mut(8).zip([self.epoch.0, self.version.0, self.seq.0, self.newest.0]) {
            chunk.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// The cursor that [`AmendmentCursor::to_bytes`] gave these bytes for.
    ///
    /// # Errors
    /// `InvalidInput` if the length is wrong. Whether the store knows the cursor shows when it is used.
    pub fn from_bytes(bytes: &[u8]) -> Result<AmendmentCursor> {
        let bytes: &[u8; AMENDMENT_CURSOR_BYTES] =
            bytes.try_into().map_err(|_| bad_length(AMENDMENT_CURSOR_BYTES, bytes.len()))?;
        let field = |index: usize| eight(&bytes[index * 8..][..8]);
        let (version, seq, newest) = (Version(field(1)), Seq(field(2)), Version(field(3)));
        Ok(AmendmentCursor { epoch: Epoch(field(0)), version, seq, newest })
    }
}

/// Where a walk of `recent` stands: opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentCursor {
    pub(crate) activity: Timestamp,
    pub(crate) peer: Peer,
}

const PEER_USER: u8 = 1;
const PEER_GROUP: u8 = 2;
const PEER_SYSTEM: u8 = 3;
const PEER_BUSINESS: u8 = 4;

impl RecentCursor {
    /// The cursor as bytes, for sending and storing.
    pub fn to_bytes(&self) -> [u8; RECENT_CURSOR_BYTES] {
        let (kind, id) = match self.peer {
            Peer::User(user) => (PEER_USER, user.0),
            Peer::Group(group) => (PEER_GROUP, group.0),
            Peer::System(system) => (PEER_SYSTEM, system.0),
            Peer::Business(business) => (PEER_BUSINESS, business.0),
        };
        let mut bytes = [0; RECENT_CURSOR_BYTES];
        bytes[..8].copy_from_slice(&self.activity.0.to_le_bytes());
        bytes[8] = kind;
        bytes[9..].copy_from_slice(&id.to_le_bytes());
        bytes
    }

    /// The cursor that [`RecentCursor::to_bytes`] gave these bytes for.
    ///
    /// # Errors
    /// `InvalidInput` if these are no such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<RecentCursor> {
        let bytes: &[u8; RECENT_CURSOR_BYTES] =
            bytes.try_into().map_err(|_| bad_length(RECENT_CURSOR_BYTES, bytes.len()))?;
        let id = eight(&bytes[9..]);
        let peer = match bytes[8] {
            PEER_USER => Peer::User(UserId(id)),
            PEER_GROUP => Peer::Group(GroupId(id)),
            PEER_SYSTEM => Peer::System(SystemId(id)),
            PEER_BUSINESS => Peer::Business(BusinessId(id)),
            kind => return Err(Error::new(ErrorKind::InvalidInput, format!("not a cursor: kind of peer={kind}"))),
        };
        Ok(RecentCursor { activity: Timestamp(eight(&bytes[..8])), peer })
    }
}

fn eight(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn bad_length(expected: usize, found: usize) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("not a cursor: want={expected} bytes got={found} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_other_lengths_are_refused() {
        let cursor = Cursor { epoch: Epoch(u64::MAX), base: Version(1), position: Version(2), newest: Version(3) };
        assert_eq!(Cursor::from_bytes(&cursor.to_bytes()).unwrap(), cursor);
        let cursor = AmendmentCursor { epoch: Epoch(1), version: Version(u64::MAX), seq: Seq(2), newest: Version(3) };
        assert_eq!(AmendmentCursor::from_bytes(&cursor.to_bytes()).unwrap(), cursor);
        let sources = [Peer::System(SystemId(1)), Peer::Business(BusinessId(1))];
        for peer in [Peer::User(UserId(7)), Peer::Group(GroupId(u64::MAX))].into_iter().chain(sources) {
            let cursor = RecentCursor { activity: Timestamp(1 << 50), peer };
            assert_eq!(RecentCursor::from_bytes(&cursor.to_bytes()).unwrap(), cursor);
        }
        for length in 0..64 {
            let bytes = vec![1; length];
            assert_eq!(Cursor::from_bytes(&bytes).is_ok(), length == CURSOR_BYTES);
            assert_eq!(RecentCursor::from_bytes(&bytes).is_ok(), length == RECENT_CURSOR_BYTES);
            assert_eq!(AmendmentCursor::from_bytes(&bytes).is_ok(), length == AMENDMENT_CURSOR_BYTES);
        }
        let mut bytes = [0; RECENT_CURSOR_BYTES];
        bytes[8] = 9;
        let error = RecentCursor::from_bytes(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "not a cursor: kind of peer=9");
    }
}
