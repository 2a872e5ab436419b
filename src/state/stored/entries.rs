//! Rows on their way to a sorted run.
//! Owns: `Entries`, their order. May touch: `buffer`.
//! Never: keeps them where an allocator would keep their memory.

use super::TIMELINE;
use crate::buffer::Buffer;

/// Rows, added in any order and read in that of their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    /// Records: length of the key, how much of it filters are asked with, length of the value or [`NO_VALUE`], key, value.
    pieces: Vec<Buffer>,
    /// A [`Mark`] for each.
    marks: Option<Buffer>,
    /// `marks` is.
    is_sorted: bool,
}

/// The beginning of a key, [`order`], then the piece (2 bytes) and the offset (4) of its record.
type Mark = [u8; MARK_BYTES];

const MARK_BYTES: usize = ORDER_BYTES + 6;
const ORDER_BYTES: usize = 10;
const RECORD_HEADER_BYTES: usize = 8;
/// The row is taken away.
const NO_VALUE: u32 = u32::MAX;
const PIECE_BYTES: usize = 4 << 20;
/// Room for a million marks, which takes memory as they come.
const MARKS_BYTES: usize = 16 << 20;

/// What decides between most keys at once: of two, the one with the lower order is the lower one; of two with one order,
/// their bytes decide. It is a key's first byte, of a timeline's rows the second, too, and the eight behind: a user, a
/// group, or a hash.
fn order(key: &[u8]) -> [u8; ORDER_BYTES] {
    let mut order = [0; ORDER_BYTES];
    let (first, rest) = key.split_at(key.len().min(if key.first() == Some(&TIMELINE) { 2 } else { 1 }));
    order[..first.len()].copy_from_slice(first);
    let rest = &rest[..rest.len().min(8)];
    order[2..][..rest.len()].copy_from_slice(rest);
    order
}

fn part<const N: usize>(bytes: &[u8], start: usize) -> [u8; N] {
    *bytes[start..].first_chunk().expect("marks and records are written whole")
}

/// A mark's order as numbers, and where its record lies.
fn order_of(mark: &Mark) -> (u64, u16) {
    (u64::from_be_bytes(part(mark, 0)), u16::from_be_bytes(part(mark, 8)))
}

fn place_of(mark: &Mark) -> (u16, u32) {
    (u16::from_be_bytes(part(mark, 10)), u32::from_be_bytes(part(mark, 12)))
}

/// Key, length of its prefix, and value of the record at a place.
fn record(pieces: &[Buffer], (piece, offset): (u16, u32)) -> (&[u8], usize, Option<&[u8]>) {
    let record = &pieces[usize::from(piece)][offset as usize..];
    let key_bytes = usize::from(u16::from_ne_bytes(part(record, 0)));
    let prefix = usize::from(u16::from_ne_bytes(part(record, 2)));
    let value_bytes = u32::from_ne_bytes(part(record, 4));
    let (key, rest) = record[RECORD_HEADER_BYTES..].split_at(key_bytes);
    (key, prefix, (value_bytes != NO_VALUE).then(|| &rest[..value_bytes as usize]))
}

impl Entries {
    /// Adds a row, or that there is none, whose filters are asked with the first `prefix` bytes of its key.
    pub fn add(&mut self, key: &[u8], prefix: usize, value: Option<&[u8]>) {
        let bytes = RECORD_HEADER_BYTES + key.len() + value.map_or(0, <[u8]>::len);
        if self.pieces.last().is_none_or(|piece| piece.capacity() - piece.len() < bytes) {
            self.pieces.push(Buffer::with_capacity(bytes.max(PIECE_BYTES)));
        }
        let index = u16::try_from(self.pieces.len() - 1).expect("a sealing writes less than 256 GiB");
        let piece = &mut self.pieces[usize::from(index)];
        let mut mark = [0; MARK_BYTES];
        mark[..ORDER_BYTES].copy_from_slice(&order(key));
        mark[10..12].copy_from_slice(&index.to_be_bytes());
        mark[12..].copy_from_slice(&(piece.len() as u32).to_be_bytes());
        let value_bytes = value.map_or(NO_VALUE, |value| u32::try_from(value.len()).expect("no row is that long"));
        let mut header = [0; RECORD_HEADER_BYTES];
        header[..2].copy_from_slice(&(key.len() as u16).to_ne_bytes());
        header[2..4].copy_from_slice(&(prefix as u16).to_ne_bytes());
        header[4..].copy_from_slice(&value_bytes.to_ne_bytes());
        piece.extend_from_slice(&header);
        piece.extend_from_slice(key);
        piece.extend_from_slice(value.unwrap_or_default());
        self.marks.get_or_insert_with(|| Buffer::with_capacity(MARKS_BYTES)).extend_from_slice(&mark);
        self.is_sorted = false;
    }

    /// Sorts them by key.
    pub fn sort(&mut self) {
        let Entries { pieces, marks, is_sorted } = self;
        if let Some(marks) = marks {
            let key = |mark: &Mark| record(pieces, place_of(mark)).0;
            marks.as_chunks_mut::<MARK_BYTES>().0.sort_unstable_by(|one, other| {
                let by_order = order_of(one).cmp(&order_of(other));
                let by_key = by_order.then_with(|| key(one).cmp(key(other)));
                by_key.then_with(|| place_of(other).cmp(&place_of(one)))
            });
        }
        *is_sorted = true;
    }

    /// Key, length of its prefix, and value of each, once they are sorted. Of several with one key the last one that was
    /// added.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], usize, Option<&[u8]>)> {
        debug_assert!(self.is_sorted, "they are read in the order of their keys");
        let marks = self.marks.as_ref().map_or(&[][..], |marks| marks.as_chunks::<MARK_BYTES>().0);
        let mut before: Option<&[u8]> = None;
        marks.iter().filter_map(move |mark| {
            let found = record(&self.pieces, place_of(mark));
            let is_new = before != Some(found.0);
            before = Some(found.0);
            is_new.then_some(found)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.marks.is_none()
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
