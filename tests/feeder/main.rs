//! The log's side of its witnesses, which are good, dead, slow and lying.

#[path = "../common/mod.rs"]
mod common;
mod lies;
mod log;
mod metrics;
mod rollback;
mod together;
mod under_load;
