//! Compares heads of one log: the newest one must continue every head that the endpoint has seen.
//!
//! Pure: the tiles come from a [`TileReader`], and evidence is returned, not saved.

use alloc::vec::Vec;

use super::{EndpointState, Refusal, RememberedHead, checkpoint_of};
use crate::checkpoint::{self, Checkpoint, LogKey, LogSigned};
use crate::merkle::{Hash, ProofError, TileReader, TreeSize, prove_prefix};
use crate::note::Note;
use crate::proof::fork::{EvidenceError, ProvenFork, compare_heads};

/// Two histories of one log.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one is made for each check, and none is kept")]
pub enum TwoHistories {
    /// Two heads with the log's signatures, which prove the fork to anyone.
    Proven(ProvenFork),
    /// A head of the size of a remembered one, which cannot be shown to others: it was remembered without its
    /// signatures, or its key is no longer in the policy.
    SameSize(Refusal),
    /// The log's tiles give a remembered head without signatures another root.
    Prefix {
        /// Size of the remembered head.
        size: TreeSize,
        /// The two roots.
        source: ProofError,
    },
}

/// A comparison of two heads that tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// The log's tiles do not lead to its newest head.
    #[error(transparent)]
    Tiles(#[from] ProofError),
    /// Two heads that differ do not prove a fork.
    #[error(transparent)]
    NoFork(#[from] EvidenceError),
}

/// The newest head of a log beside those that were seen before.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one is made for each check, and none is kept")]
pub enum History {
    /// It continues all of them; size and root of each.
    Continues(Vec<(TreeSize, Hash)>),
    /// The log signed two histories.
    Forked(TwoHistories),
    /// It is smaller than this head, which the log signed before.
    RolledBack {
        /// The earlier head.
        shown: Checkpoint,
        /// The note that carries it, unless it was remembered without signatures.
        note: Option<Note>,
    },
}

/// The head of a proof file or a bundle, if one of `keys` signed it.
#[must_use]
pub fn head_of(proof: &[u8], keys: &[LogKey]) -> Option<LogSigned<Checkpoint>> {
    checkpoint::open_note(checkpoint_of(proof).ok()?, keys).ok()
}

/// The fork, if a remembered head has the size of `seen`, which the log signed, and another root. It may not be provable
/// to others: its key may have left the policy since.
#[must_use]
pub fn contradicted(
    state: &EndpointState,
    keys: &[LogKey],
    seen: &Checkpoint,
    note: &Note,
) -> Option<TwoHistories> {
    let known = state.contradiction(seen)?;
    if let Some(Ok(fork)) = state.fork_evidence(seen, note).map(|fork| fork.judge(keys)) {
        return Some(TwoHistories::Proven(fork));
    }
    let (expected, root) = (known.root.to_base64(), seen.root.to_base64());
    Some(TwoHistories::SameSize(Refusal::Fork { size: known.size, expected, seen: root }))
}

/// Compares two heads that the log signed, the older one first. `None` if the newer one continues it.
///
/// # Errors
/// The outer error is the reader's.
pub fn compare_signed<R: TileReader + ?Sized>(
    tiles: &R,
    keys: &[LogKey],
    older: &LogSigned<Checkpoint>,
    newer: &LogSigned<Checkpoint>,
) -> Result<Result<Option<ProvenFork>, CompareError>, R::Error> {
    Ok(match compare_heads(tiles, older, newer)? {
        Ok(None) => Ok(None),
        Ok(Some(fork)) => fork.judge(keys).map(Some).map_err(CompareError::from),
        Err(e) => Err(e.into()),
    })
}

/// Compares the newest head of a log with all heads remembered of it, and with `seen`, heads that it signed.
///
/// # Errors
/// The outer error is the reader's.
pub fn compare_history<R: TileReader + ?Sized>(
    tiles: &R,
    keys: &[LogKey],
    latest: &LogSigned<Checkpoint>,
    state: &EndpointState,
    seen: &[LogSigned<Checkpoint>],
) -> Result<Result<History, CompareError>, R::Error> {
    let head = latest.get();
    let known: Vec<&RememberedHead> = state.heads(head.origin.as_str()).collect();
    let mut compared = Vec::new();
    // A log that lost its newest entries may also have forked below them, and a fork is worse.
    for seen in seen.iter().filter(|seen| seen.get().size <= head.size) {
        match compare_signed(tiles, keys, seen, latest)? {
            Ok(None) => compared.push((seen.get().size, seen.get().root)),
            Ok(Some(fork)) => return Ok(Ok(History::Forked(TwoHistories::Proven(fork)))),
            Err(e) => return Ok(Err(e)),
        }
    }
    for known in known.iter().filter(|known| known.size <= head.size) {
        let signed = known.note.clone().and_then(|note| checkpoint::open_note(note, keys).ok());
        let compare = match signed {
            Some(signed) => {
                compare_signed(tiles, keys, &signed, latest)?.map(|fork| fork.map(TwoHistories::Proven))
            }
            None => compare_unsigned(tiles, known, head)?.map_err(CompareError::from),
        };
        match compare {
            Ok(None) => compared.push((known.size, known.root)),
            Ok(Some(fork)) => return Ok(Ok(History::Forked(fork))),
            Err(e) => return Ok(Err(e)),
        }
    }
    let remembered = known.iter().map(|known| (known.size, known.root, known.note.clone()));
    let own = seen.iter().map(|seen| (seen.get().size, seen.get().root, Some(seen.verified_note())));
    Ok(Ok(match remembered.chain(own).max_by_key(|(size, ..)| *size) {
        Some((size, root, note)) if head.size < size => {
            History::RolledBack { shown: Checkpoint::new(head.origin.clone(), size, root), note }
        }
        _ => History::Continues(compared),
    }))
}

/// Compares a head that was remembered without its signatures, or with those of a key that is no longer trusted: a fork
/// is found, but cannot be proven to others.
fn compare_unsigned<R: TileReader + ?Sized>(
    tiles: &R,
    known: &RememberedHead,
    latest: &Checkpoint,
) -> Result<Result<Option<TwoHistories>, ProofError>, R::Error> {
    Ok(prove_prefix(tiles, known.size, (latest.size, &latest.root))?.map(|prefix| {
        let source = ProofError::RootMismatch { expected: known.root, seen: prefix.root };
        (prefix.root != known.root).then_some(TwoHistories::Prefix { size: known.size, source })
    }))
}
