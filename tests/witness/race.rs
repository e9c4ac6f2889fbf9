//! Many clients ask at once, for histories that contradict each other.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use treehead::merkle::TreeSize;
use treehead::proof::wire::{parse_signatures, parse_size};

use super::history::{Released, check, roots_of};
use super::world::{Served, TestLog, ed25519_key, time_of};
use crate::common::http::{connect, request};
use crate::common::random::Random;

const THREADS: u64 = 8;
const REQUESTS: usize = 120;
const LEAVES: usize = 160;

/// Asks for growth in its own history, guessing the witness's size.
fn drive(witness: &Served, forks: &[TestLog], released: &Mutex<Vec<Released>>, seed: u64) -> [usize; 3] {
    let mut random = Random(seed);
    let mut pick = |below: usize| usize::try_from(random.below(below as u64)).unwrap();
    let (mut latest, mut answers) = (0, [0; 3]);
    for _ in 0..REQUESTS {
        let fork = pick(forks.len());
        // Growth, standstill, and now and then a stale old size.
        let old = if pick(8) == 0 { pick(latest + 1) } else { latest };
        let new = (old + pick(4)).min(LEAVES);
        let body = forks[fork].request(old, new).to_string();
        if pick(6) == 0 {
            // The client leaves before the answer.
            let bytes = request("POST", "/add-checkpoint", &[], body.as_bytes());
            connect(witness.address).write_all(&bytes).unwrap();
            continue;
        }
        let asked = Instant::now();
        let reply = witness.add(&body);
        match reply.status {
            200 => {
                let time = time_of(&parse_signatures(&reply.body).unwrap()[0]);
                let answered = Instant::now();
                released.lock().unwrap().push(Released { fork, size: new, time, asked, answered });
                latest = new;
                answers[0] += 1;
            }
            409 => {
                latest = usize::try_from(parse_size(&reply.body).map(TreeSize::get).unwrap()).unwrap();
                answers[1] += 1;
            }
            422 => answers[2] += 1,
            503 => assert!(reply.text().contains("busy"), "{reply}"),
            _ => panic!("{reply}"),
        }
    }
    answers
}

#[test]
fn whoever_asks_for_what_there_is_one_history() {
    let trunk = TestLog::new("log.example/a", LEAVES);
    for (round, forked_at) in [(0, [0, 0]), (1, [5, 30]), (2, [30, 60])] {
        let forks = [
            trunk.clone(),
            trunk.forked(forked_at[0], LEAVES, "second "),
            trunk.forked(forked_at[1], LEAVES, "third "),
        ];
        let roots = roots_of(&forks);
        let witness = Served::with_keys(&[&trunk], vec![ed25519_key()]);
        let released = Mutex::new(Vec::new());
        let counts = std::thread::scope(|scope| {
            let (witness, forks, released) = (&witness, &forks, &released);
            let drive = |thread| scope.spawn(move || drive(witness, forks, released, round * 100 + thread));
            let threads: Vec<_> = (0..THREADS).map(drive).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .fold([0; 3], |sum, some| [sum[0] + some[0], sum[1] + some[1], sum[2] + some[2]])
        });
        let released = released.into_inner().unwrap();
        println!("round {round}: {} cosigned, {} conflicts, {} refused", counts[0], counts[1], counts[2]);
        assert!(counts.iter().all(|count| *count > 5), "all kinds of answers: {counts:?}");
        check(&roots, &released).unwrap();
        // The final head is of that history too, and not older.
        let size = witness.size_of(&trunk);
        let last = released.iter().max_by_key(|released| released.size).unwrap();
        assert!(size >= last.size);
        let note = witness.get(&trunk.path()).text().to_owned();
        let now = roots.iter().position(|roots| note.contains(&roots[size].to_base64())).unwrap();
        assert_eq!(roots[now][last.size], roots[last.fork][last.size]);
    }
}

/// Ends the flood, however the test ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_log_that_floods_the_witness_keeps_no_other_waiting() {
    let (flooding, other) = (TestLog::new("log.example/a", 40), TestLog::new("log.example/b", 40));
    let witness = Served::new(&[&flooding, &other]);
    witness.cosigns(&flooding, 0, 1);
    let body = flooding.request(1, 1).to_string();
    let (stop, busy) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let reply = witness.add(&body);
                    if reply.status == 503 {
                        reply.problem(503, "busy");
                        assert_eq!(reply.header("retry-after"), Some("1"));
                        busy.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(reply.status, 200, "{reply}");
                    }
                }
            });
        }
        let _stop = Stop(&stop);
        // It has its own queue, whatever is in the other one.
        for next in 1..40 {
            witness.cosigns(&other, next - 1, next);
        }
    });
    println!("{} times busy", busy.load(Ordering::Relaxed));
    witness.is_unmoved(&flooding, 1);
    witness.is_unmoved(&other, 39);
}
