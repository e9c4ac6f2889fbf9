//! Asks logs and witnesses over HTTP: fetches, then checks. Imports the core only, as any other client could.

mod addresses;
mod agent;
mod audit;
mod backoff;
mod builder;
mod bundling;
mod certificates;
mod entries;
mod entry_reader;
mod error;
mod fetched_bundle;
mod file;
mod flow;
mod gate;
mod gossip;
mod holders;
mod http;
mod numbering;
mod patience;
mod proven;
mod proxy;
mod response;
mod retry_after;
mod search;
mod sequence;
mod submit;
mod tiles;
mod witness;

pub use crate::format::Wait;
pub use crate::release::{Found, FoundRow};
#[cfg(feature = "bucket")]
pub(crate) use agent::AgentOptions;
#[cfg(any(feature = "server", feature = "bucket"))]
pub(crate) use agent::NAME;
#[cfg(feature = "server")]
pub(crate) use agent::agent;
#[cfg(feature = "cli")]
pub(crate) use agent::is_address;
pub use audit::{AuditError, audit, check_continues};
pub use backoff::Backoff;
pub use builder::LogClientBuilder;
pub use bundling::{BundleError, ReleaseProof};
#[cfg(feature = "bucket")]
pub(crate) use certificates::parse_certificates;
pub use certificates::{MAX_CERTIFICATES_BYTES, trust_certificates};
pub use entries::{EntryStream, MAX_WORKERS, StreamOptions};
pub use entry_reader::EntryReader;
pub use error::{ClientError, NetworkFault, ProblemCode, RefusedEntry};
pub use fetched_bundle::Bundle;
pub use file::fetch_file;
pub use gossip::report;
pub use http::{LogClient, PastCaches};
pub use numbering::{LatestRelease, Numbering, NumberingError};
pub use patience::OnPause;
pub use proven::{FoundError, ProvenError, check_answer, check_found, proven_entry};
#[cfg(any(feature = "server", feature = "bucket"))]
pub(crate) use response::printable;
#[cfg(feature = "cli")]
pub(crate) use response::{is_code, refused};
pub use sequence::HighestSequence;
pub use submit::{Appended, BatchAnswer, BatchWriter, MAX_BATCH_BODY_BYTES, MAX_BATCH_ENTRIES, Remark};
pub use tiles::KeptTiles;
pub use witness::{CosignAnswer, WitnessClient};
#[cfg(feature = "bucket")]
pub(crate) use {response::in_words, response::network, response::read_capped, retry_after::retry_after};

#[cfg(test)]
mod tests;
