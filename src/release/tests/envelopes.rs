use super::*;

/// The submission, with the keys that it names.
fn sent(bytes: &[u8]) -> Result<Envelope, FormatError> {
    SubmittedEnvelope::parse(bytes)?.into_named()
}

#[test]
fn the_signed_message_is_dsse_s() {
    let envelope = Envelope::sign(b"payload".to_vec(), &[&publisher_signer(1)]).unwrap();
    assert_eq!(envelope.signed_message(), b"DSSEv1 28 application/vnd.in-toto+json 7 payload");
    let signer = publisher_signer(1);
    let text = String::from_utf8(envelope.to_entry()).unwrap();
    let expected = format!(
        "{{\"payload\":\"cGF5bG9hZA==\",\"payloadType\":\"application/vnd.in-toto+json\",\
         \"signatures\":[{{\"keyid\":\"{}\",\"sig\":\"{}\"}}]}}",
        signer.keyid().to_hex(),
        base64_encode(&envelope.signatures()[0].1)
    );
    assert_eq!(text, expected);
}

#[test]
fn however_it_was_sent_a_statement_has_one_entry() {
    let signers = [1, 2, 3].map(publisher_signer);
    let payload = sample_release(b"x").to_payload().unwrap();
    let entry = Envelope::sign(payload.clone(), &[&signers[0], &signers[1], &signers[2]]).unwrap().to_entry();
    let other = Envelope::sign(payload, &[&signers[2], &signers[0], &signers[1]]).unwrap();
    assert_eq!(other.to_entry(), entry, "signatures are sorted by keyid");
    let keyids: Vec<&Hash> = other.signatures().iter().map(|(keyid, _)| keyid).collect();
    assert!(keyids.is_sorted() && keyids.len() == 3);
    let generic = crate::release::json::Json::parse("a test", &entry).unwrap().to_canonical();
    assert_eq!(generic, entry, "written out by hand, it is canonical JSON all the same");

    let json: serde_json::Value = serde_json::from_slice(&entry).unwrap();
    let field = |name: &str| json[name].to_string();
    let mut reversed: Vec<serde_json::Value> = json["signatures"].as_array().unwrap().clone();
    reversed.reverse();
    let flip = |s: &serde_json::Value| format!("{{ \"sig\" : {} ,\t\"keyid\" : {} }}", s["sig"], s["keyid"]);
    let signatures = reversed.iter().map(flip).collect::<Vec<_>>().join(" ,\r\n");
    let spaced = format!(
        " {{\n\"signatures\" : [ {signatures} ],\n \
         \"payloadType\": \"application\\/vnd.in-toto+jso\\u006e\", \"payload\" :{}}}\n",
        field("payload")
    );
    assert_eq!(sent(spaced.as_bytes()).unwrap().to_entry(), entry);
    assert_eq!(Envelope::parse_entry(&entry).unwrap().to_entry(), entry);
    // An entry has only one form, or one statement would have many leaf hashes.
    let unsorted = serde_json::json!({
        "payload": json["payload"], "payloadType": json["payloadType"], "signatures": reversed
    });
    for form in [spaced, format!("{} ", String::from_utf8_lossy(&entry)), unsorted.to_string()] {
        let why = "expected canonical JSON (RFC 8785), saw the same envelope in another order";
        assert_refused(Envelope::parse_entry(form.as_bytes()), why, form.as_bytes());
    }
}

#[test]
fn envelopes_state_the_same_by_payload_or_as_one_release_however_it_is_spelled() {
    let release = full_release();
    let sign = |payload: &[u8], seed| Envelope::sign(payload.to_vec(), &[&publisher_signer(seed)]).unwrap();
    let payload = release.to_payload().unwrap();
    let original = sign(&payload, 1);
    let noted = changed(&payload, "/predicate/note", "1");
    for same in [sign(&payload, 2), sign(&noted, 1), sign(&noted, 3)] {
        assert!(original.states_the_same(&same) && same.states_the_same(&original));
    }
    let later = Release { sequence: release.sequence + 1, ..release };
    for other in [sign(&later.to_payload().unwrap(), 1), sign(b"{}", 1), sign(b"", 1)] {
        assert!(!original.states_the_same(&other) && !other.states_the_same(&original));
    }
    assert!(sign(b"junk", 1).states_the_same(&sign(b"junk", 2)), "a payload is what it is");
    assert!(!sign(b"junk", 1).states_the_same(&sign(b"trash", 1)), "two that are no release are not one");
}

