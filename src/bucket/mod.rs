//! Object stores with conditional writes, as S3 has them: a kit that knows no log.
//!
//! [`Objects`] is the contract, and [`S3`] speaks to a store over the client's HTTP. The [`probe`] finds out
//! whether a store keeps its promises. Requests are signed by Signature Version 4 in headers (`sign.rs`): the crates that
//! could do it either sign URLs only, and never the payload (`rusty-s3`, which also brings a URL parser with ICU), or bring
//! a second HTTP stack or runtime (`object_store`, `aws-sigv4`).
//!
//! Bodies carry no checksum besides the signed SHA-256, which stores compare with what arrived. Without it, TLS protects
//! the bytes on the way; and whoever reads them hashes them.

mod address;
mod answer;
mod credentials;
mod error;
mod objects;
pub mod probe;
mod refusal;
mod requests;
pub mod rules;
mod s3;
mod settings;
mod sign;
mod xml;

use crate::client::Backoff;
pub use address::Address;
pub use credentials::{Credentials, CredentialsError};
pub use error::{BucketError, Refusal};
pub use objects::{
    Creation, Headers, Listed, Listing, MAX_KEY_BYTES, MAX_LISTED, Object, Objects, Replacement, Tag,
    TagStyle, check_key,
};
pub use requests::{Counts, Ended, LATENCY_BOUNDS_MS, Operation, Requests};
pub use s3::S3;
use settings::set;
pub use settings::{StoreOptions, Variables, process_variables};

#[cfg(test)]
pub(crate) mod tests;
