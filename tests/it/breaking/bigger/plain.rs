//! The store as the specification tells it, in plain vectors and maps, for direct chats and groups.
//! Owns: `Plain`. May touch: the public types.
//! Never: knows of files, memory or pages.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use restante::{ErrorKind, GroupId, GroupSettings, Pair, Peer, Timeline, UserId};

pub type Done = Result<bool, ErrorKind>;
/// Who, when, as which version.
pub type By = (u64, u64, u64);

#[derive(Clone, Debug)]
pub struct Line {
    pub version: u64,
    pub timestamp: u64,
    pub commit: u64,
    pub sender: u64,
    pub client: u128,
    pub taken_until: u64,
    pub kind: u16,
    pub counts: bool,
    pub mentions: Vec<u64>,
    pub told: BTreeSet<u64>,
    pub alerts: u8,
    pub body: Rc<[u8]>,
    /// What a retry is held against.
    pub first: Option<Rc<[u8]>>,
    pub recalled: Option<By>,
    pub edited: Option<By>,
}

impl Line {
    pub fn news(&self) -> Option<By> {
        self.recalled.or(self.edited)
    }

    fn newest(&self) -> u64 {
        self.recalled.map_or(0, |by| by.2).max(self.edited.map_or(0, |by| by.2))
    }
}

#[derive(Clone, Debug, Default)]
pub struct Talk {
    pub lines: Vec<Line>,
    pub trim: u64,
    pub exists: bool,
    pub dissolved: u64,
    pub settings: GroupSettings,
    pub metadata: Vec<u8>,
    pub metadata_version: u64,
    /// Version, first and last seq.
    pub trims: Vec<(u64, u64, u64)>,
    pub aged_on: Option<u64>,
}

impl Talk {
    pub fn last(&self) -> u64 {
        self.lines.len() as u64
    }
}

#[derive(Clone, Debug, Default)]
pub struct Seat {
    pub floor: u64,
    pub clear: u64,
    pub ceiling: Option<u64>,
    pub read: u64,
    pub read_max: u64,
    pub delivered_max: u64,
    pub joined_at: u64,
    pub since: u64,
    pub member: bool,
    pub hidden: BTreeMap<u64, u64>,
    pub removed: bool,
    /// The user was removed.
    pub gone: bool,
    pub pinned: bool,
    pub muted: bool,
    pub marked: bool,
    pub metadata: Vec<u8>,
    pub version: u64,
    /// When the marks that the other side sees rose.
    pub told: u64,
    pub role: u8,
    pub silenced: u64,
}

