//! The checks of signed heads against the tree: at the start, after a storage error, and before each signature.

use super::StartError;
use super::cosigners::Cosigners;
use crate::checkpoint::{self, Checkpoint, LogSigner};
use crate::merkle::{TreeSize, prove_consistency, read_root};
use crate::store::{SignedHead, Store, StoreError, check_holds};

/// Reads the last signed head. The log's key must have signed it, and the tree must extend it.
pub fn last_signed(store: &dyn Store, signer: &LogSigner) -> Result<Option<Checkpoint>, StartError> {
    let Some(bytes) = store.checkpoint() else { return Ok(None) };
    let signed = checkpoint::open(&bytes, &signer.keys())?.get().clone();
    check_tree(store, &signed, store.edge().size())?;
    Ok(Some(signed))
}

/// Like [`last_signed`], after a reload of the store; `out` is the last head that has left this process, for
/// everybody or for the witnesses.
pub fn last_signed_again(
    store: &dyn Store,
    signer: &LogSigner,
    out: &Checkpoint,
) -> Result<Option<Checkpoint>, StoreError> {
    // A checkpoint whose write failed may be durable all the same; then it is the last one signed.
    let signed = last_signed(store, signer).map_err(|e| match e {
        StartError::Store(e) => e,
        StartError::Threads(e) => e.into(),
        StartError::Checkpoint(e) => {
            StoreError::Damaged { what: "the checkpoint file".to_owned(), detail: e.to_string() }
        }
    })?;
    let seen = signed.as_ref().map(|signed| signed.size).unwrap_or_default();
    // Files may have gone back under a running log, whose memory knows better what was published.
    check_tree(store, out, seen)?;
    Ok(signed)
}

/// Checks that the first `size` entries of the store extend a head.
pub fn check_tree(store: &dyn Store, head: &Checkpoint, size: TreeSize) -> Result<(), StoreError> {
    check_holds(head, size, || Ok(read_root(store.reader().as_ref(), head.size)?.root()))
}

/// Proves that `head` extends the head that was signed last. Without the proof it is not signed: damage or a
/// mistake in here must not become a fork out there.
pub fn prove_extension(store: &dyn Store, signed: &Checkpoint, head: &Checkpoint) -> Result<(), StoreError> {
    let (old, new) = ((signed.size, &signed.root), (head.size, &head.root));
    let proved = prove_consistency(store.reader().as_ref(), old, new)?;
    proved.map(drop).map_err(|e| {
        let (new, old) = (head.size, signed.size);
        let detail = format!("the head at {new} is no extension of the signed one at {old}: {e}");
        StoreError::TreeDamaged { detail }
    })
}

/// The newest head that was published before a restart, and whether it carries a quorum. `signed` is the last
/// head that was signed.
///
/// A file that was lost, is damaged, or dates from before the settings changed only costs the wait for a new
/// quorum.
pub fn last_published(
    store: &dyn Store,
    signer: &LogSigner,
    signed: Option<&Checkpoint>,
    cosigners: &dyn Cosigners,
    publish_unwitnessed: bool,
) -> Option<(SignedHead, bool)> {
    let check = |note: Vec<u8>| {
        let opened = checkpoint::open(&note, &signer.keys()).ok()?;
        let (head, witnessed) = (opened.get().clone(), cosigners.is_quorum(&opened));
        // The signed head is durable before any other, so none is larger.
        let is_prefix = signed.is_some_and(|last| check_tree(store, &head, last.size).is_ok());
        ((witnessed || publish_unwitnessed) && is_prefix).then_some((SignedHead { head, note }, witnessed))
    };
    // The last signed head carries its quorum if a repair brought it; and if heads are published without a
    // quorum, it was published.
    let candidates = [store.witnessed(), store.checkpoint()].into_iter().flatten();
    candidates.filter_map(check).max_by_key(|(head, witnessed)| (head.head.size, *witnessed))
}
