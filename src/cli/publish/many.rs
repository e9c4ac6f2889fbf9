//! Publishes many releases, one on each line.
//!
//! Several requests are under way at once, and may overtake each other. The sequence numbers of one package and channel
//! have to grow in the log, so one sender sends all of these releases, and waits for each answer before it goes on.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use super::args::Publish;
use super::proofs::Proofs;
use super::report::{Report, Told};
use super::target::{NOT_SENT, sign, target};
use crate::cli::connection::Connection;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::{output, releases_file};
use crate::client::{BatchAnswer, BatchWriter, ClientError, ProblemCode, RefusedEntry, Wait};
use crate::proof::MAX_BUNDLE_ENTRIES;
use crate::release::Release;
use crate::signing::Signers;
use crate::threads;

/// Requests under way at once: while the log commits one batch, the next is signed and sent.
const SENDERS: usize = 4;
/// Entries after which a request is sent if its sender is idle: some hundred KiB, so that progress is visible
/// and a lost request costs little. A request keeps growing while its sender is busy.
const ENTRIES_PER_REQUEST: usize = 1_000;
/// Lines after which everything is sent: results are printed in the order of the lines, and must not wait for a
/// rare package.
const LINES_PER_ROUND: usize = 8_192;

pub fn publish(args: &Publish, from: &Path, signers: &Signers, json: bool) -> CliResult {
    for (option, given) in [("--proofs", args.proofs.is_some()), ("--bundle", args.bundle.is_some())] {
        if given && args.wait == Some(Wait::Sequenced) {
            return Err(Failure::no_proof_yet(option));
        }
    }
    // Reads the whole file before anything is sent: an error in the last line is found first.
    let mut total = 0_u64;
    releases_file::for_each(from, |_, _| {
        total += 1;
        Ok(())
    })?;
    if args.bundle.is_some() && total > MAX_BUNDLE_ENTRIES as u64 {
        return Err(Failure::Usage(format!(
            "--bundle: expected at most {MAX_BUNDLE_ENTRIES} releases in {}, saw {total}; {NOT_SENT}",
            from.display()
        )));
    }
    let bar = output::progress("publishing", total, "releases");
    let talk = bar.clone();
    let log = Connection::open(&args.log, args.patience, move |line| talk.suspend(|| output::say(line)))?;
    let (logs, origin) = bar.suspend(|| target(&args.trusted, args.origin.as_deref(), &log, json))?;
    let wants_proofs = args.proofs.is_some() || args.bundle.is_some();
    let open = || Proofs::open(args.proofs.as_deref(), args.bundle.as_ref(), logs, signers);
    let proofs = wants_proofs.then(open).transpose()?;
    let report = Mutex::new(Report::new(json));
    let run = Run {
        log: &log,
        wait: args.wait.unwrap_or_default(),
        proofs: proofs.as_ref(),
        report: &report,
        bar: &bar,
        failed: AtomicBool::new(false),
    };
    let started = Instant::now();
    let sent = run.send_all(from, &origin, signers);
    bar.finish_and_clear();
    let report = report.into_inner().expect("senders do not panic");
    let sent = sent.and_then(|()| match proofs {
        Some(proofs) if report.is_whole(total) => proofs.write_bundle(&log),
        _ => Ok(None),
    });
    report.finish(from, sent, total, started.elapsed())
}

/// One run of the command.
struct Run<'a> {
    log: &'a Connection,
    wait: Wait,
    proofs: Option<&'a Proofs<'a>>,
    report: &'a Mutex<Report>,
    bar: &'a indicatif::ProgressBar,
    /// A sender has given up: nothing more is read.
    failed: AtomicBool,
}

/// Entries being sent, each with its report.
#[derive(Default)]
struct Request {
    batch: BatchWriter,
    lines: Vec<Line>,
}

struct Line {
    told: Told,
    /// The entry, if its proof is wanted.
    entry: Option<Vec<u8>>,
}