#[test]
fn malformed_envelopes_are_refused() {
    let signers = [1, 2].map(publisher_signer);
    let entry = signed_entry(&sample_release(b"x"), &[&signers[0], &signers[1]]);
    let text = String::from_utf8(entry.clone()).unwrap();
    let keyid = format!("\"{}\"", signers[0].keyid().to_hex());
    let signature =
        |seed: u8, keyid: &str| format!("{{\"keyid\":{keyid},\"sig\":\"{}\"}}", base64_encode(&[seed; 64]));
    let many = |n: u8| {
        let list: Vec<String> =
            (0..n).map(|i| signature(i, &format!("{:?}", Hash::digest(&[i]).to_hex()))).collect();
        format!("[{}]", list.join(","))
    };
    assert!(sent(&changed(&entry, "/signatures", &many(8))).is_ok(), "eight are allowed");
    let twice = format!("[{},{}]", signature(1, &keyid), signature(2, &keyid));
    for (pointer, value, why) in [
        ("/payloadType", "", "payloadType to be there"),
        (
            "/payloadType",
            "\"application/json\"",
            "payloadType to be application/vnd.in-toto+json, saw \"application/json\"",
        ),
        ("/payloadType", "\"application/vnd.in-toto+json \"", "payloadType to be"),
        ("/payloadType", "7", "payloadType to be a string"),
        ("/payload", "", "payload to be there"),
        ("/payload", "7", "payload to be a string"),
        ("/payload", "\"e30\"", "payload to be padded base64, standard or URL-safe, saw \"e30\""),
        ("/payload", "\"e31=\"", "payload to be padded base64"),
        ("/payload", "\"e30= \"", "payload to be padded base64"),
        ("/payload", "\"_/8=\"", "payload to be padded base64"),
        ("/signatures", "", "signatures to be there"),
        ("/signatures", "{}", "signatures to be an array"),
        ("/signatures", "[]", "at least one signature, saw none"),
        ("/signatures", &many(9), "a DSSE envelope is too large: expected at most 8 signatures, saw 9"),
        ("/signatures", &twice, "one signature for each key, saw keyid "),
        ("/signatures/0", "\"x\"", "signatures[] to be an object"),
        ("/signatures/0/keyid", "7", "signatures[].keyid to be a string, if any, saw 7"),
        ("/signatures/0/keyid", "[]", "signatures[].keyid to be a string, if any, saw an array"),
        ("/signatures/0/sig", "", "signatures[].sig to be there"),
        ("/signatures/0/sig", "null", "signatures[].sig to be a string"),
        ("/signatures/0/sig", "\"AAA\"", "signatures[].sig to be padded base64"),
        ("/signatures/0/sig", "\"AAB=\"", "signatures[].sig to be padded base64"),
    ] {
        let bad = changed(&entry, pointer, value);
        for result in [sent(&bad), Envelope::parse_entry(&bad)] {
            assert_refused(result, why, &bad);
        }
    }
    let double = text.replacen("{\"payload\"", "{\"payload\":\"e30=\",\"payload\"", 1);
    assert_refused(sent(double.as_bytes()), "the key \"payload\" twice in one object", double.as_bytes());
    assert_refused(Envelope::sign(b"{}".to_vec(), &[]), "at least one signature", b"");
    assert_refused(
        Envelope::sign(b"{}".to_vec(), &[&signers[0], &signers[0]]),
        "one signature for each key",
        b"",
    );
    for end in 0..entry.len() {
        assert!(SubmittedEnvelope::parse(&entry[..end]).is_err(), "truncated to {end} bytes");
    }
}

