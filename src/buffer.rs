//! Bytes for work that comes and goes.
//! Owns: `Buffer`. May touch: nothing.
//! Never: keeps memory that it does not use; an allocator does: it takes buffers of some megabytes out of a heap once it has
//! seen a few of them, and what lies between them stays there. Of a store with 256 MiB that was 80 MiB more.

use memmap2::MmapMut;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A buffer that grows at its end. It has its own mapping: pages come as they are written, and all go with it.
pub(crate) struct Buffer {
    memory: Memory,
    length: usize,
}

enum Memory {
    Map(MmapMut),
    /// Where there are no mappings, or no more of them.
    Heap(Box<[u8]>),
}

impl Memory {
    fn zeros(bytes: usize) -> Memory {
        match MmapMut::map_anon(bytes) {
            Ok(map) if bytes > 0 => Memory::Map(map),
            _ => Memory::Heap(vec![0; bytes].into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Map(map) => map,
            Memory::Heap(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Map(map) => map,
            Memory::Heap(bytes) => bytes,
        }
    }
}

impl Buffer {
    /// An empty one with room for so many bytes, which cost nothing until they are written.
    pub fn with_capacity(bytes: usize) -> Buffer {
        Buffer { memory: Memory::zeros(bytes), length: 0 }
    }

    /// How many bytes it may have without being copied.
    pub fn capacity(&self) -> usize {
        self.memory.bytes().len()
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let start = self.grow(bytes.len());
        self.memory.bytes_mut()[start..self.length].copy_from_slice(bytes);
    }

    /// Appends zeros up to this length.
    pub fn extend_to(&mut self, length: usize) {
        let start = self.grow(length - self.length);
        self.memory.bytes_mut()[start..length].fill(0);
    }

    /// Makes it longer, and says how long it was.
    fn grow(&mut self, bytes: usize) -> usize {
        let start = self.length;
        let length = start + bytes;
        if length > self.capacity() {
            let mut memory = Memory::zeros(length.max(2 * self.capacity()));
            memory.bytes_mut()[..start].copy_from_slice(self);
            self.memory = memory;
        }
        self.length = length;
        start
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut buffer = Buffer::with_capacity(self.capacity());
        buffer.extend_from_slice(self);
        buffer
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {}", self.length, self.capacity())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.bytes()[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_however_it_grew() {
        for capacity in [0, 1, 100, 1 << 20] {
            let (mut buffer, mut plain) = (Buffer::with_capacity(capacity), Vec::new());
            for step in 0..200usize {
                let bytes = vec![step as u8 + 1; step * 7 % 90];
                buffer.extend_from_slice(&bytes);
                plain.extend_from_slice(&bytes);
                if step % 50 == 49 {
                    buffer.extend_to(plain.len() + 33);
                    plain.resize(plain.len() + 33, 0);
                }
                assert_eq!(*buffer, *plain, "capacity {capacity} step {step}");
            }
            buffer[3] ^= 1;
            plain[3] ^= 1;
            assert_eq!(*buffer, *plain);
            assert!(buffer.capacity() >= plain.len());
        }
    }
}
