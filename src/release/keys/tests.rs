//! With the keys and signatures in `fixtures/keys`, which openssl made.

use alloc::vec::Vec;

use super::*;
use crate::release::{Envelope, KeySearch, Publishers, StatementError, SubmittedEnvelope, VerifiedStatement};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../fixtures/keys/", $name)).as_slice()
    };
}

/// A key with a signature, and how both came.
struct Made {
    family: KeyFamily,
    pem: &'static [u8],
    der: &'static [u8],
    /// Empty where the tools make none.
    certificate: &'static [u8],
    ssh: &'static [u8],
    signature: &'static [u8],
}

macro_rules! made {
    ($family:ident, $name:literal, $certificate:expr, $ssh:expr) => {
        Made {
            family: KeyFamily::$family,
            pem: include_bytes!(concat!("../../../fixtures/keys/", $name, ".pem")).as_slice(),
            der: include_bytes!(concat!("../../../fixtures/keys/", $name, ".der")).as_slice(),
            certificate: $certificate,
            ssh: $ssh,
            signature: include_bytes!(concat!("../../../fixtures/keys/", $name, ".sig")).as_slice(),
        }
    };
}

/// One key of each family, and another form of RSA-PSS.
const KEYS: [Made; 7] = [
    made!(Ed25519, "ed25519", fixture!("ed25519.crt"), fixture!("ed25519.ssh")),
    made!(MlDsa44, "ml-dsa-44", b"", b""),
    made!(EcdsaP256, "ecdsa-p256", fixture!("ecdsa-p256.crt"), fixture!("ecdsa-p256.ssh")),
    made!(EcdsaP384, "ecdsa-p384", fixture!("ecdsa-p384.crt"), fixture!("ecdsa-p384.ssh")),
    made!(RsaPkcs1Sha256, "rsa-2048", fixture!("rsa-2048.crt"), fixture!("rsa-2048.ssh")),
    made!(RsaPssSha256, "rsa-pss-2048", fixture!("rsa-pss-2048.crt"), b""),
    made!(RsaPssSha256, "rsa-pss-any-3072", fixture!("rsa-pss-any-3072.crt"), b""),
];
const LARGE: Made = made!(RsaPkcs1Sha256, "rsa-4096", fixture!("rsa-4096.crt"), fixture!("rsa-4096.ssh"));

impl Made {
    fn key(&self) -> PublicKey {
        PublicKey::parse(self.pem, None).unwrap()
    }

    fn files(&self) -> impl Iterator<Item = &'static [u8]> {
        [self.pem, self.der, self.certificate, self.ssh].into_iter().filter(|file| !file.is_empty())
    }
}

fn message() -> Vec<u8> {
    let statement = fixture!("statement.json");
    let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", statement.len());
    [head.as_bytes(), statement].concat()
}

fn error(file: &[u8], scheme: Option<KeyFamily>) -> String {
    PublicKey::parse(file, scheme).expect_err(&String::from_utf8_lossy(file)).to_string()
}

#[test]
fn each_file_of_a_key_is_the_same_key() {
    for made in KEYS.iter().chain([&LARGE]) {
        let key = made.key();
        assert_eq!((key.family(), key.keyid()), (made.family, Hash::digest(made.der)));
        assert_eq!((key.spki(), key.to_pem().as_bytes()), (made.der, made.pem));
        for file in made.files() {
            assert_eq!(PublicKey::parse(file, None), Ok(key.clone()));
        }
        assert_eq!(PublicKey::from_encoded(made.family, key.encoded()), Ok(key.clone()));
        assert_eq!(PublicKey::from_spki(key.spki(), Some(made.family)), Ok(key.clone()));
        assert_eq!(key.stated_scheme(), None);
        let raw = matches!(made.family, KeyFamily::Ed25519 | KeyFamily::MlDsa44);
        assert_eq!(key.encoded() != key.spki(), raw);
    }
    let pem = PublicKey::parse(fixture!("ecdsa-p256.crt.pem"), None).unwrap();
    assert_eq!(pem.spki(), fixture!("ecdsa-p256.der"));
    assert_eq!(KeyFamily::ALL.map(KeyFamily::as_str).join(", "), KeyFamily::NAMES.replace(" and", ","));
    for family in KeyFamily::ALL {
        assert_eq!(KeyFamily::parse(family.as_str()), Some(family));
    }
}

