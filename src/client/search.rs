//! Finding statements: `GET /releases`, which treehead logs have, but others may lack. Its answers are not proven.

use super::{ClientError, LogClient};
use crate::merkle::{Hash, TreeSize};
use crate::proof::MAX_PROOF_FILE_BYTES;
use crate::release::{Found, FoundPage, MAX_PAGE_BYTES, PageError};

impl LogClient {
    /// Finds the statements before leaf `before` that match all terms (field, value), up to [`MAX_PAGES`] pages and 32
    /// MiB of answers. `None` if the log has no search. Rejects an answer for a tree smaller than `tree`, the size of a
    /// head that the caller knows: a cache served it.
    ///
    /// [`MAX_PAGES`]: crate::release::MAX_PAGES
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Older`] for an old answer.
    pub fn search(
        &self,
        terms: &[(&str, &str)],
        before: Option<u64>,
        tree: TreeSize,
    ) -> Result<Option<Found>, ClientError> {
        let found = Found::gather(before, |before| self.search_page(terms, before, tree))?;
        found.map_err(|source| ClientError::Malformed { url: self.url("releases"), source })
    }

    fn search_page(
        &self,
        terms: &[(&str, &str)],
        before: Option<u64>,
        tree: TreeSize,
    ) -> Result<Option<FoundPage>, ClientError> {
        let answer = match self.get_fresh(&FoundPage::path(terms, before), MAX_PAGE_BYTES) {
            // Static files, or other software.
            Err(ClientError::Status { status: 404 | 405 | 410 | 501, .. }) => return Ok(None),
            other => other?,
        };
        match FoundPage::parse(&answer.body, tree) {
            Ok(page) => Ok(Some(page)),
            Err(PageError::NotJson(e)) => {
                let what = "the answer to a search";
                Err(answer.malformed(what, "a JSON object as in docs/http.md", &e.contrast().1))
            }
            Err(PageError::Malformed(source)) => {
                Err(ClientError::Malformed { url: self.url("releases"), source })
            }
            Err(PageError::Older { expected, seen }) => {
                Err(ClientError::Older { url: self.url("releases"), expected, seen })
            }
        }
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
