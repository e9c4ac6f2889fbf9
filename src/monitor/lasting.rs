//! A round: following and comparing, and what is told when something lasts.

use std::time::{Duration, Instant};

use super::board::FaultKind;
use super::event::{Code, Event};
use super::expect::Missing;
use super::follow::{Follower, NOT_THE_LOG, Trouble, is_silence};
use super::state::LogState;
use super::times;
use crate::client::ClientError;
use crate::merkle::TreeSize;

/// Longest pause that a log gets: one that asks for more would hide from its monitors.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// Advice if something other than the log answers.
const SOMETHING_ELSE: &str = "Something else than this log seems to answer there: is the address right, and does a proxy or a sign-in page stand before it? If others see the log there, somebody may keep you from it.";

impl Follower {
    /// The log that is followed.
    pub fn origin(&self) -> String {
        self.tools.rules.origin.to_string()
    }

    /// Waits for the next round: so long, or until somebody shows a head. Whether there is one.
    pub fn wait(&self, interval: Duration) -> bool {
        self.tools.board.wait(interval)
    }

    /// What keeps the monitor from judging as it was told.
    pub fn own_fault(&self) -> Option<String> {
        let rules = &self.tools.rules;
        let publishers = rules.publishers.as_ref().and_then(|file| file.fault().or_else(|| file.warning()));
        let expect = || rules.expect.as_ref().and_then(super::rules::Expect::fault);
        let full = || {
            let why = "more packages and channels were met than are remembered: jumps in the numbers of new ones go unnoticed";
            self.state.sequences.is_full().then(|| why.to_owned())
        };
        publishers.or_else(expect).or_else(full)
    }

    /// Follows the log to its head, compares what others showed, and tells what lasts. Whether the log could
    /// be followed. A log that does not answer `at_once` is told of now rather than after a while.
    ///
    /// # Errors
    /// [`Trouble`] that is not the log's fault.
    pub fn round(&mut self, at_once: bool) -> Result<bool, Trouble> {
        self.tell_start(at_once)?;
        self.clamp_times();
        let pending = self.state.pending.clone();
        let (followed, until) = match self.pause.take() {
            Some((until, busy)) if Instant::now() < until => (Err(busy.into()), Some(until)),
            _ => (self.advance(), None),
        };
        // Two heads of one size need no answer by the log to be compared.
        let compared = match &followed {
            Err(trouble) if !trouble.is_the_logs() => Ok(()),
            _ => self.compare_letters(followed.is_ok()),
        };
        let trouble = match followed.and(compared) {
            Err(trouble) if !trouble.is_the_logs() => {
                // Nobody may ever show those heads again. Where this fails too, the first trouble is told.
                if self.state.pending != pending {
                    let _ = self.save();
                }
                return Err(trouble);
            }
            Err(trouble) => Some(trouble),
            Ok(()) => None,
        };
        self.tell_trouble(trouble.as_ref(), at_once)?;
        self.tell_lasting()?;
        if trouble.is_none() {
            self.tell_missing()?;
        }
        self.save()?;
        self.show();
        let is_followed = trouble.is_none();
        self.pause = pause(trouble, until);
        Ok(is_followed)
    }

    /// Whether the log may be asked.
    pub(super) fn is_not_paused(&self) -> bool {
        self.pause.as_ref().is_none_or(|(until, _)| Instant::now() >= *until)
    }

    /// A clock that was ahead once would keep what it noted then from ever being old.
    fn clamp_times(&mut self) {
        let now = self.now();
        let LogState { alive, time, stale_since, witnesses, pending, .. } = &mut self.state;
        (*alive, *time) = ((*alive).min(now), (*time).min(now));
        *stale_since = stale_since.map(|since| since.min(now));
        witnesses.values_mut().for_each(|time| *time = (*time).min(now + times::CLOCK_ALLOWANCE));
        pending.iter_mut().for_each(|pending| pending.since = pending.since.min(now));
    }

    /// What lasts, whatever the log answers.
    pub(super) fn tell_lasting(&mut self) -> Result<(), Trouble> {
        self.told = Instant::now();
        self.tell_stalls()?;
        self.tell_witnesses()?;
        self.tell_peers()?;
        self.end_forks()
    }

    /// A log that does not answer, or says what can't be so.
    fn tell_trouble(&mut self, trouble: Option<&Trouble>, at_once: bool) -> Result<(), Trouble> {
        let now = self.now();
        let origin = self.origin();
        self.tools.board.report(|progress| progress.fault = trouble.map(ToString::to_string));
        let (silence, lie) = match trouble {
            Some(Trouble::Client(e)) if is_silence(e) => (Some(e), None),
            Some(Trouble::Client(e)) => (None, Some((e.code(), e.to_string()))),
            // A fork was told already, with its evidence.
            Some(Trouble::Lie { code, message }) if *code != "fork" => (None, Some((*code, message.clone()))),
            _ => (None, None),
        };
        match silence {
            None => {
                self.silent_since = None;
                self.conditions.end(Code::LogUnreachable, "log", &format!("{origin} answers"))?;
            }
            Some(error) => {
                let since = *self.silent_since.get_or_insert(now);
                if at_once || now.saturating_sub(since) >= self.tools.rules.patience.unreachable {
                    self.conditions.begin(Code::LogUnreachable, "log", || {
                        let message = format!("{origin} can't be followed: {error}");
                        let event = Event::new(
                            Code::LogUnreachable,
                            Some(&origin),
                            &[&since.to_string()],
                            now,
                            message,
                        )
                        .with("lie", error.code())
                        .with("url", self.tools.client.prefix());
                        if NOT_THE_LOG.contains(&error.code()) { event.advise(SOMETHING_ELSE) } else { event }
                    })?;
                }
            }
        }
        if trouble.is_none() {
            // It is over when it answers as it should, not when it is silent or lies in another way.
            let well = format!("{origin} answers as it should");
            self.conditions.end_others(Code::LogMisbehaves, &[], &well)?;
        }
        let Some((code, message)) = lie else { return Ok(()) };
        Ok(self.conditions.begin(Code::LogMisbehaves, code, || {
            let message = format!("{origin} serves what can't be so ({code}): {message}");
            Event::new(Code::LogMisbehaves, Some(&origin), &[code, &now.to_string()], now, message)
                .with("lie", code)
                .with("url", self.tools.client.prefix())
        })?)
    }

