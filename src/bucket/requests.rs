//! Counts requests, for metrics and cost estimates.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::format::names;

names! {
    /// A kind of request.
    Operation {
        /// Reads an object, or a part of it.
        Get => "get",
        /// Creates an object.
        Create => "create",
        /// Replaces an object.
        Replace => "replace",
        /// Writes an object unconditionally.
        Put => "put",
        /// Lists keys.
        List => "list",
        /// Deletes an object.
        Delete => "delete",
    }
}

impl Operation {
    /// Returns true for requests that change an object.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Create | Self::Replace | Self::Put | Self::Delete)
    }
}

/// Upper bounds of the latency classes, in milliseconds; the last class has none.
pub const LATENCY_BOUNDS_MS: [u64; 11] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 5_000];

/// Counters of all requests. Each retry counts, as in a store's bill. Cheap to update and to read.
#[derive(Debug, Default)]
pub struct Requests {
    of: [Counters; Operation::ALL.len()],
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    unclear: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    micros: AtomicU64,
    classes: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
}

/// The counts of one kind of request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests sent.
    pub requests: u64,
    /// Failed requests. A failed condition and a missing object are answers, not failures.
    pub errors: u64,
    /// Failed writes that may have taken effect.
    pub unclear: u64,
    /// Bytes of the bodies sent.
    pub sent: u64,
    /// Bytes of the bodies received.
    pub received: u64,
    /// Total time until the answers were complete.
    pub time: Duration,
    /// Requests by latency: `classes[i]` took at most [`LATENCY_BOUNDS_MS`]`[i]`, and longer than the bound before it.
    pub classes: [u64; LATENCY_BOUNDS_MS.len() + 1],
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With an answer.
    Answered,
    /// With an error, and without effect.
    Failed,
    /// With an error, and possibly with an effect.
    Unclear,
}

impl Requests {
    /// Counts a request.
    pub fn count(&self, operation: Operation, ended: Ended, sent: usize, received: usize, time: Duration) {
        let counters = &self.of[operation as usize];
        let add = |counter: &AtomicU64, by: u64| counter.fetch_add(by, Ordering::Relaxed);
        add(&counters.requests, 1);
        add(&counters.errors, u64::from(ended != Ended::Answered));
        add(&counters.unclear, u64::from(ended == Ended::Unclear));
        add(&counters.sent, sent as u64);
        add(&counters.received, received as u64);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        add(&counters.micros, micros);
        let class = LATENCY_BOUNDS_MS.iter().position(|bound| micros <= bound * 1_000);
        add(&counters.classes[class.unwrap_or(LATENCY_BOUNDS_MS.len())], 1);
    }

    /// The counts of one kind of request.
    #[must_use]
    pub fn of(&self, operation: Operation) -> Counts {
        let counters = &self.of[operation as usize];
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: read(&counters.requests),
            errors: read(&counters.errors),
            unclear: read(&counters.unclear),
            sent: read(&counters.sent),
            received: read(&counters.received),
            time: Duration::from_micros(read(&counters.micros)),
            classes: std::array::from_fn(|at| read(&counters.classes[at])),
        }
    }

    /// The number of all requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        Operation::ALL.into_iter().map(|operation| self.of(operation).requests).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_once_in_its_kind_and_class() {
        let requests = Requests::default();
        let ms = Duration::from_millis;
        requests.count(Operation::Get, Ended::Answered, 0, 10, ms(1));
        requests.count(Operation::Get, Ended::Failed, 0, 5, ms(6));
        requests.count(Operation::Create, Ended::Unclear, 7, 0, ms(60_000));
        let get = requests.of(Operation::Get);
        assert_eq!((get.requests, get.errors, get.unclear, get.received), (2, 1, 0, 15));
        assert_eq!((get.time, get.classes[0], get.classes[3]), (ms(7), 1, 1));
        let create = requests.of(Operation::Create);
        assert_eq!((create.errors, create.unclear, create.sent, create.classes[11]), (1, 1, 7, 1));
        assert_eq!(requests.of(Operation::List), Counts::default());
        assert_eq!(requests.total(), 3);
    }
}
