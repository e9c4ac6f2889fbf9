//! Publishers and their rights: `publishers.toml`.
//!
//! ```toml
//! [[publisher]]
//! name = "example-vendor"
//! purls = ["pkg:generic/example/*"]      # the packages that it may make statements about
//! kinds = ["build", "update"]            # the kinds of statements, by name or by predicate type
//! require_signatures = ["ed25519", "ml-dsa-44"]   # optional: families, of each of which a statement needs a signature
//!
//! [[publisher.key]]
//! pem = """
//! -----BEGIN PUBLIC KEY-----
//! ...
//! -----END PUBLIC KEY-----
//! """                                    # or a certificate, or a line of OpenSSH
//! scheme = "rsa-pss-sha256"              # optional, for RSA: how it signs, if not with PKCS#1 v1.5
//! not_before = "2026-01-01T00:00:00Z"    # optional
//! not_after = "2028-01-01T00:00:00Z"     # optional
//! revoked = true                         # optional: nothing it signed is trusted
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;

use super::{
    Envelope, KeyFamily, PublicKey, Purl, PurlPattern, Statement, StatementError, StatementKind, Timestamp,
    format_time, parse_time,
};
use crate::format::{
    FormatError, SortedMap, TomlFile, TomlPlace, cap, has_space_or_control, quote, shown, toml_string,
};
use crate::merkle::Hash;

/// Largest `publishers.toml`, in bytes: thousands of publishers fit.
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
    require_signatures: Vec<String>,
    #[serde(default)]
    key: Vec<KeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    pem: String,
    scheme: Option<String>,
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
    pub(super) key: PublicKey,
    /// First second in which the log admits statements signed with it.
    pub not_before: Option<Timestamp>,
    /// Last second in which the log admits them.
    pub not_after: Option<Timestamp>,
    /// Set if nothing signed with it is trusted. The key stays in the file, because the sequence numbers that it
    /// claimed are kept under its publisher's name.
    pub revoked: bool,
}

impl PublisherKey {
    /// A key that is valid at any time.
    #[must_use]
    pub fn new(key: PublicKey) -> Self {
        Self { keyid: key.keyid(), key, not_before: None, not_after: None, revoked: false }
    }

    /// The public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Checks that the key is valid at some time.
    pub(crate) fn check_validity(&self) -> Result<(), FormatError> {
        if let (Some(from), Some(to)) = (self.not_before, self.not_after)
            && from > to
        {
            let seen = format!("{} and {}", format_time(from), format_time(to));
            let expected = "not_before to be at most not_after";
            return Err(FormatError::malformed(Publishers::WHAT, expected, seen));
        }
        Ok(())
    }
}

/// A publisher and its rights.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// Its name, unique in the file. Claims to sequence numbers are kept under it: never rename a publisher.
    pub name: String,
    /// The packages that it may make statements about.
    pub purls: Vec<PurlPattern>,
    /// The kinds of statements that it may make, as [`StatementKind::parse_right`] reads them.
    pub kinds: Vec<StatementKind>,
    /// Families of keys: a statement is this publisher's only with a valid signature of each of them. Each once, and each
    /// with a key in [`keys`](Self::keys). Empty: any valid signature will do.
    pub require_signatures: Vec<KeyFamily>,
    /// Its keys.
    pub keys: Vec<PublisherKey>,
}

impl Publisher {
    /// Tells whether it has the right to the statement's kind and to every package that the statement names. A
    /// publisher that may make any kind of release may also make withdrawals.
    pub(super) fn may_state(&self, statement: &Statement) -> bool {
        let mut rights = self.kinds.iter();
        let may = match statement {
            Statement::Withdrawal(_) => rights.any(|kind| matches!(kind, StatementKind::Release(_))),
            _ => rights.any(|right| statement.is_of(right)),
        };
        may && statement.purls().iter().all(|purl| self.covers(purl))
    }

    /// Tells whether signatures by keys of these families make a statement its own. `signed` may list signatures of
    /// others.
    pub(super) fn is_signed(&self, signed: &[(&Self, KeyFamily)]) -> bool {
        self.require_signatures
            .iter()
            .all(|required| signed.iter().any(|(by, family)| by.name == self.name && family == required))
    }

    /// The error for a statement that is not its own for want of signatures.
    pub(super) fn incomplete(&self, signed: &[(&Self, KeyFamily)]) -> StatementError {
        let words = |families: Vec<&str>| families.join(" and ");
        let mut seen: Vec<KeyFamily> =
            signed.iter().filter(|(by, _)| by.name == self.name).map(|(_, family)| *family).collect();
        seen.sort_unstable();
        seen.dedup();
        StatementError::SignaturesMissing {
            publisher: self.name.clone(),
            expected: words(self.require_signatures.iter().map(|family| family.as_str()).collect()),
            seen: words(seen.iter().map(|family| family.as_str()).collect()),
        }
    }

