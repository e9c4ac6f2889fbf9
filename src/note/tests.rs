use proptest::prelude::*;

use super::*;
use crate::format::{FormatError, base64_encode};
use crate::merkle::Hash;

/// The example of c2sp.org/signed-note, "Verifier keys".
const SPEC_VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const SPEC_NOTE: &str = "This is an example message.\n\n— example.com/foo \
     Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn signer(text: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(name(text), SignatureType::Ed25519, &[seed; 32])
}

/// A vkey or the rest of a signer key, assembled by hand, with the key ID that `public` gives.
fn key_text(name: &str, public: &[u8], material: &[u8]) -> String {
    let hash = Hash::digest(&[name.as_bytes(), b"\n", public].concat());
    format!("{name}+{}+{}", hex::encode(&hash.as_bytes()[..4]), base64_encode(material))
}

fn vkey(name: &str, material: &[u8]) -> String {
    key_text(name, material, material)
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, FormatError>, why: &str, input: &str) {
    let error = result.expect_err(input).to_string();
    assert!(error.contains(why), "{input:?}: expected {why:?} in {error:?}");
}

#[test]
fn the_specification_s_key_verifies_its_note() {
    let key = NoteKey::parse(SPEC_VKEY).unwrap();
    assert_eq!((key.name().as_str(), key.id().to_string().as_str()), ("example.com/foo", "530d903a"));
    assert_eq!((key.kind(), key.to_string().as_str()), (SignatureType::Ed25519, SPEC_VKEY));
    let note = Note::parse(SPEC_NOTE.as_bytes()).unwrap();
    assert_eq!(note.to_string(), SPEC_NOTE);
    assert_eq!(note.text(), "This is an example message.\n");
    let verified = note.clone().verify(std::slice::from_ref(&key)).unwrap();
    assert_eq!((verified.note(), verified.signers()), (&note, [key].as_slice()));
}

#[test]
fn keys_read_back_as_they_were_written() {
    for kind in [SignatureType::Ed25519, SignatureType::CosignatureEd25519] {
        for text in ["example.com/log", "oid/1.3.6.1", "日本/ログ", &"n".repeat(255)] {
            let signer = NoteSigner::from_seed(name(text), kind, &[9; 32]);
            let secret = signer.to_secret();
            let again = NoteSigner::parse(&secret).unwrap();
            assert_eq!(*again.to_secret(), *secret);
            assert_eq!(again.public(), signer.public());
            assert_eq!(&NoteKey::parse(&signer.public().to_string()).unwrap(), signer.public());
            assert_eq!(again.sign_bytes(b"x"), signer.sign_bytes(b"x"));
        }
    }
    // The same key under two types or names has two IDs, so neither passes for the other.
    let ids = [
        ("a", SignatureType::Ed25519),
        ("a", SignatureType::CosignatureEd25519),
        ("b", SignatureType::Ed25519),
    ]
    .map(|(text, kind)| NoteSigner::from_seed(name(text), kind, &[9; 32]).public().id());
    assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2], "{ids:?}");
}

