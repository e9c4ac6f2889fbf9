//! Withdrawals, which an endpoint learns online and accepts only with a proof that they are in the log.

use alloc::string::String;
use alloc::vec::Vec;

use super::verify::{Logged, Opened, open, open_logged};
use super::{Refusal, Trust};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::policy::{Cosigned, Policy};
use crate::merkle::Hash;
use crate::release::{Envelope, Publishers, Statement, Withdrawal, check_log};

/// A withdrawal in a log, by a trusted publisher. Only [`verify_withdrawal`] makes one.
///
/// It does not say that its publisher made the release that it names: [`verify`](fn@super::verify) checks that when it
/// judges the release.
#[derive(Debug, Clone)]
pub struct ProvenWithdrawal {
    head: Cosigned<Checkpoint>,
    statement: Hash,
    withdrawal: Withdrawal,
    publishers: Vec<String>,
    released: Option<(Hash, Vec<String>)>,
}

impl ProvenWithdrawal {
    /// The tree head that it is proven under.
    #[must_use]
    pub const fn head(&self) -> &Cosigned<Checkpoint> {
        &self.head
    }

    /// Its own leaf hash.
    #[must_use]
    pub const fn statement(&self) -> Hash {
        self.statement
    }

    /// The withdrawn release, and the reason.
    #[must_use]
    pub const fn withdrawal(&self) -> &Withdrawal {
        &self.withdrawal
    }

    /// Adds the withdrawn entry. With it, the withdrawal applies to the payload under any signatures, also to an
    /// envelope without the withdrawing publisher's signature. An entry other than the named one changes nothing.
    #[must_use]
    pub fn with_release(mut self, entry: &[u8], publishers: &Publishers) -> Self {
        let envelope =
            Envelope::parse_entry(entry).ok().filter(|_| Hash::leaf(entry) == self.withdrawal.leaf);
        self.released = envelope.map(|envelope| {
            let signed = self.publishers.iter().filter(|name| publishers.is_signed_by(&envelope, name));
            (Hash::digest(envelope.payload()), signed.cloned().collect())
        });
        self
    }

    /// Hash of the withdrawn payload, if this publisher is known to have signed it.
    pub(crate) fn payload_of(&self, publisher: &str) -> Option<Hash> {
        let (payload, signed) = self.released.as_ref()?;
        signed.iter().any(|name| name == publisher).then_some(*payload)
    }

    /// The publishers that withdraw it: all signers with the right to, at least one.
    #[must_use]
    pub fn publishers(&self) -> &[String] {
        &self.publishers
    }
}

/// Verifies the proof file of a withdrawal: steps 1 to 5 of [`verify`](fn@super::verify).
///
/// # Errors
/// [`Refusal`].
pub fn verify_withdrawal(proof: &[u8], trust: Trust<'_>) -> Result<ProvenWithdrawal, Refusal> {
    let Opened { head, leaf, verified, .. } = open(proof, trust)?;
    let publishers = verified.publishers().to_vec();
    match verified.into_statement() {
        Statement::Withdrawal(withdrawal) => {
            Ok(ProvenWithdrawal { head, statement: leaf, withdrawal, publishers, released: None })
        }
        other => Err(Refusal::NotAWithdrawal { seen: other.kind() }),
    }
}

/// Reads a withdrawal that is in a log, by any publisher: steps 1 to 4 of [`verify`](fn@super::verify). `None`
/// if it is not a withdrawal, is not in the log, or is for another log.
///
/// The result withdraws nothing. But [`verify_withdrawal`] may fail only because the publishers file is out of date,
/// and then the user must be told before installing the release.
#[must_use]
pub fn logged_withdrawal(proof: &[u8], policy: &Policy) -> Option<Withdrawal> {
    let Logged { head, entry, .. } = open_logged(proof, policy).ok()?;
    let statement = Statement::parse(Envelope::parse_entry(&entry).ok()?.payload()).ok()?;
    check_log(&statement, head.get().origin.as_str()).ok()?;
    statement.as_withdrawal().cloned()
}
