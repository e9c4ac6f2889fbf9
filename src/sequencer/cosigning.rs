//! The heads that a log has its witnesses cosign, one after the other. Pure but for asking them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Published;
use super::cosigners::Cosigners;
use crate::checkpoint::Checkpoint;
use crate::merkle::TreeSize;
use crate::store::SignedHead;

/// The time that a head has to reach its quorum before the delay is reported, and at first before the next head is
/// signed: far longer than a round trip to the other side of the world and an fsync there.
const ROUND: Duration = Duration::from_secs(1);
/// The longest wait before the next head is signed. The wait doubles from head to head, so that witnesses that
/// take seconds, each at its own pace, come to cosign the same head.
const LONGEST_ROUND: Duration = Duration::from_secs(16);
/// The age at which cosignatures are renewed while nothing is appended: endpoints with `--max-age` want to know
/// that the log has not stalled.
const REFRESH: Duration = Duration::from_secs(600);
/// The time that the witnesses have to say what they last saw before the delay is reported. Each has five seconds for
/// an answer.
const START: Duration = Duration::from_secs(6);

/// The permission to sign, by the witnesses' answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// The witnesses are being asked what they last saw.
    Asking,
    /// The log may sign.
    Open,
    /// The log must not sign, for this reason.
    Shut(String),
}

/// The newest head that the witnesses were asked to cosign.
struct Asked {
    head: SignedHead,
    since: Instant,
    /// This head, or a larger one, has reached its quorum since then.
    settled: bool,
    /// The missing quorum was reported.
    reported: bool,
}

/// A quorum that is late.
pub struct Overdue {
    /// The fault, in words.
    pub fault: String,
    /// A head to publish without its quorum, if the settings allow that.
    pub publish: Option<SignedHead>,
}

/// The cosigning of one log's heads.
pub struct Cosigning {
    cosigners: Arc<dyn Cosigners>,
    /// True if heads are published without a quorum that is late.
    publish_unwitnessed: bool,
    gate: Gate,
    started: Instant,
    /// The slow start was reported.
    start_reported: bool,
    asked: Option<Asked>,
    /// The time that a head has to reach its quorum before the next one is signed.
    round: Duration,
    /// A head with its quorum that is not durable yet.
    cosigned: Option<SignedHead>,
    /// Tree size of the last head that is durable with its quorum.
    durable: TreeSize,
}

impl Cosigning {
    /// Starts to ask; `durable` is the size of the last head that reached its quorum before.
    pub fn new(cosigners: Arc<dyn Cosigners>, publish_unwitnessed: bool, durable: TreeSize) -> Self {
        Self {
            cosigners,
            publish_unwitnessed,
            gate: Gate::Asking,
            started: Instant::now(),
            start_reported: false,
            asked: None,
            round: ROUND,
            cosigned: None,
            durable,
        }
    }

    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Lets the log sign: the witnesses have seen nothing that it does not have.
    pub fn open(&mut self) {
        self.gate = Gate::Open;
    }

    /// Stops the log for good. What it signed and nobody has seen may belong to a second history.
    pub fn shut(&mut self, why: String) {
        self.gate = Gate::Shut(why);
        self.asked = None;
        self.cosigned = None;
    }

    /// Has the witnesses cosign a head that is durable.
    pub fn ask(&mut self, head: SignedHead, now: Instant) {
        if self.unsettled().is_some() {
            self.round = (self.round * 2).min(LONGEST_ROUND);
        }
        self.cosigners.ask(&head);
        self.asked = Some(Asked { head, since: now, settled: false, reported: false });
    }

    /// The newest head that the witnesses were asked to cosign.
    pub fn asked(&self) -> Option<&Checkpoint> {
        self.asked.as_ref().map(|asked| &asked.head.head)
    }

    /// Takes a head with its quorum, unless a newer one reached its own before.
    pub fn take(&mut self, head: SignedHead) {
        let newest = self.cosigned.as_ref().map_or(self.durable, |cosigned| cosigned.head.size);
        if head.head.size >= newest && !matches!(self.gate, Gate::Shut(_)) {
            self.cosigned = Some(head);
        }
    }

    /// The head with its quorum that is to be made durable and published.
    pub const fn cosigned(&self) -> Option<&SignedHead> {
        self.cosigned.as_ref()
    }

    /// Notes that the cosigned head is durable. Returns whether it is as new as the newest that was asked for.
    pub fn settle(&mut self) -> bool {
        if let Some(cosigned) = self.cosigned.take() {
            self.durable = cosigned.head.size;
        }
        let durable = self.durable;
        let newest = self.asked.as_mut().is_none_or(|asked| {
            asked.settled |= durable >= asked.head.head.size;
            asked.settled
        });
        if newest {
            self.round = ROUND;
        }
        newest
    }

    /// The head that waits for its quorum.
    fn unsettled(&self) -> Option<&Asked> {
        self.asked.as_ref().filter(|asked| !asked.settled)
    }

    /// When the next head may be signed, if it is due at `due`. Heads follow each other, so that witnesses of
    /// different speed agree on the same ones.
    pub fn may_sign_at(&self, due: Instant) -> Instant {
        self.unsettled().map_or(due, |asked| due.max(asked.since + self.round))
    }

    /// When [`check`](Self::check) has something to do.
    pub fn next_check(&self) -> Option<Instant> {
        let start = (self.gate == Gate::Asking && !self.start_reported).then(|| self.started + START);
        let asked = self.asked.as_ref().and_then(|asked| match (asked.settled, asked.reported) {
            (true, _) => Some(asked.since + REFRESH),
            (false, false) => Some(asked.since + ROUND),
            (false, true) => None,
        });
        start.into_iter().chain(asked).min()
    }

    /// Renews cosignatures that are old, and reports, once, a start or a head that is overdue.
    pub fn check(&mut self, now: Instant, published: &Published) -> Option<Overdue> {
        if self.gate == Gate::Asking && !self.start_reported && self.started + START <= now {
            self.start_reported = true;
            let expected = self.cosigners.quorum();
            let fault = format!(
                "the log asks its witnesses what they saw last, and too few have answered: expected {expected}; it takes and signs nothing before it knows"
            );
            return Some(Overdue { fault, publish: None });
        }
        let asked = self.asked.as_mut()?;
        if asked.settled && asked.since + REFRESH <= now {
            (asked.since, asked.settled, asked.reported) = (now, false, false);
            self.cosigners.ask(&asked.head);
        }
        if asked.settled || asked.reported || asked.since + ROUND > now {
            return None;
        }
        asked.reported = true;
        let (expected, size) = (self.cosigners.quorum(), published.checkpoint.size);
        if !self.publish_unwitnessed {
            let fault = format!(
                "too few witnesses cosign: expected {expected}; no tree head above size {size} is published before they do"
            );
            return Some(Overdue { fault, publish: None });
        }
        let fault = format!(
            "too few witnesses cosign: expected {expected}; tree heads are published without them, as the settings say: a split view would go unnoticed"
        );
        // A head that is published already, perhaps with older cosignatures, stays.
        let is_new = asked.head.head.size > size || published.is_none();
        Some(Overdue { fault, publish: is_new.then(|| asked.head.clone()) })
    }
}
