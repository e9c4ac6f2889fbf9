//! Through the functions of C: a growing log and a forked one, and many wrong inputs.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::cosignature::cosign;
use treehead::merkle::{Hash, RightEdge, TileId, hashes_to_bytes};
use treehead::note::{KeyName, NoteSigner, SignatureType};

use crate::*;

const NOW: u64 = 1_770_000_060;
const ORIGIN: &str = "log.example.com/releases";

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/verify").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn bytes(of: &[u8]) -> th_bytes {
    th_bytes { data: of.as_ptr(), length: of.len() }
}

fn question(proof: &[u8]) -> th_question {
    // SAFETY: zeroes are a question.
    let mut question: th_question = unsafe { std::mem::zeroed() };
    question.struct_size = size_of::<th_question>();
    question.sha256 = *Hash::digest(&fixture("scanner.sh")).as_bytes();
    question.proof = bytes(proof);
    question.now = NOW;
    question
}

fn verdict() -> th_verdict {
    // SAFETY: zeroes are a verdict.
    let mut verdict: th_verdict = unsafe { std::mem::zeroed() };
    verdict.struct_size = size_of::<th_verdict>();
    verdict
}

fn trust(file: &[u8]) -> *mut th_trust {
    let mut trust = null_mut();
    let status = unsafe { th_trust_from_bytes(file.as_ptr(), file.len(), &raw mut trust, null_mut()) };
    assert_eq!(status, th_status::TH_OK);
    trust
}

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// A log that grew from the five leaves of the fixtures.
struct Log {
    leaves: Vec<Hash>,
    signer: NoteSigner,
    checkpoint: Vec<u8>,
    requests: Vec<String>,
}

impl Log {
    /// The first leaves are the fixtures': the proof file has the hashes for them.
    fn grown(first: &[Hash], to: usize) -> Self {
        let key = KeyName::new(ORIGIN).unwrap();
        let signer = NoteSigner::from_seed(key, SignatureType::Ed25519, &[100; 32]);
        let more = (first.len()..to).map(|n| Hash::leaf(format!("leaf {n}").as_bytes()));
        let mut log = Self {
            leaves: first.iter().copied().chain(more).collect(),
            signer,
            checkpoint: Vec::new(),
            requests: Vec::new(),
        };
        log.sign();
        log
    }

    fn sign(&mut self) {
        let edge = RightEdge::default().grow(&self.leaves).edge;
        let head = Checkpoint::new(self.signer.public().name().clone(), edge.size(), edge.root());
        let witness = KeyName::new("witness.example.com").unwrap();
        let witness = NoteSigner::from_seed(witness, SignatureType::CosignatureEd25519, &[101; 32]);
        let mut note = head.sign(&self.signer);
        note.push(cosign(&head, &witness, NOW - 30));
        self.checkpoint = note.to_string().into_bytes();
    }

    fn get(&mut self, path: &str) -> (i32, Vec<u8>) {
        self.requests.push(path.to_owned());
        if path == "checkpoint" {
            return (200, self.checkpoint.clone());
        }
        let Ok(tile) = treehead::merkle::Tile::parse(path) else { return (404, Vec::new()) };
        let TileId::Hashes { level: 0, index: 0 } = tile.id else { return (404, Vec::new()) };
        match self.leaves.get(..tile.width()) {
            Some(hashes) => (200, hashes_to_bytes(hashes)),
            None => (404, Vec::new()),
        }
    }
}