impl Run<'_> {
    /// Signs all releases for the log of this origin, and sends them.
    fn send_all(&self, from: &Path, origin: &str, signers: &Signers) -> CliResult {
        std::thread::scope(|scope| {
            let start = || {
                let (queue, requests) = sync_channel::<Request>(1);
                let sender = threads::start_in(scope, "sender", move || self.send(&requests));
                sender.map(|sender| (queue, sender))
            };
            let (mut queues, mut senders) = start().map(|(queue, sender)| (vec![queue], vec![sender]))?;
            // Fewer senders are slower.
            for (queue, sender) in (1..SENDERS).map_while(|_| start().ok()) {
                queues.push(queue);
                senders.push(sender);
            }
            let mut lanes = Lanes::new(queues);
            let mut place = 0;
            let read = releases_file::for_each(from, |number, release| {
                let release = Release { log: Some(origin.to_owned()), ..release };
                let entry = sign(&release, signers)?;
                let told = Told::new(place, number, &release);
                place += 1;
                let line = Line { told, entry: self.proofs.map(|_| entry.clone()) };
                lanes.push(line, &release, &entry)?;
                if self.failed.load(Ordering::Relaxed) { Err(stopped()) } else { Ok(()) }
            });
            let read = read.and_then(|()| lanes.flush());
            drop(lanes);
            // A sender's error says more than that sending stopped.
            let sent = senders.into_iter().map(|sender| sender.join().expect("senders do not panic"));
            sent.collect::<Vec<CliResult>>().into_iter().collect::<CliResult>().and(read)
        })
    }

    /// Sends one request after the other, and stops at the first failure: later releases must not overtake it.
    fn send(&self, requests: &Receiver<Request>) -> CliResult {
        requests.iter().try_for_each(|request| {
            let sent = self.send_one(request);
            self.failed.fetch_or(sent.is_err(), Ordering::Relaxed);
            sent
        })
    }

    /// Sends a request. The log rejects a whole batch if this publisher may not release one of its entries: reports that
    /// entry, and sends the rest again. Since refusals seldom come alone, small batches follow, which grow while they
    /// are accepted.
    fn send_one(&self, request: Request) -> CliResult {
        let Request { mut batch, lines } = request;
        let mut lines = VecDeque::from(lines);
        let mut most = lines.len();
        while !lines.is_empty() {
            let part = batch.first(most);
            let ask = |client: &crate::client::LogClient| client.add_batch(&part, self.wait);
            match self.log.ask("publish the releases", ask) {
                Ok(answers) => {
                    let count = part.len();
                    for (line, answer) in lines.drain(..count).zip(answers) {
                        self.answered(&line, answer)?;
                    }
                    batch = batch.without(0..count);
                    most = most.saturating_mul(2);
                }
                Err(error) => {
                    let (code, RefusedEntry { at, detail }) = refused_entry(error, part.len())?;
                    let line = lines.remove(at).expect("it is one of them");
                    self.report.lock().expect("senders do not panic").refuse(&line.told, &code, detail)?;
                    self.bar.inc(1);
                    batch = batch.without(at..at + 1);
                    most = 1;
                }
            }
        }
        Ok(())
    }

    /// Reports the log's answer to a line, after fetching its proof if that is wanted.
    fn answered(&self, line: &Line, answer: BatchAnswer) -> CliResult {
        let proof = match (self.proofs, &line.entry, answer.index) {
            (Some(proofs), Some(entry), Some(_)) => Some(proofs.save(self.log, entry, &answer.leaf_hash)),
            _ => None,
        };
        self.bar.inc(1);
        self.report.lock().expect("senders do not panic").count(&line.told, answer, proof)
    }
}

/// The senders' queues, and the next request for each.
struct Lanes {
    queues: Vec<SyncSender<Request>>,
    next: Vec<Request>,
    /// Lines since the last flush.
    lines: usize,
}

impl Lanes {
    fn new(queues: Vec<SyncSender<Request>>) -> Self {
        let next = queues.iter().map(|_| Request::default()).collect();
        Self { queues, next, lines: 0 }
    }

    fn push(&mut self, line: Line, release: &Release, entry: &[u8]) -> CliResult {
        let mut hasher = DefaultHasher::new();
        (release.purl.package(), &release.channel).hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % self.queues.len() as u64).expect("below their number");
        let too_large = |e: crate::format::FormatError| Failure::Usage(e.to_string());
        if !self.next[lane].batch.push(entry).map_err(too_large)? {
            self.send(lane)?;
            self.next[lane].batch.push(entry).map_err(too_large)?;
        }
        self.next[lane].lines.push(line);
        self.lines += 1;
        if self.lines >= LINES_PER_ROUND {
            return self.flush();
        }
        if self.next[lane].lines.len() >= ENTRIES_PER_REQUEST {
            match self.queues[lane].try_send(std::mem::take(&mut self.next[lane])) {
                Ok(()) => {}
                Err(TrySendError::Full(request)) => self.next[lane] = request,
                Err(TrySendError::Disconnected(_)) => return Err(stopped()),
            }
        }
        Ok(())
    }

    fn send(&mut self, lane: usize) -> CliResult {
        self.queues[lane].send(std::mem::take(&mut self.next[lane])).map_err(|_| stopped())
    }

    fn flush(&mut self) -> CliResult {
        self.lines = 0;
        (0..self.next.len())
            .try_for_each(|lane| if self.next[lane].lines.is_empty() { Ok(()) } else { self.send(lane) })
    }
}

fn stopped() -> Failure {
    Failure::CouldNotTell("the log stopped answering".to_owned())
}

/// Returns the code and the entry for which the log rejected a batch of `count`. Any other error ends the run.
fn refused_entry(error: ClientError, count: usize) -> Result<(ProblemCode, RefusedEntry), Failure> {
    match error {
        ClientError::Status {
            status: 400 | 403 | 409 | 413 | 422,
            code: Some(code),
            entry: Some(entry),
            ..
        } if entry.at < count => Ok((code, *entry)),
        error => Err(Failure::append(error)),
    }
}
