//! Asks a log for withdrawals.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::check_error::{CheckError, Notice};
use super::inquiry::Inquiry;
use super::{
    EndpointState, ProvenWithdrawal, Refusal, VerifiedRelease, logged_withdrawal, verify_withdrawal,
};
use crate::checkpoint::policy::Cosigned;
use crate::checkpoint::{self, Checkpoint};
use crate::merkle::Hash;
use crate::proof::ProofFile;
use crate::release::{Purl, StatementError, Subject, Withdrawal};

/// Most withdrawals of one release, and most of others of its package, to fetch in one run. Known ones are not fetched
/// again, so with a memory several runs learn more.
const MAX_NEW: usize = 200;

impl VerifiedRelease {
    /// Returns true if the withdrawal names this very leaf. The log accepts such a withdrawal only from a signer.
    fn is_leaf_of(&self, withdrawal: &Withdrawal) -> bool {
        withdrawal.leaf == *self.leaf()
    }

    /// Reports whether one of the release's signers withdraws.
    fn is_by_signer(&self, withdrawal: &ProvenWithdrawal) -> bool {
        withdrawal.publishers().iter().any(|publisher| self.signers().contains(publisher))
    }
}

/// The purpose of a search.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Withdrawals of the release, by its signers.
    Release,
    /// Those of its package, by any publisher.
    Package,
}

/// The end of a search.
enum End {
    /// All results were checked.
    All,
    /// There are more new withdrawals than one run checks. Holds the number of statements found.
    Cap(usize),
    /// The search did not end. Holds the number of statements found.
    Endless(usize),
}

/// The result of an inquiry about one release.
#[derive(Default)]
pub(super) struct Withdrawals {
    pub proven: Vec<ProvenWithdrawal>,
    /// Set if a publisher that the publishers file does not list, or no longer lists, may have withdrawn the release.
    pub doubt: Option<CheckError>,
    /// Set if the log has a search, and so answered about withdrawals.
    pub asked: bool,
    /// Heads of their proofs that are newer than the newest one that was fetched before.
    pub newer: Vec<Cosigned<Checkpoint>>,
    /// Statements that were checked.
    seen: Vec<Hash>,
    /// Entries that are withdrawn, by leaf hash.
    released: BTreeMap<Hash, Vec<u8>>,
}

impl Withdrawals {
    fn are_of(&self, about: &VerifiedRelease) -> bool {
        self.proven.iter().any(|known| about.is_leaf_of(known.withdrawal()) && about.is_by_signer(known))
    }
}

