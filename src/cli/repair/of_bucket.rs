//! `treehead repair` of a log in a bucket.

use serde_json::json;

use super::{Args, was};
use crate::checkpoint;
use crate::cli::config::Config;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::output::{self, GREEN};
use crate::cli::sources::Source;
use crate::note::NoteKey;
use crate::store::bucket::{
    BucketRepair, BundleSource, HeadKind, NamedSource, RepairMode, RepairOutcome, SourceHeads, recognise,
};
use crate::store::{CheckpointWas, SignedHead};

pub fn run(args: &Args, config: &Config, key: &NoteKey, source: Option<Source>, json: bool) -> CliResult {
    let bucket = config.bucket.as_ref().expect("the caller has checked it");
    let objects = bucket.open()?;
    // Missing objects are no error here: the repair writes them.
    match recognise(objects.as_ref(), config.origin.as_str(), config.profile.as_str()) {
        Err(crate::store::bucket::MakeError::Missing { .. }) => {}
        recognised => recognised?,
    }
    let own = |name: String, entries: BundleSource| NamedSource { name, entries: Box::new(entries) };
    let mut sources = vec![
        own(format!("the bundles in {}", objects.name()), BundleSource::of_bucket(objects.clone())),
        own(format!("the cache in {}", args.dir.display()), BundleSource::of_cache(&args.dir)),
    ];
    let mut heads = SourceHeads::default();
    if let (Some(source), Some(from)) = (source, &args.from) {
        heads = SourceHeads { signed: source.head, witnessed: witnessed(config, key, source.witnessed)? };
        sources.push(NamedSource { name: from.clone(), entries: source.entries });
    }
    let done = output::with_progress("repairing", "entries", |progress| {
        let (objects, profile, has_witnesses) =
            (objects.clone(), config.profile.as_str(), config.witnesses()?.is_some());
        let mode = RepairMode::Repair;
        Ok(BucketRepair { objects, key, profile, has_witnesses, mode, heads, progress }.run(&mut sources)?)
    })?;
    tell(args, &objects.name(), &done, json)
}

/// A source's head, if a quorum of the log's witnesses has cosigned it.
pub fn witnessed(
    config: &Config,
    key: &NoteKey,
    note: Option<Vec<u8>>,
) -> Result<Option<SignedHead>, Failure> {
    let (Some(policy), Some(note)) = (config.witnesses()?, note) else { return Ok(None) };
    let Ok(signed) = checkpoint::open(&note, std::slice::from_ref(key)) else { return Ok(None) };
    let head = signed.get().clone();
    Ok(policy.check(&signed).is_ok().then_some(SignedHead { head, note }))
}

fn tell(args: &Args, name: &str, done: &RepairOutcome, json: bool) -> CliResult {
    let (dir, head) = (args.dir.display(), &done.head.head);
    let heads: Vec<&str> = done.heads.iter().map(|kind| kind.as_str()).collect();
    let object = json!({
        "ok": true, "store": name, "tree_size": head.size.get(), "root": head.root.to_base64(),
        "entries": done.size.get(), "batches_kept": done.kept, "batches_created": done.created,
        "batches_replaced": done.replaced, "entries_fetched": done.fetched, "from": done.from,
        "tiles": done.tiles.tiles, "tiles_written": done.tiles.damaged, "heads_written": heads,
        "checkpoint_was": was(done.checkpoint),
    });
    let made = done.created + done.replaced;
    let mut lines = if made + done.tiles.damaged == 0 && heads.is_empty() {
        format!("{GREEN}sound{GREEN:#}     {name} holds what was signed at tree size {}\n", head.size)
    } else {
        format!("{GREEN}repaired{GREEN:#}  {name} holds what was signed at tree size {}\n", head.size)
    };
    lines += &format!("batches   {} were right", done.kept);
    if made > 0 {
        let from = done.from.join(", ");
        lines += &format!(
            "; rebuilt {} missing and {} damaged ones with {} entries from {from}",
            done.created, done.replaced, done.fetched
        );
    }
    lines += &format!("\ntiles     {}, of which {} were rewritten\n", done.tiles.tiles, done.tiles.damaged);
    for kind in &done.heads {
        lines += &format!("signed    {kind} was written\n");
    }
    if done.checkpoint == CheckpointWas::Lost {
        let lost =
            if done.heads.contains(&HeadKind::Signed) { HeadKind::Signed } else { HeadKind::Published };
        lines += &format!(
            "\nThe log's own {lost} was lost or damaged, and may have been newer. If the log ever published more than {}\n\
             entries, serving it now would FORK it. Before you serve it, check what mirrors, monitors and endpoints have\n\
             seen of it.\n",
            done.size
        );
    }
    lines += &format!("\nNext:\n  treehead serve {dir}\n");
    output::result(json, &object, &lines)
}
