//! The key in an X.509 certificate (RFC 5280 section 4.1), in DER. Nothing else in it is judged: not its names, not its
//! times, not who signed it. So what the names and extensions hold is not looked at.

use der::asn1::{AnyRef, BitStringRef};
use der::{Reader as _, SliceReader, Tag, TagNumber, Tagged as _};

/// The `SubjectPublicKeyInfo` of a certificate.
pub fn spki(certificate: &[u8]) -> Result<&[u8], der::Error> {
    let mut reader = SliceReader::new(certificate)?;
    let spki = reader.sequence(|certificate| {
        let spki = certificate.sequence(to_be_signed)?;
        // signatureAlgorithm, signatureValue
        expect(certificate, Tag::Sequence)?;
        certificate.decode::<BitStringRef<'_>>()?;
        Ok::<_, der::Error>(spki)
    })?;
    reader.finish()?;
    Ok(spki)
}

fn to_be_signed<'a>(fields: &mut SliceReader<'a>) -> Result<&'a [u8], der::Error> {
    let version = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    if Tag::peek(fields)? == version {
        expect(fields, version)?;
    }
    // serialNumber; signature, issuer, validity, subject
    for tag in [Tag::Integer, Tag::Sequence, Tag::Sequence, Tag::Sequence, Tag::Sequence] {
        expect(fields, tag)?;
    }
    let spki = fields.tlv_bytes()?;
    // issuerUniqueID, subjectUniqueID, extensions: [1] to [3], in order
    let mut last = TagNumber(0);
    while !fields.is_finished() {
        match fields.decode::<AnyRef<'_>>()?.tag() {
            Tag::ContextSpecific { number, .. } if number > last && number <= TagNumber(3) => last = number,
            tag => return Err(tag.value_error().into()),
        }
    }
    Ok(spki)
}

fn expect(fields: &mut SliceReader<'_>, tag: Tag) -> Result<(), der::Error> {
    fields.decode::<AnyRef<'_>>()?.tag().assert_eq(tag)?;
    Ok(())
}
