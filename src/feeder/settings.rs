//! The witnesses that a log asks and their quorum: `[[witness]]` and `quorum` in `treehead.toml`, or a file of
//! c2sp.org/tlog-policy.
//!
//! ```text
//! quorum = 2
//! [[witness]]                                      witness w1/ed25519 <vkey> <url>
//! name = "w1"                                 ->   witness w1/ml-dsa-44 <vkey> <url>
//! url = "https://w1.example.com"                   group w1 any w1/ed25519 w1/ml-dsa-44
//! vkeys = ["<Ed25519 vkey>", "<ML-DSA-44 vkey>"]   group witnesses 2 w1 ...
//! ```

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::checkpoint::policy::Policy;
use crate::client::is_address;
use crate::format::{FormatError, TomlFile, TomlPlace, has_space_or_control, quote, toml_string};
use crate::note::{NoteKey, SignatureType};

/// The name of a settings file in errors.
pub(crate) const WHAT: &str = "a configuration";

/// A `[[witness]]` block, in `treehead.toml` or on a witness's card.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WitnessBlock {
    /// Its name in the settings.
    pub name: String,
    /// The address where the log asks it.
    pub url: String,
    /// Its public keys, at most one of each algorithm.
    pub vkeys: Vec<String>,
}

impl WitnessBlock {
    /// The block in TOML.
    pub fn to_toml(&self) -> String {
        let Self { name, url, vkeys } = self;
        let vkeys: String = vkeys.iter().map(|vkey| format!("    {},\n", toml_string(vkey))).collect();
        format!(
            "[[witness]]\nname = {}\nurl = {}\nvkeys = [\n{vkeys}]\n",
            toml_string(name),
            toml_string(url)
        )
    }
}

/// The file in which a witness introduces itself to the operators of logs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Card {
    witness: Vec<WitnessBlock>,
}

/// The witnesses that a log's settings name.
pub(crate) enum WitnessSettings {
    /// None: heads are published as soon as they are signed.
    None,
    /// `[[witness]]` blocks and their quorum.
    Blocks(Policy),
    /// A policy file, by its name in the settings.
    File(String),
}

impl WitnessSettings {
    /// Accepts no witnesses, a file, or blocks with a quorum; rejects anything else.
    pub fn new(
        blocks: &[WitnessBlock],
        quorum: Option<u64>,
        file: Option<String>,
        place: &TomlPlace<'_>,
    ) -> Result<Self, FormatError> {
        let missing = |key, expected: &str| Err(place.key(key).malformed(expected, "none"));
        match (blocks, quorum, file) {
            ([], None, None) => Ok(Self::None),
            ([], None, Some(file)) => Ok(Self::File(file)),
            (_, _, Some(_)) => {
                let expected = "either `witnesses = FILE` or `quorum` and [[witness]] blocks";
                Err(place.key("witnesses").malformed(expected, "both"))
            }
            ([], Some(_), None) => missing("quorum", "a [[witness]] block for each witness beside it"),
            (_, None, None) => missing(
                "quorum",
                "`quorum = <how many of the witnesses have to agree>` above the first [[witness]]",
            ),
            (blocks, Some(quorum), None) => policy_of(blocks, quorum).map(Self::Blocks).map_err(|fault| {
                let place = fault.block.map_or_else(|| place.clone(), |at| place.item("witness", at));
                place.key(fault.key).wrong(fault.error)
            }),
        }
    }
}

/// An error in `[[witness]]` blocks or their quorum.
pub(crate) struct Fault {
    /// The block, counted from 0; `None` for the quorum.
    pub block: Option<usize>,
    /// The key in the block.
    pub key: &'static str,
    /// Expected and seen.
    pub error: FormatError,
}

impl Fault {
    fn new(key: &'static str, expected: &str, seen: &str) -> Self {
        Self { block: None, key, error: FormatError::malformed(WHAT, expected, seen) }
    }

    fn at(self, block: usize) -> Self {
        Self { block: Some(block), ..self }
    }
}

/// Parses a policy file whose witnesses a log asks: enough of them for the quorum need a URL.
pub(crate) fn parse_policy(bytes: &[u8]) -> Result<Policy, FormatError> {
    let policy = Policy::parse(bytes)?;
    let wrong = |expected: &str, seen: String| FormatError::malformed("a policy", expected, seen);
    let urls: Vec<&str> = policy.witnesses().iter().filter_map(|w| w.url.as_deref()).collect();
    if urls.is_empty() {
        return Err(wrong("a URL on the lines of the witnesses that are to be asked", "none".to_owned()));
    }
    if let Some(url) = urls.iter().find(|url| !is_url(url)) {
        return Err(wrong(URL, quote(url)));
    }
    if !policy.can_be_asked() {
        let seen = format!("{} of {} witnesses with one", urls.len(), policy.witnesses().len());
        return Err(wrong("URLs of enough witnesses for the quorum", seen));
    }
    Ok(policy)
}

/// The form of a witness's address.
pub(crate) const URL: &str = "a URL that begins with http:// or https://, without a query or user name";

/// Whether this is the address of a witness: one that can be asked, without a password, since cards and policies are
/// public.
pub(crate) fn is_url(url: &str) -> bool {
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    is_address(url) && !has_space_or_control(url) && !host.contains('@')
}

