//! Strict JSON parsing, and canonical JSON (RFC 8785).
//!
//! Besides invalid JSON, the parser rejects duplicate object keys, because parsers disagree about which value
//! counts, and nesting deeper than [`MAX_DEPTH`]. Parsers also disagree about numbers other than integers of at
//! most 53 bits (RFC 7493): these are accepted, but never read as integers.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Number;

use crate::format::{FormatError, quote, utf8};

/// Deepest nesting; in-toto statements need about six levels.
const MAX_DEPTH: usize = 32;
/// Largest integer that every JSON parser represents exactly: 2^53 - 1.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// Objects of at most this many fields are searched for equal keys without a sorted list of them.
const FEW_FIELDS: usize = 16;

/// A JSON value. Object keys are unique and in the order of the input. Text without escapes is borrowed from the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    /// At most [`MAX_INTEGER`] in magnitude.
    Integer(i64),
    /// Any other number. Nothing uses its value.
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    pub fn parse(what: &'static str, bytes: &'a [u8]) -> Result<Self, FormatError> {
        let text = utf8(what, bytes)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let value =
            Value { depth: 0 }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        value.map_err(|e| FormatError::malformed(what, "strict JSON", e.to_string()))
    }

    pub fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.into_iter().map(|(key, value)| (key.to_owned().into(), value)).collect())
    }

    pub fn string(text: &str) -> Self {
        Self::String(text.to_owned().into())
    }

    /// Makes an integer.
    ///
    /// # Panics
    /// Above [`MAX_INTEGER`].
    pub fn unsigned(number: u64) -> Self {
        let number = i64::try_from(number).ok().filter(|number| *number <= MAX_INTEGER);
        Self::Integer(number.expect("checked to be below 2^53"))
    }

    /// RFC 8785: keys in order of their UTF-16 code units, no white space, shortest escapes. Numbers other than
    /// integers are not printed canonically: none of our own statements has any.
    pub fn to_canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text keys always serialize")
    }
}

