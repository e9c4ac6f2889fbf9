//! `treehead verify`

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::args::Verify;
use super::exit::{CliResult, Failure};
use super::memory::{Memory, evidence_dir};
use super::output::{GREEN, result, say};
use super::refused::Refused;
use super::verify_online::{News, Online};
use super::verify_withdrawals::About;
use super::{evidence, files};
use crate::checkpoint::{self, Checkpoint, LogSigned};
use crate::client::{self, LogClient};
use crate::evidence_dir::EvidenceDir;
use crate::merkle::Hash;
use crate::note::Note;
use crate::policy::{Cosigned, MAX_POLICY_BYTES, Policy, WitnessedBy};
use crate::proof_file::{MAX_PROOF_FILE_BYTES, ProofFile};
use crate::release::{MAX_PUBLISHERS_BYTES, Publishers, format_time};
use crate::state::{EndpointState, MAX_UNPROVEN_HEADS};
use crate::verify::{Artifact, Freshness, Question, Refusal, VerifiedRelease, check_freshness, verify};

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
    tell(&args.file, &verdict, news.as_ref(), json)
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
            artifact: Artifact::File(&self.digest),
            proof: &self.proof,
            policy: self.policy,
            publishers: self.publishers,
            freshness: self.freshness_of_proof(),
            state: Some(state),
            package: self.args.purl.as_ref(),
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

    /// The log is asked while nobody waits for the memory, and what it said is learnt by what is remembered
    /// then.
    fn online(&self, url: Option<&str>, heads: &mut Vec<Note>) -> Result<(VerifiedRelease, News), Refused> {
        let before = Memory::open(self.args.state.as_deref())?.state;
        // What is refused offline needs no network.
        let verdict = self.judge(&before)?;
        let seen = self.head().expect("it was verified");
        let online = Online {
            client: self.client(url, &seen)?,
            policy: self.policy,
            publishers: self.publishers,
            evidence: self.evidence.clone(),
        };
        let latest = online.latest(&seen)?;
        if !heads.contains(latest.note()) {
            heads.push(latest.note().clone());
        }
        let news = online.ask(
            &before,
            &seen,
            &latest,
            About { release: verdict.release(), leaf: verdict.leaf() },
        )?;
        let mut memory = Memory::open(self.args.state.as_deref())?;
        // Another process may have learnt something else meanwhile.
        let contradicted =
            |head: &Cosigned<Checkpoint>| self.contradicted(&memory.state, head.get(), head.note());
        if let Some(fork) = news.heads().find_map(contradicted) {
            return Err(fork);
        }
        news.teach(&mut memory.state);
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

/// Each cosigner once, with the latest time that it stated.
pub fn cosigners(cosignatures: &[WitnessedBy]) -> Vec<String> {
    let mut latest: Vec<(&str, u64)> = Vec::new();
    for cosignature in cosignatures {
        match latest.iter_mut().find(|(name, _)| *name == cosignature.cosigner) {
            Some((_, time)) => *time = cosignature.time.max(*time),
            None => latest.push((&cosignature.cosigner, cosignature.time)),
        }
    }
    latest.into_iter().map(|(name, time)| format!("{name} at {}", format_time(time))).collect()
}

fn witnesses_of(head: &Cosigned<Checkpoint>) -> Vec<String> {
    head.cosignatures().iter().map(|c| format!("{} at {}", c.witness, format_time(c.time))).collect()
}

fn online_in_words(news: &News) -> String {
    let head = &news.latest;
    let by = match head.cosignatures() {
        [] => String::new(),
        witnesses => format!(", cosigned by {}", cosigners(witnesses).join(", ")),
    };
    format!("online     the log has {} leaves now{by}, and continues all that was seen\n", head.get().size)
}

fn tell(file: &Path, verdict: &VerifiedRelease, news: Option<&News>, json: bool) -> CliResult {
    let (release, head) = (verdict.release(), verdict.head());
    let checkpoint = head.get();
    let by = if head.cosignatures().is_empty() {
        "none required".to_owned()
    } else {
        cosigners(head.cosignatures()).join(", ")
    };
    let audience =
        release.audience.as_deref().map_or(String::new(), |a| format!("audience   {a} (not everyone)\n"));
    let source = release.source.as_ref().map_or(String::new(), |source| {
        format!("source     {} {}:{}\n", source.uri, source.digest.0, source.digest.1)
    });
    let online = news.map_or_else(String::new, online_in_words);
    let mut object = json!({
        "ok": true, "code": "verified", "purl": release.purl.as_str(), "kind": release.kind.as_str(),
        "channel": release.channel, "sequence": release.sequence, "publisher": verdict.publisher(),
        "origin": checkpoint.origin.as_str(), "index": verdict.index().get(),
        "tree_size": checkpoint.size.get(), "witnesses": witnesses_of(head), "audience": release.audience,
    });
    // For machines that have to know: nobody told of withdrawals, or what was told is learnt.
    let learnt = news.is_some_and(News::asked_for_withdrawals);
    object["withdrawals"] = if learnt { "learnt" } else { "not-asked" }.into();
    if let Some(news) = news {
        object["latest_tree_size"] = news.latest.get().size.get().into();
        object["latest_witnesses"] = witnesses_of(&news.latest).into();
    }
    result(
        json,
        &object,
        &format!(
            "{GREEN}verified{GREEN:#}   {}\nrelease    {} ({}, {}, sequence {})\npublisher  {}\n{source}{audience}log        {}, leaf {} of {}\nwitnesses  {by}\n{online}",
            file.display(),
            release.purl,
            release.kind,
            release.channel,
            release.sequence,
            verdict.publisher(),
            checkpoint.origin,
            verdict.index(),
            checkpoint.size,
        ),
    )
}
