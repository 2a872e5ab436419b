//! Entries in a block: each key without what it shares with the one before.
//! Owns: these bytes, building and searching them. May touch: `varint`.
//! Never: reads a file or sees a checksum, except for leaving room for it.
//!
//! | bytes | field |
//! |---|---|
//! | … | entries, keys strictly ascending |
//! | 4 each | restarts: where the 0th, 16th, 32nd … entry begins; these share nothing |
//! | 2 | how many restarts |
//! | 4 | CRC-32 of the file's seed, the block's offset (8 bytes), and the bytes before |
//!
//! An entry: bytes shared with the key before (varint), bytes of the rest (varint), *tag* (varint), filter prefix (varint,
//! if tag bit 0), the rest of the key, the value. The tag is, above bit 0, 0 for a tombstone, else the bytes of the value
//! and one. The filter prefix is how many bytes of the key the filter was given, if not as many as of the entry before; for an
//! entry that shares nothing, that is as if the one before had 0.

use crate::varint::{put, take};

/// A block is closed before it gets larger; an entry that is larger has a block of its own.
pub(super) const BLOCK_BYTES: usize = 4096;
const RESTART_INTERVAL: usize = 16;
const RESTART_BYTES: usize = size_of::<u32>();
const COUNT_BYTES: usize = size_of::<u16>();
/// Bytes of the checksum behind a block.
pub(super) const CRC_BYTES: usize = size_of::<u32>();
/// An entry, one restart, the count of restarts, the checksum.
pub(super) const BLOCK_BYTES_MIN: u64 = (3 + RESTART_BYTES + COUNT_BYTES + CRC_BYTES) as u64;
/// The most bytes an entry takes beyond its key and value: four numbers below 2^28 but for the tag.
const ENTRY_BYTES_EXTRA: usize = 20;

/// The bytes are not those of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Where a block lies, its checksum included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockPlace {
    pub offset: u32,
    pub length: u32,
}

impl BlockPlace {
    pub fn encode(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.offset.to_le_bytes());
        bytes[4..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<BlockPlace> {
        let (offset, rest) = bytes.split_first_chunk::<4>()?;
        let length = rest.try_into().ok()?;
        Some(BlockPlace { offset: u32::from_le_bytes(*offset), length: u32::from_le_bytes(length) })
    }
}

/// Collects the entries of one block.
#[derive(Default)]
pub(super) struct BlockBuilder {
    entries: Vec<u8>,
    restarts: Vec<u32>,
    last_key: Vec<u8>,
    entry_count: usize,
    filter_prefix: usize,
}

impl BlockBuilder {
    pub fn is_empty(&self) -> bool {
        self.entry_count == 0
    }

    /// The key added last.
    pub fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// The bytes of the block if it were finished now.
    pub fn bytes(&self) -> usize {
        self.entries.len() + RESTART_BYTES * self.restarts.len() + COUNT_BYTES + CRC_BYTES
    }

    /// Whether an entry still fits, by the most that it can take.
    pub fn has_room(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        self.is_empty() || self.bytes() + Self::entry_bytes_max(key, value) <= BLOCK_BYTES
    }

    /// The most bytes that an entry adds to a block.
    pub fn entry_bytes_max(key: &[u8], value: Option<&[u8]>) -> usize {
        key.len() + value.map_or(0, <[u8]>::len) + ENTRY_BYTES_EXTRA + RESTART_BYTES
    }

    /// Adds an entry. The caller sees to the order of the keys and that there is room.
    pub fn add(&mut self, key: &[u8], filter_prefix: usize, value: Option<&[u8]>) {
        let is_restart = self.entry_count.is_multiple_of(RESTART_INTERVAL);
        let shared = if is_restart {
            self.restarts.push(u32::try_from(self.entries.len()).expect("a part is cut below 4 GiB"));
            0
        } else {
            shared_bytes(&self.last_key, key)
        };
        if shared == 0 {
            self.filter_prefix = 0;
        }
        let is_changed = filter_prefix != self.filter_prefix;
        put(&mut self.entries, shared as u64);
        put(&mut self.entries, (key.len() - shared) as u64);
        put(&mut self.entries, value.map_or(0, |value| value.len() as u64 + 1) << 1 | u64::from(is_changed));
        if is_changed {
            put(&mut self.entries, filter_prefix as u64);
            self.filter_prefix = filter_prefix;
        }
        self.entries.extend_from_slice(&key[shared..]);
        self.entries.extend_from_slice(value.unwrap_or_default());
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        self.entry_count += 1;
    }

    /// Appends the block, with zeros for its checksum, and begins another one.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.entries);
        for restart in &self.restarts {
            out.extend_from_slice(&restart.to_le_bytes());
        }
        let count = u16::try_from(self.restarts.len()).expect("a block of many entries is small");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; CRC_BYTES]);
        self.entries.clear();
        self.restarts.clear();
        self.last_key.clear();
        self.entry_count = 0;
        self.filter_prefix = 0;
    }
}

