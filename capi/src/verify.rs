//! Verdicts without the network.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use treehead::endpoint::{
    EndpointState, Proven, Refusal, Trust, TwoHistories, VerifiedRelease, contradicted, head_of, verify,
};

use crate::args;
use crate::fail::{Done, Fail, th_status};
use crate::json;
use crate::memory::{Memory, th_memory};
use crate::object::{Handle as _, Locked};
use crate::question::{Asked, th_question};
use crate::trust::th_trust;
use crate::verdict::{No, Outcome, check_place, th_verdict};

/// The part of a check in which the memory is locked.
pub(crate) struct Session<'a> {
    pub trust: Trust<'a>,
    pub state: &'a mut EndpointState,
    /// Set if the state is kept. Otherwise files of one call are no rollback of each other, but can show a fork.
    remembers: bool,
    /// Set if the state changed.
    pub has_learnt: bool,
    #[cfg(all(feature = "dir", unix))]
    dir: Option<&'a crate::dir::StateDir>,
}

impl Session<'_> {
    /// Judges with what is remembered. A fork outranks any other refusal: the log's signature on both heads proves it,
    /// whatever else is wrong with the proof or the file.
    pub fn judge<P: AsRef<[u8]>, S: AsRef<str>>(
        &self,
        asked: &Asked<P, S>,
        online: bool,
    ) -> Result<VerifiedRelease, No> {
        judge(self.trust, self.state, asked, online)
    }

    /// Like [`judge`](Self::judge) offline, by a proof that is open already.
    fn judge_by(
        &self,
        proven: &Result<Proven<'_>, Refusal>,
        asked: &Asked<&[u8], &str>,
    ) -> Result<VerifiedRelease, No> {
        let proven = proven.as_ref().map_err(Clone::clone);
        let verdict = proven.and_then(|proven| proven.judge(&asked.question(false), Some(self.state)));
        verdict.map_err(|refusal| refused(self.trust, self.state, asked.proof, refusal))
    }

    /// Remembers a fork before it is reported, and saves its evidence.
    pub fn learn_fork(&mut self, no: &mut No) {
        let No::Forked { origin, fork, evidence_name } = no else { return };
        #[cfg(all(feature = "dir", unix))]
        if let (Some(dir), TwoHistories::Proven(fork)) = (self.dir, &*fork) {
            // One file convicts a log: a log that signs one fork after another must not fill the disk.
            let known = self.state.known_fork(origin).and_then(|known| known.evidence.clone());
            let name = fork.file_name();
            *evidence_name = known.or_else(|| dir.keep(&name, &fork.to_bytes()).is_ok().then_some(name));
        }
        #[cfg(not(all(feature = "dir", unix)))]
        let _ = (fork as &TwoHistories, &evidence_name);
        self.state.fork(origin, evidence_name.clone());
        self.has_learnt = true;
    }

    /// Remembers a verdict. Returns true if that made it forget a head that was never compared.
    pub fn remember(&mut self, release: &VerifiedRelease) -> bool {
        self.has_learnt = true;
        if self.remembers {
            return release.remember_in(self.state);
        }
        self.state.see(release.head());
        false
    }
}

/// See [`Session::judge`].
pub(crate) fn judge<P: AsRef<[u8]>, S: AsRef<str>>(
    trust: Trust<'_>,
    state: &EndpointState,
    asked: &Asked<P, S>,
    online: bool,
) -> Result<VerifiedRelease, No> {
    verify(&asked.question(online), trust, Some(state))
        .map_err(|refusal| refused(trust, state, asked.proof.as_ref(), refusal))
}

/// The refusal, or the fork that the head of the proof shows.
fn refused(trust: Trust<'_>, state: &EndpointState, proof: &[u8], refusal: Refusal) -> No {
    let keys = trust.policy.log_keys();
    let fork = head_of(proof, &keys).and_then(|head| {
        let fork = contradicted(state, &keys, head.get(), head.note())?;
        Some(No::Forked { origin: head.get().origin.to_string(), fork, evidence_name: None })
    });
    fork.unwrap_or(No::Refused(refusal))
}

