//! Peers: whoever serves the newest head of a log that it knows, monitors and witnesses alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bell::{Bell, Heard};
use super::board::{Board, Fault, Taken};
use super::follow::is_silence;
use super::rules::Rules;
use crate::checkpoint;
use crate::client::{ClientError, LogClient};
use crate::note::MAX_NOTE_BYTES;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it is called in what is told: `peer NAME` or `witness NAME`.
    pub label: String,
    /// Its URL prefix.
    pub url: String,
    /// Whether it is told our heads, too.
    pub push: bool,
}

/// Asks one peer for its heads of all logs, and tells it ours.
pub struct Caller {
    /// The peer.
    pub peer: Peer,
    /// A client for it.
    pub client: LogClient,
    /// The logs, and what is known of each.
    pub logs: Vec<(Arc<Rules>, Arc<Board>)>,
    /// Seconds since 1970.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Size of the head that it was told last.
    pub told: HashMap<String, u64>,
    /// Size of the head that was vouched for when it was last asked.
    pub asked: HashMap<String, u64>,
}

impl Caller {
    /// Asks until the monitor stops: in each interval, and of a log as soon as another head of it is vouched for.
    ///
    /// Of two monitors that are shown two histories, the one that looks later so finds out when it looks: what
    /// the other one saw lies there already.
    pub fn run(mut self, interval: Duration, bell: &Bell) {
        let mut heard = 0;
        loop {
            let next = Instant::now() + interval;
            self.call();
            loop {
                match bell.wait(&mut heard, next.saturating_duration_since(Instant::now())) {
                    Heard::Ring => self.call_about_news(),
                    Heard::Nothing => break,
                    Heard::Stop => return,
                }
            }
        }
    }

    /// Asks once.
    pub fn call(&mut self) {
        for (rules, board) in self.logs.clone() {
            self.exchange(&rules, &board);
        }
    }

    /// Tells it our heads.
    pub fn tell_all(&mut self) {
        if self.peer.push {
            for (_, board) in self.logs.clone() {
                self.tell(&board);
            }
        }
    }

    fn call_about_news(&mut self) {
        for (rules, board) in self.logs.clone() {
            if size_vouched(&board) != self.asked.get(board.origin.as_str()).copied() {
                self.exchange(&rules, &board);
            }
        }
    }

    fn exchange(&mut self, rules: &Rules, board: &Board) {
        if let Some(size) = size_vouched(board) {
            self.asked.insert(board.origin.as_str().to_owned(), size);
        }
        match self.ask(rules, board) {
            Ok(()) => board.blame(&self.peer.label, None),
            Err(fault) => board.blame(&self.peer.label, Some(fault)),
        }
        if self.peer.push {
            self.tell(board);
        }
    }

    fn ask(&self, rules: &Rules, board: &Board) -> Result<(), Fault> {
        let path = format!("{}/checkpoint", board.hash.to_hex());
        let bytes = match self.client.get(&path, MAX_NOTE_BYTES) {
            Ok(bytes) => bytes,
            // It does not follow this log, or has nothing to show yet.
            Err(ClientError::Status { status: 404, .. }) => return Ok(()),
            Err(e) => return Err(Fault { is_a_lie: !is_silence(&e), words: e.to_string() }),
        };
        let head = checkpoint::open(&bytes, &rules.keys).map_err(|e| {
            let words = format!("{} shows what is no head of {}: {e}", self.client.url(&path), rules.origin);
            Fault { is_a_lie: true, words }
        })?;
        match board.take(&self.peer.label, head, (self.clock)()) {
            Taken::Known | Taken::Queued => Ok(()),
            Taken::Full => {
                Err(Fault { is_a_lie: false, words: "too many heads wait to be compared".to_owned() })
            }
        }
    }

    /// Where it takes none, it may still ask for them; it is told of the next one.
    fn tell(&mut self, board: &Board) {
        let Some(vouched) = board.vouched() else { return };
        let origin = board.origin.as_str();
        if self.told.get(origin) == Some(&vouched.size.get()) {
            return;
        }
        match self.client.post("gossip", "*/*", vouched.note.as_bytes(), MAX_NOTE_BYTES) {
            Ok(_) => {
                self.told.insert(origin.to_owned(), vouched.size.get());
            }
            Err(ClientError::Status { status, .. }) if (400..500).contains(&status) && status != 429 => {
                self.told.insert(origin.to_owned(), vouched.size.get());
            }
            Err(error) => tracing::debug!(peer = %self.peer.label, %error, "a peer did not take our head"),
        }
    }
}

fn size_vouched(board: &Board) -> Option<u64> {
    board.vouched().map(|head| head.size.get())
}
