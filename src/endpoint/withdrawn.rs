//! Withdrawals, which an endpoint learns online and accepts only with a proof that they are in the log.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Proven, Refusal, Trust};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::policy::{Cosigned, Policy};
use crate::merkle::Hash;
use crate::release::{Envelope, Publishers, Withdrawal, check_log};

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
    /// Makes one, of a withdrawal that is proven.
    pub(super) const fn new(
        head: Cosigned<Checkpoint>,
        statement: Hash,
        withdrawal: Withdrawal,
        publishers: Vec<String>,
    ) -> Self {
        Self { head, statement, withdrawal, publishers, released: None }
    }

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
    let proven = Proven::open(proof, trust)?;
    let entry = &proven.entries[0];
    let verified = &proven.opened(entry)?.verified;
    let statement = verified.statement();
    let withdrawal =
        statement.as_withdrawal().ok_or_else(|| Refusal::NotAWithdrawal { seen: statement.kind() })?;
    let (leaf, publishers) = (entry.leaf, verified.publishers().to_vec());
    Ok(ProvenWithdrawal::new(proven.head.clone(), leaf, withdrawal.clone(), publishers))
}

/// Reads a withdrawal that is in a log, by any publisher: steps 1 to 4 of [`verify`](fn@super::verify). `None`
/// if it is not a withdrawal, is not in the log, or is for another log.
///
/// The result withdraws nothing. But [`verify_withdrawal`] may fail only because the publishers file is out of date,
/// and then the user must be told before installing the release.
#[must_use]
pub fn logged_withdrawal(proof: &[u8], policy: &Policy) -> Option<Withdrawal> {
    let nobody = Publishers::default();
    let proven = Proven::open(proof, Trust { policy, publishers: &nobody, gate: &[] }).ok()?;
    let statement = proven.entries[0].claimed()?;
    check_log(statement, proven.head.get().origin.as_str()).ok()?;
    statement.as_withdrawal().cloned()
}
