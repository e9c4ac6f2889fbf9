//! Logs that lie.
