//! Where strangers meet a server: the log, the witness and the monitor have the same edge.
//!
//! ```text
//! listener -> accept -> connections (who has a seat) -> service -> router -> answers (bytes) -> socket
//!                                                          |                                      |
//!                                                  sender (who asks)              guarded (who still reads)
//! ```
//!
//! Nobody can lock others out: connections, incoming bodies and outgoing answers are limited in bytes, and when
//! they get scarce, each network has a share.

mod accept;
pub(crate) mod admission;
mod budget;
pub(crate) mod cache;
mod connections;
pub(crate) mod exposition;
mod guarded;
pub(crate) mod gzip;
pub(crate) mod json;
pub(crate) mod outcomes;
mod sender;
mod service;
pub(crate) mod watched;

#[cfg(test)]
mod tests;

pub use accept::{Front, serve};
pub use sender::{Network, Sender};
