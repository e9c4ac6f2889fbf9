use std::env;

use libcrux_ml_dsa::ml_dsa_44::{MLDSA44Signature, MLDSA44VerificationKey, portable};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::note::ML_DSA_44_SIGNATURE_BYTES;

/// A signature is 32 bytes of challenge, then 4 polynomials of 576 bytes, then 80 indices of hints, then 4 counts.
const HINTS: usize = 32 + 4 * 576;
const COUNTS: usize = HINTS + 80;

/// The same key in each implementation. `libcrux-ml-dsa` has one without vectors too, of which NEON takes all but the
/// hash.
struct Keys {
    portable: VerifyingKey,
    vector: VerifyingKey,
    other: MLDSA44VerificationKey,
}

impl Keys {
    fn decode(bytes: &[u8]) -> Self {
        let bytes: &[u8; ML_DSA_44_PUBLIC_BYTES] = bytes.try_into().expect("the length of a key");
        Self {
            portable: VerifyingKey::decode_by(Backend::Portable, bytes),
            vector: VerifyingKey::decode_by(Backend::Vector, bytes),
            other: MLDSA44VerificationKey::new(*bytes),
        }
    }

    /// The verdict, which is the same by all.
    fn accept(&self, what: &str, message: &[u8], signature: &[u8]) -> bool {
        let verdict = self.portable.verifies(message, signature);
        assert_eq!(self.vector.verifies(message, signature), verdict, "{what}: {}", hex::encode(signature));
        if let Ok(signature) = signature.try_into() {
            let other = portable::verify(&self.other, message, b"", &MLDSA44Signature::new(signature));
            assert_eq!(other.is_ok(), verdict, "{what}: {}", hex::encode(signature));
        }
        verdict
    }
}

/// Bytes that look random and are the same in each run.
struct Noise(Sha256, u64);

impl Noise {
    fn new(seed: &str) -> Self {
        Self(Sha256::new_with_prefix(seed), 0)
    }

    fn bytes(&mut self) -> [u8; 32] {
        self.1 += 1;
        self.0.clone().chain_update(self.1.to_be_bytes()).finalize().into()
    }

    fn below(&mut self, limit: usize) -> usize {
        let bytes = self.bytes();
        usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) % limit
    }

    fn message(&mut self) -> Vec<u8> {
        let length = self.below(300);
        self.bytes().into_iter().cycle().take(length).collect()
    }
}

/// Signs with both, which give the same bytes.
fn sign(seed: &[u8; 32], message: &[u8]) -> (Keys, Vec<u8>) {
    let [portable, vector] =
        [Backend::Portable, Backend::Vector].map(|backend| SigningKey::from_seed_by(backend, seed));
    assert!(portable.public() == vector.public(), "the public keys of {}", hex::encode(seed));
    assert_eq!(portable.seed(), vector.seed());
    let signature = portable.sign(message);
    assert_eq!(vector.sign(message), signature, "{} by {}", hex::encode(message), hex::encode(seed));
    (Keys::decode(&portable.public().to_bytes()), signature)
}

/// Number of cases: few in each run of the tests, as many as `TREEHEAD_ML_DSA_CASES` says in a long one.
fn cases(few: usize) -> usize {
    env::var("TREEHEAD_ML_DSA_CASES").map_or(few, |text| text.parse().expect("a number of cases"))
}

#[test]
fn this_processor_is_asked() {
    #[cfg(target_arch = "x86_64")]
    let vectors = std::arch::is_x86_feature_detected!("avx2");
    #[cfg(target_arch = "aarch64")]
    let vectors = std::arch::is_aarch64_feature_detected!("neon");
    assert_eq!(Backend::detect() == Backend::Vector, vectors);
}

#[test]
fn both_crates_sign_alike_and_accept_what_they_signed() {
    let mut noise = Noise::new("signing");
    for case in 0..cases(3_000) / 10 {
        let (seed, message) = (noise.bytes(), noise.message());
        let (keys, signature) = sign(&seed, &message);
        assert_eq!(signature.len(), ML_DSA_44_SIGNATURE_BYTES);
        assert!(keys.accept(&format!("case {case}"), &message, &signature));
    }
}

#[test]
fn both_crates_give_the_known_answers() {
    let text = include_str!("../../../fixtures/cosignatures/known_answers.json");
    let known: Vec<Value> = serde_json::from_str(text).expect("a list of cases");
    let (mut keys, mut lines) = (0, 0);
    for case in known.iter().filter(|case| case["algorithm"] == "ml-dsa-44") {
        let text = |field: &str| case[field].as_str().unwrap_or_default();
        let seed = hex::decode(text("seed")).expect("hex").try_into().expect("32 bytes");
        let public = crate::note::NoteKey::parse(text("vkey")).expect("a key").public_bytes();
        assert!(sign(&seed, b"").0.portable.to_bytes() == public, "{}", text("case"));
        keys += 1;
        let signature = crate::format::base64_decode(text("line").rsplit(' ').next().unwrap_or_default());
        let (Some(signature), Ok(message)) = (signature, hex::decode(text("message"))) else { continue };
        let Some(signature) = signature.get(12..) else { continue };
        let accepted = Keys::decode(&public).accept(text("case"), &message, signature);
        assert!(accepted || case["valid"] == false, "{}", text("case"));
        lines += usize::from(!message.is_empty());
    }
    assert!(keys > 20, "{keys}");
    assert!(lines > 20, "{lines}");
}

