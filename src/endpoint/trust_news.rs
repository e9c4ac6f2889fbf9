//! Newer trust files: an endpoint that is online asks the log for the releases of the next numbers.
//!
//! The log keeps the release of a trust file, which has its SHA-256 and may have its address, not the file. So the endpoint
//! checks the releases first, under the present file, then fetches the file from an address that a publisher of the present
//! file signed, and compares the digest. A log can hide a release; it can't make one.

use std::path::Path;
use std::time::Duration;

use super::trust_dir::{TrustDir, TrustDirError};
use super::{MAX_TRUST_BYTES, MAX_TRUST_PROOFS, TRUST_CHANNEL, TrustFile, TrustUpdateError};
use crate::client::{ClientError, FoundRow, LogClient, fetch_file};
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Kind, Release};

/// Most trust files that are learned at once. An endpoint that was off for years catches up in a few calls, and one call
/// ends: each file costs a search, proofs, and up to [`MAX_TRUST_BYTES`].
pub const MAX_TRUST_STEPS: u64 = 64;
/// Most different files of one number that are tried: each publisher of the rule can state another one.
const MAX_CANDIDATES: usize = 8;
/// Most addresses of one file that are tried.
const MAX_LOCATIONS: usize = 4;
/// Time limit of a request to the log: the verdict waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tries at a busy log.
const TRIES: u32 = 3;

/// The result of asking a log for newer trust files.
#[derive(Debug)]
pub struct TrustNews {
    /// The trust file that counts.
    pub trusted: TrustFile,
    /// The number of the one that counted before.
    pub before: u64,
    /// Set if there is, or may be, a newer one. No reason to refuse anything: the trusted file counts.
    pub unlearned: Option<Unlearned>,
}

/// Why an endpoint could not learn a newer trust file, or tell that there is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unlearned {
    /// No log was named, and the trust file has no address.
    #[error("the trust file has no address of a log to ask for newer trust files")]
    NoAddress,
    /// The log did not answer.
    #[error("could not ask for newer trust files: {0}")]
    NotAsked(ClientError),
    /// The log has no search, as a static copy.
    #[error("could not ask for newer trust files: {address} has no search")]
    NoSearch {
        /// The address asked.
        address: String,
    },
    /// The log has releases of the next number, and none is proven and signed as it takes.
    #[error("{address} has a release of trust file {number} that does not count: {error}")]
    Refused {
        /// The address asked.
        address: String,
        /// The number.
        number: u64,
        /// The reason.
        error: TrustUpdateError,
    },
    /// The next trust file is proven and signed, and its bytes are not at hand.
    #[error(
        "there is a newer trust file: {address} has number {number} as leaf {index}, signed as it takes{}; get the file with SHA-256 {}",
        because(why.as_deref()),
        digest.to_hex()
    )]
    NotAtHand {
        /// The address asked.
        address: String,
        /// The number.
        number: u64,
        /// The leaf of its first release.
        index: LeafIndex,
        /// The file's SHA-256.
        digest: Hash,
        /// Why it was not fetched. `None` if no release says where it lies.
        why: Option<String>,
    },
    /// The file came and was refused, or it could not be kept.
    #[error("trust file {number} was not learned: {error}")]
    NotKept {
        /// The number.
        number: u64,
        /// The reason.
        error: Box<TrustDirError>,
    },
    /// There are more than [`MAX_TRUST_STEPS`].
    #[error("there may be newer trust files after number {number}: this is as far as one call goes")]
    More {
        /// The number that is trusted.
        number: u64,
    },
}

fn because(why: Option<&str>) -> String {
    why.map_or_else(
        || ", and no release says where it lies".to_owned(),
        |why| format!(", and could not be fetched ({why})"),
    )
}

impl Unlearned {
    /// A stable code for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoAddress | Self::NotAsked(_) | Self::NoSearch { .. } => "not-asked",
            Self::Refused { error, .. } => error.code().as_str(),
            Self::NotAtHand { .. } => "not-at-hand",
            Self::NotKept { .. } => "not-kept",
            Self::More { .. } => "more",
        }
    }

    /// The number of the newer file, if one is known to exist.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::NotAtHand { number, .. } | Self::NotKept { number, .. } => Some(*number),
            _ => None,
        }
    }
}

/// The next trust file, proven and signed.
struct Next {
    address: String,
    number: u64,
    digest: Hash,
    /// Its releases in the log, which at least one publisher of the rule signed.
    releases: Vec<(LeafIndex, Release)>,
    proofs: Vec<Vec<u8>>,
}

impl TrustDir {
    /// Asks the log at `address`, or each log of the trust file at its address there, for the files that follow the one that
    /// counts, and learns them one after the other. Files in `at_hand` are not fetched.
    ///
    /// # Errors
    /// [`TrustDirError`], if the file that counts can't be determined. Whatever the network does is no error: the file that
    /// counts is as good as before, and [`TrustNews::unlearned`] says what is missing.
    pub fn learn_online(
        &self,
        given: &TrustFile,
        address: Option<&str>,
        at_hand: &[Vec<u8>],
        on_wait: &dyn Fn(&Path),
    ) -> Result<TrustNews, TrustDirError> {
        let mut trusted = self.newest(given.clone())?;
        let (before, mut unlearned) = (trusted.number(), None);
        for step in 0..=MAX_TRUST_STEPS {
            let next = match ask(&trusted, address) {
                Ok(Some(_)) if step == MAX_TRUST_STEPS => Err(Unlearned::More { number: trusted.number() }),
                Ok(Some(next)) => self.take(given, &next, at_hand, on_wait),
                Ok(None) => break,
                Err(unlearned) => Err(unlearned),
            };
            match next {
                Ok(next) => trusted = next,
                Err(why) => {
                    unlearned = Some(why);
                    break;
                }
            }
        }
        Ok(TrustNews { trusted, before, unlearned })
    }

