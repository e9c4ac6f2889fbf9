//! Appends entries: `POST /add` and `POST /add-batch`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::log::in_turn;
use super::warnings::{Remarks, remarks};
use super::{Log, Problem, Profile, withdrawal};
use crate::clock;
use crate::format::{FormatError, cap, quote};
use crate::http::admission::{Received, Upload};
use crate::http::json::Json;
use crate::http::problem::blocking;
use crate::merkle::{Hash, LeafIndex};
use crate::proof::bundle;
use crate::release::{
    Facts, KeySearch, MAX_ENTRY_BYTES, MAX_SUBMISSION_BYTES, Publishers, SubmittedEnvelope, VerifiedStatement,
};
use crate::sequencer::{Candidate, Outcome, Published, Sequenced, SubmitError, Wait};
use crate::store::MAX_BATCH_ENTRIES;

/// Largest body of `/add-batch`: a full batch of 2 KiB entries, or fewer larger ones.
pub const MAX_BATCH_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Most withdrawals in a batch: each reads an entry somewhere in the log.
pub const MAX_BATCH_WITHDRAWALS: usize = 64;
/// Media type of a `.tlog-proof` file.
pub const PROOF_MEDIA_TYPE: &str = "text/x-tlog-proof; charset=utf-8";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddQuery {
    wait: Option<String>,
}

/// The form of an answer, chosen by `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerForm {
    Text,
    Json,
    Proof,
}

/// The JSON answer for an entry.
#[derive(Debug, Serialize)]
struct EntryAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    /// Leaf hash of the entry in the log, which may differ from the one that was sent; of the sent one if it was
    /// refused.
    leaf_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    /// Size of the published tree with the entry, if the request waited for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tree_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EntryError>,
    #[serde(flatten)]
    remarks: Remarks,
}

#[derive(Debug, Serialize)]
struct EntryError {
    code: &'static str,
    detail: String,
}

pub async fn add(State(log): State<Log>, uri: Uri, body: Upload) -> Result<Response, Problem> {
    let answer = add_one(&log, &uri, body).await;
    answer.inspect_err(|problem| log.inner.refusals.count(problem.row().outcome))
}

pub async fn add_batch(State(log): State<Log>, uri: Uri, body: Upload) -> Result<Response, Problem> {
    let answer = add_many(&log, &uri, body).await;
    answer.inspect_err(|problem| log.inner.refusals.count(problem.row().outcome))
}

async fn add_one(log: &Log, uri: &Uri, body: Upload) -> Result<Response, Problem> {
    let wait = parse_wait(log, uri)?;
    let form = parse_accept(&body.headers, &[AnswerForm::Text, AnswerForm::Json, AnswerForm::Proof])?;
    let limit = match log.profile() {
        Profile::Release => MAX_SUBMISSION_BYTES,
        Profile::Opaque => MAX_ENTRY_BYTES,
    };
    let received = receive(log, "an entry", body, limit).await?;
    let (candidate, withdrawal) = match read(&received.bytes, log)? {
        Read::Statement(sent) if sent.is_slow() => Box::pin(admit_slowly(log, sent)).await?,
        entry => admit(entry, log, &log.publishers(), &mut KeySearch::for_entry())?,
    };
    let leaf_hash = candidate.leaf_hash;
    // The rare steps are in boxes: each connection keeps room for the largest future of its requests.
    let (candidate, remarks) = if withdrawal.is_some() || form == AnswerForm::Json {
        Box::pin(look(log, candidate, withdrawal, form)).await?
    } else {
        (candidate, None)
    };
    // A proof leads to a published head, so a request for one waits for that.
    let wait = if form == AnswerForm::Proof { wait.max(Wait::Published) } else { wait };
    let queued = log.sequencer().submit(vec![candidate], wait)?;
    // The queue has the entry: that ends the right to check its body.
    drop(received);
    let Outcome { mut results, head } = outcome(log, queued, wait).await?;
    let result = results.remove(0);
    let index = result.as_ref().map_err(Clone::clone)?.index;
    match (form, head) {
        (AnswerForm::Proof, Some(head)) => Box::pin(proof(log, index, head)).await,
        (AnswerForm::Json, head) => {
            Ok(Json(answer(leaf_hash, &result, head.as_deref(), remarks)).into_response())
        }
        _ => Ok(index.to_string().into_response()),
    }
}

