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

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{
    EndpointState, Heads, KnownFork, MAX_UNPROVEN_HEADS, RememberedHead, Seen, SequenceKey, WithdrawalKey,
    Withdrawn,
};
use crate::checkpoint::Checkpoint;
use crate::format::checksum;
use crate::format::{FormatError, SortedMap, cap, cap_count, quote, utf8};
use crate::merkle::{Hash, LeafIndex, TreeSize};
use crate::note::Note;
use crate::release::{Fields, Json, PackageUrl, json};

/// Largest state file: some hundred thousand packages.
pub const MAX_STATE_BYTES: usize = 64 * 1024 * 1024;
/// Written into the file, so that a later format can be told apart.
pub const STATE_VERSION: u32 = 4;
/// The first with a checksum.
const CHECKED_VERSION: u64 = 3;
/// The first that says which channel is followed.
const FOLLOWING_VERSION: u64 = 4;
/// [`STATE_VERSION`], as JSON has it.
const LAST_VERSION: u64 = STATE_VERSION as u64;

fn wrong(expected: &str, seen: impl Into<String>) -> FormatError {
    FormatError::malformed(EndpointState::WHAT, expected, seen)
}

/// An object of the file.
fn fields<'a>(place: &'static str, json: Json<'a>) -> Result<Fields<'a>, FormatError> {
    Fields::new(EndpointState::WHAT, place, json)
}

/// An optional value.
fn optional<'a, T>(
    fields: &mut Fields<'a>,
    key: &str,
    read: impl FnOnce(Json<'a>) -> Result<T, FormatError>,
) -> Result<Option<T>, FormatError> {
    fields.optional(key).map(read).transpose()
}

fn hash(fields: &mut Fields<'_>, key: &str) -> Result<Hash, FormatError> {
    Hash::from_base64(&fields.text(key)?)
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
        let text = checksum::check(Self::WHAT, bytes).ok()?;
        let mut file = fields("", Json::parse(Self::WHAT, text.as_bytes()).ok()?).ok()?;
        let version = u32::try_from(file.integer("version").ok()?).ok()?;
        (version > STATE_VERSION).then_some(version)
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
        let mut file = fields("", Json::parse(Self::WHAT, text.as_bytes())?)?;
        let version = file.integer("version")?;
        match (version, is_old) {
            (1 | 2, true) | (CHECKED_VERSION..=LAST_VERSION, false) => {}
            (CHECKED_VERSION.., true) => {
                return Err(wrong("a checksum in the first line", format!("version {version} without one")));
            }
            (other, _) => return Err(wrong("version 4", other.to_string())),
        }
        let mut state = Self::default();
        for log in file.array("logs")? {
            let heads = if version == 1 { Heads::read_version_1(log)? } else { Heads::read(log)? };
            heads.check()?;
            // Of two rows for one key, the later would win, and might be the lower one.
            if !state.logs.insert(heads.origin.clone(), heads) {
                return Err(wrong("each log once", "one twice"));
            }
        }
        let mut rows = SortedMap::default();
        for row in file.array("sequences")? {
            let (key, Seen { sequence, followed }) = SequenceKey::read(row)?;
            let SequenceKey { publisher, package, channel } = key.clone();
            if !rows.insert(key, ()) {
                return Err(wrong("each package and channel once", "one twice"));
            }
            // Two spellings that were taken for two packages once may be of one: then the higher number counts.
            let key = SequenceKey { publisher, package: canonical(package), channel };
            let seen = state.sequences.get_or_insert(key, Seen::default());
            *seen = Seen { sequence: sequence.max(seen.sequence), followed: followed || seen.followed };
        }
        state.check_followed(version)?;
        let withdrawals = if version == 1 { Vec::new() } else { file.array("withdrawals")? };
        for row in withdrawals {
            let mut withdrawn = Withdrawn::read(row)?;
            let Withdrawn { publisher, purl, reason, .. } = &withdrawn;
            [publisher, purl, reason].into_iter().try_for_each(|text| check_words(text))?;
            withdrawn.purl = canonical(withdrawn.purl);
            if !state.withdrawals.insert(WithdrawalKey::of(&withdrawn), withdrawn) {
                return Err(wrong("each withdrawal once", "one twice"));
            }
        }
        file.nothing_else()?;
        Ok(state)
    }

    /// At most one channel of each package is followed. An older version that knew one channel followed that one.
    fn check_followed(&mut self, version: u64) -> Result<(), FormatError> {
        let is_same = |(one, _): &(SequenceKey, Seen), (two, _): &(SequenceKey, Seen)| {
            (&one.publisher, &one.package) == (&two.publisher, &two.package)
        };
        for channels in self.sequences.entries_mut().chunk_by_mut(is_same) {
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
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let sequence = |(key, seen): (&SequenceKey, &Seen)| {
            json!({
                "publisher": key.publisher, "package": key.package, "channel": key.channel,
                "sequence": seen.sequence, "followed": seen.followed,
            })
        };
        let file = json!({
            "version": STATE_VERSION, "logs": self.logs.values().map(Heads::to_json).collect::<Vec<_>>(),
            "sequences": self.sequences.iter().map(sequence).collect::<Vec<_>>(),
            "withdrawals": self.withdrawals.values().map(Withdrawn::to_json).collect::<Vec<_>>(),
        });
        checksum::add(&format!("{}\n", file.to_lines()))
    }
}

