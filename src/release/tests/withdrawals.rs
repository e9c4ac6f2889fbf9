use super::*;
use crate::merkle::LeafIndex;

fn index(index: u64) -> LeafIndex {
    LeafIndex::new(index).unwrap()
}

/// The withdrawal of the sample release, at leaf 17.
fn sample_withdrawal() -> Withdrawal {
    let entry = signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]);
    Withdrawal::of(index(17), &entry, "it crashes on start").unwrap()
}

#[test]
fn withdrawals_are_written_as_they_are_drawn() {
    let withdrawal = sample_withdrawal();
    let entry = signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]);
    let expected = format!(
        "{{\"_type\":\"https://in-toto.io/Statement/v1\",\
         \"predicate\":{{\"index\":17,\"leaf\":\"{}\",\"purl\":\"pkg:generic/example/scanner@4.2.0\",\
         \"reason\":\"it crashes on start\"}},\
         \"predicateType\":\"urn:treehead:withdrawal:v1\",\
         \"subject\":[{{\"digest\":{{\"sha256\":\"{}\"}},\"name\":\"scanner.bin\"}}]}}",
        Hash::leaf(&entry).to_hex(),
        Hash::digest(b"x").to_hex()
    );
    let payload = withdrawal.to_payload().unwrap();
    assert_eq!(String::from_utf8(payload.clone()).unwrap(), expected);
    assert_eq!(Withdrawal::parse(&payload), Ok(withdrawal.clone()));
    let statement = Statement::parse(&payload).unwrap();
    assert_eq!((statement.as_withdrawal(), statement.log()), (Some(&withdrawal), None));
    let bound = Withdrawal { log: Some(LOG.to_owned()), ..withdrawal.clone() };
    assert_eq!(Withdrawal::parse(&bound.to_payload().unwrap()), Ok(bound));
    assert_eq!((statement.kind(), statement.as_release()), (StatementKind::Withdrawal, None));
    assert_eq!(statement.purl(), Some(&withdrawal.purl));
    assert_eq!(statement.digests().collect::<Vec<_>>(), [Hash::digest(b"x")]);
    // Another statement is no withdrawal, and a withdrawal is no release.
    let other = sample_release(b"x").to_payload().unwrap();
    assert_refused(Withdrawal::parse(&other), "predicateType to be urn:treehead:withdrawal:v1", &other);
    assert_refused(Release::parse(&payload), "predicateType to be https://in-toto.io/", &payload);
}