    /// Checks the families that it requires. The error has the position of the wrong one.
    fn check_required(&self) -> Result<(), (usize, FormatError)> {
        let wrong = |at: usize, expected: &str, seen: String| {
            Err((at, FormatError::malformed(Publishers::WHAT, expected, seen)))
        };
        for (at, family) in self.require_signatures.iter().enumerate() {
            if self.require_signatures[..at].contains(family) {
                return wrong(at, "each required family once", format!("{family} twice"));
            }
            if !self.keys.iter().any(|key| key.key.family() == *family) {
                let expected = "a key of each family in require_signatures";
                return wrong(at, expected, format!("none of {family}"));
            }
        }
        Ok(())
    }

    pub(crate) fn covers(&self, purl: &Purl) -> bool {
        self.purls.iter().any(|pattern| pattern.covers(purl))
    }
}

/// The publishers that a log admits or an endpoint trusts.
#[derive(Debug, Clone, Default)]
pub struct Publishers(Vec<Publisher>);

impl Publishers {
    const WHAT: &str = "a publishers file";

    /// Parses `publishers.toml`.
    ///
    /// # Errors
    /// [`FormatError`] for bad TOML, an unknown field, a name, key or pattern that is malformed or
    /// given twice, and weak keys.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_PUBLISHERS_BYTES)?;
        let (toml, file): (_, FileText) = TomlFile::read(Self::WHAT, "TOML as in docs/publishers.md", bytes)?;
        let mut seen = Seen::default();
        let mut publishers = Vec::with_capacity(file.publisher.len());
        for (at, publisher) in file.publisher.into_iter().enumerate() {
            let place = toml.root().item("publisher", at);
            let publisher = parse_publisher(publisher, &place)?;
            seen.add(&publisher).map_err(|(error, key)| match key {
                None => place.key("name").wrong(error),
                Some(twice) => place.item("key", twice).key("pem").wrong(error),
            })?;
            publishers.push(publisher);
        }
        Ok(Self(publishers))
    }

    /// Checks a list of publishers.
    ///
    /// # Errors
    /// [`FormatError`] for a name that is none, for a name or key that is given twice, and for a required family without a
    /// key.
    pub fn new(publishers: Vec<Publisher>) -> Result<Self, FormatError> {
        let mut seen = Seen::default();
        for publisher in &publishers {
            check_publisher_name(&publisher.name)
                .map_err(|expected| FormatError::malformed(Self::WHAT, expected, quote(&publisher.name)))?;
            publisher.check_required().map_err(|(_, error)| error)?;
            seen.add(publisher).map_err(|(error, _)| error)?;
        }
        Ok(Self(publishers))
    }

    /// The publishers.
    #[must_use]
    pub fn list(&self) -> &[Publisher] {
        &self.0
    }

    /// Finds the publisher and the key of a keyid.
    #[must_use]
    pub fn find(&self, keyid: &Hash) -> Option<(&Publisher, &PublisherKey)> {
        self.0.iter().find_map(|p| p.keys.iter().find(|key| key.keyid == *keyid).map(|key| (p, key)))
    }
}

/// Names and keys of the publishers so far.
#[derive(Default)]
struct Seen {
    names: SortedMap<String, ()>,
    /// By [`PublicKey::secret_id`]: one secret key must not count as two.
    keys: SortedMap<Hash, ()>,
}

impl Seen {
    /// Adds a publisher. The error has the position of the key that is given twice, or none if the name is.
    fn add(&mut self, publisher: &Publisher) -> Result<(), (FormatError, Option<usize>)> {
        let twice = |expected: &str, seen: String| FormatError::malformed(Publishers::WHAT, expected, seen);
        if !self.names.insert(publisher.name.clone(), ()) {
            let seen = format!("{} twice", quote(&publisher.name));
            return Err((twice("each publisher name once", seen), None));
        }
        match publisher.keys.iter().position(|key| !self.keys.insert(key.key.secret_id(), ())) {
            None => Ok(()),
            Some(at) => {
                let seen = format!("key {} twice", publisher.keys[at].keyid.to_hex());
                let expected = "each key once, an RSA modulus in one encoding and with one scheme";
                let expected =
                    if publisher.keys[at].key.family().is_rsa() { expected } else { "each key once" };
                Err((twice(expected, seen), Some(at)))
            }
        }
    }
}