unsafe extern "C" fn fetch(
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
fn leaves() -> Vec<Hash> {
    let proof = treehead::proof::ProofFile::parse(&fixture("scanner.sh.tlog-proof")).unwrap();
    let entry = Hash::leaf(&proof.extra.unwrap());
    // Only the third, fourth and fifth are known; the first two are a node.
    vec![proof.proof[1], proof.proof[1], entry, proof.proof[0], proof.proof[2]]
}

/// A log of which a tile is asked needs all leaves, so this one begins with a tree of its own.
fn own_proof(log: &Log, at: usize) -> Vec<u8> {
    use treehead::merkle::{LeafIndex, Plan, Tile, TileReader};
    struct Leaves<'a>(&'a [Hash]);
    impl TileReader for Leaves<'_> {
        type Error = std::convert::Infallible;
        fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Self::Error> {
            Ok(tiles.iter().map(|tile| self.0[..tile.width()].to_vec()).collect())
        }
    }
    let mut proof = treehead::proof::ProofFile::parse(&fixture("scanner.sh.tlog-proof")).unwrap();
    proof.index = LeafIndex::new(at as u64).unwrap();
    let size = treehead::merkle::TreeSize::new(log.leaves.len() as u64).unwrap();
    proof.proof = Plan::inclusion(proof.index, size).unwrap().fetch(&Leaves(&log.leaves)).unwrap();
    proof.checkpoint = treehead::note::Note::parse(&log.checkpoint).unwrap();
    proof.to_string().into_bytes()
}

#[test]
fn a_log_that_grew_is_followed_and_one_that_forked_is_convicted() {
    let trust = trust(&fixture("witnessed.trust"));
    let mut small = Log::grown(&leaves(), 7);
    let proof = own_proof(&small, 2);
    let question = question(&proof);
    let mut verdict = verdict();
    let mut memory = null_mut();
    unsafe {
        assert_eq!(th_memory_new(&raw mut memory), th_status::TH_OK);
        let ask = |log: &mut Log, verdict: &mut th_verdict| {
            th_verify_online(trust, memory, &raw const question, Some(fetch), (&raw mut *log).cast(), verdict)
        };
        assert_eq!(ask(&mut small, &mut verdict), th_status::TH_OK);
        assert_eq!(small.requests, ["checkpoint"], "the same head needs no tiles");
        // It grew: the tile proves it. A partial tile that is gone is asked for in full.
        let mut large = Log::grown(&leaves(), 200);
        assert_eq!(ask(&mut large, &mut verdict), th_status::TH_OK);
        assert_eq!(large.requests, ["checkpoint", "tile/0/000.p/200"]);
        assert_eq!((verdict.asked_the_log, verdict.tree_size, verdict.cosigned), (1, 7, NOW - 30));
        let mut full = Log::grown(&leaves(), 256);
        let leaf = full.leaves.pop().unwrap();
        full.sign();
        full.leaves.push(leaf);
        full.requests.clear();
        let gone = |log: &mut Log, verdict: &mut th_verdict| {
            // The partial tile is gone.
            let mut check = null_mut();
            assert_eq!(
                th_check_new(trust, memory, &raw const question, &raw mut check, null_mut()),
                th_status::TH_OK
            );
            while th_check_requests(check) > 0 {
                let mut buffer = [0_u8; 64];
                let mut path = th_text { data: buffer.as_mut_ptr().cast(), capacity: 64, length: 0 };
                let mut most = 0;
                assert_eq!(th_check_request(check, 0, &raw mut path, &raw mut most), th_status::TH_OK);
                let name = std::str::from_utf8(&buffer[..path.length]).unwrap().to_owned();
                let (status, body) = if name.contains(".p/") { (404, Vec::new()) } else { log.get(&name) };
                assert!(body.len() <= most);
                assert_eq!(th_check_answer(check, 0, status, body.as_ptr(), body.len()), th_status::TH_OK);
            }
            let status = th_check_finish(check, memory, verdict);
            th_check_free(check);
            status
        };
        assert_eq!(gone(&mut full, &mut verdict), th_status::TH_OK);
        assert_eq!(full.requests, ["checkpoint", "tile/0/000"]);
        // Wrong tiles prove nothing.
        let mut lying = Log::grown(&leaves(), 220);
        lying.leaves[100] = Hash::leaf(b"another");
        assert_eq!(ask(&mut lying, &mut verdict), th_status::TH_COULD_NOT_TELL);
        // It shrank.
        let mut shrunk = Log::grown(&leaves(), 199);
        assert_eq!(ask(&mut shrunk, &mut verdict), th_status::TH_REFUSED);
        assert_eq!(verdict.reason, 629);
        // It forked, before the release or after it; the evidence holds.
        let mut forked = Log::grown(&leaves(), 230);
        forked.leaves[210] = Hash::leaf(b"another");
        forked.leaves[3] = Hash::leaf(b"another");
        forked.sign();
        assert_eq!(ask(&mut forked, &mut verdict), th_status::TH_REFUSED);
        assert_eq!(verdict.reason, 627);
        let evidence =
            std::slice::from_raw_parts(th_blob_data(verdict.evidence), th_blob_length(verdict.evidence));
        let evidence = treehead::proof::fork::ForkEvidence::parse(evidence).unwrap();
        evidence.judge(&[forked.signer.public().clone()]).unwrap();
        th_verdict_clear(&raw mut verdict);
        // It stays refused, offline too, and by name from the memory's bytes.
        let mut blob = null_mut();
        assert_eq!(th_memory_to_bytes(memory, &raw mut blob), th_status::TH_OK);
        let mut again = null_mut();
        let status =
            th_memory_from_bytes(th_blob_data(blob), th_blob_length(blob), &raw mut again, null_mut());
        assert_eq!(status, th_status::TH_OK);
        assert_eq!(th_verify(trust, again, &raw const question, &raw mut verdict), th_status::TH_REFUSED);
        assert_eq!(verdict.reason, 627);
        th_verdict_clear(&raw mut verdict);
        th_blob_free(blob);
        th_memory_free(again);
        th_memory_free(memory);
        th_trust_free(trust);
    }
}

