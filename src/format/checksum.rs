//! Files that only this program writes and reads: the first line is a checksum of the rest.
//!
//! ```text
//! <SHA-256 of the rest, 64 lower-case hex digits>
//! <the rest>
//! ```
//!
//! It detects what a disk or an editor changed. It is no protection against those who compute a new one.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::format::{FormatError, utf8};

fn checksum(rest: &str) -> String {
    hex::encode(Sha256::digest(rest))
}

/// The bytes of a file: the checksum of `rest`, and `rest`.
pub(crate) fn add(rest: &str) -> Vec<u8> {
    format!("{}\n{rest}", checksum(rest)).into_bytes()
}

/// Checks the checksum and returns the rest of the file. `what` names the file, with its article.
///
/// # Errors
/// [`FormatError`].
pub(crate) fn check<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, FormatError> {
    let wrong = |seen: &str| {
        let expected = "the SHA-256 of the rest in the first line";
        FormatError::malformed(what, expected, seen)
    };
    let (sum, rest) = utf8(what, bytes)?.split_once('\n').ok_or_else(|| wrong("one line"))?;
    if sum != checksum(rest) {
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
