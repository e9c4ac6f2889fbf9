//! The state file.
//!
//! ```text
//! <SHA-256 of the rest, hex>
//! {"version": 4,
//!  "logs": [{"origin": "...",
//!            "proven": <head>,                        optional
//!            "unproven": [<head>, ...],               in the order in which they came
//!            "forked": {"evidence": "<name>"}}],      optional, and so is the name: the log forked
//!  "sequences": [{"publisher": "...", "package": "...", "channel": "...", "sequence": 7,
//!                 "followed": true}],               of the channels of a package, at most one
//!  "withdrawals": [{"publisher": "...", "purl": "...", "artifacts": "<hash>",
//!                   "origin": "...", "index": 17, "leaf": "<hash>",
//!                   "reason": "...", "statement": "<hash>",
//!                   "payload": "<hash>"}]}               optional
//!
//! <head> is {"size": 9, "root": "<hash>", "note": "<checkpoint>"}; the note may be absent
//! ```
//!
//! The checksum is for what is no format error: another digit in a sequence lets an old release pass, another letter in a
//! note takes the proof out of a fork.
//!
//! Older versions are read, and written as version 4. Version 3 did not say which channel is followed: the only one of a
//! package is, of several none is known. Version 2 had no checksum. Version 1 had neither notes nor forks nor withdrawals
//! either, and one head for each log, which nobody had proven. Versions 1 and 2 begin with a brace; a later one that lost
//! its first line is refused, not read as an older one.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{
    EndpointState, Heads, KnownFork, MAX_UNPROVEN_HEADS, RememberedHead, Seen, SequenceKey, WithdrawalKey,
    Withdrawn,
};
use crate::checkpoint::Checkpoint;
use crate::format::checksum;
use crate::format::{FormatError, cap, cap_count, quote, utf8};
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::note::Note;
use crate::release::PackageUrl;

/// Largest state file: some hundred thousand packages.
pub const MAX_STATE_BYTES: usize = 64 * 1024 * 1024;
/// Written into the file, so that a later format can be told apart.
pub const STATE_VERSION: u32 = 4;
/// The first with a checksum.
const CHECKED_VERSION: u32 = 3;
/// The first that says which channel is followed.
const FOLLOWING_VERSION: u32 = 4;

