//! Tracks which connections are open and what each does, and closes one when a new connection needs its slot.
//!
//! A connection is idle, sends the head or the body of a request, is being served, or receives an answer.
//! Serving ends by itself: bodies have a minimum rate, and every wait has a limit. The other states are checked
//! once a second. If a new connection finds no slot, the one that has been stalled longest is closed, unless the
//! server is working on its request.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::client_address::Network;

/// Order does not matter: each flag and each time is judged by itself, and again a second later.
const RELAXED: Ordering = Ordering::Relaxed;

/// Bounds on the number of connections, their slowness, and their memory.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Most connections at once.
    pub connections: usize,
    /// Most connections of one network.
    pub each: usize,
    /// Longest idle time. Longer than proxies keep a connection (nginx 60 s, Go 90 s, cloud load balancers up to
    /// 600 s): otherwise a request crosses with the end of its connection, and the proxy answers 502.
    pub idle: Duration,
    /// Longest time for the head of a request, from its first byte on.
    pub head: Duration,
    /// After this time without progress, a connection may be closed for a new one.
    pub stall: Duration,
    /// In each window of this length ...
    pub window: Duration,
    /// ... the client must read at least this many bytes of an answer.
    pub least: u64,
    /// Most bytes of answers that clients have not read yet.
    pub answers: usize,
}

impl ConnectionLimits {
    /// Most connections at once, if the system allows that many.
    const CONNECTIONS: usize = 4_096;
    /// File descriptors left for the server's own files.
    const OWN_FILES: usize = 256;

    /// Limits for a process that may have this many files open.
    pub fn for_files(files: usize) -> Self {
        let connections = (files - (files / 2).min(Self::OWN_FILES)).clamp(1, Self::CONNECTIONS);
        Self {
            connections,
            each: (connections / 4).max(1),
            idle: Duration::from_secs(620),
            head: Duration::from_secs(30),
            stall: Duration::from_secs(1),
            window: Duration::from_secs(30),
            least: 240 * 1_024,
            answers: 256 * 1_024 * 1_024,
        }
    }

    /// Connections closed when one has to go: finding them costs more than closing them.
    fn at_once(&self) -> usize {
        (self.connections / 64).max(1)
    }

    /// Connections that one network may have while all together have `open`: as many as it leaves to the others,
    /// so that a few networks together can't take all, but always a few.
    fn share(&self, open: usize) -> usize {
        let left = self.connections.saturating_sub(open + 1);
        self.each.min(left.max(self.at_once()))
    }
}

impl Default for ConnectionLimits {
    /// Limits for this process.
    fn default() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::for_files(files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX)))
    }
}

/// The state of one connection. Times are milliseconds since the server started.
#[derive(Debug)]
pub struct Connection {
    began: Instant,
    serving: AtomicBool,
    /// The socket takes no more bytes for now: the client does not read.
    blocked: AtomicBool,
    /// Bytes sent to the client.
    sent: AtomicU64,
    /// Time when bytes last came or went, or an answer was last ready.
    progress: AtomicU64,
    /// Time when the first byte of a request's head came; 0 if no head is on its way.
    head: AtomicU64,
    /// Number of request bodies so far.
    bodies: AtomicU64,
    /// Number of the body on its way; 0 if there is none.
    body: AtomicU64,
    /// Time when that body began, plus a millisecond for each byte that came: a client that sends a KiB a second is
    /// not stalled.
    body_since: AtomicU64,
    /// Set while the server waits for the next bytes of that body.
    body_awaited: AtomicBool,
    /// Set when the connection should end, until it has taken note.
    must_close: AtomicBool,
    /// Notified after that.
    close: Notify,
}

impl Connection {
    fn new(began: Instant) -> Self {
        let connection = Self {
            began,
            serving: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            head: AtomicU64::new(0),
            bodies: AtomicU64::new(0),
            body: AtomicU64::new(0),
            body_since: AtomicU64::new(0),
            body_awaited: AtomicBool::new(false),
            must_close: AtomicBool::new(false),
            close: Notify::new(),
        };
        connection.progress.store(connection.now(), RELAXED);
        connection
    }

    fn now(&self) -> u64 {
        millis(self.began).max(1)
    }

    /// Records that bytes came.
    pub fn received(&self) {
        let now = self.now();
        self.progress.store(now, RELAXED);
        let is_head = !self.is_serving() && !self.blocked.load(RELAXED) && !self.has_body();
        if is_head && self.head.load(RELAXED) == 0 {
            self.head.store(now, RELAXED);
        }
    }

    /// Records that the socket took `bytes` bytes.
    pub fn sent(&self, bytes: usize) {
        self.progress.store(self.now(), RELAXED);
        self.sent.fetch_add(bytes as u64, RELAXED);
        self.blocked.store(false, RELAXED);
    }

    /// Records that the socket takes no bytes.
    pub fn blocked(&self) {
        self.blocked.store(true, RELAXED);
    }

    fn tell_to_close(&self) {
        self.must_close.store(true, RELAXED);
        self.close.notify_one();
    }

