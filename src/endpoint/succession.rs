//! Trust updates: the step from a trust file to the next one, which is a release of the log like any other.
//!
//! ```text
//! "update":{"at_least":2,                          how many publishers have to sign the next file
//!           "from":["release","security","qa"],    out of these: publishers of the file with the right to `trust`
//!           "package":"pkg:generic/example/trust"} the package of the releases: a purl without version
//! ```
//!
//! The file with the number N + 1 replaces the one with the number N if releases of kind `trust` state it: each is of the
//! package in the version N + 1 and the channel `trust`, has the sequence number N + 1 and one subject with the SHA-256 of
//! the file, is proven under the policy of N, and at least as many of N's publishers signed one of them as N asks for.
//!
//! One entry with the signatures of all is the rule; several are counted together, because a log keeps one entry for each
//! payload: whoever sends it first, with a single signature, keeps the others out of that entry. Publishers are counted,
//! never keys. Signatures by keys that N revoked or does not know count for nothing, and spoil nothing.
//!
//! The gate, the memory, and ages play no part here: a number only grows.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::requirement::{MAX_REQUIREMENTS, twice};
use super::trust_file::TrustFile;
use super::{Proven, Refusal};
use crate::format::{FormatError, cap_count, error_codes, quote};
use crate::merkle::{Hash, LeafIndex};
use crate::release::{
    Envelope, Fields, Json, KeyFamily, Kind, Publisher, Publishers, Purl, Release, Statement, StatementKind,
    check_log,
};

/// The channel of all releases of trust files.
pub const TRUST_CHANNEL: &str = "trust";
/// Most proofs of one trust update.
pub const MAX_TRUST_PROOFS: usize = 32;

/// The publishers that may replace a trust file, and how many of them it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRule {
    /// The package of the releases that replace the file: a purl without version, qualifiers and subpath.
    pub package: String,
    /// Publishers of the file, by name, each with the right to state trust files of the package.
    pub from: Vec<String>,
    /// The number of different publishers that it takes.
    pub at_least: u64,
}

impl UpdateRule {
    const WHAT: &str = "the update rule of a trust file";

    /// The rule in words: `2 of (release, security, qa)`.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{} of ({})", self.at_least, self.from.join(", "))
    }

    /// The purl of the release of the file with this number.
    fn purl(&self, number: u64) -> Result<Purl, FormatError> {
        let purl = Purl::parse_logged(&format!("{}@{number}", self.package));
        purl.ok().filter(|purl| purl.name() == self.package).ok_or_else(|| {
            let expected = "a package without version, qualifiers and subpath";
            FormatError::malformed(Self::WHAT, expected, quote(&self.package))
        })
    }

    /// Checks that the rule has one meaning, and can be met by the file's publishers.
    pub(super) fn check(&self, publishers: &Publishers) -> Result<(), FormatError> {
        let Self { package: _, from, at_least } = self;
        let wrong = |expected: &str, seen: String| Err(FormatError::malformed(Self::WHAT, expected, seen));
        let purl = self.purl(1)?;
        cap_count(Self::WHAT, "publishers", from.len(), MAX_REQUIREMENTS)?;
        if let Some(name) = twice(from) {
            return wrong("each publisher once", format!("{} twice", quote(name)));
        }
        let may_state = |publisher: &Publisher| {
            publisher.kinds.contains(&StatementKind::Release(Kind::Trust)) && publisher.covers(&purl)
        };
        let mut able = 0;
        for name in from {
            let named = publishers.list().iter().find(|publisher| publisher.name == *name);
            match named.filter(|publisher| may_state(publisher)) {
                None => {
                    return wrong(
                        "publishers of the file with the right to trust of the package",
                        quote(name),
                    );
                }
                Some(publisher) => able += u64::from(can_sign(publisher, |_| true)),
            }
        }
        if !(1..=able).contains(at_least) {
            let expected = format!("at_least to be 1 to {able}, the number of publishers that can sign");
            return wrong(&expected, at_least.to_string());
        }
        Ok(())
    }

    pub(super) fn parse(mut fields: Fields<'_>) -> Result<Self, FormatError> {
        let rule = Self {
            package: fields.string("package")?,
            from: fields.strings("from")?,
            at_least: fields.integer("at_least")?,
        };
        fields.nothing_else()?;
        Ok(rule)
    }

    pub(super) fn to_json(&self) -> Json<'static> {
        Json::object([
            ("at_least", Json::unsigned(self.at_least)),
            ("from", Json::Array(self.from.iter().map(|name| Json::string(name)).collect())),
            ("package", Json::string(&self.package)),
        ])
    }
}

