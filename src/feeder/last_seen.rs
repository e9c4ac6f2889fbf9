//! Compares the last head that a witness has seen with the log's tree: the check against a fork after a restore.

use crate::checkpoint::{self, Checkpoint};
use crate::merkle::{TreeSize, read_root};
use crate::note::{Note, NoteKey};
use crate::store::{StoreError, StoreReader};

/// A witness's last head, compared with the log's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastSeen {
    /// A prefix of the log's tree, of this size.
    Ours(TreeSize),
    /// The log signed a head of this size that its tree does not extend; in words, with advice.
    NotOurs(TreeSize, String),
    /// The log did not sign the head, for this reason, so it proves nothing.
    NotSigned(String),
}

/// Compares the witness's last head with the log's tree.
pub fn compare(
    witness: &str,
    note: Note,
    log: &[NoteKey],
    reader: &dyn StoreReader,
) -> Result<LastSeen, StoreError> {
    let signed = match checkpoint::open_note(note, log) {
        Ok(signed) => signed,
        Err(e) => {
            let why = format!("it shows a tree head that this log did not sign: {e}");
            return Ok(LastSeen::NotSigned(why));
        }
    };
    let Checkpoint { size, root, .. } = signed.get();
    // Fails while the store is reloading: then its size is unknown, and nothing was lost.
    let ours = reader.applied()?;
    if *size > ours {
        let lost = size.get() - ours.get();
        return Ok(LastSeen::NotOurs(
            *size,
            format!(
                "the log was rolled back: witness {witness} has cosigned its tree head at size {size}, which this log signed, \
             and this copy ends at {ours}: {lost} entries were lost, as where an older copy was restored. \
             Don't let it sign: that would fork the log. Stop it, and repair it from a newer backup, \
             an export or a mirror that has tree size {size} or more"
            ),
        ));
    }
    let seen = read_root(reader, *size)?.root();
    if seen == *root {
        return Ok(LastSeen::Ours(*size));
    }
    let (expected, seen) = (root.to_base64(), seen.to_base64());
    Ok(LastSeen::NotOurs(
        *size,
        format!(
            "the log has forked: witness {witness} has cosigned its tree head at size {size} with root {expected}, \
         which this log signed, and this copy makes root {seen} of as many entries: others were appended after an older \
         copy was restored. Don't let it sign. Stop it, keep this directory as it is, restore the last \
         good backup to a new one, and repair that from a source that has the head that the witness has"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::LogSigner;
    use crate::merkle::{Hash, LeafIndex, RightEdge, Tile};
    use crate::note::{KeyName, NoteSigner, SignatureType};
    use crate::release::{Term, Track};
    use crate::store::{SearchPage, Stored};

    /// A tree of one tile; `None` while it is reloading.
    struct Tree(Option<Vec<Hash>>);

    impl StoreReader for Tree {
        fn size(&self) -> TreeSize {
            self.applied().unwrap_or_default()
        }

        fn applied(&self) -> Result<TreeSize, StoreError> {
            let leaves = self.0.as_ref().ok_or(StoreError::Reloading)?;
            Ok(TreeSize::new(leaves.len() as u64).unwrap())
        }

        fn tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, StoreError> {
            let leaves = self.0.as_ref().ok_or(StoreError::Reloading)?;
            Ok(tiles.iter().map(|tile| leaves[..tile.width()].to_vec()).collect())
        }

        fn bundle(&self, _: u64, _: usize) -> Result<Vec<u8>, StoreError> {
            unreachable!("no entry is read")
        }

        fn entry(&self, _: LeafIndex) -> Result<Vec<u8>, StoreError> {
            unreachable!("no entry is read")
        }

        fn find_leaves(&self, _: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
            unreachable!("no entry is read")
        }

        fn find_payload(&self, _: &Hash) -> Result<Option<Stored>, StoreError> {
            unreachable!("no entry is read")
        }

        fn find_claim(&self, _: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
            unreachable!("no entry is read")
        }

        fn find_edition(&self, _: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
            unreachable!("no entry is read")
        }

        fn find_withdrawal(&self, _: &Hash) -> Result<Option<Stored>, StoreError> {
            unreachable!("no entry is read")
        }

        fn highest(&self, _: &Track, _: u64) -> Result<Option<u64>, StoreError> {
            unreachable!("no entry is read")
        }

        fn search(&self, _: &Term, _: Option<LeafIndex>, _: usize) -> Result<SearchPage, StoreError> {
            unreachable!("no entry is read")
        }

        fn names(&self, _: &str, _: usize) -> Result<Option<Vec<Term>>, StoreError> {
            unreachable!("no entry is read")
        }
    }

    fn leaves(count: u8, what: &str) -> Vec<Hash> {
        (0..count).map(|at| Hash::leaf(format!("{what} {at}").as_bytes())).collect()
    }

    fn log(seed: u8) -> LogSigner {
        NoteSigner::from_seed(KeyName::new("log.example").unwrap(), SignatureType::Ed25519, &[seed; 32])
            .into()
    }

    fn seen(signer: &LogSigner, leaves: &[Hash], tree: Option<Vec<Hash>>) -> Result<LastSeen, StoreError> {
        let edge = RightEdge::default().grow(leaves).edge;
        let note = signer.sign(&Checkpoint::new(signer.origin().clone(), edge.size(), edge.root()), 7);
        compare("w", note, &log(1).keys(), &Tree(tree))
    }

    #[test]
    fn only_what_the_log_signed_and_does_not_have_stops_it() {
        let ours = leaves(5, "entry");
        for count in 0..=5 {
            let size = TreeSize::new(count.into()).unwrap();
            let answer = seen(&log(1), &leaves(count, "entry"), Some(ours.clone()));
            assert_eq!(answer.unwrap(), LastSeen::Ours(size));
        }
        let Ok(LastSeen::NotOurs(size, why)) = seen(&log(1), &leaves(8, "entry"), Some(ours.clone())) else {
            panic!("three are missing")
        };
        assert!(size.get() == 8 && why.contains("this copy ends at 5: 3 entries were lost"), "{why}");
        let Ok(LastSeen::NotOurs(_, why)) = seen(&log(1), &leaves(4, "other"), Some(ours.clone())) else {
            panic!("these are others")
        };
        assert!(why.contains("the log has forked"), "{why}");
        // The same claims under another key prove nothing.
        for claimed in [leaves(8, "entry"), leaves(4, "other")] {
            let answer = seen(&log(2), &claimed, Some(ours.clone())).unwrap();
            assert!(matches!(answer, LastSeen::NotSigned(why) if why.contains("did not sign")));
        }
    }

    #[test]
    fn a_store_that_is_being_reloaded_has_lost_nothing() {
        for claimed in [leaves(8, "entry"), leaves(4, "other"), leaves(0, "entry")] {
            assert!(matches!(seen(&log(1), &claimed, None), Err(StoreError::Reloading)));
        }
    }
}
