//! A server's answers, read up to a limit, and its errors in words.

use std::io::{self, Read as _};
use std::time::SystemTime;

use serde::Deserialize;
use ureq::Timeout;
use ureq::http::Response;

use super::agent::is_address;
use super::proxy::proxy_for;
use super::retry_after::retry_after;
use super::{ClientError, NetworkFault, ProblemCode, RefusedEntry};
use crate::checkpoint::{self, Checkpoint, CheckpointError, LogSigned, SignsFor};
use crate::format::{FormatError, quote_bytes, shown};
use crate::note::NoteError;
use crate::threads::ThreadError;

/// Most bytes of an error's body that are read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// First allocation for an answer. It doubles only as bytes arrive: a promised length costs the sender nothing.
const ROOM: usize = 512 * 1024;

#[derive(Default, Deserialize)]
struct ProblemText {
    code: Option<String>,
    detail: Option<String>,
    entry: Option<usize>,
    entry_detail: Option<String>,
    holder: Option<String>,
}

/// Decides whether an answer may use this many bytes of memory in all, given the length that its header promises, if
/// any. If not, the answer is dropped.
pub(super) type Admit<'a> = dyn FnMut(usize, Option<usize>) -> bool + 'a;

/// An answer with status 200, not yet checked.
pub(super) struct Fetched {
    url: String,
    media_type: Option<Vec<u8>>,
    pub is_cached: bool,
    pub body: Vec<u8>,
}

impl Fetched {
    pub fn read(
        url: &str,
        limit: usize,
        response: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Self, ClientError> {
        let headers = response.as_ref().ok().map(Response::headers);
        let header = |name| headers.and_then(|headers| headers.get(name));
        let media_type = header("content-type").map(|media_type| media_type.as_bytes().to_vec());
        // RFC 9111 section 5.1: a cache that sends `Age` did not ask the server for this answer.
        let is_cached = header("age").is_some();
        Ok(Self { body: read(url, limit, response)?, url: url.to_owned(), media_type, is_cached })
    }

    pub fn signed_head(&self, logs: &[impl SignsFor]) -> Result<LogSigned<Checkpoint>, ClientError> {
        checkpoint::open(&self.body, logs).map_err(|e| self.is_no_head(e))
    }

    /// The error for an answer that is not a tree head: login pages come with status 200.
    pub fn is_no_head(&self, source: CheckpointError) -> ClientError {
        let is_note =
            !matches!(source, CheckpointError::Format(_) | CheckpointError::Note(NoteError::Format(_)));
        let came = if is_note { String::new() } else { format!("; it sent {}", self.in_words()) };
        ClientError::Head { url: self.url.clone(), came, source: Box::new(source) }
    }

    fn in_words(&self) -> String {
        let media_type =
            self.media_type.as_deref().map_or_else(|| "without a content type".to_owned(), quote_bytes);
        match self.body.as_slice() {
            [] => format!("an empty body ({media_type})"),
            body => format!("{} bytes ({media_type}) that begin with {}", body.len(), quote_bytes(body)),
        }
    }

    /// An error for an answer that can't be read.
    pub fn malformed(&self, what: &'static str, expected: &str, why: &str) -> ClientError {
        let seen = format!("{}: {why}", self.in_words());
        ClientError::Malformed { url: self.url.clone(), source: FormatError::malformed(what, expected, seen) }
    }
}

/// Reads an answer of at most `limit` bytes.
pub(super) fn read(
    url: &str,
    limit: usize,
    response: Result<Response<ureq::Body>, ureq::Error>,
) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    let length = read_admitted(url, limit, response, &mut |_, _| true, &mut body)?;
    Ok(cut(body, length.expect("everything is admitted")))
}

