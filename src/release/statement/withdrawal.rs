//! Withdrawals of logged releases, which should not be used any more. The release stays in the log; the withdrawal is an
//! entry of its own.
//!
//! ```text
//! {"_type":"https://in-toto.io/Statement/v1",
//!  "predicate":{"index":17,"leaf":"<hex leaf hash>","log":"log.example.com/releases","purl":"pkg:...@1.2.3",
//!               "reason":"..."},
//!  "predicateType":"urn:treehead:withdrawal:v1",
//!  "subject":[{"digest":{"sha256":"<hex>"},"name":"scanner.bin"}]}
//! ```
//!
//! `index` and `leaf` name the entry; `purl` and `subject` repeat what it says, so that the withdrawal alone tells what not
//! to install.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Purl, Subject, check_text, open_as, to_payload};
use crate::format::{FormatError, cap, quote};
use crate::merkle::{Hash, LeafIndex};
use crate::release::json::{Fields, Json, MAX_INTEGER};

pub(super) const PREDICATE_TYPE: &str = "urn:treehead:withdrawal:v1";
/// Longest reason, in bytes: a sentence or two and a link. The rest belongs in an advisory.
pub const MAX_REASON_BYTES: usize = 1_024;

/// A withdrawal statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// Leaf index of the withdrawn release; at most 2^53 - 1.
    pub index: LeafIndex,
    /// Its leaf hash.
    pub leaf: Hash,
    /// Its package and version.
    pub purl: Purl,
    /// Its artifacts.
    pub subjects: Vec<Subject>,
    /// The reason, in words: 1 to [`MAX_REASON_BYTES`] bytes without control characters.
    pub reason: String,
    /// Origin of the log that holds the release, and the only one that admits the withdrawal. Withdrawals by older versions
    /// have none.
    pub log: Option<String>,
}

impl Withdrawal {
    const WHAT: &str = "a withdrawal";

    /// Parses the payload of an envelope.
    ///
    /// Unknown fields of the statement are ignored, as in-toto demands; in the predicate, which is ours, they are rejected.
    ///
    /// # Errors
    /// [`FormatError`] unless it is strict JSON of the shape shown above.
    pub fn parse(payload: &[u8]) -> Result<Self, FormatError> {
        open_as(Self::WHAT, payload, PREDICATE_TYPE).and_then(Self::read)
    }

    pub(super) fn read(statement: Fields<'_>) -> Result<Self, FormatError> {
        let mut statement = statement.about(Self::WHAT);
        let subjects = Subject::read_all(Self::WHAT, &mut statement)?;
        let mut predicate = statement.object("predicate")?;
        let index = predicate.integer("index")?;
        let withdrawal = Self {
            index: LeafIndex::new(index).expect("at most 2^53 - 1"),
            leaf: Hash::from_hex(&predicate.text("leaf")?)?,
            purl: Purl::parse_logged(&predicate.text("purl")?)?,
            subjects,
            reason: predicate.string("reason")?,
            log: predicate.optional_string("log")?,
        };
        predicate.nothing_else()?;
        withdrawal.check()?;
        Ok(withdrawal)
    }

    /// Checks what the shape does not determine.
    fn check(&self) -> Result<(), FormatError> {
        Subject::check_all(Self::WHAT, &self.subjects)?;
        if self.index.get() > MAX_INTEGER.unsigned_abs() {
            return Err(FormatError::malformed(
                Self::WHAT,
                "an index of at most 2^53 - 1",
                self.index.to_string(),
            ));
        }
        self.log.as_deref().map_or(Ok(()), |log| check_text("the log of a statement", log))?;
        cap("the reason of a withdrawal", self.reason.len(), MAX_REASON_BYTES)?;
        if self.reason.trim().is_empty() || self.reason.chars().any(char::is_control) {
            let expected = "words without control characters";
            return Err(FormatError::malformed("the reason of a withdrawal", expected, quote(&self.reason)));
        }
        Ok(())
    }

    /// The payload to sign, in canonical JSON: equal for equal withdrawals.
    ///
    /// # Errors
    /// [`FormatError`] for what [`parse`](Self::parse) would reject.
    pub fn to_payload(&self) -> Result<Vec<u8>, FormatError> {
        self.check()?;
        let mut predicate = vec![
            ("index".into(), Json::unsigned(self.index.get())),
            ("leaf".into(), Json::string(&self.leaf.to_hex())),
            ("purl".into(), Json::string(self.purl.as_str())),
            ("reason".into(), Json::string(&self.reason)),
        ];
        predicate.extend(self.log.as_deref().map(|log| ("log".into(), Json::string(log))));
        Ok(to_payload(PREDICATE_TYPE, Json::Object(predicate), &self.subjects))
    }
}
