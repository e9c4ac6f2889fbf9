//! in-toto `ResourceDescriptor`s, as the predicates of others have them.
//!
//! ```text
//! {"digest":{"gitCommit":"<hex>", "sha256":"<hex>", ...},"name":"scanner.bin","uri":"git+https://..."}
//! ```
//!
//! Each field is optional, and others may be there; one of `uri`, `digest` and `content` has to be.

use alloc::string::String;
use alloc::vec::Vec;

use super::{MAX_SUBJECTS, check_text};
use crate::format::{FormatError, cap_count, quote};
use crate::merkle::Hash;
use crate::release::json::{Fields, Json, describe};

/// Something that a statement of others is about, or rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What tells it from the others in its statement.
    pub name: Option<String>,
    /// What it is everywhere.
    pub uri: Option<String>,
    /// Digests by algorithm, as in `gitCommit` and a commit; their spelling is the algorithm's, but
    /// for `sha256`, which is 64 lower-case hex digits.
    pub digests: Vec<(String, String)>,
}

impl Resource {
    /// Takes the subjects of a statement, 1 to [`MAX_SUBJECTS`]. Each MUST have a digest (in-toto
    /// Statement v1).
    pub(super) fn subjects(what: &'static str, statement: &mut Fields) -> Result<Vec<Self>, FormatError> {
        let subjects = statement.array("subject")?;
        cap_count(what, "subjects", subjects.len(), MAX_SUBJECTS)?;
        if subjects.is_empty() {
            return Err(FormatError::malformed(what, "at least one subject", "none"));
        }
        Self::read_all(what, "subject[]", subjects, true)
    }

    pub(super) fn read_all(
        what: &'static str,
        place: &str,
        values: Vec<Json>,
        with_digest: bool,
    ) -> Result<Vec<Self>, FormatError> {
        values.into_iter().map(|value| Self::read(Fields::new(what, place, value)?, with_digest)).collect()
    }

    pub(super) fn read(fields: Fields, with_digest: bool) -> Result<Self, FormatError> {
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
                digests.push((algorithm, value));
            }
        }
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

    /// Its SHA-256, if that is among its digests.
    #[must_use]
    pub fn sha256(&self) -> Option<Hash> {
        let (_, value) = self.digests.iter().find(|(algorithm, _)| algorithm == "sha256")?;
        Hash::from_hex(value).ok()
    }
}
