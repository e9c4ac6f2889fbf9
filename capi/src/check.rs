//! Verdicts that ask the log: what to fetch, and what the answers prove. The caller fetches.

use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{c_char, c_void};

use treehead::checkpoint::{self, Checkpoint, CheckpointError, LogSigned};
use treehead::endpoint::{
    About, EndpointState, Refusal, VerifiedRelease, WithdrawalSearch, Withdrawals, check_freshness,
    contradicted, head_of,
};
use treehead::merkle::{Hash, TreeSize};

use crate::answers::{Answers, Request};
use crate::args;
use crate::fail::{Done, Fail, th_status};
use crate::json;
use crate::memory::{Memory, th_memory};
use crate::news::{News, Stop, compare, forked};
use crate::object::{Handle, Object, handle};
use crate::out::Out;
use crate::question::{Asked, th_question};
use crate::text::{finish, put_text, status, th_text};
use crate::trust::{Trusted, th_trust};
use crate::verdict::{No, Outcome, check_place, th_verdict};
use crate::verify::{Session, judge, lock_memory, put_failure, with_memory};

/// A check that asks the log, without callbacks: it says what to fetch, the caller fetches and answers, until nothing is
/// left to fetch. One thread at a time. The memory is not held meanwhile.
pub struct th_check(Object<Check>);

handle!(th_check of Check, b"chec");

/// Fetches `path` from below the log's address, such as "checkpoint", "tile/0/x001/234.p/5" or
/// "releases?limit=100&withdraws=...", as a GET request would, past every cache. Writes at most `capacity` bytes to `data`,
/// which must be the whole answer, and their number to `length`. Returns the HTTP status; 0 if there was no answer, or a
/// longer one.
pub type th_fetch = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        path: *const c_char,
        data: *mut u8,
        capacity: usize,
        length: *mut usize,
    ) -> i32,
>;

pub(crate) struct Check {
    trusted: Arc<Trusted>,
    asked: Asked<Vec<u8>, String>,
    digest: [u8; 32],
    before: EndpointState,
    /// The refusal by the memory as it was before: no answer of the log overturns it, unless by a fork.
    first: Option<No>,
    /// The head of the proof.
    seen: Option<LogSigned<Checkpoint>>,
    /// The log's newest head.
    latest: Option<LogSigned<Checkpoint>>,
    answers: Answers,
    requests: Vec<Request>,
    /// The release that passed, with the search for its withdrawals. `None` if the file is refused anyway.
    about: Option<(VerifiedRelease, WithdrawalSearch)>,
    /// The reason that an answer can't be used: nothing more is asked.
    failed: Option<No>,
    /// The heads that were compared, once they all were.
    compared: Option<Vec<(TreeSize, Hash)>>,
    /// What the log's answers prove, once they are all there; `None` if it was not asked.
    news: Option<Result<News, No>>,
    is_finished: bool,
}

impl Check {
    fn new(
        trusted: &Arc<Trusted>,
        memory: Option<&mut Memory>,
        asked: Asked<Vec<u8>, String>,
        digest: [u8; 32],
    ) -> Done<Self> {
        let mut before = EndpointState::default();
        with_memory(trusted.get(), memory, |session| {
            before = session.state.clone();
            Vec::new()
        })?;
        let trust = trusted.get();
        let (about, first) = match judge(trust, &before, &asked, true) {
            Ok(release) => {
                let search = WithdrawalSearch::new(&release);
                (Some((release, search)), None)
            }
            Err(no) => (None, Some(no)),
        };
        let seen = head_of(&asked.proof, &trust.policy.log_keys());
        // Without a head that a trusted log signed there is no log to ask, and a fork needs no further answer.
        let asks = seen.is_some() && !matches!(first, Some(No::Forked { .. }));
        Ok(Self {
            trusted: trusted.clone(),
            asked,
            digest,
            before,
            first,
            seen,
            latest: None,
            answers: Answers::default(),
            about,
            failed: None,
            compared: None,
            requests: if asks { alloc::vec![Request::Checkpoint] } else { Vec::new() },
            news: None,
            is_finished: false,
        })
    }

