//! Who may say what: `publishers.toml`.
//!
//! ```toml
//! [[publisher]]
//! name = "example-vendor"
//! purls = ["pkg:generic/example/*"]      # packages it may speak for
//! kinds = ["build", "update"]            # what it may say of them; also "detection-rules",
//!                                        # "provenance", "verification-summary"
//!
//! [[publisher.key]]
//! pem = """
//! -----BEGIN PUBLIC KEY-----
//! ...
//! -----END PUBLIC KEY-----
//! """
//! not_before = "2026-01-01T00:00:00Z"    # optional
//! not_after = "2028-01-01T00:00:00Z"     # optional
//! revoked = true                         # optional: nothing it signed is believed any more
//! ```

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ed25519_dalek::VerifyingKey;
use serde::Deserialize;

use super::envelope::keyid;
use super::pem::{public_key, public_pem_of};
use super::{Envelope, Purl, PurlPattern, Statement, StatementKind, Timestamp, format_time, parse_time};
use crate::format::{FormatError, TomlFile, TomlPlace, cap, has_space_or_control, quote, shown};
use crate::merkle::Hash;

/// Largest `publishers.toml`: thousands of publishers.
pub const MAX_PUBLISHERS_BYTES: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    publisher: Vec<PublisherText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublisherText {
    name: String,
    purls: Vec<String>,
    kinds: Vec<String>,
    #[serde(default)]
    key: Vec<KeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    pem: String,
    not_before: Option<String>,
    not_after: Option<String>,
    #[serde(default)]
    revoked: bool,
}

/// A key of a publisher.
#[derive(Debug, Clone)]
pub struct PublisherKey {
    /// Hex SHA-256 of the SPKI DER.
    pub keyid: Hash,
    pub(super) key: VerifyingKey,
    /// First second in which the log admits statements signed with it.
    pub not_before: Option<Timestamp>,
    /// Last second in which the log admits them.
    pub not_after: Option<Timestamp>,
    /// Nothing signed with it is believed. It stays in the file, because sequence numbers that it
    /// claimed are found under its publisher's name.
    pub revoked: bool,
}

/// A publisher and its rights.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// Its name, unique in the file. Claims to sequence numbers are kept under it: don't rename.
    pub name: String,
    /// Packages it may speak for.
    pub purls: Vec<PurlPattern>,
    /// What it may state, out of [`StatementKind::LISTABLE`].
    pub kinds: Vec<StatementKind>,
    /// Its keys.
    pub keys: Vec<PublisherKey>,
}

impl Publisher {
    /// Whether it has the right to the kind and to every package that is named. Who may
    /// release a package in any kind may withdraw there.
    pub(super) fn may_state(&self, statement: &Statement) -> bool {
        let kind = statement.kind();
        let may = match kind {
            StatementKind::Withdrawal => {
                self.kinds.iter().any(|kind| matches!(kind, StatementKind::Release(_)))
            }
            _ => self.kinds.contains(&kind),
        };
        may && statement.purls().iter().all(|purl| self.covers(purl))
    }

    pub(super) fn covers(&self, purl: &Purl) -> bool {
        self.purls.iter().any(|pattern| pattern.covers(purl))
    }
}

/// All publishers that a log admits or an endpoint believes.
#[derive(Debug, Clone, Default)]
pub struct Publishers(Vec<Publisher>);

impl Publishers {
    const WHAT: &str = "a publishers file";