impl Seat {
    /// Of a direct chat: the first one, or the one of a user that was removed and is back.
    fn anew(&self, now: u64) -> Seat {
        Seat { since: now, member: true, gone: false, ..self.clone() }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Plain {
    pub talks: BTreeMap<Timeline, Talk>,
    pub seats: BTreeMap<(u64, Timeline), Seat>,
    /// Commit times by version.
    pub times: Vec<u64>,
    pub window: u64,
    /// Bodies that nobody may see any more.
    pub gone: Vec<Rc<[u8]>>,
}

pub fn peer_of(user: u64, timeline: Timeline) -> Peer {
    timeline
        .peer_of(UserId(user))
        .or(if let Timeline::Group(group) = timeline { Some(Peer::Group(group)) } else { None })
        .unwrap()
}

pub fn timeline(user: u64, peer: Peer) -> Timeline {
    match peer {
        Peer::User(other) => Timeline::Direct(Pair::new(UserId(user), other)),
        Peer::Group(group) => Timeline::Group(group),
        _ => unreachable!(),
    }
}

#[derive(Clone, Debug)]
pub struct Post {
    pub timeline: Timeline,
    pub sender: u64,
    pub body: Rc<[u8]>,
    pub kind: u16,
    pub counts: bool,
    pub client: u128,
    pub mentions: Vec<u64>,
    pub alerts: u8,
}

impl Plain {
    pub fn version(&self) -> u64 {
        self.times.len() as u64 - 1
    }

    pub fn commit(&mut self, now: u64) -> u64 {
        self.times.push(now);
        self.version()
    }

    pub fn find(&self, timeline: Timeline, sender: u64, client: u128, now: u64) -> Option<u64> {
        let lines = &self.talks.get(&timeline)?.lines;
        let is = |line: &Line| client != 0 && line.client == client && line.sender == sender && now < line.taken_until;
        lines.iter().rposition(is).map(|index| index as u64 + 1)
    }

    /// Whether it was written, and its seq.
    pub fn append(&mut self, post: &Post, now: u64) -> Result<(bool, u64), ErrorKind> {
        if let Some(seq) = self.find(post.timeline, post.sender, post.client, now) {
            let line = &self.talks[&post.timeline].lines[seq as usize - 1];
            return match &line.first {
                Some(first) if line.kind != post.kind || *first != post.body => Err(ErrorKind::Conflict),
                _ => Ok((false, seq)),
            };
        }
        if let Timeline::Group(_) = post.timeline {
            let talk = self.talks.get(&post.timeline).filter(|talk| talk.exists).ok_or(ErrorKind::NotFound)?;
            if talk.dissolved > 0 {
                return Err(ErrorKind::Dissolved);
            }
            let seat = self.seats.get(&(post.sender, post.timeline));
            if talk.settings.members_only && !seat.is_some_and(|seat| seat.member) {
                return Err(ErrorKind::Refused);
            }
            if seat.is_some_and(|seat| now < seat.silenced) {
                return Err(ErrorKind::Refused);
            }
        }
        let version = self.commit(now);
        let (seats, talk) = (&mut self.seats, self.talks.entry(post.timeline).or_default());
        talk.exists = true;
        let seq = talk.last() + 1;
        if let Timeline::Direct(pair) = post.timeline {
            for user in [pair.low(), pair.high()] {
                let seat = seats.entry((user.0, post.timeline)).or_default();
                if !seat.member {
                    *seat = Seat { version, ..seat.anew(now) };
                }
            }
        }
        let mut told = BTreeSet::new();
        for user in &post.mentions {
            let is_in = seats.get(&(*user, post.timeline)).is_some_and(|seat| seat.member);
            if is_in && *user != post.sender {
                told.insert(*user);
            }
        }
        let timestamp = talk.lines.last().map_or(now, |line| now.max(line.timestamp + 1));
        talk.lines.push(Line {
            version,
            timestamp,
            commit: now,
            sender: post.sender,
            client: post.client,
            taken_until: now + self.window,
            kind: post.kind,
            counts: post.counts,
            mentions: post.mentions.clone(),
            told,
            alerts: post.alerts,
            body: post.body.clone(),
            first: Some(post.body.clone()),
            recalled: None,
            edited: None,
        });
        if post.counts {
            for ((user, of), seat) in seats.iter_mut() {
                if *of == post.timeline && seat.member {
                    seat.removed = false;
                    if *user == post.sender {
                        (seat.read, seat.read_max, seat.delivered_max) = (seq, seq, seq);
                        (seat.marked, seat.version) = (false, version);
                    }
                }
            }
        }
        Ok((true, seq))
    }

    pub fn end(&self, user: u64, of: Timeline) -> u64 {
        let last = self.talks.get(&of).map_or(0, Talk::last);
        self.seats[&(user, of)].ceiling.map_or(last, |ceiling| ceiling.min(last))
    }

    pub fn floor(&self, user: u64, of: Timeline) -> u64 {
        self.seats[&(user, of)].floor.max(self.talks.get(&of).map_or(0, |talk| talk.trim))
    }

    pub fn mark(&self, user: u64, of: Timeline) -> u64 {
        self.floor(user, of).max(self.seats[&(user, of)].read).min(self.end(user, of))
    }

    fn seat(&self, user: u64, of: Timeline) -> Result<&Seat, ErrorKind> {
        self.seats.get(&(user, of)).filter(|seat| !seat.gone).ok_or(ErrorKind::NotFound)
    }

    pub fn is_dissolved(&self, of: Timeline) -> bool {
        self.talks.get(&of).is_some_and(|talk| talk.dissolved > 0)
    }

    pub fn read(&mut self, user: u64, of: Timeline, upto: u64, now: u64) -> Done {
        self.seat(user, of)?;
        // What was cleared or trimmed unread may still be read: its sender is told so.
        let (mark, upto) = (self.seats[&(user, of)].read, upto.min(self.end(user, of)));
        if self.is_dissolved(of) {
            return Ok(false);
        }
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        if upto <= mark && !seat.marked {
            return Ok(false);
        }
        self.times.push(now);
        seat.version = self.times.len() as u64 - 1;
        seat.marked = false;
        if upto > mark {
            seat.read = upto;
            if seat.read_max < upto {
                seat.told = seat.version;
                seat.read_max = upto;
                seat.delivered_max = seat.delivered_max.max(upto);
            }
        }
        Ok(true)
    }

    pub fn delivered(&mut self, user: u64, of: Timeline, upto: u64, now: u64) -> Done {
        self.seat(user, of)?;
        let upto = upto.min(self.end(user, of));
        if self.is_dissolved(of) || upto <= self.seats[&(user, of)].delivered_max {
            return Ok(false);
        }
        let version = self.commit(now);
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.version, seat.told, seat.delivered_max) = (version, version, upto);
        Ok(true)
    }

    pub fn unread_from(&mut self, user: u64, of: Timeline, seq: u64, now: u64) -> Done {
        self.seat(user, of)?;
        if self.is_dissolved(of) {
            return Ok(false);
        }
        if seq == 0 || seq > self.end(user, of) {
            return Err(ErrorKind::InvalidInput);
        }
        let to = (seq - 1).max(self.floor(user, of));
        if to >= self.mark(user, of) {
            return Ok(false);
        }
        let version = self.commit(now);
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.version, seat.read) = (version, to);
        Ok(true)
    }

