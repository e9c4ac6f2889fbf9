//! `.tlog-fork` files, which prove to anyone, offline, that a log signed two histories: docs/fork-evidence.md.
//!
//! ```text
//! treehead-fork@v1
//! prefix <hash, base64>         only if the sizes differ: the root that the larger tree had at the
//!                               smaller size
//! <hash, base64>                consistency proof from there to the larger tree, one line each
//!                               an empty line
//! <checkpoint, verbatim>        the smaller tree's; of equal sizes, the one whose bytes sort first
//!                               an empty line
//! <checkpoint, verbatim>        the other one
//! ```
//!
//! A checkpoint is its text, an empty line and its signature lines, so a file has exactly four empty lines. Each proof
//! has one spelling: a parsed file prints as the same bytes.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::{numbered, parse_hash, parse_proof, print_proof, wrong};
use crate::checkpoint::{self, Checkpoint, CheckpointError, LogSigned, Origin, SignsFor};
use crate::format::{FormatError, cap, error_codes, utf8};
use crate::merkle::{
    Hash, MAX_PROOF_HASHES, Prefix, ProofError, TileReader, TreeSize, prove_prefix, verify_consistency,
};
use crate::note::{MAX_NOTE_BYTES, Note};

/// First line of a file.
pub const HEADER: &str = "treehead-fork@v1";
/// File name extension.
pub const FILE_EXTENSION: &str = ".tlog-fork";
/// Largest file, in bytes: a header, 65 hashes, and two notes fit.
pub const MAX_FORK_BYTES: usize = 4 * 1024 + 2 * MAX_NOTE_BYTES;

/// Alleged evidence of a fork. [`judge`](Self::judge) tells whether it proves one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkEvidence {
    /// If the sizes differ: the larger tree's prefix at the smaller size.
    prefix: Option<Prefix>,
    /// The head with the smaller tree.
    smaller: Note,
    /// The other head, of a tree that is larger or of the same size.
    larger: Note,
}

/// Evidence that proves no fork.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum EvidenceError {
    /// The notes are not checkpoints, or are in the wrong order.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// No trusted log signed one of the heads.
    #[error("the head of size {size} is not by a trusted log: {source}")]
    NotSigned { size: TreeSize, source: CheckpointError },
    /// The heads are of two logs, which have two histories.
    #[error("the heads are of two logs: expected one origin, saw {smaller} and {larger}")]
    TwoLogs { smaller: Origin, larger: Origin },
    /// The log signed one tree twice.
    #[error("the heads agree at size {size}: expected two roots, saw {root} twice")]
    SameTree { size: TreeSize, root: Hash },
    /// The larger tree continues the smaller one.
    #[error(
        "the larger head continues the smaller one: expected a root other than {root} at size {size}, saw the same"
    )]
    Continues { size: TreeSize, root: Hash },
    /// The consistency proof does not lead to the larger head.
    #[error("the larger head is not shown to commit to another tree of size {size}: {source}")]
    Unproven { size: TreeSize, source: ProofError },
}

error_codes! { EvidenceCode of EvidenceError {
    Self::Format(_) => Malformed = 500, "evidence-malformed";
    Self::NotSigned { source: CheckpointError::WrongOrigin { .. }, .. } => UnknownLog = 501, "unknown-log";
    Self::NotSigned { source: CheckpointError::Format(_), .. } => CheckpointMalformed = 502, "checkpoint-malformed";
    Self::NotSigned { .. } => CheckpointSignature = 503, "checkpoint-signature";
    Self::TwoLogs { .. } => TwoLogs = 504, "two-logs";
    Self::SameTree { .. } => SameTree = 505, "same-tree";
    Self::Continues { .. } => Continues = 506, "continues";
    Self::Unproven { .. } => Unproven = 507, "fork-unproven";
}}

impl ForkEvidence {
    const WHAT: &str = "fork evidence";

    /// Evidence from two heads of the same size with different roots, in either order.
    #[must_use]
    pub fn same_size(a: Note, b: Note) -> Self {
        let (smaller, larger) = if a.to_string() <= b.to_string() { (a, b) } else { (b, a) };
        Self { prefix: None, smaller, larger }
    }

    /// Evidence from a head and a larger one that commits to another tree at the smaller size: one with root `prefix`,
    /// from which `proof` leads to the larger root.
    #[must_use]
    pub const fn unequal(smaller: Note, larger: Note, prefix: Hash, proof: Vec<Hash>) -> Self {
        Self { prefix: Some(Prefix { root: prefix, proof }), smaller, larger }
    }

