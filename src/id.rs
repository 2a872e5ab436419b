//! Names of things: users, groups, timelines, positions in them.
//! Owns: the newtypes and their order. May touch: nothing.
//! Never: decides whether a named thing exists.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $short:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The value 0, which means none.
            pub const NONE: $name = $name(0);

            /// The number itself.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// Whether this is 0, which means none.
            pub const fn is_none(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($short, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A user, as the server numbers its people. 0 means none and is refused.
    UserId, u64, "user ");
number!(
    /// A group, as the server numbers its groups. 0 means none and is refused.
    GroupId, u64, "group ");
number!(
    /// The position of a message in its timeline: 1, 2, 3 … without holes. 0 means before the first.
    Seq, u64, "seq ");
number!(
    /// The store-wide commit position of a change: dense, one per change. 0 means before the first.
    Version, u64, "version ");
number!(
    /// A sender's own id for a message, by which a retry is recognised.
    ClientId, u128, "client id ");
number!(
    /// One stretch of history that no crash has cut: 64 random bits, never a count.
    Epoch, u64, "epoch ");

/// How one user names a timeline. With the user it names a *session*.
///
/// The order (users first, then groups, each by id) is the order that breaks ties in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// The direct chat with this user; with oneself, the notes to oneself.
    User(UserId),
    /// The group.
    Group(GroupId),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::User(user) => user.fmt(f),
            Peer::Group(group) => group.fmt(f),
        }
    }
}

/// The two users of a direct timeline, in ascending order, so that one chat has one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    low: UserId,
    high: UserId,
}

impl Pair {
    /// The pair of two users, who may be the same one.
    pub fn new(one: UserId, other: UserId) -> Pair {
        Pair { low: one.min(other), high: one.max(other) }
    }

    /// The user with the smaller id.
    pub fn low(self) -> UserId {
        self.low
    }

    /// The user with the larger id; the same as [`Pair::low`] in notes to oneself.
    pub fn high(self) -> UserId {
        self.high
    }

    /// The other one of the two, or `None` if `user` is neither.
    pub fn other(self, user: UserId) -> Option<UserId> {
        if user == self.low {
            Some(self.high)
        } else if user == self.high {
            Some(self.low)
        } else {
            None
        }
    }
}

/// A conversation as nobody in particular sees it: one dense run of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Timeline {
    /// Between two users, or of a user with itself.
    Direct(Pair),
    /// Of a group.
    Group(GroupId),
}

impl Timeline {
    /// The direct timeline of two users.
    pub fn direct(one: UserId, other: UserId) -> Timeline {
        Timeline::Direct(Pair::new(one, other))
    }

    /// The timeline that `user` calls `peer`.
    pub fn of(user: UserId, peer: Peer) -> Timeline {
        match peer {
            Peer::User(other) => Timeline::direct(user, other),
            Peer::Group(group) => Timeline::Group(group),
        }
    }

    /// What `user` calls this timeline, or `None` for a user outside a direct one.
    pub fn peer_of(self, user: UserId) -> Option<Peer> {
        match self {
            Timeline::Direct(pair) => pair.other(user).map(Peer::User),
            Timeline::Group(group) => Some(Peer::Group(group)),
        }
    }

    /// Whether an id in the name is 0.
    pub(crate) fn is_none(self) -> bool {
        match self {
            Timeline::Direct(pair) => pair.low.is_none(),
            Timeline::Group(group) => group.is_none(),
        }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timeline::Direct(pair) => write!(f, "direct {}-{}", pair.low.0, pair.high.0),
            Timeline::Group(group) => group.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_users_name_the_same_direct_timeline() {
        let (one, two) = (UserId(7), UserId(3));
        assert_eq!(Timeline::of(one, Peer::User(two)), Timeline::of(two, Peer::User(one)));
        assert_eq!(Timeline::direct(one, two).peer_of(one), Some(Peer::User(two)));
        assert_eq!(Timeline::direct(one, two).peer_of(two), Some(Peer::User(one)));
        assert_eq!(Timeline::direct(one, two).peer_of(UserId(5)), None);
        assert_eq!(Timeline::direct(one, one).peer_of(one), Some(Peer::User(one)));
    }

    #[test]
    fn peers_order_by_kind_then_id() {
        assert!(Peer::User(UserId(u64::MAX)) < Peer::Group(GroupId(1)));
        assert!(Peer::Group(GroupId(1)) < Peer::Group(GroupId(2)));
    }
}
