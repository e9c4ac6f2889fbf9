//! How an endpoint verifies artifacts: it judges them, asks the log, and remembers. Several artifacts are
//! judged as if one command had verified each after the other, but the memory is opened once, and each log is
//! asked once.

use super::args::Verify;
use super::artifacts::{Artifact, Asked};
use super::online::{News, Online};
use super::refused::Refused;
use super::withdrawals::About;
use crate::checkpoint::policy::{Cosigned, Policy};
use crate::checkpoint::{self, Checkpoint, LogSigned, Origin};
use crate::cli::evidence;
use crate::cli::exit::Failure;
use crate::cli::memory::Memory;
use crate::cli::output::say;
use crate::client::LogClient;
use crate::disk::evidence_dir::EvidenceDir;
use crate::endpoint::{self, Freshness, Pins, Question, Refusal, VerifiedRelease, check_freshness};
use crate::endpoint::{EndpointState, MAX_UNPROVEN_HEADS};
use crate::merkle::Hash;
use crate::note::Note;
use crate::proof::ProofFile;
use crate::release::Publishers;

/// Everything that verdicts rest on, except the memory.
pub struct Endpoint<'a> {
    pub args: &'a Verify,
    pub evidence: EvidenceDir,
    pub policy: &'a Policy,
    pub publishers: &'a Publishers,
    pub now: u64,
}

/// The verdict on an artifact, with what its log said today if it was asked.
pub type Verdict = Result<Accepted, Failure>;

/// An artifact that may be installed.
pub struct Accepted {
    pub verdict: VerifiedRelease,
    pub online: Option<Today>,
}

/// What a log said today.
#[derive(Clone)]
pub struct Today {
    pub latest: Cosigned<Checkpoint>,
    /// Whether it was asked for withdrawals of the release, and answered.
    pub asked_for_withdrawals: bool,
}

/// All artifacts whose proof files are of one log.
struct Group {
    /// The heads of their proof files, each once.
    seen: Vec<LogSigned<Checkpoint>>,
    /// Their releases, each once, without those that are refused anyway.
    releases: Vec<VerifiedRelease>,
}

/// Everything that a log answered.
struct Answer {
    origin: Origin,
    news: Result<News, Refused>,
}

