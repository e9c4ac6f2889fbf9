//! Remembers the bundles whose entries were hashed and compared with the tree, so that the next read of one only has
//! to show that its bytes are the same.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bundles that are remembered: those of 67 million entries, in 2 MiB.
const BUNDLES: usize = 262_144;

/// The CRC-32 of full bundles, which never change. Each bundle has one place, where it replaces what was there.
///
/// A CRC finds what a disk does to a file, as it does in the journal's batches. Bytes with another one are hashed again.
#[derive(Debug)]
pub struct CheckedBundles(Box<[AtomicU64]>);

impl Default for CheckedBundles {
    fn default() -> Self {
        Self((0..BUNDLES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl CheckedBundles {
    /// Remembers the bytes of a full bundle that was checked.
    pub fn remember(&self, index: u64, bytes: &[u8]) {
        if let Some((place, mark)) = self.mark(index, bytes) {
            place.store(mark, Ordering::Relaxed);
        }
    }

    /// Returns true if these are the bytes of a full bundle that was checked.
    pub fn knows(&self, index: u64, bytes: &[u8]) -> bool {
        self.mark(index, bytes).is_some_and(|(place, mark)| place.load(Ordering::Relaxed) == mark)
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.0.iter().for_each(|place| place.store(0, Ordering::Relaxed));
    }

    /// A bundle's place, and the mark of its bytes there: its number from one on, and the CRC. `None` for a number that
    /// no log has in practice.
    fn mark(&self, index: u64, bytes: &[u8]) -> Option<(&AtomicU64, u64)> {
        let number = u32::try_from(index + 1).ok()?;
        let place = usize::try_from(index % BUNDLES as u64).expect("below the number of places");
        Some((&self.0[place], u64::from(number) << 32 | u64::from(crc32fast::hash(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_known_by_its_number_and_its_bytes() {
        let checked = CheckedBundles::default();
        assert!(!checked.knows(7, b"seven"));
        checked.remember(7, b"seven");
        assert!(checked.knows(7, b"seven"));
        assert!(!checked.knows(7, b"Seven"), "a bit that the disk turned");
        assert!(!checked.knows(8, b"seven"));
        let later = 7 + BUNDLES as u64;
        checked.remember(later, b"later");
        assert!(checked.knows(later, b"later") && !checked.knows(7, b"seven"), "one place");
        checked.clear();
        assert!(!checked.knows(later, b"later"));
    }
}
