//! Tests the kit with a store in memory and with fake servers.

mod client;
mod credentials;
mod fake;
#[allow(dead_code, reason = "the tests of other rooms use more of it")]
pub(crate) mod memory;
mod probe;
mod semantics;
mod settings;