#[test]
fn malformed_verifier_keys_are_refused() {
    let strong = NoteKey::parse(SPEC_VKEY).unwrap().public_bytes();
    let typed = |kind: u8, key: &[u8]| vkey("example.com/foo", &[&[kind], key].concat());
    assert_eq!(typed(1, &strong), SPEC_VKEY, "the table is built the way the specification says");
    let replaced = |from: &str, to: &str| SPEC_VKEY.replace(from, to);
    let secret = signer("example.com/foo", 3).to_secret();
    for (bad, why) in [
        (String::new(), "saw fewer parts"),
        ("example.com/foo+530d903a".to_owned(), "saw fewer parts"),
        (replaced("530d903a", "530d903b"), "expected key ID 530d903a for this name and key, saw 530d903b"),
        (replaced("foo", "fop"), "for this name and key, saw 530d903a"),
        (replaced("530d903a", "530D903A"), "8 lower-case hex digits"),
        (replaced("530d903a", "530d903"), "8 lower-case hex digits"),
        (replaced("530d903a", "0530d903a"), "8 lower-case hex digits"),
        (replaced("530d903a", "0x530d90"), "8 lower-case hex digits"),
        (replaced("530d903a", ""), "8 lower-case hex digits"),
        (typed(0x00, &strong), "saw type 0x00"),
        (
            typed(0x02, &strong),
            "expected signature type 0x01 (Ed25519), 0x04 (Ed25519 cosignature) or 0x06 (ML-DSA-44 cosignature), saw type 0x02",
        ),
        (typed(0x05, &strong), "saw type 0x05"),
        (typed(0x06, &strong), "a 1312-byte ML-DSA-44 public key, saw 32 bytes"),
        (typed(0x06, &[7; 1_311]), "saw 1311 bytes"),
        (typed(0x06, &[7; 1_313]), "saw 1313 bytes"),
        (typed(0x01, &[7; 1_312]), "saw 1312 bytes"),
        (typed(0xff, &strong), "saw type 0xff"),
        (typed(0x01, &strong[..31]), "a 32-byte Ed25519 public key, saw 31 bytes"),
        (typed(0x01, &[&strong[..], &[0]].concat()), "saw 33 bytes"),
        (typed(0x01, b""), "saw 0 bytes"),
        (typed(0x04, &[0; 32]), "a weak one"),
        (typed(0x01, &[2; 32]), "saw 32 bytes that are none"),
        (vkey("example.com/foo", b""), "padded base64"),
        // 32 bytes are 43 base64 characters and one of padding.
        (typed(0x01, &strong[..31]).replace('=', ""), "padded base64"),
        (format!("{SPEC_VKEY}="), "padded base64"),
        (format!("{SPEC_VKEY}\n"), "padded base64"),
        (format!("{SPEC_VKEY} "), "padded base64"),
        // The fourth part is base64, where `+` is a digit, but 45 of them are not base64.
        (format!("{SPEC_VKEY}+"), "padded base64"),
        (replaced("3U2k", "3U2-"), "padded base64"),
        (vkey("", &[&[1], &strong[..]].concat()), "a key name"),
        (vkey("a b", &[&[1], &strong[..]].concat()), "a key name"),
        (vkey("a\u{a0}b", &[&[1], &strong[..]].concat()), "a key name"),
        (vkey("a\u{2003}b", &[&[1], &strong[..]].concat()), "a key name"),
        (vkey("a\u{7f}b", &[&[1], &strong[..]].concat()), "a key name"),
        (vkey(&"n".repeat(256), &[&[1], &strong[..]].concat()), "a key name is too large"),
        (
            format!("x{}", "y".repeat(4_096)),
            "a verifier key is too large: expected at most 4096 bytes, saw 4097",
        ),
        (secret.to_string(), "a signer key, which is secret"),
    ] {
        assert_refused(NoteKey::parse(&bad), why, &bad);
    }
    for at in 0..SPEC_VKEY.len() {
        for bit in 0..7 {
            let mut bytes = SPEC_VKEY.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let bad = String::from_utf8(bytes).unwrap();
            assert!(NoteKey::parse(&bad).is_err(), "{bad:?}: the key ID covers the name and the key");
        }
    }
}

/// Keys of small order verify signatures that nobody made.
#[test]
fn weak_keys_are_refused() {
    let ff = |low: &str, high: &str| format!("{low}{}{high}", "ff".repeat(30));
    let weak = [
        format!("01{}", "00".repeat(31)), // the identity, order 1
        ff("ec", "7f"),                   // order 2
        "00".repeat(32),                  // order 4
        format!("{}80", "00".repeat(31)),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".to_owned(), // order 8
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85".to_owned(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa".to_owned(),
        // Other encodings of the same points, with y at or above the field's prime.
        ff("ed", "7f"),
        ff("ed", "ff"),
        ff("ee", "7f"),
    ];
    for hex in weak {
        let key: [u8; 32] = hex::decode(&hex).unwrap().try_into().unwrap();
        for kind in [0x01, 0x04] {
            let text = vkey("example.com/weak", &[&[kind], &key[..]].concat());
            assert_refused(NoteKey::parse(&text), "expected a strong Ed25519 key, saw a weak one", &hex);
        }
    }
}

