//! Parses policy files.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Group, MAX_POLICY_BYTES, MAX_POLICY_ITEMS, Member, Policy, PolicyLog, PolicyWitness, Quorum};
use crate::checkpoint::{Origin, signs_for_logs};
use crate::format::{FormatError, SortedMap, byte_order_mark, cap, cap_count, decimal, quote_bytes, utf8};
use crate::merkle::Hash;
use crate::note::{KeyId, KeyName, NoteKey, SignatureType};

/// The largest policy to accept.
#[derive(Debug, Clone, Copy)]
pub struct PolicyLimits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Logs, witnesses or groups, each.
    pub items: usize,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self { bytes: MAX_POLICY_BYTES, items: MAX_POLICY_ITEMS }
    }
}

impl Policy {
    pub(super) const WHAT: &str = "a policy";

    /// Parses a policy file.
    ///
    /// # Errors
    /// [`FormatError`] with the line number, for anything that the specification does not allow.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::parse_within(bytes, PolicyLimits::default())
    }

    /// [`parse`](Self::parse) with other limits than [`MAX_POLICY_BYTES`] and [`MAX_POLICY_ITEMS`].
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_within(bytes: &[u8], limits: PolicyLimits) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), limits.bytes)?;
        if let Some(mark) = byte_order_mark(bytes) {
            return Err(
                FormatError::malformed(Self::WHAT, "UTF-8 without a byte order mark", mark).at_line(1)
            );
        }
        if !bytes.ends_with(b"\n") {
            let seen = "a last line without one";
            return Err(FormatError::malformed(Self::WHAT, "each line to end in a newline", seen));
        }
        let mut parser = Parser { max_items: limits.items, ..Parser::default() };
        for (at, line) in bytes[..bytes.len() - 1].split(|b| *b == b'\n').enumerate() {
            parser.line(line).map_err(|e| e.at_line(at + 1))?;
        }
        let Some(quorum) = parser.quorum else {
            let expected = "a quorum line (`quorum none` if cosignatures are not required)";
            return Err(FormatError::malformed(Self::WHAT, expected, "none"));
        };
        Ok(Self { logs: parser.logs, witnesses: parser.witnesses, groups: parser.groups, quorum })
    }
}

#[derive(Default)]
struct Parser {
    max_items: usize,
    logs: Vec<PolicyLog>,
    /// Set if the previous line was a log's, which an origin line may follow.
    after_log: bool,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    names: SortedMap<Vec<u8>, Member>,
    /// Witnesses and groups that are in a group: each may be in one only.
    taken: SortedMap<Vec<u8>, ()>,
    log_keys: SortedMap<Hash, ()>,
    witness_keys: SortedMap<Hash, ()>,
    witness_ids: SortedMap<(KeyName, KeyId), ()>,
    quorum: Option<Quorum>,
}