#[test]
fn signatures_of_openssl_verify_and_no_others() {
    let message = message();
    for made in KEYS.iter().chain([&LARGE]) {
        let (key, good) = (made.key(), made.signature);
        assert!(key.fits(good) && key.verifies(&message, good), "{}", made.family);
        assert!(!key.verifies(&message[1..], good));
        for at in 0..good.len() {
            let mut flipped = good.to_vec();
            flipped[at] ^= 1 << (at % 8);
            assert!(!key.verifies(&message, &flipped), "{} byte {at}", made.family);
        }
        for wrong in
            [&good[..good.len() - 1], &good[1..], &[good, &[0]].concat(), &[&[0], good].concat(), &[]]
        {
            assert!(!key.fits(wrong) && !key.verifies(&message, wrong), "{}: {}", made.family, wrong.len());
        }
        for other in KEYS.iter().filter(|other| other.der != made.der) {
            assert!(!key.verifies(&message, other.signature), "{} of {}", made.family, other.family);
        }
    }
}

#[test]
fn the_scheme_of_an_rsa_key_can_be_stated() {
    let message = message();
    let (plain, pss) = (KeyFamily::RsaPkcs1Sha256, KeyFamily::RsaPssSha256);
    let rsa = |scheme| PublicKey::parse(fixture!("rsa-2048.pem"), scheme).unwrap();
    assert_eq!((rsa(None).family(), rsa(Some(plain)).family(), rsa(Some(pss)).family()), (plain, plain, pss));
    assert_eq!(rsa(Some(pss)).stated_scheme(), Some(pss));
    assert_eq!(PublicKey::from_encoded(pss, rsa(Some(pss)).encoded()), Ok(rsa(Some(pss))));
    let ssh = PublicKey::parse(fixture!("rsa-2048.ssh"), Some(pss)).unwrap();
    assert_eq!((ssh.family(), ssh.keyid()), (pss, rsa(None).keyid()));
    let [signature, of_pss] = [fixture!("rsa-2048.sig"), fixture!("rsa-2048.pss.sig")];
    assert!(rsa(None).verifies(&message, signature) && !rsa(None).verifies(&message, of_pss));
    assert!(rsa(Some(pss)).verifies(&message, of_pss) && !rsa(Some(pss)).verifies(&message, signature));
    assert!(
        !rsa(Some(pss)).verifies(&message, fixture!("rsa-2048.pss-long-salt.sig")),
        "a salt of 222 bytes"
    );
    assert!(!rsa(None).verifies(&message, fixture!("rsa-2048.sha512.sig")), "another hash function");
    assert!(
        error(fixture!("rsa-pss-2048.pem"), Some(plain))
            .contains("expected a key of rsa-pkcs1-sha256, saw one of rsa-pss-sha256")
    );
    assert!(
        error(fixture!("ed25519.pem"), Some(pss))
            .contains("expected a key of rsa-pss-sha256, saw one of ed25519")
    );
}

#[test]
fn p_384_signs_with_either_hash_function() {
    let key = PublicKey::parse(fixture!("ecdsa-p384.pem"), None).unwrap();
    assert!(key.verifies(&message(), fixture!("ecdsa-p384.sig")));
    assert!(key.verifies(&message(), fixture!("ecdsa-p384.sha256.sig")));
}

/// Of a bare key, no changed byte leaves the key what it was. In a certificate or behind a comment, some do.
#[test]
fn each_flipped_byte_of_a_key_is_refused_or_another_key() {
    let message = message();
    for made in &KEYS {
        let good = made.key();
        for file in made.files() {
            for at in 0..file.len() {
                let mut flipped = file.to_vec();
                flipped[at] ^= 1 << (at % 8);
                let Ok(key) = PublicKey::parse(&flipped, None) else { continue };
                if key != good {
                    assert!(!key.verifies(&message, made.signature), "{} byte {at}", made.family);
                }
                assert!(key != good || file != made.der, "{} byte {at}", made.family);
            }
        }
        let der = made.der;
        for at in 0..der.len() {
            assert!(PublicKey::parse(&der[..at], None).is_err(), "{} cut at {at}", made.family);
        }
        for longer in [[der, &[0]].concat(), [der, der].concat()] {
            assert!(PublicKey::from_spki(&longer, None).is_err() && PublicKey::parse(&longer, None).is_err());
        }
    }
}

