//! Names of users, groups and sources, and the ids they stand for.
//! Owns: the directory, as far as it is in memory. May touch: `id`.
//! Never: gives an id twice.

use crate::id::NameKind;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every id that the directory allots is above this.
pub(crate) const ALLOTTED: u64 = 1 << 63;

/// The kind whose names let someone exist.
pub(crate) const PEOPLE: NameKind = NameKind::User;

/// So many names that were looked up are kept.
const KEPT_MAX: usize = 10_000;

/// Names to ids and back. What is not in here may be on disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    ids: BTreeMap<(NameKind, Arc<[u8]>), Known<u64>>,
    names: BTreeMap<(NameKind, u64), Known<Arc<[u8]>>>,
    /// The newest id given, per kind.
    newest: BTreeMap<NameKind, u64>,
    /// The newest change of a name that was sequenced: until that is published, all stay.
    pinned: Arc<AtomicU64>,
}

/// What is known of a name: `None` if it stands for nothing.
#[derive(Clone, Debug)]
struct Known<T> {
    value: Option<T>,
    /// The disk says otherwise, or nothing.
    is_changed: bool,
}

impl Names {
    /// The id of a name, `None` within for a name that is free; `None` if that is not known.
    pub fn id(&self, kind: NameKind, name: &[u8]) -> Option<Option<u64>> {
        self.ids.get(&(kind, name.into())).map(|known| known.value)
    }

    /// The name of an id, in the same way.
    pub fn name(&self, kind: NameKind, id: u64) -> Option<Option<&Arc<[u8]>>> {
        self.names.get(&(kind, id)).map(|known| known.value.as_ref())
    }

    /// The newest id of the kind; [`ALLOTTED`] if there is none.
    pub fn newest(&self, kind: NameKind) -> u64 {
        self.newest.get(&kind).copied().unwrap_or(ALLOTTED)
    }

    pub fn insert(&mut self, kind: NameKind, id: u64, name: &[u8]) {
        self.set(kind, id, name.into(), true);
        self.learn_newest(kind, id);
    }

    pub fn remove(&mut self, kind: NameKind, id: u64, name: &[u8]) {
        self.set(kind, id, name.into(), false);
    }

    fn set(&mut self, kind: NameKind, id: u64, name: Arc<[u8]>, is_there: bool) {
        let known = Known { value: is_there.then_some(id), is_changed: true };
        self.ids.insert((kind, name.clone()), known);
        self.names.insert((kind, id), Known { value: is_there.then_some(name), is_changed: true });
    }

    /// Remembers what the disk says of a name.
    pub fn learn(&mut self, kind: NameKind, name: &[u8], id: Option<u64>, published: u64) {
        self.make_room(published);
        self.ids.entry((kind, name.into())).or_insert(Known { value: id, is_changed: false });
    }

    /// Remembers what the disk says of an id.
    pub fn learn_of(&mut self, kind: NameKind, id: u64, name: Option<&[u8]>, published: u64) {
        self.make_room(published);
        let value = name.map(Arc::from);
        self.names.entry((kind, id)).or_insert(Known { value, is_changed: false });
    }

    /// Remembers the newest id given.
    pub fn learn_newest(&mut self, kind: NameKind, id: u64) {
        let newest = self.newest.entry(kind).or_insert(id);
        *newest = id.max(*newest);
    }

    /// Keeps everything until `version` is published.
    pub fn pin(&self, version: u64) {
        self.pinned.fetch_max(version, Ordering::Relaxed);
    }

    fn make_room(&mut self, published: u64) {
        if self.pinned.load(Ordering::Relaxed) <= published && self.ids.len() + self.names.len() > KEPT_MAX {
            self.ids.retain(|_, known| known.is_changed);
            self.names.retain(|_, known| known.is_changed);
        }
    }

    /// What was changed is on disk now, unless it changed again since; `changed` has those that did.
    pub fn sealed(&mut self, changed: &[(NameKind, u64, Arc<[u8]>)]) {
        let is_pending = |kind: NameKind, id: u64| changed.iter().any(|(other, one, _)| (*other, *one) == (kind, id));
        for ((kind, id), known) in &mut self.names {
            known.is_changed &= is_pending(*kind, *id);
        }
        let is_pending =
            |kind: NameKind, name: &[u8]| changed.iter().any(|(other, _, one)| (*other, &**one) == (kind, name));
        for ((kind, name), known) in &mut self.ids {
            known.is_changed &= is_pending(*kind, name);
        }
    }

    /// The newest id given of each kind, whether its name is still there or not.
    pub fn newest_ids(&self) -> impl Iterator<Item = (NameKind, u64)> {
        self.newest.iter().map(|(kind, id)| (*kind, *id))
    }

    /// All that are in memory and stand for something, by kind and id.
    pub fn iter(&self) -> impl Iterator<Item = (NameKind, u64, Option<&[u8]>)> {
        self.names.iter().map(|((kind, id), known)| (*kind, *id, known.value.as_deref()))
    }

    /// What stands for a kind in keys.
    pub fn kind_byte(kind: NameKind) -> u8 {
        match kind {
            NameKind::User => 0,
            NameKind::Group => 1,
            NameKind::System => 2,
            NameKind::Business => 3,
        }
    }

    /// The kind that a byte stands for.
    pub fn kind_of(byte: u8) -> Option<NameKind> {
        Some(match byte {
            0 => NameKind::User,
            1 => NameKind::Group,
            2 => NameKind::System,
            3 => NameKind::Business,
            _ => return None,
        })
    }
}
