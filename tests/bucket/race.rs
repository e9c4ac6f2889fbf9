//! Two servers race for one log on a real store, while they are killed and paused and their network is faulty.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use rustix::process::Signal;

use crate::REQUIRED;
use crate::crowd::Crowd;
use crate::faults::{Fault, Plan};
use crate::fleet::{PATIENCE, Server, World, free_address, remove_cache};
use crate::needs::{Outcome, ignored};
use crate::oracle::judge;
use crate::promises::Promises;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::settings;
use crate::store::{Store, store};
use crate::witnesses::Witnesses;

/// Percentage of requests that meet a fault, in addition to the 3 % whose answers are lost.
const PERCENT: u64 = 4;
/// Length of a race in `cargo test`. By hand, use `TREEHEAD_TEST_RACE_SECONDS=600`.
const SECONDS: u64 = 20;
const SENDERS: usize = 4;
const SERVERS: [&str; 2] = ["a", "b"];

pub fn two_servers_race_with_a_short_lease() -> Outcome {
    run("race", Kind { own_leases: false, witnessed: false })
}

pub fn two_servers_race_that_both_always_hold_the_lease() -> Outcome {
    run("leases", Kind { own_leases: true, witnessed: false })
}

pub fn two_servers_race_with_witnesses_that_are_killed_and_paused_too() -> Outcome {
    run("witnesses", Kind { own_leases: false, witnessed: true })
}

pub fn two_servers_race_with_witnesses_and_a_lease_for_each() -> Outcome {
    if std::env::var("TREEHEAD_TEST_RACE_SECONDS").is_err() {
        return Ok(Completion::ignored_with("a long race: TREEHEAD_TEST_RACE_SECONDS is not set"));
    }
    run("both", Kind { own_leases: true, witnessed: true })
}

#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Each server always holds a lease of its own.
    own_leases: bool,
    witnessed: bool,
}

fn run(name: &str, kind: Kind) -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let seed = settings::seed().unwrap_or_else(settings::fresh_seed);
    let seconds = settings::number("TREEHEAD_TEST_RACE_SECONDS", SECONDS);
    let race = || Race::run(store, name, seed, kind, Duration::from_secs(seconds));
    match catch_unwind(AssertUnwindSafe(race)) {
        Ok(counts) => println!("{name}, {seconds} s, seed {seed}: {counts}"),
        Err(panic) => {
            eprintln!("TREEHEAD_TEST_SEED={seed} makes the same faults");
            resume_unwind(panic);
        }
    }
    Ok(Completion::Completed)
}

struct Race<'a> {
    world: &'a World,
    seed: u64,
    proxies: Vec<Proxy>,
    addresses: Vec<SocketAddr>,
    promises: Arc<Promises>,
    kind: Kind,
}

/// Counts of the kills, pauses and starts, and the servers' output.
#[derive(Default)]
struct Blows {
    kills: u64,
    lost_caches: u64,
    stops: u64,
    ends: u64,
    /// Starts that failed because of the network.
    failed_starts: u64,
    said: String,
}

impl<'a> Race<'a> {
    /// Runs a whole race. Returns its counts, in words.
    fn run(store: Store, name: &str, seed: u64, kind: Kind, time: Duration) -> String {
        let world = World::with_servers(store, name, &SERVERS);
        let mut witnesses = kind.witnessed.then(|| Witnesses::start(&world, &SERVERS, seed));
        let race = Race::new(&world, seed, kind, witnesses.as_ref());
        let mut counts = race.play(time, &mut witnesses);
        if let Some(witnesses) = witnesses {
            let (kills, stops) = (witnesses.kills, witnesses.stops);
            let given = race.promises.cosignatures();
            counts += &format!("; witnesses: {kills} kills, {stops} stops, cosignatures {given:?}");
            witnesses.end();
        }
        counts
    }

