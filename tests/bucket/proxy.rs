//! A proxy before the store that makes faults by a plan, and that can be cut off.
//!
//! Requests and answers pass byte for byte. The client signs the host that it connects to, which is the proxy, and stores
//! verify the signature over the header `Host` as it came, so nothing has to be signed again.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::faults::{Fault, Plan};
use crate::wire::Message;

/// Longer than any store needs for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at a switch.
const LOOK: Duration = Duration::from_millis(10);

/// The state of the network before the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Requests pass.
    Up,
    /// Connections are refused, and those that were open are cut.
    Refused,
    /// Nothing is answered, and no connection ends.
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
    stop: AtomicBool,
    /// Connections of clients that are open.
    clients: Mutex<Vec<TcpStream>>,
    counts: Mutex<BTreeMap<Fault, u64>>,
    /// Requests that the store gets later.
    late: AtomicUsize,
    /// The lease as only this proxy's client sees it, and the number of its versions.
    lease: Option<Mutex<(u64, Vec<u8>)>>,
    look: OnceLock<Box<Look>>,
}

/// Looks at a request that was answered, and at the answer, also where the client does not get it.
type Look = dyn Fn(&Message, &Message) + Send + Sync;

impl Proxy {
    /// Starts a proxy on loopback before the store at `http://HOST:PORT`.
    pub fn before(endpoint: &str, plan: Plan) -> Self {
        Self::start("127.0.0.1:0", endpoint, plan, false)
    }

    /// The same, with a lease of its own: its client always holds it.
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

    /// Has `look` see all answers, before anybody connects.
    pub fn looking(self, look: impl Fn(&Message, &Message) + Send + Sync + 'static) -> Self {
        assert!(self.shared.look.set(Box::new(look)).is_ok(), "one looks");
        self
    }

    /// Changes the plan from now on.
    pub fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut lock(&self.shared.plan));
    }

    /// Cuts the network, or heals it.
    pub fn set_link(&self, link: Link) {
        *lock(&self.shared.link) = link;
        if link == Link::Refused {
            self.shared.cut_clients();
        }
    }

    /// The faults so far.
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        lock(&self.shared.counts).clone()
    }

    /// Waits until no request is under way that nobody waits for.
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
        // The thread that accepts wakes up.
        let _ = TcpStream::connect(self.shared.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic while it is held")
}

/// The end of a connection: nothing more can be said on it.
fn cut<T>() -> io::Result<T> {
    Err(io::ErrorKind::ConnectionAborted.into())
}

impl Shared {
    fn cut_clients(&self) {
        for client in lock(&self.clients).drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Waits while the network is silent. An error if the connection is cut.
    fn pass_link(&self) -> io::Result<()> {
        let mut was_silent = false;
        loop {
            let link = *lock(&self.link);
            if self.stop.load(Ordering::SeqCst) || link == Link::Refused {
                return cut();
            }
            if link == Link::Up {
                // What was under way in a dead network is lost.
                return if was_silent { cut() } else { Ok(()) };
            }
            was_silent = true;
            std::thread::sleep(LOOK);
        }
    }

    fn serve(self: &Arc<Self>, mut client: TcpStream) {
        let (Ok(clone), Ok(())) = (client.try_clone(), client.set_nodelay(true)) else { return };
        lock(&self.clients).push(clone);
        // The end of a connection is a fault that the client sees, whatever made it.
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

    /// The answer to a request that meets a fault.
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

    /// Asks the store, on the connection that there is.
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

    /// The request comes again, or only then, when nobody waits for its answer.
    fn send_later(self: &Arc<Self>, request: Message, pause: Duration) {
        self.late.fetch_add(1, Ordering::SeqCst);
        let shared = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(pause);
            let _ = shared.ask(&request, &mut None);
            shared.late.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// The answer about the lease of its own, as a store with conditions gives it.
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

/// An error as stores write it.
fn error(status: &str, code: &str, headers: &[(&str, &str)]) -> Message {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>made by the test</Message></Error>"
    );
    let headers = [&[("Content-Type", "application/xml")], headers].concat();
    Message::own_answer(status, &headers, body.as_bytes())
}
