//! The monitor: follows logs, judges what they say, and tells people what they should know.

pub mod desk;
pub mod event;