#[test]
fn a_memory_that_is_in_use_turns_others_away_and_a_freed_object_is_noticed() {
    use crate::object::Handle as _;
    unsafe {
        let mut memory = null_mut();
        assert_eq!(th_memory_new(&raw mut memory), th_status::TH_OK);
        let held = th_memory::lock(memory).unwrap();
        let mut blob = null_mut();
        assert_eq!(th_memory_to_bytes(memory, &raw mut blob), th_status::TH_BUSY);
        let (trust, proof) = (trust(&fixture("witnessed.trust")), fixture("scanner.sh.tlog-proof"));
        let (question, mut verdict) = (question(&proof), verdict());
        assert_eq!(th_verify(trust, memory, &raw const question, &raw mut verdict), th_status::TH_BUSY);
        drop(held);
        assert_eq!(th_verify(trust, memory, &raw const question, &raw mut verdict), th_status::TH_OK);
        th_trust_free(trust);
        th_memory_free(memory);
        assert_eq!(th_memory_to_bytes(null_mut(), null_mut()), th_status::TH_INVALID_ARGUMENT);
    }
}

/// Calls everything that reads bytes from outside, and counts the statuses.
fn feed(trust: *mut th_trust, input: &[u8], counts: &mut std::collections::BTreeMap<i32, u64>) {
    unsafe {
        let mut count = |status: th_status| *counts.entry(status as i32).or_default() += 1;
        let mut buffer = [0x55_u8; 96];
        let text = |buffer: &mut [u8]| th_text {
            data: buffer.as_mut_ptr().cast(),
            capacity: buffer.len() - 1,
            length: 0,
        };
        let mut question = question(input);
        question.flags = TH_WANT_JSON;
        let mut verdict = verdict();
        verdict.message = text(&mut buffer);
        count(th_verify(trust, null_mut(), &raw const question, &raw mut verdict));
        assert_eq!(buffer[95], 0x55, "nothing is written beyond a text");
        assert!(
            std::ffi::CStr::from_bytes_until_nul(&buffer).unwrap().to_str().is_ok(),
            "cut at a character"
        );
        let json = std::slice::from_raw_parts(th_blob_data(verdict.json), th_blob_length(verdict.json));
        assert!(json.starts_with(b"{\"ok\":") && json.ends_with(b"}"));
        th_verdict_clear(&raw mut verdict);
        let mut made = null_mut();
        let status = th_trust_from_bytes(input.as_ptr(), input.len(), &raw mut made, &mut text(&mut buffer));
        count(status);
        if status == th_status::TH_OK {
            th_trust_free(made);
        }
        let status = th_trust_from_parts(
            input.as_ptr(),
            input.len(),
            null(),
            0,
            &raw mut made,
            &mut text(&mut buffer),
        );
        count(status);
        if status == th_status::TH_OK {
            th_trust_free(made);
        }
        let mut memory = null_mut();
        let status =
            th_memory_from_bytes(input.as_ptr(), input.len(), &raw mut memory, &mut text(&mut buffer));
        count(status);
        if status == th_status::TH_OK {
            th_memory_free(memory);
        }
        let proof = fixture_cached();
        let question = self::question(proof);
        let mut check = null_mut();
        count(th_check_new(trust, null_mut(), &raw const question, &raw mut check, null_mut()));
        count(th_check_answer(check, 0, 200, input.as_ptr(), input.len()));
        while th_check_requests(check) > 0 {
            count(th_check_answer(check, 0, 200, input.as_ptr(), input.len()));
        }
        count(th_check_finish(check, null_mut(), &raw mut verdict));
        th_verdict_clear(&raw mut verdict);
        th_check_free(check);
    }
}