    /// Parses a file.
    ///
    /// # Errors
    /// [`FormatError`] with the line number, for anything but the format shown above.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        cap(Self::WHAT, bytes.len(), MAX_FORK_BYTES)?;
        let text = utf8(Self::WHAT, bytes)?;
        let header = numbered(text).next().unwrap_or_default();
        if header.1 != HEADER {
            return Err(wrong(Self::WHAT, HEADER, header));
        }
        let parts: Vec<&str> = text.split("\n\n").collect();
        let [head, text_a, lines_a, text_b, lines_b] = parts.as_slice() else {
            let expected = "four empty lines: before, in, between and in two checkpoints";
            let seen = format!("{} of them", parts.len() - 1);
            return Err(FormatError::malformed(Self::WHAT, expected, seen));
        };
        let prefix = parse_head(head)?;
        let smaller = Note::parse(format!("{text_a}\n\n{lines_a}\n").as_bytes())?;
        let larger = Note::parse(format!("{text_b}\n\n{lines_b}").as_bytes())?;
        let evidence = Self { prefix, smaller, larger };
        evidence.check_shape()?;
        Ok(evidence)
    }

    /// If the sizes differ, the larger tree's prefix at the smaller size. Not verified.
    #[must_use]
    pub const fn prefix(&self) -> Option<&Prefix> {
        self.prefix.as_ref()
    }

    /// The notes, the smaller tree's first. Not verified.
    #[must_use]
    pub const fn notes(&self) -> [&Note; 2] {
        [&self.smaller, &self.larger]
    }

    /// Checks that the notes are checkpoints in their one order, with a proof if the sizes differ; signatures are not
    /// verified.
    fn check_shape(&self) -> Result<[TreeSize; 2], FormatError> {
        let wrong = |expected: &str, seen: String| Err(FormatError::malformed(Self::WHAT, expected, seen));
        let smaller = Checkpoint::parse(self.smaller.text())?.size;
        let larger = Checkpoint::parse(self.larger.text())?.size;
        if smaller > larger {
            return wrong("the smaller tree first", format!("sizes {smaller} and {larger}"));
        }
        match &self.prefix {
            None if smaller < larger => wrong(
                "a prefix line where the sizes differ",
                format!("none, and sizes {smaller} and {larger}"),
            ),
            Some(_) if smaller == larger => {
                wrong("no prefix line where the sizes are equal", format!("one, and size {smaller} twice"))
            }
            None if self.smaller.to_string() > self.larger.to_string() => wrong(
                "checkpoints of equal size in the order of their bytes",
                "the greater one first".to_owned(),
            ),
            _ => Ok([smaller, larger]),
        }
    }

    /// Tells whether the log forked, from the trusted logs' keys alone, by the steps of docs/fork-evidence.md.
    ///
    /// # Errors
    /// [`EvidenceError`] for the first step that fails.
    pub fn judge(self, logs: &[impl SignsFor]) -> Result<ProvenFork, EvidenceError> {
        // 1. The evidence has the format shown above. It may not come from a file.
        let [small, large] = self.check_shape()?;
        // 2. A trusted log signed both heads, each under the origin that it names.
        let open = |note: &Note, size| {
            checkpoint::open_note(note.clone(), logs)
                .map_err(|source| EvidenceError::NotSigned { size, source })
        };
        let (smaller, larger) = (open(&self.smaller, small)?, open(&self.larger, large)?);
        let (a, b) = (smaller.get(), larger.get());
        // 3. It is one log.
        if a.origin != b.origin {
            return Err(EvidenceError::TwoLogs { smaller: a.origin.clone(), larger: b.origin.clone() });
        }
        match &self.prefix {
            // 4. Equal sizes: the roots differ.
            None if a.root == b.root => {
                return Err(EvidenceError::SameTree { size: small, root: a.root });
            }
            None => {}
            // 5. Otherwise, the tree that the larger head commits to had another root at the smaller size. This also
            //    catches a wrong root of the empty tree.
            Some(Prefix { root, .. }) if *root == a.root => {
                return Err(EvidenceError::Continues { size: small, root: a.root });
            }
            Some(Prefix { root, proof }) => {
                verify_consistency((small, root), (large, &b.root), proof)
                    .map_err(|source| EvidenceError::Unproven { size: small, source })?;
            }
        }
        Ok(ProvenFork { prefix: self.prefix, smaller, larger })
    }
}

