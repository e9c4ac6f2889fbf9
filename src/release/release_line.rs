//! Releases as lines of JSON, which build pipelines write: for `treehead publish --from`, and for a monitor's list of
//! expected releases.
//!
//! ```text
//! {"purl":"pkg:generic/example/scanner@4.2.0","kind":"build","channel":"stable","sequence":42,
//!  "artifacts":[{"name":"scanner-4.2.0.tar.gz","sha256":"<64 hex digits>"}],
//!  "source":"URI@ALGORITHM:HEX","audience":"..."}                   both optional
//! ```

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;

use super::{Kind, MAX_ENTRY_BYTES, Purl, Release, Source, Subject};
use crate::format::{FormatError, byte_order_mark, cap, quote, without_mark};
use crate::merkle::Hash;

/// Longest line, in bytes: no release that fits in an entry has a longer one.
pub const MAX_RELEASE_LINE_BYTES: usize = 2 * MAX_ENTRY_BYTES;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    purl: String,
    kind: String,
    channel: String,
    sequence: u64,
    artifacts: Vec<Artifact>,
    source: Option<String>,
    audience: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifact {
    name: String,
    sha256: String,
}

impl Release {
    /// Parses a line without its newline; returns `None` if the line is blank.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the object shown above, and for a release that no statement may contain.
    pub fn parse_line(line: &[u8]) -> Result<Option<Self>, FormatError> {
        const WHAT: &str = "a release";
        // Some editors write a byte order mark, and a file may be a concatenation of others.
        let line = without_mark(line).trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        cap(WHAT, line.len(), MAX_RELEASE_LINE_BYTES)?;
        let wrong = |expected: &str, seen: &str| FormatError::malformed(WHAT, expected, seen);
        if let Some(mark) = byte_order_mark(line) {
            return Err(wrong("UTF-8", mark));
        }
        let line: Line = serde_json::from_slice(line).map_err(|e| {
            wrong("a JSON object with purl, kind, channel, sequence and artifacts", &e.to_string())
        })?;
        let subject = |artifact: Artifact| {
            Ok::<_, FormatError>(Subject { sha256: Hash::from_hex(&artifact.sha256)?, name: artifact.name })
        };
        let release = Self {
            subjects: line.artifacts.into_iter().map(subject).collect::<Result<_, _>>()?,
            purl: Purl::parse(&line.purl)?,
            kind: Kind::parse(&line.kind).ok_or_else(|| {
                wrong("kind to be build, update, detection-rules or trust", &quote(&line.kind))
            })?,
            channel: line.channel,
            sequence: line.sequence,
            source: line.source.as_deref().map(Source::parse).transpose()?.map(Box::new),
            manifest: None,
            audience: line.audience,
            location: None,
            log: None,
        };
        release.to_payload()?; // says what is wrong with the rest
        Ok(Some(release))
    }
}

impl Source {
    /// Parses `URI@ALGORITHM:HEX`.
    ///
    /// # Errors
    /// [`FormatError`] for any other form. URI and digest themselves are checked with the release.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let parts = text.rsplit_once('@').and_then(|(uri, digest)| Some((uri, digest.split_once(':')?)));
        let (uri, (algorithm, value)) = parts.ok_or_else(|| {
            let expected = "URI@ALGORITHM:HEX, as in git+https://example.com/scanner@gitCommit:<hex>";
            FormatError::malformed("a source", expected, quote(text))
        })?;
        Ok(Self { uri: uri.to_owned(), digest: (algorithm.to_owned(), value.to_owned()) })
    }
}
