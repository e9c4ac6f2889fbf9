//! A client for stores with the S3 API.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::Response;

use super::answer::{Answer, Call, MAX_ERROR_BYTES, method, no_answer, receive};
use super::credentials::{Credentials, Profile, Source};
use super::error::BucketError;
use super::objects::{
    Creation, Headers, Listing, MAX_LISTED, Object, Objects, Replacement, Tag, TagStyle, check_key, is_path,
};
use super::requests::{Ended, Operation, Requests};
use super::settings::{Place, StoreOptions, Variables, process_variables};
use super::sign::{self, Request, UNSIGNED_PAYLOAD, encode_path, payload_hash, sign};
use super::{Address, Refusal, xml};
use crate::client::{AgentOptions, Backoff, MAX_CERTIFICATES_BYTES, NAME, parse_certificates, read_capped};
use crate::clock::{self, Clock};
use crate::disk::read_plain;
use crate::format::{FormatError, cap, cap_count, quote};

/// Number of idle connections to keep.
const IDLE_CONNECTIONS: usize = 128;
/// Age at which an idle connection is dropped. Stores close idle connections after some seconds, and a write on a
/// connection that is being closed has an unclear outcome.
const IDLE_AGE: Duration = Duration::from_secs(4);
/// Pauses between attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// Shortest time limit of an attempt, even if less time is left.
const SHORTEST_TRY: Duration = Duration::from_millis(500);
/// Largest object that one request can write: the limit of S3.
pub const MAX_OBJECT_BYTES: usize = 5 * 1024 * 1024 * 1024;

/// A client for a store with the S3 API. Clones share its connections and counters.
#[derive(Clone)]
pub struct S3 {
    shared: Arc<Shared>,
    timeout: Duration,
    patience: Duration,
}

struct Shared {
    agent: Agent,
    address: Address,
    place: Place,
    source: Source,
    unsigned_payload: bool,
    /// True for [`TagStyle::Bare`].
    bare_tags: AtomicBool,
    requests: Requests,
    clock: Clock,
}

impl S3 {
    /// Makes a client for an address. Takes unset options from the process's environment and the profile. Sends no
    /// request to the store.
    ///
    /// # Errors
    /// [`BucketError`] for unusable settings or credentials.
    pub fn open(address: &Address, options: &StoreOptions) -> Result<Self, BucketError> {
        Self::open_with(address, options, &process_variables, clock::system())
    }

