//! UTC times in RFC 3339, to the second, as people write and read them.

use alloc::string::String;
use alloc::vec::Vec;

use crate::format::{FormatError, quote};

/// A POSIX time in seconds.
pub type Timestamp = u64;

const SECONDS_PER_DAY: u64 = 86_400;
/// `9999-12-31T23:59:59Z`: the last second that RFC 3339 can write.
const LAST: Timestamp = 253_402_300_799;

/// Writes `2026-01-31T12:00:00Z`; later than the year 9999, plain seconds.
#[must_use]
pub fn format_time(time: Timestamp) -> String {
    if time > LAST {
        return format!("{time} seconds after 1970");
    }
    let (days, second) = (time / SECONDS_PER_DAY, time % SECONDS_PER_DAY);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads exactly the form that [`format_time`] writes.
///
/// # Errors
/// [`FormatError`] for another form, a date that does not exist, or one before 1970.
pub fn parse_time(text: &str) -> Result<Timestamp, FormatError> {
    let wrong =
        || FormatError::malformed("a time", "UTC as in 2026-01-31T12:00:00Z, from 1970 on", quote(text));
    let digits: Vec<u64> = match text.as_bytes() {
        bytes if bytes.len() == 20 => bytes
            .split(|b| matches!(b, b'-' | b'T' | b':' | b'Z'))
            .map_while(|part| core::str::from_utf8(part).ok()?.parse().ok())
            .collect(),
        _ => return Err(wrong()),
    };
    let [year, month, day, hour, minute, second] = digits[..] else { return Err(wrong()) };
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(wrong());
    }
    let time = days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    // Printing again refuses what does not exist: 31 February, minute 61, other separators.
    if format_time(time) == text { Ok(time) } else { Err(wrong()) }
}

/// Days of whole years begin in March here, so that the leap day is the last one.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
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
        assert!(format_time(u64::MAX).contains("seconds after 1970"));
    }

    #[test]
    fn every_day_of_400_years_reads_back() {
        for day in 0..146_097 {
            let time = day * SECONDS_PER_DAY + day % SECONDS_PER_DAY;
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
            "1969-12-31T23:59:59Z",
            "2026-1-31T12:00:00.Z",
            "+026-01-31T12:00:00Z",
            "2026-00-31T12:00:00Z",
        ] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
