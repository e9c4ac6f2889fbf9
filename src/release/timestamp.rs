//! UTC times in RFC 3339, to the second.

use alloc::string::String;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

use crate::format::{FormatError, quote};

/// A POSIX time in seconds.
pub type Timestamp = u64;

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Formats a time as `2026-01-31T12:00:00Z`; after the year 9999, as plain seconds.
#[must_use]
pub fn format_time(time: Timestamp) -> String {
    let seconds = i64::try_from(time).ok().map(SignedDuration::from_secs);
    match seconds.and_then(|seconds| EPOCH.checked_add(seconds).ok()) {
        Some(utc) => format!("{utc}Z"),
        None => format!("{time} seconds after 1970"),
    }
}

/// Parses exactly the form that [`format_time`] writes.
///
/// # Errors
/// [`FormatError`] for any other form, a date that does not exist, or one before 1970.
pub fn parse_time(text: &str) -> Result<Timestamp, FormatError> {
    let utc = text.strip_suffix('Z').and_then(|utc| utc.parse::<DateTime>().ok());
    let time = utc.and_then(|utc| u64::try_from(utc.duration_since(EPOCH).as_secs()).ok());
    // jiff reads more forms than one; formatting the time again rules out the others.
    time.filter(|time| format_time(*time) == text).ok_or_else(|| {
        FormatError::malformed("a time", "UTC as in 2026-01-31T12:00:00Z, from 1970 on", quote(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `9999-12-31T23:59:59Z`, the last second that RFC 3339 can write.
    const LAST: Timestamp = 253_402_300_799;

    #[test]
    fn known_times() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_679_315_147, "2023-03-20T12:25:47Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(format_time(time), text);
            assert_eq!(parse_time(text), Ok(time));
        }
        assert_eq!(format_time(LAST + 1), "253402300800 seconds after 1970");
        assert!(format_time(u64::MAX).contains("seconds after 1970"));
    }

    #[test]
    fn every_day_of_400_years_reads_back() {
        for day in 0..146_097 {
            let time = day * 86_400 + day % 86_400;
            assert_eq!(parse_time(&format_time(time)), Ok(time));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:60:00Z",
            "2026-01-31T12:00:60Z",
            "2026-01-31t12:00:00Z",
            "2026-01-31T12:00Z",
            "20260131T120000Z",
            "2026-01-31T12:00:00.0Z",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T12:00:00z",
            "2026-01-31T12:00:00ZZ",
            "1969-12-31T23:59:59Z",
            "2026-1-31T12:00:00.Z",
            "+026-01-31T12:00:00Z",
            "2026-00-31T12:00:00Z",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
