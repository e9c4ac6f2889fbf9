//! Monitors: what they tell of logs, honest and not.

#[path = "../common/mod.rs"]
mod common;
mod gossip;
#[cfg(feature = "cli")]
mod kill_nine;
mod lies;
mod statements;
mod world;
