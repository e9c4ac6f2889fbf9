//! The newest entries, in memory: those that no head in the bucket covers yet, and some of their predecessors.

use std::collections::BTreeMap;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::merkle::{TILE_WIDTH, TreeSize};
use crate::proof::bundle::{self, LENGTH_BYTES};

const FULL: usize = 256;
/// Most bytes of full bundles to keep after the bucket has their tiles.
const KEEP_BYTES: usize = 64 * 1024 * 1024;

/// The newest entries as bundles.
#[derive(Default)]
pub struct Tail(RwLock<Bundles>);

#[derive(Default)]
struct Bundles {
    /// Index of the first entry to keep: the beginning of a bundle.
    begin: u64,
    by_index: BTreeMap<u64, Bundle>,
    bytes: usize,
}

#[derive(Default)]
struct Bundle {
    bytes: Vec<u8>,
    /// The end of each entry in `bytes`.
    ends: Vec<usize>,
}

impl Bundle {
    /// Appends entries, and returns their length.
    fn push(&mut self, entries: &[&[u8]]) -> usize {
        let grown = entries.iter().map(|entry| LENGTH_BYTES + entry.len()).sum();
        // Reserve the memory at once, so that a growing bundle does not copy its bytes repeatedly.
        self.bytes.reserve(grown);
        for entry in entries {
            bundle::push(&mut self.bytes, entry).expect("entries are capped when they are submitted");
            self.ends.push(self.bytes.len());
        }
        grown
    }
}

impl Tail {
    /// Clears the tail, which then accepts entries from `begin` on, rounded down to the beginning of a bundle.
    pub fn restart(&self, begin: TreeSize) {
        let begin = begin.get() / TILE_WIDTH * TILE_WIDTH;
        *self.write() = Bundles { begin, ..Bundles::default() };
    }

    /// Index of the first entry to keep.
    pub fn begin(&self) -> u64 {
        self.read().begin
    }

    /// Adds entries from index `first` on. Skips those that it already has and those before `begin`.
    pub fn push<'a>(&self, first: u64, entries: impl IntoIterator<Item = &'a [u8]>) {
        let bundles = &mut *self.write();
        let begin = bundles.begin;
        let wanted = (first..).zip(entries).skip_while(|(index, _)| *index < begin);
        let (indices, entries): (Vec<u64>, Vec<&[u8]>) = wanted.unzip();
        let (Some(mut index), mut rest) = (indices.first().copied(), &entries[..]) else { return };
        while !rest.is_empty() {
            let place = usize::try_from(index % TILE_WIDTH).expect("below 256");
            let (now, later) = rest.split_at(rest.len().min(FULL - place));
            let bundle = bundles.by_index.entry(index / TILE_WIDTH).or_default();
            // Skip entries that it has, and add nothing after a gap.
            let has = bundle.ends.len().checked_sub(place);
            bundles.bytes += bundle.push(has.and_then(|has| now.get(has..)).unwrap_or_default());
            (index, rest) = (index + now.len() as u64, later);
        }
    }

    /// The first `width` entries of a bundle.
    pub fn bundle(&self, index: u64, width: usize) -> Option<Vec<u8>> {
        let bundles = self.read();
        let bundle = bundles.by_index.get(&index)?;
        let end = width.checked_sub(1).and_then(|last| bundle.ends.get(last))?;
        Some(bundle.bytes[..*end].to_vec())
    }

    /// One entry.
    pub fn entry(&self, index: u64) -> Option<Vec<u8>> {
        let bundles = self.read();
        let bundle = bundles.by_index.get(&(index / TILE_WIDTH))?;
        let place = usize::try_from(index % TILE_WIDTH).expect("below 256");
        let end = *bundle.ends.get(place)?;
        let begin = place.checked_sub(1).map_or(0, |before| bundle.ends[before]);
        Some(bundle.bytes[begin + LENGTH_BYTES..end].to_vec())
    }

    /// Drops the oldest entries below this size, whose tiles the bucket has. Keeps the newest of them within a size
    /// limit.
    pub fn release(&self, tiled: TreeSize) {
        let mut bundles = self.write();
        while bundles.bytes > KEEP_BYTES {
            let Some(first) = bundles.by_index.first_entry().filter(|b| *b.key() < tiled.get() / TILE_WIDTH)
            else {
                break;
            };
            let dropped = first.remove().bytes.len();
            bundles.bytes -= dropped;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Bundles> {
        self.0.read().expect("no panic while it is held")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Bundles> {
        self.0.write().expect("no panic while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_kept_once_until_their_tiles_are_in_the_bucket() {
        let tail = Tail::default();
        tail.restart(TreeSize::new(300).unwrap());
        assert_eq!(tail.begin(), 256);
        let entries: Vec<Vec<u8>> = (0..700_u32).map(|at| at.to_be_bytes().repeat(50_000 / 4)).collect();
        let push =
            |from: usize, to: usize| tail.push(from as u64, entries[from..to].iter().map(Vec::as_slice));
        push(0, 300);
        push(290, 600);
        push(500, 700);
        for (at, entry) in entries.iter().enumerate() {
            assert_eq!(tail.entry(at as u64).as_ref(), (at >= 256).then_some(entry), "{at}");
        }
        assert_eq!(tail.entry(700), None);
        let split = |index, width: usize| {
            let bytes = tail.bundle(index, width).unwrap();
            bundle::split(&bytes, width).unwrap().into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(split(1, 256), entries[256..512]);
        assert_eq!(split(2, 188), entries[512..]);
        assert_eq!(split(2, 3), entries[512..515]);
        assert_eq!((tail.bundle(2, 189), tail.bundle(0, 1)), (None, None));
        // Far more than the limit, but not in the bucket yet.
        (0..5).for_each(|round| tail.push(700 + round * 512, vec![&[7; 50_000][..]; 512]));
        tail.release(TreeSize::new(700).unwrap());
        assert_eq!((tail.entry(511), tail.entry(512).is_some()), (None, true));
        tail.release(TreeSize::new(700 + 5 * 512).unwrap());
        assert!(tail.entry(1_800).is_none() && tail.entry(700 + 5 * 512 - 1).is_some());
    }
}
