//! Trust files: whom an endpoint trusts, in one file.
//!
//! ```text
//! {"format":"treehead-trust@v1",
//!  "number":1,                                  1 to 2^53 - 1
//!  "policy":["log example.com/log+...",         the lines of a policy (c2sp.org/tlog-policy): logs, witnesses,
//!            "witness w1 w1.example+...",       groups, quorum; no comments, no addresses of witnesses
//!            "quorum w1"],
//!  "publishers":[{"keys":[{"ed25519":"<the public key, base64>",     or another family: see below
//!                          "not_after":"2028-01-01T00:00:00Z",        optional
//!                          "not_before":"2026-01-01T00:00:00Z",       optional
//!                          "revoked":true}],                          optional
//!                 "kinds":["build","update"],
//!                 "name":"example-vendor",
//!                 "purls":["pkg:generic/example/*"],
//!                 "require_signatures":["ed25519","ml-dsa-44"]}],     optional: families that all have to sign
//!  "gate":[{...}],                              optional: the attestations that releases need, as requirement.rs says
//!  "update":{...}}                              optional: who may replace the file, as succession.rs says
//! ```
//!
//! A key is a member with the name of its family: `ed25519` and `ml-dsa-44` hold the raw key (32 and 1,312 bytes),
//! `ecdsa-p256`, `ecdsa-p384`, `rsa-pkcs1-sha256` and `rsa-pss-sha256` the `SubjectPublicKeyInfo` in DER.
//!
//! It is canonical JSON (RFC 8785: keys in order, no white space) without a newline at the end, and it has one spelling:
//! a parsed file prints as the same bytes. Members that this version does not know are refused, because they may restrict
//! what is trusted.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Requirement, Trust, UpdateRule};
use crate::checkpoint::policy::Policy;
use crate::format::{FormatError, base64_decode, base64_encode, cap, quote, utf8};
use crate::release::{
    Fields, Json, KeyFamily, MAX_INTEGER, PublicKey, Publisher, PublisherKey, Publishers, PurlPattern,
    StatementKind, format_time, parse_time,
};

/// Largest trust file, in bytes: a policy of 256 ML-DSA-44 keys and thousands of publishers fit.
pub const MAX_TRUST_BYTES: usize = 4 * 1024 * 1024;
/// File name in an endpoint's directory.
pub const TRUST_FILE: &str = "endpoint.trust";
/// The value of the member `format`.
const FORMAT: &str = "treehead-trust@v1";

/// The logs, witnesses and publishers that an endpoint trusts, the attestations that it asks for, and the number of this
/// statement about them.
#[derive(Debug, Clone)]
pub struct TrustFile {
    number: u64,
    policy: Policy,
    publishers: Publishers,
    gate: Vec<Requirement>,
    update: Option<UpdateRule>,
}

impl TrustFile {
    const WHAT: &str = "a trust file";

    /// Puts a policy, publishers and a gate together. Drops the addresses of witnesses, which endpoints do not ask.
    ///
    /// # Errors
    /// [`FormatError`] for a number that is not in 1 to 2^53 - 1, names of witnesses that are not UTF-8, requirements
    /// without meaning or that can't be met, and a file that would be too large.
    pub fn new(
        number: u64,
        policy: &Policy,
        publishers: Publishers,
        gate: Vec<Requirement>,
    ) -> Result<Self, FormatError> {
        // An equivalent policy, as the file has it.
        let policy = Policy::parse(&policy.endpoint_lines())?;
        check_number(number)?;
        utf8(Self::WHAT, &policy.endpoint_lines())?;
        Requirement::check_all(&gate, &publishers)?;
        let file = Self { number, policy, publishers, gate, update: None };
        cap(Self::WHAT, file.to_bytes().len(), MAX_TRUST_BYTES)?;
        Ok(file)
    }

    /// Adds the rule by which the file may be replaced.
    ///
    /// # Errors
    /// [`FormatError`] for a rule without meaning or that can't be met, and a file that would be too large.
    pub fn with_update(mut self, update: UpdateRule) -> Result<Self, FormatError> {
        update.check(&self.publishers)?;
        self.update = Some(update);
        cap(Self::WHAT, self.to_bytes().len(), MAX_TRUST_BYTES)?;
        Ok(self)
    }

