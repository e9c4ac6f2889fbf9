//! The line `origin <text>` after a log line, for a log whose origin is not its key's name.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Policy;
use super::parse::wrong;
use crate::checkpoint::{LogKey, Origin, SignsFor as _};
use crate::format::{FormatError, utf8};

const KEYWORD: &[u8] = b"origin";

/// Parses an origin line, which the caller found to have the keyword and some text after it.
pub(super) fn parse(line: &[u8]) -> Result<Origin, FormatError> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let trimmed = |text: &[u8]| -> Vec<u8> {
        let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(0, |at| at + 1);
        text[..end].iter().skip_while(|byte| is_blank(byte)).copied().collect()
    };
    let text = trimmed(&trimmed(line)[KEYWORD.len()..]);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_slice();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let mut byte = [0];
        let digits = rest.split_off(..2).filter(|digits| hex::decode_to_slice(digits, &mut byte).is_ok());
        digits.ok_or_else(|| wrong("two hex digits after each % of an origin", line))?;
        bytes.push(byte[0]);
    }
    Origin::new(utf8(Policy::WHAT, &bytes)?)
}

/// The lines of a policy that trust a log's key: the log line, and an origin line if the key has another name.
#[must_use]
pub fn log_lines(log: &LogKey) -> String {
    let mut lines = format!("log {}\n", log.key());
    if log.log() != log.key().name() {
        lines += &format!("origin {}\n", escaped(log.origin()));
    }
    lines
}

fn escaped(origin: &str) -> String {
    let last = origin.len() - 1;
    let escape = |(at, char): (usize, char)| match char {
        '%' | '\u{7f}' => format!("%{:02x}", u32::from(char)),
        ' ' if at == 0 || at == last => "%20".to_owned(),
        other => other.to_string(),
    };
    origin.char_indices().map(escape).collect()
}
