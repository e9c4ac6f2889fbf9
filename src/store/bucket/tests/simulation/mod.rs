//! A simulation of servers that share a bucket. It runs the real chain and the real lease, on threads, with a bucket in
//! which every request waits for its turn. A choice decides which server goes next and what happens to its request: it
//! succeeds; it fails; it succeeds but its answer is lost; it arrives later, or twice; the process is killed before or
//! after it; the process pauses for longer than a lease. The choices also decide how far the servers' clocks differ.
//!
//! The simulation explores all choices within a budget of switches, faults and pauses, depth first, and then makes
//! random ones from seeds. `TREEHEAD_SIMULATION_RUNS` sets the number of random runs. `TREEHEAD_SIMULATION_SEED`
//! replays one and prints its trace.

mod choices;
mod invariants;
mod requests;
mod server;
mod world;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use choices::Choices;
use invariants::Invariants;
use requests::tag_of;
use server::{Mutant, Orders, first_head};
use world::{Budget, Inner, Outcome, World};

use crate::note::NoteSigner;
use crate::store::bucket::layout::HeadKind;
use crate::store::tests::fixtures::signer;

/// The log's key. It is cached, because making it costs as much as signing.
fn log_signer() -> &'static NoteSigner {
    static SIGNER: OnceLock<NoteSigner> = OnceLock::new();
    SIGNER.get_or_init(signer)
}

/// A scenario: the entries that are submitted to each server, and the budget of faults.
#[derive(Clone)]
struct Scene {
    submissions: Vec<Vec<&'static str>>,
    budget: Budget,
    mutant: Option<Mutant>,
    witnessed: bool,
    all_tiles: bool,
}

impl Scene {
    /// A scenario in which each server gets an entry of its own and one that all get.
    fn new(servers: usize, switches: usize, faults: usize, pauses: usize) -> Self {
        let own = ["a", "b", "c"];
        let submissions = own[..servers].iter().enumerate();
        // The second server gets them in the opposite order.
        let submissions =
            submissions.map(|(at, own)| if at == 1 { vec!["all", *own] } else { vec![*own, "all"] });
        let budget = Budget { switches, faults, pauses };
        Self { submissions: submissions.collect(), budget, mutant: None, witnessed: false, all_tiles: false }
    }

    fn run(&self, choices: Choices, is_traced: bool) -> Inner {
        let bytes =
            |entries: &[&str]| entries.iter().map(|entry| entry.as_bytes().to_vec()).collect::<Vec<_>>();
        let submitted = self.submissions.iter().flat_map(|entries| bytes(entries)).collect();
        let invariants = Invariants::new(submitted, self.all_tiles);
        let world = Arc::new(World::new(self.submissions.len(), self.budget, choices, invariants));
        let head = first_head();
        let tag = tag_of(&head);
        world.inner().is_traced = is_traced;
        world.inner().objects.insert(HeadKind::Published.as_str().to_owned(), (head, tag));
        std::thread::scope(|scope| {
            for (server, entries) in self.submissions.iter().enumerate() {
                let orders = Orders {
                    world: world.clone(),
                    server,
                    entries: bytes(entries),
                    mutant: self.mutant,
                    witnessed: self.witnessed,
                    all_tiles: self.all_tiles,
                };
                scope.spawn(move || server::run(&orders));
            }
        });
        Arc::into_inner(world).expect("all servers ended").into_inner()
    }
}

/// The totals of a search.
#[derive(Debug, Default)]
struct Explored {
    runs: usize,
    finished: usize,
    states: usize,
    steps: usize,
    /// Most choices in a run.
    deepest: usize,
    broken: Option<(String, Vec<String>)>,
}

/// Explores every choice within the scenario's budget, until an invariant is broken.
fn explore(scene: &Scene) -> Explored {
    let mut explored = Explored::default();
    let mut next = Some(Choices::search());
    while let Some(choices) = next {
        let Inner { choices, outcome, steps, .. } = scene.run(choices, false);
        explored.runs += 1;
        explored.states = choices.states();
        explored.steps += steps;
        explored.deepest = explored.deepest.max(choices.made());
        let broken = match outcome.expect("a run has an end") {
            Outcome::Finished => {
                explored.finished += 1;
                None
            }
            Outcome::SeenBefore => None,
            Outcome::TooLong => Some("a run does not end".to_owned()),
            Outcome::Broken(broken) => Some(broken),
        };
        if let Some(broken) = broken {
            let again = scene.run(choices.again().expect("a search"), true);
            explored.broken = Some((broken, again.trace));
            return explored;
        }
        next = choices.next();
    }
    explored
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect(name))
}

