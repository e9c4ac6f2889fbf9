//! What the index is made of: pointers from a hash to a leaf.
//!
//! ```text
//! kind (1) || first 7 bytes of a hash || leaf index u64        big-endian: sorts as it reads
//! ```
//!
//! A pointer is a hint. Two hashes may begin alike, so whoever follows one compares what is there.

use super::super::StoreError;
use crate::merkle::{Hash, LeafIndex};
use crate::release::{Facts, Term};

pub const POINTER_BYTES: usize = 16;
const LEAF: u8 = b'l';
const CLAIM: u8 = b'q';
const PAYLOAD: u8 = b'y';

/// A pointer. Sorted by what is looked for, then by leaf index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    wanted: Wanted,
    leaf: u64,
}

/// What is looked for: a pointer without its leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted(u64);

impl Wanted {
    /// A leaf with this hash.
    pub fn leaf(hash: &Hash) -> Self {
        Self::new(LEAF, hash.as_bytes())
    }

    /// A leaf with this payload.
    pub fn payload(hash: &Hash) -> Self {
        Self::new(PAYLOAD, hash.as_bytes())
    }

    /// The first leaf that claimed this key.
    pub fn claim(key: &Hash) -> Self {
        Self::new(CLAIM, key.as_bytes())
    }

    /// Leaves found by this term. Its tag is the kind, and none of them is one of ours.
    pub fn term(term: &Term) -> Self {
        Self::new(term.0[0], &term.0[1..])
    }

    fn new(kind: u8, hash: &[u8]) -> Self {
        let mut bytes = [kind; 8];
        bytes[1..].copy_from_slice(&hash[..7]);
        Self(u64::from_be_bytes(bytes))
    }

    /// The pointer to a leaf.
    pub const fn at(self, leaf: u64) -> Pointer {
        Pointer { wanted: self, leaf }
    }

    /// What a filter hashes.
    pub const fn word(self) -> u64 {
        self.0
    }
}

impl Pointer {
    /// All pointers of a leaf.
    pub fn of_leaf(index: LeafIndex, hash: &Hash, facts: &Facts) -> impl Iterator<Item = Self> {
        let claims = facts.claims.iter().map(|claim| Wanted::claim(&claim.key));
        let terms = facts.terms.iter().map(Wanted::term);
        let payload = facts.payload.iter().map(Wanted::payload);
        let all = [Wanted::leaf(hash)].into_iter().chain(payload).chain(claims).chain(terms);
        all.map(move |wanted| wanted.at(index.get()))
    }

    /// What it answers.
    pub const fn wanted(self) -> Wanted {
        self.wanted
    }

    /// Whether appending asks for its like: then a filter knows it.
    pub fn is_filtered(self) -> bool {
        matches!(self.wanted.0.to_be_bytes()[0], LEAF | PAYLOAD | CLAIM)
    }

    /// Where it points.
    pub fn leaf(self) -> Result<LeafIndex, StoreError> {
        LeafIndex::new(self.leaf).ok_or_else(|| damaged("a leaf index in a pointer"))
    }

    pub fn to_bytes(self) -> [u8; POINTER_BYTES] {
        let mut bytes = [0; POINTER_BYTES];
        bytes[..8].copy_from_slice(&self.wanted.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.leaf.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: [u8; POINTER_BYTES]) -> Self {
        let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight of sixteen"));
        Wanted(word(0)).at(word(8))
    }
}

/// A sum over a set of pointers that does not depend on their order: two sets with the same sum are
/// the same set, for all that accidents can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PointerSum {
    count: u64,
    sum: u128,
}

impl PointerSum {
    pub(super) fn add(&mut self, pointer: Pointer) {
        let bytes = pointer.to_bytes();
        let digest = *Hash::digest(&bytes).as_bytes();
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(digest[..16].try_into().expect("16 of 32")));
    }

    /// Adds all pointers of a leaf: by its hash, its payload, its claims and its terms.
    pub fn add_leaf(&mut self, index: LeafIndex, hash: &Hash, facts: &Facts) {
        Pointer::of_leaf(index, hash, facts).for_each(|pointer| self.add(pointer));
    }

    /// Pointers added.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

pub(super) fn damaged(expected: &str) -> StoreError {
    StoreError::TreeDamaged { detail: format!("expected {expected} in the index") }
}
