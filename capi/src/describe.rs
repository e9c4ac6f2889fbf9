//! The content of files, as JSON: for JavaScript, Python, Go and everything else in which reading JSON is easier than structs.

use alloc::string::String;
use alloc::vec::Vec;

use treehead::checkpoint::read_unverified;
use treehead::endpoint::{bundle_json, entry_json, head_json, proof_json, signed_head_json, trust_json};
use treehead::proof::{ProofBundle, ProofFile};

use crate::args;
use crate::fail::th_status;
use crate::head::open;
use crate::object::Handle as _;
use crate::out::Out;
use crate::text::{finish, put_text, status, th_blob, th_str, th_text};
use crate::trust::th_trust;

/// Hands out a JSON text.
pub(crate) fn put_json(out: &Out<*mut th_blob>, json: String) {
    out.set(th_blob::boxed(json.into_bytes()));
}

/// Whom the trust names: {"number", "logs": [{"origin", "keys": [{"key", "type"}], "url"}], "quorum", "witnesses",
/// "publishers"}. The quorum is in words, and the number null if there was no trust file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_trust_json(trust: *const th_trust, json: *mut *mut th_blob) -> th_status {
    status((|| {
        let out = Out::new(json)?;
        let trusted = th_trust::get(trust)?;
        let number = Some(trusted.number()).filter(|number| *number != 0);
        put_json(&out, trust_json(number, trusted.get()).to_shown());
        Ok(())
    })())
}

/// A checkpoint: with a trust, one that a trusted log signed (otherwise TH_REFUSED), with its signature lines and
/// {"quorum": {"reached", ...}}; with NULL, as `treehead inspect --json` shows it, unverified.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_checkpoint_json(
    trust: *const th_trust,
    note: *const u8,
    length: usize,
    json: *mut *mut th_blob,
    message: *mut th_text,
) -> th_status {
    finish(
        message,
        (|| {
            let out = Out::new(json)?;
            let note = args::bytes(note, length)?;
            if trust.is_null() {
                let (head, note) = read_unverified(note)?;
                put_json(&out, head_json(&head, &note).to_shown());
                return Ok(());
            }
            let policy = th_trust::get(trust)?.get().policy;
            put_json(&out, signed_head_json(policy, &open(policy, note)?).to_shown());
            Ok(())
        })(),
    )
}

/// A proof file, unverified: {"what": "proof", "index", "proof", "checkpoint", "note", "leaf_hash"}, and the bytes of its
/// entry, NULL if it carries none. `entry` may be NULL. A bundle, unverified: {"what": "bundle", "entries": [{"index",
/// "leaf_hash", "entry"}], "proof", "checkpoint", "note"}, in which each entry is base64; `entry` gets NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_proof_json(
    proof: *const u8,
    length: usize,
    json: *mut *mut th_blob,
    entry: *mut *mut th_blob,
    message: *mut th_text,
) -> th_status {
    finish(
        message,
        (|| {
            let (out, out_entry) = (Out::new(json)?, Out::optional(entry)?);
            let proof = args::bytes(proof, length)?;
            let (object, entry) = if ProofBundle::is_one(proof) {
                (bundle_json(&ProofBundle::parse(proof)?)?, None)
            } else {
                let file = ProofFile::parse(proof)?;
                (proof_json(&file)?, file.extra)
            };
            let entry = entry.map_or(core::ptr::null_mut(), |extra: Vec<u8>| th_blob::boxed(extra));
            match out_entry {
                Some(out) => out.set(entry),
                None => th_blob::free(entry),
            }
            put_json(&out, object.to_shown());
            Ok(())
        })(),
    )
}

/// What an entry says, as `treehead inspect --json` does, and in words. With a trust and the origin of the log, also the
/// publishers whose signatures were verified, or the reason why nobody stands behind it. Does not say that the entry is in
/// the log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_entry_json(
    trust: *const th_trust,
    origin: *const u8,
    origin_length: usize,
    entry: *const u8,
    length: usize,
    json: *mut *mut th_blob,
) -> th_status {
    status((|| {
        let out = Out::new(json)?;
        let entry = args::bytes(entry, length)?;
        let origin = args::text_of(th_str { data: origin.cast(), length: origin_length })?;
        let trusted = match origin {
            Some(origin) if !trust.is_null() => Some((th_trust::get(trust)?.get().publishers, origin)),
            _ => None,
        };
        put_json(&out, entry_json(entry, trusted).to_shown());
        Ok(())
    })())
}

/// A text from elsewhere, made safe to show: control, bidi and invisible characters are escaped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_shown(data: *const u8, length: usize, shown: *mut th_text) -> th_status {
    status((|| {
        let bytes = args::bytes(data, length)?;
        put_text(shown, &String::from_utf8_lossy(bytes))
    })())
}
