//! Peers: whoever serves the newest head of a log that it knows, monitors and witnesses alike.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bell::{Bell, Heard};
use super::board::{Board, Fault, FaultKind, Taken};
use super::follow::is_silence;
use super::rules::Rules;
use crate::client::{ClientError, LogClient};
use crate::clock::Clock;
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

/// So often in a row a peer shows nothing before its operator is told: two monitors that start together have
/// nothing to show yet.
const FAILURES: u32 = 3;

/// Asks one peer for its heads of all logs, and tells it ours.
pub struct Caller {
    /// The peer.
    pub peer: Peer,
    /// A client for it.
    pub client: LogClient,
    /// The logs, and what is known of each.
    pub logs: Vec<(Arc<Rules>, Arc<Board>)>,
    /// Seconds since 1970.
    pub clock: Clock,
    /// Size of the head that it was told last.
    pub told: HashMap<String, u64>,
    /// Size of the head that was vouched for when it was last asked.
    pub asked: HashMap<String, u64>,
    /// How often it showed nothing of a log, since it last did.
    pub failed: HashMap<String, u32>,
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
        let fault = self.ask(rules, board).err();
        let failed = self.failed.entry(board.origin.as_str().to_owned()).or_insert(0);
        *failed = if fault.is_some() { failed.saturating_add(1) } else { 0 };
        if let (FAILURES, Some(fault)) = (*failed, &fault) {
            let (peer, why) = (&self.peer.label, &fault.words);
            tracing::warn!(peer, why, "nothing can be compared with this peer");
        }
        board.blame(&self.peer.label, fault);
        if self.peer.push {
            self.tell(board);
        }
    }

    fn ask(&self, rules: &Rules, board: &Board) -> Result<(), Fault> {
        let path = format!("{}/checkpoint", board.hash.to_hex());
        let head = match self.client.checkpoint_at(&path, &rules.keys) {
            Ok(head) => head,
            Err(ClientError::Status { status: 404, .. }) => {
                let words = format!(
                    "{} answers 404: it shows no head of {}; is it a monitor or a witness of that log?",
                    self.client.url(&path),
                    rules.origin
                );
                return Err(Fault { kind: FaultKind::NoHead, words });
            }
            Err(e) => {
                // Here it is the peer that is accused, of showing another head than the log signed.
                let of_another = matches!(e.code(), "checkpoint-signature" | "unknown-log");
                let kind = if is_silence(&e) && !of_another { FaultKind::Silence } else { FaultKind::Lie };
                return Err(Fault { kind, words: e.to_string() });
            }
        };
        match board.take(&self.peer.label, head, (self.clock)()) {
            Taken::Known | Taken::Queued => Ok(()),
            Taken::Full => {
                let words = "too many heads wait to be compared".to_owned();
                Err(Fault { kind: FaultKind::Silence, words })
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
