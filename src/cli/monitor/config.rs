//! `monitor.toml`.
//!
//! ```toml
//! state = "state"                          # what the monitor knows; beside this file
//! listen = "127.0.0.1:9100"                # serves heads, a page and metrics there; optional
//! interval = "60s"                         # between two looks
//!
//! [[log]]
//! policy = "endpoint.policy"               # keys, witnesses, quorum; may name the log's URL
//! # trust = "endpoint.trust"               # instead of the policy and the publishers
//! url = "https://log.example.com"
//! publishers = "publishers.toml"           # whose statements are believed; optional
//! expect = "ci-manifest.jsonl"             # what should be released; optional
//!
//! [[peer]]
//! name = "review-centre"
//! url = "https://monitor.example.net"
//!
//! [[watch]]
//! name = "scanner"
//! packages = ["pkg:generic/example/*"]
//!
//! [[webhook]]
//! name = "on-call"
//! url = "https://alerts.example.org/hook"
//! secret = "webhook.secret"
//! ```

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Error as _, Unexpected};

use crate::checkpoint::Origin;
use crate::checkpoint::policy::Policy;
use crate::cli::config::WHAT;
use crate::cli::exit::Failure;
use crate::cli::files;
use crate::cli::trusting::trust_file;
use crate::cli::values::parse_duration;
use crate::cli::values::{LISTEN, is_listen};
use crate::client::LogClient;
use crate::format::{FormatError, TomlFile, TomlPlace, has_space_or_control, quote};
use crate::http::watched_file::WatchError;
use crate::merkle::Hash;
use crate::monitor::{
    Expect, LogSettings, MonitorSettings, Patience, Peer, Start, Watch, delivery, open_publishers,
    open_trusted_publishers,
};
use crate::release::{PurlPattern, StatementKind};
use crate::server::Profile;

/// The name that `treehead monitor init` gives them.
pub const SETTINGS: &str = "monitor.toml";
/// Largest `monitor.toml`.
const MAX_BYTES: usize = 1024 * 1024;
/// Expected in place of `remind_after`.
const REMINDERS: &str = "no reminders here: whatever receives events repeats them, as Alertmanager's `repeat_interval` does (docs/monitor.md, \"Delivery\")";
/// Most fetches from one log at once.
const MAX_PARALLEL: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default = "default_state")]
    state: PathBuf,
    listen: Option<String>,
    interval: Option<Time>,
    parallel: Option<usize>,
    contact: Option<String>,
    /// Was called `proxies` once.
    #[serde(default, alias = "proxies")]
    trusted_proxies: Vec<IpAddr>,
    /// Earlier versions told open alerts again.
    remind_after: Option<toml::Value>,
    #[serde(default)]
    log: Vec<LogText>,
    #[serde(default)]
    peer: Vec<PeerText>,
    #[serde(default)]
    watch: Vec<WatchText>,
    #[serde(default)]
    webhook: Vec<WebhookText>,
    #[serde(default)]
    command: Vec<CommandText>,
}

fn default_state() -> PathBuf {
    "state".into()
}

