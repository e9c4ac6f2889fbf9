//! Attestations of which the log reads little: lists of components, statements about vulnerabilities, test results,
//! references to documents, and every predicate type that has no file of its own here.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{"attester":{"id":"https://..."},
//!   "references":[{"digest":{"sha256":"<hex>"},"downloadLocation":"https://...","mediaType":"application/spdx+json"}]},
//!  "predicateType":"https://in-toto.io/attestation/reference/v0.1",
//!  "subject":[{"digest":{"sha256":"<hex>"},"name":"scanner.bin"}, ...]}
//! ```
//!
//! A document that is too large for an entry is stated by a reference, as above, which names it by digest. What it
//! is follows from the media types: a reference to SPDX is as good as SPDX itself, and needs the same right.
//!
//! Unknown fields are ignored, as in-toto demands.

use alloc::string::String;
use alloc::vec::Vec;

use super::kind::is_predicate_type;
use super::{Purl, Resource, StatementKind, check_text, purls_in};
use crate::format::{FormatError, cap_count, names, quote};
use crate::merkle::Hash;
use crate::release::json::{Fields, Json};

pub(super) const REFERENCE: &str = "https://in-toto.io/attestation/reference/v0.1";
/// Most documents in a reference.
const MAX_DOCUMENTS: usize = 64;

names! {
    /// The result of a run of tests.
    TestResult {
        /// All passed.
        Passed => "PASSED",
        /// All passed, some with warnings.
        Warned => "WARNED",
        /// Some failed.
        Failed => "FAILED",
    }
}

/// A document that a statement refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Name, URI and digests.
    pub resource: Resource,
    /// Its location, as the statement says: `downloadLocation`.
    pub location: String,
    /// Its type, such as `application/spdx+json`.
    pub media_type: String,
}

/// An attestation, as far as this log reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// [`Sbom`](StatementKind::Sbom), [`Vex`](StatementKind::Vex), [`TestResult`](StatementKind::TestResult) or
    /// [`Other`](StatementKind::Other).
    pub kind: StatementKind,
    /// The predicate type.
    pub predicate_type: String,
    /// The artifacts, 1 to [`MAX_SUBJECTS`](super::MAX_SUBJECTS), each with a digest.
    pub subjects: Vec<Resource>,
    /// The documents that a reference names; otherwise none, because the predicate is the document.
    pub documents: Vec<Document>,
    /// Whoever the predicate names as its author: `attester.id` of a reference, `author` of `OpenVEX`.
    pub author: Option<String>,
    /// The result of a test.
    pub result: Option<TestResult>,
    purls: Vec<Purl>,
}

impl Attestation {
    const WHAT: &str = "an attestation";

