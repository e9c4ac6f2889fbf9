//! What a power cut leaves is a log that keeps every promise.
//!
//! Two ways of cutting the power. `replay` records each write and fsync of a running log, and builds
//! all kinds of directories that a cut at each of them could leave: it is the same in every run and
//! needs nothing. `real` cuts off an ext4 on a loop device: it needs to mount one. Both come with
//! disks that lie about their fsyncs, and have to be caught by the same checks.

#[path = "../common/mod.rs"]
mod common;

mod lies;
mod real;
mod recorder;
mod replay;
mod simulated;
