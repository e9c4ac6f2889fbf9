//! `treehead fsck`: re-hash every entry and tile of a log up to its signed root.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::config::Config;
use super::exit::{CliResult, Failure, correct, put_back};
use super::keys::{ML_DSA, secrets_of};
use super::output::{GREEN, result, say};
use super::{evidence, files, fsck_evidence, fsck_url, output, serve};
use crate::checkpoint::policy::{MAX_POLICY_BYTES, Policy};
use crate::checkpoint::{Checkpoint, LogKey, LogSigned, origin_hash};
use crate::disk::evidence_dir::EvidenceDir;
use crate::disk::{DirLock, DiskError, open_plain};
use crate::merkle::{Growth, Hash, LeafIndex, PartialTiles, RightEdge, TreeSize};
use crate::note::NoteKey;
use crate::store::journal::Scan;
use crate::store::{
    DiskStore, Layout, OpenOptions, PointerSum, StoreError, TreeRows, backup_marker, discard_tree,
    open_tree_rows, read_signed,
};

/// Re-hash every entry and tile of a log up to its signed root
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead fsck mylog                                           a directory, also while it is served
  treehead fsck http://127.0.0.1:8080 --policy endpoint.policy  anyone, from outside
  treehead fsck http://127.0.0.1:8080 --policy endpoint.policy \\
      --since scanner-4.2.0.tar.gz.tlog-proof
  treehead fsck mylog --rebuild                                    make sled anew from the journal

Where two heads that the log signed contradict each other, it writes a .tlog-fork file, which proves
that to anybody: treehead verify-evidence.")]
pub struct Fsck {
    /// Directory or address of the log
    #[arg(value_name = "DIR|URL")]
    pub log: String,
    /// Policy with the log's key; needed for an address
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Throw sled away and make it anew from the journal; the server must not run
    #[arg(long)]
    pub rebuild: bool,
    /// An older checkpoint or proof file of the log that somebody kept: today's log has to continue it
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
    /// Where the proof goes if the log forked
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub evidence: PathBuf,
}

pub fn run(args: &Fsck, json: bool) -> CliResult {
    if args.log.starts_with("http://") || args.log.starts_with("https://") {
        if args.rebuild {
            return Err(Failure::Usage("--rebuild needs the log's directory, not its address".to_owned()));
        }
        let policy = args.policy.as_deref().ok_or_else(|| {
            Failure::Usage(
                "an address needs --policy FILE: without the log's key there is no signed root".to_owned(),
            )
        })?;
        return fsck_url::check(args, policy, json);
    }
    check_dir(Path::new(&args.log), args, json)
}

/// Says that all is well.
pub fn tell(json: bool, checkpoint: Option<&Checkpoint>, entries: u64, tiles: u64, also: &str) -> CliResult {
    let size = checkpoint.map_or(0, |head| head.size.get());
    let root = checkpoint.map(|head| head.root.to_base64());
    let object = json!({ "ok": true, "tree_size": size, "root": root, "entries": entries, "tiles": tiles });
    let plural =
        |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let hashed = format!("{} and {}", plural(entries, "entry", "entries"), plural(tiles, "tile", "tiles"));
    let head = match &root {
        Some(root) => format!("they make the signed root {root} at tree size {size}"),
        None => "nothing was signed yet".to_owned(),
    };
    result(json, &object, &format!("{GREEN}sound{GREEN:#}  {hashed} re-hashed; {head}\n{also}"))
}

/// From inside: the journal against its own roots and the signed one, sled against the journal.
fn check_dir(dir: &Path, args: &Fsck, json: bool) -> CliResult {
    let config = Config::load(dir)?;
    if args.rebuild {
        rebuild(&config)?;
    }
    let layout = Layout::new(dir);
    // Read first: the journal only grows, so it holds at least this much when it is scanned.
    let path = layout.checkpoint();
    let signed = read_signed(&path, &config.vkey()?)?.ok_or(StoreError::CheckpointMissing { path })?;
    let signed = Some(signed.head);
    let heads = Heads::read(args, &config, &layout)?;
    check_files(&config)?;
    if !layout.journal().exists() {
        let seen = TreeSize::ZERO;
        let lost = signed.as_ref().filter(|head| head.size > seen);
        let error = lost.map(|head| StoreError::JournalShort { signed: head.size, seen });
        return error.map_or_else(
            || tell(json, signed.as_ref(), 0, 0, "the log was never served\n"),
            |e| Err(e.into()),
        );
    }
    // The server keeps sled to itself while it runs; the journal can be read at any time.
    let (rows, note) = match rows_of(dir, &layout) {
        Ok(Some(rows)) => (Some(rows), ""),
        Ok(None) => (None, "there is no sled: it is made anew at the next start\n"),
        Err(StoreError::Disk(DiskError::Locked { .. })) => {
            (None, "the log is being served, so sled was not looked at: check it by its address\n")
        }
        Err(e) => return Err(e.into()),
    };
    let served = note.contains("served");
    // sled may panic on pages that it did not expect, when it is closed too.
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let rows = rows;
        let rows = rows.as_ref().map(|(rows, _)| rows);
        let checked = rehash_journal(&layout, &config, &heads, rows, served);
        checked.map_err(|failure| heads.instead_of(failure, &layout, &config))
    }))
    .unwrap_or_else(|_| {
        let detail = "sled panicked while it was read".to_owned();
        Err(StoreError::TreeDamaged { detail }.into())
    })?;
    let behind = match checked.applied {
        Some(applied) if applied < checked.size => {
            format!("sled holds {applied} of {} leaves: it catches up at the next start\n", checked.size)
        }
        _ => note.to_owned(),
    };
    tell(json, signed.as_ref(), checked.size.get(), checked.tiles, &behind)
}

