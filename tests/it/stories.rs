//! The acceptance stories: what the store is for, told from the users' side.
//! Owns: nothing; one file a story or two. May touch: its submodules.
//! Never: looks behind the public interface.

mod friday_evening;
mod list_while_writing;
mod lost_tail;
mod membership;
mod partial_read;
mod roaming;
mod tsunami;
