//! Repairs a log in a bucket: rebuilds lost and damaged batches from sources that have their entries, tiles from the
//! batches, and heads from the other head or a source. The same steps restore a backup into an empty bucket.
//!
//! Sources are not trusted. Before anything is written, the existing and the planned batches together must hash to the
//! head that the log signed. Batches are written first, then tiles, and heads last, so that the next repair can
//! continue after a crash.

mod bundles;
mod heads;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::backup::{each_batch, entries_of};
use super::fsck::{BucketFsck, Tiles, cuts};
use super::layout::{self, IMMUTABLE};
use super::{BatchObject, BucketChecked, ChainError, HeadKind, MAX_OBJECT_BYTES, WriterId};
use super::{batch_object, make};
use crate::bucket::{BucketError, Creation, Objects, Refusal, Replacement, Tag};
use crate::checkpoint::{Origin, origin_hash};
use crate::merkle::{Hash, LeafIndex, RightEdge, TreeSize};
use crate::note::NoteKey;
use crate::release::Facts;
use crate::store::{Batch, CheckpointWas, CopyError, EntrySource, SignedHead, StoreError};
pub use bundles::BundleSource;
use heads::OwnHeads;
use plan::{Gap, Plan};

/// Attempts at one write while its outcome is unclear and the object is not there.
const ATTEMPTS: usize = 2;
/// Concurrent requests.
const THREADS: usize = 16;

/// A source of entries.
pub struct NamedSource {
    /// Its name in messages.
    pub name: String,
    /// Its entries.
    pub entries: Box<dyn EntrySource>,
}

/// The heads of the sources.
#[derive(Debug, Clone, Default)]
pub struct SourceHeads {
    /// The last head that the log signed.
    pub signed: Option<SignedHead>,
    /// The last head with a quorum of witnesses, which the caller has checked.
    pub witnessed: Option<SignedHead>,
}

/// The repairs that are allowed in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairMode {
    /// Creates missing objects up to the source's head, and replaces nothing but older heads. Refuses a bucket that has
    /// more than the source, or something else.
    Restore,
    /// Also replaces damaged objects.
    Repair,
}

/// A repair of a log in a bucket. Stop the log's servers first; a running server stops appending when it finds a loss.
pub struct BucketRepair<'a> {
    /// The bucket, below the log's prefix. The caller has probed it.
    pub objects: Arc<dyn Objects>,
    /// The log's key; its name is the origin.
    pub key: &'a NoteKey,
    /// The log's profile.
    pub profile: &'a str,
    /// True for a log with witnesses.
    pub has_witnesses: bool,
    /// The repairs that are allowed.
    pub mode: RepairMode,
    /// The heads of the sources.
    pub heads: SourceHeads,
    /// Called with the number of entries checked and their total.
    pub progress: &'a dyn Fn(u64, u64),
}

/// The result of a repair or a restore.
#[derive(Debug, Clone)]
pub struct RepairOutcome {
    /// The head that the batches were proven against.
    pub head: SignedHead,
    /// Number of entries in the bucket afterwards.
    pub size: TreeSize,
    /// Number of batches that were there and correct.
    pub kept: u64,
    /// Number of entries in them.
    pub kept_entries: u64,
    /// Number of batches created in place of missing ones.
    pub created: u64,
    /// Number of batches that replaced damaged ones.
    pub replaced: u64,
    /// Number of entries from sources.
    pub fetched: u64,
    /// Names of the sources that provided them.
    pub from: Vec<String>,
    /// Counts of the tiles and bundles, checked and rewritten.
    pub tiles: BucketChecked,
    /// The heads that the repair wrote.
    pub heads: Vec<HeadKind>,
    /// The state of the last signed head before the repair.
    pub checkpoint: CheckpointWas,
}

