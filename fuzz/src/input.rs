//! Choices made by the bytes of a fuzz input.
//! Owns: `Input`. May touch: nothing.
//! Never: fails; when the bytes are used up every choice is the first one.

/// The bytes of an input that are left.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub fn flag(&mut self) -> bool {
        self.byte().is_multiple_of(2)
    }

    pub fn word(&mut self) -> u16 {
        u16::from(self.byte()) | u16::from(self.byte()) << 8
    }

    /// One of `0..end`, for an `end` of at most 65,536.
    pub fn below(&mut self, end: usize) -> usize {
        let choice: usize = if end > 256 { self.word().into() } else { self.byte().into() };
        if end == 0 { 0 } else { choice % end }
    }

    /// Up to so many bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
