//! A monitor in this process.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use treehead::checkpoint::policy::Policy;
use treehead::clock::Clock;
use treehead::disk::{DiskError, DiskIo, RealDisk};
use treehead::monitor::delivery::{DeliveryError, DeliverySettings, SinkSettings};
use treehead::monitor::{
    Expect, LogSettings, Monitor, MonitorError, MonitorSettings, Once, Patience, Peer, Start, Watch,
    open_publishers,
};
use treehead::server::Profile;

use crate::common::locks::once_unlocked;

/// The time at which tests begin, seconds since 1970.
pub const NOW: u64 = 1_790_000_000;
/// Longer than anything here takes: after it, something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The output of a monitor.
#[derive(Clone, Default)]
pub struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic while it is held").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output {
    pub fn text(&self) -> String {
        let bytes = self.0.lock().expect("no panic while it is held").clone();
        String::from_utf8(bytes).expect("text")
    }

    pub fn events(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line is a JSON object")).collect()
    }

    /// The events with this code.
    pub fn of(&self, code: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event"] == code).collect()
    }

    /// The codes of all alerts, in order.
    pub fn alerts(&self) -> Vec<String> {
        let alert = |event: &Value| event["severity"] == "alert" && event["event"] != "ended";
        let name = |event: Value| event["event"].as_str().expect("a code").to_owned();
        self.events().into_iter().filter(alert).map(name).collect()
    }

    /// Waits for an event with this code.
    #[track_caller]
    pub fn wait_for(&self, code: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.of(code).pop() {
                return event;
            }
            assert!(Instant::now() < until, "no {code} in {:#?}", self.events());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The settings with which a test follows a log.
pub struct Log {
    pub url: String,
    pub policy: String,
    pub profile: Profile,
    pub publishers: Option<PathBuf>,
    pub expect: Option<PathBuf>,
    pub watches: Vec<Watch>,
    pub start: Start,
    pub patience: Patience,
}

impl Log {
    pub fn opaque(url: &str, policy: &str) -> Self {
        Self {
            url: url.to_owned(),
            policy: policy.to_owned(),
            profile: Profile::Opaque,
            publishers: None,
            expect: None,
            watches: Vec::new(),
            start: Start::Beginning,
            patience: Patience { stalled: u64::MAX, unreachable: 0, ..Patience::default() },
        }
    }

    pub fn release(url: &str, policy: &str, publishers: &Path) -> Self {
        let publishers = Some(publishers.to_owned());
        Self { profile: Profile::Release, publishers, ..Self::opaque(url, policy) }
    }

    fn settings(&self) -> LogSettings {
        let policy = Policy::parse(self.policy.as_bytes()).expect("a policy");
        LogSettings {
            origin: policy.logs()[0].origin.clone(),
            keys: policy.log_keys(),
            url: self.url.clone(),
            policy,
            profile: self.profile,
            publishers: self.publishers.as_deref().map(|path| open_publishers(path).expect("publishers")),
            expect: self.expect.as_deref().map(|path| Expect::open(path, Vec::new()).expect("a manifest")),
            watches: self.watches.clone(),
            start: self.start,
            patience: self.patience,
        }
    }
}

/// A monitor's directory, its clock, and its output so far.
pub struct World {
    pub temp: TempDir,
    pub clock: Arc<AtomicU64>,
    pub output: Output,
    pub logs: Vec<Log>,
    pub peers: Vec<Peer>,
    pub proxies: Vec<IpAddr>,
    pub interval: Duration,
    pub timeout: Duration,
    pub parallel: usize,
    pub sinks: Vec<SinkSettings>,
    pub io: Arc<dyn DiskIo>,
}

impl World {
    pub fn new(logs: Vec<Log>) -> Self {
        Self {
            temp: tempfile::tempdir().expect("a directory"),
            clock: Arc::new(AtomicU64::new(NOW)),
            output: Output::default(),
            logs,
            peers: Vec::new(),
            proxies: Vec::new(),
            interval: Duration::from_millis(20),
            timeout: Duration::from_secs(20),
            parallel: 4,
            sinks: Vec::new(),
            io: Arc::new(RealDisk),
        }
    }

    pub fn dir(&self) -> PathBuf {
        self.temp.path().join("state")
    }

    /// Moves the clock on.
    pub fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        let clock = self.clock.clone();
        Arc::new(move || clock.load(Ordering::SeqCst))
    }

    pub fn open(&self) -> Arc<Monitor> {
        self.open_to(&self.output).unwrap_or_else(|e| panic!("the monitor opens: {e:?}"))
    }

    /// Opens the monitor with an output of the test, once its last user in this process is gone.
    pub fn open_to(&self, out: &(impl Write + Send + Clone + 'static)) -> Result<Arc<Monitor>, MonitorError> {
        let is_locked = |e: &MonitorError| {
            matches!(
                e,
                MonitorError::Disk(DiskError::Locked { .. })
                    | MonitorError::Delivery(DeliveryError::InUse { .. })
            )
        };
        once_unlocked(Duration::from_secs(1), is_locked, || {
            let mut delivery = DeliverySettings::new(self.clock());
            delivery.sinks.clone_from(&self.sinks);
            Monitor::open(self.monitor_settings(), delivery, Box::new(out.clone()))
        })
    }

    fn monitor_settings(&self) -> MonitorSettings {
        let mut settings = MonitorSettings::new(self.dir());
        settings.clock = self.clock();
        settings.interval = self.interval;
        settings.timeout = self.timeout;
        settings.parallel = self.parallel;
        settings.logs = self.logs.iter().map(|log| Arc::new(log.settings())).collect();
        settings.peers.clone_from(&self.peers);
        settings.trusted_proxies.clone_from(&self.proxies);
        settings.io = self.io.clone();
        settings
    }

    /// Follows all logs once.
    #[track_caller]
    pub fn once(&self) -> Once {
        self.once_to(&self.output).expect("the monitor can go on")
    }

    /// Like [`once`](Self::once), with an output of the test's own.
    pub fn once_to(&self, out: &(impl Write + Send + Clone + 'static)) -> Result<Once, MonitorError> {
        let progress: treehead::monitor::OnProgress = Arc::new(|_, _, _| ());
        self.open_to(out)?.once(&progress)
    }

    /// The evidence files.
    pub fn evidence(&self) -> Vec<PathBuf> {
        let Ok(files) = fs::read_dir(self.dir().join("evidence")) else { return Vec::new() };
        files.map(|file| file.expect("a file").path()).collect()
    }

    /// Runs the monitor until the result is dropped.
    pub fn run(&self) -> Running {
        Running::start(self.open())
    }
}

/// A running monitor. It stops when it is dropped.
pub struct Running {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(monitor: Arc<Monitor>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                told.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let stopped = async {
                    let _ = stopped.await;
                };
                let progress: treehead::monitor::OnProgress = Arc::new(|_, _, _| ());
                monitor.run(Some(listener), progress, stopped).await.expect("the monitor can go on");
            });
        });
        let address = address.recv().expect("the monitor listens");
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the monitor panicked");
        }
    }
}