    fn answer(&mut self, at: usize, http_status: i32, body: &[u8]) -> Done {
        if at >= self.requests.len() {
            return Err(Fail::argument("there is no such request"));
        }
        let request = self.requests.remove(at);
        if let Err(no) = self.take(&request, http_status, body) {
            self.requests.clear();
            self.failed = Some(no);
        }
        if self.requests.is_empty() {
            match self.conclude() {
                Ok(news) => self.news = Some(Ok(news)),
                Err(Stop::No(no)) => self.news = Some(Err(no)),
                Err(Stop::Missing(missing)) => self.requests = missing.requests(),
            }
        }
        Ok(())
    }

    fn take(&mut self, request: &Request, http_status: i32, body: &[u8]) -> Result<(), No> {
        if let Request::Checkpoint = request {
            self.latest = Some(self.open(request.body(http_status, body)?)?);
            return Ok(());
        }
        let tree = self.latest.as_ref().map_or(TreeSize::ZERO, |latest| latest.get().size);
        self.requests.extend(self.answers.take(request, http_status, body, tree)?);
        Ok(())
    }

    /// The newest head of the log whose proof this is. Another log's head says nothing.
    fn open(&self, body: &[u8]) -> Result<LogSigned<Checkpoint>, No> {
        let expected = self.seen.as_ref().map_or("", |seen| seen.get().origin.as_str());
        let another = |seen: &str| {
            No::could_not_tell(alloc::format!(
                "the address is of another log: expected {expected}, saw {seen}"
            ))
        };
        match checkpoint::open(body, &self.trusted.get().policy.log_keys()) {
            Ok(latest) if latest.get().origin.as_str() == expected => Ok(latest),
            Ok(latest) => Err(another(latest.get().origin.as_str())),
            Err(CheckpointError::WrongOrigin { seen, .. }) => Err(another(&seen)),
            Err(e) => Err(No::could_not_tell(alloc::format!("the log's newest head: {e}"))),
        }
    }

    /// What all answers prove, or what is still missing.
    fn conclude(&mut self) -> Result<News, Stop> {
        let trusted = self.trusted.clone();
        let trust = trusted.get();
        let failed = match (&self.compared, self.failed.take()) {
            (None, Some(no)) => return Err(no.into()),
            (_, failed) => failed,
        };
        let Some(latest) = &self.latest else {
            return Err(No::could_not_tell("the log was not asked").into());
        };
        if self.compared.is_none() {
            let heads = (&self.answers, &self.before);
            self.compared = Some(compare(trust, latest, heads, self.seen.as_ref())?);
        }
        let compared = self.compared.clone().unwrap_or_default();
        // After the comparison: a head that too few witnesses cosigned still convicts the log that signed it.
        let cosigned = trust.policy.check(latest).map_err(|e| No::from(Refusal::Quorum(e)))?;
        let withdrawals = match (&mut self.about, failed) {
            (None, _) => Ok(Withdrawals::default()),
            (Some(_), Some(no)) => Err(no),
            (Some((release, search)), None) => {
                let about = About { trust, state: &self.before, latest, release };
                match search.run(&self.answers, about).map_err(|e| Stop::of(e, &latest.get().origin)) {
                    Ok(learnt) => Ok(learnt),
                    // Without an answer about withdrawals the heads are compared all the same, and remembered.
                    Err(Stop::No(no)) if !matches!(no, No::Forked { .. }) => Err(no),
                    Err(stop) => return Err(stop),
                }
            }
        };
        Ok(News { latest: cosigned, compared, withdrawals })
    }

