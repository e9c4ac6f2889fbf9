//! Shared vocabulary of the parsers: one error, strict decimals, strict base64.
//!
//! Every text format of the core has exactly one spelling for each value, because two
//! spellings of one value are two leaf hashes, two cache keys or two signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Why some bytes are not what their format says: the one error of all core parsers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Refused before it was parsed, by its size alone.
    #[error("{what} is too large: expected at most {limit} {unit}, saw {seen}")]
    TooLarge {
        /// The thing being read, with its article: `a checkpoint`.
        what: &'static str,
        /// The most that is accepted, in `unit`s.
        limit: usize,
        /// What `limit` and `seen` count: `bytes`, `lines`, `signatures`.
        unit: &'static str,
        /// How much there was.
        seen: usize,
    },
    /// Not the format, or not its one canonical spelling.
    #[error("{what} is malformed{}: expected {expected}, saw {seen}", place(*line))]
    Malformed {
        /// The thing being read, with its article.
        what: &'static str,
        /// One-based line number where the format has lines.
        line: Option<usize>,
        /// What belongs there.
        expected: String,
        /// What was there, shortened and quoted.
        seen: String,
    },
}

fn place(line: Option<usize>) -> String {
    line.map(|n| format!(" at line {n}")).unwrap_or_default()
}

impl FormatError {
    /// A malformed `what`: `expected` this, `seen` that.
    pub fn malformed(what: &'static str, expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::Malformed { what, line: None, expected: expected.into(), seen: seen.into() }
    }

    /// The same error, placed at one-based line `n` unless it has a line already.
    #[must_use]
    pub fn at_line(self, n: usize) -> Self {
        match self {
            Self::Malformed { what, line: None, expected, seen } => {
                Self::Malformed { what, line: Some(n), expected, seen }
            }
            other => other,
        }
    }
}

/// Caps `len` before anything is parsed.
pub(crate) fn cap(what: &'static str, len: usize, limit: usize) -> Result<(), FormatError> {
    cap_count(what, "bytes", len, limit)
}

/// Caps a count of `unit`s.
pub(crate) fn cap_count(
    what: &'static str,
    unit: &'static str,
    seen: usize,
    limit: usize,
) -> Result<(), FormatError> {
    if seen > limit { Err(FormatError::TooLarge { what, limit, unit, seen }) } else { Ok(()) }
}

/// UTF-8 or an error that names the first bad byte.
pub(crate) fn utf8<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, FormatError> {
    std::str::from_utf8(bytes).map_err(|e| {
        FormatError::malformed(what, "UTF-8", format!("an invalid byte at offset {}", e.valid_up_to()))
    })
}

/// Longest quotation of foreign input in an error message, in characters.
const QUOTE_CHARS: usize = 60;

/// Quotes foreign input for an error: escaped, so that it can't drive a terminal, and short.
pub(crate) fn quote(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(QUOTE_CHARS).collect();
    let tail = if chars.next().is_some() { "…" } else { "" };
    format!("{head:?}{tail}")
}

/// [`quote`] for bytes that may not be text.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(QUOTE_CHARS * 4)];
    quote(&String::from_utf8_lossy(head))
}

/// A decimal number in its one spelling (`0`, or digits without a leading zero), at most `max`.
pub(crate) fn decimal(text: &str, max: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    // 19 digits hold every number up to 2^63 - 1 and never overflow a u64 in parsing.
    if !digits || !canonical || text.len() > 19 {
        return None;
    }
    text.parse().ok().filter(|n| *n <= max)
}

/// Standard base64 (RFC 4648 section 4), padded, with zero trailing bits; nothing else.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The one base64 spelling of `bytes`.
pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Lower-case hex of exactly `N` bytes; upper case is another spelling and refused.
pub(crate) fn hex_decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut out = [0; N];
    hex::decode_to_slice(text, &mut out).ok()?;
    Some(out)
}

/// Unicode white space or an ASCII control character: neither may stand in a name.
pub(crate) fn has_space_or_control(text: &str) -> bool {
    text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_one_spelling() {
        for good in ["0", "7", "10", "9223372036854775807"] {
            assert_eq!(decimal(good, i64::MAX as u64).unwrap().to_string(), good);
        }
        for bad in ["", "00", "007", "+1", "-1", " 1", "1 ", "1_0", "0x1", "1e3", "١", "9223372036854775808"]
        {
            assert_eq!(decimal(bad, i64::MAX as u64), None, "{bad:?}");
        }
        assert_eq!(decimal("99999999999999999999", u64::MAX), None);
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(base64_decode("AAE="), Some(vec![0, 1]));
        for bad in ["AAE", "AAF=", "AAE==", "AA E=", "AAE=\n", "A-_="] {
            assert_eq!(base64_decode(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn quotations_are_short_and_escaped() {
        assert_eq!(quote("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
        assert!(quote(&"x".repeat(10_000)).len() < 80);
    }
}
