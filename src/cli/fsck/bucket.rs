//! `treehead fsck` of a log in a bucket, with credentials.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::args::{Args, read_kept};
use crate::bucket::Objects;
use crate::checkpoint::policy::Policy;
use crate::checkpoint::{Checkpoint, Origin, open};
use crate::cli::bucket::BucketSettings;
use crate::cli::config::Config;
use crate::cli::exit::{self, CliResult, Exit, Failure};
use crate::cli::object_store::parse_address;
use crate::cli::output::{self, GREEN, result, say};
use crate::disk::DiskError;
use crate::endpoint::Refusal;
use crate::note::{MAX_NOTE_BYTES, NoteKey};
use crate::server::describe;
use crate::store::Describe;
use crate::store::bucket::{
    BucketChecked, BucketFsck, FsckScope, HeadKind, IndexScope, IndexSeen, discard_cache,
};

/// Concurrent requests.
const THREADS: usize = 16;

/// A check of a bucket.
struct Check<'a> {
    objects: Arc<dyn Objects>,
    keys: Vec<NoteKey>,
    /// The policy that the published head must satisfy.
    policy: Option<&'a Policy>,
    /// Computes the index rows of an entry, if the log's publishers are known.
    describe: Option<Describe>,
    args: &'a Args,
}

/// Checks the log in a bucket that the command line names.
pub fn check_address(args: &Args, json: bool) -> CliResult {
    if args.rebuild {
        return Err(Failure::Usage("--rebuild needs the log's directory, not its address".to_owned()));
    }
    let address = parse_address(&args.log).map_err(|e| Failure::Usage(e.to_string()))?;
    let policy = args.policy()?;
    let keys: Vec<NoteKey> = policy.log_keys().iter().map(|key| key.note_key().clone()).collect();
    let objects = Arc::new(args.store.open(&address)?);
    Check { objects, keys, policy: Some(&policy), describe: None, args }.run(json)
}

/// Checks the log in the bucket that a directory's settings name.
pub fn check_dir(config: &Config, bucket: &BucketSettings, args: &Args, json: bool) -> CliResult {
    if args.rebuild {
        discard_cache(&config.dir)?;
        say("deleted the cache; the next start rebuilds it from the bucket");
    }
    let (keys, describe) = (config.vkeys()?, describe(config.profile.publishers(&config.publishers())?));
    Check { objects: bucket.client()?, keys, policy: None, describe: Some(describe), args }.run(json)
}

impl Check<'_> {
    fn run(&self, json: bool) -> CliResult {
        let Some(key) = self.keys.first() else {
            return Err(Failure::Usage("expected a policy with a log's key, saw none".to_owned()));
        };
        let kept = |path: &PathBuf| Ok::<_, Failure>(read_kept(path, &self.keys)?.get().clone());
        let kept = self.args.since.iter().map(kept).collect::<Result<_, _>>()?;
        self.check_quorum()?;
        let scratch = tempfile::tempdir().map_err(DiskError::io("create", "a temporary directory"))?;
        let index = self.describe.clone().map(|describe| IndexScope { describe, dir: scratch.path() });
        let checked = output::with_progress("re-hashing", "entries", |progress| {
            let fsck = BucketFsck {
                objects: self.objects.clone(),
                origin: Origin::from(key.name().clone()),
                keys: self.keys.clone(),
                repair: false,
                threads: THREADS,
                progress,
            };
            Ok(fsck.run_in(&FsckScope { kept, index, ..FsckScope::default() })?)
        })?;
        let Some(head) = checked.published.as_ref().or(checked.signed.as_ref()) else {
            return Err(Failure::CouldNotTell(format!(
                "{} has no checkpoint: there is no log of {}",
                self.objects.name(),
                key.name()
            )));
        };
        self.tell(&checked, head, json)
    }

    /// Checks that the published head has the quorum that the policy demands.
    fn check_quorum(&self) -> CliResult {
        let Some(policy) = self.policy else { return Ok(()) };
        let Some(note) = self.objects.get(HeadKind::Published.as_str(), MAX_NOTE_BYTES)? else {
            return Ok(());
        };
        let signed = open(&note.bytes, &policy.log_keys()).map_err(Refusal::Checkpoint)?;
        policy.check(&signed).map_err(Refusal::Quorum)?;
        Ok(())
    }

    fn tell(&self, checked: &BucketChecked, head: &Checkpoint, json: bool) -> CliResult {
        let (size, root) = (head.size.get(), head.root.to_base64());
        let store = self.objects.name();
        let (state, index) = match &checked.index {
            IndexSeen::NotChecked => {
                ("not-checked", "the index was not checked: that needs the log's directory".to_owned())
            }
            IndexSeen::None => {
                ("none", "there is no index: servers without a cache build it from the batches".to_owned())
            }
            IndexSeen::Sound(size) => {
                ("sound", format!("the index has the right pointers for {size} entries"))
            }
            IndexSeen::Wrong(detail) => (
                "wrong",
                format!(
                    "the index is wrong: {detail}; delete index/manifest, and the appending server writes it again"
                ),
            ),
        };
        let mut object = json!({
            "ok": checked.damaged == 0, "tree_size": size, "root": root, "entries": checked.entries.get(),
            "tiles": checked.tiles, "batches": checked.batches, "damaged": checked.damaged, "index": state,
            "sealed": checked.sealed.is_some(),
        });
        let mut also = format!("{index}\n");
        let unsigned = checked
            .entries
            .get()
            .saturating_sub(checked.signed.as_ref().map_or(size, |signed| signed.size.get().max(size)));
        if unsigned > 0 {
            also += &format!("{unsigned} entries are durable, but no head covers them yet\n");
        }
        if checked.sealed.is_some() {
            also += "sealed: the log was moved away, so no server can append here any more\n";
        }
        if checked.damaged == 0 && state != "wrong" {
            return result(
                json,
                &object,
                &format!(
                    "{GREEN}sound{GREEN:#}  {} entries in {} batches and {} tiles of {store} re-hashed; they make the signed root \
                     {root} at tree size {size}\n{also}",
                    checked.entries, checked.batches, checked.tiles
                ),
            );
        }
        object["ok"] = false.into();
        object["objects"] = checked
            .named
            .iter()
            .map(|wrong| json!({ "key": wrong.key, "expected": wrong.expected, "seen": wrong.seen }))
            .collect::<Vec<Value>>()
            .into();
        if !json {
            for wrong in &checked.named {
                say(&format!("{}: expected {}, saw {}", wrong.key, wrong.expected, wrong.seen));
            }
            say(also.trim_end());
        }
        let failure = if checked.damaged > 0 {
            Failure::refused(
                "tiles-damaged",
                format!(
                    "{} of {} tiles and bundles of {store} are missing or wrong; the batches are sound: {} entries make the signed root {root} at tree size {size}",
                    checked.damaged, checked.tiles, checked.entries
                ),
                "Nothing is lost: `treehead repair DIR` rewrites the tiles from the batches.",
            )
        } else {
            Failure::refused(
                "index-damaged",
                format!("in {store}, {index}"),
                "Nothing is lost: servers rebuild the index from the batches.",
            )
        };
        let about: Map<String, Value> = match object {
            Value::Object(mut about) => {
                about.remove("ok");
                about
            }
            _ => Map::new(),
        };
        exit::tell(&failure, json, about);
        Err(Failure::Told(Exit::Refused))
    }
}
