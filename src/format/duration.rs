//! Times that people write.

use jiff::fmt::friendly::SpanParser;
use jiff::{SignedDuration, SpanRelativeTo};

/// Parses a time of whole seconds in jiff's friendly format, as in `90s`, `15m`, `24h`, `7d` or `1h 30m`. A day has 24
/// hours.
pub(crate) fn parse_seconds(text: &str) -> Option<u64> {
    let span = SpanParser::new().parse_span(text).ok()?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    if time != SignedDuration::from_secs(time.as_secs()) {
        return None;
    }
    u64::try_from(time.as_secs()).ok()
}
