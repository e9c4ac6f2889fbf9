//! Deliveries to real receivers, under faults and power cuts.

#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;

#[path = "../power_cut/recorder.rs"]
#[allow(dead_code, reason = "shared with the power cuts of the log")]
mod recorder;
#[path = "../power_cut/simulated.rs"]
#[allow(dead_code, reason = "shared with the power cuts of the log")]
mod simulated;

mod command;
mod faults;
mod power_cut;
mod templates;
mod webhook;
mod world;
