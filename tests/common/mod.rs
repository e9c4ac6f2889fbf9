//! What the integration tests share.
#![allow(dead_code, reason = "each test program uses another part of it")]

pub mod http;
pub mod log;
pub mod releases;
