//! Asks a log for withdrawals of a release.
//!
//! Pure: [`WithdrawalLog`] has the answers. A search that an answer is missing for stops where it is, and goes on from
//! there when it is run again.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::{
    CompareError, EndpointState, ProvenWithdrawal, Refusal, Trust, VerifiedRelease, compare_signed,
    logged_withdrawal, verify_withdrawal,
};
use crate::checkpoint::policy::Cosigned;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::merkle::{Hash, TileReader, TreeSize};
use crate::proof::ProofFile;
use crate::proof::fork::ProvenFork;
use crate::release::{Found, FoundRow, MAX_PAGES, Purl, StatementError, Subject, Withdrawal};

/// Most withdrawals of one release, and most of others of its package, to fetch in one run. Known ones are not fetched
/// again, so with a memory several runs learn more.
const MAX_NEW: usize = 200;

/// A log's answers about withdrawals. The search checks them as far as a signature or a signed root can.
pub trait WithdrawalLog: TileReader {
    /// Statements before leaf `before` that have all the values in `terms`, newest first. `None` if the log has no
    /// search. An answer for a tree smaller than `tree` is an error.
    ///
    /// # Errors
    /// The log's.
    fn found(
        &self,
        terms: &[(&str, &str)],
        before: Option<u64>,
        tree: TreeSize,
    ) -> Result<Option<Found>, Self::Error>;

    /// Bytes of the proof file of the entry with this leaf hash.
    ///
    /// # Errors
    /// The log's.
    fn withdrawal(&self, leaf: &Hash) -> Result<Vec<u8>, Self::Error>;

    /// Bytes of the proof file of a withdrawn entry, if the log has them: a withdrawal counts without.
    ///
    /// # Errors
    /// If the log was not asked yet.
    fn withdrawn(&self, leaf: &Hash) -> Result<Option<Vec<u8>>, Self::Error>;

    /// Hears what is not an error.
    fn tell(&self, notice: WithdrawalNotice<'_>) {
        let _ = notice;
    }
}

/// A part of a log's answers that goes without.
#[derive(Debug)]
pub enum WithdrawalNotice<'a> {
    /// The log has no search, so withdrawals could not be checked.
    NoSearch,
    /// Withdrawals of other releases of this package stay unknown: there are more than one run checks.
    More(&'a str),
    /// A withdrawal is ignored, such as one by an untrusted publisher.
    Ignored(&'a Refusal),
}

/// The reason that a release may be withdrawn, though no withdrawal of it is proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// There are more withdrawals than one run checks. With a memory, the next one continues.
    #[error(
        "the log has more withdrawals of {purl} than one run checks ({MAX_NEW} new ones, out of {found} statements), and none so far is of this release"
    )]
    TooMany {
        /// Package and version.
        purl: String,
        /// Statements that the search found.
        found: usize,
    },
    /// The log's search does not end.
    #[error(
        "the log's search for withdrawals of {purl} did not end: {found} statements in {MAX_PAGES} pages or 32 MiB, and more to come; none so far is of this release; tell the log's operator"
    )]
    Endless {
        /// Package and version.
        purl: String,
        /// Statements that the search found.
        found: usize,
    },
    /// The log has a withdrawal by a publisher who, as far as is known here, did not sign the release.
    #[error(
        "the log has a withdrawal of this very release by {seen}, who did not sign it: expected {expected}; the log accepts a withdrawal only from a signer, so it knows that key under another name"
    )]
    OtherSigner {
        /// The release's signers.
        expected: String,
        /// The publishers that withdrew it.
        seen: String,
    },
    /// The log has a withdrawal by a publisher who is not trusted here.
    #[error(
        "the log has a withdrawal of this very release, but its publisher is not trusted here ({}): {_0}", _0.code()
    )]
    Untrusted(Refusal),
}

/// The end of a search that tells nothing.
#[derive(Debug, Clone)]
pub enum SearchError<E> {
    /// The log's error.
    Log(E),
    /// The log answered with the proof of another leaf or log.
    AnotherProof {
        /// `leaf` or `log`.
        what: &'static str,
        /// The leaf or log asked for.
        expected: String,
        /// The one in the answer.
        seen: String,
    },
    /// Its heads could not be compared.
    Compare(CompareError),
    /// A proof is under a head of another history.
    Forked(Box<ProvenFork>),
}

