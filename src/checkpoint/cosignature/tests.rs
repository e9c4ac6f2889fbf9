use ed25519_dalek::{Signer as _, SigningKey};
use proptest::prelude::*;

use super::*;
use crate::note::{KeyName, Note};

/// The example of c2sp.org/tlog-cosignature, which gives the layout but not the keys.
const SPEC_CHECKPOINT: &str = "example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
";
/// "Ed25519 signed message", as printed there.
const SPEC_MESSAGE: &str = "cosignature/v1
time 1679315147
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
";
const SPEC_TIME: u64 = 1_679_315_147;
const SEED: [u8; 32] = [5; 32];

fn signer(kind: SignatureType) -> NoteSigner {
    NoteSigner::from_seed(KeyName::new("witness.example.com/w1").unwrap(), kind, &SEED)
}

fn spec_note() -> Note {
    Note::parse(SPEC_CHECKPOINT.as_bytes()).unwrap()
}

fn spec_head() -> Checkpoint {
    Checkpoint::parse(spec_note().text()).unwrap()
}

/// A cosignature made without the code under test.
fn by_hand(time: u64, message: &str) -> Vec<u8> {
    let signature = SigningKey::from_bytes(&SEED).sign(message.as_bytes());
    [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat()
}

#[test]
fn the_message_and_layout_of_the_specification() {
    let note = spec_note();
    let line = &note.signatures()[1];
    assert_eq!(line.bytes().len(), 8 + 64);
    assert_eq!(line.bytes()[..8], SPEC_TIME.to_be_bytes());

    let witness = signer(SignatureType::CosignatureEd25519);
    let cosignature = cosign(&spec_head(), &witness, SPEC_TIME);
    let expected = by_hand(SPEC_TIME, SPEC_MESSAGE);
    assert_eq!(cosignature.bytes(), expected, "Ed25519 is deterministic, so these are the same bytes");
    assert!(cosignature.names(witness.public()));
    assert_eq!(verify(witness.public(), spec_note().text(), &expected), Some(SPEC_TIME));

    // Extension lines MUST be included in the message.
    let text = format!("{}an extension\n", spec_note().text());
    let extended = by_hand(SPEC_TIME, &format!("{SPEC_MESSAGE}an extension\n"));
    assert_eq!(verify(witness.public(), &text, &extended), Some(SPEC_TIME));
    assert_eq!(verify(witness.public(), &text, &expected), None);
}

#[test]
fn times_are_canonical_and_below_two_to_the_63() {
    let witness = signer(SignatureType::CosignatureEd25519);
    let text = spec_note().text().to_owned();
    let signed_at = |time: u64| by_hand(time, &SPEC_MESSAGE.replace("1679315147", &time.to_string()));
    for time in [0, 1, SPEC_TIME, MAX_TIMESTAMP] {
        assert_eq!(verify(witness.public(), &text, &signed_at(time)), Some(time), "{time}");
        assert_eq!(cosign(&spec_head(), &witness, time).bytes(), signed_at(time));
    }
    for time in [MAX_TIMESTAMP + 1, u64::MAX] {
        assert_eq!(verify(witness.public(), &text, &signed_at(time)), None, "well signed, but {time}");
    }
    // The number in the message has no leading zeros, and the text has one spelling.
    for message in [
        SPEC_MESSAGE.replace("time ", "time 0"),
        SPEC_MESSAGE.replace("time ", "time +"),
        SPEC_MESSAGE.replace("time ", "time  "),
        SPEC_MESSAGE.replace("cosignature/v1", "cosignature/v2"),
        SPEC_MESSAGE.replace("cosignature/v1\n", ""),
        SPEC_MESSAGE.replace('\n', "\r\n"),
        SPEC_MESSAGE.trim_end().to_owned(),
        text.clone(),
    ] {
        assert_eq!(verify(witness.public(), &text, &by_hand(SPEC_TIME, &message)), None, "{message:?}");
    }
    let backdated = [SPEC_TIME.to_be_bytes().as_slice(), &signed_at(SPEC_TIME + 1)[8..]].concat();
    assert_eq!(verify(witness.public(), &text, &backdated), None, "the time is signed too");
}

#[test]
fn every_flipped_bit_and_every_other_length_is_refused() {
    let witness = signer(SignatureType::CosignatureEd25519);
    let note = spec_note();
    let good = by_hand(SPEC_TIME, SPEC_MESSAGE);
    assert_eq!(verify(witness.public(), note.text(), &good), Some(SPEC_TIME));
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << bit;
            assert_eq!(verify(witness.public(), note.text(), &flipped), None, "bit {bit} of byte {at}");
        }
        assert_eq!(verify(witness.public(), note.text(), &good[..at]), None, "{at} bytes");
    }
    assert_eq!(verify(witness.public(), note.text(), &[&good[..], &[0]].concat()), None);
    for at in 0..note.text().len() {
        let mut text = note.text().as_bytes().to_vec();
        text[at] ^= 1;
        let text = String::from_utf8(text).unwrap();
        assert_eq!(verify(witness.public(), &text, &good), None, "byte {at} of the text");
    }
}

