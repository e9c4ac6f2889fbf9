use super::*;

#[test]
fn openssl_s_keys_are_read_and_written() {
    let signer = PublisherSigner::from_pem(TEST_KEY_PEM).unwrap();
    assert_eq!(signer.keyid().to_hex(), TEST_KEYID);
    assert_eq!((signer.public_pem().as_str(), signer.to_pem().as_str()), (TEST_PUBLIC_PEM, TEST_KEY_PEM));
    let toml = publisher_toml("openssl", &[&signer], &["pkg:generic/*"], &["build"]);
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let (publisher, key) = publishers.find(&Hash::from_hex(TEST_KEYID).unwrap()).unwrap();
    assert_eq!((publisher.name.as_str(), key.keyid), ("openssl", signer.keyid()));
    let bare = crate::note::ed25519_verify(
        &ed25519_dalek::VerifyingKey::try_from(
            &base64_decode(TEST_PUBLIC_PEM.lines().nth(1).unwrap()).unwrap()[12..],
        )
        .unwrap(),
        b"payload",
        &base64_decode(TEST_SIGNATURE).unwrap(),
    );
    assert!(bare, "a signature that openssl made");
    for seed in 0..20 {
        let signer = publisher_signer(seed);
        let again = PublisherSigner::from_pem(&signer.to_pem()).unwrap();
        assert_eq!((again.keyid(), again.to_pem()), (signer.keyid(), signer.to_pem()));
        let shown = format!("{signer:?}");
        let pem = signer.to_pem();
        let body = pem.lines().nth(1).unwrap();
        assert!(!shown.contains(&body[24..]) && !shown.contains(&hex::encode([seed; 4])), "{shown}");
    }
}

#[test]
fn other_private_keys_are_refused_without_showing_them() {
    let body = TEST_KEY_PEM.lines().nth(1).unwrap();
    let expected = "expected an Ed25519 PRIVATE KEY in PKCS#8 PEM";
    for bad in [
        String::new(),
        TEST_PUBLIC_PEM.to_owned(),
        TEST_KEY_PEM.replace("PRIVATE KEY", "EC PRIVATE KEY"),
        TEST_KEY_PEM.replace("MC4C", "MC4D"),
        TEST_KEY_PEM.replace("K2Vw", "K2Vx"),
        TEST_KEY_PEM.replace("QZl\n", "QZ\n"),
        TEST_KEY_PEM.replace("-----END", "----END"),
        TEST_KEY_PEM[..80].to_owned(),
        body.to_owned(),
    ] {
        let error = PublisherSigner::from_pem(&bad).expect_err(&bad).to_string();
        assert!(error.contains(expected), "{bad}: {error}");
        assert!((0..body.len() - 8).all(|at| !error.contains(&body[at..at + 8])), "{error}");
    }
    let error = PublisherSigner::from_pem(&" ".repeat(16 * 1024 + 1)).unwrap_err().to_string();
    assert!(error.contains("expected at most 16384 bytes"), "{error}");
}

