//! Conditions: reported when they begin, perhaps after they have lasted for a while, and when they end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::delivery::DeliveryError;
use super::error::{FollowError, LogLie, is_not_the_log, is_silence};
use super::event::{Code, Event, EventId};
use super::inbox::PeerFaultKind;
use super::log::Tools;
use super::manifest::{ManifestComparison, Missing};
use crate::client::ClientError;
use crate::merkle::TreeSize;

const SOMETHING_ELSE: &str = "Something else than this log seems to answer there: is the address right, and does a proxy or a sign-in page stand before it? If others see the log there, somebody may keep you from it.";

/// Begins and ends the conditions of one log. The delivery knows which are open.
pub struct Conditions {
    tools: Arc<Tools>,
    /// Events whose delivery failed, by code and subject. A receiver may have them already, so they are delivered again
    /// unchanged.
    untold: BTreeMap<(Code, String), Event>,
    /// Since when the log does not answer, seconds since 1970.
    silent_since: Option<u64>,
}

impl Conditions {
    pub const fn new(tools: Arc<Tools>) -> Self {
        Self { tools, untold: BTreeMap::new(), silent_since: None }
    }

    /// Opens a condition about a subject, such as a witness, a peer or a release, and reports it, unless it is open.
    pub fn begin(
        &mut self,
        code: Code,
        about: &str,
        event: impl FnOnce() -> Event,
    ) -> Result<(), DeliveryError> {
        if self.open(code).contains_key(about) {
            return Ok(());
        }
        self.tell(code, vec![(about.to_owned(), event())])
    }

    /// The open conditions of a code, by subject, but for those whose delivery failed.
    fn open(&self, code: Code) -> BTreeMap<String, EventId> {
        let mut open = self.tools.delivery.open_about(self.tools.origin(), code);
        open.retain(|about, _| !self.untold.contains_key(&(code, about.clone())));
        open
    }

    fn tell(&mut self, code: Code, mut new: Vec<(String, Event)>) -> Result<(), DeliveryError> {
        for (about, event) in &mut new {
            let named = || event.clone().with("about", about.as_str());
            *event = self.untold.remove(&(code, about.clone())).unwrap_or_else(named);
        }
        let events: Vec<Event> = new.iter().map(|(_, event)| event.clone()).collect();
        let told = self.tools.delivery.tell(&events);
        if told.is_err() {
            self.untold.extend(new.into_iter().map(|(about, event)| ((code, about), event)));
        }
        told
    }

    pub fn end(&mut self, code: Code, about: &str, message: &str) -> Result<(), DeliveryError> {
        self.end_those(code, |open| open == about, message)
    }

    /// Ends all conditions of a code except those about `but`.
    pub fn end_others(&mut self, code: Code, but: &[String], message: &str) -> Result<(), DeliveryError> {
        let but: HashSet<&str> = but.iter().map(String::as_str).collect();
        self.end_those(code, |open| !but.contains(open), message)
    }

    fn end_those(
        &mut self,
        code: Code,
        is_over: impl Fn(&str) -> bool,
        message: &str,
    ) -> Result<(), DeliveryError> {
        let open = self.tools.delivery.open_about(self.tools.origin(), code);
        let over: Vec<EventId> = open.iter().filter(|(about, _)| is_over(about)).map(|(_, id)| *id).collect();
        if !over.is_empty() {
            self.tools.delivery.end(&over, message)?;
        }
        self.untold.retain(|(of, about), _| *of != code || !is_over(about));
        Ok(())
    }

    /// Reports a log that does not answer, or contradicts what it signed, and the end of both. A log that does not
    /// answer is reported `at_once`, or after a while.
    pub(super) fn report_answer(
        &mut self,
        error: Option<&FollowError>,
        at_once: bool,
    ) -> Result<(), FollowError> {
        let tools = self.tools.clone();
        let origin = tools.origin();
        tools.log.report(|status| status.fault = error.map(ToString::to_string));
        match error {
            Some(FollowError::Client(e)) if is_silence(e) => self.report_silence(e, at_once)?,
            _ => {
                self.silent_since = None;
                self.end(Code::LogUnreachable, "log", &format!("{origin} answers"))?;
            }
        }
        let (code, message) = match error {
            None => {
                // It ends when the log answers as it should, not when it is silent or lies in another way.
                let message = format!("{origin} answers as it should");
                return Ok(self.end_others(Code::LogMisbehaves, &[], &message)?);
            }
            Some(FollowError::Client(e)) if !is_silence(e) => (e.code(), e.to_string()),
            // A fork was reported already, with its evidence.
            Some(FollowError::Lie { lie, message }) if *lie != LogLie::Fork => {
                (lie.as_str(), message.clone())
            }
            Some(_) => return Ok(()),
        };
        let now = tools.now();
        Ok(self.begin(Code::LogMisbehaves, code, || {
            let message = format!("{origin} serves what can't be so ({code}): {message}");
            let event = tools.event(Code::LogMisbehaves, &[&code, &now], message);
            event.with("lie", code).with("url", tools.client.prefix())
        })?)
    }