/// Encodings that differ from the one of a good signature, but that a careless decoder would read as the same: FIPS
/// 204, algorithm 21.
#[test]
fn hints_have_one_encoding() {
    let mut noise = Noise::new("hints");
    let mut padded = 0;
    for case in 0..cases(3_000).min(3_000) / 10 {
        let message = noise.message();
        let (keys, good) = sign(&noise.bytes(), &message);
        let counts: Vec<usize> = good[COUNTS..].iter().map(|count| usize::from(*count)).collect();
        let reject = |what: &str, change: &dyn Fn(&mut [u8])| {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(bad != good, "{what} changes case {case}");
            assert!(!keys.accept(what, &message, &bad), "{what} in case {case}");
        };
        let (first, last) = (counts[0], counts[3]);
        if first >= 2 {
            reject("swapped indices", &|bad| bad.swap(HINTS, HINTS + 1));
            reject("a doubled index", &|bad| bad[HINTS + 1] = bad[HINTS]);
        }
        if (1..80).contains(&last) {
            padded += 1;
            reject("an index behind the last", &|bad| bad[HINTS + last] = 1);
            reject("the last place taken", &|bad| bad[COUNTS - 1] = 255);
            reject("a count more than there are", &|bad| bad[COUNTS + 3] += 1);
            reject("a doubled last index", &|bad| {
                bad[HINTS + last] = bad[HINTS + last - 1];
                bad[COUNTS + 3] += 1;
            });
        }
        reject("counts that fall", &|bad| {
            bad[COUNTS] = bad[COUNTS + 1] + 1;
        });
        reject("more hints than there may be", &|bad| bad[COUNTS + 3] = 81);
        reject("a count of 255", &|bad| bad[COUNTS + 3] = 255);
        reject("no hints", &|bad| bad[HINTS..].fill(0));
    }
    assert!(padded > 0);
}

#[test]
fn both_crates_judge_what_is_changed_alike() {
    let cases = cases(3_000);
    let mut noise = Noise::new("changes");
    let mut accepted = 0;
    for round in 0..cases.div_ceil(100) {
        let (message, seed) = (noise.message(), noise.bytes());
        let (mut keys, good) = sign(&seed, &message);
        let public = keys.portable.to_bytes();
        for case in 0..100.min(cases - round * 100) {
            let (mut message, mut bad) = (message.clone(), good.clone());
            let kind = noise.below(12);
            match kind {
                0 => {}
                1 => bad[noise.below(32)] ^= 1 << noise.below(8),
                2 | 3 => bad[32 + noise.below(4 * 576)] ^= 1 << noise.below(8),
                4 => bad[HINTS + noise.below(80)] = noise.bytes()[0],
                5 => bad[COUNTS + noise.below(4)] = noise.bytes()[0] % 90,
                6 => bad.swap(HINTS + noise.below(80), HINTS + noise.below(80)),
                // Coefficients at their bounds: all bits set, or none
                7 => {
                    let at = 32 + noise.below(4 * 64) * 9;
                    bad[at..at + 9].fill([0, 255][noise.below(2)]);
                }
                8 => message.push(noise.bytes()[0]),
                9 => bad.truncate(noise.below(ML_DSA_44_SIGNATURE_BYTES)),
                10 => bad.extend_from_slice(&noise.bytes()[..=noise.below(32).min(31)]),
                _ => {
                    let mut other = public.clone();
                    other[noise.below(ML_DSA_44_PUBLIC_BYTES)] ^= 1 << noise.below(8);
                    keys = Keys::decode(&other);
                }
            }
            let changed = kind == 11 || bad != good || kind == 8;
            let what = format!("round {round}, case {case}, change {kind}");
            let verdict = keys.accept(&what, &message, &bad);
            assert_eq!(verdict, !changed, "{what}");
            accepted += usize::from(verdict);
            if kind == 11 {
                keys = Keys::decode(&public);
            }
        }
    }
    assert!(accepted > cases / 50, "{accepted}");
}

#[test]
fn other_lengths_are_no_signatures() {
    let (keys, good) = sign(&[7; 32], b"message");
    for length in [0, 1, 32, ML_DSA_44_SIGNATURE_BYTES - 1, ML_DSA_44_SIGNATURE_BYTES + 1, 4_627] {
        let bad: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        assert!(!keys.accept("a length", b"message", &bad), "{length}");
    }
}
