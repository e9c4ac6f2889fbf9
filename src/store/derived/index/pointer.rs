//! Pointers: the elements of the index, each from a hash to a leaf.
//!
//! ```text
//! kind (1) || first 7 bytes of a hash || leaf index u64        big-endian: sorts as it reads
//! ```
//!
//! The pointers of a track have the sequence number in place of the leaf, so that the highest is the last. Those of a
//! package's name have its first 7 letters in place of the hash, so that names that begin alike stand side by side.
//!
//! A pointer is a hint. Two hashes may begin alike, so the reader compares the leaf.

use crate::merkle::{Hash, LeafIndex};
use crate::release::{Facts, Term};
use crate::store::StoreError;

pub const POINTER_BYTES: usize = 16;
/// Leaves by their hash.
pub const LEAF: u8 = b'l';
/// Leaves by a key that they claimed.
pub const CLAIM: u8 = b'q';
/// Leaves by their payload.
pub const PAYLOAD: u8 = b'y';
/// Sequence numbers by their track.
pub const TRACK: u8 = b't';
/// Leaves by [what they released](crate::release::Edition::thing).
pub const EDITION: u8 = b'e';
/// Leaves by [the artifacts that they withdrew](crate::release::Edition::withdrawal).
pub const WITHDRAWAL: u8 = b'x';

/// A pointer. Sorted by the lookup key, then by leaf index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    wanted: Wanted,
    leaf: u64,
}

/// A lookup key: a pointer without its leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted(u64);

impl Wanted {
    /// Leaves of this kind that have the hash: [`LEAF`] and the other kinds above.
    pub fn hash(kind: u8, hash: &Hash) -> Self {
        Self::new(kind, hash.as_bytes())
    }

    /// Leaves that match this term. Its tag is the kind; no tag is one of the kinds above.
    pub fn term(term: &Term) -> Self {
        Self::new(term.0[0], &term.0[1..])
    }

    fn new(kind: u8, hash: &[u8]) -> Self {
        let mut bytes = [kind; 8];
        bytes[1..].copy_from_slice(&hash[..7]);
        Self(u64::from_be_bytes(bytes))
    }

    /// The term of this key, if it is one of a term.
    pub fn to_term(self) -> Term {
        let mut term = [0; 9];
        term[..8].copy_from_slice(&self.0.to_be_bytes());
        Term(term)
    }

    /// The next higher key.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }

    /// The pointer to a leaf.
    pub const fn at(self, leaf: u64) -> Pointer {
        Pointer { wanted: self, leaf }
    }

    /// The word that a filter hashes.
    pub const fn word(self) -> u64 {
        self.0
    }
}

impl Pointer {
    /// All pointers of a leaf.
    pub fn of_leaf<'a>(
        index: LeafIndex,
        hash: &'a Hash,
        facts: &'a Facts,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let claims = facts.claims.iter().map(|claim| (CLAIM, &claim.key));
        let payload = facts.payload.iter().map(|payload| (PAYLOAD, payload));
        let editions = facts.editions.iter().filter_map(|edition| Some((EDITION, edition.thing.as_ref()?)));
        let withdrawals = facts.withdrawals.iter().map(|key| (WITHDRAWAL, key));
        let hashes =
            [(LEAF, hash)].into_iter().chain(payload).chain(claims).chain(editions).chain(withdrawals);
        let terms = facts.terms.iter().map(Wanted::term);
        let leaves = hashes.map(|(kind, hash)| Wanted::hash(kind, hash)).chain(terms);
        let numbers = facts.numbers.iter().map(|(track, number)| Wanted::hash(TRACK, &track.0).at(*number));
        leaves.map(move |wanted| wanted.at(index.get())).chain(numbers)
    }

    /// The lookup that it answers.
    pub const fn wanted(self) -> Wanted {
        self.wanted
    }

    /// Whether appends, or their answers, look up pointers of this kind: then filters hold it.
    pub fn is_filtered(self) -> bool {
        matches!(self.kind(), LEAF | PAYLOAD | CLAIM | TRACK | EDITION | WITHDRAWAL)
    }

    /// Whether two leaves may share it: then a set of pointers does not say how many leaves there are.
    pub fn may_be_shared(self) -> bool {
        self.kind() == TRACK
    }

    const fn kind(self) -> u8 {
        self.wanted.0.to_be_bytes()[0]
    }

    /// The number in place of the leaf.
    pub const fn number(self) -> u64 {
        self.leaf
    }

    /// The leaf that it points at.
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

/// A sum over a set of pointers in any order. No accident gives two different sets the same sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PointerSum {
    count: u64,
    sum: u128,
}

impl PointerSum {
    /// Adds a pointer, unless [several leaves may share it](Pointer::may_be_shared): no decision rests on
    /// those.
    pub(super) fn add(&mut self, pointer: Pointer) {
        if pointer.may_be_shared() {
            return;
        }
        let bytes = pointer.to_bytes();
        let digest = *Hash::digest(&bytes).as_bytes();
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(digest[..16].try_into().expect("16 of 32")));
    }

    /// Adds all pointers of a leaf.
    pub fn add_leaf(&mut self, index: LeafIndex, hash: &Hash, facts: &Facts) {
        Pointer::of_leaf(index, hash, facts).for_each(|pointer| self.add(pointer));
    }

    /// Pointers added.
    pub const fn count(&self) -> u64 {
        self.count
    }
}

pub(super) fn damaged(expected: &str) -> StoreError {
    StoreError::TreeDamaged { detail: format!("expected {expected} in the index") }
}
