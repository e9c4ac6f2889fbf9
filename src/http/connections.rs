//! Tracks which connections are open and what each does, and closes one when a newcomer needs its place.
//!
//! A connection is idle, sends the head or the body of a request, is being served, or receives an answer.
//! Serving ends by itself: bodies have a minimum rate, and every wait has a limit. The others are checked once a
//! second. When a newcomer finds no place, the connection that has been stalled longest is closed, unless the
//! server is working on its request.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::sender::Network;

/// Order doesn't matter: each flag and each time is judged by itself, and a second later once more.
const RELAXED: Ordering = Ordering::Relaxed;

/// How many connections there may be, how slow they may be, and how much they may keep in memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one network.
    pub each: usize,
    /// How long a connection may idle. Longer than proxies keep theirs (nginx 60 s, Go's 90 s, cloud load
    /// balancers up to 600 s): otherwise a request crosses with the end of its connection, and is a 502.
    pub idle: Duration,
    /// How long the head of a request may take from its first byte on.
    pub head: Duration,
    /// Without progress for so long, a connection may be closed for another one.
    pub rest: Duration,
    /// In each such time ...
    pub window: Duration,
    /// ... the receiver of an answer must read so many bytes of it.
    pub least: u64,
    /// Bytes of answers that clients have not read yet.
    pub answers: usize,
}

impl Limits {
    /// Most connections at once, where the system allows them.
    const CONNECTIONS: usize = 4_096;
    /// File descriptors that are left for the server's own files.
    const OWN_FILES: usize = 256;

    /// For a process that may have so many files open.
    pub fn for_files(files: usize) -> Self {
        let connections = (files - (files / 2).min(Self::OWN_FILES)).clamp(1, Self::CONNECTIONS);
        Self {
            connections,
            each: (connections / 4).max(1),
            idle: Duration::from_secs(620),
            head: Duration::from_secs(30),
            rest: Duration::from_secs(1),
            window: Duration::from_secs(30),
            least: 240 * 1_024,
            answers: 256 * 1_024 * 1_024,
        }
    }

    /// How many are closed when one has to go: to look for them costs more than to close them.
    fn at_once(&self) -> usize {
        (self.connections / 64).max(1)
    }

    /// How many connections one network may have while all together have `open`: as many as it leaves to the
    /// others, so that a few networks together can't take all. A few it may have in any case.
    fn share(&self, open: usize) -> usize {
        let left = self.connections.saturating_sub(open + 1);
        self.each.min(left.max(self.at_once()))
    }
}

impl Default for Limits {
    /// For this process.
    fn default() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::for_files(files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX)))
    }
}

