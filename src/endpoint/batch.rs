//! Lines of JSON that name artifacts: questions of `treehead verify --batch`, and arrivals at `treehead gate --batch`.
//!
//! Each line is an object. Unknown and repeated members, `null` and empty strings are errors: a pin that a script misspelt
//! or left empty must not be ignored.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{OwnedPins, PackagePin};
use crate::format::{FormatError, cap, quote};
use crate::merkle::Hash;
use crate::release::Kind;

/// Largest line, in bytes.
pub const MAX_BATCH_LINE_BYTES: usize = 16 * 1024;

/// A line: what identifies it in the answer, and its content.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchLine<T> {
    /// The member `id`, a string or a number, as far as the line could be read.
    pub id: Option<Value>,
    /// Its content.
    pub content: Result<T, FormatError>,
}

/// The artifact of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchArtifact {
    /// Path of a file to hash.
    File(String),
    /// The SHA-256 that the writer of the line computed, and the path of the file, if there is one. It is not read.
    Digest(Hash, Option<String>),
}

/// A question of `treehead verify --batch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchQuestion {
    /// The artifact.
    pub artifact: BatchArtifact,
    /// Path of its proof file.
    pub proof: Option<String>,
    /// Which release is wanted.
    pub pins: OwnedPins,
    /// Most seconds since a quorum cosigned the tree head.
    pub max_age: Option<u64>,
}

/// An artifact that an installer hands to `treehead gate --batch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchArrival {
    /// The artifact.
    pub artifact: BatchArtifact,
    /// Path of its proof file.
    pub proof: Option<String>,
    /// Name of the artifact, if its file has another one.
    pub name: Option<String>,
    /// Name of the package, as the installer knows it.
    pub package: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its architecture.
    pub arch: Option<String>,
}

/// The members of a line, none of which may be `null`.
macro_rules! members {
    ($name:ident { $($field:ident: $type:ty,)* }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            $(#[serde(default, deserialize_with = "present")] $field: Option<$type>,)*
        }
    };
}

members! { QuestionText {
    id: Value, file: String, sha256: String, proof: String, name: String, purl: String, channel: String, kind: String,
    publisher: String, min_sequence: u64, audience: String, max_age: u64,
} }

members! { ArrivalText {
    id: Value, file: String, sha256: String, proof: String, name: String, package: String, version: String, arch: String,
} }

/// Refuses `null`, which serde would take for a member that is not there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl BatchLine<BatchQuestion> {
    /// Reads the line of a question.
    #[must_use]
    pub fn question(line: &[u8]) -> Self {
        const WHAT: &str = "a question";
        Self::read(
            WHAT,
            line,
            |text: &mut QuestionText| text.id.take(),
            |text| {
                let wrong = |expected: &str, seen: &str| FormatError::malformed(WHAT, expected, quote(seen));
                let kind = |kind: String| {
                    Kind::parse(&kind)
                        .ok_or_else(|| wrong("kind build, update, detection-rules or trust", &kind))
                };
                let texts = [&text.name, &text.channel, &text.publisher, &text.audience];
                check_texts(WHAT, [&text.file, &text.proof], texts)?;
                let pins = OwnedPins {
                    package: text.purl.map(|purl| PackagePin::parse(&purl)).transpose()?,
                    channel: text.channel,
                    kind: text.kind.map(kind).transpose()?,
                    publisher: text.publisher,
                    min_sequence: text.min_sequence,
                    audience: text.audience,
                    name: text.name,
                };
                let artifact = BatchArtifact::read(WHAT, text.file, text.sha256.as_deref())?;
                Ok(BatchQuestion { artifact, proof: text.proof, pins, max_age: text.max_age })
            },
        )
    }
}

impl BatchLine<BatchArrival> {
    /// Reads the line of an arrival.
    #[must_use]
    pub fn arrival(line: &[u8]) -> Self {
        const WHAT: &str = "an arrival";
        Self::read(
            WHAT,
            line,
            |text: &mut ArrivalText| text.id.take(),
            |text| {
                let texts = [&text.name, &text.package, &text.version, &text.arch];
                check_texts(WHAT, [&text.file, &text.proof], texts)?;
                let ArrivalText { proof, name, package, version, arch, .. } = text;
                let artifact = BatchArtifact::read(WHAT, text.file, text.sha256.as_deref())?;
                Ok(BatchArrival { artifact, proof, name, package, version, arch })
            },
        )
    }
}

impl<T> BatchLine<T> {
    /// A line that could not be read.
    #[must_use]
    pub const fn unread(error: FormatError) -> Self {
        Self { id: None, content: Err(error) }
    }

    fn read<R: DeserializeOwned>(
        what: &'static str,
        line: &[u8],
        id: impl FnOnce(&mut R) -> Option<Value>,
        content: impl FnOnce(R) -> Result<T, FormatError>,
    ) -> Self {
        let malformed =
            |expected: &str, seen: &str| Self::unread(FormatError::malformed(what, expected, seen));
        if let Err(error) = cap(what, line.len(), MAX_BATCH_LINE_BYTES) {
            return Self::unread(error);
        }
        // serde also reads an object from the list of its values.
        let read = if line.trim_ascii_start().starts_with(b"[") {
            Err("a list".to_owned())
        } else {
            serde_json::from_slice(line).map_err(|e| e.to_string())
        };
        let mut text: R = match read {
            Ok(text) => text,
            Err(seen) => return malformed("a JSON object as in docs/installers.md", &seen),
        };
        match id(&mut text) {
            Some(id) if !id.is_string() && !id.is_number() => {
                malformed("an id that is a string or a number", &quote(&id.to_string()))
            }
            id => Self { id, content: content(text) },
        }
    }
}