impl Inquiry<'_> {
    /// Learns the new withdrawals of a release and of other releases of its package. An endpoint cannot notice that a
    /// log hides one; monitors can.
    ///
    /// Checks all withdrawals of this release: any that is left unchecked leaves a doubt. Learns as many as fit
    /// of other releases, which this endpoint may meet later without the network.
    pub fn learn(&self, state: &EndpointState, about: &VerifiedRelease) -> Result<Withdrawals, CheckError> {
        let release = about.release();
        let (leaf_hex, package) = (about.leaf().to_hex(), release.purl.package());
        let digest = release.subjects.first().map(|subject| subject.sha256.to_hex());
        let (in_package, kind) = (("package", package.as_str()), ("kind", "withdrawal"));
        let mut same_artifact = vec![in_package, ("version", release.purl.version()), kind];
        same_artifact.extend(digest.as_deref().map(|digest| ("digest", digest)));
        // The log may know a signer under another name. Older logs find publishers by name only.
        let keyids = about.keyids().iter().map(Hash::to_hex);
        let signers: Vec<String> = about.signers().iter().cloned().chain(keyids).collect();
        let mut searches = vec![vec![("withdraws", leaf_hex.as_str())]];
        // These find the same release under another leaf.
        searches.extend(signers.iter().map(|signer| [&same_artifact[..], &[("publisher", signer)]].concat()));
        let mut learnt = Withdrawals { asked: true, ..Withdrawals::default() };
        for terms in &searches {
            let Some(end) = self.look_at_all(terms, Scope::Release, (state, about), &mut learnt)? else {
                self.endpoint.tell(&Notice::NoSearch { address: self.log.address() });
                return Ok(Withdrawals::default());
            };
            if learnt.are_of(about) {
                return Ok(learnt);
            }
            learnt.doubt = learnt.doubt.take().or_else(|| self.unfinished(&end, &release.purl));
        }
        if learnt.doubt.is_some() {
            return Ok(learnt);
        }
        if !matches!(
            self.look_at_all(&[in_package, kind], Scope::Package, (state, about), &mut learnt)?,
            None | Some(End::All)
        ) {
            self.endpoint.tell(&Notice::MoreWithdrawals { package: &package });
        }
        Ok(learnt)
    }

    /// The doubt that an unfinished search leaves.
    fn unfinished(&self, end: &End, purl: &Purl) -> Option<CheckError> {
        let (address, purl) = (self.log.address().to_owned(), purl.to_string());
        match *end {
            End::All => None,
            End::Cap(found) => Some(CheckError::TooManyWithdrawals { address, purl, most: MAX_NEW, found }),
            End::Endless(found) => Some(CheckError::EndlessSearch { address, purl, found }),
        }
    }

    /// Checks the new withdrawals that a search finds, up to a limit. Stops at one of this very release. `None` if the
    /// log has no search.
    fn look_at_all(
        &self,
        terms: &[(&str, &str)],
        scope: Scope,
        (state, about): (&EndpointState, &VerifiedRelease),
        learnt: &mut Withdrawals,
    ) -> Result<Option<End>, CheckError> {
        let enough = learnt.seen.len() + MAX_NEW;
        let tree = self.latest.get();
        let is_asked_for = |purl: Purl| scope == Scope::Package || purl == about.release().purl;
        let (mut before, mut count, mut met) = (None, 0, BTreeSet::new());
        loop {
            let Some(found) = self.log.search(terms, before, tree.size)? else { return Ok(None) };
            count += found.rows.len();
            let met_before = met.len();
            for row in found.rows.iter().filter(|row| row.purl().is_none_or(is_asked_for)) {
                met.insert(row.leaf);
                if learnt.seen.contains(&row.leaf) || state.knows_withdrawal(tree.origin.as_str(), &row.leaf)
                {
                    continue;
                }
                if learnt.seen.len() == enough {
                    return Ok(Some(End::Cap(count)));
                }
                learnt.seen.push(row.leaf);
                self.look(&row.leaf, scope, about, learnt)?;
                if learnt.are_of(about) {
                    return Ok(Some(End::All));
                }
            }
            if found.is_whole() {
                return Ok(Some(End::All));
            }
            // Skips known ones without a limit: there are no more than the memory holds, and new ones have their limit.
            if met.len() == met_before {
                return Ok(Some(End::Endless(count)));
            }
            before = found.next;
        }
    }

    /// Fetches and verifies a new withdrawal.
    fn look(
        &self,
        statement: &Hash,
        scope: Scope,
        about: &VerifiedRelease,
        learnt: &mut Withdrawals,
    ) -> Result<(), CheckError> {
        let proof = self.log.proof_of(statement)?;
        self.check_answer(statement, &proof)?;
        match verify_withdrawal(&proof, self.endpoint.trust()) {
            Ok(withdrawal) => {
                let head = withdrawal.head();
                if head.get().size > self.latest.get().size && !learnt.newer.contains(head) {
                    learnt.newer.push(head.clone());
                }
                if about.is_leaf_of(withdrawal.withdrawal()) && !about.is_by_signer(&withdrawal) {
                    learnt.doubt = Some(CheckError::OtherSigner {
                        expected: about.signers().join(" or "),
                        seen: withdrawal.publishers().join(" and "),
                    });
                }
                learnt.proven.push(self.with_release(withdrawal, &mut learnt.released));
            }
            Err(e) if self.is_doubt(&e, &proof, scope, about) => {
                learnt.doubt = Some(CheckError::UntrustedWithdrawal(e));
            }
            // A withdrawal by an untrusted publisher withdraws nothing.
            Err(e) => self.endpoint.tell(&Notice::IgnoredWithdrawal(&e)),
        }
        Ok(())
    }

    /// Also fetches the withdrawn entry: the withdrawal names its leaf hash, so it needs no proof. With it, the
    /// withdrawal also applies to the same release without the signature of the publisher who withdrew it. If the
    /// log does not send it, the withdrawal counts all the same.
    fn with_release(
        &self,
        withdrawal: ProvenWithdrawal,
        released: &mut BTreeMap<Hash, Vec<u8>>,
    ) -> ProvenWithdrawal {
        let leaf = withdrawal.withdrawal().leaf;
        // Several withdrawals may name one release.
        let entry = match released.entry(leaf) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let proof = self.log.proof_of(&leaf);
                if let Err(error) = &proof {
                    self.endpoint.tell(&Notice::EntryNotFetched { leaf, error });
                }
                let file = proof.ok().and_then(|proof| ProofFile::parse(&proof).ok());
                unknown.insert(file.and_then(|file| file.extra).unwrap_or_default())
            }
        };
        withdrawal.with_release(entry, self.endpoint.trust().publishers)
    }

    /// Checks that the log answered about the entry asked for, under a head of the history that it shows elsewhere.
    /// The verification refuses malformed or unsigned parts later, as in any proof.
    fn check_answer(&self, statement: &Hash, proof: &[u8]) -> Result<(), CheckError> {
        let Ok(file) = ProofFile::parse(proof) else { return Ok(()) };
        let other = |what: &'static str, expected: &str, seen: &str| CheckError::AnotherProof {
            address: self.log.address().to_owned(),
            what,
            expected: expected.to_owned(),
            seen: seen.to_owned(),
        };
        if let Some(seen) = file.extra.as_deref().map(Hash::leaf).filter(|seen| seen != statement) {
            return Err(other("leaf", &statement.to_hex(), &seen.to_hex()));
        }
        let keys = self.endpoint.trust().policy.log_keys();
        let Ok(head) = checkpoint::open_note(file.checkpoint, &keys) else { return Ok(()) };
        let latest = self.latest;
        let (expected, seen) = (latest.get(), head.get());
        if seen.origin != expected.origin {
            return Err(other("log", expected.origin.as_str(), seen.origin.as_str()));
        }
        let (older, newer) = if seen.size <= expected.size { (&head, latest) } else { (latest, &head) };
        self.signed(older, newer)
    }

    /// Reports whether a withdrawal of this release is in the log and lacks only a publisher who is trusted here. The
    /// log accepts one only from a signer of the release, and all of those are trusted: so its key or its right is
    /// likely newer than the publishers file. For the same release under another leaf, only withdrawals that the search
    /// for a signer found count: any publisher with rights to the package can make others.
    fn is_doubt(&self, why: &Refusal, proof: &[u8], scope: Scope, about: &VerifiedRelease) -> bool {
        let Refusal::Publisher(why) = why else { return false };
        let of_key = matches!(why, StatementError::UnknownKey { .. } | StatementError::KeyRevoked { .. });
        let release = about.release();
        let is_of = |withdrawal: &Withdrawal| {
            let artifacts = |subjects: &[Subject]| Subject::digest_of_all(subjects);
            let same =
                scope == Scope::Release && artifacts(&withdrawal.subjects) == artifacts(&release.subjects);
            let is_leaf = about.is_leaf_of(withdrawal);
            (is_leaf || (of_key && same)) && withdrawal.purl == release.purl
        };
        let is_suspect = of_key || matches!(why, StatementError::NotPermitted { .. });
        is_suspect && logged_withdrawal(proof, self.endpoint.trust().policy).as_ref().is_some_and(is_of)
    }
}
