//! in-toto `ResourceDescriptor`s, in predicates that are not our own.
//!
//! ```text
//! {"digest":{"gitCommit":"<hex>", "sha256":"<hex>", ...},"name":"scanner.bin","uri":"git+https://..."}
//! ```
//!
//! Each field is optional and other fields are ignored, but one of `uri`, `digest` and `content` is required.

use alloc::string::String;
use alloc::vec::Vec;

use super::{MAX_SUBJECTS, check_text};
use crate::format::{FormatError, cap_count, quote};
use crate::merkle::Hash;
use crate::release::json::{Fields, Json, describe};

/// A subject or a dependency that is described rather than named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name, unique in the statement.
    pub name: Option<String>,
    /// Its URI.
    pub uri: Option<String>,
    /// Digests by algorithm, such as `gitCommit`, sorted. `sha256` is 64 lower-case hex digits; the form of others depends on the
    /// algorithm.
    pub digests: Vec<(String, String)>,
}

impl Resource {
    /// Parses the subjects of a statement, 1 to [`MAX_SUBJECTS`]. Each MUST have a digest (in-toto
    /// Statement v1).
    pub(super) fn subjects(what: &'static str, statement: &mut Fields<'_>) -> Result<Vec<Self>, FormatError> {
        let subjects = statement.array("subject")?;
        cap_count(what, "subjects", subjects.len(), MAX_SUBJECTS)?;
        if subjects.is_empty() {
            return Err(FormatError::malformed(what, "at least one subject", "none"));
        }
        Self::read_all(what, "subject[]", subjects, true)
    }

    pub(super) fn read_all(
        what: &'static str,
        place: &'static str,
        values: Vec<Json<'_>>,
        with_digest: bool,
    ) -> Result<Vec<Self>, FormatError> {
        values.into_iter().map(|value| Self::read(Fields::new(what, place, value)?, with_digest)).collect()
    }

    pub(super) fn read(fields: Fields<'_>, with_digest: bool) -> Result<Self, FormatError> {
        let mut fields = fields.without_unset();
        let name = fields.optional_string("name")?;
        let uri = fields.optional_string("uri")?;
        let mut digests = Vec::new();
        if let Some(digest) = fields.optional_object("digest")? {
            for (algorithm, value) in digest.rest() {
                let Json::String(value) = value else {
                    let expected = format!("digest.{} to be a string", quote(&algorithm));
                    return Err(fields.wrong("digest", &expected, &describe(&value)));
                };
                check_text("a digest", &algorithm)?;
                check_text("a digest", &value)?;
                if algorithm == "sha256" {
                    Hash::from_hex(&value)?;
                }
                digests.push((algorithm.into_owned(), value.into_owned()));
            }
        }
        // So that two of them can be compared, in whatever order they were written.
        digests.sort_unstable();
        if with_digest && digests.is_empty() {
            return Err(fields.wrong("digest", "to be there", "nothing"));
        }
        if uri.is_none() && digests.is_empty() && fields.optional("content").is_none() {
            return Err(fields.wrong("uri", "or a digest or content to be there", "none of them"));
        }
        name.as_deref().map_or(Ok(()), |name| check_text("the name of a resource", name))?;
        uri.as_deref().map_or(Ok(()), |uri| check_text("the uri of a resource", uri))?;
        Ok(Self { name, uri, digests })
    }

    pub(super) fn to_json(&self) -> Json<'static> {
        let mut fields = Vec::new();
        fields.extend(self.name.as_deref().map(|name| ("name".into(), Json::string(name))));
        fields.extend(self.uri.as_deref().map(|uri| ("uri".into(), Json::string(uri))));
        let digest = |(algorithm, value): &(String, String)| (algorithm.clone().into(), Json::string(value));
        if !self.digests.is_empty() {
            fields.push(("digest".into(), Json::Object(self.digests.iter().map(digest).collect())));
        }
        Json::Object(fields)
    }

    /// Its SHA-256, if it has one.
    #[must_use]
    pub fn sha256(&self) -> Option<Hash> {
        let (_, value) = self.digests.iter().find(|(algorithm, _)| algorithm == "sha256")?;
        Hash::from_hex(value).ok()
    }
}
