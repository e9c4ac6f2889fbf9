//! Thirty seconds of load on a served log with three witnesses, which take turns at being dead, slow and lying.
//! `TREEHEAD_LOAD_SECONDS` makes it longer.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use treehead::checkpoint::Checkpoint;
use treehead::checkpoint::policy::Policy;
use treehead::feeder::Feeder;
use treehead::merkle::{Hash, RightEdge, Tile, TileId, verify_inclusion};
use treehead::note::NoteSignature;
use treehead::proof::ProofFile;
use treehead::proof::bundle;
use treehead::proof::wire::{SIZE_MEDIA_TYPE, parse_signatures};
use treehead::sequencer::Options;
use treehead::server::{Log, LogConfig, Profile, Storage};

use crate::common::http::{exchange, request};
use crate::common::log::{Served, eventually};
use crate::common::toy_witness::{Answer, Asked, ToyWitness, signers};
use crate::common::witness::ServedWitness;
use crate::log::{log_keys, log_signer, open, two_of};

const HONEST: u8 = 0;
const DEAD: u8 = 1;
const SLOW: u8 = 2;
const FALSE: u8 = 3;
/// The role of each witness, and whether two of them cosign.
const PHASES: [([u8; 3], bool); 6] = [
    ([HONEST, HONEST, HONEST], true),
    ([DEAD, HONEST, HONEST], true),
    ([HONEST, DEAD, SLOW], true),
    ([DEAD, SLOW, FALSE], false),
    ([SLOW, FALSE, HONEST], true),
    ([HONEST, HONEST, HONEST], true),
];
const WRITERS: u64 = 12;

/// Starts in front of a real witness and plays its role.
fn stand_before(real: &ServedWitness, role: Arc<AtomicU8>, toy: &ToyWitness) {
    let (address, lies) = (real.address, AtomicU64::new(0));
    toy.lie(move |asked| {
        let pass = |asked: &Asked| -> Answer {
            let method = if asked.is_post { "POST" } else { "GET" };
            let reply = exchange(address, &request(method, &asked.path, &[], &asked.body));
            let media_type = if reply.status == 409 { SIZE_MEDIA_TYPE } else { "text/plain" };
            (reply.status, media_type, reply.body)
        };
        match role.load(Ordering::SeqCst) {
            DEAD => None,
            SLOW => {
                sleep(Duration::from_millis(400));
                Some(pass(&asked))
            }
            FALSE if asked.is_post => match lies.fetch_add(1, Ordering::SeqCst) % 5 {
                0 => Some((500, "text/plain", b"oh".to_vec())),
                1 => Some((409, SIZE_MEDIA_TYPE, b"123456789\n".to_vec())),
                2 => Some((200, "text/html", b"<html>".to_vec())),
                3 => None,
                _ => {
                    // Names of its own keys, with signatures of something else.
                    let (status, media_type, body) = pass(&asked);
                    let Ok(lines) = parse_signatures(&body) else { return Some((status, media_type, body)) };
                    let spoilt = lines.into_iter().map(|line| {
                        let mut bytes = line.bytes().to_vec();
                        *bytes.last_mut().expect("a signature") ^= 1;
                        NoteSignature::new(line.name().clone(), line.id(), bytes).to_string()
                    });
                    Some((status, media_type, spoilt.collect::<String>().into_bytes()))
                }
            },
            _ => Some(pass(&asked)),
        }
    });
}

/// The answers that the writers got.
#[derive(Default)]
struct Told {
    /// Entries under a head that a quorum has cosigned.
    witnessed: BTreeMap<u64, Vec<u8>>,
    /// Durable entries for which no head was published in time.
    unwitnessed: u64,
    proofs: u64,
}

fn write(served: std::net::SocketAddr, writer: u64, policy: &Policy, stop: &AtomicBool, told: &Mutex<Told>) {
    for count in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let entry = format!("entry {count} of writer {writer}").into_bytes();
        let wants_proof = count % 20 == 0;
        let accept = if wants_proof { "text/x-tlog-proof" } else { "text/plain" };
        let reply = exchange(served, &request("POST", "/add?wait=witnessed", &[("Accept", accept)], &entry));
        match reply.status {
            200 if wants_proof => {
                // Everything that an endpoint checks of a head.
                let proof = ProofFile::parse(&reply.body).expect("a proof file");
                let note = proof.checkpoint.to_string();
                let head = policy.check(&open(note.as_bytes())).expect("a quorum");
                let Checkpoint { size, root, .. } = head.get();
                verify_inclusion(proof.index, *size, &Hash::leaf(&entry), &proof.proof, root)
                    .expect("included");
                let mut told = told.lock().unwrap();
                told.proofs += 1;
                assert!(told.witnessed.insert(proof.index.get(), entry).is_none());
            }
            200 => {
                let index = reply.text().parse().expect("an index");
                assert!(told.lock().unwrap().witnessed.insert(index, entry).is_none());
            }
            503 => {
                let detail = reply.problem(503, "not-published");
                assert!(detail.contains("too few witnesses cosign"), "{detail}");
                told.lock().unwrap().unwitnessed += 1;
            }
            429 => sleep(Duration::from_millis(50)),
            _ => panic!("{reply}"),
        }
    }
}

