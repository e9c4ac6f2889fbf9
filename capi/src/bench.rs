//! The signature checks of a verdict with nothing around them, to be timed beside one. Not a part of the interface.

#![cfg(feature = "bench")]

use alloc::boxed::Box;
use alloc::vec::Vec;

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use ml_dsa::MlDsa44;

/// About what is signed: a checkpoint or its cosigned message, and a statement.
const HEAD_BYTES: usize = 107;
const STATEMENT_BYTES: usize = 560;

type PostQuantum = (ml_dsa::VerifyingKey<MlDsa44>, ml_dsa::Signature<MlDsa44>);

/// As many signatures as `fixtures/verify/both.tlog-proof` has, by as many keys: five of Ed25519, four of ML-DSA-44.
pub struct Bare {
    ed25519: Vec<(VerifyingKey, Vec<u8>, Signature)>,
    ml_dsa: Vec<PostQuantum>,
}

const MESSAGE: [u8; HEAD_BYTES] = [7; HEAD_BYTES];

/// Makes them.
#[unsafe(no_mangle)]
pub extern "C" fn th_bare_new() -> *mut Bare {
    let sizes = [STATEMENT_BYTES, HEAD_BYTES, HEAD_BYTES, HEAD_BYTES, HEAD_BYTES];
    let ed25519 = sizes.iter().zip(1_u8..).map(|(size, seed)| {
        let (key, message) = (SigningKey::from_bytes(&[seed; 32]), alloc::vec![seed; *size]);
        (key.verifying_key(), message.clone(), key.sign(&message))
    });
    let ml_dsa = (1_u8..=4).filter_map(|seed| {
        let key = ml_dsa::SigningKey::<MlDsa44>::from_seed(&[seed; 32].into());
        let signature = key.expanded_key().sign_deterministic(&MESSAGE, b"").ok()?;
        Some((AsRef::<ml_dsa::VerifyingKey<MlDsa44>>::as_ref(&key).clone(), signature))
    });
    Box::into_raw(Box::new(Bare { ed25519: ed25519.collect(), ml_dsa: ml_dsa.collect() }))
}

/// Checks them all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_bare_check(bare: *const Bare) -> i32 {
    let Bare { ed25519, ml_dsa } = &*bare;
    let good =
        ed25519.iter().filter(|(key, message, signature)| key.verify(message, signature).is_ok()).count();
    let more =
        ml_dsa.iter().filter(|(key, signature)| key.verify_with_context(&MESSAGE, b"", signature)).count();
    i32::from(good + more == 9)
}
