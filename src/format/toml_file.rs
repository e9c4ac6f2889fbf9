//! TOML files that people write. Errors name the line, the key and its block.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{FormatError, file_text, quote};

/// Quotes a string for TOML.
pub(crate) fn toml_string(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A parsed TOML file.
pub(crate) struct TomlFile<'a> {
    what: &'static str,
    text: &'a str,
}

impl<'a> TomlFile<'a> {
    /// Parses a file; `expected` describes its content in errors.
    ///
    /// # Errors
    /// [`FormatError`] that names the line and the key.
    pub fn read<T: DeserializeOwned>(
        what: &'static str,
        expected: &str,
        bytes: &'a [u8],
    ) -> Result<(Self, T), FormatError> {
        let file = Self { what, text: file_text(what, bytes)? };
        match toml::from_str(file.text) {
            Ok(content) => Ok((file, content)),
            Err(e) => {
                let error = FormatError::malformed(what, expected, quiet(e.message()));
                Err(file.at(e.span().map_or(0, |span| span.start), error))
            }
        }
    }

    /// The whole file, as the place from which keys are looked up.
    pub const fn root(&self) -> TomlPlace<'_> {
        TomlPlace { file: self, path: Vec::new() }
    }

    /// Adds the place of the byte at this offset to an error.
    fn at(&self, byte: usize, error: FormatError) -> FormatError {
        let mut words = Vec::new();
        // Text that is not TOML has lines, but no keys.
        if let Ok(root) = DeTable::parse(self.text) {
            holds(root.get_ref(), byte, &mut words);
        }
        error.placed(self.line(byte), in_words(&words))
    }

    fn line(&self, byte: usize) -> usize {
        self.text.as_bytes()[..byte.min(self.text.len())].split(|b| *b == b'\n').count()
    }
}

/// A key of the file, or a block, which may be missing.
#[derive(Clone)]
pub(crate) struct TomlPlace<'a> {
    file: &'a TomlFile<'a>,
    path: Vec<(&'static str, Option<usize>)>,
}

impl TomlPlace<'_> {
    /// The place of this key here.
    pub fn key(&self, key: &'static str) -> Self {
        self.step(key, None)
    }

    /// The place of one item of the array, or of the `[[blocks]]`, of this name, counted from 0.
    pub fn item(&self, key: &'static str, index: usize) -> Self {
        self.step(key, Some(index))
    }

    fn step(&self, key: &'static str, index: Option<usize>) -> Self {
        let path = self.path.iter().copied().chain([(key, index)]).collect();
        Self { file: self.file, path }
    }

    /// An error at this place.
    pub fn malformed(&self, expected: impl Into<String>, seen: impl Into<String>) -> FormatError {
        self.wrong(FormatError::malformed(self.file.what, expected, seen))
    }

    /// Adds this place to the error of a value. A missing key is placed at its block.
    pub fn wrong(&self, error: FormatError) -> FormatError {
        let (mut byte, mut words) = (0, Vec::new());
        let root = DeTable::parse(self.file.text);
        let mut table = root.as_ref().map(Spanned::get_ref).ok();
        for (key, index) in &self.path {
            let value = table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key));
            let item = value.and_then(|(_, value)| value.get_ref().as_array()?.get((*index)?));
            let here = item.or(value.map(|(_, value)| value));
            byte = here.map_or(byte, |here| here.span().start);
            table = here.and_then(|here| here.get_ref().as_table());
            words.push(word(key, *index, table));
        }
        error.placed(self.file.line(byte), in_words(&words))
    }
}

/// Collects the path to the key or value at this byte; returns whether there is one.
fn holds(table: &DeTable<'_>, byte: usize, words: &mut Vec<String>) -> bool {
    table.iter().any(|(key, value)| {
        let items = value.get_ref().as_array().into_iter().flat_map(|array| array.iter().enumerate());
        let mut places = items.map(|(index, item)| (Some(index), item)).chain([(None, value)]);
        let within = |(index, place): (Option<usize>, &Spanned<DeValue<'_>>)| {
            let inner = place.get_ref().as_table();
            words.push(word(key.get_ref(), index, inner));
            let found = inner.is_some_and(|inner| holds(inner, byte, words)) || place.span().contains(&byte);
            if !found {
                words.pop();
            }
            found
        };
        places.any(within)
            || (key.span().contains(&byte) && {
                words.push(word(key.get_ref(), None, None));
                true
            })
    })
}

