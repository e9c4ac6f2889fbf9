//! Cuts a real network: one server runs in a network namespace whose link to the store goes down. Packets are lost, and
//! connections neither end nor fail.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use libtest_mimic::Completion;

use crate::REQUIRED;
use crate::cuts::{Network, SERVERS, Trial};
use crate::faults::Plan;
use crate::fleet::World;
use crate::needs::{Outcome, ignored};
use crate::proxy::Proxy;
use crate::store::store;

/// The first server's namespace, with a link to the store and one to the senders. Its addresses are reserved for
/// network tests (RFC 2544).
struct Namespace {
    name: String,
    /// This machine's end of the link to the store.
    link: String,
}

const STORE: &str = "198.18.77.1";
const SENDERS: &str = "198.18.78.1";
const SERVER: &str = "198.18.78.2";

impl Namespace {
    /// Creates the namespace, or returns why that is not possible.
    fn new() -> Result<Self, String> {
        let name = format!("treehead-{}", std::process::id());
        let [link, senders] = ["s", "c"].map(|kind| format!("th{kind}{}", std::process::id()));
        run(&["netns", "add", &name])?;
        let namespace = Self { name: name.clone(), link: link.clone() };
        let inside = |rest: &[&str]| run(&[&["-n", &name], rest].concat());
        for (outer, inner, ours, theirs) in
            [(&link, "store", STORE, "198.18.77.2"), (&senders, "senders", SENDERS, SERVER)]
        {
            run(&["link", "add", outer, "type", "veth", "peer", "name", inner, "netns", &name])?;
            run(&["address", "add", &format!("{ours}/30"), "dev", outer])?;
            run(&["link", "set", outer, "up"])?;
            inside(&["address", "add", &format!("{theirs}/30"), "dev", inner])?;
            inside(&["link", "set", inner, "up"])?;
        }
        inside(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn set(&self, state: &str) {
        run(&["link", "set", &self.link, state]).expect("it was possible before");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // This deletes its links, too.
        let _ = run(&["netns", "delete", &self.name]);
    }
}

impl Network for Namespace {
    fn cut(&mut self, servers: &[bool]) {
        self.set(if servers[0] { "down" } else { "up" });
    }

    fn heal(&mut self) {
        self.set("up");
    }
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|e| format!("ip: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("ip {}: {said}", arguments.join(" "))) }
}

pub fn a_server_whose_link_goes_down_is_replaced_and_comes_back() -> Outcome {
    let world = match store() {
        Ok(store) => World::with_servers(store, "link", &SERVERS[..2]),
        Err(why) => return ignored(&why, REQUIRED),
    };
    let mut namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(why) => return Ok(Completion::ignored_with(format!("needs network namespaces: {why}"))),
    };
    let endpoint = &world.store.endpoint;
    let proxies = [format!("{STORE}:0"), "127.0.0.1:0".to_owned()]
        .map(|address| Proxy::start(&address, endpoint, Plan::none(0), false));
    let other = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let addresses = [SocketAddr::new(SERVER.parse()?, 8_080), other];
    let inside = ["ip", "netns", "exec", &namespace.name];
    let servers = vec![
        world.start(SERVERS[0], addresses[0], &proxies[0].url, &inside),
        world.start(SERVERS[1], addresses[1], &proxies[1].url, &[]),
    ];
    let mut trial = Trial::new(&world, &addresses);
    trial.hits = |_, _| vec![true, false];
    trial.run(servers, &mut namespace);
    Ok(Completion::Completed)
}
