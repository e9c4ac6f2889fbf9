//! A tlog-tiles log that tells every lie and counts its requests, to test everything that must not trust a log.
//!
//! ```text
//! http://ADDRESS/checkpoint, /tile/...       the main branch
//! http://ADDRESS/<branch>/checkpoint, ...    another history under the same key: split views, by address
//! ```
//!
//! For two views on two ports, start two liars with one signer.

pub mod branch;
mod http;
pub mod lie;

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use treehead::checkpoint::LogSigner;
use treehead::merkle::Tile;
use treehead::note::{KeyName, NoteKey, NoteSigner, SignatureType};

use self::branch::{Branch, bundle_of, now};
use self::http::{Answer, InProgress};
use self::lie::{Lie, Only};
use super::log::log_signer;

/// The main branch, which has no name in its paths.
const MAIN: &str = "";

/// A received request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The path without a leading slash, with the branch's name.
    pub path: String,
    pub headers: Vec<String>,
    pub at: Instant,
}

struct State {
    branches: BTreeMap<String, Branch>,
    lies: Vec<(Lie, Only)>,
    asked: Vec<Asked>,
}

struct Shared {
    log: LogSigner,
    witnesses: Vec<NoteSigner>,
    state: Mutex<State>,
    /// Requests and connections in progress, and their maxima.
    requests: (AtomicUsize, AtomicUsize),
    connections: (AtomicUsize, AtomicUsize),
    stop: AtomicBool,
}

/// A running log. Stops when dropped.
pub struct Liar {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Liar {
    /// A log of these entries, honest until told otherwise.
    pub fn serve(entries: Vec<Vec<u8>>) -> Self {
        Self::serve_as(log_signer().into(), Vec::new(), entries)
    }

    /// Like `new`, with these keys, and heads cosigned by all of the witnesses.
    pub fn serve_as(log: LogSigner, witnesses: Vec<NoteSigner>, entries: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let branches = BTreeMap::from([(MAIN.to_owned(), Branch::new(entries))]);
        let shared = Arc::new(Shared {
            log,
            witnesses,
            state: Mutex::new(State { branches, lies: Vec::new(), asked: Vec::new() }),
            requests: Default::default(),
            connections: Default::default(),
            stop: AtomicBool::new(false),
        });
        let served = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.is_over() {
                    break;
                }
                let (Ok(stream), shared) = (stream, served.clone()) else { continue };
                std::thread::spawn(move || {
                    let _connection = InProgress::count(&shared.connections);
                    // The thread ends with the connection.
                    let _ = shared.serve(stream);
                });
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of another branch.
    pub fn url_of(&self, branch: &str) -> String {
        format!("http://{}/{branch}", self.address)
    }

    pub fn keys(&self) -> Vec<NoteKey> {
        self.shared.log.keys()
    }

    /// A policy that trusts its keys and demands all of its witnesses.
    pub fn policy(&self) -> String {
        let mut lines: String = self.keys().iter().map(|key| format!("log {key}\n")).collect();
        let names: Vec<String> = (0..self.shared.witnesses.len()).map(|at| format!("witness-{at}")).collect();
        for (name, witness) in names.iter().zip(&self.shared.witnesses) {
            lines += &format!("witness {name} {}\n", witness.public());
        }
        if names.is_empty() {
            return lines + "quorum none\n";
        }
        lines + &format!("group everybody all {}\nquorum everybody\n", names.join(" "))
    }

    /// Tells this lie to everybody from now on.
    pub fn set(&self, lie: Lie) {
        self.set_only(lie, Only::any());
    }

    /// Tells this lie to matching requests from now on. The lie that was set first wins.
    pub fn set_only(&self, lie: Lie, only: Only) {
        self.state().lies.push((lie, only));
    }

    pub fn be_honest(&self) {
        self.state().lies.clear();
    }

    /// Appends to a branch (`""` is the main one), and publishes a head over it.
    pub fn append(&self, branch: &str, entries: &[Vec<u8>]) {
        let mut state = self.state();
        let branch = state.branches.get_mut(branch).expect("a branch of this name");
        *branch = branch.forked(branch.entries.len(), entries);
    }

    /// Makes a branch that equals the main one up to `size` and then differs.
    pub fn fork(&self, name: &str, size: usize, others: &[Vec<u8>]) {
        let mut state = self.state();
        let branch = state.branches[MAIN].forked(size, others);
        state.branches.insert(name.to_owned(), branch);
    }

    pub fn branch(&self, name: &str) -> Branch {
        self.state().branches[name].clone()
    }

    /// All requests so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Number of requests for each path.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.asked().into_iter().for_each(|asked| *counts.entry(asked.path).or_default() += 1);
        counts
    }

    /// The most concurrent requests.
    pub fn most_requests(&self) -> usize {
        self.shared.requests.1.load(Ordering::SeqCst)
    }

    /// The most concurrent connections.
    pub fn most_connections(&self) -> usize {
        self.shared.connections.1.load(Ordering::SeqCst)
    }

