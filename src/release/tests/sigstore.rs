//! Sigstore bundles of the shapes that GitHub and npm publish, with certificates that were made here.

use super::*;
use crate::release::{Imported, Signer, read_bundles};

/// A DER element.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    let head = match value.len() {
        0..=0x7f => vec![tag, length[1]],
        0x80..=0xff => vec![tag, 0x81, length[1]],
        _ => vec![tag, 0x82, length[0], length[1]],
    };
    [head, value].concat()
}

const IDENTITY: &str = "https://example.com/.github/workflows/release.yml@refs/tags/v4.2.0";
const ISSUER: &str = "https://token.actions.example.com";

/// A certificate as Fulcio shapes them, without a name of its subject.
fn certificate(with_new_issuer: bool) -> Vec<u8> {
    let extension = |oid: &[u8], critical: bool, value: &[u8]| {
        let flag = if critical { der(1, &[&[0xff]]) } else { Vec::new() };
        der(0x30, &[&der(6, &[oid]), &flag, &der(4, &[value])])
    };
    let fulcio = |n: u8| vec![0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, n];
    let mut extensions = vec![
        extension(&[0x55, 0x1d, 0x0f], true, &der(3, &[&[7, 0x80]])),
        extension(&[0x55, 0x1d, 0x11], true, &der(0x30, &[&der(0x86, &[IDENTITY.as_bytes()])])),
        extension(
            &fulcio(1),
            false,
            if with_new_issuer { b"https://old.example.com" } else { ISSUER.as_bytes() },
        ),
    ];
    if with_new_issuer {
        extensions.push(extension(&fulcio(8), false, &der(0x0c, &[ISSUER.as_bytes()])));
    }
    let list = der(0x30, &[&extensions.concat()]);
    let tbs = der(
        0x30,
        &[
            &der(0xa0, &[&der(2, &[&[2]])]),
            &der(2, &[&[9; 20]]),
            &der(0x30, &[]),
            &der(0x30, &[]),
            &der(0x30, &[]),
            &der(0x30, &[]),
            &der(0x30, &[]),
            &der(0xa3, &[&list]),
        ],
    );
    der(0x30, &[&tbs, &der(0x30, &[]), &der(3, &[&[0; 71]])])
}

fn statement(size: usize) -> String {
    let digest = Hash::digest(b"x").to_hex();
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"pkg:npm/%40example/scanner@4.2.0",
        "digest":{{"sha512":"00ff","sha256":"{digest}"}}}}],"predicateType":"https://slsa.dev/provenance/v1",
        "predicate":{{"buildDefinition":{{"buildType":"https://example.com/make","externalParameters":{{"a":"{}"}}}},
        "runDetails":{{"builder":{{"id":"https://example.com/builder"}}}}}}}}"#,
        "a".repeat(size)
    )
}

/// A bundle of a version, with what it has for a signer.
fn bundle(media_type: &str, material: &str, payload: &str) -> String {
    format!(
        r#"{{"mediaType":"{media_type}","verificationMaterial":{{{material},"tlogEntries":[{{"logIndex":"1","kindVersion":{{}}}}],
        "timestampVerificationData":{{}}}},"dsseEnvelope":{{"payload":"{}","payloadType":"application/vnd.in-toto+json",
        "signatures":[{{"sig":"{}","keyid":""}}]}}}}"#,
        base64_encode(payload.as_bytes()),
        base64_encode(&[7; 71])
    )
}

const V3: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const V2: &str = "application/vnd.dev.sigstore.bundle+json;version=0.2";
const V1: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";

