//! The files that a public key comes in.

use alloc::string::String;

use der::{Reader as _, SliceReader};

use super::super::pem;
use super::{KeyFamily, PublicKey, WHAT, openssh, spki, x509};
use crate::format::{FormatError, cap, file_text};

/// Largest file with a public key, in bytes: a certificate with an ML-DSA-87 signature and long lists of names fits.
pub const MAX_KEY_BYTES: usize = 16 * 1024;

pub fn parse(bytes: &[u8], scheme: Option<KeyFamily>) -> Result<PublicKey, FormatError> {
    cap(WHAT, bytes.len(), MAX_KEY_BYTES)?;
    if is_der(bytes) {
        return if spki::is_spki(bytes) {
            spki::decode(bytes, scheme)
        } else {
            of_certificate(bytes, scheme)
        };
    }
    let text = file_text(WHAT, bytes)?;
    if openssh::line(text).is_some() {
        return openssh::parse(text, scheme);
    }
    match pem::public_block(text).map_err(expected)? {
        pem::PublicBlock::Key(der) => spki::decode(&der, scheme),
        pem::PublicBlock::Certificate(der) => of_certificate(&der, scheme),
    }
}

fn expected(seen: String) -> FormatError {
    let expected = "a PUBLIC KEY in PEM (openssl pkey -in KEY -pubout), a CERTIFICATE, or a line of OpenSSH";
    FormatError::malformed(WHAT, expected, seen)
}

fn of_certificate(der: &[u8], scheme: Option<KeyFamily>) -> Result<PublicKey, FormatError> {
    let spki = x509::spki(der).map_err(|e| {
        FormatError::malformed(WHAT, "an X.509 certificate in DER", format!("an error in it ({e})"))
    })?;
    spki::decode(spki, scheme)
}

/// Tells whether the bytes are one sequence in DER, and not a text that begins with the digit 0.
fn is_der(bytes: &[u8]) -> bool {
    let whole = |bytes| -> Result<(), der::Error> {
        let mut reader = SliceReader::new(bytes)?;
        reader.tlv_bytes()?;
        reader.finish()
    };
    bytes.first() == Some(&0x30) && whole(bytes).is_ok()
}

/// Tells whether a text begins like a public key.
#[must_use]
pub fn is_public_key_text(text: &str) -> bool {
    openssh::line(text).is_some() || pem::is_public_pem(text)
}