/// Runs scenarios with random choices, for a number of seeds or a length of time.
fn at_random(name: &str, scene: impl Fn(u64) -> Scene) {
    if let Some(seed) = number("TREEHEAD_SIMULATION_SEED") {
        let run = scene(seed).run(Choices::random(seed), true);
        eprintln!("{}\n{:?}", run.trace.join("\n"), run.outcome);
        return assert!(matches!(run.outcome, Some(Outcome::Finished | Outcome::TooLong)));
    }
    let runs = number("TREEHEAD_SIMULATION_RUNS");
    let (begun, limit) = (Instant::now(), Duration::from_secs(4));
    let (mut done, mut finished) = (0, 0);
    for seed in 0..runs.unwrap_or(3_000) {
        if runs.is_none() && begun.elapsed() > limit {
            break;
        }
        let run = scene(seed).run(Choices::random(seed), false);
        done += 1;
        match run.outcome.expect("a run has an end") {
            Outcome::Finished => finished += 1,
            Outcome::TooLong => {}
            outcome => panic!(
                "{outcome:?}; replay it with TREEHEAD_SIMULATION_SEED={seed}\n{}",
                scene(seed).run(Choices::random(seed), true).trace.join("\n")
            ),
        }
    }
    eprintln!("{name}: {done} seeds, {finished} of them to the end, in {:?}", begun.elapsed());
    assert!(finished * 10 >= done * 9, "most runs get somewhere: {finished} of {done}");
}

/// Explores a scenario and checks that no invariant is broken.
fn sound(name: &str, scene: &Scene) {
    let begun = Instant::now();
    let explored = explore(scene);
    let Explored { runs, finished, states, steps, deepest, broken } = explored;
    if let Some((broken, trace)) = broken {
        panic!("{broken}\n{}", trace.join("\n"));
    }
    eprintln!(
        "{name} ({:?}): {runs} runs, {finished} of them to the end, {states} states, {steps} steps, at most {deepest} choices in a run, in {:?}",
        scene.budget,
        begun.elapsed()
    );
}

#[test]
fn two_servers_with_any_fault_keep_one_chain() {
    sound("two servers, one fault", &Scene::new(2, 1, 1, 0));
}

#[test]
fn two_servers_that_pause_keep_one_chain() {
    sound("two servers, one pause", &Scene::new(2, 2, 0, 1));
}

#[test]
fn three_servers_keep_one_chain() {
    sound("three servers", &Scene::new(3, 1, 0, 0));
}

#[test]
#[ignore = "takes minutes: for changes to the protocol"]
fn larger_budgets_keep_one_chain() {
    sound("two servers, one fault and one pause", &Scene::new(2, 1, 1, 1));
    sound("two servers that switch often", &Scene::new(2, 3, 0, 1));
    sound("two servers with witnesses", &Scene { witnessed: true, ..Scene::new(2, 1, 1, 0) });
    sound("three servers, one fault", &Scene::new(3, 1, 1, 0));
}

/// A scenario by seed: two servers or three, with witnesses or without.
fn any_scene(seed: u64) -> Scene {
    let servers = if seed.is_multiple_of(3) { 3 } else { 2 };
    Scene { witnessed: seed.is_multiple_of(2), all_tiles: true, ..Scene::new(servers, 100, 6, 3) }
}

#[test]
fn random_runs_of_two_and_three_servers_keep_one_chain() {
    at_random("random runs", any_scene);
}

/// The simulation finds each built-in fault.
#[test]
fn every_mutant_is_caught() {
    // Each with the smallest budget that reveals the fault.
    let cases = [
        (Mutant::UnconditionalBatch, (2, 0, 0), "was replaced"),
        (Mutant::BelievesUnclear, (0, 1, 0), "are published"),
        (Mutant::UnconditionalHead, (3, 0, 0), "went back"),
        (Mutant::TrustsTheLease, (2, 0, 0), "was replaced"),
        (Mutant::AnswersBeforeAppending, (0, 0, 0), "and is not there"),
        (Mutant::KeepsItsPlan, (2, 0, 0), "in the log twice"),
        (Mutant::HeadBeforeTiles, (0, 0, 0), "without a right tile"),
        (Mutant::SignsBeforeAppending, (0, 0, 0), "a server signed"),
    ];
    for (mutant, (switches, faults, pauses), expected) in cases {
        let scene = Scene { mutant: Some(mutant), ..Scene::new(2, switches, faults, pauses) };
        let explored = explore(&scene);
        let (broken, _) = explored.broken.unwrap_or_else(|| panic!("{mutant:?} was not caught"));
        eprintln!("{mutant:?}: caught in run {}: {broken}", explored.runs);
        assert!(broken.contains(expected), "{mutant:?}: {broken}");
    }
}
