//! A simulation of whole servers: two or three servers of one log, each with the real sequencer, the real store and a
//! cache on disk, share one bucket. Requests succeed, fail, lose their answers, are refused, slow, repeated or late at
//! random. Processes pause, stop and are killed at any request, with their caches kept or lost. At times, several
//! believe that it is their turn. Senders send the same entries and claims to all of them. A judge checks each write to
//! the bucket, each signature, each answer, and everything that readers see.
//!
//! A seed determines the choices but not the scheduling of threads, so a seed reveals a fault often but not always.
//! `TREEHEAD_SIMULATION_RUNS` sets the number of runs, `TREEHEAD_SIMULATION_SEED` the only seed to run.

mod judge;
mod server;
mod wild;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::TryRecvError;

use super::candidate;
use crate::format::Wait;
use crate::merkle::{LeafIndex, TreeSize};
use crate::sequencer::{Candidate, Outcome, Sequencer};
use judge::Judge;
use server::{Server, Witness};
use wild::{Random, Shared};

/// A fault built into the servers, which the simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Writes tiles after the head.
    HeadBeforeTiles,
    /// Assumes that a batch with a lost answer was written.
    BelievesUnclear,
    /// Writes heads unconditionally.
    UnconditionalHead,
    /// Appends its old plan after it was overtaken.
    KeepsItsPlan,
    /// Answers although another batch has the key.
    AnswersBeforeStaging,
    /// Does not follow other servers' batches.
    DoesNotFollow,
}

/// The events of a run.
#[derive(Debug, Default)]
struct Happened {
    entries: usize,
    heads: usize,
    acknowledged: usize,
    kills: usize,
    broken: Option<String>,
}

type Running = Arc<Mutex<Option<Arc<Sequencer>>>>;

fn wait_for(sequencer: &Sequencer, sent: Vec<Candidate>, wait: Wait) -> Option<Outcome> {
    let mut answer = sequencer.submit(sent, wait).ok()?;
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match answer.try_recv() {
            Ok(outcome) => return Some(outcome),
            Err(TryRecvError::Empty) if Instant::now() < until => {
                std::thread::sleep(Duration::from_micros(100));
            }
            Err(_) => return None,
        }
    }
}

/// A sender of new entries, entries that others also send, and claims that others also make.
fn send(number: u64, shared: &Shared, servers: &[Running], is_over: &AtomicBool, mut random: Random) {
    let mut next = 0;
    while !is_over.load(Ordering::SeqCst) {
        let at = usize::try_from(random.below(servers.len() as u64)).expect("few");
        let Some(sequencer) = servers[at].lock().unwrap().clone() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        // Enough for some full tiles. More would be slow, because the judge reads all tiles for each head.
        let is_much = shared.judge().size() > 1_000;
        std::thread::sleep(Duration::from_millis(if is_much { 20 } else { random.below(4) }));
        let count = if random.below(4) == 0 && !is_much { 60 } else { 1 + random.below(3) };
        let sent: Vec<Candidate> = (0..count)
            .map(|_| {
                next += 1;
                let text = match random.below(8) {
                    0 | 1 => format!("shared {}", random.below(60)),
                    2 | 3 => format!("{number} {next} claim:p{}:{number}", random.below(40)),
                    _ => format!("{number} {next}"),
                };
                candidate(text.as_bytes())
            })
            .collect();
        let wait = if random.below(3) == 0 { Wait::Published } else { Wait::Sequenced };
        let Some(outcome) = wait_for(&sequencer, sent.clone(), wait) else { continue };
        let mut judge = shared.judge();
        sent.iter().zip(&outcome.results).for_each(|(sent, answer)| judge.answer(sent, answer));
        if let Some(head) = &outcome.head {
            judge.head("a sender was told", &head.checkpoint);
            let all = outcome.results.iter().flatten();
            if all.map(|sequenced| sequenced.index).any(|index| !head.checkpoint.size.contains(index)) {
                judge.note(Err("a sender was told a head without the entry".to_owned()));
            }
        }
    }
}