/// Like [`admit`], off the threads that serve connections.
async fn admit_slowly(log: &Log, sent: SubmittedEnvelope) -> Result<Admitted, Problem> {
    let (of, publishers) = (log.clone(), log.publishers());
    let admit = move || admit(Read::Statement(sent), &of, &publishers, &mut KeySearch::for_slow_entry());
    in_turn(&log.inner.checks, admit).await?
}

/// Compares a withdrawal with the release that it names, and finds the remarks on an entry. Both read the store.
async fn look(
    log: &Log,
    candidate: Candidate,
    withdrawal: Option<Box<VerifiedStatement>>,
    form: AnswerForm,
) -> Result<(Candidate, Option<Remarks>), Problem> {
    let log = log.clone();
    let look = move || {
        withdrawal.map_or(Ok(()), |verified| withdrawal::check(&log, &log.publishers(), &verified))?;
        let remarks = remarks_for(form, &log, std::slice::from_ref(&candidate)).pop();
        Ok((candidate, remarks))
    };
    blocking(look).await?
}

/// The answer with the proof file of an entry.
async fn proof(log: &Log, index: LeafIndex, head: Arc<Published>) -> Result<Response, Problem> {
    let log = log.clone();
    let proof = blocking(move || log.proof_file(index, &head)).await??;
    Ok(([(header::CONTENT_TYPE, PROOF_MEDIA_TYPE)], proof.to_string()).into_response())
}

async fn add_many(log: &Log, uri: &Uri, body: Upload) -> Result<Response, Problem> {
    let wait = parse_wait(log, uri)?;
    let form = parse_accept(&body.headers, &[AnswerForm::Text, AnswerForm::Json])?;
    let received = receive(log, "a batch", body, MAX_BATCH_BODY_BYTES).await?;
    let spans = bundle::spans(&received.bytes, MAX_BATCH_ENTRIES)?;
    if spans.is_empty() {
        return Err(FormatError::malformed("a batch", "at least one entry", "none").into());
    }
    // Before thousands of entries are hashed and their signatures checked in vain.
    let place = log.sequencer().reserve(spans.len(), received.bytes.len())?;
    let (of, publishers) = (log.clone(), log.publishers());
    // Thousands of signatures: not on a thread that serves others. The pool bounds what is in it, so the right
    // to be checked ends when this is done, and no sooner.
    let admit = move || {
        let received = received;
        let entries = spans.into_iter().map(|span| &received.bytes[span]);
        let candidates = admit_batch(&of, entries, &publishers)?;
        let remarks = remarks_for(form, &of, &candidates);
        Ok::<_, Problem>((candidates, remarks))
    };
    let (candidates, remarks) = in_turn(&log.inner.checks, admit).await??;
    let leaf_hashes: Vec<Hash> = candidates.iter().map(|candidate| candidate.leaf_hash).collect();
    let queued = log.sequencer().submit_reserved(place, candidates, wait)?;
    let Outcome { results, head } = outcome(log, queued, wait).await?;
    if form == AnswerForm::Json {
        let each = leaf_hashes.into_iter().zip(&results).zip(remarks);
        let answers =
            each.map(|((hash, result), remarks)| answer(hash, result, head.as_deref(), Some(remarks)));
        return Ok(Json(answers.collect::<Vec<EntryAnswer>>()).into_response());
    }
    let line = |result: &Result<Sequenced, SubmitError>| match result {
        Ok(sequenced) => format!("{}\n", sequenced.index),
        Err(e) => format!("error {}\n", Problem::Submit(e.clone()).code()),
    };
    Ok(results.iter().map(line).collect::<String>().into_response())
}

