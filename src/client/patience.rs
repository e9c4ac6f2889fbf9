//! Decides when to ask again, and when to give up.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::{ClientError, NetworkFault};

/// Tries of a request that may be sent again, the first one included.
const TRIES: u32 = 6;
/// Tries after failed connections, for callers with much to fetch.
const NETWORK_TRIES: u32 = 3;
/// First pause between tries if the log names none; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause if the server asked for none: a restarted log is back within seconds.
const LONGEST_UNASKED: Duration = Duration::from_secs(5);

/// Limits of a client's tries and pauses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Tries at a busy log.
    pub tries: u32,
    /// First pause; it doubles.
    pub pause: Duration,
    /// Longest pause. A log that asks for more is not asked again, since sooner would be impolite.
    pub longest: Duration,
    /// Time limit of a request with all its tries. If set, it replaces `tries` and `longest`, and failed
    /// connections are retried like busy logs.
    pub within: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: TRIES, pause: FIRST_PAUSE, longest: LONGEST_PAUSE, within: None }
    }
}

type Tell = dyn Fn(&ClientError, Duration) + Send + Sync;

/// Called before each pause, with its reason and length.
#[derive(Clone)]
pub struct OnPause(Arc<Tell>);

impl OnPause {
    pub(super) fn new(told: impl Fn(&ClientError, Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(super) fn tell(&self, error: &ClientError, pause: Duration) {
        (self.0)(error, pause);
    }
}

impl fmt::Debug for OnPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnPause")
    }
}

/// The tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    patience: Patience,
    failed: u32,
    /// Tries if the connection fails.
    of_network: u32,
    begun: Instant,
}

impl Tries {
    /// For a user who waits: a busy log is asked again, but a log that does not answer is the user's decision.
    pub fn of(patience: Patience) -> Self {
        Self { patience, failed: 0, of_network: 1, begun: Instant::now() }
    }

    /// For one request of thousands: a single broken connection must not end them all.
    pub fn of_many(patience: Patience) -> Self {
        Self { of_network: NETWORK_TRIES, ..Self::of(patience) }
    }

    /// Time left for the request; `None` for no limit.
    pub fn left(&self) -> Option<Duration> {
        self.patience.within.map(|within| within.saturating_sub(self.begun.elapsed()))
    }

    /// The pause before the next try; `None` if there is no other.
    pub fn after(&mut self, error: &ClientError) -> Option<Duration> {
        self.failed += 1;
        let (most, named) = match error {
            ClientError::Status { retry_after, .. } if error.is_temporary() => {
                (self.patience.tries, retry_after.map_or(Duration::ZERO, Duration::from_secs))
            }
            ClientError::Network {
                fault: NetworkFault::Unreachable | NetworkFault::Timeout | NetworkFault::Closed,
                ..
            } => (self.of_network.min(self.patience.tries), Duration::ZERO),
            _ => return None,
        };
        let doubled = Backoff::new(self.patience.pause, Duration::MAX).pause_after(self.failed);
        if let Some(left) = self.left() {
            // The last try comes at the deadline; if the log asks for a later one, there is none.
            let pause = doubled.min(LONGEST_UNASKED).min(left).max(named);
            return (!left.is_zero() && pause <= left).then_some(pause);
        }
        if self.failed >= most || named > self.patience.longest {
            return None;
        }
        Some(doubled.max(named).min(self.patience.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(status: u16, retry_after: Option<u64>) -> ClientError {
        let (url, detail) = ("http://log".to_owned(), String::new());
        ClientError::Status { url, status, code: None, detail, retry_after, entry: None }
    }

    fn broken(fault: NetworkFault) -> ClientError {
        ClientError::Network { url: "http://log".to_owned(), fault, detail: String::new() }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        let mut tries = Tries::of(Patience { tries: 9, ..Patience::default() });
        let pauses: Vec<_> = (0..9).map(|_| tries.after(&busy(503, None)).map(|p| p.as_millis())).collect();
        let expected = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600].map(Some);
        assert_eq!(pauses[..8], expected);
        assert_eq!(pauses[8], None);
        let mut tries = Tries::of(Patience { tries: u32::MAX, ..Patience::default() });
        assert!((0..100).all(|_| tries.after(&busy(429, None)).is_some_and(|p| p <= LONGEST_PAUSE)));
    }

    #[test]
    fn a_log_gets_the_pause_that_it_asks_for_or_is_left_alone() {
        let mut tries = Tries::of_many(Patience::default());
        assert_eq!(tries.after(&busy(429, Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(tries.after(&busy(503, Some(30))), Some(Duration::from_secs(30)));
        assert_eq!(tries.after(&busy(503, Some(31))), None);
        assert_eq!(tries.after(&busy(503, Some(u64::MAX))), None);
    }

    #[test]
    fn who_has_time_tries_again_until_it_is_over_whatever_failed() {
        let patience = Patience { within: Some(Duration::from_secs(3_600)), tries: 1, ..Patience::default() };
        for error in [broken(NetworkFault::Unreachable), broken(NetworkFault::Closed), busy(502, None)] {
            let mut tries = Tries::of(patience);
            let pauses: Vec<_> = (0..7).map(|_| tries.after(&error).map(|p| p.as_millis())).collect();
            assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 5_000, 5_000].map(Some), "{error}");
        }
        // A log that asks for more gets it, while there is time.
        assert_eq!(Tries::of(patience).after(&busy(503, Some(120))), Some(Duration::from_secs(120)));
        assert_eq!(Tries::of(patience).after(&busy(503, Some(3_601))), None);
        let brief = Patience { within: Some(Duration::from_millis(150)), ..patience };
        let last = Tries::of(brief).after(&busy(503, None)).expect("the time is used up");
        assert!(last <= Duration::from_millis(150), "{last:?}");
        let over = Patience { within: Some(Duration::ZERO), ..patience };
        assert_eq!(Tries::of(over).after(&broken(NetworkFault::Unreachable)), None);
        assert_eq!(Tries::of(over).left(), Some(Duration::ZERO));
        assert_eq!(
            Tries::of(patience).after(&broken(NetworkFault::Garbled)),
            None,
            "it answers, and wrongly"
        );
        assert_eq!(Tries::of(patience).after(&busy(404, None)), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for error in [busy(404, Some(1)), busy(500, None), busy(302, None), ClientError::Stopped] {
            assert_eq!(Tries::of_many(Patience::default()).after(&error), None, "{error}");
        }
        let garbled = broken(NetworkFault::Garbled);
        assert_eq!(Tries::of_many(Patience::default()).after(&garbled), None);
        for fault in [NetworkFault::Closed, NetworkFault::Timeout, NetworkFault::Unreachable] {
            assert_eq!(Tries::of(Patience::default()).after(&broken(fault)), None, "{fault:?}");
            let mut many = Tries::of_many(Patience::default());
            let pauses: Vec<_> = (0..3).map(|_| many.after(&broken(fault)).is_some()).collect();
            assert_eq!(pauses, [true, true, false], "{fault:?}");
        }
    }
}
