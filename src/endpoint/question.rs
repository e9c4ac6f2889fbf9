//! An endpoint's question: an artifact and its proof, and the release that the endpoint wants.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use core::fmt;

use crate::checkpoint::policy::Policy;
use crate::format::FormatError;
use crate::merkle::{Hash, MultiProof};
use crate::release::{Kind, ManifestRef, PackageUrl, Publishers, Purl, PurlPattern, Release, Timestamp};

use super::{Refusal, Requirement};

/// The artifact about to be installed.
#[derive(Debug, Clone, Copy)]
pub enum Artifact<'a> {
    /// One file, which must be a subject of the statement.
    File {
        /// Its SHA-256.
        digest: &'a Hash,
        /// The file's path or name, as far as it is known. A file with the name of another subject is refused;
        /// a name that matches no subject is ignored.
        name: Option<&'a str>,
    },
    /// Files of a release with a manifest: path and SHA-256 of each, in the proof's order. The proof covers the
    /// path, so a file under another file's path is not in the manifest.
    Files(&'a [(String, Hash)], &'a MultiProof),
    /// A whole manifest: what it refers to, and the SHA-256 of its file.
    Manifest(&'a ManifestRef, &'a Hash),
}

/// Most seconds that a witness's clock may be ahead of the endpoint's: five minutes, as Kerberos allows.
pub const FUTURE_ALLOWANCE_SECONDS: u64 = 300;

/// The endpoint's time, and the age limit of a proof.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// The endpoint's time.
    pub now: Timestamp,
    /// Most seconds since a quorum of witnesses cosigned; `None` for any age.
    pub max_age: Option<u64>,
}

/// Which release the endpoint wants: a genuine release of another product is the wrong one.
///
/// Each part that is set must match exactly. `None` matches anything, with two safe exceptions: a release for a
/// limited audience is refused unless that audience is set, and so is a release in another channel than the one
/// the endpoint follows, unless that channel is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pins<'a> {
    /// The package, or the very release.
    pub package: Option<&'a PackagePin>,
    /// The channel, as in `stable`.
    pub channel: Option<&'a str>,
    /// The kind of release.
    pub kind: Option<Kind>,
    /// Name of the publisher that must state the release, as in the publishers file.
    pub publisher: Option<&'a str>,
    /// The lowest acceptable sequence number.
    pub min_sequence: Option<u64>,
    /// The audience that the release must be for.
    pub audience: Option<&'a str>,
    /// Name of the artifact, exactly as the statement has it, or path in the manifest.
    pub name: Option<&'a str>,
}

/// The package that the endpoint wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackagePin {
    /// This version, with exactly these qualifiers, or none.
    Release(Purl),
    /// Any version of a package, or of all that a pattern covers.
    Pattern(PurlPattern),
}

impl PackagePin {
    /// Reads a purl with a version, or a pattern without one.
    ///
    /// # Errors
    /// [`FormatError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        // A `*` that is a part of a name or version is written `%2A`.
        if text.contains('*') || PackageUrl::parse_logged(text)?.version().is_none() {
            return PurlPattern::parse(text).map(Self::Pattern);
        }
        Purl::parse_logged(text).map(Self::Release)
    }

    /// Reports whether the purl of a release matches.
    #[must_use]
    pub fn covers(&self, purl: &Purl) -> bool {
        match self {
            Self::Release(wanted) => wanted == purl,
            Self::Pattern(pattern) => pattern.covers(purl),
        }
    }
}

impl fmt::Display for PackagePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(purl) => f.write_str(purl.as_str()),
            Self::Pattern(pattern) => f.write_str(pattern.as_str()),
        }
    }
}

impl Pins<'_> {
    /// Checks that this is the wanted release; its artifacts are checked elsewhere.
    pub(super) fn check(&self, release: &Release, publishers: &[String]) -> Result<(), Refusal> {
        if let Some(package) = self.package.filter(|package| !package.covers(&release.purl)) {
            let (expected, seen) = (package.to_string(), release.purl.to_string());
            return Err(Refusal::OtherPackage { expected, seen });
        }
        if let Some(publisher) = self.publisher.filter(|wanted| publishers.iter().all(|name| name != wanted))
        {
            let (expected, seen) = (publisher.to_owned(), publishers.join(" and "));
            return Err(Refusal::OtherPublisher { expected, seen });
        }
        if let Some(expected) = self.kind.filter(|kind| *kind != release.kind) {
            return Err(Refusal::OtherKind { expected, seen: release.kind });
        }
        if let Some(channel) = self.channel.filter(|channel| *channel != release.channel) {
            let (expected, seen) = (channel.to_owned(), release.channel.clone());
            return Err(Refusal::OtherChannel { expected, seen, followed: false });
        }
        if self.audience != release.audience.as_deref() {
            let owned = |audience: Option<&str>| audience.map(ToOwned::to_owned);
            let (expected, seen) = (owned(self.audience), release.audience.clone());
            return Err(Refusal::OtherAudience { expected, seen });
        }
        match self.min_sequence.filter(|least| release.sequence < *least) {
            Some(expected) => Err(Refusal::BelowMinSequence { expected, seen: release.sequence }),
            None => Ok(()),
        }
    }
}

/// A question about one artifact.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The artifact about to be installed.
    pub artifact: Artifact<'a>,
    /// Bytes of the `.tlog-proof` file that came with it.
    pub proof: &'a [u8],
    /// The endpoint's time, and the age limit.
    pub freshness: Freshness,
    /// Which release the endpoint wants, as far as it is known.
    pub pins: Pins<'a>,
}

/// The logs, witnesses and publishers that an endpoint trusts, and the attestations that it asks for.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// Trusted logs, witnesses and quorum.
    pub policy: &'a Policy,
    /// Trusted publishers.
    pub publishers: &'a Publishers,
    /// The requirements on a release besides its proof; empty if there is no trust file that asks for anything.
    pub gate: &'a [Requirement],
}
