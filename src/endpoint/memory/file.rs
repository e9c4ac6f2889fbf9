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
//! The checksum finds damage that the format does not: a changed digit in a sequence would let an old release pass, and
//! a changed letter in a note would invalidate the proof of a fork.
//!
//! Older versions are read, and written as version 4. Version 3 did not say which channel is followed: the only one of
//! a package is, of several none is known. Version 2 had no checksum. Version 1 had neither notes nor forks nor
//! withdrawals either, and one unproven head for each log. Versions 1 and 2 begin with a brace; a later one that lost
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
use crate::merkle::{Hash, TreeSize};
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
    size: TreeSize,
    root: Hash,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    logs: Vec<Heads>,
    sequences: Vec<SequenceText>,
    withdrawals: Vec<Withdrawn>,
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
    /// [`FormatError`] if it is damaged. An endpoint must then fail closed: forgetting would let
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
        for heads in file.logs {
            heads.check()?;
            // Of two rows for one key, the later would win, and might be the lower one.
            if state.logs.insert(heads.origin.clone(), heads).is_some() {
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
        for mut withdrawn in file.withdrawals {
            let Withdrawn { publisher, purl, reason, .. } = &withdrawn;
            [publisher, purl, reason].into_iter().try_for_each(|text| check_words(text))?;
            withdrawn.purl = canonical(withdrawn.purl);
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
            logs: self.logs.values().cloned().collect(),
            sequences: self.sequences.iter().map(sequence).collect(),
            withdrawals: self.withdrawals.values().cloned().collect(),
        };
        // One value a line, for people who read the file.
        let json = serde_json::to_string_pretty(&file).expect("strings and numbers always serialize");
        checksum::add(&format!("{json}\n"))
    }
}

impl From<FileText1> for FileText {
    fn from(old: FileText1) -> Self {
        let log = |LogText1 { origin, size, root }| Heads {
            unproven: vec![RememberedHead { size, root, note: None }],
            ..Heads::of(&origin)
        };
        let logs = old.logs.into_iter().map(log).collect();
        Self { version: STATE_VERSION, logs, sequences: old.sequences, withdrawals: Vec::new() }
    }
}

impl Heads {
    /// Checks a log's row beyond its form.
    fn check(&self) -> Result<(), FormatError> {
        cap_count(EndpointState::WHAT, "heads of a log", self.unproven.len(), MAX_UNPROVEN_HEADS)?;
        if let Some(KnownFork { evidence: Some(name) }) = &self.forked {
            check_words(name)?;
        }
        for RememberedHead { size, root, note } in self.all() {
            let Some(note) = note else { continue };
            let head = Checkpoint::parse(note.text())?;
            if (head.origin.as_str(), head.size, head.root) != (&self.origin, *size, *root) {
                return Err(wrong("notes of the heads that they stand by", quote(note.text())));
            }
        }
        let mut sizes: Vec<TreeSize> = self.all().map(|head| head.size).collect();
        sizes.sort_unstable();
        if sizes.is_empty() && self.forked.is_none() {
            return Err(wrong("a head of each log, or that it forked", "neither"));
        }
        if sizes.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(wrong("each size of a log once", "one twice"));
        }
        Ok(())
    }
}