/// A length in more bytes than it needs, or none.
fn as_ber(der: &[u8]) -> [Vec<u8>; 2] {
    let head = match der[1] {
        0x81 => 3,
        0x82 => 4,
        _ => 2,
    };
    let length = u16::try_from(der.len() - head).unwrap().to_be_bytes();
    [
        [&der[..1], &[0x83, 0], &length, &der[head..]].concat(),
        [&der[..1], &[0x80], &der[head..], &[0, 0]].concat(),
    ]
}

#[test]
fn only_der_is_read() {
    let message = message();
    for made in &KEYS {
        for ber in as_ber(made.der) {
            assert!(PublicKey::from_spki(&ber, None).is_err() && PublicKey::parse(&ber, None).is_err());
        }
    }
    for made in &KEYS[2..4] {
        let (key, good) = (made.key(), made.signature);
        for ber in as_ber(good) {
            assert!(!key.fits(&ber) && !key.verifies(&message, &ber));
        }
        // r with one more zero before it.
        let (length, r) = (good[1], usize::from(good[3]));
        let padded = [&[0x30, length + 1, 2, good[3] + 1, 0], &good[4..4 + r], &good[4 + r..]].concat();
        assert!(!key.fits(&padded) && !key.verifies(&message, &padded));
        // The numbers alone, as JWS has them.
        let number = |at: usize| &good[at + 2..at + 2 + usize::from(good[at + 1])];
        let bare = |number: &'static [u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
        let raw = [bare(number(2)), bare(number(4 + r))].concat();
        assert!(!key.fits(&raw) && !key.verifies(&message, &raw));
    }
}

#[test]
fn weak_and_foreign_keys_are_named() {
    let p256 = fixture!("ecdsa-p256.der");
    let with = |point: &[u8]| [&p256[..26], point].concat();
    let infinity = [&[0x30, 0x19], &p256[2..23], &[3, 2, 0, 0]].concat();
    let [mut even, mut by_three] = [fixture!("rsa-2048.der"); 2].map(<[u8]>::to_vec);
    // The modulus ends before `02 03 01 00 01`. Of three numbers two apart, one is divided by three.
    let last = even.len() - 6;
    even[last] &= !1;
    let found = (0..3).find(|step| {
        by_three[last] = fixture!("rsa-2048.der")[last].wrapping_add(2 * step);
        PublicKey::parse(&by_three, None).is_err_and(|e| e.to_string().contains("two large primes"))
    });
    assert!(found.is_some());
    let mut exponent_of_two = fixture!("rsa-2048.der").to_vec();
    *exponent_of_two.last_mut().unwrap() = 0;
    for (key, says) in [
        (
            fixture!("bad-rsa-1024.pem").to_vec(),
            "expected an RSA modulus of 2048 to 4096 bits, saw one of 1024 bits",
        ),
        (fixture!("bad-rsa-8192.pem").to_vec(), "saw one of 8192 bits"),
        (fixture!("bad-rsa-e3.pem").to_vec(), "expected an odd RSA exponent from 65537 to 2^33 - 1, saw 3"),
        (exponent_of_two, "expected an odd RSA exponent from 65537"),
        (even, "two large primes"),
        (fixture!("bad-rsa-pss-sha512.pem").to_vec(), "saw an RSA-PSS key for other parameters"),
        (fixture!("bad-rsa-pkcs1.pem").to_vec(), "saw a block of RSA PUBLIC KEY"),
        (fixture!("bad-p521.pem").to_vec(), "rsa-pss-sha256, saw a key on P-521"),
        (fixture!("bad-secp256k1.pem").to_vec(), "saw a key on secp256k1"),
        (fixture!("bad-ed448.pem").to_vec(), "saw an Ed448 key"),
        (fixture!("bad-p256-compressed.pem").to_vec(), "expected an uncompressed point"),
        (fixture!("bad-p256-explicit.pem").to_vec(), "saw one with the object identifier 1.2.840.10045.2.1"),
        (infinity, "expected an uncompressed point"),
        (with(&[&[4], &[0; 64][..]].concat()), "expected a point on P-256"),
        (with(&[&[4], &[0xff; 64][..]].concat()), "expected a point on P-256"),
        (with(&[&[6], &p256[27..]].concat()), "expected an uncompressed point"),
        (b"ssh-dss AAAAB3NzaC1kc3M=".to_vec(), "saw another type of key"),
        (b"sk-ssh-ed25519@openssh.com AAAA".to_vec(), "saw another type of key"),
        (b"ssh-ed25519 AAAA".to_vec(), "saw a key that is malformed"),
        (b"ssh-ed25519 !".to_vec(), "saw bad base64"),
        ([fixture!("ed25519.ssh"), fixture!("ecdsa-p256.ssh")].concat(), "saw several lines"),
        (fixture!("ecdsa-p256.ssh").to_ascii_lowercase(), "saw "),
        (vec![b' '; MAX_KEY_BYTES + 1], "expected at most 16384 bytes"),
        (b"\x30\x00".to_vec(), "expected an X.509 certificate in DER"),
        (b"\x30\x80".to_vec(), "expected UTF-8"),
        (fixture!("rsa-2048.sig").to_vec(), "expected "),
        (
            [fixture!("ecdsa-p256.crt.pem"), fixture!("ecdsa-p256.crt.pem")].concat(),
            "more than one block of CERTIFICATE",
        ),
    ] {
        let error = error(&key, None);
        assert!(error.contains(says), "{says}: {error}");
    }
}