#[test]
fn malformed_signer_keys_are_refused_without_showing_them() {
    let seed: [u8; 32] = std::array::from_fn(|i| 0x91_u8.wrapping_mul(u8::try_from(i).unwrap() + 3));
    let signer = NoteSigner::from_seed(name("example.com/log"), SignatureType::Ed25519, &seed);
    let secret = signer.to_secret().to_string();
    let body = secret.rsplit('+').next().unwrap().to_owned();
    assert_eq!(body.len(), 44, "this seed's base64 holds no plus, so it is the last part");
    let public = [&[1], &signer.public().public_bytes()[..]].concat();
    let with = |material: &[u8]| format!("PRIVATE+KEY+{}", key_text("example.com/log", &public, material));
    assert_eq!(with(&[&[1], &seed[..]].concat()), secret, "the table is built the way Go writes keys");
    let id = signer.public().id().to_string();
    let cases = [
        (String::new(), "starts with PRIVATE+KEY+"),
        (secret.replace("PRIVATE+KEY+", ""), "starts with PRIVATE+KEY+"),
        (secret.to_lowercase(), "starts with PRIVATE+KEY+"),
        (format!(" {secret}"), "starts with PRIVATE+KEY+"),
        (signer.public().to_string(), "starts with PRIVATE+KEY+"),
        (secret.replace(&id, "00000000"), "for this name and key, saw 00000000"),
        (secret.replace("example.com/log", "example.com/lug"), "for this name and key"),
        (secret.replace(&id, &id.to_uppercase()), "8 lower-case hex digits"),
        (secret.replace(&format!("{id}+"), ""), "saw fewer parts"),
        (with(&[&[2], &seed[..]].concat()), "saw type 0x02"),
        (with(&[&[6], &seed[..]].concat()), "expected key ID b6a8c61c for this name and key"),
        (with(&[&[5], &seed[..]].concat()), "saw type 0x05"),
        (with(&[&[4], &seed[..]].concat()), "for this name and key"),
        (with(&[&[1], &seed[..31]].concat()), "a 32-byte seed, saw 31 bytes"),
        // Go's 64-byte private keys contain the public key too; notes don't use them.
        (with(&[&[1], &seed[..], &public[1..]].concat()), "saw 64 bytes"),
        (format!("{secret}\n"), "padded base64"),
        (secret.replace(&body, &body[..43]), "padded base64"),
        (format!("{secret}{}", "A".repeat(4_096)), "too large"),
    ];
    // No part of the seed may reach a log: base64 in four-character steps, hex, decimal.
    let parts: Vec<String> = (1..10).map(|at| body[at * 4..at * 4 + 4].to_owned()).collect();
    let hidden = |text: &str| {
        assert!(!parts.iter().any(|part| text.contains(part)), "{text} shows the secret");
        assert!(
            !text.contains(&hex::encode(&seed[..4])) && !text.contains(&format!("{}, {}", seed[0], seed[1]))
        );
    };
    for (bad, why) in cases {
        let error = NoteSigner::parse(&bad).expect_err(&bad);
        assert!(error.to_string().contains(why), "expected {why:?} in {error}");
        if !bad.contains(signer.public().to_string().as_str()) {
            hidden(&error.to_string());
            hidden(&format!("{error:?}"));
        }
        if let Err(error) = NoteKey::parse(&bad) {
            hidden(&format!("{error} {error:?}"));
        }
    }
    for end in 0..secret.len() {
        let error = NoteSigner::parse(&secret[..end]).expect_err("a truncated key");
        hidden(&format!("{error} {error:?}"));
    }
    hidden(&format!("{signer:?} {signer:#?}"));
    assert!(format!("{signer:?}").contains("example.com/log"), "what may be shown is");
}

