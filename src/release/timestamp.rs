//! UTC times in RFC 3339, to the second.

use alloc::string::String;

use crate::format::{FormatError, decimal, quote};

/// A POSIX time in seconds.
pub type Timestamp = u64;

/// `9999-12-31T23:59:59Z`, the last second that RFC 3339 can write.
const LAST: Timestamp = 253_402_300_799;
const DAY_SECONDS: u64 = 86_400;

/// Days before a year and a month, as Gregorian leap years make them. Years begin in March here, so that a leap day is
/// the last of its year.
const fn days_before(year: u64, month: u64) -> u64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5
}

/// Formats a time as `2026-01-31T12:00:00Z`; after the year 9999, as plain seconds.
#[must_use]
pub fn format_time(time: Timestamp) -> String {
    if time > LAST {
        return format!("{time} seconds after 1970");
    }
    let day = days_before(1970, 1) + time / DAY_SECONDS;
    // The mean year has 365.2425 days: this is the year or the one after it.
    let mut year = day * 400 / 146_097 + 1;
    while days_before(year, 1) > day {
        year -= 1;
    }
    let month = (1..=12).rev().find(|month| days_before(year, *month) <= day).unwrap_or(1);
    let day = day - days_before(year, month) + 1;
    let (hour, minute, second) = (time / 3_600 % 24, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Parses exactly the form that [`format_time`] writes.
///
/// # Errors
/// [`FormatError`] for any other form, a date that does not exist, or one before 1970.
pub fn parse_time(text: &str) -> Result<Timestamp, FormatError> {
    // Formatting the time again rules out other forms, and dates that do not exist.
    read(text).filter(|time| format_time(*time) == text).ok_or_else(|| {
        FormatError::malformed("a time", "UTC as in 2026-01-31T12:00:00Z, from 1970 on", quote(text))
    })
}

/// The time that a text in this form may be.
fn read(text: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?.trim_start_matches('0');
        if digits.is_empty() { Some(0) } else { decimal(digits, 9_999) }
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    let days = (days_before(year, month) + day).checked_sub(days_before(1970, 1) + 1)?;
    Some(days * DAY_SECONDS + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn every_day_until_9999_is_that_of_an_independent_calendar() {
        use jiff::{SignedDuration, civil::date};

        let first = date(1970, 1, 1).at(0, 0, 0, 0);
        for day in 0..=LAST / DAY_SECONDS {
            let time = (day * DAY_SECONDS + day * 7_919 % DAY_SECONDS).min(LAST);
            let seconds = SignedDuration::from_secs(i64::try_from(time).unwrap());
            assert_eq!(format_time(time), format!("{}Z", first.checked_add(seconds).unwrap()));
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
