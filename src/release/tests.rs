mod admit;
mod attestations;
mod envelopes;
mod facts;
mod people;
mod publishers;
mod sigstore;
mod statements;
mod withdrawals;

use proptest::prelude::*;

use super::json::Json;
use super::*;
use crate::format::{FormatError, base64_decode, base64_encode};
use crate::merkle::Hash;

/// A TEST KEY, made with `openssl genpkey -algorithm ed25519`: published here, so worth nothing.
pub(crate) const TEST_KEY_PEM: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIIpovwuY9DoQ9lwiO02smTrj1qK4+3/Km3S/2UooeQZl
-----END PRIVATE KEY-----
";
/// Its public half: `openssl pkey -pubout`.
pub(crate) const TEST_PUBLIC_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAOXCMSWVfL8DSzt9sX0+U/VepjJijRBqAOcrP3QeEwgc=
-----END PUBLIC KEY-----
";
/// `openssl pkey -pubout -outform DER | sha256sum`.
const TEST_KEYID: &str = "c6a5820e95fb7b5c03ba19188ef6dba5cae8f63d59f9e236fa5921790a6d6d52";
/// `printf payload | openssl pkeyutl -sign -rawin`, with the test key.
const TEST_SIGNATURE: &str =
    "WXafBrDFLO5Gz7S1YMpyWnsh4JPpO/pkgwRFt3qew2mBsKzWRxX6mQzl7gHt2kBvIQ84HC5nnvE57fn/eIdeCQ==";

/// The origin of the log in test statements that name one.
pub(crate) const LOG: &str = "example.com/log";

/// A publisher's key, the same in every run.
pub(crate) fn publisher_signer(seed: u8) -> PublisherSigner {
    PublisherSigner::from_seed(&[seed; 32])
}

/// A release of one artifact without any optional field.
pub(crate) fn sample_release(artifact: &[u8]) -> Release {
    Release {
        subjects: vec![Subject { name: "scanner.bin".to_owned(), sha256: Hash::digest(artifact) }],
        purl: Purl::parse("pkg:generic/example/scanner@4.2.0").unwrap(),
        kind: Kind::Build,
        channel: "stable".to_owned(),
        sequence: 7,
        source: None,
        manifest: None,
        audience: None,
        location: None,
        log: None,
    }
}

/// The entry in which `signers` state `release`.
pub(crate) fn signed_entry(release: &Release, signers: &[&PublisherSigner]) -> Vec<u8> {
    Envelope::sign(release.to_payload().unwrap(), signers).unwrap().to_entry()
}

/// A `[[publisher]]` section of a publishers file, without time limits on its keys.
pub(crate) fn publisher_toml(
    name: &str,
    signers: &[&PublisherSigner],
    purls: &[&str],
    kinds: &[&str],
) -> String {
    let keys = signers.iter().map(|s| format!("[[publisher.key]]\npem = '''\n{}'''\n", s.public_pem()));
    let head = format!("[[publisher]]\nname = {name:?}\npurls = {purls:?}\nkinds = {kinds:?}\n");
    head + &keys.collect::<String>()
}

/// A publisher of builds and updates, with the key of seed 1.
fn vendor_toml() -> String {
    publisher_toml("vendor", &[&publisher_signer(1)], &["pkg:generic/example/*"], &["build", "update"])
}

/// A release with every optional field.
fn full_release() -> Release {
    Release {
        subjects: vec![
            Subject { name: "scanner.bin".to_owned(), sha256: Hash::digest(b"a") },
            Subject { name: "überwachung.deb".to_owned(), sha256: Hash::digest(b"b") },
        ],
        source: Some(Box::new(Source {
            uri: "git+https://example.com/scanner".to_owned(),
            digest: ("gitCommit".to_owned(), "0123456789abcdef0123456789abcdef01234567".to_owned()),
        })),
        manifest: Some(ManifestRef { root: Hash::digest(b"c"), files: 3 }),
        audience: Some("customer 17".to_owned()),
        location: None,
        log: Some(LOG.to_owned()),
        ..sample_release(b"a")
    }
}

fn canonical(json: &str) -> Vec<u8> {
    Json::parse("a test", json.as_bytes()).map_or_else(|_| json.into(), |json| json.to_canonical())
}

/// The full statement with the value at a JSON pointer replaced, added or (`""`) removed.
fn statement_with(pointer: &str, value: &str) -> Vec<u8> {
    changed(&full_release().to_payload().unwrap(), pointer, value)
}