    pub(super) fn read(predicate_type: &str, statement: Fields<'_>) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        if !is_predicate_type(predicate_type) {
            let expected =
                "to be the URI of a predicate type that is known here, or of one that is not this program's";
            return Err(statement.wrong("predicateType", expected, &quote(predicate_type)));
        }
        let subjects = Resource::subjects(Self::WHAT, &mut statement)?;
        let purls = purls_in(None, &subjects)?;
        let kind = StatementKind::of_type(predicate_type);
        let (documents, author, result) = (Vec::new(), None, None);
        let attestation =
            Self { kind, predicate_type: predicate_type.into(), subjects, documents, author, result, purls };
        match (&attestation.kind, predicate_type) {
            (StatementKind::TestResult, _) => attestation.read_test(statement.object("predicate")?),
            (StatementKind::Vex, _) => attestation.read_vex(statement.object("predicate")?),
            (_, REFERENCE) => attestation.read_reference(statement.object("predicate")?),
            // Some tools write SPDX as a string, and in-toto lets a predicate be missing.
            _ => Ok(attestation),
        }
    }

    fn read_test(self, mut predicate: Fields<'_>) -> Result<Self, FormatError> {
        let result = predicate.text("result")?;
        let result = TestResult::parse(&result)
            .ok_or_else(|| predicate.wrong("result", "to be PASSED, WARNED or FAILED", &quote(&result)))?;
        let configuration = predicate.array("configuration")?;
        for (at, item) in configuration.into_iter().enumerate() {
            Fields::new(Self::WHAT, format!("predicate.configuration[{at}]"), item)?;
        }
        Ok(Self { result: Some(result), ..self })
    }

    fn read_vex(self, mut predicate: Fields<'_>) -> Result<Self, FormatError> {
        predicate.array("statements")?;
        let author = predicate.optional_string("author")?;
        author.as_deref().map_or(Ok(()), |author| check_text("the author of a statement", author))?;
        Ok(Self { author, ..self })
    }

    fn read_reference(self, mut predicate: Fields<'_>) -> Result<Self, FormatError> {
        let author = predicate.object("attester")?.string("id")?;
        check_text("the id of an attester", &author)?;
        let references = predicate.array("references")?;
        cap_count(Self::WHAT, "references", references.len(), MAX_DOCUMENTS)?;
        let read = |item| Document::read(Fields::new(Self::WHAT, "predicate.references[]", item)?);
        let documents = references.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if documents.is_empty() {
            return Err(FormatError::malformed(Self::WHAT, "at least one reference", "none"));
        }
        // Whoever may state one of them may not state another one with it.
        let mut kinds = documents.iter().map(|document| kind_of_media(&document.media_type));
        let first = kinds.next().flatten();
        let kind = first.filter(|first| kinds.all(|kind| kind.as_ref() == Some(first)));
        let kind = kind.unwrap_or(self.kind);
        Ok(Self { kind, documents, author: Some(author), ..self })
    }

    /// Every package and version that the `uri` or the name of a subject says, each once.
    #[must_use]
    pub const fn purls(&self) -> &[Purl] {
        self.purls.as_slice()
    }
}

impl Document {
    fn read(mut fields: Fields<'_>) -> Result<Self, FormatError> {
        let (location, media_type) = (fields.string("downloadLocation")?, fields.string("mediaType")?);
        check_text("the downloadLocation of a document", &location)?;
        check_text("the mediaType of a document", &media_type)?;
        Ok(Self { resource: Resource::read(fields, true)?, location, media_type })
    }
}

/// The kind of a document of this media type. Parameters such as `version=1.6` don't count.
fn kind_of_media(media_type: &str) -> Option<StatementKind> {
    match media_type.split(';').next().unwrap_or_default().trim_ascii() {
        "application/spdx+json"
        | "text/spdx"
        | "application/vnd.cyclonedx+json"
        | "application/vnd.cyclonedx+xml" => Some(StatementKind::Sbom),
        "application/vnd.openvex+json" | "application/openvex+json" => Some(StatementKind::Vex),
        _ => None,
    }
}

/// A reference to one document, to be signed.
#[derive(Debug)]
pub struct Reference<'a> {
    /// The artifacts that the document is about.
    pub subjects: &'a [Resource],
    /// URI of whoever states it.
    pub attester: &'a str,
    /// SHA-256 of the document.
    pub sha256: Hash,
    /// URI at which it lies.
    pub location: &'a str,
    /// Its media type.
    pub media_type: &'a str,
}

impl Reference<'_> {
    /// The payload to sign, in canonical JSON.
    ///
    /// # Errors
    /// [`FormatError`] for what [`Statement::parse`](super::Statement::parse) would reject.
    pub fn to_payload(&self) -> Result<Vec<u8>, FormatError> {
        let string = Json::string;
        let document = Json::object([
            ("digest", Json::object([("sha256", string(&self.sha256.to_hex()))])),
            ("downloadLocation", string(self.location)),
            ("mediaType", string(self.media_type)),
        ]);
        let predicate = Json::object([
            ("attester", Json::object([("id", string(self.attester))])),
            ("references", Json::Array(vec![document])),
        ]);
        super::Statement::attestation(REFERENCE, &predicate.to_canonical(), self.subjects)
    }
}
