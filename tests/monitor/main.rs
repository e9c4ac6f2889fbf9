//! Monitors: what they tell of logs, honest and not.

#[path = "../common/mod.rs"]
mod common;
mod gossip;
mod lies;
mod statements;
mod world;