/// A trust file that does not replace the present one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustUpdateError {
    /// The new file is malformed, or there are too many proofs.
    #[error(transparent)]
    Malformed(FormatError),
    /// The present file can't be replaced.
    #[error(
        "trust file {number} can't be replaced: expected it to say who may change trust (`treehead trust make --may-change`), saw no such rule"
    )]
    NotReplaceable {
        /// The present file's number.
        number: u64,
    },
    /// The new file is older than the present one.
    #[error("the trust file is older than the present one: expected number {expected}, saw {seen}")]
    Rollback {
        /// The number after the present one.
        expected: u64,
        /// The new file's.
        seen: u64,
    },
    /// Files between the present one and the new one are missing.
    #[error("trust files are missing: expected number {expected} first, saw {seen}")]
    Gap {
        /// The number after the present one.
        expected: u64,
        /// The new file's.
        seen: u64,
    },
    /// The new file is about another product.
    #[error("the trust file is of another product: expected updates of {expected}, saw {seen}")]
    OtherPackage {
        /// The present file's package.
        expected: String,
        /// The new file's.
        seen: String,
    },
    /// A release is not proven under the present file's policy.
    #[error("proof {at}: {refusal}", at = at + 1)]
    NotProven {
        /// Position of the proof.
        at: usize,
        /// The reason.
        refusal: Box<Refusal>,
    },
    /// A release is not that of the new file.
    #[error("proof {at} is of another release: expected {expected}, saw {seen}", at = at + 1)]
    OtherRelease {
        /// Position of the proof.
        at: usize,
        /// The release of the new file.
        expected: String,
        /// The release in the proof.
        seen: String,
    },
    /// Too few of the publishers that may change trust signed it.
    #[error("too few publishers signed the trust file: expected {expected}, saw {seen}")]
    TooFewSigners {
        /// The present file's rule, in words.
        expected: String,
        /// Those of its publishers that signed.
        seen: String,
    },
    /// Two different files have the same number.
    #[error(
        "there are two trust files with the number {number}: expected the one that is trusted, SHA-256 {expected}, saw {seen}{}",
        if *is_proven { ", which is signed and logged as well" } else { "" }
    )]
    Fork {
        /// Their number.
        number: u64,
        /// SHA-256 of the present one.
        expected: Hash,
        /// SHA-256 of the other one.
        seen: Hash,
        /// Set if the other one fulfils the present one's rule: its publishers made two files. Both files and the proofs
        /// are the evidence. If it is not set, anyone may have made the other file.
        is_proven: bool,
    },
}

error_codes! { TrustUpdateCode of TrustUpdateError {
    Self::Malformed(_) => Malformed = 650, "trust-malformed";
    Self::NotReplaceable { .. } => NotReplaceable = 651, "trust-not-replaceable";
    Self::Rollback { .. } => Rollback = 652, "trust-rollback";
    Self::Gap { .. } => Gap = 653, "trust-gap";
    Self::OtherPackage { .. } => OtherPackage = 654, "trust-other-package";
    Self::NotProven { .. } => NotProven = 655, "trust-not-proven";
    Self::OtherRelease { .. } => OtherRelease = 656, "trust-other-release";
    Self::TooFewSigners { .. } => TooFewSigners = 657, "trust-too-few-signers";
    Self::Fork { .. } => Fork = 658, "trust-fork";
}}

impl TrustUpdateError {
    /// The next step for the user, in a sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Get the trust file again, as its publishers made it.",
            Self::NotReplaceable { .. } => {
                "Install a new trust file by hand, as the first one was installed."
            }
            Self::Rollback { .. } => "Keep the present trust file; an old one is being passed off as new.",
            Self::Gap { .. } => "Get the trust files between, each with its proof, and take them in order.",
            Self::OtherPackage { .. } => "Get the trust file of this product.",
            Self::NotProven { .. } | Self::OtherRelease { .. } => {
                "Get the proof file that was made when this trust file was published."
            }
            Self::TooFewSigners { .. } => {
                "Wait until more publishers have signed it; if none of them is about to, ask them why one did."
            }
            Self::Fork { is_proven: true, .. } => {
                "Keep both files and the proofs: they prove that publishers signed two trust files with one number."
            }
            Self::Fork { is_proven: false, .. } => {
                "Keep the present trust file; ask where the other one is from."
            }
        }
    }
}

