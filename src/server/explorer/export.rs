//! The explorer beside an exported log, for any web server or object store.

use super::{FILES, HTML, PAGE, TRUST, content_policy, origin_of};
use crate::format::FormatError;
use crate::store::{ExportError, ExportPlace};

/// By this the page is known to be ours.
const MARK: &str = "<meta name=\"generator\" content=\"treehead\">";

/// Writes the explorer into `out`: the page as `index.html`, unless somebody's own is there, and its files. It may ask the
/// `others` as well. `trust` is the log's own word about its keys.
///
/// # Errors
/// Whatever the place says.
pub fn export(out: &dyn ExportPlace, trust: &[u8], others: &[String]) -> Result<(), ExportError> {
    for (name, media_type, content) in FILES {
        out.write_file(&format!("explorer/{name}"), media_type, content)?;
    }
    out.write_file(&format!("explorer/{TRUST}"), "application/json", trust)?;
    let page = out.read_file("index.html")?;
    let is_ours = page.is_none_or(|there| String::from_utf8_lossy(&there).contains(MARK));
    if is_ours {
        // A web server sends no headers of ours. A page can't say who may frame it.
        let policy = content_policy(others, "");
        let meta = format!("{MARK}\n<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">");
        out.write_file("index.html", HTML, PAGE.replace(MARK, &meta).as_bytes())?;
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