/// The content of a line of OpenSSH is checked as strictly as DER.
#[test]
fn lines_of_openssh_have_one_spelling() {
    let line = |name: &str, blob: &[u8]| format!("{name} {} someone", base64_encode(blob)).into_bytes();
    for made in KEYS.iter().filter(|made| !made.ssh.is_empty()) {
        let text = core::str::from_utf8(made.ssh).unwrap();
        let mut words = text.split_whitespace();
        let (name, blob) =
            (words.next().unwrap(), crate::format::base64_decode(words.next().unwrap()).unwrap());
        assert_eq!(PublicKey::parse(&line(name, &blob), None).map(|key| key.keyid()), Ok(made.key().keyid()));
        for at in 0..blob.len() {
            assert!(PublicKey::parse(&line(name, &blob[..at]), None).is_err(), "{name} cut at {at}");
        }
        assert!(PublicKey::parse(&line(name, &[&blob[..], &[0]].concat()), None).is_err());
        let commented = [b"# ours\n\n", made.ssh].concat();
        assert!(PublicKey::parse(&commented, None).is_ok());
        assert!(error(&[b"no-pty ", made.ssh].concat(), None).contains("no line -----BEGIN PUBLIC KEY-----"));
    }
}

/// One envelope with a signature of each family, as a log admits and an endpoint verifies it.
#[test]
fn an_envelope_may_have_a_signature_of_each_family() {
    let mut toml = String::new();
    for made in &KEYS {
        toml += &format!(
            "[[publisher]]\nname = \"{}\"\npurls = [\"pkg:generic/example/*\"]\nkinds = [\"build\"]\n[[publisher.key]]\n{}",
            made.key().keyid().to_hex(),
            made.key().to_toml()
        );
    }
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let signature = |made: &Made, named: bool| {
        let keyid = if named { made.key().keyid().to_hex() } else { String::new() };
        serde_json::json!({ "keyid": keyid, "sig": base64_encode(made.signature) })
    };
    for named in [true, false] {
        let signatures: Vec<_> = KEYS.iter().map(|made| signature(made, named)).collect();
        let sent = serde_json::json!({
            "payload": base64_encode(fixture!("statement.json")),
            "payloadType": crate::release::PAYLOAD_TYPE,
            "signatures": signatures,
        });
        let sent = SubmittedEnvelope::parse(sent.to_string().as_bytes()).unwrap();
        let (envelope, verified) =
            publishers.admit(&sent, "log.example", 0, &mut KeySearch::for_entry()).unwrap();
        assert_eq!(verified.publishers().len(), KEYS.len());
        let entry = Envelope::parse_entry(&envelope.to_entry()).unwrap();
        assert_eq!(publishers.verify(&entry, "log.example").unwrap().publishers().len(), KEYS.len());
    }
}

const LOG: &str = "log.example";
/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

/// A publisher that needs signatures of these families and has the keys of others, too.
fn publisher(name: &str, required: &str, keys: &[&Made], fields: &str) -> String {
    let keys = keys.iter().map(|made| format!("[[publisher.key]]\n{}{fields}", made.key().to_toml()));
    let keys: String = keys.collect();
    format!(
        "[[publisher]]\nname = \"{name}\"\npurls = [\"pkg:generic/example/*\"]\nkinds = [\"build\"]\n{required}{keys}"
    )
}

