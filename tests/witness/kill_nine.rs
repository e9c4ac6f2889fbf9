//! The program is killed under load, again and again: the witness keeps to one history, and never goes back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use treehead::merkle::TreeSize;
use treehead::proof::wire::{parse_signatures, parse_size};

use super::history::{Released, check, roots_of};
use super::world::{TestLog, time_of};
use crate::common::http::{Reply, request, try_exchange};
use crate::common::kill::{Running, program, rounds, succeeds};
use crate::common::random::Random;

/// The number of rounds, unless `TREEHEAD_KILL_ROUNDS` is set.
const ROUNDS: u64 = 10;
const WRITERS: u64 = 4;
const LEAVES: usize = 2_000;

/// Starts the witness, and waits until it listens.
fn start(dir: &Path) -> (Running, SocketAddr) {
    let mut serve = program();
    serve.arg("witness").arg(dir).args(["--listen", "127.0.0.1:0"]);
    let (running, url) = Running::serve(&mut serve);
    (running, url.strip_prefix("http://").unwrap().parse().unwrap())
}

fn ask(address: SocketAddr, body: &str) -> std::io::Result<Reply> {
    try_exchange(address, &request("POST", "/add-checkpoint", &[], body.as_bytes()))
}

fn size_in(reply: &Reply) -> usize {
    usize::try_from(parse_size(&reply.body).map(TreeSize::get).unwrap()).unwrap()
}

/// Asks for cosignatures on growth of one of two histories, until the witness is gone.
fn drive(address: SocketAddr, forks: &[TestLog; 2], released: &Mutex<Vec<Released>>, seed: u64) {
    let mut random = Random(seed);
    let mut latest = 0;
    loop {
        let fork = usize::try_from(random.below(2)).unwrap();
        let new = (latest + usize::try_from(random.below(3)).unwrap()).min(LEAVES);
        let asked = Instant::now();
        let Ok(reply) = ask(address, &forks[fork].request(latest, new).to_string()) else { return };
        match reply.status {
            200 => {
                let lines = parse_signatures(&reply.body).unwrap();
                assert_eq!(lines.len(), 2);
                let (time, answered) = (time_of(&lines[0]), Instant::now());
                released.lock().unwrap().push(Released { fork, size: new, time, asked, answered });
                latest = new;
            }
            409 => latest = size_in(&reply),
            422 | 503 => {}
            _ => panic!("{reply}"),
        }
    }
}

#[test]
fn kills_at_any_moment_leave_one_history_that_never_goes_back() {
    let rounds = rounds(ROUNDS);
    let home = TempDir::new().unwrap();
    let dir = home.path().join("witness");
    let trunk = TestLog::new("log.example/kill", LEAVES);
    let forks = [trunk.clone(), trunk.forked(3, LEAVES, "other ")];
    let roots = roots_of(&forks);
    succeeds(program().args(["witness", "init"]).arg(&dir).args(["--name", "witness.example/kill"]));
    succeeds(program().args(["witness", "add-log"]).arg(&dir).arg(trunk.vkey().to_string()));
    let (released, mut random) = (Mutex::new(Vec::new()), Random(20_261_101));
    let mut grown = 0;
    for round in 0..rounds {
        let (mut running, address) = start(&dir);
        // The witness knows every size that it cosigned before: no answer gives a smaller one.
        let known = released.lock().unwrap().iter().map(|released: &Released| released.size).max();
        if let Some(known) = known {
            let reply = ask(address, &trunk.request(LEAVES, LEAVES).to_string()).unwrap();
            // 422: the witness has every leaf of the other history.
            assert!(
                matches!(reply.status, 200 | 422) || size_in(&reply) >= known,
                "round {round}: {reply}, and not {known}"
            );
        }
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                let (forks, released, seed) = (&forks, &released, random.next());
                scope.spawn(move || drive(address, forks, released, seed));
            }
            std::thread::sleep(Duration::from_micros(20_000 + random.below(150_000)));
            running.kill();
        });
        let now = released.lock().unwrap().iter().map(|released| released.size).max();
        grown += u64::from(now > known);
    }
    let released = released.into_inner().unwrap();
    let largest = released.iter().map(|released| released.size).max();
    println!("{rounds} kills, {} cosigned, to tree size {largest:?}, {grown} rounds grew", released.len());
    assert!(grown * 2 > rounds || largest == Some(LEAVES), "most kills met a witness at work: {grown}");
    check(&roots, &released).unwrap();
    let wrote = start(&dir).0.stop();
    assert!(wrote.contains("stopped; every head that was cosigned is durable"), "{wrote}");
}

#[test]
fn a_directory_that_is_no_witness_is_not_served() {
    let home = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        let output = program().arg("witness").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let dir = home.path().join("w").display().to_string();
    let (code, said) = run(&[&dir]);
    assert!(code == Some(3) && said.contains("treehead witness init"), "{code:?} {said}");
    assert_eq!(run(&[]).0, Some(2), "usage");
    assert_eq!(run(&["init", &dir, "--name", "witness.example/w", "--no-pq"]).0, Some(0));
    // A witness that lost its journal does not start from nothing.
    std::fs::remove_file(home.path().join("w/heads.journal")).unwrap();
    let (code, said) = run(&[&dir, "--listen", "127.0.0.1:0"]);
    assert!(code == Some(1) && said.contains("heads-missing"), "{code:?} {said}");
}
