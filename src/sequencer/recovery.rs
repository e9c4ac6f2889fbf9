//! The checks of signed heads against the tree: at the start, after a storage error, and before each signature.

use super::StartError;
use super::cosigners::Cosigners;
use crate::checkpoint::{self, Checkpoint, LogSigner};
use crate::merkle::{prove_consistency, read_root};
use crate::store::{SignedHead, Store, StoreError};

/// Reads the last signed head. The log's key must have signed it, and the tree must extend it.
pub fn last_signed(store: &dyn Store, signer: &LogSigner) -> Result<Option<Checkpoint>, StartError> {
    let Some(bytes) = store.checkpoint() else { return Ok(None) };
    let signed = checkpoint::open(&bytes, &signer.keys())?.get().clone();
    let seen = store.edge().size();
    if signed.size > seen {
        return Err(StoreError::JournalShort { signed: signed.size, seen }.into());
    }
    check_root(store, &signed)?;
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
        StartError::Checkpoint(e) => {
            StoreError::Damaged { what: "the checkpoint file".to_owned(), detail: e.to_string() }
        }
    })?;
    let seen = signed.as_ref().map(|signed| signed.size).unwrap_or_default();
    if seen < out.size {
        // The files went back under a running log, whose memory knows better what was published.
        return Err(StoreError::JournalShort { signed: out.size, seen });
    }
    check_root(store, out)?;
    Ok(signed)
}

/// Checks that the first `head.size` entries have the root `head.root`.
fn check_root(store: &dyn Store, head: &Checkpoint) -> Result<(), StoreError> {
    let root = read_root(store.reader().as_ref(), head.size)?.root();
    if root == head.root {
        return Ok(());
    }
    let (expected, seen) = (head.root.to_base64(), root.to_base64());
    Err(StoreError::JournalForked { size: head.size, expected, seen })
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
        let is_prefix = signed.is_some_and(|last| head.size <= last.size) && check_root(store, &head).is_ok();
        ((witnessed || publish_unwitnessed) && is_prefix).then_some((SignedHead { head, note }, witnessed))
    };
    // The last signed head carries its quorum if a repair brought it; and if heads are published without a
    // quorum, it was published.
    let candidates = [store.witnessed(), store.checkpoint()].into_iter().flatten();
    candidates.filter_map(check).max_by_key(|(head, witnessed)| (head.head.size, *witnessed))
}
