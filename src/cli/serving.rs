//! Prepares the process of a log, witness or monitor to serve: limits, threads, the address.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::thread::available_parallelism;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::runtime::Runtime;

use super::exit::{CliResult, Failure};
use super::signals::Hangup;
use crate::http::Listener;
use crate::threads;

/// Open files that a server may need: its most connections, and its own files.
const FILES: u64 = 4_096 + 256;
/// Least address space. The allocator reserves a GiB before it uses any of it, and 32 MiB for each thread.
const ADDRESS_SPACE: u64 = 4 << 30;
/// Threads that read files and check signatures: more would only wait for each other, and each has a stack.
const BLOCKING_THREADS: usize = 32;
/// Threads of sled, of the log's files, and one for each witness, log or sink, where there are few of them.
const OTHER_THREADS: usize = 16;
/// How long the runtime keeps a thread that it does not need: for ever, because the system may have no other later.
const KEPT: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// How long the first thread may take.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Connections that may wait to be accepted, as far as the system allows. Further ones try again a second later.
const BACKLOG: u32 = 4_096;

/// Starts the runtime of a server. Fails if the system does not allow what it needs.
pub fn runtime() -> Result<Runtime, Failure> {
    check_address_space(getrlimit(Resource::As).current)?;
    raise_files();
    let cores = available_parallelism().map_or(1, NonZero::get);
    // The runtime panics if it can't start one of its own.
    threads::check("a server", cores + BLOCKING_THREADS + OTHER_THREADS)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder =
        builder.worker_threads(cores).max_blocking_threads(BLOCKING_THREADS).thread_keep_alive(KEPT);
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|e| Failure::CouldNotTell(format!("could not start: {e}")))?;
    // The runtime's first thread for work that blocks. While there is one, such work is done, also if the system has no
    // thread for more of it.
    let (tell, told) = sync_channel(1);
    runtime.spawn_blocking(move || tell.send(()));
    let started = told.recv_timeout(START_PATIENCE);
    started.map_err(|_| {
        Failure::CouldNotTell("could not start: the system has no thread to spare".to_owned())
    })?;
    Ok(runtime)
}

/// A process that runs out of address space dies without a message, so too little is an error at the start.
fn check_address_space(limit: Option<u64>) -> Result<(), Failure> {
    let Some(limit) = limit.filter(|limit| *limit < ADDRESS_SPACE) else { return Ok(()) };
    Err(Failure::CouldNotTell(format!(
        "`ulimit -v` leaves too little address space: expected at least {} (KiB) or unlimited, saw {}; it counts reserved address space, not memory in use, so limit memory with a cgroup instead, such as systemd's MemoryMax=",
        ADDRESS_SPACE >> 10,
        limit >> 10
    )))
}

/// Raises the limit as far as the system allows. If that fails, the server just has fewer connections.
fn raise_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(FILES, |maximum| maximum.min(FILES));
    if current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// The address of a log or a witness, taken before anything else is opened. SIGHUP is caught from then on.
pub struct Address {
    socket: TcpListener,
    hangup: Hangup,
    asked: String,
}

impl Address {
    /// Listens on an address.
    pub async fn take(listen: &str) -> Result<Self, Failure> {
        let hangup = Hangup::listen();
        let socket = self::listen(listen, "with --listen").await?;
        Ok(Self { socket, hangup, asked: listen.to_owned() })
    }

    /// The URL of the server, with its real port.
    pub fn url(&self) -> String {
        let address = self.socket.local_addr();
        format!("http://{}", address.map_or_else(|_| self.asked.clone(), |address| address.to_string()))
    }

    /// Accepts connections, directly or through these proxies, and calls `reload` at each SIGHUP.
    pub fn listener(
        self,
        trusted_proxies: Vec<IpAddr>,
        reload: impl Fn() + Send + Sync + 'static,
    ) -> Listener {
        self.hangup.then(reload);
        Listener::behind(self.socket, trusted_proxies)
    }
}

/// Opens a log or a witness on a thread of its own, because that reads and hashes files.
pub async fn open<T: Send + 'static, E: Send + 'static>(
    open: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let opened = tokio::task::spawn_blocking(open).await;
    opened
        .map_err(|_| Failure::CouldNotTell("an internal error: opening panicked".to_owned()))?
        .map_err(Failure::from)
}

/// The result of a server that has ended.
pub fn ended<E: Display>(served: Result<(), E>) -> CliResult {
    served.map_err(|e| Failure::CouldNotTell(format!("the server did not stop as it should: {e}")))
}

/// Listens before anything else is opened, so that an address in use fails at once.
pub async fn listen(address: &str, otherwise: &str) -> Result<TcpListener, Failure> {
    bind(address).await.map_err(|e| {
        Failure::CouldNotTell(format!("could not listen on {address}: {e}; choose another {otherwise}"))
    })
}

/// Like [`TcpListener::bind`], with a larger backlog.
async fn bind(address: &str) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "it resolves to no address");
    for address in lookup_host(address).await? {
        match bind_one(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for connections of the old process.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_connections_waits_to_be_accepted() {
        let listener = listen("localhost:0", "").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Nothing accepts connections. With a full backlog, connecting takes seconds.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(900));
        let waiting: Vec<TcpStream> = (0..500).map_while(|at| connect(at).ok()).collect();
        assert_eq!(waiting.len(), 500);
        let Err(Failure::CouldNotTell(why)) = listen(&address.to_string(), "with --listen").await else {
            panic!("two listen at {address}")
        };
        assert!(why.ends_with("choose another with --listen"), "{why}");
    }

    #[test]
    fn too_little_address_space_is_refused_before_anything_is_opened() {
        assert!(check_address_space(None).is_ok() && check_address_space(Some(ADDRESS_SPACE)).is_ok());
        let Err(Failure::CouldNotTell(why)) = check_address_space(Some(1_000_000 << 10)) else {
            panic!("allowed")
        };
        assert!(why.contains("expected at least 4194304 (KiB) or unlimited, saw 1000000"), "{why}");
    }

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
        raise_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = maximum.map_or(FILES, |maximum| maximum.min(FILES));
        assert!(current.is_none_or(|current| current >= wanted), "{current:?} of {maximum:?}");
    }
}
