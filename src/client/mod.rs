//! Talking to a log from outside: fetch, then check. Imports the core only, as anybody's client
//! would.

mod audit;
mod backoff;
mod builder;
mod certificates;
mod entries;
mod entry_reader;
mod error;
mod flow;
mod gate;
mod gossip;
mod http;
mod numbering;
mod patience;
mod proven;
mod proxy;
mod retry_after;
mod search;
mod sequence;
mod submit;
mod tiles;
mod witness;

pub use crate::format::Wait;
pub use audit::{AuditError, audit, check_continues};
pub use backoff::Backoff;
pub use builder::{LogClientBuilder, OnPause};
#[cfg(feature = "server")]
pub(crate) use builder::{NAME, agent};
pub use certificates::{MAX_CERTIFICATES_BYTES, trust_certificates};
pub use entries::{Bundle, EntryStream, MAX_WORKERS, StreamOptions};
pub use entry_reader::EntryReader;
pub use error::{ClientError, NetworkFault};
pub use gossip::report;
pub use http::LogClient;
#[cfg(feature = "server")]
pub(crate) use http::printable;
#[cfg(feature = "cli")]
pub(crate) use http::{is_address, is_code};
pub use numbering::{LatestRelease, Numbering, NumberingError};
pub use proven::{ProvenError, check_answer, proven_entry};
pub use search::{Found, FoundRow, MAX_PAGES};
pub use sequence::HighestSequence;
pub use submit::{Appended, BatchAnswer, BatchWriter, MAX_BATCH_BODY_BYTES, MAX_BATCH_ENTRIES, Warning};
pub use tiles::{KeptTiles, RemoteTiles};
pub use witness::{CosignAnswer, WitnessClient};

#[cfg(test)]
mod tests;
