use serde_json::json;

use super::*;
use crate::merkle::LeafIndex;

const LONG_AGO: Timestamp = 0;

/// `vendor` with the keys of seeds 1 and 2, `rival` (3) with the same rights, and `reviewer` (4) with a right to other
/// statements only.
fn toml() -> String {
    let [one, two, three, four] = [1, 2, 3, 4].map(publisher_signer);
    publisher_toml("vendor", &[&one, &two], &["pkg:generic/example/*"], &["build"])
        + &publisher_toml("rival", &[&three], &["pkg:generic/*"], &["build", "update"])
        + &publisher_toml("reviewer", &[&four], &["pkg:generic/*"], &["verification-summary"])
}

/// The form in which a signature names its key.
#[derive(Clone, Copy)]
enum Hint {
    Own,
    Of(u8),
    Text(&'static str),
    Missing,
}

fn payload() -> Vec<u8> {
    sample_release(b"x").to_payload().unwrap()
}

/// An envelope around `payload`, with signatures by the keys of these seeds over `signed`.
fn sent(payload: &[u8], signed: &[u8], signatures: &[(u8, Hint)]) -> SubmittedEnvelope {
    let signature = |(seed, hint): &(u8, Hint)| {
        let by = publisher_signer(*seed);
        let sig = base64_encode(&Envelope::sign(signed.to_vec(), &[&by]).unwrap().signatures()[0].1);
        match hint {
            Hint::Own => json!({ "keyid": by.keyid().to_hex(), "sig": sig }),
            Hint::Of(seed) => json!({ "keyid": publisher_signer(*seed).keyid().to_hex(), "sig": sig }),
            Hint::Text(keyid) => json!({ "keyid": keyid, "sig": sig }),
            Hint::Missing => json!({ "sig": sig }),
        }
    };
    let signatures: Vec<_> = signatures.iter().map(signature).collect();
    let envelope = json!({
        "payload": base64_encode(payload), "payloadType": "application/vnd.in-toto+json", "signatures": signatures,
    });
    SubmittedEnvelope::parse(envelope.to_string().as_bytes()).unwrap()
}

fn admit(
    toml: &str,
    sent: &SubmittedEnvelope,
    now: Timestamp,
) -> Result<(Envelope, VerifiedStatement), StatementError> {
    Publishers::parse(toml.as_bytes()).unwrap().admit(sent, LOG, now, &mut KeySearch::for_entry())
}

fn own(seeds: &[u8]) -> SubmittedEnvelope {
    let signatures: Vec<(u8, Hint)> = seeds.iter().map(|seed| (*seed, Hint::Own)).collect();
    sent(&payload(), &payload(), &signatures)
}

/// A stranger can neither add to an entry nor remove from it.
#[test]
fn the_signatures_of_who_may_state_it_are_kept_and_the_others_are_dropped() {
    use Hint::{Missing, Of, Own, Text};
    let cases: [(&[(u8, Hint)], &[u8]); 13] = [
        (&[(1, Own)], &[1]),
        // Strangers, named or not, before and after it.
        (&[(1, Own), (9, Own)], &[1]),
        (&[(9, Missing), (1, Own), (8, Text("a@b"))], &[1]),
        // Registered, but without the right to it.
        (&[(4, Own), (1, Own)], &[1]),
        (&[(4, Missing), (1, Missing)], &[1]),
        // All signers with the right, in order of keyid.
        (&[(3, Own), (2, Own), (1, Own)], &[1, 2, 3]),
        // A keyid is only a hint: it may be missing, a stranger's, or another key's.
        (&[(1, Missing)], &[1]),
        (&[(2, Text("SHA256:whatever"))], &[2]),
        (&[(2, Of(1))], &[2]),
        (&[(2, Of(1)), (1, Of(2))], &[1, 2]),
        (&[(3, Of(9)), (1, Missing)], &[1, 3]),
        // The same key twice is one signature.
        (&[(1, Own), (1, Missing)], &[1]),
        (&[(1, Missing), (1, Own)], &[1]),
    ];
    for (at, (signatures, kept)) in cases.into_iter().enumerate() {
        let (envelope, verified) =
            admit(&toml(), &sent(&payload(), &payload(), signatures), LONG_AGO).unwrap();
        let keys: Vec<PublisherSigner> = kept.iter().map(|seed| publisher_signer(*seed)).collect();
        let expected = Envelope::sign(payload(), &keys.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(envelope, expected, "case {at}");
        assert_eq!(Envelope::parse_entry(&envelope.to_entry()), Ok(envelope.clone()));
        // Readers of the log accept it, with the same names.
        let publishers = Publishers::parse(toml().as_bytes()).unwrap();
        assert_eq!(publishers.verify(&envelope, LOG), Ok(verified.clone()), "case {at}");
        assert_eq!(verified.signers(), verified.publishers());
    }
}

#[test]
fn what_nobody_who_may_has_signed_is_refused_for_the_signature_that_came_closest() {
    use Hint::{Missing, Of, Own, Text};
    let keyid = |seed| publisher_signer(seed).keyid().to_hex();
    let unknown = |keyid: &str| StatementError::UnknownKey { keyid: keyid.to_owned() };
    let not_vendor_s = StatementError::BadSignature { publisher: "vendor".to_owned(), keyid: keyid(1) };
    let not_permitted = StatementError::NotPermitted {
        publishers: "reviewer".to_owned(),
        kind: Kind::Build.into(),
        package: Some("pkg:generic/example/scanner".to_owned()),
    };
    let (good, other) = (payload(), sample_release(b"y").to_payload().unwrap());
    let cases: [(&[u8], &[(u8, Hint)], StatementError); 8] = [
        (&good, &[(9, Own)], unknown(&keyid(9))),
        (&good, &[(9, Missing)], unknown("")),
        (&good, &[(9, Text("me"))], unknown("me")),
        (&other, &[(1, Own)], not_vendor_s.clone()),
        (&good, &[(9, Of(1))], not_vendor_s.clone()),
        (&good, &[(4, Own)], not_permitted.clone()),
        // The error that came closest, wherever it is.
        (&good, &[(9, Missing), (8, Of(1)), (9, Own)], not_vendor_s),
        (&good, &[(4, Own), (8, Of(1))], not_permitted),
    ];
    for (at, (signed, signatures, expected)) in cases.into_iter().enumerate() {
        let refused = admit(&toml(), &sent(&good, signed, signatures), LONG_AGO);
        assert_eq!(refused.map(|(envelope, _)| envelope), Err(expected), "case {at}");
    }
    let message = |keyid: &str| unknown(keyid).to_string();
    assert!(message(&keyid(9)).starts_with(&format!("the key {} is not registered: expected", keyid(9))));
    assert!(message("\u{1b}[2J").starts_with("the keyid \"\\u{1b}[2J\" names no key, and no registered key"));
}

/// The signature is checked before the meaning.
#[test]
fn what_a_statement_lacks_is_told_to_who_signed_it() {
    use Hint::{Missing, Own};
    let statement = |result: Result<_, StatementError>| matches!(result, Err(StatementError::Statement(_)));
    assert!(statement(admit(&toml(), &sent(b"junk", b"junk", &[(1, Own)]), LONG_AGO)));
    let bad = admit(&toml(), &sent(b"junk", b"other", &[(1, Own)]), LONG_AGO);
    assert!(matches!(bad, Err(StatementError::BadSignature { .. })), "{bad:?}");
    // If no key is named, the statement decides whose keys are tried.
    assert!(statement(admit(&toml(), &sent(b"junk", b"junk", &[(1, Missing)]), LONG_AGO)));
}

#[test]
fn keys_that_are_revoked_or_outside_their_validity_do_not_count_beside_one_that_does() {
    let (one, two) = (publisher_signer(1), publisher_signer(2));
    let key = |signer: &PublisherSigner, limit: &str| {
        format!("[[publisher.key]]\npem = '''\n{}'''\n{limit}\n", signer.public_pem())
    };
    let toml = |limit: &str| {
        publisher_toml("vendor", &[], &["pkg:generic/example/*"], &["build"])
            + &key(&one, limit)
            + &key(&two, "")
    };
    let now = parse_time("2026-06-01T00:00:00Z").unwrap();
    let kept = |toml: &str, seeds: &[u8]| admit(toml, &own(seeds), now).map(|(envelope, _)| envelope);
    for (limit, code) in [
        ("revoked = true", "is revoked"),
        ("not_after = \"2026-05-31T23:59:59Z\"", "is outside its validity"),
        ("not_before = \"2026-06-01T00:00:01Z\"", "is outside its validity"),
    ] {
        let toml = toml(limit);
        assert_eq!(kept(&toml, &[1, 2]), kept(&toml, &[2]), "{limit}");
        assert!(kept(&toml, &[2]).is_ok());
        let error = kept(&toml, &[1]).unwrap_err().to_string();
        assert!(error.contains(code), "{error}");
        // Without a name, such a key is not looked for.
        let unnamed = sent(&payload(), &payload(), &[(1, Hint::Missing)]);
        let refused = admit(&toml, &unnamed, now).unwrap_err();
        assert_eq!(refused, StatementError::UnknownKey { keyid: String::new() });
    }
    assert_eq!(kept(&toml("not_after = \"2026-06-01T00:00:00Z\""), &[1]).unwrap().signatures().len(), 1);
}

/// One request must not cause thousands of verifications.
#[test]
fn so_many_signatures_of_a_request_may_fail_and_no_more() {
    let most = 32_usize;
    // A publisher with as many keys as may be tried, and one other key.
    let keys: Vec<PublisherSigner> =
        (0..most).map(|at| PublisherSigner::from_seed(Hash::digest(&at.to_be_bytes()).as_bytes())).collect();
    let toml = publisher_toml("many", &keys.iter().collect::<Vec<_>>(), &["pkg:generic/*"], &["build"]);
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let stranger = sent(&payload(), &payload(), &[(9, Hint::Missing)]);
    let mut search = KeySearch::for_entry();
    let refused = publishers.admit(&stranger, LOG, LONG_AGO, &mut search).unwrap_err();
    assert!(matches!(refused, StatementError::UnknownKey { .. }), "all of them were tried: {refused}");
    // The next entry of the same request gets no more tries.
    let refused = publishers.admit(&stranger, LOG, LONG_AGO, &mut search).unwrap_err();
    assert_eq!(refused, StatementError::TooManyTries { most: 32 });
    assert!(refused.to_string().contains("expected each keyid to name the key"), "{refused}");
    // Nor does an entry whose signatures are named and invalid.
    let named = sent(&payload(), b"other", &[(1, Hint::Own)]);
    let vendor = Publishers::parse(self::toml().as_bytes()).unwrap();
    assert_eq!(
        vendor.admit(&named, LOG, LONG_AGO, &mut search).unwrap_err(),
        StatementError::TooManyTries { most: 32 }
    );
    // A batch of thousands by one unnamed key costs the failures of its first entry.
    let last = &keys[most - 1];
    let sig = base64_encode(&Envelope::sign(payload(), &[last]).unwrap().signatures()[0].1);
    let text = json!({
        "payload": base64_encode(&payload()), "payloadType": "application/vnd.in-toto+json",
        "signatures": [{ "sig": sig }],
    });
    let unnamed = SubmittedEnvelope::parse(text.to_string().as_bytes()).unwrap();
    let mut search = KeySearch::for_entry();
    for _ in 0..5 {
        let (envelope, _) = publishers.admit(&unnamed, LOG, LONG_AGO, &mut search).unwrap();
        assert_eq!(envelope.signatures()[0].0, last.keyid());
    }
}

/// Older logs did not check what purl types require. Their entries can be read, searched and withdrawn, but no new
/// ones of that sort are accepted.
#[test]
fn the_rules_of_purl_types_are_for_what_is_new() {
    let toml = publisher_toml(
        "vendor",
        &[&publisher_signer(1)],
        &["pkg:deb/*", "pkg:golang/*", "pkg:cargo/*"],
        &["build"],
    );
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    for purl in ["pkg:deb/scanner@1", "pkg:golang/x@1", "pkg:cargo/a/b@1"] {
        assert!(Purl::parse(purl).is_err() && PackageUrl::parse(purl).is_err(), "{purl}");
        let release = Release { purl: Purl::parse_logged(purl).unwrap(), ..sample_release(b"x") };
        let entry = signed_entry(&release, &[&publisher_signer(1)]);
        let submitted = SubmittedEnvelope::parse(&entry).unwrap();
        let refused = admit(&toml, &submitted, LONG_AGO).unwrap_err();
        assert!(matches!(refused, StatementError::Statement(_)), "{purl}: {refused}");
        // In a log, it is as valid as ever.
        let verified = publishers.verify(&Envelope::parse_entry(&entry).unwrap(), LOG).unwrap();
        assert_eq!(verified.release().unwrap().purl.as_str(), purl);
        assert!(!Facts::of_entry(&entry, &publishers).unwrap().terms.is_empty());
        let withdrawal = Withdrawal::of(LeafIndex::new(0).unwrap(), &entry, "it leaks").unwrap();
        let payload = withdrawal.to_payload().unwrap();
        admit(&toml, &sent(&payload, &payload, &[(1, Hint::Own)]), LONG_AGO).unwrap();
    }
}

#[test]
fn a_batch_may_fail_more_often_the_more_entries_it_has() {
    let stranger = sent(&payload(), &payload(), &[(9, Hint::Missing)]);
    let vendor = Publishers::parse(toml().as_bytes()).unwrap();
    // Three keys have the right to state it.
    let tried = |mut search: KeySearch| {
        for tries in 0.. {
            match vendor.admit(&stranger, LOG, LONG_AGO, &mut search).unwrap_err() {
                StatementError::TooManyTries { most } => return (most, tries),
                refused => assert!(matches!(refused, StatementError::UnknownKey { .. }), "{refused}"),
            }
        }
        unreachable!()
    };
    assert_eq!(tried(KeySearch::for_entry()), (32, 10));
    assert_eq!(tried(KeySearch::for_batch(1)), (40, 13));
    assert_eq!(tried(KeySearch::for_batch(28)), (256, 85));
    assert_eq!(tried(KeySearch::for_batch(usize::MAX)), (256, 85));
}