    fn tell_stalls(&mut self) -> Result<(), Trouble> {
        let (now, alive, origin) = (self.now(), self.state.alive, self.origin());
        if now.saturating_sub(alive) <= self.tools.rules.patience.stalled {
            return Ok(self.conditions.end(Code::LogStalled, "log", &format!("{origin} lives"))?);
        }
        let size = self.head.as_ref().map_or(TreeSize::ZERO, |head| head.get().size);
        Ok(self.conditions.begin(Code::LogStalled, "log", || {
            let seconds = now - alive;
            let message = format!("{origin} has shown no larger tree and no newer cosignature for {seconds} s; it stands at size {size}");
            Event::new(Code::LogStalled, Some(&origin), &[&alive.to_string()], now, message)
                .with("size", size.get())
                .with("seconds", seconds)
        })?)
    }

    fn tell_witnesses(&mut self) -> Result<(), Trouble> {
        let (now, origin, rules) = (self.now(), self.origin(), self.tools.rules.clone());
        let mut names: Vec<String> =
            rules.policy.witnesses().iter().map(|w| w.key.name().to_string()).collect();
        names.sort_unstable();
        names.dedup();
        self.state.witnesses.retain(|name, _| names.contains(name));
        for name in &names {
            // One that was never seen is missing since it was first looked for.
            let last = *self.state.witnesses.entry(name.clone()).or_insert(now);
            let seconds = now.saturating_sub(last);
            if seconds <= rules.patience.witness_missing {
                self.conditions.end(Code::WitnessMissing, name, &format!("{name} cosigns again"))?;
                continue;
            }
            self.conditions.begin(Code::WitnessMissing, name, || {
                let message = format!("{name} has not cosigned any head of {origin} for {seconds} s");
                Event::new(Code::WitnessMissing, Some(&origin), &[name, &last.to_string()], now, message)
                    .with("witness", name.as_str())
                    .with("seconds", seconds)
            })?;
        }
        Ok(self.conditions.end_others(
            Code::WitnessMissing,
            &names,
            "it is no witness of the policy any more",
        )?)
    }

    /// Peers that say what can't be so. One that is silent is in the figures.
    fn tell_peers(&mut self) -> Result<(), Trouble> {
        let (now, origin) = (self.now(), self.origin());
        let sources = self.tools.board.sources();
        // One that is silent now, or was not asked since the start, has taken nothing back.
        let unasked = self.tools.peers.iter().filter(|name| !sources.contains_key(*name));
        let mut faulty: Vec<String> = unasked.cloned().collect();
        for (name, source) in sources {
            let Some(fault) = source.fault else { continue };
            if fault.kind == FaultKind::NoHead {
                continue;
            }
            faulty.push(name.clone());
            if fault.kind == FaultKind::Silence {
                continue;
            }
            self.conditions.begin(Code::PeerMisbehaves, &name, || {
                let message = format!("{name}: {}", fault.words);
                Event::new(Code::PeerMisbehaves, Some(&origin), &[&name, &now.to_string()], now, message)
                    .with("peer", name.as_str())
            })?;
        }
        Ok(self.conditions.end_others(Code::PeerMisbehaves, &faulty, "it answers as it should")?)
    }

    /// Releases that should be in the log by now. Asked only when every entry was looked at.
    fn tell_missing(&mut self) -> Result<(), Trouble> {
        let (now, origin, rules) = (self.now(), self.origin(), self.tools.rules.clone());
        let Some(expect) = &rules.expect else { return Ok(()) };
        if self.head.as_ref().is_none_or(|head| head.get().size != self.state.edge.size()) {
            return Ok(());
        }
        let manifest = expect.manifest();
        let missing = self.state.comparison.missing(&manifest, now, rules.patience.missing_release);
        let names: Vec<String> = missing.iter().map(|missing| missing.key.to_hex()).collect();
        let event = |(missing, name): (&Missing, &String)| {
            let expected = &missing.expected;
            let message = format!(
                "{} ({}) is on line {} of the manifest, and not in {origin}",
                expected.purl, expected.what, expected.line
            );
            let subject = [name.as_str(), &missing.since.to_string()];
            let event = Event::new(Code::MissingRelease, Some(&origin), &subject, now, message);
            (name.clone(), event.with("purl", expected.purl.as_str()).with("line", expected.line))
        };
        self.conditions.begin_all(Code::MissingRelease, missing.iter().zip(&names).map(event).collect())?;
        Ok(self.conditions.end_others(
            Code::MissingRelease,
            &names,
            "what was missing is in the log, or not expected any more",
        )?)
    }
}

/// Until when the log asked to be left alone, and how. A pause that it asked for before stays as it is.
fn pause(trouble: Option<Trouble>, until: Option<Instant>) -> Option<(Instant, ClientError)> {
    let Some(Trouble::Client(busy)) = trouble else { return None };
    let ClientError::Status { retry_after: Some(seconds), .. } = &busy else { return None };
    let asked = Duration::from_secs(*seconds).min(LONGEST_PAUSE);
    Some((until.unwrap_or_else(|| Instant::now() + asked), busy))
}
