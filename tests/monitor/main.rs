//! Monitors of honest and of lying logs.

#[path = "../common/mod.rs"]
mod common;
mod copies;
mod faults;
#[path = "../faults/faulty.rs"]
#[allow(dead_code, reason = "shared with the faults of the log")]
mod faulty;
mod gossip;
#[cfg(feature = "cli")]
mod kill_nine;
mod lies;
mod lost;
mod statements;
mod world;
