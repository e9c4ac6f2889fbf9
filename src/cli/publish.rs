//! `treehead publish`

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::args::{Publish, WaitArg};
use super::exit::{CliResult, Failure};
use super::{files, output, releases_file};
use crate::checkpoint;
use crate::client::{Appended, BatchAnswer, BatchWriter, ClientError, LogClient, Wait};
use crate::merkle::{Hash, verify_inclusion};
use crate::policy::{MAX_POLICY_BYTES, Policy};
use crate::proof_file::ProofFile;
use crate::release::{Envelope, MAX_SUBJECTS, PublisherSigner, Release, Source, Subject};

/// Requests under way at once: while the log commits one batch, the next is signed and sent.
const SENDERS: usize = 3;
/// Entries in one request: some hundred KiB, so that progress is seen and a lost one costs little.
const ENTRIES_PER_REQUEST: usize = 1_000;
/// Refusals that are named one by one.
const NAMED_REFUSALS: usize = 10;

pub fn run(args: &Publish, json: bool) -> CliResult {
    let key = files::read_secret(&args.key)?;
    let signer = PublisherSigner::from_pem(&key).map_err(|e| Failure::file(&args.key, &e))?;
    if let Some(from) = &args.from {
        return publish_many(from, &LogClient::new(&args.log)?, &signer, json);
    }
    let client = LogClient::builder().on_pause(output::pause).build(&args.log)?;
    publish_one(args, &client, &signer, json)
}

/// Signs a statement into an entry.
pub fn sign(release: &Release, signer: &PublisherSigner) -> Result<Vec<u8>, Failure> {
    let payload = release.to_payload().map_err(|e| Failure::Usage(e.to_string()))?;
    let envelope = Envelope::sign(payload, &[signer]).map_err(|e| Failure::Usage(e.to_string()))?;
    Ok(envelope.to_entry())
}

fn publish_one(args: &Publish, client: &LogClient, signer: &PublisherSigner, json: bool) -> CliResult {
    let release = release(args)?;
    let entry = sign(&release, signer)?;
    let logs = match &args.policy {
        Some(path) => Some(files::parse(path, "a policy", MAX_POLICY_BYTES, Policy::parse)?.log_keys()),
        None => None,
    };
    if args.wait == Some(WaitArg::Sequenced) {
        let Appended { index, leaf_hash, .. } =
            client.append(&entry, Wait::Sequenced).map_err(Failure::append)?;
        return output::result(
            json,
            &json!({ "ok": true, "index": index.get(), "leaf_hash": leaf_hash.to_hex() }),
            &format!("{} is leaf {index}, durable and not published yet\n", release.purl),
        );
    }
    let wait = args.wait.map(Wait::from).unwrap_or_default();
    let proof = client.add(&entry, wait).map_err(Failure::append)?;
    let leaf = check(&proof, &entry, logs.as_deref())?;
    let text = proof.to_string();
    let mut written = Vec::new();
    for path in args.files.iter().map(|artifact| files::proof_path(artifact)) {
        files::replace(&path, text.as_bytes())?;
        written.push(path.display().to_string());
    }
    output::result(
        json,
        &json!({
            "ok": true, "purl": release.purl.as_str(), "index": proof.index.get(),
            "leaf_hash": leaf.to_hex(), "proofs": written,
        }),
        &format!(
            "{} is leaf {} of the log\nproof  {}\n",
            release.purl,
            proof.index,
            written.join("\n       ")
        ),
    )
}

fn release(args: &Publish) -> Result<Release, Failure> {
    let (Some(kind), Some(purl), Some(channel), Some(sequence)) =
        (args.kind, args.purl.clone(), args.channel.clone(), args.sequence)
    else {
        unreachable!("clap requires them without --from")
    };
    crate::format::cap_count("a release", "artifacts", args.files.len(), MAX_SUBJECTS)
        .map_err(|e| Failure::Usage(e.to_string()))?;
    let source = args.source.as_deref().map(Source::parse).transpose();
    let source = source.map_err(|e| Failure::Usage(format!("--source: {e}")))?;
    let subjects = args.files.iter().map(|path| subject(path)).collect::<Result<_, _>>()?;
    Ok(Release {
        subjects,
        purl,
        kind,
        channel,
        sequence,
        source,
        manifest: None,
        audience: args.audience.clone(),
    })
}

