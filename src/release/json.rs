//! Strict JSON parsing, and canonical JSON (RFC 8785).
//!
//! Besides invalid JSON, the parser rejects duplicate object keys, because parsers disagree about which value
//! counts, and nesting deeper than [`MAX_DEPTH`]. Parsers also disagree about numbers other than integers of at
//! most 53 bits (RFC 7493): these are accepted, but never read as integers.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Serialize, Serializer, ser};

use crate::format::{FormatError, quote, utf8};

pub use print::ToJson;
pub(crate) use print::{json, object};

mod parse;
mod print;

/// Deepest nesting; in-toto statements need about six levels.
const MAX_DEPTH: usize = 32;
/// Largest integer that every JSON parser represents exactly: 2^53 - 1.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// A JSON value. Object keys are unique and in the order of the input. Text without escapes is borrowed from the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// At most 2^53 - 1 in magnitude.
    Integer(i64),
    /// Any other number, as it is written.
    Number(Cow<'a, str>),
    /// A string, without its escapes.
    String(Cow<'a, str>),
    /// The values of an array.
    Array(Vec<Self>),
    /// The keys of an object with their values.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    pub(crate) fn parse(what: &'static str, bytes: &'a [u8]) -> Result<Self, FormatError> {
        parse::document(what, utf8(what, bytes)?)
    }

    pub(crate) fn object<'k>(fields: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        Self::Object(fields.into_iter().map(|(key, value)| (key.to_owned().into(), value)).collect())
    }

    pub(crate) fn string(text: &str) -> Self {
        Self::String(text.to_owned().into())
    }

    /// Makes an integer.
    ///
    /// # Panics
    /// Above [`MAX_INTEGER`].
    pub(crate) fn unsigned(number: u64) -> Self {
        let number = i64::try_from(number).ok().filter(|number| *number <= MAX_INTEGER);
        Self::Integer(number.expect("checked to be below 2^53"))
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Number(text) => {
                text.parse::<serde_json::Number>().map_err(ser::Error::custom)?.serialize(serializer)
            }
            Self::String(value) => serializer.serialize_str(value),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(fields) => {
                serializer.collect_map(print::sorted(fields).into_iter().map(|field| (&field.0, &field.1)))
            }
        }
    }
}

impl From<Json<'_>> for serde_json::Value {
    fn from(json: Json<'_>) -> Self {
        serde_json::to_value(json).expect("it is JSON")
    }
}

