//! Checks the promises at each write to the bucket and at each statement of a server. The judge builds its own chain
//! from the batches as they are written, and asks no server.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::super::{facts_of, signer};
use crate::bucket::tests::memory::MemoryObjects;
use crate::checkpoint::{self, Checkpoint};
use crate::merkle::{Hash, RightEdge, Tile, TileId, TreeSize, hashes_to_bytes, tiles_of};
use crate::proof::bundle;
use crate::sequencer::tests::witnessed::policy;
use crate::sequencer::{Candidate, Sequenced, SubmitError};
use crate::store::bucket::layout::{self, BATCHES, TILES};
use crate::store::bucket::{BatchObject, HeadKind};

pub struct Judge {
    pub objects: MemoryObjects,
    has_witnesses: bool,
    pub entries: Vec<Vec<u8>>,
    leaves: Vec<Hash>,
    /// The hashes of the tiles at level 1.
    above: Vec<Hash>,
    edge: RightEdge,
    /// The root after each batch, by tree size.
    roots: BTreeMap<u64, Hash>,
    known: HashSet<Hash>,
    claims: HashMap<Hash, Hash>,
    /// Indices that a server acknowledged as new.
    fresh: BTreeSet<u64>,
    acknowledged: BTreeMap<u64, Hash>,
    pub heads: usize,
    /// The first broken promise.
    pub broken: Option<String>,
}

impl Judge {
    pub fn new(has_witnesses: bool) -> Self {
        let objects = MemoryObjects::default();
        let first = super::super::signed(&RightEdge::default());
        let kind = if has_witnesses { HeadKind::Signed } else { HeadKind::Published };
        objects.set(kind.as_str(), &first);
        Self {
            objects,
            has_witnesses,
            entries: Vec::new(),
            leaves: Vec::new(),
            above: Vec::new(),
            edge: RightEdge::default(),
            roots: BTreeMap::from([(0, Hash::EMPTY_ROOT)]),
            known: HashSet::new(),
            claims: HashMap::new(),
            fresh: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            heads: 0,
            broken: None,
        }
    }

    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn note(&mut self, held: Result<(), String>) {
        if let Err(broken) = held {
            self.broken.get_or_insert(broken);
        }
    }

    /// Carries out a write and checks its effect.
    pub fn write<T>(&mut self, key: &str, write: impl FnOnce(&MemoryObjects) -> T) -> T {
        let before = self.objects.bytes(key);
        let answer = write(&self.objects);
        let after = self.objects.bytes(key);
        if let Some(after) = after.filter(|after| before.as_ref() != Some(after)) {
            let held = self.check_write(key, before, &after);
            self.note(held);
        }
        answer
    }

    fn check_write(&mut self, key: &str, before: Option<Vec<u8>>, now: &[u8]) -> Result<(), String> {
        if key.starts_with(BATCHES) {
            if before.is_some() {
                return Err(format!("{key} was replaced"));
            }
            return self.extend(key, now);
        }
        if key.starts_with(TILES) {
            let tile = Tile::parse(key).map_err(|e| e.to_string())?;
            let right = self.tile(tile).ok_or(format!("{key} covers entries that are not in the log"))?;
            return if right == now { Ok(()) } else { Err(format!("a wrong {key}")) };
        }
        let Some(kind) = HeadKind::parse(key) else { return Ok(()) };
        let opened =
            checkpoint::open(now, &[signer().public().clone()]).map_err(|e| format!("{key}: {e}"))?;
        let head = opened.get().clone();
        self.is_prefix(&head).map_err(|why| format!("{key}: {why}"))?;
        let older = before.map(|bytes| checkpoint::read_unverified(&bytes).expect("checked").0.size);
        if let Some(older) = older.filter(|older| *older > head.size) {
            return Err(format!("{key} went back from {older} to {}", head.size));
        }
        if self.has_witnesses && kind == HeadKind::Published && policy().check(&opened).is_err() {
            return Err(format!("{key} of {} leaves lacks its quorum", head.size));
        }
        self.heads += 1;
        for tile in tiles_of(head.size) {
            if self.objects.bytes(&layout::tile(tile)) != self.tile(tile) {
                return Err(format!("{key} of {} leaves without a right {tile}", head.size));
            }
        }
        Ok(())
    }

