//! Releases: the in-toto `release` predicate and our extension.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{"purl":"pkg:...@1.2.3",
//!   "treehead":{"audience":"...", "channel":"stable", "kind":"build", "log":"log.example.com/releases",
//!               "manifest":{"files":3,"root":"<hex>"}, "sequence":7,
//!               "source":{"digest":{"gitCommit":"<hex>"},"uri":"git+https://..."}}},
//!  "predicateType":"https://in-toto.io/attestation/release/v0.2",
//!  "subject":[{"digest":{"sha256":"<hex>"},"downloadLocation":"https://...","name":"scanner.bin"}]}
//! ```
//!
//! `downloadLocation` is in-toto's, and optional; it is read where there is one subject.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Purl, Subject, check_text, open_as, to_payload_of};
use crate::format::{FormatError, names, quote};
use crate::merkle::Hash;
use crate::release::facts::hash_joined;
use crate::release::json::{Fields, Json, MAX_INTEGER};

pub(super) const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/release/v0.2";
/// Longest channel name.
const MAX_CHANNEL_BYTES: usize = 64;

names! {
    /// The kind of release; publishers have rights for each kind.
    Kind {
        /// A program, library or package.
        Build => "build",
        /// A change to an installed build.
        Update => "update",
        /// Detection rules, signatures, models: data that decides what a scanner does.
        DetectionRules => "detection-rules",
        /// A trust file, which replaces the one with the number before.
        Trust => "trust",
    }
}

/// The source of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its URI, such as `git+https://example.com/scanner`.
    pub uri: String,
    /// Digest algorithm, such as `gitCommit`, and lower-case hex value.
    pub digest: (String, String),
}

/// The manifest tree of a release of many files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestRef {
    /// Root of the manifest tree.
    pub root: Hash,
    /// Number of files: the root alone does not determine it.
    pub files: u64,
}

/// A release statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The artifacts, 1 to [`MAX_SUBJECTS`](super::MAX_SUBJECTS).
    pub subjects: Vec<Subject>,
    /// Package and version.
    pub purl: Purl,
    /// The kind of release.
    pub kind: Kind,
    /// The channel, such as `stable` or `beta`: 1 to 64 characters of `a-z0-9._-`.
    pub channel: String,
    /// A counter that only grows for each publisher, package and channel; at most 2^53 - 1.
    pub sequence: u64,
    /// The source from which it was built.
    pub source: Option<Box<Source>>,
    /// The manifest, for a release of many files.
    pub manifest: Option<ManifestRef>,
    /// The audience, if the release is not meant for everyone.
    pub audience: Option<String>,
    /// An address of the artifact, if there is only one. It is a hint, not a part of the claim.
    pub location: Option<String>,
    /// Origin of the only log that it is for: no other log admits it, and no endpoint trusts it in another log. If there
    /// is none, anyone may submit it to any log.
    pub log: Option<String>,
}

impl Release {
    const WHAT: &str = "a release statement";

