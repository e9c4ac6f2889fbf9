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

use std::collections::HashSet;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use serde::Deserialize;

use super::envelope::keyid;
use super::{Envelope, Purl, PurlPattern, Statement, StatementKind, Timestamp, format_time, parse_time};
use crate::format::{FormatError, cap, has_space_or_control, quote, utf8};
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
    pub(super) not_before: Option<Timestamp>,
    /// Last second in which the log admits them.
    pub(super) not_after: Option<Timestamp>,
    /// Nothing signed with it is believed. It stays in the file, because sequence numbers that it
    /// claimed are found under its publisher's name.
    pub(super) revoked: bool,
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
        let text = utf8(Self::WHAT, bytes)?;
        let file: FileText = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            FormatError::malformed(Self::WHAT, "TOML as in docs/publishers.md", e.message()).at_line(line)
        })?;
        let mut names = HashSet::new();
        let mut keyids = HashSet::new();
        let mut publishers = Vec::with_capacity(file.publisher.len());
        for publisher in file.publisher {
            let publisher = parse_publisher(publisher)?;
            if !names.insert(publisher.name.clone()) {
                let seen = format!("{} twice", quote(&publisher.name));
                return Err(FormatError::malformed(Self::WHAT, "each publisher name once", seen));
            }
            if let Some(key) = publisher.keys.iter().find(|key| !keyids.insert(key.keyid)) {
                let seen = format!("key {} twice", key.keyid.to_hex());
                return Err(FormatError::malformed(Self::WHAT, "each key once", seen));
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

fn parse_publisher(text: PublisherText) -> Result<Publisher, FormatError> {
    if text.name.is_empty() || text.name.len() > 100 || has_space_or_control(&text.name) {
        let expected = "a publisher name of 1 to 100 bytes without spaces";
        return Err(FormatError::malformed(Publishers::WHAT, expected, quote(&text.name)));
    }
    Ok(Publisher {
        purls: text.purls.iter().map(|p| PurlPattern::parse(p)).collect::<Result<_, _>>()?,
        kinds: text.kinds.iter().map(parse_right).collect::<Result<_, _>>()?,
        keys: text.key.iter().map(parse_key).collect::<Result<_, _>>()?,
        name: text.name,
    })
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

fn parse_key(text: &KeyText) -> Result<PublisherKey, FormatError> {
    let time = |time: &Option<String>| time.as_deref().map(parse_time).transpose();
    let key = parse_public_pem(&text.pem)?;
    let (not_before, not_after) = (time(&text.not_before)?, time(&text.not_after)?);
    if let (Some(from), Some(to)) = (not_before, not_after)
        && from > to
    {
        let seen = format!("{} and {}", format_time(from), format_time(to));
        return Err(FormatError::malformed(Publishers::WHAT, "not_before to be at most not_after", seen));
    }
    Ok(PublisherKey { keyid: keyid(&key), key, not_before, not_after, revoked: text.revoked })
}

/// Reads an Ed25519 public key in SPKI PEM and refuses weak ones.
fn parse_public_pem(pem: &str) -> Result<VerifyingKey, FormatError> {
    let expected = "an Ed25519 PUBLIC KEY in PEM (openssl pkey -in KEY -pubout)";
    let key = VerifyingKey::from_public_key_pem(pem.trim_start()).map_err(|e| {
        let private = pem.contains("PRIVATE KEY");
        let seen = if private {
            "a private key, which belongs to its publisher alone".to_owned()
        } else {
            e.to_string()
        };
        FormatError::malformed("a publisher key", expected, seen)
    })?;
    if key.is_weak() {
        return Err(FormatError::malformed("a publisher key", "a strong key", "a weak one, of small order"));
    }
    Ok(key)
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
        // Written anew: a PEM reader skips text before the key, which would be read as TOML here.
        let pem = parse_public_pem(self.pem)?
            .to_public_key_pem(LineEnding::LF)
            .expect("an Ed25519 key always encodes");
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
