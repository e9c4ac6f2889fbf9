//! A proxy in front of the store. It injects faults by a plan, and can cut the connection to the store.
//!
//! It forwards requests and answers byte for byte. The client signs the proxy's address as the host, and stores verify
//! the signature over the received `Host` header, so the proxy need not sign anything.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::faults::{Fault, Plan};
use crate::wire::Message;

/// Time limit of the store's answer, longer than any store needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Interval between checks of a switch.
const LOOK: Duration = Duration::from_millis(10);

/// The state of the network in front of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Requests pass.
    Up,
    /// New connections are refused, and open ones are cut.
    Refused,
    /// The network drops all packets: nothing is answered, and no connection ends.
    Silent,
}

/// A running proxy. It stops when it is dropped.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    engine: SocketAddr,
    plan: Mutex<Plan>,
    link: Mutex<Link>,
    /// Tells at which request the network falls silent.
    last: Mutex<Option<Box<Last>>>,
    stop: AtomicBool,
    /// Open connections of clients.
    clients: Mutex<Vec<TcpStream>>,
    counts: Mutex<BTreeMap<Fault, u64>>,
    /// Number of delayed requests that the store has not received yet.
    late: AtomicUsize,
    /// A lease that only this proxy's client sees, and the number of its versions.
    lease: Option<Mutex<(u64, Vec<u8>)>>,
    look: OnceLock<Box<Look>>,
}

/// Sees each answered request and its answer, even if the client does not get the answer.
type Look = dyn Fn(&Message, &Message) + Send + Sync;

/// Tells whether a request is the last one that arrives.
type Last = dyn FnMut(&Message) -> bool + Send;

impl Proxy {
    /// Starts a proxy on loopback for the store at `http://HOST:PORT`.
    pub fn before(endpoint: &str, plan: Plan) -> Self {
        Self::start("127.0.0.1:0", endpoint, plan, false)
    }

    /// Like [`before`](Self::before), with a lease of its own, which its client always holds.
    pub fn with_own_lease(endpoint: &str, plan: Plan) -> Self {
        Self::start("127.0.0.1:0", endpoint, plan, true)
    }

    /// Starts a proxy at an address.
    pub fn start(listen: &str, endpoint: &str, plan: Plan, has_own_lease: bool) -> Self {
        let engine = endpoint.strip_prefix("http://").and_then(|host| host.parse().ok());
        let engine = engine.expect("the store under test is at http://ADDRESS:PORT");
        let listener = TcpListener::bind(listen).expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            address,
            engine,
            plan: Mutex::new(plan),
            link: Mutex::new(Link::Up),
            last: Mutex::default(),
            stop: AtomicBool::new(false),
            clients: Mutex::default(),
            counts: Mutex::default(),
            late: AtomicUsize::new(0),
            lease: has_own_lease.then(Mutex::default),
            look: OnceLock::new(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.stop.load(Ordering::SeqCst) {
                    break;
                }
                if let Ok(client) = client {
                    let shared = accepting.clone();
                    std::thread::spawn(move || shared.serve(client));
                }
            }
        });
        Self { url: format!("http://{address}"), shared }
    }

    /// Makes `look` see all answers. Call it before anybody connects.
    pub fn looking(self, look: impl Fn(&Message, &Message) + Send + Sync + 'static) -> Self {
        assert!(self.shared.look.set(Box::new(look)).is_ok(), "one looks");
        self
    }

    /// Changes the plan from now on.
    pub fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut lock(&self.shared.plan));
    }

    /// Cuts or restores the network.
    pub fn set_link(&self, link: Link) {
        *lock(&self.shared.link) = link;
        if link == Link::Refused {
            self.shared.cut_clients();
        }
    }

    /// Makes the network silent when a request arrives for which this is true: the store does not see that one either.
    pub fn silence_at(&self, is_last: impl FnMut(&Message) -> bool + Send + 'static) {
        *lock(&self.shared.last) = Some(Box::new(is_last));
    }

    /// True if the network is silent.
    pub fn is_silent(&self) -> bool {
        *lock(&self.shared.link) == Link::Silent
    }

    /// Counts of the faults so far.
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        lock(&self.shared.counts).clone()
    }

    /// Waits until the store has received all delayed requests.
    pub fn drain(&self) {
        let until = Instant::now() + PATIENCE;
        while self.shared.late.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < until, "late requests come at last");
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.cut_clients();
        // Wake the accepting thread.
        let _ = TcpStream::connect(self.shared.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it is held")
}