/// Parses a witness's card, which has one `[[witness]]` block.
pub(crate) fn parse_card(bytes: &[u8]) -> Result<WitnessBlock, FormatError> {
    const WHAT: &str = "a witness's card";
    const EXPECTED: &str = "one [[witness]] block with name, url and vkeys";
    let (toml, card): (_, Card) = TomlFile::read(WHAT, EXPECTED, bytes)?;
    let seen = format!("{} of them", card.witness.len());
    let [witness] = <[WitnessBlock; 1]>::try_from(card.witness)
        .map_err(|_| FormatError::malformed(WHAT, EXPECTED, seen))?;
    let place = toml.root().item("witness", 0);
    witness.keys().map_err(|fault| place.key(fault.key).wrong(fault.error))?;
    Ok(witness)
}

impl WitnessBlock {
    /// Whether the witness has this name, in the settings or in its signatures.
    pub fn is_named(&self, name: &str) -> bool {
        let keys = self.keys().unwrap_or_default();
        self.name == name || keys.iter().any(|(_, key)| key.name().as_str() == name)
    }

    /// Parses its keys, each with the name of its algorithm in a policy.
    fn keys(&self) -> Result<Vec<(&'static str, NoteKey)>, Fault> {
        let name = &self.name;
        if name.is_empty() || name == "none" || name.starts_with('#') || has_space_or_control(name) {
            let expected = "the name of a witness without white space or control characters, other than none and not beginning with #";
            return Err(Fault::new("name", expected, &quote(name)));
        }
        if !is_url(&self.url) {
            return Err(Fault::new("url", URL, &quote(&self.url)));
        }
        let wrong = |expected: String, seen: String| Fault::new("vkeys", &expected, &seen);
        if self.vkeys.is_empty() {
            return Err(wrong(format!("the vkeys of the witness {name}"), "none".to_owned()));
        }
        let mut keys: Vec<(&'static str, NoteKey)> = Vec::new();
        for vkey in &self.vkeys {
            let key = NoteKey::parse(vkey).map_err(|error| Fault { block: None, key: "vkeys", error })?;
            let algorithm = match key.kind() {
                SignatureType::CosignatureEd25519 => "ed25519",
                SignatureType::CosignatureMlDsa44 => "ml-dsa-44",
                SignatureType::Ed25519 => {
                    let expected = format!("cosignature keys (type 0x04 or 0x06) of the witness {name}");
                    return Err(wrong(expected, format!("a log's Ed25519 key, {vkey}")));
                }
            };
            if keys.iter().any(|(known, _)| *known == algorithm) {
                let expected = format!("at most one key of each algorithm of the witness {name}");
                return Err(wrong(expected, format!("a second one of {algorithm}")));
            }
            if let Some((_, first)) = keys.first().filter(|(_, first)| first.name() != key.name()) {
                let expected = format!("keys of one cosigner for the witness {name}");
                return Err(wrong(expected, format!("those of {} and {}", first.name(), key.name())));
            }
            keys.push((algorithm, key));
        }
        Ok(keys)
    }
}

/// Makes the policy that blocks and quorum stand for.
pub(crate) fn policy_of(witnesses: &[WitnessBlock], quorum: u64) -> Result<Policy, Fault> {
    let count = witnesses.len();
    if quorum == 0 || quorum > count as u64 {
        let expected = format!("a quorum from 1 to {count}, the number of witnesses");
        return Err(Fault::new("quorum", &expected, &quorum.to_string()));
    }
    let (mut lines, mut names, mut public) = (String::new(), BTreeSet::new(), BTreeSet::new());
    let mut cosigners = BTreeSet::new();
    for (at, witness) in witnesses.iter().enumerate() {
        let (name, url) = (&witness.name, &witness.url);
        let keys = witness.keys().map_err(|fault| fault.at(at))?;
        let mut defined = vec![name.clone()];
        if let [(_, key)] = keys.as_slice() {
            lines += &format!("witness {name} {key} {url}\n");
        } else {
            let members: Vec<String> =
                keys.iter().map(|(algorithm, _)| format!("{name}/{algorithm}")).collect();
            for ((_, key), member) in keys.iter().zip(&members) {
                lines += &format!("witness {member} {key} {url}\n");
            }
            lines += &format!("group {name} any {}\n", members.join(" "));
            defined.extend(members);
        }
        if let Some(twice) = defined.into_iter().find(|name| !names.insert(name.clone())) {
            let seen = format!("{} twice", quote(&twice));
            return Err(Fault::new("name", "each name of a witness once", &seen).at(at));
        }
        if keys.iter().any(|(_, key)| !public.insert(key.public_bytes())) {
            let seen = format!("one of {name} twice");
            return Err(Fault::new("vkeys", "each key of a witness once", &seen).at(at));
        }
        // Two blocks of one cosigner would count it twice.
        if let Some((_, key)) = keys.first()
            && !cosigners.insert(key.name().clone())
        {
            let expected = "each cosigner in one [[witness]] block, with all of its vkeys";
            let seen = format!("a second block of {}, named {name}", key.name());
            return Err(Fault::new("vkeys", expected, &seen).at(at));
        }
    }
    // No witness may be in the way of a name for the group of them.
    let mut group = "witnesses".to_owned();
    while names.contains(&group) {
        group.push('_');
    }
    let members: Vec<&str> = witnesses.iter().map(|witness| witness.name.as_str()).collect();
    lines += &format!("group {group} {quorum} {}\nquorum {group}\n", members.join(" "));
    Policy::parse(lines.as_bytes()).map_err(|error| Fault { block: None, key: "quorum", error })
}
