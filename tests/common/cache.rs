//! A caching proxy in front of a log: like nginx with `proxy_cache_valid 200 10m`, or one that ignores all headers.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::http::{Reply, get};

/// How long it keeps answers without a rule of their own.
const VALID: Duration = Duration::from_secs(600);

/// The rules that a cache follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heeds {
    /// `Cache-Control`, as nginx reads it: `no-cache`, `no-store`, `private` and ages.
    CacheControl,
    /// No header.
    Nothing,
}

type Kept = Arc<Mutex<HashMap<String, (Instant, Reply)>>>;

pub struct Cache {
    pub url: String,
    kept: Kept,
    /// Paths that it answered without asking the log.
    hits: Arc<Mutex<Vec<String>>>,
}

impl Cache {
    /// Starts in front of the log at `url`, and runs until the test ends.
    pub fn before(url: &str, heeds: Heeds) -> Self {
        let log: SocketAddr = url.strip_prefix("http://").expect("a URL").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (kept, hits) = (Kept::default(), Arc::new(Mutex::new(Vec::new())));
        let (keep, count) = (kept.clone(), hits.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("a connection"));
                let (mut request, mut line) = (String::new(), "-".to_owned());
                if !matches!(stream.read_line(&mut request), Ok(1..)) {
                    continue;
                }
                while !line.trim().is_empty() {
                    line.clear();
                    stream.read_line(&mut line).expect("a header");
                }
                let path = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
                let path = path.expect("nobody posts through a cache").to_owned();
                let known = keep.lock().expect("no panic").get(&path).cloned();
                let reply = match known {
                    Some((until, reply)) if Instant::now() < until => {
                        count.lock().expect("no panic").push(path);
                        reply
                    }
                    _ => {
                        let reply = get(log, &path);
                        if let Some(valid) = valid(&reply, heeds) {
                            let until = Instant::now() + valid;
                            keep.lock().expect("no panic").insert(path, (until, reply.clone()));
                        }
                        reply
                    }
                };
                let media_type = reply.header("content-type").unwrap_or("text/plain");
                let head = format!(
                    "HTTP/1.1 {} X\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    reply.status,
                    reply.body.len()
                );
                // The client may be gone; a failed write is harmless.
                let _ = stream.get_mut().write_all(&[head.as_bytes(), &reply.body].concat());
            }
        });
        Self { url, kept, hits }
    }

    /// Expires all cached answers under paths with this prefix.
    pub fn forget(&self, prefix: &str) {
        self.kept.lock().expect("no panic").retain(|path, _| !path.starts_with(prefix));
    }

    /// Number of cache hits for paths with this prefix.
    pub fn hits(&self, prefix: &str) -> usize {
        self.hits.lock().expect("no panic").iter().filter(|path| path.starts_with(prefix)).count()
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
