//! The witnesses of a log: processes of the real program, each behind a proxy that injects faults and records every
//! cosignature.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use treehead::checkpoint::policy::Policy;
use treehead::merkle::Hash;
use treehead::note::{Note, NoteKey};
use treehead::proof::wire::{AddCheckpoint, parse_signatures};

use crate::faults::{Fault, Plan};
use crate::fleet::{PATIENCE, Server, World, free_address, request};
use crate::promises::{Promises, Quorum};
use crate::proxy::Proxy;
use crate::random::Random;
use crate::wire::Message;

const NAMES: [&str; 3] = ["w1", "w2", "w3"];
/// The quorum of witnesses.
const QUORUM: usize = 2;
/// Percentage of requests that meet a fault, in addition to the 3 % whose answers are lost.
const PERCENT: u64 = 4;

/// The witnesses of a log that is served from `world`.
pub struct Witnesses {
    addresses: [SocketAddr; NAMES.len()],
    proxies: Vec<Proxy>,
    running: Vec<(Server, State)>,
    promises: Arc<Promises>,
    path: String,
    pub kills: u64,
    pub stops: u64,
}

/// The state of a process.
#[derive(Clone, Copy)]
enum State {
    Up,
    /// Killed, and due to restart at this time.
    Killed(Instant),
    /// Stopped, and due to continue at this time.
    Stopped(Instant),
}

impl Witnesses {
    /// Makes the witnesses, names them in the settings of the log's servers, and starts them.
    pub fn start(world: &World, servers: &[&str], seed: u64) -> Self {
        let addresses = NAMES.map(|_| free_address());
        let promises = Arc::<OnceLock<Arc<Promises>>>::default();
        let proxies: Vec<Proxy> = (100..)
            .zip(NAMES)
            .zip(&addresses)
            .map(|((number, name), address)| {
                let promises = promises.clone();
                let look = move |asked: &Message, answer: &Message| {
                    if let (Some(promises), Some(note)) = (promises.get(), cosigned(asked, answer)) {
                        promises.cosign(name, note);
                    }
                };
                Proxy::before(&format!("http://{address}"), plan(seed + number)).looking(look)
            })
            .collect();
        let keys = ["a/log.vkey", "a/log.mldsa.vkey"];
        for ((number, name), (address, proxy)) in NAMES.iter().enumerate().zip(addresses.iter().zip(&proxies))
        {
            let (full, address) = (format!("{name}.example.com"), address.to_string());
            let mut init =
                vec!["witness", "init", name, "--name", &full, "--url", &proxy.url, "--listen", &address];
            // Debug builds are slow at ML-DSA-44.
            init.extend((number > 0).then_some("--no-pq"));
            for arguments in [&init[..], &["witness", "add-log", name, keys[0], keys[1]]] {
                let (ok, text) = world.run(arguments);
                assert!(ok, "{text}");
            }
        }
        let cards = NAMES.map(|name| std::fs::read_to_string(world.path(name).join("card.toml")).unwrap());
        for server in servers {
            let settings = world.path(server).join("treehead.toml");
            let text = std::fs::read_to_string(&settings).unwrap();
            std::fs::write(&settings, format!("quorum = {QUORUM}\n{text}\n{}", cards.concat())).unwrap();
        }
        let (ok, policy) = world.run(&["policy", "a"]);
        assert!(ok, "{policy}");
        let quorum = Quorum {
            keys: keys
                .map(|key| NoteKey::parse(std::fs::read_to_string(world.path(key)).unwrap().trim()).unwrap())
                .into(),
            policy: Policy::parse(policy.as_bytes()).unwrap(),
        };
        let path =
            format!("/{}/checkpoint", Hash::digest(quorum.keys[0].name().as_str().as_bytes()).to_hex());
        let made = promises.get_or_init(|| Arc::new(Promises::new(world.key()).with_quorum(quorum))).clone();
        let running = NAMES.iter().zip(&addresses);
        let running =
            running.map(|(name, address)| (world.start_witness(name, *address), State::Up)).collect();
        Self { addresses, proxies, running, promises: made, path, kills: 0, stops: 0 }
    }

    /// What the log and its witnesses promise.
    pub fn promises(&self) -> Arc<Promises> {
        self.promises.clone()
    }

    /// Kills or stops a witness for some time, independently of the others.
    pub fn strike(&mut self, random: &mut Random) {
        let number = usize::try_from(random.below(NAMES.len() as u64)).expect("few");
        let until = Instant::now() + Duration::from_millis(random.below(4_000));
        let (process, state) = &mut self.running[number];
        if !matches!(state, State::Up) {
            return;
        }
        if random.one_in(2) {
            self.kills += 1;
            process.signal(Signal::KILL);
            *state = State::Killed(until);
        } else {
            self.stops += 1;
            process.signal(Signal::STOP);
            *state = State::Stopped(until);
        }
    }

    /// Restarts or resumes the witnesses whose time has come, or all of them.
    pub fn bring_back(&mut self, world: &World, all: bool) {
        let now = Instant::now();
        for (number, (process, state)) in self.running.iter_mut().enumerate() {
            match *state {
                State::Killed(until) if all || until <= now => {
                    process.wait_end();
                    *process = world.start_witness(NAMES[number], self.addresses[number]);
                }
                State::Stopped(until) if all || until <= now => process.signal(Signal::CONT),
                _ => continue,
            }
            *state = State::Up;
        }
    }

    /// Ends the faults, waits until all witnesses answer, and records the last head of each.
    pub fn finish(&mut self, world: &World) {
        self.bring_back(world, true);
        self.proxies.iter().for_each(|proxy| proxy.change(|plan| (plan.percent, plan.lost_percent) = (0, 0)));
        for (process, _) in &mut self.running {
            process.wait("the witness serves", |process| process.get("/healthz").is_some());
        }
    }

    /// Records the head that each witness remembers, which may come from a lost answer. Returns the number of their
    /// cosignatures.
    pub fn remember(&self) {
        for (name, address) in NAMES.iter().zip(self.addresses) {
            let (status, body) = request(address, &format!("GET {}", self.path), b"").expect("it answers");
            assert_eq!(status, 200, "{body}");
            self.promises.cosign(name, Note::parse(body.as_bytes()).expect("a note"));
        }
    }

    /// Waits for delayed requests, and ends the processes.
    pub fn end(self) {
        self.proxies.iter().for_each(Proxy::drain);
        for (process, _) in self.running {
            let said = process.end(Signal::TERM);
            assert!(!said.contains("panicked") && !said.contains("fork"), "{said}");
        }
    }
}

/// The head that a witness cosigned or shows, with its signatures.
fn cosigned(asked: &Message, answer: &Message) -> Option<Note> {
    if answer.status() != 200 {
        return None;
    }
    if asked.method() == "GET" {
        return asked.path().ends_with("/checkpoint").then(|| Note::parse(answer.body()).expect("a note"));
    }
    let mut note = AddCheckpoint::parse(asked.body()).expect("a request").checkpoint;
    parse_signatures(answer.body()).expect("cosignatures").into_iter().for_each(|line| note.push(line));
    Some(note)
}

fn plan(seed: u64) -> Plan {
    let mut faults = Fault::HONEST.to_vec();
    // The log waits for seconds.
    faults.retain(|fault| *fault != Fault::AnswerLate);
    let (timeout, latest) = (Duration::from_secs(2), PATIENCE / 12);
    Plan { random: Random(seed), percent: PERCENT, lost_percent: 3, faults, timeout, latest }
}
