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

pub mod accept;
pub mod admission;
mod budget;
mod connections;
mod guarded;
mod sender;
mod service;

#[cfg(test)]
mod tests;

pub use accept::{Front, serve};
pub use sender::{Network, Sender};