/// A key that a publishers file no longer lists, or lists under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostKey {
    /// The publisher that had the key.
    pub publisher: String,
    /// The key's ID.
    pub keyid: Hash,
    /// The publisher that has the key under another name, if the old name is gone: names must not change.
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
    /// Replaces `before` in a running program. A key that is not listed any more stays as revoked, under its
    /// publisher's name, so that nobody else gets its claims. The second value lists the keys that are gone.
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
                let (purls, kinds, require_signatures) = (Vec::new(), Vec::new(), Vec::new());
                self.0.push(Publisher { name, purls, kinds, require_signatures, keys: gone });
            }
        }
        (self, lost)
    }

    /// Returns true if anyone may publish: if at least one key is not revoked.
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
    let family = |(at, text): (usize, &String)| {
        let expected = format!("families out of {}", KeyFamily::NAMES);
        let place = place.item("require_signatures", at);
        KeyFamily::parse(text).ok_or_else(|| place.malformed(expected, quote(text)))
    };
    let publisher = Publisher {
        purls: text.purls.iter().enumerate().map(pattern).collect::<Result<_, _>>()?,
        kinds: text.kinds.iter().enumerate().map(kind).collect::<Result<_, _>>()?,
        require_signatures: text
            .require_signatures
            .iter()
            .enumerate()
            .map(family)
            .collect::<Result<_, _>>()?,
        keys: text.key.iter().enumerate().map(key).collect::<Result<_, _>>()?,
        name: text.name,
    };
    publisher.check_required().map_err(|(at, e)| place.item("require_signatures", at).wrong(e))?;
    Ok(publisher)
}

/// Checks a publisher's name.
///
/// # Errors
/// A description of the expected form.
pub fn check_publisher_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 100 || has_space_or_control(name) || shown(name) != name {
        return Err("a publisher name of 1 to 100 bytes without spaces or hidden characters");
    }
    Ok(())
}

fn parse_right(kind: &String) -> Result<StatementKind, FormatError> {
    StatementKind::parse_right(kind).ok_or_else(|| {
        let mut expected = format!("kinds out of {}", StatementKind::rights());
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
    let scheme = text.scheme.as_deref().map(|scheme| {
        let family = KeyFamily::parse(scheme).filter(|family| family.is_rsa());
        family
            .ok_or_else(|| place.key("scheme").malformed("rsa-pkcs1-sha256 or rsa-pss-sha256", quote(scheme)))
    });
    let scheme = scheme.transpose()?;
    let key = PublicKey::parse(text.pem.as_bytes(), scheme).map_err(|e| place.key("pem").wrong(e))?;
    let (not_before, not_after) =
        (time("not_before", &text.not_before)?, time("not_after", &text.not_after)?);
    let key = PublisherKey { not_before, not_after, revoked: text.revoked, ..PublisherKey::new(key) };
    key.check_validity().map_err(|e| place.key("not_after").wrong(e))?;
    Ok(key)
}

/// A publisher to be added to `publishers.toml`.
#[derive(Debug)]
pub struct NewPublisher<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its public key.
    pub key: &'a PublicKey,
    /// The packages that it may make statements about.
    pub purls: &'a [PurlPattern],
    /// The kinds of statements that it may make, as [`StatementKind::parse_right`] reads them.
    pub kinds: &'a [StatementKind],
}

impl NewPublisher<'_> {
    /// The TOML to append to a publishers file.
    ///
    /// # Errors
    /// [`FormatError`] if `file` with it added would not parse: a bad key, a name that is taken.
    pub fn append_to(&self, file: &str) -> Result<String, FormatError> {
        let list = |items: Vec<String>| format!("[{}]", items.join(", "));
        let purls = list(self.purls.iter().map(|p| toml_string(p.as_str())).collect());
        let kinds = list(self.kinds.iter().map(|k| toml_string(k.as_str())).collect());
        let gap = if file.is_empty() || file.ends_with("\n\n") { "" } else { "\n" };
        let text = format!(
            "{file}{gap}[[publisher]]\nname = {}\npurls = {purls}\nkinds = {kinds}\n\n[[publisher.key]]\n{}",
            toml_string(self.name),
            self.key.to_toml(),
        );
        Publishers::parse(text.as_bytes())?;
        Ok(text)
    }
}

impl Publishers {
    /// Finds a publisher by its name, or by the hex keyid of one of its keys, and returns its name.
    #[must_use]
    pub fn name_of(&self, text: &str) -> Option<&str> {
        let named = self.0.iter().find(|publisher| publisher.name == text);
        let of_key = || Some(self.find(&Hash::from_hex(text).ok()?)?.0);
        named.or_else(of_key).map(|publisher| publisher.name.as_str())
    }

    /// The signers of an entry: their names, or their keyids if the keys are not registered.
    pub(super) fn signer_names(&self, envelope: &Envelope) -> Vec<String> {
        let name = |(keyid, _): &(Hash, Vec<u8>)| {
            self.find(keyid).map_or_else(|| keyid.to_hex(), |(publisher, _)| publisher.name.clone())
        };
        envelope.signatures().iter().map(name).collect()
    }
}