    /// Returns true if the connection should end.
    pub fn must_close(&self) -> bool {
        self.must_close.load(RELAXED)
    }

    /// Waits until the connection should end.
    pub async fn told_to_close(&self) {
        self.close.notified().await;
        self.must_close.store(false, RELAXED);
    }

    /// Marks the connection as being served until the guard is dropped.
    pub fn serve(self: &Arc<Self>) -> Serving {
        self.serving.store(true, RELAXED);
        self.head.store(0, RELAXED);
        Serving(self.clone())
    }

    /// Records that a body is on its way, until the returned arrival is dropped.
    pub fn expect_body(self: &Arc<Self>) -> Arrival {
        let number = self.bodies.fetch_add(1, RELAXED) + 1;
        self.body_since.store(self.now(), RELAXED);
        self.body_awaited.store(false, RELAXED);
        self.body.store(number, RELAXED);
        Arrival { connection: self.clone(), number }
    }

    fn has_body(&self) -> bool {
        self.body.load(RELAXED) != 0
    }

    fn is_serving(&self) -> bool {
        self.serving.load(RELAXED)
    }

    /// Returns whether the server is working on a request, and not just waiting for the rest of its body.
    pub fn is_working(&self) -> bool {
        self.is_serving() && !(self.has_body() && self.body_awaited.load(RELAXED))
    }

    /// Time since which the client has kept the server waiting. A byte now and then does not reset it.
    fn since(&self) -> u64 {
        match (self.has_body(), self.head.load(RELAXED)) {
            (true, _) => self.body_since.load(RELAXED),
            (false, 0) => self.progress.load(RELAXED),
            (false, head) => head,
        }
    }
}

/// A body on its way. A refused one is read on after its answer, and may end while the next request is served: then it
/// changes nothing.
#[derive(Debug)]
pub struct Arrival {
    connection: Arc<Connection>,
    number: u64,
}

impl Arrival {
    /// Records that the server waits for bytes.
    pub fn awaits(&self) {
        if self.is_current() {
            self.connection.body_awaited.store(true, RELAXED);
        }
    }

    /// Records that `bytes` bytes came.
    pub fn came(&self, bytes: usize) {
        if self.is_current() {
            self.connection.body_awaited.store(false, RELAXED);
            let since = self.connection.body_since.load(RELAXED).saturating_add(bytes as u64);
            self.connection.body_since.store(since.min(self.connection.now()), RELAXED);
        }
    }

    fn is_current(&self) -> bool {
        self.connection.body.load(RELAXED) == self.number
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let _ = self.connection.body.compare_exchange(self.number, 0, RELAXED, RELAXED);
    }
}

/// Marks its connection as being served until it is dropped.
pub struct Serving(Arc<Connection>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.progress.store(self.0.now(), RELAXED);
        self.0.serving.store(false, RELAXED);
    }
}

/// All connections of a server.
#[derive(Debug)]
pub struct Connections {
    pub limits: ConnectionLimits,
    began: Instant,
    table: Mutex<ConnectionTable>,
    /// Notified when a connection has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct ConnectionTable {
    next: u64,
    open: HashMap<u64, OpenConnection>,
    /// Number of open connections that are being closed.
    closing: usize,
    /// Number of the other open connections by network; `None` is this machine.
    each: HashMap<Option<Network>, usize>,
}

#[derive(Debug)]
struct OpenConnection {
    connection: Arc<Connection>,
    network: Option<Network>,
    closing: bool,
    /// Start of the current window, and the number of bytes sent before it.
    window: (u64, u64),
}

/// A slot in the table, free again when it is dropped.
pub struct Slot {
    connections: Arc<Connections>,
    id: u64,
    /// The connection in this slot.
    pub connection: Arc<Connection>,
}

impl Slot {
    /// Keeps the connection open after all: it was told to close just as it began to serve a request.
    pub fn keep_open(&self) {
        self.connections.table().keep_open(self.id);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().leave(self.id);
        self.connections.ended.notify_one();
    }
}

/// A network has reached its limit, and all its connections are in use.
#[derive(Debug, PartialEq, Eq)]
pub struct NetworkFull;