#[test]
fn malformed_publishers_files_are_refused() {
    let good = vendor_toml();
    assert_eq!(Publishers::parse(good.as_bytes()).unwrap().list().len(), 1);
    assert!(Publishers::parse(b"").unwrap().list().is_empty());
    let with = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1)
    };
    let pem = publisher_signer(1).public_pem();
    let key = |pem: &str| good.replace(&publisher_signer(1).public_pem(), pem);
    let weak = |point: &[u8; 32]| {
        let der = [hex::decode("302a300506032b6570032100").unwrap().as_slice(), point].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64_encode(&der))
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let no_key = "a publisher key is malformed at line 6, `pem` of key 1 of publisher \"vendor\": expected a PUBLIC KEY in PEM (openssl pkey -in KEY -pubout), a CERTIFICATE, or a line of OpenSSH";
    for (bad, why) in [
        ("[[publisher]\n".to_owned(), "a publishers file is malformed at line 1: expected TOML"),
        (with("name = ", "name : "), "at line 2: expected TOML as in docs/publishers.md"),
        (with("kinds = [", "kinds = "), "at line 4: expected TOML"),
        (with("name = \"vendor\"", "name = \"vendor\"\nname = \"vendor\""), "at line 3: expected TOML"),
        (with("name = \"vendor\"", "name = 7"), "at line 2, `name` of publisher 1: expected TOML"),
        (with("name = \"vendor\"\n", ""), "missing field `name`"),
        (
            with("name", "nom"),
            "at line 2, `nom` of publisher 1: expected TOML as in docs/publishers.md, saw unknown field `nom`",
        ),
        (
            with("kinds = ", "admin = true\nkinds = "),
            "at line 4, `admin` of publisher \"vendor\": expected TOML as in docs/publishers.md, saw unknown field `admin`",
        ),
        (with("pem = ", "not_befor = \"x\"\npem = "), "saw unknown field `not_befor`"),
        (format!("{good}[log]\n"), "saw unknown field `log`"),
        (
            with("\"build\"", "\"built\""),
            "kinds out of build, update, detection-rules, trust, provenance, verification-summary, review, disclosure, sbom, vex, test-result, imported or the URI of a predicate type, saw \"built\"",
        ),
        (
            with("\"build\"", "\"withdrawal\""),
            "who may release a package may withdraw what it released), saw \"withdrawal\"",
        ),
        (
            with("pkg:generic/example/*", "*"),
            "a purl pattern is malformed at line 3, `purls` of publisher \"vendor\": expected",
        ),
        (with("pkg:generic/example/*", "pkg:generic/a@1"), "a purl pattern is malformed"),
        (
            with("\"vendor\"", "\"\""),
            "a publisher name of 1 to 100 bytes without spaces or hidden characters, saw \"\"",
        ),
        (
            with("\"vendor\"", "\"a vendor\""),
            "a publisher name of 1 to 100 bytes without spaces or hidden characters",
        ),
        (with("\"vendor\"", "\"a\u{200b}b\""), "without spaces or hidden characters, saw \"a\\u{200b}b\""),
        (
            with("\"vendor\"", "\"a\\u0000\""),
            "a publisher name of 1 to 100 bytes without spaces or hidden characters",
        ),
        (with("\"vendor\"", &format!("{:?}", "v".repeat(101))), "a publisher name of 1 to 100 bytes"),
        (
            format!("{good}{}", publisher_toml("vendor", &[&publisher_signer(2)], &[], &[])),
            "at line 12, `name` of publisher \"vendor\": expected each publisher name once, saw \"vendor\" twice",
        ),
        (
            format!("{good}{}", publisher_toml("other", &[&publisher_signer(1)], &[], &[])),
            "each key once, saw key ",
        ),
        (
            publisher_toml("twins", &[&publisher_signer(1), &publisher_signer(1)], &[], &[]),
            "`pem` of key 2 of publisher \"twins\": expected each key once, saw key ",
        ),
        (
            format!("{good}not_before = \"2026-01-01\"\n"),
            "a time is malformed at line 11, `not_before` of key 1 of publisher \"vendor\": expected UTC as in",
        ),
        (format!("{good}not_after = \"2026-02-30T00:00:00Z\"\n"), "a time is malformed"),
        (
            format!("{good}scheme = \"ed25519\"\n"),
            "at line 11, `scheme` of key 1 of publisher \"vendor\": expected rsa-pkcs1-sha256 or rsa-pss-sha256, saw",
        ),
        (
            format!("{good}scheme = \"rsa-pss-sha256\"\n"),
            "expected a key of rsa-pss-sha256, saw one of ed25519",
        ),
        (format!("{good}not_after = 2026-01-01T00:00:00Z\n"), "expected TOML as in docs/publishers.md"),
        (key(""), no_key),
        (key("MCowBQYDK2VwAyEA"), no_key),
        (key(&pem.replace("PUBLIC KEY", "CERTIFICATE")), "expected an X.509 certificate in DER"),
        (key(&format!("{pem}{pem}")), no_key),
        (key(TEST_KEY_PEM), "saw a private key, which belongs to its publisher alone"),
        (
            key(&weak(&identity)),
            "`pem` of key 1 of publisher \"vendor\": expected a strong Ed25519 key, saw a weak one, of small order",
        ),
        (key(&weak(&[0; 32])), "expected a strong Ed25519 key, saw a weak one"),
    ] {
        let error = Publishers::parse(bad.as_bytes()).expect_err(&bad).to_string();
        assert!(error.contains(why), "{bad}: expected {why:?} in {error:?}");
        let secret = TEST_KEY_PEM.lines().nth(1).unwrap();
        assert!(!error.contains(&secret[24..40]), "{error}");
    }
    assert!(Publishers::parse(b"\xff").unwrap_err().to_string().contains("expected UTF-8"));
    let error = Publishers::parse(&vec![b'\n'; MAX_PUBLISHERS_BYTES + 1]).unwrap_err().to_string();
    assert!(error.contains("expected at most 4194304 bytes"), "{error}");
}