/// An entry as it lies in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'b> {
    /// How many bytes its key begins with are those of the key before.
    pub shared: usize,
    /// The rest of its key.
    pub suffix: &'b [u8],
    /// `None` for a tombstone.
    pub value: Option<&'b [u8]>,
    /// How many bytes of the key the filter was given, if not as many as of the entry before.
    pub filter_prefix: Option<usize>,
}

/// The first entry that is not below what was sought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit<'b> {
    pub entry: Entry<'b>,
    pub is_equal: bool,
}

/// A block to read.
#[derive(Clone, Copy)]
pub(super) struct Block<'b> {
    entries: &'b [u8],
    restarts: &'b [[u8; RESTART_BYTES]],
}

impl<'b> Block<'b> {
    /// Sees a block in its bytes, which end before the checksum.
    #[inline]
    pub fn new(bytes: &'b [u8]) -> Option<Block<'b>> {
        let (bytes, count) = bytes.split_last_chunk::<COUNT_BYTES>()?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (entries, restarts) = bytes.split_at_checked(bytes.len().checked_sub(RESTART_BYTES * count)?)?;
        let (restarts, _) = restarts.as_chunks::<RESTART_BYTES>();
        (count > 0 && !entries.is_empty()).then_some(Block { entries, restarts })
    }

    /// The entry at `position`, which is moved behind it; `None` at the end.
    #[inline]
    pub fn next(&self, position: &mut usize) -> Result<Option<Entry<'b>>, Malformed> {
        let Some(mut rest) = self.entries.get(*position..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
        let entry = take_entry(&mut rest).ok_or(Malformed)?;
        *position = self.entries.len() - rest.len();
        Ok(Some(entry))
    }

    /// How many restarts there are.
    pub fn restart_count(&self) -> usize {
        self.restarts.len()
    }

    /// Where the restart with this index begins.
    #[inline]
    pub fn restart(&self, index: usize) -> usize {
        self.restarts.get(index).map_or(self.entries.len(), |bytes| u32::from_le_bytes(*bytes) as usize)
    }

    /// Where to begin to look for `target`: the last restart whose key is below it (or `target` itself, if that is
    /// `included`), or the first one.
    #[inline]
    pub fn restart_below(&self, target: &[u8], included: bool) -> Result<usize, Malformed> {
        let (mut low, mut high) = (0, self.restarts.len());
        while low < high {
            let middle = low.midpoint(high);
            let entry = self.next(&mut self.restart(middle))?.filter(|entry| entry.shared == 0).ok_or(Malformed)?;
            if entry.suffix < target || (included && entry.suffix == target) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(self.restart(low.saturating_sub(1)))
    }

    /// The first entry whose key is not below `target`, without putting any key together.
    pub fn seek(&self, target: &[u8]) -> Result<Option<Hit<'b>>, Malformed> {
        // Included, so that a later restart, whose key is written whole, is above `target`: below, an entry that shares less
        // with the one before than that one with `target` is taken for larger.
        let mut position = self.restart_below(target, true)?;
        // How many bytes the key before, which is below `target`, has in common with it.
        let mut matched = 0;
        while let Some(entry) = self.next(&mut position)? {
            if entry.shared > matched {
                // It has the byte that makes the key before smaller.
                continue;
            }
            if entry.shared < matched {
                // It is above the key before in a byte which that one has in common with `target`.
                return Ok(Some(Hit { entry, is_equal: false }));
            }
            let rest = &target[matched..];
            let common = shared_bytes(entry.suffix, rest);
            match (entry.suffix.get(common), rest.get(common)) {
                (None, None) => return Ok(Some(Hit { entry, is_equal: true })),
                (Some(byte), Some(sought)) if byte > sought => return Ok(Some(Hit { entry, is_equal: false })),
                (Some(_), None) => return Ok(Some(Hit { entry, is_equal: false })),
                _ => matched += common,
            }
        }
        Ok(None)
    }

    /// The entry with the greatest key below `bound`, or `bound` itself if that is `included`; with its key.
    pub fn below(&self, bound: &[u8], included: bool) -> Result<Option<(Vec<u8>, Entry<'b>)>, Malformed> {
        let mut position = self.restart_below(bound, false)?;
        let (mut key, mut found) = (Vec::new(), None);
        let mut next_key = Vec::new();
        while let Some(entry) = self.next(&mut position)? {
            join(&mut next_key, &entry)?;
            if next_key[..] > *bound || (!included && next_key[..] == *bound) {
                break;
            }
            key.clone_from(&next_key);
            found = Some(entry);
        }
        Ok(found.map(|entry| (key, entry)))
    }

    /// Walks the whole block and holds it against what a builder makes of these entries.
    pub fn check(&self, mut each: impl FnMut(&[u8], usize, Option<&[u8]>) -> bool) -> Result<(), Malformed> {
        let (mut position, mut key, mut before) = (0, Vec::new(), Vec::new());
        let mut filter_prefix = 0;
        for index in 0usize.. {
            let start = position;
            let Some(entry) = self.next(&mut position)? else {
                let restarts = index.div_ceil(RESTART_INTERVAL);
                return if restarts == self.restart_count() { Ok(()) } else { Err(Malformed) };
            };
            let is_restart = index.is_multiple_of(RESTART_INTERVAL);
            if is_restart && (self.restart(index / RESTART_INTERVAL) != start || entry.shared != 0) {
                return Err(Malformed);
            }
            join(&mut key, &entry)?;
            if index > 0 && (before >= key || (!is_restart && entry.shared != shared_bytes(&before, &key))) {
                return Err(Malformed);
            }
            if entry.shared == 0 {
                filter_prefix = 0;
            }
            filter_prefix = entry.filter_prefix.unwrap_or(filter_prefix);
            if filter_prefix > key.len() || !each(&key, filter_prefix, entry.value) {
                return Err(Malformed);
            }
            before.clone_from(&key);
        }
        Ok(())
    }
}

/// Makes the key of `entry` of the key before it.
#[inline]
pub(super) fn join(key: &mut Vec<u8>, entry: &Entry<'_>) -> Result<(), Malformed> {
    if entry.shared > key.len() {
        return Err(Malformed);
    }
    key.truncate(entry.shared);
    key.extend_from_slice(entry.suffix);
    Ok(())
}

#[inline]
fn take_entry<'b>(input: &mut &'b [u8]) -> Option<Entry<'b>> {
    let shared = usize::try_from(take(input)?).ok()?;
    let suffix_bytes = usize::try_from(take(input)?).ok()?;
    let tag = take(input)?;
    let filter_prefix = if tag & 1 == 0 { None } else { Some(usize::try_from(take(input)?).ok()?) };
    let suffix = input.split_off(..suffix_bytes)?;
    let value = match (tag >> 1).checked_sub(1) {
        None => None,
        Some(bytes) => Some(input.split_off(..usize::try_from(bytes).ok()?)?),
    };
    Some(Entry { shared, suffix, value, filter_prefix })
}

