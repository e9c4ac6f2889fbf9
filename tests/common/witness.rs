//! A treehead witness in this process, on a loopback port.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use treehead::note::{NoteKey, NoteSigner};
use treehead::witness::{JOURNAL, LOGS_FILE, Ledger, Witness, run};

/// A running witness. Stops when dropped.
pub struct ServedWitness {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServedWitness {
    /// Makes a witness for one log in an empty directory, and serves it.
    pub fn make(dir: &Path, keys: Vec<NoteSigner>, log: &[NoteKey]) -> Self {
        fs::write(dir.join(JOURNAL), Ledger::empty_journal(keys[0].public().name())).expect("written");
        let lines: String = log.iter().map(|key| format!("log {key}\n")).collect();
        fs::write(dir.join(LOGS_FILE), lines + "quorum none\n").expect("written");
        Self::start(dir, keys)
    }

    pub fn start(dir: &Path, keys: Vec<NoteSigner>) -> Self {
        let witness = Witness::open(dir, keys).expect("the witness opens");
        let (stop, stopped) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                told.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let stopped = async {
                    let _ = stopped.await;
                };
                run(listener, witness, stopped).await.expect("the listener works");
            });
        });
        let address = address.recv().expect("the witness listens");
        Self { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for ServedWitness {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