fn verify(toml: &str, entry: &[u8]) -> Result<VerifiedStatement, StatementError> {
    let envelope = Envelope::parse_entry(entry).unwrap();
    Publishers::parse(toml.as_bytes()).unwrap().verify(&envelope, LOG)
}

fn admit(toml: &str, entry: &[u8], now: Timestamp) -> Result<VerifiedStatement, StatementError> {
    let sent = SubmittedEnvelope::parse(entry).unwrap();
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    publishers.admit(&sent, LOG, now, &mut KeySearch::for_entry()).map(|(_, verified)| verified)
}

/// A statement for one log is not believed in another, to which anybody could submit it.
#[test]
fn a_statement_for_another_log_is_neither_admitted_nor_believed() {
    let vendor = publisher_signer(1);
    let release = |log: Option<&str>| {
        let log = log.map(str::to_owned);
        signed_entry(&Release { log, ..sample_release(b"x") }, &[&vendor])
    };
    let withdrawal = |log: Option<&str>| {
        let of = Withdrawal::of(crate::merkle::LeafIndex::new(0).unwrap(), &release(None), "r").unwrap();
        let withdrawal = Withdrawal { log: log.map(str::to_owned), ..of };
        Envelope::sign(withdrawal.to_payload().unwrap(), &[&vendor]).unwrap().to_entry()
    };
    for state in [&release as &dyn Fn(Option<&str>) -> Vec<u8>, &withdrawal] {
        for log in [None, Some(LOG)] {
            let entry = state(log);
            assert_eq!(verify(&vendor_toml(), &entry), admit(&vendor_toml(), &entry, 0));
            assert_eq!(verify(&vendor_toml(), &entry).unwrap().statement().log(), log);
        }
        let entry = state(Some("staging.example.com/log"));
        let refused =
            StatementError::OtherLog { expected: LOG.to_owned(), seen: "staging.example.com/log".to_owned() };
        assert_eq!(verify(&vendor_toml(), &entry), Err(refused.clone()));
        assert_eq!(admit(&vendor_toml(), &entry, 0), Err(refused.clone()));
        let message = "for another log: expected example.com/log, saw \"staging.example.com/log\"";
        assert!(refused.to_string().contains(message), "{refused}");
        // The audience is checked first.
        assert!(matches!(verify("", &entry), Err(StatementError::UnknownKey { .. })));
    }
}