fn subject(path: &Path) -> Result<Subject, Failure> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Failure::Usage(format!("{}: expected a file name in UTF-8", path.display())))?;
    Ok(Subject { name: name.to_owned(), sha256: files::hash_artifact(path)? })
}

/// A proof is written only when it proves what was sent, or the same statement as the log had it before:
/// signed with another key, or spelled otherwise. Returns the leaf hash of the entry that is proven.
pub fn check(
    proof: &ProofFile,
    entry: &[u8],
    logs: Option<&[crate::note::NoteKey]>,
) -> Result<Hash, Failure> {
    let note = proof.checkpoint.to_string();
    let head = if let Some(logs) = logs {
        checkpoint::open(note.as_bytes(), logs).map_err(ClientError::from)?.get().clone()
    } else {
        let read = checkpoint::read_unverified(note.as_bytes());
        read.map_err(|e| Failure::refused("checkpoint-malformed", e.to_string(), "Tell the log's operator."))?
            .0
    };
    let proven = proof.extra.as_deref().unwrap_or_default();
    if !states_the_same(proven, entry) {
        let message = "the log answered with a proof of another statement than the one that was sent";
        return Err(Failure::refused("wrong-entry", message, "Tell the log's operator."));
    }
    let leaf = Hash::leaf(proven);
    verify_inclusion(proof.index, head.size, &leaf, &proof.proof, &head.root).map_err(ClientError::from)?;
    Ok(leaf)
}

fn states_the_same(proven: &[u8], sent: &[u8]) -> bool {
    let envelopes = (Envelope::parse_entry(proven), Envelope::parse_entry(sent));
    proven == sent || matches!(envelopes, (Ok(proven), Ok(sent)) if proven.states_the_same(&sent))
}

/// What has become of the lines so far.
#[derive(Default)]
struct Tally {
    added: u64,
    known: u64,
    refused: u64,
    /// The first of the refused, with line and reason, and the code of the very first.
    named: Vec<String>,
    code: String,
}

/// Entries on their way, with their line numbers.
#[derive(Default)]
struct Request {
    batch: BatchWriter,
    lines: Vec<usize>,
}

