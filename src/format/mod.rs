//! Shared by all parsers: their error, strict decimals, strict base64, and quoting of foreign text.
//!
//! Every text format of the core has exactly one spelling for each value, because two spellings of a value would be two
//! leaf hashes, two cache keys or two signatures.

pub(crate) mod checksum;
#[cfg(feature = "client")]
mod duration;
mod macros;
mod sorted;
mod toml_file;
mod wait;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::num::NonZeroU32;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE};

#[cfg(feature = "client")]
pub(crate) use duration::parse_seconds;
pub(crate) use macros::{checked_text, error_codes, names};
pub use sorted::SortedMap;
pub(crate) use toml_file::{TomlFile, TomlPlace, toml_string};
pub use wait::Wait;

/// Malformed input: the error of all parsers of the core.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Too large to be parsed.
    #[error("{what} is too large: expected at most {limit} {unit}, saw {seen}")]
    TooLarge {
        /// Name of the thing, with its article: `a checkpoint`.
        what: &'static str,
        /// The limit, in `unit`s.
        limit: usize,
        /// The unit of `limit` and `seen`: `bytes`, `lines`, `signatures`.
        unit: &'static str,
        /// The actual size.
        seen: usize,
    },
    /// Not in the format, or not in its one canonical spelling.
    #[error("{what} is malformed{}: expected {expected}, saw {seen}", at(*line, place.as_deref()))]
    Malformed {
        /// Name of the thing, with its article.
        what: &'static str,
        /// One-based line number, if the format has lines. A `u32` keeps the error small: it is returned by value.
        line: Option<NonZeroU32>,
        /// The key and block in words, if the format has them.
        place: Option<Box<str>>,
        /// The expected value.
        expected: String,
        /// The actual value, shortened and quoted.
        seen: String,
    },
}

error_codes! { FormatCode of FormatError {
    Self::TooLarge { .. } => TooLarge = 1, "too-large";
    Self::Malformed { .. } => Malformed = 2, "malformed";
}}

fn at(line: Option<NonZeroU32>, place: Option<&str>) -> String {
    let line = line.map(|n| format!(" at line {n}")).unwrap_or_default();
    let place = place.map(|place| format!(", {place}")).unwrap_or_default();
    line + &place
}

fn line_number(line: usize) -> Option<NonZeroU32> {
    u32::try_from(line).ok().and_then(NonZeroU32::new)
}

impl FormatError {
    /// Makes the error: `what` is malformed, `expected` was wanted, `seen` was found.
    pub fn malformed(what: &'static str, expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::Malformed { what, line: None, place: None, expected: expected.into(), seen: seen.into() }
    }

    /// The expected and the actual value.
    #[must_use]
    pub fn contrast(&self) -> (String, String) {
        match self {
            Self::TooLarge { limit, unit, seen, .. } => {
                (format!("at most {limit} {unit}"), format!("{seen} {unit}"))
            }
            Self::Malformed { expected, seen, .. } => (expected.clone(), seen.clone()),
        }
    }

    /// Adds the one-based line `n`, unless the error has a line already.
    #[must_use]
    pub fn at_line(self, n: usize) -> Self {
        match self {
            Self::Malformed { what, line: None, place, expected, seen } => {
                Self::Malformed { what, line: line_number(n), place, expected, seen }
            }
            other => other,
        }
    }

    /// Replaces the line within a value by the line and key of the file.
    fn placed(self, line: usize, place: Option<String>) -> Self {
        let (what, expected, seen) = match self {
            Self::Malformed { what, expected, seen, .. } => (what, expected, seen),
            Self::TooLarge { what, limit, unit, seen } => {
                (what, format!("at most {limit} {unit}"), seen.to_string())
            }
        };
        let place = place.map(String::into_boxed_str);
        Self::Malformed { what, line: line_number(line), place, expected, seen }
    }
}

/// Rejects input of more than `limit` bytes, before it is parsed.
pub(crate) fn cap(what: &'static str, len: usize, limit: usize) -> Result<(), FormatError> {
    cap_count(what, "bytes", len, limit)
}

/// Rejects more than `limit` of `unit`.
pub(crate) fn cap_count(
    what: &'static str,
    unit: &'static str,
    seen: usize,
    limit: usize,
) -> Result<(), FormatError> {
    if seen > limit { Err(FormatError::TooLarge { what, limit, unit, seen }) } else { Ok(()) }
}

/// The text that comes first in order of those that are given twice.
pub(crate) fn repeated<'a>(texts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    repeated_in(texts.collect())
}

