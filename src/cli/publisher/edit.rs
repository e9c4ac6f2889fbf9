//! Edits `publishers.toml`, and leaves everything else in it, comments included, as its operator wrote it.

use std::path::Path;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value, value};

use super::super::config::Config;
use super::super::exit::Failure;
use super::super::files;
use crate::format::file_text;
use crate::release::{MAX_PUBLISHERS_BYTES, PublicKey, PublisherKey, Publishers, Timestamp, format_time};
use crate::server::Profile;

const WHAT: &str = "a publishers file";

/// Reads the publishers of a log.
pub fn read(config: &Config) -> Result<Publishers, Failure> {
    if config.profile == Profile::Opaque {
        return Err(Failure::Usage(
            "an opaque log accepts entries from anybody: it has no publishers".to_owned(),
        ));
    }
    files::parse(&config.publishers(), WHAT, MAX_PUBLISHERS_BYTES, Publishers::parse)
}

/// Changes the text of the file atomically; returns the parsed result.
pub fn change(
    config: &Config,
    change: impl FnOnce(&Publishers, &str) -> Result<String, Failure>,
) -> Result<Publishers, Failure> {
    // Two concurrent commands would each lose the other's change.
    let _lock = files::lock(&config.dir.join("publishers.lock"))?;
    let (before, path) = (read(config)?, config.publishers());
    let old =
        files::parse(&path, WHAT, MAX_PUBLISHERS_BYTES, |bytes| file_text(WHAT, bytes).map(str::to_owned))?;
    let new = change(&before, &old)?;
    let after = Publishers::parse(new.as_bytes()).map_err(|e| Failure::file(&path, &e))?;
    if new != old {
        files::replace(&path, new.as_bytes())?;
    }
    Ok(after)
}

/// The place of a key in the file.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    publisher: usize,
    key: usize,
}

impl Place {
    /// Finds the only key whose ID has this prefix.
    pub fn find(publishers: &Publishers, keyid: &str, dir: &Path) -> Result<Self, Failure> {
        let all = publishers.list().iter().enumerate();
        let all =
            all.flat_map(|(publisher, p)| p.keys.iter().enumerate().map(move |(key, k)| (publisher, key, k)));
        let mut fitting = all.filter(|(_, _, k)| k.keyid.to_hex().starts_with(keyid));
        let list = format!("`treehead publisher list {}` shows all keys", dir.display());
        match (fitting.next(), fitting.next()) {
            (Some((publisher, key, _)), None) => Ok(Self { publisher, key }),
            (Some(_), Some(_)) => Err(Failure::Usage(format!(
                "--keyid {keyid}: expected more digits, saw the start of several key IDs; {list}"
            ))),
            (None, _) => Err(Failure::Usage(format!(
                "--keyid {keyid}: expected the ID of a key in publishers.toml, saw none with this prefix; {list}"
            ))),
        }
    }

    /// The name of its publisher, and the key itself.
    pub fn of(self, publishers: &Publishers) -> (&str, &PublisherKey) {
        let publisher = &publishers.list()[self.publisher];
        (&publisher.name, &publisher.keys[self.key])
    }

    /// Returns the text with a field of the key set.
    pub fn set(self, text: &str, field: &str, to: impl Into<Value>) -> Result<String, Failure> {
        let mut document = parse(text)?;
        let publisher = block(document.get_mut("publisher"), self.publisher);
        let key =
            publisher.and_then(|publisher| block(publisher.get_mut("key"), self.key)).ok_or_else(internal)?;
        key.insert(field, value(to));
        Ok(document.to_string())
    }
}

/// Returns the text with one more key of an existing publisher.
pub fn add_key(
    text: &str,
    publisher: usize,
    key: &PublicKey,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
) -> Result<String, Failure> {
    let mut document = parse(text)?;
    let in_brackets = document.get("publisher").is_some_and(Item::is_value);
    let publisher = block(document.get_mut("publisher"), publisher).ok_or_else(internal)?;
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    let pem: Value = format!("\"\"\"\n{}\"\"\"", key.to_pem()).parse().expect("PEM has no quotes");
    table.insert("pem", value(pem));
    if let Some(scheme) = key.stated_scheme() {
        table.insert("scheme", value(scheme.as_str()));
    }
    for (field, time) in [("not_before", not_before), ("not_after", not_after)] {
        if let Some(time) = time {
            table.insert(field, value(format_time(time)));
        }
    }
    match publisher.get_mut("key") {
        None if in_brackets => {
            let keys: Array = [Value::from(inline(table))].into_iter().collect();
            publisher.insert("key", value(keys));
        }
        None => {
            let mut keys = ArrayOfTables::new();
            keys.push(table);
            publisher.insert("key", Item::ArrayOfTables(keys));
        }
        Some(Item::ArrayOfTables(keys)) => keys.push(table),
        Some(Item::Value(Value::Array(keys))) => keys.push(inline(table)),
        Some(_) => return Err(internal()),
    }
    Ok(document.to_string())
}

fn inline(table: Table) -> InlineTable {
    table.into_inline_table()
}

