//! The kit against a store in memory and servers that lie.

mod client;
mod credentials;
mod fake;
pub(crate) mod memory;
mod semantics;
mod settings;