/// The fields of an object, to be taken one by one. Errors name the field.
pub struct Fields<'a> {
    what: &'static str,
    /// The object's name in errors; empty for the outermost.
    place: Cow<'static, str>,
    left: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Fields<'a> {
    pub fn new(
        what: &'static str,
        place: impl Into<Cow<'static, str>>,
        value: Json<'a>,
    ) -> Result<Self, FormatError> {
        let place = place.into();
        match value {
            Json::Object(left) => Ok(Self { what, place, left }),
            other => Err(FormatError::malformed(what, format!("{place} to be an object"), describe(&other))),
        }
    }

    /// Like `fields`, with another name for the object in errors.
    pub fn about(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    /// The fields that are neither null nor empty, for objects in which such fields count as absent.
    pub fn without_unset(mut self) -> Self {
        self.left.retain(|(_, value)| match value {
            Json::Null => false,
            Json::String(text) => !text.is_empty(),
            Json::Array(items) => !items.is_empty(),
            Json::Object(fields) => !fields.is_empty(),
            Json::Bool(_) | Json::Integer(_) | Json::Number(_) => true,
        });
        self
    }

    /// The fields that are not null.
    pub fn without_null(mut self) -> Self {
        self.left.retain(|(_, value)| *value != Json::Null);
        self
    }

    fn name(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }

    pub fn optional(&mut self, key: &str) -> Option<Json<'a>> {
        let at = self.left.iter().position(|(k, _)| k == key)?;
        Some(self.left.swap_remove(at).1)
    }

    /// Gives a field another name, unless there is one of that name.
    pub fn rename(&mut self, from: &str, to: &'static str) {
        if self.left.iter().all(|(key, _)| key != to)
            && let Some((key, _)) = self.left.iter_mut().find(|(key, _)| key == from)
        {
            *key = to.into();
        }
    }

    /// Tells whether there is a field of this name.
    pub fn has(&self, key: &str) -> bool {
        self.left.iter().any(|(k, _)| k == key)
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, FormatError> {
        value.ok_or_else(|| self.wrong(key, "to be there", "nothing"))
    }

    /// A string that is not kept.
    pub fn text(&mut self, key: &str) -> Result<Cow<'a, str>, FormatError> {
        let text = self.optional_text(key)?;
        self.required(key, text)
    }

    pub fn string(&mut self, key: &str) -> Result<String, FormatError> {
        self.text(key).map(Cow::into_owned)
    }

    pub fn optional_string(&mut self, key: &str) -> Result<Option<String>, FormatError> {
        Ok(self.optional_text(key)?.map(Cow::into_owned))
    }

    fn optional_text(&mut self, key: &str) -> Result<Option<Cow<'a, str>>, FormatError> {
        match self.optional(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "to be a string", &describe(&other))),
        }
    }

    pub fn integer(&mut self, key: &str) -> Result<u64, FormatError> {
        let value = self.optional_integer(key)?;
        self.required(key, value)
    }

    pub fn optional_integer(&mut self, key: &str) -> Result<Option<u64>, FormatError> {
        match self.optional(key) {
            None => Ok(None),
            Some(Json::Integer(value)) if value >= 0 => Ok(Some(value.unsigned_abs())),
            Some(other) => Err(self.wrong(key, "to be an integer from 0 to 2^53 - 1", &describe(&other))),
        }
    }

    /// An integer of 64 bits, which other readers of JSON may not represent exactly.
    pub fn long_integer(&mut self, key: &str) -> Result<u64, FormatError> {
        let value = self.optional(key);
        let value = self.required(key, value)?;
        let number = match &value {
            Json::Integer(number) => u64::try_from(*number).ok(),
            Json::Number(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(key, "to be an integer from 0 to 2^64 - 1", &describe(&value)))
    }

    pub fn array(&mut self, key: &str) -> Result<Vec<Json<'a>>, FormatError> {
        let items = self.optional_array(key)?;
        self.required(key, items)
    }

    /// A list of strings.
    pub fn strings(&mut self, key: &str) -> Result<Vec<String>, FormatError> {
        let items = self.array(key)?.into_iter();
        let string = |item| match item {
            Json::String(text) => Ok(text.into_owned()),
            _ => Err(self.wrong(key, "to be a list of strings", "something else")),
        };
        items.map(string).collect()
    }

    pub fn optional_array(&mut self, key: &str) -> Result<Option<Vec<Json<'a>>>, FormatError> {
        match self.optional(key) {
            None => Ok(None),
            Some(Json::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong(key, "to be an array", &describe(&other))),
        }
    }

    pub fn object(&mut self, key: &str) -> Result<Self, FormatError> {
        let fields = self.optional_object(key)?;
        self.required(key, fields)
    }

    pub fn optional_object(&mut self, key: &str) -> Result<Option<Self>, FormatError> {
        let value = self.optional(key);
        value.map(|value| Self::new(self.what, self.name(key), value)).transpose()
    }

    /// The remaining fields.
    pub fn rest(self) -> Vec<(Cow<'a, str>, Json<'a>)> {
        self.left
    }

    /// Rejects fields that were not taken: a misspelt name must not be silently ignored.
    pub fn nothing_else(self) -> Result<(), FormatError> {
        match self.left.first() {
            None => Ok(()),
            Some((key, _)) => {
                let place = if self.place.is_empty() { "the object" } else { &*self.place };
                Err(FormatError::malformed(self.what, format!("no other field in {place}"), quote(key)))
            }
        }
    }

    pub fn wrong(&self, key: &str, expected: &str, seen: &str) -> FormatError {
        FormatError::malformed(self.what, format!("{} {expected}", self.name(key)), seen)
    }
}

pub fn describe(value: &Json<'_>) -> String {
    match value {
        Json::String(text) => quote(text),
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        other => String::from_utf8_lossy(&other.to_canonical()).into_owned(),
    }
}

#[cfg(test)]
mod tests;