impl SequenceKey {
    fn read(row: Json<'_>) -> Result<(Self, Seen), FormatError> {
        let mut fields = fields("sequences[]", row)?;
        let (publisher, package) = (fields.string("publisher")?, fields.string("package")?);
        let key = Self { publisher, package, channel: fields.string("channel")? };
        let sequence = fields.long_integer("sequence")?;
        // Older versions had none.
        let followed = match fields.optional("followed") {
            None | Some(Json::Bool(false)) => false,
            Some(Json::Bool(true)) => true,
            Some(_) => return Err(fields.wrong("followed", "to be true or false", "something else")),
        };
        fields.nothing_else()?;
        Ok((key, Seen { sequence, followed }))
    }
}

impl Withdrawn {
    fn read(row: Json<'_>) -> Result<Self, FormatError> {
        let mut fields = fields("withdrawals[]", row)?;
        let index = fields.long_integer("index")?;
        let expected = "to be a leaf index below 2^63 - 1";
        let index =
            LeafIndex::new(index).ok_or_else(|| fields.wrong("index", expected, &index.to_string()))?;
        let withdrawn = Self {
            publisher: fields.string("publisher")?,
            purl: fields.string("purl")?,
            artifacts: hash(&mut fields, "artifacts")?,
            origin: fields.string("origin")?,
            index,
            leaf: hash(&mut fields, "leaf")?,
            reason: fields.string("reason")?,
            statement: hash(&mut fields, "statement")?,
            payload: fields.optional_string("payload")?.map(|text| Hash::from_base64(&text)).transpose()?,
        };
        fields.nothing_else()?;
        Ok(withdrawn)
    }

    fn to_json(&self) -> Json<'static> {
        let mut row = json!({
            "publisher": self.publisher, "purl": self.purl, "artifacts": self.artifacts.to_base64(),
            "origin": self.origin, "index": self.index.get(), "leaf": self.leaf.to_base64(),
            "reason": self.reason, "statement": self.statement.to_base64(),
        });
        if let Some(payload) = self.payload {
            row.set("payload", &payload.to_base64());
        }
        row
    }
}

impl RememberedHead {
    fn read(head: Json<'_>) -> Result<Self, FormatError> {
        let mut fields = fields("<head>", head)?;
        let (size, root) = (size(&mut fields)?, hash(&mut fields, "root")?);
        let note = fields.optional_string("note")?;
        fields.nothing_else()?;
        Ok(Self { size, root, note: note.map(|note| Note::parse(note.as_bytes())).transpose()? })
    }

    fn to_json(&self) -> Json<'static> {
        let mut head = json!({ "size": self.size.get(), "root": self.root.to_base64() });
        if let Some(note) = &self.note {
            head.set("note", &note.to_string());
        }
        head
    }
}

fn size(fields: &mut Fields<'_>) -> Result<TreeSize, FormatError> {
    let size = fields.long_integer("size")?;
    TreeSize::new(size).ok_or_else(|| fields.wrong("size", "to be a tree size below 2^63", &size.to_string()))
}

impl Heads {
    fn read(row: Json<'_>) -> Result<Self, FormatError> {
        let mut fields = fields("logs[]", row)?;
        let fork = |json| {
            let mut fork = self::fields("forked", json)?;
            let evidence = fork.optional_string("evidence")?;
            fork.nothing_else().map(|()| KnownFork { evidence })
        };
        let unproven = fields.array("unproven")?.into_iter().map(RememberedHead::read);
        let heads = Self {
            origin: fields.string("origin")?,
            unproven: unproven.collect::<Result<_, _>>()?,
            proven: optional(&mut fields, "proven", RememberedHead::read)?,
            forked: optional(&mut fields, "forked", fork)?,
        };
        fields.nothing_else()?;
        Ok(heads)
    }

    /// A log of version 1 of the file.
    fn read_version_1(row: Json<'_>) -> Result<Self, FormatError> {
        let mut fields = fields("logs[]", row)?;
        let head = RememberedHead { size: size(&mut fields)?, root: hash(&mut fields, "root")?, note: None };
        let heads = Self { unproven: vec![head], ..Self::of(&fields.text("origin")?) };
        fields.nothing_else()?;
        Ok(heads)
    }

    fn to_json(&self) -> Json<'static> {
        let mut row = json!({ "origin": self.origin });
        if let Some(proven) = &self.proven {
            row.set("proven", &proven.to_json());
        }
        row.set("unproven", &self.unproven.iter().map(RememberedHead::to_json).collect::<Vec<_>>());
        if let Some(KnownFork { evidence }) = &self.forked {
            let mut fork = json!({});
            if let Some(name) = evidence {
                fork.set("evidence", name);
            }
            row.set("forked", &fork);
        }
        row
    }

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