/// Opens sled where there is one: opening would make it, and a backup has none.
fn rows_of(dir: &Path, layout: &Layout) -> Result<Option<(TreeRows, DirLock)>, StoreError> {
    if layout.sled().exists() {
        return open_tree_rows(dir).map(Some);
    }
    // Whether it is served is asked all the same.
    DirLock::acquire(&layout.lock())?;
    Ok(None)
}

/// The files that are not derived from anything, and have no signature.
fn check_files(config: &Config) -> CliResult {
    config.profile.publishers(&config.publishers())?;
    let path = config.dir.join("endpoint.policy");
    let policy = files::parse(&path, "a policy", MAX_POLICY_BYTES, Policy::parse)
        .map_err(|e| e.and(&correct(&path)))?;
    // Either key may be taken out of it, to demand the signature of the other.
    let keys = config.vkeys()?;
    if !policy.log_keys().iter().any(|log| keys.contains(log.note_key())) {
        let message = format!("{} does not trust this log's key, which is in log.vkey", path.display());
        return Err(Failure::Usage(message).and(&correct(&path)));
    }
    let unknown = |log: &&LogKey| *log.log() == config.origin && !keys.contains(log.note_key());
    if let Some(key) = policy.log_keys().iter().find(unknown).map(LogKey::note_key) {
        let message =
            format!("{} trusts a key of this log that is not in its directory: {key}", path.display());
        return Err(Failure::Usage(message)
            .and(&format!("correct the policy, or {}", put_back(&config.dir.join(ML_DSA.public)))));
    }
    // Whoever checks need not be whoever signs.
    let (there, lost) = secrets_of(&config.dir);
    for secret in there {
        if let Err(e) = open_plain(&config.dir.join(secret))
            && e.kind() == std::io::ErrorKind::PermissionDenied
        {
            say(&format!("{secret} can't be read by this user, and was not looked at"));
            return Ok(());
        }
    }
    if !lost.is_empty() && backup_marker(&config.dir).exists() {
        return Ok(());
    }
    config.witnesses()?;
    config.signer().map(drop)
}

fn rebuild(config: &Config) -> CliResult {
    // What is wrong with the journal has to be known before sled is thrown away.
    config.check_servable()?;
    discard_tree(&config.dir)?;
    say("sled is made anew from the journal");
    let bar = output::progress("rebuilding", 0, "bytes");
    let publishers = Arc::new(config.profile.publishers(&config.publishers())?);
    let options = OpenOptions {
        describe: config.profile.describe(publishers),
        progress: serve::watcher(bar.clone()),
        log_key: Some(config.vkey()?),
        ..OpenOptions::new(config.origin.as_str())
    };
    drop(DiskStore::open(&config.dir, options)?);
    bar.finish_and_clear();
    Ok(())
}

/// What the log signed, as far as this directory and whoever runs the command know it.
struct Heads {
    signed: Vec<LogSigned<Checkpoint>>,
    keys: Vec<NoteKey>,
    evidence: EvidenceDir,
}

impl Heads {
    /// The signed head, the one that was shown with a quorum, and one that somebody kept.
    fn read(args: &Fsck, config: &Config, layout: &Layout) -> Result<Self, Failure> {
        let keys = config.vkeys()?;
        let mut signed = Vec::new();
        for path in [layout.checkpoint(), layout.witnessed()] {
            signed.extend(fsck_evidence::read_head(&path, &keys));
        }
        if let Some(path) = &args.since {
            signed.push(fsck_evidence::read_kept(path, &keys)?);
        }
        Ok(Self { signed, keys, evidence: EvidenceDir::new(&args.evidence) })
    }

    fn all(&self) -> impl Iterator<Item = &Checkpoint> {
        self.signed.iter().map(LogSigned::get)
    }

