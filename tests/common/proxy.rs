//! Small HTTP servers: files, a proxy in front of a log that answers some requests itself, and a cache.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::http::{Reply, get};

/// How long the cache keeps answers without an age of their own.
const VALID: Duration = Duration::from_secs(600);

/// Serves what `answer` gives for each path, until the test ends: status, media type if any, body. Returns the URL.
fn serve(answer: impl Fn(&str) -> (u16, Option<String>, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            // A client that goes away must not stop the server.
            let Some(path) = read_path(&mut stream) else { continue };
            let (status, media_type, body) = answer(&path);
            let length = body.len();
            let media_type = media_type.map_or_else(String::new, |kind| format!("Content-Type: {kind}\r\n"));
            let head = format!(
                "HTTP/1.1 {status} X\r\n{media_type}Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            // The client may be gone; a failed write is harmless.
            let _ = stream.get_mut().write_all(&[head.as_bytes(), &body].concat());
        }
    });
    url
}

/// Reads a request. Returns its path.
fn read_path(stream: &mut impl BufRead) -> Option<String> {
    let mut lines = stream.lines().map_while(Result::ok);
    let request = lines.next()?;
    lines.find(String::is_empty)?;
    Some(request.split(' ').nth(1)?.to_owned())
}

/// Serves the files of a directory without media types, and nothing else. Returns the URL.
pub fn serve_files(root: &Path) -> String {
    let root = root.to_owned();
    serve(move |path| {
        let (status, body) = match fs::read(root.join(path.trim_start_matches('/'))) {
            Ok(body) if !path.contains("..") => (200, body),
            _ => (404, b"no such file".to_vec()),
        };
        (status, None, body)
    })
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").expect("a URL").parse().expect("an address")
}

fn count(paths: &Mutex<Vec<String>>, prefix: &str) -> usize {
    paths.lock().expect("no panic").iter().filter(|path| path.starts_with(prefix)).count()
}

/// A proxy that answers some paths itself.
pub struct Proxy {
    pub url: String,
    requested: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts in front of the log at `url`. If `answer` gives no status and body for a path, the log answers.
    pub fn before(url: &str, answer: impl Fn(&str) -> Option<(u16, Vec<u8>)> + Send + 'static) -> Self {
        let (log, requested) = (address(url), Arc::<Mutex<Vec<String>>>::default());
        let paths = requested.clone();
        let url = serve(move |path| {
            paths.lock().expect("no panic").push(path.to_owned());
            let of_log = || {
                let reply = get(log, path);
                (reply.status, reply.body)
            };
            let (status, body) = answer(path).unwrap_or_else(of_log);
            (status, Some("application/problem+json".to_owned()), body)
        });
        Self { url, requested }
    }

    /// The number of requests for paths with this prefix.
    pub fn asked(&self, prefix: &str) -> usize {
        count(&self.requested, prefix)
    }
}

/// The rules that a cache follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heeds {
    /// `Cache-Control`, as nginx reads it: `no-cache`, `no-store`, `private` and ages.
    CacheControl,
    /// No header.
    Nothing,
}

type Kept = Arc<Mutex<HashMap<String, (Instant, Reply)>>>;

/// A caching proxy: like nginx with `proxy_cache_valid 200 10m`, or one that ignores all headers.
pub struct Cache {
    pub url: String,
    kept: Kept,
    /// Paths that it answered without asking the log.
    hits: Arc<Mutex<Vec<String>>>,
}

impl Cache {
    /// Starts in front of the log at `url`.
    pub fn before(url: &str, heeds: Heeds) -> Self {
        let (log, kept, hits) = (address(url), Kept::default(), Arc::<Mutex<Vec<String>>>::default());
        let (keep, hit) = (kept.clone(), hits.clone());
        let url = serve(move |path| {
            let known = keep.lock().expect("no panic").get(path).cloned();
            let reply = match known {
                Some((until, reply)) if Instant::now() < until => {
                    hit.lock().expect("no panic").push(path.to_owned());
                    reply
                }
                _ => {
                    let reply = get(log, path);
                    if let Some(valid) = valid(&reply, heeds) {
                        let until = Instant::now() + valid;
                        keep.lock().expect("no panic").insert(path.to_owned(), (until, reply.clone()));
                    }
                    reply
                }
            };
            let media_type = reply.header("content-type").unwrap_or("text/plain").to_owned();
            (reply.status, Some(media_type), reply.body)
        });
        Self { url, kept, hits }
    }

    /// Expires all cached answers under paths with this prefix.
    pub fn forget(&self, prefix: &str) {
        self.kept.lock().expect("no panic").retain(|path, _| !path.starts_with(prefix));
    }

    /// Number of cache hits for paths with this prefix.
    pub fn hits(&self, prefix: &str) -> usize {
        count(&self.hits, prefix)
    }
}

fn valid(reply: &Reply, heeds: Heeds) -> Option<Duration> {
    let rule = reply.header("cache-control").filter(|_| heeds == Heeds::CacheControl).unwrap_or_default();
    let of_rule = |name: &str| rule.split(',').any(|word| word.trim() == name);
    if reply.status != 200 || ["no-cache", "no-store", "private"].into_iter().any(of_rule) {
        return None;
    }
    let age = rule.split(',').find_map(|word| word.trim().strip_prefix("max-age="));
    let valid = age.map_or(VALID, |age| Duration::from_secs(age.parse().expect("seconds")));
    (!valid.is_zero()).then_some(valid)
}
