//! Rows on their way to a sorted run.
//! Owns: `Entries`, their order. May touch: `buffer`.
//! Never: keeps them where an allocator would keep their memory.

use super::TIMELINE;
use crate::buffer::Buffer;
use std::cmp::Reverse;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Rows, added in any order and read in that of their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    /// Records: a [`RecordHeader`], key, value.
    pieces: Vec<Buffer>,
    /// An [`Entry`] for each.
    list: Option<Buffer>,
    is_sorted: bool,
}

/// What is sorted: [`order`] of a key, and where its record lies.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    family: U16,
    order: U64,
    piece: U16,
    offset: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RecordHeader {
    key_bytes: U16,
    /// How much of the key filters are asked with.
    prefix_bytes: U16,
    /// [`NO_VALUE`] takes the row away.
    value_bytes: U32,
}

const NO_VALUE: u32 = u32::MAX;
const PIECE_BYTES: usize = 4 << 20;
/// Room for a million entries, which takes memory as they come.
const LIST_BYTES: usize = size_of::<Entry>() << 20;

/// What decides between most keys at once: of two, the one with the lower order is the lower one; of two with one order,
/// their bytes decide. It is a key's first byte, of a timeline's rows the second, too, and the eight behind: a user, a
/// group, or a hash.
fn order(key: &[u8]) -> (u16, u64) {
    let (mut family, mut order) = ([0; 2], [0; 8]);
    let (first, rest) = key.split_at(key.len().min(if key.first() == Some(&TIMELINE) { 2 } else { 1 }));
    family[..first.len()].copy_from_slice(first);
    let rest = &rest[..rest.len().min(order.len())];
    order[..rest.len()].copy_from_slice(rest);
    (u16::from_be_bytes(family), u64::from_be_bytes(order))
}

impl Entry {
    fn order(&self) -> (u16, u64) {
        (self.family.get(), self.order.get())
    }

    fn place(&self) -> (u16, u32) {
        (self.piece.get(), self.offset.get())
    }

    /// Key, length of its prefix, and value.
    fn record<'p>(&self, pieces: &'p [Buffer]) -> (&'p [u8], usize, Option<&'p [u8]>) {
        let (piece, offset) = self.place();
        let record = &pieces[usize::from(piece)][offset as usize..];
        let (header, rest) = RecordHeader::ref_from_prefix(record).expect("records are written whole");
        let (key, rest) = rest.split_at(header.key_bytes.get().into());
        let value_bytes = header.value_bytes.get();
        (key, header.prefix_bytes.get().into(), (value_bytes != NO_VALUE).then(|| &rest[..value_bytes as usize]))
    }
}

impl Entries {
    /// Adds a row, or that there is none, whose filters are asked with the first `prefix` bytes of its key.
    pub fn add(&mut self, key: &[u8], prefix: usize, value: Option<&[u8]>) {
        let bytes = size_of::<RecordHeader>() + key.len() + value.map_or(0, <[u8]>::len);
        if self.pieces.last().is_none_or(|piece| piece.capacity() - piece.len() < bytes) {
            self.pieces.push(Buffer::with_capacity(bytes.max(PIECE_BYTES)));
        }
        let index = self.pieces.len() - 1;
        let piece = &mut self.pieces[index];
        let (family, order) = order(key);
        let entry = Entry {
            family: family.into(),
            order: order.into(),
            piece: u16::try_from(index).expect("a sealing writes less than 256 GiB").into(),
            offset: (piece.len() as u32).into(),
        };
        let short = |length: usize| U16::from(u16::try_from(length).expect("keys are short"));
        let value_bytes = value.map_or(NO_VALUE, |value| u32::try_from(value.len()).expect("no row is that long"));
        let header =
            RecordHeader { key_bytes: short(key.len()), prefix_bytes: short(prefix), value_bytes: value_bytes.into() };
        piece.extend_from_slice(header.as_bytes());
        piece.extend_from_slice(key);
        piece.extend_from_slice(value.unwrap_or_default());
        self.list.get_or_insert_with(|| Buffer::with_capacity(LIST_BYTES)).extend_from_slice(entry.as_bytes());
        self.is_sorted = false;
    }

    /// Sorts them by key.
    pub fn sort(&mut self) {
        let pieces = &self.pieces;
        if let Some(list) = &mut self.list {
            let list = <[Entry]>::mut_from_bytes(list).expect("entries are written whole");
            list.sort_unstable_by(|one, other| {
                let by_order = one.order().cmp(&other.order());
                let by_key = by_order.then_with(|| one.record(pieces).0.cmp(other.record(pieces).0));
                by_key.then_with(|| Reverse(one.place()).cmp(&Reverse(other.place())))
            });
        }
        self.is_sorted = true;
    }

    /// Key, length of its prefix, and value of each, once they are sorted. Of several with one key the last one that was
    /// added.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], usize, Option<&[u8]>)> {
        debug_assert!(self.is_sorted, "they are read in the order of their keys");
        let list = self.list.as_deref().unwrap_or_default();
        let list = <[Entry]>::ref_from_bytes(list).expect("entries are written whole");
        let mut before: Option<&[u8]> = None;
        list.iter().filter_map(move |entry| {
            let found = entry.record(&self.pieces);
            let is_new = before != Some(found.0);
            before = Some(found.0);
            is_new.then_some(found)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::USER;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Keys of few bytes, so that many begin alike.
    fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop_oneof![Just(0), Just(1), Just(255), Just(TIMELINE), Just(USER)];
        vec(vec(byte, 0..14), 0..40)
    }

    proptest! {
        #[test]
        fn entries_are_sorted_by_all_of_their_keys_and_the_last_of_each_stays(keys in keys()) {
            let mut entries = Entries::default();
            let value = |number: usize| (!number.is_multiple_of(5)).then(|| vec![number as u8; number % 7]);
            for (number, key) in keys.iter().enumerate() {
                entries.add(key, number, value(number).as_deref());
            }
            entries.sort();
            let mut plain = std::collections::BTreeMap::new();
            plain.extend(keys.iter().enumerate().map(|(number, key)| (key.clone(), (number, value(number)))));
            let found = entries.iter().map(|(key, prefix, value)| (key.to_vec(), (prefix, value.map(<[u8]>::to_vec))));
            prop_assert_eq!(found.collect::<Vec<_>>(), plain.into_iter().collect::<Vec<_>>());
        }
    }
}