fn changed(json: &[u8], pointer: &str, value: &str) -> Vec<u8> {
    const MARK: &str = "\u{2603} replace me";
    let mut json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = json.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    match parent {
        serde_json::Value::Object(fields) if value.is_empty() => {
            fields.remove(key).unwrap_or_else(|| panic!("{pointer}"));
        }
        serde_json::Value::Object(fields) => {
            fields.insert(key.to_owned(), MARK.into());
        }
        serde_json::Value::Array(items) => items[key.parse::<usize>().unwrap()] = MARK.into(),
        _ => panic!("{pointer}"),
    }
    canonical(&json.to_string().replace(&format!("\"{MARK}\""), value))
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, FormatError>, why: &str, input: &[u8]) {
    let input = String::from_utf8_lossy(&input[..input.len().min(2_000)]).into_owned();
    let error = result.expect_err(&input).to_string();
    assert!(error.contains(why), "{input}: expected {why:?} in {error:?}");
}

proptest! {
    #[test]
    fn releases_read_back_as_they_were_written(
        names in prop::collection::btree_set("[^\\x00-\\x1f\\x7f-\\u{9f}]{1,20}", 1..6),
        digest in any::<[u8; 32]>(),
        version in "[a-zA-Z0-9][a-zA-Z0-9.~_:-]{0,11}",
        kind in prop::sample::select(Kind::ALL.to_vec()),
        channel in "[a-z0-9._-]{1,64}",
        sequence in 0..1_u64 << 53,
        commit in prop::option::of("[0-9a-f]{40}"),
        files in prop::option::of(1..=1_u64 << 20),
        audience in prop::option::of("[^\\x00-\\x1f\\x7f-\\u{9f}]{1,20}"),
        location in prop::option::of("[^\\x00-\\x1f\\x7f-\\u{9f}]{1,20}"),
        log in prop::option::of("[^\\x00-\\x1f\\x7f-\\u{9f}]{1,20}"),
    ) {
        let location = location.filter(|_| names.len() == 1);
        let sha256 = Hash::from_bytes(digest);
        let release = Release {
            subjects: names.into_iter().map(|name| Subject { name, sha256 }).collect(),
            purl: Purl::parse(&format!("pkg:generic/a/b@{version}")).unwrap(),
            kind, channel, sequence, audience, location, log,
            source: commit.map(|commit| Box::new(Source {
                uri: "git+https://x".to_owned(),
                digest: ("gitCommit".to_owned(), commit),
            })),
            manifest: files.map(|files| ManifestRef { root: sha256, files }),
        };
        let payload = release.to_payload().unwrap();
        prop_assert_eq!(Release::parse(&payload), Ok(release));
        let envelope = Envelope::sign(payload, &[&publisher_signer(1)]).unwrap();
        prop_assert_eq!(Envelope::parse_entry(&envelope.to_entry()), Ok(envelope));
    }

    /// A changed text that is still a statement or an entry is written back byte for byte.
    #[test]
    fn noise_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        patch in "[a-zA-Z0-9+/=\"{}\\[\\]:,\\\\ .-]{0,8}",
        at in any::<prop::sample::Index>(),
        cut in 0..8_usize,
    ) {
        let publishers = Publishers::default();
        let _ = (Release::parse(&bytes), SubmittedEnvelope::parse(&bytes), Publishers::parse(&bytes));
        let _ = (PublisherSigner::from_pem(&patch), parse_time(&patch));
        let _ = (Purl::parse(&patch), PurlPattern::parse(&patch));
        let spliced = |mut text: Vec<u8>| {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            text.splice(at..end, patch.bytes());
            text
        };
        let payload = spliced(sample_release(b"x").to_payload().unwrap());
        if let Ok(release) = Release::parse(&payload) {
            let again = Release::parse(&release.to_payload().unwrap());
            prop_assert_eq!(again, Ok(release));
        }
        let entry = spliced(signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]));
        if let Ok(sent) = SubmittedEnvelope::parse(&entry) {
            let vendor = Publishers::parse(vendor_toml().as_bytes()).unwrap();
            if let Ok((envelope, _)) = vendor.admit(&sent, LOG, 0, &mut KeySearch::for_entry()) {
                // Whatever was changed, no signed byte was.
                prop_assert_eq!(envelope.to_entry(), signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]));
            }
        }
        if let Ok(envelope) = Envelope::parse_entry(&entry) {
            prop_assert_eq!(envelope.to_entry(), entry);
            let _ = publishers.verify(&envelope, LOG);
        }
        let _ = Publishers::parse(&spliced(vendor_toml().into_bytes()));
        let _ = PublicKey::parse(&bytes, None);
        for key in [
            include_bytes!("../../fixtures/keys/rsa-pss-2048.der").as_slice(),
            include_bytes!("../../fixtures/keys/ecdsa-p384.crt"),
            include_bytes!("../../fixtures/keys/ecdsa-p256.ssh"),
        ] {
            let _ = PublicKey::parse(&spliced(key.to_vec()), None);
        }
    }
}
