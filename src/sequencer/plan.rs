//! Decides what a batch appends. A log has one leaf for each payload and each claim, so a repeat gets the first
//! index, and a sequence number that another release has is refused. The only I/O is look-ups, which the caller
//! provides.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Candidate, Results, Sequenced, SubmitError};
use crate::merkle::{Hash, LeafIndex, RightEdge};
use crate::release::{Claim, Facts};
use crate::store::{Batch, StoreError, StoreReader, Stored};

/// Looks up what the log has.
pub trait Known {
    /// The first index of each of these leaves.
    fn leaves(&self, leaves: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError>;
    /// The first leaf with a payload.
    fn payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError>;
    /// The first leaf that claimed a key, and the content that it claimed the key for.
    fn claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError>;
}

impl Known for Arc<dyn StoreReader> {
    fn leaves(&self, leaves: &[Hash]) -> Result<Vec<Option<LeafIndex>>, StoreError> {
        self.find_leaves(leaves)
    }

    fn payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError> {
        self.find_payload(payload)
    }

    fn claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError> {
        self.find_claim(key)
    }
}

/// A batch to append, and the answer to each submission once the batch is durable.
pub struct Plan {
    /// `None` if nothing is new.
    pub batch: Option<Batch>,
    /// One list for each submission, in order.
    pub results: Vec<Results>,
    /// The candidates that are not in the batch, in order.
    left_out: Vec<Candidate>,
}

impl Plan {
    /// The submissions that were planned.
    pub fn into_submissions(self) -> Vec<Vec<Candidate>> {
        let batch = self.batch.into_iter();
        let mut fresh = batch.flat_map(|batch| {
            let hashed = batch.entries.into_iter().zip(batch.leaf_hashes);
            hashed.zip(batch.facts).map(|((entry, leaf_hash), facts)| Candidate { entry, leaf_hash, facts })
        });
        let mut left_out = self.left_out.into_iter();
        let mut candidate = |result: Result<Sequenced, SubmitError>| {
            let is_fresh = result.is_ok_and(|sequenced| !sequenced.duplicate);
            let of = if is_fresh { fresh.next() } else { left_out.next() };
            of.expect("one for each result")
        };
        self.results.into_iter().map(|each| each.into_iter().map(&mut candidate).collect()).collect()
    }
}

/// Plans a batch on top of `edge`.
pub fn plan(
    edge: &RightEdge,
    submissions: Vec<Vec<Candidate>>,
    known: &impl Known,
) -> Result<Plan, StoreError> {
    let hashes: Vec<Hash> = submissions.iter().flatten().map(|candidate| candidate.leaf_hash).collect();
    let mut stored = known.leaves(&hashes)?.into_iter();
    // Room for all of them at once: maps that grow copy what they have, a megabyte in a large batch.
    let entries = hashes.len();
    let states = submissions.iter().flatten().any(|candidate| candidate.facts.payload.is_some());
    let statements = if states { entries } else { 0 };
    let mut planner = Planner {
        next: edge.next_index(),
        fresh: Vec::with_capacity(entries),
        left_out: Vec::new(),
        leaves: HashMap::with_capacity(entries),
        payloads: HashMap::with_capacity(statements),
        claims: HashMap::with_capacity(statements),
    };
    let mut results = Vec::with_capacity(submissions.len());
    for candidates in submissions {
        let mut each = Results::with_capacity(candidates.len());
        for candidate in candidates {
            let stored = stored.next().expect("one for each leaf");
            each.push(planner.place(candidate, stored, known)?);
        }
        results.push(each);
    }
    let left_out = std::mem::take(&mut planner.left_out);
    let batch = (!planner.fresh.is_empty()).then(|| planner.into_batch(edge));
    Ok(Plan { batch, results, left_out })
}

struct Planner {
    next: LeafIndex,
    fresh: Vec<Candidate>,
    left_out: Vec<Candidate>,
    /// The rows that this batch adds, which no index has yet.
    leaves: HashMap<Hash, LeafIndex>,
    payloads: HashMap<Hash, Stored>,
    claims: HashMap<Hash, (Stored, Hash)>,
}

/// The log's answer to the claims of an entry.
enum Claimed {
    /// At least one is new, and none contradicts an earlier one.
    Fresh,
    /// All were made before, the first one at this leaf.
    Before(Stored),
    /// One was made for other content.
    Taken,
}

impl Planner {
    /// The answer to a candidate, once the batch is durable. Its leaf may be `stored`.
    fn place(
        &mut self,
        candidate: Candidate,
        stored: Option<LeafIndex>,
        known: &impl Known,
    ) -> Result<Result<Sequenced, SubmitError>, StoreError> {
        Ok(if let Some(answer) = self.known(&candidate, stored, known)? {
            self.left_out.push(candidate);
            answer
        } else {
            Ok(Sequenced { index: self.append(candidate), duplicate: false, stored: None })
        })
    }

