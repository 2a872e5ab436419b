//! Which stretches of a mapped file were held against their checksums already.
//! Owns: one bit for each 64 bytes. May touch: nothing.
//! Never: says so of a stretch that nobody noted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Two stretches that are noted never begin within the same so many bytes.
const CELL_BYTES: u64 = 64;

/// Bits of the stretches that were found good, by where they begin.
pub(super) struct Checked {
    words: Box<[AtomicU64]>,
}

impl Checked {
    /// Nothing of a file of so many bytes is noted.
    pub fn new(bytes: u64) -> Checked {
        let words = bytes.div_ceil(CELL_BYTES * u64::from(u64::BITS));
        Checked { words: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    #[inline]
    fn at(&self, offset: u64) -> Option<(&AtomicU64, u64)> {
        let cell = offset / CELL_BYTES;
        let word = self.words.get((cell / u64::from(u64::BITS)) as usize)?;
        Some((word, 1 << (cell % u64::from(u64::BITS))))
    }

    /// Whether the stretch that begins at `offset` was noted. One of less than 64 bytes never is: another may begin right
    /// behind it.
    #[inline]
    pub fn has(&self, offset: u64, length: usize) -> bool {
        length as u64 >= CELL_BYTES
            && self.at(offset).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Notes that a stretch was good.
    #[inline]
    pub fn note(&self, offset: u64, length: usize) {
        if length as u64 >= CELL_BYTES
            && let Some((word, bit)) = self.at(offset)
        {
            // Whoever sees no bit yet checks once more.
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Nothing is noted any more.
    pub fn forget(&self) {
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_told_apart() {
        let checked = Checked::new(10_000);
        checked.note(4096, 64);
        assert!(checked.has(4096, 64));
        assert!(!checked.has(4032, 64) && !checked.has(4160, 64));
        // A small one may share its cell with the next.
        checked.note(128, 20);
        assert!(!checked.has(128, 20) && !checked.has(148, 100));
        // Behind the end nothing is known.
        checked.note(1 << 40, 64);
        assert!(!checked.has(1 << 40, 64));
        checked.forget();
        assert!(!checked.has(4096, 64));
    }
}