/// A reader of all servers.
fn read(shared: &Shared, servers: &[Running], is_over: &AtomicBool, mut random: Random) {
    let mut last: Vec<(Weak<Sequencer>, TreeSize)> = vec![(Weak::new(), TreeSize::ZERO); servers.len()];
    while !is_over.load(Ordering::SeqCst) {
        for (at, running) in servers.iter().enumerate() {
            let Some(sequencer) = running.lock().unwrap().clone() else { continue };
            let head = sequencer.published().borrow().checkpoint.clone();
            let size = sequencer.reader().size();
            let process = Arc::downgrade(&sequencer);
            let entry = size.get().checked_sub(1).map(|most| {
                let index = LeafIndex::new(random.below(most + 1)).expect("an index");
                (index, sequencer.reader().entry(index))
            });
            let mut judge = shared.judge();
            judge.head("a server shows", &head);
            judge.shown(&format!("server {at}"), size);
            if let Some((index, Ok(entry))) = entry {
                let right = judge.entries.get(usize::try_from(index.get()).expect("few"));
                if right != Some(&entry) {
                    judge.note(Err(format!("server {at} shows a wrong entry {index}")));
                }
            }
            if last[at].0.ptr_eq(&process) && head.size < last[at].1 {
                judge.note(Err(format!("server {at} went back from {} to {}", last[at].1, head.size)));
            }
            last[at] = (process, head.size);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Pauses, stops and kills servers, and changes whose turn it is.
fn disturb(servers: &mut [Server], shared: &Shared, random: &mut Random, steps: u64) -> usize {
    let mut kills = 0;
    for _ in 0..steps {
        if shared.judge().broken.is_some() {
            break;
        }
        let at = usize::try_from(random.below(servers.len() as u64)).expect("few");
        let server = &mut servers[at];
        match random.below(12) {
            0 => {
                kills += 1;
                server.kill(random.below(25), random.below(3) > 0);
                server.open(random.below(2) == 0);
            }
            1 => {
                server.stop();
                server.open(random.below(2) == 0);
            }
            2 | 3 => server.process.pause(Duration::from_millis(random.below(25))),
            // Usually one server has its turn, sometimes two, sometimes none.
            4..=7 => {
                let both = random.below(3) == 0;
                for (other, server) in servers.iter().enumerate() {
                    server.process.holds.store(both || other == at, Ordering::SeqCst);
                }
            }
            _ => std::thread::sleep(Duration::from_millis(random.below(15))),
        }
    }
    kills
}

fn run(seed: u64, mutant: Option<Mutant>, steps: u64) -> Happened {
    let mut random = Random(seed);
    let has_witnesses = random.below(2) == 0;
    let shared = Arc::new(Shared::new(Judge::new(has_witnesses), mutant));
    let witness: Option<Witness> = has_witnesses.then(Witness::default);
    let count = 2 + random.below(4) / 3;
    let start = |at: u64| Server::start(format!("server {at}"), &shared, witness.clone(), seed * 10 + at);
    let mut servers: Vec<Server> = (0..count).map(start).collect();
    let running: Vec<Running> = servers.iter().map(|server| server.running.clone()).collect();
    let is_over = AtomicBool::new(false);
    let kills = std::thread::scope(|scope| {
        for number in 0..3 {
            let random = Random(seed ^ (number << 32));
            let (shared, running, is_over) = (&shared, &running, &is_over);
            scope.spawn(move || match number {
                2 => read(shared, running, is_over, random),
                _ => send(number, shared, running, is_over, random),
            });
        }
        let kills = disturb(&mut servers, &shared, &mut random, steps);
        is_over.store(true, Ordering::SeqCst);
        // Without faults, one server appends, and all servers show every entry.
        shared.is_calm.store(true, Ordering::SeqCst);
        for (at, server) in servers.iter().enumerate() {
            server.process.holds.store(at == 0, Ordering::SeqCst);
        }
        kills
    });
    let until = Instant::now() + Duration::from_secs(if mutant.is_some() { 3 } else { 20 });
    let mut is_last_there = false;
    loop {
        let size = shared.judge().size();
        if !is_last_there && let Some(sequencer) = running[0].lock().unwrap().clone() {
            let sent = vec![candidate(b"the last one")];
            let outcome = wait_for(&sequencer, sent, Wait::Sequenced);
            is_last_there = outcome.is_some_and(|outcome| outcome.results[0].is_ok());
        }
        let shows = |running: &Running| {
            running.lock().unwrap().as_ref().map(|sequencer| sequencer.published_size().get())
        };
        let shown: Vec<Option<u64>> = running.iter().map(shows).collect();
        if shared.judge().broken.is_some() || is_last_there && shown.iter().all(|shown| *shown == Some(size))
        {
            break;
        }
        if Instant::now() > until {
            let faults = running.iter().filter_map(|running| running.lock().unwrap().clone());
            let faults: Vec<_> = faults.map(|sequencer| sequencer.faults()).collect();
            shared.judge().note(Err(format!("of {size} entries servers show {shown:?}: {faults:?}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    servers.iter_mut().for_each(Server::stop);
    let mut judge = shared.judge();
    let acknowledged = judge.at_end();
    let (entries, heads) = (judge.entries.len(), judge.heads);
    Happened { entries, heads, acknowledged, kills, broken: judge.broken.take() }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect(name))
}

#[test]
fn servers_on_a_wild_bucket_keep_every_promise() {
    let (runs, seed) = (number("TREEHEAD_SIMULATION_RUNS"), number("TREEHEAD_SIMULATION_SEED"));
    let begun = Instant::now();
    let (mut done, mut sum) = (0, Happened::default());
    let seeds = seed.map_or(0..runs.unwrap_or(1_000), |seed| seed..seed + 1);
    for seed in seeds {
        if runs.is_none() && begun.elapsed() > Duration::from_secs(8) {
            break;
        }
        let Happened { entries, heads, acknowledged, kills, broken } = run(seed, None, 40);
        if let Some(broken) = broken {
            panic!("seed {seed}: {broken}");
        }
        done += 1;
        (sum.entries, sum.heads) = (sum.entries + entries, sum.heads + heads);
        (sum.acknowledged, sum.kills) = (sum.acknowledged + acknowledged, sum.kills + kills);
    }
    eprintln!("{done} runs in {:?}: {sum:?}", begun.elapsed());
}

#[test]
fn faults_that_are_built_in_are_found() {
    use Mutant::{
        AnswersBeforeStaging, BelievesUnclear, DoesNotFollow, HeadBeforeTiles, KeepsItsPlan,
        UnconditionalHead,
    };
    let cases = [
        (HeadBeforeTiles, "without a right"),
        (BelievesUnclear, ""),
        (UnconditionalHead, "went back"),
        (KeepsItsPlan, ""),
        (AnswersBeforeStaging, ""),
        (DoesNotFollow, "servers show"),
    ];
    for (mutant, expected) in cases {
        let begun = Instant::now();
        let found = (0..40).find_map(|seed| Some((seed, run(seed, Some(mutant), 40).broken?)));
        let (seed, broken) = found.unwrap_or_else(|| panic!("{mutant:?} was not found"));
        eprintln!("{mutant:?}: found with seed {seed} in {:?}: {broken}", begun.elapsed());
        assert!(broken.contains(expected), "{mutant:?}: {broken}");
    }
}
