//! Behaviour of the store through its public interface, one module per subject.
//! Owns: the list of subjects. May touch: the public interface only.
//! Never: starts or kills processes; what needs its own process is its own binary.

mod support;

mod model;

mod scene;

mod stories;

mod limits;

mod crash;

mod recovery;

mod verify;

mod repair;

mod tickets;

mod ends;

mod tidy;

mod opening;

mod replies;

mod terminal;

mod amendments;

mod mentions;

mod sessions;

mod members;

mod receipts;

mod broadcast;

mod people;

mod directory;

mod settings;

mod retention;

mod clock;

mod client_ids;

mod scramble;

mod breaking;

mod statistics;

#[cfg(feature = "catalog")]
mod catalog;
