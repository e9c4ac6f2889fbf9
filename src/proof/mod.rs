//! Formats that logs, witnesses, monitors and endpoints exchange.
//!
//! | module | reads and writes |
//! | --- | --- |
//! | [`ProofFile`] | `.tlog-proof` files: c2sp.org/tlog-proof |
//! | [`bundle`] | entry bundles: c2sp.org/tlog-tiles |
//! | [`fork`] | `.tlog-fork` files, which prove that a log forked |
//! | [`wire`] | bodies of requests to witnesses: c2sp.org/tlog-witness |

pub mod bundle;
mod file;
pub mod fork;
pub mod wire;

pub use file::*;