impl Serialize for Json<'_> {
    /// `serde_json` writes strings just as RFC 8785 section 3.2.2.2 wants them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::String(value) => serializer.serialize_str(value),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(fields) => {
                let mut fields: Vec<&(Cow<'_, str>, Self)> = fields.iter().collect();
                fields.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
                serializer.collect_map(fields.into_iter().map(|(key, value)| (key, value)))
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Value {
    depth: usize,
}

impl Value {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nesting deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Json<'de>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json<'de>, E> {
        let small = (-MAX_INTEGER..=MAX_INTEGER).contains(&value);
        Ok(if small { Json::Integer(value) } else { Json::Number(value.into()) })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json<'de>, E> {
        let small = i64::try_from(value).ok().filter(|value| *value <= MAX_INTEGER);
        Ok(small.map_or_else(|| Json::Number(value.into()), Json::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(value.to_owned().into()))
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let deeper = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let deeper = self.deeper()?;
        let mut fields: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            fields.push((key, map.next_value_seed(deeper)?));
        }
        match repeated(&fields) {
            Some(key) => Err(de::Error::custom(format_args!("the key {} twice in one object", quote(key)))),
            None => Ok(Json::Object(fields)),
        }
    }
}

/// The key that comes first in order of those that an object has twice.
fn repeated<'a>(fields: &'a [(Cow<'_, str>, Json<'_>)]) -> Option<&'a str> {
    let is_new = |at: usize| fields[..at].iter().all(|(key, _)| *key != fields[at].0);
    if fields.len() <= FEW_FIELDS && (1..fields.len()).all(is_new) {
        return None;
    }
    let mut keys: Vec<&str> = fields.iter().map(|(key, _)| &**key).collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// Reads an object key.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(key.to_owned().into())
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(key.into())
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

    pub fn array(&mut self, key: &str) -> Result<Vec<Json<'a>>, FormatError> {
        let items = self.optional_array(key)?;
        self.required(key, items)
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Json<'_>, FormatError> {
        Json::parse("a test", text.as_bytes())
    }

    fn canonical(json: &Json<'_>) -> String {
        String::from_utf8(json.to_canonical()).unwrap()
    }

    #[test]
    fn a_key_given_twice_is_found_in_objects_of_any_size() {
        for count in [1, 2, 15, 16, 17, 100] {
            let fields: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{n}")).collect();
            assert!(parse(&format!("{{{}}}", fields.join(","))).is_ok());
            for twice in [0, count / 2, count - 1] {
                let text = format!("{{{},\"k{twice}\":0}}", fields.join(","));
                assert!(parse(&text).unwrap_err().to_string().contains("twice"), "{text}");
            }
        }
    }

    #[test]
    fn canonical_form_of_rfc_8785() {
        // Section 3.2.3: keys by UTF-16 code units, so U+1F600 (a surrogate pair) sorts before
        // U+FB33.
        let json = parse(
            "{\"\\u20ac\":\"Euro\",\"\\r\":\"CR\",\"\\ufb33\":\"Dalet\",\"1\":\"One\",\"\\ud83d\\ude00\":\"Smile\",\
             \"\\u0080\":\"Control\",\"\\u00f6\":\"Oe\"}",
        );
        let printed = canonical(&json.unwrap());
        let keys: Vec<Cow<'_, str>> = match parse(&printed).unwrap() {
            Json::Object(fields) => fields.into_iter().map(|(key, _)| key).collect(),
            _ => unreachable!(),
        };
        assert_eq!(keys, ["\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"]);
        let escapes =
            parse(r#" { "b" : [ 1 , -2 , true , null ] , "a" : "\u0041\/\b\f\n\r\t\u000f\"\\\u007f" } "#);
        assert_eq!(
            canonical(&escapes.unwrap()),
            "{\"a\":\"A/\\b\\f\\n\\r\\t\\u000f\\\"\\\\\u{7f}\",\"b\":[1,-2,true,null]}"
        );
    }

    #[test]
    fn numbers_that_readers_disagree_about_are_read_and_are_no_integers() {
        for (text, shown) in [
            ("1.0", "1.0"),
            ("-0.5E-1", "-0.05"),
            ("1e3", "1000.0"),
            ("-0", "-0.0"),
            ("9007199254740992", "9007199254740992"),
            ("-9007199254740992", "-9007199254740992"),
            ("18446744073709551615", "18446744073709551615"),
            ("99999999999999999999999", "1e+23"),
        ] {
            let list = format!("{{\"n\":[{text}]}}");
            assert_eq!(canonical(&parse(&list).unwrap()), format!("{{\"n\":[{shown}]}}"));
            let field = format!("{{\"n\":{text}}}");
            let mut fields = Fields::new("a test", "", parse(&field).unwrap()).unwrap();
            let error = fields.integer("n").unwrap_err().to_string();
            assert!(error.ends_with(&format!("an integer from 0 to 2^53 - 1, saw {shown}")), "{error}");
        }
        let most = parse("[9007199254740991,-9007199254740991]").unwrap();
        assert_eq!(most, Json::Array([MAX_INTEGER, -MAX_INTEGER].map(Json::Integer).to_vec()));
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        for (bad, why) in [
            (r#"{"a":1,"a":2}"#, "twice"),
            (r#"{"a":1,"\u0061":2}"#, "twice"),
            (r#"{"a":{"b":[{"c":1.5,"c":1.5}]}}"#, "twice"),
            ("1e400", "out of range"),
            ("01", ""),
            ("+1", ""),
            ("NaN", ""),
            (r#""\ud800""#, ""),
            ("{\"a\":1,}", "trailing comma"),
            ("[1] 2", "trailing characters"),
            ("", "EOF"),
            ("{", "EOF"),
            ("\u{feff}{}", ""),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(Json::parse("a test", b"\"\xff\"").unwrap_err().to_string().contains("offset 1"));
    }

    #[test]
    fn deep_nesting_is_refused_without_recursing_into_it() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().to_string().contains("deeper than 32"));
        assert!(parse(&"[".repeat(1_000_000)).is_err());
        assert!(parse(&"{\"a\":".repeat(100_000)).is_err());
    }

    fn any_json() -> impl Strategy<Value = Json<'static>> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            (-MAX_INTEGER..=MAX_INTEGER).prop_map(Json::Integer),
            any::<String>().prop_map(|text| Json::String(text.into())),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let fields = prop::collection::btree_map(any::<String>(), inner.clone(), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Json::Array),
                fields.prop_map(|fields| {
                    Json::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_text_is_a_fixed_point(json in any_json()) {
            let text = canonical(&json);
            prop_assert_eq!(canonical(&parse(&text).unwrap()), text);
        }

        #[test]
        fn noise_never_panics(text in "[\\[\\]{}\",:0-9a-z\\\\ .eE+-]{0,60}") {
            let _ = parse(&text);
        }
    }
}