/// What one connection does. Times are milliseconds since the server started.
#[derive(Debug)]
pub struct Connection {
    began: Instant,
    serving: AtomicBool,
    /// The peer takes no more bytes for now.
    blocked: AtomicBool,
    /// Bytes that the peer was sent.
    sent: AtomicU64,
    /// When bytes came or went last, or an answer was ready.
    progress: AtomicU64,
    /// When the first byte of a request's head came; zero where none did.
    head: AtomicU64,
    /// The body that is on its way, if one is.
    body: Mutex<Weak<Arrival>>,
    /// Given when it should end.
    pub close: Notify,
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
            body: Mutex::default(),
            close: Notify::new(),
        };
        connection.progress.store(connection.now(), RELAXED);
        connection
    }

    fn now(&self) -> u64 {
        millis(self.began).max(1)
    }

    /// Bytes came.
    pub fn received(&self) {
        let now = self.now();
        self.progress.store(now, RELAXED);
        let is_head = !self.is_serving() && !self.blocked.load(RELAXED) && self.arrival().is_none();
        if is_head && self.head.load(RELAXED) == 0 {
            self.head.store(now, RELAXED);
        }
    }

    /// The peer took so many bytes.
    pub fn sent(&self, bytes: usize) {
        self.progress.store(self.now(), RELAXED);
        self.sent.fetch_add(bytes as u64, RELAXED);
        self.blocked.store(false, RELAXED);
    }

    /// The peer takes none.
    pub fn blocked(&self) {
        self.blocked.store(true, RELAXED);
    }

    /// A request is served until what is returned is dropped.
    pub fn serve(self: &Arc<Self>) -> Serving {
        self.serving.store(true, RELAXED);
        self.head.store(0, RELAXED);
        Serving(self.clone())
    }

    /// The request has a body, which is on its way until what is returned is dropped.
    pub fn expect_body(&self) -> Arc<Arrival> {
        let (began, now) = (self.began, AtomicU64::new(self.now()));
        let arrival = Arc::new(Arrival { began, since: now, awaited: AtomicBool::new(false) });
        *self.body() = Arc::downgrade(&arrival);
        arrival
    }

    fn body(&self) -> MutexGuard<'_, Weak<Arrival>> {
        self.body.lock().expect("no panic while it is held")
    }

    fn arrival(&self) -> Option<Arc<Arrival>> {
        self.body().upgrade()
    }

    fn is_serving(&self) -> bool {
        self.serving.load(RELAXED)
    }

    /// Whether the server is working on a request, and not just waiting for the rest of its body.
    pub fn is_working(&self) -> bool {
        self.is_serving() && !self.arrival().is_some_and(|arrival| arrival.awaited.load(RELAXED))
    }

    /// Since when the peer has kept this connection waiting. A byte now and then does not shorten that.
    fn since(&self) -> u64 {
        match (self.arrival(), self.head.load(RELAXED)) {
            (Some(arrival), _) => arrival.since.load(RELAXED),
            (None, 0) => self.progress.load(RELAXED),
            (None, head) => head,
        }
    }
}

/// How a body arrives.
#[derive(Debug)]
pub struct Arrival {
    began: Instant,
    /// When it began, plus a millisecond for each byte that came: whoever sends a KiB in a second is not stalled.
    since: AtomicU64,
    /// The next bytes are waited for.
    awaited: AtomicBool,
}

impl Arrival {
    /// The next bytes have not come yet.
    pub fn awaits(&self) {
        self.awaited.store(true, RELAXED);
    }

    /// So many bytes came.
    pub fn came(&self, bytes: usize) {
        self.awaited.store(false, RELAXED);
        let since = self.since.load(RELAXED).saturating_add(bytes as u64);
        self.since.store(since.min(millis(self.began).max(1)), RELAXED);
    }
}

/// While it is there, a request is served.
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
    pub limits: Limits,
    began: Instant,
    table: Mutex<Table>,
    /// Given when one has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Place>,
    /// How many of them are being closed.
    closing: usize,
    /// How many of the others each network has; `None` is this machine.
    each: HashMap<Option<Network>, usize>,
}

#[derive(Debug)]
struct Place {
    connection: Arc<Connection>,
    network: Option<Network>,
    closing: bool,
    /// When the window began in which bytes are counted, and how many had been sent then.
    window: (u64, u64),
}

/// A place in the table, left when it is dropped.
pub struct Seat {
    connections: Arc<Connections>,
    id: u64,
    /// Whose it is.
    pub connection: Arc<Connection>,
}

impl Seat {
    /// Was told to close just as it began to serve a request.
    pub fn stay(&self) {
        self.connections.table().stay(self.id);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.table().leave(self.id);
        self.connections.ended.notify_one();
    }
}

/// A network has reached its limit, and all its connections are in use.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

