use proptest::prelude::*;

use super::*;
use crate::note::KeyName;
use crate::note::NoteSignature;

/// The example of c2sp.org/tlog-checkpoint.
const SPEC_TEXT: &str =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

fn signer(origin: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(origin).unwrap(), SignatureType::Ed25519, &[seed; 32])
}

fn witness(name: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(KeyName::new(name).unwrap(), SignatureType::CosignatureEd25519, &[seed; 32])
}

#[test]
fn the_specification_s_example_reads_back() {
    let checkpoint = Checkpoint::parse(SPEC_TEXT).unwrap();
    assert_eq!(checkpoint.origin.as_str(), "example.com/behind-the-sofa");
    assert_eq!(checkpoint.size.get(), 20_852_163);
    assert_eq!(checkpoint.root.to_base64(), "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=");
    assert!(checkpoint.extensions.is_empty());
    assert_eq!(checkpoint.to_string(), SPEC_TEXT);
}

#[test]
fn malformed_texts_are_refused() {
    let with = |from: &str, to: &str| SPEC_TEXT.replacen(from, to, 1);
    let size = |to: &str| with("20852163", to);
    let bad_size = "at line 2: expected a decimal tree size below 2^63 without leading zeros, saw";
    for (bad, why) in [
        (String::new(), "expected a final newline"),
        ("\n".to_owned(), "at least three lines"),
        (
            with("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", ""),
            "at least three lines: origin, tree size, root hash, saw 2",
        ),
        (SPEC_TEXT.trim_end().to_owned(), "expected a final newline"),
        (with("example.com/behind-the-sofa", ""), "at line 1: expected a line that is not empty"),
        (with("example.com", "example\tcom"), "an origin is malformed at line 1"),
        (with("example.com/behind-the-sofa", &"o".repeat(256)), "an origin is too large"),
        (size(""), "at line 2: expected a line that is not empty"),
        (size("020852163"), bad_size),
        (size("00"), bad_size),
        (size("+20852163"), bad_size),
        (size("-1"), bad_size),
        (size(" 20852163"), bad_size),
        (size("20852163 "), bad_size),
        (size("20_852_163"), bad_size),
        (size("0x13e2d03"), bad_size),
        (size("2e7"), bad_size),
        (size("٢"), bad_size),
        (size("9223372036854775808"), bad_size),
        (size("18446744073709551615"), bad_size),
        (size("18446744073709551616"), bad_size),
        (size(&"9".repeat(1_000)), bad_size),
        (with("2I=\n", "2I\n"), "a hash is malformed at line 3: expected 44 characters of padded base64"),
        (with("2I=\n", "2J=\n"), "a hash is malformed at line 3"),
        (with("2I=\n", "2I==\n"), "a hash is malformed at line 3"),
        (with("2I=\n", "2I= \n"), "a hash is malformed at line 3"),
        (with("om/Xaj", "om_Xaj"), "a hash is malformed at line 3"),
        (with("CsUY", ""), "a hash is malformed at line 3"),
        (with("CsUY", "CsUYCsUY"), "a hash is malformed at line 3"),
        (SPEC_TEXT.replace('\n', "\r\n"), "an origin is malformed at line 1"),
        (with("3\n", "3\r\n"), bad_size),
        (with("=\n", "=\r\n"), "a hash is malformed at line 3"),
        (format!("{SPEC_TEXT}\n"), "at line 4: expected a line that is not empty"),
        (format!("{SPEC_TEXT}a\n\n"), "at line 5: expected a line that is not empty"),
        (format!("{SPEC_TEXT}a\n\nb\n"), "at line 5: expected a line that is not empty"),
        (format!("\n{SPEC_TEXT}"), "at line 1: expected a line that is not empty"),
        (format!("{SPEC_TEXT}{}\n", "e".repeat(16 * 1024)), "too large: expected at most 16384 bytes"),
    ] {
        let error = Checkpoint::parse(&bad).expect_err(&bad).to_string();
        assert!(error.contains(why), "{bad:?}: expected {why:?} in {error:?}");
    }
    for end in 0..SPEC_TEXT.len() {
        assert!(Checkpoint::parse(&SPEC_TEXT[..end]).is_err(), "truncated to {end} bytes");
    }
}