/// Like [`read`], into `buffer`, as [`read_into`] says. Returns the body's length; `None` if `admit` refuses.
pub(super) fn read_admitted(
    url: &str,
    limit: usize,
    response: Result<Response<ureq::Body>, ureq::Error>,
    admit: &mut Admit<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Option<usize>, ClientError> {
    let mut response = response.map_err(|e| network(url, &e))?;
    if !response.status().is_success() {
        return Err(refusal(url, &mut response));
    }
    let too_large = |seen| {
        let source = FormatError::TooLarge { what: "the answer", limit, unit: "bytes", seen };
        Err(ClientError::TooLarge { url: url.to_owned(), source })
    };
    // An answer that announces itself as too large is not read.
    let promised =
        response.body().content_length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if let Some(promised) = promised.filter(|promised| *promised > limit) {
        return too_large(promised);
    }
    // One byte more than allowed tells a body that is too large from one that just fits.
    let most = limit.saturating_add(1);
    match read_into(&mut response, most, admit, buffer).map_err(|e| network(url, &e.into()))? {
        Some(length) if length > limit => too_large(length),
        length => Ok(length),
    }
}

fn refusal(url: &str, response: &mut Response<ureq::Body>) -> ClientError {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let body = read_capped(response, MAX_ERROR_BYTES).unwrap_or_default();
    let mut error = refused(url, status, &body, retry_after);
    let location = response.headers().get("location").filter(|_| (300..400).contains(&status));
    if let (Some(to), ClientError::Status { detail, .. }) = (location, &mut error) {
        *detail = printable(&format!("redirected to {}", quote_bytes(to.as_bytes())));
    }
    error
}

/// Makes the error of an answer that is a refusal, from the problem document in its body if there is one.
pub(crate) fn refused(url: &str, status: u16, body: &[u8], retry_after: Option<u64>) -> ClientError {
    let problem: ProblemText = serde_json::from_slice(body).unwrap_or_default();
    let unread = || if body.is_empty() { String::new() } else { quote_bytes(body) };
    let detail = problem.detail.map_or_else(unread, |detail| printable(&detail));
    let entry = problem.entry.map(|at| {
        let detail = problem.entry_detail.map_or_else(|| detail.clone(), |detail| printable(&detail));
        Box::new(RefusedEntry { at, detail })
    });
    let mut code = problem.code.and_then(ProblemCode::parse);
    if let Some(ProblemCode::Standby { holder }) = &mut code {
        *holder = problem.holder.filter(|url| is_address(url));
    }
    ClientError::Status { url: url.to_owned(), status, code, detail, retry_after, entry }
}

pub(crate) fn network(url: &str, error: &ureq::Error) -> ClientError {
    use std::io::ErrorKind as Kind;
    if let Some(refused) = refused_thread(error) {
        return ClientError::Threads(refused.clone());
    }
    let fault = match error {
        ureq::Error::Timeout(_) => NetworkFault::Timeout,
        ureq::Error::Protocol(_)
        | ureq::Error::Http(_)
        | ureq::Error::LargeResponseHeader(..)
        | ureq::Error::Decompress(..) => NetworkFault::Garbled,
        ureq::Error::Rustls(e) => tls_fault(e),
        ureq::Error::Io(e) => match e.kind() {
            _ if inner_tls(e).is_some() => inner_tls(e).map_or(NetworkFault::Garbled, tls_fault),
            Kind::TimedOut | Kind::WouldBlock => NetworkFault::Timeout,
            Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => {
                NetworkFault::Closed
            }
            Kind::InvalidData | Kind::InvalidInput => NetworkFault::Garbled,
            _ => NetworkFault::Unreachable,
        },
        _ => NetworkFault::Unreachable,
    };
    ClientError::Network { url: url.to_owned(), fault, detail: in_words(url, error) }
}

/// Returns the error of this system, if it had no thread for the look-up of a name: then nothing was sent.
fn refused_thread(error: &ureq::Error) -> Option<&ThreadError> {
    match error {
        ureq::Error::Io(e) => e.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// The HTTP library's error without the names of its parts, and the proxy that the request went through.
pub(crate) fn in_words(url: &str, error: &ureq::Error) -> String {
    let words = match error {
        ureq::Error::Timeout(Timeout::Resolve) => "its name was not resolved in time".to_owned(),
        ureq::Error::Timeout(Timeout::Connect) => "no connection in time".to_owned(),
        ureq::Error::Timeout(_) => "the answer was not complete in time".to_owned(),
        ureq::Error::Io(e) => inner_tls(e).map_or_else(|| e.to_string(), tls_in_words),
        ureq::Error::Rustls(e) => tls_in_words(e),
        ureq::Error::Http(e) => e.to_string(),
        ureq::Error::Protocol(e) => e.to_string(),
        ureq::Error::ConnectProxyFailed(why) => {
            format!("the proxy makes no connection to it: {}", printable(why))
        }
        other => other.to_string(),
    };
    match proxy_for(url) {
        Ok(Some(proxy)) => format!("{words} (through the proxy {}:{})", proxy.host(), proxy.port()),
        _ => words,
    }
}

fn tls_in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "the server does not speak https: is it http://?".to_owned()
        }
        other => other.to_string(),
    }
}

/// The TLS error inside a connection's error.
fn inner_tls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

const fn tls_fault(error: &rustls::Error) -> NetworkFault {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            NetworkFault::Certificate
        }
        _ => NetworkFault::Garbled,
    }
}

/// Reads at most `limit` bytes of a body.
pub(crate) fn read_capped(response: &mut Response<ureq::Body>, limit: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let length = read_into(response, limit, &mut |_, _| true, &mut body)?;
    Ok(cut(body, length.expect("everything is admitted")))
}

/// Cuts a buffer to the body that it holds. If no length was promised, most of its room may be unused.
pub(super) fn cut(mut buffer: Vec<u8>, length: usize) -> Vec<u8> {
    buffer.truncate(length);
    if buffer.capacity() > 2 * length {
        buffer.shrink_to_fit();
    }
    buffer
}

/// Reads at most `limit` bytes as they come out of the decoder: a few bytes of gzip can stand for
/// gigabytes, so the limit is not on the bytes of the wire. Returns their number; `None` if `admit` refuses.
///
/// They are at the beginning of `buffer`, which only ever gets longer: used for one body after another, it is neither
/// allocated nor zeroed again.
fn read_into(
    response: &mut Response<ureq::Body>,
    limit: usize,
    admit: &mut Admit<'_>,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    let length = response.body().content_length();
    let promised = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX).min(limit));
    let mut reader = response.body_mut().as_reader();
    let (mut filled, mut room) = (0, 0);
    loop {
        if filled == room {
            if filled == limit {
                return Ok(Some(filled));
            }
            // One byte more than promised, to see the end without making room again.
            let most = promised.map_or(limit, |promised| (promised + 1).min(limit)).max(filled + 1);
            room = (filled + filled.max(ROOM)).min(most);
            if !admit(room, promised) {
                return Ok(None);
            }
            if buffer.len() < room {
                buffer.resize(room, 0);
            }
        }
        match reader.read(&mut buffer[filled..room]) {
            Ok(0) => return Ok(Some(filled)),
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Returns true for text that may be a code: codes go into reports for other machines.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// The beginning of a server's text, safe to show to people.
pub(crate) fn printable(text: &str) -> String {
    shown(&text.chars().take(2_000).collect::<String>())
}