/// Every head that is ever shown has its quorum, and is no smaller than the one before.
fn watch(served: std::net::SocketAddr, policy: &Policy, stop: &AtomicBool) -> Vec<Checkpoint> {
    let mut heads: Vec<Checkpoint> = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let reply = exchange(served, &request("GET", "/checkpoint", &[], b""));
        if reply.status == 200 {
            let head = policy.check(&open(&reply.body)).expect("a quorum").get().clone();
            match heads.last() {
                Some(last) if last.size == head.size => assert_eq!(last, &head),
                Some(last) => {
                    assert!(last.size < head.size, "the log shrinks");
                    heads.push(head);
                }
                None => heads.push(head),
            }
        }
        sleep(Duration::from_millis(3));
    }
    heads
}

fn published_size(served: &Served) -> u64 {
    let health: serde_json::Value = serde_json::from_slice(&served.get("/healthz").body).expect("JSON");
    health["published_size"].as_u64().expect("a number")
}

#[test]
fn thirty_seconds_of_load_with_witnesses_that_are_dead_slow_and_false() {
    let seconds = std::env::var("TREEHEAD_LOAD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(30);
    let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let roles: Vec<Arc<AtomicU8>> = (0..3).map(|_| Arc::default()).collect();
    let toys: Vec<ToyWitness> =
        (1..=3).map(|at| ToyWitness::start(&format!("w{at}.example.com"), at, log_keys())).collect();
    let _real: Vec<ServedWitness> = (0..3_u8)
        .map(|at| {
            let keys = signers(&format!("w{}.example.com", at + 1), at + 1);
            let at = usize::from(at);
            let real = ServedWitness::make(dirs[at].path(), keys, &log_keys());
            stand_before(&real, roles[at].clone(), &toys[at]);
            real
        })
        .collect();
    let policy = Arc::new(two_of(&toys));
    let dir = dirs[3].path();
    let log = Log::open(LogConfig {
        storage: Storage::Directory,
        dir: dir.to_owned(),
        signer: log_signer(),
        profile: Profile::Opaque,
        publishers: dir.join("publishers.toml"),
        policy: None,
        options: Options::default(),
        cosigners: Some(Feeder::prepare(policy.as_ref().clone(), log_keys(), false).expect("good addresses")),
        index_bytes: treehead::store::INDEX_BYTES,
        progress: Arc::new(|_, _| ()),
    });
    let served = Served::serve(dir, log.expect("the log opens"));
    eventually("the log takes entries", || served.get("/checkpoint").status == 200);

    let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Told::default())));
    let mut threads = Vec::new();
    for writer in 0..WRITERS {
        let (stop, told, policy, address) = (stop.clone(), told.clone(), policy.clone(), served.address);
        threads.push(spawn(move || write(address, writer, &policy, &stop, &told)));
    }
    let (watching, policy_of_watch, address) = (stop.clone(), policy.clone(), served.address);
    let watcher = spawn(move || watch(address, &policy_of_watch, &watching));

    for (phase, agree) in PHASES {
        roles.iter().zip(phase).for_each(|(role, now)| role.store(now, Ordering::SeqCst));
        let began = Instant::now();
        let until = began + Duration::from_secs(seconds) / u32::try_from(PHASES.len()).unwrap();
        // Requests that were in progress when the roles changed are over by then.
        sleep(Duration::from_millis(1_500));
        let before = published_size(&served);
        sleep(until.saturating_duration_since(Instant::now()));
        let after = published_size(&served);
        if agree {
            assert!(after > before, "{phase:?}: heads go on, from {before} to {after}");
        } else {
            assert_eq!(after, before, "{phase:?}: nothing is published without a quorum");
            assert_eq!(served.get("/healthz").status, 503);
        }
    }
    stop.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("a writer"));
    let heads = watcher.join().expect("the watcher");
    eventually("all is published", || {
        let health = served.get("/healthz");
        health.status == 200 && published_size(&served) == served.tree_size()
    });
    check(&served, &told.lock().unwrap(), &heads);
}

/// The log has every acknowledged entry, and all heads that it showed are of one history.
fn check(served: &Served, told: &Told, heads: &[Checkpoint]) {
    let size = served.tree_size();
    let mut entries = Vec::new();
    for index in 0..size.div_ceil(256) {
        let id = TileId::Entries { index };
        let tile = Tile::new(id, (size - index * 256).min(256)).expect("a tile");
        let body = served.get(&format!("/{tile}")).body;
        entries.extend(bundle::split(&body, 256).expect("a bundle").into_iter().map(<[u8]>::to_vec));
    }
    assert_eq!(entries.len() as u64, size);
    assert_eq!(entries.iter().collect::<HashSet<_>>().len() as u64, size, "no entry is there twice");
    for (index, entry) in &told.witnessed {
        assert_eq!(&entries[usize::try_from(*index).unwrap()], entry, "acknowledged at {index}");
    }
    let mut edge = RightEdge::default();
    for head in heads {
        let (from, to) = (edge.size().get(), head.size.get());
        let leaves: Vec<Hash> =
            (from..to).map(|at| Hash::leaf(&entries[usize::try_from(at).unwrap()])).collect();
        edge = edge.grow(&leaves).edge;
        assert_eq!(edge.root(), head.root, "the head at {to}");
    }
    println!(
        "{size} entries, {} witnessed when they were answered ({} with a proof that checks), {} durable without a head in time, {} heads shown",
        told.witnessed.len(),
        told.proofs,
        told.unwitnessed,
        heads.len()
    );
    assert!(told.witnessed.len() > 100 && told.proofs > 10 && heads.len() > 20);
}