#[test]
fn only_witness_keys_verify_cosignatures() {
    let good = by_hand(SPEC_TIME, SPEC_MESSAGE);
    let log = signer(SignatureType::Ed25519);
    assert_eq!(
        log.public().public_bytes(),
        signer(SignatureType::CosignatureEd25519).public().public_bytes()
    );
    assert_eq!(verify(log.public(), spec_note().text(), &good), None, "the same key under type 0x01");
    let other = NoteSigner::from_seed(
        KeyName::new("witness.example.com/w1").unwrap(),
        SignatureType::CosignatureEd25519,
        &[6; 32],
    );
    assert_eq!(verify(other.public(), spec_note().text(), &good), None);
}

#[test]
#[should_panic(expected = "signs no cosignatures")]
fn a_log_key_never_cosigns() {
    let _ = cosign(&spec_head(), &signer(SignatureType::Ed25519), SPEC_TIME);
}

proptest! {
    #[test]
    fn noise_is_no_cosignature(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let witness = signer(SignatureType::CosignatureEd25519);
        prop_assert_eq!(verify(witness.public(), spec_note().text(), &bytes), None);
    }
}

/// The structure `cosigned_message` of the specification, byte for byte, without the code under test.
fn structure(name: &str, time: u64, origin: &str, start: u64, end: u64, hash: &Hash) -> Vec<u8> {
    let mut message = b"subtree/v1\n\0".to_vec();
    for (name, number) in [(name, time), (origin, start)] {
        message.push(u8::try_from(name.len()).unwrap());
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&number.to_be_bytes());
    }
    message.extend_from_slice(&end.to_be_bytes());
    message.extend_from_slice(hash.as_bytes());
    message
}

fn ml_dsa_by_hand(time: u64, message: &[u8]) -> Vec<u8> {
    let key = ml_dsa::SigningKey::<ml_dsa::MlDsa44>::from_seed(&SEED.into());
    let signature = key.expanded_key().sign_deterministic(message, b"").unwrap();
    [time.to_be_bytes().as_slice(), &signature.encode()].concat()
}