#[test]
fn sizes_up_to_two_to_the_63_and_the_empty_tree() {
    for size in ["0", "1", "9223372036854775806", "9223372036854775807"] {
        let text = SPEC_TEXT.replace("20852163", size);
        let checkpoint = Checkpoint::parse(&text).unwrap();
        assert_eq!((checkpoint.size.to_string().as_str(), checkpoint.to_string()), (size, text));
    }
}

#[test]
fn extension_lines_are_kept_and_signed() {
    let text = format!("{SPEC_TEXT}ext one\n— looks like a signature\n");
    let checkpoint = Checkpoint::parse(&text).unwrap();
    assert_eq!(checkpoint.extensions, ["ext one", "— looks like a signature"]);
    let key = signer("example.com/behind-the-sofa", 1);
    let bytes = checkpoint.sign(&key).to_string();
    let signed = open(bytes.as_bytes(), &[key.public().clone()]).unwrap();
    assert_eq!((signed.get(), signed.note().text()), (&checkpoint, text.as_str()));
    let changed = bytes.replace("ext one", "ext two");
    let refused = open(changed.as_bytes(), &[key.public().clone()]);
    assert!(matches!(refused, Err(CheckpointError::Note(NoteError::BadSignature { .. }))), "{refused:?}");
}

#[test]
fn only_the_origin_s_own_key_is_asked() {
    let checkpoint = Checkpoint::parse(SPEC_TEXT).unwrap();
    let key = signer("example.com/behind-the-sofa", 1);
    let bytes = checkpoint.sign(&key).to_string().into_bytes();
    let other = signer("example.com/other", 2);
    let both = [other.public().clone(), key.public().clone()];
    assert_eq!(open(&bytes, &both).unwrap().get(), &checkpoint);

    let Err(CheckpointError::WrongOrigin { expected, seen }) = open(&bytes, &both[..1]) else {
        panic!("no key of this origin")
    };
    assert_eq!((expected.as_str(), seen.as_str()), ("example.com/other", "\"example.com/behind-the-sofa\""));
    let Err(CheckpointError::WrongOrigin { expected, .. }) = open(&bytes, &[] as &[NoteKey]) else {
        panic!("no key")
    };
    assert_eq!(expected, "none is trusted");

    // A trusted log that signs a head under another trusted log's origin is not believed.
    let stolen = Note::sign(SPEC_TEXT.to_owned(), &[&other]).to_string().into_bytes();
    let Err(CheckpointError::Note(NoteError::Unsigned { expected, seen })) = open(&stolen, &both) else {
        panic!("signed by the wrong log")
    };
    assert_eq!(expected, format!("{}+{}", key.public().name(), key.public().id()));
    assert_eq!(seen, format!("example.com/other+{}", other.public().id()));

    // Nor is a witness's cosignature, even of a witness with the log's name.
    let twin = witness("example.com/behind-the-sofa", 1);
    let mut note = checkpoint.sign(&key);
    note.push(crate::checkpoint::cosignature::cosign(&checkpoint, &twin, 7));
    let twins = [twin.public().clone()];
    assert!(matches!(open(note.to_string().as_bytes(), &twins), Err(CheckpointError::WrongOrigin { .. })));

    let another_key = [signer("example.com/behind-the-sofa", 3).public().clone()];
    assert!(matches!(open(&bytes, &another_key), Err(CheckpointError::Note(NoteError::Unsigned { .. }))));
}

#[test]
fn a_signed_text_that_is_no_checkpoint_is_refused_after_its_signature() {
    let key = signer("example.com/log", 1);
    let keys = [key.public().clone()];
    let signed = Note::sign("example.com/log\n007\nhash\n".to_owned(), &[&key]).to_string();
    let Err(CheckpointError::Format(error)) = open(signed.as_bytes(), &keys) else { panic!("007") };
    assert!(error.to_string().contains("saw \"007\""), "{error}");
    let forged = signed.replace("hash", "hush");
    assert!(
        matches!(open(forged.as_bytes(), &keys), Err(CheckpointError::Note(_))),
        "signature before meaning"
    );
    assert!(matches!(open(b"\xff", &keys), Err(CheckpointError::Format(_))));
    assert!(read_unverified(b"\xff").unwrap_err().to_string().contains("UTF-8"));
    let (checkpoint, note) =
        read_unverified(Note::sign(SPEC_TEXT.to_owned(), &[&key]).to_string().as_bytes()).unwrap();
    assert_eq!((checkpoint.to_string().as_str(), note.signatures().len()), (SPEC_TEXT, 1));
}