impl TrustFile {
    /// The trust file that follows this one, of its bytes and of the proof files or bundles with the releases that state it,
    /// which are counted together. `None` if it is this very file.
    ///
    /// # Errors
    /// [`TrustUpdateError`]. Two different files with one number are an error, whoever made the other one.
    pub fn succeed(&self, new: &[u8], proofs: &[&[u8]]) -> Result<Option<Self>, TrustUpdateError> {
        let (next, number) = (Self::parse(new).map_err(TrustUpdateError::Malformed)?, self.number());
        let digest = Hash::digest(new);
        let seen = next.number();
        if seen == number {
            let own = Hash::digest(&self.to_bytes());
            if own == digest {
                return Ok(None);
            }
            let is_proven = self.check_update(number, &digest, proofs).is_ok();
            return Err(TrustUpdateError::Fork { number, expected: own, seen: digest, is_proven });
        }
        self.check_number(&next)?;
        self.check_update(seen, &digest, proofs)?;
        self.check_package(&next)?;
        Ok(Some(next))
    }

    /// Checks what a file says, before there is a proof: that it is the next one of the same product, and that this one can
    /// be replaced. A file with the number of this one is an older one, too.
    ///
    /// # Errors
    /// [`TrustUpdateError`].
    #[cfg(feature = "client")]
    pub fn check_successor(&self, next: &Self) -> Result<&UpdateRule, TrustUpdateError> {
        let rule = self.update().ok_or(TrustUpdateError::NotReplaceable { number: self.number() })?;
        self.check_number(next)?;
        self.check_package(next)?;
        Ok(rule)
    }

    /// The publishers that may replace this file and have signed, or would with these keys, by the IDs of the keys.
    #[cfg(feature = "client")]
    #[must_use]
    pub fn signers_with(&self, keyids: &[Hash]) -> Vec<&str> {
        let from = self.update().map_or(&[][..], |rule| rule.from.as_slice());
        let publishers = self.trust().publishers.list();
        let signs = |name: &&str| {
            let named = publishers.iter().find(|publisher| publisher.name == **name);
            named.is_some_and(|publisher| can_sign(publisher, |keyid| keyids.contains(keyid)))
        };
        from.iter().map(String::as_str).filter(signs).collect()
    }

    /// The releases of the file with the next number and this digest, with their leaf indices, if they are proven and enough
    /// publishers signed them: all of [`succeed`](Self::succeed) that can be checked without the file.
    ///
    /// # Errors
    /// [`TrustUpdateError`].
    #[cfg(feature = "client")]
    pub fn releases_of_next(
        &self,
        digest: &Hash,
        proofs: &[&[u8]],
    ) -> Result<Vec<(LeafIndex, Release)>, TrustUpdateError> {
        self.check_update(self.number().saturating_add(1), digest, proofs)
    }

    fn check_number(&self, next: &Self) -> Result<(), TrustUpdateError> {
        let (expected, seen) = (self.number().saturating_add(1), next.number());
        if seen < expected {
            return Err(TrustUpdateError::Rollback { expected, seen });
        }
        if seen > expected {
            return Err(TrustUpdateError::Gap { expected, seen });
        }
        Ok(())
    }

    /// The file was signed by those who may change trust, so what it says is theirs. That it stays with its package keeps
    /// one product's endpoints from becoming another's by a mistake.
    fn check_package(&self, next: &Self) -> Result<(), TrustUpdateError> {
        match (self.update(), next.update()) {
            (Some(own), Some(its)) if own.package != its.package => {
                let (expected, seen) = (own.package.clone(), its.package.clone());
                Err(TrustUpdateError::OtherPackage { expected, seen })
            }
            _ => Ok(()),
        }
    }

