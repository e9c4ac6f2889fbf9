//! What is not told to sinks for a while.

use serde::{Deserialize, Serialize};

use crate::format::{FormatError, quote};
use crate::monitor::event::Code;
use crate::release::{Purl, PurlPattern, Timestamp};

/// A wish for silence: all that it says has to be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Events of this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Events of the log of this origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Events with a `purl` that this pattern covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Unix seconds of its end.
    pub until: Timestamp,
}

/// What a silence is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub code: &'a str,
    pub log: Option<&'a str>,
    pub purl: Option<&'a str>,
}

impl Silence {
    /// Refuses one that covers nothing that there is, or everything.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn check(&self) -> Result<(), FormatError> {
        const WHAT: &str = "a silence";
        if let Some(code) = self.code.as_deref().filter(|code| Code::parse(code).is_none()) {
            return Err(FormatError::malformed(WHAT, "a code as in log-stalled", quote(code)));
        }
        if let Some(package) = &self.package {
            PurlPattern::parse(package)?;
        }
        if let Some(log) = self.log.as_deref().filter(|log| log.is_empty() || log.len() > 1_024) {
            return Err(FormatError::malformed(WHAT, "the origin of a log", quote(log)));
        }
        if self.code.is_none() && self.log.is_none() && self.package.is_none() {
            return Err(FormatError::malformed(WHAT, "a code, a log or a package", "none of them"));
        }
        Ok(())
    }

    /// Whether it covers an event at this time.
    #[must_use]
    pub fn covers(&self, subject: Subject<'_>, now: Timestamp) -> bool {
        let is = |wanted: &Option<String>, seen| wanted.as_deref().is_none_or(|wanted| Some(wanted) == seen);
        let of_package = || {
            let Some(pattern) = &self.package else { return true };
            let purl = subject.purl.and_then(|purl| Purl::parse_logged(purl).ok());
            purl.is_some_and(|purl| PurlPattern::parse(pattern).is_ok_and(|pattern| pattern.covers(&purl)))
        };
        now < self.until && is(&self.code, Some(subject.code)) && is(&self.log, subject.log) && of_package()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(code: Option<&str>, log: Option<&str>, package: Option<&str>) -> Silence {
        let own = |text: Option<&str>| text.map(ToOwned::to_owned);
        Silence { code: own(code), log: own(log), package: own(package), until: 100 }
    }

    #[test]
    fn a_silence_covers_what_is_all_that_it_says_and_until_its_end() {
        let event =
            Subject { code: "sequence-gap", log: Some("log.example/a"), purl: Some("pkg:generic/x/y@1") };
        let (code, log, package) = (Some("sequence-gap"), Some("log.example/a"), Some("pkg:generic/x/*"));
        for choice in 1..8 {
            let pick = |bit: u8, text| if choice & bit == 0 { None } else { text };
            let wish = silence(pick(1, code), pick(2, log), pick(4, package));
            wish.check().unwrap();
            assert!(wish.covers(event, 99) && !wish.covers(event, 100), "{wish:?}");
            for other in [
                Subject { code: "fork", ..event },
                Subject { log: Some("log.example/b"), ..event },
                Subject { log: None, ..event },
                Subject { purl: Some("pkg:generic/z@1"), ..event },
                Subject { purl: Some("pkg:generic/x/y"), ..event },
                Subject { purl: None, ..event },
            ] {
                let differs = (choice & 1 != 0 && other.code != event.code)
                    || (choice & 2 != 0 && other.log != event.log)
                    || (choice & 4 != 0 && other.purl != event.purl);
                assert_eq!(wish.covers(other, 0), !differs, "{wish:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_covers_nothing_or_everything_is_refused() {
        for bad in [
            silence(None, None, None),
            silence(Some("forks"), None, None),
            silence(Some("alert"), None, None),
            silence(None, Some(""), None),
            silence(None, None, Some("*")),
            silence(None, None, Some("pkg:generic/x@1")),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