    fn drop_told(&mut self, user: u64, of: Timeline, floor: u64) {
        if let Some(talk) = self.talks.get_mut(&of) {
            for line in talk.lines.iter_mut().take(floor as usize) {
                line.told.remove(&user);
            }
        }
    }

    pub fn clear(&mut self, user: u64, of: Timeline, upto: u64, now: u64) -> Done {
        self.seat(user, of)?;
        let upto = upto.min(self.end(user, of));
        if self.is_dissolved(of) || upto <= self.floor(user, of) {
            return Ok(false);
        }
        let version = self.commit(now);
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.version, seat.floor, seat.clear) = (version, upto, upto);
        self.drop_told(user, of, upto);
        Ok(true)
    }

    /// Whether anything changes is not looked at: the caller says.
    pub fn remove(&mut self, user: u64, of: Timeline, now: u64) {
        let (version, end) = (self.commit(now), self.end(user, of));
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.version, seat.removed) = (version, true);
        (seat.floor, seat.clear) = (seat.floor.max(end), seat.clear.max(end));
        (seat.pinned, seat.marked) = (false, false);
        seat.metadata.clear();
        self.drop_told(user, of, end);
    }

    pub fn flags(&mut self, user: u64, of: Timeline, pinned: bool, muted: bool, marked: bool, now: u64) -> Done {
        if !matches!(of, Timeline::Direct(_)) {
            self.seat(user, of)?;
        }
        let old = self.seats.get(&(user, of)).cloned().unwrap_or_default();
        if (old.pinned, old.muted, old.marked) == (pinned, muted, marked) {
            return Ok(false);
        }
        let version = self.sit(user, of, now);
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.pinned, seat.muted, seat.marked, seat.version) = (pinned, muted, marked, version);
        Ok(true)
    }

    pub fn metadata(&mut self, user: u64, of: Timeline, metadata: &[u8], now: u64) -> Done {
        if !matches!(of, Timeline::Direct(_)) {
            self.seat(user, of)?;
        }
        if self.seats.get(&(user, of)).map_or(&[][..], |seat| &seat.metadata[..]) == metadata {
            return Ok(false);
        }
        let version = self.sit(user, of, now);
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.metadata, seat.version) = (metadata.to_vec(), version);
        Ok(true)
    }

    fn sit(&mut self, user: u64, of: Timeline, now: u64) -> u64 {
        let version = self.commit(now);
        let seat = self.seats.entry((user, of)).or_default();
        if !seat.member && matches!(of, Timeline::Direct(_)) {
            *seat = seat.anew(now);
        }
        version
    }

    pub fn is_shown(&self, user: u64, of: Timeline, seq: u64) -> bool {
        self.floor(user, of) < seq && seq <= self.end(user, of)
    }

    pub fn hide(&mut self, user: u64, of: Timeline, seqs: &[u64], now: u64) -> Done {
        self.seat(user, of)?;
        let trim = self.talks[&of].trim;
        let mut fresh = false;
        for seq in seqs {
            if *seq <= trim {
                return Err(ErrorKind::Trimmed);
            }
            if !self.is_shown(user, of, *seq) {
                return Err(ErrorKind::NotFound);
            }
            fresh |= !self.seats[&(user, of)].hidden.contains_key(seq);
        }
        if !fresh {
            return Ok(false);
        }
        let version = self.commit(now);
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        seat.version = version;
        for seq in seqs {
            seat.hidden.entry(*seq).or_insert(version);
        }
        Ok(true)
    }

    fn line(&mut self, of: Timeline, seq: u64) -> Result<&mut Line, ErrorKind> {
        let talk = self.talks.get_mut(&of).ok_or(ErrorKind::NotFound)?;
        if seq > talk.last() {
            return Err(ErrorKind::NotFound);
        }
        if seq <= talk.trim {
            return Err(ErrorKind::Trimmed);
        }
        Ok(&mut talk.lines[seq as usize - 1])
    }

    pub fn recall(&mut self, by: u64, of: Timeline, seq: u64, now: u64) -> Done {
        let version = self.version() + 1;
        let line = self.line(of, seq)?;
        if line.recalled.is_some() {
            return Ok(false);
        }
        line.recalled = Some((by, now, version));
        let old = std::mem::replace(&mut line.body, [].into());
        line.first = None;
        (line.mentions, line.alerts) = (Vec::new(), 0);
        line.told.clear();
        self.gone.push(old);
        self.commit(now);
        Ok(true)
    }

    pub fn edit(&mut self, by: u64, of: Timeline, seq: u64, body: &[u8], now: u64) -> Done {
        let version = self.version() + 1;
        if self.is_dissolved(of) && seq <= self.talks[&of].last() {
            return Err(ErrorKind::Dissolved);
        }
        let line = self.line(of, seq)?;
        if line.recalled.is_some() {
            return Err(ErrorKind::Refused);
        }
        if *line.body == *body {
            return Ok(false);
        }
        line.edited = Some((by, now, version));
        let old = std::mem::replace(&mut line.body, body.into());
        line.first = None;
        self.gone.push(old);
        self.commit(now);
        Ok(true)
    }

    pub fn create(&mut self, group: GroupId, settings: GroupSettings, now: u64) -> Done {
        let talk = self.talks.entry(Timeline::Group(group)).or_default();
        if talk.dissolved > 0 {
            return Err(ErrorKind::Dissolved);
        }
        if talk.exists {
            return Ok(false);
        }
        (talk.exists, talk.settings) = (true, settings);
        self.commit(now);
        Ok(true)
    }

    pub fn set_group(&mut self, group: GroupId, settings: GroupSettings, now: u64) -> Done {
        let talk = self.talks.get_mut(&Timeline::Group(group)).filter(|talk| talk.exists).ok_or(ErrorKind::NotFound)?;
        if talk.dissolved > 0 {
            return Err(ErrorKind::Dissolved);
        }
        if talk.settings == settings {
            return Ok(false);
        }
        talk.settings = settings;
        self.commit(now);
        Ok(true)
    }

    pub fn group_metadata(&mut self, group: GroupId, metadata: &[u8], now: u64) -> Done {
        let version = self.version() + 1;
        let talk = self.talks.get_mut(&Timeline::Group(group)).filter(|talk| talk.exists).ok_or(ErrorKind::NotFound)?;
        if talk.dissolved > 0 {
            return Err(ErrorKind::Dissolved);
        }
        if talk.metadata == metadata {
            return Ok(false);
        }
        (talk.metadata, talk.metadata_version) = (metadata.to_vec(), version);
        self.commit(now);
        Ok(true)
    }

    pub fn join(&mut self, group: GroupId, user: u64, now: u64) -> Done {
        let of = Timeline::Group(group);
        let talk = self.talks.entry(of).or_default();
        if talk.dissolved > 0 {
            return Err(ErrorKind::Dissolved);
        }
        let (last, shows) = (talk.last(), talk.settings.shows_history);
        let seat = self.seats.entry((user, of)).or_default();
        if seat.member {
            return Ok(false);
        }
        talk.exists = true;
        self.times.push(now);
        seat.version = self.times.len() as u64 - 1;
        (seat.joined_at, seat.read, seat.since) = (last, last, now);
        seat.floor = if shows { seat.clear } else { last };
        (seat.member, seat.ceiling, seat.removed, seat.gone, seat.role) = (true, None, false, false, 0);
        let floor = seat.floor;
        self.drop_told(user, of, floor);
        Ok(true)
    }

    pub fn leave(&mut self, group: GroupId, user: u64, now: u64) -> Done {
        let of = Timeline::Group(group);
        self.seat(user, of)?;
        if self.is_dissolved(of) || !self.seats[&(user, of)].member {
            return Ok(false);
        }
        let (version, last) = (self.commit(now), self.talks[&of].last());
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.version, seat.member, seat.ceiling, seat.role) = (version, false, Some(last), 0);
        Ok(true)
    }

    pub fn role(&mut self, group: GroupId, user: u64, role: u8, now: u64) -> Done {
        let of = Timeline::Group(group);
        if self.is_dissolved(of) {
            return Err(ErrorKind::Dissolved);
        }
        if !self.seat(user, of)?.member {
            return Err(ErrorKind::NotFound);
        }
        if self.seats[&(user, of)].role == role {
            return Ok(false);
        }
        let version = self.commit(now);
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.role, seat.version) = (role, version);
        Ok(true)
    }

    pub fn silence(&mut self, group: GroupId, user: u64, until: u64, now: u64) -> Done {
        let of = Timeline::Group(group);
        if self.is_dissolved(of) {
            return Err(ErrorKind::Dissolved);
        }
        if self.seat(user, of)?.silenced == until {
            return Ok(false);
        }
        let version = self.commit(now);
        let seat = self.seats.get_mut(&(user, of)).unwrap();
        (seat.silenced, seat.version) = (until, version);
        Ok(true)
    }

    pub fn dissolve(&mut self, group: GroupId, now: u64) -> Done {
        let version = self.version() + 1;
        let talk = self.talks.get_mut(&Timeline::Group(group)).filter(|talk| talk.exists).ok_or(ErrorKind::NotFound)?;
        if talk.dissolved > 0 {
            return Ok(false);
        }
        (talk.dissolved, talk.trim) = (version, talk.last());
        talk.lines.iter_mut().for_each(|line| line.first = None);
        self.gone.extend(talk.lines.iter().map(|line| line.body.clone()));
        self.commit(now);
        Ok(true)
    }

    /// How many sessions that were. The caller adds the versions.
    pub fn remove_user(&mut self, user: u64) -> u64 {
        let own = self.sessions(user);
        for of in &own {
            let end = self.end(user, *of);
            let seat = self.seats.get_mut(&(user, *of)).unwrap();
            let floor = seat.floor.max(end);
            // Receipts only rise, and a silence holds for whoever comes back.
            let Seat { read_max, delivered_max, told, silenced, .. } = *seat;
            let empty = Seat { clear: floor, read: floor, joined_at: floor, gone: true, ..Seat::default() };
            *seat = Seat { floor, read_max, delivered_max, told, silenced, ..empty };
            self.drop_told(user, *of, end);
        }
        own.len() as u64
    }

    /// Up to where each timeline is to be trimmed.
    pub fn due(&self, now: u64) -> Vec<(Timeline, u64, bool)> {
        let mut due = Vec::new();
        for (of, talk) in &self.talks {
            let Some(keep) = talk.settings.retention else { continue };
            if talk.dissolved > 0 {
                continue;
            }
            let (mut to, mut aged) = (talk.trim, false);
            let left = talk.last() - talk.trim;
            if keep.count > 0 && (left - left.min(keep.count)) * 16 > keep.count {
                to = to.max(talk.last() - keep.count);
            }
            let lines = || talk.lines.iter().enumerate().skip(talk.trim as usize);
            let mut bytes: u64 = lines().map(|(_, line)| line.body.len() as u64).sum();
            if keep.body_bytes > 0 && (bytes - bytes.min(keep.body_bytes)) * 16 > keep.body_bytes {
                for (index, line) in lines() {
                    if bytes <= keep.body_bytes {
                        break;
                    }
                    bytes -= line.body.len() as u64;
                    to = to.max(index as u64 + 1);
                }
            }
            if keep.age_secs > 0 && talk.aged_on != Some(now / 86_400_000_000) {
                let old = lines().rfind(|(_, line)| line.timestamp + keep.age_secs * 1_000_000 < now);
                if let Some((index, _)) = old {
                    to = to.max(index as u64 + 1);
                    aged = true;
                }
            }
            if to > talk.trim {
                due.push((*of, to, aged));
            }
        }
        due
    }

    pub fn trim(&mut self, of: Timeline, to: u64, version: u64) {
        let talk = self.talks.get_mut(&of).unwrap();
        talk.trims.push((version, talk.trim + 1, to));
        talk.trim = to;
        for line in talk.lines.iter_mut().take(to as usize) {
            line.first = None;
            line.told.clear();
            self.gone.push(line.body.clone());
        }
    }

    pub fn is_tombstone(&self, user: u64, of: Timeline) -> bool {
        self.seats[&(user, of)].removed || self.is_dissolved(of)
    }

    pub fn entry_version(&self, user: u64, of: Timeline) -> u64 {
        let seat = &self.seats[&(user, of)];
        let Some(talk) = self.talks.get(&of) else { return seat.version };
        let mut version = seat.version.max(talk.dissolved);
        if self.is_tombstone(user, of) {
            return version;
        }
        let ceiling = seat.ceiling.unwrap_or(u64::MAX);
        if seat.ceiling.is_none() {
            version = version.max(talk.metadata_version).max(talk.lines.last().map_or(0, |line| line.version));
        }
        for (index, line) in talk.lines.iter().enumerate() {
            if (index as u64) < ceiling {
                version = version.max(line.newest());
            }
        }
        for (trimmed, from, to) in &talk.trims {
            if (*from..=(*to).min(ceiling)).any(|seq| talk.lines[seq as usize - 1].counts) {
                version = version.max(*trimmed);
            }
        }
        if let Timeline::Direct(pair) = of {
            let other = pair.other(UserId(user)).unwrap().0;
            if other != user {
                version = version.max(self.seats.get(&(other, of)).map_or(0, |seat| seat.told));
            }
        }
        version
    }

    pub fn unread(&self, user: u64, of: Timeline) -> Vec<u64> {
        let seat = &self.seats[&(user, of)];
        let Some(talk) = self.talks.get(&of) else { return Vec::new() };
        let is_unread = |seq: &u64| {
            let line = &talk.lines[*seq as usize - 1];
            line.counts && line.recalled.is_none() && line.sender != user && !seat.hidden.contains_key(seq)
        };
        (self.mark(user, of) + 1..=self.end(user, of)).filter(is_unread).collect()
    }

    pub fn visible(&self, user: u64, of: Timeline) -> Vec<u64> {
        let seat = &self.seats[&(user, of)];
        let run = self.floor(user, of) + 1..=self.end(user, of);
        run.filter(|seq| !seat.hidden.contains_key(seq)).collect()
    }

    /// Version, seq, kind (0 recalled, 1 edited, 2 hidden), by whom.
    pub fn amendments(&self, user: u64, of: Timeline, base: u64) -> Vec<(u64, u64, u8, u64)> {
        let seat = &self.seats[&(user, of)];
        let mut found = Vec::new();
        for seq in self.floor(user, of) + 1..=self.end(user, of) {
            let line = &self.talks[&of].lines[seq as usize - 1];
            if let Some(version) = seat.hidden.get(&seq) {
                found.push((*version, seq, 2, user));
            } else if let Some((by, _, version)) = line.news() {
                found.push((version, seq, if line.recalled.is_some() { 0 } else { 1 }, by));
            }
        }
        found.retain(|it| it.0 > base);
        found.sort();
        found
    }

    pub fn activity(&self, user: u64, of: Timeline) -> u64 {
        let seat = &self.seats[&(user, of)];
        let end = self.end(user, of);
        if end > seat.joined_at { self.talks[&of].lines[end as usize - 1].timestamp } else { seat.since }
    }

    pub fn sessions(&self, user: u64) -> Vec<Timeline> {
        let own = self.seats.iter().filter(|((of, _), seat)| *of == user && !seat.gone);
        own.map(|((_, of), _)| *of).collect()
    }
}