    /// Like [`open`](Self::open), with the given environment and clock.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        address: &Address,
        options: &StoreOptions,
        variables: &Variables<'_>,
        clock: Clock,
    ) -> Result<Self, BucketError> {
        let profile = Profile::read(variables)?;
        let place = Place::decide(address, options, variables, profile.as_ref())?;
        let authorities = match &place.ca_file {
            None => Vec::new(),
            Some(path) => {
                let why = |e: std::io::Error| {
                    FormatError::malformed(
                        "the file of authorities",
                        "one that can be read",
                        format!("{}: {e}", path.display()),
                    )
                };
                let pem = read_plain(path).map_err(why)?;
                cap("the file of authorities", pem.len(), MAX_CERTIFICATES_BYTES)?;
                parse_certificates(&pem)?
            }
        };
        let agent = AgentOptions {
            idle_connections: IDLE_CONNECTIONS,
            idle_age: Some(IDLE_AGE),
            authorities: &authorities,
            ..AgentOptions::new(options.timeout, options.connect_timeout, NAME)
        };
        let agent = agent.agent(&format!("{}://{}", place.scheme, place.host))?;
        let source = Source::find(variables, profile.as_ref(), clock.clone())?;
        let shared = Shared {
            agent,
            address: address.clone(),
            place,
            source,
            unsigned_payload: options.unsigned_payload,
            bare_tags: AtomicBool::new(false),
            requests: Requests::default(),
            clock,
        };
        Ok(Self { shared: Arc::new(shared), timeout: options.timeout, patience: options.patience })
    }

    /// A client with other time limits: for one request, and for a request with all its retries.
    #[must_use]
    pub fn within(&self, timeout: Duration, patience: Duration) -> Self {
        Self { shared: self.shared.clone(), timeout, patience }
    }

    /// The store's address.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Sends a PUT for the bucket itself and returns the answer's status and body. Tests use this to create buckets and
    /// to set their rules; a log never does.
    ///
    /// # Errors
    /// [`BucketError`] if there is no answer.
    #[doc(hidden)]
    pub fn administer(
        &self,
        parameters: &[(&str, &str)],
        headers: Vec<(&'static str, String)>,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), BucketError> {
        let (operation, key, limit) = (Operation::Put, String::new(), MAX_ERROR_BYTES);
        let call = Call { operation, method: "PUT", key, parameters, headers, body, sha256: None, limit };
        let (url, headers) = self.prepare(&call, &*self.shared.source.current()?);
        let mut response =
            self.transmit(&call, &url, headers, self.timeout).map_err(|e| no_answer(&call, &url, &e))?;
        let body = read_capped(&mut response, limit).map_err(|e| no_answer(&call, &url, &e.into()))?;
        Ok((response.status().as_u16(), body))
    }

    fn tag_style(&self) -> TagStyle {
        if self.shared.bare_tags.load(Ordering::Relaxed) { TagStyle::Bare } else { TagStyle::Quoted }
    }

    fn call<'a>(&self, operation: Operation, key: &str) -> Result<Call<'a>, BucketError> {
        check_key(key)?;
        let (method, key) = (method(operation), self.shared.address.key(key));
        cap("a key", key.len(), super::MAX_KEY_BYTES)?;
        let (parameters, headers, body) = (&[], Vec::new(), &[]);
        Ok(Call { operation, method, key, parameters, headers, body, sha256: None, limit: 0 })
    }

    fn write<'a>(
        &self,
        operation: Operation,
        key: &str,
        body: &'a [u8],
        headers: &Headers<'_>,
    ) -> Result<Call<'a>, BucketError> {
        cap("an object", body.len(), MAX_OBJECT_BYTES)?;
        let mut call = self.call(operation, key)?;
        let mut add = |name, value: Option<&str>| {
            let Some(value) = value else { return Ok(()) };
            if value.is_empty() || !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
                return Err(FormatError::malformed("a header", "printable ASCII", quote(value)));
            }
            call.headers.push((name, value.to_owned()));
            Ok(())
        };
        add("content-type", Some(headers.content_type))?;
        add("cache-control", headers.cache_control)?;
        add("content-encoding", headers.content_encoding)?;
        add("x-amz-tagging", headers.tagging)?;
        Ok(Call { body, sha256: headers.sha256, ..call })
    }

    /// Sends a request, and retries it while its error is temporary and time is left.
    fn repeat<T>(
        &self,
        call: &Call<'_>,
        read: impl Fn(Answer) -> Result<T, BucketError>,
    ) -> Result<T, BucketError> {
        let (begun, mut backoff) = (Instant::now(), BACKOFF);
        loop {
            let left = self.patience.saturating_sub(begun.elapsed());
            let error = match self.send(call, left.max(SHORTEST_TRY).min(self.timeout)).and_then(&read) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let left = self.patience.saturating_sub(begun.elapsed());
            let pause = backoff.pause().max(error.retry_after().unwrap_or_default());
            if !error.is_temporary() || pause > left {
                return Err(error);
            }
            std::thread::sleep(pause);
        }
    }

    /// Sends a request once. If the store refuses it because a role's token has expired, sends it again with a new
    /// token: the refused request had no effect.
    fn send(&self, call: &Call<'_>, timeout: Duration) -> Result<Answer, BucketError> {
        let credentials = self.shared.source.current()?;
        match self.send_as(call, timeout, &credentials) {
            Err(BucketError::Refused { refusal: Refusal::Token, .. })
                if self.shared.source.forget(&credentials) =>
            {
                self.send_as(call, timeout, &*self.shared.source.current()?)
            }
            other => other,
        }
    }

    /// Sends a request and counts it.
    fn send_as(
        &self,
        call: &Call<'_>,
        timeout: Duration,
        credentials: &Credentials,
    ) -> Result<Answer, BucketError> {
        let (begun, mut received) = (Instant::now(), 0);
        let answer = self.exchange(call, timeout, credentials, &mut received);
        let ended = match &answer {
            Ok(_) => Ended::Answered,
            Err(error) if error.may_be_done() => Ended::Unclear,
            Err(_) => Ended::Failed,
        };
        self.shared.requests.count(call.operation, ended, call.body.len(), received, begun.elapsed());
        answer
    }

    fn exchange(
        &self,
        call: &Call<'_>,
        timeout: Duration,
        credentials: &Credentials,
        received: &mut usize,
    ) -> Result<Answer, BucketError> {
        let (url, headers) = self.prepare(call, credentials);
        let response = self.transmit(call, &url, headers, timeout).map_err(|e| no_answer(call, &url, &e))?;
        let secrets: Vec<&str> =
            credentials.session_token().into_iter().chain([credentials.secret_key()]).collect();
        receive(call, url, response, received, &secrets)
    }

    /// The URL of a request and its signed headers.
    fn prepare(&self, call: &Call<'_>, credentials: &Credentials) -> (String, Vec<(&'static str, String)>) {
        let place = &self.shared.place;
        let path = place.base.clone() + &encode_path(&call.key);
        let query = sign::query(call.parameters);
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}://{}{path}{mark}{query}", place.scheme, place.host);
        let payload = match call.sha256 {
            _ if self.shared.unsigned_payload => UNSIGNED_PAYLOAD.to_owned(),
            Some(known) => known.to_hex(),
            None => payload_hash(call.body),
        };
        let request = Request {
            method: call.method,
            host: &place.host,
            path: &path,
            query: &query,
            headers: call.headers.clone(),
            payload,
        };
        let headers = sign(request, credentials, &place.region, (self.shared.clock)());
        (url, headers)
    }

    fn transmit(
        &self,
        call: &Call<'_>,
        url: &str,
        headers: Vec<(&'static str, String)>,
        timeout: Duration,
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        let agent = &self.shared.agent;
        if call.method == "PUT" {
            let mut request = agent.put(url).config().timeout_global(Some(timeout)).build();
            for (name, value) in headers {
                request = request.header(name, value);
            }
            return request.send(call.body);
        }
        let request = if call.method == "GET" { agent.get(url) } else { agent.delete(url) };
        let mut request = request.config().timeout_global(Some(timeout)).build();
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.header("accept-encoding", "identity").call()
    }
}

