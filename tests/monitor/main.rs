//! Monitors of honest and of lying logs.

#[path = "../common/mod.rs"]
mod common;
mod copies;
mod faults;
mod gossip;
#[cfg(feature = "cli")]
mod kill_nine;
mod lies;
mod lost;
mod statements;
mod world;
