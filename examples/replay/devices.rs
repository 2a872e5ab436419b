//! Devices that only ever ask what has changed since they last asked.
//! Owns: their cursors, as bytes, and what they show. May touch: the store's `changed` and `amendments`.
//! Never: looks at what another device knows.

use std::collections::BTreeMap;

use restante::limits::AMENDMENTS_MAX;
use restante::{
    Amendment, AmendmentCursor, AmendmentKind, Cursor, Entry, ErrorKind, ListQuery, Peer, Seq, SessionState, Store,
    Timestamp, UserId,
};

use crate::steps::{Result, Scene};

const NAMES: [&str; 2] = ["phone", "laptop"];
const PAGE_ENTRIES: usize = 20;

/// The devices of a script: two of one user, then one of each of some others.
pub struct Devices {
    pub devices: Vec<Device>,
    /// What the first two showed for the scene's session at each sync: when, which one, its badge.
    pub sightings: Vec<(Timestamp, &'static str, u64)>,
    scene: Scene,
}

/// A device and all it knows of its user's sessions.
pub struct Device {
    pub user: UserId,
    pub name: &'static str,
    pub sync_count: u64,
    pub entry_count: u64,
    pub amendment_count: u64,
    pub reset_count: u64,
    /// What it shows: each session as it was last told, without the news that came with it.
    pub shown: BTreeMap<Peer, Entry>,
    /// What was recalled, edited and hidden in each session.
    pub amended: BTreeMap<Peer, BTreeMap<Seq, Amendment>>,
    cursor: Option<[u8; 32]>,
}

impl Devices {
    pub fn new(scene: Scene) -> Devices {
        let two = NAMES.map(|name| Device::new(scene.user, name));
        let others = scene.others.iter().map(|user| Device::new(*user, "tablet"));
        Devices { devices: two.into_iter().chain(others).collect(), sightings: Vec::new(), scene }
    }

    pub fn sync(&mut self, index: usize, store: &Store, now: Timestamp) -> Result<()> {
        let device = &mut self.devices[index];
        device.sync(store)?;
        if index < NAMES.len() {
            let badge = device.shown.get(&self.scene.peer).map_or(0, |entry| entry.unread);
            self.sightings.push((now, device.name, badge));
        }
        Ok(())
    }
}

impl Device {
    /// One that has never asked.
    pub fn new(user: UserId, name: &'static str) -> Device {
        Device {
            user,
            name,
            sync_count: 0,
            entry_count: 0,
            amendment_count: 0,
            reset_count: 0,
            shown: BTreeMap::new(),
            amended: BTreeMap::new(),
            cursor: None,
        }
    }

    /// Walks to the end and keeps the cursor for the next time.
    pub fn sync(&mut self, store: &Store) -> Result<()> {
        self.sync_count += 1;
        let query = ListQuery::new().limit(PAGE_ENTRIES);
        loop {
            let cursor = self.cursor.map(|bytes| Cursor::from_bytes(&bytes)).transpose()?;
            let list = match store.changed(self.user, cursor.as_ref(), &query) {
                Ok(list) => list,
                Err(error) if error.kind() == ErrorKind::ResetRequired && cursor.is_some() => {
                    (self.cursor, self.reset_count) = (None, self.reset_count + 1);
                    self.shown.clear();
                    self.amended.clear();
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for entry in list.entries {
                self.show(store, entry)?;
            }
            self.cursor = Some(list.next.to_bytes());
            if !list.more {
                return Ok(());
            }
        }
    }

    fn show(&mut self, store: &Store, mut entry: Entry) -> Result<()> {
        self.entry_count += 1;
        let peer = entry.peer;
        let before = self.shown.remove(&peer);
        if !entry.is_add {
            self.amended.remove(&peer);
            return Ok(());
        }
        let (news, more) = (std::mem::take(&mut entry.amendments), entry.amendments_more.take());
        // Who comes back to a group may see messages it did not see before, and what was done to them
        // in the meantime is older than what this device was last told.
        let shows_more = before.is_none_or(|before| {
            entry.first < before.first || (before.state, entry.state) == (SessionState::Left, SessionState::Member)
        });
        if shows_more {
            self.amended.remove(&peer);
            self.fetch(store, peer, None)?;
        } else {
            self.amend(peer, news);
            if let Some(since) = more {
                self.fetch(store, peer, Some(since))?;
            }
        }
        if let Some(amended) = self.amended.get_mut(&peer) {
            amended.retain(|seq, _| entry.first <= *seq && *seq <= entry.last);
        }
        // Client ids are shown as long as they are taken; that they are no more changes no session.
        entry.latest.iter_mut().for_each(|message| message.client_id = None);
        self.shown.insert(peer, entry);
        Ok(())
    }

    fn fetch(&mut self, store: &Store, peer: Peer, since: Option<AmendmentCursor>) -> Result<()> {
        let mut since = since;
        loop {
            let page = store.amendments(self.user, peer, since.as_ref(), AMENDMENTS_MAX)?;
            self.amend(peer, page.amendments);
            since = Some(page.next);
            if !page.more {
                return Ok(());
            }
        }
    }

    /// The newest is what holds, but what is hidden stays hidden.
    fn amend(&mut self, peer: Peer, amendments: Vec<Amendment>) {
        let amended = self.amended.entry(peer).or_default();
        for amendment in amendments {
            self.amendment_count += 1;
            let known = amended.get(&amendment.seq);
            let is_news =
                known.is_none_or(|known| known.kind != AmendmentKind::Hidden && known.version < amendment.version);
            if is_news {
                amended.insert(amendment.seq, amendment);
            }
        }
    }
}