    /// A journal that is not the tree of one of the heads may be that of another: then the log forked. If it
    /// is of none, only what was found can be said.
    fn instead_of(&self, failure: Failure, layout: &Layout, config: &Config) -> Failure {
        if !matches!(&failure, Failure::Refused { code, .. } if code == "journal-forked") {
            return failure;
        }
        let (dir, origin) = (layout.journal(), origin_hash(config.origin.as_str()));
        let pairs = self
            .signed
            .iter()
            .enumerate()
            .flat_map(|(at, one)| self.signed[at + 1..].iter().map(move |other| (one, other)));
        for (one, other) in pairs {
            let found = fsck_evidence::of_journal((&dir, origin), one, other);
            if let Ok(Some(evidence)) = found
                && let Ok(fork) = evidence.judge(&self.keys)
            {
                return evidence::refuse_fork(&fork, &self.evidence);
            }
        }
        failure
    }
}

struct Rehashed {
    size: TreeSize,
    /// Leaves that the tree in sled has, where it was looked at.
    applied: Option<TreeSize>,
    tiles: u64,
}

fn rehash_journal(
    layout: &Layout,
    config: &Config,
    heads: &Heads,
    rows: Option<&TreeRows>,
    served: bool,
) -> Result<Rehashed, Failure> {
    let mut scan = Scan::new(&layout.journal(), origin_hash(config.origin.as_str()), None)?;
    let bar = output::progress("re-hashing", scan.progress().1, "bytes");
    // What sled has not caught up with yet can't be compared.
    let looked_at = rows.map(TreeRows::size).transpose()?;
    let applied = looked_at.unwrap_or_default();
    let (mut edge, mut partial, mut tiles) = (RightEdge::default(), PartialTiles::default(), 0);
    let indexed = rows.map(TreeRows::indexed).transpose()?.unwrap_or_default();
    let mut pointers = PointerSum::default();
    let describe = config.profile.describe(Arc::new(config.profile.publishers(&config.publishers())?));
    loop {
        let record = match scan.next_record() {
            // While it is served, the batch that is being written may look like anything.
            Err(StoreError::Damaged { .. }) if served && heads.all().all(|head| head.size <= edge.size()) => {
                break;
            }
            other => other?,
        };
        let Some(record) = record else { break };
        let leaf_hashes: Vec<Hash> = record.entries().iter().map(|entry| Hash::leaf(entry)).collect();
        heads.all().try_for_each(|head| check_signed(&edge, &leaf_hashes, head))?;
        let growth = edge.grow(&leaf_hashes);
        record.check_root(&record.path_in(&layout.journal()), &growth.edge.root())?;
        tiles += check_rows(rows, applied, &growth, &mut partial)?;
        if let Some(rows) = rows {
            let mut known =
                record.bundle_starts().into_iter().filter(|(index, _)| index * 256 < applied.get());
            known.try_for_each(|(index, start)| rows.check_bundle(index, start))?;
            let leaves = (record.first..).filter_map(LeafIndex::new).zip(record.entries()).zip(&leaf_hashes);
            for ((index, entry), leaf) in leaves.take_while(|((index, _), _)| indexed.contains(*index)) {
                pointers.add_leaf(index, leaf, &describe(entry));
            }
        }
        edge = growth.edge;
        bar.set_position(scan.progress().0);
    }
    bar.finish_and_clear();
    if let Some(head) = heads.all().find(|head| head.size > edge.size()) {
        return Err(StoreError::JournalShort { signed: head.size, seen: edge.size() }.into());
    }
    if let Some(rows) = rows {
        rows.check_index(&pointers)?;
    }
    if applied > edge.size() {
        let detail = format!("sled has {applied} leaves, the journal {}", edge.size());
        return Err(StoreError::TreeDamaged { detail }.into());
    }
    tiles += partial.tiles(edge.size()).count() as u64;
    Ok(Rehashed { size: edge.size(), applied: looked_at, tiles })
}

/// Compares the root where the tree passes the signed size.
fn check_signed(edge: &RightEdge, leaf_hashes: &[Hash], head: &Checkpoint) -> Result<(), Failure> {
    let (before, after) = (edge.size(), edge.size().plus(leaf_hashes.len()));
    if head.size <= before || head.size > after {
        return Ok(());
    }
    let count = usize::try_from(head.size.get() - before.get()).expect("at most a batch");
    let seen = edge.grow(&leaf_hashes[..count]).edge.root();
    if seen == head.root {
        return Ok(());
    }
    let (expected, seen) = (head.root.to_base64(), seen.to_base64());
    Err(StoreError::JournalForked { size: head.size, expected, seen }.into())
}

fn check_rows(
    rows: Option<&TreeRows>,
    applied: TreeSize,
    growth: &Growth,
    partial: &mut PartialTiles,
) -> Result<u64, Failure> {
    let mut tiles = 0;
    partial.grow(growth, |id, hashes| {
        tiles += 1;
        match rows {
            Some(rows) if id.width_in(applied) == 256 => rows.check_tile(id, hashes),
            _ => Ok(()),
        }
    })?;
    Ok(tiles)
}
