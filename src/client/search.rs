//! Finding statements: `GET /releases`, which treehead logs have, but others may lack. Its answers are not proven.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{ClientError, LogClient};
use crate::format::{FormatError, cap_count};
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::proof::MAX_PROOF_FILE_BYTES;
use crate::release::Purl;

/// Rows to ask for at once.
const PAGE: usize = 100;
/// Most pages of one search: 2,000 statements that match all terms.
pub const MAX_PAGES: usize = 20;
/// Largest answer: most rows are below a kilobyte, and one of 256 artifacts with long names is not above
/// what an entry can hold.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of the answers of one search, which are held at once.
const MAX_SEARCH_BYTES: usize = 32 * 1024 * 1024;
const WHAT: &str = "the answer to a search";

/// Statements that a log says it found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Newest first.
    pub rows: Vec<FoundRow>,
    /// Value of `before` to continue the search, if [`MAX_PAGES`] or 32 MiB did not hold all of it.
    pub next: Option<u64>,
}

impl Found {
    /// Reports whether the search is complete.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.next.is_none()
    }
}

/// A log's description of a statement. Names and purls are unchecked foreign text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRow {
    /// Leaf index.
    pub index: LeafIndex,
    /// Leaf hash.
    pub leaf: Hash,
    /// `build`, `update` or `detection-rules` of a release, `withdrawal`, or another name.
    pub kind: String,
    /// Package and version.
    pub purl: Option<String>,
    /// Names of the signers.
    pub publishers: Vec<String>,
    /// A release's channel.
    pub channel: Option<String>,
    /// A release's sequence number.
    pub sequence: Option<u64>,
    /// SHA-256 of the artifacts.
    pub artifacts: Vec<Hash>,
    /// Set for a release that was withdrawn.
    pub is_withdrawn: bool,
}

impl FoundRow {
    /// Package and version, if the purl is well-formed.
    #[must_use]
    pub fn purl(&self) -> Option<Purl> {
        self.purl.as_deref().and_then(|purl| Purl::parse_logged(purl).ok())
    }
}

struct Page {
    rows: Vec<FoundRow>,
    /// The leaf to continue before, if there is more.
    next: Option<u64>,
    /// Size of the answer.
    bytes: usize,
}

#[derive(Deserialize)]
struct PageText {
    tree_size: u64,
    releases: Vec<RowText>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct RowText {
    index: u64,
    leaf_hash: String,
    kind: String,
    purl: Option<String>,
    #[serde(default)]
    publishers: Vec<String>,
    channel: Option<String>,
    sequence: Option<u64>,
    #[serde(default)]
    artifacts: Vec<ArtifactText>,
    #[serde(default)]
    withdrawn: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ArtifactText {
    sha256: String,
}

impl RowText {
    fn read(self) -> Result<FoundRow, FormatError> {
        let index = LeafIndex::new(self.index)
            .ok_or_else(|| FormatError::malformed(WHAT, "a leaf index below 2^63", self.index.to_string()))?;
        let artifacts = self.artifacts.iter().map(|artifact| Hash::from_hex(&artifact.sha256));
        Ok(FoundRow {
            index,
            leaf: Hash::from_hex(&self.leaf_hash)?,
            artifacts: artifacts.collect::<Result<_, _>>()?,
            kind: self.kind,
            purl: self.purl,
            publishers: self.publishers,
            channel: self.channel,
            sequence: self.sequence,
            is_withdrawn: !self.withdrawn.is_empty(),
        })
    }
}

impl LogClient {
    /// Finds the statements before leaf `before` that match all terms (field, value), up to [`MAX_PAGES`] pages and 32
    /// MiB of answers. `None` if the log has no search. Rejects an answer for a tree smaller than `tree`, the size of a
    /// head that the caller knows: a cache served it.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Older`] for an old answer.
    pub fn search(
        &self,
        terms: &[(&str, &str)],
        mut before: Option<u64>,
        tree: TreeSize,
    ) -> Result<Option<Found>, ClientError> {
        let (mut found, mut held) = (Found::default(), 0);
        for _ in 0..MAX_PAGES {
            let Some(Page { rows, next, bytes }) = self.search_page(terms, before, tree)? else {
                return Ok(None);
            };
            found.rows.extend(rows);
            if let (Some(before), Some(next)) = (before, next)
                && next >= before
            {
                let (expected, seen) = (format!("to go on before leaf {before}"), format!("leaf {next}"));
                let source = FormatError::malformed(WHAT, expected, seen);
                return Err(ClientError::Malformed { url: self.url("releases"), source });
            }
            (before, found.next) = (next, next);
            held += bytes;
            if next.is_none() || held > MAX_SEARCH_BYTES - MAX_PAGE_BYTES {
                break;
            }
        }
        Ok(Some(found))
    }

    fn search_page(
        &self,
        terms: &[(&str, &str)],
        before: Option<u64>,
        tree: TreeSize,
    ) -> Result<Option<Page>, ClientError> {
        let mut path = format!("releases?limit={PAGE}");
        terms.iter().for_each(|(field, value)| path += &format!("&{field}={}", percent_encoded(value)));
        before.into_iter().for_each(|before| path += &format!("&before={before}"));
        let answer = match self.get_fresh(&path, MAX_PAGE_BYTES) {
            // Static files, or other software.
            Err(ClientError::Status { status: 404 | 405 | 410 | 501, .. }) => return Ok(None),
            other => other?,
        };
        let page: PageText = serde_json::from_slice(&answer.body)
            .map_err(|e| answer.malformed(WHAT, "a JSON object as in docs/http.md", &e.to_string()))?;
        if page.tree_size < tree.get() {
            let (expected, seen) = (tree, page.tree_size);
            return Err(ClientError::Older { url: self.url("releases"), expected, seen });
        }
        let malformed = |source| ClientError::Malformed { url: self.url("releases"), source };
        cap_count(WHAT, "rows", page.releases.len(), PAGE).map_err(malformed)?;
        let rows = page.releases.into_iter().map(RowText::read).collect::<Result<_, _>>();
        Ok(Some(Page { rows: rows.map_err(malformed)?, next: page.next, bytes: answer.body.len() }))
    }

    /// The proof file of a leaf under the log's newest head. The caller checks it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn proof_of(&self, leaf: &Hash) -> Result<Vec<u8>, ClientError> {
        let path = format!("proof/leaf/{}", leaf.to_hex());
        Ok(self.get_fresh(&path, MAX_PROOF_FILE_BYTES)?.body)
    }
}

/// A value of a query: RFC 3986, everything but unreserved characters escaped.
pub(super) fn percent_encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("strings take everything"),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        assert_eq!(percent_encoded("pkg:generic/a b+c&d=é#"), "pkg%3Ageneric%2Fa%20b%2Bc%26d%3D%C3%A9%23");
        assert_eq!(percent_encoded("A-Z.a_z~09"), "A-Z.a_z~09");
    }
}
