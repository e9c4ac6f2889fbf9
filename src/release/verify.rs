//! Verifies a logged statement: [`Publishers::verify`].

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::publishers::{Publisher, PublisherKey};
use super::{
    Envelope, KeyFamily, Publishers, Purl, Release, Statement, StatementKind, Timestamp, format_time,
};
use crate::format::{FormatError, error_codes, quote};
use crate::merkle::Hash;

/// A statement in a well-formed envelope that is not admitted or trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum StatementError {
    /// The payload is not a statement of a known kind.
    #[error(transparent)]
    Statement(#[from] FormatError),
    /// The resulting entry would be too large.
    #[error(transparent)]
    Entry(FormatError),
    /// No registered key made a signature.
    #[error("{}: expected a key listed in publishers.toml", unknown(keyid))]
    UnknownKey {
        /// The keyid as submitted, which may be any text or empty.
        keyid: String,
    },
    /// The statement is for another log.
    #[error(
        "the statement is for another log: expected {expected}, saw {}; its publisher has to sign it for this one",
        quote(seen)
    )]
    OtherLog { expected: String, seen: String },
    /// Too many signatures of a request failed under the keys that might have made them.
    #[error(
        "it takes too long to find out who signed this: {most} signature checks failed; expected each keyid to name the key, by the hex SHA-256 of its SPKI DER"
    )]
    TooManyTries {
        /// The number of checks that may fail.
        most: u32,
    },
    /// A signature names a registered key, but is not valid.
    #[error(
        "the signature by key {keyid} of {publisher} is not valid: the statement or the signature was changed"
    )]
    BadSignature { publisher: String, keyid: String },
    /// The key is registered, but not valid at this time.
    #[error(
        "the key {keyid} of {publisher} is outside its validity: expected a time from {from} to {to}, saw {seen}"
    )]
    KeyNotValid {
        publisher: String,
        keyid: String,
        from: String,
        to: String,
        /// The time now, or the times between which it was.
        seen: String,
    },
    /// The key is revoked.
    #[error("the key {keyid} of {publisher} is revoked: expected a signature by a key that is not")]
    KeyRevoked { publisher: String, keyid: String },
    /// A publisher that has to sign with keys of several families did not sign with all of them.
    #[error(
        "a statement of {publisher} needs a valid signature of each of {expected}: expected all of them, saw {seen}"
    )]
    SignaturesMissing { publisher: String, expected: String, seen: String },
    /// None of the signers may make such a statement about the package.
    #[error(
        "{publishers} may not make statements of kind {kind}{}: expected {} in publishers.toml to cover it", of(package.as_deref()), rights(kind, package.as_deref())
    )]
    NotPermitted {
        publishers: String,
        kind: StatementKind,
        /// The statement's package, if it names one; of several, one to which none of the signers has a right.
        package: Option<String>,
    },
}

error_codes! { StatementCode of StatementError {
    Self::Statement(_) => Malformed = 400, "statement";
    Self::Entry(_) => EntryTooLarge = 401, "entry-too-large";
    Self::UnknownKey { .. } => UnknownPublisher = 402, "unknown-publisher";
    Self::OtherLog { .. } => OtherLog = 403, "other-log";
    Self::TooManyTries { .. } => TooManyTries = 404, "keyid-needed";
    Self::BadSignature { .. } => Signature = 405, "publisher-signature";
    Self::KeyNotValid { .. } => KeyNotValid = 406, "key-not-valid";
    Self::KeyRevoked { .. } => KeyRevoked = 407, "publisher-key-revoked";
    Self::NotPermitted { .. } => NotPermitted = 408, "publisher-not-permitted";
    Self::SignaturesMissing { .. } => SignaturesMissing = 409, "signatures-missing";
}}

fn unknown(keyid: &str) -> String {
    if Hash::from_hex(keyid).is_ok() {
        return format!("the key {keyid} is not registered");
    }
    format!(
        "the keyid {} names no key, and no registered key that may state this made the signature",
        quote(keyid)
    )
}

fn of(package: Option<&str>) -> String {
    package.map(|package| format!(" about {package}")).unwrap_or_default()
}

const fn rights(kind: &StatementKind, package: Option<&str>) -> &'static str {
    match (kind, package) {
        (StatementKind::Withdrawal, _) => "one of their purl patterns and any kind of release",
        (_, Some(_)) => "one of their purl patterns and kinds",
        (_, None) => "one of their kinds",
    }
}

/// A statement signed by publishers with the right to make it. Only [`Publishers::verify`] and [`Publishers::admit`]
/// make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedStatement {
    statement: Statement,
    publishers: Vec<String>,
    signers: Vec<String>,
}

impl VerifiedStatement {
    /// Makes one; `publishers` are those of the `signers` that have the right to make the statement.
    pub(super) const fn new(statement: Statement, publishers: Vec<String>, signers: Vec<String>) -> Self {
        Self { statement, publishers, signers }
    }

    /// The statement.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The statement, by value.
    #[must_use]
    pub fn into_statement(self) -> Statement {
        self.statement
    }

    /// The release, if the statement is one.
    #[must_use]
    pub const fn release(&self) -> Option<&Release> {
        self.statement.as_release()
    }

    /// The first signer, in order of keyid, with the right to make the statement.
    #[must_use]
    pub fn publisher(&self) -> &str {
        &self.publishers[0]
    }

    /// Names of all signers with the right to make the statement, in order of keyid, each once; at least one.
    #[must_use]
    pub fn publishers(&self) -> &[String] {
        &self.publishers
    }

    /// Names of all signers, in order of keyid, each once; at least one.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.signers
    }
}

