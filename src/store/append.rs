//! Appending messages.
//! Owns: `Draft`, its checks, looking up client ids. May touch: `pipeline`, `state`.
//! Never: stamps anything; the sequencer does.

use super::needs;
use super::pipeline::Pipeline;
use super::read::Files;
use super::{Store, Ticket};
use crate::change::{Mentioned, encode_mentions};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ClientId, GroupId, Seq, Source, Timeline, UserId};
use crate::journal::Stored;
use crate::limits::{BATCH_MESSAGES_MAX, BATCH_PART_OF_JOURNAL, check};
use crate::settings::Settings;
use crate::state::{Appended, Known, PreparedAppend, Taken, change_bytes_max, is_within_window};
use crate::storage::Body;
use crate::time::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

/// A message to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    timeline: Timeline,
    sender: UserId,
    body: &'a [u8],
    kind: u16,
    counts: bool,
    client_id: ClientId,
    timestamp: Option<Timestamp>,
    mentions: &'a [UserId],
    alerts: u8,
}

impl<'a> Draft<'a> {
    /// A message that counts, of kind 0, without client id, stamped by the store. In an inbox or a
    /// broadcast the source is the sender, and `sender` is none.
    pub fn new(timeline: Timeline, sender: UserId, body: &'a [u8]) -> Draft<'a> {
        Draft {
            timeline,
            sender,
            body,
            kind: 0,
            counts: true,
            client_id: ClientId::NONE,
            timestamp: None,
            mentions: &[],
            alerts: 0,
        }
    }

    /// To another user, or to oneself.
    pub fn direct(sender: UserId, recipient: UserId, body: &'a [u8]) -> Draft<'a> {
        Draft::new(Timeline::direct(sender, recipient), sender, body)
    }

    /// To a group.
    pub fn group(group: GroupId, sender: UserId, body: &'a [u8]) -> Draft<'a> {
        Draft::new(Timeline::Group(group), sender, body)
    }

    /// From a source to one user.
    pub fn inbox(source: Source, recipient: UserId, body: &'a [u8]) -> Draft<'a> {
        Draft::new(Timeline::Inbox(source, recipient), UserId::NONE, body)
    }

    /// From a source to everyone who exists by then.
    pub fn broadcast(source: Source, body: &'a [u8]) -> Draft<'a> {
        Draft::new(Timeline::Broadcast(source), UserId::NONE, body)
    }

    /// Says what the body is, in the server's own numbers. Opaque to the store.
    pub fn kind(mut self, kind: u16) -> Draft<'a> {
        self.kind = kind;
        self
    }

    /// Whether it counts as unread for others. One that does not (a member joined) is in the history
    /// but moves no read mark, not even the sender's.
    pub fn counts(mut self, counts: bool) -> Draft<'a> {
        self.counts = counts;
        self
    }

    /// The sender's own id for it. For [`Settings::dedup_window_secs`] an append of the same sender to
    /// the same timeline under the same id is a retry and gets the first answer.
    pub fn client_id(mut self, id: ClientId) -> Draft<'a> {
        self.client_id = id;
        self
    }

    /// Its timestamp, for an import: above the timeline's last and not above store time.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Draft<'a> {
        self.timestamp = Some(timestamp);
        self
    }

    /// Whom it mentions, at most [`Settings::mentions_max`] users. Those who are in the timeline have it
    /// counted in their entry; the others, the sender and repeats are only shown with the message.
    pub fn mentions(mut self, users: &'a [UserId]) -> Draft<'a> {
        self.mentions = users;
        self
    }

    /// Its alerts, one bit for each of up to eight kinds, in the server's own numbers (a mention of
    /// everyone, a red packet, a transfer). They cost the same however many see them.
    pub fn alerts(mut self, alerts: u8) -> Draft<'a> {
        self.alerts = alerts;
        self
    }

    fn check(&self, settings: &Settings) -> Result<()> {
        check("body bytes", self.body.len(), settings.body_bytes_max)?;
        check("mentions", self.mentions.len(), settings.mentions_max)?;
        let is_from_source = self.timeline.source().is_some();
        let problem = match self.timeline {
            _ if self.sender.is_none() != is_from_source && is_from_source => "only the source sends here",
            _ if self.sender.is_none() != is_from_source || self.timeline.is_none() => "id 0 means none",
            _ if self.mentions.contains(&UserId::NONE) => "id 0 means none",
            Timeline::Direct(pair) if pair.other(self.sender).is_none() => "the sender is not one of the two users",
            _ if !self.counts && (!self.mentions.is_empty() || self.alerts != 0) => {
                "a message that does not count cannot mention or alert"
            }
            _ => return Ok(()),
        };
        let message = format!("{problem}: {} sender={}", self.timeline, self.sender.0);
        Err(Error::new(ErrorKind::InvalidInput, message))
    }
}

impl Store {
    /// Appends a message, or finds that it is there already.
    ///
    /// The answer says which, and gives seq, timestamp and version of the message either way. Once the
    /// ticket is done the message is as durable as asked for; in a `Buffered` store it is visible when
    /// this returns, in a `Sync` store when it is durable.
    ///
    /// # Errors
    /// Checked in this order, nothing is written: `LimitExceeded` (body above
    /// [`Settings::body_bytes_max`] or a quarter of a journal file, mentions above
    /// [`Settings::mentions_max`]), `InvalidInput` (an id is 0, the sender is not in the direct timeline or is
    /// a user where a source sends, a message that does not count mentions or alerts), `Conflict` (the
    /// client id was used for another kind or body), `NotFound` (no such group), `Dissolved`,
    /// `InvalidInput` (a source that sends broadcasts and not to inboxes, or the other way), `LimitExceeded`
    /// (another source of broadcasts than the [`crate::limits::BROADCAST_SOURCES_MAX`] there are), `Refused`
    /// (only members may send, or the sender is silenced), `InvalidInput` (explicit timestamp out of order),
    /// `Full`. `Poisoned` and `Closed` at any time.
    ///
    /// ```
    /// # fn main() -> restante::Result<()> {
    /// # let storage = restante::SimStorage::new(1);
    /// # let store = restante::Store::open_on(storage, restante::Options::default())?;
    /// use restante::{ClientId, Draft, Outcome, UserId};
    /// let draft = Draft::direct(UserId(3306), UserId(9527), b"dinner?").client_id(ClientId(1));
    /// let first = store.append(draft).wait()?;
    /// let retry = store.append(draft).wait()?;
    /// assert_eq!((retry.outcome, retry.seq), (Outcome::Duplicate, first.seq));
    /// # Ok(())
    /// # }
    /// ```
    pub fn append(&self, draft: Draft<'_>) -> Ticket<Appended> {
        self.append_all(std::slice::from_ref(&draft), false).map(|appended| appended[0])
    }

