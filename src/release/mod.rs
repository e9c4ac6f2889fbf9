//! Signed statements, which are what a leaf says, and the publishers who may make them.
//!
//! ```text
//! entry        bytes -> Envelope -> VerifiedStatement                        Publishers::verify
//! submission   bytes -> SubmittedEnvelope -> (Envelope, VerifiedStatement)   Publishers::admit
//! ```
//!
//! An [`Envelope`] is well-formed; a [`VerifiedStatement`] is signed by publishers with the right to its package. Only
//! these two functions make one.

mod admit;
mod describe;
mod envelope;
mod facts;
mod found;
mod gaps;
mod json;
mod keys;
mod manifest;
mod pem;
mod profile;
mod publishers;
mod purl;
mod release_line;
mod sigstore;
mod statement;
mod submission;
mod timestamp;
mod verify;
mod withdrawn;

pub use admit::KeySearch;
pub use describe::Description;
pub use envelope::{Envelope, MAX_ENVELOPE_SIGNATURES, MAX_SUBMISSION_BYTES, PAYLOAD_TYPE, PublisherSigner};
pub use facts::{Claim, Edition, EntryValues, Facts, SearchField, Term, Track};
pub use found::{Found, FoundPage, FoundRow, MAX_PAGE_BYTES, MAX_PAGES, PageError};
pub use gaps::SequenceSteps;
pub(crate) use json::{Fields, MAX_INTEGER, json, object};
pub use json::{Json, ToJson};
pub use keys::{KeyFamily, MAX_KEY_BYTES, PublicKey, family_of_signature, is_public_key_text};
pub(crate) use manifest::parse_file;
pub use manifest::{
    Change, DELTA_EXTENSION, DELTA_HEADER, DeltaError, FileManifest, MANIFEST_EXTENSION, MANIFEST_HEADER,
    MAX_MANIFEST_BYTES, MAX_PATH_BYTES, ManifestDelta, check_apart, check_path,
};
#[cfg(feature = "cli")]
pub(crate) use pem::private_block;
pub use profile::Profile;
pub use publishers::{
    LostKey, MAX_PUBLISHERS_BYTES, NewPublisher, Publisher, PublisherKey, Publishers, check_publisher_name,
};
pub use purl::{PackageUrl, Purl, PurlPattern};
pub use release_line::MAX_RELEASE_LINE_BYTES;
pub use sigstore::{SigstoreBundle, read_bundles};
pub use statement::{
    Attestation, CarriedEnvelope, Commitment, Disclosure, Document, Imported, Kind, MAX_COMMITMENTS,
    MAX_FINDING_BYTES, MAX_REASON_BYTES, MAX_SUBJECTS, ManifestRef, Opening, Provenance, Reference, Release,
    Report, Resource, Review, ReviewResult, ReviewScope, Shown, Signer, Source, Statement, StatementKind,
    Subject, TestResult, VerificationResult, VerificationSummary, Withdrawal,
};
pub use submission::{SubmittedEnvelope, SubmittedSignature};
pub use timestamp::{Timestamp, format_time, parse_time};
pub use verify::{StatementCode, StatementError, VerifiedStatement, check_log};
pub use withdrawn::{WithdrawalCode, WithdrawalError};

/// Most bytes in an entry: the length in an entry bundle is a `u16`.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

#[cfg(test)]
pub(crate) mod tests;
