//! Parses and prints the parts of a package URL.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use crate::format::SortedMap;

const SHAPE: &str = "pkg:<type>/<name>@<version>";
const ESCAPES: &str = "percent-encoding of UTF-8: % and two hex digits for each byte";
const PLAIN: &str = "printable ASCII, with everything else percent-encoded (a space is %20)";
const SEGMENT: &str =
    "names and a subpath that are not empty, not `.` or `..`, and without slash or control character";
const VERSION: &str =
    "a version that is not empty, not `.` or `..`, and without control characters (a slash in it is %2F)";
const VALUE: &str = "qualifier values without control characters";

/// The fault of a text that is not a package URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not have the overall shape.
    Shape,
    /// A part of it is malformed: what was expected instead.
    Part(&'static str),
}

impl Fault {
    /// The expected value.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Shape => SHAPE,
            Self::Part(expected) => expected,
        }
    }
}

impl From<&'static str> for Fault {
    fn from(expected: &'static str) -> Self {
        Self::Part(expected)
    }
}

/// The parts of a package URL, percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// In lower case.
    pub kind: String,
    /// Segments of the namespace.
    pub namespace: Vec<String>,
    pub name: String,
    pub version: Option<String>,
    /// By key. A qualifier without a value counts as absent.
    pub qualifiers: SortedMap<String, String>,
    pub subpath: Vec<String>,
}

impl Parts {
    /// Parses a package URL in any spelling.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let (scheme, rest) = text.split_once(':').ok_or(Fault::Shape)?;
        if !scheme.eq_ignore_ascii_case("pkg") {
            return Err(Fault::Shape);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Fault::Part(PLAIN));
        }
        let (rest, subpath) = split_off(rest.trim_start_matches('/'), '#')?;
        let (path, qualifiers) = split_off(rest, '?')?;
        let (kind, names) = path.split_once('/').ok_or(Fault::Shape)?;
        let is_type = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        if !kind.starts_with(|c: char| c.is_ascii_alphabetic()) || !kind.bytes().all(is_type) {
            return Err(Fault::Part("a package type of letters, digits, `.` and `-`, a letter first"));
        }
        let (names, version) = split_version(names)?;
        let mut namespace = names.split('/').map(read_segment).collect::<Result<Vec<_>, _>>()?;
        let name = namespace.pop().ok_or(Fault::Shape)?;
        let subpath = subpath.map(|subpath| subpath.trim_matches('/').split('/').map(read_segment).collect());
        Ok(Self {
            kind: kind.to_ascii_lowercase(),
            namespace,
            name,
            version: version.map(decode_version).transpose()?,
            qualifiers: qualifiers.map(read_qualifiers).transpose()?.unwrap_or_default(),
            subpath: subpath.transpose()?.unwrap_or_default(),
        })
    }

    /// Converts a version to its canonical spelling.
    pub fn read_version(text: &str) -> Result<String, &'static str> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain { Ok(encode(&decode_version(text)?)) } else { Err(PLAIN) }
    }

    /// Tells whether the qualifiers of a purl are in the order of their keys.
    pub fn are_in_order(text: &str) -> bool {
        let qualifiers = text.split_once('?').map_or("", |(_, qualifiers)| qualifiers);
        let keys = qualifiers.split('&').filter_map(|pair| Some(pair.split_once('=')?.0));
        keys.is_sorted()
    }

    /// Type, namespace and name, encoded.
    pub fn name(&self) -> String {
        let segments = self.namespace.iter().chain([&self.name]).map(|segment| encode(segment));
        segments.fold(format!("pkg:{}", self.kind), |text, segment| text + "/" + &segment)
    }

    /// The version, encoded.
    pub fn version(&self) -> Option<String> {
        self.version.as_deref().map(encode)
    }

    /// Qualifiers and subpath, encoded, with their separators.
    pub fn tail(&self) -> String {
        let mut text = String::new();
        let qualifiers = self.qualifiers.iter().filter(|(_, value)| !value.is_empty());
        for (at, (key, value)) in qualifiers.enumerate() {
            text += if at == 0 { "?" } else { "&" };
            text += &format!("{key}={}", encode(value));
        }
        for (at, segment) in self.subpath.iter().enumerate() {
            text += if at == 0 { "#" } else { "/" };
            text += &encode(segment);
        }
        text
    }
}

/// Splits a text at a separator that may occur once.
fn split_off(text: &str, separator: char) -> Result<(&str, Option<&str>), &'static str> {
    match text.split_once(separator) {
        None => Ok((text, None)),
        Some((_, behind)) if behind.contains(separator) => {
            Err("`?` and `#` once each, percent-encoded where they are part of a value (%3F, %23)")
        }
        Some((before, behind)) => Ok((before, Some(behind))),
    }
}

/// Splits the version off the names. An `@` at the start of a segment before the last one belongs to the segment, as in
/// `@angular/core`; any other `@` begins the version, or has to be encoded.
fn split_version(names: &str) -> Result<(&str, Option<&str>), &'static str> {
    let last = names.rfind('/').map_or(0, |slash| slash + 1);
    let is_odd = |segment: &str| segment.rfind('@').is_some_and(|at| at > 0);
    if names[..last].split('/').any(is_odd) {
        return Err("one version, at the end, with `/` as %2F in it; `@` in a name is %40");
    }
    match names[last..].rfind('@') {
        None => Ok((names, None)),
        Some(0) => Err("a name before the version: pkg:<type>/<name>@<version>"),
        Some(at) => Ok((&names[..last + at], Some(&names[last + at + 1..]))),
    }
}

fn read_segment(text: &str) -> Result<String, &'static str> {
    let segment = decode(text)?;
    let odd = segment.is_empty() || is_dots(&segment) || segment.contains('/') || has_control(&segment);
    if odd { Err(SEGMENT) } else { Ok(segment) }
}

fn decode_version(text: &str) -> Result<String, &'static str> {
    let version = decode(text)?;
    let odd = version.is_empty() || is_dots(&version) || has_control(&version);
    if odd { Err(VERSION) } else { Ok(version) }
}

fn read_qualifiers(text: &str) -> Result<SortedMap<String, String>, &'static str> {
    const KEYS: &str =
        "qualifiers key=value, each key once, in lower case: a letter, then letters, digits and `.-_`";
    let is_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    let mut qualifiers = SortedMap::default();
    for pair in text.split('&') {
        let (key, value) = pair.split_once('=').ok_or(KEYS)?;
        if !key.starts_with(|c: char| c.is_ascii_lowercase()) || !key.bytes().all(is_key) {
            return Err(KEYS);
        }
        let value = decode(value)?;
        if has_control(&value) {
            return Err(VALUE);
        }
        if !qualifiers.insert(key.to_owned(), value) {
            return Err(KEYS);
        }
    }
    Ok(qualifiers)
}

fn is_dots(text: &str) -> bool {
    matches!(text, "." | "..")
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let (high, low) = (digit(bytes.next()).ok_or(ESCAPES)?, digit(bytes.next()).ok_or(ESCAPES)?);
                u8::try_from(high * 16 + low).map_err(|_| ESCAPES)?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| ESCAPES)
}

/// Tells whether a byte stands for itself in the canonical spelling; all others are percent-encoded.
pub const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':')
}

/// Encodes segments with slashes between them.
pub fn encode_path(text: &str) -> String {
    let segments: Vec<String> = text.split('/').map(encode).collect();
    segments.join("/")
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if is_plain(byte) {
            out.push(byte.into());
        } else {
            write!(out, "%{byte:02X}").expect("strings take everything");
        }
        out
    })
}
