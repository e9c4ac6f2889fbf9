//! Verdicts that ask the log: what to fetch, and what the answers prove. The caller fetches.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{c_char, c_void};

use treehead::checkpoint::policy::Cosigned;
use treehead::checkpoint::{self, Checkpoint, CheckpointError, LogSigned};
use treehead::endpoint::{
    CompareError, EndpointState, History, Refusal, VerdictCode, VerifiedRelease, check_freshness,
    compare_history, contradicted, head_of,
};
use treehead::merkle::{HASH_BYTES, Hash, TILE_WIDTH, Tile, TileReader, TreeSize, hashes_from_bytes};
use treehead::note::MAX_NOTE_BYTES;

use crate::args::{self, Out};
use crate::fail::{Done, Fail, th_status};
use crate::memory::{Memory, th_memory};
use crate::object::{Handle, Object, handle};
use crate::question::{Asked, th_question};
use crate::text::{finish, put_text, status, th_text};
use crate::trust::{Trusted, th_trust};
use crate::verdict::{No, Outcome, check_place, th_verdict};
use crate::verify::{Session, judge, lock_memory, put_failure, with_memory};

/// A check that asks the log, without callbacks: it says what to fetch, the caller fetches and answers, until nothing is
/// left to fetch. One thread at a time. The memory is not held meanwhile.
pub struct th_check(Object<Check>);

handle!(th_check of Check, b"chec");

/// Fetches `path` from below the log's address, such as "checkpoint" or "tile/0/x001/234.p/5", as a GET request would, past
/// every cache. Writes at most `capacity` bytes to `data`, which must be the whole answer, and their number to `length`.
/// Returns the HTTP status; 0 if there was no answer, or a longer one.
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
    tiles: BTreeMap<Tile, Vec<Hash>>,
    requests: Vec<Request>,
    /// What the log's answers prove, once they are all there; `None` if it was not asked.
    news: Option<Result<News, No>>,
    is_finished: bool,
}

/// Something to fetch.
#[derive(Clone, Copy)]
enum Request {
    Checkpoint,
    /// A tile, and the one that is asked for: the full one, where the log dropped the partial one.
    Tile {
        wanted: Tile,
        asked: Tile,
    },
}

struct News {
    latest: Cosigned<Checkpoint>,
    /// Heads that are proven to be prefixes of it.
    compared: Vec<(TreeSize, Hash)>,
}

/// Tiles that are here; the error lists those that are not.
struct Here<'a>(&'a BTreeMap<Tile, Vec<Hash>>);

impl TileReader for Here<'_> {
    type Error = Vec<Tile>;

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<Hash>>, Vec<Tile>> {
        let missing: Vec<Tile> = tiles.iter().copied().filter(|tile| !self.0.contains_key(tile)).collect();
        if missing.is_empty() {
            Ok(tiles.iter().filter_map(|tile| self.0.get(tile).cloned()).collect())
        } else {
            Err(missing)
        }
    }
}

impl Request {
    fn path(self) -> String {
        match self {
            Self::Checkpoint => "checkpoint".into(),
            Self::Tile { asked, .. } => asked.to_string(),
        }
    }