#[test]
fn every_field_of_a_withdrawal_is_checked() {
    let good = sample_withdrawal().to_payload().unwrap();
    let long = format!("{:?}", "r".repeat(MAX_REASON_BYTES + 1));
    let upper = format!("{:?}", "AB".repeat(32));
    let mut table: Vec<(String, &str, &str)> = Vec::new();
    for field in ["leaf", "purl", "reason"] {
        let pointer = format!("/predicate/{field}");
        table.push((pointer.clone(), "", "to be there, saw nothing"));
        for value in ["1", "null", "true", "[]", "{}"] {
            table.push((pointer.clone(), value, "to be a string, saw"));
        }
    }
    for (pointer, value, why) in [
        ("/predicate", "", "predicate to be there"),
        ("/predicate", "[]", "predicate to be an object"),
        ("/predicate/index", "", "predicate.index to be there"),
        ("/predicate/index", "\"17\"", "predicate.index to be an integer"),
        ("/predicate/index", "-1", "predicate.index to be an integer"),
        ("/predicate/index", "null", "predicate.index to be an integer"),
        ("/predicate/index", "9007199254740992", "to be an integer from 0 to 2^53 - 1"),
        ("/predicate/leaf", "\"\"", "64 lower-case hex digits"),
        ("/predicate/leaf", "\"ab\"", "64 lower-case hex digits"),
        ("/predicate/leaf", &upper, "64 lower-case hex digits"),
        ("/predicate/purl", "\"pkg:generic/example/scanner\"", "a purl is malformed: expected a version"),
        ("/predicate/reason", "\"\"", "words without control characters"),
        ("/predicate/reason", "\" \"", "words without control characters"),
        ("/predicate/reason", "\"a\\nb\"", "words without control characters"),
        ("/predicate/reason", "\"a\\u001b[31m\"", "words without control characters"),
        ("/predicate/reason", "\"\u{85}\"", "words without control characters"),
        ("/predicate/reason", &long, "the reason of a withdrawal is too large: expected at most 1024 bytes"),
        ("/predicate/log", "7", "predicate.log to be a string"),
        ("/predicate/log", "\"\"", "the log of a statement is malformed"),
        ("/predicate/Reason", "\"a\"", "no other field in predicate, saw \"Reason\""),
        ("/predicate/treehead", "{}", "no other field in predicate, saw \"treehead\""),
        ("/subject", "", "subject to be there"),
        ("/subject", "[]", "at least one subject"),
        ("/subject/0/name", "", "subject[].name to be there"),
        ("/subject/0/name", "\"\"", "the name of a subject is malformed"),
        ("/subject/0/digest/sha256", "", "subject[].digest.sha256 to be there"),
        ("/subject/0/digest/sha256", "\"00\"", "64 lower-case hex digits"),
        ("/_type", "\"https://in-toto.io/Statement/v0.2\"", "_type to be https://in-toto.io/Statement/v1"),
        ("/predicateType", "\"urn:treehead:withdrawal:v2\"", "predicateType to be"),
        ("/predicateType", "", "predicateType to be there"),
    ] {
        table.push((pointer.to_owned(), value, why));
    }
    for (pointer, value, why) in table {
        let payload = changed(&good, &pointer, value);
        assert_refused(Withdrawal::parse(&payload), why, format!("{pointer} = {value}").as_bytes());
        assert!(Statement::parse(&payload).is_err(), "{pointer} = {value}");
    }
    for (pointer, value) in [
        ("/anything", "1"),
        ("/subject/0/annotations", "{}"),
        ("/predicate/index", "0"),
        ("/predicate/index", "9007199254740991"),
        ("/predicate/reason", &format!("{:?}", "r".repeat(MAX_REASON_BYTES))),
        ("/predicate/reason", "\"Gründe, und \\\"Zitate\\\"\""),
    ] {
        let payload = changed(&good, pointer, value);
        assert!(
            Withdrawal::parse(&payload).is_ok(),
            "{pointer} = {value}: {:?}",
            Withdrawal::parse(&payload)
        );
    }
}

#[test]
fn a_withdrawal_that_may_not_be_read_is_not_written_either() {
    let with = |change: fn(&mut Withdrawal)| {
        let mut withdrawal = sample_withdrawal();
        change(&mut withdrawal);
        withdrawal.to_payload()
    };
    assert_refused(with(|w| w.reason.clear()), "words without control characters", b"");
    assert_refused(with(|w| w.reason = "r".repeat(1_025)), "expected at most 1024 bytes, saw 1025", b"");
    assert_refused(with(|w| w.subjects.clear()), "at least one subject", b"");
    assert_refused(with(|w| w.index = LeafIndex::new(1 << 53).unwrap()), "an index of at most 2^53 - 1", b"");
    assert_refused(Withdrawal::of(index(0), b"{}", "r"), "payloadType to be there", b"");
    let own = Envelope::sign(sample_withdrawal().to_payload().unwrap(), &[&publisher_signer(1)]).unwrap();
    assert_refused(Withdrawal::of(index(0), &own.to_entry(), "r"), "predicateType to be", b"");
}

/// `vendor` and `rival` may both release the sample.
fn publishers() -> Publishers {
    let rival =
        publisher_toml("rival", &[&publisher_signer(2)], &["pkg:generic/example/*"], &["detection-rules"]);
    Publishers::parse((vendor_toml() + &rival).as_bytes()).unwrap()
}