    /// Reads `publishers.toml`.
    ///
    /// # Errors
    /// [`FormatError`] for bad TOML, an unknown field, a name, key or pattern that is malformed or
    /// given twice, and weak keys.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_PUBLISHERS_BYTES)?;
        let (toml, file): (_, FileText) = TomlFile::read(Self::WHAT, "TOML as in docs/publishers.md", bytes)?;
        let mut names = BTreeSet::new();
        let mut keyids = BTreeSet::new();
        let mut publishers = Vec::with_capacity(file.publisher.len());
        for (at, publisher) in file.publisher.into_iter().enumerate() {
            let place = toml.root().item("publisher", at);
            let publisher = parse_publisher(publisher, &place)?;
            if !names.insert(publisher.name.clone()) {
                let seen = format!("{} twice", quote(&publisher.name));
                return Err(place.key("name").malformed("each publisher name once", seen));
            }
            if let Some(twice) = publisher.keys.iter().position(|key| !keyids.insert(key.keyid)) {
                let seen = format!("key {} twice", publisher.keys[twice].keyid.to_hex());
                return Err(place.item("key", twice).key("pem").malformed("each key once", seen));
            }
            publishers.push(publisher);
        }
        Ok(Self(publishers))
    }

    /// The publishers.
    #[must_use]
    pub fn list(&self) -> &[Publisher] {
        &self.0
    }

    /// Publisher and key of a keyid.
    #[must_use]
    pub fn find(&self, keyid: &Hash) -> Option<(&Publisher, &PublisherKey)> {
        self.0.iter().find_map(|p| p.keys.iter().find(|key| key.keyid == *keyid).map(|key| (p, key)))
    }
}

/// A key that a publishers file no longer lists, or lists under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostKey {
    /// Whose it was.
    pub publisher: String,
    /// Which.
    pub keyid: Hash,
    /// Its publisher now, if the old one is gone: a name is for life.
    pub now: Option<String>,
}

impl fmt::Display for LostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (publisher, keyid) = (&self.publisher, self.keyid.to_hex());
        match &self.now {
            None => write!(f, "key {keyid} of {publisher}"),
            Some(now) => write!(f, "the name {publisher} of key {keyid}, which {now} has now"),
        }
    }
}

impl Publishers {
    /// The publishers in force when this replaces `before` in a running program: a key that is no longer listed
    /// stays as revoked, under its publisher's name, so that nobody else gets its claims. The second value
    /// lists what is gone.
    #[must_use]
    pub fn after(mut self, before: &Self) -> (Self, Vec<LostKey>) {
        let mut lost = Vec::new();
        for old in &before.0 {
            let (there, mut gone): (Vec<_>, Vec<_>) =
                old.keys.iter().cloned().partition(|key| self.find(&key.keyid).is_some());
            gone.iter_mut().for_each(|key| key.revoked = true);
            let lose = |keyid, now| LostKey { publisher: old.name.clone(), keyid, now };
            lost.extend(gone.iter().map(|key| lose(key.keyid, None)));
            if let Some(same) = self.0.iter_mut().find(|publisher| publisher.name == old.name) {
                same.keys.extend(gone);
                continue;
            }
            let other =
                |key: &PublisherKey| self.find(&key.keyid).map(|(publisher, _)| publisher.name.clone());
            lost.extend(there.iter().map(|key| lose(key.keyid, other(key))));
            if !gone.is_empty() {
                let name = old.name.clone();
                self.0.push(Publisher { name, purls: Vec::new(), kinds: Vec::new(), keys: gone });
            }
        }
        (self, lost)
    }

    /// Whether anybody may publish.
    #[must_use]
    pub fn has_usable_key(&self) -> bool {
        self.0.iter().any(|publisher| publisher.keys.iter().any(|key| !key.revoked))
    }
}

fn parse_publisher(text: PublisherText, place: &TomlPlace<'_>) -> Result<Publisher, FormatError> {
    if let Err(expected) = check_publisher_name(&text.name) {
        return Err(place.key("name").malformed(expected, quote(&text.name)));
    }
    let pattern =
        |(at, text): (usize, &String)| PurlPattern::parse(text).map_err(|e| place.item("purls", at).wrong(e));
    let kind = |(at, text): (usize, &String)| parse_right(text).map_err(|e| place.item("kinds", at).wrong(e));
    let key = |(at, text): (usize, &KeyText)| parse_key(text, &place.item("key", at));
    Ok(Publisher {
        purls: text.purls.iter().enumerate().map(pattern).collect::<Result<_, _>>()?,
        kinds: text.kinds.iter().enumerate().map(kind).collect::<Result<_, _>>()?,
        keys: text.key.iter().enumerate().map(key).collect::<Result<_, _>>()?,
        name: text.name,
    })
}

/// Checks the name of a publisher.
///
/// # Errors
/// The form that is expected.
pub fn check_publisher_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 100 || has_space_or_control(name) || shown(name) != name {
        return Err("a publisher name of 1 to 100 bytes without spaces or hidden characters");
    }
    Ok(())
}

