//! Asks a store everything there is to ask.
//! Owns: the questions, and the recount that answers are held against. May touch: the public interface.
//! Never: changes the store.

use restante::{
    AmendmentKind, BusinessId, CatchUpQuery, Cursor, Entry, ErrorKind, GroupId, HistoryQuery, ListQuery, Message,
    NameKind, Peer, Result, Seq, Source, Store, SystemId, UserId,
};
use std::collections::BTreeMap;

/// Users and groups of all stores here have ids from 1 up to these.
pub const USERS: u64 = 6;
pub const GROUPS: u64 = 3;
/// The sources of all stores here.
pub const SOURCES: [Source; 3] =
    [Source::System(SystemId(1)), Source::Business(BusinessId(1)), Source::System(SystemId(2))];

pub fn users() -> impl Iterator<Item = UserId> {
    (1..=USERS).map(UserId)
}

fn peers() -> impl Iterator<Item = Peer> {
    users().map(Peer::User).chain((1..=GROUPS).map(|id| Peer::Group(GroupId(id)))).chain(SOURCES.map(Peer::from))
}

/// Reads every answer of a store whose bytes may have been made to mislead: errors are fine, panics are not.
pub fn read_all(store: &Store) -> Result<u64> {
    for user in users() {
        let mut cursor: Option<Cursor> = None;
        loop {
            let list = match store.changed(user, cursor.as_ref(), &ListQuery::new().limit(2).latest(3)) {
                Ok(list) => list,
                Err(_) => break,
            };
            if !list.more {
                break;
            }
            cursor = Some(list.next);
        }
        let _ = store.catch_up(user, cursor.as_ref(), &CatchUpQuery::new().messages(50));
        let _ = store.recent(user, None, &ListQuery::new().limit(3));
        let _ = store.total_unread(user);
        for peer in peers() {
            let _ = store.history(user, peer, &HistoryQuery::newest().limit(1_000));
            let _ = store.history(user, peer, &HistoryQuery::oldest().limit(7));
            let _ = store.amendments(user, peer, None, 100);
            let _ = store.receipts(user, peer, Seq(2), UserId(1), 100);
        }
        let _ = store.groups_of(user, GroupId::NONE, 10);
        let _ = (store.user_exists(user).unwrap(), store.name_of(NameKind::User, user.0 | 1 << 63).unwrap());
    }
    for group in (1..=GROUPS).map(GroupId) {
        let _ = (store.group(group), store.members(group, UserId::NONE, 100));
    }
    let _ = (store.settings(), store.time(), store.resolve(NameKind::Group, b"name").unwrap());
    store.state_digest()
}

/// Reads every answer of a sound store and holds it against a recount of the history.
pub fn recount_all(store: &Store) -> Result<()> {
    for user in users() {
        recount(store, user)?;
    }
    Ok(())
}

fn recount(store: &Store, user: UserId) -> Result<()> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut cursor = None;
    loop {
        let list = store.changed(user, cursor.as_ref(), &ListQuery::new().limit(2))?;
        entries.extend(list.entries);
        cursor = Some(list.next);
        if !list.more {
            break;
        }
        assert!(entries.len() <= peers().count(), "a walk ends when nobody writes");
    }
    assert!(entries.is_sorted_by_key(|entry| entry.version), "in the order of versions");
    let again = store.changed(user, cursor.as_ref(), &ListQuery::new())?;
    assert!(again.entries.is_empty(), "nothing changed since");
    let recent = store.recent(user, None, &ListQuery::new())?;
    assert_eq!(recent.entries.len(), entries.len(), "both lists hold all sessions");
    assert!(recent.entries.is_sorted_by(|one, next| one.activity >= next.activity), "by activity");
    let pinned = entries.iter().filter(|entry| entry.flags.pinned).count();
    assert_eq!(recent.pinned.len(), pinned, "the first page holds all pinned sessions");
    let (mut unread_by_muted, mut marked) = ([0, 0], 0);
    for entry in &entries {
        assert!(recent.entries.contains(entry), "both lists say the same");
        recount_entry(store, user, entry)?;
        unread_by_muted[usize::from(entry.flags.muted)] += entry.unread;
        marked += u64::from(entry.flags.marked_unread);
    }
    let totals = store.total_unread(user)?;
    assert_eq!([totals.unread, totals.muted_unread], unread_by_muted, "totals: user={user}");
    assert_eq!(totals.marked_unread, marked, "sessions marked unread: user={user}");
    Ok(())
}