    /// Appends all messages or none, also after a crash. Retries among them are reported, and the rest
    /// is written. One answer per draft, in order.
    ///
    /// # Errors
    /// As [`Store::append`]; [`Error::item`] names the draft that was refused. `LimitExceeded` for
    /// more than [`BATCH_MESSAGES_MAX`] drafts, or a batch above a quarter of a journal file.
    pub fn append_batch(&self, drafts: &[Draft<'_>]) -> Ticket<Vec<Appended>> {
        self.append_all(drafts, true)
    }

    /// The message that a sender's client id stands for, as long as the id is taken. Of what is not
    /// visible yet it knows nothing.
    ///
    /// # Errors
    /// `InvalidInput` for a client id or a timeline of 0, `Corruption`, `Io`.
    pub fn find(&self, timeline: Timeline, sender: UserId, client_id: ClientId) -> Result<Option<Seq>> {
        if timeline.is_none() || client_id.is_none() {
            return Err(Error::new(ErrorKind::InvalidInput, "id 0 means none"));
        }
        let now = self.pipeline.now();
        let (candidates, time, segments) = {
            let state = self.pipeline.state();
            let hash = state.dedup_hash(timeline, sender, client_id);
            (state.dedup_candidates(hash), now.max(state.time), state.segments.clone())
        };
        let on_disk = self.pipeline.client_id_rows(&segments, timeline, sender, client_id)?;
        for seq in candidates.into_iter().chain(on_disk) {
            let Some((stored, _)) = self.pipeline.candidate(timeline, seq)? else { continue };
            let window = self.pipeline.state().dedup_window(stored.commit.version);
            let is_same = stored.append.sender == sender && stored.append.client_id == client_id;
            if is_same && is_within_window(stored.commit.time, time, window) {
                return Ok(Some(Seq(seq)));
            }
        }
        Ok(None)
    }

    fn append_all(&self, drafts: &[Draft<'_>], is_batch: bool) -> Ticket<Vec<Appended>> {
        let pipeline = &self.pipeline;
        let settings = pipeline.state().settings();
        let prepared = check_batch(drafts, is_batch, pipeline.options.journal_bytes, &settings)
            .map(|()| drafts.iter().map(prepare).collect::<Vec<_>>())
            .and_then(|mut prepared| look_up(pipeline, &mut prepared).map(|()| prepared));
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Ticket::ready(Err(error)),
        };
        let decided = pipeline.sequence(
            self.durability,
            &mut prepared,
            |prepared, sequencer, all| prepared.iter().for_each(|item| needs::append(sequencer, item, all)),
            |prepared, sequencer, state, now| sequencer.append(state, now, prepared, is_batch),
            |prepared| look_up(pipeline, prepared),
        );
        Ticket::new(pipeline, self.durability, decided)
    }
}

fn check_batch(drafts: &[Draft<'_>], is_batch: bool, journal_bytes: u64, settings: &Settings) -> Result<()> {
    check("messages in a batch", drafts.len(), BATCH_MESSAGES_MAX)?;
    let item = |index, error: Error| if is_batch { error.with_item(index) } else { error };
    let bytes_max = batch_bytes_max(journal_bytes);
    let mut bytes = 0;
    for (index, draft) in drafts.iter().enumerate() {
        let draft_bytes = change_bytes_max(draft.body.len() + mention_bytes_max(draft.mentions.len())) as usize;
        draft
            .check(settings)
            .and_then(|()| check("bytes of a message in the journal", draft_bytes, bytes_max))
            .map_err(|error| item(index, error))?;
        bytes += draft_bytes;
    }
    check("bytes of a batch in the journal", bytes, bytes_max)
}

/// What one frame may take.
pub(super) fn batch_bytes_max(journal_bytes: u64) -> usize {
    ((journal_bytes / BATCH_PART_OF_JOURNAL) as usize).min(crate::journal::BATCH_BYTES_MAX)
}

/// The most that so many mentions take before the body.
fn mention_bytes_max(mentions: usize) -> usize {
    if mentions == 0 { 0 } else { 2 + mentions * crate::varint::VARINT_BYTES_MAX + mentions.div_ceil(8) }
}

fn prepare(draft: &Draft<'_>) -> PreparedAppend {
    let Draft { timeline, sender, kind, counts, client_id, timestamp, body, alerts, mentions } = *draft;
    let mut tail = Vec::with_capacity(mention_bytes_max(mentions.len()) + body.len());
    let mut mentioned = Vec::new();
    if !mentions.is_empty() {
        let all: Vec<Mentioned> = mentions.iter().map(|user| Mentioned { user: *user, has_row: false }).collect();
        encode_mentions(&all, &mut tail);
        let each_once = mentions.iter().enumerate().filter(|(index, user)| !mentions[..*index].contains(user));
        mentioned.extend(each_once.map(|(index, user)| (index, *user)).filter(|(_, user)| *user != sender));
    }
    let mention_bytes = u16::try_from(tail.len()).expect("mentions are limited");
    tail.extend_from_slice(body);
    let mut item = PreparedAppend {
        timeline,
        sender,
        kind,
        counts,
        client_id,
        timestamp,
        alerts,
        mentioned,
        mention_count: mentions.len(),
        mention_bytes,
        tail,
        body_digest: 0,
        hash: 0,
        candidates: Vec::new(),
        generation: 0,
        known: Vec::new(),
    };
    if !client_id.is_none() {
        item.body_digest = xxh3_128(body);
    }
    item
}

/// Reads the published messages that may have the items' client ids.
fn look_up(pipeline: &Pipeline, items: &mut [PreparedAppend]) -> Result<()> {
    let segments = {
        let state = pipeline.state();
        if items.len() > 1 {
            state.warm(items.iter().map(|item| (item.timeline, item.sender)));
        }
        for item in items.iter_mut().filter(|item| !item.client_id.is_none()) {
            item.known.clear();
            item.hash = state.dedup_hash(item.timeline, item.sender, item.client_id);
            item.candidates = state.dedup_candidates(item.hash);
            item.generation = state.segments_generation();
        }
        if state.is_all_here() && items.iter().all(|item| item.candidates.is_empty()) {
            return Ok(());
        }
        state.segments.clone()
    };
    for item in items.iter_mut().filter(|item| !item.client_id.is_none()) {
        let on_disk = pipeline.client_id_rows(&segments, item.timeline, item.sender, item.client_id)?;
        for seq in item.candidates.iter().copied().chain(on_disk) {
            item.known.extend(known(pipeline, item, seq)?);
        }
    }
    Ok(())
}

/// What a message says that may have the item's client id; `None` if there is none.
fn known(pipeline: &Pipeline, item: &PreparedAppend, seq: u64) -> Result<Option<Known>> {
    let Some((stored, body)) = pipeline.candidate(item.timeline, seq)? else { return Ok(None) };
    let append = &stored.append;
    let is_same = append.sender == item.sender && append.client_id == item.client_id;
    // Once it is trimmed, whatever has its client id is a duplicate, and its body may be gone.
    let body_digest = if is_same { xxh3_128(&body) } else { 0 };
    let message = Taken {
        seq,
        timestamp: append.timestamp,
        version: stored.commit.version,
        time: stored.commit.time,
        window: pipeline.state().dedup_window(stored.commit.version),
        kind: append.kind,
        body_digest,
    };
    Ok(Some(Known { is_same, message }))
}

impl Pipeline {
    /// A message that may have a client id, or `None`: hashes meet, and then there need not be one.
    fn candidate(&self, timeline: Timeline, seq: u64) -> Result<Option<(Stored, Body)>> {
        let found = self.look(|state| {
            let head = state.head_of(timeline).filter(|head| !head.is_lost(seq))?;
            Some((head.whereabouts(seq)?, seq <= head.tip.trim(), Files::of(state)))
        })?;
        let Some((at, is_trimmed, files)) = found else { return Ok(None) };
        // What is trimmed leaves the files once its client id is free; the row of the id may go later.
        if is_trimmed && !files.has(timeline, seq, at)? {
            return Ok(None);
        }
        files.body(timeline, seq, at).map(Some)
    }
}
