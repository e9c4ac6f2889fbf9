//! A client for object stores with conditional writes, such as S3. It knows nothing about logs.
//!
//! [`Objects`] is the contract. [`S3`] implements it over the client's HTTP. The [`probe`] finds out whether a store
//! keeps its promises. `sign.rs` signs requests with Signature Version 4 in headers. No crate fits: `rusty-s3` signs
//! only URLs, never the payload, and adds a URL parser with ICU; `object_store` and `aws-sigv4` add a second HTTP stack
//! or runtime.
//!
//! A request body has no checksum other than its signed SHA-256, which the store compares with the bytes received. With
//! unsigned payloads, TLS protects the bytes in transit. Readers hash what they read.

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