fn one(certificate: &[u8]) -> String {
    format!(r#""certificate":{{"rawBytes":"{}"}}"#, base64_encode(certificate))
}

fn chain(certificate: &[u8]) -> String {
    let other = base64_encode(b"another");
    format!(
        r#""x509CertificateChain":{{"certificates":[{{"rawBytes":"{}"}},{{"rawBytes":"{other}"}}]}}"#,
        base64_encode(certificate)
    )
}

fn import(bundle: &str) -> Imported {
    let mut bundles = read_bundles(bundle.as_bytes()).unwrap();
    assert_eq!(bundles.len(), 1);
    bundles.pop().unwrap().unwrap().import(Some(LOG)).unwrap()
}

#[test]
fn bundles_of_each_version_become_statements_about_their_subjects() {
    let signer = Signer::Certificate { identity: IDENTITY.to_owned(), issuer: Some(ISSUER.to_owned()) };
    for (media_type, material) in
        [(V3, one(&certificate(true))), (V2, chain(&certificate(true))), (V1, chain(&certificate(false)))]
    {
        let text = bundle(media_type, &material, &statement(10));
        let imported = import(&text);
        assert_eq!((&imported.signer, &imported.media_type), (&signer, &media_type.to_owned()));
        assert_eq!(imported.bundle, Hash::digest(text.as_bytes()));
        assert_eq!(imported.purls()[0].as_str(), "pkg:npm/%40example/scanner@4.2.0");
        assert_eq!(imported.subjects[0].sha256(), Some(Hash::digest(b"x")));
        assert_eq!(imported.envelope.as_ref().unwrap().payload, statement(10).into_bytes());
        assert!(imported.certificate.is_some());
        let payload = imported.to_payload().unwrap();
        assert_eq!(Statement::parse(&payload), Ok(Statement::Imported(imported)));
        Envelope::sign(payload, &[&publisher_signer(1)]).unwrap();
    }
    let key = bundle(V2, r#""publicKey":{"hint":"SHA256:abc"}"#, &statement(10));
    assert_eq!(import(&key).signer, Signer::Key("SHA256:abc".to_owned()));
}

#[test]
fn files_of_github_and_npm_have_several() {
    let text = bundle(V3, &one(&certificate(true)), &statement(10)).replace('\n', " ");
    let lines = format!("{text}\n\n{text}\r\n");
    assert_eq!(read_bundles(lines.as_bytes()).unwrap().len(), 2);
    let list = format!(
        r#"{{"attestations":[{{"predicateType":"https://slsa.dev/provenance/v1","bundle":{text}}},{{"bundle":7}},
        {{"repository_id":7,"bundle":{text}}}]}}"#
    );
    let read = read_bundles(list.as_bytes()).unwrap();
    assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert!(read_bundles(b"").is_err() && read_bundles(b"{\n").is_err() && read_bundles(b"[]").is_err());
    assert!(read_bundles(b"{\"attestations\":[]}").unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_left_out_and_its_digest_stays() {
    let material = one(&certificate(true));
    let whole = import(&bundle(V3, &material, &statement(20_000)));
    assert!(whole.envelope.is_some() && whole.certificate.is_some());
    let large = import(&bundle(V3, &material, &statement(60_000)));
    assert!(large.envelope.is_none() && large.certificate.is_none());
    assert_eq!(large.payload_hash, Hash::digest(statement(60_000).as_bytes()));
    for size in (33_000..37_000).step_by(100) {
        let imported = import(&bundle(V3, &material, &statement(size)));
        assert!(Envelope::sign(imported.to_payload().unwrap(), &[&publisher_signer(1)]).is_ok(), "{size}");
    }
}

#[test]
fn bundles_that_carry_nothing_are_refused_with_the_reason() {
    let good = bundle(V3, &one(&certificate(true)), &statement(10));
    let own = String::from_utf8(full_release().to_payload().unwrap()).unwrap();
    let own = own.replace("https://in-toto.io/attestation/release/v0.2", "urn:treehead:review:v1");
    for (text, why) in [
        (
            good.replace(V3, "application/json"),
            "mediaType to be application/vnd.dev.sigstore.bundle.v0.3+json",
        ),
        (good.replace("dsseEnvelope", "x"), "dsseEnvelope to be there, saw nothing"),
        (
            good.replace("\"dsseEnvelope\"", "\"messageSignature\""),
            "dsseEnvelope to be there, saw a bare signature, which states nothing",
        ),
        (
            good.replace("application/vnd.in-toto+json", "text/plain"),
            "payloadType to be application/vnd.in-toto+json",
        ),
        (good.replace("\"certificate\"", "\"x\""), "certificate or publicKey to be there"),
        (bundle(V3, &one(b"junk"), &statement(1)), "DER with a subject alternative name"),
        (bundle(V3, &one(&certificate(true)), &own), "a predicate type that is not this program's"),
        (bundle(V3, &one(&certificate(true)), "{}"), "_type to be there"),
        (
            bundle(V3, "\"publicKey\":{\"hint\":\"a\\u0007b\"}", &statement(1)),
            "the signer of an imported statement",
        ),
    ] {
        let read = read_bundles(text.as_bytes()).unwrap().pop().unwrap();
        assert_refused(read.and_then(|bundle| bundle.import(None)), why, text.as_bytes());
    }
}

#[test]
fn no_byte_of_a_certificate_makes_its_reader_panic() {
    let good = certificate(true);
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0x80, 0x83, 0x84, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            let _ = read_bundles(bundle(V3, &one(&bad), &statement(1)).as_bytes()).unwrap();
        }
        let cut = read_bundles(bundle(V3, &one(&good[..at]), &statement(1)).as_bytes()).unwrap();
        assert!(cut[0].is_err(), "cut at {at}");
    }
}
