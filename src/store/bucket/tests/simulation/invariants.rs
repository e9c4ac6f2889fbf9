//! The invariants, which must hold at every step of every run. The checks parse the bucket's objects by their
//! documented formats, and ask no server.

use std::collections::{BTreeMap, BTreeSet};

use super::log_signer as signer;
use super::world::Objects;
use crate::checkpoint::{self, Checkpoint};
use crate::merkle::{Hash, TreeSize, hashes_to_bytes, reference, tiles_of};
use crate::proof::bundle;
use crate::store::bucket::BatchObject;
use crate::store::bucket::layout::{self, BATCHES, HeadKind};

/// The promises made in a run, and the kinds of tiles that the servers write.
pub struct Invariants {
    /// The acknowledged index of each entry.
    acknowledged: BTreeMap<Vec<u8>, u64>,
    /// All signed heads.
    signed: Vec<Checkpoint>,
    /// The entries that were submitted to any server.
    submitted: BTreeSet<Vec<u8>>,
    /// True if the servers write every tile. Otherwise they write only entry bundles, for a smaller search.
    all_tiles: bool,
}

fn size_of(head: &Checkpoint) -> usize {
    usize::try_from(head.size.get()).expect("a few leaves")
}

fn leaf_hashes(entries: &[Vec<u8>]) -> Vec<Hash> {
    entries.iter().map(|entry| Hash::leaf(entry)).collect()
}

/// The head under a key, whose signature is checked.
fn head(objects: &Objects, key: &str) -> Result<Option<Checkpoint>, String> {
    let Some((bytes, _)) = objects.get(key) else { return Ok(None) };
    let signed = checkpoint::open(bytes, &[signer().public().clone()]).map_err(|e| format!("{key}: {e}"))?;
    Ok(Some(signed.get().clone()))
}

/// ONE CHAIN. Returns its entries. Each batch begins where the previous one ends and states the right roots, and no
/// batch lies outside the chain.
fn chain(objects: &Objects) -> Result<Vec<Vec<u8>>, String> {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let is_batch = |(key, _): &(&String, _)| key.starts_with(BATCHES);
    for (key, (bytes, _)) in objects.iter().filter(is_batch) {
        let batch = BatchObject::parse(bytes.clone()).map_err(|e| format!("{key}: {e}"))?;
        let head = batch.head();
        let before = reference::root(&leaf_hashes(&entries));
        if head.first.get() != entries.len() as u64
            || *key != layout::batch(head.first)
            || head.before != before
        {
            return Err(format!("{key} is not on the chain of {} entries", entries.len()));
        }
        entries.extend(batch.entries().map(<[u8]>::to_vec));
        if head.after != reference::root(&leaf_hashes(&entries)) {
            return Err(format!("{key} states another root than that of its entries"));
        }
    }
    Ok(entries)
}

/// ON THE CHAIN: a head covers a prefix of the current chain.
fn is_prefix(head: &Checkpoint, entries: &[Vec<u8>]) -> Result<(), String> {
    let covered = entries.get(..size_of(head)).ok_or(format!(
        "a head of {} leaves over a chain of {}",
        head.size,
        entries.len()
    ))?;
    if head.root != reference::root(&leaf_hashes(covered)) {
        return Err(format!("a head of {} leaves with the root of other entries", head.size));
    }
    Ok(())
}

/// The keys and bytes of the tiles that servers write for these entries.
pub fn tiles(entries: &[Vec<u8>], all: bool) -> Vec<(String, Vec<u8>)> {
    // The trees have fewer leaves than a full tile.
    let size = TreeSize::new(entries.len() as u64).expect("a few leaves");
    let bytes = |is_bundle: bool| {
        if !is_bundle {
            return hashes_to_bytes(&leaf_hashes(entries));
        }
        let mut bytes = Vec::new();
        entries.iter().for_each(|entry| bundle::push(&mut bytes, entry).expect("short"));
        bytes
    };
    let tiles = tiles_of(size).filter(|tile| all || tile.is_bundle());
    tiles.map(|tile| (layout::tile(tile), bytes(tile.is_bundle()))).collect()
}

