//! Whether a statement is believed: [`Publishers::verify`], and why not.

use super::publishers::{Publisher, PublisherKey};
use super::{Envelope, Publishers, Purl, Release, Statement, StatementKind, Timestamp, format_time};
use crate::format::FormatError;
use crate::note::ed25519_verify;

/// Why a statement is not admitted or believed, though its envelope is well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpeakError {
    /// The payload is no statement of a known kind.
    #[error(transparent)]
    Statement(#[from] FormatError),
    /// A signature names a key that is not registered.
    #[error(
        "the key {keyid} is not registered: expected a key listed in publishers.toml; `treehead publisher add` registers one"
    )]
    UnknownKey {
        /// The key named.
        keyid: String,
    },
    /// A registered key did not make the signature that names it.
    #[error(
        "the signature by key {keyid} of {publisher} is not valid: the statement or the signature was changed"
    )]
    BadSignature {
        /// The publisher whose key it is.
        publisher: String,
        /// The key named.
        keyid: String,
    },
    /// The key is registered for another time.
    #[error(
        "the key {keyid} of {publisher} is outside its validity: expected a time from {from} to {to}, saw {seen}"
    )]
    KeyNotValid {
        /// The publisher whose key it is.
        publisher: String,
        /// The key named.
        keyid: String,
        /// First valid time.
        from: String,
        /// Last valid time.
        to: String,
        /// The time now, or the times between which it was.
        seen: String,
    },
    /// The key was stolen or given up.
    #[error("the key {keyid} of {publisher} is revoked: expected a signature by a key that is not")]
    KeyRevoked {
        /// The publisher whose key it is.
        publisher: String,
        /// The key named.
        keyid: String,
    },
    /// None of the signers may make such a statement about the package.
    #[error(
        "{publishers} may not state a {kind}{}: expected {} in publishers.toml to cover it", of(package.as_deref()), rights(*kind, package.as_deref())
    )]
    NotPermitted {
        /// The signers.
        publishers: String,
        /// What is stated.
        kind: StatementKind,
        /// The package it is about, where it names one; of several, one that nobody may speak for.
        package: Option<String>,
    },
}

fn of(package: Option<&str>) -> String {
    package.map(|package| format!(" of {package}")).unwrap_or_default()
}

const fn rights(kind: StatementKind, package: Option<&str>) -> &'static str {
    match (kind, package) {
        (StatementKind::Withdrawal, _) => "one of their purl patterns and any kind of release",
        (_, Some(_)) => "one of their purl patterns and kinds",
        (_, None) => "one of their kinds",
    }
}

/// A statement by publishers that may make it. Only [`Publishers::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    statement: Statement,
    publishers: Vec<String>,
    signers: Vec<String>,
}

impl Spoken {
    /// What is stated.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// What is stated, to keep.
    #[must_use]
    pub fn into_statement(self) -> Statement {
        self.statement
    }

    /// The release, if that is what is stated.
    #[must_use]
    pub const fn release(&self) -> Option<&Release> {
        self.statement.as_release()
    }

    /// Who states it: the first signer, in order of keyid, that may.
    #[must_use]
    pub fn publisher(&self) -> &str {
        &self.publishers[0]
    }

    /// Names of all signers that may state it, in order of keyid, each once; one at least.
    #[must_use]
    pub fn publishers(&self) -> &[String] {
        &self.publishers
    }

    /// Names of all signers, in order of keyid, each once; one at least.
    #[must_use]
    pub fn signers(&self) -> &[String] {
        &self.signers
    }
}

impl Publishers {
    /// Believes a statement if every signature is by a registered key, and at least one signer may
    /// speak for all the packages that it names and the kind. An unknown signature is refused rather than ignored: it
    /// would let a stranger mint new leaf hashes for an old statement.
    ///
    /// With `now`, keys outside their validity are refused too: a log passes the time. An endpoint
    /// passes `None`, because a release that was logged in time stays good.
    ///
    /// Whether a withdrawal is of something that its publisher released is not known here:
    /// [`check_withdrawal`](Self::check_withdrawal) asks the withdrawn entry.
    ///
    /// # Errors
    /// [`SpeakError`]; signatures are judged before the statement is read.
    pub fn verify(&self, envelope: &Envelope, now: Option<Timestamp>) -> Result<Spoken, SpeakError> {
        let message = envelope.signed_message();
        let mut speakers: Vec<&Publisher> = Vec::new();
        for (keyid, signature) in envelope.signatures() {
            let (publisher, key) =
                self.find(keyid).ok_or_else(|| SpeakError::UnknownKey { keyid: keyid.to_hex() })?;
            if !ed25519_verify(&key.key, &message, signature) {
                return Err(SpeakError::BadSignature {
                    publisher: publisher.name.clone(),
                    keyid: keyid.to_hex(),
                });
            }
            if key.revoked {
                return Err(SpeakError::KeyRevoked {
                    publisher: publisher.name.clone(),
                    keyid: keyid.to_hex(),
                });
            }
            if let Some(now) = now.filter(|now| !key.is_valid_within(*now, *now)) {
                return Err(key.not_valid(&publisher.name, format_time(now)));
            }
            speakers.push(publisher);
        }
        let statement = Statement::parse(envelope.payload())?;
        let signers = names(speakers.iter().copied());
        let publishers = names(speakers.iter().copied().filter(|speaker| speaker.may_state(&statement)));
        if publishers.is_empty() {
            let is_covered = |purl: &&Purl| speakers.iter().any(|speaker| speaker.covers(purl));
            let uncovered = statement.purls().iter().find(|purl| !is_covered(purl));
            return Err(SpeakError::NotPermitted {
                publishers: signers.join(" and "),
                kind: statement.kind(),
                package: uncovered.or(statement.purl()).map(Purl::package),
            });
        }
        Ok(Spoken { statement, publishers, signers })
    }

    /// For monitors, who know the time of an entry only as an interval: [`SpeakError::KeyNotValid`]
    /// for the first signature whose key is valid at no moment of `from..=to`. Keys that are not
    /// registered are passed over: [`verify`](Self::verify) refuses them.
    #[must_use]
    pub fn outside_validity(
        &self,
        envelope: &Envelope,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<SpeakError> {
        let found = envelope.signatures().iter().filter_map(|(keyid, _)| self.find(keyid));
        let (publisher, key) = found.into_iter().find(|(_, key)| !key.is_valid_within(from, to))?;
        let seen = format!("one from {} to {}", format_time(from), format_time(to));
        Some(key.not_valid(&publisher.name, seen))
    }
}

/// Each once, in order.
fn names<'a>(speakers: impl Iterator<Item = &'a Publisher>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for speaker in speakers {
        if !names.contains(&speaker.name) {
            names.push(speaker.name.clone());
        }
    }
    names
}

impl PublisherKey {
    /// Whether it is valid at some moment of `from..=to`.
    fn is_valid_within(&self, from: Timestamp, to: Timestamp) -> bool {
        self.not_before.is_none_or(|first| first <= to) && self.not_after.is_none_or(|last| from <= last)
    }

    fn not_valid(&self, publisher: &str, seen: String) -> SpeakError {
        SpeakError::KeyNotValid {
            publisher: publisher.to_owned(),
            keyid: self.keyid.to_hex(),
            from: self.not_before.map_or_else(|| "always".to_owned(), format_time),
            to: self.not_after.map_or_else(|| "always".to_owned(), format_time),
            seen,
        }
    }
}