    /// Checks that releases of the file with this number and digest are proven, and signed by enough publishers. Returns
    /// those that at least one of them signed.
    fn check_update(
        &self,
        number: u64,
        digest: &Hash,
        proofs: &[&[u8]],
    ) -> Result<Vec<(LeafIndex, Release)>, TrustUpdateError> {
        let rule = self.update().ok_or(TrustUpdateError::NotReplaceable { number: self.number() })?;
        let purl = rule.purl(number).map_err(TrustUpdateError::Malformed)?;
        cap_count("a trust update", "proofs", proofs.len(), MAX_TRUST_PROOFS)
            .map_err(TrustUpdateError::Malformed)?;
        let mut stated = Vec::with_capacity(proofs.len());
        for (at, proof) in proofs.iter().enumerate() {
            let refused = |refusal| TrustUpdateError::NotProven { at, refusal: Box::new(refusal) };
            let proven = Proven::open(proof, self.trust()).map_err(refused)?;
            let origin = proven.head().get().origin.as_str();
            let found = stated.len();
            // Of a bundle, what states other things is of no concern. The last entry is the one to tell of.
            let mut other = None;
            for entry in &proven.entries {
                match read(&entry.entry, origin, (&purl, number, digest)) {
                    Ok((envelope, release)) => stated.push((envelope, (entry.index, release))),
                    Err(not) => other = Some(not),
                }
            }
            if let Some(not) = other.filter(|_| stated.len() == found) {
                return Err(match not {
                    Not::Release(refusal) => refused(refusal),
                    Not::This { expected, seen } => TrustUpdateError::OtherRelease { at, expected, seen },
                });
            }
        }
        let publishers = self.trust().publishers;
        let signs = |envelope: &Envelope, name: &String| publishers.is_signed_by(envelope, name);
        let has_signed = |name: &&String| stated.iter().any(|(envelope, _)| signs(envelope, name));
        let signed: Vec<&str> = rule.from.iter().filter(has_signed).map(String::as_str).collect();
        if signed.len() as u64 >= rule.at_least {
            stated.retain(|(envelope, _)| rule.from.iter().any(|name| signs(envelope, name)));
            return Ok(stated.into_iter().map(|(_, release)| release).collect());
        }
        let seen = if signed.is_empty() { "none of them".to_owned() } else { signed.join(", ") };
        Err(TrustUpdateError::TooFewSigners { expected: rule.in_words(), seen })
    }
}

/// Why an entry does not state a trust file.
enum Not {
    /// It is no release of this log.
    Release(Refusal),
    /// It is another release, in words.
    This { expected: String, seen: String },
}

/// The envelope and the release of an entry that states the file of this purl, number and digest.
fn read(
    entry: &[u8],
    log: &str,
    (purl, number, digest): (&Purl, u64, &Hash),
) -> Result<(Envelope, Release), Not> {
    let malformed = |error| Not::Release(Refusal::EntryMalformed(error));
    let envelope = Envelope::parse_entry(entry).map_err(malformed)?;
    let statement = Statement::parse(envelope.payload()).map_err(malformed)?;
    check_log(&statement, log).map_err(|error| Not::Release(Refusal::Publisher(error)))?;
    let release = match statement {
        Statement::Release(release) => release,
        other => return Err(Not::Release(Refusal::NotARelease { seen: other.kind() })),
    };
    if states(&release, purl, number, digest) {
        return Ok((envelope, release));
    }
    let expected = in_words(Kind::Trust, purl, TRUST_CHANNEL, number, digest, 1);
    let Release { kind, purl, channel, sequence, subjects, .. } = &release;
    let seen = in_words(*kind, purl, channel, *sequence, &subjects[0].sha256, subjects.len());
    Err(Not::This { expected, seen })
}

/// Tells whether a publisher has a key among these that is not revoked, and one of each family that it has to sign with.
fn can_sign(publisher: &Publisher, has: impl Fn(&Hash) -> bool) -> bool {
    let left = publisher.keys.iter().filter(|key| !key.revoked && has(&key.keyid));
    let mut left = left.map(|key| key.public_key().family());
    let has = |family: &KeyFamily| left.clone().any(|seen| seen == *family);
    publisher.require_signatures.iter().all(has) && left.next().is_some()
}

/// Tells whether a release is that of the trust file with this number and digest, for everyone.
fn states(release: &Release, wanted: &Purl, number: u64, digest: &Hash) -> bool {
    // The pattern lists every field, so that a new one can't be forgotten. Where the file was made, and lies, is of no
    // concern.
    let Release {
        subjects,
        purl,
        kind,
        channel,
        sequence,
        source: _,
        manifest,
        audience,
        location: _,
        log: _,
    } = release;
    let is_file = matches!(&**subjects, [subject] if subject.sha256 == *digest);
    let is_whole = manifest.is_none() && audience.is_none();
    (*kind, &**channel, *sequence) == (Kind::Trust, TRUST_CHANNEL, number)
        && purl == wanted
        && is_file
        && is_whole
}

fn in_words(kind: Kind, purl: &Purl, channel: &str, sequence: u64, digest: &Hash, subjects: usize) -> String {
    let digest = digest.to_hex();
    let more = if subjects == 1 { "" } else { " and others" };
    format!("{kind} {purl}, channel {channel}, sequence {sequence}, of the file with SHA-256 {digest}{more}")
}

#[cfg(test)]
pub(super) mod tests;