    /// The answer to a candidate that is not appended; `None` for one that is.
    fn known(
        &self,
        candidate: &Candidate,
        stored: Option<LeafIndex>,
        known: &impl Known,
    ) -> Result<Option<Result<Sequenced, SubmitError>>, StoreError> {
        let repeat = |Stored { index, leaf }| Ok(Sequenced { index, duplicate: true, stored: Some(leaf) });
        if let Some(index) = stored.or_else(|| self.leaves.get(&candidate.leaf_hash).copied()) {
            return Ok(Some(Ok(Sequenced { index, duplicate: true, stored: None })));
        }
        // Before the claims: the same statement again is a duplicate, not a conflict.
        if let Some(stored) = self.payload(&candidate.facts, known)? {
            return Ok(Some(repeat(stored)));
        }
        Ok(match self.claimed(&candidate.facts.claims, known)? {
            Claimed::Fresh => None,
            Claimed::Before(stored) => Some(repeat(stored)),
            Claimed::Taken => Some(Err(SubmitError::SequenceTaken)),
        })
    }

    /// The leaf with this payload, under any signatures.
    fn payload(&self, facts: &Facts, known: &impl Known) -> Result<Option<Stored>, StoreError> {
        let Some(payload) = &facts.payload else { return Ok(None) };
        match self.payloads.get(payload) {
            Some(stored) => Ok(Some(*stored)),
            None => known.payload(payload),
        }
    }

    /// Looks up all claims of an entry. If several publishers sign a statement and the claim of one of them is
    /// new, the statement is new, although it repeats the claims of the others.
    fn claimed(&self, claims: &[Claim], known: &impl Known) -> Result<Claimed, StoreError> {
        let (mut first, mut fresh) = (None, claims.is_empty());
        for Claim { key, content } in claims {
            let claimed = match self.claims.get(key) {
                Some(claimed) => Some(*claimed),
                None => known.claim(key)?,
            };
            match claimed {
                Some((_, claimed)) if claimed != *content => return Ok(Claimed::Taken),
                Some((stored, _)) => first = first.into_iter().chain([stored]).min(),
                None => fresh = true,
            }
        }
        Ok(first.filter(|_| !fresh).map_or(Claimed::Fresh, Claimed::Before))
    }

    fn append(&mut self, candidate: Candidate) -> LeafIndex {
        let index = self.next;
        let stored = Stored { index, leaf: candidate.leaf_hash };
        self.next = index.plus(1);
        self.leaves.insert(stored.leaf, index);
        self.payloads.extend(candidate.facts.payload.map(|payload| (payload, stored)));
        for Claim { key, content } in &candidate.facts.claims {
            // The first claim stands, as in the index.
            self.claims.entry(*key).or_insert((stored, *content));
        }
        self.fresh.push(candidate);
        index
    }

    fn into_batch(self, edge: &RightEdge) -> Batch {
        let leaf_hashes: Vec<Hash> = self.fresh.iter().map(|candidate| candidate.leaf_hash).collect();
        let growth = edge.grow(&leaf_hashes);
        let (entries, facts) =
            self.fresh.into_iter().map(|candidate| (candidate.entry, candidate.facts)).unzip();
        Batch { first: edge.next_index(), entries, leaf_hashes, facts, growth }
    }
}
