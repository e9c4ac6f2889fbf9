//! What an endpoint remembers: the largest head of each log and the highest sequence of each
//! publisher, package and channel. It only ever grows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::format::{FormatError, cap};
use crate::merkle::{Hash, TreeSize};
use crate::release::Release;

/// Largest state file: some hundred thousand packages.
pub const MAX_STATE_BYTES: usize = 64 * 1024 * 1024;
/// Written into the file, so that a later format can be told apart.
const VERSION: u32 = 1;

/// The memory of an endpoint. Reading and writing its file is the caller's part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointState {
    logs: BTreeMap<String, (TreeSize, Hash)>,
    sequences: BTreeMap<SequenceKey, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SequenceKey {
    publisher: String,
    package: String,
    channel: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    version: u32,
    logs: Vec<LogText>,
    sequences: Vec<SequenceText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogText {
    origin: String,
    size: u64,
    root: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SequenceText {
    publisher: String,
    package: String,
    channel: String,
    sequence: u64,
}

impl EndpointState {
    const WHAT: &str = "an endpoint's state";

    /// Reads a state file.
    ///
    /// # Errors
    /// [`FormatError`] where it is damaged. An endpoint must then fail closed: forgetting would let
    /// an old release pass for a new one.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_STATE_BYTES)?;
        let wrong = |expected: &str, seen: String| FormatError::malformed(Self::WHAT, expected, seen);
        let file: FileText =
            serde_json::from_slice(bytes).map_err(|e| wrong("the JSON this program wrote", e.to_string()))?;
        if file.version != VERSION {
            return Err(wrong("version 1", file.version.to_string()));
        }
        let mut state = Self::default();
        for log in file.logs {
            let size = TreeSize::new(log.size)
                .ok_or_else(|| wrong("a tree size below 2^63", log.size.to_string()))?;
            // Of two rows for one key the later would win, and might be the lower.
            if state.logs.insert(log.origin, (size, Hash::from_base64(&log.root)?)).is_some() {
                return Err(wrong("each log once", "one twice".to_owned()));
            }
        }
        for SequenceText { publisher, package, channel, sequence } in file.sequences {
            if state.sequences.insert(SequenceKey { publisher, package, channel }, sequence).is_some() {
                return Err(wrong("each package and channel once", "one twice".to_owned()));
            }
        }
        Ok(state)
    }

    /// The bytes of a state file.
    ///
    /// # Panics
    /// Never: plain strings and numbers always serialize.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let log = |(origin, (size, root)): (&String, &(TreeSize, Hash))| LogText {
            origin: origin.clone(),
            size: size.get(),
            root: root.to_base64(),
        };
        let sequence = |(key, sequence): (&SequenceKey, &u64)| SequenceText {
            publisher: key.publisher.clone(),
            package: key.package.clone(),
            channel: key.channel.clone(),
            sequence: *sequence,
        };
        let file = FileText {
            version: VERSION,
            logs: self.logs.iter().map(log).collect(),
            sequences: self.sequences.iter().map(sequence).collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("strings and numbers always serialize");
        bytes.push(b'\n');
        bytes
    }

    /// The largest head remembered of a log.
    #[must_use]
    pub fn head(&self, origin: &str) -> Option<(TreeSize, Hash)> {
        self.logs.get(origin).copied()
    }

    /// The highest sequence seen for a publisher, package and channel.
    #[must_use]
    pub fn sequence(&self, publisher: &str, release: &Release) -> Option<u64> {
        self.sequences.get(&SequenceKey::of(publisher, release)).copied()
    }

    /// Remembers a verdict. Callers have verified both parts; see [`verify`](crate::verify).
    pub(crate) fn remember(&mut self, head: &Checkpoint, publisher: &str, release: &Release) {
        let known = self.logs.entry(head.origin.to_string()).or_insert((head.size, head.root));
        if head.size > known.0 {
            *known = (head.size, head.root);
        }
        let highest = self.sequences.entry(SequenceKey::of(publisher, release)).or_default();
        *highest = release.sequence.max(*highest);
    }
}

impl SequenceKey {
    fn of(publisher: &str, release: &Release) -> Self {
        let (package, channel) = (release.purl.package(), release.channel.clone());
        Self { publisher: publisher.to_owned(), package, channel }
    }
}
