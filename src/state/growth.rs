//! How large lists grow.
//! Owns: by how much. May touch: nothing.
//! Never: doubles one: the empty half would count against the memory that a store may take.

/// A list grows by this part of it.
const GROWTH_PART: usize = 8;

/// As `push`.
pub(super) fn push_exactly<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / GROWTH_PART + 16);
    }
    list.push(item);
}
