//! Re-hashing a journal up to roots that were signed.

use std::collections::BTreeMap;
use std::path::Path;

use super::journal::{Record, Scan};
use crate::merkle::{Growth, Hash, RightEdge, TreeSize};
use crate::store::StoreError;
use crate::store::signed_head::{SignedHead, check_holds};

/// Grows a tree entry by entry, and remembers its root at the watched sizes.
#[derive(Debug, Clone, Default)]
pub struct Rehash {
    edge: RightEdge,
    roots: BTreeMap<TreeSize, Option<Hash>>,
}

impl Rehash {
    /// An empty tree that remembers its roots at these sizes.
    pub fn watching(sizes: impl IntoIterator<Item = TreeSize>) -> Self {
        let root = |size: TreeSize| (size == TreeSize::ZERO).then_some(Hash::EMPTY_ROOT);
        Self { edge: RightEdge::default(), roots: sizes.into_iter().map(|size| (size, root(size))).collect() }
    }

    /// The tree now.
    pub const fn edge(&self) -> &RightEdge {
        &self.edge
    }

    /// The growth by the next entries.
    pub fn growth(&self, entries: &[&[u8]]) -> Growth {
        let leaves: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        self.edge.grow(&leaves)
    }

    /// Appends entries, of which `growth` is the [growth](Self::growth).
    pub fn grow(&mut self, entries: &[&[u8]], growth: &Growth) {
        let before = self.edge.size().get();
        for (size, root) in self.roots.range_mut(self.edge.size()..=growth.edge.size()) {
            let count = usize::try_from(size.get() - before).expect("at most a batch");
            if root.is_none() {
                let leaves: Vec<Hash> = entries[..count].iter().map(|entry| Hash::leaf(entry)).collect();
                *root = Some(self.edge.grow(&leaves).edge.root());
            }
        }
        self.edge = growth.edge.clone();
    }

    /// The tree that another run has grown from this one to `edge`; `None` if a watched size lies in between,
    /// whose root nobody knows then.
    pub fn skip_to(&self, edge: &RightEdge) -> Option<Self> {
        let (mut roots, end) = (self.roots.clone(), edge.size());
        for (size, root) in roots.range_mut(self.edge.size()..=end).filter(|(_, root)| root.is_none()) {
            if *size != end {
                return None;
            }
            *root = Some(edge.root());
        }
        Some(Self { edge: edge.clone(), roots })
    }

    /// The root at a watched size that the tree has reached.
    pub fn root_at(&self, size: TreeSize) -> Option<Hash> {
        self.roots.get(&size).copied().flatten()
    }

    /// Whether the tree holds a signed head.
    pub fn holds(&self, head: &SignedHead) -> bool {
        self.check(head).is_ok()
    }

    /// Checks that the tree holds a signed head, whose size it watches.
    ///
    /// # Errors
    /// [`StoreError::JournalShort`], [`StoreError::JournalForked`].
    pub fn check(&self, head: &SignedHead) -> Result<(), StoreError> {
        let size = self.edge.size();
        let short = StoreError::JournalShort { signed: head.head.size, seen: size };
        check_holds(&head.head, size, || self.root_at(head.head.size).ok_or(short))
    }

    /// Takes a batch of the segment at `path`, whose root has to be what its entries make.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not.
    pub fn take(&mut self, record: &Record, path: &Path) -> Result<(), StoreError> {
        let entries = record.entries();
        let growth = self.growth(&entries);
        record.check_root(path, &growth.edge.root())?;
        self.grow(&entries, &growth);
        Ok(())
    }
}

/// Re-hashes the journal in `dir` up to its end, or until the tree has reached `until`.
///
/// # Errors
/// [`StoreError`] if it does not check.
pub fn rehash_journal(
    dir: &Path,
    origin: Hash,
    until: Option<TreeSize>,
    mut tree: Rehash,
    progress: &dyn Fn(u64, u64),
) -> Result<Rehash, StoreError> {
    let mut scan = Scan::new(dir, origin, None)?;
    while until.is_none_or(|until| tree.edge().size() < until) {
        let Some(record) = scan.next_record()? else { break };
        tree.take(&record, &record.path_in(dir))?;
        let done = tree.edge().size();
        progress(done.get(), until.unwrap_or(done).get());
    }
    Ok(tree)
}
