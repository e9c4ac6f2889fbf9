use super::*;
use crate::release::tests::{publisher_signer, publisher_toml};

const POLICY: &[u8] = include_bytes!("../../../fixtures/verify/witnessed.policy");
const PUBLISHERS: &[u8] = include_bytes!("../../../fixtures/verify/publishers.toml");
const FILE: &[u8] = include_bytes!("../../../fixtures/verify/witnessed.trust");

fn file() -> TrustFile {
    TrustFile::new(1, &Policy::parse(POLICY).unwrap(), Publishers::parse(PUBLISHERS).unwrap(), Vec::new())
        .unwrap()
}

fn text() -> String {
    String::from_utf8(FILE.to_vec()).unwrap()
}

#[test]
fn a_file_says_what_the_policy_and_the_publishers_say() {
    assert_eq!(String::from_utf8(file().to_bytes()).unwrap(), text());
    let read = TrustFile::parse(FILE).unwrap();
    assert_eq!((read.number(), read.trust().policy), (1, &Policy::parse(POLICY).unwrap()));
    let (read, expected) = (read.trust().publishers.list(), Publishers::parse(PUBLISHERS).unwrap());
    assert_eq!(format!("{read:?}"), format!("{:?}", expected.list()), "the same names, rights and keys");
    // Comments, spaces and addresses of witnesses are not what is trusted.
    let noisy = String::from_utf8(POLICY.to_vec()).unwrap();
    let noisy = format!(
        "# a comment\n\n{}",
        noisy.replace("witness w1 ", "witness \t w1  ").replace("Hy4\n", "Hy4 https://w\n")
    );
    let noisy = Policy::parse(noisy.as_bytes()).unwrap();
    assert_eq!(
        TrustFile::new(1, &noisy, Publishers::parse(PUBLISHERS).unwrap(), Vec::new()).unwrap().to_bytes(),
        FILE
    );
}

#[test]
fn validity_revocation_origins_groups_and_addresses_are_kept() {
    let toml = publisher_toml(
        "vendor",
        &[&publisher_signer(1), &publisher_signer(2)],
        &["pkg:deb/debian/*"],
        &["build", "provenance", "verification-summary"],
    );
    let times =
        "not_before = \"2026-01-01T00:00:00Z\"\nnot_after = \"2028-01-01T00:00:00Z\"\nrevoked = true\n";
    let publishers = Publishers::parse(format!("{toml}{times}").as_bytes()).unwrap();
    let policy = String::from_utf8(POLICY.to_vec()).unwrap();
    let policy = policy
        .replacen("PZT\n", "PZT https://log.example.com/\norigin go.sum %25 database\n", 1)
        .replace("quorum w1", "group all-of-us any w1\nquorum all-of-us");
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let bytes = TrustFile::new(7, &policy, publishers.clone(), Vec::new()).unwrap().to_bytes();
    let read = TrustFile::parse(&bytes).unwrap();
    assert_eq!((read.number(), read.trust().policy), (7, &policy));
    assert_eq!(format!("{:?}", read.trust().publishers.list()), format!("{:?}", publishers.list()));
}

