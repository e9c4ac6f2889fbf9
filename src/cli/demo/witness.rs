//! The witnesses of the demo, made by the code of `treehead witness`, each in a directory of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::served::{PATIENCE, Served, listen};
use super::story::Story;
use crate::checkpoint::{Checkpoint, LogKey};
use crate::cli::exit::{CliResult, Failure};
use crate::cli::init::read_card;
use crate::cli::witness::{add_log, config::Config, init};
use crate::client::WitnessClient;
use crate::feeder::settings::WitnessBlock;
use crate::note::{Note, NoteKey, NoteSigner};
use crate::witness::{self, Witness};

/// A witness of the demo.
pub struct DemoWitness {
    pub name: String,
    url: String,
    dir: PathBuf,
    /// Until it is served.
    listener: Option<TcpListener>,
}

impl DemoWitness {
    /// Makes the witness of this number.
    pub fn make(runtime: &Runtime, dir: &Path, number: usize) -> Result<Self, Failure> {
        let (name, dir) = (format!("witness{number}.example.com"), dir.join(format!("witness{number}")));
        let (url, listener) = listen(runtime)?;
        init::create(&dir, &name, &url, url.trim_start_matches("http://"), true)?;
        Ok(Self { name, url, dir, listener: Some(listener) })
    }

    /// Reads its card, for the operator of the log.
    pub fn card(&self) -> Result<WitnessBlock, Failure> {
        read_card(&self.dir.join(init::CARD))
    }

    /// Adds the log to its logs, and serves it.
    pub fn serve(&mut self, runtime: &Runtime, log: &[NoteKey]) -> Result<Served, Failure> {
        let config = Config::load(&self.dir)?;
        let keys: Vec<LogKey> = log.iter().cloned().map(LogKey::from).collect();
        add_log::add(&config, &keys)?;
        let witness = Witness::open(&self.dir, config.signers()?)?;
        let listener = self.listener.take().expect("it is served once");
        Ok(Served::start(runtime, |until| witness::run(listener, witness, until)))
    }

    /// A client, as a log has it.
    pub fn client(&self) -> Result<WitnessClient, Failure> {
        Ok(WitnessClient::new(&self.url)?)
    }

    /// Waits until it has cosigned a head of this size: two were enough to publish it.
    pub fn wait_until_it_has(&self, head: &Checkpoint) -> CliResult {
        let deadline = Instant::now() + PATIENCE;
        let size = |note: Note| Checkpoint::parse(note.text()).ok().map(|seen| seen.size);
        while self.client()?.last_seen(&head.origin)?.and_then(size) != Some(head.size) {
            Story::hold(Instant::now() < deadline, "each witness has cosigned the last release")?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Reads its secret keys, as a thief would have them.
    pub fn stolen_keys(&self) -> Result<Vec<NoteSigner>, Failure> {
        Config::load(&self.dir)?.signers()
    }
}