impl Objects for S3 {
    fn get(&self, key: &str, limit: usize) -> Result<Option<Object>, BucketError> {
        let call = Call { limit, ..self.call(Operation::Get, key)? };
        self.repeat(&call, |answer| match answer.status {
            200 => Ok(Some(Object { tag: answer.tag()?, bytes: answer.body })),
            404 => Ok(None),
            _ => Err(answer.unexpected(Operation::Get, "status 200 or 404")),
        })
    }

    fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Option<Object>, BucketError> {
        let last = offset.saturating_add((length as u64).max(1) - 1);
        let mut call = Call { limit: length, ..self.call(Operation::Get, key)? };
        call.headers.push(("range", format!("bytes={offset}-{last}")));
        self.repeat(&call, |answer| match answer.status {
            206 => {
                let range = answer.header("content-range").unwrap_or_default();
                if !range.starts_with(&format!("bytes {offset}-")) {
                    return Err(answer.malformed(&format!("bytes from {offset} on"), quote(range)));
                }
                Ok(Some(Object { tag: answer.tag()?, bytes: answer.body }))
            }
            // Past the object's end there are no bytes, and the answer has no tag.
            416 => {
                let tag = answer.tag().or_else(|_| Tag::parse("none"))?;
                Ok(Some(Object { tag, bytes: Vec::new() }))
            }
            404 => Ok(None),
            _ => Err(answer.unexpected(Operation::Get, "status 206 or 404")),
        })
    }

