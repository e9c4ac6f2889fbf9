//! What `treehead fsck` makes of heads that contradict each other: evidence, where the log signed both.

use std::path::Path;

use super::exit::{CliResult, Failure};
use super::output::say;
use super::{evidence, files};
use crate::checkpoint::{self, Checkpoint, LogKey, LogSigned, SignsFor};
use crate::client::{ClientError, LogClient, RemoteTiles};
use crate::disk::evidence_dir::EvidenceDir;
use crate::merkle::{Hash, Plan, Prefix, RightEdge, TreeSize};
use crate::note::MAX_NOTE_BYTES;
use crate::proof::fork::{ForkEvidence, compare_heads};
use crate::proof::{MAX_PROOF_FILE_BYTES, ProofFile};
use crate::store::StoreError;
use crate::store::journal::Scan;

/// An older head that somebody kept: a checkpoint, or a proof file, which ends with one.
pub fn read_kept(path: &Path, logs: &[impl SignsFor]) -> Result<LogSigned<Checkpoint>, Failure> {
    let bytes = files::read(path, "a checkpoint or proof file", MAX_PROOF_FILE_BYTES)?;
    let note = if bytes.starts_with(b"c2sp.org/tlog-proof@") {
        ProofFile::parse(&bytes).map_err(|e| Failure::file(path, &e))?.checkpoint.to_string().into_bytes()
    } else {
        bytes
    };
    checkpoint::open(&note, logs).map_err(|e| crate::endpoint::Refusal::Checkpoint(e).into())
}

/// Whether the head that a log serves continues one that was kept.
pub fn check_served(
    client: &LogClient,
    kept: &LogSigned<Checkpoint>,
    served: &LogSigned<Checkpoint>,
    logs: &[LogKey],
    dir: &EvidenceDir,
) -> CliResult {
    let (old, new) = (kept.get(), served.get());
    if old.origin != new.origin {
        return Err(Failure::Usage(format!(
            "--since is a head of another log: expected origin {}, saw {}",
            new.origin, old.origin
        )));
    }
    if new.size < old.size {
        return Err(rolled_back(old.size, new.size));
    }
    match compare_heads(&RemoteTiles(client), kept, served)?.map_err(ClientError::from)? {
        None => Ok(()),
        Some(fork) => Err(evidence::refuse(fork, logs, dir)),
    }
}

/// A log never shows less than it showed.
pub fn rolled_back(remembered: TreeSize, served: TreeSize) -> Failure {
    Failure::refused(
        "log-rolled-back",
        format!(
            "the log serves an older head than one it signed: expected at least size {remembered}, saw {served}"
        ),
        "The log lost entries, hides newer ones from you, or a cache on the way serves old heads; ask its operator, and ask again from another network.",
    )
}

/// A head in a file of a log's directory, with every signature line. `None` where there is none to be read:
/// `checkpoint.witnessed` may be lost.
pub fn read_head(path: &Path, logs: &[impl SignsFor]) -> Option<LogSigned<Checkpoint>> {
    if !path.exists() {
        return None;
    }
    let read = files::read(path, "a checkpoint", MAX_NOTE_BYTES).ok()?;
    match checkpoint::open(&read, logs) {
        Ok(signed) => Some(signed),
        Err(e) => {
            say(&format!("{} was not looked at: {e}", path.display()));
            None
        }
    }
}

/// Two heads that the log signed, one of which is not of the journal's tree: a fork, if the journal shows it.
pub fn of_journal(
    journal: (&Path, Hash),
    one: &LogSigned<Checkpoint>,
    other: &LogSigned<Checkpoint>,
) -> Result<Option<ForkEvidence>, StoreError> {
    let (smaller, larger) = if one.get().size <= other.get().size { (one, other) } else { (other, one) };
    let (a, b) = (smaller.get(), larger.get());
    let (a_note, b_note) = (smaller.note().clone(), larger.note().clone());
    if a.size == b.size {
        return Ok((a.root != b.root).then(|| ForkEvidence::same_size(a_note, b_note)));
    }
    let prefix = read_prefix(journal, a.size, b.size)?;
    Ok(prefix.map(|Prefix { root, proof }| ForkEvidence::unequal(a_note, b_note, root, proof)))
}

/// What the journal's tree had at size `small`, with the proof from there to `large`. The hashes of a proof
/// stand for runs of leaves, so one walk over the journal makes them.
fn read_prefix(
    (dir, origin): (&Path, Hash),
    small: TreeSize,
    large: TreeSize,
) -> Result<Option<Prefix>, StoreError> {
    let plan = Plan::consistency(small, large).expect("the smaller one first");
    let run = |node: crate::merkle::Node| (node.index << node.level, (node.index + 1) << node.level);
    let mut runs: Vec<((u64, u64), RightEdge)> = [(0, small.get())]
        .into_iter()
        .chain(plan.nodes().map(run))
        .map(|run| (run, RightEdge::default()))
        .collect();
    let mut scan = Scan::new(dir, origin, None)?;
    let mut at = 0;
    while at < large.get() {
        let Some(record) = scan.next_record()? else { return Ok(None) };
        let leaves: Vec<Hash> = record.entries().iter().map(|entry| Hash::leaf(entry)).collect();
        let end = at + leaves.len() as u64;
        for ((first, last), edge) in &mut runs {
            let within = |place: u64| usize::try_from(place.clamp(at, end) - at).expect("at most a batch");
            *edge = edge.grow(&leaves[within(*first)..within(*last)]).edge;
        }
        at = end;
    }
    let mut roots = runs.iter().map(|(_, edge)| edge.root());
    let root = roots.next().expect("the first run is the prefix");
    Ok(Some(Prefix { root, proof: plan.fold(&roots.collect::<Vec<_>>()) }))
}