fn parse(text: &str) -> Result<DocumentMut, Failure> {
    text.parse()
        .map_err(|e: toml_edit::TomlError| Failure::Usage(format!("publishers.toml: {}", e.message())))
}

/// Finds a block, written as `[[blocks]]` or in brackets.
fn block(blocks: Option<&mut Item>, index: usize) -> Option<&mut dyn TableLike> {
    match blocks? {
        Item::ArrayOfTables(tables) => tables.get_mut(index).map(|table| table as &mut dyn TableLike),
        Item::Value(Value::Array(items)) => {
            items.get_mut(index)?.as_inline_table_mut().map(|table| table as &mut dyn TableLike)
        }
        _ => None,
    }
}

fn internal() -> Failure {
    Failure::CouldNotTell("could not edit publishers.toml: this is a bug; edit it by hand".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::PublisherSigner;

    fn pem(seed: u8) -> String {
        PublisherSigner::from_seed(&[seed; 32]).public_pem()
    }

    fn key(seed: u8) -> PublicKey {
        PublisherSigner::from_seed(&[seed; 32]).public_key()
    }

    fn keyid(seed: u8) -> String {
        PublisherSigner::from_seed(&[seed; 32]).keyid().to_hex()
    }

    fn file() -> String {
        format!(
            "# who\n[[publisher]] # first\nname = \"a\"\npurls = [\n  \"pkg:generic/a\", # one\n]\nkinds = []\n\n\
             [[publisher.key]]\npem = '''\n{}''' # old\n# below it\n\n# second\n[[publisher]]\nname = \"b\"\npurls = []\n\
             kinds = []\nkey = [{{ pem = '''\n{}''' }}] # inline\n# the end\n",
            pem(1),
            pem(2)
        )
    }

    fn keys(text: &str) -> Vec<(String, Vec<String>)> {
        let publishers = Publishers::parse(text.as_bytes()).unwrap();
        let keys = |keys: &[PublisherKey]| keys.iter().map(|key| key.keyid.to_hex()).collect();
        publishers.list().iter().map(|p| (p.name.clone(), keys(&p.keys))).collect()
    }

    /// Everything that was there is still there, in its order.
    fn check_kept(new: &str, old: &str) {
        let mut new = new.lines();
        for line in old.lines().filter(|line| !line.contains("# inline")) {
            assert!(new.any(|new| new.trim_end() == line.trim_end()), "{line}");
        }
    }

    #[test]
    fn keys_are_added_where_they_belong() {
        let old = file();
        let first = add_key(&old, 0, &key(3), None, Some(1_769_860_800)).unwrap();
        assert_eq!(
            keys(&first),
            [("a".to_owned(), vec![keyid(1), keyid(3)]), ("b".to_owned(), vec![keyid(2)])]
        );
        assert!(first.contains("not_after = \"2026-01-31T12:00:00Z\"\n"), "{first}");
        check_kept(&first, &old);
        let second = add_key(&first, 1, &key(4), Some(0), None).unwrap();
        assert_eq!(keys(&second)[1].1, [keyid(2), keyid(4)]);
        check_kept(&second, &old);
        let none = "[[publisher]]\nname = \"c\"\npurls = []\nkinds = []\n\n# more\n[[publisher]]\nname = \"d\"\npurls = []\nkinds = []\n";
        let third = add_key(none, 0, &key(5), None, None).unwrap();
        assert_eq!(keys(&third), [("c".to_owned(), vec![keyid(5)]), ("d".to_owned(), vec![])]);
        check_kept(&third, none);
        let inline = "publisher = [{ name = \"e\", purls = [], kinds = [] }]\n";
        assert_eq!(
            keys(&add_key(inline, 0, &key(6), None, None).unwrap()),
            [("e".to_owned(), vec![keyid(6)])]
        );
    }

    #[test]
    fn fields_of_keys_are_set_and_changed() {
        let mut text = file();
        for (at, seed) in [1, 2].into_iter().enumerate() {
            let publishers = Publishers::parse(text.as_bytes()).unwrap();
            let place = Place::find(&publishers, &keyid(seed)[..8], Path::new("log")).unwrap();
            assert_eq!(place.of(&publishers).0, ["a", "b"][at]);
            let first = place.set(&text, "not_after", "2026-01-31T12:00:00Z").unwrap();
            let again = place.set(&first, "not_after", "2027-01-31T12:00:00Z").unwrap();
            let revoked = place.set(&again, "revoked", true).unwrap();
            let publishers = Publishers::parse(revoked.as_bytes()).unwrap();
            let key = place.of(&publishers).1;
            assert_eq!(key.not_after.map(format_time).as_deref(), Some("2027-01-31T12:00:00Z"));
            assert!(key.revoked);
            check_kept(&revoked, &file());
            text = revoked;
        }
        let publishers = Publishers::parse(text.as_bytes()).unwrap();
        let wrong = |keyid: &str| Place::find(&publishers, keyid, Path::new("log")).unwrap_err();
        assert!(wrong("00000000").message().contains("saw none with this prefix"));
        assert!(wrong("").message().contains("saw the start of several key IDs"));
    }
}