    /// Reads a trust file.
    ///
    /// # Errors
    /// [`FormatError`] for anything but the format shown above.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_TRUST_BYTES)?;
        let mut fields = Fields::new(Self::WHAT, "", Json::parse(Self::WHAT, bytes)?)?;
        let format = fields.text("format")?;
        if format != FORMAT {
            return Err(fields.wrong("format", &format!("to be {FORMAT}"), &quote(&format)));
        }
        let number = fields.integer("number")?;
        check_number(number)?;
        let mut policy = Vec::new();
        for line in fields.strings("policy")? {
            policy.extend_from_slice(line.as_bytes());
            policy.push(b'\n');
        }
        let policy = Policy::parse(&policy)?;
        let publishers = fields.array("publishers")?.into_iter().enumerate();
        let publishers = publishers.map(|(at, json)| parse_publisher(at, json)).collect::<Result<_, _>>()?;
        let publishers = Publishers::new(publishers)?;
        let gate = match fields.optional_array("gate")? {
            None => Vec::new(),
            Some(items) if items.is_empty() => {
                return Err(fields.wrong("gate", "to ask for something or not to be there", "nothing"));
            }
            Some(items) => {
                let items = items.into_iter().enumerate();
                items.map(|(at, json)| Requirement::parse(at, json)).collect::<Result<_, _>>()?
            }
        };
        Requirement::check_all(&gate, &publishers)?;
        let update = fields.optional_object("update")?.map(UpdateRule::parse).transpose()?;
        update.as_ref().map_or(Ok(()), |update| update.check(&publishers))?;
        fields.nothing_else()?;
        let file = Self { number, policy, publishers, gate, update };
        if file.to_bytes() != bytes {
            let expected = "canonical JSON with the policy's lines as `treehead trust make` writes them";
            return Err(FormatError::malformed(Self::WHAT, expected, "another spelling of the same"));
        }
        Ok(file)
    }

    /// The file's content.
    ///
    /// # Panics
    /// Never: names are UTF-8, as [`new`](Self::new) and [`parse`](Self::parse) check.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = self.policy.endpoint_lines();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines = lines.map(|line| Json::string(&String::from_utf8_lossy(line))).collect();
        let publishers = self.publishers.list().iter().map(publisher_json).collect();
        let mut fields = vec![
            ("format", Json::string(FORMAT)),
            ("number", Json::unsigned(self.number)),
            ("policy", Json::Array(lines)),
            ("publishers", Json::Array(publishers)),
        ];
        if !self.gate.is_empty() {
            fields.push(("gate", Json::Array(self.gate.iter().map(Requirement::to_json).collect())));
        }
        fields.extend(self.update.as_ref().map(|update| ("update", update.to_json())));
        Json::object(fields).to_canonical()
    }

    /// The number: a later file about the same product has a higher one.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The logs, witnesses and publishers, and the gate.
    #[must_use]
    pub const fn trust(&self) -> Trust<'_> {
        Trust { policy: &self.policy, publishers: &self.publishers, gate: self.gate.as_slice() }
    }

    /// The rule by which it may be replaced. A file without one stays until somebody replaces it by hand.
    #[must_use]
    pub const fn update(&self) -> Option<&UpdateRule> {
        self.update.as_ref()
    }

    /// The policy, the publishers and the gate, by value. Nothing of the gate may be left out.
    #[must_use]
    pub fn into_parts(self) -> (Policy, Publishers, Vec<Requirement>) {
        (self.policy, self.publishers, self.gate)
    }
}

fn check_number(number: u64) -> Result<(), FormatError> {
    if (1..=MAX_INTEGER.unsigned_abs()).contains(&number) {
        return Ok(());
    }
    let expected = "a number from 1 to 2^53 - 1";
    Err(FormatError::malformed(TrustFile::WHAT, expected, format!("{number}")))
}

