//! `treehead verify --online`: what the log knows of withdrawals.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::online::Online;
use super::refused::Refused;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::cli::exit::Failure;
use crate::cli::output::say;
use crate::client::{Found, KeptTiles};
use crate::merkle::Hash;
use crate::policy::Cosigned;
use crate::proof_file::ProofFile;
use crate::release::{Purl, Release, SpeakError, Subject, Withdrawal};
use crate::state::EndpointState;
use crate::verify::{ProvenWithdrawal, Refusal, logged_withdrawal, verify_withdrawal};

/// Most withdrawals of one release to fetch in one run. Known ones are not fetched again, so with a memory
/// several runs learn more.
const MAX_OF_RELEASE: usize = 200;
/// Most withdrawals of other releases of its package that are fetched in one run.
const MAX_OF_PACKAGE: usize = 200;

/// The release that is asked about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    pub release: &'a Release,
    pub leaf: &'a Hash,
}

/// Where withdrawals are learnt, and what is known already.
pub struct Inquiry<'a> {
    pub online: &'a Online<'a>,
    pub state: &'a EndpointState,
    pub latest: &'a LogSigned<Checkpoint>,
    pub tiles: &'a KeptTiles<'a>,
}

/// What was learnt.
#[derive(Default)]
pub struct Withdrawals {
    pub proven: Vec<ProvenWithdrawal>,
    /// Why the release may be withdrawn by a publisher whom the publishers file does not list yet, or no longer
    /// lists.
    pub doubt: Option<String>,
    /// Whether the log has a search, so that it said something of withdrawals at all.
    pub asked: bool,
    /// Heads of their proofs that are newer than the newest one that was fetched before.
    pub newer: Vec<Cosigned<Checkpoint>>,
    /// Statements that were looked at.
    seen: Vec<Hash>,
    /// Entries that are withdrawn, by leaf hash.
    released: BTreeMap<Hash, Vec<u8>>,
}

impl Withdrawals {
    fn are_of(&self, leaf: &Hash) -> bool {
        self.proven.iter().any(|known| known.withdrawal().leaf == *leaf)
    }
}