#[test]
fn only_registered_publishers_are_believed() {
    let (vendor, other) = (publisher_signer(1), publisher_signer(2));
    let release = sample_release(b"x");
    let entry = signed_entry(&release, &[&vendor]);
    let verified = verify(&vendor_toml(), &entry).unwrap();
    assert_eq!((verified.release(), verified.publisher()), (Some(&release), "vendor"));

    let unknown = Err(StatementError::UnknownKey { keyid: other.keyid().to_hex() });
    assert_eq!(verify(&vendor_toml(), &signed_entry(&release, &[&other])), unknown);
    // A second signature, by a stranger, would give an old statement a new leaf hash.
    assert_eq!(verify(&vendor_toml(), &signed_entry(&release, &[&vendor, &other])), unknown);
    assert!(matches!(verify("", &entry), Err(StatementError::UnknownKey { .. })));

    let bad_signature =
        Err(StatementError::BadSignature { publisher: "vendor".to_owned(), keyid: vendor.keyid().to_hex() });
    let payload = |bytes: &[u8]| format!("{:?}", base64_encode(bytes));
    let moved = changed(&entry, "/payload", &payload(&full_release().to_payload().unwrap()));
    assert_eq!(verify(&vendor_toml(), &moved), bad_signature, "another statement");
    // The signature is checked before the meaning, so the payload is not parsed.
    let junk = changed(&entry, "/payload", &payload(b"junk"));
    assert_eq!(verify(&vendor_toml(), &junk), bad_signature);
    for length in [0, 63, 64, 65] {
        let zeros = changed(&entry, "/signatures/0/sig", &payload(&vec![0; length]));
        assert_eq!(verify(&vendor_toml(), &zeros), bad_signature, "{length} bytes");
    }
    let signed_junk = Envelope::sign(b"junk".to_vec(), &[&vendor]).unwrap().to_entry();
    assert!(matches!(verify(&vendor_toml(), &signed_junk), Err(StatementError::Statement(_))));
}

