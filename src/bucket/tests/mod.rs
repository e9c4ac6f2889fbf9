//! The kit against a store in memory and servers that lie.

mod client;
mod credentials;
mod fake;
#[allow(dead_code, reason = "the tests of other rooms use more of it")]
pub(crate) mod memory;
mod probe;
mod semantics;
mod settings;