impl Publishers {
    /// Accepts an entry of a log if every signature is by a registered key, and at least one signer has the
    /// right to the statement's kind and to all packages that it names. A publisher with
    /// [`require_signatures`](Publisher::require_signatures) counts as a signer only with all of them. Rejects unknown signatures rather than ignoring
    /// them: a log [drops](Self::admit) them before it makes an entry.
    ///
    /// `log` is the origin of the log that holds it: statements for another log are rejected, or anyone could replay a
    /// statement from a test log. The validity period of keys is ignored, because a statement that was logged in time
    /// stays valid.
    ///
    /// Does not check that a withdrawal's publisher signed the release:
    /// [`check_withdrawal`](Self::check_withdrawal) compares it with the withdrawn entry.
    ///
    /// # Errors
    /// [`StatementError`]; signatures are verified before the statement is parsed.
    pub fn verify(&self, envelope: &Envelope, log: &str) -> Result<VerifiedStatement, StatementError> {
        let message = envelope.signed_message();
        let mut signatures: Vec<(&Publisher, KeyFamily)> = Vec::new();
        for (keyid, signature) in envelope.signatures() {
            let (publisher, key) =
                self.find(keyid).ok_or_else(|| StatementError::UnknownKey { keyid: keyid.to_hex() })?;
            if !key.key.verifies(&message, signature) {
                let (publisher, keyid) = (publisher.name.clone(), keyid.to_hex());
                return Err(StatementError::BadSignature { publisher, keyid });
            }
            if key.revoked {
                let (publisher, keyid) = (publisher.name.clone(), keyid.to_hex());
                return Err(StatementError::KeyRevoked { publisher, keyid });
            }
            signatures.push((publisher, key.key.family()));
        }
        let statement = Statement::parse(envelope.payload())?;
        let complete = |signer: &&Publisher| signer.is_signed(&signatures);
        let all = || signatures.iter().map(|(signer, _)| *signer);
        let signers = names(all().filter(complete));
        let publishers = names(all().filter(complete).filter(|signer| signer.may_state(&statement)));
        if publishers.is_empty() {
            let incomplete = all().find(|signer| !complete(signer) && signer.may_state(&statement));
            return Err(incomplete.map_or_else(
                || not_permitted(&statement, &all().collect::<Vec<_>>()),
                |signer| signer.incomplete(&signatures),
            ));
        }
        check_log(&statement, log)?;
        Ok(VerifiedStatement { statement, publishers, signers })
    }

    /// Tells whether this publisher signed the envelope, with a key that is not revoked, and with one of each family that it
    /// [requires](Publisher::require_signatures).
    #[must_use]
    pub fn is_signed_by(&self, envelope: &Envelope, publisher: &str) -> bool {
        let message = envelope.signed_message();
        let signed = |(keyid, signature): &(Hash, Vec<u8>)| {
            let (by, key) = self.find(keyid)?;
            let counts = by.name == publisher && !key.revoked && key.key.verifies(&message, signature);
            counts.then(|| (by, key.key.family()))
        };
        let signed: Vec<(&Publisher, KeyFamily)> = envelope.signatures().iter().filter_map(signed).collect();
        signed.first().is_some_and(|(by, _)| by.is_signed(&signed))
    }

    /// For monitors, which know the time of an entry only as an interval: returns [`StatementError::KeyNotValid`] for
    /// the first signature whose key is valid at no moment of `from..=to`. Skips keys that are not registered, which
    /// [`verify`](Self::verify) rejects.
    #[must_use]
    pub fn outside_validity(
        &self,
        envelope: &Envelope,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<StatementError> {
        let found = envelope.signatures().iter().filter_map(|(keyid, _)| self.find(keyid));
        let (publisher, key) = found.into_iter().find(|(_, key)| !key.is_valid_within(from, to))?;
        let seen = format!("one from {} to {}", format_time(from), format_time(to));
        Some(key.not_valid(&publisher.name, seen))
    }
}

/// Checks that a statement is for this log, or for any.
///
/// # Errors
/// [`StatementError::OtherLog`].
pub fn check_log(statement: &Statement, log: &str) -> Result<(), StatementError> {
    match statement.log() {
        Some(seen) if seen != log => {
            Err(StatementError::OtherLog { expected: log.to_owned(), seen: seen.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The error if no signer has the right to make the statement.
pub(super) fn not_permitted(statement: &Statement, signers: &[&Publisher]) -> StatementError {
    let is_covered = |purl: &&Purl| signers.iter().any(|signer| signer.covers(purl));
    let uncovered = statement.purls().iter().find(|purl| !is_covered(purl));
    StatementError::NotPermitted {
        publishers: names(signers.iter().copied()).join(" and "),
        kind: statement.kind(),
        package: uncovered.or(statement.purl()).map(|purl| purl.package()),
    }
}

/// The publishers' names, each once, in order.
pub(super) fn names<'a>(signers: impl IntoIterator<Item = &'a Publisher>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for signer in signers {
        if !names.contains(&signer.name) {
            names.push(signer.name.clone());
        }
    }
    names
}

impl PublisherKey {
    /// Tells whether the key is valid at some moment of `from..=to`.
    pub(super) fn is_valid_within(&self, from: Timestamp, to: Timestamp) -> bool {
        self.not_before.is_none_or(|first| first <= to) && self.not_after.is_none_or(|last| from <= last)
    }

    pub(super) fn not_valid(&self, publisher: &str, seen: String) -> StatementError {
        StatementError::KeyNotValid {
            publisher: publisher.to_owned(),
            keyid: self.keyid.to_hex(),
            from: self.not_before.map_or_else(|| "always".to_owned(), format_time),
            to: self.not_after.map_or_else(|| "always".to_owned(), format_time),
            seen,
        }
    }
}
