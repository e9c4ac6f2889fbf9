//! The pause that a log asks for: `Retry-After` (RFC 9110, section 10.2.3).
//!
//! ```text
//! Retry-After: 120
//! Retry-After: Sun, 22 Nov 2026 12:00:00 GMT
//! ```

use std::time::SystemTime;

use ureq::http::HeaderMap;

/// Seconds to wait, rounded up. `None` without the header, or if it can't be parsed.
///
/// A date is compared with the `Date` of the same answer, so that neither side's clock has to be right; without one,
/// with `now`.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let asked = text("retry-after")?.trim();
    if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a u64 holds are as good as forever.
        return Some(asked.parse().unwrap_or(u64::MAX));
    }
    let since = text("date").and_then(date).unwrap_or(now);
    // A time that has passed asks for no pause: zero.
    let pause = date(asked)?.duration_since(since).unwrap_or_default();
    Some(pause.as_secs() + u64::from(pause.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// Seconds since 1970 of Sun, 22 Nov 2026 12:00:00 GMT.
    const NOON: u64 = 1_795_348_800;

    fn asked(lines: &[(&'static str, &str)], now: u64) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(*name, value.parse().unwrap());
        }
        retry_after(&headers, UNIX_EPOCH + Duration::from_secs(now))
    }

    #[test]
    fn seconds_are_seconds_whatever_the_clock_says() {
        for (text, seconds) in [("0", 0), ("120", 120), (" 7 ", 7), ("99999999999999999999", u64::MAX)] {
            assert_eq!(asked(&[("retry-after", text)], 0), Some(seconds), "{text:?}");
        }
    }

    #[test]
    fn a_date_is_so_far_away_as_the_answers_own_clock_says() {
        let noon = ("retry-after", "Sun, 22 Nov 2026 12:00:00 GMT");
        assert_eq!(asked(&[noon], NOON - 90), Some(90));
        assert_eq!(asked(&[noon], NOON), Some(0));
        assert_eq!(asked(&[noon], NOON + 5_000), Some(0), "it is over");
        let date = ("date", "Sun, 22 Nov 2026 11:59:30 GMT");
        assert_eq!(asked(&[noon, date], NOON + 5_000), Some(30), "our clock is ahead");
        assert_eq!(asked(&[noon, date], 0), Some(30), "our clock is behind");
        assert_eq!(asked(&[noon, ("date", "today")], NOON - 90), Some(90));
        // The two older forms, which RFC 9110 has everybody accept.
        for old in ["Sunday, 22-Nov-26 12:00:00 GMT", "Sun Nov 22 12:00:00 2026"] {
            assert_eq!(asked(&[("retry-after", old)], NOON - 90), Some(90), "{old}");
        }
        let now = UNIX_EPOCH + Duration::from_millis(NOON * 1_000 - 1_500);
        let headers =
            [("retry-after", noon.1)].map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        assert_eq!(retry_after(&HeaderMap::from_iter(headers), now), Some(2), "no sooner than asked");
    }

    #[test]
    fn what_is_no_time_asks_for_nothing() {
        assert_eq!(asked(&[], 0), None);
        for text in ["", "soon", "+5", "-1", "1.5", "5 s", "2026-11-22T12:00:00Z"] {
            assert_eq!(asked(&[("retry-after", text)], 0), None, "{text:?}");
        }
    }
}
