//! The printer, and JSON made from values.

use alloc::borrow::{Cow, ToOwned};
use alloc::collections::BinaryHeap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{Json, MAX_INTEGER};
use crate::format::json_shown;

impl Json<'_> {
    /// RFC 8785: keys in order of their UTF-16 code units, no white space, shortest escapes. Numbers other than
    /// integers are printed as they were written: none of our own statements has any.
    pub(crate) fn to_canonical(&self) -> Vec<u8> {
        let mut text = String::new();
        self.print(&mut text, None, true);
        text.into_bytes()
    }

    /// Keys in the order in which they are, and one value a line, for people who read files.
    pub(crate) fn to_lines(&self) -> String {
        let mut text = String::new();
        self.print(&mut text, Some(0), false);
        text
    }

    /// Keys in their present order, no white space, hidden characters escaped: safe to show on a terminal.
    #[must_use]
    pub fn to_shown(&self) -> String {
        let mut text = String::new();
        self.print(&mut text, None, false);
        json_shown(text)
    }

    /// Adds a field to an object, or replaces it.
    pub fn set(&mut self, key: &'static str, value: &dyn ToJson) {
        let Self::Object(fields) = self else { return };
        let value = value.to_json();
        match fields.iter_mut().find(|field| field.0 == key) {
            Some(field) => field.1 = value,
            None => fields.push((key.into(), value)),
        }
    }

    /// With an indent, prints one value a line. Puts keys in order for the canonical form.
    fn print(&self, out: &mut String, indent: Option<usize>, is_canonical: bool) {
        match self {
            Self::Null => *out += "null",
            Self::Bool(true) => *out += "true",
            Self::Bool(false) => *out += "false",
            Self::Integer(value) => *out += &value.to_string(),
            Self::Number(text) => *out += text,
            Self::String(text) => print_string(out, text),
            Self::Array(items) => {
                print_list(out, indent, "[]", items.len(), &mut |out, at, indent| {
                    items[at].print(out, indent, is_canonical);
                });
            }
            Self::Object(fields) => {
                let fields = if is_canonical { sorted(fields) } else { fields.iter().collect() };
                print_list(out, indent, "{}", fields.len(), &mut |out, at, indent| {
                    let (key, value) = fields[at];
                    print_string(out, key);
                    *out += if indent.is_some() { ": " } else { ":" };
                    value.print(out, indent, is_canonical);
                });
            }
        }
    }
}

/// Prints items between two brackets.
fn print_list(
    out: &mut String,
    indent: Option<usize>,
    brackets: &str,
    count: usize,
    item: &mut dyn FnMut(&mut String, usize, Option<usize>),
) {
    if count == 0 {
        *out += brackets;
        return;
    }
    let (open, close) = brackets.split_at(1);
    let inner = indent.map(|indent| indent + 2);
    for at in 0..count {
        *out += if at == 0 { open } else { "," };
        new_line(out, inner);
        item(out, at, inner);
    }
    new_line(out, indent);
    *out += close;
}

fn new_line(out: &mut String, indent: Option<usize>) {
    if let Some(indent) = indent {
        out.push('\n');
        (0..indent).for_each(|_| out.push(' '));
    }
}

fn print_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let letter = match byte {
            b'"' | b'\\' => byte,
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            12 => b'f',
            b'\r' => b'r',
            0..b' ' => 0,
            _ => continue,
        };
        *out += &text[plain..at];
        plain = at + 1;
        if letter == 0 {
            *out += &format!("\\u{byte:04x}");
        } else {
            out.push('\\');
            out.push(letter.into());
        }
    }
    *out += &text[plain..];
    out.push('"');
}

type Field<'a> = (Cow<'a, str>, Json<'a>);

/// A field, in the order of RFC 8785 section 3.2.3.
struct ByKey<'f, 'a>(&'f Field<'a>);

impl Ord for ByKey<'_, '_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.0.encode_utf16().cmp(other.0.0.encode_utf16())
    }
}

impl PartialOrd for ByKey<'_, '_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByKey<'_, '_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl Eq for ByKey<'_, '_> {}

/// The fields of an object, in order.
pub(super) fn sorted<'f, 'a>(fields: &'f [Field<'a>]) -> Vec<&'f Field<'a>> {
    let fields: BinaryHeap<ByKey<'f, 'a>> = fields.iter().map(ByKey).collect();
    fields.into_sorted_vec().into_iter().map(|field| field.0).collect()
}

/// Has a form in JSON.
pub trait ToJson {
    /// The value as JSON.
    fn to_json(&self) -> Json<'static>;
}

/// An object of values that [have a form in JSON](ToJson): `json!({ "size": 7, "names": names })`.
macro_rules! json {
    ({ $($key:literal: $value:expr),* $(,)? }) => {
        $crate::release::object(&[$(($key, &$value as &dyn $crate::release::ToJson)),*])
    };
}
pub(crate) use json;

/// See [`json!`].
pub(crate) fn object(fields: &[(&'static str, &dyn ToJson)]) -> Json<'static> {
    let mut object = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        object.push(((*key).into(), value.to_json()));
    }
    Json::Object(object)
}

impl ToJson for bool {
    fn to_json(&self) -> Json<'static> {
        Json::Bool(*self)
    }
}

impl ToJson for u64 {
    fn to_json(&self) -> Json<'static> {
        match i64::try_from(*self) {
            Ok(number) if number <= MAX_INTEGER => Json::Integer(number),
            _ => Json::Number(self.to_string().into()),
        }
    }
}

impl ToJson for u32 {
    fn to_json(&self) -> Json<'static> {
        Json::Integer((*self).into())
    }
}

impl ToJson for u16 {
    fn to_json(&self) -> Json<'static> {
        Json::Integer((*self).into())
    }
}

impl ToJson for str {
    fn to_json(&self) -> Json<'static> {
        Json::String(self.to_owned().into())
    }
}

impl ToJson for String {
    fn to_json(&self) -> Json<'static> {
        self.as_str().to_json()
    }
}

impl ToJson for Json<'static> {
    fn to_json(&self) -> Json<'static> {
        self.clone()
    }
}

impl<T: ToJson + ?Sized> ToJson for &T {
    fn to_json(&self) -> Json<'static> {
        (**self).to_json()
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json(&self) -> Json<'static> {
        self.as_ref().map_or(Json::Null, ToJson::to_json)
    }
}

impl<T: ToJson> ToJson for [T] {
    fn to_json(&self) -> Json<'static> {
        Json::Array(self.iter().map(ToJson::to_json).collect())
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn to_json(&self) -> Json<'static> {
        self.as_slice().to_json()
    }
}

impl<T: ToJson, const N: usize> ToJson for [T; N] {
    fn to_json(&self) -> Json<'static> {
        self.as_slice().to_json()
    }
}
