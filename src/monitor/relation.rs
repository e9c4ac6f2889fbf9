//! How two heads of one log relate.

use crate::checkpoint::{Checkpoint, LogKey, LogSigned};
use crate::client::ClientError;
use crate::merkle::{Prefix, ProofError, TileReader, TreeSize, prove_prefix};
use crate::proof::fork::{ForkEvidence, ProvenFork};

/// How a head relates to ours.
#[derive(Debug)]
pub enum Relation {
    /// It is the same tree.
    Same,
    /// Ours continues it.
    Part,
    /// It continues ours.
    Extends,
    /// Neither continues the other: the log signed two histories.
    Forked(Box<ProvenFork>),
}

/// Why two heads can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum Unclear {
    /// The tiles can't be fetched.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The tiles don't make the root of the larger head: they are wrong, or of another tree.
    #[error("the tiles that the log serves are not those of its tree head of size {size}: {error}")]
    Tiles {
        /// Size of the larger head.
        size: TreeSize,
        /// The failed proof.
        error: ProofError,
    },
}

/// Compares two heads by the log's tiles: the smaller one has to be a prefix of the larger.
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
        return Ok(Relation::Forked(Box::new(same_size_fork(ours, theirs, keys))));
    }
    let (smaller, larger) = if we.size < they.size { (ours, theirs) } else { (theirs, ours) };
    let (size, root) = (larger.get().size, larger.get().root);
    let Prefix { root, proof } = prove_prefix(tiles, smaller.get().size, (size, &root))?
        .map_err(|error| Unclear::Tiles { size, error })?;
    if root == smaller.get().root {
        return Ok(if we.size < they.size { Relation::Extends } else { Relation::Part });
    }
    let evidence = ForkEvidence::unequal(smaller.note().clone(), larger.note().clone(), root, proof);
    Ok(Relation::Forked(Box::new(proven(evidence, keys))))
}

/// The fork that two heads of one size with different roots prove.
pub fn same_size_fork(
    one: &LogSigned<Checkpoint>,
    other: &LogSigned<Checkpoint>,
    keys: &[LogKey],
) -> ProvenFork {
    proven(ForkEvidence::same_size(one.note().clone(), other.note().clone()), keys)
}

fn proven(evidence: ForkEvidence, keys: &[LogKey]) -> ProvenFork {
    // Both heads were opened with these keys, and the tiles made the root of the larger one.
    evidence.judge(keys).expect("two signed heads that contradict each other")
}
