//! The identity that a certificate names, and its issuer. Nothing is verified, and nothing else is read.

use alloc::borrow::ToOwned;
use alloc::string::String;

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
/// `[3]` of a `TBSCertificate`: the extensions.
const EXTENSIONS: u8 = 0xa3;
/// Tags of an alternative name: email and URI.
const NAMES: [u8; 2] = [0x81, 0x86];
/// Tag of an alternative name of another kind: Fulcio writes user names so.
const OTHER_NAME: u8 = 0xa0;
/// 2.5.29.17, subject alternative name.
const SAN: &[u8] = &[0x55, 0x1d, 0x11];
/// 1.3.6.1.4.1.57264.1.8, the issuer of the identity, which Fulcio writes as a `UTF8String`.
const ISSUER: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x08];
/// 1.3.6.1.4.1.57264.1.1, the same as bare text.
const OLD_ISSUER: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x01];

/// The first URI, email or user name of the subject alternative name, and the issuer of the identity.
pub fn names(der: &[u8]) -> Option<(String, Option<String>)> {
    let (certificate, _) = element(SEQUENCE, der)?;
    let (mut tbs, _) = element(SEQUENCE, certificate)?;
    let extensions = loop {
        let (tag, value, rest) = any(tbs)?;
        if tag == EXTENSIONS {
            break value;
        }
        tbs = rest;
    };
    let (mut extensions, _) = element(SEQUENCE, extensions)?;
    let (mut identity, mut issuer, mut old_issuer) = (None, None, None);
    while !extensions.is_empty() {
        let (extension, rest) = element(SEQUENCE, extensions)?;
        extensions = rest;
        let (oid, mut value) = element(OID, extension)?;
        // `critical` may come before the value.
        while let (tag, _, rest) = any(value)?
            && tag != OCTETS
        {
            value = rest;
        }
        let (value, _) = element(OCTETS, value)?;
        match oid {
            SAN => identity = alternative_name(value),
            ISSUER => issuer = element(UTF8, value).and_then(|(text, _)| text_of(text)),
            OLD_ISSUER => old_issuer = text_of(value),
            _ => {}
        }
    }
    Some((identity?, issuer.or(old_issuer)))
}

fn alternative_name(value: &[u8]) -> Option<String> {
    let (mut names, _) = element(SEQUENCE, value)?;
    while !names.is_empty() {
        let (tag, name, rest) = any(names)?;
        if NAMES.contains(&tag) {
            return text_of(name);
        }
        if tag == OTHER_NAME {
            let (_, value) = element(OID, name)?;
            let (text, _) = element(UTF8, element(OTHER_NAME, value)?.0)?;
            return text_of(text);
        }
        names = rest;
    }
    None
}

fn text_of(bytes: &[u8]) -> Option<String> {
    core::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

/// Takes an element with this tag. Returns its value and what follows.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (seen, value, rest) = any(der)?;
    (seen == tag).then_some((value, rest))
}

/// Takes an element: tag, value and what follows. Lengths have at most three bytes.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 3))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}