fn sent(signatures: &[(&Made, &[u8])]) -> SubmittedEnvelope {
    let signatures: Vec<_> = signatures
        .iter()
        .map(|(made, sig)| serde_json::json!({ "keyid": made.key().keyid().to_hex(), "sig": base64_encode(sig) }))
        .collect();
    let sent = serde_json::json!({
        "payload": base64_encode(fixture!("statement.json")),
        "payloadType": crate::release::PAYLOAD_TYPE,
        "signatures": signatures,
    });
    SubmittedEnvelope::parse(sent.to_string().as_bytes()).unwrap()
}

fn admit(toml: &str, signatures: &[(&Made, &[u8])]) -> Result<(Envelope, VerifiedStatement), StatementError> {
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    publishers.admit(&sent(signatures), LOG, NOW, &mut KeySearch::for_entry())
}

fn verify(toml: &str, signatures: &[(&Made, &[u8])]) -> Result<VerifiedStatement, StatementError> {
    let envelope = sent(signatures).into_named().unwrap();
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let verified = publishers.verify(&envelope, LOG);
    // Whose withdrawals count is the same question.
    let vendor =
        verified.as_ref().is_ok_and(|verified| verified.signers().iter().any(|name| name == "vendor"));
    assert_eq!(publishers.is_signed_by(&envelope, "vendor"), vendor);
    verified
}

#[test]
fn a_statement_needs_a_signature_of_each_required_family() {
    let [classic, quantum, other] = [&KEYS[0], &KEYS[1], &KEYS[2]];
    let both = "require_signatures = [\"ed25519\", \"ml-dsa-44\"]\n";
    let vendor = publisher("vendor", both, &[classic, quantum], "");
    let (ed25519, ml_dsa) = ((classic, classic.signature), (quantum, quantum.signature));
    assert_eq!(admit(&vendor, &[ed25519, ml_dsa]).unwrap().1.publishers(), ["vendor"]);
    assert_eq!(verify(&vendor, &[ed25519, ml_dsa]).unwrap().signers(), ["vendor"]);
    let missing = |seen: &str| StatementError::SignaturesMissing {
        publisher: "vendor".to_owned(),
        expected: "ed25519 and ml-dsa-44".to_owned(),
        seen: seen.to_owned(),
    };
    for (one, seen) in [(ed25519, "ed25519"), (ml_dsa, "ml-dsa-44")] {
        assert_eq!(admit(&vendor, &[one]).unwrap_err(), missing(seen));
        assert_eq!(verify(&vendor, &[one]).unwrap_err(), missing(seen));
        assert!(missing(seen).to_string().ends_with(&format!("saw {seen}")));
    }
    // A signature that is not valid is none.
    let mut flipped = quantum.signature.to_vec();
    flipped[7] ^= 1;
    assert_eq!(admit(&vendor, &[ed25519, (quantum, &flipped)]).unwrap_err(), missing("ed25519"));
    let forged = verify(&vendor, &[ed25519, (quantum, &flipped)]).unwrap_err();
    assert!(matches!(forged, StatementError::BadSignature { .. }), "{forged}");
    // Nor is one of another publisher: that one's own right is another matter.
    let two = vendor.clone() + &publisher("other", "", &[other], "");
    let ecdsa = (other, other.signature);
    let (envelope, verified) = admit(&two, &[ed25519, ecdsa]).unwrap();
    assert_eq!((verified.publishers(), envelope.signatures().len()), (&["other".to_owned()][..], 1));
    assert_eq!(verify(&two, &[ed25519, ecdsa]).unwrap().signers(), ["other"]);
    assert_eq!(verify(&two, &[ed25519, ml_dsa, ecdsa]).unwrap().signers().len(), 2);
    let helped = vendor.replace("\"ml-dsa-44\"", "\"ed25519\"").replace("[\"ed25519\", ", "[");
    assert_eq!(verify(&helped, &[ed25519]).unwrap().signers(), ["vendor"]);
}

