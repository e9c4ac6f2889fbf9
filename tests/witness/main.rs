//! The witness: over HTTP with handwritten requests, under faults, power cuts, kills and races.

#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;

mod add_checkpoint;
mod bodies;
mod evidence;
mod faults;
mod history;
mod kill_nine;
mod metrics;
mod power_cut;
mod race;
mod read;
mod sign_subtree;
mod world;