fn speak(withdrawal: &Withdrawal, seed: u8) -> Result<VerifiedStatement, StatementError> {
    let signer = publisher_signer(seed);
    let envelope = Envelope::sign(withdrawal.to_payload().unwrap(), &[&signer]).unwrap();
    publishers().verify(&envelope, LOG)
}

#[test]
fn a_withdrawal_is_of_that_very_entry_and_by_its_signer() {
    let (vendor, rival) = (publisher_signer(1), publisher_signer(2));
    let entry = signed_entry(&sample_release(b"x"), &[&vendor]);
    let good = sample_withdrawal();
    let check = |withdrawal: &Withdrawal, seed, at: u64, entry: &[u8]| {
        publishers().check_withdrawal(&speak(withdrawal, seed).unwrap(), index(at), entry)
    };
    assert_eq!(check(&good, 1, 17, &entry), Ok(()));
    let seen = |result: Result<(), WithdrawalError>| result.unwrap_err().to_string();

    assert!(matches!(check(&good, 1, 16, &entry), Err(WithdrawalError::OtherLeaf { .. })));
    // The same statement with another signer is another leaf.
    let cosigned = signed_entry(&sample_release(b"x"), &[&vendor, &rival]);
    assert!(matches!(check(&good, 1, 17, &cosigned), Err(WithdrawalError::OtherLeaf { .. })));
    let of_it = Withdrawal::of(index(17), &cosigned, "r").unwrap();
    assert_eq!((check(&of_it, 1, 17, &cosigned), check(&of_it, 2, 17, &cosigned)), (Ok(()), Ok(())));

    let not_the_publisher = check(&good, 2, 17, &entry);
    assert!(matches!(not_the_publisher, Err(WithdrawalError::NotThePublisher { .. })));
    assert!(
        seen(not_the_publisher).contains("rival did not release leaf 17: expected a withdrawal by vendor")
    );

    // With both signatures, the publisher of the release counts, whichever keyid comes first.
    let both = Envelope::sign(good.to_payload().unwrap(), &[&vendor, &rival]).unwrap();
    let both = publishers().verify(&both, LOG).unwrap();
    let by_rival = signed_entry(&sample_release(b"x"), &[&rival]);
    assert_eq!(publishers().check_withdrawal(&both, index(17), &entry), Ok(()));
    let of_rival = Withdrawal::of(index(17), &by_rival, "r").unwrap();
    let both = Envelope::sign(of_rival.to_payload().unwrap(), &[&vendor, &rival]).unwrap();
    let both = publishers().verify(&both, LOG).unwrap();
    assert_eq!(publishers().check_withdrawal(&both, index(17), &by_rival), Ok(()));

    let other =
        Withdrawal { purl: Purl::parse("pkg:generic/example/scanner@4.2.1").unwrap(), ..good.clone() };
    let error = seen(check(&other, 1, 17, &entry));
    assert!(error.contains("purl: expected pkg:generic/example/scanner@4.2.0, saw pkg:"), "{error}");
    let mut other = good.clone();
    other.subjects[0].sha256 = Hash::digest(b"y");
    let error = seen(check(&other, 1, 17, &entry));
    assert!(error.contains(&Hash::digest(b"y").to_hex()), "{error}");
    let mut fewer = Withdrawal::of(index(17), &signed_entry(&full_release(), &[&vendor]), "r").unwrap();
    fewer.subjects.truncate(1);
    let error = seen(check(&fewer, 1, 17, &signed_entry(&full_release(), &[&vendor])));
    assert!(error.contains("überwachung.deb") && error.contains("saw 1 of them"), "{error}");

    let own = Envelope::sign(good.to_payload().unwrap(), &[&vendor]).unwrap().to_entry();
    let of_own = Withdrawal { leaf: Hash::leaf(&own), ..good.clone() };
    assert!(matches!(check(&of_own, 1, 17, &own), Err(WithdrawalError::NotARelease { .. })));
    let release = publishers().verify(&Envelope::parse_entry(&entry).unwrap(), LOG).unwrap();
    let refused = publishers().check_withdrawal(&release, index(17), &entry);
    assert_eq!(refused, Err(WithdrawalError::NotAWithdrawal));
}