fn repeated_in(texts: BinaryHeap<&str>) -> Option<&str> {
    let texts = texts.into_sorted_vec();
    texts.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Decodes UTF-8; the error names the offset of the first invalid byte.
pub(crate) fn utf8<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, FormatError> {
    core::str::from_utf8(bytes).map_err(|e| {
        FormatError::malformed(what, "UTF-8", format!("an invalid byte at offset {}", e.valid_up_to()))
    })
}

/// Byte order marks, which some editors write before text, and their names.
const BYTE_ORDER_MARKS: [(&[u8], &str); 3] = [
    (b"\xef\xbb\xbf", "a UTF-8 byte order mark before the first character"),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
];
const UTF_16: &str = "UTF-16, as some programs write on Windows: save it as UTF-8";

/// Decodes a text file that a person wrote: UTF-8, with or without a byte order mark.
pub(crate) fn file_text<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, FormatError> {
    let bytes = without_mark(bytes);
    byte_order_mark(bytes)
        .map_or_else(|| utf8(what, bytes), |mark| Err(FormatError::malformed(what, "UTF-8", mark)))
}

/// Strips a UTF-8 byte order mark.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARKS[0].0).unwrap_or(bytes)
}

/// The name of the byte order mark at the start of `bytes`.
pub(crate) fn byte_order_mark(bytes: &[u8]) -> Option<&'static str> {
    BYTE_ORDER_MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)).map(|(_, words)| *words)
}

/// Stands in for a secret key in messages.
const SECRET: &str = "a secret key, which is not shown";

/// Tells whether the text contains a secret key, in PEM or in a note key's text form.
fn is_secret(text: &str) -> bool {
    text.contains("PRIVATE KEY") || text.contains("PRIVATE+KEY")
}

/// Longest quotation of foreign input in an error message, in characters.
const QUOTE_CHARS: usize = 60;

/// Invisible characters that Unicode classifies as letters, marks or symbols: fillers, joiners, variation selectors,
/// the blank Braille pattern.
const INVISIBLE: [core::ops::RangeInclusive<char>; 10] = [
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Tells whether a character is invisible or changes how its neighbours are shown: controls, bidirectional and other
/// format characters, line and paragraph separators, spaces other than U+0020, unassigned ones.
pub(crate) fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // After a letter, `escape_debug` escapes exactly what can't be printed, and leaves combining marks alone.
    let mut text = [b'a', 0, 0, 0, 0];
    let length = 1 + c.encode_utf8(&mut text[1..]).len();
    let text = core::str::from_utf8(&text[..length]).expect("a letter and a character");
    text.escape_debug().nth(1) == Some('\\') || INVISIBLE.iter().any(|range| range.contains(&c))
}

/// Makes foreign text safe to show: escapes hidden characters as `\u{202e}` or `\n`. All foreign text that reaches a
/// terminal, a page or a log goes through this function or `quote`.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            c if is_hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Serializes a value as JSON with hidden characters as `\uXXXX`, so that it is safe to show on a terminal.
///
/// # Panics
/// If the value has no JSON form, such as a map whose keys are not strings.
#[must_use]
pub fn to_json(value: &impl serde::Serialize) -> String {
    json_shown(serde_json::to_string(value).expect("it has a JSON form"))
}

/// Escapes hidden characters in JSON.
pub(crate) fn json_shown(json: String) -> String {
    // JSON is ASCII outside strings, and inside them all printers escape all ASCII control characters but DEL.
    if json.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return json;
    }
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                plain += &format!("\\u{unit:04x}");
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Quotes foreign input for an error message: escaped and shortened. Secret keys are not quoted.
pub(crate) fn quote(text: &str) -> String {
    if is_secret(text) {
        return SECRET.to_owned();
    }
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(QUOTE_CHARS).collect();
    let tail = if chars.next().is_some() { "…" } else { "" };
    let escaped: String =
        head.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
    format!("\"{}\"{tail}", shown(&escaped))
}

/// [`quote`] for bytes that may not be text.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(QUOTE_CHARS * 4)];
    quote(&String::from_utf8_lossy(head))
}

/// Parses a decimal number without leading zeros, at most `max`.
pub(crate) fn decimal(text: &str, max: u64) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    // 19 digits hold every number up to 2^63 - 1 and never overflow a u64 in parsing.
    if !digits || !canonical || text.len() > 19 {
        return None;
    }
    text.parse().ok().filter(|n| *n <= max)
}

/// Decodes standard base64 (RFC 4648 section 4), padded and with zero trailing bits; nothing else.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Like [`base64_decode`], for exactly `N` bytes and without an allocation.
pub(crate) fn base64_decode_to<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N.div_ceil(3) * 4 {
        return None;
    }
    let mut out = [0; N];
    (STANDARD.decode_slice(text, &mut out).ok()? == N).then_some(out)
}

/// Like [`base64_decode`], but the bits after the last byte may be set: RFC 4648 section 3.5 leaves it to the decoder
/// to reject them.
pub(crate) fn base64_decode_any_bits(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&alphabet::STANDARD, CONFIG).decode(text).ok()
}