    fn create(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Creation, BucketError> {
        let mut call = self.write(Operation::Create, key, bytes, headers)?;
        call.headers.push(("if-none-match", "*".to_owned()));
        let answer = self.send(&call, self.timeout)?;
        match answer.status {
            200..=299 => answer.tag_of_write(Operation::Create).map(Creation::Created),
            412 | 304 => Ok(Creation::Exists),
            _ => Err(answer.unexpected(Operation::Create, "status 200 or 412")),
        }
    }

    fn replace(
        &self,
        key: &str,
        bytes: &[u8],
        tag: &Tag,
        headers: &Headers<'_>,
    ) -> Result<Replacement, BucketError> {
        let mut call = self.write(Operation::Replace, key, bytes, headers)?;
        call.headers.push(("if-match", tag.header(self.tag_style())));
        let answer = self.send(&call, self.timeout)?;
        match answer.status {
            200..=299 => answer.tag_of_write(Operation::Replace).map(Replacement::Replaced),
            412 => Ok(Replacement::Stale),
            404 => Ok(Replacement::Missing),
            _ => Err(answer.unexpected(Operation::Replace, "status 200, 404 or 412")),
        }
    }

    fn put(&self, key: &str, bytes: &[u8], headers: &Headers<'_>) -> Result<Tag, BucketError> {
        let call = self.write(Operation::Put, key, bytes, headers)?;
        self.repeat(&call, |answer| match answer.status {
            200..=299 => answer.tag_of_write(Operation::Put),
            _ => Err(answer.unexpected(Operation::Put, "status 200")),
        })
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Listing, BucketError> {
        cap_count("a list", "keys", limit, MAX_LISTED)?;
        let checked = [prefix.trim_end_matches('/'), after.trim_end_matches('/')];
        if let Some(bad) = checked.into_iter().find(|text| !text.is_empty() && !is_path(text)) {
            check_key(bad)?;
        }
        let base = self.shared.address.key("");
        let (full, after_key, limit) =
            (format!("{base}{prefix}"), format!("{base}{after}"), limit.max(1).to_string());
        let mut parameters = vec![("list-type", "2"), ("max-keys", &*limit)];
        if !full.is_empty() {
            parameters.push(("prefix", &full));
        }
        if !after.is_empty() {
            parameters.push(("start-after", &after_key));
        }
        let call = Call {
            operation: Operation::List,
            method: "GET",
            key: String::new(),
            parameters: &parameters,
            headers: Vec::new(),
            body: &[],
            sha256: None,
            limit: xml::MAX_LIST_BYTES,
        };
        self.repeat(&call, |answer| {
            let read = xml::listing(&answer.body, &base).and_then(|listing| listing.check(prefix, after));
            read.map_err(|source| BucketError::Malformed { url: answer.url.clone(), source })
        })
    }

    fn delete(&self, key: &str) -> Result<(), BucketError> {
        let call = self.call(Operation::Delete, key)?;
        self.repeat(&call, |answer| match answer.status {
            200..=299 | 404 => Ok(()),
            _ => Err(answer.unexpected(Operation::Delete, "status 204")),
        })
    }

    fn requests(&self) -> &Requests {
        &self.shared.requests
    }

    fn use_tag_style(&self, style: TagStyle) {
        self.shared.bare_tags.store(style == TagStyle::Bare, Ordering::Relaxed);
    }

    fn within(&self, limit: Duration) -> Option<Arc<dyn Objects>> {
        Some(Arc::new(Self::within(self, limit.min(self.timeout), limit.min(self.patience))))
    }

    fn name(&self) -> String {
        let place = &self.shared.place;
        format!("{} at {}://{}", self.shared.address, place.scheme, place.host)
    }
}

/// Shows no secret.
impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.shared;
        f.debug_struct("S3")
            .field("address", &shared.address)
            .field("place", &shared.place)
            .field("source", &shared.source)
            .finish_non_exhaustive()
    }
}
