//! `POST /sign-subtree`: a cosignature on a part of a tree that was cosigned before.

use super::{Witness, WitnessError};
use crate::checkpoint::Checkpoint;
use crate::cosignature::cosign_subtree;
use crate::format::quote;
use crate::merkle::verify_subtree_consistency;
use crate::note::{KeyName, NoteKey, NoteSignature, NoteSigner, SignatureType};
use crate::wire::SignSubtree;

impl Witness {
    /// Answers the body of a request to `/sign-subtree`. Nothing is remembered of it: it follows from a
    /// head that was cosigned.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub async fn sign_subtree(&self, body: &[u8]) -> Result<Vec<NoteSignature>, WitnessError> {
        if self.subtree_signers().next().is_none() {
            return Err(WitnessError::NoSubtrees);
        }
        // 1. "If the request is invalid according to the rules above": 400.
        let SignSubtree { subtree, hash, proof, checkpoint } = SignSubtree::parse(body)?;
        // 2. "If the checkpoint origin is unknown": 404.
        let origin = checkpoint.text().split('\n').next().unwrap_or_default();
        if !self.knows(origin) {
            return Err(WitnessError::UnknownOrigin(quote(origin)));
        }
        // 3. "verify that the checkpoint includes a valid cosignature from one of its own keys": 403.
        //    Only ML-DSA-44 counts: whoever could forge Ed25519 would otherwise be given ML-DSA-44
        //    signatures for it. "SHOULD be from one or more of the same witness key(s) that signed the
        //    checkpoint" asks for the same.
        let own: Vec<NoteKey> = self.subtree_signers().map(|key| key.public().clone()).collect();
        let verified = self.compute(move || checkpoint.verify(&own)).await?;
        let verified = verified.map_err(|e| WitnessError::NotCosigned(e.to_string()))?;
        let head = Checkpoint::parse(verified.note().text())?;
        // 1. again, for what was not to be believed before: "end MUST be less than or equal to the
        //    checkpoint size": 400.
        if !subtree.is_within(head.size) {
            let (end, size) = (subtree.end(), head.size);
            return Err(WitnessError::OutOfRange { end, size });
        }
        // 4. "If the Merkle Consistency Proof doesn't verify": 422.
        verify_subtree_consistency(subtree, &hash, head.size, &head.root, &proof)
            .map_err(WitnessError::NotASubtree)?;
        // 5. Sign. "If the cosignature format supports timestamps, the timestamp MUST be zero."
        let (witness, signers) = (self.clone(), verified.signers().to_vec());
        let sign = move || {
            let leaves = (subtree.start().get(), subtree.end().get());
            let same = witness.subtree_signers().filter(|key| signers.contains(key.public()));
            same.map(|key| cosign_subtree(&head.origin, leaves, &hash, key)).collect()
        };
        self.compute(sign).await
    }

    /// Whether it cosigns for this log, or did: what the log grew to then is a fact.
    fn knows(&self, origin: &str) -> bool {
        let listed = self.shared.logs.current().keys().iter().any(|key| key.name().as_str() == origin);
        listed || KeyName::new(origin).is_ok_and(|origin| self.shared.ledger.head(&origin).is_some())
    }

    /// The keys whose format knows subtrees.
    fn subtree_signers(&self) -> impl Iterator<Item = &NoteSigner> {
        self.shared.keys.iter().filter(|key| key.public().kind() == SignatureType::CosignatureMlDsa44)
    }
}