    fn report_silence(&mut self, error: &ClientError, at_once: bool) -> Result<(), FollowError> {
        let tools = self.tools.clone();
        let (now, origin) = (tools.now(), tools.origin());
        let since = *self.silent_since.get_or_insert(now);
        if !at_once && now.saturating_sub(since) < tools.settings().patience.unreachable {
            return Ok(());
        }
        Ok(self.begin(Code::LogUnreachable, "log", || {
            let message = format!("{origin} can't be followed: {error}");
            let event = tools.event(Code::LogUnreachable, &[&since], message);
            let event = event.with("lie", error.code()).with("url", tools.client.prefix());
            if is_not_the_log(error) { event.advise(SOMETHING_ELSE) } else { event }
        })?)
    }

    /// Reports a log that neither grew nor was cosigned since `alive`, seconds since 1970.
    pub(super) fn report_stall(&mut self, alive: u64, size: TreeSize) -> Result<(), FollowError> {
        let tools = self.tools.clone();
        let (now, origin) = (tools.now(), tools.origin());
        let seconds = now.saturating_sub(alive);
        if seconds <= tools.settings().patience.stalled {
            return Ok(self.end(Code::LogStalled, "log", &format!("{origin} lives"))?);
        }
        Ok(self.begin(Code::LogStalled, "log", || {
            let message = format!("{origin} has shown no larger tree and no newer cosignature for {seconds} s; it stands at size {size}");
            let event = tools.event(Code::LogStalled, &[&alive], message);
            event.with("size", size.get()).with("seconds", seconds)
        })?)
    }

    /// Reports witnesses of the policy that have not cosigned for a while. `latest` holds the latest cosignature of
    /// each; one that never cosigned is missing since it was first looked for.
    pub(super) fn report_witnesses(&mut self, latest: &mut BTreeMap<String, u64>) -> Result<(), FollowError> {
        let tools = self.tools.clone();
        let (now, origin, settings) = (tools.now(), tools.origin(), tools.settings());
        let mut names: Vec<String> =
            settings.policy.witnesses().iter().map(|w| w.key.name().to_string()).collect();
        names.sort_unstable();
        names.dedup();
        latest.retain(|name, _| names.contains(name));
        for name in &names {
            let last = *latest.entry(name.clone()).or_insert(now);
            let seconds = now.saturating_sub(last);
            if seconds <= settings.patience.witness_missing {
                self.end(Code::WitnessMissing, name, &format!("{name} cosigns again"))?;
                continue;
            }
            self.begin(Code::WitnessMissing, name, || {
                let message = format!("{name} has not cosigned any head of {origin} for {seconds} s");
                let event = tools.event(Code::WitnessMissing, &[name, &last], message);
                event.with("witness", name.as_str()).with("seconds", seconds)
            })?;
        }
        Ok(self.end_others(Code::WitnessMissing, &names, "it is no witness of the policy any more")?)
    }

    /// Reports peers that show what the log did not sign. A peer that is silent stands in the metrics.
    pub(super) fn report_peers(&mut self) -> Result<(), FollowError> {
        let tools = self.tools.clone();
        let sources = tools.log.inbox.with(|inbox| inbox.sources.clone());
        // A peer that is silent now, or was not asked since the start, has taken nothing back.
        let labels = tools.monitor.peers.iter().map(|peer| &peer.label);
        let mut faulty: Vec<String> = labels.filter(|name| !sources.contains_key(*name)).cloned().collect();
        for (name, source) in sources {
            let Some(fault) = source.fault.filter(|fault| fault.kind != PeerFaultKind::NoHead) else {
                continue;
            };
            if fault.kind == PeerFaultKind::Lie {
                self.begin(Code::PeerMisbehaves, &name, || {
                    let message = format!("{name}: {}", fault.words);
                    let event = tools.event(Code::PeerMisbehaves, &[&name, &tools.now()], message);
                    event.with("peer", name.as_str())
                })?;
            }
            faulty.push(name);
        }
        Ok(self.end_others(Code::PeerMisbehaves, &faulty, "it answers as it should")?)
    }

    /// Reports releases of the manifest that should be in the log by now. The caller has looked at every entry.
    pub(super) fn report_missing(&mut self, comparison: &mut ManifestComparison) -> Result<(), FollowError> {
        let tools = self.tools.clone();
        let (now, origin, settings) = (tools.now(), tools.origin(), tools.settings());
        let Some(expect) = &settings.expect else { return Ok(()) };
        let missing = comparison.missing(&expect.manifest(), now, settings.patience.missing_release);
        let names: Vec<String> = missing.iter().map(|missing| missing.key.to_hex()).collect();
        let event = |(Missing { expected, since, .. }, name): (&Missing, &String)| {
            let message = format!(
                "{} ({}) is on line {} of the manifest, and not in {origin}",
                expected.purl, expected.what, expected.line
            );
            let event = tools.event(Code::MissingRelease, &[name, since], message);
            (name.clone(), event.with("purl", expected.purl.as_str()).with("line", expected.line))
        };
        let open = self.open(Code::MissingRelease);
        let new = missing.iter().zip(&names).filter(|(_, name)| !open.contains_key(*name));
        let new: Vec<(String, Event)> = new.map(event).collect();
        if !new.is_empty() {
            self.tell(Code::MissingRelease, new)?;
        }
        let message = "what was missing is in the log, or not expected any more";
        Ok(self.end_others(Code::MissingRelease, &names, message)?)
    }
}
