//! The parser.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Json, MAX_DEPTH, MAX_INTEGER};
use crate::format::{FormatError, quote};

/// Objects of at most this many fields are searched for equal keys without a sorted list of them.
const FEW_FIELDS: usize = 16;

/// A description of the error.
type Wrong = Cow<'static, str>;

/// Parses a text that is one value.
pub(super) fn document<'a>(what: &'static str, text: &'a str) -> Result<Json<'a>, FormatError> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0).and_then(|value| match parser.next() {
        None => Ok(value),
        Some(_) => Err("trailing characters".into()),
    });
    value.map_err(|wrong| {
        let before = &text.as_bytes()[..parser.at];
        let line = before.split(|byte| *byte == b'\n').count();
        let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
        FormatError::malformed(what, "strict JSON", format!("{wrong} at line {line} column {column}"))
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space, which is not taken.
    fn next(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    /// Takes a byte, if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, Wrong> {
        match self.next() {
            None => Err("EOF while parsing a value".into()),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[' | b'{') if depth == MAX_DEPTH => {
                Err(format!("nesting deeper than {MAX_DEPTH} levels").into())
            }
            Some(b'[') => self.array(depth + 1),
            Some(b'{') => self.object(depth + 1),
            Some(_) => {
                let words = [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))];
                let is_next = |word: &str| self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
                let found = words.into_iter().find(|(word, _)| is_next(word)).ok_or("expected value")?;
                self.at += found.0.len();
                Ok(found.1)
            }
        }
    }

    /// Takes what is between two items of a list, or ends it. Returns true at its end.
    fn ends(&mut self, end: u8, is_first: bool) -> Result<bool, Wrong> {
        let wanted = if end == b']' { "a list" } else { "an object" };
        match self.next() {
            None => Err(format!("EOF while parsing {wanted}").into()),
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if is_first => Ok(false),
            Some(b',') => {
                self.at += 1;
                if self.next() == Some(end) { Err("trailing comma".into()) } else { Ok(false) }
            }
            Some(_) => Err(format!("expected `,` or `{}`", char::from(end)).into()),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, Wrong> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.ends(b']', items.is_empty())? {
            items.push(self.value(depth)?);
        }
        Ok(Json::Array(items))
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, Wrong> {
        self.at += 1;
        let mut fields: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        while !self.ends(b'}', fields.is_empty())? {
            match self.next() {
                None => return Err("EOF while parsing an object".into()),
                Some(b'"') => {}
                Some(_) => return Err("key must be a string".into()),
            }
            let key = self.string()?;
            if self.next().is_none() {
                return Err("EOF while parsing an object".into());
            }
            if !self.take(b':') {
                return Err("expected `:`".into());
            }
            fields.push((key, self.value(depth)?));
        }
        match repeated(&fields) {
            Some(key) => Err(format!("the key {} twice in one object", quote(key)).into()),
            None => Ok(Json::Object(fields)),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Wrong> {
        self.at += 1;
        let mut unescaped = String::new();
        loop {
            let rest = &self.text[self.at..];
            let is_special = |byte: u8| matches!(byte, b'"' | b'\\') || byte < b' ';
            let plain = rest.bytes().position(is_special).unwrap_or(rest.len());
            self.at += plain;
            let plain = &rest[..plain];
            match self.peek() {
                None => return Err("EOF while parsing a string".into()),
                Some(b'"') => {
                    self.at += 1;
                    if unescaped.is_empty() {
                        return Ok(plain.into());
                    }
                    unescaped += plain;
                    return Ok(unescaped.into());
                }
                Some(b'\\') => {
                    self.at += 1;
                    unescaped += plain;
                    unescaped.push(self.escaped()?);
                }
                Some(_) => {
                    return Err("control character (\\u0000-\\u001F) found while parsing a string".into());
                }
            }
        }
    }

    /// The character of an escape, after its backslash.
    fn escaped(&mut self) -> Result<char, Wrong> {
        let byte = self.peek().ok_or("EOF while parsing a string")?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err("invalid escape".into()),
        };
        self.at += 1;
        Ok(plain.into())
    }

    /// The character of `\uXXXX`, or of two that are a surrogate pair, after the first `\u`.
    fn unicode(&mut self) -> Result<char, Wrong> {
        let first = self.code_unit()?;
        let mut units = [first, 0];
        let mut count = 1;
        if (0xd800..0xdc00).contains(&first) && self.take(b'\\') && self.take(b'u') {
            units[1] = self.code_unit()?;
            count = 2;
        }
        let mut chars = char::decode_utf16(units[..count].iter().copied());
        match (chars.next(), chars.next()) {
            (Some(Ok(char)), None) => Ok(char),
            _ => Err("lone surrogate in hex escape".into()),
        }
    }

    fn code_unit(&mut self) -> Result<u16, Wrong> {
        let mut unit = 0;
        for _ in 0..4 {
            let byte = self.peek().ok_or("EOF while parsing a string")?;
            let digit = char::from(byte).to_digit(16).ok_or("invalid escape")?;
            unit = unit << 4 | u16::try_from(digit).unwrap_or_default();
            self.at += 1;
        }
        Ok(unit)
    }

    /// Skips digits. Returns their number.
    fn digits(&mut self) -> usize {
        let digits = self.text.as_bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        digits
    }

    fn number(&mut self) -> Result<Json<'a>, Wrong> {
        let invalid = Err("invalid number".into());
        let start = self.at;
        self.take(b'-');
        // No other digit follows a leading zero.
        let begins_with_zero = self.take(b'0');
        if (self.digits() == 0) != begins_with_zero {
            return invalid;
        }
        let is_whole = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        if self.take(b'.') && self.digits() == 0 {
            return invalid;
        }
        let mantissa = &self.text[start..self.at];
        let mut exponent = "0";
        if self.take(b'e') || self.take(b'E') {
            let from = self.at;
            if !self.take(b'-') {
                self.take(b'+');
            }
            if self.digits() == 0 {
                return invalid;
            }
            exponent = &self.text[from..self.at];
        }
        if is_out_of_range(mantissa, exponent) {
            return Err("number out of range".into());
        }
        let text = &self.text[start..self.at];
        let integer = if is_whole && text != "-0" { text.parse::<i64>().ok() } else { None };
        let small = integer.filter(|number| (-MAX_INTEGER..=MAX_INTEGER).contains(number));
        Ok(small.map_or_else(|| Json::Number(text.into()), Json::Integer))
    }
}

/// Tells whether a number is larger than every finite IEEE 754 double, which is what other parsers make of it.
fn is_out_of_range(mantissa: &str, exponent: &str) -> bool {
    /// The first digits of 2^1024 - 2^970, which has 309: the smallest number that is rounded to infinity.
    const LEAST: &[u8] = b"17976931348623158079";
    let mantissa = mantissa.trim_start_matches('-');
    let whole = mantissa.split('.').next().unwrap_or_default();
    let digits: Vec<u8> = mantissa.bytes().filter(|byte| *byte != b'.').collect();
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let digits = &digits[zeros..];
    // An exponent that does not fit is far beyond either end.
    let far = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let exponent = exponent.parse::<i64>().unwrap_or(far);
    // The number's digits before the point, if it is written without an exponent.
    let length = i64::try_from(whole.len()).unwrap_or(i64::MAX);
    let length = exponent.saturating_add(length).saturating_sub(i64::try_from(zeros).unwrap_or(i64::MAX));
    !digits.is_empty() && (length > 309 || length == 309 && digits >= LEAST)
}

/// The key that comes first in order of those that an object has twice.
fn repeated<'a>(fields: &'a [(Cow<'_, str>, Json<'_>)]) -> Option<&'a str> {
    let is_new = |at: usize| fields[..at].iter().all(|(key, _)| *key != fields[at].0);
    if fields.len() <= FEW_FIELDS && (1..fields.len()).all(is_new) {
        return None;
    }
    crate::format::repeated(fields.iter().map(|(key, _)| &**key))
}