/// Each signature is by a key that is valid: in time at the log, and not revoked anywhere.
#[test]
fn a_key_that_is_over_gives_no_required_signature() {
    let both = "require_signatures = [\"ed25519\", \"ml-dsa-44\"]\n";
    let signatures = [(&KEYS[0], KEYS[0].signature), (&KEYS[1], KEYS[1].signature)];
    // The fields of the last key.
    let vendor = |fields: &str| publisher("vendor", both, &[&KEYS[0], &KEYS[1]], "") + fields;
    let seen = |error: StatementError| match error {
        StatementError::SignaturesMissing { seen, .. } => seen,
        other => panic!("{other}"),
    };
    let expired = vendor("not_after = \"2025-12-31T00:00:00Z\"\n");
    assert_eq!(seen(admit(&expired, &signatures).unwrap_err()), "ed25519");
    assert!(verify(&expired, &signatures).is_ok(), "what was logged in time stays valid");
    let revoked = vendor("revoked = true\n");
    assert_eq!(seen(admit(&revoked, &signatures).unwrap_err()), "ed25519");
    assert!(matches!(verify(&revoked, &signatures), Err(StatementError::KeyRevoked { .. })));
}

/// Whoever has the secret half of an RSA key signs for each of its encodings and schemes: it must not count as two keys.
#[test]
fn an_rsa_modulus_is_one_key_however_it_is_encoded() {
    // The numbers of `rsa-2048` in a key that says that it is for PSS, without parameters.
    let plain = PublicKey::parse(fixture!("rsa-2048.der"), None).unwrap();
    let numbers = &plain.spki()[4 + spki::RSA_ENCRYPTION.len()..];
    let algorithm = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
    let content = [algorithm, numbers].concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let pss = PublicKey::from_spki(&[&[0x30, 0x82], &length[..], &content].concat(), None).unwrap();
    assert_eq!(pss.family(), KeyFamily::RsaPssSha256);
    assert_ne!(pss.keyid(), plain.keyid());
    let toml = |publishers: &[&[&PublicKey]]| {
        let one = |(at, keys): (usize, &&[&PublicKey])| {
            let keys: String =
                keys.iter().map(|key| format!("[[publisher.key]]\n{}", key.to_toml())).collect();
            format!(
                "[[publisher]]\nname = \"v{at}\"\npurls = [\"pkg:generic/*\"]\nkinds = [\"build\"]\n{keys}"
            )
        };
        publishers.iter().enumerate().map(one).collect::<String>()
    };
    let parse = |publishers: &[&[&PublicKey]]| Publishers::parse(toml(publishers).as_bytes());
    assert!(parse(&[&[&plain]]).is_ok() && parse(&[&[&pss]]).is_ok());
    for twice in [&[&[&plain, &pss][..]][..], &[&[&pss], &[&plain]], &[&[&plain], &[&plain]]] {
        let error = parse(twice).unwrap_err().to_string();
        assert!(error.contains("an RSA modulus in one encoding and with one scheme"), "{error}");
    }
    // The same numbers with the other scheme have one ID anyway.
    let scheme = PublicKey::parse(fixture!("rsa-2048.der"), Some(KeyFamily::RsaPssSha256)).unwrap();
    assert!(parse(&[&[&plain, &scheme]]).is_err());
    let other = PublicKey::parse(fixture!("rsa-4096.der"), None).unwrap();
    assert!(parse(&[&[&plain, &other], &[&KEYS[0].key()]]).is_ok());
}

#[test]
fn a_signature_shows_the_family_of_its_key() {
    for key in &KEYS {
        let family = if key.family.is_rsa() { "rsa" } else { key.family.as_str() };
        assert_eq!(family_of_signature(key.signature), family);
    }
    for (bytes, family) in
        [(vec![], "unknown"), (vec![0x30], "unknown"), (vec![0; 64], "ed25519"), (vec![0x30; 600], "unknown")]
    {
        assert_eq!(family_of_signature(&bytes), family);
    }
}

#[test]
fn what_cannot_be_required_is_refused() {
    for (required, says) in [
        (
            "[\"ed25519\", \"ed448\"]",
            "`require_signatures` of publisher \"vendor\": expected families out of ed25519, ",
        ),
        ("[\"ed25519\", \"ed25519\"]", "expected each required family once, saw ed25519 twice"),
        ("[\"ecdsa-p256\"]", "expected a key of each family in require_signatures, saw none of ecdsa-p256"),
        ("\"ed25519\"", "expected TOML"),
    ] {
        let toml =
            publisher("vendor", &format!("require_signatures = {required}\n"), &[&KEYS[0], &KEYS[1]], "");
        let error = Publishers::parse(toml.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
