//! Decides what a batch appends. A log has one leaf for each payload and each claim, so a repeat gets the first
//! index; a sequence number that another release has taken is refused. No I/O except look-ups, which the caller
//! provides.

use std::collections::HashMap;

use super::{Candidate, Results, Sequenced, SubmitError};
use crate::merkle::{Hash, LeafIndex, RightEdge};
use crate::release::{Claim, Facts};
use crate::store::{Batch, StoreError, Stored};

/// What the log knows already.
pub trait Known {
    /// First index of a leaf.
    fn leaf(&self, leaf: &Hash) -> Result<Option<LeafIndex>, StoreError>;
    /// First leaf with a payload.
    fn payload(&self, payload: &Hash) -> Result<Option<Stored>, StoreError>;
    /// First leaf that claimed a key, and the content that it claimed it for.
    fn claim(&self, key: &Hash) -> Result<Option<(Stored, Hash)>, StoreError>;
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
        payloads: HashMap::new(),
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
    payloads: HashMap<Hash, Stored>,
    claims: HashMap<Hash, (Stored, Hash)>,
}

/// What is known of the claims of an entry.
enum Claimed {
    /// One of them at least is new, and none contradicts what is known.
    Fresh,
    /// All of them were made before, the first at this leaf.
    Before(Stored),
    /// One of them was made for something else.
    Taken,
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
        if let Some(index) = first {
            return Ok(Ok(Sequenced { index, duplicate: true, stored: None }));
        }
        // Before the claims: the same statement again is a duplicate, not a conflict.
        let before = match self.payload(&candidate.facts, known)? {
            Some(stored) => stored,
            None => match self.claimed(&candidate.facts.claims, known)? {
                Claimed::Fresh => return Ok(Ok(self.append(candidate))),
                Claimed::Before(stored) => stored,
                Claimed::Taken => return Ok(Err(SubmitError::SequenceTaken)),
            },
        };
        Ok(Ok(Sequenced { index: before.index, duplicate: true, stored: Some(before.leaf) }))
    }

    /// The leaf with this payload, under any signatures.
    fn payload(&self, facts: &Facts, known: &impl Known) -> Result<Option<Stored>, StoreError> {
        let Some(payload) = &facts.payload else { return Ok(None) };
        match self.payloads.get(payload) {
            Some(stored) => Ok(Some(*stored)),
            None => known.payload(payload),
        }
    }

    /// A statement of several publishers that makes a claim for one of them which the log does not have
    /// says something new, although it repeats the claims of the others.
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

    fn append(&mut self, candidate: Candidate) -> Sequenced {
        let index = self.next;
        let stored = Stored { index, leaf: candidate.leaf_hash };
        self.next = index.plus(1);
        self.leaves.insert(stored.leaf, index);
        self.payloads.extend(candidate.facts.payload.map(|payload| (payload, stored)));
        for Claim { key, content } in &candidate.facts.claims {
            // The first stands, as in the index.
            self.claims.entry(*key).or_insert((stored, *content));
        }
        self.fresh.push(candidate);
        Sequenced { index, duplicate: false, stored: None }
    }

    fn into_batch(self, edge: &RightEdge) -> Batch {
        let leaf_hashes: Vec<Hash> = self.fresh.iter().map(|candidate| candidate.leaf_hash).collect();
        let growth = edge.grow(&leaf_hashes);
        let (entries, facts) =
            self.fresh.into_iter().map(|candidate| (candidate.entry, candidate.facts)).unzip();
        Batch { first: edge.next_index(), entries, leaf_hashes, facts, growth }
    }
}