fn parse_right(kind: &String) -> Result<StatementKind, FormatError> {
    StatementKind::parse_right(kind).ok_or_else(|| {
        let mut expected =
            "kinds out of build, update, detection-rules, provenance and verification-summary".to_owned();
        if kind == StatementKind::Withdrawal.as_str() {
            expected += " (who may release a package may withdraw what it released)";
        }
        FormatError::malformed(Publishers::WHAT, expected, quote(kind))
    })
}

fn parse_key(text: &KeyText, place: &TomlPlace<'_>) -> Result<PublisherKey, FormatError> {
    let time = |name: &'static str, time: &Option<String>| {
        time.as_deref().map(parse_time).transpose().map_err(|e| place.key(name).wrong(e))
    };
    let key = public_key(&text.pem).map_err(|e| place.key("pem").wrong(e))?;
    let (not_before, not_after) =
        (time("not_before", &text.not_before)?, time("not_after", &text.not_after)?);
    if let (Some(from), Some(to)) = (not_before, not_after)
        && from > to
    {
        let seen = format!("{} and {}", format_time(from), format_time(to));
        return Err(place.key("not_after").malformed("not_before to be at most not_after", seen));
    }
    Ok(PublisherKey { keyid: keyid(&key), key, not_before, not_after, revoked: text.revoked })
}

/// A publisher to be added to `publishers.toml`.
#[derive(Debug)]
pub struct NewPublisher<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its public key in PEM.
    pub pem: &'a str,
    /// Packages it may speak for.
    pub purls: &'a [PurlPattern],
    /// What it may state, out of [`StatementKind::LISTABLE`].
    pub kinds: &'a [StatementKind],
}

impl NewPublisher<'_> {
    /// The TOML to append to a publishers file.
    ///
    /// # Errors
    /// [`FormatError`] if `file` with it added would not parse: a bad key, a name that is taken.
    pub fn append_to(&self, file: &str) -> Result<String, FormatError> {
        // Written anew: text around the key would be read as TOML here.
        let (_, pem) = public_pem_of(self.pem)?;
        let list = |items: Vec<String>| format!("[{}]", items.join(", "));
        let string = |text: &str| toml_string(text);
        let purls = list(self.purls.iter().map(|p| string(p.as_str())).collect());
        let kinds = list(self.kinds.iter().map(|k| string(k.as_str())).collect());
        let gap = if file.is_empty() || file.ends_with("\n\n") { "" } else { "\n" };
        let text = format!(
            "{file}{gap}[[publisher]]\nname = {}\npurls = {purls}\nkinds = {kinds}\n\n[[publisher.key]]\npem = \"\"\"\n{}\n\"\"\"\n",
            string(self.name),
            pem.trim_end(),
        );
        Publishers::parse(text.as_bytes())?;
        Ok(text)
    }
}

/// A TOML basic string; JSON's escapes are a part of TOML's.
fn toml_string(text: &str) -> String {
    serde_json::to_string(text).expect("strings always serialize")
}

impl Publishers {
    /// The name of the publisher that has this name, or the key with this keyid in hex.
    #[must_use]
    pub fn name_of(&self, text: &str) -> Option<&str> {
        let named = self.0.iter().find(|publisher| publisher.name == text);
        let of_key = || Some(self.find(&Hash::from_hex(text).ok()?)?.0);
        named.or_else(of_key).map(|publisher| publisher.name.as_str())
    }

    /// Who signed an entry that the log holds already, by name where the key is still registered.
    pub(super) fn signer_names(&self, envelope: &Envelope) -> Vec<String> {
        let name = |(keyid, _): &(Hash, Vec<u8>)| {
            self.find(keyid).map_or_else(|| keyid.to_hex(), |(publisher, _)| publisher.name.clone())
        };
        envelope.signatures().iter().map(name).collect()
    }

    /// Whether some publisher may state releases of this package at all.
    #[must_use]
    pub fn cover(&self, purl: &Purl) -> bool {
        self.0.iter().any(|publisher| publisher.covers(purl))
    }
}
