//! A log of the tests, and the callback that asks it.

use std::ffi::c_void;

use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::cosignature::cosign;
use treehead::merkle::{Hash, RightEdge, TileId, hashes_to_bytes};
use treehead::note::{KeyName, NoteSigner, SignatureType};

use super::{NOW, fixture};

const ORIGIN: &str = "log.example.com/releases";

/// A log that grew from the five leaves of the fixtures.
pub struct Log {
    pub leaves: Vec<Hash>,
    pub signer: NoteSigner,
    checkpoint: Vec<u8>,
    pub requests: Vec<String>,
    /// Entries that it serves proofs of, by leaf index.
    entries: Vec<(usize, Vec<u8>)>,
    pub search: Search,
}

/// The search of a log.
pub enum Search {
    /// It has none, as a log of static files.
    Absent,
    /// It says that these of `entries` are withdrawals of the release.
    Finds(Vec<usize>),
    /// It answers with this.
    Answers(i32, String),
    /// Each page has no rows, and another one before it.
    Endless(u64),
}

impl Log {
    /// The first leaves are the fixtures': the proof file has the hashes for them.
    pub fn grown(first: &[Hash], to: usize) -> Self {
        let key = KeyName::new(ORIGIN).unwrap();
        let signer = NoteSigner::from_seed(key, SignatureType::Ed25519, &[100; 32]);
        let more = (first.len()..to).map(|n| Hash::leaf(format!("leaf {n}").as_bytes()));
        let mut log = Self {
            leaves: first.iter().copied().chain(more).collect(),
            signer,
            checkpoint: Vec::new(),
            requests: Vec::new(),
            entries: Vec::new(),
            search: Search::Absent,
        };
        log.sign();
        log
    }

    pub fn sign(&mut self) {
        let edge = RightEdge::default().grow(&self.leaves).edge;
        let head = Checkpoint::new(self.signer.public().name().clone(), edge.size(), edge.root());
        let witness = KeyName::new("witness.example.com").unwrap();
        let witness = NoteSigner::from_seed(witness, SignatureType::CosignatureEd25519, &[101; 32]);
        let mut note = head.sign(&self.signer);
        note.push(cosign(&head, &witness, NOW - 30));
        self.checkpoint = note.to_string().into_bytes();
    }

    pub fn get(&mut self, path: &str) -> (i32, Vec<u8>) {
        self.requests.push(path.to_owned());
        if path == "checkpoint" {
            return (200, self.checkpoint.clone());
        }
        if let Some(leaf) = path.strip_prefix("proof/leaf/") {
            let entry = self.entries.iter().find(|(_, entry)| Hash::leaf(entry).to_hex() == leaf);
            return entry.map_or((404, Vec::new()), |(at, entry)| (200, proof_of(self, *at, entry)));
        }
        if path.starts_with("releases?") {
            return self.find(path);
        }
        let Ok(tile) = treehead::merkle::Tile::parse(path) else { return (404, Vec::new()) };
        let TileId::Hashes { level: 0, index: 0 } = tile.id else { return (404, Vec::new()) };
        match self.leaves.get(..tile.width()) {
            Some(hashes) => (200, hashes_to_bytes(hashes)),
            None => (404, Vec::new()),
        }
    }
}

impl Log {
    /// The fixtures' log, grown, with these entries appended.
    pub fn with_entries(entries: &[Vec<u8>]) -> Self {
        let mut log = Self::grown(&leaves(), 7);
        for entry in entries {
            log.entries.push((log.leaves.len(), entry.clone()));
            log.leaves.push(Hash::leaf(entry));
        }
        log.search = Search::Finds((0..entries.len()).collect());
        log.sign();
        log
    }

    fn find(&mut self, path: &str) -> (i32, Vec<u8>) {
        let size = self.leaves.len();
        let page = |rows: &str, next: &str| {
            let text = format!("{{\"tree_size\":{size},\"releases\":[{rows}],\"next\":{next}}}");
            (200, text.into_bytes())
        };
        match &mut self.search {
            Search::Absent => (404, Vec::new()),
            Search::Answers(status, body) => (*status, body.clone().into_bytes()),
            Search::Endless(next) => {
                *next -= 1;
                page("", &next.to_string())
            }
            Search::Finds(entries) if path.contains("&withdraws=") => {
                let before = path.split_once("&before=").map_or(size, |(_, before)| before.parse().unwrap());
                let row = |(at, entry): &(usize, Vec<u8>)| {
                    let leaf = Hash::leaf(entry).to_hex();
                    format!("{{\"index\":{at},\"leaf_hash\":\"{leaf}\",\"kind\":\"withdrawal\"}}")
                };
                let found = entries.iter().rev().map(|at| &self.entries[*at]);
                let mut found: Vec<_> = found.filter(|(at, _)| *at < before).take(101).collect();
                let next = found.get(100).map_or("null".to_owned(), |_| found[99].0.to_string());
                found.truncate(100);
                page(&found.into_iter().map(row).collect::<Vec<_>>().join(","), &next)
            }
            Search::Finds(_) => page("", "null"),
        }
    }
}

pub unsafe extern "C" fn fetch(
    context: *mut c_void,
    path: *const std::ffi::c_char,
    data: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> i32 {
    let log = &mut *context.cast::<Log>();
    let path = std::ffi::CStr::from_ptr(path).to_str().unwrap();
    let (status, body) = log.get(path);
    assert!(body.len() <= capacity);
    data.copy_from_nonoverlapping(body.as_ptr(), body.len());
    length.write(body.len());
    status
}

/// The leaves of the fixtures' tree, as tests/fixtures.rs makes them; the third is the release.
pub fn leaves() -> Vec<Hash> {
    let proof = treehead::proof::ProofFile::parse(&fixture("scanner.sh.tlog-proof")).unwrap();
    let entry = Hash::leaf(&proof.extra.unwrap());
    // Only the third, fourth and fifth are known; the first two are a node.
    vec![proof.proof[1], proof.proof[1], entry, proof.proof[0], proof.proof[2]]
}

/// A log of which a tile is asked needs all leaves, so this one begins with a tree of its own.
pub fn own_proof(log: &Log, at: usize) -> Vec<u8> {
    let proof = treehead::proof::ProofFile::parse(&fixture("scanner.sh.tlog-proof")).unwrap();
    proof_of(log, at, &proof.extra.unwrap())
}

/// The proof file of an entry of a log.
pub fn proof_of(log: &Log, at: usize, entry: &[u8]) -> Vec<u8> {
    use treehead::merkle::{LeafIndex, Plan, Tile, TileReader};
    struct Leaves<'a>(&'a [Hash]);
    impl TileReader for Leaves<'_> {
        type Error = std::convert::Infallible;
        fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Self::Error> {
            Ok(tiles.iter().map(|tile| self.0[..tile.width()].to_vec()).collect())
        }
    }
    let mut proof = treehead::proof::ProofFile::parse(&fixture("scanner.sh.tlog-proof")).unwrap();
    proof.extra = Some(entry.to_vec());
    proof.index = LeafIndex::new(at as u64).unwrap();
    let size = treehead::merkle::TreeSize::new(log.leaves.len() as u64).unwrap();
    proof.proof = Plan::inclusion(proof.index, size).unwrap().fetch(&Leaves(&log.leaves)).unwrap();
    proof.checkpoint = treehead::note::Note::parse(&log.checkpoint).unwrap();
    proof.to_string().into_bytes()
}
