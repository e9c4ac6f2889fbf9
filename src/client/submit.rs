//! Appending to a log.

use std::ops::Range;

use serde::Deserialize;

use super::response::{is_code, printable};
use super::{ClientError, LogClient};
use crate::format::{FormatError, Wait, quote};
use crate::merkle::{Hash, LeafIndex, hex_hash};
use crate::proof::bundle;
use crate::proof::{MAX_PROOF_FILE_BYTES, ProofFile};

/// Most bytes in one `/add-batch` body that a treehead log takes.
pub const MAX_BATCH_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Most entries in one `/add-batch` body that a treehead log takes.
pub const MAX_BATCH_ENTRIES: usize = 4_096;
/// Largest answer: an object of less than 2 KiB for each entry, with its warnings.
const MAX_ANSWER_BYTES: usize = MAX_BATCH_ENTRIES * 2 * 1024;

/// Largest answer to one entry in JSON.
const MAX_ENTRY_ANSWER_BYTES: usize = 4 * 1024;

/// The log's answer to an appended entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Appended {
    /// Leaf index.
    pub index: LeafIndex,
    /// Set if the log had it before.
    pub duplicate: bool,
    /// Leaf hash of the entry that the log has there. It differs from the one sent if the log already had the
    /// same statement, signed with another key or spelled differently.
    #[serde(deserialize_with = "hex_hash")]
    pub leaf_hash: Hash,
    /// The highest sequence number of the publisher, package and channel before this release. `None` if there
    /// was none, or the log does not say.
    pub highest: Option<u64>,
    /// Warnings about the accepted entry.
    #[serde(default)]
    pub warnings: Vec<Remark>,
}

/// A log's remark about an entry: a warning, or the reason to refuse it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Remark {
    /// Stable code: docs/http.md lists them. More may be added.
    #[serde(deserialize_with = "code_text")]
    pub code: String,
    /// The remark for people.
    #[serde(deserialize_with = "printable_text")]
    pub detail: String,
}

/// The log's answer about one entry of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BatchAnswer {
    /// Leaf index, unless the entry was refused.
    pub index: Option<u64>,
    /// Set if the log had it before.
    pub duplicate: Option<bool>,
    /// The reason, if it was refused.
    pub error: Option<Remark>,
    /// Leaf hash of the entry that the log has there, as in [`Appended`]; of the sent one if it was
    /// refused.
    #[serde(deserialize_with = "hex_hash")]
    pub leaf_hash: Hash,
    /// As in [`Appended`].
    pub highest: Option<u64>,
    /// As in [`Appended`].
    #[serde(default)]
    pub warnings: Vec<Remark>,
}

fn printable_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| printable(&text))
}

fn code_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let code = String::deserialize(deserializer)?;
    let wrong =
        || serde::de::Error::custom(format!("expected a code of lower-case letters, saw {}", quote(&code)));
    if is_code(&code) { Ok(code) } else { Err(wrong()) }
}

/// Collects entries for one `/add-batch` request.
#[derive(Debug, Default)]
pub struct BatchWriter {
    body: Vec<u8>,
    count: usize,
}

impl BatchWriter {
    /// Adds an entry. `Ok(false)` if the batch has no room for it.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] for an entry that no batch could hold.
    pub fn push(&mut self, entry: &[u8]) -> Result<bool, FormatError> {
        let full = self.body.len() + bundle::LENGTH_BYTES + entry.len() > MAX_BATCH_BODY_BYTES;
        if self.count > 0 && (full || self.count == MAX_BATCH_ENTRIES) {
            return Ok(false);
        }
        bundle::push(&mut self.body, entry)?;
        self.count += 1;
        Ok(true)
    }

    /// A batch of the first entries, at most `most`.
    #[must_use]
    pub fn first(&self, most: usize) -> Self {
        self.without(most.min(self.count)..self.count)
    }

    /// A batch of all entries except those in `range`.
    ///
    /// # Panics
    /// If `range` ends after the last entry.
    #[must_use]
    pub fn without(&self, range: Range<usize>) -> Self {
        let spans = bundle::spans(&self.body, self.count).expect("it was written here");
        let begin =
            |at: usize| spans.get(at).map_or(self.body.len(), |span| span.start - bundle::LENGTH_BYTES);
        let body = [&self.body[..begin(range.start)], &self.body[begin(range.end)..]].concat();
        Self { body, count: self.count - range.len() }
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Returns true if it has no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl LogClient {
    /// Appends an entry, waits, and reads its proof file. The caller checks it. A proof leads to a published
    /// head, so for less than [`Wait::Published`] the log waits for that.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn add(&self, entry: &[u8], wait: Wait) -> Result<ProofFile, ClientError> {
        let path = format!("add?wait={}", wait.as_str());
        let answer = self.post(&path, "text/x-tlog-proof", entry, MAX_PROOF_FILE_BYTES)?;
        ProofFile::parse(&answer).map_err(self.malformed("add"))
    }

    /// Appends an entry and waits. The log names its index without a proof.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn append(&self, entry: &[u8], wait: Wait) -> Result<Appended, ClientError> {
        let path = format!("add?wait={}", wait.as_str());
        let answer = self.post(&path, "application/json", entry, MAX_ENTRY_ANSWER_BYTES)?;
        serde_json::from_slice(&answer).map_err(|e| {
            let (expected, seen) = ("JSON with index, duplicate and leaf_hash", quote(&e.to_string()));
            self.malformed("add")(FormatError::malformed("the answer", expected, seen))
        })
    }

    /// Appends a batch and waits. One answer for each entry, in order.
    ///
    /// # Errors
    /// [`ClientError`]; nothing of the batch was taken unless the connection broke.
    pub fn add_batch(&self, batch: &BatchWriter, wait: Wait) -> Result<Vec<BatchAnswer>, ClientError> {
        let path = format!("add-batch?wait={}", wait.as_str());
        let answer = self.post(&path, "application/json", &batch.body, MAX_ANSWER_BYTES)?;
        let malformed = |expected: String, seen: String| {
            self.malformed("add-batch")(FormatError::malformed("the answer to a batch", expected, seen))
        };
        let answers: Vec<BatchAnswer> = serde_json::from_slice(&answer)
            .map_err(|e| malformed("a JSON array".to_owned(), e.to_string()))?;
        if answers.len() != batch.count {
            return Err(malformed(format!("{} answers", batch.count), answers.len().to_string()));
        }
        Ok(answers)
    }
}
