//! The manifest: the list of the runs that count.
//!
//! Its key names the version of the pointers. An index of another version has no manifest under this key, so
//! it is rebuilt from the journal; the first version, `m`, had no pointers by payload.
//!
//! ```text
//! "m2"     leaves indexed u64 || next run u64 || runs u32 || (run u64 || level u8 || pointers u64)*
//!          || unwanted u32 || (run u64)*
//! ```

use super::pointer::damaged;
use super::run::{Run, RunId};
use crate::merkle::TreeSize;
use crate::store::StoreError;

const KEY: &[u8] = b"m2";
/// Key of the first version.
const OLD_KEY: &[u8] = b"m";

/// The manifest. Runs cover consecutive leaves, from leaf 0 on, in the order of the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Leaves that the runs cover.
    pub indexed: TreeSize,
    /// Name of the next run.
    pub next: RunId,
    /// Name, level and length of each run.
    pub runs: Vec<(RunId, u8, u64)>,
    /// Runs that were merged or not finished: their rows are to be removed.
    pub unwanted: Vec<RunId>,
}

impl Manifest {
    /// Reads the manifest; that of an index that was never written is empty.
    pub fn read(rows: &sled::Tree) -> Result<Self, StoreError> {
        let Some(row) = rows.get(KEY)? else { return Ok(Self::default()) };
        Self::from_bytes(&row).ok_or_else(|| damaged("a manifest that parses"))
    }

    /// Writes the manifest. A crash before this leaves the old list with all its rows, after it the new one
    /// with all its rows: sled writes in order, and is not believed if the order may have been lost.
    pub fn write(&self, rows: &sled::Tree) -> Result<(), StoreError> {
        rows.insert(KEY, self.to_bytes())?;
        Ok(())
    }

    /// Removes the manifest of the first version. Its runs are removed with all others that this one does not
    /// name.
    pub fn remove_old(rows: &sled::Tree) -> Result<(), StoreError> {
        rows.remove(OLD_KEY)?;
        Ok(())
    }

    /// The runs, opened.
    pub fn open(&self, rows: &sled::Tree) -> Result<Vec<Run>, StoreError> {
        self.runs.iter().map(|(id, level, pointers)| Run::open(rows, *id, *level, *pointers)).collect()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let count = |n: usize| u32::try_from(n).expect("runs are merged").to_be_bytes();
        let mut bytes = [self.indexed.get().to_be_bytes(), self.next.to_be_bytes()].concat();
        bytes.extend(count(self.runs.len()));
        for (id, level, pointers) in &self.runs {
            bytes.extend(id.to_be_bytes());
            bytes.push(*level);
            bytes.extend(pointers.to_be_bytes());
        }
        bytes.extend(count(self.unwanted.len()));
        bytes.extend(self.unwanted.iter().flat_map(|id| id.to_be_bytes()));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let word = |rest: &mut &[u8]| Some(u64::from_be_bytes(*rest.split_off(..8)?.first_chunk()?));
        let count = |rest: &mut &[u8]| Some(u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?));
        let (indexed, next) = (TreeSize::new(word(&mut rest)?)?, word(&mut rest)?);
        let run = |rest: &mut &[u8]| Some((word(rest)?, *rest.split_off_first()?, word(rest)?));
        let runs = (0..count(&mut rest)?).map(|_| run(&mut rest)).collect::<Option<_>>()?;
        let unwanted = (0..count(&mut rest)?).map(|_| word(&mut rest)).collect::<Option<_>>()?;
        rest.is_empty().then_some(Self { indexed, next, runs, unwanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_no_part_of_one_is() {
        let indexed = TreeSize::new(70_000).unwrap();
        let manifest =
            Manifest { indexed, next: 9, runs: vec![(8, 1, 65_536), (3, 0, 4_464)], unwanted: vec![1, 2] };
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes), Some(manifest));
        for length in 0..bytes.len() {
            assert_eq!(Manifest::from_bytes(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Manifest::from_bytes(&[bytes, vec![0]].concat()), None);
    }
}
