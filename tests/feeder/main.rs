//! A log and its witnesses: the log's side, against witnesses that are good, dead, slow and false.

#[path = "../common/mod.rs"]
mod common;
mod lies;
mod log;
mod metrics;
mod rollback;
mod together;
mod under_load;
