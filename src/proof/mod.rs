//! Formats that logs, witnesses, monitors and endpoints exchange.
//!
//! | module | reads and writes |
//! | --- | --- |
//! | [`ProofFile`] | `.tlog-proof` files: c2sp.org/tlog-proof |
//! | [`FilesProof`] | `.tlog-files` files, which prove some files of a release with a manifest |
//! | [`ProofBundle`] | `.tlog-bundle` files: docs/bundles.md |
//! | [`bundle`] | entry bundles: c2sp.org/tlog-tiles |
//! | [`fork`] | `.tlog-fork` files, which prove that a log forked |
//! | [`wire`] | bodies of requests to witnesses: c2sp.org/tlog-witness |

pub mod bundle;
mod file;
mod files;
pub mod fork;
mod proof_bundle;
pub mod wire;

use alloc::vec::Vec;
use core::fmt;

use crate::format::{FormatError, cap, cap_count, quote, utf8};
use crate::merkle::{Hash, MAX_PROOF_HASHES};

pub use file::*;
pub use files::*;
pub use proof_bundle::{JoinError, MAX_BUNDLE_BYTES, MAX_BUNDLE_ENTRIES, MAX_PROOF_BYTES, ProofBundle};

/// A line and its number, from one.
type Line<'a> = (usize, &'a str);

/// Lines before the first empty one that are looked at: more than the hashes of a proof and the lines before them.
const MAX_HEAD_LINES: usize = 2 * MAX_PROOF_HASHES;

/// Splits a file or a body into the lines before its first empty line and the rest: a checkpoint, which has another one.
fn split<'a>(
    what: &'static str,
    bytes: &'a [u8],
    limit: usize,
) -> Result<(Vec<Line<'a>>, &'a str), FormatError> {
    split_within(what, bytes, limit, MAX_HEAD_LINES)
}

/// Like [`split`], with a number of lines to look at.
fn split_within<'a>(
    what: &'static str,
    bytes: &'a [u8],
    limit: usize,
    most_lines: usize,
) -> Result<(Vec<Line<'a>>, &'a str), FormatError> {
    cap(what, bytes.len(), limit)?;
    let text = utf8(what, bytes)?;
    // Lines are long: to look for newlines alone is faster than `split_once`.
    let mut newlines = text.match_indices('\n').map(|(at, _)| at);
    let end = newlines
        .find(|at| text.as_bytes().get(at + 1) == Some(&b'\n'))
        .ok_or_else(|| FormatError::malformed(what, "an empty line before the checkpoint", "none"))?;
    // A few more than any format allows, so that a file of short lines costs no more than its own size.
    Ok((numbered(&text[..end]).take(most_lines).collect(), &text[end + 2..]))
}

fn numbered(text: &str) -> impl Iterator<Item = Line<'_>> {
    (1..).zip(text.split('\n'))
}

/// The error for a line of `what`.
fn wrong(what: &'static str, expected: &str, (at, line): Line<'_>) -> FormatError {
    FormatError::malformed(what, expected, quote(line)).at_line(at)
}

fn parse_hash((at, line): Line<'_>) -> Result<Hash, FormatError> {
    Hash::from_base64(line).map_err(|e| e.at_line(at))
}

/// Parses the lines of a proof, of which there may be at most `most`.
fn parse_proof(what: &'static str, lines: &[Line<'_>], most: usize) -> Result<Vec<Hash>, FormatError> {
    cap_count(what, "hashes", lines.len(), most)?;
    lines.iter().copied().map(parse_hash).collect()
}

fn print_proof(f: &mut fmt::Formatter<'_>, proof: &[Hash]) -> fmt::Result {
    proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))
}
