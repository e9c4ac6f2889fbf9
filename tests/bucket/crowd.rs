//! Senders and readers of a log's servers, over HTTP.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use treehead::bucket::Objects;

use crate::fleet::{PATIENCE, request};
use crate::oracle;
use crate::promises::Promises;
use crate::random::Random;

/// Pause after a refusal.
const PAUSE: Duration = Duration::from_millis(30);

/// Senders and readers, which run until `ends` is set.
pub struct Crowd<'a> {
    pub promises: &'a Promises,
    pub servers: &'a [SocketAddr],
    pub ends: &'a AtomicBool,
    /// Number of answers to senders without an index.
    pub refused: AtomicU64,
}

impl<'a> Crowd<'a> {
    pub const fn new(promises: &'a Promises, servers: &'a [SocketAddr], ends: &'a AtomicBool) -> Self {
        Self { promises, servers, ends, refused: AtomicU64::new(0) }
    }

    /// Sends entries one after the other, to the server that it prefers or to any other that accepts them. Repeats each
    /// until it is acknowledged.
    pub fn send(&self, name: &str, prefers: usize, seed: u64) {
        let (mut random, mut count) = (Random(seed), 0_u64);
        while !self.ends.load(Ordering::SeqCst) {
            count += 1;
            let mut server = prefers % self.servers.len();
            let old = self.promises.any_acknowledged(random.next()).filter(|_| random.one_in(8));
            let entry = old.unwrap_or_else(|| format!("{name}/{count}").into_bytes());
            self.promises.send(&entry);
            let wait = if random.one_in(3) { "published" } else { "sequenced" };
            while !self.ends.load(Ordering::SeqCst) && !self.send_to(self.servers[server], &entry, wait) {
                std::thread::sleep(PAUSE);
                server = usize::try_from(random.below(self.servers.len() as u64)).expect("few");
            }
        }
    }

    /// Returns true if the entry is acknowledged.
    pub fn send_to(&self, server: SocketAddr, entry: &[u8], wait: &str) -> bool {
        let answer = request(server, &format!("POST /add?wait={wait}"), entry);
        let index =
            answer.filter(|(status, _)| *status == 200).and_then(|(_, body)| body.trim().parse().ok());
        match index {
            Some(index) => self.promises.acknowledge(entry, index),
            None => _ = self.refused.fetch_add(1, Ordering::SeqCst),
        }
        index.is_some()
    }

    /// Reads the head of a server repeatedly.
    pub fn watch_server(&self, server: SocketAddr) {
        while !self.ends.load(Ordering::SeqCst) {
            self.look_at(server);
            std::thread::sleep(PAUSE);
        }
    }

    /// Reads the head of a server and returns its size. Answers to two threads may overtake each other, so each thread
    /// counts as a separate reader.
    pub fn look_at(&self, server: SocketAddr) -> Option<u64> {
        let (_, note) = request(server, "GET /checkpoint", b"").filter(|(status, _)| *status == 200)?;
        let reader = std::thread::current().id();
        Some(
            self.promises.show(&format!("the server at {server}, as {reader:?} reads it"), note.as_bytes()).0,
        )
    }

    /// Reads the head in the bucket repeatedly, like a reader without a server, and checks that all its tiles are
    /// there.
    pub fn watch_bucket(&self, objects: &dyn Objects) {
        while !self.ends.load(Ordering::SeqCst) {
            let head = |key| objects.get(key, 100_000).expect("the store works");
            let published = head("checkpoint").expect("it is there");
            let (size, is_new) = self.promises.show("the bucket", &published.bytes);
            if let Some(signed) = self.promises.has_witnesses().then(|| head("checkpoint.signed")).flatten() {
                self.promises.sign("the bucket, of what is signed", &signed.bytes);
            }
            let tiles = oracle::tiles_of(usize::try_from(size).expect("small"));
            for tile in tiles.iter().filter(|tile| is_new && tile.contains(".p/")) {
                let object = objects.get(tile, 10_000_000).expect("the store works");
                assert!(object.is_some(), "the head of {size} was there before {tile}");
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends all unacknowledged entries and one more until they are acknowledged. Returns false if no server accepts
    /// them in time.
    pub fn send_left(&self, until: Instant) -> bool {
        let last = b"the last one".to_vec();
        self.promises.send(&last);
        let mut left = self.promises.open();
        left.push(last);
        while !left.is_empty() && Instant::now() < until {
            for server in self.servers {
                left.retain(|entry| !self.send_to(*server, entry, "published"));
            }
            std::thread::sleep(PAUSE);
        }
        left.is_empty()
    }

    /// Waits until all servers show a head of at least this size and, once sending has stopped, the same head. Returns
    /// the time that it took.
    pub fn converge(&self, size: u64) -> Duration {
        let begun = Instant::now();
        loop {
            let sizes: Vec<_> = self.servers.iter().map(|server| self.look_at(*server)).collect();
            let (least, most) =
                (sizes.iter().min().copied().flatten(), sizes.iter().max().copied().flatten());
            let is_quiet = self.ends.load(Ordering::SeqCst);
            if least >= Some(size) && (least == most || !is_quiet) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "the servers do not agree on one head of {size}: {sizes:?}");
            std::thread::sleep(PAUSE);
        }
    }
}
