use super::*;
use crate::format::base64_decode;

/// RFC 9881 appendix C.1, for ML-DSA-44.
const SEED_PEM: &str = "-----BEGIN PRIVATE KEY-----
MDQCAQAwCwYJYIZIAWUDBAMRBCKAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZ
GhscHR4f
-----END PRIVATE KEY-----
";
/// The beginning of its public key, in the same appendix.
const PUBLIC: &str = "MIIFMjALBglghkgBZQMEAxEDggUhANeytHJUquDbReeTDUqY0sl9jxOX0Xidr6Fw";

fn parse(bytes: &[u8]) -> Result<SecretKey, FormatError> {
    SecretKey::parse(bytes, || panic!("it is not encrypted"))
}

fn keys() -> Vec<SecretKey> {
    let families = [KeyFamily::Ed25519, KeyFamily::MlDsa44, KeyFamily::EcdsaP256, KeyFamily::EcdsaP384];
    families.map(|family| SecretKey::from_random(family, &[7; 48]).unwrap()).into()
}

#[test]
fn every_key_is_read_as_it_was_written_and_its_signatures_verify() {
    for key in keys() {
        let (pem, der) = (key.to_pem(), key.to_pkcs8());
        for bytes in [pem.as_bytes(), der.as_bytes()] {
            assert_eq!(parse(bytes).unwrap().public(), key.public());
        }
        let signature = key.sign(b"message");
        assert!(key.public().verifies(b"message", &signature) && key.public().fits(&signature));
        assert!(!key.public().verifies(b"another", &signature));
        assert_eq!(key.sign(b"message"), signature, "no randomness is needed");
        assert!(!format!("{key:?}").contains("secret"), "{key:?}");
    }
}

#[test]
fn a_passphrase_opens_what_it_closed_and_no_other_does() {
    for key in keys() {
        let pem = key.to_encrypted_pem(b"correct horse", &[1; 16], [2; 16]);
        let der = private_block(&pem).unwrap().1;
        for bytes in [pem.as_bytes(), &der[..]] {
            let with = |passphrase: &[u8]| {
                SecretKey::parse(bytes, || Ok::<_, FormatError>(Zeroizing::new(passphrase.to_vec())))
            };
            assert_eq!(with(b"correct horse").unwrap().public(), key.public());
            for wrong in [&b""[..], b"correct horse\n", b"Correct horse"] {
                let error = with(wrong).unwrap_err().to_string();
                assert!(error.contains("expected the passphrase that it is encrypted with"), "{error}");
            }
        }
    }
}

#[test]
fn the_forms_of_rfc_9881_are_read() {
    let key = parse(SEED_PEM.as_bytes()).unwrap();
    assert_eq!(*key.to_pem(), *SEED_PEM);
    assert!(key.public().spki().starts_with(&base64_decode(PUBLIC).unwrap()));
    let Key::MlDsa44(ml_dsa) = &key.key else { panic!("another family") };
    let (seed, expanded) = (ml_dsa.seed(), ml_dsa.expanded());
    let pkcs8 = |inner: &[u8]| {
        let length =
            |bytes: usize| [0x82, u8::try_from(bytes >> 8).unwrap(), u8::try_from(bytes & 0xff).unwrap()];
        let key = [&[4][..], &length(inner.len()), inner].concat();
        let body = [&ML_DSA_44_PKCS8[2..18], &key].concat();
        [&[0x30][..], &length(body.len()), &body].concat()
    };
    let both = [ML_DSA_44_BOTH[0], &*seed, ML_DSA_44_BOTH[1], &expanded].concat();
    assert_eq!(parse(&pkcs8(&both)).unwrap().public(), key.public());
    let error = |inner: &[u8]| parse(&pkcs8(inner)).unwrap_err().to_string();
    assert!(error(&[ML_DSA_44_BOTH[1], &expanded].concat()).contains("without its seed"));
    // Each half of another key, and every other length.
    for at in [6, 6 + 32 + 4, both.len() - 1] {
        let mut wrong = both.clone();
        wrong[at] ^= 1;
        assert!(error(&wrong).contains("not of one key"), "{at}");
    }
    assert!(error(&both[..both.len() - 1]).contains("saw "));
    assert!(error(&[0x80; 300]).contains("of another length"));
}

#[test]
fn what_cannot_sign_is_named_and_never_quoted() {
    let rsa = "MIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4wggE6AgEAAkEA";
    let pem = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    for (text, says) in [
        (String::new(), "saw "),
        ("hunter2 hunter2".to_owned(), "saw "),
        (pem("PRIVATE KEY", "aHVudGVyMg=="), "saw "),
        (pem("ENCRYPTED PRIVATE KEY", "aHVudGVyMg=="), "saw "),
        (pem("OPENSSH PRIVATE KEY", "aHVudGVyMg=="), "saw "),
        (pem("EC PRIVATE KEY", "aHVudGVyMg=="), "another curve"),
        (pem("RSA PRIVATE KEY", rsa), "an RSA key: sign with --signer"),
        (pem("DSA PRIVATE KEY", rsa), "a block of DSA PRIVATE KEY"),
        (pem("PUBLIC KEY", rsa), "a block of PUBLIC KEY"),
    ] {
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
        assert!(
            !error.contains("hunter2") && !error.contains("aHVudGVy") && !error.contains(&rsa[..20]),
            "{error}"
        );
    }
    for family in [KeyFamily::RsaPkcs1Sha256, KeyFamily::RsaPssSha256] {
        assert!(SecretKey::from_random(family, &[7; 48]).is_err());
    }
    assert!(SecretKey::from_random(KeyFamily::EcdsaP256, &[0xff; 48]).is_err());
}

proptest::proptest! {
    #[test]
    fn noise_is_no_key_and_no_panic(bytes: Vec<u8>, cut in 0..100_usize, at in 0..100_usize, to: u8) {
        let _ = parse(&bytes);
        for key in keys() {
            let der = key.to_pkcs8();
            let mut changed = der.as_bytes().to_vec();
            let place = at % changed.len();
            changed[place] = to;
            let _ = parse(&changed);
            let _ = parse(&changed[..cut % der.as_bytes().len()]);
        }
    }
}
