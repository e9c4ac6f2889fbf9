//! `treehead verify`

use std::time::{SystemTime, UNIX_EPOCH};

use super::args::Verify;
use super::exit::{CliResult, Failure};
use super::memory::{Memory, evidence_dir};
use super::output::say;
use super::refused::Refused;
use super::verify_online::{News, Online};
use super::verify_withdrawals::About;
use super::{evidence, files, verified};
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::{self, LogClient};
use crate::evidence_dir::EvidenceDir;
use crate::merkle::Hash;
use crate::note::Note;
use crate::policy::{Cosigned, MAX_POLICY_BYTES, Policy};
use crate::proof_file::{MAX_PROOF_FILE_BYTES, ProofFile};
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers};
use crate::state::{EndpointState, MAX_UNPROVEN_HEADS};
use crate::verify::{Artifact, Freshness, Pins, Question, Refusal, VerifiedRelease, check_freshness, verify};

pub fn run(args: &Verify, json: bool) -> CliResult {
    let policy = files::parse(&args.policy, "a policy", MAX_POLICY_BYTES, Policy::parse)?;
    let publishers_path =
        args.publishers.clone().unwrap_or_else(|| args.policy.with_file_name("publishers.toml"));
    if args.publishers.is_none() && !publishers_path.exists() {
        return Err(Failure::CouldNotTell(format!(
            "{} does not exist: name the publishers you believe with --publishers FILE",
            publishers_path.display()
        )));
    }
    let publishers =
        files::parse(&publishers_path, "a publishers file", MAX_PUBLISHERS_BYTES, Publishers::parse)?;
    let digest = files::hash_artifact(&args.file)?;
    let proof_path = args.proof.clone().unwrap_or_else(|| files::proof_path(&args.file));
    // One byte more than is allowed, so that the verdict on what is too large is the verdict's.
    let proof = files::read_up_to(&proof_path, MAX_PROOF_FILE_BYTES + 1)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let endpoint = Endpoint {
        args,
        evidence: evidence_dir(args.state.as_deref()),
        policy: &policy,
        publishers: &publishers,
        digest,
        proof,
        now,
    };
    let mut heads = endpoint.head().map(|head| head.note().clone()).into_iter().collect();
    let verdict = match &args.online {
        None => endpoint.offline().map(|verdict| (verdict, None)),
        Some(url) => {
            let asked = endpoint.online(Some(url.as_str()).filter(|url| !url.is_empty()), &mut heads);
            asked.map(|(verdict, news)| (verdict, Some(news)))
        }
    };
    // Whatever came of it: a head that nobody else was shown is what monitors wait for.
    args.report.iter().for_each(|url| report(url, &heads));
    let (verdict, news) = verdict.map_err(|refused| refused.told(args.state.as_deref()))?;
    verified::tell(&args.file, &verdict, news.as_ref(), json)
}

/// All that a verdict rests on, but for what is remembered.
struct Endpoint<'a> {
    args: &'a Verify,
    evidence: EvidenceDir,
    policy: &'a Policy,
    publishers: &'a Publishers,
    digest: Hash,
    proof: Vec<u8>,
    now: u64,
}