    /// The verdict, with the memory as it is now: another process may have changed it since the log was asked.
    fn verdict(&mut self, session: &mut Session<'_>) -> Outcome {
        let news = match self.news.take() {
            Some(Ok(news)) => {
                let keys = session.trust.policy.log_keys();
                let fork = news.heads().find_map(|head| {
                    let fork = contradicted(session.state, &keys, head.get(), head.note())?;
                    Some(forked(&head.get().origin, fork))
                });
                match fork {
                    Some(fork) => Some(Err(fork)),
                    None => {
                        news.teach(session);
                        Some(Ok(news))
                    }
                }
            }
            other => other,
        };
        let result = match (self.first.take(), news) {
            (Some(first @ No::Forked { .. }), _) => Err(first),
            (_, Some(Err(fork @ No::Forked { .. }))) => Err(fork),
            (Some(first), Some(Ok(_))) => match session.judge(&self.asked, true) {
                Err(fork @ No::Forked { .. }) => Err(fork),
                _ => Err(first),
            },
            (Some(first), _) => Err(first),
            (None, Some(Err(error))) => Err(error),
            (None, Some(Ok(news))) => return self.accept(news, session),
            (None, None) => Err(No::could_not_tell("the log was not asked")),
        };
        let mut outcome = Outcome::of(result);
        if let Err(no) = &mut outcome.result {
            session.learn_fork(no);
        }
        outcome
    }

    fn accept(&self, mut news: News, session: &mut Session<'_>) -> Outcome {
        let withdrawals = core::mem::replace(&mut news.withdrawals, Ok(Withdrawals::default()));
        let judged = session.judge(&self.asked, true).and_then(|release| {
            let withdrawals = withdrawals?;
            if let Some(doubt) = &withdrawals.doubt {
                return Err(No::could_not_tell(doubt.to_string()));
            }
            // If the newest head is stale, no newer proof helps.
            check_freshness(session.trust.policy, &news.latest, self.asked.freshness)?;
            Ok((release, withdrawals))
        });
        let mut outcome = match judged {
            Ok((release, withdrawals)) => {
                let forgot_a_head = session.remember(&release);
                let asked_for_withdrawals = withdrawals.asked;
                news.withdrawals = Ok(withdrawals);
                // After the head of its proof, which was compared with the newest one.
                news.teach(session);
                Outcome { asked_for_withdrawals, forgot_a_head, ..Outcome::of(Ok(release)) }
            }
            Err(no) => Outcome::of(Err(no)),
        };
        if let Err(no) = &mut outcome.result {
            session.learn_fork(no);
        }
        outcome.latest = Some(news.latest);
        outcome
    }
}

unsafe fn begin(
    trust: *const th_trust,
    memory: *const th_memory,
    question: *const th_question,
) -> Done<Check> {
    let trusted = th_trust::get(trust)?;
    let asked = Asked::read(question)?.into_owned();
    let mut memory = lock_memory(memory)?;
    Check::new(trusted, memory.as_deref_mut(), asked, (*question).sha256)
}

unsafe fn end(check: &mut Check, memory: *const th_memory, verdict: *mut th_verdict) -> Done<th_status> {
    check_place(verdict)?;
    if check.is_finished {
        return Err(Fail::argument("a check has one verdict"));
    }
    let outcome = if check.requests.is_empty() {
        let mut memory = lock_memory(memory)?;
        check.is_finished = true;
        let trusted = check.trusted.clone();
        let outcomes =
            with_memory(trusted.get(), memory.as_deref_mut(), |session| alloc::vec![check.verdict(session)])?;
        outcomes.into_iter().next()
    } else {
        None
    };
    let outcome =
        outcome.unwrap_or_else(|| Outcome::of(Err(No::could_not_tell("requests wait for answers"))));
    let json = check.asked.wants_json.then(|| json::verdict(&outcome, &check.digest));
    outcome.put(verdict, check.asked.freshness.now, json)
}

/// Begins a check. `memory` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_check_new(
    trust: *const th_trust,
    memory: *mut th_memory,
    question: *const th_question,
    check: *mut *mut th_check,
    message: *mut th_text,
) -> th_status {
    finish(
        message,
        (|| {
            let out = Out::new(check)?;
            out.set(th_check::boxed(begin(trust, memory, question)?));
            Ok(())
        })(),
    )
}

