//! `treehead fsck` of a log in a bucket, with credentials.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::args::{Args, read_kept};
use crate::bucket::Objects;
use crate::checkpoint::policy::Policy;
use crate::checkpoint::{Checkpoint, Origin, open};
use crate::cli::bucket::BucketSettings;
use crate::cli::config::Config;
use crate::cli::evidence;
use crate::cli::exit::{self, CliResult, Exit, Failure};
use crate::cli::object_store::parse_address;
use crate::cli::output::{self, GREEN, result, say};
use crate::disk::DiskError;
use crate::disk::evidence_dir::EvidenceDir;
use crate::endpoint::Refusal;
use crate::note::{MAX_NOTE_BYTES, NoteKey};
use crate::server::describe;
use crate::store::Describe;
use crate::store::bucket::{
    BucketChecked, BucketFsck, FsckScope, HeadKind, IndexScope, IndexSeen, WrongObject, discard_cache,
};

/// Concurrent requests.
const THREADS: usize = 16;
/// Batches and heads in the message; all are printed before it.
const MOST_LISTED: usize = 5;

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
        let kept =
            self.args.since.iter().map(|path| read_kept(path, &self.keys)).collect::<Result<_, _>>()?;
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
            Ok(fsck.examine(&FsckScope { kept, index, ..FsckScope::default() })?)
        })?;
        let head = checked.published.as_ref().or(checked.signed.as_ref());
        let lacks_quorum = self.policy.is_some() && checked.published.is_none();
        if let Some(signed) = head.filter(|_| lacks_quorum && checked.wrong.is_empty()) {
            return Err(Failure::CouldNotTell(format!(
                "{} has a signed head of {} leaves and no published one: either nothing has its quorum yet, or `checkpoint` was lost; without it, nothing shows a quorum",
                self.objects.name(),
                signed.size
            )));
        }
        if head.is_none() && checked.wrong.is_empty() {
            return Err(Failure::CouldNotTell(format!(
                "{} has no checkpoint: there is no log of {}",
                self.objects.name(),
                key.name()
            )));
        }
        if !json {
            name_wrong(&checked);
        }
        if let Some(fork) = &checked.fork {
            return Err(evidence::refuse_fork(fork, &EvidenceDir::new(&self.args.evidence)));
        }
        self.tell(&checked, head, json)
    }

    /// Checks that the published head has the quorum that the policy demands.
    fn check_quorum(&self) -> CliResult {
        let Some(policy) = self.policy else { return Ok(()) };
        let Some(note) = self.objects.get(HeadKind::Published.as_str(), MAX_NOTE_BYTES)? else {
            return Ok(());
        };
        // The check names one that is damaged.
        let Ok(signed) = open(&note.bytes, &policy.log_keys()) else { return Ok(()) };
        policy.check(&signed).map_err(Refusal::Quorum)?;
        Ok(())
    }

    /// Reports a log that did not fork. `head` is the published head.
    fn tell(&self, checked: &BucketChecked, head: Option<&Checkpoint>, json: bool) -> CliResult {
        let store = self.objects.name();
        let (state, index) = index_in_words(&checked.index);
        let mut object = json!({
            "ok": true, "tree_size": head.map(|head| head.size.get()), "root": head.map(|head| head.root.to_base64()),
            "entries": checked.entries.get(), "tiles": checked.tiles, "batches": checked.batches,
            "damaged": checked.damaged, "damaged_batches": checked.wrong_batches, "index": state,
            "sealed": checked.sealed.is_some(),
        });
        let mut also = format!("{index}\n");
        let signed = [head, checked.signed.as_ref()].into_iter().flatten().map(|head| head.size.get()).max();
        let unsigned = checked.entries.get().saturating_sub(signed.unwrap_or_default());
        if unsigned > 0 {
            also += &format!("{unsigned} entries are durable, but no head covers them yet\n");
        }
        if checked.sealed.is_some() {
            also += "sealed: the log was moved away, so no server can append here any more\n";
        }
        let signed = head.map(|head| format!("the signed root {} at tree size {}", head.root, head.size));
        let failure = match signed.filter(|_| checked.wrong.is_empty()) {
            None => bucket_damaged(checked, &store),
            Some(signed) if checked.damaged > 0 => Failure::refused(
                "tiles-damaged",
                format!(
                    "{} of {} tiles and bundles of {store} are missing or wrong; the batches are sound: {} entries make {signed}",
                    checked.damaged, checked.tiles, checked.entries
                ),
                "Nothing is lost: `treehead repair DIR` rewrites the tiles from the batches.",
            ),
            Some(_) if state == "wrong" => Failure::refused(
                "index-damaged",
                format!("in {store}, {index}"),
                "Nothing is lost: servers rebuild the index from the batches.",
            ),
            Some(signed) => {
                return result(
                    json,
                    &object,
                    &format!(
                        "{GREEN}sound{GREEN:#}  {} entries in {} batches and {} tiles of {store} re-hashed; they make {signed}\n{also}",
                        checked.entries, checked.batches, checked.tiles
                    ),
                );
            }
        };
        if !json {
            say(also.trim_end());
        }
        object["objects"] = wrong_objects(checked)
            .map(|wrong| json!({ "key": wrong.key, "expected": wrong.expected, "seen": wrong.seen }))
            .collect::<Vec<Value>>()
            .into();
        object["unchecked"] = checked.unchecked.clone().into();
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

/// The state of the index, as a code and as text.
fn index_in_words(index: &IndexSeen) -> (&'static str, String) {
    let (state, text) = match index {
        IndexSeen::NotChecked => {
            ("not-checked", "the index was not checked: that needs the log's directory".to_owned())
        }
        IndexSeen::Incomplete => {
            ("not-checked", "the index was not checked: that needs every batch".to_owned())
        }
        IndexSeen::None => {
            ("none", "there is no index: servers without a cache build it from the batches".to_owned())
        }
        IndexSeen::Sound(size) => ("sound", format!("the index has the right pointers for {size} entries")),
        IndexSeen::Wrong(detail) => {
            let advice = "delete index/manifest, and the appending server writes it again";
            ("wrong", format!("the index is wrong: {detail}; {advice}"))
        }
    };
    (state, text)
}

/// Batches and heads, then tiles.
fn wrong_objects(checked: &BucketChecked) -> impl Iterator<Item = &WrongObject> {
    checked.wrong.iter().chain(&checked.named)
}

/// Prints every fault, and everything that could not be checked.
fn name_wrong(checked: &BucketChecked) {
    for WrongObject { key, expected, seen } in wrong_objects(checked) {
        say(&format!("{key}: expected {expected}, saw {seen}"));
    }
    checked.unchecked.iter().for_each(|what| say(&format!("not checked: {what}")));
}

/// The failure for batches or heads that are lost.
fn bucket_damaged(checked: &BucketChecked, store: &str) -> Failure {
    let heads = (checked.wrong.len() as u64).saturating_sub(checked.wrong_batches);
    let counts = [
        (checked.wrong_batches, "batch", "batches"),
        (heads, "head", "heads"),
        (checked.damaged, "tile or bundle", "tiles and bundles"),
    ];
    let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
    let counts: Vec<String> =
        counts.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).collect();
    let mut keys: Vec<&str> =
        checked.wrong.iter().take(MOST_LISTED).map(|wrong| wrong.key.as_str()).collect();
    if checked.wrong.len() > MOST_LISTED {
        keys.push("...");
    }
    let what = format!(
        "missing, damaged or not this log's in {store}: {} ({}); stop the log's servers",
        counts.join(", "),
        keys.join(", ")
    );
    Failure::refused(
        "bucket-damaged",
        what,
        "`treehead repair DIR` rebuilds batches from bundles, and with `--from SOURCE` from a backup, an export or a mirror. Or restore the right objects (their versions in the bucket).",
    )
}