#[test]
fn ml_dsa_signs_the_structure_of_the_specification() {
    let witness = signer(SignatureType::CosignatureMlDsa44);
    let (name, head) = ("witness.example.com/w1", spec_head());
    let message = structure(name, SPEC_TIME, head.origin.as_str(), 0, 20_852_163, &head.root);
    let cosignature = cosign(&head, &witness, SPEC_TIME);
    assert_eq!(cosignature.bytes(), ml_dsa_by_hand(SPEC_TIME, &message));
    assert_eq!(cosignature.bytes().len(), 8 + 2_420);
    let verify = |bytes: &[u8]| verify(witness.public(), spec_note().text(), bytes);
    assert_eq!(verify(cosignature.bytes()), Some(SPEC_TIME));

    // A cosignature without a time still covers the head.
    let timeless = ml_dsa_by_hand(0, &structure(name, 0, head.origin.as_str(), 0, 20_852_163, &head.root));
    assert_eq!(verify(&timeless), Some(0));
    // "It MUST NOT exceed 2^63 - 1", even if the signature is valid.
    for time in [MAX_TIMESTAMP, MAX_TIMESTAMP + 1, u64::MAX] {
        let message = structure(name, time, head.origin.as_str(), 0, 20_852_163, &head.root);
        assert_eq!(verify(&ml_dsa_by_hand(time, &message)), (time <= MAX_TIMESTAMP).then_some(time));
    }
    // Every field counts.
    let other = Hash::digest(b"another root");
    for (what, message) in [
        (
            "name",
            structure("witness.example.com/w2", SPEC_TIME, head.origin.as_str(), 0, 20_852_163, &head.root),
        ),
        ("time", structure(name, SPEC_TIME + 1, head.origin.as_str(), 0, 20_852_163, &head.root)),
        ("origin", structure(name, SPEC_TIME, "example.com/behind-the-sofb", 0, 20_852_163, &head.root)),
        ("start", structure(name, SPEC_TIME, head.origin.as_str(), 1, 20_852_163, &head.root)),
        ("end", structure(name, SPEC_TIME, head.origin.as_str(), 0, 20_852_164, &head.root)),
        ("hash", structure(name, SPEC_TIME, head.origin.as_str(), 0, 20_852_163, &other)),
        ("label", [b"subtree/v2".as_slice(), &message[10..]].concat()),
        ("end of the message", [message.as_slice(), b"\0"].concat()),
    ] {
        assert_eq!(verify(&ml_dsa_by_hand(SPEC_TIME, &message)), None, "{what}");
    }
    // ML-DSA-44 does not sign extension lines, so they change nothing.
    let extended = format!("{}an extension\n", spec_note().text());
    assert_eq!(super::verify(witness.public(), &extended, cosignature.bytes()), Some(SPEC_TIME));
}

#[test]
fn every_byte_of_an_ml_dsa_cosignature_counts() {
    let witness = signer(SignatureType::CosignatureMlDsa44);
    let good = cosign(&spec_head(), &witness, SPEC_TIME).bytes().to_vec();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(verify(witness.public(), spec_note().text(), &bad), None, "byte {at}");
    }
    for bad in [&good[..good.len() - 1], &[good.as_slice(), &[0]].concat(), &good[..8], &good[..7], &[]] {
        assert_eq!(verify(witness.public(), spec_note().text(), bad), None, "{} bytes", bad.len());
    }
    let ed25519 = signer(SignatureType::CosignatureEd25519);
    assert_eq!(verify(ed25519.public(), spec_note().text(), &good), None);
    let by_ed25519 = cosign(&spec_head(), &ed25519, SPEC_TIME);
    assert_eq!(verify(witness.public(), spec_note().text(), by_ed25519.bytes()), None);
}

#[test]
fn a_subtree_is_signed_without_a_time() {
    let witness = signer(SignatureType::CosignatureMlDsa44);
    let (key, origin, hash) =
        (witness.public(), Origin::new("example.com/log").unwrap(), Hash::digest(b"subtree"));
    let good = cosign_subtree(&origin, (8, 13), &hash, &witness);
    let message = structure("witness.example.com/w1", 0, "example.com/log", 8, 13, &hash);
    assert_eq!(good.bytes(), ml_dsa_by_hand(0, &message));
    assert!(verify_subtree(key, &origin, (8, 13), &hash, good.bytes()));
    assert!(!verify_subtree(key, &origin, (8, 14), &hash, good.bytes()));
    assert!(!verify_subtree(key, &origin, (0, 13), &hash, good.bytes()));
    assert!(!verify_subtree(key, &origin, (8, 13), &Hash::digest(b"x"), good.bytes()));
    assert!(!verify_subtree(key, &Origin::new("example.com/lag").unwrap(), (8, 13), &hash, good.bytes()));
    // "If `start` is not zero, `timestamp` MUST be zero", even if the signature is valid.
    let timed = ml_dsa_by_hand(7, &structure("witness.example.com/w1", 7, "example.com/log", 8, 13, &hash));
    assert!(!verify_subtree(key, &origin, (8, 13), &hash, &timed));
    let whole = ml_dsa_by_hand(7, &structure("witness.example.com/w1", 7, "example.com/log", 0, 13, &hash));
    assert!(verify_subtree(key, &origin, (0, 13), &hash, &whole));
    // Ed25519 keys cannot sign subtrees.
    assert!(!verify_subtree(
        signer(SignatureType::CosignatureEd25519).public(),
        &origin,
        (8, 13),
        &hash,
        good.bytes()
    ));
}
