//! The witness: over HTTP with requests written by hand, under faults, power cuts, kills and races.

#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;

#[path = "../power_cut/recorder.rs"]
#[allow(dead_code, reason = "shared with the power cuts of the log")]
mod recorder;
#[path = "../power_cut/simulated.rs"]
#[allow(dead_code, reason = "shared with the power cuts of the log")]
mod simulated;

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
