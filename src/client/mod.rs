//! Talking to a log from outside: fetch, then check. Imports the core only, as anybody's client
//! would.

mod error;
mod http;
mod submit;
mod tiles;
mod witness;

pub use error::ClientError;
pub use http::LogClient;
#[cfg(feature = "cli")]
pub(crate) use http::{is_code, printable};
pub use submit::{BatchAnswer, BatchWriter, MAX_BATCH_BODY_BYTES, MAX_BATCH_ENTRIES, Wait};
pub use tiles::RemoteTiles;
pub use witness::{CosignAnswer, WitnessClient};

#[cfg(test)]
mod tests;
