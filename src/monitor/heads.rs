//! Heads that somebody showed, compared with the one that this monitor knows to be right.

use crate::checkpoint::{Checkpoint, LogKey, LogSigned};
use crate::client::ClientError;
use crate::merkle::{Prefix, ProofError, TileReader, prove_prefix};
use crate::proof::fork::{ForkEvidence, ProvenFork};

/// How a head stands to another one of the same log.
#[derive(Debug)]
pub enum Relation {
    /// The same tree.
    Same,
    /// A part of ours.
    Part,
    /// Ours is a part of it.
    Extends,
    /// Neither: the log signed two histories.
    Forked(Box<ProvenFork>),
}

/// Why a head can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum Unclear {
    /// The tiles are not to be had.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The tiles don't make the larger head: they are another tree's, or wrong.
    #[error("the tiles that the log serves are not those of its tree head of size {size}: {error}")]
    Tiles {
        /// Size of the larger head.
        size: crate::merkle::TreeSize,
        /// What they make.
        error: ProofError,
    },
}

/// Compares by tiles, both ways round: the smaller of the two has to be a prefix of the larger.
pub fn relate<R: TileReader<Error = ClientError>>(
    tiles: &R,
    ours: &LogSigned<Checkpoint>,
    theirs: &LogSigned<Checkpoint>,
    keys: &[LogKey],
) -> Result<Relation, Unclear> {
    let (we, they) = (ours.get(), theirs.get());
    if we.size == they.size {
        if we.root == they.root {
            return Ok(Relation::Same);
        }
        return Ok(forked(ForkEvidence::same_size(ours.note().clone(), theirs.note().clone()), keys));
    }
    let (smaller, larger) = if we.size < they.size { (ours, theirs) } else { (theirs, ours) };
    let (size, root) = (larger.get().size, larger.get().root);
    let Prefix { root, proof } = prove_prefix(tiles, smaller.get().size, (size, &root))?
        .map_err(|error| Unclear::Tiles { size, error })?;
    if root == smaller.get().root {
        return Ok(if we.size < they.size { Relation::Extends } else { Relation::Part });
    }
    let evidence = ForkEvidence::unequal(smaller.note().clone(), larger.note().clone(), root, proof);
    Ok(forked(evidence, keys))
}

/// The relation that evidence of two opened heads shows.
pub fn forked(evidence: ForkEvidence, keys: &[LogKey]) -> Relation {
    // Both heads were opened with these keys, and the proof was verified: this is how a fork is told.
    Relation::Forked(Box::new(evidence.judge(keys).expect("two signed heads that contradict each other")))
}
