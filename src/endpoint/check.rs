//! A check: judges artifacts, asks their logs, remembers, and only then returns the verdicts.
//!
//! Several artifacts are judged as if one check had judged each after the other, but the memory is opened once, and
//! each log is asked once.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use super::check_error::{CheckError, Notice};
use super::memory_store::{Memory, MemoryError};
use super::news::News;
use super::open::Endpoint;
use super::remote_log::RemoteLog;
use super::{EndpointState, Freshness, Proven, Question, Refusal, VerifiedRelease, check_freshness, head_of};
use crate::checkpoint::policy::Cosigned;
use crate::checkpoint::{Checkpoint, LogSigned, Origin};
use crate::client::LogClient;
use crate::note::Note;

/// The verdict on one artifact.
pub type Verdict = Result<Accepted, CheckError>;

/// An artifact that may be installed.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its release.
    pub release: VerifiedRelease,
    /// The log's newest head, which continues every head seen before, if the log was asked.
    pub latest: Option<Cosigned<Checkpoint>>,
    /// Set if the log was asked for withdrawals of the release, and answered.
    pub asked_for_withdrawals: bool,
}

/// The outcome of a check of several artifacts.
#[derive(Debug)]
pub struct Checked {
    /// One verdict for each question, in order, or the error that prevented all of them.
    pub verdicts: Result<Vec<Verdict>, CheckError>,
    /// Each distinct head with a trusted log's signature that this check saw, in proof files or online. A monitor
    /// compares them with its own, whatever the verdicts are.
    pub heads: Vec<Note>,
}

/// The log to ask.
#[derive(Clone, Copy)]
pub enum Online<'a> {
    /// This one.
    Log(&'a dyn RemoteLog),
    /// The one at this address, or each artifact's log at its address in the policy.
    At(Option<&'a str>),
}

/// A question, and the head of its proof file if a trusted log signed it.
struct Asked<'a> {
    question: &'a Question<'a>,
    /// The result of checking its proof. Questions with the same proof share it.
    proven: Rc<Result<Proven<'a>, Refusal>>,
    head: Option<LogSigned<Checkpoint>>,
    /// Set if its log is asked too.
    is_online: bool,
}

/// All artifacts whose proof files are of one log.
struct Group {
    /// The heads of their proof files, each once.
    seen: Vec<LogSigned<Checkpoint>>,
    /// Their releases, each once, without those that are refused anyway.
    releases: Vec<VerifiedRelease>,
}

/// A log's answer.
struct Answer {
    origin: Origin,
    news: Result<News, CheckError>,
}

impl Endpoint {
    /// Judges an artifact offline, and remembers the verdict before returning it.
    ///
    /// # Errors
    /// [`CheckError`]. Nothing may be installed then.
    pub fn check(&self, question: &Question<'_>) -> Verdict {
        self.check_one(question, None)
    }

    /// Like [`check`](Self::check), and also asks the log: its newest head must continue all heads seen before, and
    /// the release must not be withdrawn. The age limit then applies to that head, not to the proof's.
    ///
    /// # Errors
    /// [`CheckError`]. Nothing may be installed then.
    pub fn check_online(&self, question: &Question<'_>, log: &dyn RemoteLog) -> Verdict {
        self.check_one(question, Some(Online::Log(log)))
    }

    fn check_one(&self, question: &Question<'_>, online: Option<Online<'_>>) -> Verdict {
        let checked = self.check_all(std::slice::from_ref(question), online);
        checked.verdicts?.pop().expect("one verdict for each question")
    }

