//! The time of day. Programs read the machine's clock; tests pass a [`Clock`] of their own.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns seconds since 1970-01-01 00:00:00 UTC.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's clock.
#[must_use]
pub fn system() -> Clock {
    Arc::new(now)
}

/// Seconds since 1970-01-01 00:00:00 UTC by the machine's clock; 0 if it is set to an earlier time.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