#[test]
fn a_file_has_one_spelling_and_no_unknown_member() {
    for (from, to, says) in [
        ("\"number\":1", "\"number\":0", "expected a number from 1 to 2^53 - 1, saw 0"),
        ("\"number\":1", "\"number\":9007199254740992", "expected number to be an integer"),
        ("\"number\":1", "\"number\":1 ", "canonical JSON"),
        ("\"number\":1", "\"gates\":[],\"number\":1", "expected no other field in the object"),
        ("\"number\":1,", "", "expected number to be there"),
        ("\"number\":1", "\"number\":1,\"number\":1", "twice"),
        ("trust@v1", "trust@v2", "expected format to be treehead-trust@v1"),
        ("quorum w1", "quorum  w1", "canonical JSON"),
        ("quorum w1", "quorum w2", "the name of a witness or group"),
        ("quorum w1\"", "quorum w1\",\"# a comment\"", "canonical JSON"),
        ("quorum w1\"", "quorum w1\",7", "expected policy to be a list of strings"),
        ("\"build\"", "\"built\"", "expected publisher 1.kinds to be kinds out of build"),
        ("\"build\"", "\"withdrawal\"", "expected publisher 1.kinds to be kinds out of build"),
        ("\"vendor\"", "\"ven dor\"", "a publisher name of 1 to 100 bytes"),
        ("pkg:generic/example/*", "pkg:generic/example/x@1", "purl pattern"),
        ("\"ed25519\":", "\"ed25519 \":", "expected a publisher's key of a family out of ed25519, "),
        ("\"ed25519\":\"", "\"ed25519\":\"A", "to be padded base64"),
        (
            "}],\"kinds\"",
            ",\"revoked\":false}],\"kinds\"",
            "expected a publisher's key.revoked to be true or not there",
        ),
        ("}],\"kinds\"", ",\"scope\":1}],\"kinds\"", "expected no other field in a publisher's key"),
        ("]}]}", "],\"gate\":1}]}", "expected no other field in publisher 1"),
    ] {
        let wrong = text().replacen(from, to, 1);
        assert_ne!(wrong, text(), "{from}");
        let error = TrustFile::parse(wrong.as_bytes()).expect_err(&wrong).to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
    for wrong in [format!("{}\n", text()), format!(" {}", text()), String::new(), "[]".to_owned()] {
        TrustFile::parse(wrong.as_bytes()).expect_err(&wrong);
    }
    // A key of small order would verify forged signatures.
    let zeros = format!("\"ed25519\":\"{}=\"", "A".repeat(43));
    let key = text();
    let key = &key[key.find("\"ed25519\"").unwrap()..key.find("}],\"kinds\"").unwrap()];
    let error = TrustFile::parse(text().replace(key, &zeros).as_bytes()).unwrap_err().to_string();
    assert!(error.contains("a weak one"), "{error}");
    let twice = text().replace(key, &format!("{key}}},{{{key}"));
    let error = TrustFile::parse(twice.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("each key once"), "{error}");
}

#[test]
fn every_flipped_byte_is_refused_or_another_file() {
    for at in 0..FILE.len() {
        for bit in 0..8 {
            let mut bytes = FILE.to_vec();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = TrustFile::parse(&bytes) {
                assert_eq!(read.to_bytes(), bytes, "one spelling");
            }
        }
        assert!(TrustFile::parse(&FILE[..at]).is_err(), "cut at {at}");
    }
}

/// A key of each family, and a publisher that has to sign with all of them.
#[cfg(all(feature = "ecdsa", feature = "rsa"))]
#[test]
fn keys_of_all_families_have_one_spelling() {
    use crate::release::{KeyFamily, PublicKey};
    let key = |der: &[u8], scheme| PublicKey::parse(der, scheme).unwrap().to_toml();
    let pss = Some(KeyFamily::RsaPssSha256);
    let keys = [
        key(include_bytes!("../../../fixtures/keys/ed25519.der"), None),
        key(include_bytes!("../../../fixtures/keys/ml-dsa-44.der"), None),
        key(include_bytes!("../../../fixtures/keys/ecdsa-p256.der"), None),
        key(include_bytes!("../../../fixtures/keys/ecdsa-p384.der"), None),
        key(include_bytes!("../../../fixtures/keys/rsa-2048.der"), pss),
        key(include_bytes!("../../../fixtures/keys/rsa-4096.der"), None),
    ];
    let keys: String = keys.iter().map(|key| format!("[[publisher.key]]\n{key}")).collect();
    let families: Vec<&str> = KeyFamily::ALL.iter().map(|family| family.as_str()).collect();
    let toml = format!(
        "[[publisher]]\nname = \"vendor\"\npurls = []\nkinds = []\nrequire_signatures = {families:?}\n{keys}"
    );
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let bytes = TrustFile::new(1, &Policy::parse(POLICY).unwrap(), publishers.clone(), Vec::new())
        .unwrap()
        .to_bytes();
    let read = TrustFile::parse(&bytes).unwrap();
    assert_eq!(format!("{:?}", read.trust().publishers.list()), format!("{:?}", publishers.list()));
    let text = String::from_utf8(bytes.clone()).unwrap();
    let list = "\"require_signatures\":[\"ed25519\",";
    for (from, to, says) in [
        (list, "\"require_signatures\":[\"ed448\",", "require_signatures to be families out of ed25519, "),
        (list, "\"require_signatures\":[\"ed25519\",\"ed25519\",", "expected each required family once"),
        (list, "\"require_signatures\":[7,", "require_signatures to be families out of"),
        ("\"ml-dsa-44\":", "\"ml-dsa-65\":", "a publisher's key of a family out of"),
        (
            "\"rsa-pkcs1-sha256\":",
            "\"ecdsa-p384\":",
            "expected a key of ecdsa-p384, saw one of rsa-pkcs1-sha256",
        ),
        (
            "\"rsa-pkcs1-sha256\":",
            "\"rsa-pss-sha256\":",
            "expected a key of each family in require_signatures",
        ),
        ("\"ecdsa-p256\":", "\"ed25519\":\"AAAA\",\"ecdsa-p256\":", "Ed25519 public key"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        let error = TrustFile::parse(wrong.as_bytes()).expect_err(to).to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
    // Two keys in one object: the second one is a member that nobody knows.
    let pair = text.replacen("\"ml-dsa-44\":", "\"ecdsa-p256\":\"AAAA\",\"ml-dsa-44\":", 1);
    assert!(TrustFile::parse(pair.as_bytes()).unwrap_err().to_string().contains("expected no other field"));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok(read) = TrustFile::parse(&flipped) {
            assert_eq!(read.to_bytes(), flipped, "one spelling");
        }
    }
}
