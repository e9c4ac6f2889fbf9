//! `RELEASES.jsonl`: one release a line.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::exit::Failure;
use crate::format::FormatError;
use crate::merkle::Hash;
use crate::release::{Kind, MAX_ENTRY_BYTES, Purl, Release, Source, Subject};

/// Longest line: no release that fits an entry has a longer one.
const MAX_LINE_BYTES: usize = 2 * MAX_ENTRY_BYTES;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    purl: String,
    kind: String,
    channel: String,
    sequence: u64,
    artifacts: Vec<Artifact>,
    source: Option<String>,
    audience: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifact {
    name: String,
    sha256: String,
}

/// Calls `each` with the line number and release of every line; empty lines are skipped.
pub fn for_each(
    path: &Path,
    mut each: impl FnMut(usize, Release) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let io = |e: std::io::Error| Failure::io("read", path, &e);
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(io)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        if std::io::Read::take(&mut reader, limit).read_until(b'\n', &mut line).map_err(io)? == 0 {
            break;
        }
        let parsed = parse(line.trim_ascii()).map_err(|e| Failure::file(path, &e.at_line(number)))?;
        if let Some(release) = parsed {
            each(number, release)?;
        }
    }
    Ok(())
}

fn parse(line: &[u8]) -> Result<Option<Release>, FormatError> {
    const WHAT: &str = "a release";
    if line.is_empty() {
        return Ok(None);
    }
    crate::format::cap(WHAT, line.len(), MAX_LINE_BYTES)?;
    let wrong = |expected: &str, seen: &str| FormatError::malformed(WHAT, expected, seen);
    let line: Line = serde_json::from_slice(line)
        .map_err(|e| wrong("a JSON object as in `treehead publish --help`", &e.to_string()))?;
    let subject = |artifact: Artifact| {
        Ok::<_, FormatError>(Subject { sha256: Hash::from_hex(&artifact.sha256)?, name: artifact.name })
    };
    let release = Release {
        subjects: line.artifacts.into_iter().map(subject).collect::<Result<_, _>>()?,
        purl: Purl::parse(&line.purl)?,
        kind: Kind::parse(&line.kind).ok_or_else(|| {
            wrong("kind to be build, update or detection-rules", &crate::format::quote(&line.kind))
        })?,
        channel: line.channel,
        sequence: line.sequence,
        source: line.source.as_deref().map(parse_source).transpose()?,
        manifest: None,
        audience: line.audience,
    };
    release.to_payload()?; // says what is wrong with the rest
    Ok(Some(release))
}

/// `URI@ALGORITHM:HEX`
pub fn parse_source(text: &str) -> Result<Source, FormatError> {
    let parts = text.rsplit_once('@').and_then(|(uri, digest)| Some((uri, digest.split_once(':')?)));
    let (uri, (algorithm, value)) = parts.ok_or_else(|| {
        let expected = "URI@ALGORITHM:HEX, as in git+https://example.com/scanner@gitCommit:<hex>";
        FormatError::malformed("a source", expected, crate::format::quote(text))
    })?;
    Ok(Source { uri: uri.to_owned(), digest: (algorithm.to_owned(), value.to_owned()) })
}