fn publish_many(from: &Path, client: &LogClient, signer: &PublisherSigner, json: bool) -> CliResult {
    // Read through once before anything is sent: a typo in the last line is found first.
    let mut total = 0_u64;
    releases_file::for_each(from, |_, _| {
        total += 1;
        Ok(())
    })?;
    let bar = output::progress("publishing", total, "releases");
    let tally = Mutex::new(Tally::default());
    let started = std::time::Instant::now();
    let sent = std::thread::scope(|scope| {
        let (queue, requests) = sync_channel::<Request>(SENDERS);
        // Owned by the senders alone: when the last one gives up, the queue tells the reader.
        let requests = Arc::new(Mutex::new(requests));
        let (tally, bar) = (&tally, &bar);
        let start = |_| {
            let requests = requests.clone();
            scope.spawn(move || send(&requests, client, tally, bar))
        };
        let senders: Vec<_> = (0..SENDERS).map(start).collect();
        drop(requests);
        let read = fill(from, signer, &queue);
        drop(queue);
        // A sender's error says more than that sending stopped.
        let sent = senders.into_iter().map(|sender| sender.join().expect("senders do not panic"));
        sent.collect::<Vec<CliResult>>().into_iter().collect::<CliResult>().and(read)
    });
    bar.finish_and_clear();
    let Tally { added, known, refused, named, code } = tally.into_inner().expect("senders do not panic");
    let seconds = started.elapsed().as_secs_f64();
    let done = format!("{added} added, {known} in the log already, {refused} refused, of {total} releases");
    if let Err(failure) = sent {
        // What was refused is refused again.
        let next = if matches!(failure, Failure::Refused { .. }) {
            ""
        } else {
            "; run the same command again to go on"
        };
        output::say(&format!("{done}{next}"));
        return Err(failure);
    }
    if added + known + refused != total {
        let path = from.display();
        return Err(Failure::CouldNotTell(format!(
            "{path} changed while it was read: {done}; run the command again"
        )));
    }
    if refused > 0 {
        return Err(Failure::refused(
            &code,
            format!("{done}: {}", named.join("; ")),
            "The others are in the log.",
        ));
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = total as f64 / seconds;
    output::result(
        json,
        &json!({ "ok": true, "total": total, "added": added, "known": known, "seconds": seconds }),
        &format!("{done}\n{seconds:.1} s, {rate:.0} releases/s\n"),
    )
}

/// Reads, signs and queues the releases, as many to a request as it holds.
fn fill(from: &Path, signer: &PublisherSigner, queue: &SyncSender<Request>) -> CliResult {
    let send = |request| {
        queue.send(request).map_err(|_| Failure::CouldNotTell("the log stopped answering".to_owned()))
    };
    let mut next = Request::default();
    releases_file::for_each(from, |line, release| {
        let entry = sign(&release, signer)?;
        if next.batch.len() == ENTRIES_PER_REQUEST || !next.push(line, &entry)? {
            send(std::mem::take(&mut next))?;
            next.push(line, &entry)?;
        }
        Ok(())
    })?;
    if next.batch.is_empty() { Ok(()) } else { send(next) }
}

impl Request {
    /// Adds an entry; false where the request is full without it.
    fn push(&mut self, line: usize, entry: &[u8]) -> Result<bool, Failure> {
        let added = self.batch.push(entry).map_err(|e| Failure::Usage(format!("line {line}: {e}")))?;
        if added {
            self.lines.push(line);
        }
        Ok(added)
    }
}

fn send(
    requests: &Mutex<Receiver<Request>>,
    client: &LogClient,
    tally: &Mutex<Tally>,
    bar: &indicatif::ProgressBar,
) -> CliResult {
    loop {
        let next = requests.lock().expect("senders do not panic").recv();
        let Ok(request) = next else { return Ok(()) };
        let answers =
            client.add_batch(&request.batch, Wait::Published).map_err(|e| in_lines(e, &request.lines))?;
        let mut tally = tally.lock().expect("senders do not panic");
        for (line, answer) in request.lines.iter().zip(answers) {
            tally.count(*line, answer);
        }
        bar.inc(request.lines.len() as u64);
    }
}

/// The log names an entry of a batch by its place in it; people know it by its line.
fn in_lines(error: ClientError, lines: &[usize]) -> Failure {
    let entry = match &error {
        ClientError::Status { entry, .. } => entry.and_then(|at| lines.get(at).copied()),
        _ => None,
    };
    match (Failure::append(error), entry) {
        (Failure::Refused { code, message, advice }, Some(line)) => {
            Failure::Refused { code, message: format!("line {line}: {message}"), advice }
        }
        (failure, _) => failure,
    }
}

impl Tally {
    fn count(&mut self, line: usize, answer: BatchAnswer) {
        match (answer.error, answer.duplicate) {
            (Some(error), _) => {
                self.refused += 1;
                if self.named.is_empty() {
                    self.code = error.code;
                }
                if self.named.len() < NAMED_REFUSALS {
                    self.named.push(format!("line {line}: {}", error.detail));
                }
            }
            (None, Some(true)) => self.known += 1,
            (None, _) => self.added += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::merkle::{LeafIndex, TreeSize};
    use crate::release::tests::{publisher_signer, sample_release, signed_entry};
    use crate::store::conformance::signer;

    /// The proof of the only entry in a log.
    fn proof(entry: &[u8]) -> ProofFile {
        let (log, size) = (signer(), TreeSize::new(1).unwrap());
        let head = Checkpoint::new(log.public().name().clone(), size, Hash::leaf(entry)).sign(&log);
        let index = LeafIndex::new(0).unwrap();
        ProofFile { extra: Some(entry.to_vec()), index, proof: Vec::new(), checkpoint: head }
    }

    #[test]
    fn a_proof_is_of_what_was_sent_or_of_the_same_statement() {
        let entry = |content: &[u8], seed| signed_entry(&sample_release(content), &[&publisher_signer(seed)]);
        let sent = entry(b"x", 1);
        for stored in [entry(b"x", 1), entry(b"x", 2)] {
            assert_eq!(check(&proof(&stored), &sent, None).unwrap(), Hash::leaf(&stored));
        }
        for other in [entry(b"y", 1), b"junk".to_vec()] {
            let refused = check(&proof(&other), &sent, None).unwrap_err();
            assert!(matches!(refused, Failure::Refused { code, .. } if code == "wrong-entry"));
        }
        let without = ProofFile { extra: None, ..proof(&sent) };
        assert!(check(&without, &sent, None).is_err());
        // The same statement, and proven of another entry.
        let moved = ProofFile { extra: Some(entry(b"x", 2)), ..proof(&sent) };
        assert!(check(&moved, &sent, None).is_err());
    }
}
