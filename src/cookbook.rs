//! Recipes: what a server does with a store, each as a short program that runs.
//!
//! Owns: nothing; it is documentation. May touch: the public interface only. Never: holds code.
//!
//! All of them run on [`SimStorage`](crate::SimStorage), files in memory; a server says
//! [`Store::open`](crate::Store::open) and a directory. In order of what one meets first: [login](#login), [opening a
//! chat](#opening-a-chat), [scrolling up](#scrolling-up), [jumping to the first unread
//! message](#jumping-to-the-first-unread-message), [sending with retries](#sending-with-retries), [a group of
//! 30,000](#a-group-of-30000), [taking a message back](#taking-a-message-back), [a second device](#a-second-device),
//! [importing old messages](#importing-old-messages), [an announcement to everyone](#an-announcement-to-everyone), [a
//! badge for mentions](#a-badge-for-mentions), [read receipts](#read-receipts).
//!
//! # Login
//!
//! A device keeps one cursor and gets the sessions that changed since. The answer holds counts and the latest message,
//! no history, so it is as small after a week of 50,000 messages as after one. Keep the `next` of the last page for the
//! next login, and of each page for a login that was cut off. On `ResetRequired` begin from nothing.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! use restante::{Cursor, Draft, ErrorKind, ListQuery, UserId};
//! let (ann, bob) = (UserId(3306), UserId(9527));
//! let saved = store.changed(bob, None, &ListQuery::new())?.next.to_bytes(); // on the device, before it went offline
//! for text in ["are you there?", "dinner at 7", "room 0520"] {
//!     store.append(Draft::direct(ann, bob, text.as_bytes())).wait()?;
//! }
//!
//! let mut cursor = Some(Cursor::from_bytes(&saved)?);
//! let mut sessions = Vec::new();
//! loop {
//!     let page = match store.changed(bob, cursor.as_ref(), &ListQuery::new().limit(50)) {
//!         Err(error) if error.kind() == ErrorKind::ResetRequired => {
//!             (cursor, sessions) = (None, Vec::new());
//!             continue;
//!         }
//!         page => page?,
//!     };
//!     sessions.extend(page.entries); // one that comes twice replaces itself; one without `is_add` is taken off
//!     cursor = Some(page.next);
//!     if !page.more {
//!         break;
//!     }
//! }
//! assert_eq!((sessions.len(), sessions[0].unread), (1, 3));
//! assert_eq!(&sessions[0].latest[0].body[..], b"room 0520");
//! # Ok(())
//! # }
//! ```
//!
//! # Opening a chat
//!
//! Only now are bodies pulled: one screen, newest first. Marking what the screen shows as read lowers the badge by
//! exactly that, on all devices of the user. The mark is a seq and not "all", so what arrives meanwhile stays unread.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! # use restante::{Draft, HistoryQuery, Peer, Seq, UserId};
//! # let (ann, bob) = (UserId(3306), UserId(9527));
//! for number in 1..=30 {
//!     store.append(Draft::direct(ann, bob, format!("line {number}").as_bytes())).wait()?;
//! }
//! let screen = store.history(bob, Peer::User(ann), &HistoryQuery::newest().limit(10))?;
//! assert_eq!(&screen.messages[0].body[..], b"line 30");
//! store.append(Draft::direct(ann, bob, b"line 31, while he reads")).wait()?;
//!
//! store.mark_read(bob, Peer::User(ann), screen.messages[0].seq).wait()?;
//! assert_eq!(store.total_unread(bob)?.unread, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Scrolling up
//!
//! Ask for what is older than the oldest seq that the last page *covers*, not than its oldest message: what is hidden
//! from this user is covered and not there. `older` says whether to ask at all, and if not, why.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! use restante::{Draft, Edge, HistoryQuery, Peer, Seq, UserId};
//! # let (ann, bob) = (UserId(3306), UserId(9527));
//! # for number in 1..=25 {
//! #     store.append(Draft::direct(ann, bob, format!("line {number}").as_bytes())).wait()?;
//! # }
//! store.hide(bob, Peer::User(ann), &[Seq(7), Seq(8)]).wait()?;
//! let mut query = HistoryQuery::newest();
//! let mut held = Vec::new();
//! loop {
//!     let page = store.history(bob, Peer::User(ann), &query.clone().limit(10))?;
//!     held.extend(page.messages.iter().map(|message| message.seq));
//!     let (Some((oldest, _)), Edge::More) = (page.covers, page.older) else { break };
//!     query = query.seqs(..oldest);
//! }
//! assert_eq!((held.len(), held.first(), held.last()), (23, Some(&Seq(25)), Some(&Seq(1))));
//! # Ok(())
//! # }
//! ```
//!
//! # Jumping to the first unread message
//!
//! The entry says where the oldest unread message is; the page from there on is asked for oldest first. Two pages that
//! cover neighbouring seqs belong together; between two that do not there is a gap to fill before they are shown as
//! one.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! # use restante::{Draft, HistoryQuery, ListQuery, Peer, Seq, UserId};
//! # let (ann, bob) = (UserId(3306), UserId(9527));
//! # for number in 1..=45 {
//! #     store.append(Draft::direct(ann, bob, format!("line {number}").as_bytes())).wait()?;
//! # }
//! store.mark_read(bob, Peer::User(ann), Seq(12)).wait()?;
//! let entry = store.changed(bob, None, &ListQuery::new())?.entries.remove(0);
//! let (goto, _) = entry.goto.expect("33 are unread");
//! let page = store.history(bob, Peer::User(ann), &HistoryQuery::oldest().seqs(goto..).limit(20))?;
//! assert_eq!((entry.unread, page.covers), (33, Some((Seq(13), Seq(32)))));
//!
//! let newest = store.history(bob, Peer::User(ann), &HistoryQuery::newest().limit(10))?;
//! let (from, to) = (page.covers.unwrap().1, newest.covers.unwrap().0);
//! let gap = HistoryQuery::oldest().seqs(Seq(from.0 + 1)..to);
//! assert_eq!(store.history(bob, Peer::User(ann), &gap)?.messages.len(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! # Sending with retries
//!
//! The client draws an id for each message and keeps it until the server has acknowledged it. A retry under the same
//! id, by the client or by the server after `Unknown`, gets the first answer and writes nothing, so it is always safe
//! to repeat. Acknowledge to the client once the ticket is done: then the message survives a power cut.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! # use restante::{ClientId, Draft, ErrorKind, Outcome, UserId};
//! # let (ann, bob) = (UserId(3306), UserId(9527));
//! let draft = Draft::direct(ann, bob, b"dinner?").client_id(ClientId(0x5eed));
//! let first = store.append(draft).wait()?; // and the acknowledgement is lost on the way
//! let retry = store.append(draft).wait()?;
//! assert_eq!((first.outcome, retry.outcome), (Outcome::Written, Outcome::Duplicate));
//! assert_eq!((retry.seq, retry.timestamp), (first.seq, first.timestamp));
//!
//! // A client that uses an id twice is told so, instead of losing a message.
//! let other = Draft::direct(ann, bob, b"lunch?").client_id(ClientId(0x5eed));
//! assert_eq!(store.append(other).wait().unwrap_err().kind(), ErrorKind::Conflict);
//! # Ok(())
//! # }
//! ```
//!
//! # A group of 30,000
//!
//! Members join in one commit. A message writes one record and the sender's row, whatever the size of the group: unread
//! counts are worked out when a member asks. So there is nothing to fan out, and nothing to clean up when members never
//! come.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! # use restante::{Draft, GroupId, GroupSettings, UserId};
//! let town = GroupId(7);
//! let members: Vec<UserId> = (1..=30_000).map(UserId).collect();
//! store.create_group(town, GroupSettings::default().shows_history(true)).wait()?;
//! store.join_many(town, &members).wait()?;
//! let before = store.version();
//! store.append(Draft::group(town, UserId(1), b"the market is open")).wait()?;
//!
//! assert_eq!(store.version().get() - before.get(), 1);
//! assert_eq!(store.total_unread(UserId(29_999))?.unread, 1);
//! assert_eq!(store.members(town, UserId(29_998), 10)?.members.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Taking a message back
//!
//! Whether somebody may is the server's decision; the store records who and when. The body is gone for all readers at
//! once, and each device learns it from its next list, whether or not it ever asks for that page again.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! use restante::{AmendmentKind, Draft, HistoryQuery, ListQuery, Peer, Timeline, UserId};
//! # let (ann, bob) = (UserId(3306), UserId(9527));
//! let wrong = store.append(Draft::direct(ann, bob, b"the wrong photo")).wait()?;
//! let cursor = store.changed(bob, None, &ListQuery::new())?.next; // his phone has it
//!
//! store.recall(ann, Timeline::direct(ann, bob), wrong.seq).wait()?;
//! let entry = store.changed(bob, Some(&cursor), &ListQuery::new())?.entries.remove(0);
//! let amendment = &entry.amendments[0]; // the phone drops its copy
//! assert_eq!((amendment.seq, amendment.kind, amendment.by), (wrong.seq, AmendmentKind::Recalled, ann));
//! assert_eq!(entry.unread, 0);
//!
//! let notice = store.history(bob, Peer::User(ann), &HistoryQuery::newest())?.messages.remove(0);
//! assert!(notice.recalled.is_some() && notice.body.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # A second device
//!
//! Each device has a cursor of its own; none is kept by the store, so there is nothing to register. Read marks, own
//! messages, flags and removed sessions are changes of the user's row and come to all its devices. `catch_up` also
//! carries the messages, for a device that keeps everything.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! use restante::{CatchUpQuery, Draft, FlagChange, ListQuery, Peer, Seq, UserId};
//! # let (ann, bob) = (UserId(3306), UserId(9527));
//! store.append(Draft::direct(ann, bob, b"dinner?")).wait()?;
//! let phone = store.changed(bob, None, &ListQuery::new())?.next;
//! let laptop = phone;
//!
//! store.append(Draft::direct(bob, ann, b"at seven")).wait()?; // on the phone
//! store.set_flags(bob, Peer::User(ann), FlagChange::new().pinned(true)).wait()?;
//!
//! let page = store.catch_up(bob, Some(&laptop), &CatchUpQuery::new())?;
//! let entry = &page.entries[0];
//! assert_eq!((entry.peer, entry.unread, entry.flags.pinned), (Peer::User(ann), 0, true));
//! assert_eq!((entry.messages[0].sender, entry.messages[0].seq), (bob, Seq(2)));
//! # Ok(())
//! # }
//! ```
//!
//! # Importing old messages
//!
//! Old messages keep their own timestamps, as long as those rise within a timeline and are not in the future. In
//! batches and `Buffered` an import is bounded by the disk's throughput, not by its syncs; one sync at the end makes it
//! all durable. Client ids made from the old system's keys let an import that was cut off be run again, within the
//! window of client ids.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! use restante::{ClientId, Draft, Durability, HistoryQuery, Outcome, Peer, Timestamp, UserId};
//! # let (ann, bob) = (UserId(3306), UserId(9527));
//! let old = [(17, 1_262_304_000, "happy new year"), (18, 1_262_304_060, "and to you"), (21, 1_262_390_400, "morning")];
//! let drafts: Vec<Draft> = old
//!     .iter()
//!     .map(|(key, seconds, text)| {
//!         let draft = Draft::direct(ann, bob, text.as_bytes()).client_id(ClientId(*key));
//!         draft.timestamp(Timestamp::from_secs(*seconds))
//!     })
//!     .collect();
//! let import = store.at(Durability::Buffered);
//! import.append_batch(&drafts).wait()?;
//! import.sync()?;
//!
//! let again = import.append_batch(&drafts).wait()?;
//! assert!(again.iter().all(|appended| appended.outcome == Outcome::Duplicate));
//! let newest = store.history(bob, Peer::User(ann), &HistoryQuery::newest())?.messages.remove(0);
//! assert_eq!((newest.timestamp, newest.imported), (Timestamp::from_secs(1_262_390_400), true));
//! # Ok(())
//! # }
//! ```
//!
//! Imported chats begin unread; [`mark_read`](crate::Store::mark_read) up to the last seq of each, if they are not to.
//!
//! # An announcement to everyone
//!
//! A broadcast is one message, whatever the number of users. Whoever existed before it sees it, and nobody who came
//! later, so a newcomer does not begin with years of announcements. The first message of a source decides whether it
//! broadcasts or writes to the inbox of each user.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! use restante::{Draft, ErrorKind, HistoryQuery, Source, SystemId, UserId};
//! let (ann, newcomer) = (UserId(3306), UserId(9999));
//! let operator = Source::System(SystemId(1));
//! store.add_user(ann).wait()?;
//! store.append(Draft::broadcast(operator, b"closed on Monday")).wait()?;
//! store.add_user(newcomer).wait()?;
//!
//! let page = store.history(ann, operator.into(), &HistoryQuery::newest())?;
//! assert_eq!(&page.messages[0].body[..], b"closed on Monday");
//! assert_eq!((store.total_unread(ann)?.unread, store.total_unread(newcomer)?.unread), (1, 0));
//!
//! let inbox = Draft::inbox(operator, ann, b"your parcel is here");
//! assert_eq!(store.append(inbox).wait().unwrap_err().kind(), ErrorKind::InvalidInput);
//! # Ok(())
//! # }
//! ```
//!
//! # A badge for mentions
//!
//! Name the users a message calls; only they get a row, at most 128. For what calls everyone use an alert, one of eight
//! kinds of your own, which costs nothing per member. Both count only while the message is unread, so there is nothing
//! to reset.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! use restante::{Draft, GroupId, ListQuery, Peer, Seq, UserId};
//! # let (ann, bob, cat) = (UserId(3306), UserId(9527), UserId(5672));
//! let team = GroupId(7);
//! const EVERYONE: u8 = 0;
//! store.join_many(team, &[ann, bob, cat]).wait()?;
//! store.append(Draft::group(team, ann, b"@bob, look").mentions(&[bob])).wait()?;
//! store.append(Draft::group(team, ann, b"@all, lunch").alerts(1 << EVERYONE)).wait()?;
//!
//! let entry = store.changed(bob, None, &ListQuery::new())?.entries.remove(0);
//! assert_eq!((entry.mentions.count, entry.mentions.oldest), (1, Some(Seq(1))));
//! assert_eq!((entry.alerts[0].kind, entry.alerts[0].oldest), (EVERYONE, Seq(2)));
//!
//! store.mark_read(bob, Peer::Group(team), Seq(1)).wait()?;
//! let entry = store.changed(bob, None, &ListQuery::new())?.entries.remove(0);
//! assert_eq!((entry.mentions.count, entry.alerts.len()), (0, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # Read receipts
//!
//! `mark_delivered` when a device has acknowledged, `mark_read` when the user has seen. In a direct chat both marks of
//! the other side are in the entry. In a group ask for one message when its sender opens the list of readers: nothing
//! is written per reader. Receipts never go back, also when a reader marks the chat as unread again.
//!
//! ```
//! # fn main() -> restante::Result<()> {
//! # let storage = restante::SimStorage::new(1);
//! # let store = restante::Store::open_on(storage, restante::Options::default())?;
//! use restante::{Draft, GroupId, ListQuery, Peer, Seq, UserId};
//! # let (ann, bob, cat) = (UserId(3306), UserId(9527), UserId(5672));
//! store.append(Draft::direct(ann, bob, b"dinner?")).wait()?;
//! store.mark_delivered(bob, Peer::User(ann), Seq(1)).wait()?;
//! let entry = store.changed(ann, None, &ListQuery::new())?.entries.remove(0);
//! assert_eq!((entry.other_delivered, entry.other_read), (Seq(1), Seq(0))); // one tick more
//!
//! let team = GroupId(7);
//! store.join_many(team, &[ann, bob, cat]).wait()?;
//! let sent = store.append(Draft::group(team, ann, b"lunch?")).wait()?;
//! store.mark_read(cat, Peer::Group(team), sent.seq).wait()?;
//! store.mark_unread_from(cat, Peer::Group(team), sent.seq).wait()?;
//! let receipts = store.receipts(ann, Peer::Group(team), sent.seq, UserId::NONE, 100)?;
//! assert_eq!((receipts.members, receipts.delivered, receipts.read), (2, 1, 1));
//! assert_eq!((receipts.receipts[0].user, receipts.receipts[0].read), (cat, true));
//! # Ok(())
//! # }
//! ```
