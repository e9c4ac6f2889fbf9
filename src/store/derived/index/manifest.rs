//! The manifest: the list of the runs that count, in the file `manifest` beside them.
//!
//! Its first bytes name the version. An index of another version is removed, and made anew from the journal.
//!
//! ```text
//! "m4\r\n" || leaves indexed u64 || their root (32) || next run u64 || runs u32
//!          || (run u64 || level u8 || pointers u64 || keys u64 || blocks u32 || CRC-32 u32)* || CRC-32 u32
//! ```

use std::path::Path;

use super::pointer::damaged;
use super::run::{Run, RunFacts, RunId};
use crate::disk::{DiskError, DiskIo, read_if_exists, replace, sync_parent};
use crate::merkle::{HASH_BYTES, Hash, TreeSize};
use crate::store::StoreError;

pub const FILE_NAME: &str = "manifest";
const MAGIC: &[u8] = b"m4\r\n";

/// Leaves that an index covers: all of the tree of this size and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    pub size: TreeSize,
    pub root: Hash,
}

impl Default for Indexed {
    fn default() -> Self {
        Self { size: TreeSize::ZERO, root: Hash::EMPTY_ROOT }
    }
}

/// The manifest. Runs cover consecutive leaves, from leaf 0 on, in the order of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Leaves that the runs cover.
    pub indexed: Indexed,
    /// Name of the next run.
    pub next: RunId,
    /// The runs.
    pub runs: Vec<RunFacts>,
}

impl Manifest {
    /// Reads the manifest. That of an index that was never written, or of another version, is empty.
    ///
    /// # Errors
    /// [`StoreError::TreeDamaged`] if it does not check.
    pub fn read(dir: &Path) -> Result<Self, StoreError> {
        match read_if_exists(&dir.join(FILE_NAME))? {
            Some(bytes) if bytes.starts_with(MAGIC) => {
                Self::from_bytes(&bytes).ok_or_else(|| damaged("a manifest that checks"))
            }
            _ => Ok(Self::default()),
        }
    }

    /// Replaces the manifest. A crash before this leaves the old list with all its runs, after it the new one
    /// with all its runs: their content and names are durable before it names them, and files that it names
    /// are removed only after it was replaced.
    pub fn write(&self, io: &dyn DiskIo, dir: &Path) -> Result<(), DiskError> {
        let path = dir.join(FILE_NAME);
        sync_parent(io, &path)?;
        replace(io, &path, &self.to_bytes())
    }

    /// The runs, opened.
    pub fn open(&self, dir: &Path) -> Result<Vec<Run>, StoreError> {
        self.runs.iter().map(|facts| Run::open(dir, *facts)).collect()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.indexed.size.get().to_be_bytes());
        bytes.extend(self.indexed.root.as_bytes());
        bytes.extend(self.next.to_be_bytes());
        bytes.extend(u32::try_from(self.runs.len()).expect("runs are merged").to_be_bytes());
        for run in &self.runs {
            bytes.extend(run.id.to_be_bytes());
            bytes.push(run.level);
            bytes.extend([run.pointers, run.keys].map(u64::to_be_bytes).concat());
            bytes.extend([run.blocks, run.crc].map(u32::to_be_bytes).concat());
        }
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk()?;
        if crc32fast::hash(bytes) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let word = |rest: &mut &[u8]| Some(u64::from_be_bytes(*rest.split_off(..8)?.first_chunk()?));
        let half = |rest: &mut &[u8]| Some(u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?));
        let size = TreeSize::new(word(&mut rest)?)?;
        let root = Hash::from_bytes(*rest.split_off(..HASH_BYTES)?.first_chunk()?);
        let next = word(&mut rest)?;
        let run = |rest: &mut &[u8]| {
            Some(RunFacts {
                id: word(rest)?,
                level: *rest.split_off_first()?,
                pointers: word(rest)?,
                keys: word(rest)?,
                blocks: half(rest)?,
                crc: half(rest)?,
            })
        };
        let runs = (0..half(&mut rest)?).map(|_| run(&mut rest)).collect::<Option<_>>()?;
        let runs: Vec<RunFacts> = runs;
        // The next run must not take the place of one that is there.
        let is_new = next < u64::MAX && runs.iter().all(|run| run.id < next);
        (rest.is_empty() && is_new).then_some(Self { indexed: Indexed { size, root }, next, runs })
    }
}

/// The runs that a manifest's bytes name, with a part of their checksums: an index that was made anew uses the same
/// names again. `None` if the bytes do not check.
#[cfg(feature = "bucket")]
pub fn runs_of(bytes: &[u8]) -> Option<Vec<(RunId, u32)>> {
    Some(Manifest::from_bytes(bytes)?.runs.iter().map(|run| (run.id, run.crc)).collect())
}

/// The size of the tree that a manifest's runs cover; `None` if its bytes do not check.
#[cfg(feature = "bucket")]
pub fn manifest_size(bytes: &[u8]) -> Option<TreeSize> {
    Some(Manifest::from_bytes(bytes)?.indexed.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_no_other_one_is() {
        let indexed = Indexed { size: TreeSize::new(70_000).unwrap(), root: Hash::digest(b"root") };
        let run = |id, pointers| RunFacts { id, level: 1, pointers, keys: 9, blocks: 3, crc: 7 };
        let manifest = Manifest { indexed, next: 9, runs: vec![run(8, 65_536), run(3, 4_464)] };
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes), Some(manifest.clone()));
        for next in [0, 8, u64::MAX] {
            let other = Manifest { next, ..manifest.clone() };
            assert_eq!(Manifest::from_bytes(&other.to_bytes()), None, "the next run's name {next} is taken");
        }
        for at in 0..bytes.len() {
            assert_eq!(Manifest::from_bytes(&bytes[..at]), None, "{at}");
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_eq!(Manifest::from_bytes(&other), None, "{at}");
        }
        assert_eq!(Manifest::from_bytes(&[bytes, vec![0]].concat()), None);
    }
}
