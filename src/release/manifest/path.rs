//! Paths that a manifest may name: inside the release's folder, whatever the system, and each readable as it is.

use alloc::string::String;

use unicode_normalization::UnicodeNormalization as _;

use crate::format::{FormatError, cap, is_hidden, quote};

/// Longest path, in bytes: `PATH_MAX` of macOS, the least of the systems that have one.
pub const MAX_PATH_BYTES: usize = 1_024;
/// Longest component of a path, in bytes: ext4, APFS and NTFS take no longer ones.
const MAX_COMPONENT_BYTES: usize = 255;
/// Characters that Windows allows in no name. A colon also begins a drive letter's path or an alternate stream.
const FORBIDDEN: &str = "\\:*?\"<>|";
/// Names of devices, which Windows opens in every folder, whatever the extension and case.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

const WHAT: &str = "a path in a manifest";

/// Checks that a path stays in its folder on every system, can be a file there, and shows all its characters.
///
/// A path is 1 to [`MAX_PATH_BYTES`] bytes of components of 1 to 255 bytes with `/` between them. No component is `.` or
/// `..`, begins or ends with a space, ends with a dot, or names a device of Windows; no character is a control, invisible,
/// or one of `\ : * ? " < > |`.
///
/// # Errors
/// [`FormatError`] for the first rule that the path breaks.
pub fn check_path(path: &str) -> Result<(), FormatError> {
    cap(WHAT, path.len(), MAX_PATH_BYTES)?;
    let expected = if path.is_empty() {
        "at least one character"
    } else if path.starts_with('/') {
        "a path relative to the release's folder, without a slash at its start"
    } else if let Some(rule) = path.split('/').find_map(broken_rule) {
        rule
    } else {
        return Ok(());
    };
    Err(FormatError::malformed(WHAT, expected, quote(path)))
}

/// The rule that a component breaks.
fn broken_rule(component: &str) -> Option<&'static str> {
    if component.is_empty() {
        Some("no empty component: one slash between names, and none at the end")
    } else if matches!(component, "." | "..") {
        Some("no `.` or `..`, which could leave the release's folder")
    } else if component.len() > MAX_COMPONENT_BYTES {
        Some("names of at most 255 bytes between slashes")
    } else if component.contains(is_hidden) {
        Some("no control, bidirectional or other invisible characters")
    } else if component.contains(|c| FORBIDDEN.contains(c)) {
        Some(
            "none of \\ : * ? \" < > |, which Windows forbids in names: rename the file, or put it into an archive",
        )
    } else if component.starts_with(' ') || component.ends_with([' ', '.']) {
        Some("names that neither begin nor end with a space, nor end with a dot: Windows drops it")
    } else if is_device(component) {
        Some("no name of a device, such as `nul` or `com1.txt`, which Windows does not open as a file")
    } else {
        None
    }
}

fn is_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let is = |name: &str| stem.eq_ignore_ascii_case(name);
    let numbered = |(prefix, digit): (&str, &str)| {
        (prefix.eq_ignore_ascii_case("com") || prefix.eq_ignore_ascii_case("lpt"))
            && matches!(digit, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
    };
    DEVICES.iter().any(|name| is(name)) || stem.split_at_checked(3).is_some_and(numbered)
}

/// Rejects paths of which one is another one on some system, or the folder of another one.
///
/// # Errors
/// [`FormatError`] with both paths.
pub fn check_apart<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<(), FormatError> {
    let mut folded: alloc::vec::Vec<(String, &str)> =
        paths.into_iter().map(|path| (folded(path), path)).collect();
    folded.sort_unstable();
    for pair in folded.windows(2) {
        let [(one, first), (two, second)] = pair else { unreachable!("windows of two") };
        let Some(rest) = two.strip_prefix(one.as_str()) else { continue };
        let both = || alloc::format!("{} and {}", quote(first), quote(second));
        if rest.is_empty() {
            let expected = "each path once";
            let expected_folded =
                "paths that differ in more than case and Unicode spelling, which Windows and macOS ignore";
            let expected = if first == second { expected } else { expected_folded };
            return Err(FormatError::malformed(super::WHAT, expected, both()));
        }
        if rest.starts_with('\0') {
            let expected = "no path that is both a file and a folder, in any case or Unicode spelling";
            return Err(FormatError::malformed(super::WHAT, expected, both()));
        }
    }
    Ok(())
}

/// A path as the most forgiving file system reads it: canonically decomposed, without case. A slash becomes a NUL, which
/// sorts before every character, so that a file stands next to those in a folder of its name.
fn folded(path: &str) -> String {
    if path.is_ascii() {
        let fold = |c: char| if c == '/' { '\0' } else { c.to_ascii_lowercase() };
        return path.chars().map(fold).collect();
    }
    let folded: String = path.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfd().collect();
    folded.replace('/', "\0")
}
