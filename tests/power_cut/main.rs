//! What a power cut leaves is a log that keeps every promise.
//!
//! `replay` records each write and fsync of a running log, and builds all kinds of directories that a cut at each of
//! them could leave: it is the same in every run and needs nothing. `tests/machine/power_cut.rs` cuts off an ext4 on a
//! loop device: it needs to mount one. Both come with disks that lie about their fsyncs, and the same checks have to
//! catch them.

#[path = "../common/mod.rs"]
mod common;

mod lies;
mod recorder;
mod replay;
mod simulated;
