//! Lists within a change: whom a message mentions, which messages a user hid.
//! Owns: their bytes. May touch: `id`, `varint`.
//! Never: takes two encodings of one list.
//!
//! Mentions: how many (varint), that many users (varints), then a bit for each, low bits first, of whether
//! the user gets a row. Hidden messages: for each, ascending, the distance from the one before (varint),
//! its ordinal (varint), a byte (bit 0: it counts for the user who hid it), its alerts (a byte).

use crate::id::UserId;
use crate::limits::MENTIONS_MAX;
use crate::varint::{put, take};

/// A user that a message mentions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mentioned {
    pub user: UserId,
    /// It is told by its badge.
    pub has_row: bool,
}

/// Appends the mentions to `out`; nothing if there are none.
pub(crate) fn encode_mentions(mentions: &[Mentioned], out: &mut Vec<u8>) {
    if mentions.is_empty() {
        return;
    }
    put(out, mentions.len() as u64);
    mentions.iter().for_each(|mentioned| put(out, mentioned.user.0));
    for eight in mentions.chunks(8) {
        out.push(eight.iter().rev().fold(0, |bits, mentioned| bits << 1 | u8::from(mentioned.has_row)));
    }
}

/// The mentions that [`encode_mentions`] wrote these bytes for.
pub(crate) fn decode_mentions(mut bytes: &[u8]) -> Option<Vec<Mentioned>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let count = usize::try_from(take(&mut bytes)?).ok().filter(|count| (1..=MENTIONS_MAX).contains(count))?;
    let mut mentions = Vec::with_capacity(count);
    for _ in 0..count {
        let user = UserId(take(&mut bytes)?);
        (!user.is_none()).then_some(())?;
        mentions.push(Mentioned { user, has_row: false });
    }
    (bytes.len() == count.div_ceil(8)).then_some(())?;
    for (eight, bits) in mentions.chunks_mut(8).zip(bytes) {
        (u32::from(*bits) >> eight.len() == 0).then_some(())?;
        eight.iter_mut().enumerate().for_each(|(index, mentioned)| mentioned.has_row = bits >> index & 1 == 1);
    }
    Some(mentions)
}

/// A message that a user hid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub seq: u64,
    pub ordinal: u64,
    /// It counts, and the user did not send it.
    pub counts: bool,
    pub alerts: u8,
}

const HIDDEN_COUNTS: u8 = 1;

/// Appends hidden messages, ascending, to `out`.
pub(crate) fn encode_hides(hides: &[Hidden], out: &mut Vec<u8>) {
    let mut before = 0;
    for hidden in hides {
        put(out, hidden.seq - before);
        put(out, hidden.ordinal);
        out.push(if hidden.counts { HIDDEN_COUNTS } else { 0 });
        out.push(hidden.alerts);
        before = hidden.seq;
    }
}

/// The hidden messages that [`encode_hides`] wrote these bytes for; at least one.
pub(crate) fn decode_hides(mut bytes: &[u8]) -> Option<Vec<Hidden>> {
    let mut hides = Vec::new();
    let mut before = 0u64;
    while !bytes.is_empty() {
        let distance = take(&mut bytes).filter(|distance| *distance > 0)?;
        let seq = before.checked_add(distance)?;
        let ordinal = take(&mut bytes)?;
        let (&[counts, alerts], rest) = bytes.split_first_chunk::<2>()?;
        (counts <= HIDDEN_COUNTS).then_some(())?;
        hides.push(Hidden { seq, ordinal, counts: counts == HIDDEN_COUNTS, alerts });
        bytes = rest;
        before = seq;
    }
    (!hides.is_empty()).then_some(hides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn mentions_come_back(users in vec((1..u64::MAX, any::<bool>()), 0..=MENTIONS_MAX)) {
            let mentions: Vec<Mentioned> =
                users.iter().map(|(user, has_row)| Mentioned { user: UserId(*user), has_row: *has_row }).collect();
            let mut bytes = Vec::new();
            encode_mentions(&mentions, &mut bytes);
            prop_assert_eq!(decode_mentions(&bytes), Some(mentions));
            if !bytes.is_empty() {
                prop_assert!(decode_mentions(&bytes[..bytes.len() - 1]).is_none_or(|short| short.is_empty()));
            }
        }

        #[test]
        fn hidden_messages_come_back(steps in vec((1..u64::MAX / 300, any::<u64>(), any::<bool>(), any::<u8>()), 1..256)) {
            let mut seq = 0;
            let hides: Vec<Hidden> = steps.iter().map(|(step, ordinal, counts, alerts)| {
                seq += step;
                Hidden { seq, ordinal: *ordinal, counts: *counts, alerts: *alerts }
            }).collect();
            let mut bytes = Vec::new();
            encode_hides(&hides, &mut bytes);
            prop_assert_eq!(decode_hides(&bytes), Some(hides));
        }

        #[test]
        fn any_bytes_decode_to_nothing_or_to_themselves(bytes in vec(prop_oneof![0..5u8, any::<u8>()], 0..40)) {
            if let Some(mentions) = decode_mentions(&bytes) {
                let mut again = Vec::new();
                encode_mentions(&mentions, &mut again);
                prop_assert_eq!(&again, &bytes);
            }
            if let Some(hides) = decode_hides(&bytes) {
                let mut again = Vec::new();
                encode_hides(&hides, &mut again);
                prop_assert_eq!(&again, &bytes);
            }
        }
    }
}
