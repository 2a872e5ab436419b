//! The name of a timeline in the key of a sorted table.
//! Owns: these bytes. May touch: `id`.
//! Never: takes two encodings of one timeline, or one of a timeline that cannot be.
//!
//! | first byte | then, big-endian, 8 bytes each |
//! |---|---|
//! | 1 direct | lower user, higher user |
//! | 2 group | group |
//! | 3 inbox of a system source | source, recipient |
//! | 4 inbox of a business source | source, recipient |
//! | 5 broadcast of a system source | source |
//! | 6 broadcast of a business source | source |
//!
//! They sort as timelines do, and none is the beginning of another, since the first byte gives the length.

use crate::id::{BusinessId, GroupId, Pair, Source, SystemId, Timeline, UserId};

const DIRECT: u8 = 1;
const GROUP: u8 = 2;
const INBOX_SYSTEM: u8 = 3;
const INBOX_BUSINESS: u8 = 4;
const BROADCAST_SYSTEM: u8 = 5;
const BROADCAST_BUSINESS: u8 = 6;

/// The most bytes a timeline takes.
pub(crate) const TIMELINE_BYTES_MAX: usize = 17;

/// Appends the timeline.
pub(crate) fn put_timeline(out: &mut Vec<u8>, timeline: Timeline) {
    let (kind, first, second) = match timeline {
        Timeline::Direct(pair) => (DIRECT, pair.low().0, Some(pair.high().0)),
        Timeline::Group(group) => (GROUP, group.0, None),
        Timeline::Inbox(Source::System(system), user) => (INBOX_SYSTEM, system.0, Some(user.0)),
        Timeline::Inbox(Source::Business(business), user) => (INBOX_BUSINESS, business.0, Some(user.0)),
        Timeline::Broadcast(Source::System(system)) => (BROADCAST_SYSTEM, system.0, None),
        Timeline::Broadcast(Source::Business(business)) => (BROADCAST_BUSINESS, business.0, None),
    };
    out.push(kind);
    out.extend_from_slice(&first.to_be_bytes());
    if let Some(second) = second {
        out.extend_from_slice(&second.to_be_bytes());
    }
}

/// Takes a timeline off the front of `input`; `None`, and nothing taken, for bytes that [`put_timeline`] does
/// not write.
pub(crate) fn take_timeline(input: &mut &[u8]) -> Option<Timeline> {
    let (&kind, rest) = input.split_first()?;
    let mut rest = rest;
    let first = take_number(&mut rest)?;
    let timeline = match kind {
        DIRECT => {
            let second = take_number(&mut rest)?;
            (first <= second).then_some(())?;
            Timeline::Direct(Pair::new(UserId(first), UserId(second)))
        }
        GROUP => Timeline::Group(GroupId(first)),
        INBOX_SYSTEM => Timeline::Inbox(Source::System(SystemId(first)), UserId(take_number(&mut rest)?)),
        INBOX_BUSINESS => Timeline::Inbox(Source::Business(BusinessId(first)), UserId(take_number(&mut rest)?)),
        BROADCAST_SYSTEM => Timeline::Broadcast(Source::System(SystemId(first))),
        BROADCAST_BUSINESS => Timeline::Broadcast(Source::Business(BusinessId(first))),
        _ => return None,
    };
    (!timeline.is_none()).then_some(())?;
    *input = rest;
    Some(timeline)
}

/// Takes eight big-endian bytes off the front of `input`.
pub(crate) fn take_number(input: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn id() -> impl Strategy<Value = u64> {
        prop_oneof![1..4u64, 250..260u64, (u64::MAX - 2)..=u64::MAX, 1..=u64::MAX]
    }

    fn source() -> impl Strategy<Value = Source> {
        prop_oneof![
            id().prop_map(|id| Source::System(SystemId(id))),
            id().prop_map(|id| Source::Business(BusinessId(id))),
        ]
    }

    fn timeline() -> impl Strategy<Value = Timeline> {
        prop_oneof![
            (id(), id()).prop_map(|(one, two)| Timeline::direct(UserId(one), UserId(two))),
            id().prop_map(|id| Timeline::Group(GroupId(id))),
            (source(), id()).prop_map(|(source, user)| Timeline::Inbox(source, UserId(user))),
            source().prop_map(Timeline::Broadcast),
        ]
    }

    fn bytes_of(timeline: Timeline) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_timeline(&mut bytes, timeline);
        bytes
    }

    proptest! {
        #[test]
        fn timelines_come_back_in_their_order(one in timeline(), two in timeline(), behind in any::<u8>()) {
            let (one_bytes, two_bytes) = (bytes_of(one), bytes_of(two));
            prop_assert!(one_bytes.len() <= TIMELINE_BYTES_MAX);
            prop_assert_eq!(one_bytes.cmp(&two_bytes), one.cmp(&two));
            prop_assert!(one == two || !two_bytes.starts_with(&one_bytes));
            let mut more = one_bytes.clone();
            more.push(behind);
            let mut input = &more[..];
            prop_assert_eq!(take_timeline(&mut input), Some(one));
            prop_assert_eq!(input, &[behind][..]);
            for cut in 0..one_bytes.len() {
                let mut input = &one_bytes[..cut];
                prop_assert_eq!(take_timeline(&mut input), None);
                prop_assert_eq!(input.len(), cut);
            }
        }

        #[test]
        fn any_bytes_are_a_timeline_in_one_way_or_none(kind in 0..9u8, rest in vec(prop_oneof![Just(0), any::<u8>()], 0..20)) {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(&rest);
            let mut input = &bytes[..];
            if let Some(timeline) = take_timeline(&mut input) {
                prop_assert_eq!(&bytes_of(timeline)[..], &bytes[..bytes.len() - input.len()]);
                prop_assert!(!timeline.is_none());
            }
        }
    }

    #[test]
    fn two_names_of_one_chat_and_names_of_nobody_are_refused() {
        let bytes = |kind: u8, ids: &[u64]| {
            let ids = ids.iter().flat_map(|id| id.to_be_bytes());
            std::iter::once(kind).chain(ids).collect::<Vec<u8>>()
        };
        let good = bytes(1, &[3, 7]);
        assert_eq!(take_timeline(&mut &good[..]), Some(Timeline::direct(UserId(3), UserId(7))));
        for bad in [
            bytes(1, &[7, 3]),
            bytes(1, &[0, 3]),
            bytes(2, &[0]),
            bytes(3, &[4, 0]),
            bytes(4, &[0, 4]),
            bytes(5, &[0]),
            bytes(6, &[0]),
            bytes(0, &[3, 7]),
            bytes(7, &[3, 7]),
        ] {
            assert_eq!(take_timeline(&mut &bad[..]), None, "{bad:02x?}");
        }
    }
}