/// Compares two heads of one log, the smaller first, using tiles of the larger head's tree. Returns `None` if the
/// larger head continues the smaller one, otherwise evidence that [proves](ForkEvidence::judge) the fork.
///
/// # Errors
/// The outer error is the reader's. The inner one says that the tiles do not lead to the larger root, in which case
/// nothing is known, or that the sizes are reversed.
///
/// # Panics
/// If the heads are of two logs.
pub fn compare_heads<R: TileReader + ?Sized>(
    reader: &R,
    smaller: &LogSigned<Checkpoint>,
    larger: &LogSigned<Checkpoint>,
) -> Result<Result<Option<ForkEvidence>, ProofError>, R::Error> {
    let (a, b) = (smaller.get(), larger.get());
    assert_eq!(a.origin, b.origin, "two logs have two histories");
    let (a_note, b_note) = (smaller.note().clone(), larger.note().clone());
    if a.size == b.size {
        return Ok(Ok((a.root != b.root).then(|| ForkEvidence::same_size(a_note, b_note))));
    }
    Ok(prove_prefix(reader, a.size, (b.size, &b.root))?.map(|Prefix { root, proof }| {
        (root != a.root).then(|| ForkEvidence::unequal(a_note, b_note, root, proof))
    }))
}

/// Parses the lines between the header and the first empty line.
fn parse_head(head: &str) -> Result<Option<Prefix>, FormatError> {
    let lines: Vec<_> = numbered(head).skip(1).collect();
    let Some((first, lines)) = lines.split_first() else { return Ok(None) };
    let root = first.1.strip_prefix("prefix ");
    let root = root.ok_or_else(|| wrong(ForkEvidence::WHAT, "prefix and a hash", *first))?;
    let (root, proof) = (parse_hash((2, root))?, parse_proof(ForkEvidence::WHAT, lines, MAX_PROOF_HASHES)?);
    Ok(Some(Prefix { root, proof }))
}

fn print(f: &mut fmt::Formatter<'_>, prefix: Option<&Prefix>, smaller: &Note, larger: &Note) -> fmt::Result {
    writeln!(f, "{HEADER}")?;
    if let Some(Prefix { root, proof }) = prefix {
        writeln!(f, "prefix {root}")?;
        print_proof(f, proof)?;
    }
    write!(f, "\n{smaller}\n{larger}")
}

impl fmt::Display for ForkEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.prefix.as_ref(), &self.smaller, &self.larger)
    }
}

/// Proof that a log signed two histories. Only [`ForkEvidence::judge`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenFork {
    prefix: Option<Prefix>,
    smaller: LogSigned<Checkpoint>,
    larger: LogSigned<Checkpoint>,
}

impl ProvenFork {
    /// The log.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.smaller.get().origin
    }

    /// The head with the smaller tree; of equal sizes, the one whose note sorts first.
    #[must_use]
    pub const fn smaller(&self) -> &Checkpoint {
        self.smaller.get()
    }

    /// The other head.
    #[must_use]
    pub const fn larger(&self) -> &Checkpoint {
        self.larger.get()
    }

    /// Both heads with their notes, the smaller first. The notes may have cosignatures, which are not verified.
    #[must_use]
    pub const fn heads(&self) -> [&LogSigned<Checkpoint>; 2] {
        [&self.smaller, &self.larger]
    }

    /// The root that the larger head commits to at the smaller size. It differs from that of
    /// [`smaller`](Self::smaller).
    #[must_use]
    pub const fn other_root(&self) -> Hash {
        match &self.prefix {
            Some(prefix) => prefix.root,
            None => self.larger.get().root,
        }
    }

    /// If the sizes differ, the proof that leads from [`other_root`](Self::other_root) to the larger head.
    #[must_use]
    pub const fn prefix(&self) -> Option<&Prefix> {
        self.prefix.as_ref()
    }

    /// The file's content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The file's name. It depends on the fork alone, not on the cosignatures and extension lines of the heads.
    ///
    /// ```text
    /// <16 hex digits of the SHA-256 of the origin>-<size>-<size>-<8 hex digits>.tlog-fork
    /// ```
    /// The last digits are from the SHA-256 of the first three lines of both heads, the smaller first.
    #[must_use]
    pub fn file_name(&self) -> String {
        let head = |head: &Checkpoint| Checkpoint::new(head.origin.clone(), head.size, head.root).to_string();
        let (smaller, larger) = (self.smaller(), self.larger());
        let heads = Hash::digest([head(smaller), head(larger)].concat().as_bytes()).to_hex();
        let of_log = file_name_prefix(self.origin());
        format!("{of_log}{}-{}-{}{FILE_EXTENSION}", smaller.size, larger.size, &heads[..8])
    }
}

/// The prefix of the names of all files about one log.
#[must_use]
pub fn file_name_prefix(origin: &Origin) -> String {
    format!("{}-", &checkpoint::origin_hash(origin).to_hex()[..16])
}

impl fmt::Display for ProvenFork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.prefix.as_ref(), self.smaller.note(), self.larger.note())
    }
}

#[cfg(test)]
mod tests;