/// The number of requests that wait for answers; 0: finish. They may be fetched in any order, or at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_check_requests(check: *const th_check) -> usize {
    th_check::lock(check).map_or(0, |check| check.requests.len())
}

/// The path of a request below the log's address, and the most bytes that the answer may have (NULL: not wanted). TH_TOO_SMALL
/// if the path does not fit, which is some kilobytes long if the package's name is: no part of it is written then, and
/// path->length says how long it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_check_request(
    check: *const th_check,
    at: usize,
    path: *mut th_text,
    most: *mut usize,
) -> th_status {
    status((|| {
        let most = Out::optional(most)?;
        let check = th_check::lock(check)?;
        let request = check.requests.get(at).ok_or_else(|| Fail::argument("there is no such request"))?;
        most.into_iter().for_each(|most| most.set(request.most()));
        let Some(place) = path.as_mut() else { return Ok(()) };
        let text = request.path();
        // Half a query would be another question.
        if text.len() < place.capacity {
            return put_text(place, &text);
        }
        put_text(place, "")?;
        place.length = text.len();
        Err(Fail::new(th_status::TH_TOO_SMALL, "there is not room for the path"))
    })())
}

/// The log's address, as the trust file has it; empty if it has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_check_address(check: *const th_check, address: *mut th_text) -> th_status {
    status((|| {
        let check = th_check::lock(check)?;
        let logs = check.trusted.get().policy.logs().iter();
        let origin = check.seen.as_ref().map(|seen| &seen.get().origin);
        let mut of_log = logs.filter(|log| Some(&log.origin) == origin);
        put_text(address, of_log.find_map(|log| log.url.as_deref()).unwrap_or_default())
    })())
}

/// Answers a request with the HTTP status (0: no answer) and the body. The requests behind it move up by one; the last
/// answer may bring new ones.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_check_answer(
    check: *mut th_check,
    at: usize,
    http_status: i32,
    data: *const u8,
    length: usize,
) -> th_status {
    status((|| {
        let body = args::bytes(data, length)?;
        th_check::lock(check)?.answer(at, http_status, body)
    })())
}

/// The verdict, once. TH_COULD_NOT_TELL while requests wait. `memory` is the one that the check began with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_check_finish(
    check: *mut th_check,
    memory: *mut th_memory,
    verdict: *mut th_verdict,
) -> th_status {
    let result = th_check::lock(check).and_then(|mut check| end(&mut check, memory, verdict));
    result.unwrap_or_else(|fail| put_failure(&[verdict], fail))
}

/// Frees a check.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_check_free(check: *mut th_check) {
    th_check::free(check);
}

/// Like th_verify, and asks the log: its newest head must continue every head that was seen before, the release must not be
/// withdrawn, and max_age applies to that head, not to the proof's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_verify_online(
    trust: *const th_trust,
    memory: *mut th_memory,
    question: *const th_question,
    fetch: th_fetch,
    context: *mut c_void,
    verdict: *mut th_verdict,
) -> th_status {
    let result = (|| {
        check_place(verdict)?;
        let fetch = fetch.ok_or_else(|| Fail::argument("fetch is NULL"))?;
        let mut check = begin(trust, memory, question)?;
        while let Some(request) = check.requests.first() {
            let mut path = request.path().into_bytes();
            path.push(0);
            let mut body = alloc::vec![0; request.most()];
            let mut length = 0;
            let status = fetch(context, path.as_ptr().cast(), body.as_mut_ptr(), body.len(), &raw mut length);
            match body.get(..length) {
                Some(body) => check.answer(0, status, body)?,
                None => check.answer(0, 0, &[])?,
            }
        }
        end(&mut check, memory, verdict)
    })();
    result.unwrap_or_else(|fail| put_failure(&[verdict], fail))
}
