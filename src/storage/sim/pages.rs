//! The bytes of one simulated file, cheap to copy and to keep many versions of.
//! Owns: `Pages`. May touch: `random`.
//! Never: knows which of its versions is durable.

use super::random::Random;
use std::sync::{Arc, LazyLock};

const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

/// All files share their untouched pages, so that making one logs and copies nothing.
static ZEROS: LazyLock<Arc<Page>> = LazyLock::new(|| Arc::new([0; PAGE_BYTES]));

/// Bytes of fixed length; a clone shares all pages, a write copies those it touches if they are shared.
#[derive(Clone)]
pub(super) struct Pages {
    length: u64,
    pages: Arc<Vec<Arc<Page>>>,
}

impl Pages {
    pub(super) fn zeros(length: u64) -> Pages {
        let count = length.div_ceil(PAGE_BYTES as u64) as usize;
        Pages { length, pages: Arc::new(vec![ZEROS.clone(); count]) }
    }

    /// What blocks hold that nobody has written yet.
    pub(super) fn garbage(length: u64, random: &mut Random) -> Pages {
        let count = length.div_ceil(PAGE_BYTES as u64);
        let page = |_| {
            let mut page = [0; PAGE_BYTES];
            random.fill(&mut page);
            Arc::new(page)
        };
        Pages { length, pages: Arc::new((0..count).map(page).collect()) }
    }

    pub(super) fn of(bytes: &[u8]) -> Pages {
        let mut pages = Pages::zeros(bytes.len() as u64);
        pages.write(0, bytes);
        pages
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Copies bytes in; the range lies inside.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        assert!(offset + bytes.len() as u64 <= self.length, "write past the end of a simulated file");
        if bytes.is_empty() {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        let (mut index, mut start) = split(offset);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(PAGE_BYTES - start));
            Arc::make_mut(&mut pages[index])[start..start + part.len()].copy_from_slice(part);
            (index, start, rest) = (index + 1, 0, after);
        }
    }

    /// Copies bytes out; the range lies inside.
    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) {
        assert!(offset + bytes.len() as u64 <= self.length, "read past the end of a simulated file");
        let (mut index, mut start) = split(offset);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, after) = rest.split_at_mut(rest.len().min(PAGE_BYTES - start));
            part.copy_from_slice(&self.pages[index][start..start + part.len()]);
            (index, start, rest) = (index + 1, 0, after);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length as usize];
        self.read(0, &mut bytes);
        bytes
    }
}

/// The page an offset lies in, and where in it.
fn split(offset: u64) -> (usize, usize) {
    ((offset / PAGE_BYTES as u64) as usize, (offset % PAGE_BYTES as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_vec_and_leaves_clones_alone() {
        const LENGTH: usize = 3 * PAGE_BYTES + 100;
        let mut random = Random::new(&[1]);
        let mut pages = Pages::zeros(LENGTH as u64);
        let mut model = vec![0; LENGTH];
        for _ in 0..200 {
            let offset = random.below(LENGTH as u64) as usize;
            let length = random.below((LENGTH - offset) as u64 + 1) as usize;
            let mut bytes = vec![0; length];
            random.fill(&mut bytes);

            let (before, model_before) = (pages.clone(), model.clone());
            pages.write(offset as u64, &bytes);
            model[offset..offset + length].copy_from_slice(&bytes);
            assert_eq!(before.to_vec(), model_before);
            assert_eq!(pages.to_vec(), model);
            let mut part = vec![0; length];
            pages.read(offset as u64, &mut part);
            assert_eq!(part, bytes);
        }
        assert_eq!(Pages::of(&model).to_vec(), model);
        assert_eq!(Pages::zeros(0).to_vec(), b"");
        assert_eq!(**ZEROS, [0; PAGE_BYTES]);
    }
}
