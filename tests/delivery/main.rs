//! Deliveries to real receivers, under faults and power cuts.

#![cfg(feature = "cli")]

#[path = "../common/mod.rs"]
mod common;

mod command;
mod faults;
mod power_cut;
mod templates;
mod webhook;
mod world;
