//! Faults of a network and of a store, and the plan that assigns them to requests.

use std::time::Duration;

use crate::random::Random;
use crate::wire::Message;

/// The fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The request and its answer pass.
    None,
    /// The connection is cut before the store sees the request.
    RequestLost,
    /// The connection is cut, and the request reaches the store later.
    RequestLate,
    /// The connection is cut in the middle of the request.
    RequestCut,
    /// The store carries out the request, but the connection is cut before the answer.
    AnswerLost,
    /// The store carries out the request, but the connection is cut in the middle of the answer.
    AnswerCut,
    /// The answer comes late, but within the client's time limit.
    AnswerSlow,
    /// The store carries out the request, but the answer comes after the client's time limit.
    AnswerLate,
    /// The answer comes in small pieces.
    Trickle,
    /// The store gets the request twice, and the client gets the second answer.
    Twice,
    /// The store gets the request again later.
    AgainLater,
    /// The request has no effect, and the answer is 500.
    Error,
    /// The store carries out the request, but the answer is 500.
    ErrorDone,
    /// The request has no effect, and the answer is 503 `SlowDown`.
    Busy,
    /// Like `Busy`, with `Retry-After`.
    BusyFor,
    /// The request has no effect, and the answer says that the sender's clock is wrong.
    Clock,
    /// The answer says that an existing object is missing.
    Missing,
}

impl Fault {
    /// Every fault that can occur with an honest store behind a faulty network.
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

/// Decides the fate of each request. The same seed gives the same sequence of decisions.
pub struct Plan {
    pub random: Random,
    /// Percentage of requests that meet a fault.
    pub percent: u64,
    /// Percentage of further requests whose answers are lost.
    pub lost_percent: u64,
    /// The faults to choose from.
    pub faults: Vec<Fault>,
    /// The client's time limit.
    pub timeout: Duration,
    /// Longest delay of a late request.
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

    /// A random delay of a late request.
    pub fn pause(&mut self) -> Duration {
        let most = u64::try_from(self.latest.as_millis()).expect("short");
        Duration::from_millis(self.random.below(most.max(1)))
    }
}
