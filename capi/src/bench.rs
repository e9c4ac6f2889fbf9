//! The signature checks of a verdict with nothing around them, to be timed beside one. Not a part of the interface.

#![cfg(feature = "bench")]

use alloc::boxed::Box;
use alloc::vec::Vec;

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use ml_dsa::MlDsa44;

/// About what is signed: a checkpoint or its cosigned message, and a statement.
const HEAD_BYTES: usize = 107;
const STATEMENT_BYTES: usize = 560;

type PostQuantum = (ml_dsa::VerifyingKey<MlDsa44>, Vec<u8>);

/// Signatures by as many keys.
pub struct Bare {
    ed25519: Vec<(VerifyingKey, Vec<u8>, Signature)>,
    ml_dsa: Vec<PostQuantum>,
}

const MESSAGE: [u8; HEAD_BYTES] = [7; HEAD_BYTES];

/// Makes as many of each algorithm. The first one with Ed25519 is of a statement, all others are of tree heads.
#[unsafe(no_mangle)]
pub extern "C" fn th_bare_new(ed25519: u8, ml_dsa: u8) -> *mut Bare {
    let ed25519 = (1..=ed25519).map(|seed| {
        let size = if seed == 1 { STATEMENT_BYTES } else { HEAD_BYTES };
        let (key, message) = (SigningKey::from_bytes(&[seed; 32]), alloc::vec![seed; size]);
        (key.verifying_key(), message.clone(), key.sign(&message))
    });
    let ml_dsa = (1..=ml_dsa).filter_map(|seed| {
        let key = ml_dsa::SigningKey::<MlDsa44>::from_seed(&[seed; 32].into());
        let signature = key.expanded_key().sign_deterministic(&MESSAGE, b"").ok()?;
        Some((AsRef::<ml_dsa::VerifyingKey<MlDsa44>>::as_ref(&key).clone(), signature.encode().to_vec()))
    });
    Box::into_raw(Box::new(Bare { ed25519: ed25519.collect(), ml_dsa: ml_dsa.collect() }))
}

/// Checks them all, each by a prepared key, and from the signature's bytes. Returns 1 if they are good.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_bare_check(bare: *const Bare) -> i32 {
    let Bare { ed25519, ml_dsa } = &*bare;
    let is_good = |(key, message, signature): &(VerifyingKey, Vec<u8>, Signature)| {
        key.verify(message, signature).is_ok()
    };
    let is_good_too = |(key, signature): &PostQuantum| {
        let signature = ml_dsa::Signature::<MlDsa44>::try_from(signature.as_slice());
        signature.is_ok_and(|signature| key.verify_with_context(&MESSAGE, b"", &signature))
    };
    (ed25519.iter().all(is_good) && ml_dsa.iter().all(is_good_too)).into()
}