#[test]
#[should_panic(expected = "a log signs under its own origin")]
fn a_log_signs_no_other_origin() {
    let _ = Checkpoint::parse(SPEC_TEXT).unwrap().sign(&signer("example.com/other", 1));
}

#[test]
fn every_flipped_bit_of_a_signed_checkpoint_is_refused() {
    let key = signer("example.com/behind-the-sofa", 1);
    let bytes = Checkpoint::parse(SPEC_TEXT).unwrap().sign(&key).to_string().into_bytes();
    let keys = [key.public().clone()];
    assert!(open(&bytes, &keys).is_ok());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(open(&flipped, &keys).is_err(), "bit {bit} of byte {at}");
        }
        assert!(open(&bytes[..at], &keys).is_err(), "truncated to {at} bytes");
    }
}

proptest! {
    #[test]
    fn checkpoints_read_back_as_they_were_written(
        origin in "[a-z0-9./é-]{1,40}",
        size in 0..=crate::merkle::MAX_TREE_SIZE,
        root in any::<[u8; 32]>(),
        extensions in prop::collection::vec("[^\\x00-\\x1f]{1,20}", 0..4),
    ) {
        let mut checkpoint = Checkpoint::new(
            KeyName::new(&origin).unwrap(), TreeSize::new(size).unwrap(), Hash::from_bytes(root));
        checkpoint.extensions = extensions;
        prop_assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint));
    }

    #[test]
    fn noise_never_panics(text in "[a-z0-9+= \\n]{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_string(), text);
        }
        let _ = (open(&bytes, &[] as &[NoteKey]), read_unverified(&bytes));
    }
}

#[test]
fn a_log_signs_with_both_algorithms_and_either_is_enough() {
    let origin = "example.com/behind-the-sofa";
    let ml_dsa = |name: &str| {
        NoteSigner::from_seed(KeyName::new(name).unwrap(), SignatureType::CosignatureMlDsa44, &[7; 32])
    };
    let log = LogSigner::new(signer(origin, 1), Some(ml_dsa(origin)));
    let head = Checkpoint::parse(SPEC_TEXT).unwrap();
    let note = log.sign(&head, 1_700_000_000);
    let keys = log.keys();
    let bytes = note.to_string().into_bytes();
    for trusted in [&keys[..], &keys[..1], &keys[1..]] {
        let signed = open(&bytes, trusted).unwrap();
        assert_eq!(signed.get(), &head);
        // Only verified lines are passed on.
        assert_eq!(signed.verified_note().signatures().len(), trusted.len());
        assert!(trusted.iter().all(|key| signed.verified_note().signatures().iter().any(|s| s.names(key))));
    }
    // Each named key has to verify, even if another one does.
    for at in 0..2 {
        let mut lines: Vec<NoteSignature> = note.signatures().to_vec();
        let mut spoiled = lines[at].bytes().to_vec();
        *spoiled.last_mut().unwrap() ^= 1;
        lines[at] = NoteSignature::new(lines[at].name().clone(), lines[at].id(), spoiled);
        let bad = format!("{}\n{}{}", note.text(), lines[0], lines[1]);
        assert!(matches!(
            open(bad.as_bytes(), &keys),
            Err(CheckpointError::Note(NoteError::BadSignature { .. }))
        ));
        assert!(
            open(bad.as_bytes(), &keys[1 - at..2 - at]).is_ok(),
            "a key that is not trusted is not asked"
        );
    }
    // The key of another origin signs nothing here, whatever its line says.
    let elsewhere = ml_dsa("example.com/other");
    let mut foreign = head.sign(&signer(origin, 1));
    foreign.push(crate::checkpoint::cosignature::cosign(&head, &elsewhere, 7));
    let trusted = [elsewhere.public().clone()];
    assert!(matches!(
        open(foreign.to_string().as_bytes(), &trusted),
        Err(CheckpointError::WrongOrigin { .. })
    ));
}

