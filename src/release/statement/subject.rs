//! Artifacts by name and SHA-256, in our own predicates.

use alloc::collections::BinaryHeap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{MAX_SUBJECTS, check_text};
use crate::format::{FormatError, cap_count, quote, repeated};
use crate::merkle::Hash;
use crate::release::json::{Fields, Json};

/// An artifact of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// File name as it would appear on disk; unique in its statement.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Hash,
}

impl Subject {
    /// Parses the subjects of a statement. Other digests and annotations are ignored.
    pub(super) fn read_all(what: &'static str, statement: &mut Fields<'_>) -> Result<Vec<Self>, FormatError> {
        Self::read_located(what, statement).map(|(subjects, _)| subjects)
    }

    /// Like [`read_all`](Self::read_all), with the `downloadLocation` of the only subject. One that is not text is ignored:
    /// nothing depends on it.
    pub(super) fn read_located(
        what: &'static str,
        statement: &mut Fields<'_>,
    ) -> Result<(Vec<Self>, Option<String>), FormatError> {
        let subjects = statement.array("subject")?;
        cap_count(what, "subjects", subjects.len(), MAX_SUBJECTS)?;
        let is_only = subjects.len() == 1;
        let (mut read, mut location) = (Vec::with_capacity(subjects.len()), None);
        for value in subjects {
            let mut subject = Fields::new(what, "subject[]", value)?;
            let name = subject.string("name")?;
            let sha256 = Hash::from_hex(&subject.object("digest")?.text("sha256")?)?;
            read.push(Self { name, sha256 });
            if is_only && let Some(Json::String(text)) = subject.optional("downloadLocation") {
                location = Some(text.into_owned()).filter(|text| check_text(what, text).is_ok());
            }
        }
        Ok((read, location))
    }

    /// A hash of the artifacts' digests, independent of names and order.
    #[must_use]
    pub fn digest_of_all(subjects: &[Self]) -> Hash {
        if let [one] = subjects {
            return Hash::digest(one.sha256.as_bytes());
        }
        let digests: BinaryHeap<&[u8]> =
            subjects.iter().map(|subject| &subject.sha256.as_bytes()[..]).collect();
        let mut digests = digests.into_sorted_vec();
        digests.dedup();
        Hash::digest(&digests.concat())
    }

    /// Checks what the shape does not determine.
    pub(super) fn check_all(what: &'static str, subjects: &[Self]) -> Result<(), FormatError> {
        cap_count(what, "subjects", subjects.len(), MAX_SUBJECTS)?;
        if subjects.is_empty() {
            return Err(FormatError::malformed(what, "at least one subject", "none"));
        }
        subjects.iter().try_for_each(|subject| check_text("the name of a subject", &subject.name))?;
        match repeated(subjects.iter().map(|subject| subject.name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let seen = format!("{} twice", quote(name));
                Err(FormatError::malformed(what, "each subject name once", seen))
            }
        }
    }

    pub(super) fn to_json(&self, location: Option<&str>) -> Json<'static> {
        let digest = Json::object([("sha256", Json::string(&self.sha256.to_hex()))]);
        let mut fields = vec![("name".into(), Json::string(&self.name)), ("digest".into(), digest)];
        fields.extend(location.map(|location| ("downloadLocation".into(), Json::string(location))));
        Json::Object(fields)
    }
}
