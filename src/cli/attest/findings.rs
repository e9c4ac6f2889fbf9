//! Findings of a review, and the file with what opens their commitments.

use std::path::{Path, PathBuf};

use crate::cli::exit::Failure;
use crate::cli::files;
use crate::cli::keygen::random_seed;
use crate::cli::output::say;
use crate::format::cap_count;
use crate::release::{MAX_COMMITMENTS, MAX_FINDING_BYTES, Opening};

/// Largest file of findings or openings.
pub const MAX_FINDINGS_BYTES: usize = 2 * MAX_COMMITMENTS * MAX_FINDING_BYTES;

/// The file of openings beside a file of findings.
fn openings_path(findings: &Path) -> PathBuf {
    let mut path = findings.as_os_str().to_owned();
    path.push(".openings");
    path.into()
}

/// Commits to each finding, and saves what opens the commitments before anybody sees them. If the same findings were
/// committed to before, their salts are used again, so that a second run states the same.
pub fn openings(path: &Path, dry_run: bool) -> Result<Vec<Opening>, Failure> {
    let text = files::read(path, "a file of findings", MAX_FINDINGS_BYTES)?;
    let wrong = |e| Failure::file(path, &e);
    let text = crate::format::file_text("a file of findings", &text).map_err(wrong)?;
    let findings = paragraphs(text);
    cap_count("a review", "findings", findings.len(), MAX_COMMITMENTS).map_err(wrong)?;
    if findings.is_empty() {
        return Err(Failure::Usage(format!("{}: expected a finding, saw none", path.display())));
    }
    let kept = openings_path(path);
    if kept.exists() {
        let there = read(&kept)?;
        if there.iter().map(Opening::finding).eq(findings.iter().map(String::as_str)) {
            return Ok(there);
        }
        let (kept, path) = (kept.display(), path.display());
        return Err(Failure::Usage(format!(
            "{kept} opens other findings than those in {path}: keep it, and give the new findings another file name"
        )));
    }
    let open = |finding| Opening::new(finding, *random_seed()?).map_err(wrong);
    let openings = findings.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    if !dry_run {
        files::create_new(&kept, &Opening::to_file(&openings), 0o600)?;
        say(&format!("what opens the findings is in {}: keep it, and keep it secret", kept.display()));
    }
    Ok(openings)
}

/// Reads a file of openings.
pub fn read(path: &Path) -> Result<Vec<Opening>, Failure> {
    files::parse(path, "a file of findings", MAX_FINDINGS_BYTES, Opening::parse_file)
}

/// Findings stand between empty lines.
fn paragraphs(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim_end) {
        match (line.is_empty(), open) {
            (true, _) => {}
            (false, false) => found.push(line.to_owned()),
            (false, true) => {
                let last = found.last_mut().expect("one is open");
                last.push('\n');
                last.push_str(line);
            }
        }
        open = !line.is_empty();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::paragraphs;

    #[test]
    fn a_finding_is_a_paragraph() {
        assert_eq!(paragraphs("\n\na\nb \r\n\n \n  c\n"), ["a\nb", "  c"]);
        assert!(paragraphs(" \n\n").is_empty());
    }
}
