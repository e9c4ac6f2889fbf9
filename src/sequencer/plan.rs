//! Deciding what a batch appends: duplicates get their first index, a taken sequence number is
//! refused. No I/O but two lookups, which the caller gives.

use std::collections::HashMap;

use super::{Candidate, Results, Sequenced, SubmitError};
use crate::merkle::{Hash, LeafIndex, RightEdge};
use crate::release::Claim;
use crate::store::{Batch, StoreError};

/// What the log knows already.
pub trait Known {
    /// First index of a leaf.
    fn leaf(&self, leaf: &Hash) -> Result<Option<LeafIndex>, StoreError>;
    /// Artifacts that a sequence number was first claimed for.
    fn claim(&self, key: &Hash) -> Result<Option<Hash>, StoreError>;
}

/// What to append, and the answer to each submission once that is durable.
pub struct Plan {
    /// `None` where nothing is new.
    pub batch: Option<Batch>,
    /// One list for each submission, in order.
    pub results: Vec<Results>,
}

/// Plans a batch on top of `edge`.
pub fn plan(
    edge: &RightEdge,
    submissions: Vec<Vec<Candidate>>,
    known: &impl Known,
) -> Result<Plan, StoreError> {
    let mut planner = Planner {
        next: edge.next_index(),
        fresh: Vec::new(),
        leaves: HashMap::new(),
        claims: HashMap::new(),
    };
    let mut results = Vec::with_capacity(submissions.len());
    for candidates in submissions {
        let each = candidates.into_iter().map(|candidate| planner.place(candidate, known));
        results.push(each.collect::<Result<Results, StoreError>>()?);
    }
    let batch = (!planner.fresh.is_empty()).then(|| planner.into_batch(edge));
    Ok(Plan { batch, results })
}

struct Planner {
    next: LeafIndex,
    fresh: Vec<Candidate>,
    /// What this very batch adds, which no index knows yet.
    leaves: HashMap<Hash, LeafIndex>,
    claims: HashMap<Hash, Hash>,
}

impl Planner {
    fn place(
        &mut self,
        candidate: Candidate,
        known: &impl Known,
    ) -> Result<Result<Sequenced, SubmitError>, StoreError> {
        let first = match self.leaves.get(&candidate.leaf_hash) {
            Some(index) => Some(*index),
            None => known.leaf(&candidate.leaf_hash)?,
        };
        // Before the claims: the same statement again is a duplicate, not a conflict.
        if let Some(index) = first {
            return Ok(Ok(Sequenced { index, duplicate: true }));
        }
        for Claim { key, artifacts } in &candidate.facts.claims {
            let claimed = match self.claims.get(key) {
                Some(artifacts) => Some(*artifacts),
                None => known.claim(key)?,
            };
            if claimed.is_some_and(|claimed| claimed != *artifacts) {
                return Ok(Err(SubmitError::SequenceTaken));
            }
        }
        let index = self.next;
        self.next = index.plus(1);
        self.leaves.insert(candidate.leaf_hash, index);
        self.claims.extend(candidate.facts.claims.iter().map(|claim| (claim.key, claim.artifacts)));
        self.fresh.push(candidate);
        Ok(Ok(Sequenced { index, duplicate: false }))
    }

    fn into_batch(self, edge: &RightEdge) -> Batch {
        let leaf_hashes: Vec<Hash> = self.fresh.iter().map(|candidate| candidate.leaf_hash).collect();
        let growth = edge.grow(&leaf_hashes);
        let (entries, facts) =
            self.fresh.into_iter().map(|candidate| (candidate.entry, candidate.facts)).unzip();
        Batch { first: edge.next_index(), entries, leaf_hashes, facts, growth }
    }
}