impl Endpoint<'_> {
    /// The heads of all proof files that a trusted log signed, each once.
    pub fn heads(&self, asked: &[Asked]) -> Vec<Note> {
        let mut heads: Vec<Note> = Vec::new();
        for head in asked.iter().filter_map(|asked| self.head(asked.read.as_ref().ok()?)) {
            if !heads.contains(head.note()) {
                heads.push(head.note().clone());
            }
        }
        heads
    }

    /// One verdict for each, in order. Adds fetched heads to `heads`.
    pub fn judge_all(&self, asked: &[Asked], heads: &mut Vec<Note>) -> Result<Vec<Verdict>, Failure> {
        let mut firsts: Vec<Option<Refused>> = asked.iter().map(|_| None).collect();
        let mut answers = Vec::new();
        if let Some(url) = &self.args.online {
            let url = Some(url.as_str()).filter(|url| !url.is_empty());
            answers = self.ask_logs(url, asked, &mut firsts, heads)?;
        }
        let mut session = Session::open(self, &mut answers)?;
        let mut verdicts: Vec<Result<Accepted, Refused>> = Vec::new();
        for (asked, first) in asked.iter().zip(firsts) {
            let verdict = session.judge(asked, first, &answers);
            session.learn_fork(verdict.as_ref().err());
            verdicts.push(verdict);
        }
        session.reconsider(asked, &mut verdicts);
        session.close(&mut verdicts);
        Ok(verdicts.into_iter().map(|verdict| verdict.map_err(Refused::into_failure)).collect())
    }

    fn judge(&self, artifact: &Artifact, state: &EndpointState) -> Result<VerifiedRelease, Refused> {
        let Artifact { name, digest, proof } = artifact;
        let verdict = endpoint::verify(&Question {
            artifact: endpoint::Artifact::File { digest, name: name.as_deref() },
            proof,
            policy: self.policy,
            publishers: self.publishers,
            freshness: self.freshness_of_proof(),
            state: Some(state),
            pins: pins(self.args),
        });
        verdict.map_err(|refusal| self.refused(artifact, refusal, state))
    }

    /// Proofs are made once and shipped for years; if the log is asked, its newest head must be fresh instead.
    fn freshness_of_proof(&self) -> Freshness {
        let max_age = self.args.max_age.filter(|_| self.args.online.is_none());
        Freshness { now: self.now, max_age }
    }

    /// What the log said against a release, and whether it said so lately.
    fn check_news(&self, news: &News, leaf: &Hash) -> Result<(), Failure> {
        news.check(leaf)?;
        let freshness = Freshness { now: self.now, max_age: self.args.max_age };
        check_freshness(self.policy, &news.latest, freshness).map_err(|refusal| match &refusal {
            // No newer proof would help.
            Refusal::Stale { expected, seen } => Failure::refused(
                refusal.code(),
                format!("the log's newest head is stale: expected a quorum of cosignatures since {expected}, saw {seen}"),
                "The log or its witnesses have stalled, or somebody hides newer heads from you; ask its operator, and ask again from another network.",
            ),
            _ => refusal.into(),
        })
    }

    /// Refuses a fork, and keeps both heads, which prove it to anybody. The log's signature on the head is
    /// enough for that, whatever else is wrong with the proof or the artifact.
    fn refused(&self, artifact: &Artifact, refusal: Refusal, state: &EndpointState) -> Refused {
        if let Some(fork) =
            self.head(artifact).and_then(|head| self.contradicted(state, head.get(), head.note()))
        {
            return fork;
        }
        let evidence = match &refusal {
            Refusal::Forked { evidence, .. } => evidence.as_ref().map(|name| self.evidence.path().join(name)),
            _ => None,
        };
        let failure = Failure::from(refusal);
        Refused::Other(match evidence {
            Some(path) => failure.and(&evidence::shown_by(&path)),
            None => failure,
        })
    }

    /// The fork, if something remembered contradicts a head that the log signed. It may not be provable to
    /// others: somebody may have removed a key from the policy since the other head was remembered.
    fn contradicted(&self, state: &EndpointState, seen: &Checkpoint, note: &Note) -> Option<Refused> {
        let (known, origin) = (state.contradiction(seen)?, seen.origin.to_string());
        let proven = state.fork_evidence(seen, note).map(|fork| fork.judge(&self.policy.log_keys()));
        let (failure, evidence) = if let Some(Ok(fork)) = proven {
            evidence::keep(&fork, &self.evidence)
        } else {
            let (expected, seen) = (known.root.to_base64(), seen.root.to_base64());
            (Refusal::Fork { size: known.size, expected, seen }.into(), None)
        };
        Some(Refused::Fork { origin, evidence, failure: Box::new(failure) })
    }

    /// The head of the proof file, if a trusted log signed it.
    fn head(&self, artifact: &Artifact) -> Option<LogSigned<Checkpoint>> {
        let file = ProofFile::parse(&artifact.proof).ok()?;
        checkpoint::open_note(file.checkpoint, &self.policy.log_keys()).ok()
    }

    /// Asks each log once for all artifacts, without holding the memory's lock. `firsts` are the refusals by
    /// the memory as it was before: no answer of a log can overturn them, but a fork replaces any other
    /// refusal, since it concerns everything that was ever proven under that log.
    fn ask_logs(
        &self,
        url: Option<&str>,
        asked: &[Asked],
        firsts: &mut [Option<Refused>],
        heads: &mut Vec<Note>,
    ) -> Result<Vec<Answer>, Failure> {
        let before = Memory::open(self.args.state.as_deref())?.state;
        let mut groups: Vec<Group> = Vec::new();
        for (asked, refused) in asked.iter().zip(firsts) {
            let Ok(artifact) = &asked.read else { continue };
            let first = self.judge(artifact, &before);
            // Without a head that a trusted log signed, it is not known whom to ask.
            if let Some(head) = self.head(artifact).filter(|_| !first.as_ref().is_err_and(Refused::is_fork)) {
                Group::add(&mut groups, head, first.as_ref().ok());
            }
            *refused = first.err();
        }
        let ask = |group: Group| {
            let news = self.ask(url, &before, &group, heads);
            if let Err(Refused::Other(failure)) = &news
                && group.releases.is_empty()
                && !failure.is_fork()
            {
                say(&format!("also, while asking the log: {}", failure.message()));
            }
            Answer { origin: group.seen[0].get().origin.clone(), news }
        };
        Ok(groups.into_iter().map(ask).collect())
    }

    fn ask(
        &self,
        url: Option<&str>,
        before: &EndpointState,
        group: &Group,
        heads: &mut Vec<Note>,
    ) -> Result<News, Refused> {
        let online = Online {
            client: self.client(url, &group.seen[0])?,
            policy: self.policy,
            publishers: self.publishers,
            evidence: self.evidence.clone(),
        };
        let latest = online.latest(&group.seen[0])?;
        if !heads.contains(latest.note()) {
            heads.push(latest.note().clone());
        }
        let about: Vec<About<'_>> = group.releases.iter().map(About).collect();
        online.ask(before, &group.seen, &latest, &about)
    }

    fn client(&self, url: Option<&str>, seen: &LogSigned<Checkpoint>) -> Result<LogClient, Failure> {
        let origin = &seen.get().origin;
        let of_log = self.policy.logs().iter().filter(|log| log.origin == *origin);
        let url = url.or_else(|| of_log.into_iter().find_map(|log| log.url.as_deref())).ok_or_else(|| {
            let policy = self.args.policy.display();
            Failure::Usage(format!("{policy} has no address for {origin}: expected --online URL"))
        })?;
        Ok(LogClient::new(url)?)
    }
}