impl Connections {
    pub fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, began: Instant::now(), table: Mutex::default(), ended: Notify::new() })
    }

    /// Finds a slot for a new connection, and waits for one if all are in use. This machine (`None`) may have all
    /// of them.
    pub async fn slot(self: &Arc<Self>, network: Option<Network>) -> Result<Slot, NetworkFull> {
        loop {
            if let Some(slot) = self.try_slot(network) {
                return slot;
            }
            self.one_ended().await;
        }
    }

    fn try_slot(self: &Arc<Self>, network: Option<Network>) -> Option<Result<Slot, NetworkFull>> {
        let (now, limits, mut table) = (self.now(), &self.limits, self.table());
        let own = table.each.get(&network).copied().unwrap_or_default();
        let is_own = |place: &OpenConnection| place.network == network;
        let share = limits.share(table.open.len() - table.closing);
        if network.is_some() && own >= share && table.close_stalled(now, limits, 1, is_own) == 0 {
            return Some(Err(NetworkFull));
        }
        if table.open.len() >= limits.connections {
            // Connections that are already closing make room.
            if table.closing == 0 {
                table.close_stalled(now, limits, limits.at_once(), |_| true);
            }
            return None;
        }
        let connection = Arc::new(Connection::new(self.began));
        let id = table.next;
        table.next += 1;
        *table.each.entry(network).or_default() += 1;
        table.open.insert(
            id,
            OpenConnection { connection: connection.clone(), network, closing: false, window: (now, 0) },
        );
        Some(Ok(Slot { connections: self.clone(), id, connection }))
    }

    /// Closes a batch of stalled connections, and waits briefly for one to end.
    pub async fn make_room(&self) {
        self.table().close_stalled(self.now(), &self.limits, self.limits.at_once(), |_| true);
        self.one_ended().await;
    }

    /// Closes the connection that has not read its answer for the longest time.
    pub fn close_slowest_reader(&self) {
        let is_stalled = |place: &OpenConnection| place.connection.blocked.load(RELAXED);
        self.table().close_stalled(self.now(), &self.limits, 1, is_stalled);
    }

    /// Closes connections that have idled too long or are too slow.
    pub fn sweep(&self) {
        let now = self.now();
        let mut table = self.table();
        let over =
            table.open.iter_mut().filter_map(|(id, place)| place.is_over(now, &self.limits).then_some(*id));
        over.collect::<Vec<u64>>().into_iter().for_each(|id| table.close(id));
    }

    async fn one_ended(&self) {
        // A connection that is served now may be stalled a moment later.
        let _ = tokio::time::timeout(self.limits.stall / 10, self.ended.notified()).await;
    }

    fn now(&self) -> u64 {
        millis(self.began)
    }

    fn table(&self) -> MutexGuard<'_, ConnectionTable> {
        self.table.lock().expect("no panic while it is held")
    }
}

impl ConnectionTable {
    /// Closes up to `count` stalled connections that pass `filter`: first those of the networks with the most
    /// connections, and of these the ones stalled longest. Returns how many it closed.
    fn close_stalled(
        &mut self,
        now: u64,
        limits: &ConnectionLimits,
        count: usize,
        filter: impl Fn(&OpenConnection) -> bool,
    ) -> usize {
        let of_network = |place: &OpenConnection| match place.network {
            None => 0,
            some => self.each.get(&some).copied().unwrap_or_default(),
        };
        let stalled = self.open.iter().filter(|(_, place)| place.is_stalled(now, limits) && filter(place));
        let mut stalled: Vec<_> =
            stalled.map(|(id, place)| (Reverse(of_network(place)), place.connection.since(), *id)).collect();
        if stalled.len() > count {
            stalled.select_nth_unstable(count);
            stalled.truncate(count);
        }
        stalled.iter().for_each(|(_, _, id)| self.close(*id));
        stalled.len()
    }

    /// Tells a connection to end. Its slot is free when its socket is closed.
    fn close(&mut self, id: u64) {
        let Some(place) = self.open.get_mut(&id).filter(|place| !place.closing) else { return };
        place.closing = true;
        place.connection.tell_to_close();
        let network = place.network;
        self.closing += 1;
        self.discount(network);
    }

    fn keep_open(&mut self, id: u64) {
        let Some(place) = self.open.get_mut(&id).filter(|place| place.closing) else { return };
        place.closing = false;
        self.closing -= 1;
        *self.each.entry(place.network).or_default() += 1;
    }

    fn leave(&mut self, id: u64) {
        match self.open.remove(&id) {
            Some(place) if place.closing => self.closing -= 1,
            Some(place) => self.discount(place.network),
            None => {}
        }
    }

    fn discount(&mut self, network: Option<Network>) {
        let count = self.each.get_mut(&network).expect("counted when it came");
        *count -= 1;
        if *count == 0 {
            self.each.remove(&network);
        }
    }
}

impl OpenConnection {
    /// Returns whether the connection may be closed for a new one.
    fn is_stalled(&self, now: u64, limits: &ConnectionLimits) -> bool {
        let stalled = now.saturating_sub(self.connection.since());
        !self.closing && !self.connection.is_working() && stalled >= duration_millis(limits.stall)
    }

    /// Returns whether the connection has idled too long or is too slow, and begins the next window if one ended.
    fn is_over(&mut self, now: u64, limits: &ConnectionLimits) -> bool {
        let connection = &self.connection;
        let sent = connection.sent.load(RELAXED);
        let after = |since: u64, time: Duration| now.saturating_sub(since) >= duration_millis(time);
        if !connection.is_serving() && connection.blocked.load(RELAXED) {
            let (since, before) = self.window;
            if !after(since, limits.window) {
                return false;
            }
            self.window = (now, sent);
            return sent - before < limits.least;
        }
        self.window = (now, sent);
        let idle = || match connection.head.load(RELAXED) {
            0 => after(connection.progress.load(RELAXED), limits.idle),
            since => after(since, limits.head),
        };
        !connection.is_serving() && idle()
    }
}

fn millis(began: Instant) -> u64 {
    duration_millis(began.elapsed())
}

fn duration_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
