//! Signing as a publisher: with secret keys at hand ([`SecretKey`]), and with commands that reach keys elsewhere
//! ([`SignerCommand`]). [`Signers`] puts the signatures of all of them on one statement.

mod command;
#[cfg(feature = "ecdsa")]
mod ecdsa;
mod secret_key;

pub use command::{CommandError, MAX_SIGNATURE_BYTES, SignerCommand, describe_wrong};
pub use secret_key::SecretKey;

use crate::format::FormatError;
use crate::merkle::Hash;
use crate::release::{Envelope, MAX_ENVELOPE_SIGNATURES, PublicKey};

/// A statement that was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// There is no key, there are too many, or the entry would be too large.
    #[error(transparent)]
    Envelope(#[from] FormatError),
    /// A command did not answer with a signature.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The signature is not one of the bytes to sign by this key.
    #[error("{signer}: expected a signature by key {keyid}, saw {seen}")]
    WrongSignature {
        /// The command.
        signer: String,
        /// The key's ID.
        keyid: String,
        /// The answer, described.
        seen: String,
    },
}

/// One key that signs.
#[derive(Debug)]
pub struct Signer {
    public: PublicKey,
    means: Means,
}

#[derive(Debug)]
enum Means {
    Secret(Box<SecretKey>),
    Command(SignerCommand),
}

impl Signer {
    /// A secret key.
    #[must_use]
    pub fn local(key: SecretKey) -> Self {
        Self { public: key.public().clone(), means: Means::Secret(Box::new(key)) }
    }

    /// A command that signs with the secret half of a public key.
    #[must_use]
    pub fn command(command: SignerCommand, public: PublicKey) -> Self {
        Self { public, means: Means::Command(command) }
    }

    fn sign(&self, payload: &[u8], message: &[u8]) -> Result<Vec<u8>, SignError> {
        let command = match &self.means {
            Means::Secret(key) => return Ok(key.sign(message)),
            Means::Command(command) => command,
        };
        let keyid = self.public.keyid();
        let signature = command.sign(&keyid, payload, message)?;
        if self.public.verifies(message, &signature) {
            return Ok(signature);
        }
        Err(SignError::WrongSignature {
            signer: command.name().to_owned(),
            keyid: keyid.to_hex(),
            seen: describe_wrong(&signature),
        })
    }
}

/// Tells whether a key signed an envelope.
#[must_use]
pub fn has_signed(key: &PublicKey, envelope: &Envelope) -> bool {
    let mut by_it = envelope.signatures().iter().filter(|(keyid, _)| *keyid == key.keyid()).peekable();
    by_it.peek().is_some() && {
        let message = envelope.signed_message();
        by_it.any(|(_, signature)| key.verifies(&message, signature))
    }
}

/// The keys that sign a statement, one envelope with the signatures of all.
#[derive(Debug)]
pub struct Signers {
    signers: Vec<Signer>,
}

impl Signers {
    /// Collects the keys.
    ///
    /// # Errors
    /// [`FormatError`] for none, more than [`MAX_ENVELOPE_SIGNATURES`], or one twice.
    pub fn new(signers: Vec<Signer>) -> Result<Self, FormatError> {
        const WHAT: &str = "the keys of a statement";
        crate::format::cap_count(WHAT, "keys", signers.len(), MAX_ENVELOPE_SIGNATURES)?;
        if signers.is_empty() {
            return Err(FormatError::malformed(WHAT, "at least one", "none"));
        }
        let mut keyids: Vec<Hash> = signers.iter().map(|signer| signer.public.keyid()).collect();
        keyids.sort_unstable();
        if let Some(pair) = keyids.windows(2).find(|pair| pair[0] == pair[1]) {
            let seen = format!("key {} twice", pair[0].to_hex());
            return Err(FormatError::malformed(WHAT, "each key once", seen));
        }
        Ok(Self { signers })
    }

    /// The ID of the first key.
    #[must_use]
    pub fn keyid(&self) -> Hash {
        self.signers[0].public.keyid()
    }

    /// The public keys, in the order given.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.signers.iter().map(|signer| &signer.public)
    }

    /// Signs a payload with every key.
    ///
    /// # Errors
    /// [`SignError`]; the signatures of commands are verified.
    pub fn sign(&self, payload: Vec<u8>) -> Result<Envelope, SignError> {
        let message = Envelope::message_of(&payload);
        let mut signatures = Vec::with_capacity(self.signers.len());
        for signer in &self.signers {
            signatures.push((signer.public.keyid(), signer.sign(&payload, &message)?));
        }
        Ok(Envelope::assemble(payload, signatures)?)
    }

    /// Tells whether one of the keys signed an envelope.
    #[must_use]
    pub fn has_signed(&self, envelope: &Envelope) -> bool {
        self.keys().any(|key| has_signed(key, envelope))
    }

    /// The IDs of the keys that did not sign an envelope.
    #[must_use]
    pub fn missing_in(&self, envelope: &Envelope) -> Vec<Hash> {
        self.keys().filter(|key| !has_signed(key, envelope)).map(PublicKey::keyid).collect()
    }
}