fn parse_publisher(at: usize, json: Json<'_>) -> Result<Publisher, FormatError> {
    let mut fields = Fields::new(TrustFile::WHAT, format!("publisher {}", at + 1), json)?;
    let name = fields.string("name")?;
    let purls = fields.strings("purls")?;
    let kinds = fields.strings("kinds")?;
    let kind = |kind: &String| {
        StatementKind::parse_right(kind).ok_or_else(|| {
            let expected = format!("to be kinds out of {}", StatementKind::rights());
            fields.wrong("kinds", &expected, &quote(kind))
        })
    };
    let kinds = kinds.iter().map(kind).collect::<Result<_, _>>()?;
    let purls = purls.iter().map(|text| PurlPattern::parse(text)).collect::<Result<_, _>>()?;
    let keys = fields.array("keys")?.into_iter().map(parse_key).collect::<Result<_, _>>()?;
    let require_signatures = match fields.optional("require_signatures") {
        None => Vec::new(),
        Some(list) => parse_families(&fields, list)?,
    };
    fields.nothing_else()?;
    Ok(Publisher { name, purls, kinds, require_signatures, keys })
}

fn parse_families(fields: &Fields<'_>, list: Json<'_>) -> Result<Vec<KeyFamily>, FormatError> {
    let wrong = || {
        let expected = format!("to be families out of {}", KeyFamily::NAMES);
        fields.wrong("require_signatures", &expected, "something else")
    };
    let Json::Array(items) = list else { return Err(wrong()) };
    let family = |item| match item {
        Json::String(name) => KeyFamily::parse(&name).ok_or_else(wrong),
        _ => Err(wrong()),
    };
    items.into_iter().map(family).collect()
}

fn parse_key(json: Json<'_>) -> Result<PublisherKey, FormatError> {
    let mut fields = Fields::new(TrustFile::WHAT, "a publisher's key", json)?;
    let given =
        KeyFamily::ALL.into_iter().find_map(|family| Some((family, fields.optional(family.as_str())?)));
    let Some((family, given)) = given else {
        let expected = format!("a publisher's key of a family out of {}", KeyFamily::NAMES);
        return Err(FormatError::malformed(TrustFile::WHAT, expected, "none"));
    };
    let bytes = match &given {
        Json::String(text) => base64_decode(text),
        _ => None,
    };
    let bytes =
        bytes.ok_or_else(|| fields.wrong(family.as_str(), "to be padded base64", "something else"))?;
    let mut key = PublisherKey::new(PublicKey::from_encoded(family, &bytes)?);
    let mut time = |name: &str| fields.optional_string(name)?.as_deref().map(parse_time).transpose();
    (key.not_before, key.not_after) = (time("not_before")?, time("not_after")?);
    key.revoked = match fields.optional("revoked") {
        None => false,
        Some(Json::Bool(true)) => true,
        Some(_) => return Err(fields.wrong("revoked", "to be true or not there", "something else")),
    };
    fields.nothing_else()?;
    key.check_validity()?;
    Ok(key)
}

fn publisher_json(publisher: &Publisher) -> Json<'static> {
    let list = |items: Vec<&str>| Json::Array(items.into_iter().map(Json::string).collect());
    let mut fields = vec![
        ("name", Json::string(&publisher.name)),
        ("purls", list(publisher.purls.iter().map(PurlPattern::as_str).collect())),
        ("kinds", list(publisher.kinds.iter().map(StatementKind::as_str).collect())),
        ("keys", Json::Array(publisher.keys.iter().map(key_json).collect())),
    ];
    let required: Vec<&str> = publisher.require_signatures.iter().map(|family| family.as_str()).collect();
    if !required.is_empty() {
        fields.push(("require_signatures", list(required)));
    }
    Json::object(fields)
}

fn key_json(key: &PublisherKey) -> Json<'static> {
    let public = key.public_key();
    let mut fields = vec![(public.family().as_str(), Json::string(&base64_encode(public.encoded())))];
    fields.extend(key.not_before.map(|time| ("not_before", Json::string(&format_time(time)))));
    fields.extend(key.not_after.map(|time| ("not_after", Json::string(&format_time(time)))));
    fields.extend(key.revoked.then_some(("revoked", Json::Bool(true))));
    Json::object(fields)
}

#[cfg(test)]
mod tests;
