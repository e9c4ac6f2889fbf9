//! Publishers' keys in PEM (RFC 7468), parsed as leniently as its section 2 allows, because people paste them.
//!
//! The parser ignores text before and after the key, white space at the ends of lines, and blank lines. Lines end in LF,
//! CRLF or CR. Errors never quote any part of a key.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use ed25519_dalek::{SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::format::{FormatError, base64_decode};
use crate::merkle::Hash;

const WHAT: &str = "a publisher key";
const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";
/// Longest label in a message, in characters.
const SHOWN_CHARS: usize = 64;

/// keyid of a publisher key: SHA-256 of its `SubjectPublicKeyInfo` in DER.
pub(super) fn keyid(key: &VerifyingKey) -> Hash {
    // RFC 8410 section 4: the DER of every Ed25519 key begins so.
    const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    Hash::digest(&[&PREFIX[..], key.as_bytes()].concat())
}

/// A block between a `-----BEGIN` line and its `-----END` line.
struct Block<'a> {
    label: &'a str,
    /// Base64, without line ends.
    body: Zeroizing<String>,
}

/// The block with a public key, decoded.
pub(super) enum PublicBlock {
    Key(Zeroizing<Vec<u8>>),
    Certificate(Zeroizing<Vec<u8>>),
}

/// The only public key of a text, or its only certificate if there is no bare key. The error says what was seen.
pub(super) fn public_block(text: &str) -> Result<PublicBlock, String> {
    let blocks = blocks(text)?;
    // A private key must not be in a file that everyone may read, whatever else is in it.
    if blocks.iter().any(|block| block.label.ends_with(PRIVATE)) {
        return Err("a private key, which belongs to its publisher alone".to_owned());
    }
    let has = |label| blocks.iter().any(|block| block.label == label);
    if has(CERTIFICATE) && !has(PUBLIC) {
        return only(&blocks, CERTIFICATE).map(PublicBlock::Certificate);
    }
    only(&blocks, PUBLIC).map(PublicBlock::Key)
}

/// Parses an Ed25519 secret key in PKCS#8.
pub(super) fn secret_key(text: &str) -> Result<SigningKey, FormatError> {
    let wrong = |seen: String| {
        let expected = "an Ed25519 PRIVATE KEY in PKCS#8 PEM (openssl genpkey -algorithm ed25519)";
        FormatError::malformed(WHAT, expected, seen)
    };
    let blocks = blocks(text).map_err(&wrong)?;
    if blocks.iter().any(|block| block.label == "ENCRYPTED PRIVATE KEY") {
        return Err(wrong("a key under a passphrase; `openssl pkey -in KEY -out NEW` removes it".to_owned()));
    }
    let der = only(&blocks, PRIVATE).map_err(&wrong)?;
    SigningKey::from_pkcs8_der(&der).map_err(|e| wrong(e.to_string()))
}

/// Tells whether a text begins like a public key or a certificate.
pub(super) fn is_public_pem(text: &str) -> bool {
    let first = lines(text).find(|line| !line.is_empty()).and_then(|line| marker(line, "BEGIN"));
    matches!(first, Some(PUBLIC | CERTIFICATE))
}

/// The only private key of a text: the label of its block, and its bytes. The error says what was seen.
#[cfg(feature = "cli")]
pub(crate) fn private_block(text: &str) -> Result<(&str, Zeroizing<Vec<u8>>), String> {
    let blocks = blocks(text)?;
    let label = blocks.iter().map(|block| block.label).find(|label| label.ends_with(PRIVATE));
    let label = label.unwrap_or(PRIVATE);
    Ok((label, only(&blocks, label)?))
}

/// The bytes of the only block with this label.
fn only(blocks: &[Block<'_>], label: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut fitting = blocks.iter().filter(|block| block.label == label);
    let block = fitting.next().ok_or_else(|| match blocks.first() {
        None => format!("no line -----BEGIN {label}-----"),
        Some(other) => format!("a block of {}", shown(other.label)),
    })?;
    if fitting.next().is_some() {
        return Err(format!("more than one block of {label}"));
    }
    let der = base64_decode(&block.body).map(Zeroizing::new);
    der.ok_or_else(|| format!("bad base64 in the block of {label}"))
}

/// The lines, trimmed. A CRLF yields an additional blank line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', '\r']).map(|line| line.trim_start_matches('\u{feff}').trim())
}

/// Parses all blocks.
fn blocks(text: &str) -> Result<Vec<Block<'_>>, String> {
    let (mut found, mut open) = (Vec::new(), None::<Block<'_>>);
    for line in lines(text) {
        let Some(block) = &mut open else {
            if let Some(label) = marker(line, "BEGIN") {
                open = Some(Block { label, body: Zeroizing::new(String::with_capacity(text.len())) });
            } else if let Some(label) = marker(line, "END") {
                return Err(format!("an -----END {}----- line without its -----BEGIN", shown(label)));
            }
            continue;
        };
        if marker(line, "END") == Some(block.label) {
            found.extend(open.take());
        } else if line.starts_with("-----") {
            return Err(format!("another line of dashes before -----END {}-----", shown(block.label)));
        } else if line.contains(':') {
            return Err(
                "a header before the base64, as PEM of RFC 1421 has it and RFC 7468 does not".to_owned()
            );
        } else if line.chars().any(|c| !c.is_whitespace() && !is_base64(c)) {
            return Err(format!("a character that is no base64 in the block of {}", shown(block.label)));
        } else {
            block.body.extend(line.chars().filter(|c| !c.is_whitespace()));
        }
    }
    match open {
        None => Ok(found),
        Some(block) => Err(format!("no line -----END {}-----", shown(block.label))),
    }
}