/// DSSE 1.0.2: unknown fields are ignored, a keyid is a hint, and both base64 alphabets are accepted.
#[test]
fn what_others_send_is_read_as_dsse_has_it_and_is_no_entry() {
    let signers = [1, 2].map(publisher_signer);
    let named = Envelope::sign("\u{3ff}\u{3fff}".into(), &[&signers[0], &signers[1]]).unwrap();
    let entry = named.to_entry();
    let url_safe = |pointer: &str| {
        let json: serde_json::Value = serde_json::from_slice(&entry).unwrap();
        let standard = json.pointer(pointer).unwrap().as_str().unwrap();
        format!("{:?}", standard.replace('+', "-").replace('/', "_"))
    };
    assert!(url_safe("/payload").contains(['-', '_']), "the alphabets differ for this payload");
    let hex = signers[0].keyid().to_hex();
    let canonical = "canonical JSON (RFC 8785)";
    let digits = "64 lower-case hex digits";
    for (pointer, value, keyid, why) in [
        ("/payload", url_safe("/payload").as_str(), None, canonical),
        ("/signatures/0/sig", &url_safe("/signatures/0/sig"), None, canonical),
        ("/signatures/0/cert", "\"x\"", None, canonical),
        ("/signatures/0/extra", "{\"deep\":[1.5,1e300]}", None, canonical),
        ("/extra", "1", None, canonical),
        ("/PayloadType", "1", None, canonical),
        ("/signatures/0/keyid", "", Some(""), digits),
        ("/signatures/0/keyid", "null", Some(""), digits),
        ("/signatures/0/keyid", "\"\"", Some(""), digits),
        ("/signatures/0/keyid", "\"SHA256:abc\"", Some("SHA256:abc"), digits),
        ("/signatures/0/keyid", &format!("{:?}", hex.to_uppercase()), Some(&hex.to_uppercase()), digits),
    ] {
        let text = changed(&entry, pointer, value);
        let read = SubmittedEnvelope::parse(&text).unwrap();
        assert_eq!(read.payload(), named.payload(), "{pointer} {value}");
        assert_eq!(read.signed_message(), named.signed_message());
        for (at, (expected, (named_keyid, sig))) in
            read.signatures().iter().zip(named.signatures()).enumerate()
        {
            let hint = keyid.filter(|_| at == 0).map_or_else(|| named_keyid.to_hex(), str::to_owned);
            assert_eq!((&expected.keyid, &expected.sig), (&hint, sig), "{pointer} {value}");
        }
        assert_refused(Envelope::parse_entry(&text), why, &text);
    }
}

#[test]
fn entries_are_at_most_65535_bytes() {
    let signer = publisher_signer(1);
    let sized = |payload: usize| Envelope::sign(vec![b'x'; payload], &[&signer]);
    let overhead = sized(0).unwrap().to_entry().len();
    let most = (MAX_ENTRY_BYTES - overhead) / 4 * 3;
    let largest = sized(most).unwrap();
    assert!(largest.to_entry().len() > MAX_ENTRY_BYTES - 4);
    assert_eq!(Envelope::parse_entry(&largest.to_entry()), Ok(largest.clone()));
    assert_refused(sized(most + 1), "an entry is too large: expected at most 65535 bytes, saw 6553", b"");
    // White space may double a submission, but not hide an entry that would be too large.
    let entry = String::from_utf8(largest.to_entry()).unwrap();
    let spaced = |total: usize| format!("{entry}{}", " ".repeat(total - entry.len()));
    assert_eq!(sent(spaced(MAX_SUBMISSION_BYTES).as_bytes()), Ok(largest));
    let why = "a DSSE envelope is too large: expected at most 131070 bytes, saw 131071";
    assert_refused(sent(spaced(MAX_SUBMISSION_BYTES + 1).as_bytes()), why, b"");
    let payload = base64_encode(&vec![b'x'; most + 1]);
    let too_large = changed(entry.as_bytes(), "/payload", &format!("{payload:?}"));
    assert_refused(SubmittedEnvelope::parse(&too_large), "an entry is too large", b"");
    assert_refused(Envelope::parse_entry(&too_large), "an entry is too large", b"");
}
