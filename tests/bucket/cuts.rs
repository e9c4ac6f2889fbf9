//! Three servers of one log, whose network to the store is cut.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use rustix::process::Signal;

use crate::REQUIRED;
use crate::crowd::Crowd;
use crate::faults::Plan;
use crate::fleet::{PATIENCE, Server, World, request};
use crate::needs::{Outcome, ignored};
use crate::oracle::judge;
use crate::promises::Promises;
use crate::proxy::{Link, Proxy};
use crate::race::check;
use crate::random::Random;
use crate::settings;
use crate::store::store;

pub const SERVERS: [&str; 3] = ["a", "b", "c"];
/// Number of cuts in `cargo test`. By hand, use `TREEHEAD_TEST_CUTS=60`.
const CUTS: u64 = 4;
/// Number of entries before the first cut: more than a bundle holds.
const ENTRIES: u64 = 300;

/// The network between servers and the store.
pub trait Network {
    /// Cuts some servers off.
    fn cut(&mut self, servers: &[bool]);
    /// Ends the cut.
    fn heal(&mut self);
}

/// Proxies, one for each server, that alternate between refusing connections and dropping traffic.
struct Proxies(Vec<Proxy>, Link);

impl Network for Proxies {
    fn cut(&mut self, servers: &[bool]) {
        self.1 = if self.1 == Link::Refused { Link::Silent } else { Link::Refused };
        self.0
            .iter()
            .zip(servers)
            .filter(|(_, is_cut)| **is_cut)
            .for_each(|(proxy, _)| proxy.set_link(self.1));
    }

    fn heal(&mut self) {
        self.0.iter().for_each(|proxy| proxy.set_link(Link::Up));
    }
}

pub fn three_servers_outlive_cuts_of_their_network() -> Outcome {
    let world = match store() {
        Ok(store) => World::with_servers(store, "cuts", &SERVERS),
        Err(why) => return ignored(&why, REQUIRED),
    };
    let listeners = SERVERS.map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let addresses = listeners.map(|listener| listener.local_addr().expect("an address"));
    let proxies = SERVERS.map(|_| Proxy::before(&world.store.endpoint, Plan::none(0)));
    let servers = SERVERS.iter().zip(&proxies).zip(&addresses);
    let servers = servers.map(|((name, proxy), address)| world.start(name, *address, &proxy.url, &[]));
    let servers = servers.collect();
    Trial::new(&world, &addresses).run(servers, &mut Proxies(proxies.into(), Link::Silent));
    Ok(Completion::Completed)
}

/// One test with a series of cuts.
pub struct Trial<'a> {
    world: &'a World,
    addresses: &'a [SocketAddr],
    promises: Promises,
    /// Chooses the servers that the next cut hits.
    pub hits: fn(u64, &mut Random) -> Vec<bool>,
}

/// The longest times of all cuts.
#[derive(Debug, Default)]
struct Longest {
    /// From a cut until another server acknowledged an entry.
    take_over: Duration,
    /// From the end of a cut until all servers showed one head over the entries sent after it.
    one_head: Duration,
}

impl<'a> Trial<'a> {
    pub fn new(world: &'a World, addresses: &'a [SocketAddr]) -> Self {
        Self { world, addresses, promises: Promises::new(world.key()), hits: one_some_and_all }
    }