#[test]
fn extension_lines_that_only_ml_dsa_stands_under_are_nobody_s() {
    let ed25519 = signer("example.com/log", 1);
    let ml_dsa = NoteSigner::from_seed(
        KeyName::new("example.com/log").unwrap(),
        SignatureType::CosignatureMlDsa44,
        &[2; 32],
    );
    let logs = [ed25519.public().clone(), ml_dsa.public().clone()];
    let bare = Checkpoint::new(
        KeyName::new("example.com/log").unwrap(),
        TreeSize::new(3).unwrap(),
        Hash::leaf(b"x"),
    );
    let mut extended = bare.clone();
    extended.extensions.push("put in by a stranger".to_owned());
    let line = crate::checkpoint::cosignature::cosign(&bare, &ml_dsa, 7);
    let with = |checkpoint: &Checkpoint, lines: &[&NoteSignature]| {
        let lines: String = lines.iter().map(ToString::to_string).collect();
        open(format!("{checkpoint}\n{lines}").as_bytes(), &logs)
    };
    assert!(with(&bare, &[&line]).is_ok(), "without them ML-DSA-44 is enough");
    let error = with(&extended, &[&line]).unwrap_err();
    assert_eq!(error, CheckpointError::UnsignedExtensions { origin: bare.origin.clone() });
    assert!(error.to_string().contains("Ed25519"), "{error}");
    let whole = extended.sign(&ed25519).signatures()[0].clone();
    assert_eq!(with(&extended, &[&line, &whole]).unwrap().get(), &extended);
    // An untrusted key counts for nothing.
    let other = extended.sign(&signer("example.com/log", 9)).signatures()[0].clone();
    assert_eq!(with(&extended, &[&line, &other]).unwrap_err(), error);
}

/// A checkpoint of the Go checksum database, whose key has another name than the origin.
#[test]
fn a_key_signs_for_the_origin_that_it_is_trusted_for_and_for_no_other() {
    let note = "go.sum database tree\n63096908\n8lHrQPRYe4KT4WQ9/Qk8/taKnD6IRHbFgfN7vQE2Y54=\n\n\
         — sum.golang.org Az3gri/oVBN1jAhNZ/iS+W31psFAWRT20/GyrhpU6taFwulQGetBkH5S7wpGXdS935jiIGiUUAXBVHzT/P6fYhqAmAk=\n";
    let key = NoteKey::parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8").unwrap();
    let origin = Origin::new("go.sum database tree").unwrap();
    let trusted = [LogKey::new(origin.clone(), key.clone())];
    let signed = open(note.as_bytes(), &trusted).unwrap();
    assert_eq!((&signed.get().origin, signed.get().size.get()), (&origin, 63_096_908));
    // The key alone stands for a log of its own name, and not for one of another name.
    for other in [key.clone().into(), LogKey::new(Origin::new("go.sum database").unwrap(), key)] {
        let refused = open(note.as_bytes(), &[other]).unwrap_err();
        assert!(
            matches!(&refused, CheckpointError::WrongOrigin { seen, .. } if seen.contains("go.sum database tree"))
        );
    }
    // The same in a policy, and with an ML-DSA-44 key, whose signature includes the origin.
    let policy = "log sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8\n\
         origin go.sum database tree\nquorum none\n";
    let policy = crate::checkpoint::policy::Policy::parse(policy.as_bytes()).unwrap();
    assert!(open(note.as_bytes(), &policy.log_keys()).is_ok());
    let signer = NoteSigner::from_seed(
        KeyName::new("sum.example/pq").unwrap(),
        SignatureType::CosignatureMlDsa44,
        &[5; 32],
    );
    let mut note = Note::unsigned(signed.get().to_string());
    note.push(crate::checkpoint::cosignature::cosign(signed.get(), &signer, 7));
    let trusted = [LogKey::new(origin.clone(), signer.public().clone())];
    assert_eq!(open(note.to_string().as_bytes(), &trusted).unwrap().get(), signed.get());
}

#[test]
fn an_origin_is_any_line_of_a_note() {
    for good in ["x", "a b", " a ", "a+b", "日本", "\u{7f}", "\u{a0}", &"x".repeat(255)] {
        assert_eq!(Origin::new(good).unwrap().as_str(), good);
        let text = format!("{good}\n0\n{}\n", Hash::EMPTY_ROOT);
        assert_eq!(Checkpoint::parse(&text).unwrap().to_string(), text);
    }
    for bad in ["", "a\nb", "a\tb", "\r", "\0", &"x".repeat(256)] {
        assert!(Origin::new(bad).is_err(), "{bad:?}");
    }
}