/// Locks the memory, lets `work` judge, and saves it. If it can't be read, nothing is judged; if it can't be saved, nothing
/// is accepted: a later check would not know of it.
#[expect(clippy::needless_pass_by_value, reason = "as its callers have it")]
#[cfg_attr(
    not(all(feature = "dir", unix)),
    expect(clippy::unnecessary_wraps, reason = "only a memory in a directory fails")
)]
pub(crate) fn with_memory(
    trust: Trust<'_>,
    memory: Option<&mut Memory>,
    work: impl FnOnce(&mut Session<'_>) -> Vec<Outcome>,
) -> Done<Vec<Outcome>> {
    let mut nothing = EndpointState::default();
    match memory {
        None => Ok(work(&mut Session::new(trust, &mut nothing, false))),
        Some(Memory::Held { state, is_changed }) => {
            let mut session = Session::new(trust, state, true);
            let outcomes = work(&mut session);
            *is_changed |= session.has_learnt;
            Ok(outcomes)
        }
        #[cfg(all(feature = "dir", unix))]
        Some(Memory::Dir(dir)) => {
            // Held until the end of this block.
            let _lock = dir.lock()?;
            let mut state = dir.read()?;
            let mut session = Session::new(trust, &mut state, true);
            session.dir = Some(dir);
            let mut outcomes = work(&mut session);
            let has_learnt = session.has_learnt;
            if has_learnt && let Err(fail) = dir.save(&state) {
                for outcome in outcomes.iter_mut().filter(|outcome| outcome.result.is_ok()) {
                    let Fail { status, reason, message } = &fail;
                    let (status, reason, message) = (*status, *reason, message.clone());
                    outcome.result = Err(No::Other(Fail { status, reason, message }));
                }
            }
            Ok(outcomes)
        }
    }
}

impl<'a> Session<'a> {
    fn new(trust: Trust<'a>, state: &'a mut EndpointState, remembers: bool) -> Self {
        Self {
            trust,
            state,
            remembers,
            has_learnt: false,
            #[cfg(all(feature = "dir", unix))]
            dir: None,
        }
    }

    fn judge_all(&mut self, asked: &[Asked<&[u8], &str>]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(asked.len());
        // A proof that several files have is opened once.
        let mut opened: Vec<(&[u8], Result<Proven<'_>, Refusal>)> = Vec::new();
        let mut proofs: Vec<usize> = Vec::with_capacity(asked.len());
        for asked in asked {
            let known = opened.iter().position(|(proof, _)| *proof == asked.proof);
            proofs.push(known.unwrap_or(opened.len()));
            if known.is_none() {
                opened.push((asked.proof, Proven::open(asked.proof, self.trust)));
            }
        }
        for (asked, at) in asked.iter().zip(&proofs) {
            let mut outcome = Outcome::of(self.judge_by(&opened[*at].1, asked));
            match &mut outcome.result {
                Ok(release) => outcome.forgot_a_head = self.remember(release),
                Err(no) => self.learn_fork(no),
            }
            outcomes.push(outcome);
        }
        // After a fork, releases accepted before it are no more proven than later ones.
        for ((asked, at), outcome) in asked.iter().zip(&proofs).zip(&mut outcomes) {
            if let Ok(release) = &outcome.result
                && self.state.known_fork(release.head().get().origin.as_str()).is_some()
                && let Err(fork) = self.judge_by(&opened[*at].1, asked)
            {
                outcome.result = Err(fork);
            }
        }
        outcomes
    }
}

/// The memory of a caller, which may be NULL.
pub(crate) unsafe fn lock_memory<'a>(memory: *const th_memory) -> Done<Option<Locked<'a, Memory>>> {
    if memory.is_null() { Ok(None) } else { th_memory::lock(memory).map(Some) }
}

unsafe fn verify_all(
    trust: *const th_trust,
    memory: *const th_memory,
    questions: &[*const th_question],
    verdicts: &[*mut th_verdict],
) -> Done<th_status> {
    verdicts.iter().try_for_each(|verdict| check_place(*verdict))?;
    let trust = th_trust::get(trust)?.get();
    let asked: Vec<Asked<&[u8], &str>> =
        questions.iter().map(|question| Asked::read(*question)).collect::<Done<_>>()?;
    let mut memory = lock_memory(memory)?;
    let outcomes = with_memory(trust, memory.as_deref_mut(), |session| session.judge_all(&asked))?;
    drop(memory);
    let mut worst = th_status::TH_OK;
    for (at, outcome) in outcomes.iter().enumerate() {
        let (question, verdict) = (&asked[at], verdicts[at]);
        let json = question.wants_json.then(|| json::verdict(outcome, &(*questions[at]).sha256));
        let status = outcome.put(verdict, question.freshness.now, json)?;
        if gravity(status) > gravity(worst) {
            worst = status;
        }
    }
    Ok(worst)
}

/// Of several statuses, the one with the highest number here is returned.
const fn gravity(status: th_status) -> u8 {
    match status {
        th_status::TH_OK => 0,
        th_status::TH_REFUSED => 2,
        _ => 1,
    }
}

/// Tells a caller of a failure in every verdict that can be written.
pub(crate) unsafe fn put_failure(verdicts: &[*mut th_verdict], fail: Fail) -> th_status {
    let status = fail.status;
    let outcome = Outcome::of(Err(No::Other(fail)));
    for verdict in verdicts {
        let _ = outcome.put(*verdict, 0, None);
    }
    status
}

/// Judges a file without the network, and remembers the verdict in `memory`, which may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_verify(
    trust: *const th_trust,
    memory: *mut th_memory,
    question: *const th_question,
    verdict: *mut th_verdict,
) -> th_status {
    verify_all(trust, memory, &[question], &[verdict]).unwrap_or_else(|fail| put_failure(&[verdict], fail))
}

/// Judges several files, each as if th_verify had judged it after the one before, with the memory read and saved once. A
/// fork that one file shows refuses all files of that log. TH_OK if all may be installed; TH_REFUSED if one is refused;
/// each verdict has its own status. Nothing is judged if a question or a verdict breaks a rule.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_verify_many(
    trust: *const th_trust,
    memory: *mut th_memory,
    questions: *const *const th_question,
    verdicts: *const *mut th_verdict,
    count: usize,
) -> th_status {
    let arrays =
        args::array(questions, count).and_then(|questions| Ok((questions, args::array(verdicts, count)?)));
    match arrays {
        Err(fail) => fail.status,
        Ok((questions, verdicts)) => {
            verify_all(trust, memory, questions, verdicts).unwrap_or_else(|fail| put_failure(verdicts, fail))
        }
    }
}
