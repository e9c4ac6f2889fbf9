//! Verification rates of publishers' keys, a family a line, on one core. By turns with each, the bare Ed25519 verification
//! that ratios are against.
//!
//! Run with `cargo bench --bench keys`.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use treehead::release::{KeyFamily, PublicKey};

const ROUNDS: usize = 300;
/// Key, signature, and how the key signs, if it does not say it itself.
const KEYS: [(&str, &str, Option<KeyFamily>); 10] = [
    ("ed25519", "ed25519", None),
    ("ml-dsa-44", "ml-dsa-44", None),
    ("ecdsa-p256", "ecdsa-p256", None),
    ("ecdsa-p384", "ecdsa-p384", None),
    ("ecdsa-p384", "ecdsa-p384.sha256", None),
    ("rsa-2048", "rsa-2048", None),
    ("rsa-2048", "rsa-2048.pss", Some(KeyFamily::RsaPssSha256)),
    ("rsa-pss-any-3072", "rsa-pss-any-3072", None),
    ("rsa-4096", "rsa-4096", None),
    // Not a valid one: what a forgery costs where both hash functions are tried.
    ("ecdsa-p384", "", None),
];

fn main() {
    let statement = read("statement.json");
    let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", statement.len());
    let message = [head.as_bytes(), &statement].concat();
    let raw = PublicKey::parse(&read("ed25519.der"), None).expect("a key");
    let bare = VerifyingKey::try_from(raw.encoded()).expect("32 bytes");
    let bare_signature = Signature::from_slice(&read("ed25519.sig")).expect("64 bytes");
    println!(
        "a message of {} bytes                                signature    time       rate   ratio",
        message.len()
    );
    for (key, signature, scheme) in KEYS {
        let key = PublicKey::parse(&read(&format!("{key}.der")), scheme).expect("a key");
        let (name, valid, signature) = match signature {
            "" => ("ecdsa-p384, forged", false, read("ecdsa-p384.sig")),
            name => (name, true, read(&format!("{name}.sig"))),
        };
        let message = if valid { message.clone() } else { b"another".to_vec() };
        let (mut times, mut base) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            assert_eq!(black_box(&key).verifies(black_box(&message), &signature), valid);
            let middle = Instant::now();
            // Of the same message: its length counts as well.
            assert_eq!(black_box(&bare).verify(black_box(&message), &bare_signature).is_ok(), valid);
            times.push(middle - start);
            base.push(middle.elapsed());
        }
        let (time, base) = (median(times), median(base));
        println!(
            "{name:<20} {family:<17} {key:>5}-byte key {signature:>6} bytes {time:>7.1} µs {rate:>7.0}/s   {ratio:.2}",
            family = key.family().as_str(),
            key = key.spki().len(),
            signature = signature.len(),
            rate = 1e6 / time,
            ratio = time / base,
        );
    }
    println!("(medians of {ROUNDS} rounds; ratio: time of the bare Ed25519 verification beside it = 1)");
}

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keys").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// In microseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}