#[derive(Deserialize)]
struct VersionText {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText1 {
    #[serde(rename = "version")]
    _version: u32,
    logs: Vec<LogText1>,
    sequences: Vec<SequenceText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogText1 {
    origin: String,
    size: u64,
    root: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    logs: Vec<LogText>,
    sequences: Vec<SequenceText>,
    withdrawals: Vec<WithdrawalText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogText {
    origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<HeadText>,
    unproven: Vec<HeadText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forked: Option<ForkText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForkText {
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadText {
    size: u64,
    root: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SequenceText {
    publisher: String,
    package: String,
    channel: String,
    sequence: u64,
    /// Older versions had none.
    #[serde(default)]
    followed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WithdrawalText {
    publisher: String,
    purl: String,
    artifacts: String,
    origin: String,
    index: u64,
    leaf: String,
    reason: String,
    statement: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

fn wrong(expected: &str, seen: impl Into<String>) -> FormatError {
    FormatError::malformed(EndpointState::WHAT, expected, seen)
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FormatError> {
    serde_json::from_str(text).map_err(|e| wrong("the JSON this program wrote", e.to_string()))
}

/// Refuses control characters in text that is shown to people.
fn check_words(text: &str) -> Result<(), FormatError> {
    if text.chars().any(char::is_control) {
        return Err(wrong("words without control characters", quote(text)));
    }
    Ok(())
}

/// Package or purl in its canonical spelling. Earlier versions wrote some differently.
fn canonical(purl: String) -> String {
    PackageUrl::parse_logged(&purl).map_or(purl, |purl| purl.to_string())
}

impl EndpointState {
    const WHAT: &str = "an endpoint's state";

    /// The version of a state file, if a later program than this one wrote it: that is no damage.
    #[must_use]
    pub fn later_version(bytes: &[u8]) -> Option<u32> {
        let text: VersionText = serde_json::from_str(checksum::check(Self::WHAT, bytes).ok()?).ok()?;
        Some(text.version).filter(|version| *version > STATE_VERSION)
    }

    /// Reads a state file.
    ///
    /// # Errors
    /// [`FormatError`] where it is damaged. An endpoint must then fail closed: forgetting would let
    /// an old release pass for a new one.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_STATE_BYTES)?;
        let is_old = bytes.starts_with(b"{");
        let text = if is_old { utf8(Self::WHAT, bytes)? } else { checksum::check(Self::WHAT, bytes)? };
        let VersionText { version } = read(text)?;
        let file = match (version, is_old) {
            (1, true) => read::<FileText1>(text)?.into(),
            (2, true) | (CHECKED_VERSION..=STATE_VERSION, false) => read::<FileText>(text)?,
            (CHECKED_VERSION.., true) => {
                return Err(wrong("a checksum in the first line", format!("version {version} without one")));
            }
            (other, _) => return Err(wrong("version 4", other.to_string())),
        };
        let mut state = Self::default();
        for log in file.logs {
            let (origin, heads) = log.read()?;
            // With two rows for one key the later would win, and might be the lower.
            if state.logs.insert(origin, heads).is_some() {
                return Err(wrong("each log once", "one twice"));
            }
        }
        let mut rows = BTreeSet::new();
        for SequenceText { publisher, package, channel, sequence, followed } in file.sequences {
            if !rows.insert((publisher.clone(), package.clone(), channel.clone())) {
                return Err(wrong("each package and channel once", "one twice"));
            }
            // Two spellings that were taken for two packages once may be of one: then the higher number counts.
            let key = SequenceKey { publisher, package: canonical(package), channel };
            let seen = state.sequences.entry(key).or_default();
            *seen = Seen { sequence: sequence.max(seen.sequence), followed: followed || seen.followed };
        }
        state.check_followed(version)?;
        for withdrawal in file.withdrawals {
            let withdrawn = withdrawal.read()?;
            if state.withdrawals.insert(WithdrawalKey::of(&withdrawn), withdrawn).is_some() {
                return Err(wrong("each withdrawal once", "one twice"));
            }
        }
        Ok(state)
    }

    /// At most one channel of each package is followed. An older version that knew one channel followed that one.
    fn check_followed(&mut self, version: u32) -> Result<(), FormatError> {
        let is_same = |(one, _): &(&SequenceKey, &mut Seen), (two, _): &(&SequenceKey, &mut Seen)| {
            (&one.publisher, &one.package) == (&two.publisher, &two.package)
        };
        let mut rows: Vec<(&SequenceKey, &mut Seen)> = self.sequences.iter_mut().collect();
        for channels in rows.chunk_by_mut(is_same) {
            match channels {
                [(_, only)] if version < FOLLOWING_VERSION => only.followed = true,
                channels if channels.iter().filter(|(_, seen)| seen.followed).count() > 1 => {
                    return Err(wrong("one channel of a package that is followed", "several"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The bytes of a state file.
    ///
    /// # Panics
    /// Never: plain strings and numbers always serialize.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let sequence = |(key, seen): (&SequenceKey, &Seen)| SequenceText {
            publisher: key.publisher.clone(),
            package: key.package.clone(),
            channel: key.channel.clone(),
            sequence: seen.sequence,
            followed: seen.followed,
        };
        let file = FileText {
            version: STATE_VERSION,
            logs: self.logs.iter().map(LogText::of).collect(),
            sequences: self.sequences.iter().map(sequence).collect(),
            withdrawals: self.withdrawals.values().map(WithdrawalText::of).collect(),
        };
        // One value a line: people look at it, too.
        let json = serde_json::to_string_pretty(&file).expect("strings and numbers always serialize");
        checksum::add(&format!("{json}\n"))
    }
}

impl From<FileText1> for FileText {
    fn from(old: FileText1) -> Self {
        let log = |LogText1 { origin, size, root }| LogText {
            origin,
            proven: None,
            unproven: vec![HeadText { size, root, note: None }],
            forked: None,
        };
        let logs = old.logs.into_iter().map(log).collect();
        Self { version: STATE_VERSION, logs, sequences: old.sequences, withdrawals: Vec::new() }
    }
}

impl LogText {
    fn of((origin, heads): (&String, &Heads)) -> Self {
        Self {
            origin: origin.clone(),
            proven: heads.proven.as_ref().map(HeadText::of),
            unproven: heads.unproven.iter().map(HeadText::of).collect(),
            forked: heads.forked.clone().map(|KnownFork { evidence }| ForkText { evidence }),
        }
    }

    fn read(self) -> Result<(String, Heads), FormatError> {
        cap_count(EndpointState::WHAT, "heads of a log", self.unproven.len(), MAX_UNPROVEN_HEADS)?;
        let proven = self.proven.map(|head| head.read(&self.origin)).transpose()?;
        let unproven = self.unproven.into_iter().map(|head| head.read(&self.origin));
        let forked = self.forked.map(|ForkText { evidence }| KnownFork { evidence });
        if let Some(name) = forked.as_ref().and_then(|fork| fork.evidence.as_ref()) {
            check_words(name)?;
        }
        let heads = Heads { proven, unproven: unproven.collect::<Result<_, _>>()?, forked };
        let mut sizes: Vec<TreeSize> = heads.all().map(|head| head.size).collect();
        sizes.sort_unstable();
        if sizes.is_empty() && heads.forked.is_none() {
            return Err(wrong("a head of each log, or that it forked", "neither"));
        }
        if sizes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(wrong("each size of a log once", "one twice"));
        }
        Ok((self.origin, heads))
    }
}

impl HeadText {
    fn of(head: &RememberedHead) -> Self {
        let note = head.note.as_ref().map(ToString::to_string);
        Self { size: head.size.get(), root: head.root.to_base64(), note }
    }

    fn read(self, origin: &str) -> Result<RememberedHead, FormatError> {
        let size =
            TreeSize::new(self.size).ok_or_else(|| wrong("a tree size below 2^63", self.size.to_string()))?;
        let root = Hash::from_base64(&self.root)?;
        let note = self.note.map(|note| Note::parse(note.as_bytes())).transpose()?;
        if let Some(note) = &note {
            let head = Checkpoint::parse(note.text())?;
            if (head.origin.as_str(), head.size, head.root) != (origin, size, root) {
                return Err(wrong("notes of the heads that they stand by", quote(note.text())));
            }
        }
        Ok(RememberedHead { size, root, note })
    }
}

impl WithdrawalText {
    fn of(withdrawn: &Withdrawn) -> Self {
        Self {
            publisher: withdrawn.publisher.clone(),
            purl: withdrawn.purl.clone(),
            artifacts: withdrawn.artifacts.to_base64(),
            origin: withdrawn.origin.clone(),
            index: withdrawn.index.get(),
            leaf: withdrawn.leaf.to_base64(),
            reason: withdrawn.reason.clone(),
            statement: withdrawn.statement.to_base64(),
            payload: withdrawn.payload.as_ref().map(Hash::to_base64),
        }
    }

    fn read(self) -> Result<Withdrawn, FormatError> {
        let index = LeafIndex::new(self.index)
            .ok_or_else(|| wrong("a leaf index below 2^63 - 1", self.index.to_string()))?;
        [&self.publisher, &self.purl, &self.reason].into_iter().try_for_each(|text| check_words(text))?;
        Ok(Withdrawn {
            publisher: self.publisher,
            purl: canonical(self.purl),
            artifacts: Hash::from_base64(&self.artifacts)?,
            origin: self.origin,
            index,
            leaf: Hash::from_base64(&self.leaf)?,
            reason: self.reason,
            statement: Hash::from_base64(&self.statement)?,
            payload: self.payload.as_deref().map(Hash::from_base64).transpose()?,
        })
    }
}