#[test]
fn malformed_notes_are_refused() {
    let sig = SPEC_NOTE.split_once("\n\n").unwrap().1; // with its newline
    let short = base64_encode(&[7; 3]);
    let refused = |note: &[u8], why: &str| {
        assert_refused(Note::parse(note), why, &String::from_utf8_lossy(note));
    };
    for (bad, why) in [
        (String::new(), "an empty line between text and signatures, saw none"),
        ("\n".to_owned(), "an empty line between text and signatures, saw none"),
        (format!("text\n{sig}"), "an empty line between text and signatures"),
        (format!("\n{sig}"), "an empty line between text and signatures"),
        ("text\n\n".to_owned(), "a signature line that ends in a newline, saw \"\""),
        ("text\n\n\n".to_owned(), "a signature line that ends in a newline"),
        (format!("text\n\n{}", sig.trim_end()), "a signature line that ends in a newline"),
        // The last empty line separates, so signatures have to follow it.
        (format!("text\n\n{sig}\n"), "a signature line that ends in a newline, saw \"\""),
        (format!("text\n\n{sig}\ntext\n"), "at line 5: expected a signature line"),
        (format!("text\n\n{sig}text\n"), "at line 4: expected a signature line"),
        (format!("text\n\n {sig}"), "at line 3: expected a signature line"),
        (format!("text\n\n{}", sig.replace('—', "-")), "expected a signature line"),
        (format!("text\n\n{}", sig.replace('—', "–")), "expected a signature line"),
        (format!("text\n\n{}", sig.replace("— ", "—")), "expected a signature line"),
        (format!("text\n\n{}", sig.replace("— ", "—\u{a0}")), "expected a signature line"),
        (format!("text\n\n{}", sig.replace("— ", "—  ")), "a key name is malformed at line 3"),
        (format!("text\n\n{}", sig.replace("foo ", "foo  ")), "expected a signature line"),
        (format!("text\n\n{}", sig.replace("foo ", "foo\u{2003}")), "expected a signature line"),
        (format!("text\n\n{}", sig.replace("foo ", "f\u{2003}oo ")), "a key name is malformed at line 3"),
        (format!("text\n\n{}", sig.replace("foo", "f+oo")), "a key name is malformed at line 3"),
        (format!("text\n\n{}", sig.replace('\n', " \n")), "expected a signature line"),
        (format!("text\n\n{}", sig.replace('=', "")), "expected a signature line"),
        (format!("text\n\n{}", sig.replace('=', "==")), "expected a signature line"),
        (format!("text\n\n— example.com/foo {short}\n"), "expected a signature line"),
        ("text\n\n— example.com/foo \n".to_owned(), "expected a signature line"),
        ("text\n\n— example.com/foo\n".to_owned(), "expected a signature line"),
        (
            SPEC_NOTE.replace('\n', "\r\n"),
            "at line 1: expected no control character but the newline, saw byte 0x0d",
        ),
        (SPEC_NOTE.replace("=\n", "=\r\n"), "at line 3: expected no control character but the newline"),
        (SPEC_NOTE.replace("example m", "example\tm"), "saw byte 0x09"),
        (SPEC_NOTE.replace("message", "\u{1b}[31mmessage"), "saw byte 0x1b"),
        (SPEC_NOTE.replace("message", "mess\0age"), "saw byte 0x00"),
        (format!("\u{feff}{sig}"), "an empty line"),
    ] {
        refused(bad.as_bytes(), why);
    }
    for byte in (0..0x20).filter(|byte| *byte != b'\n') {
        refused(&[b"a", [byte].as_slice(), SPEC_NOTE.as_bytes()].concat(), &format!("saw byte {byte:#04x}"));
    }
    // 0x7f and U+0085 are not *ASCII control characters below U+0020*: text may contain them.
    assert!(Note::parse(format!("\u{7f}\u{85}{SPEC_NOTE}").as_bytes()).is_ok());
    for bad in [b"\xff".as_slice(), b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x8a", b"\xe2\x80"] {
        refused(
            &[b"ab", bad, SPEC_NOTE.as_bytes()].concat(),
            "expected UTF-8, saw an invalid byte at offset 2",
        );
    }
    for end in 0..SPEC_NOTE.len() {
        assert!(Note::parse(&SPEC_NOTE.as_bytes()[..end]).is_err(), "truncated to {end} bytes");
    }
}

#[test]
fn texts_may_hold_empty_lines() {
    let key = signer("example.com/log", 1);
    for text in ["\n", "\n\n", "a\n\nb\n", "a\n\n— looks like a signature\n", "\n\n\na\n\n\n"] {
        let note = Note::sign(text.to_owned(), &[&key]);
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!((read.text(), read.signatures().len()), (text, 1), "{text:?}");
        assert!(read.verify(&[key.public().clone()]).is_ok());
    }
    // Three newlines after the text: the separator is the last empty line, the other one is text.
    let note = Note::parse(SPEC_NOTE.replacen("\n\n", "\n\n\n", 1).as_bytes()).unwrap();
    assert_eq!(note.text(), "This is an example message.\n\n");
    assert!(matches!(
        note.verify(&[NoteKey::parse(SPEC_VKEY).unwrap()]),
        Err(NoteError::BadSignature { .. })
    ));
}

