//! What an installer waits for: `treehead verify --batch` and `treehead gate --batch` with 60 files whose proofs are at
//! hand, each under a head of its own with the log's signatures and those of two of three witnesses, in both algorithms. Beside
//! them, by turns, the start of the program alone, and the 60 verdicts without any file.
//!
//! Run with `cargo bench --bench installers`.

mod common {
    #[path = "../../tests/common/kill.rs"]
    #[allow(dead_code, reason = "tests use more of it")]
    pub mod kill;
}
#[path = "../tests/workflow/program.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod program;

use std::hint::black_box;
use std::time::{Duration, Instant};

use program::World;
use serde_json::json;
use treehead::checkpoint::policy::Policy;
use treehead::endpoint::{
    Artifact, Endpoint, Freshness, Memory as _, MemoryDir, Pins, Question, Trust, verify,
};
use treehead::merkle::Hash;
use treehead::release::Publishers;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILES: u64 = 60;
const FILE_BYTES: usize = 64 * 1024;
const ROUNDS: usize = 40;
/// The target for the median of a whole run of the program.
const GOAL: Duration = Duration::from_millis(100);

fn main() {
    let world = World::witnessed();
    let _witnesses = [1, 2, 3].map(|number| world.serve_witness(number));
    let log = world.serve();
    for n in 1..=FILES {
        let content: Vec<u8> = n.to_be_bytes().into_iter().cycle().take(FILE_BYTES).collect();
        world.write(&format!("{n}.deb"), content);
        world
            .run(&world.publish_line(&log, &format!("{n}.deb"), n).replace("scanner@", &format!("p{n}@")))
            .done();
    }
    world.run(&format!("policy log --out {}", "endpoint.policy")).done();
    world.write("publishers.toml", world.read("log/publishers.toml"));
    world.write("gate.toml", "");
    let lines: String = (1..=FILES).map(|n| format!("{}\n", json!({ "file": format!("{n}.deb") }))).collect();

    let options = "--policy endpoint.policy --publishers publishers.toml --state state";
    let mut runs = [Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let inside = Inside::new(&world);
    for _ in 0..ROUNDS {
        let commands: [&dyn Fn(); 7] = [
            &|| drop(world.run("--version").done()),
            &|| drop(world.run_with(&format!("verify --batch {options}"), &lines).done()),
            &|| drop(world.run_with("gate --config gate.toml --batch", &lines).done()),
            &|| inside.verdicts(),
            &|| inside.trust(),
            &|| inside.hash(),
            &|| inside.save(),
        ];
        for (run, command) in runs.iter_mut().zip(commands) {
            let start = Instant::now();
            command();
            run.push(start.elapsed());
        }
    }
    let [start, batch, gate, verdicts, trust, hash, save] = runs.map(median);
    let told = |what: &str, time: Duration, also: &str| {
        println!("{what:52} {:>7.1} ms{also}", time.as_secs_f64() * 1e3);
    };
    let goal = |time| if time <= GOAL { "   goal: at most 100 ms" } else { "   MISSED: at most 100 ms" };
    told("treehead verify --batch, 60 files", batch, goal(batch));
    told("treehead gate --batch, 60 files", gate, goal(gate));
    told("  of which: start of the program", start, "");
    told("            policy and publishers", trust, "");
    told("            60 x 64 KiB hashed", hash, "");
    told("            60 verdicts", verdicts, "");
    told("            memory locked, read and saved", save, "");
    println!("(medians of {ROUNDS} rounds, by turns)");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The parts of a run, in this process.
struct Inside<'a> {
    world: &'a World,
    policy: Policy,
    publishers: Publishers,
    artifacts: Vec<(Hash, Vec<u8>)>,
}

impl<'a> Inside<'a> {
    fn new(world: &'a World) -> Self {
        let artifact = |n| {
            let file = format!("{n}.deb");
            (Hash::digest(&world.read(&file)), world.read(&format!("{file}.tlog-proof")))
        };
        Self {
            world,
            policy: Policy::parse(&world.read("endpoint.policy")).expect("a policy"),
            publishers: Publishers::parse(&world.read("publishers.toml")).expect("a publishers file"),
            artifacts: (1..=FILES).map(artifact).collect(),
        }
    }

    fn verdicts(&self) {
        let trust = Trust { policy: &self.policy, publishers: &self.publishers, gate: &[] };
        for (digest, proof) in &self.artifacts {
            let artifact = Artifact::File { digest, name: None };
            let freshness = Freshness { now: u64::MAX / 2, max_age: None };
            let question = Question { artifact, proof, freshness, pins: Pins::default() };
            black_box(verify(&question, trust, None)).expect("the proof is good");
        }
    }

    fn trust(&self) {
        black_box(Endpoint::open(self.world.path("")).expect("a policy and a publishers file"));
    }

    fn hash(&self) {
        let files: Vec<_> = (1..=FILES).map(|n| self.world.path(&format!("{n}.deb"))).collect();
        black_box(treehead::endpoint::hash_artifacts(&files));
    }

    fn save(&self) {
        let mut memory = MemoryDir::open(&self.world.path("state")).expect("a directory");
        let state = memory.lock(&|_| ()).expect("a memory");
        memory.save(&state).expect("saved");
    }
}
