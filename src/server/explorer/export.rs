//! The explorer beside an exported log, for any web server.

use std::fs;
use std::path::Path;

use super::{FILES, PAGE, TRUST, content_policy, origin_of};
use crate::disk::{DiskError, RealDisk, read_if_exists, replace};
use crate::format::FormatError;

/// By this the page is known to be ours.
const MARK: &str = "<meta name=\"generator\" content=\"treehead\">";

/// Writes the explorer into `out`: the page as `index.html`, unless somebody's own is there, and its files. It may ask the
/// `others` as well. `trust` is the log's own word about its keys.
///
/// # Errors
/// [`DiskError`].
pub fn export(out: &Path, trust: &[u8], others: &[String]) -> Result<(), DiskError> {
    let dir = out.join("explorer");
    fs::create_dir_all(&dir).map_err(DiskError::io("create", &dir))?;
    for (name, _, content) in FILES {
        replace(&RealDisk, &dir.join(name), content)?;
    }
    replace(&RealDisk, &dir.join(TRUST), trust)?;
    let page = out.join("index.html");
    let is_ours = read_if_exists(&page)?.is_none_or(|there| String::from_utf8_lossy(&there).contains(MARK));
    if is_ours {
        // A web server sends no headers of ours. A page can't say who may frame it.
        let policy = content_policy(others, "");
        let meta = format!("{MARK}\n<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">");
        replace(&RealDisk, &page, PAGE.replace(MARK, &meta).as_bytes())?;
    }
    Ok(())
}

/// Parses the address of a log that an exported explorer may ask.
///
/// # Errors
/// [`FormatError`].
pub fn parse_other(address: &str) -> Result<String, FormatError> {
    origin_of(address)
}