    fn new(world: &'a World, seed: u64, kind: Kind, witnesses: Option<&Witnesses>) -> Self {
        let endpoint = &world.store.endpoint;
        let mut faults = Fault::HONEST.to_vec();
        // The program waits 15 s for an answer, which is too long for a short race.
        faults.retain(|fault| *fault != Fault::AnswerLate);
        let plan = |number| Plan {
            random: Random(seed + number),
            percent: PERCENT,
            lost_percent: 3,
            faults: faults.clone(),
            timeout: Duration::from_secs(2),
            latest: Duration::from_secs(5),
        };
        let before = if kind.own_leases { Proxy::with_own_lease } else { Proxy::before };
        let proxies = (0..SERVERS.len() as u64).map(|number| before(endpoint, plan(number))).collect();
        let addresses = SERVERS.map(|_| free_address()).into();
        let promises = witnesses.map_or_else(|| Arc::new(Promises::new(world.key())), Witnesses::promises);
        Self { world, seed, proxies, addresses, promises, kind }
    }

    fn start(&self, number: usize) -> Server {
        let (name, address) = (SERVERS[number], self.addresses[number]);
        self.world.start(name, address, &self.proxies[number].url, &[])
    }

    fn play(&self, time: Duration, witnesses: &mut Option<Witnesses>) -> String {
        let ends = AtomicBool::new(false);
        let crowd = Crowd::new(&self.promises, &self.addresses, &ends);
        let objects = self.world.objects();
        let mut blows = Blows::default();
        let started = self.start_all();
        let servers = std::thread::scope(|scope| {
            scope.spawn(|| crowd.watch_bucket(objects.as_ref()));
            for address in &self.addresses {
                scope.spawn(|| crowd.watch_server(*address));
            }
            for sender in 0..SENDERS {
                let (crowd, seed) = (&crowd, self.seed ^ (sender as u64) << 8);
                scope.spawn(move || crowd.send(&format!("sender {sender}"), sender, seed));
            }
            let beaten = catch_unwind(AssertUnwindSafe(|| self.beat(started, time, &mut blows, witnesses)));
            ends.store(true, Ordering::SeqCst);
            beaten
        });
        let servers = servers.unwrap_or_else(|panic| resume_unwind(panic));
        if let Some(witnesses) = witnesses {
            witnesses.finish(self.world);
        }
        self.finish(servers, &crowd, &mut blows);
        if let Some(witnesses) = witnesses {
            witnesses.remember();
        }
        let found = judge(&objects, &self.promises).unwrap_or_else(|wrong| panic!("{wrong}"));
        let (acknowledged, refused) = (self.promises.acknowledged(), crowd.refused.into_inner());
        let Blows { kills, lost_caches, stops, ends, failed_starts, said } = blows;
        let take_overs = said.matches("taking over: this server appends").count();
        let stood_by = said.matches("standing by: another server appends").count();
        let mut faults = BTreeMap::new();
        for (fault, count) in self.proxies.iter().flat_map(Proxy::counts) {
            *faults.entry(fault).or_insert(0) += count;
        }
        let mut counts = format!(
            "{acknowledged} appends acknowledged, {refused} refused or unanswered; {kills} kills ({lost_caches} lost \
             the cache), {stops} stops, {ends} ends, {failed_starts} failed starts; {take_overs} take-overs, {stood_by} \
             times stood by; {} heads seen ({} different); {found:?}; requests:",
            self.promises.seen(),
            self.promises.heads().len(),
        );
        faults.iter().for_each(|(fault, count)| _ = write!(counts, " {fault:?} {count}"));
        counts
    }

    /// Starts the servers. In a log with witnesses, the first head, which `init` signed, has no quorum; waits for a head
    /// that has one.
    fn start_all(&self) -> Vec<Server> {
        let mut servers: Vec<Server> = (0..SERVERS.len()).map(|number| self.start(number)).collect();
        if self.kind.witnessed {
            self.proxies.iter().for_each(|proxy| proxy.change(|plan| plan.percent = 0));
            for server in &mut servers {
                server.wait("it shows a head with its quorum", |server| server.size() == Some(0));
            }
        }
        servers
    }

