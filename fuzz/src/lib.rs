//! What the fuzz targets share: taking choices from bytes, reading a whole store, small stores to start from.
//! Owns: the modules below. May touch: the public interface of the store, simulated storage.
//! Never: touches a real file.

pub mod input;

pub mod reading;

pub mod frames;

pub mod seed;