/// `"90s"`, `"10m"`, `"24h"`, `"7d"`.
#[derive(Clone, Copy)]
struct Time(u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = |_| D::Error::invalid_value(Unexpected::Str(&text), &"a time like 90s, 10m, 24h or 7d");
        parse_duration(&text).map(Self).map_err(wrong)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogText {
    policy: Option<PathBuf>,
    trust: Option<PathBuf>,
    origin: Option<String>,
    url: Option<String>,
    #[serde(default)]
    profile: Option<String>,
    publishers: Option<PathBuf>,
    expect: Option<PathBuf>,
    #[serde(default)]
    expect_packages: Vec<String>,
    start: Option<String>,
    stall_after: Option<Time>,
    witness_missing_after: Option<Time>,
    unreachable_after: Option<Time>,
    missing_release_after: Option<Time>,
    head_ahead_after: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerText {
    name: String,
    url: String,
    push: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchText {
    name: String,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    publishers: Vec<String>,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    digests: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookText {
    name: String,
    url: String,
    secret: Option<PathBuf>,
    template: Option<String>,
    events: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandText {
    name: String,
    argv: Vec<String>,
    events: Option<Vec<String>>,
}

/// The contents of `monitor.toml`.
pub struct Config {
    /// For the monitor.
    pub settings: MonitorSettings,
    /// The receivers of its events.
    pub delivery: delivery::DeliverySettings,
    /// The address that it listens on.
    pub listen: Option<String>,
}

fn read<'a>(path: &Path, bytes: &'a [u8]) -> Result<(TomlFile<'a>, FileText), Failure> {
    TomlFile::read(WHAT, "TOML as in docs/monitor.md", bytes).map_err(|e| Failure::file(path, &e))
}

/// A path in the settings, which is relative to their file.
fn beside(config: &Path, path: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(path)
}

impl Config {
    /// Reads the settings, and every file that they name.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let bytes = files::read(path, WHAT, MAX_BYTES)?;
        let (toml, text) = read(path, &bytes)?;
        let place = Place { config: path, toml: toml.root() };
        if text.log.is_empty() {
            return Err(place.malformed("log", "a [[log]] block for each log to follow", "none"));
        }
        if text.state.as_os_str().is_empty() {
            return Err(place.malformed("state", "a directory", "\"\""));
        }
        if let Some(listen) = text.listen.as_deref().filter(|listen| !is_listen(listen)) {
            return Err(place.malformed("listen", LISTEN, &quote(listen)));
        }
        let watches: Vec<Watch> = place.all("watch", text.watch, watch)?;
        let mut names = HashSet::new();
        if let Some(twice) = watches.iter().position(|watch| !names.insert(&watch.name)) {
            let seen = format!("{} twice", quote(&watches[twice].name));
            return Err(place.item("watch", twice).malformed("name", "each watch once", &seen));
        }
        let mut settings = MonitorSettings::new(beside(path, &text.state));
        let mut delivery = delivery::DeliverySettings::new(settings.clock.clone());
        if text.remind_after.is_some() {
            return Err(place.malformed("remind_after", REMINDERS, "it"));
        }
        for (at, webhook) in text.webhook.iter().enumerate() {
            let place = place.item("webhook", at);
            let filter = place.filter(webhook.events.as_deref())?;
            let receiver = place.webhook(webhook)?;
            let sink = delivery::SinkSettings::new(&webhook.name, filter, Arc::new(receiver));
            delivery.sinks.push(sink.map_err(|e| place.wrong(e))?);
        }
        for (at, command) in text.command.iter().enumerate() {
            let place = place.item("command", at);
            let filter = place.filter(command.events.as_deref())?;
            let sink = delivery::Command::new(command.argv.clone())
                .and_then(|receiver| delivery::SinkSettings::new(&command.name, filter, Arc::new(receiver)));
            delivery.sinks.push(sink.map_err(|e| place.wrong(e))?);
        }
        if let Some(Time(seconds)) = text.interval {
            if !(1..=86_400).contains(&seconds) {
                return Err(place.malformed("interval", "a time from 1s to 1d", &format!("{seconds} s")));
            }
            settings.interval = Duration::from_secs(seconds);
        }
        if let Some(parallel) = text.parallel {
            if !(1..=MAX_PARALLEL).contains(&parallel) {
                return Err(place.malformed("parallel", "a number from 1 to 16", &parallel.to_string()));
            }
            settings.parallel = parallel;
        }
        settings.contact = text.contact;
        settings.trusted_proxies = text.trusted_proxies;
        settings.peers = place.all("peer", text.peer, peer)?;
        for (at, log) in text.log.into_iter().enumerate() {
            let place = place.item("log", at);
            let rules = place.rules(log, watches.clone())?;
            if settings.logs.iter().any(|known| known.origin == rules.origin) {
                let seen = format!("{} twice", rules.origin);
                return Err(place.malformed("origin", "each log in one [[log]] block", &seen));
            }
            Place::add_witnesses(&mut settings.peers, &rules);
            settings.logs.push(Arc::new(rules));
        }
        let mut labels = HashSet::new();
        if let Some(twice) = settings.peers.iter().position(|peer| !labels.insert(&peer.label)) {
            let seen = format!("{} twice", quote(&settings.peers[twice].label));
            return Err(place.item("peer", twice).malformed("name", "each peer once", &seen));
        }
        Ok(Self { settings, delivery, listen: text.listen })
    }
}

/// The file of the settings: errors name it, and paths are relative to it.
struct Place<'a> {
    config: &'a Path,
    /// The block that is read.
    toml: TomlPlace<'a>,
}

impl Place<'_> {
    fn item(&self, key: &'static str, index: usize) -> Self {
        Self { config: self.config, toml: self.toml.item(key, index) }
    }

    /// The error of the block.
    fn wrong(&self, error: FormatError) -> Failure {
        Failure::file(self.config, &self.toml.wrong(error))
    }

    /// The error of one of its keys.
    fn malformed(&self, key: &'static str, expected: &str, seen: &str) -> Failure {
        Failure::file(self.config, &self.toml.key(key).malformed(expected, seen))
    }

    fn all<T, U>(
        &self,
        key: &'static str,
        blocks: Vec<T>,
        read: fn(T, &TomlPlace<'_>) -> Result<U, FormatError>,
    ) -> Result<Vec<U>, Failure> {
        let one = |(at, block): (usize, T)| {
            read(block, &self.toml.item(key, at)).map_err(|e| Failure::file(self.config, &e))
        };
        blocks.into_iter().enumerate().map(one).collect()
    }

    /// The value of one of its keys, or what is wrong with it.
    fn value<T>(&self, key: &'static str, value: Result<T, FormatError>) -> Result<T, Failure> {
        value.map_err(|e| Failure::file(self.config, &self.toml.key(key).wrong(e)))
    }

    fn filter(&self, events: Option<&[String]>) -> Result<delivery::Filter, Failure> {
        Ok(self.value("events", events.map(delivery::Filter::parse).transpose())?.unwrap_or_default())
    }

    /// A receiver of events over HTTP, with its secret and its template.
    fn webhook(&self, text: &WebhookText) -> Result<delivery::Webhook, Failure> {
        let secret = |path: &PathBuf| {
            let path = beside(self.config, path);
            let secret = delivery::Secret::parse(files::read_secret(&path)?.trim());
            secret.map_err(|e| Failure::file(&path, &e))
        };
        let secret = text.secret.as_ref().map(secret).transpose()?;
        let template = text.template.as_deref().map(|template| self.template(template)).transpose()?;
        let webhook = match (template, secret) {
            (Some(template), secret) => delivery::Webhook::with_template(&text.url, template, secret),
            (None, Some(secret)) => delivery::Webhook::new(&text.url, secret),
            (None, None) => {
                let expected =
                    "a file with the secret, or a `template` for a receiver that checks no signature";
                return Err(self.malformed("secret", expected, "neither"));
            }
        };
        webhook.map_err(|e| self.wrong(e))
    }

    /// A template: JSON here, or the path of a file with it.
    fn template(&self, text: &str) -> Result<delivery::Template, Failure> {
        if text.trim_start().starts_with(['{', '[']) {
            return self.value("template", delivery::Template::parse(text));
        }
        let path = beside(self.config, Path::new(text));
        files::parse(&path, "a webhook's template", delivery::MAX_TEMPLATE_BYTES, |bytes| {
            let text = std::str::from_utf8(bytes);
            let text =
                text.map_err(|e| FormatError::malformed("a webhook's template", "UTF-8", e.to_string()))?;
            delivery::Template::parse(text)
        })
    }

    fn watched<T>(opened: Result<T, WatchError>) -> Result<T, Failure> {
        opened.map_err(|e| match e {
            WatchError::Io { .. } => Failure::CouldNotTell(e.to_string()),
            WatchError::Malformed { .. } => Failure::Usage(e.to_string()),
        })
    }

    fn rules(&self, text: LogText, watches: Vec<Watch>) -> Result<LogSettings, Failure> {
        let trust = text.trust.map(|path| beside(self.config, &path));
        let policy = match (&trust, &text.policy) {
            (Some(_), Some(_)) => {
                return Err(self.malformed("policy", "a policy or a trust file", "both"));
            }
            (Some(path), None) => trust_file(path)?.into_parts().0,
            (None, Some(path)) => files::policy(&beside(self.config, path))?,
            (None, None) => return Err(self.malformed("policy", "a policy or a trust file", "neither")),
        };
        let origin = self.value("origin", origin_of(&policy, text.origin.as_deref()))?;
        let keys: Vec<_> = policy.log_keys().into_iter().filter(|key| *key.log() == origin).collect();
        let mut of_log = policy.logs().iter().filter(|log| log.origin == origin);
        let url = text.url.or_else(|| of_log.find_map(|log| log.url.clone())).ok_or_else(|| {
            self.malformed("url", &format!("a URL for {origin}, here or on its line in the policy"), "none")
        })?;
        self.value("url", check_url(&url))?;
        let profile = text.profile.as_deref().unwrap_or("release");
        let profile = Profile::parse(profile)
            .ok_or_else(|| self.malformed("profile", "release or opaque", &quote(profile)))?;
        let start = match text.start.as_deref() {
            None | Some("beginning") => Start::Beginning,
            Some("head") => Start::Head,
            Some(other) => return Err(self.malformed("start", "beginning or head", &quote(other))),
        };
        let publishers = match (&trust, &text.publishers) {
            (Some(_), Some(_)) => {
                return Err(self.malformed("publishers", "those of the trust file alone", "both"));
            }
            // The log admits anything, so nobody's statements are read.
            (Some(_), None) if profile == Profile::Opaque => None,
            (Some(path), None) => Some(open_trusted_publishers(path)),
            (None, path) => path.as_ref().map(|path| open_publishers(&beside(self.config, path))),
        };
        let publishers = publishers.map(Self::watched);
        if text.expect.is_none() && !text.expect_packages.is_empty() {
            return Err(self.malformed("expect_packages", "`expect = \"FILE\"` beside it", "none"));
        }
        let packages = self.value("expect_packages", patterns(&text.expect_packages))?;
        let expect =
            text.expect.map(|path| Self::watched(Expect::open(&beside(self.config, &path), packages)));
        let usual = Patience::default();
        let or = |time: Option<Time>, usual: u64| time.map_or(usual, |Time(seconds)| seconds);
        Ok(LogSettings {
            keys,
            url,
            profile,
            publishers: publishers.transpose()?,
            expect: expect.transpose()?,
            watches,
            start,
            patience: Patience {
                stalled: or(text.stall_after, usual.stalled),
                witness_missing: or(text.witness_missing_after, usual.witness_missing),
                unreachable: or(text.unreachable_after, usual.unreachable),
                missing_release: or(text.missing_release_after, usual.missing_release),
                head_ahead: or(text.head_ahead_after, usual.head_ahead),
            },
            policy,
            origin,
        })
    }

    /// Witnesses whose address the policy tells serve what they cosigned: they are peers.
    fn add_witnesses(peers: &mut Vec<Peer>, rules: &LogSettings) {
        for witness in rules.policy.witnesses() {
            let Some(url) = &witness.url else { continue };
            let label = format!("witness {}", witness.key.name());
            if !peers.iter().any(|peer| peer.label == label) {
                peers.push(Peer { label, url: url.clone(), push: false });
            }
        }
    }
}

fn wrong(expected: &str, seen: &str) -> FormatError {
    FormatError::malformed(WHAT, expected, seen)
}

fn origin_of(policy: &Policy, named: Option<&str>) -> Result<Origin, FormatError> {
    let mut origins: Vec<&Origin> = policy.logs().iter().map(|log| &log.origin).collect();
    origins.dedup();
    match (named, origins.as_slice()) {
        (None, [origin]) => Ok((*origin).clone()),
        (None, several) => {
            let seen = format!("a policy with {} logs", several.len());
            Err(wrong("`origin = \"...\"` beside a policy with more than one log, or with none", &seen))
        }
        (Some(name), origins) => {
            let found = origins.iter().find(|origin| origin.as_str() == name);
            let expected = || wrong("an origin that the policy trusts", &quote(name));
            found.map(|origin| (*origin).clone()).ok_or_else(expected)
        }
    }
}

fn peer(text: PeerText, place: &TomlPlace<'_>) -> Result<Peer, FormatError> {
    check_name("a peer", &text.name).map_err(|e| place.key("name").wrong(e))?;
    check_url(&text.url).map_err(|e| place.key("url").wrong(e))?;
    Ok(Peer { label: format!("peer {}", text.name), url: text.url, push: text.push.unwrap_or(true) })
}

fn watch(text: WatchText, place: &TomlPlace<'_>) -> Result<Watch, FormatError> {
    check_name("a watch", &text.name).map_err(|e| place.key("name").wrong(e))?;
    let digest = |hex: &String| Hash::from_hex(hex.strip_prefix("sha256:").unwrap_or(hex));
    let digests = text.digests.iter().map(digest).collect::<Result<_, _>>();
    let withdrawal = StatementKind::Withdrawal;
    let is_known = |kind: &String| kind == withdrawal.as_str() || StatementKind::parse_right(kind).is_some();
    if let Some(at) = text.kinds.iter().position(|kind| !is_known(kind)) {
        let expected = format!("kinds out of {withdrawal}, {}", StatementKind::rights());
        return Err(place.item("kinds", at).malformed(expected, quote(&text.kinds[at])));
    }
    Ok(Watch {
        packages: patterns(&text.packages).map_err(|e| place.key("packages").wrong(e))?,
        publishers: text.publishers,
        kinds: text.kinds,
        channels: text.channels,
        digests: digests.map_err(|e| place.key("digests").wrong(e))?,
        name: text.name,
    })
}

fn patterns(texts: &[String]) -> Result<Vec<PurlPattern>, FormatError> {
    texts.iter().map(|text| PurlPattern::parse(text)).collect()
}

/// That it is an address, so that what is none is named with its line.
fn check_url(url: &str) -> Result<(), FormatError> {
    let built = LogClient::builder().build(url);
    built.map(drop).map_err(|_| wrong("http://HOST[:PORT][/PREFIX] or https://...", &quote(url)))
}

fn check_name(what: impl fmt::Display, name: &str) -> Result<(), FormatError> {
    if name.is_empty() || name.len() > 64 || has_space_or_control(name) {
        return Err(wrong(&format!("the name of {what}, 1 to 64 bytes without spaces"), &quote(name)));
    }
    Ok(())
}
