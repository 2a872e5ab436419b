//! The acceptance stories: what the store is for, told from the users' side.
//! Owns: nothing; one file a story or two. May touch: its submodules.
//! Never: looks behind the public interface.

mod backup_survives_recycling;
mod friday_evening;
mod late_recall;
mod left_and_dissolved;
mod list_while_writing;
mod lost_tail;
mod membership;
mod merge_waits_for_sync;
mod partial_read;
mod purge_leaves_no_byte;
mod recall_across_pages;
mod recall_and_badge;
mod receipts_do_not_go_back;
mod removed_and_revived;
mod retention_and_badge;
mod roaming;
mod tsunami;
mod two_terminals;
