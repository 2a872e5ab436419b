//! Numbers that look random and come out the same for the same seed.
//! Owns: `Random`. May touch: nothing.
//! Never: asks the clock, the system or the address of anything.

/// A SplitMix64 generator: tiny, quick to seed, and good enough to choose what a crash keeps.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A generator that depends on all of `seeds` and their order.
    pub(super) fn new(seeds: &[u64]) -> Random {
        let mut random = Random(0);
        for seed in seeds {
            random.0 ^= seed;
            random.0 = random.next();
        }
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number in `0..limit`; `limit` is at least 1.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// True in `eighths` of eight cases.
    pub(super) fn chance(&mut self, eighths: u64) -> bool {
        self.below(8) < eighths
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_by_seed_and_stays_in_range() {
        let draw = |seeds: &[u64]| {
            let mut random = Random::new(seeds);
            let mut bytes = [0; 13];
            random.fill(&mut bytes);
            (bytes, random.next())
        };
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
        assert_ne!(draw(&[1, 2]), draw(&[1, 3]));

        let mut random = Random::new(&[7]);
        let mut seen = [0; 3];
        for _ in 0..300 {
            seen[random.below(3) as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
        assert_eq!(random.below(1), 0);
        assert!((0..100).all(|_| random.chance(8) && !random.chance(0)));
    }
}