fn fixture_cached() -> &'static [u8] {
    static PROOF: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    PROOF.get_or_init(|| fixture("scanner.sh.tlog-proof"))
}

/// The fixtures' bytes, and a memory's.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let mut paths: Vec<PathBuf> = ["verify", "evidence"]
        .iter()
        .flat_map(|name| std::fs::read_dir(folder.join(name)).unwrap())
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "md"))
        .collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    unsafe {
        let (trust, proof) = (trust(&fixture("witnessed.trust")), fixture("scanner.sh.tlog-proof"));
        let (mut memory, mut blob, mut verdict) = (null_mut(), null_mut(), verdict());
        th_memory_new(&raw mut memory);
        let question = question(&proof);
        assert_eq!(th_verify(trust, memory, &raw const question, &raw mut verdict), th_status::TH_OK);
        assert_eq!(th_memory_to_bytes(memory, &raw mut blob), th_status::TH_OK);
        seeds.push(std::slice::from_raw_parts(th_blob_data(blob), th_blob_length(blob)).to_vec());
        th_blob_free(blob);
        th_memory_free(memory);
        th_trust_free(trust);
    }
    seeds
}

/// Every byte of every fixture is flipped once, and then many are cut and spliced. Nothing panics, and nothing that was
/// changed is accepted as what it was. `TREEHEAD_FUZZ_ROUNDS=1000000` does more.
#[test]
fn no_input_panics() {
    let trust = trust(&fixture("witnessed.trust"));
    let (seeds, mut counts) = (seeds(), std::collections::BTreeMap::new());
    let mut flips = 0_u64;
    for seed in &seeds {
        // A flip in each byte of small files; of large ones, mostly keys and signatures, in every seventh.
        for at in (0..seed.len()).step_by(if seed.len() > 4_096 { 7 } else { 1 }) {
            let mut bytes = seed.clone();
            bytes[at] ^= 1 << (at % 8);
            feed(trust, &bytes, &mut counts);
            flips += 1;
        }
    }
    let rounds: u64 = std::env::var("TREEHEAD_FUZZ_ROUNDS").map_or(3_000, |rounds| rounds.parse().unwrap());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..rounds {
        let (one, other) = (&seeds[dice.throw(seeds.len())], &seeds[dice.throw(seeds.len())]);
        let (from, to) = (dice.throw(one.len() + 1), dice.throw(one.len() + 1));
        let (start, length) = (dice.throw(other.len() + 1), dice.throw(200));
        let piece = &other[start..(start + length).min(other.len())];
        let mut bytes = [&one[..from.min(to)], piece, &one[from.max(to).min(one.len())..]].concat();
        for _ in 0..dice.throw(4) {
            let length = bytes.len();
            if length > 0 {
                bytes[dice.throw(length)] = u8::try_from(dice.throw(256)).unwrap();
            }
        }
        feed(trust, &bytes, &mut counts);
    }
    unsafe { th_trust_free(trust) };
    println!("{flips} flips, {rounds} splices, through 5 functions each; statuses: {counts:?}");
    assert!(counts[&(th_status::TH_REFUSED as i32)] > 1_000);
    assert!(!counts.contains_key(&(th_status::TH_INVALID_ARGUMENT as i32)), "{counts:?}");
}