#[test]
fn no_flipped_bit_of_an_entry_withdraws_anything() {
    let envelope =
        Envelope::sign(sample_withdrawal().to_payload().unwrap(), &[&publisher_signer(1)]).unwrap();
    let (entry, publishers) = (envelope.to_entry(), publishers());
    for at in 0..entry.len() {
        for bit in 0..8 {
            let mut flipped = entry.clone();
            flipped[at] ^= 1 << bit;
            let believed = Envelope::parse_entry(&flipped).is_ok_and(|e| publishers.verify(&e, LOG).is_ok());
            assert!(!believed, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn withdrawals_are_found_and_claim_no_sequence() {
    let withdrawal = sample_withdrawal();
    let envelope = Envelope::sign(withdrawal.to_payload().unwrap(), &[&publisher_signer(1)]).unwrap();
    let facts = Facts::of_entry(&envelope.to_entry(), &publishers()).unwrap();
    assert!(facts.claims.is_empty());
    let values = Facts::values(&envelope.to_entry(), &publishers()).unwrap();
    let (digest, leaf) = (Hash::digest(b"x").to_hex(), withdrawal.leaf.to_hex());
    let fields = [
        (SearchField::Package, "pkg:generic/example/scanner"),
        (SearchField::Version, "4.2.0"),
        (SearchField::Name, "scanner"),
        (SearchField::Kind, "withdrawal"),
        (SearchField::Publisher, "vendor"),
        (SearchField::Digest, &digest),
        (SearchField::Withdraws, &leaf),
    ];
    assert_eq!(facts.terms.len(), fields.len());
    for (field, value) in fields {
        assert!(facts.terms.contains(&Term::new(field, value)) && values.matches(field, value), "{value}");
        assert!(!values.matches(field, "other"), "{value}");
    }
    // A release withdraws nothing.
    let release = signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]);
    assert!(!Facts::values(&release, &publishers()).unwrap().matches(SearchField::Withdraws, &leaf));
}

proptest! {
    #[test]
    fn withdrawals_read_back_as_they_were_written(
        at in 0..1_u64 << 53,
        leaf in any::<[u8; 32]>(),
        names in prop::collection::btree_set("[^\\x00-\\x1f\\x7f-\\u{9f}]{1,20}", 1..6),
        reason in "[^\\x00-\\x1f\\x7f-\\u{9f}]{1,200}",
    ) {
        prop_assume!(!reason.trim().is_empty());
        let leaf = Hash::from_bytes(leaf);
        let subjects = names.into_iter().map(|name| Subject { name, sha256: leaf }).collect();
        let withdrawal = Withdrawal { index: index(at), leaf, subjects, reason, ..sample_withdrawal() };
        let payload = withdrawal.to_payload().unwrap();
        prop_assert_eq!(Withdrawal::parse(&payload), Ok(withdrawal.clone()));
        prop_assert_eq!(Statement::parse(&payload), Ok(Statement::Withdrawal(withdrawal)));
    }

    /// A changed text that is still a withdrawal is written back with the same meaning.
    #[test]
    fn noise_in_a_withdrawal_never_panics(
        patch in "[a-zA-Z0-9+/=\"{}\\[\\]:,\\\\ .-]{0,8}",
        at in any::<prop::sample::Index>(),
        cut in 0..8_usize,
    ) {
        let mut payload = sample_withdrawal().to_payload().unwrap();
        let at = at.index(payload.len());
        let end = (at + cut).min(payload.len());
        payload.splice(at..end, patch.bytes());
        if let Ok(withdrawal) = Withdrawal::parse(&payload) {
            prop_assert_eq!(Withdrawal::parse(&withdrawal.to_payload().unwrap()), Ok(withdrawal));
        }
    }
}