    /// Learns a file, which is at hand or fetched.
    fn take(
        &self,
        given: &TrustFile,
        next: &Next,
        at_hand: &[Vec<u8>],
        on_wait: &dyn Fn(&Path),
    ) -> Result<TrustFile, Unlearned> {
        let Next { address, number, digest, releases, proofs } = next;
        let found = at_hand.iter().find(|bytes| Hash::digest(bytes) == *digest).cloned();
        let bytes = found.map_or_else(|| fetch(releases, digest), Ok).map_err(|why| {
            let (address, (index, _)) = (address.clone(), &releases[0]);
            Unlearned::NotAtHand { address, number: *number, index: *index, digest: *digest, why }
        })?;
        let proofs: Vec<&[u8]> = proofs.iter().map(Vec::as_slice).collect();
        let learned = self.learn(given.clone(), &bytes, &proofs, on_wait);
        learned.map_err(|error| Unlearned::NotKept { number: *number, error: Box::new(error) })
    }
}

/// Fetches the file with this digest from one of the addresses that its releases name. The error says why that failed, if
/// there is one.
fn fetch(releases: &[(LeafIndex, Release)], digest: &Hash) -> Result<Vec<u8>, Option<String>> {
    let mut locations: Vec<&str> = Vec::new();
    for location in releases.iter().filter_map(|(_, release)| release.location.as_deref()) {
        if !locations.contains(&location) {
            locations.push(location);
        }
    }
    let mut why = None;
    for location in locations.into_iter().take(MAX_LOCATIONS) {
        match fetch_file(location, MAX_TRUST_BYTES) {
            Ok(bytes) if Hash::digest(&bytes) == *digest => return Ok(bytes),
            Ok(_) => why = Some(format!("{location} has another file")),
            Err(error) => why = Some(error.to_string()),
        }
    }
    Err(why)
}

/// Asks for the file after this one. `None` if no log has it.
fn ask(trusted: &TrustFile, address: Option<&str>) -> Result<Option<Next>, Unlearned> {
    if trusted.update().is_none() {
        return Ok(None);
    }
    let logs = trusted.trust().policy.logs();
    let mut addresses: Vec<&str> = match address {
        Some(address) => vec![address],
        None => logs.iter().filter_map(|log| log.url.as_deref()).collect(),
    };
    addresses.dedup();
    let mut unlearned = if addresses.is_empty() { Some(Unlearned::NoAddress) } else { None };
    for address in addresses {
        match ask_at(trusted, address) {
            Ok(Some(next)) => return Ok(Some(next)),
            Ok(None) => {}
            Err(error) => unlearned = unlearned.or(Some(error)),
        }
    }
    unlearned.map_or(Ok(None), Err)
}

fn ask_at(trusted: &TrustFile, address: &str) -> Result<Option<Next>, Unlearned> {
    let Some(rule) = trusted.update() else { return Ok(None) };
    let number = trusted.number() + 1;
    let client = LogClient::builder().timeout(TIMEOUT).tries(TRIES).build(address);
    let client = client.map_err(Unlearned::NotAsked)?;
    // Search results must be for a tree of at least this size: caches keep old ones.
    let keys = trusted.trust().policy.log_keys();
    let size = client.checkpoint(&keys).map_err(Unlearned::NotAsked)?.get().size;
    let version = number.to_string();
    let terms = [
        ("kind", Kind::Trust.as_str()),
        ("package", rule.package.as_str()),
        ("version", version.as_str()),
        ("channel", TRUST_CHANNEL),
    ];
    let found = client.search(&terms, None, size).map_err(Unlearned::NotAsked)?;
    let found = found.ok_or_else(|| Unlearned::NoSearch { address: address.to_owned() })?;
    let wanted = |row: &FoundRow| row.sequence == Some(number) && row.artifacts.len() == 1;
    // The first one first: later ones repeat it, or come too late.
    let rows: Vec<FoundRow> = found.rows.into_iter().rev().filter(wanted).collect();
    let mut digests: Vec<Hash> = Vec::new();
    for row in &rows {
        if !digests.contains(&row.artifacts[0]) {
            digests.push(row.artifacts[0]);
        }
    }
    let mut refused = None;
    for digest in digests.into_iter().take(MAX_CANDIDATES) {
        let of_file = rows.iter().filter(|row| row.artifacts[0] == digest).take(MAX_TRUST_PROOFS);
        let proofs = of_file.map(|row| client.proof_of(&row.leaf)).collect::<Result<Vec<_>, _>>();
        let proofs = proofs.map_err(Unlearned::NotAsked)?;
        let slices: Vec<&[u8]> = proofs.iter().map(Vec::as_slice).collect();
        match trusted.releases_of_next(&digest, &slices) {
            Ok(releases) => {
                let address = address.to_owned();
                return Ok(Some(Next { address, number, digest, releases, proofs }));
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let address = address.to_owned();
    refused.map_or(Ok(None), |error| Err(Unlearned::Refused { address, number, error }))
}