#[test]
fn limits_are_where_they_say() {
    let key = signer("example.com/log", 1);
    let mut note = Note::sign("text\n".to_owned(), &[&key]);
    let other = |i: usize| NoteSignature::new(name(&format!("w{i}")), KeyId([0; 4]), vec![7; 2_428]);
    (1..MAX_NOTE_SIGNATURES).for_each(|i| note.push(other(i)));
    let read = Note::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(read.signatures().len(), 64);
    assert!(read.verify(&[key.public().clone()]).is_ok(), "64 signatures of ML-DSA-44 size");
    note.push(other(64));
    let error = Note::parse(note.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "a signed note is too large: expected at most 64 signatures, saw 65");

    let fill = |total: usize| format!("{}{SPEC_NOTE}", "x".repeat(total - SPEC_NOTE.len()));
    assert!(Note::parse(fill(MAX_NOTE_BYTES).as_bytes()).is_ok());
    let error = Note::parse(fill(MAX_NOTE_BYTES + 1).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("expected at most 262144 bytes, saw 262145"), "{error}");
}

#[test]
fn unknown_keys_are_ignored_and_prove_nothing() {
    let key = signer("example.com/log", 1);
    let (public, known) = (key.public().clone(), key.public().name().clone());
    let mut note = Note::sign("text\n".to_owned(), &[&key]);
    let ours = note.signatures()[0].clone();
    // Lines that share the name, the ID, or the whole signature under another name.
    note.push(NoteSignature::new(known.clone(), KeyId([0; 4]), vec![1; 64]));
    note.push(NoteSignature::new(name("example.com/other"), public.id(), vec![2; 64]));
    note.push(NoteSignature::new(name("example.com/other"), public.id(), ours.bytes().to_vec()));
    note.push(NoteSignature::new(name("example.com/pq"), KeyId([9; 4]), vec![3; 2_428]));
    let verified = note.clone().verify(std::slice::from_ref(&public)).unwrap();
    assert_eq!(verified.signers(), std::slice::from_ref(&public));
    assert_eq!(verified.note().signatures().len(), 5, "ignored lines stay in the note");

    let mut strangers = Note::parse(SPEC_NOTE.as_bytes()).unwrap();
    strangers.push(NoteSignature::new(known, KeyId([0; 4]), ours.bytes().to_vec()));
    let Err(NoteError::Unsigned { expected, seen }) = strangers.clone().verify(std::slice::from_ref(&public))
    else {
        panic!("no trusted key signed")
    };
    assert_eq!(expected, format!("example.com/log+{}", public.id()));
    assert_eq!(seen, "example.com/foo+530d903a, example.com/log+00000000");
    let Err(NoteError::Unsigned { expected, .. }) = strangers.verify(&[]) else { panic!("no key at all") };
    assert_eq!(expected, "none");
}

/// c2sp.org/signed-note: "Verifiers MUST ignore signatures from unknown keys".
#[test]
fn whatever_an_unknown_key_signed_like_its_line_breaks_no_note() {
    let key = signer("example.com/log", 1);
    let keys = [key.public().clone()];
    let good = Note::sign("text\n".to_owned(), &[&key]);
    let odd = [
        format!("— {} {}", "n".repeat(100_000), base64_encode(&[7; 68])),
        format!("— a\u{7f}\u{202e}b {}", base64_encode(&[7; 68])),
        // A signature of no bytes; an unknown algorithm.
        format!("— example.com/x {}", base64_encode(&[7; 4])),
        format!("— example.com/x {}", base64_encode(&[7; 5_000])),
        // Trailing bits after the last byte are set.
        "— example.com/x BwcHBwcHBwf=".to_owned(),
        "— example.com/x BwcHBwd=".to_owned(),
        // Our name with another ID, our ID with another name.
        "— example.com/log BwcHBwd=".to_owned(),
    ];
    for line in odd {
        let text = format!("{good}{line}\n");
        let note = Note::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(note.to_string(), text, "it prints as it was read");
        assert_eq!(note.clone().verify(&keys).unwrap().signers(), keys);
        let Err(NoteError::Unsigned { seen, .. }) = note.verify(&[]) else { panic!("no key is trusted") };
        assert!(seen.len() < 1_000 && !seen.contains(['\u{7f}', '\u{202e}']), "{seen}");
    }
}

