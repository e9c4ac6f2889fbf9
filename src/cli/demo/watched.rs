//! A monitor follows the demo's log, and learns of the tree head that one customer was shown.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use serde_json::Value;

use super::served::PATIENCE;
use super::story::Story;
use super::world::World;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::files;
use crate::cli::monitor::config::Config;
use crate::cli::monitor::init::{self, Init};
use crate::client;
use crate::monitor::Monitor;
use crate::proof::ProofFile;
use crate::proof::fork::{ForkEvidence, MAX_FORK_BYTES};

/// The customer's endpoint hands over what it was shown, and the monitor convicts the log.
pub fn finds_out(story: &mut Story, world: &mut World, shown: &ProofFile) -> CliResult {
    story.chapter(
        "Somebody watches",
        "A third party runs a monitor. The deceived endpoint hands it the tree head that it was shown.",
    )?;
    let (url, told) = watch(world)?;
    let head = told.wait_for("head")?;
    story.fact(&format!("a monitor has re-hashed {} entries and read what each says", head["size"]))?;
    client::report(&url, &shown.checkpoint)?;
    let fork = told.wait_for("fork")?;
    let words = |name: &str| fork[name].as_str().ok_or_else(|| Story::broken("an alert is in words"));
    story.fact(&format!("alert, fork: {}", words("message")?))?;

    let path = Path::new(words("evidence")?);
    let bytes = files::read(path, "evidence of a fork", MAX_FORK_BYTES)?;
    let evidence = ForkEvidence::parse(&bytes).map_err(|e| Failure::file(path, &e))?;
    let proven = evidence.judge(&world.policy.log_keys()).map_err(Failure::from)?;
    story.fact(&format!(
        "{}: {} bytes that convict {} before anybody who has its public key",
        words("file")?,
        bytes.len(),
        proven.origin()
    ))
}

/// Runs a monitor of the log in a directory of its own, as `treehead monitor init` makes it. Returns its URL, and what
/// it tells.
fn watch(world: &mut World) -> Result<(String, Told), Failure> {
    let log = world.dir.join("log");
    let made = init::create(&Init {
        dir: world.dir.join("monitor"),
        log: world.client.prefix().to_owned(),
        policy: Some(log.join("endpoint.policy")),
        publishers: Some(log.join("publishers.toml")),
        trust: None,
        listen: "127.0.0.1:9100".to_owned(),
        opaque: false,
    })?;
    let Config { settings, delivery, .. } = Config::load(&made)?;
    let (tell, told) = channel();
    let monitor = Monitor::open(settings, delivery, Box::new(Teller { tell, line: Vec::new() }))?;
    let url = world.serve(|listener, until| async move {
        let ended = monitor.run(Some(listener), Arc::new(|_, _, _| ()), until).await;
        ended.map_err(io::Error::other)
    })?;
    Ok((url, Told(told)))
}

/// The events that a monitor has printed.
struct Told(Receiver<Value>);

impl Told {
    /// Waits for the next event of this code.
    fn wait_for(&self, code: &str) -> Result<Value, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(event) = self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if event["event"] == code {
                return Ok(event);
            }
        }
        Err(Story::broken(&format!("the monitor tells of a {code}")))
    }
}

/// A writer that hands on each line.
struct Teller {
    tell: Sender<Value>,
    line: Vec<u8>,
}

impl Write for Teller {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                let event = serde_json::from_slice(&self.line)?;
                self.line.clear();
                // The receiver may be gone; a failed send is harmless.
                let _ = self.tell.send(event);
            } else {
                self.line.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