impl BucketRepair<'_> {
    /// Repairs the log. Takes missing entries from the first of the `sources` that has the right ones.
    ///
    /// # Errors
    /// [`CopyError`]: [`CopyError::Source`] if no source has the missing entries, [`CopyError::Newer`] and
    /// [`CopyError::Fork`] if the bucket and the sources have different histories. Nothing is written until all batches
    /// check. After a failed write, the same call continues the repair.
    pub fn run(&self, sources: &mut [NamedSource]) -> Result<RepairOutcome, CopyError> {
        // 1. HEADS. They give a lower bound on the size of the log.
        let own = OwnHeads::read(self.objects.as_ref(), self.key)?;
        let (target, checkpoint) = self.target(&own)?;
        let all: Vec<SignedHead> =
            own.signed().chain(self.heads.signed.iter()).chain(&self.heads.witnessed).cloned().collect();
        // 2. PLAN. Reads everything, and writes nothing.
        let plan = Plan::make(self, &target, &all, sources)?;
        // 3. BATCHES. The signed head covers each of them, so they are correct even if another process writes meanwhile.
        let mut outcome = RepairOutcome {
            size: plan.size,
            kept: plan.kept,
            kept_entries: plan.kept_entries,
            created: 0,
            replaced: 0,
            fetched: 0,
            from: plan.used.iter().map(|at| sources[*at].name.clone()).collect(),
            tiles: BucketChecked::default(),
            heads: Vec::new(),
            checkpoint,
            head: target.clone(),
        };
        let writer = WriterId::random().map_err(ChainError::Randomness).map_err(StoreError::from)?;
        for gap in plan.gaps {
            self.fill(gap, writer, sources, &mut outcome)?;
        }
        // 4. TILES, computed from the batches as read back from the bucket.
        let heads = own.after(self, &target);
        outcome.tiles =
            self.make_tiles(&target, outcome.size, &heads.iter().map(|(_, head)| head.head.size).collect())?;
        // 5. HEADS. Servers and readers accept the log from here on.
        make::name(self.objects.as_ref(), self.key.name().as_str(), self.profile).map_err(not_this_log)?;
        outcome.heads = own.write(self, &heads)?;
        Ok(outcome)
    }

    /// The head to reach, and the state of the bucket's own head.
    fn target(&self, own: &OwnHeads) -> Result<(SignedHead, CheckpointWas), CopyError> {
        if let Some(kind) = own.damaged().filter(|_| self.mode == RepairMode::Restore) {
            let key = kind.as_str().to_owned();
            let detail = "a restore replaces nothing; `treehead repair` does".to_owned();
            return Err(StoreError::from(ChainError::HeadDamaged { key, detail }).into());
        }
        let theirs = self.heads.signed.as_ref();
        let last = own.signed().max_by_key(|head| head.head.size);
        let name = || self.objects.name();
        match (last, theirs) {
            (Some(last), Some(theirs))
                if self.mode == RepairMode::Restore && last.head.size > theirs.head.size =>
            {
                Err(self.newer(last.head.size, theirs.head.size))
            }
            (Some(last), Some(theirs)) if theirs.head.size > last.head.size => {
                Ok((theirs.clone(), CheckpointWas::Older))
            }
            (Some(last), _) if own.is_complete(self.has_witnesses) => {
                Ok((last.clone(), CheckpointWas::Current))
            }
            (Some(last), _) => Ok((last.clone(), CheckpointWas::Lost)),
            (None, Some(theirs)) => Ok((theirs.clone(), CheckpointWas::Lost)),
            (None, None) => {
                let key = format!("{} in {}", HeadKind::Published, name());
                Err(StoreError::from(ChainError::HeadMissing { key }).into())
            }
        }
    }

    fn newer(&self, there: TreeSize, here: TreeSize) -> CopyError {
        let from = "the backup".to_owned();
        CopyError::Newer { path: self.objects.name().into(), from, there, here }
    }

    fn fork(&self, size: TreeSize) -> CopyError {
        CopyError::Fork { a: self.objects.name(), b: "the source".to_owned(), size }
    }

    /// Writes the batches of a gap.
    fn fill(
        &self,
        gap: Gap,
        writer: WriterId,
        sources: &mut [NamedSource],
        outcome: &mut RepairOutcome,
    ) -> Result<(), CopyError> {
        let mut edge = gap.edge;
        let source = &mut sources[gap.source];
        for piece in gap.pieces {
            let changed = |detail: String| CopyError::Source { from: source.name.clone(), detail };
            let (first, mut entries) = (edge.next_index(), Vec::with_capacity(piece.count));
            while entries.len() < piece.count {
                let at = first.get() + entries.len() as u64;
                let mut more = source.entries.entries(at, piece.count - entries.len()).map_err(changed)?;
                entries.append(&mut more);
            }
            let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
            let growth = edge.grow(&leaf_hashes);
            if entries.len() != piece.count || growth.edge.root() != piece.after {
                return Err(changed(format!("the entries from {first} on changed while they were read")));
            }
            let (facts, before) = (vec![Facts::default(); entries.len()], edge.root());
            edge = growth.edge.clone();
            let batch = Batch { first, entries, leaf_hashes, facts, growth };
            self.write_batch(&batch, before, writer, piece.replaces.as_ref())?;
            outcome.fetched += piece.count as u64;
            *if piece.replaces.is_some() { &mut outcome.replaced } else { &mut outcome.created } += 1;
            (self.progress)(edge.size().get(), outcome.size.get());
        }
        Ok(())
    }

    /// Creates a batch, or replaces the damaged version that has this tag.
    fn write_batch(
        &self,
        batch: &Batch,
        before: Hash,
        writer: WriterId,
        replaces: Option<&Tag>,
    ) -> Result<(), CopyError> {
        let key = layout::batch(batch.first);
        let origin = origin_hash(self.key.name().as_str());
        let nonce = batch_object::random().map_err(ChainError::Randomness).map_err(StoreError::from)?;
        let (bytes, _) = batch_object::encode(origin, batch, before, writer, nonce);
        let mut detail = String::new();
        for _ in 0..ATTEMPTS {
            let written = match replaces {
                None => match self.objects.create(&key, &bytes, &IMMUTABLE) {
                    Ok(Creation::Created(_)) => return Ok(()),
                    Ok(Creation::Exists) => Ok(()),
                    Err(error) => Err(error),
                },
                Some(tag) => match self.objects.replace(&key, &bytes, tag, &IMMUTABLE) {
                    Ok(Replacement::Replaced(_)) => return Ok(()),
                    Ok(Replacement::Stale | Replacement::Missing) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            match written {
                Ok(()) => "the bucket has another version".clone_into(&mut detail),
                Err(error) if error.may_be_done() => detail = error.to_string(),
                Err(BucketError::Refused { refusal: Refusal::Denied, .. }) if replaces.is_some() => {
                    return Err(denied(&key));
                }
                Err(error) => return Err(bucket(error)),
            }
            // The batch is correct, whichever process wrote it, if it adds these entries to the same tree.
            let seen = self.objects.get(&key, MAX_OBJECT_BYTES).map_err(bucket)?;
            let seen = seen.and_then(|object| BatchObject::parse(object.bytes).ok());
            let is_right = |seen: &BatchObject| {
                let head = seen.head();
                (head.origin, head.first, head.count, head.before, head.after)
                    == (origin, batch.first, batch.entries.len(), before, batch.growth.edge.root())
                    && seen.entries().eq(batch.entries.iter().map(Vec::as_slice))
            };
            if seen.as_ref().is_some_and(is_right) {
                return Ok(());
            }
            if seen.is_some() && replaces.is_none() {
                let detail = format!(
                    "another process wrote {key} meanwhile: stop the log's servers, and run the command again"
                );
                return Err(StoreError::Overtaken { detail }.into());
            }
        }
        Err(StoreError::from(ChainError::Unclear { key, detail }).into())
    }

    /// Reads all batches back, and rewrites missing and wrong tiles of heads of these sizes.
    fn make_tiles(
        &self,
        target: &SignedHead,
        size: TreeSize,
        heads: &BTreeSet<TreeSize>,
    ) -> Result<BucketChecked, CopyError> {
        let origin = Origin::from(self.key.name().clone());
        let (objects, keys) = (self.objects.clone(), Vec::new());
        let fsck = BucketFsck { objects, origin, keys, repair: true, threads: THREADS, progress: &|_, _| () };
        let covered = heads.last().copied().unwrap_or_default();
        let (mut edge, mut tiles) = (RightEdge::default(), Tiles::default());
        let mut checked = BucketChecked::default();
        let mut root = (target.head.size == TreeSize::ZERO).then_some(Hash::EMPTY_ROOT);
        each_batch(&entries_of(self.objects.clone(), self.key), 0..size.get(), |batch, _| {
            let leaf_hashes: Vec<Hash> = batch.entries().map(Hash::leaf).collect();
            let entries: Vec<&[u8]> = batch.entries().collect();
            let first = batch.head().first.get();
            let mut begin = 0;
            for end in cuts(first, entries.len(), heads).into_iter().chain([entries.len()]) {
                let growth = edge.grow(&leaf_hashes[begin..end]);
                edge = growth.edge.clone();
                if edge.size() == target.head.size {
                    root = Some(edge.root());
                }
                let piece = Some(entries[begin..end].iter().copied());
                let is_head = heads.contains(&edge.size());
                let mut expected = tiles.grow(&growth, first + begin as u64, piece, is_head);
                expected.retain(|(tile, _)| tile.id.width_in(covered) >= tile.width() as u64);
                fsck.check(&expected, covered, &mut checked)?;
                begin = end;
            }
            (checked.entries, checked.root) = (edge.size(), edge.root());
            checked.batches += 1;
            (self.progress)(edge.size().get(), size.get());
            Ok::<_, StoreError>(())
        })?;
        if root == Some(target.head.root) {
            return Ok(checked);
        }
        let (expected, seen) =
            (target.head.root.to_base64(), root.map_or("none".to_owned(), |root| root.to_base64()));
        Err(StoreError::JournalForked { size: target.head.size, expected, seen }.into())
    }
}

fn bucket(error: BucketError) -> CopyError {
    StoreError::from(ChainError::from(error)).into()
}

/// The error when the bucket's policy denies replacing a batch, as it should.
fn denied(key: &str) -> CopyError {
    let key = key.to_owned();
    let detail = "the bucket's policy denies replacing it, as it should; with credentials that are exempt, delete it or restore its right version, then run the repair again".to_owned();
    StoreError::from(ChainError::BatchDamaged { key, detail }).into()
}

fn not_this_log(error: make::MakeError) -> CopyError {
    match error {
        make::MakeError::Bucket(error) => bucket(error),
        other => StoreError::Damaged { what: "the bucket".to_owned(), detail: other.to_string() }.into(),
    }
}

/// The leaf index after a tree of this size.
fn next_of(size: TreeSize) -> LeafIndex {
    LeafIndex::new(size.get()).expect("trees are far smaller than the largest one")
}
