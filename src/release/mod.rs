//! What a leaf says: a signed release statement in canonical JSON.
//!
//! `bytes -> Envelope -> SpokenRelease`: an [`Envelope`] is well-formed, a [`SpokenRelease`] is
//! signed by publishers that may speak for its package; only [`Publishers::verify`] makes one.

mod envelope;
mod facts;
mod json;
mod publishers;
mod purl;
mod statement;
mod timestamp;

pub use envelope::{Envelope, MAX_ENVELOPE_SIGNATURES, MAX_SUBMISSION_BYTES, PAYLOAD_TYPE, PublisherSigner};
pub use facts::{Claim, EntryValues, Facts, SearchField, Term};
pub use publishers::{
    MAX_PUBLISHERS_BYTES, NewPublisher, Publisher, PublisherKey, Publishers, SpeakError, SpokenRelease,
};
pub use purl::{Purl, PurlPattern};
pub use statement::{Kind, MAX_SUBJECTS, ManifestRef, Release, Source, Subject};
pub use timestamp::{Timestamp, format_time, parse_time};

/// Most bytes in an entry: the length in an entry bundle is a `u16`.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

#[cfg(test)]
pub(crate) mod tests;
