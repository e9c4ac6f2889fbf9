//! The manifest that an endpoint remembers of a channel.
//!
//! ```text
//! <SHA-256 of the rest, hex>
//! treehead-remembered-manifest@v1
//! origin <the log>
//! index <leaf index of the release>
//! leaf <leaf hash of the release, 64 hex digits>
//! publisher <name>
//! package <purl without a version>
//! channel <channel>
//! sequence <number>
//! <the manifest file>
//! ```

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::VerifiedRelease;
use crate::format::{FormatError, cap, checksum, decimal, quote};
use crate::merkle::{Hash, LeafIndex};
use crate::release::{FileManifest, MAX_MANIFEST_BYTES, Track};

const HEADER: &str = "treehead-remembered-manifest@v1";
const WHAT: &str = "a remembered manifest";
/// Bytes before the manifest: names and numbers of a release.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Largest file, in bytes.
pub const MAX_REMEMBERED_MANIFEST_BYTES: usize = MAX_MANIFEST_BYTES + MAX_HEAD_BYTES;

/// A manifest, and the accepted release that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedManifest {
    /// The log.
    pub origin: String,
    /// Leaf index of the release.
    pub index: LeafIndex,
    /// Leaf hash of the release.
    pub leaf: Hash,
    /// Its publisher.
    pub publisher: String,
    /// Its package, without the version.
    pub package: String,
    /// Its channel.
    pub channel: String,
    /// Its sequence number.
    pub sequence: u64,
    /// Its files.
    pub manifest: FileManifest,
}

impl RememberedManifest {
    /// Binds a manifest to the release that it was verified against.
    #[must_use]
    pub fn new(release: &VerifiedRelease, manifest: FileManifest) -> Self {
        let statement = release.release();
        Self {
            origin: release.head().get().origin.to_string(),
            index: release.index(),
            leaf: *release.leaf(),
            publisher: release.publisher().into(),
            package: statement.purl.package(),
            channel: statement.channel.clone(),
            sequence: statement.sequence,
            manifest,
        }
    }

    /// Publisher, package and channel.
    #[must_use]
    pub fn track(&self) -> Track {
        Track::new(&self.publisher, &self.package, &self.channel)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`FormatError`] if it is damaged.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(WHAT, bytes.len(), MAX_REMEMBERED_MANIFEST_BYTES)?;
        let mut rest = checksum::check(WHAT, bytes)?;
        let mut next = |key: &'static str| {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            rest = after;
            let value = line.strip_prefix(key);
            value.ok_or_else(|| FormatError::malformed(WHAT, format!("a line `{key}...`"), quote(line)))
        };
        let number = |text: &str| {
            let number = decimal(text, i64::MAX.unsigned_abs());
            number.ok_or_else(|| FormatError::malformed(WHAT, "a number", quote(text)))
        };
        if !next(HEADER)?.is_empty() {
            return Err(FormatError::malformed(WHAT, HEADER, "another version"));
        }
        let origin = next("origin ")?.into();
        let index = number(next("index ")?)?;
        let index = LeafIndex::new(index);
        let index = index.ok_or_else(|| FormatError::malformed(WHAT, "a leaf index", "a larger number"))?;
        let leaf = Hash::from_hex(next("leaf ")?)?;
        let publisher = next("publisher ")?.into();
        let package = next("package ")?.into();
        let channel = next("channel ")?.into();
        let sequence = number(next("sequence ")?)?;
        let manifest = FileManifest::parse(rest.as_bytes())?;
        Ok(Self { origin, index, leaf, publisher, package, channel, sequence, manifest })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { origin, index, leaf, publisher, package, channel, sequence, manifest } = self;
        checksum::add(&format!(
            "{HEADER}\norigin {origin}\nindex {index}\nleaf {}\npublisher {publisher}\npackage {package}\nchannel {channel}\nsequence {sequence}\n{manifest}",
            leaf.to_hex()
        ))
    }
}