    /// ONE CHAIN, with each entry and claim once.
    fn extend(&mut self, key: &str, bytes: &[u8]) -> Result<(), String> {
        let batch = BatchObject::parse(bytes.to_vec()).map_err(|e| format!("{key}: {e}"))?;
        let head = batch.head();
        if head.first.get() != self.size()
            || head.before != self.edge.root()
            || *key != layout::batch(head.first)
        {
            return Err(format!("{key} is not on the chain of {} entries", self.size()));
        }
        for entry in batch.entries() {
            let leaf = Hash::leaf(entry);
            let text = String::from_utf8_lossy(entry).into_owned();
            if !self.known.insert(leaf) {
                return Err(format!("{text:?} is in the log twice"));
            }
            for claim in facts_of(entry).claims {
                if self.claims.insert(claim.key, claim.content).is_some() {
                    return Err(format!("{text:?} repeats a claim"));
                }
            }
            self.entries.push(entry.to_vec());
            self.leaves.push(leaf);
            self.edge = self.edge.grow(&[leaf]).edge;
        }
        while (self.above.len() + 1) * 256 <= self.leaves.len() {
            let at = self.above.len() * 256;
            self.above.push(RightEdge::default().grow(&self.leaves[at..at + 256]).edge.root());
        }
        self.roots.insert(self.size(), self.edge.root());
        if head.after == self.edge.root() { Ok(()) } else { Err(format!("{key} states another root")) }
    }

    /// The bytes of a tile over the chain; `None` if the chain is too short.
    fn tile(&self, tile: Tile) -> Option<Vec<u8>> {
        let from = usize::try_from(tile.id.index()).ok()? * 256;
        let range = from..from + tile.width();
        match tile.id {
            TileId::Hashes { level: 0, .. } => Some(hashes_to_bytes(self.leaves.get(range)?)),
            TileId::Hashes { level: 1, .. } => Some(hashes_to_bytes(self.above.get(range)?)),
            TileId::Hashes { .. } => None,
            TileId::Entries { .. } => {
                let mut bytes = Vec::new();
                self.entries
                    .get(range)?
                    .iter()
                    .for_each(|entry| bundle::push(&mut bytes, entry).expect("short"));
                Some(bytes)
            }
        }
    }

    /// ON THE CHAIN: the head covers a prefix of the current chain.
    fn is_prefix(&self, head: &Checkpoint) -> Result<(), String> {
        if self.roots.get(&head.size.get()) == Some(&head.root) {
            return Ok(());
        }
        Err(format!("a head of {} leaves that is not on the chain of {}", head.size, self.size()))
    }

    /// Checks a head that a server has signed or shown.
    pub fn head(&mut self, what: &str, head: &Checkpoint) {
        let held = self.is_prefix(head).map_err(|why| format!("{what}: {why}"));
        self.note(held);
    }

    /// Checks an answer to a sender.
    pub fn answer(&mut self, sent: &Candidate, answer: &Result<Sequenced, SubmitError>) {
        let held = self.check_answer(sent, answer);
        self.note(held);
    }

    fn check_answer(
        &mut self,
        sent: &Candidate,
        answer: &Result<Sequenced, SubmitError>,
    ) -> Result<(), String> {
        let text = String::from_utf8_lossy(&sent.entry);
        let claim = sent.facts.claims.first();
        let Sequenced { index, duplicate, stored } = match answer {
            Ok(sequenced) => sequenced,
            Err(SubmitError::SequenceTaken) => {
                let claimed = claim.and_then(|claim| Some((self.claims.get(&claim.key)?, claim.content)));
                let is_taken = claimed.is_some_and(|(claimed, content)| *claimed != content);
                return if is_taken {
                    Ok(())
                } else {
                    Err(format!("{text:?} was refused, but no entry has its claim"))
                };
            }
            // The entry may be in the log anyway.
            Err(_) => return Ok(()),
        };
        let leaf = usize::try_from(index.get()).ok().and_then(|at| self.leaves.get(at)).copied();
        let expected = stored.unwrap_or(sent.leaf_hash);
        if leaf != Some(expected) {
            return Err(format!("{text:?} was acknowledged at {index}, and is not there"));
        }
        if !duplicate && !self.fresh.insert(index.get()) {
            return Err(format!("index {index} was given away twice"));
        }
        self.acknowledged.insert(index.get(), expected);
        Ok(())
    }

    /// Checks the size that a server shows to readers.
    pub fn shown(&mut self, name: &str, size: TreeSize) {
        if size.get() > self.size() {
            let held = format!("{name} shows {size} entries of {}", self.size());
            self.note(Err(held));
        }
    }

    /// Checks that no acknowledged entry is missing. Returns the number of acknowledgements.
    pub fn at_end(&mut self) -> usize {
        let chain: Vec<Hash> = self
            .objects
            .all()
            .into_iter()
            .filter(|(key, _)| key.starts_with(BATCHES))
            .flat_map(|(_, bytes)| {
                let batch = BatchObject::parse(bytes).expect("checked");
                batch.entries().map(Hash::leaf).collect::<Vec<_>>()
            })
            .collect();
        let is_there =
            |(index, leaf): (&u64, &Hash)| chain.get(usize::try_from(*index).expect("few")) == Some(leaf);
        let held = if chain == self.leaves && self.acknowledged.iter().all(is_there) {
            Ok(())
        } else {
            Err("an entry that was acknowledged is missing".to_owned())
        };
        self.note(held);
        self.acknowledged.len()
    }
}
