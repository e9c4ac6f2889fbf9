//! Peers, monitors and witnesses alike: asked for the newest head that they know of each log, and told ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{is_silence, is_unsigned_head};
use super::inbox::{Admitted, PeerFault, PeerFaultKind};
use super::log::FollowedLog;
use super::settings::Peer;
use super::signal::{Signal, Woken};
use crate::client::{ClientError, LogClient};
use crate::clock::Clock;
use crate::note::MAX_NOTE_BYTES;

/// Failures in a row after which the operator is told: two monitors that start together have no head to show yet.
const FAILURES: u32 = 3;

pub struct PeerCaller {
    peer: Peer,
    client: LogClient,
    logs: Vec<Exchange>,
    clock: Clock,
}

struct Exchange {
    log: Arc<FollowedLog>,
    /// Size of the head that the peer was told last.
    told: Option<u64>,
    /// Size of the head that we vouched for when the peer was last asked.
    asked: Option<u64>,
    failures: u32,
}

impl PeerCaller {
    pub fn new(peer: Peer, client: LogClient, logs: &[Arc<FollowedLog>], clock: Clock) -> Self {
        let exchange =
            |log: &Arc<FollowedLog>| Exchange { log: log.clone(), told: None, asked: None, failures: 0 };
        Self { peer, client, logs: logs.iter().map(exchange).collect(), clock }
    }

    /// The peer's address.
    pub fn url(&self) -> &str {
        &self.peer.url
    }

    /// Asks the peer until the monitor stops: about each log in each interval, and about one log as soon as we vouch for
    /// another head of it.
    ///
    /// If two monitors are shown two histories, the one that looks later finds out as soon as it looks, because the
    /// other one serves its head already.
    pub fn run(mut self, interval: Duration, vouched: &Signal<u64>) {
        let mut seen = 0;
        loop {
            let next = Instant::now() + interval;
            self.ask_all();
            loop {
                match vouched.wait_for_more(&mut seen, next.saturating_duration_since(Instant::now())) {
                    Woken::Ready => self.exchange_if(|exchange| exchange.vouched_size() != exchange.asked),
                    Woken::TimedOut => break,
                    Woken::Stopped => return,
                }
            }
        }
    }

    pub fn ask_all(&mut self) {
        self.exchange_if(|_| true);
    }

    /// Tells the peer our heads of all logs.
    pub fn tell_all(&mut self) {
        if self.peer.push {
            self.logs.iter_mut().for_each(|exchange| exchange.tell(&self.peer, &self.client));
        }
    }

    fn exchange_if(&mut self, is_due: fn(&Exchange) -> bool) {
        for exchange in self.logs.iter_mut().filter(|exchange| is_due(exchange)) {
            exchange.run(&self.peer, &self.client, &self.clock);
        }
    }
}

impl Exchange {
    fn vouched_size(&self) -> Option<u64> {
        self.log.status().vouched.map(|head| head.size.get())
    }

    fn run(&mut self, peer: &Peer, client: &LogClient, clock: &Clock) {
        self.asked = self.vouched_size().or(self.asked);
        let fault = self.ask(peer, client, clock).err();
        self.failures = if fault.is_some() { self.failures.saturating_add(1) } else { 0 };
        if let (FAILURES, Some(fault)) = (self.failures, &fault) {
            let (peer, why) = (&peer.label, &fault.words);
            tracing::warn!(peer, why, "nothing can be compared with this peer");
        }
        self.log.inbox.with(|inbox| inbox.set_fault(&peer.label, fault));
        if peer.push {
            self.tell(peer, client);
        }
    }

    fn ask(&self, peer: &Peer, client: &LogClient, clock: &Clock) -> Result<(), PeerFault> {
        let path = format!("{}/checkpoint", self.log.hash.to_hex());
        let head = match client.checkpoint_at(&path, &self.log.settings.keys) {
            Ok(head) => head,
            Err(ClientError::Status { status: 404, .. }) => {
                let (url, origin) = (client.url(&path), self.log.origin());
                let words = format!(
                    "{url} answers 404: it shows no head of {origin}; is it a monitor or a witness of that log?"
                );
                return Err(PeerFault { kind: PeerFaultKind::NoHead, words });
            }
            Err(e) => {
                // A peer is accused of a head that the log did not sign; the log is not.
                let is_silent = is_silence(&e) && !is_unsigned_head(&e);
                let kind = if is_silent { PeerFaultKind::Silence } else { PeerFaultKind::Lie };
                return Err(PeerFault { kind, words: e.to_string() });
            }
        };
        match self.log.inbox.change(|inbox| inbox.add_head(&peer.label, head, clock())) {
            Admitted::Known | Admitted::Queued => Ok(()),
            Admitted::Full => {
                let words = "too many heads wait to be compared".to_owned();
                Err(PeerFault { kind: PeerFaultKind::Silence, words })
            }
        }
    }

    /// Tells the peer our head, unless it was told already. A peer that refuses the head may still ask for it; it is
    /// told of the next one.
    fn tell(&mut self, peer: &Peer, client: &LogClient) {
        let vouched = self.log.status().vouched.filter(|head| self.told != Some(head.size.get()));
        let Some(vouched) = vouched else { return };
        match client.post("gossip", "*/*", vouched.note.as_bytes(), MAX_NOTE_BYTES) {
            Err(error) if !is_refusal(&error) => {
                tracing::debug!(peer = %peer.label, %error, "a peer did not take our head");
            }
            _ => self.told = Some(vouched.size.get()),
        }
    }
}

fn is_refusal(error: &ClientError) -> bool {
    matches!(error, ClientError::Status { status: 400..=428 | 430..=499, .. })
}
