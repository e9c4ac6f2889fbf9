//! A tree head that the log signed, and the file that it is read from.

use std::path::Path;

use super::StoreError;
use crate::checkpoint::{self, Checkpoint};
use crate::disk::read_note;
use crate::merkle::{Hash, TreeSize};
use crate::note::NoteKey;

/// A tree head that the log signed, with the note that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The head.
    pub head: Checkpoint,
    /// The note, byte for byte.
    pub note: Vec<u8>,
}

/// Reads the checkpoint in `path`, and checks that `key` signed it. `None` if there is no file.
///
/// # Errors
/// [`StoreError::CheckpointDamaged`], [`StoreError::Disk`].
pub fn read_signed(path: &Path, key: &NoteKey) -> Result<Option<SignedHead>, StoreError> {
    read_note(path)?.map(|note| open(path, note, key)).transpose()
}

/// Checks that `key` signed the checkpoint that was read from `path`.
pub(super) fn open(path: &Path, note: Vec<u8>, key: &NoteKey) -> Result<SignedHead, StoreError> {
    match checkpoint::open(&note, std::slice::from_ref(key)) {
        Ok(signed) => Ok(SignedHead { head: signed.get().clone(), note }),
        Err(e) => Err(StoreError::CheckpointDamaged { path: path.to_owned(), detail: e.to_string() }),
    }
}

/// Checks that a tree of `size` leaves holds a signed head. `root` computes the tree's root at the head's
/// size.
///
/// # Errors
/// [`StoreError::JournalShort`] if the tree is smaller, [`StoreError::JournalForked`] if it has another root,
/// and those of `root`.
pub fn check_holds(
    signed: &Checkpoint,
    size: TreeSize,
    root: impl FnOnce() -> Result<Hash, StoreError>,
) -> Result<(), StoreError> {
    if signed.size > size {
        return Err(StoreError::JournalShort { signed: signed.size, seen: size });
    }
    let root = root()?;
    if root != signed.root {
        let (expected, seen) = (signed.root.to_base64(), root.to_base64());
        return Err(StoreError::JournalForked { size: signed.size, expected, seen });
    }
    Ok(())
}