/// The remarks on the entries of a submission. Only answers in JSON have any.
fn remarks_for(form: AnswerForm, log: &Log, candidates: &[Candidate]) -> Vec<Remarks> {
    if form == AnswerForm::Json { remarks(log, candidates) } else { Vec::new() }
}

/// Waits for queued entries, and checks that the head came for which the request waited.
async fn outcome(log: &Log, queued: oneshot::Receiver<Outcome>, wait: Wait) -> Result<Outcome, Problem> {
    let outcome = queued.await.map_err(|_| SubmitError::ShuttingDown)?;
    // A storage error is no answer to one entry: the client has to send the whole request again.
    let mut errors = outcome.results.iter().filter_map(|result| result.as_ref().err());
    if let Some(error) = errors.find(|e| {
        matches!(
            e,
            SubmitError::Storage(_)
                | SubmitError::RolledBack(_)
                | SubmitError::Damaged(_)
                | SubmitError::Standby { .. }
        )
    }) {
        return Err(error.clone().into());
    }
    match outcome.results.iter().flatten().map(|sequenced| sequenced.index).max() {
        Some(index) if wait >= Wait::Published && outcome.head.is_none() => {
            Err(Problem::NotPublished { index, fault: log.sequencer().fault() })
        }
        _ => Ok(outcome),
    }
}

fn answer(
    leaf_hash: Hash,
    result: &Result<Sequenced, SubmitError>,
    head: Option<&Published>,
    remarks: Option<Remarks>,
) -> EntryAnswer {
    let sequenced = result.as_ref().ok();
    EntryAnswer {
        index: sequenced.map(|s| s.index.get()),
        leaf_hash: sequenced.and_then(|s| s.stored).unwrap_or(leaf_hash).to_hex(),
        duplicate: sequenced.map(|s| s.duplicate),
        tree_size: sequenced.and(head).map(|head| head.checkpoint.size.get()),
        error: result.as_ref().err().map(|e| {
            let problem = Problem::Submit(e.clone());
            EntryError { code: problem.code(), detail: problem.to_string() }
        }),
        // A duplicate or a refused entry changes nothing, so there is nothing to warn about.
        remarks: remarks.filter(|_| sequenced.is_some_and(|s| !s.duplicate)).unwrap_or_default(),
    }
}

/// An entry as it was sent.
enum Read<'a> {
    /// To a log that takes anything.
    Opaque(&'a [u8]),
    Statement(SubmittedEnvelope),
}

/// An entry to be appended, and the withdrawal that it is, which is yet to be compared with the release that it names.
type Admitted = (Candidate, Option<Box<VerifiedStatement>>);

/// Reads an entry as it was sent.
fn read<'a>(bytes: &'a [u8], log: &Log) -> Result<Read<'a>, Problem> {
    if bytes.is_empty() {
        return Err(FormatError::malformed("an entry", "a body", "none").into());
    }
    match log.profile() {
        Profile::Opaque => {
            cap("an entry", bytes.len(), MAX_ENTRY_BYTES)?;
            Ok(Read::Opaque(bytes))
        }
        Profile::Release => Ok(Read::Statement(SubmittedEnvelope::parse(bytes)?)),
    }
}

/// Decides whether this log takes an entry, as far as can be told without the store. What is appended is printed from what
/// was parsed, with the signatures that count; never the received bytes.
fn admit(
    entry: Read<'_>,
    log: &Log,
    publishers: &Publishers,
    search: &mut KeySearch,
) -> Result<Admitted, Problem> {
    match entry {
        Read::Opaque(bytes) => Ok((Candidate::new(bytes.to_vec(), Facts::default()), None)),
        Read::Statement(sent) => {
            let (envelope, verified) =
                publishers.admit(&sent, log.origin().as_str(), clock::now(), search)?;
            let facts = Facts::of(&envelope, verified.statement(), publishers);
            let withdrawal = verified.statement().as_withdrawal().is_some().then(|| Box::new(verified));
            Ok((Candidate::new(envelope.into_entry(), facts), withdrawal))
        }
    }
}

