//! `RELEASES.jsonl`: one release a line.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::exit::Failure;
use super::files;
use crate::release::{MAX_RELEASE_LINE_BYTES, Release};

/// Calls `each` with the line number and release of every line; empty lines are skipped.
pub fn for_each(
    path: &Path,
    mut each: impl FnMut(usize, Release) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let io = |e: std::io::Error| Failure::io("read", path, &e);
    let mut reader = BufReader::with_capacity(1 << 20, files::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let limit = MAX_RELEASE_LINE_BYTES as u64 + 1;
        if std::io::Read::take(&mut reader, limit).read_until(b'\n', &mut line).map_err(io)? == 0 {
            break;
        }
        let parsed =
            Release::parse_line(line.trim_ascii()).map_err(|e| Failure::file(path, &e.at_line(number)))?;
        if let Some(release) = parsed {
            each(number, release)?;
        }
    }
    Ok(())
}
