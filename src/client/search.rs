//! Finding leaves: `GET /releases`, which treehead logs have and others need not.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{ClientError, LogClient};
use crate::format::{FormatError, cap_count};
use crate::merkle::Hash;
use crate::proof_file::MAX_PROOF_FILE_BYTES;

/// Rows that are asked for at once.
const PAGE: usize = 100;
/// Largest answer: most rows are below a kilobyte, and one of 256 artifacts with long names is not above
/// what an entry can hold.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Leaves that a log says it found. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Their hashes, newest first.
    pub leaves: Vec<Hash>,
    /// What to go on before, where there is more.
    pub next: Option<u64>,
}

#[derive(Deserialize)]
struct PageText {
    releases: Vec<RowText>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct RowText {
    leaf_hash: String,
}

impl LogClient {
    /// One page of the statements that have all these values. `None` where the log has no search for them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn search(&self, terms: &[(&str, &str)], before: Option<u64>) -> Result<Option<Found>, ClientError> {
        let mut path = format!("releases?limit={PAGE}");
        terms.iter().for_each(|(field, value)| path += &format!("&{field}={}", percent_encoded(value)));
        before.into_iter().for_each(|before| path += &format!("&before={before}"));
        let body = match self.get(&path, MAX_PAGE_BYTES) {
            // Static files, other software, or an older version of this one.
            Err(ClientError::Status { status: 400 | 404 | 405 | 410 | 501, .. }) => return Ok(None),
            other => other?,
        };
        let malformed = |source| ClientError::Malformed { url: self.url("releases"), source };
        let page: PageText = serde_json::from_slice(&body).map_err(|e| {
            malformed(FormatError::malformed("the answer to a search", "a JSON object", e.to_string()))
        })?;
        cap_count("the answer to a search", "rows", page.releases.len(), PAGE).map_err(malformed)?;
        let leaves = page.releases.iter().map(|row| Hash::from_hex(&row.leaf_hash));
        Ok(Some(Found { leaves: leaves.collect::<Result<_, _>>().map_err(malformed)?, next: page.next }))
    }

    /// The proof file of a leaf under the newest head that the log shows. The caller checks it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn proof_of(&self, leaf: &Hash) -> Result<Vec<u8>, ClientError> {
        self.get(&format!("proof/leaf/{}", leaf.to_hex()), MAX_PROOF_FILE_BYTES)
    }
}

/// A value of a query: RFC 3986, everything but unreserved characters escaped.
fn percent_encoded(value: &str) -> String {
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