#[test]
fn every_flipped_bit_of_an_entry_is_refused() {
    let publishers = Publishers::parse(vendor_toml().as_bytes()).unwrap();
    let entry = signed_entry(&sample_release(b"x"), &[&publisher_signer(1)]);
    let believed =
        |entry: &[u8]| Envelope::parse_entry(entry).is_ok_and(|e| publishers.verify(&e, LOG).is_ok());
    assert!(believed(&entry));
    for at in 0..entry.len() {
        for bit in 0..8 {
            let mut flipped = entry.clone();
            flipped[at] ^= 1 << bit;
            assert!(!believed(&flipped), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn keys_are_valid_from_their_first_to_their_last_second() {
    let vendor = publisher_signer(1);
    let entry = signed_entry(&sample_release(b"x"), &[&vendor]);
    let (from, to) = ("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z");
    let (first, last) = (parse_time(from).unwrap(), parse_time(to).unwrap());
    let limits = [
        (
            format!("not_before = {from:?}\nnot_after = {to:?}\n"),
            from,
            to,
            vec![first - 1, last + 1],
            vec![first, last],
        ),
        (format!("not_before = {from:?}\n"), from, "always", vec![0, first - 1], vec![first, last + 1]),
        (format!("not_after = {to:?}\n"), "always", to, vec![last + 1, u64::MAX], vec![0, last]),
    ];
    for (limit, from, to, outside, inside) in limits {
        let toml = format!("{}{limit}", vendor_toml());
        for now in outside {
            let expected = StatementError::KeyNotValid {
                publisher: "vendor".to_owned(),
                keyid: vendor.keyid().to_hex(),
                from: from.to_owned(),
                to: to.to_owned(),
                seen: format_time(now),
            };
            assert_eq!(admit(&toml, &entry, now), Err(expected));
        }
        assert!(inside.iter().all(|now| admit(&toml, &entry, *now).is_ok()), "{limit}");
        assert!(verify(&toml, &entry).is_ok(), "an endpoint believes what was logged in time");
    }
}

/// A monitor knows only that an entry was logged between two heads.
#[test]
fn a_key_is_outside_its_validity_where_it_was_valid_at_no_moment() {
    let (vendor, other) = (publisher_signer(1), publisher_signer(2));
    let limits = "not_before = \"2026-01-01T00:00:00Z\"\nnot_after = \"2028-01-01T00:00:00Z\"\n";
    let toml = format!("{}{limits}{}", vendor_toml(), publisher_toml("other", &[&other], &[], &[]));
    let publishers = Publishers::parse(toml.as_bytes()).unwrap();
    let [first, last] = ["2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z"].map(|t| parse_time(t).unwrap());
    let envelope = |signers: &[&PublisherSigner]| {
        Envelope::sign(sample_release(b"x").to_payload().unwrap(), signers).unwrap()
    };
    let both = envelope(&[&vendor, &other]);
    for (from, to) in [(0, first), (first, first), (first - 1, last + 1), (last, u64::MAX), (last, last)] {
        assert_eq!(publishers.outside_validity(&both, from, to), None, "{from} to {to}");
    }
    for (from, to) in [(0, first - 1), (last + 1, u64::MAX), (last + 1, last + 1)] {
        let expected = StatementError::KeyNotValid {
            publisher: "vendor".to_owned(),
            keyid: vendor.keyid().to_hex(),
            from: format_time(first),
            to: format_time(last),
            seen: format!("one from {} to {}", format_time(from), format_time(to)),
        };
        assert_eq!(publishers.outside_validity(&both, from, to), Some(expected));
        assert_eq!(publishers.outside_validity(&envelope(&[&other]), from, to), None, "valid for ever");
        assert_eq!(
            publishers.outside_validity(&envelope(&[&publisher_signer(3)]), from, to),
            None,
            "unknown"
        );
    }
}

#[test]
fn all_signers_are_named_each_once() {
    let keys = [1, 2, 3].map(publisher_signer);
    let [one, two, three] = &keys;
    let toml = publisher_toml("vendor", &[one, two], &["pkg:generic/*"], &["build"])
        + &publisher_toml("reviewer", &[three], &[], &[]);
    let verified = verify(&toml, &signed_entry(&sample_release(b"x"), &[one, two, three])).unwrap();
    let mut in_order = [(one.keyid(), "vendor"), (two.keyid(), "vendor"), (three.keyid(), "reviewer")];
    in_order.sort_unstable();
    let mut names: Vec<&str> = in_order.iter().map(|(_, name)| *name).collect();
    if names[0] == names[2] {
        names.remove(2);
    }
    names.dedup();
    assert_eq!(verified.publisher(), "vendor");
    assert_eq!(verified.signers(), names);
}

#[test]
fn publishers_speak_only_for_what_they_may() {
    let vendor = publisher_signer(1);
    let (build, mut rules) = (sample_release(b"x"), sample_release(b"x"));
    rules.kind = Kind::DetectionRules;
    let mut foreign = sample_release(b"x");
    foreign.purl = Purl::parse("pkg:generic/examples/scanner@1").unwrap();
    for (release, kind, package) in [
        (&rules, Kind::DetectionRules, "pkg:generic/example/scanner"),
        (&foreign, Kind::Build, "pkg:generic/examples/scanner"),
    ] {
        let refused = StatementError::NotPermitted {
            publishers: "vendor".to_owned(),
            kind: kind.into(),
            package: Some(package.to_owned()),
        };
        assert_eq!(verify(&vendor_toml(), &signed_entry(release, &[&vendor])), Err(refused));
    }
    // Rights of two publishers do not add up: one has the package, the other the kind.
    let reviewer = publisher_signer(2);
    let halves = |kinds: &[&str], purls: &[&str]| {
        publisher_toml("vendor", &[&vendor], &["pkg:generic/example/*"], &["build"])
            + &publisher_toml("reviewer", &[&reviewer], purls, kinds)
    };
    let both = |release| signed_entry(release, &[&vendor, &reviewer]);
    let split = halves(&["detection-rules"], &["pkg:deb/*"]);
    let Err(StatementError::NotPermitted { publishers, .. }) = verify(&split, &both(&rules)) else {
        panic!("neither may")
    };
    let mut in_order = [(vendor.keyid(), "vendor"), (reviewer.keyid(), "reviewer")];
    in_order.sort_unstable();
    assert_eq!(publishers, format!("{} and {}", in_order[0].1, in_order[1].1));
    // Of two registered signers, the one with the right is the publisher; if both have it, the first in order of
    // keyid.
    assert_eq!(verify(&split, &both(&build)).unwrap().publisher(), "vendor");
    let second = halves(&["detection-rules"], &["pkg:generic/*"]);
    assert_eq!(verify(&second, &both(&rules)).unwrap().publisher(), "reviewer");
    let each = halves(&["build"], &["pkg:generic/*"]);
    assert_eq!(verify(&each, &both(&build)).unwrap().publisher(), in_order[0].1);

    let publishers = Publishers::parse(vendor_toml().as_bytes()).unwrap();
    let cover = |purl| publishers.list().iter().any(|publisher| publisher.covers(purl));
    assert!(cover(&build.purl) && !cover(&foreign.purl));
}

#[test]
fn a_new_publisher_is_appended_and_a_taken_name_is_not() {
    let [taken, key, third] = [1, 2, 3].map(|seed| publisher_signer(seed).public_key());
    let purls = ["pkg:deb/debian/*", "pkg:generic/a%2Bb"].map(|p| PurlPattern::parse(p).unwrap());
    let kinds = [Kind::Build.into(), StatementKind::Provenance, StatementKind::VerificationSummary];
    let new = |name, key| NewPublisher { name, key, purls: &purls, kinds: &kinds };
    let comment = format!("# our publishers\n\n{}# no newline at the end", vendor_toml());
    for file in [
        String::new(),
        vendor_toml(),
        format!("{}\n\n", vendor_toml()),
        vendor_toml().trim_end().to_owned(),
        comment,
    ] {
        let text = new("debian", &key).append_to(&file).unwrap();
        assert!(text.starts_with(&file), "what stands there stays");
        let before = Publishers::parse(file.as_bytes()).unwrap().list().len();
        let publishers = Publishers::parse(text.as_bytes()).unwrap();
        assert_eq!(publishers.list().len(), before + 1);
        let added = publishers.list().last().unwrap();
        assert_eq!((added.name.as_str(), added.purls.as_slice()), ("debian", purls.as_slice()));
        assert_eq!(added.kinds, kinds);
        assert_eq!(added.keys.iter().map(|k| k.keyid).collect::<Vec<_>>(), [publisher_signer(2).keyid()]);
        assert!(new("third", &third).append_to(&text).is_ok());
    }
    for (name, key, why) in [
        ("vendor", &key, "each publisher name once, saw \"vendor\" twice"),
        ("debian", &taken, "each key once"),
        ("two words", &key, "a publisher name of 1 to 100 bytes without spaces or hidden characters"),
        (
            "a\"\npurls = []\n#",
            &key,
            "a publisher name of 1 to 100 bytes without spaces or hidden characters",
        ),
    ] {
        assert_refused(new(name, key).append_to(&vendor_toml()), why, name.as_bytes());
    }
    assert_refused(new("debian", &key).append_to("[[publisher"), "at line 1: expected TOML", b"");
}

/// A key file comes from a stranger, and PEM readers skip text before the key. None of that text may reach the file,
/// or it could give its sender rights that the operator did not.
#[test]
fn text_around_a_new_publisher_s_key_is_not_written() {
    let (pem, other) = (publisher_signer(2).public_pem(), publisher_signer(3).public_pem());
    // To PEM, `\u002d----BEGIN` is any text; to TOML, it is a key and then the end of a string.
    let smuggled = format!(
        "{}\"\"\"\n[[publisher]]\nname = \"evil\"\npurls = [\"pkg:generic/*\"]\nkinds = [\"build\"]\n\
         [[publisher.key]]\npem = \"\"\"\n{pem}",
        other.replace("-----", "\\u002d----")
    );
    let names = |toml: &str| -> Vec<String> {
        Publishers::parse(toml.as_bytes()).unwrap().list().iter().map(|p| p.name.clone()).collect()
    };
    let head = "[[publisher]]\nname = \"debian\"\npurls = []\nkinds = []\n[[publisher.key]]\npem = ";
    let copied = format!("{head}\"\"\"\n{smuggled}\"\"\"\n");
    assert_eq!(names(&copied), ["debian", "evil"], "the trick works where the text is copied");

    let purls = [PurlPattern::parse("pkg:deb/debian/*").unwrap()];
    let smuggled = PublicKey::parse(smuggled.as_bytes(), None).unwrap();
    let new = NewPublisher { name: "debian", key: &smuggled, purls: &purls, kinds: &[Kind::Build.into()] };
    let text = new.append_to(&vendor_toml()).unwrap();
    assert_eq!(names(&text), ["vendor", "debian"]);
    let publishers = Publishers::parse(text.as_bytes()).unwrap();
    assert_eq!(publishers.list()[1].keys[0].keyid, publisher_signer(2).keyid());
    assert!(text.contains(pem.trim_end()) && !text.contains("u002d"), "{text}");
}

#[test]
fn what_a_file_does_not_list_any_more_stays_as_revoked() {
    let (one, two, three) = (publisher_signer(1), publisher_signer(2), publisher_signer(3));
    let (purls, kinds) = (["pkg:generic/example/*"], ["build"]);
    let file = |publishers: &[(&str, &[&PublisherSigner])]| {
        let toml = publishers.iter().map(|(name, keys)| publisher_toml(name, keys, &purls, &kinds));
        Publishers::parse(toml.collect::<String>().as_bytes()).unwrap()
    };
    let before = file(&[("vendor", &[&one, &two]), ("other", &[&three])]);
    let entry = |signer: &PublisherSigner| {
        Envelope::parse_entry(&signed_entry(&sample_release(b"x"), &[signer])).unwrap()
    };
    let revoked = |publishers: &Publishers, signer: &PublisherSigner| {
        matches!(publishers.verify(&entry(signer), LOG), Err(StatementError::KeyRevoked { .. }))
    };
    // The same file, and one with more, lose nothing.
    assert!(file(&[("other", &[&three]), ("vendor", &[&two, &one])]).after(&before).1.is_empty());
    // A key, a publisher, all of them.
    let (now, lost) = file(&[("vendor", &[&one])]).after(&before);
    let words = |lost: &[LostKey]| lost.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (second, third) = (two.keyid().to_hex(), three.keyid().to_hex());
    assert_eq!(words(&lost), [format!("key {second} of vendor"), format!("key {third} of other")]);
    assert!(now.verify(&entry(&one), LOG).is_ok() && revoked(&now, &two) && revoked(&now, &three));
    assert!(now.has_usable_key());
    let (empty, lost) = file(&[]).after(&now);
    assert_eq!(lost.len(), 3, "what was gone before is still gone");
    assert!([&one, &two, &three].into_iter().all(|signer| revoked(&empty, signer)));
    assert!(!empty.has_usable_key());
    // A restored key has the rights of the file.
    let (back, lost) = file(&[("vendor", &[&one, &two])]).after(&empty);
    assert_eq!(words(&lost), [format!("key {third} of other")]);
    assert!(back.verify(&entry(&two), LOG).is_ok());
    // Sequence numbers belong to a name: another name is another publisher.
    let (_, lost) = file(&[("vendor", &[&one, &two]), ("renamed", &[&three])]).after(&before);
    assert_eq!(words(&lost), [format!("the name other of key {third}, which renamed has now")]);
}
