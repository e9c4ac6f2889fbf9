//! Finding statements: the answers to `GET /releases`, which treehead logs have, but others may lack. They are not
//! proven.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::Purl;
use super::json::{Fields, Json};
use crate::format::{FormatError, cap_count, push_percent_encoded};
use crate::merkle::{Hash, LeafIndex, TreeSize};

/// Rows to ask for at once.
const PAGE: usize = 100;
/// Most pages of one search: 2,000 statements that match all terms.
pub const MAX_PAGES: usize = 20;
/// Largest answer: most rows are below a kilobyte, and one of 256 artifacts with long names is not above
/// what an entry can hold.
pub const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;
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

/// A log's description of a statement. Names and purls are unchecked foreign text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRow {
    /// Leaf index.
    pub index: LeafIndex,
    /// Leaf hash.
    pub leaf: Hash,
    /// `build`, `update`, `detection-rules` or `trust` of a release, `withdrawal`, or another name.
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

/// One answer to a search.
#[derive(Debug, Clone)]
pub struct FoundPage {
    rows: Vec<FoundRow>,
    /// The leaf to continue before, if there is more.
    next: Option<u64>,
    /// Size of the answer.
    bytes: usize,
}

/// An answer to a search that can't be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PageError {
    /// It is not JSON; another program may have answered.
    #[error(transparent)]
    NotJson(FormatError),
    /// It is not in the format.
    #[error(transparent)]
    Malformed(#[from] FormatError),
    /// It is about a smaller tree than one that the log signed: a cache served it.
    #[error("an old answer: expected one for a tree of at least {expected}, saw {seen}")]
    Older {
        /// Size of the tree that the caller knows.
        expected: TreeSize,
        /// Size in the answer.
        seen: u64,
    },
}

impl Found {
    /// Reports whether the search is complete.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.next.is_none()
    }

    /// Gathers the pages of a search from leaf `before` on, up to [`MAX_PAGES`] and 32 MiB of answers. `page` gets where
    /// to begin. `None` if it said that the log has no search.
    ///
    /// # Errors
    /// The outer error is that of `page`; the inner one is a log whose pages do not go on.
    pub fn gather<E>(
        mut before: Option<u64>,
        mut page: impl FnMut(Option<u64>) -> Result<Option<FoundPage>, E>,
    ) -> Result<Result<Option<Self>, FormatError>, E> {
        let (mut found, mut held) = (Self::default(), 0);
        for _ in 0..MAX_PAGES {
            let Some(FoundPage { rows, next, bytes }) = page(before)? else { return Ok(Ok(None)) };
            found.rows.extend(rows);
            if let (Some(before), Some(next)) = (before, next)
                && next >= before
            {
                let (expected, seen) = (format!("to go on before leaf {before}"), format!("leaf {next}"));
                return Ok(Err(FormatError::malformed(WHAT, expected, seen)));
            }
            (before, found.next) = (next, next);
            held += bytes;
            if next.is_none() || held > MAX_SEARCH_BYTES - MAX_PAGE_BYTES {
                break;
            }
        }
        Ok(Ok(Some(found)))
    }
}

impl FoundRow {
    /// Package and version, if the purl is well-formed.
    #[must_use]
    pub fn purl(&self) -> Option<Purl> {
        self.purl.as_deref().and_then(|purl| Purl::parse_logged(purl).ok())
    }

    fn read(row: Json<'_>) -> Result<Self, FormatError> {
        let mut row = Fields::new(WHAT, "a row", row)?.without_null();
        let index = row.integer("index")?;
        let artifacts = row.optional_array("artifacts")?.unwrap_or_default();
        let artifact =
            |artifact| Hash::from_hex(&Fields::new(WHAT, "an artifact", artifact)?.text("sha256")?);
        let publishers = row.optional_array("publishers")?.unwrap_or_default();
        let publisher = |publisher| match publisher {
            Json::String(name) => Ok(name.into_owned()),
            _ => Err(FormatError::malformed(WHAT, "names of publishers", "something else")),
        };
        Ok(Self {
            index: LeafIndex::new(index)
                .ok_or_else(|| FormatError::malformed(WHAT, "a leaf index below 2^63", index.to_string()))?,
            leaf: Hash::from_hex(&row.text("leaf_hash")?)?,
            artifacts: artifacts.into_iter().map(artifact).collect::<Result<_, _>>()?,
            kind: row.string("kind")?,
            purl: row.optional_string("purl")?,
            publishers: publishers.into_iter().map(publisher).collect::<Result<_, _>>()?,
            channel: row.optional_string("channel")?,
            sequence: row.optional_integer("sequence")?,
            is_withdrawn: row.optional_array("withdrawn")?.is_some_and(|by| !by.is_empty()),
        })
    }
}

impl FoundPage {
    /// The path, below a log's address, of the search for statements before leaf `before` that match all terms (field,
    /// value).
    #[must_use]
    pub fn path(terms: &[(&str, &str)], before: Option<u64>) -> String {
        let mut path = format!("releases?limit={PAGE}");
        for (field, value) in terms {
            path.extend(["&", field, "="]);
            push_percent_encoded(&mut path, value);
        }
        before.into_iter().for_each(|before| path += &format!("&before={before}"));
        path
    }

    /// Reads an answer. Rejects one for a tree smaller than `tree`, the size of a head that the caller knows.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn parse(bytes: &[u8], tree: TreeSize) -> Result<Self, PageError> {
        let mut page = Fields::new(WHAT, "", Json::parse(WHAT, bytes).map_err(PageError::NotJson)?)
            .map_err(PageError::NotJson)?
            .without_null();
        let seen = page.integer("tree_size")?;
        if seen < tree.get() {
            return Err(PageError::Older { expected: tree, seen });
        }
        let rows = page.array("releases")?;
        cap_count(WHAT, "rows", rows.len(), PAGE)?;
        let rows = rows.into_iter().map(FoundRow::read).collect::<Result<_, _>>()?;
        Ok(Self { rows, next: page.optional_integer("next")?, bytes: bytes.len() })
    }
}
