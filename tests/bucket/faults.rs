//! The faults of a network and of a store, and the plan that says which request meets which one.

use std::time::Duration;

use crate::random::Random;
use crate::wire::Message;

/// The fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It passes.
    None,
    /// The connection is cut before the store sees the request.
    RequestLost,
    /// The connection is cut, and the store gets the request later.
    RequestLate,
    /// The connection is cut within the request.
    RequestCut,
    /// Done, and the connection is cut before the answer.
    AnswerLost,
    /// Done, and the connection is cut within the answer.
    AnswerCut,
    /// Done, and the answer comes late, but not too late.
    AnswerSlow,
    /// Done, and the answer comes when nobody waits for it any more.
    AnswerLate,
    /// Done, and the answer comes in small pieces.
    Trickle,
    /// Done twice; the answer is the second one.
    Twice,
    /// Done, and done again later.
    AgainLater,
    /// Not done, and answered with 500.
    Error,
    /// Done, and answered with 500.
    ErrorDone,
    /// Not done, and answered with 503 `SlowDown`.
    Busy,
    /// The same, with `Retry-After`.
    BusyFor,
    /// Not done: the store says that the clock of the sender is wrong.
    Clock,
    /// An object that exists is not found, once.
    Missing,
}

impl Fault {
    /// Every fault of a store that keeps its promises, in a network that does not.
    pub const HONEST: [Self; 15] = [
        Self::RequestLost,
        Self::RequestLate,
        Self::RequestCut,
        Self::AnswerLost,
        Self::AnswerCut,
        Self::AnswerSlow,
        Self::AnswerLate,
        Self::Trickle,
        Self::Twice,
        Self::AgainLater,
        Self::Error,
        Self::ErrorDone,
        Self::Busy,
        Self::BusyFor,
        Self::Clock,
    ];
}

/// Decides about each request. The same seed makes the same decisions, in the order in which requests come.
pub struct Plan {
    pub random: Random,
    /// Requests of a hundred that meet a fault.
    pub percent: u64,
    /// Requests of a hundred whose answers are lost, besides.
    pub lost_percent: u64,
    /// The faults that they meet.
    pub faults: Vec<Fault>,
    /// How long the client waits for an answer.
    pub timeout: Duration,
    /// The longest time after which a late request comes.
    pub latest: Duration,
}

impl Plan {
    /// No faults.
    pub fn none(seed: u64) -> Self {
        let timeout = Duration::from_secs(15);
        let (faults, latest) = (Vec::new(), Duration::from_secs(5));
        Self { random: Random(seed), percent: 0, lost_percent: 0, faults, timeout, latest }
    }

    pub fn next(&mut self, request: &Message) -> Fault {
        let roll = self.random.below(100);
        if roll < self.lost_percent {
            return Fault::AnswerLost;
        }
        if roll >= self.lost_percent + self.percent || self.faults.is_empty() {
            return Fault::None;
        }
        let place = usize::try_from(self.random.below(self.faults.len() as u64)).expect("small");
        let is_object = request.method() == "GET" && !request.path().contains('?');
        match self.faults[place] {
            Fault::Missing if !is_object => Fault::None,
            fault => fault,
        }
    }

    /// A time up to the latest.
    pub fn pause(&mut self) -> Duration {
        let most = u64::try_from(self.latest.as_millis()).expect("short");
        Duration::from_millis(self.random.below(most.max(1)))
    }
}