#[test]
fn the_signature_of_a_known_key_has_one_spelling() {
    let keys = [NoteKey::parse(SPEC_VKEY).unwrap()];
    let other = SPEC_NOTE.replace("QM=", "QN=");
    assert_ne!(other, SPEC_NOTE);
    let note = Note::parse(other.as_bytes()).unwrap();
    assert_eq!(note.to_string(), other);
    assert!(note.signatures()[0].names(&keys[0]));
    assert!(matches!(note.verify(&keys), Err(NoteError::BadSignature { .. })));
}

#[test]
fn a_false_signature_by_a_known_key_rejects_the_whole_note() {
    let (a, b) = (signer("example.com/a", 1), signer("example.com/b", 2));
    let keys = [a.public().clone(), b.public().clone()];
    let good = Note::sign("text\n".to_owned(), &[&a, &b]);
    assert_eq!(good.clone().verify(&keys).unwrap().signers(), keys);
    assert_eq!(good.clone().verify(&keys[1..]).unwrap().signers(), &keys[1..]);
    let other = Note::sign("other\n".to_owned(), &[&a, &b]);
    // a's line is right and b's is for another text, and the other way round.
    for (first, second, culprit) in [(0, 1, "example.com/b"), (1, 0, "example.com/a")] {
        let mut text = "text\n\n".to_owned();
        text += &good.signatures()[first].to_string();
        text += &other.signatures()[second].to_string();
        let note = Note::parse(text.as_bytes()).unwrap();
        let Err(NoteError::BadSignature { name, id }) = note.verify(&keys) else { panic!("{text}") };
        let expected = keys.iter().find(|key| key.name().as_str() == culprit).unwrap();
        assert_eq!((&name, id), (expected.name(), expected.id()));
    }
    for length in [1, 63, 65, 72] {
        let mut note = Note::sign("text\n".to_owned(), &[&a]);
        note.push(NoteSignature::new(keys[1].name().clone(), keys[1].id(), vec![0; length]));
        assert!(matches!(note.verify(&keys), Err(NoteError::BadSignature { .. })), "{length} bytes");
    }
}

#[test]
fn two_lines_by_one_key_are_one_signer_if_both_are_right() {
    let key = signer("example.com/log", 1);
    let keys = [key.public().clone()];
    let mut note = Note::sign("text\n".to_owned(), &[&key, &key]);
    assert_eq!(note.clone().verify(&keys).unwrap().signers(), keys, "once, not twice");
    note.push(NoteSignature::new(keys[0].name().clone(), keys[0].id(), vec![0; 64]));
    assert!(matches!(note.verify(&keys), Err(NoteError::BadSignature { .. })));
}

#[test]
fn a_witness_key_verifies_cosignatures_and_not_plain_signatures() {
    let witness = NoteSigner::from_seed(name("example.com/w"), SignatureType::CosignatureEd25519, &[1; 32]);
    let keys = [witness.public().clone()];
    let log = signer("example.com/log", 2);
    let head = crate::checkpoint::Checkpoint::new(
        log.public().name().clone(),
        crate::merkle::TreeSize::ZERO,
        crate::merkle::Hash::EMPTY_ROOT,
    );
    let mut note = head.sign(&log);
    note.push(crate::checkpoint::cosignature::cosign(&head, &witness, 7));
    assert_eq!(note.clone().verify(&keys).unwrap().signers(), keys);
    note.push(NoteSignature::new(
        keys[0].name().clone(),
        keys[0].id(),
        witness.sign_bytes(note.text().as_bytes()),
    ));
    assert!(matches!(note.verify(&keys), Err(NoteError::BadSignature { .. })));
}

#[test]
#[should_panic(expected = "witness keys sign cosignatures")]
fn a_witness_key_never_signs_a_plain_note() {
    let witness = NoteSigner::from_seed(name("example.com/w"), SignatureType::CosignatureEd25519, &[1; 32]);
    let _ = Note::sign("text\n".to_owned(), &[&witness]);
}