/// How many bytes two keys begin with in common.
#[inline]
pub(super) fn shared_bytes(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(keys: &[&[u8]]) -> Vec<u8> {
        let (mut builder, mut out) = (BlockBuilder::default(), Vec::new());
        for key in keys {
            builder.add(key, 0, Some(b"value"));
        }
        let bytes = builder.bytes();
        builder.finish(&mut out);
        assert_eq!(out.len(), bytes);
        assert!(builder.is_empty());
        out.truncate(bytes - CRC_BYTES);
        out
    }

    fn check(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut keys = Vec::new();
        let each = |key: &[u8], _: usize, _: Option<&[u8]>| {
            keys.push(key.to_vec());
            true
        };
        Block::new(bytes).ok_or(Malformed)?.check(each).map(|()| keys)
    }

    #[test]
    fn only_what_a_builder_makes_is_whole() {
        let keys: Vec<Vec<u8>> = (10..60).map(|number| format!("key{number}").into_bytes()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let bytes = built(&keys);
        assert_eq!(check(&bytes).unwrap(), keys);
        for wrong in [&[&b"b"[..], b"a"][..], &[b"a", b"a"], &[b"ab", b"a"], &[b"a", b"b", b"ab"]] {
            assert_eq!(check(&built(wrong)), Err(Malformed), "{wrong:?}");
        }
        // "a1" and "a2" without what they share; a restart that is not there; one that is not where it should be.
        assert_eq!(check(b"\0\x02\x02a1\0\x02\x02a2\0\0\0\0\x01\0"), Err(Malformed));
        assert_eq!(check(b"\0\x02\x02a1\x01\x01\x022\0\0\0\0\x01\0"), Ok(vec![b"a1".to_vec(), b"a2".to_vec()]));
        assert_eq!(check(b"\0\x02\x02a1\x01\x01\x022\0\0\0\0\x05\0\0\0\x02\0"), Err(Malformed));
        assert_eq!(check(b"\0\x02\x02a1\x01\x01\x022\x05\0\0\0\x01\0"), Err(Malformed));
        for cut in 0..bytes.len() {
            let answer = check(&bytes[..cut]);
            assert_eq!(answer, Err(Malformed), "cut to {cut}");
        }
    }

    #[test]
    fn every_key_is_found_from_every_restart() {
        let keys: Vec<Vec<u8>> = (0..200u32).map(|number| (number * 3).to_be_bytes()[2..].to_vec()).collect();
        let bytes = built(&keys.iter().map(|key| &key[..]).collect::<Vec<_>>());
        let block = Block::new(&bytes).unwrap();
        assert_eq!(block.restart_count(), 200usize.div_ceil(RESTART_INTERVAL));
        for number in 0..601u32 {
            let key = &number.to_be_bytes()[2..];
            let hit = block.seek(key).unwrap();
            assert_eq!(hit.is_some(), number <= 597, "{number}");
            assert_eq!(hit.is_some_and(|hit| hit.is_equal), number % 3 == 0 && number <= 597, "{number}");
            let below = |included| block.below(key, included).unwrap().map(|(key, _)| key);
            assert_eq!(below(true), Some(keys[(number as usize / 3).min(199)].clone()), "{number}");
            let index = (number as usize).div_ceil(3).min(200).checked_sub(1);
            assert_eq!(below(false), index.map(|index| keys[index].clone()), "{number}");
        }
    }
}