impl Group {
    fn add(groups: &mut Vec<Self>, head: LogSigned<Checkpoint>, accepted: Option<&VerifiedRelease>) {
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
            seen.push(head);
        }
    }
}

/// The time in which the memory is open.
struct Session<'a> {
    endpoint: &'a Endpoint<'a>,
    memory: Memory,
    /// Whether there is something to be written.
    has_learnt: bool,
    /// Logs of which a head was forgotten that was never compared.
    forgotten: Vec<Origin>,
}

impl<'a> Session<'a> {
    /// Opens the memory, and learns what the logs said.
    fn open(endpoint: &'a Endpoint<'a>, answers: &mut [Answer]) -> Result<Self, Failure> {
        let memory = Memory::open(endpoint.args.state.as_deref()).map_err(|e| {
            let fork = answers.iter().find_map(|answer| answer.news.as_ref().err().filter(|e| e.is_fork()));
            fork.map_or(e.clone(), |fork| {
                // The fork is what matters; that it will be forgotten is said as well.
                say_unremembered(&e);
                fork.clone().into_failure()
            })
        })?;
        let mut session = Self { endpoint, memory, has_learnt: false, forgotten: Vec::new() };
        for answer in answers {
            session.learn(answer);
        }
        Ok(session)
    }

    /// Merges the log's answer into the memory as it is now: another process may have changed it meanwhile.
    fn learn(&mut self, answer: &mut Answer) {
        if let Ok(news) = &answer.news {
            let state = &self.memory.state;
            let contradicted =
                |head: &Cosigned<Checkpoint>| self.endpoint.contradicted(state, head.get(), head.note());
            let fork = news.heads().find_map(contradicted);
            if let Some(fork) = fork {
                answer.news = Err(fork);
            } else {
                news.teach(&mut self.memory.state);
                // Also what a refusal rests on: a withdrawal holds offline from now on.
                self.has_learnt = true;
            }
        }
        self.learn_fork(answer.news.as_ref().err());
    }

    /// Saves a fork before reporting it: a later run, also without the network, must report the same.
    fn learn_fork(&mut self, refused: Option<&Refused>) {
        if let Some(Refused::Fork { origin, evidence, .. }) = refused {
            self.memory.state.fork(origin, evidence.clone());
            self.has_learnt = true;
        }
    }