/// The error that closes a connection.
fn cut<T>() -> io::Result<T> {
    Err(io::ErrorKind::ConnectionAborted.into())
}

impl Shared {
    fn cut_clients(&self) {
        for client in lock(&self.clients).drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Waits while the network is silent. Returns an error if the connection is cut.
    fn pass_link(&self) -> io::Result<()> {
        let mut was_silent = false;
        loop {
            let link = *lock(&self.link);
            if self.stop.load(Ordering::SeqCst) || link == Link::Refused {
                return cut();
            }
            if link == Link::Up {
                // Packets sent into a silent network are lost.
                return if was_silent { cut() } else { Ok(()) };
            }
            was_silent = true;
            std::thread::sleep(LOOK);
        }
    }

    fn serve(self: &Arc<Self>, mut client: TcpStream) {
        let (Ok(clone), Ok(())) = (client.try_clone(), client.set_nodelay(true)) else { return };
        lock(&self.clients).push(clone);
        // The client sees only that the connection ends, whatever the cause.
        let _ = self.pass_requests(&mut client);
        let _ = client.shutdown(Shutdown::Both);
        let peer = client.peer_addr().ok();
        lock(&self.clients).retain(|other| other.peer_addr().ok().is_some_and(|other| Some(other) != peer));
    }

    fn pass_requests(self: &Arc<Self>, client: &mut TcpStream) -> io::Result<()> {
        let mut engine = None;
        loop {
            self.pass_link()?;
            let Some(request) = Message::request(client)? else { return Ok(()) };
            self.look_for_last(&request);
            self.pass_link()?;
            let (fault, pause, timeout) = {
                let mut plan = lock(&self.plan);
                (plan.next(&request), plan.pause(), plan.timeout)
            };
            *lock(&self.counts).entry(fault).or_default() += 1;
            let answer = self.answer(&request, fault, pause, &mut engine)?;
            self.pass_link()?;
            match fault {
                Fault::AnswerSlow => std::thread::sleep(timeout / 4),
                Fault::AnswerLate => std::thread::sleep(timeout + timeout / 8),
                Fault::AnswerCut => {
                    client.write_all(&answer.bytes[..answer.bytes.len() / 2])?;
                    return cut();
                }
                Fault::Trickle => {
                    for piece in answer.bytes.chunks(answer.bytes.len().div_ceil(10)) {
                        client.write_all(piece)?;
                        std::thread::sleep(Duration::from_millis(3));
                    }
                    continue;
                }
                _ => {}
            }
            client.write_all(&answer.bytes)?;
        }
    }

    fn look_for_last(&self, request: &Message) {
        let mut last = lock(&self.last);
        if last.as_mut().is_some_and(|is_last| is_last(request)) {
            *last = None;
            *lock(&self.link) = Link::Silent;
        }
    }

    /// The answer to a request with this fate.
    fn answer(
        self: &Arc<Self>,
        request: &Message,
        fault: Fault,
        pause: Duration,
        engine: &mut Option<TcpStream>,
    ) -> io::Result<Message> {
        match fault {
            Fault::RequestLost => cut(),
            Fault::RequestLate => {
                self.send_later(request.clone(), pause);
                cut()
            }
            Fault::RequestCut => {
                let half = request.bytes.len() / 2;
                let mut engine = self.connect()?;
                engine.write_all(&request.bytes[..half])?;
                engine.shutdown(Shutdown::Both)?;
                cut()
            }
            Fault::AnswerLost => {
                self.ask(request, engine)?;
                cut()
            }
            Fault::Twice => {
                self.ask(request, engine)?;
                self.ask(request, engine)
            }
            Fault::AgainLater => {
                let answer = self.ask(request, engine)?;
                self.send_later(request.clone(), pause);
                Ok(answer)
            }
            Fault::Error => Ok(error("500 Internal Server Error", "InternalError", &[])),
            Fault::ErrorDone => {
                self.ask(request, engine)?;
                Ok(error("500 Internal Server Error", "InternalError", &[]))
            }
            Fault::Busy => Ok(error("503 Slow Down", "SlowDown", &[])),
            Fault::BusyFor => Ok(error("503 Slow Down", "SlowDown", &[("Retry-After", "1")])),
            Fault::Clock => Ok(error("403 Forbidden", "RequestTimeTooSkewed", &[])),
            Fault::Missing => match self.ask(request, engine)? {
                answer if answer.status() == 200 => Ok(error("404 Not Found", "NoSuchKey", &[])),
                answer => Ok(answer),
            },
            Fault::None | Fault::AnswerCut | Fault::AnswerSlow | Fault::AnswerLate | Fault::Trickle => {
                self.ask(request, engine)
            }
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let engine = TcpStream::connect(self.engine)?;
        engine.set_read_timeout(Some(PATIENCE))?;
        engine.set_nodelay(true)?;
        Ok(engine)
    }

    /// Sends a request to the store, on the existing connection if there is one.
    fn ask(&self, request: &Message, engine: &mut Option<TcpStream>) -> io::Result<Message> {
        if let Some(answer) = self.ask_own_lease(request) {
            return Ok(answer);
        }
        let mut stream = engine.take().map_or_else(|| self.connect(), Ok)?;
        stream.write_all(&request.bytes)?;
        let answer = Message::answer(&mut stream)?;
        self.look.get().inspect(|look| look(request, &answer));
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        *engine = Some(stream).filter(|_| !closes);
        Ok(answer)
    }

    /// Sends the request later, when nobody waits for its answer.
    fn send_later(self: &Arc<Self>, request: Message, pause: Duration) {
        self.late.fetch_add(1, Ordering::SeqCst);
        let shared = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(pause);
            let _ = shared.ask(&request, &mut None);
            shared.late.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Answers a request for the proxy's own lease like a store with conditional writes.
    fn ask_own_lease(&self, request: &Message) -> Option<Message> {
        let lease = self.lease.as_ref().filter(|_| request.path().ends_with("/lease"))?;
        let (version, content) = &mut *lock(lease);
        let exists = *version > 0;
        let tag = format!("\"{version}\"");
        let is_current = |header: &str| header.trim_matches('"') == version.to_string();
        let holds = match (request.header("if-none-match"), request.header("if-match")) {
            (Some(_), _) => !exists,
            (_, Some(tag)) => exists && is_current(tag),
            _ => true,
        };
        Some(match (request.method(), exists) {
            ("GET", true) => Message::own_answer("200 OK", &[("ETag", &tag)], content),
            ("GET", false) => error("404 Not Found", "NoSuchKey", &[]),
            _ if !holds => error("412 Precondition Failed", "PreconditionFailed", &[]),
            _ => {
                *version += 1;
                *content = request.body().to_vec();
                Message::own_answer("200 OK", &[("ETag", &format!("\"{version}\""))], b"")
            }
        })
    }
}

/// An error in S3's format.
fn error(status: &str, code: &str, headers: &[(&str, &str)]) -> Message {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>made by the test</Message></Error>"
    );
    let headers = [&[("Content-Type", "application/xml")], headers].concat();
    Message::own_answer(status, &headers, body.as_bytes())
}
