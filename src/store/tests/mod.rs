//! The contract's own tests, what they share, and the store in memory that other rooms' tests run on.

pub mod conformance;
pub mod fixtures;
mod memory;

pub use memory::{Fault, FaultPoint, MemoryStore};