fn wrong(expected: impl Into<String>, seen: &[u8]) -> FormatError {
    FormatError::malformed(Policy::WHAT, expected, quote_bytes(seen))
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), FormatError> {
        if let Some(byte) = line.iter().find(|b| (**b < 0x20 && **b != b'\t') || **b == 0x7f) {
            let expected = "no control characters but tab and newline (CRLF line ends are not allowed)";
            return Err(FormatError::malformed(Policy::WHAT, expected, format!("byte {byte:#04x}")));
        }
        let items: Vec<&[u8]> = line.split(|b| matches!(b, b' ' | b'\t')).filter(|i| !i.is_empty()).collect();
        let is_log = matches!(items.as_slice(), [b"log", ..]);
        let after_log = core::mem::replace(&mut self.after_log, is_log);
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", rest @ ..] => self.log(rest, line),
            [b"origin", _, ..] if after_log => {
                let log = self.logs.last_mut().expect("the line before was a log's");
                log.origin = parse_origin(line)?;
                Ok(())
            }
            [b"origin", ..] => Err(wrong("an origin on the line after the log that it belongs to", line)),
            [b"witness", rest @ ..] => self.witness(rest, line),
            [b"group", rest @ ..] => self.group(rest, line),
            [b"quorum", name] => self.quorum(name),
            _ => Err(wrong("a log, witness, group or quorum line", line)),
        }
    }

    fn log(&mut self, items: &[&[u8]], line: &[u8]) -> Result<(), FormatError> {
        let (vkey, url) = match items {
            [vkey] => (vkey, None),
            [vkey, url] => (vkey, Some(*url)),
            _ => return Err(wrong("log <vkey> [<url>]", line)),
        };
        let key = key_of_kind(vkey, signs_for_logs, "a log key (signature type 0x01 or 0x06)")?;
        if !self.log_keys.insert(public_key(&key), ()) {
            return Err(wrong("each log key once", vkey));
        }
        self.not_both(&key, vkey)?;
        self.logs.push(PolicyLog { origin: key.name().into(), key, url: url_text(url) });
        cap_count(Policy::WHAT, "logs", self.logs.len(), self.max_items)
    }

    fn witness(&mut self, items: &[&[u8]], line: &[u8]) -> Result<(), FormatError> {
        let (name, vkey, url) = match items {
            [name, vkey] => (name, vkey, None),
            [name, vkey, url] => (name, vkey, Some(*url)),
            _ => return Err(wrong("witness <name> <vkey> [<url>]", line)),
        };
        let cosigns = |kind| kind != SignatureType::Ed25519;
        let key = key_of_kind(vkey, cosigns, "a witness key (signature type 0x04 or 0x06)")?;
        if !self.witness_keys.insert(public_key(&key), ()) {
            return Err(wrong("each witness key once", vkey));
        }
        self.not_both(&key, vkey)?;
        // A signature line names a key by name and ID: of two such keys only the first would be tried.
        if !self.witness_ids.insert((key.name().clone(), key.id()), ()) {
            return Err(wrong("witness keys that differ in name or key ID; make one of the two anew", vkey));
        }
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(PolicyWitness { name: name.to_vec(), key, url: url_text(url) });
        cap_count(Policy::WHAT, "witnesses", self.witnesses.len(), self.max_items)
    }

    /// Rejects a key that is both a log's and a witness's: the log would be its own quorum. ML-DSA-44 keys have the
    /// same type for both.
    fn not_both(&self, key: &NoteKey, vkey: &[u8]) -> Result<(), FormatError> {
        let key = public_key(key);
        if self.log_keys.get(&key).is_some() && self.witness_keys.get(&key).is_some() {
            return Err(wrong("a key that is a log's or a witness's, not both", vkey));
        }
        Ok(())
    }

    fn group(&mut self, items: &[&[u8]], line: &[u8]) -> Result<(), FormatError> {
        let [name, threshold, members @ ..] = items else {
            return Err(wrong("group <name> all|any|<k> <name>...", line));
        };
        if members.is_empty() {
            return Err(wrong("at least one group member", line));
        }
        let count = members.len();
        let threshold = match *threshold {
            b"all" => count,
            b"any" => 1,
            k => {
                let k =
                    core::str::from_utf8(k).ok().and_then(|k| decimal(k, count as u64)).filter(|k| *k >= 1);
                let k =
                    k.ok_or_else(|| wrong(format!("all, any or a number from 1 to {count}"), items[1]))?;
                usize::try_from(k).expect("at most the number of members")
            }
        };
        let mut resolved = Vec::with_capacity(count);
        for member in members {
            resolved.push(self.lookup(member)?);
            if !self.taken.insert(member.to_vec(), ()) {
                return Err(wrong("each name as a group member once", member));
            }
        }
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { name: name.to_vec(), threshold, members: resolved });
        cap_count(Policy::WHAT, "groups", self.groups.len(), self.max_items)
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), FormatError> {
        if self.quorum.is_some() {
            return Err(wrong("one quorum line", b"a second one"));
        }
        let required = name != b"none";
        self.quorum = Some(if required { Quorum::Of(self.lookup(name)?) } else { Quorum::NotRequired });
        Ok(())
    }

    fn define(&mut self, name: &[u8], member: Member) -> Result<(), FormatError> {
        if name == b"none" {
            return Err(wrong("a name other than none, which is predefined", name));
        }
        if !self.names.insert(name.to_vec(), member) {
            return Err(wrong("a name that is not defined yet", name));
        }
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Member, FormatError> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| wrong("the name of a witness or group on an earlier line", name))
    }
}

/// Parses an origin line, which the caller found to have the keyword and some text after it.
fn parse_origin(line: &[u8]) -> Result<Origin, FormatError> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let trimmed = |text: &[u8]| -> Vec<u8> {
        let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(0, |at| at + 1);
        text[..end].iter().skip_while(|byte| is_blank(byte)).copied().collect()
    };
    let text = trimmed(&trimmed(line)[b"origin".len()..]);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_slice();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let mut byte = [0];
        let digits = rest.split_off(..2).filter(|digits| hex::decode_to_slice(digits, &mut byte).is_ok());
        digits.ok_or_else(|| wrong("two hex digits after each % of an origin", line))?;
        bytes.push(byte[0]);
    }
    Origin::new(utf8(Policy::WHAT, &bytes)?)
}

fn key_of_kind(
    vkey: &[u8],
    fits: impl Fn(SignatureType) -> bool,
    expected: &str,
) -> Result<NoteKey, FormatError> {
    let key = NoteKey::parse(utf8("a verifier key", vkey)?)?;
    if !fits(key.kind()) {
        return Err(wrong(expected, vkey));
    }
    Ok(key)
}

/// Hashes the bare key: keys are duplicates if they have the same public key, whatever their names and IDs.
fn public_key(key: &NoteKey) -> Hash {
    Hash::digest(&key.public_bytes())
}

/// "Non-ASCII octets may appear in names, URLs and comments": a URL that is not UTF-8 can't be used, but does not
/// make the policy malformed.
fn url_text(url: Option<&[u8]>) -> Option<String> {
    url.map(|url| String::from_utf8_lossy(url).into_owned())
}
