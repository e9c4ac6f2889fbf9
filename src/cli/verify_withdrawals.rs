//! `treehead verify --online`: what the log knows of withdrawals.

use super::exit::Failure;
use super::output::say;
use super::refused::Refused;
use super::verify_online::Online;
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::KeptTiles;
use crate::merkle::Hash;
use crate::policy::Cosigned;
use crate::proof_file::ProofFile;
use crate::release::{Release, SpeakError};
use crate::state::EndpointState;
use crate::verify::{ProvenWithdrawal, Refusal, logged_withdrawal, verify_withdrawal};

/// Most pages of one search. A log looks at a thousand statements for each, and a release has few others about
/// it: twenty thousand with the digest of its first artifact are none that a person made.
const MAX_PAGES: usize = 20;
/// Most withdrawals that are looked at in one run: a package has a few. Those that were learnt are not asked
/// for again, so that a package with more is learnt in several runs.
const MAX_WITHDRAWALS: usize = 200;

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
    pub tiles: KeptTiles<'a>,
}

/// What was learnt.
#[derive(Default)]
pub struct Withdrawals {
    pub proven: Vec<ProvenWithdrawal>,
    /// Why the release may be withdrawn by somebody whom the publishers file does not know any more, or yet.
    pub doubt: Option<String>,
    /// Whether the log has a search, so that it said something of withdrawals at all.
    pub asked: bool,
    /// Heads of their proofs that are newer than the newest one that was fetched before.
    pub newer: Vec<Cosigned<Checkpoint>>,
    /// Statements that were looked at.
    seen: Vec<Hash>,
}

impl Inquiry<'_> {
    /// The withdrawals of a release and of others of its package that are not known yet. That a log hides one
    /// can't be seen here: monitors see it.
    pub fn learn(&self, about: About<'_>) -> Result<Withdrawals, Refused> {
        let About { release, leaf } = about;
        let (leaf, package) = (leaf.to_hex(), release.purl.package());
        let digest = release.subjects.first().map(|subject| subject.sha256.to_hex()).unwrap_or_default();
        let kind = ("kind", "withdrawal");
        let mut learnt = Withdrawals { asked: true, ..Withdrawals::default() };
        // From a look into an index to a walk over the whole package. The second finds the same release
        // under another leaf; the last finds others, which this endpoint may meet later without the network.
        for (terms, is_of_release) in [
            (&[("withdraws", leaf.as_str())][..], true),
            (&[("digest", digest.as_str()), kind], true),
            (&[("package", package.as_str()), kind], false),
        ] {
            let Some(found) = self.search(terms, is_of_release)? else {
                let url = self.online.client.prefix();
                say(&format!("{url} has no search, so that it says nothing of withdrawals"));
                return Ok(Withdrawals::default());
            };
            found.iter().try_for_each(|statement| self.look(statement, about, &mut learnt))?;
            if learnt.proven.iter().any(|known| known.withdrawal().leaf == *about.leaf) {
                break;
            }
        }
        Ok(learnt)
    }

    /// The leaves that a search finds, newest first; those of the first pages, unless all are needed.
    fn search(&self, terms: &[(&str, &str)], all: bool) -> Result<Option<Vec<Hash>>, Failure> {
        let (url, (field, _)) = (self.online.client.prefix(), terms[0]);
        let (mut leaves, mut before) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let Some(found) = self.online.client.search(terms, before)? else { return Ok(None) };
            leaves.extend(found.leaves);
            match found.next {
                None => return Ok(Some(leaves)),
                Some(next) if before.is_some_and(|before| next >= before) => {
                    return Err(Failure::refused(
                        "log-malformed",
                        format!(
                            "{url} searches by {field} in circles: expected to go on before leaf {}, saw {next}",
                            before.unwrap_or_default()
                        ),
                        "Nothing is known of withdrawals; tell the log's operator.",
                    ));
                }
                Some(next) => before = Some(next),
            }
        }
        if all {
            return Err(Failure::CouldNotTell(format!(
                "{url} finds no end when it is searched by {field} for withdrawals: expected at most {MAX_PAGES} pages; tell its operator"
            )));
        }
        say(&format!(
            "{url} has more statements about the package than {MAX_PAGES} pages, so that older withdrawals of other releases were not looked for"
        ));
        Ok(Some(leaves))
    }

    /// Fetches a withdrawal that is not known yet, and believes it or not.
    fn look(&self, statement: &Hash, about: About<'_>, learnt: &mut Withdrawals) -> Result<(), Refused> {
        if learnt.seen.len() >= MAX_WITHDRAWALS
            || learnt.seen.contains(statement)
            || self.state.knows_withdrawal(self.latest.get().origin.as_str(), statement)
        {
            return Ok(());
        }
        learnt.seen.push(*statement);
        let proof = self.online.client.proof_of(statement)?;
        self.check_answer(statement, &proof)?;
        match verify_withdrawal(&proof, self.online.policy, self.online.publishers) {
            Ok(withdrawal) => {
                let head = withdrawal.head();
                if head.get().size > self.latest.get().size && !learnt.newer.contains(head) {
                    learnt.newer.push(head.clone());
                }
                learnt.proven.push(withdrawal);
            }
            Err(e) if self.is_doubt(&e, &proof, about) => {
                learnt.doubt = Some(format!(
                    "the log has a withdrawal of this very release, and its publisher is not believed here ({}): {e}; update publishers.toml and run the command again",
                    e.code()
                ));
            }
            // It may be by somebody who is not believed here, and then it withdraws nothing.
            Err(e) => say(&format!("a withdrawal is not believed ({}): {e}", e.code())),
        }
        Ok(())
    }

    /// Whether the log's answer is about what it was asked for, under a head of the history that it shows
    /// elsewhere. What of it can't be read, or is not signed, is refused as any proof is.
    fn check_answer(&self, statement: &Hash, proof: &[u8]) -> Result<(), Refused> {
        let Ok(file) = ProofFile::parse(proof) else { return Ok(()) };
        let other = |what: &str, expected: &str, seen: &str| {
            let url = self.online.client.prefix();
            Failure::refused(
                "log-malformed",
                format!("{url} answered with the proof of another {what}: expected {expected}, saw {seen}"),
                "Nothing is known of withdrawals; tell the log's operator.",
            )
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
        self.online.compare_signed(&self.tiles, in_order.0, in_order.1, &keys)
    }

    /// Whether a withdrawal is of this release, in the log, and lacks nothing but a publisher who is known
    /// here. The log takes one only from a signer of the release, and all of those are believed: so it is
    /// likely that its key is newer than the publishers file.
    fn is_doubt(&self, why: &Refusal, proof: &[u8], about: About<'_>) -> bool {
        let of_key =
            matches!(why, Refusal::Publisher(SpeakError::UnknownKey { .. } | SpeakError::KeyRevoked { .. }));
        let is_of = |leaf, purl| leaf == *about.leaf && purl == about.release.purl;
        of_key
            && logged_withdrawal(proof, self.online.policy)
                .is_some_and(|withdrawal| is_of(withdrawal.leaf, withdrawal.purl))
    }
}
