//! Two devices of one user, each of which only ever asks what has changed since it last asked.
//! Owns: their cursors, as bytes, and what they show. May touch: the store's `changed`.
//! Never: looks at what the other device knows.

use std::collections::BTreeMap;

use restante::{Cursor, Entry, ErrorKind, ListQuery, Peer, Seq, Store, Timestamp, UserId};

use crate::steps::{Result, Scene};

const NAMES: [&str; 2] = ["phone", "laptop"];
const PAGE_ENTRIES: usize = 20;

/// The two devices.
pub struct Devices {
    pub user: UserId,
    pub devices: Vec<Device>,
    /// What the devices showed for the scene's session at each sync: when, which one, its badge.
    pub sightings: Vec<(Timestamp, &'static str, u64)>,
    watched: Peer,
}

pub struct Device {
    pub name: &'static str,
    pub sync_count: u64,
    pub entry_count: u64,
    pub reset_count: u64,
    /// What it shows: badge and read mark of each session.
    pub shown: BTreeMap<Peer, Shown>,
    cursor: Option<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub unread: u64,
    pub read_mark: Seq,
}

impl Devices {
    pub fn new(scene: Scene) -> Devices {
        let devices = NAMES.map(|name| Device {
            name,
            sync_count: 0,
            entry_count: 0,
            reset_count: 0,
            shown: BTreeMap::new(),
            cursor: None,
        });
        Devices { user: scene.user, devices: devices.into(), sightings: Vec::new(), watched: scene.peer }
    }

    pub fn sync(&mut self, index: usize, store: &Store, now: Timestamp) -> Result<()> {
        let device = &mut self.devices[index];
        device.sync(store, self.user)?;
        let badge = device.shown.get(&self.watched).map_or(0, |shown| shown.unread);
        self.sightings.push((now, device.name, badge));
        Ok(())
    }
}

impl Device {
    /// Walks to the end and keeps the cursor for the next time.
    fn sync(&mut self, store: &Store, user: UserId) -> Result<()> {
        self.sync_count += 1;
        let query = ListQuery::new().limit(PAGE_ENTRIES).latest(0);
        loop {
            let cursor = self.cursor.map(|bytes| Cursor::from_bytes(&bytes)).transpose()?;
            let list = match store.changed(user, cursor.as_ref(), &query) {
                Ok(list) => list,
                Err(error) if error.kind() == ErrorKind::ResetRequired && cursor.is_some() => {
                    (self.cursor, self.reset_count) = (None, self.reset_count + 1);
                    self.shown.clear();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            list.entries.iter().for_each(|entry| self.show(entry));
            self.cursor = Some(list.next.to_bytes());
            if !list.more {
                return Ok(());
            }
        }
    }

    fn show(&mut self, entry: &Entry) {
        self.entry_count += 1;
        if entry.is_add {
            self.shown.insert(entry.peer, Shown { unread: entry.unread, read_mark: entry.read_mark });
        } else {
            self.shown.remove(&entry.peer);
        }
    }
}
