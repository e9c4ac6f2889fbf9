//! A blocked Bloom filter: one look at memory rules out most hashes that a run of pointers lacks.
//!
//! ```text
//! block*        64 bytes each, as many as make 10 bits for each pointer
//! ```

use super::pointer::Wanted;

/// One cache line: a look at the filter is a look at one block.
pub const BLOCK_BYTES: usize = 64;
const BLOCK_BITS: u64 = 512;
/// With six bits set in one block: about one unknown hash in seventy passes.
const BITS_PER_POINTER: u64 = 10;
const BITS_SET: u32 = 6;

/// A filter over the lookup keys of a run. It may say yes to any key, and no only to one that was never
/// inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    blocks: Vec<[u64; 8]>,
}

impl Filter {
    /// An empty filter for so many pointers.
    pub fn new(pointers: u64) -> Self {
        let blocks = (pointers * BITS_PER_POINTER).div_ceil(BLOCK_BITS).max(1);
        Self { blocks: vec![[0; 8]; usize::try_from(blocks).expect("a filter fits into memory")] }
    }

    pub fn insert(&mut self, wanted: Wanted) {
        let (block, bits) = self.place(wanted);
        for bit in bits {
            self.blocks[block][(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    pub fn may_have(&self, wanted: Wanted) -> bool {
        let (block, mut bits) = self.place(wanted);
        bits.all(|bit| self.blocks[block][(bit / 64) as usize] >> (bit % 64) & 1 == 1)
    }

    /// The block of a key, and the bits in it. The key is a hash already, but for its first byte.
    fn place(&self, wanted: Wanted) -> (usize, impl Iterator<Item = u64> + use<>) {
        let mixed = wanted.word().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let block = (u128::from(mixed) * self.blocks.len() as u128) >> 64;
        let bits = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let bit = move |at: u32| (bits >> (9 * at)) % BLOCK_BITS;
        (usize::try_from(block).expect("below the number of blocks"), (0..BITS_SET).map(bit))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// `None` unless it is some whole blocks.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        let block = |bytes: &[u8; BLOCK_BYTES]| {
            let (words, _) = bytes.as_chunks::<8>();
            std::array::from_fn(|at| u64::from_be_bytes(words[at]))
        };
        (rest.is_empty() && !blocks.is_empty()).then(|| Self { blocks: blocks.iter().map(block).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Hash;
    use crate::store::disk::index::LEAF;

    fn wanted(n: u64) -> Wanted {
        Wanted::hash(LEAF, &Hash::digest(&n.to_be_bytes()))
    }

    #[test]
    fn what_was_inserted_is_there_and_most_else_is_not() {
        for count in [0, 1, 50, 1_000, 65_536] {
            let mut filter = Filter::new(count);
            (0..count).for_each(|n| filter.insert(wanted(n)));
            let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
            assert!((0..count).all(|n| filter.may_have(wanted(n))));
            let passed = (count..count + 100_000).filter(|n| filter.may_have(wanted(*n))).count();
            assert!(passed < 3_000, "{passed} of 100000 unknown ones passed a filter over {count}");
        }
    }

    #[test]
    fn bytes_that_are_no_blocks_are_no_filter() {
        for length in [0, 1, 63, 65, 127] {
            assert_eq!(Filter::from_bytes(&vec![0xff; length]), None, "{length}");
        }
    }
}