    /// Requests in progress.
    pub fn requests(&self) -> usize {
        self.shared.requests.0.load(Ordering::SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some((path, headers)) = http::read_request(&mut reader) {
            let request = InProgress::count(&self.requests);
            self.answer(reader.get_mut(), &path, headers, request)?;
        }
        Ok(())
    }

    fn answer(
        &self,
        stream: &mut TcpStream,
        path: &str,
        headers: Vec<String>,
        request: InProgress<'_>,
    ) -> io::Result<()> {
        let (lie, answer) = {
            let mut state = self.state();
            let name = path.split('/').next().unwrap_or_default();
            let (name, rest) = match path.split_once('/') {
                Some((_, rest)) if state.branches.contains_key(name) => (name, rest),
                _ => (MAIN, path),
            };
            let lie = state
                .lies
                .iter_mut()
                .find_map(|(lie, only)| (lie.is_about(rest) && only.hits(rest)).then(|| lie.clone()));
            let name = match &lie {
                Some(Lie::Branch(other)) => other,
                _ => name,
            };
            let answer = self.in_words(&state.branches[name], rest, lie.as_ref());
            state.asked.push(Asked { path: path.to_owned(), headers, at: Instant::now() });
            (lie, answer)
        };
        match (lie, answer) {
            (_, Some((true, answer))) | (None, Some((_, answer))) => http::write(stream, &answer, request),
            (Some(lie), Some((false, honest))) => {
                http::write_lie(stream, &lie, path, &honest, request, &|| self.is_over())
            }
            (_, None) => {
                let body = b"nothing".to_vec();
                http::write(stream, &Answer { status: 404, media_type: "text/plain", body }, request)
            }
        }
    }

    /// The answer, and whether it contains the whole lie; otherwise the lie is in how it is sent.
    fn in_words(&self, branch: &Branch, path: &str, lie: Option<&Lie>) -> Option<(bool, Answer)> {
        let ok = |body: Vec<u8>| Answer { status: 200, media_type: "application/octet-stream", body };
        let text = |body: String| Answer { status: 200, media_type: "text/plain", body: body.into_bytes() };
        let path = path.split('?').next().unwrap_or_default();
        let honest = if path == "checkpoint" {
            Some(text(branch.note(branch.published, &self.log, &self.witnesses, now())))
        } else {
            Tile::parse(path).ok().and_then(|tile| branch.tile(tile)).map(ok)
        };
        let Some(lie) = lie else { return honest.map(|honest| (true, honest)) };
        let status = |status| Answer { status, media_type: "text/plain", body: b"gone".to_vec() };
        let (head, log) = (branch.published, &self.log);
        let said = match lie {
            Lie::PartialGone(code) => status(*code),
            Lie::Aged(size) => {
                return Some((false, text(branch.note(*size, log, &self.witnesses, now()))));
            }
            Lie::Shrunk(size) | Lie::Cached(size) => text(branch.note(*size, log, &self.witnesses, now())),
            Lie::Branch(_) => honest?,
            Lie::WrongSignature => text(another_root(&branch.note(head, log, &self.witnesses, now()))),
            Lie::OtherOrigin => {
                let name = KeyName::new("other.example/log").expect("a name");
                let other = NoteSigner::from_seed(name, SignatureType::Ed25519, &[99; 32]);
                text(branch.note(head, &other.into(), &self.witnesses, now()))
            }
            Lie::NoQuorum => text(branch.note(head, log, &[], now())),
            Lie::Says(head) => text(head.clone()),
            Lie::Stale(time) => text(branch.note(head, log, &self.witnesses, *time)),
            Lie::Html => Answer {
                status: 200,
                media_type: "text/html",
                body: b"<!doctype html>\n<title>Sign in</title>\n".to_vec(),
            },
            Lie::Empty => ok(Vec::new()),
            Lie::WrongTile | Lie::WrongBundle => ok(changed(honest?.body)),
            Lie::TruncatedTile | Lie::TruncatedBundle => ok(cut(honest?.body)),
            Lie::ExtraHash => ok([honest?.body, vec![7; 32]].concat()),
            Lie::ExtraEntry => ok([honest?.body, bundle_of(&[b"one too many".to_vec()])].concat()),
            _ => return Some((false, honest.unwrap_or_else(|| status(404)))),
        };
        Some((true, said))
    }
}

/// Changes the last byte, which belongs to the last entry or hash.
fn changed(mut body: Vec<u8>) -> Vec<u8> {
    *body.last_mut().expect("a body") ^= 1;
    body
}

fn cut(mut body: Vec<u8>) -> Vec<u8> {
    body.pop();
    body
}

/// Replaces the third line, the root, by that of another tree.
fn another_root(note: &str) -> String {
    let other = treehead::merkle::Hash::digest(b"another").to_base64();
    let line = |(at, line): (usize, &str)| if at == 2 { format!("{other}\n") } else { format!("{line}\n") };
    note.lines().enumerate().map(line).collect()
}
