//! Forks: two histories of one log.

use alloc::vec::Vec;

use treehead::checkpoint::{Checkpoint, LogSigned};
use treehead::endpoint::fork_json;
use treehead::merkle::{Hash, Tile, TileReader};
use treehead::proof::fork::{ForkEvidence, ProvenFork, compare_heads};

use crate::args;
use crate::describe::put_json;
use crate::fail::{Done, Fail, th_status};
use crate::head::open;
use crate::object::Handle as _;
use crate::out::Out;
use crate::text::{finish, put_text, th_blob, th_text};
use crate::tree::th_plan;
use crate::trust::{Trusted, th_trust};

/// Compares two heads of a trusted log, in either order, with a th_plan_prefix of their sizes that has its tiles (NULL if
/// the sizes are equal). TH_OK: the larger one continues the smaller one. TH_REFUSED: the log signed two histories, and
/// `evidence` proves it: the bytes of a .tlog-fork file, with its name. TH_COULD_NOT_TELL: the tiles prove nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_heads_compare(
    trust: *const th_trust,
    note: *const u8,
    length: usize,
    other: *const u8,
    other_length: usize,
    plan: *const th_plan,
    evidence: *mut *mut th_blob,
    name: *mut th_text,
    message: *mut th_text,
) -> th_status {
    finish(
        message,
        (|| {
            let (evidence, trusted) = (Out::new(evidence)?, th_trust::get(trust)?);
            evidence.set(core::ptr::null_mut());
            let policy = trusted.get().policy;
            let (one, two) =
                (open(policy, args::bytes(note, length)?)?, open(policy, args::bytes(other, other_length)?)?);
            if one.get().origin != two.get().origin {
                return Err(Fail::argument("the heads are of two logs, which have two histories"));
            }
            let (small, large) = if one.get().size <= two.get().size { (one, two) } else { (two, one) };
            let found = if small.get().size == large.get().size {
                compare(&NoTiles, &small, &large)?
            } else {
                let planned = th_plan::lock(plan)?;
                if !planned.is_prefix(small.get().size, large.get().size) {
                    return Err(Fail::argument("the plan is not a th_plan_prefix of the heads' sizes"));
                }
                compare(&*planned, &small, &large)?
            };
            let Some(found) = found else { return Ok(()) };
            let fork = judge(trusted, found)?;
            put_text(name, &fork.file_name())?;
            evidence.set(th_blob::boxed(fork.to_bytes()));
            let words = alloc::format!("{} signed two histories, and the evidence proves it", fork.origin());
            Err(Fail::new(th_status::TH_REFUSED, words))
        })(),
    )
}

/// Checks a .tlog-fork file: TH_OK if it proves that a trusted log signed two histories. `json` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_evidence_check(
    trust: *const th_trust,
    data: *const u8,
    length: usize,
    json: *mut *mut th_blob,
    message: *mut th_text,
) -> th_status {
    finish(
        message,
        (|| {
            let json = Out::optional(json)?;
            let trusted = th_trust::get(trust)?;
            let fork = judge(trusted, ForkEvidence::parse(args::bytes(data, length)?)?)?;
            if let Some(json) = json {
                put_json(&json, fork_json(&fork, trusted.get().policy).to_shown());
            }
            Ok(())
        })(),
    )
}

fn judge(trusted: &Trusted, evidence: ForkEvidence) -> Done<ProvenFork> {
    let proven = evidence.judge(trusted.get().policy.logs());
    proven.map_err(|e| {
        let mut fail = Fail::new(th_status::TH_REFUSED, alloc::format!("{e}"));
        fail.reason = e.code().number().into();
        fail
    })
}

fn compare<R: TileReader<Error = Fail>>(
    reader: &R,
    small: &LogSigned<Checkpoint>,
    large: &LogSigned<Checkpoint>,
) -> Done<Option<ForkEvidence>> {
    compare_heads(reader, small, large)?
        .map_err(|e| Fail::new(th_status::TH_COULD_NOT_TELL, alloc::format!("the tiles prove nothing: {e}")))
}

/// For heads of one size, which are compared without tiles.
struct NoTiles;

impl TileReader for NoTiles {
    type Error = Fail;

    fn read_tiles(&self, _: &[Tile]) -> Done<Vec<Vec<Hash>>> {
        Err(Fail::new(th_status::TH_COULD_NOT_TELL, "tiles are missing"))
    }
}