impl Inquiry<'_> {
    /// The withdrawals of a release and of others of its package that are not known yet. That a log hides one
    /// can't be seen here: monitors see it.
    ///
    /// Checks all withdrawals of this release: any that is left unchecked leaves a doubt. Learns as many as fit
    /// of other releases, which this endpoint may meet later without the network.
    pub fn learn(&self, about: About<'_>) -> Result<Withdrawals, Refused> {
        let About { release, leaf } = about;
        let (leaf_hex, package) = (leaf.to_hex(), release.purl.package());
        let digest = release.subjects.first().map(|subject| subject.sha256.to_hex());
        let (in_package, kind) = (("package", package.as_str()), ("kind", "withdrawal"));
        let mut same_artifact = vec![in_package, ("version", release.purl.version()), kind];
        same_artifact.extend(digest.as_deref().map(|digest| ("digest", digest)));
        let mut learnt = Withdrawals { asked: true, ..Withdrawals::default() };
        // The second finds the same release under another leaf.
        for terms in [&[("withdraws", leaf_hex.as_str())][..], &same_artifact] {
            let Some(found) = self.search(terms)? else {
                let url = self.online.client.prefix();
                say(&format!("{url} has no search, so nothing is known of withdrawals"));
                return Ok(Withdrawals::default());
            };
            let is_whole =
                self.look_at_all(&found, MAX_OF_RELEASE, about, &mut learnt, |purl| *purl == release.purl)?;
            if learnt.are_of(leaf) {
                return Ok(learnt);
            }
            if !is_whole && learnt.doubt.is_none() {
                learnt.doubt = Some(format!(
                    "{} has more withdrawals of {} than one run checks ({MAX_OF_RELEASE} new ones, out of {} statements), and none so far is of this release; with --state, run the command again to continue, otherwise tell the log's operator",
                    self.online.client.prefix(),
                    release.purl,
                    found.rows.len(),
                ));
            }
        }
        if learnt.doubt.is_some() {
            return Ok(learnt);
        }
        let Some(found) = self.search(&[in_package, kind])? else { return Ok(learnt) };
        if !self.look_at_all(&found, MAX_OF_PACKAGE, about, &mut learnt, |_| true)? {
            say(&format!(
                "{package} has more withdrawals than one run checks: older ones of other releases stay unknown"
            ));
        }
        Ok(learnt)
    }

    fn search(&self, terms: &[(&str, &str)]) -> Result<Option<Found>, Failure> {
        Ok(self.online.client.search(terms, None, self.latest.get().size)?)
    }

    /// Checks at most so many of those about the given purl; returns whether there were no more. Stops at one
    /// that is of this very release.
    fn look_at_all(
        &self,
        found: &Found,
        most: usize,
        about: About<'_>,
        learnt: &mut Withdrawals,
        is_asked_for: impl Fn(&Purl) -> bool,
    ) -> Result<bool, Refused> {
        let enough = learnt.seen.len() + most;
        for row in found.rows.iter().filter(|row| row.purl().is_none_or(|purl| is_asked_for(&purl))) {
            let origin = self.latest.get().origin.as_str();
            if learnt.seen.contains(&row.leaf) || self.state.knows_withdrawal(origin, &row.leaf) {
                continue;
            }
            if learnt.seen.len() == enough {
                return Ok(false);
            }
            learnt.seen.push(row.leaf);
            self.look(&row.leaf, about, learnt)?;
            if learnt.are_of(about.leaf) {
                break;
            }
        }
        Ok(found.is_whole)
    }

    /// Fetches a withdrawal that is not known yet, and verifies it.
    fn look(&self, statement: &Hash, about: About<'_>, learnt: &mut Withdrawals) -> Result<(), Refused> {
        let proof = self.online.client.proof_of(statement)?;
        self.check_answer(statement, &proof)?;
        match verify_withdrawal(&proof, self.online.policy, self.online.publishers) {
            Ok(withdrawal) => {
                let head = withdrawal.head();
                if head.get().size > self.latest.get().size && !learnt.newer.contains(head) {
                    learnt.newer.push(head.clone());
                }
                learnt.proven.push(self.with_release(withdrawal, &mut learnt.released)?);
            }
            Err(e) if self.is_doubt(&e, &proof, about) => {
                learnt.doubt = Some(format!(
                    "the log has a withdrawal of this very release, but its publisher is not trusted here ({}): {e}; update publishers.toml and run the command again",
                    e.code()
                ));
            }
            // Its publisher may not be trusted here; then it withdraws nothing.
            Err(e) => say(&format!("ignored a withdrawal ({}): {e}", e.code())),
        }
        Ok(())
    }

    /// Also fetches the withdrawn entry: the withdrawal names its leaf hash, so it needs no proof. With it, the
    /// withdrawal also applies to the same release without the signature of the publisher who withdrew it.
    fn with_release(
        &self,
        withdrawal: ProvenWithdrawal,
        released: &mut BTreeMap<Hash, Vec<u8>>,
    ) -> Result<ProvenWithdrawal, Refused> {
        let leaf = withdrawal.withdrawal().leaf;
        // Many may be of one release.
        let entry = match released.entry(leaf) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let proof = self.online.client.proof_of(&leaf)?;
                let file = ProofFile::parse(&proof).ok();
                unknown.insert(file.and_then(|file| file.extra).unwrap_or_default())
            }
        };
        Ok(withdrawal.with_release(entry, self.online.publishers))
    }

    /// Whether the log's answer is about what it was asked for, under a head of the history that it shows
    /// elsewhere. Malformed or unsigned parts are refused as in any proof.
    fn check_answer(&self, statement: &Hash, proof: &[u8]) -> Result<(), Refused> {
        let Ok(file) = ProofFile::parse(proof) else { return Ok(()) };
        let other = |what: &str, expected: &str, seen: &str| {
            let url = self.online.client.prefix();
            Failure::CouldNotTell(format!(
                "{url} answered with the proof of another {what}: expected {expected}, saw {seen}; nothing is known of withdrawals: tell the log's operator"
            ))
        };
        if let Some(seen) = file.extra.as_deref().map(Hash::leaf).filter(|seen| seen != statement) {
            return Err(other("leaf", &statement.to_hex(), &seen.to_hex()).into());
        }
        let keys = self.online.policy.log_keys();
        let Ok(head) = checkpoint::open_note(file.checkpoint, &keys) else { return Ok(()) };
        let (expected, seen) = (self.latest.get(), head.get());
        if seen.origin != expected.origin {
            return Err(other("log", expected.origin.as_str(), seen.origin.as_str()).into());
        }
        let in_order = if seen.size <= expected.size { (&head, self.latest) } else { (self.latest, &head) };
        self.online.compare_signed(self.tiles, in_order.0, in_order.1, &keys)
    }

    /// Whether a withdrawal is of this release, under this leaf or another, in the log, and lacks nothing but a
    /// publisher who is known here. The log takes one only from a signer of the release, and all of those are believed: so it is
    /// likely that its key is newer than the publishers file.
    fn is_doubt(&self, why: &Refusal, proof: &[u8], about: About<'_>) -> bool {
        let of_key =
            matches!(why, Refusal::Publisher(SpeakError::UnknownKey { .. } | SpeakError::KeyRevoked { .. }));
        let is_of = |withdrawal: &Withdrawal| {
            let artifacts = |subjects: &[Subject]| Subject::digest_of_all(subjects);
            let same = artifacts(&withdrawal.subjects) == artifacts(&about.release.subjects);
            (withdrawal.leaf == *about.leaf || same) && withdrawal.purl == about.release.purl
        };
        of_key && logged_withdrawal(proof, self.online.policy).as_ref().is_some_and(is_of)
    }
}
