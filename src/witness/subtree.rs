//! `POST /sign-subtree`: a cosignature on a subtree of a tree that was cosigned before.

use super::{Witness, WitnessError};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::Origin;
use crate::checkpoint::cosignature::cosign_subtree;
use crate::format::quote;
use crate::http::problem::blocking;
use crate::merkle::verify_subtree_consistency;
use crate::note::{NoteKey, NoteSignature, NoteSigner, SignatureType};
use crate::proof::wire::SignSubtree;

impl Witness {
    /// Answers the body of a request to `/sign-subtree`. The witness remembers nothing of it: it follows from a
    /// cosigned head.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub async fn sign_subtree(&self, body: &[u8]) -> Result<Vec<NoteSignature>, WitnessError> {
        if self.subtree_signers().next().is_none() {
            return Err(WitnessError::NoSubtrees);
        }
        // 1. "If the request is invalid according to the rules above": 400.
        let request = SignSubtree::parse(body)?;
        let head = Checkpoint::parse(request.checkpoint.text())?;
        // 2. "If the checkpoint origin is unknown": 404.
        if !self.knows(&head.origin) {
            return Err(WitnessError::UnknownOrigin(quote(head.origin.as_str())));
        }
        // So far nobody need have signed the request: a flood of them takes one processor, and none of the turns
        // that logs wait for.
        let place = self.inner.subtrees.place().ok_or(WitnessError::Busy)?;
        let turn = place.turn().await;
        let witness = self.clone();
        let work = move || {
            // Given back when the work is done, whether or not the client still waits.
            let _turn = (place, turn);
            witness.sign_cosigned(request, &head)
        };
        blocking(work).await?
    }

    /// Does steps 3 to 5, for a head that nobody has vouched for yet.
    fn sign_cosigned(
        &self,
        request: SignSubtree,
        head: &Checkpoint,
    ) -> Result<Vec<NoteSignature>, WitnessError> {
        let SignSubtree { subtree, hash, proof, checkpoint } = request;
        // 3. "verify that the checkpoint includes a valid cosignature from one of its own keys": 403. A bad
        //    one beside it spoils the note, as any named key's does.
        let own: Vec<NoteKey> = self.keys().cloned().collect();
        let verified = checkpoint.verify(&own).map_err(|e| WitnessError::NotCosigned(e.to_string()))?;
        //    Only ML-DSA-44 counts: whoever could forge Ed25519 would otherwise be given ML-DSA-44
        //    signatures for it. "SHOULD be from one or more of the same witness key(s) that signed the
        //    checkpoint" asks for the same.
        let signers: Vec<&NoteSigner> =
            self.subtree_signers().filter(|key| verified.signers().contains(key.public())).collect();
        if signers.is_empty() {
            let seen = "it is cosigned with Ed25519 alone".to_owned();
            return Err(WitnessError::NotCosigned(seen));
        }
        // 1. again, for what could not be believed before: "end MUST be less than or equal to the
        //    checkpoint size": 400.
        if !subtree.is_within(head.size) {
            let (end, size) = (subtree.end(), head.size);
            return Err(WitnessError::OutOfRange { end, size });
        }
        // 4. "If the Merkle Consistency Proof doesn't verify": 422.
        verify_subtree_consistency(subtree, &hash, head.size, &head.root, &proof)
            .map_err(WitnessError::NotASubtree)?;
        // 5. Sign. "If the cosignature format supports timestamps, the timestamp MUST be zero."
        let leaves = (subtree.start().get(), subtree.end().get());
        Ok(signers.into_iter().map(|key| cosign_subtree(&head.origin, leaves, &hash, key)).collect())
    }

    /// Returns whether the witness cosigns for this log: not if it was taken off the list.
    fn knows(&self, origin: &Origin) -> bool {
        self.inner.logs.current().keys().iter().any(|key| key.log() == origin)
    }

    /// The keys whose signature format covers subtrees.
    fn subtree_signers(&self) -> impl Iterator<Item = &NoteSigner> {
        self.inner.keys.iter().filter(|key| key.public().kind() == SignatureType::CosignatureMlDsa44)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cosign::QueuePlace;
    use super::super::{JOURNAL, LOGS_FILE, Ledger};
    use super::*;
    use crate::checkpoint::cosignature::cosign;
    use crate::merkle::{Hash, LeafIndex, Subtree, TreeSize};
    use crate::note::{KeyName, Note};
    use crate::proof::wire::AddCheckpoint;

    #[tokio::test]
    async fn a_flood_of_subtrees_holds_up_no_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let name = |name| KeyName::new(name).unwrap();
        let log = NoteSigner::from_seed(name("log.example/a"), SignatureType::Ed25519, &[1; 32]);
        let key =
            NoteSigner::from_seed(name("witness.example/w"), SignatureType::CosignatureMlDsa44, &[2; 32]);
        let head = Checkpoint::new(name("log.example/a"), TreeSize::new(1).unwrap(), Hash::leaf(b"x"));
        let cosigned = format!("{head}\n{}", cosign(&head, &key, 7));
        let subtree = SignSubtree {
            subtree: Subtree::new(LeafIndex::new(0).unwrap(), TreeSize::new(1).unwrap()).unwrap(),
            hash: Hash::leaf(b"x"),
            proof: vec![],
            checkpoint: Note::parse(cosigned.as_bytes()).unwrap(),
        };
        std::fs::write(dir.path().join(JOURNAL), Ledger::empty_journal(key.public().name())).unwrap();
        let logs = format!("log {}\nquorum none\n", log.public());
        std::fs::write(dir.path().join(LOGS_FILE), logs).unwrap();
        let witness = Witness::open(dir.path(), vec![key]).unwrap();
        let body = subtree.to_string();
        let ask = || witness.sign_subtree(body.as_bytes());
        let places: Vec<QueuePlace> =
            std::iter::from_fn(|| witness.inner.subtrees.place()).take(1_000).collect();
        assert!(places.len() < 100, "some may wait, and no more");
        let turn = places[0].turn().await;
        assert!(matches!(ask().await, Err(WitnessError::Busy)));
        let add = AddCheckpoint { old: TreeSize::ZERO, proof: vec![], checkpoint: head.sign(&log) };
        assert!(witness.add_checkpoint(add.to_string().as_bytes()).await.is_ok());
        drop((places, turn));
        assert_eq!(ask().await.unwrap().len(), 1);
    }
}