#[test]
#[should_panic(expected = "a note that reads back")]
fn a_text_without_its_last_newline_is_never_signed() {
    let _ = Note::sign("text".to_owned(), &[&signer("example.com/log", 1)]);
}

#[test]
fn every_flipped_bit_of_a_note_is_refused() {
    let keys = [NoteKey::parse(SPEC_VKEY).unwrap()];
    for at in 0..SPEC_NOTE.len() {
        for bit in 0..8 {
            let mut bytes = SPEC_NOTE.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            if let Ok(note) = Note::parse(&bytes) {
                assert!(note.verify(&keys).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn notes_read_back_as_they_were_written(
        lines in prop::collection::vec("[^\\x00-\\x1f]{0,20}", 1..6),
        signatures in prop::collection::vec(
            ("[a-z0-9./—é-]{1,20}", any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 1..80)),
            0..6,
        ),
    ) {
        let mut note = Note::sign(format!("{}\n", lines.join("\n")), &[&signer("example.com/log", 1)]);
        for (text, id, bytes) in signatures {
            note.push(NoteSignature::new(name(&text), KeyId(id), bytes));
        }
        let read = Note::parse(note.to_string().as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&note));
        prop_assert_eq!(read.unwrap().to_string(), note.to_string());
    }

    /// Every note that parses has one spelling: it prints as it was read.
    #[test]
    fn noise_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        cut in 0..12_usize,
    ) {
        let _ = Note::parse(&bytes);
        let mut spliced = SPEC_NOTE.as_bytes().to_vec();
        let at = at.index(spliced.len());
        let end = (at + cut).min(spliced.len());
        spliced.splice(at..end, bytes.into_iter().take(cut));
        if let Ok(note) = Note::parse(&spliced) {
            prop_assert_eq!(note.to_string().into_bytes(), spliced);
        }
    }

    #[test]
    fn noise_is_no_key(text in "[ +a-zA-Z0-9/=é\\n]{0,90}", id in "[0-9a-f]{8}", tail in "[A-Za-z0-9+/]{44}") {
        for text in [text.clone(), format!("{text}+{id}+{tail}"), format!("PRIVATE+KEY+{text}+{id}+{tail}")] {
            prop_assert!(NoteKey::parse(&text).is_err());
            prop_assert!(NoteSigner::parse(&text).is_err());
        }
    }
}

#[test]
fn copies_of_a_line_are_checked_once() {
    let key =
        NoteSigner::from_seed(KeyName::new("example.com/log").unwrap(), SignatureType::Ed25519, &[1; 32]);
    let mut note = Note::sign("text\n".to_owned(), &[&key]);
    let line = note.signatures()[0].clone();
    let other = NoteSignature::new(line.name().clone(), line.id(), vec![7; 64]);
    for _ in 0..5 {
        note.push(line.clone());
        note.push(other.clone());
    }
    let mut checked = Vec::new();
    let verified = note.clone().verify_by(&[key.public().clone()], |_, _, signature| {
        checked.push(signature.to_vec());
        true
    });
    assert!(verified.is_ok());
    assert_eq!(checked, [line.bytes(), other.bytes()], "each line that differs, once");
    assert!(matches!(note.verify(&[key.public().clone()]), Err(NoteError::BadSignature { .. })));
}

#[test]
fn a_control_character_is_found_wherever_it_is() {
    for text in ["x".repeat(40), "\u{fc}".repeat(20), "\u{1f600}".repeat(10), "x\n".repeat(20)] {
        let seen = |bytes: &[u8]| Note::parse(bytes).unwrap_err().to_string();
        assert!(!seen(text.as_bytes()).contains("control character"), "{text:?}");
        for at in 0..40 {
            for control in (0..0x20).filter(|control| *control != b'\n') {
                let mut bytes = text.clone().into_bytes();
                match text.is_char_boundary(at) {
                    true if text.is_char_boundary(at + 1) => bytes[at] = control,
                    true => bytes.insert(at, control),
                    false => continue,
                }
                assert!(seen(&bytes).contains(&format!("byte {control:#04x}")), "{at} of {text:?}");
            }
        }
    }
}
