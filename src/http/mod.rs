//! The HTTP side that the log, the witness and the monitor share; it knows none of them.
//!
//! ```text
//! listener -> connections (slots) -> service -> router -> answers (bytes) -> tracked stream -> socket
//!                                      |          |
//!                             client address   admission (bodies)
//! ```
//!
//! Nobody can lock others out: connections, request bodies and unread answers are bounded in number and bytes,
//! and where they get scarce, each network has a share.

pub(crate) mod admission;
mod budget;
pub(crate) mod cache;
mod client_address;
mod connections;
pub(crate) mod cross_origin;
pub(crate) mod exposition;
pub(crate) mod gzip;
pub(crate) mod json;
mod listener;
pub(crate) mod outcomes;
pub(crate) mod problem;
pub(crate) mod publishers_file;
#[cfg(feature = "client")]
pub(crate) mod rate_limit;
pub(crate) mod routes;
mod service;
mod tracked_stream;
pub(crate) mod watched_file;

#[cfg(test)]
mod tests;

pub use client_address::{ClientAddress, Network};
pub(crate) use listener::serve_with;
pub use listener::{Listener, serve};
pub use problem::RequestError;
pub(crate) use service::Handler;
pub use watched_file::WatchError;