impl Endpoint<'_> {
    fn judge(&self, state: &EndpointState) -> Result<VerifiedRelease, Refused> {
        let verdict = verify(&Question {
            artifact: Artifact::File { digest: &self.digest, name: self.args.file.to_str() },
            proof: &self.proof,
            policy: self.policy,
            publishers: self.publishers,
            freshness: self.freshness_of_proof(),
            state: Some(state),
            pins: pins(self.args),
        });
        verdict.map_err(|refusal| self.refused(refusal, state))
    }

    /// Proofs are made once and shipped for years; where the log is asked, it is its newest head that has to
    /// be fresh.
    fn freshness_of_proof(&self) -> Freshness {
        let max_age = self.args.max_age.filter(|_| self.args.online.is_none());
        Freshness { now: self.now, max_age }
    }

    /// What the log said against the release, and whether it said so lately.
    fn check_news(&self, news: &News) -> Result<(), Failure> {
        news.check()?;
        let freshness = Freshness { now: self.now, max_age: self.args.max_age };
        check_freshness(self.policy, &news.latest, freshness).map_err(|refusal| match &refusal {
            // No newer proof would help.
            Refusal::Stale { expected, seen } => Failure::refused(
                refusal.code(),
                format!("the log's newest head is stale: expected a quorum of cosignatures since {expected}, saw {seen}"),
                "The log or its witnesses have stalled, or newer heads are kept from you; ask its operator, and ask again from elsewhere.",
            ),
            _ => refusal.into(),
        })
    }

    /// A fork is not only refused: both heads are kept, which prove it to anybody. Whatever else is wrong with
    /// the proof, or with the artifact, the log's signature on its head is enough for that.
    fn refused(&self, refusal: Refusal, state: &EndpointState) -> Refused {
        if let Some(fork) = self.head().and_then(|head| self.contradicted(state, head.get(), head.note())) {
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
    /// others: a key may have been taken off the policy since the other head was remembered.
    fn contradicted(&self, state: &EndpointState, seen: &Checkpoint, note: &Note) -> Option<Refused> {
        let (known, origin) = (state.contradiction(seen)?, seen.origin.to_string());
        let proven = state.fork_evidence(seen, note).map(|fork| fork.judge(&self.policy.log_keys()));
        let (failure, evidence) = if let Some(Ok(fork)) = proven {
            evidence::keep(&fork, &self.evidence)
        } else {
            let (expected, seen) = (known.root.to_base64(), seen.root.to_base64());
            (Refusal::Fork { size: known.size, expected, seen }.into(), None)
        };
        Some(Refused::Fork { origin, evidence, failure })
    }

    /// The head of the proof file, if a trusted log signed it.
    fn head(&self) -> Option<LogSigned<Checkpoint>> {
        let file = ProofFile::parse(&self.proof).ok()?;
        checkpoint::open_note(file.checkpoint, &self.policy.log_keys()).ok()
    }

    fn offline(&self) -> Result<VerifiedRelease, Refused> {
        let mut memory = Memory::open(self.args.state.as_deref())?;
        let verdict = self.judge(&memory.state)?;
        let forgotten = verdict.remember_in(&mut memory.state);
        // Before the verdict is told: what was installed on the strength of it must be remembered.
        memory.save()?;
        if forgotten {
            say_forgotten(&verdict);
        }
        Ok(verdict)
    }

    fn online(&self, url: Option<&str>, heads: &mut Vec<Note>) -> Result<(VerifiedRelease, News), Refused> {
        let before = Memory::open(self.args.state.as_deref())?.state;
        let verdict = match self.judge(&before) {
            Ok(verdict) => verdict,
            Err(refused) => return Err(self.outranked(refused, url, &before, heads)),
        };
        let seen = self.head().expect("it was verified");
        let about = About { release: verdict.release(), leaf: verdict.leaf() };
        let news = self.ask(url, &before, &seen, Some(about), heads)?;
        let mut memory = self.learn(&news)?;
        let verdict =
            self.judge(&memory.state).and_then(|verdict| Ok(self.check_news(&news).map(|()| verdict)?));
        if let Ok(verdict) = &verdict {
            if verdict.remember_in(&mut memory.state) {
                say_forgotten(verdict);
            }
            // Its head was compared, too.
            news.teach(&mut memory.state);
        }
        // Also what a refusal rests on: a withdrawal holds offline from now on.
        memory.save()?;
        Ok((verdict?, news))
    }

    /// What is told of an artifact that is refused anyway. That the log forked says more, for it is about
    /// everything that was ever proven under it; so the log is asked all the same. Whatever else comes of that
    /// makes the artifact no better, and no worse.
    fn outranked(
        &self,
        first: Refused,
        url: Option<&str>,
        before: &EndpointState,
        heads: &mut Vec<Note>,
    ) -> Refused {
        // Without a head that a trusted log signed, it is not known whom to ask.
        let Some(seen) = self.head().filter(|_| !first.is_fork()) else { return first };
        let learnt = self.ask(url, before, &seen, None, heads).and_then(|news| {
            let memory = self.learn(&news)?;
            memory.save()?;
            Ok(memory.state)
        });
        let second = match learnt {
            // Another process may have met a fork meanwhile.
            Ok(state) => self.judge(&state).err(),
            Err(Refused::Other(failure)) if !failure.is_fork() => {
                say(&format!("besides, online: {}", failure.message()));
                None
            }
            Err(fork) => Some(fork),
        };
        second.filter(Refused::is_fork).unwrap_or(first)
    }

    /// The log is asked while nobody waits for the memory. Without a release that it is `about`, it is not asked
    /// for withdrawals.
    fn ask(
        &self,
        url: Option<&str>,
        before: &EndpointState,
        seen: &LogSigned<Checkpoint>,
        about: Option<About<'_>>,
        heads: &mut Vec<Note>,
    ) -> Result<News, Refused> {
        let online = Online {
            client: self.client(url, seen)?,
            policy: self.policy,
            publishers: self.publishers,
            evidence: self.evidence.clone(),
        };
        let latest = online.latest(seen)?;
        if !heads.contains(latest.note()) {
            heads.push(latest.note().clone());
        }
        online.ask(before, seen, &latest, about)
    }

    /// What the log said is learnt by what is remembered by now, which is not saved yet.
    fn learn(&self, news: &News) -> Result<Memory, Refused> {
        let mut memory = Memory::open(self.args.state.as_deref())?;
        // Another process may have learnt something else meanwhile.
        let contradicted =
            |head: &Cosigned<Checkpoint>| self.contradicted(&memory.state, head.get(), head.note());
        if let Some(fork) = news.heads().find_map(contradicted) {
            return Err(fork);
        }
        news.teach(&mut memory.state);
        Ok(memory)
    }

    fn client(&self, url: Option<&str>, seen: &LogSigned<Checkpoint>) -> Result<LogClient, Failure> {
        let origin = &seen.get().origin;
        let of_log = self.policy.logs().iter().filter(|log| log.key.name() == origin);
        let url = url.or_else(|| of_log.into_iter().find_map(|log| log.url.as_deref())).ok_or_else(|| {
            let policy = self.args.policy.display();
            Failure::Usage(format!("{policy} has no address for {origin}: expected --online URL"))
        })?;
        Ok(LogClient::new(url)?)
    }
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

fn say_forgotten(verdict: &VerifiedRelease) {
    let origin = &verdict.head().get().origin;
    say(&format!(
        "there are more than {MAX_UNPROVEN_HEADS} heads of {origin} that were never compared, so that one was forgotten: run it with --online now and then"
    ));
}

fn report(url: &str, heads: &[Note]) {
    for head in heads {
        if let Err(e) = client::report(url, head) {
            say(&format!("the tree head was not reported: {e}"));
            return;
        }
    }
}