    /// Judges several artifacts, with one question to each of their logs if `online` is set.
    #[must_use]
    pub fn check_all(&self, questions: &[Question<'_>], online: Option<Online<'_>>) -> Checked {
        self.check_some_online(questions, online, |_| true)
    }

    /// Like [`check_all`](Self::check_all), but asks only the logs of the questions at the places that `is_online` names.
    pub(super) fn check_some_online(
        &self,
        questions: &[Question<'_>],
        online: Option<Online<'_>>,
        is_online: impl Fn(usize) -> bool,
    ) -> Checked {
        let mut opened: HashMap<&[u8], Rc<Result<Proven<'_>, Refusal>>> = HashMap::new();
        let asked = questions.iter().enumerate().map(|(at, question)| {
            let is_online = online.is_some() && is_online(at);
            let open = || Rc::new(Proven::open(question.proof, self.trust()));
            let proven = Rc::clone(opened.entry(question.proof).or_insert_with(open));
            Asked { question, proven, head: self.head(question.proof), is_online }
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let mut heads = Vec::new();
        asked.iter().filter_map(|asked| asked.head.as_ref()).for_each(|head| add_head(&mut heads, head));
        let verdicts = self.judge_all(&asked, online, &mut heads);
        Checked { verdicts, heads }
    }

    fn judge_all(
        &self,
        asked: &[Asked<'_>],
        online: Option<Online<'_>>,
        heads: &mut Vec<Note>,
    ) -> Result<Vec<Verdict>, CheckError> {
        let mut memory = self.memory.as_ref().map(|open| open()).transpose()?;
        let mut firsts: Vec<Option<CheckError>> = asked.iter().map(|_| None).collect();
        let mut answers = Vec::new();
        if let Some(online) = online {
            let before = self.lock(memory.as_deref_mut())?;
            // Other processes may check while this one waits for its log.
            memory.as_mut().into_iter().for_each(|memory| memory.unlock());
            answers = self.ask_logs(online, &before, asked, &mut firsts, heads);
        }
        let state = self.lock(memory.as_deref_mut()).map_err(|e| self.unremembered(e, &answers))?;
        let mut session = Session { endpoint: self, state, has_learnt: false, forgotten: Vec::new() };
        answers.iter_mut().for_each(|answer| session.learn(answer));
        let mut verdicts: Vec<Verdict> = Vec::new();
        for (asked, first) in asked.iter().zip(firsts) {
            let verdict = session.judge(asked, first, &answers);
            session.learn_fork(verdict.as_ref().err());
            verdicts.push(verdict);
        }
        session.reconsider(asked, &mut verdicts);
        // After a crash before this line no verdict was returned. After this line, the memory covers every verdict.
        session.save(memory.as_deref_mut(), &mut verdicts);
        Ok(verdicts)
    }

    fn lock(&self, memory: Option<&mut (dyn Memory + '_)>) -> Result<EndpointState, MemoryError> {
        let on_wait = |lock: &Path| self.tell(&Notice::Waiting { lock });
        memory.map_or_else(|| Ok(EndpointState::default()), |memory| memory.lock(&on_wait))
    }

    /// A fork matters more than the failure to remember it; both are reported.
    fn unremembered(&self, error: MemoryError, answers: &[Answer]) -> CheckError {
        let forks = answers.iter().filter_map(|answer| answer.news.as_ref().err());
        match forks.into_iter().find(|e| e.is_fork()) {
            Some(fork) => {
                self.tell(&Notice::ForkNotRemembered(&error));
                fork.clone()
            }
            None => error.into(),
        }
    }

    /// The head of a proof file, if a trusted log signed it.
    fn head(&self, proof: &[u8]) -> Option<LogSigned<Checkpoint>> {
        head_of(proof, &self.trust().policy.log_keys())
    }

    /// Judges with the remembered state. A fork outranks any other refusal: the log's signature on both heads proves
    /// it, whatever else is wrong with the proof or the artifact.
    fn judge(&self, asked: &Asked<'_>, state: &EndpointState) -> Result<VerifiedRelease, CheckError> {
        let Freshness { now, max_age } = asked.question.freshness;
        // Proofs are made once and shipped for years. If the log is asked, its newest head must be fresh instead.
        let freshness = Freshness { now, max_age: max_age.filter(|_| !asked.is_online) };
        let question = Question { freshness, ..asked.question.clone() };
        let verdict = asked.proven.as_ref().as_ref().map_err(Clone::clone);
        verdict.and_then(|proven| proven.judge(&question, Some(state))).map_err(|refusal| {
            let fork = asked.head.as_ref().and_then(|head| self.contradicted(state, head.get(), head.note()));
            fork.unwrap_or_else(|| refusal.into())
        })
    }

    /// Asks each log once for all artifacts. `firsts` become the refusals by the memory as it was before: no answer
    /// of a log can overturn them, but a fork replaces any other refusal.
    fn ask_logs(
        &self,
        online: Online<'_>,
        before: &EndpointState,
        asked: &[Asked<'_>],
        firsts: &mut [Option<CheckError>],
        heads: &mut Vec<Note>,
    ) -> Vec<Answer> {
        let mut groups: Vec<Group> = Vec::new();
        for (asked, refused) in asked.iter().zip(firsts).filter(|(asked, _)| asked.is_online) {
            let first = self.judge(asked, before);
            // Without a head that a trusted log signed, there is no log to ask.
            if let Some(head) =
                asked.head.as_ref().filter(|_| !first.as_ref().is_err_and(CheckError::is_fork))
            {
                Group::add(&mut groups, head, first.as_ref().ok());
            }
            *refused = first.err();
        }
        let ask = |group: Group| {
            let news = self.ask(online, before, &group, heads);
            if let Err(error) = &news
                && group.releases.is_empty()
                && !error.is_fork()
            {
                self.tell(&Notice::AlsoFailed(error));
            }
            Answer { origin: group.seen[0].get().origin.clone(), news }
        };
        groups.into_iter().map(ask).collect()
    }

    fn ask(
        &self,
        online: Online<'_>,
        before: &EndpointState,
        group: &Group,
        heads: &mut Vec<Note>,
    ) -> Result<News, CheckError> {
        let seen = &group.seen[0];
        let client;
        let log: &dyn RemoteLog = match online {
            Online::Log(log) => log,
            Online::At(address) => {
                let origin = &seen.get().origin;
                let mut of_log = self.trust().policy.logs().iter().filter(|log| log.origin == *origin);
                let address = address.or_else(|| of_log.find_map(|log| log.url.as_deref()));
                client =
                    LogClient::new(address.ok_or_else(|| CheckError::NoAddress { origin: origin.clone() })?)?;
                &client
            }
        };
        let latest = self.latest(log, seen)?;
        add_head(heads, &latest);
        News::ask(self, log, &latest, before, (&group.seen, &group.releases))
    }
}

fn add_head(heads: &mut Vec<Note>, head: &LogSigned<Checkpoint>) {
    if !heads.contains(head.note()) {
        heads.push(head.note().clone());
    }
}

impl Group {
    fn add(groups: &mut Vec<Self>, head: &LogSigned<Checkpoint>, accepted: Option<&VerifiedRelease>) {
        let is_of = |group: &Self| group.seen[0].get().origin == head.get().origin;
        let at = groups.iter().position(is_of).unwrap_or_else(|| {
            groups.push(Self { seen: Vec::new(), releases: Vec::new() });
            groups.len() - 1
        });
        let Self { seen, releases } = &mut groups[at];
        if let Some(accepted) = accepted.filter(|new| releases.iter().all(|known| known.leaf() != new.leaf()))
        {
            releases.push(accepted.clone());
        }
        if seen.iter().all(|known| known.note() != head.note()) {
            seen.push(head.clone());
        }
    }
}

/// The part of a check in which the memory is locked.
struct Session<'a> {
    endpoint: &'a Endpoint,
    state: EndpointState,
    /// Set if the state changed and must be saved.
    has_learnt: bool,
    /// Logs whose state forgot a head that was never compared.
    forgotten: Vec<Origin>,
}

impl Session<'_> {
    /// Merges a log's answer into the memory as it is now: another process may have changed it since the log was
    /// asked.
    fn learn(&mut self, answer: &mut Answer) {
        if let Ok(news) = &answer.news {
            let contradicted = |head: &Cosigned<Checkpoint>| {
                self.endpoint.contradicted(&self.state, head.get(), head.note())
            };
            let fork = news.heads().find_map(contradicted);
            if let Some(fork) = fork {
                answer.news = Err(fork);
            } else {
                // Also for refusals: a withdrawal holds offline from then on.
                news.teach(&mut self.state);
                self.has_learnt = true;
            }
        }
        self.learn_fork(answer.news.as_ref().err());
    }

    /// Remembers a fork before it is reported: a later check, also without the network, must report the same.
    fn learn_fork(&mut self, error: Option<&CheckError>) {
        if let Some(CheckError::Forked { origin, fork }) = error {
            self.state.fork(origin.as_str(), fork.evidence());
            self.has_learnt = true;
        }
    }

    fn judge(&mut self, asked: &Asked<'_>, first: Option<CheckError>, answers: &[Answer]) -> Verdict {
        let origin = asked.head.as_ref().map(|head| &head.get().origin);
        let mut answers = answers.iter().filter(|_| asked.is_online);
        let news = answers.find(|answer| Some(&answer.origin) == origin).map(|answer| &answer.news);
        match (first, news) {
            (Some(first), _) if first.is_fork() => Err(first),
            (_, Some(Err(fork))) if fork.is_fork() => Err(fork.clone()),
            (Some(first), Some(Ok(_))) => {
                let second = self.endpoint.judge(asked, &self.state).err();
                Err(second.filter(CheckError::is_fork).unwrap_or(first))
            }
            (Some(first), _) => Err(first),
            (None, Some(Err(error))) => Err(error.clone()),
            (None, Some(Ok(news))) => self.accept(asked, Some(news)),
            (None, None) => self.accept(asked, None),
        }
    }

    fn accept(&mut self, asked: &Asked<'_>, news: Option<&News>) -> Verdict {
        let release = self.endpoint.judge(asked, &self.state)?;
        if let Some(news) = news {
            news.check(release.leaf())?;
            check_newest(self.endpoint, news, asked.question.freshness)?;
        }
        if self.endpoint.memory.is_none() {
            // Between artifacts of one check nothing is a rollback, but two histories are a fork all the same.
            self.state.see(release.head());
        } else if release.remember_in(&mut self.state) {
            let origin = &release.head().get().origin;
            if !self.forgotten.contains(origin) {
                self.forgotten.push(origin.clone());
            }
        }
        self.has_learnt = true;
        let Some(news) = news else {
            return Ok(Accepted { release, latest: None, asked_for_withdrawals: false });
        };
        // After the head of its proof, which was compared with the newest one.
        news.teach(&mut self.state);
        let asked_for_withdrawals = news.asked_for_withdrawals(release.leaf());
        Ok(Accepted { release, latest: Some(news.latest.clone()), asked_for_withdrawals })
    }

    /// After a fork, releases accepted before it in this check are no more proven than later ones.
    fn reconsider(&self, asked: &[Asked<'_>], verdicts: &mut [Verdict]) {
        for (asked, verdict) in asked.iter().zip(verdicts) {
            let Ok(accepted) = &*verdict else { continue };
            let origin = accepted.release.head().get().origin.as_str();
            if self.state.known_fork(origin).is_some()
                && let Err(fork) = self.endpoint.judge(asked, &self.state)
            {
                *verdict = Err(fork);
            }
        }
    }

    /// Saves the memory. If that fails, nothing is accepted: a later check would not know of it.
    fn save(self, memory: Option<&mut (dyn Memory + '_)>, verdicts: &mut [Verdict]) {
        if !self.has_learnt {
            return;
        }
        if let Some(Err(error)) = memory.map(|memory| memory.save(&self.state)) {
            if verdicts.iter().any(|verdict| verdict.as_ref().is_err_and(CheckError::is_fork)) {
                self.endpoint.tell(&Notice::ForkNotRemembered(&error));
            }
            for verdict in verdicts.iter_mut().filter(|verdict| verdict.is_ok()) {
                *verdict = Err(error.clone().into());
            }
        }
        self.forgotten.iter().for_each(|origin| self.endpoint.tell(&Notice::HeadForgotten { origin }));
    }
}

/// Checks the age of a log's newest head. If that head is stale, no newer proof helps.
fn check_newest(endpoint: &Endpoint, news: &News, freshness: Freshness) -> Result<(), CheckError> {
    check_freshness(endpoint.trust().policy, &news.latest, freshness).map_err(|refusal| match refusal {
        Refusal::Stale { expected, seen } => CheckError::LogStale { expected, seen },
        other => other.into(),
    })
}