/// A label with printable ASCII characters only, shortened.
fn shown(label: &str) -> String {
    label.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(SHOWN_CHARS).collect()
}

const fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')
}

/// The label of a line `-----<kind> <label>-----`.
fn marker<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.strip_prefix("-----")?.strip_prefix(kind)?.strip_prefix(' ')?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{PublicKey, PublisherSigner, is_public_key_text};

    fn public_key(text: &str) -> Result<PublicKey, FormatError> {
        PublicKey::parse(text.as_bytes(), None)
    }

    fn signer() -> PublisherSigner {
        PublisherSigner::from_seed(&[7; 32])
    }

    /// The leniencies that people's PEM files need.
    fn as_found(pem: &str) -> Vec<(&'static str, String)> {
        let body = pem.lines().nth(1).unwrap();
        vec![
            ("as it is", pem.to_owned()),
            ("a blank line after it", format!("{pem}\n\n")),
            ("no newline", pem.trim_end().to_owned()),
            ("a byte order mark", format!("\u{feff}{pem}")),
            ("text before it", format!("Bag Attributes\n    friendlyName: vendor\n{pem}")),
            ("openssl pkey -text", format!("{pem}ED25519 Public-Key:\npub:\n    19:bf:44:09\n")),
            ("spaces behind its lines", pem.replace('\n', " \t\n")),
            ("indented", pem.replace("-----BEGIN", "   -----BEGIN").replace(body, &format!("   {body}"))),
            ("CRLF", pem.replace('\n', "\r\n")),
            ("CR", pem.replace('\n', "\r")),
            ("blank lines in it", pem.replace(body, &format!("\n{}\n\n{}\n", &body[..20], &body[20..]))),
            ("lines of other lengths", pem.replace(body, &format!("{}\n{}", &body[..31], &body[31..]))),
        ]
    }

    #[test]
    fn keys_are_read_however_they_were_pasted() {
        let signer = signer();
        for (how, pem) in as_found(&signer.public_pem()) {
            assert_eq!(public_key(&pem).map(|key| key.keyid()), Ok(signer.keyid()), "{how}");
            assert!(is_public_key_text(&pem) || how == "text before it", "{how}");
        }
        for (how, pem) in as_found(&signer.to_pem()) {
            assert_eq!(PublisherSigner::from_pem(&pem).map(|key| key.keyid()), Ok(signer.keyid()), "{how}");
            assert!(!is_public_key_text(&pem), "{how}");
        }
        // A certificate beside it is text like any other.
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(public_key(&format!("{certificate}{}", signer.public_pem())).is_ok());
    }

    #[test]
    fn what_is_no_such_key_is_named_and_never_quoted() {
        let signer = signer();
        let (public, secret) = (signer.public_pem(), signer.to_pem());
        let label = |pem: &str, label: &str| pem.replace("PRIVATE KEY", label);
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cases: [(String, &str, &str); 10] = [
            (String::new(), "no line -----BEGIN PUBLIC KEY-----", "no line -----BEGIN PRIVATE KEY-----"),
            (certificate.to_owned(), "expected an X.509 certificate in DER", "a block of CERTIFICATE"),
            (label(&secret, "ENCRYPTED PRIVATE KEY"), "a private key", "under a passphrase"),
            (label(&secret, "EC PRIVATE KEY"), "a private key", "a block of EC PRIVATE KEY"),
            (format!("{public}{public}"), "more than one block of PUBLIC KEY", "a block of PUBLIC KEY"),
            (format!("{}{}", *secret, *secret), "a private key", "more than one block of PRIVATE KEY"),
            (secret.replace("KEY-----\nMC", "KEY-----\nProc-Type: 4\nMC"), "a header", "a header"),
            (secret.replace("-----END", "----END"), "no base64", "no base64"),
            (secret.lines().take(2).collect::<Vec<_>>().join("\n"), "no line -----END", "no line -----END"),
            (secret.lines().skip(1).collect::<Vec<_>>().join("\n"), "without its", "without its"),
        ];
        let body = secret.lines().nth(1).unwrap();
        for (pem, of_public, of_secret) in cases {
            let errors = [
                (public_key(&pem).map(drop).unwrap_err().to_string(), of_public),
                (secret_key(&pem).map(drop).unwrap_err().to_string(), of_secret),
            ];
            for (error, says) in errors {
                assert!(error.contains(says), "{pem}: {error}");
                assert!(!error.contains(&body[10..20]), "{error}");
            }
        }
        // Cut short in the middle of the key.
        let short = secret.replace(&body[40..], "");
        let error = secret_key(&short).map(drop).unwrap_err().to_string();
        assert!(!error.contains(&body[10..20]), "{error}");
    }
}