    fn judge(
        &mut self,
        asked: &Asked,
        first: Option<Refused>,
        answers: &[Answer],
    ) -> Result<Accepted, Refused> {
        let artifact = asked.read.as_ref().map_err(Clone::clone)?;
        let origin = self.endpoint.head(artifact).map(|head| head.get().origin.clone());
        let news = answers.iter().find(|answer| Some(&answer.origin) == origin.as_ref()).map(|a| &a.news);
        match (first, news) {
            (Some(first), _) if first.is_fork() => Err(first),
            (_, Some(Err(fork))) if fork.is_fork() => Err(fork.clone()),
            (Some(first), Some(Ok(_))) => {
                let second = self.endpoint.judge(artifact, &self.memory.state).err();
                Err(second.filter(Refused::is_fork).unwrap_or(first))
            }
            (Some(first), _) => Err(first),
            (None, Some(Err(failure))) => Err(failure.clone()),
            (None, Some(Ok(news))) => self.accept(artifact, Some(news)),
            (None, None) => self.accept(artifact, None),
        }
    }

    fn accept(&mut self, artifact: &Artifact, news: Option<&News>) -> Result<Accepted, Refused> {
        let verdict = self.endpoint.judge(artifact, &self.memory.state)?;
        if let Some(news) = news {
            self.endpoint.check_news(news, verdict.leaf())?;
        }
        if self.endpoint.args.state.is_none() {
            // Nothing is older than what was not to be remembered; two histories are a fork all the same.
            self.memory.state.see(verdict.head());
        } else if verdict.remember_in(&mut self.memory.state) {
            let origin = &verdict.head().get().origin;
            if !self.forgotten.contains(origin) {
                self.forgotten.push(origin.clone());
            }
        }
        self.has_learnt = true;
        let online = news.map(|news| {
            // The head of its proof was compared, too.
            news.teach(&mut self.memory.state);
            Today {
                latest: news.latest.clone(),
                asked_for_withdrawals: news.asked_for_withdrawals(verdict.leaf()),
            }
        });
        Ok(Accepted { verdict, online })
    }

    /// After a fork, releases accepted earlier are no more proven than later ones.
    fn reconsider(&self, asked: &[Asked], verdicts: &mut [Result<Accepted, Refused>]) {
        for (asked, verdict) in asked.iter().zip(verdicts) {
            let (Ok(artifact), Ok(accepted)) = (&asked.read, &*verdict) else { continue };
            let origin = accepted.verdict.head().get().origin.as_str();
            if self.memory.state.known_fork(origin).is_some()
                && let Err(fork) = self.endpoint.judge(artifact, &self.memory.state)
            {
                *verdict = Err(fork);
            }
        }
    }

    /// Writes the memory before any verdict is printed: the memory must cover everything that a verdict lets in.
    fn close(self, verdicts: &mut [Result<Accepted, Refused>]) {
        if !self.has_learnt {
            return;
        }
        if let Err(failure) = self.memory.save() {
            if verdicts.iter().any(|verdict| verdict.as_ref().is_err_and(Refused::is_fork)) {
                say_unremembered(&failure);
            }
            for verdict in verdicts.iter_mut().filter(|verdict| verdict.is_ok()) {
                *verdict = Err(failure.clone().into());
            }
        }
        for origin in self.forgotten {
            say(&format!(
                "more than {MAX_UNPROVEN_HEADS} heads of {origin} were never compared with the log, so the endpoint forgot one: run verify with --online now and then"
            ));
        }
    }
}

fn say_unremembered(failure: &Failure) {
    say(&format!("could not save the evidence of the fork: {}", failure.message()));
}

fn pins(args: &Verify) -> Pins<'_> {
    Pins {
        package: args.purl.as_ref(),
        channel: args.channel.as_deref(),
        kind: args.kind,
        publisher: args.publisher.as_deref(),
        min_sequence: args.min_sequence,
        audience: args.audience.as_deref(),
        name: args.name.as_deref(),
    }
}
