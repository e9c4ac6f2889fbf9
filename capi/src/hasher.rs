//! SHA-256.

use sha2::{Digest as _, Sha256};
use treehead::merkle::Hash;

use crate::args;
use crate::fail::th_status;
use crate::object::{Handle, Object, handle};
use crate::out::Out;
use crate::text::status;

/// SHA-256 of something that comes in pieces. One thread at a time.
pub struct th_hasher(Object<Sha256>);

handle!(th_hasher of Sha256, b"hash");

/// A hasher of nothing yet.
#[unsafe(no_mangle)]
pub extern "C" fn th_hasher_new() -> *mut th_hasher {
    th_hasher::boxed(Sha256::new())
}

/// Adds bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_hasher_update(
    hasher: *mut th_hasher,
    data: *const u8,
    length: usize,
) -> th_status {
    status((|| {
        let bytes = args::bytes(data, length)?;
        th_hasher::lock(hasher)?.update(bytes);
        Ok(())
    })())
}

/// Writes 32 bytes, and begins anew.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_hasher_finish(hasher: *mut th_hasher, sha256: *mut u8) -> th_status {
    status((|| {
        let out = Out::new(sha256.cast::<[u8; 32]>())?;
        out.set(core::mem::take(&mut *th_hasher::lock(hasher)?).finalize().into());
        Ok(())
    })())
}

/// Frees a hasher.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_hasher_free(hasher: *mut th_hasher) {
    th_hasher::free(hasher);
}

/// SHA-256 in one call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_sha256(data: *const u8, length: usize, sha256: *mut u8) -> th_status {
    status((|| {
        let out = Out::new(sha256.cast::<[u8; 32]>())?;
        out.set(*Hash::digest(args::bytes(data, length)?).as_bytes());
        Ok(())
    })())
}
