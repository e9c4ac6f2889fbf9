//! The contract's own tests, and the store in memory that other rooms' tests run on.

pub mod conformance;
mod memory;

pub use memory::{Fault, FaultPoint, MemoryStore};