    /// Cuts the network repeatedly while entries are sent, then judges the log.
    pub fn run(&self, mut servers: Vec<Server>, network: &mut dyn Network) {
        let (seed, ends) = (settings::seed().unwrap_or_else(settings::fresh_seed), AtomicBool::new(false));
        let cuts = settings::number("TREEHEAD_TEST_CUTS", CUTS);
        println!("{cuts} cuts, TREEHEAD_TEST_SEED={seed}");
        for server in &mut servers {
            server.wait("it serves", |server| server.get("/healthz").is_some());
        }
        let crowd = Crowd::new(&self.promises, self.addresses, &ends);
        self.fill(&crowd);
        // Wait until the standbys have followed.
        for server in &mut servers {
            server.wait("it has the first bundle", |server| {
                server.get("/tile/entries/000").is_some_and(|(status, _)| status == 200)
            });
        }
        let objects = self.world.objects();
        let (mut random, mut longest) = (Random(seed), Longest::default());
        std::thread::scope(|scope| {
            let end = EndsAtDrop(&ends);
            scope.spawn(|| crowd.watch_bucket(objects.as_ref()));
            for (number, address) in self.addresses.iter().enumerate() {
                scope.spawn(|| crowd.watch_server(*address));
                let (crowd, seed) = (&crowd, seed + number as u64);
                scope.spawn(move || crowd.send(&format!("sender {number}"), number, seed));
            }
            for number in 0..cuts {
                let cut = (self.hits)(number, &mut random);
                self.cut(&crowd, &cut, network, &mut longest, &mut random);
            }
            drop(end);
        });
        assert!(crowd.send_left(Instant::now() + PATIENCE), "no server accepts entries");
        crowd.converge(0);
        for server in servers {
            check(&server.end(Signal::TERM));
        }
        let found = judge(&objects, &self.promises).unwrap_or_else(|wrong| panic!("{wrong}"));
        println!("{} appends acknowledged, longest {longest:?}, {found:?}", self.promises.acknowledged());
    }

    /// Appends more entries than a bundle holds, so that there is a full bundle to read.
    fn fill(&self, crowd: &Crowd<'_>) {
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= ENTRIES {
                            break;
                        }
                        let entry = format!("entry {number}");
                        self.promises.send(entry.as_bytes());
                        let mut sends = self.addresses.iter().cycle();
                        while !crowd.send_to(*sends.next().expect("endless"), entry.as_bytes(), "published") {
                        }
                    }
                });
            }
        });
    }

    fn cut(
        &self,
        crowd: &Crowd<'_>,
        cut: &[bool],
        network: &mut dyn Network,
        longest: &mut Longest,
        random: &mut Random,
    ) {
        let entry = format!("after a cut {}", random.next());
        self.promises.send(entry.as_bytes());
        let bundle = |server: &SocketAddr| request(*server, "GET /tile/entries/000", b"");
        for server in self.addresses {
            assert!(bundle(server).is_some_and(|(status, _)| status == 200), "it is read before the cut");
        }
        network.cut(cut);
        let begun = Instant::now();
        let of = |cut_off: bool| self.addresses.iter().zip(cut).filter(move |(_, cut)| **cut == cut_off);
        // 1. Another server takes over.
        let mut others = of(false).map(|(server, _)| server).cycle().peekable();
        if others.peek().is_some() {
            while !others.next().is_some_and(|server| crowd.send_to(*server, entry.as_bytes(), "sequenced")) {
                assert!(begun.elapsed() < PATIENCE, "no server takes over");
                std::thread::sleep(Duration::from_millis(20));
            }
            longest.take_over = longest.take_over.max(begun.elapsed());
        }
        // 2. For a while, the cut servers still answer reads from what they have.
        let time = Duration::from_millis(1_500 + random.below(2_500));
        while begun.elapsed() < time {
            for (server, _) in of(true) {
                let asked = Instant::now();
                assert!(crowd.look_at(*server).is_some(), "a head is there without the store");
                let read = bundle(server);
                assert!(read.is_some_and(|(status, _)| status == 200), "the cache has the first bundle");
                assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // 3. After the cut, all servers agree on one head over the entries sent then.
        network.heal();
        let healed = Instant::now();
        let mut servers = self.addresses.iter().cycle();
        while !crowd.send_to(*servers.next().expect("endless"), entry.as_bytes(), "published") {
            assert!(healed.elapsed() < PATIENCE, "no server accepts entries after a cut");
            std::thread::sleep(Duration::from_millis(20));
        }
        crowd.converge(self.promises.indices()[entry.as_bytes()] + 1);
        longest.one_head = longest.one_head.max(healed.elapsed());
    }
}

/// Chooses one, two or all of the three servers, in turn.
fn one_some_and_all(number: u64, random: &mut Random) -> Vec<bool> {
    let one = random.below(3);
    match number % 3 {
        0 => (0..3).map(|at| at == one).collect(),
        1 => (0..3).map(|at| at != one).collect(),
        _ => vec![true; 3],
    }
}

/// Stops senders and readers, even if the test fails.
struct EndsAtDrop<'a>(&'a AtomicBool);

impl Drop for EndsAtDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
