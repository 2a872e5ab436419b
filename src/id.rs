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
    /// A system source (announcements, notices), as the server numbers them. 0 means none and is refused.
    SystemId, u64, "system ");
number!(
    /// A business source (an official account), as the server numbers them. 0 means none and is refused.
    BusinessId, u64, "business ");
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
/// The order (users, groups, systems, businesses, each by id) is the order that breaks ties in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// The direct chat with this user; with oneself, the notes to oneself.
    User(UserId),
    /// The group.
    Group(GroupId),
    /// What this system source sends to the user, or to everyone.
    System(SystemId),
    /// What this business source sends to the user, or to everyone.
    Business(BusinessId),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::User(user) => user.fmt(f),
            Peer::Group(group) => group.fmt(f),
            Peer::System(system) => system.fmt(f),
            Peer::Business(business) => business.fmt(f),
        }
    }
}

impl Peer {
    /// Whether the id is 0.
    pub(crate) fn is_none(self) -> bool {
        match self {
            Peer::User(user) => user.is_none(),
            Peer::Group(group) => group.is_none(),
            Peer::System(system) => system.is_none(),
            Peer::Business(business) => business.is_none(),
        }
    }
}

/// Who sends to users and takes nothing from them. Its first message makes it the source either of
/// inboxes, one for each user, or of a broadcast to everyone, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A system source.
    System(SystemId),
    /// A business source; `System(5)` and `Business(5)` are two.
    Business(BusinessId),
}

impl Source {
    /// Whether the id is 0.
    pub(crate) fn is_none(self) -> bool {
        Peer::from(self).is_none()
    }
}

impl From<Source> for Peer {
    fn from(source: Source) -> Peer {
        match source {
            Source::System(system) => Peer::System(system),
            Source::Business(business) => Peer::Business(business),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Peer::from(*self).fmt(f)
    }
}

/// Of what kind the thing is that a name in the directory stands for; each kind has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NameKind {
    /// A user.
    User,
    /// A group.
    Group,
    /// A system source.
    System,
    /// A business source.
    Business,
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
    /// From one source to one user.
    Inbox(Source, UserId),
    /// From one source to everyone.
    Broadcast(Source),
}

impl Timeline {
    /// The direct timeline of two users.
    pub fn direct(one: UserId, other: UserId) -> Timeline {
        Timeline::Direct(Pair::new(one, other))
    }

    /// What `user` calls this timeline, or `None` for a user outside of a direct one or an inbox.
    pub fn peer_of(self, user: UserId) -> Option<Peer> {
        match self {
            Timeline::Direct(pair) => pair.other(user).map(Peer::User),
            Timeline::Group(group) => Some(Peer::Group(group)),
            Timeline::Inbox(source, recipient) => (recipient == user).then(|| source.into()),
            Timeline::Broadcast(source) => Some(source.into()),
        }
    }

    /// The source that sends here.
    pub(crate) fn source(self) -> Option<Source> {
        match self {
            Timeline::Inbox(source, _) | Timeline::Broadcast(source) => Some(source),
            Timeline::Direct(_) | Timeline::Group(_) => None,
        }
    }

    /// The two users of a direct timeline, or the recipient of an inbox twice: those who have the
    /// session from its first message on.
    pub(crate) fn ends(self) -> Option<Pair> {
        match self {
            Timeline::Direct(pair) => Some(pair),
            Timeline::Inbox(_, user) => Some(Pair::new(user, user)),
            Timeline::Group(_) | Timeline::Broadcast(_) => None,
        }
    }

    /// Whether an id in the name is 0.
    pub(crate) fn is_none(self) -> bool {
        match self {
            Timeline::Direct(pair) => pair.low.is_none(),
            Timeline::Group(group) => group.is_none(),
            Timeline::Inbox(source, user) => source.is_none() || user.is_none(),
            Timeline::Broadcast(source) => source.is_none(),
        }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timeline::Direct(pair) => write!(f, "direct {}-{}", pair.low.0, pair.high.0),
            Timeline::Group(group) => group.fmt(f),
            Timeline::Inbox(source, user) => write!(f, "inbox of {user} from {source}"),
            Timeline::Broadcast(source) => write!(f, "broadcast from {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_users_name_the_same_direct_timeline() {
        let (one, two) = (UserId(7), UserId(3));
        assert_eq!(Timeline::direct(one, two), Timeline::direct(two, one));
        assert_eq!(Timeline::direct(one, two).peer_of(one), Some(Peer::User(two)));
        assert_eq!(Timeline::direct(one, two).peer_of(two), Some(Peer::User(one)));
        assert_eq!(Timeline::direct(one, two).peer_of(UserId(5)), None);
        assert_eq!(Timeline::direct(one, one).peer_of(one), Some(Peer::User(one)));
    }

    #[test]
    fn peers_order_by_kind_then_id() {
        assert!(Peer::User(UserId(u64::MAX)) < Peer::Group(GroupId(1)));
        assert!(Peer::Group(GroupId(1)) < Peer::Group(GroupId(2)));
        assert!(Peer::Group(GroupId(u64::MAX)) < Peer::System(SystemId(1)));
        assert!(Peer::System(SystemId(9)) < Peer::Business(BusinessId(1)));
    }

    #[test]
    fn a_source_has_one_name_for_its_recipients() {
        let source = Source::System(SystemId(5));
        let inbox = Timeline::Inbox(source, UserId(7));
        assert_eq!(inbox.peer_of(UserId(7)), Some(Peer::System(SystemId(5))));
        assert_eq!(inbox.peer_of(UserId(8)), None);
        assert_eq!(Timeline::Broadcast(source).peer_of(UserId(8)), Some(Peer::System(SystemId(5))));
    }
}