impl Connections {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, began: Instant::now(), table: Mutex::default(), ended: Notify::new() })
    }

    /// Finds a place for a new connection, and waits for one where all are in use. This machine (`None`) may
    /// have all of them.
    pub async fn seat(self: &Arc<Self>, network: Option<Network>) -> Result<Seat, TooMany> {
        loop {
            if let Some(seated) = self.try_seat(network) {
                return seated;
            }
            self.one_ended().await;
        }
    }

    fn try_seat(self: &Arc<Self>, network: Option<Network>) -> Option<Result<Seat, TooMany>> {
        let (now, limits, mut table) = (self.now(), &self.limits, self.table());
        let own = table.each.get(&network).copied().unwrap_or_default();
        let is_own = |place: &Place| place.network == network;
        let share = limits.share(table.open.len() - table.closing);
        if network.is_some() && own >= share && table.close_resting(now, limits, 1, is_own) == 0 {
            return Some(Err(TooMany));
        }
        if table.open.len() >= limits.connections {
            // Those that are on their way out make room enough.
            if table.closing == 0 {
                table.close_resting(now, limits, limits.at_once(), |_| true);
            }
            return None;
        }
        let connection = Arc::new(Connection::new(self.began));
        let id = table.next;
        table.next += 1;
        *table.each.entry(network).or_default() += 1;
        table
            .open
            .insert(id, Place { connection: connection.clone(), network, closing: false, window: (now, 0) });
        Some(Ok(Seat { connections: self.clone(), id, connection }))
    }

    /// Closes a batch of stalled connections, and waits briefly until one has ended.
    pub async fn make_room(&self) {
        self.table().close_resting(self.now(), &self.limits, self.limits.at_once(), |_| true);
        self.one_ended().await;
    }

    /// Closes the connection that has read nothing of its answer for longest.
    pub fn close_stalled(&self) {
        let is_stalled = |place: &Place| place.connection.blocked.load(RELAXED);
        self.table().close_resting(self.now(), &self.limits, 1, is_stalled);
    }

    /// Closes connections that have idled too long, or are too slow.
    pub fn sweep(&self) {
        let now = self.now();
        let mut table = self.table();
        let over =
            table.open.iter_mut().filter_map(|(id, place)| place.is_over(now, &self.limits).then_some(*id));
        over.collect::<Vec<u64>>().into_iter().for_each(|id| table.close(id));
    }

    async fn one_ended(&self) {
        // What is served now may rest a moment later, and then it can be closed.
        let _ = tokio::time::timeout(self.limits.rest / 10, self.ended.notified()).await;
    }

    fn now(&self) -> u64 {
        millis(self.began)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while it is held")
    }
}

impl Table {
    /// Closes up to `count` stalled connections among those that are `meant`: first those of the networks with
    /// the most connections, and of these the ones stalled longest. Returns how many.
    fn close_resting(
        &mut self,
        now: u64,
        limits: &Limits,
        count: usize,
        meant: impl Fn(&Place) -> bool,
    ) -> usize {
        let of_network = |place: &Place| match place.network {
            None => 0,
            some => self.each.get(&some).copied().unwrap_or_default(),
        };
        let resting = self.open.iter().filter(|(_, place)| place.rests(now, limits) && meant(place));
        let mut resting: Vec<_> =
            resting.map(|(id, place)| (Reverse(of_network(place)), place.connection.since(), *id)).collect();
        if resting.len() > count {
            resting.select_nth_unstable(count);
            resting.truncate(count);
        }
        resting.iter().for_each(|(_, _, id)| self.close(*id));
        resting.len()
    }

    /// Its place is free when its socket is closed.
    fn close(&mut self, id: u64) {
        let Some(place) = self.open.get_mut(&id).filter(|place| !place.closing) else { return };
        place.closing = true;
        place.connection.close.notify_one();
        let network = place.network;
        self.closing += 1;
        self.discount(network);
    }

    fn stay(&mut self, id: u64) {
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

impl Place {
    /// Whether it can go when another one needs its place.
    fn rests(&self, now: u64, limits: &Limits) -> bool {
        let stalled = now.saturating_sub(self.connection.since());
        !self.closing && !self.connection.is_working() && stalled >= duration_millis(limits.rest)
    }

    /// Whether its time is over.
    fn is_over(&mut self, now: u64, limits: &Limits) -> bool {
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