/// Describes a key or a block; a block by its `name`, if it has one.
fn word(key: &str, index: Option<usize>, block: Option<&DeTable<'_>>) -> String {
    let name = block.and_then(|block| block.iter().find(|(key, _)| key.get_ref() == "name"));
    match (index, block, name.and_then(|(_, name)| name.get_ref().as_str())) {
        (Some(_), Some(_), Some(name)) => format!("{key} {}", quote(name)),
        (Some(index), Some(_), None) => format!("{key} {}", index + 1),
        _ => format!("`{key}`"),
    }
}

fn in_words(path: &[String]) -> Option<String> {
    let words: Vec<&str> = path.iter().rev().map(String::as_str).collect();
    (!words.is_empty()).then(|| words.join(" of "))
}

/// The TOML reader's errors quote values of any length, possibly a secret key.
fn quiet(message: &str) -> String {
    if super::is_secret(message) { super::SECRET.to_owned() } else { message.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read for its errors")]
    struct File {
        interval: Option<u64>,
        #[serde(default)]
        publisher: Vec<Publisher>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read for its errors")]
    struct Publisher {
        name: String,
        kinds: Vec<String>,
        #[serde(default)]
        key: Vec<Key>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read for its errors")]
    struct Key {
        pem: String,
    }

    const GOOD: &str = "interval = 1\n\n[[publisher]]\nname = \"a\"\nkinds = [\n  \"build\",\n  \"update\",\n]\n\n[[publisher.key]]\npem = '''\nx=\n'''\n\n[[publisher]]\nname = \"b\"\nkinds = []\n[[publisher.key]]\npem = 'y'\n[[publisher.key]]\npem = 'z'\n";

    fn error(text: &str) -> String {
        TomlFile::read::<File>("a test", "TOML", text.as_bytes()).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_fit_is_named_with_line_key_and_block() {
        for (from, to, says) in [
            (
                "interval = 1",
                "interval = 'x'",
                "a test is malformed at line 1, `interval`: expected TOML, saw ",
            ),
            ("interval = 1", "intervall = 1", "at line 1, `intervall`: expected TOML, saw unknown field"),
            ("name = \"a\"", "name = 7", "at line 4, `name` of publisher 1: expected TOML, saw "),
            ("\"update\"", "7", "at line 7, `kinds` of publisher \"a\": expected TOML, saw "),
            ("'z'", "7", "at line 21, `pem` of key 2 of publisher \"b\": expected TOML, saw "),
            ("kinds = []\n", "", "at line 15, publisher \"b\": expected TOML, saw missing field `kinds`"),
            ("'y'", "'y", "at line 19: expected TOML, saw "),
        ] {
            let error = error(&GOOD.replacen(from, to, 1));
            assert!(error.contains(says), "{to}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_value_is_named_as_well() {
        let (file, _) = TomlFile::read::<File>("a test", "TOML", GOOD.as_bytes()).unwrap();
        let second = file.root().item("publisher", 1);
        let says = |place: &TomlPlace<'_>| place.malformed("x", "y").to_string();
        let expected = "a test is malformed at line 21, `pem` of key 2 of publisher \"b\": expected x, saw y";
        assert_eq!(says(&second.item("key", 1).key("pem")), expected);
        let missing = second.key("purls");
        assert_eq!(
            says(&missing),
            "a test is malformed at line 15, `purls` of publisher \"b\": expected x, saw y"
        );
        let update = file.root().item("publisher", 0).item("kinds", 1);
        assert_eq!(
            says(&update),
            "a test is malformed at line 7, `kinds` of publisher \"a\": expected x, saw y"
        );
        // A size has no line of its own.
        let long = crate::format::cap("a name", 300, 255).unwrap_err();
        let says = second.key("name").wrong(long).to_string();
        let expected =
            "a name is malformed at line 16, `name` of publisher \"b\": expected at most 255 bytes, saw 300";
        assert_eq!(says, expected);
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_change_nothing() {
        let windows = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
        let (file, _) = TomlFile::read::<File>("a test", "TOML", windows.as_bytes()).unwrap();
        let error = file.root().item("publisher", 1).key("name").malformed("x", "y").to_string();
        assert!(error.contains("at line 16, "), "{error}");
        let utf16: Vec<u8> =
            [0xfeff].into_iter().chain(GOOD.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let error = TomlFile::read::<File>("a test", "TOML", &utf16).map(drop).unwrap_err().to_string();
        assert!(error.contains("expected UTF-8, saw UTF-16"), "{error}");
    }

    #[test]
    fn secrets_are_not_quoted() {
        let pem = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIE\\n-----END PRIVATE KEY-----";
        for text in
            [format!("interval = \"{pem}\""), "interval = \"PRIVATE+KEY+x+00000000+MC4CAQ\"".to_owned()]
        {
            let error = error(&text);
            assert!(!error.contains("MC4CAQ") && error.contains("a secret key"), "{error}");
        }
    }
}