    /// Kills and pauses servers and witnesses until the time is over.
    fn beat(
        &self,
        mut servers: Vec<Server>,
        time: Duration,
        blows: &mut Blows,
        witnesses: &mut Option<Witnesses>,
    ) -> Vec<Server> {
        let (until, mut random) = (Instant::now() + time, Random(self.seed));
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(200 + random.below(1_500)));
            if let Some(witnesses) = witnesses {
                witnesses.bring_back(self.world, false);
                witnesses.strike(&mut random);
            }
            for (number, server) in servers.iter_mut().enumerate() {
                if !server.is_alive() {
                    blows.failed_starts += 1;
                    println!("a start failed: {}", server.said().lines().last().unwrap_or_default());
                    self.replace(number, server, blows);
                } else if server.get("/healthz").is_some() {
                    self.proxies[number].change(|plan| plan.percent = PERCENT);
                }
            }
            let number = usize::try_from(random.below(servers.len() as u64)).expect("few");
            let server = &mut servers[number];
            match random.below(10) {
                0..3 => {
                    blows.kills += 1;
                    server.signal(Signal::KILL);
                    if random.one_in(2) {
                        blows.lost_caches += 1;
                        server.wait_end();
                        remove_cache(&self.world.path(SERVERS[number]));
                    }
                    self.replace(number, server, blows);
                }
                3..6 => {
                    blows.stops += 1;
                    server.signal(Signal::STOP);
                    std::thread::sleep(Duration::from_millis(1_000 + random.below(7_000)));
                    server.signal(Signal::CONT);
                }
                6 => {
                    blows.ends += 1;
                    server.signal(Signal::TERM);
                    self.replace(number, server, blows);
                }
                _ => {}
            }
        }
        servers
    }

    /// Replaces a server that has ended with a new one.
    fn replace(&self, number: usize, server: &mut Server, blows: &mut Blows) {
        server.wait_end();
        blows.said += &server.said();
        check(&server.said());
        // Until the server serves, lose only answers: a start sends hundreds of requests, and any refusal ends it.
        self.proxies[number].change(|plan| plan.percent = 0);
        *server = self.start(number);
    }

    /// Without faults, the servers accept the remaining entries and agree on one head.
    fn finish(&self, mut servers: Vec<Server>, crowd: &Crowd<'_>, blows: &mut Blows) {
        self.proxies.iter().for_each(|proxy| proxy.change(|plan| (plan.percent, plan.lost_percent) = (0, 0)));
        for (number, server) in servers.iter_mut().enumerate() {
            if !server.is_alive() {
                self.replace(number, server, blows);
            }
            server.wait("it serves", |server| server.get("/healthz").is_some());
        }
        let is_taken = crowd.send_left(Instant::now() + PATIENCE);
        assert!(is_taken, "no server accepts entries:\n{}\n{}", servers[0].said(), servers[1].said());
        self.proxies.iter().for_each(Proxy::drain);
        if self.kind.own_leases {
            // An idle server with its own lease learns only from its next batch that it was overtaken.
            for address in &self.addresses {
                let entry = format!("the last one at {address}").into_bytes();
                self.promises.send(&entry);
                let until = Instant::now() + PATIENCE;
                while !crowd.send_to(*address, &entry, "published") {
                    assert!(Instant::now() < until, "{address} accepts no entries");
                }
            }
        } else {
            crowd.converge(0);
        }
        for server in servers {
            let said = server.end(Signal::TERM);
            check(&said);
            blows.said += &said;
        }
    }
}

/// Checks that no server reported damage or panicked.
pub fn check(said: &str) {
    for word in ["panicked", "rolled back", "damage", "fork", "is missing", "lies"] {
        let line = said.lines().find(|line| line.contains(word));
        assert!(line.is_none(), "{}\n{said}", line.unwrap_or_default());
    }
}
