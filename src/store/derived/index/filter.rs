//! A blocked Bloom filter: one look at memory rules out nearly all hashes that a run of pointers lacks.
//!
//! ```text
//! block*        64 bytes each, as many as make 16 bits for each key, fewer where memory is short
//! ```

use super::pointer::Wanted;

/// One cache line: a look at the filter is a look at one block.
pub const BLOCK_BYTES: usize = 64;
const BLOCK_BITS: u64 = 512;
/// With seven bits set in one block, about one unknown hash in a thousand passes.
const BITS_PER_KEY: u64 = 16;
/// A filter with fewer bits for each key passes so much that it is left out.
const FEWEST_BITS_PER_KEY: u64 = 4;
/// Nine bits of a word of 64 choose a bit of a block.
const MOST_BITS_SET: u64 = 7;

/// A filter over the lookup keys of a run. It may say yes to any key, and no only to one that was never
/// inserted. Without blocks it says yes to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    blocks: Vec<[u64; 8]>,
    bits_set: u32,
}

impl Filter {
    /// An empty filter for so many keys, of at most `most_bytes`.
    pub fn new(keys: u64, most_bytes: u64) -> Self {
        // A manifest from a bucket may say any number of keys.
        let wanted = keys.saturating_mul(BITS_PER_KEY).div_ceil(BLOCK_BITS).max(1);
        let blocks = wanted.min(most_bytes / BLOCK_BYTES as u64);
        let fewest = keys.saturating_mul(FEWEST_BITS_PER_KEY);
        let blocks = if blocks.saturating_mul(BLOCK_BITS) < fewest { 0 } else { blocks };
        Self::of_blocks(vec![[0; 8]; usize::try_from(blocks).expect("a filter fits into memory")], keys)
    }

    /// The number of bits set for each key follows from the size: the fewer bits a key has, the fewer.
    fn of_blocks(blocks: Vec<[u64; 8]>, keys: u64) -> Self {
        let bits_per_key = blocks.len() as u64 * BLOCK_BITS / keys.max(1);
        let bits_set = bits_per_key.div_ceil(2).clamp(1, MOST_BITS_SET);
        Self { blocks, bits_set: u32::try_from(bits_set).expect("at most seven") }
    }

    /// Bytes of memory.
    pub const fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    pub fn insert(&mut self, wanted: Wanted) {
        let Some((block, bits)) = self.place(wanted) else { return };
        for bit in bits {
            self.blocks[block][(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    pub fn may_have(&self, wanted: Wanted) -> bool {
        let Some((block, bits)) = self.place(wanted) else { return true };
        let block = &self.blocks[block];
        // Without a branch for each bit: the processor guesses those wrong, and waits for this block's memory before
        // it asks for the next lookup's.
        bits.fold(1, |all, bit| all & block[(bit / 64) as usize] >> (bit % 64)) & 1 == 1
    }

    /// The block of a key, and the bits in it. The key is a hash already, but for its first byte.
    fn place(&self, wanted: Wanted) -> Option<(usize, impl Iterator<Item = u64> + use<>)> {
        if self.blocks.is_empty() {
            return None;
        }
        // Blocks follow each other as the keys of a kind do: a merge inserts in that order, and stays in the cache.
        let block = (u128::from(wanted.word() << 8) * self.blocks.len() as u128) >> 64;
        let mixed = wanted.word().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let bit = move |at: u32| (bits >> (9 * at)) % BLOCK_BITS;
        Some((usize::try_from(block).expect("below the number of blocks"), (0..self.bits_set).map(bit)))
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Parses the filter of so many keys; `None` unless it is whole blocks.
    pub fn from_bytes(bytes: &[u8], keys: u64) -> Option<Self> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        let block = |bytes: &[u8; BLOCK_BYTES]| {
            let (words, _) = bytes.as_chunks::<8>();
            std::array::from_fn(|at| u64::from_be_bytes(words[at]))
        };
        rest.is_empty().then(|| Self::of_blocks(blocks.iter().map(block).collect(), keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::Hash;
    use crate::store::derived::index::LEAF;

    fn wanted(n: u64) -> Wanted {
        Wanted::hash(LEAF, &Hash::digest(&n.to_be_bytes()))
    }

    /// Unknown keys of 100,000 that pass a filter over so many keys.
    fn passed(keys: u64, most_bytes: u64) -> usize {
        let mut filter = Filter::new(keys, most_bytes);
        assert!(filter.bytes() as u64 <= most_bytes);
        (0..keys).for_each(|n| filter.insert(wanted(n)));
        let filter = Filter::from_bytes(&filter.to_bytes(), keys).unwrap();
        assert!((0..keys).all(|n| filter.may_have(wanted(n))));
        (keys..keys + 100_000).filter(|n| filter.may_have(wanted(*n))).count()
    }

    #[test]
    fn what_was_inserted_is_there_and_most_else_is_not() {
        for keys in [0, 1, 50, 1_000, 65_536] {
            let passed = passed(keys, u64::MAX);
            assert!(passed < 300, "{passed} of 100000 unknown ones passed a filter over {keys}");
        }
    }

    #[test]
    fn a_smaller_filter_passes_more_and_one_without_room_passes_everything() {
        let sizes = [131_072, 65_536, 32_768, 30_000, 0].map(|bytes| passed(65_536, bytes));
        assert!(sizes.is_sorted() && sizes[1] < 5_000 && sizes[2] < 25_000, "{sizes:?}");
        assert_eq!(sizes[3..], [100_000, 100_000]);
    }

    #[test]
    fn bytes_that_are_no_blocks_are_no_filter() {
        for length in [1, 63, 65, 127] {
            assert_eq!(Filter::from_bytes(&vec![0xff; length], 1), None, "{length}");
        }
    }
}
