//! Checks that a withdrawal matches the entry that it names, and is signed by that entry's publisher. A publisher may
//! withdraw what it released, and nothing else.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};

use super::{Envelope, Publishers, Release, VerifiedStatement, Withdrawal};
use crate::format::{FormatError, error_codes, quote};
use crate::merkle::{Hash, LeafIndex};

/// A withdrawal without effect on the entry that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WithdrawalError {
    /// The statement is not a withdrawal.
    #[error("expected a withdrawal, saw a statement of another kind")]
    NotAWithdrawal,
    /// The entry is not the one that the withdrawal names.
    #[error(
        "the withdrawal names leaf {index} with hash {expected}, and that leaf is {seen}: fetch the entry again and withdraw what it says"
    )]
    OtherLeaf {
        index: LeafIndex,
        /// The leaf hash that the withdrawal states, in hex.
        expected: String,
        /// The leaf's own hash, in hex, or a remark that the index differs.
        seen: String,
    },
    /// The entry is not a release.
    #[error("leaf {index} can't be withdrawn: expected a release, saw {seen}")]
    NotARelease { index: LeafIndex, seen: String },
    /// The withdrawal does not repeat what the release says.
    #[error(
        "the withdrawal of leaf {index} has to repeat the release's {field}: expected {expected}, saw {seen}"
    )]
    OtherRelease {
        index: LeafIndex,
        /// `purl` or `subjects`.
        field: &'static str,
        expected: String,
        seen: String,
    },
    /// Another publisher released it.
    #[error(
        "{publisher} did not release leaf {index}: expected a withdrawal by {expected}; only the publisher of a release can withdraw it"
    )]
    NotThePublisher { index: LeafIndex, publisher: String, expected: String },
}

error_codes! { WithdrawalCode of WithdrawalError {
    Self::NotAWithdrawal => NotAWithdrawal = 420, "not-a-withdrawal";
    Self::OtherLeaf { .. } => OtherLeaf = 421, "other-leaf";
    Self::NotARelease { .. } => NotARelease = 422, "not-a-release";
    Self::OtherRelease { .. } => OtherRelease = 423, "other-release";
    Self::NotThePublisher { .. } => NotThePublisher = 424, "not-the-publisher";
}}

impl Withdrawal {
    /// Makes the withdrawal of a logged entry, without the origin of a log.
    ///
    /// # Errors
    /// [`FormatError`] if the entry is not a release.
    pub fn of(index: LeafIndex, entry: &[u8], reason: &str) -> Result<Self, FormatError> {
        let release = Release::parse(Envelope::parse_entry(entry)?.payload())?;
        let (leaf, reason) = (Hash::leaf(entry), reason.to_owned());
        Ok(Self { index, leaf, purl: release.purl, subjects: release.subjects, reason, log: None })
    }

    /// Checks that the withdrawal names this entry and repeats what it says.
    fn check_entry(&self, index: LeafIndex, entry: &[u8]) -> Result<Envelope, WithdrawalError> {
        let leaf = Hash::leaf(entry);
        if self.index != index || self.leaf != leaf {
            let seen = if self.index == index { leaf.to_hex() } else { format!("not leaf {index}") };
            return Err(WithdrawalError::OtherLeaf { index: self.index, expected: self.leaf.to_hex(), seen });
        }
        let envelope = Envelope::parse_entry(entry);
        let envelope = envelope.and_then(|envelope| Ok((Release::parse(envelope.payload())?, envelope)));
        let (release, envelope) = envelope
            .map_err(|e| WithdrawalError::NotARelease { index, seen: format!("another entry ({e})") })?;
        let other = |field, expected, seen| WithdrawalError::OtherRelease { index, field, expected, seen };
        if self.purl != release.purl {
            return Err(other("purl", release.purl.to_string(), self.purl.to_string()));
        }
        if self.subjects != release.subjects {
            let different = (0..).find(|at| self.subjects.get(*at) != release.subjects.get(*at));
            let tell = |subjects: &[super::Subject]| match subjects.get(different.unwrap_or_default()) {
                Some(subject) => format!("{} ({})", subject.sha256.to_hex(), quote(&subject.name)),
                None => format!("{} of them", subjects.len()),
            };
            return Err(other("subjects", tell(&release.subjects), tell(&self.subjects)));
        }
        Ok(envelope)
    }
}

impl Publishers {
    /// Checks a withdrawal against the entry at `index`: it names that leaf, which is a release with the same purl and
    /// subjects, and one of the release's signers withdraws it, whatever their keys are by then. If the withdrawal has
    /// several signers, each of them that may withdraw counts.
    ///
    /// # Errors
    /// [`WithdrawalError`], the first that applies.
    pub fn check_withdrawal(
        &self,
        verified: &VerifiedStatement,
        index: LeafIndex,
        entry: &[u8],
    ) -> Result<(), WithdrawalError> {
        let withdrawal = verified.statement().as_withdrawal().ok_or(WithdrawalError::NotAWithdrawal)?;
        let envelope = withdrawal.check_entry(index, entry)?;
        let signers = self.signer_names(&envelope);
        if verified.publishers().iter().any(|publisher| signers.contains(publisher)) {
            return Ok(());
        }
        let (publisher, expected) = (verified.publishers().join(" and "), signers.join(" or "));
        Err(WithdrawalError::NotThePublisher { index, publisher, expected })
    }
}
