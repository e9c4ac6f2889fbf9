//! Public keys of OpenSSH: a line `TYPE BASE64 [COMMENT]`, as `ssh-keygen` writes it to `.pub` files (RFC 4253 section 6.6,
//! RFC 5656, RFC 8709).

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use super::{KeyFamily, PublicKey, WHAT, spki};
use crate::format::{FormatError, base64_decode};

/// The types of keys that are read.
const TYPES: [&str; 4] = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa"];

/// The only line of a text that is neither blank nor a comment, if it looks like a key of any type.
pub fn line(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(|line| line.trim_start_matches('\u{feff}').trim());
    let is_key = |line: &&str| ["ssh-", "ecdsa-sha2-", "sk-"].iter().any(|start| line.starts_with(start));
    lines.find(|line| !line.is_empty() && !line.starts_with('#')).filter(is_key)
}

/// Parses the text around such a line.
pub fn parse(text: &str, scheme: Option<KeyFamily>) -> Result<PublicKey, FormatError> {
    let wrong = |seen: String| {
        let expected = "one line TYPE BASE64 of OpenSSH, of type ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384 or ssh-rsa";
        FormatError::malformed(WHAT, expected, seen)
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    if lines.count() > 1 {
        return Err(wrong("several lines".to_owned()));
    }
    let mut words = line(text).unwrap_or_default().split([' ', '\t']).filter(|word| !word.is_empty());
    let (named, base64) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !TYPES.contains(&named) {
        return Err(wrong("another type of key".to_owned()));
    }
    let bytes = base64_decode(base64).ok_or_else(|| wrong("bad base64".to_owned()))?;
    let spki = to_spki(named, &bytes).ok_or_else(|| wrong("a key that is malformed".to_owned()))?;
    PublicKey::from_spki(&spki, scheme)
}

fn to_spki(named: &str, mut left: &[u8]) -> Option<Vec<u8>> {
    let mut next = || string(&mut left);
    if next()? != named.as_bytes() {
        return None;
    }
    let spki = match named {
        "ssh-ed25519" => {
            Some(next()?).filter(|key| key.len() == 32).map(|key| spki::with_prefix(KeyFamily::Ed25519, key))
        }
        "ssh-rsa" => {
            let (exponent, modulus) = (number(next()?)?, number(next()?)?);
            spki::of_rsa(modulus, exponent).ok()
        }
        _ => {
            let (curve, point) = (next()?, next()?);
            let (family, bytes) = match named {
                "ecdsa-sha2-nistp256" => (KeyFamily::EcdsaP256, 65),
                _ => (KeyFamily::EcdsaP384, 97),
            };
            let fits =
                named.as_bytes().ends_with(curve) && curve.len() == "nistp256".len() && point.len() == bytes;
            fits.then(|| spki::with_prefix(family, point))
        }
    };
    spki.filter(|_| left.is_empty())
}

/// A string: its length as 32 bits, then its bytes.
fn string<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = left.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, rest) = rest.split_at_checked(length)?;
    *left = rest;
    Some(string)
}

/// A positive number as `mpint` has it (RFC 4251 section 5): no zero byte before it but for the sign.
fn number(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0, first, ..] if *first >= 0x80 => Some(&bytes[1..]),
        [first, ..] if (1..0x80).contains(first) => Some(bytes),
        _ => None,
    }
}