impl BatchArtifact {
    fn read(what: &'static str, file: Option<String>, sha256: Option<&str>) -> Result<Self, FormatError> {
        // Some tools print it in capitals.
        let digest = sha256.map(|hex| {
            let wrong = |_| FormatError::malformed(what, "a sha256 of 64 hex digits", quote(hex));
            Hash::from_hex(&hex.to_ascii_lowercase()).map_err(wrong)
        });
        match (digest.transpose()?, file) {
            (Some(digest), file) => Ok(Self::Digest(digest, file)),
            (None, Some(file)) => Ok(Self::File(file)),
            (None, None) => Err(FormatError::malformed(what, "a file or a sha256", "neither")),
        }
    }

    /// The path of the file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::File(file) => Some(file),
            Self::Digest(_, file) => file.as_deref(),
        }
    }
}

/// Rejects empty texts, and paths that no file can have.
fn check_texts(
    what: &'static str,
    paths: [&Option<String>; 2],
    texts: [&Option<String>; 4],
) -> Result<(), FormatError> {
    if paths.into_iter().chain(texts).flatten().any(String::is_empty) {
        return Err(FormatError::malformed(what, "no empty texts", quote("")));
    }
    if paths.into_iter().flatten().any(|path| path.contains('\0')) {
        return Err(FormatError::malformed(what, "paths", "one with a zero byte"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_all_that_a_question_can_pin() {
        let digest = Hash::digest(b"x");
        let line = format!(
            "{{\"id\":7,\"file\":\"a b\\\"c\",\"sha256\":\"{}\",\"proof\":\"p\",\"name\":\"n\",\"purl\":\"pkg:deb/a/b@1\",\"channel\":\"stable\",\"kind\":\"update\",\"publisher\":\"v\",\"min_sequence\":3,\"audience\":\"x\",\"max_age\":60}}",
            digest.to_hex().to_uppercase()
        );
        let BatchLine { id, content } = BatchLine::question(line.as_bytes());
        assert_eq!(id, Some(7.into()));
        let BatchQuestion { artifact, proof, pins, max_age } = content.unwrap();
        let expected = BatchArtifact::Digest(digest, Some("a b\"c".to_owned()));
        assert_eq!((artifact, proof.as_deref()), (expected, Some("p")));
        assert_eq!(
            (pins.pins().channel, pins.kind, max_age),
            (Some("stable"), Kind::parse("update"), Some(60))
        );
        assert!(matches!(pins.package, Some(PackagePin::Release(_))));
        let arrival = b"{\"id\":\"a\",\"file\":\"f\",\"package\":\"p\",\"version\":\"1:2\",\"arch\":\"all\",\"name\":\"n\"}";
        let BatchArrival { package, version, arch, name, .. } = BatchLine::arrival(arrival).content.unwrap();
        let texts = [package, version, arch, name].map(Option::unwrap);
        assert_eq!(texts, ["p", "1:2", "all", "n"]);
    }

    #[test]
    fn nothing_that_is_said_is_ignored() {
        for (line, seen) in [
            ("", "EOF"),
            ("[\"a\"]", "a list"),
            ("{}", "neither"),
            ("{\"file\":\"a\"} x", "trailing"),
            ("{\"file\":\"a\",\"chanel\":\"b\"}", "chanel"),
            ("{\"file\":\"a\",\"file\":\"b\"}", "duplicate"),
            ("{\"file\":\"a\",\"channel\":null}", "null"),
            ("{\"file\":\"a\",\"channel\":\"\"}", "\"\""),
            ("{\"file\":\"\"}", "\"\""),
            ("{\"file\":\"a\\u0000\"}", "zero byte"),
            ("{\"file\":\"a\",\"sha256\":\"00\"}", "\"00\""),
            ("{\"file\":\"a\",\"kind\":\"virus\"}", "virus"),
            ("{\"file\":\"a\",\"purl\":\"scanner\"}", "scanner"),
            ("{\"file\":\"a\",\"min_sequence\":-1}", "-1"),
            ("{\"file\":\"a\",\"id\":[]}", "[]"),
        ] {
            let error = BatchLine::question(line.as_bytes()).content.unwrap_err().to_string();
            assert!(error.contains(seen), "{line}: {error}");
        }
        let bad = BatchLine::question(b"{\"id\":\"x\",\"file\":\"a\",\"kind\":\"virus\"}");
        assert_eq!((bad.id, bad.content.is_err()), (Some("x".into()), true), "a bad line keeps its id");
        for line in ["{\"file\":\"a\",\"channel\":\"b\"}", "{\"file\":\"a\",\"version\":\"\"}"] {
            assert!(BatchLine::arrival(line.as_bytes()).content.is_err(), "{line}");
        }
        let long = format!("{{\"file\":\"{}\"}}", "a".repeat(MAX_BATCH_LINE_BYTES));
        assert!(matches!(BatchLine::question(long.as_bytes()).content, Err(FormatError::TooLarge { .. })));
    }
}
