//! Many numbers, most of them zero or near each other, in few bytes.
//! Owns: these bytes. May touch: `varint`.
//! Never: takes two encodings for the same numbers.
//!
//! A mask (varint) whose n-th bit, from the lowest, says that the n-th number is not zero; then those that are not, as varints. A
//! number that tends to be near another one is written as 0 if it is 0, else as one and the difference, zigzag.

use crate::varint::{put, take, unzigzag, zigzag};

/// Writes numbers that [`take_numbers`] reads; those that are rarely zero should come first.
pub(super) fn put_numbers<const N: usize>(out: &mut Vec<u8>, numbers: [u64; N]) {
    const { assert!(N <= 64, "the mask is a varint") };
    let mask = numbers.iter().enumerate().filter(|(_, number)| **number != 0).map(|(index, _)| 1 << index).sum();
    put(out, mask);
    numbers.iter().filter(|number| **number != 0).for_each(|number| put(out, *number));
}

pub(super) fn take_numbers<const N: usize>(input: &mut &[u8]) -> Option<[u64; N]> {
    let mask = take(input)?;
    if N < 64 && mask >> N != 0 {
        return None;
    }
    let mut numbers = [0; N];
    for (index, number) in numbers.iter_mut().enumerate() {
        if mask & 1 << index != 0 {
            *number = take(input).filter(|number| *number != 0)?;
        }
    }
    Some(numbers)
}

/// What stands for a number that tends to be near `base`.
pub(super) fn near(number: u64, base: u64) -> u64 {
    if number == 0 { 0 } else { zigzag(number.wrapping_sub(base) as i64).wrapping_add(1) }
}

/// The number for which `near` stands.
pub(super) fn far(near: u64, base: u64) -> Option<u64> {
    match near.checked_sub(1) {
        None => Some(0),
        Some(distance) => Some(base.wrapping_add(unzigzag(distance) as u64)).filter(|number| *number != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for numbers in [[0; 5], [1, 0, 300, 0, u64::MAX], [u64::MAX; 5]] {
            let mut bytes = Vec::new();
            put_numbers(&mut bytes, numbers);
            let mut input = &bytes[..];
            assert_eq!((take_numbers(&mut input), input), (Some(numbers), &[][..]));
            assert!((0..bytes.len()).all(|end| take_numbers::<5>(&mut &bytes[..end]).is_none()));
        }
        // A bit too high, and a number that is zero all the same.
        assert_eq!(take_numbers::<5>(&mut &[0b10_0000, 1][..]), None);
        assert_eq!(take_numbers::<5>(&mut &[0b1, 0][..]), None);
    }

    #[test]
    fn near_numbers_are_small() {
        for (number, base) in [(0, 0), (0, 1 << 60), (7, 9), (9, 7), (1 << 50, 0), (1, u64::MAX)] {
            assert_eq!(far(near(number, base), base), Some(number));
        }
        assert!(near((1 << 50) + 60, 1 << 50) < 128);
        // Nothing but 0 stands for 0.
        assert_eq!(far(zigzag(-5) + 1, 5), None);
    }
}