/// The figures of one session against its messages and amendments.
fn recount_entry(store: &Store, user: UserId, entry: &Entry) -> Result<()> {
    let context = format!("user={user} peer={}", entry.peer);
    let messages = all_messages(store, user, entry.peer)?;
    let kinds = all_amendments(store, user, entry.peer)?;
    let seqs: Vec<u64> = messages.iter().map(|message| message.seq.0).collect();
    let is_hidden = |seq: &u64| kinds.get(seq) == Some(&AmendmentKind::Hidden);
    let expected: Vec<u64> = (entry.first.0..=entry.last.0).filter(|seq| !is_hidden(seq)).collect();
    assert_eq!(seqs, expected, "all but the hidden ones are there: {context}");
    assert!(kinds.keys().all(|seq| entry.first.0 <= *seq && *seq <= entry.last.0), "amendments are of what is shown");
    for message in &messages {
        let kind = message.recalled.as_ref().map(|_| AmendmentKind::Recalled);
        let kind = kind.or(message.edited.as_ref().map(|_| AmendmentKind::Edited));
        assert_eq!(kinds.get(&message.seq.0), kind.as_ref(), "amended: {context} {}", message.seq);
        assert!(kind != Some(AmendmentKind::Recalled) || message.body.is_empty(), "a recalled body is gone: {context}");
    }
    assert!(messages.is_sorted_by(|one, next| one.timestamp < next.timestamp), "timestamps increase");
    assert!(messages.is_sorted_by(|one, next| one.version < next.version), "versions increase");
    let is_unread = |message: &&Message| {
        message.seq > entry.read_mark && message.counts && message.recalled.is_none() && message.sender != user
    };
    let unread: Vec<&Message> = messages.iter().filter(is_unread).collect();
    assert_eq!(entry.unread, unread.len() as u64, "unread: {context}");
    let goto = unread.first().map(|message| (message.seq, message.timestamp));
    assert_eq!(entry.goto, goto, "goto: {context}");
    // Who was called while away has no badge from it, so the messages only say how much it can be.
    let calling = unread.iter().filter(|message| message.mentions.contains(&user));
    let calling: Vec<Seq> = calling.map(|message| message.seq).collect();
    assert!(entry.mentions.count <= calling.len() as u64, "mentions: {context}");
    assert_eq!(entry.mentions.count > 0, entry.mentions.oldest.is_some(), "mentions: {context}");
    assert!(entry.mentions.oldest.is_none_or(|oldest| calling.contains(&oldest)), "mentions: {context}");
    let alerts: Vec<(u8, u64, Seq)> = (0..8)
        .filter_map(|kind| {
            let mut alerting = unread.iter().filter(|message| message.alerts >> kind & 1 == 1).peekable();
            let oldest = alerting.peek()?.seq;
            Some((kind, alerting.count() as u64, oldest))
        })
        .collect();
    let got: Vec<(u8, u64, Seq)> = entry.alerts.iter().map(|alert| (alert.kind, alert.count, alert.oldest)).collect();
    assert_eq!(got, alerts, "alerts: {context}");
    assert_eq!(entry.latest.first().map(|latest| latest.seq), messages.last().map(|last| last.seq));
    if let Some(last) = messages.last() {
        let receipts = store.receipts(user, entry.peer, last.seq, UserId::NONE, 100)?;
        assert!(receipts.read <= receipts.delivered && receipts.delivered <= receipts.members, "receipts: {context}");
        assert_eq!(receipts.receipts.len() as u64, receipts.delivered, "receipts: {context}");
    }
    Ok(())
}

/// What was done to which seq, in pages of an odd size.
fn all_amendments(store: &Store, user: UserId, peer: Peer) -> Result<BTreeMap<u64, AmendmentKind>> {
    let (mut kinds, mut since) = (BTreeMap::new(), None);
    loop {
        let page = store.amendments(user, peer, since.as_ref(), 3)?;
        for amendment in &page.amendments {
            let before = kinds.insert(amendment.seq.0, amendment.kind);
            assert!(before.is_none(), "one for each seq: user={user} peer={peer}");
        }
        if !page.more {
            return Ok(kinds);
        }
        assert!(!page.amendments.is_empty(), "a walk ends when nobody writes");
        since = Some(page.next);
    }
}

/// The whole history, in pages of an odd size.
fn all_messages(store: &Store, user: UserId, peer: Peer) -> Result<Vec<Message>> {
    let mut messages: Vec<Message> = Vec::new();
    loop {
        let after = messages.last().map_or(0, |last| last.seq.0);
        let query = HistoryQuery::oldest().seqs(restante::Seq(after + 1)..).limit(7);
        let page = store.history(user, peer, &query)?;
        if page.messages.is_empty() {
            return Ok(messages);
        }
        messages.extend(page.messages);
    }
}

/// Whether an error says that the disk is to blame, which only injected faults and damage explain.
pub fn is_disk_error(kind: ErrorKind) -> bool {
    use ErrorKind::{Corruption, Full, Io, Poisoned, Unknown};
    [Io, Full, Poisoned, Unknown, Corruption].contains(&kind)
}
