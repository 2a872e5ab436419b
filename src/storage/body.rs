//! Bytes handed out to users: shared, never copied when the file they lie in is mapped.
//! Owns: `Body`. May touch: nothing.
//! Never: outlives what it points into.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The bytes of a message, where they lie.
///
/// Cheap to clone and to send to another thread. As long as it lives, so does the mapping of the
/// file it points into: copy it (`to_vec`) to keep it for long.
#[derive(Clone)]
pub struct Body {
    owner: Owner,
    start: *const u8,
    length: usize,
}

/// Keeps the bytes alive; which one is of no interest to a reader.
#[derive(Clone)]
enum Owner {
    /// There are no bytes.
    Nothing,
    Heap(#[allow(dead_code, reason = "held, not read: `start` points into it")] Arc<[u8]>),
    Map(#[allow(dead_code, reason = "held, not read: `start` points into it")] Arc<super::real::Map>),
}

// SAFETY: `start..start + length` lies in the bytes that `owner` keeps alive, or is empty. Those bytes are never
// written while a `Body` over them exists (heap: behind a shared `Arc`; map: settled, see
// `StorageFile`), and both owners are `Send + Sync` themselves, so sharing or moving the pointer
// between threads is sharing immutable bytes.
unsafe impl Send for Body {}
// SAFETY: as above.
unsafe impl Sync for Body {}

impl Body {
    /// No bytes.
    pub fn empty() -> Body {
        Body { owner: Owner::Nothing, start: std::ptr::NonNull::dangling().as_ptr(), length: 0 }
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Body {
        Body::shared(bytes.into())
    }

    /// Bytes that are shared already.
    pub(crate) fn shared(heap: Arc<[u8]>) -> Body {
        Body { start: heap.as_ptr(), length: heap.len(), owner: Owner::Heap(heap) }
    }

    /// Bytes of a mapping.
    ///
    /// # Safety
    /// `start..start + length` must lie inside the mapping and be settled.
    pub(super) unsafe fn of_map(map: &Arc<super::real::Map>, start: *const u8, length: usize) -> Body {
        Body { owner: Owner::Map(map.clone()), start, length }
    }

    /// The first `length` bytes, or all if there are fewer.
    pub fn first(mut self, length: usize) -> Body {
        self.length = self.length.min(length);
        self
    }

    /// Whether the bytes lie in a mapped file rather than in memory of their own.
    pub fn is_mapped(&self) -> bool {
        match &self.owner {
            Owner::Nothing | Owner::Heap(_) => false,
            Owner::Map(_) => true,
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range is inside what `owner` keeps alive (the constructors saw to it, `first`
        // only shortens it), and nothing writes to it (see the impls above). An empty range behind a
        // dangling pointer that is not null is a valid slice of bytes.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        **self == **other
    }
}

impl Eq for Body {}

impl PartialEq<[u8]> for Body {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body(\"{}\")", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_shortens() {
        let body = Body::copy_of(b"hello");
        let other = body.clone();
        assert_eq!(&*body, b"hello");
        assert_eq!(body, other);
        drop(body);
        assert_eq!(&*other.clone().first(2), b"he");
        assert_eq!(&*other.first(99), b"hello");
        assert_eq!(&*Body::copy_of(b""), b"");
        assert_eq!(Body::empty(), Body::copy_of(b""));
    }
}
