//! Names of users, groups and sources, and the ids they stand for.
//! Owns: the directory. May touch: `id`.
//! Never: gives an id twice.

use crate::id::NameKind;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every id that the directory allots is above this.
pub(crate) const ALLOTTED: u64 = 1 << 63;

/// The kind whose names let someone exist.
pub(crate) const PEOPLE: NameKind = NameKind::User;

/// Names to ids and back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    ids: BTreeMap<NameKind, BTreeMap<Arc<[u8]>, u64>>,
    names: BTreeMap<(NameKind, u64), Arc<[u8]>>,
    /// The newest id given, per kind.
    newest: BTreeMap<NameKind, u64>,
}

impl Names {
    pub fn id(&self, kind: NameKind, name: &[u8]) -> Option<u64> {
        self.ids.get(&kind)?.get(name).copied()
    }

    pub fn name(&self, kind: NameKind, id: u64) -> Option<&Arc<[u8]>> {
        self.names.get(&(kind, id))
    }

    /// The newest id of the kind; [`ALLOTTED`] if there is none.
    pub fn newest(&self, kind: NameKind) -> u64 {
        self.newest.get(&kind).copied().unwrap_or(ALLOTTED)
    }

    pub fn insert(&mut self, kind: NameKind, id: u64, name: &[u8]) {
        let name: Arc<[u8]> = name.into();
        self.ids.entry(kind).or_default().insert(name.clone(), id);
        self.names.insert((kind, id), name);
        let newest = self.newest.entry(kind).or_insert(id);
        *newest = id.max(*newest);
    }

    pub fn remove(&mut self, kind: NameKind, id: u64, name: &[u8]) {
        if let Some(ids) = self.ids.get_mut(&kind) {
            ids.remove(name);
        }
        self.names.remove(&(kind, id));
    }

    /// All, by kind and id.
    pub fn iter(&self) -> impl Iterator<Item = (NameKind, u64, &[u8])> {
        self.names.iter().map(|((kind, id), name)| (*kind, *id, &**name))
    }

    /// The newest id given of each kind, whether its name is still there or not.
    pub fn newest_ids(&self) -> impl Iterator<Item = (NameKind, u64)> {
        self.newest.iter().map(|(kind, id)| (*kind, *id))
    }
}
