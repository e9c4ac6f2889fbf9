//! Shared code of the integration tests.
#![allow(dead_code, reason = "each test program uses another part of it")]

pub mod driver;
pub mod faulty_disk;
pub mod framing;
pub mod http;
#[cfg(feature = "cli")]
pub mod kill;
pub mod liar;
pub mod locks;
pub mod log;
pub mod metrics;
pub mod mounts;
pub mod needs;
pub mod parallel;
pub mod power_cut;
pub mod promises;
pub mod proxy;
pub mod random;
pub mod receiver;
pub mod releases;
pub mod toy_witness;
pub mod witness;
