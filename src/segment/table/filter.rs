//! Says quickly that a table has no key with some prefix: a Bloom filter in lines of 64 bytes.
//! Owns: these bytes. May touch: nothing.
//! Never: says no for a prefix that was added, unless it notices damage.
//!
//! A line is 480 bits and a checksum of its own, so that a look-up touches and believes one line, whatever was looked at
//! before. Each prefix sets 8 bits of one line, and there is a line for every 30 prefixes: 17 bits on disk for each, and about
//! one in a thousand absent prefixes is taken for present.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 60 | bits, 15 words of 4 bytes |
//! | 60 | 4 | the low half of XXH3-64 of the 60 bytes, seeded with the file's seed × 2^32 + the line's offset |
//!
//! With *h* = XXH3-64 of the prefix, its line is (high half of h × lines) / 2^32, and its n-th bit there
//! ((low half of h × the n-th of `MULTIPLIERS`, modulo 2^32) × 480) / 2^32.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of a line; it never lies across two lines of a CPU's cache.
pub(super) const LINE_BYTES: usize = 64;
const BITS_BYTES: usize = LINE_BYTES - size_of::<u32>();
const LINE_BITS: u64 = BITS_BYTES as u64 * 8;
const PREFIXES_PER_LINE: u64 = 30;
/// Odd numbers without a pattern.
const MULTIPLIERS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

const _: () = assert!(LINE_BITS == 480, "docs/format.md says 480 bits");
const _: () = assert!(LINE_BITS / PREFIXES_PER_LINE >= 16, "at least 16 bits for each prefix");

/// What the filter knows of a prefix; the same in every table, so it is computed once for many.
#[inline]
pub(in super::super) fn prefix_hash(prefix: &[u8]) -> u64 {
    xxh3_64(prefix)
}

/// How many lines so many distinct prefixes take.
pub(super) fn line_count(prefix_count: u64) -> u64 {
    prefix_count.div_ceil(PREFIXES_PER_LINE)
}

/// The index of a prefix's line; there is at least one.
#[inline]
pub(super) fn line_of(hash: u64, line_count: u64) -> u64 {
    // Less than 2^26 lines fit a file whose offsets have 32 bits.
    ((hash >> 32) * line_count) >> 32
}

#[inline]
fn bits_of(hash: u64) -> impl Iterator<Item = usize> {
    let low = hash as u32;
    MULTIPLIERS.into_iter().map(move |multiplier| {
        let spread = u64::from(low.wrapping_mul(multiplier));
        ((spread * LINE_BITS) >> 32) as usize
    })
}

/// Notes a prefix in its line.
pub(super) fn line_add(line: &mut [u8], hash: u64) {
    for bit in bits_of(hash) {
        line[bit / 8] |= 1 << (bit % 8);
    }
}

/// Whether the prefix may have been added to this line, which is its own.
#[inline]
pub(super) fn line_has(line: &[u8; LINE_BYTES], hash: u64) -> bool {
    // All of them, whatever the first ones say: a branch that is guessed wrong would wait for this line, and so would
    // the lines of the next tables behind it.
    bits_of(hash).fold(1, |all, bit| all & (line[bit / 8] >> (bit % 8))) & 1 == 1
}

/// Writes the checksum of a line that will lie at `offset`.
pub(super) fn line_seal(line: &mut [u8], seed: u32, offset: u64) {
    let check = line_checksum(&line[..BITS_BYTES], seed, offset);
    line[BITS_BYTES..].copy_from_slice(&check.to_le_bytes());
}

/// Whether a line has its checksum.
#[inline]
pub(super) fn line_is_good(line: &[u8], seed: u32, offset: u64) -> bool {
    line.split_last_chunk::<4>()
        .is_some_and(|(bits, check)| u32::from_le_bytes(*check) == line_checksum(bits, seed, offset))
}

/// The checksum as it lies in a line.
pub(super) fn line_check(line: &[u8]) -> &[u8] {
    &line[BITS_BYTES..]
}

#[inline]
fn line_checksum(bits: &[u8], seed: u32, offset: u64) -> u32 {
    xxh3_64_with_seed(bits, (u64::from(seed) << 32).wrapping_add(offset)) as u32
}