impl Invariants {
    /// Invariants for a run in which these entries are submitted.
    pub fn new(submitted: BTreeSet<Vec<u8>>, all_tiles: bool) -> Self {
        Self { acknowledged: BTreeMap::new(), signed: Vec::new(), submitted, all_tiles }
    }

    /// Checks the effect of a write. `before` has the replaced bytes.
    pub fn after_write(&self, objects: &Objects, key: &str, before: Option<&[u8]>) -> Result<(), String> {
        let now = &objects[key].0;
        if key.starts_with(BATCHES) {
            // NEVER REPLACED.
            if before.is_some_and(|before| before != now) {
                return Err(format!("{key} was replaced"));
            }
            let entries = chain(objects)?;
            // ONCE: an entry has one index, even if it was submitted to several servers.
            if entries.iter().collect::<BTreeSet<_>>().len() < entries.len() {
                return Err("an entry is in the log twice".to_owned());
            }
            if let Some(unknown) = entries.iter().find(|entry| !self.submitted.contains(*entry)) {
                return Err(format!("nobody submitted {:?}", String::from_utf8_lossy(unknown)));
            }
        }
        if HeadKind::parse(key).is_some() {
            let new = head(objects, key)?.expect("it was written");
            let entries = chain(objects)?;
            is_prefix(&new, &entries)?;
            // NEVER BACK.
            let older = before.map(|bytes| checkpoint::read_unverified(bytes).expect("checked then").0);
            if let Some(older) = older.filter(|older| older.size > new.size) {
                return Err(format!("{key} went back from {} leaves to {}", older.size, new.size));
            }
            // WITH ITS TILES: a reader of the head can read the log.
            if key == HeadKind::Published.as_str() {
                for (tile, bytes) in tiles(&entries[..size_of(&new)], self.all_tiles) {
                    if objects.get(&tile).is_none_or(|(seen, _)| *seen != bytes) {
                        return Err(format!("{key} of {} leaves without a right {tile}", new.size));
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks an acknowledgement: the entry is durable at this index and was never acknowledged at another one.
    pub fn acknowledge(&mut self, objects: &Objects, entry: &[u8], index: u64) -> Result<(), String> {
        let told = *self.acknowledged.entry(entry.to_vec()).or_insert(index);
        if told != index {
            return Err(format!("{:?} was told index {told}, and {index}", String::from_utf8_lossy(entry)));
        }
        let entries = chain(objects)?;
        let stored = usize::try_from(index).ok().and_then(|at| entries.get(at));
        if stored.is_none_or(|stored| stored != entry) {
            return Err(format!(
                "{:?} was acknowledged at {index}, and is not there",
                String::from_utf8_lossy(entry)
            ));
        }
        Ok(())
    }

    /// Checks a head that a server has just signed: all entries that it covers are durable.
    pub fn sign(&mut self, objects: &Objects, head: &Checkpoint) -> Result<(), String> {
        is_prefix(head, &chain(objects)?).map_err(|broken| format!("a server signed {broken}"))?;
        self.signed.push(head.clone());
        Ok(())
    }

    /// Checks the bucket when all servers are done: all entries are acknowledged, durable and published.
    pub fn at_end(&self, objects: &Objects) -> Result<(), String> {
        let entries = chain(objects)?;
        self.signed.iter().try_for_each(|head| is_prefix(head, &entries))?;
        for (entry, index) in &self.acknowledged {
            if usize::try_from(*index).ok().and_then(|at| entries.get(at)) != Some(entry) {
                return Err(format!(
                    "{:?} at {index} was acknowledged, and is missing",
                    String::from_utf8_lossy(entry)
                ));
            }
        }
        if self.acknowledged.len() < self.submitted.len() {
            return Err("a submission was not answered".to_owned());
        }
        let published = head(objects, HeadKind::Published.as_str())?.map_or(0, |head| size_of(&head));
        if published != entries.len() {
            return Err(format!("{published} of {} entries are published", entries.len()));
        }
        Ok(())
    }
}
