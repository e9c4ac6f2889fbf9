//! A power cut leaves a log that keeps every promise.
//!
//! `replay` records a running log, and checks the directories that a cut at each of its steps could leave. It is the
//! same in every run and needs nothing. `tests/machine/power_cut.rs` cuts the power of an ext4 on a loop device, which
//! it has to mount. Both also run on disks that lie about their fsyncs, which the same checks have to detect.

#[path = "../common/mod.rs"]
mod common;

mod lies;
mod replay;
