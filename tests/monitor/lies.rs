//! Logs and peers that lie: each lie is named, none is believed, and no other log has to wait.

mod each;
mod forks;
mod lasting;
mod manners;
mod midway;
pub mod peers;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use treehead::merkle::Hash;
use treehead::note::{KeyName, NoteSigner, SignatureType};
use treehead::proof::fork::ForkEvidence;

use crate::common::liar::Liar;
use crate::common::liar::lie::{Framing, Lie};
use crate::common::log::{ORIGIN, log_signer, numbered};
use crate::common::releases::{scanner, signed, vendor_toml};
use crate::common::toy_witness::signers;
use crate::world::{Log, World};

/// The number of entries before the log lies.
pub const BEFORE: usize = 300;
/// The number of entries that it adds.
pub const MORE: usize = 300;
const HONEST: &str = "honest.example/log";

/// A monitor of two logs: one whose entries are statements and that will lie, and one that never lies.
pub struct Scene {
    pub liar: Liar,
    pub honest: Liar,
    pub world: World,
}

/// A witness with one key.
pub fn witness(name: &str, seed: u8) -> NoteSigner {
    signers(name, seed).remove(0)
}

fn statements() -> &'static [Vec<u8>] {
    static STATEMENTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    STATEMENTS.get_or_init(|| (1..=1_200).map(|n| signed(&scanner(n), 1)).collect())
}

impl Scene {
    /// Both logs were honest so far, and were followed to their heads.
    #[track_caller]
    pub fn new() -> Self {
        let scene = Self::unfollowed(BEFORE);
        let once = scene.world.once();
        assert_eq!((once.alerts_told, once.not_followed), (0, 0), "{:#?}", scene.world.output.alerts());
        scene.assert_told(BEFORE);
        scene
    }

    /// Neither log was followed yet.
    pub fn unfollowed(entries: usize) -> Self {
        let witnesses = vec![witness("w1.example", 1)];
        let liar = Liar::serve_as(log_signer().into(), witnesses, statements()[..entries].to_vec());
        let name = KeyName::new(HONEST).unwrap();
        let key = NoteSigner::from_seed(name, SignatureType::Ed25519, &[101; 32]);
        let honest = Liar::serve_as(key.into(), Vec::new(), numbered(BEFORE));
        let mut world = World::new(Vec::new());
        let publishers = world.temp.path().join("publishers.toml");
        fs::write(&publishers, vendor_toml()).unwrap();
        world.logs = vec![
            Log::release(&liar.url(), &liar.policy(), &publishers),
            Log::opaque(&honest.url(), &honest.policy()),
        ];
        Self { liar, honest, world }
    }

    /// Lets both logs grow.
    pub fn grow(&self, more: usize) {
        let size = self.liar.branch("").entries.len();
        self.liar.append("", &statements()[size..size + more]);
        let size = self.honest.branch("").entries.len();
        self.honest.append("", &numbered(size + more)[size..]);
    }

    /// Asserts that this many statements were reported, in order, each once, and no others.
    #[track_caller]
    pub fn assert_told(&self, count: usize) {
        let told = self.world.output.of("release");
        let told: Vec<u64> = told.iter().map(|event| event["index"].as_u64().unwrap()).collect();
        assert_eq!(told, (0..count as u64).collect::<Vec<_>>());
    }

    /// Asserts that the honest log was followed to its head.
    #[track_caller]
    pub fn assert_honest_followed(&self) {
        let heads = heads(&self.world, HONEST);
        assert_eq!(heads.last(), Some(&(self.honest.branch("").entries.len() as u64)), "{heads:?}");
    }
}

/// The sizes of the reported heads of a log, in order.
pub fn heads(world: &World, origin: &str) -> Vec<u64> {
    let heads = world.output.of("head").into_iter().filter(|head| head["log"] == origin);
    heads.map(|head| head["size"].as_u64().unwrap()).collect()
}

/// The codes of the ended conditions, sorted.
pub fn ended(world: &World) -> Vec<String> {
    let mut codes: Vec<String> =
        world.output.of("ended").iter().map(|event| event["of"].as_str().unwrap().to_owned()).collect();
    codes.sort_unstable();
    codes
}

/// The only alert with this code.
#[track_caller]
pub fn the_only(world: &World, code: &str) -> Value {
    let mut all = world.output.of(code);
    assert_eq!(all.len(), 1, "{code}: {:#?}", world.output.events());
    all.remove(0)
}

pub fn other_entries(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|at| format!("another {at}").into_bytes()).collect()
}

/// The sizes of the forks in the evidence files, each judged by the log's key alone.
pub fn forks(world: &World, log: &Liar) -> Vec<(usize, usize)> {
    let judge = |path: PathBuf| {
        let fork = ForkEvidence::parse(&fs::read(path).unwrap()).unwrap().judge(&log.keys()).unwrap();
        let size = |size: u64| usize::try_from(size).unwrap();
        (size(fork.smaller().size.get()), size(fork.larger().size.get()))
    };
    let mut forks: Vec<_> = world.evidence().into_iter().map(judge).collect();
    forks.sort_unstable();
    forks
}

/// The path at which peers and witnesses serve the head of the lying log.
pub fn origin_hash() -> String {
    Hash::digest(ORIGIN.as_bytes()).to_hex()
}

/// Faults of the connection or the header, the word for each, and whether no answer arrives at all.
pub fn on_the_wire() -> Vec<(Lie, &'static str, bool)> {
    vec![
        (Lie::Endless(Framing::Length), "too-large", false),
        (Lie::Endless(Framing::Chunked), "too-large", false),
        (Lie::Endless(Framing::Close), "too-large", false),
        (Lie::GzipBomb, "too-large", false),
        (Lie::HeaderFlood, "garbled", true),
        (Lie::Noise, "garbled", true),
        (Lie::Redirect(None), "redirect", true),
        (Lie::Redirect(Some("http://127.0.0.1:1/".to_owned())), "redirect", true),
        (Lie::Drip(Duration::from_millis(500)), "timeout", true),
        (Lie::Status(500), "server-error", true),
        (Lie::Status(404), "not-found", true),
        (Lie::Status(410), "not-found", true),
        (Lie::Status(403), "refused", true),
        (Lie::Busy(429, 31), "busy", true),
        (Lie::Busy(503, 3_600), "busy", true),
        (Lie::CloseAtOnce, "closed", true),
        (Lie::CloseHalfway, "closed", true),
    ]
}
