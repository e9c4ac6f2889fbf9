//! Files that this program writes for itself: a checksum, and what it is of.
//!
//! ```text
//! <SHA-256 of the rest, 64 lower-case hex digits>
//! <the rest>
//! ```
//!
//! It shows what a disk or an editor changed. Who changes a file on purpose can make a new one.

use alloc::vec::Vec;

use crate::format::{FormatError, utf8};
use crate::merkle::Hash;

/// The bytes of a file that says `rest`.
pub(crate) fn add(rest: &str) -> Vec<u8> {
    format!("{}\n{rest}", Hash::digest(rest.as_bytes()).to_hex()).into_bytes()
}

/// What a file says, if all of it is as it was written. `what` is the file, with its article.
///
/// # Errors
/// [`FormatError`].
pub(crate) fn check<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, FormatError> {
    let wrong = |seen: &str| {
        let expected = "the SHA-256 of the rest in the first line";
        FormatError::malformed(what, expected, seen)
    };
    let (sum, rest) = utf8(what, bytes)?.split_once('\n').ok_or_else(|| wrong("one line"))?;
    if sum != Hash::digest(rest.as_bytes()).to_hex() {
        return Err(wrong("another: something was changed after it was written"));
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_seen() {
        for rest in ["", "\n", "{\"version\":1}\n", "a\nb"] {
            let bytes = add(rest);
            assert_eq!(check("a file", &bytes), Ok(rest));
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    assert!(check("a file", &changed).is_err(), "{rest:?}: bit {bit} of byte {at}");
                }
                assert!(check("a file", &bytes[..at]).is_err(), "{rest:?}: cut at {at}");
            }
        }
        assert_eq!(add("abc")[..8], *b"ba7816bf", "of FIPS 180-2, appendix B.1");
        assert!(check("a file", &add("abc").to_ascii_uppercase()).is_err(), "one spelling");
    }
}