    /// Most bytes of the answer. One hash more than the tile has, so that a tile that is too long is noticed.
    const fn most(self) -> usize {
        match self {
            Self::Checkpoint => MAX_NOTE_BYTES,
            Self::Tile { asked, .. } => (asked.width() + 1) * HASH_BYTES,
        }
    }
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
        let first = judge(trust, &before, &asked, true).err();
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
            tiles: BTreeMap::new(),
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
        if let Err(no) = self.take(request, http_status, body) {
            self.requests.clear();
            self.news = Some(Err(no));
        } else if self.requests.is_empty() {
            self.compare();
        }
        Ok(())
    }

    fn take(&mut self, request: Request, http_status: i32, body: &[u8]) -> Result<(), No> {
        let failed = |what: &str| No::could_not_tell(alloc::format!("the log's {}: {what}", request.path()));
        if let Request::Tile { wanted, asked } = request
            && matches!(http_status, 404 | 410)
            && !asked.is_full()
            && let Some(full) = Tile::new(asked.id, TILE_WIDTH)
        {
            self.requests.push(Request::Tile { wanted, asked: full });
            return Ok(());
        }
        match http_status {
            200 if body.len() <= request.most() => {}
            200 => return Err(failed("longer than it can be")),
            0 => return Err(failed("no answer")),
            other => return Err(failed(&alloc::format!("status {other}"))),
        }
        match request {
            Request::Checkpoint => {
                self.latest = Some(self.open(body)?);
            }
            Request::Tile { wanted, asked } => {
                let mut hashes = hashes_from_bytes(body, asked.width()).ok_or_else(|| {
                    failed(&alloc::format!("{} bytes, not {} hashes", body.len(), asked.width()))
                })?;
                hashes.truncate(wanted.width());
                self.tiles.insert(wanted, hashes);
            }
        }
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

    /// Compares the newest head with all that were seen, or asks for the tiles that this needs.
    fn compare(&mut self) {
        let (Some(latest), Some(seen)) = (&self.latest, &self.seen) else { return };
        let trust = self.trusted.get();
        let keys = trust.policy.log_keys();
        let origin = latest.get().origin.to_string();
        let compared =
            compare_history(&Here(&self.tiles), &keys, latest, &self.before, core::slice::from_ref(seen));
        let news = match compared {
            Err(missing) => {
                let missing: BTreeSet<Tile> = missing.into_iter().collect();
                self.requests =
                    missing.into_iter().map(|wanted| Request::Tile { wanted, asked: wanted }).collect();
                return;
            }
            Ok(Err(CompareError::NoFork(e))) => {
                Err(No::Other(Fail::coded(th_status::TH_COULD_NOT_TELL, VerdictCode::NoFork, e.to_string())))
            }
            Ok(Err(CompareError::Tiles(e))) => {
                Err(No::could_not_tell(alloc::format!("the log's tiles do not lead to its newest head: {e}")))
            }
            Ok(Ok(History::Forked(fork))) => Err(No::Forked { origin, fork, evidence_name: None }),
            Ok(Ok(History::RolledBack { shown, .. })) => Err(No::Other(Fail::coded(
                th_status::TH_REFUSED,
                VerdictCode::LogRolledBack,
                alloc::format!(
                    "the log serves an older head than one it signed: expected at least size {}, saw {}",
                    shown.size,
                    latest.get().size
                ),
            ))),
            // After the comparison: a head that too few witnesses cosigned still convicts the log that signed it.
            Ok(Ok(History::Continues(compared))) => trust
                .policy
                .check(latest)
                .map(|latest| News { latest, compared })
                .map_err(|e| Refusal::Quorum(e).into()),
        };
        self.news = Some(news);
    }

    /// The verdict, with the memory as it is now: another process may have changed it since the log was asked.
    fn verdict(&mut self, session: &mut Session<'_>) -> Outcome {
        let news = match self.news.take() {
            Some(Ok(news)) => {
                let keys = session.trust.policy.log_keys();
                let head = news.latest.get();
                match contradicted(session.state, &keys, head, news.latest.note()) {
                    Some(fork) => {
                        Some(Err(No::Forked { origin: head.origin.to_string(), fork, evidence_name: None }))
                    }
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

    fn accept(&self, news: News, session: &mut Session<'_>) -> Outcome {
        let judged = session.judge(&self.asked, true).and_then(|release| {
            // If the newest head is stale, no newer proof helps.
            check_freshness(session.trust.policy, &news.latest, self.asked.freshness)?;
            Ok(release)
        });
        let mut outcome = Outcome::of(judged);
        match &mut outcome.result {
            Ok(release) => outcome.forgot_a_head = remember(release, &news, session),
            Err(no) => session.learn_fork(no),
        }
        outcome.latest = Some(news.latest);
        outcome
    }
}

fn remember(release: &VerifiedRelease, news: &News, session: &mut Session<'_>) -> bool {
    let forgot = session.remember(release);
    // After the head of its proof, which was compared with the newest one.
    news.teach(session);
    forgot
}

impl News {
    fn teach(&self, session: &mut Session<'_>) {
        session.state.confirm(&self.latest, &self.compared);
        session.has_learnt = true;
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
    outcome.put(verdict, check.asked.freshness.now, check.asked.wants_json.then_some(&check.digest))
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

/// The path of a request below the log's address, and the most bytes that the answer may have (NULL: not wanted).
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
        put_text(path, &request.path())
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

/// Like th_verify, and asks the log: its newest head must continue every head that was seen before, and max_age applies to
/// that head, not to the proof's.
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
        while let Some(request) = check.requests.first().copied() {
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