/// Knowledge that a search begins with.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The trusted files.
    pub trust: Trust<'a>,
    /// The memory.
    pub state: &'a EndpointState,
    /// The log's newest head.
    pub latest: &'a LogSigned<Checkpoint>,
    /// The release that may be withdrawn.
    pub release: &'a VerifiedRelease,
}

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
    /// The log has no search.
    NoSearch,
    /// All results were checked.
    All,
    /// There are more new withdrawals than one run checks.
    Cap,
    /// The search did not end.
    Endless,
}

/// The answer about one release.
#[derive(Debug, Clone, Default)]
pub struct Withdrawals {
    /// All withdrawals that are new, of the release or others of its package.
    pub proven: Vec<ProvenWithdrawal>,
    /// Set if the release may be withdrawn.
    pub doubt: Option<Doubt>,
    /// Set if the log has a search, and so answered about withdrawals.
    pub asked: bool,
    /// Heads of their proofs that are newer than the newest one that was fetched before.
    pub newer: Vec<Cosigned<Checkpoint>>,
}

impl Withdrawals {
    fn are_of(&self, about: &VerifiedRelease) -> bool {
        self.proven.iter().any(|known| about.is_leaf_of(known.withdrawal()) && about.is_by_signer(known))
    }
}

/// A search for the new withdrawals of a release and of other releases of its package. An endpoint cannot notice that a
/// log hides one; monitors can.
///
/// Checks all withdrawals of this release: any that is left unchecked leaves a doubt. Learns as many as fit of other
/// releases, which this endpoint may meet later without the network.
#[derive(Default)]
pub struct WithdrawalSearch {
    /// The terms of the searches to come; the last one is under way.
    searches: Vec<(Scope, Vec<(&'static str, String)>)>,
    /// Set once the search under way has results.
    is_begun: bool,
    /// The results at hand, the next one last.
    rows: Vec<FoundRow>,
    /// More results are before this leaf.
    next: Option<u64>,
    /// Statements that the search under way found, those that are about the release, in order of their hashes, and their
    /// number before `rows`.
    count: usize,
    met: Vec<Hash>,
    met_before: usize,
    /// Statements that all searches checked, and those that those before this one did.
    seen: Vec<Hash>,
    seen_before: usize,
    /// Entries that are withdrawn, by leaf hash.
    released: Vec<(Hash, Vec<u8>)>,
    learnt: Withdrawals,
}

impl WithdrawalSearch {
    /// Begins a search about a release.
    #[must_use]
    pub fn new(about: &VerifiedRelease) -> Self {
        let purl = &about.release().purl;
        let in_package = [("package", purl.package()), ("kind", "withdrawal".to_string())];
        let mut same_artifact = [&in_package[..], &[("version", purl.version().to_string())]].concat();
        let subject = about.release().subjects.first();
        same_artifact.extend(subject.map(|subject| ("digest", subject.sha256.to_hex())));
        let mut searches = vec![(Scope::Release, vec![("withdraws", about.leaf().to_hex())])];
        // The log may know a signer under another name. Older logs find publishers by name only.
        let keyids = about.keyids().iter().map(Hash::to_hex);
        // These find the same release under another leaf.
        for signer in about.signers().iter().cloned().chain(keyids) {
            searches.push((Scope::Release, [&same_artifact[..], &[("publisher", signer)]].concat()));
        }
        searches.push((Scope::Package, in_package.to_vec()));
        searches.reverse();
        let learnt = Withdrawals { asked: true, ..Withdrawals::default() };
        Self { searches, learnt, ..Self::default() }
    }

    /// Searches, and returns all that it learnt. After an error of the log it may be run again, and goes on.
    ///
    /// # Errors
    /// [`SearchError`].
    pub fn run<L: WithdrawalLog + ?Sized>(
        &mut self,
        log: &L,
        about: About<'_>,
    ) -> Result<Withdrawals, SearchError<L::Error>> {
        while let Some((scope, terms)) = self.searches.last() {
            let (scope, terms) = (*scope, terms.clone());
            let end = self.look_at_all(log, (scope, &terms), about)?;
            let purl = || about.release.release().purl.to_string();
            let doubt = match (scope, end) {
                (Scope::Release, End::NoSearch) => {
                    log.tell(WithdrawalNotice::NoSearch);
                    return Ok(Withdrawals::default());
                }
                (Scope::Release, End::Cap) => Some(Doubt::TooMany { purl: purl(), found: self.count }),
                (Scope::Release, End::Endless) => Some(Doubt::Endless { purl: purl(), found: self.count }),
                (Scope::Package, End::Cap | End::Endless) => {
                    log.tell(WithdrawalNotice::More(&about.release.release().purl.package()));
                    None
                }
                _ => None,
            };
            let learnt = &mut self.learnt;
            learnt.doubt = learnt.doubt.take().or(doubt);
            self.next_search();
            // The package is not looked at if the release will not be installed anyway.
            let is_package_next = self.searches.len() == 1;
            if self.learnt.are_of(about.release) || (is_package_next && self.learnt.doubt.is_some()) {
                break;
            }
        }
        Ok(core::mem::take(&mut self.learnt))
    }

    fn next_search(&mut self) {
        self.searches.pop();
        self.rows.clear();
        self.met.clear();
        (self.is_begun, self.next, self.count, self.met_before) = (false, None, 0, 0);
        self.seen_before = self.seen.len();
    }

    /// Checks the new withdrawals that a search finds, up to a limit. Stops at one of this very release.
    fn look_at_all<L: WithdrawalLog + ?Sized>(
        &mut self,
        log: &L,
        (scope, terms): (Scope, &[(&'static str, String)]),
        about: About<'_>,
    ) -> Result<End, SearchError<L::Error>> {
        let tree = about.latest.get();
        let is_asked_for = |purl: Purl| scope == Scope::Package || purl == about.release.release().purl;
        loop {
            while let Some(row) = self.rows.last() {
                if row.purl().is_none_or(is_asked_for) {
                    let leaf = row.leaf;
                    if let Err(place) = self.met.binary_search(&leaf) {
                        self.met.insert(place, leaf);
                    }
                    if !self.seen.contains(&leaf)
                        && !about.state.knows_withdrawal(tree.origin.as_str(), &leaf)
                    {
                        if self.seen.len() == self.seen_before + MAX_NEW {
                            return Ok(End::Cap);
                        }
                        self.look(log, &leaf, scope, about)?;
                        self.seen.push(leaf);
                        if self.learnt.are_of(about.release) {
                            return Ok(End::All);
                        }
                    }
                }
                self.rows.pop();
            }
            if self.is_begun && self.next.is_none() {
                return Ok(End::All);
            }
            // Skips known ones without a limit: there are no more than the memory holds, and new ones have their limit.
            if self.is_begun && self.met.len() == self.met_before {
                return Ok(End::Endless);
            }
            let terms: Vec<(&str, &str)> =
                terms.iter().map(|(field, value)| (*field, value.as_str())).collect();
            let found = log.found(&terms, self.next, tree.size).map_err(SearchError::Log)?;
            let Some(found) = found else { return Ok(End::NoSearch) };
            self.count += found.rows.len();
            self.met_before = self.met.len();
            (self.rows, self.next, self.is_begun) = (found.rows, found.next, true);
            self.rows.reverse();
        }
    }

    /// Fetches and verifies a new withdrawal.
    fn look<L: WithdrawalLog + ?Sized>(
        &mut self,
        log: &L,
        statement: &Hash,
        scope: Scope,
        about: About<'_>,
    ) -> Result<(), SearchError<L::Error>> {
        let proof = log.withdrawal(statement).map_err(SearchError::Log)?;
        check_answer(log, statement, &proof, about)?;
        match verify_withdrawal(&proof, about.trust) {
            Ok(withdrawal) => {
                let withdrawal = self.with_release(log, withdrawal, about).map_err(SearchError::Log)?;
                let (head, learnt) = (withdrawal.head(), &mut self.learnt);
                if head.get().size > about.latest.get().size && !learnt.newer.contains(head) {
                    learnt.newer.push(head.clone());
                }
                let release = about.release;
                if release.is_leaf_of(withdrawal.withdrawal()) && !release.is_by_signer(&withdrawal) {
                    learnt.doubt = Some(Doubt::OtherSigner {
                        expected: release.signers().join(" or "),
                        seen: withdrawal.publishers().join(" and "),
                    });
                }
                learnt.proven.push(withdrawal);
            }
            Err(e) if is_doubt(&e, &proof, scope, about) => self.learnt.doubt = Some(Doubt::Untrusted(e)),
            // A withdrawal by an untrusted publisher withdraws nothing.
            Err(e) => log.tell(WithdrawalNotice::Ignored(&e)),
        }
        Ok(())
    }

    /// Also fetches the withdrawn entry: the withdrawal names its leaf hash, so it needs no proof. With it, the
    /// withdrawal also applies to the same release without the signature of the publisher who withdrew it. If the
    /// log does not send it, the withdrawal counts all the same.
    fn with_release<L: WithdrawalLog + ?Sized>(
        &mut self,
        log: &L,
        withdrawal: ProvenWithdrawal,
        about: About<'_>,
    ) -> Result<ProvenWithdrawal, L::Error> {
        let leaf = withdrawal.withdrawal().leaf;
        // Several withdrawals may name one release.
        let publishers = about.trust.publishers;
        if let Some((_, entry)) = self.released.iter().find(|(of, _)| *of == leaf) {
            return Ok(withdrawal.with_release(entry, publishers));
        }
        let file = log.withdrawn(&leaf)?.and_then(|proof| ProofFile::parse(&proof).ok());
        let entry = file.and_then(|file| file.extra).unwrap_or_default();
        let withdrawal = withdrawal.with_release(&entry, publishers);
        self.released.push((leaf, entry));
        Ok(withdrawal)
    }
}

/// Checks that the log answered about the entry asked for, under a head of the history that it shows elsewhere. The
/// verification refuses malformed or unsigned parts later, as in any proof.
fn check_answer<L: WithdrawalLog + ?Sized>(
    log: &L,
    statement: &Hash,
    proof: &[u8],
    about: About<'_>,
) -> Result<(), SearchError<L::Error>> {
    let Ok(file) = ProofFile::parse(proof) else { return Ok(()) };
    let other = |what: &'static str, expected: &str, seen: &str| {
        let (expected, seen) = (expected.to_string(), seen.to_string());
        Err(SearchError::AnotherProof { what, expected, seen })
    };
    if let Some(seen) = file.extra.as_deref().map(Hash::leaf).filter(|seen| seen != statement) {
        return other("leaf", &statement.to_hex(), &seen.to_hex());
    }
    let keys = about.trust.policy.log_keys();
    let Ok(head) = checkpoint::open_note(file.checkpoint, &keys) else { return Ok(()) };
    let (latest, expected, seen) = (about.latest, about.latest.get(), head.get());
    if seen.origin != expected.origin {
        return other("log", expected.origin.as_str(), seen.origin.as_str());
    }
    let (older, newer) = if seen.size <= expected.size { (&head, latest) } else { (latest, &head) };
    match compare_signed(log, &keys, older, newer).map_err(SearchError::Log)? {
        Ok(None) => Ok(()),
        Ok(Some(fork)) => Err(SearchError::Forked(Box::new(fork))),
        Err(e) => Err(SearchError::Compare(e)),
    }
}

/// Reports whether a withdrawal of this release is in the log and lacks only a publisher who is trusted here. The log
/// accepts one only from a signer of the release, and all of those are trusted: so its key or its right is likely newer
/// than the publishers file. For the same release under another leaf, only withdrawals that the search for a signer found
/// count: any publisher with rights to the package can make others.
fn is_doubt(why: &Refusal, proof: &[u8], scope: Scope, about: About<'_>) -> bool {
    let Refusal::Publisher(why) = why else { return false };
    let of_key = matches!(why, StatementError::UnknownKey { .. } | StatementError::KeyRevoked { .. });
    let release = about.release.release();
    let is_of = |withdrawal: &Withdrawal| {
        let artifacts = |subjects: &[Subject]| Subject::digest_of_all(subjects);
        let same = scope == Scope::Release && artifacts(&withdrawal.subjects) == artifacts(&release.subjects);
        let is_leaf = about.release.is_leaf_of(withdrawal);
        (is_leaf || (of_key && same)) && withdrawal.purl == release.purl
    };
    let is_suspect = of_key
        || matches!(why, StatementError::NotPermitted { .. } | StatementError::SignaturesMissing { .. });
    is_suspect && logged_withdrawal(proof, about.trust.policy).as_ref().is_some_and(is_of)
}