fn admit_batch<'a>(
    log: &Log,
    entries: impl ExactSizeIterator<Item = &'a [u8]>,
    publishers: &Publishers,
) -> Result<Vec<Candidate>, Problem> {
    let (mut withdrawals, mut search) = (0, KeySearch::for_batch(entries.len()));
    let mut admit = |entry: &[u8]| {
        let (candidate, withdrawal) = admit(read(entry, log)?, log, publishers, &mut search)?;
        if let Some(verified) = withdrawal {
            withdrawals += 1;
            if withdrawals > MAX_BATCH_WITHDRAWALS {
                return Err(Problem::TooManyWithdrawals { most: MAX_BATCH_WITHDRAWALS });
            }
            withdrawal::check(log, publishers, &verified)?;
        }
        Ok(candidate)
    };
    let in_batch = |(at, entry): (usize, &[u8])| {
        admit(entry).map_err(|problem| Problem::InBatch { at, problem: Box::new(problem) })
    };
    entries.enumerate().map(in_batch).collect()
}

/// Reads the state to wait for from the query.
fn parse_wait(log: &Log, uri: &Uri) -> Result<Wait, Problem> {
    // As nearly everybody writes it: axum's parser takes longer than the rest of the request's head.
    match uri.query() {
        None => return Ok(Wait::default()),
        Some("wait=sequenced") => return Ok(Wait::Sequenced),
        Some("wait=published") => return Ok(Wait::Published),
        Some(_) => {}
    }
    let has_witnesses = log.sequencer().has_witnesses();
    let expected = if has_witnesses {
        "?wait=sequenced, ?wait=published or ?wait=witnessed"
    } else {
        "?wait=sequenced or ?wait=published (this log has no witnesses to wait for)"
    };
    let wrong = |seen: &str| Problem::from(FormatError::malformed("a query", expected, quote(seen)));
    let query: Result<Query<AddQuery>, _> = Query::try_from_uri(uri);
    let Query(AddQuery { wait }) = query.map_err(|e| wrong(&e.to_string()))?;
    let Some(text) = wait else { return Ok(Wait::default()) };
    let wait = text.parse().ok().filter(|wait| *wait != Wait::Witnessed || has_witnesses);
    wait.ok_or_else(|| wrong(&format!("?wait={text}")))
}

/// Picks the first form on offer that `Accept` allows, regardless of weights.
fn parse_accept(headers: &HeaderMap, offered: &[AnswerForm]) -> Result<AnswerForm, Problem> {
    let media_type = |form: &AnswerForm| match form {
        AnswerForm::Text => "text/plain",
        AnswerForm::Json => "application/json",
        AnswerForm::Proof => "text/x-tlog-proof",
    };
    let Some(accept) = headers.get(header::ACCEPT) else { return Ok(AnswerForm::Text) };
    if matches!(accept.as_bytes(), b"*/*" | b"text/plain") {
        return Ok(AnswerForm::Text);
    }
    let accept = String::from_utf8_lossy(accept.as_bytes());
    for range in accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim()) {
        if matches!(range, "*/*" | "text/*") {
            return Ok(AnswerForm::Text);
        }
        if let Some(form) = offered.iter().find(|form| media_type(form).eq_ignore_ascii_case(range)) {
            return Ok(*form);
        }
    }
    let expected = offered.iter().map(media_type).collect::<Vec<_>>().join(", ");
    Err(Problem::NotAcceptable { expected, seen: quote(&accept) })
}

/// Receives a body, unless its headers or a full pool already rule it out.
async fn receive(log: &Log, what: &'static str, body: Upload, limit: usize) -> Result<Received, Problem> {
    let announced = body.announced(what, limit)?;
    if let Err(full) = log.sequencer().has_room(announced) {
        body.discard(limit);
        return Err(full.into());
    }
    Ok(log.inner.admission.receive_announced(what, body, limit).await?)
}
