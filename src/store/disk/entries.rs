//! The entries of a log on disk: in the journal, found by the beginnings of bundles that the tree's rows have.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::journal::{BundleReader, BundleStart};
use crate::disk::DiskError;
use crate::merkle::{LeafIndex, TILE_WIDTH};
use crate::store::StoreError;
use crate::store::derived::{EntryStorage, Tree};

/// The journal in a directory, for readers.
pub struct JournalEntries(PathBuf);

impl JournalEntries {
    /// The journal in `dir`.
    pub const fn new(dir: PathBuf) -> Self {
        Self(dir)
    }
}

impl EntryStorage for JournalEntries {
    fn read_bundle(&self, tree: &Tree, index: u64, width: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let start = BundleStart::from(tree.bundle_start(index)?);
        BundleReader::new(&self.0, start)?.read(width, index * TILE_WIDTH, &mut bytes)?;
        // A little room to spare costs less than a copy.
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            bytes.shrink_to_fit();
        }
        Ok(bytes)
    }

    fn read_entry(&self, tree: &Tree, index: LeafIndex) -> Result<Vec<u8>, StoreError> {
        let (bundle, skip) = (index.get() / TILE_WIDTH, index.get() % TILE_WIDTH);
        let start = BundleStart::from(tree.bundle_start(bundle)?);
        BundleReader::for_one_entry(&self.0, start)?.read_entry(skip, bundle * TILE_WIDTH)
    }

    fn damaged(&self, what: &str, detail: String) -> StoreError {
        StoreError::Damaged { what: format!("{what} in the journal"), detail }
    }

    fn damage_in(&self, error: &StoreError) -> Option<(String, String)> {
        match error {
            StoreError::Damaged { what, detail } => Some((what.clone(), detail.clone())),
            StoreError::Disk(DiskError::Io { path, source, .. })
                if source.kind() == ErrorKind::NotFound && path.starts_with(&self.0) =>
            {
                Some((path.display().to_string(), "expected a journal file, saw none".to_owned()))
            }
            _ => None,
        }
    }
}