/// Like [`base64_decode`], but also accepts the URL-safe alphabet (RFC 4648 section 5). A text that mixes both
/// alphabets is rejected.
pub(crate) fn base64_decode_any(text: &str) -> Option<Vec<u8>> {
    base64_decode(text).or_else(|| URL_SAFE.decode(text).ok())
}

/// Encodes `bytes` in padded standard base64.
pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends `bytes` to a text in padded standard base64.
pub(crate) fn base64_push(text: &mut String, bytes: &[u8]) {
    STANDARD.encode_string(bytes, text);
}

/// Decodes lower-case hex of exactly `N` bytes.
pub(crate) fn hex_decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // `hex::decode_to_slice` takes upper case too, and several times as long.
    const NONE: u8 = 0xff;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => NONE,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let (mut out, mut seen) = ([0; N], 0);
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        let (high, low) = (digit(*high), digit(*low));
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < 16).then_some(out)
}

/// Appends a text to a URL or a purl: RFC 3986, everything but unreserved characters escaped.
pub(crate) fn push_percent_encoded(out: &mut String, text: &str) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

/// Tells whether a text contains Unicode white space or control characters, which names must not.
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
            let value = (bad == "AAF=").then(|| vec![0, 1]);
            assert_eq!(base64_decode_any_bits(bad), value, "{bad:?}");
        }
    }

    #[test]
    fn base64_of_others_may_have_either_alphabet_and_nothing_else_is_lax() {
        for (text, bytes) in
            [("", &[][..]), ("AAE=", &[0, 1]), ("+/8=", &[0xfb, 0xff]), ("-_8=", &[0xfb, 0xff])]
        {
            assert_eq!(base64_decode_any(text).as_deref(), Some(bytes), "{text:?}");
        }
        for bad in ["AAE", "-_8", "-_9=", "+_8=", "-/8=", "-_8==", "-_ 8=", "-_8=\n", "*_8="] {
            assert_eq!(base64_decode_any(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hex_has_one_spelling() {
        assert_eq!(hex_decode("00ff1a"), Some([0, 0xff, 0x1a]));
        assert_eq!(hex_decode(""), Some([]));
        for bad in [
            "00ff1A", "00ff1", "00ff1a0", "00ff1a00", "00ff1g", "00ff1`", "00ff1:", "00ff1/", "+0ff1a",
            "é0ff1",
        ] {
            assert_eq!(hex_decode::<3>(bad), None, "{bad:?}");
        }
        for byte in 0..=u8::MAX {
            assert_eq!(hex_decode(&hex::encode([byte])), Some([byte]));
            let text = [byte, b'0'];
            let known = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            assert_eq!(std::str::from_utf8(&text).ok().and_then(hex_decode::<1>).is_some(), known, "{byte}");
        }
    }

    #[test]
    fn quotations_are_short_and_escaped() {
        assert_eq!(quote("a\u{1b}[31m"), "\"a\\u{1b}[31m\"");
        assert_eq!(quote("\\ \"é\" \u{202e}"), "\"\\\\ \\\"é\\\" \\u{202e}\"");
        assert!(quote(&"x".repeat(10_000)).len() < 80);
        assert_eq!(quote("witness w PRIVATE+KEY+w+12345678+AQIDBA=="), SECRET);
    }

    /// Control, bidirectional, zero-width, line-separating, blank, unassigned and private characters.
    const HIDDEN: [char; 30] = [
        '\0',
        '\u{7}',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{9b}',
        '\u{a0}',
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{180e}',
        '\u{200b}',
        '\u{200d}',
        '\u{200f}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}',
        '\u{2800}',
        '\u{3000}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{fff9}',
        '\u{e000}',
        '\u{e0041}',
        '\u{10ffff}',
    ];

    #[test]
    fn what_can_not_be_seen_is_escaped_and_all_else_is_left() {
        for c in HIDDEN {
            let escaped = shown(&format!("a{c}b"));
            assert!(
                escaped.starts_with("a\\") && escaped.ends_with('b') && !escaped.contains(c),
                "{escaped}"
            );
            let json = to_json(&format!("a{c}b"));
            assert!(!json.contains(c), "{json}");
            assert_eq!(
                serde_json::from_str::<String>(&json).unwrap(),
                format!("a{c}b"),
                "it is the same text"
            );
        }
        assert_eq!(shown("a\nb\tc\u{202e}d"), "a\\nb\\tc\\u{202e}d");
        let plain = "It's \"plain\" C:\\x, größer, e\u{301}, कि, 日本語, العربية, 😀 №½";
        assert_eq!(shown(plain), plain);
        assert_eq!(to_json(&plain), serde_json::to_string(plain).unwrap());
    }
}