    /// Parses the payload of an envelope.
    ///
    /// Unknown fields of the statement and of the in-toto predicate are ignored, as in-toto demands. In our own extension
    /// they are rejected, because ignoring them is not always safe: a release with a misspelt `audience` or `log` would be
    /// for everyone, or for any log.
    ///
    /// # Errors
    /// [`FormatError`] unless it is strict JSON of the shape shown above.
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        open_as(Self::WHAT, payload, PREDICATE_TYPE).and_then(Self::read)
    }

    pub(super) fn read(statement: Fields<'_>) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        let (subjects, location) = Subject::read_located(Self::WHAT, &mut statement)?;
        let mut predicate = statement.object("predicate")?;
        let purl = Purl::parse_logged(&predicate.text("purl")?)?;
        let mut ours = predicate.object("treehead")?;
        let kind = ours.text("kind")?;
        let kind = Kind::parse(&kind).ok_or_else(|| {
            ours.wrong("kind", "to be build, update, detection-rules or trust", &quote(&kind))
        })?;
        let release = Self {
            subjects,
            purl,
            kind,
            channel: ours.string("channel")?,
            sequence: ours.integer("sequence")?,
            source: ours.optional_object("source")?.map(parse_source).transpose()?,
            manifest: ours.optional_object("manifest")?.map(parse_manifest).transpose()?,
            audience: ours.optional_string("audience")?,
            location,
            log: ours.optional_string("log")?,
        };
        ours.nothing_else()?;
        release.check()?;
        Ok(release)
    }

    /// Checks what the shape does not determine, both when a statement is parsed and when it is made.
    fn check(&self) -> Result<(), FormatError> {
        let wrong = |expected: &str, seen: String| FormatError::malformed(Self::WHAT, expected, seen);
        Subject::check_all(Self::WHAT, &self.subjects)?;
        let is_channel =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let channel = &self.channel;
        if channel.is_empty() || channel.len() > MAX_CHANNEL_BYTES || !channel.bytes().all(is_channel) {
            return Err(wrong(
                "a channel of 1 to 64 characters of a-z, 0-9, '.', '_' and '-'",
                quote(channel),
            ));
        }
        if self.sequence > MAX_INTEGER.unsigned_abs() {
            return Err(wrong("a sequence of at most 2^53 - 1", self.sequence.to_string()));
        }
        if let Some(source) = &self.source {
            let Source { uri, digest: (algorithm, value) } = &**source;
            check_text("the uri of a source", uri)?;
            let hex = value.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            let named =
                !algorithm.is_empty() && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !named || !hex || value.len() < 40 || value.len() > 128 {
                let seen = quote(&format!("{algorithm}:{value}"));
                return Err(wrong(
                    "a source digest such as gitCommit:<40 or 64 lower-case hex digits>",
                    seen,
                ));
            }
        }
        if self.manifest.is_some_and(|m| m.files == 0 || m.files > crate::merkle::MAX_MANIFEST_FILES as u64) {
            return Err(wrong("a manifest of 1 to 2^20 files", "another number".to_owned()));
        }
        self.audience.as_deref().map_or(Ok(()), |audience| check_text("an audience", audience))?;
        if let Some(location) = &self.location {
            if self.subjects.len() != 1 {
                return Err(wrong("one artifact, if it has a location", self.subjects.len().to_string()));
            }
            check_text("the location of an artifact", location)?;
        }
        self.log.as_deref().map_or(Ok(()), |log| check_text("the log of a statement", log))
    }

    /// The payload to sign, in canonical JSON.
    ///
    /// # Errors
    /// [`FormatError`] for what [`parse`](Self::parse) would reject.
    pub fn to_payload(&self) -> Result<Vec<u8>, FormatError> {
        self.check()?;
        let (string, integer) = (Json::string, Json::unsigned);
        let mut ours = vec![
            ("kind".into(), string(self.kind.as_str())),
            ("channel".into(), string(&self.channel)),
            ("sequence".into(), integer(self.sequence)),
        ];
        if let Some(source) = &self.source {
            let Source { uri, digest: (algorithm, value) } = &**source;
            let digest = Json::object([(algorithm.as_str(), string(value))]);
            ours.push(("source".into(), Json::object([("uri", string(uri)), ("digest", digest)])));
        }
        if let Some(ManifestRef { root, files }) = &self.manifest {
            let manifest = Json::object([("root", string(&root.to_hex())), ("files", integer(*files))]);
            ours.push(("manifest".into(), manifest));
        }
        if let Some(audience) = &self.audience {
            ours.push(("audience".into(), string(audience)));
        }
        if let Some(log) = &self.log {
            ours.push(("log".into(), string(log)));
        }
        let predicate =
            Json::object([("purl", string(self.purl.as_str())), ("treehead", Json::Object(ours))]);
        let located = |subject: &Subject| subject.to_json(self.location.as_deref());
        Ok(to_payload_of(PREDICATE_TYPE, predicate, self.subjects.iter().map(located).collect()))
    }

    /// A hash of the set of artifacts, independent of their order.
    #[must_use]
    pub fn artifacts(&self) -> Hash {
        let mut lines: BinaryHeap<String> =
            self.subjects.iter().map(|s| [&*s.name, &s.sha256.to_hex()].join("\0")).collect();
        lines.extend(self.manifest.map(|m| format!("\0{}\0{}", m.files, m.root.to_hex())));
        Hash::digest(lines.into_sorted_vec().join("\n").as_bytes())
    }
}

impl Release {
    /// A hash of the released bytes: the digests of the artifacts, independent of names and order, and the root of the
    /// manifest.
    #[must_use]
    pub fn bytes(&self) -> Hash {
        self.bytes_of(&Subject::digest_of_all(&self.subjects))
    }

    /// [`bytes`](Self::bytes), made from the [digest of all artifacts](Subject::digest_of_all).
    pub(in crate::release) fn bytes_of(&self, artifacts: &Hash) -> Hash {
        let manifest = self.manifest.map(|manifest| manifest.root.to_hex()).unwrap_or_default();
        hash_joined(&[&artifacts.to_hex(), &manifest])
    }

    /// A hash of the claim: a publisher that uses a sequence number again must make the same claim. It does not depend on
    /// the order of the artifacts, on unknown fields, or on whether the statement is for this log or for any.
    #[must_use]
    pub fn content(&self) -> Hash {
        // The pattern lists every field, so that a new one can't be forgotten. None of them may contain a NUL.
        let Self {
            subjects: _,
            manifest: _,
            location: _,
            log: _,
            purl,
            kind,
            channel,
            sequence,
            source,
            audience,
        } = self;
        let source = source
            .as_deref()
            .map(|Source { uri, digest: (algorithm, value) }| format!("{uri}\0{algorithm}:{value}"));
        let artifacts = self.artifacts().to_hex();
        let (source, audience) = (source.unwrap_or_default(), audience.as_deref().unwrap_or_default());
        let (purl, kind, sequence) = (purl.as_str(), kind.as_str(), sequence.to_string());
        hash_joined(&[&artifacts, purl, kind, channel, &sequence, audience, &source])
    }
}

fn parse_source(mut source: Fields<'_>) -> Result<Box<Source>, FormatError> {
    let uri = source.string("uri")?;
    let digest = source.object("digest")?;
    source.nothing_else()?;
    match <[_; 1]>::try_from(digest.rest()) {
        Ok([(algorithm, Json::String(value))]) => {
            Ok(Box::new(Source { uri, digest: (algorithm.into_owned(), value.into_owned()) }))
        }
        _ => Err(FormatError::malformed(
            Release::WHAT,
            "one digest in treehead.source.digest",
            "another number",
        )),
    }
}

fn parse_manifest(mut manifest: Fields<'_>) -> Result<ManifestRef, FormatError> {
    let parsed =
        ManifestRef { root: Hash::from_hex(&manifest.text("root")?)?, files: manifest.integer("files")? };
    manifest.nothing_else()?;
    Ok(parsed)
}
