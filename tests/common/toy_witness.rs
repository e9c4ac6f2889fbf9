//! A slow and simple witness that misbehaves on demand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use treehead::checkpoint::cosignature::cosign;
use treehead::checkpoint::{self, Checkpoint};
use treehead::merkle::{Hash, TreeSize, verify_consistency};
use treehead::note::{KeyName, Note, NoteKey, NoteSigner, SignatureType};
use treehead::proof::wire::{AddCheckpoint, SIZE_MEDIA_TYPE};

/// Status, media type, body.
pub type Answer = (u16, &'static str, Vec<u8>);

/// The parts of a request that a lie depends on.
pub struct Asked {
    pub is_post: bool,
    pub path: String,
    pub body: Vec<u8>,
    /// The last head that the witness cosigned.
    pub last: Option<Checkpoint>,
    /// The answer of an honest witness.
    pub honest: Answer,
}

/// Answers something else than an honest witness would, or nothing at all: the connection ends.
pub type Lie = dyn Fn(Asked) -> Option<Answer> + Send + Sync;

struct State {
    log: Vec<NoteKey>,
    last: Option<(Checkpoint, Note)>,
    lie: Option<Arc<Lie>>,
    /// Every head that was cosigned and answered.
    released: Vec<Checkpoint>,
}

pub struct ToyWitness {
    pub url: String,
    pub signers: Arc<Vec<NoteSigner>>,
    state: Arc<Mutex<State>>,
    under_way: Arc<(AtomicUsize, AtomicUsize)>,
    stop: Arc<AtomicBool>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

pub fn signers(name: &str, seed: u8) -> Vec<NoteSigner> {
    [SignatureType::CosignatureEd25519, SignatureType::CosignatureMlDsa44]
        .map(|kind| NoteSigner::from_seed(KeyName::new(name).expect("a name"), kind, &[seed; 32]))
        .into()
}

impl ToyWitness {
    /// A witness of the log with these keys. It has an Ed25519 and an ML-DSA-44 key.
    pub fn start(name: &str, seed: u8, log: Vec<NoteKey>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = State { log, last: None, lie: None, released: Vec::new() };
        let witness = Self {
            url,
            signers: Arc::new(signers(name, seed)),
            state: Arc::new(Mutex::new(state)),
            under_way: Arc::default(),
            stop: Arc::default(),
        };
        let (signers, state) = (witness.signers.clone(), witness.state.clone());
        let (under_way, stop) = (witness.under_way.clone(), witness.stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), signers, state, under_way) =
                    (stream, signers.clone(), state.clone(), under_way.clone())
                else {
                    continue;
                };
                std::thread::spawn(move || serve(stream, &signers, &state, &under_way));
            }
        });
        witness
    }

    /// The policy lines for this witness, and the name of their group.
    pub fn policy_lines(&self, name: &str) -> String {
        let mut lines = String::new();
        for (at, signer) in self.signers.iter().enumerate() {
            lines += &format!("witness {name}-{at} {} {}\n", signer.public(), self.url);
        }
        lines + &format!("group {name} any {name}-0 {name}-1\n")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    /// From now on, the witness gives these answers.
    pub fn lie(&self, lie: impl Fn(Asked) -> Option<Answer> + Send + Sync + 'static) {
        self.state().lie = Some(Arc::new(lie));
    }

    /// Answers and remembers like an honest witness: for lies that are only about time.
    pub fn pass(&self) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
        let (signers, state) = (self.signers.clone(), self.state.clone());
        move |asked| {
            let mut state = state.lock().expect("no panic while it is held");
            honest(&mut state, &signers, asked.is_post, &asked.path, &asked.body)
        }
    }

    pub fn be_honest(&self) {
        self.state().lie = None;
    }

    /// Makes the witness believe that it has cosigned this head.
    pub fn saw(&self, head: &Checkpoint, note: Note) {
        self.state().last = Some((head.clone(), note));
    }

    pub fn last(&self) -> Option<Checkpoint> {
        self.state().last.as_ref().map(|(head, _)| head.clone())
    }

    pub fn released(&self) -> Vec<Checkpoint> {
        self.state().released.clone()
    }

    /// The largest number of requests in progress at once.
    pub fn most_at_once(&self) -> usize {
        self.under_way.1.load(Ordering::SeqCst)
    }
}

impl Drop for ToyWitness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.url.trim_start_matches("http://")));
    }
}

fn serve(
    stream: TcpStream,
    signers: &[NoteSigner],
    state: &Mutex<State>,
    under_way: &(AtomicUsize, AtomicUsize),
) {
    let mut reader = BufReader::new(stream);
    while let Some((is_post, path, body)) = read_request(&mut reader) {
        let at_once = under_way.0.fetch_add(1, Ordering::SeqCst) + 1;
        under_way.1.fetch_max(at_once, Ordering::SeqCst);
        let (answer, lie) = {
            let mut state = state.lock().expect("no panic while it is held");
            let last = state.last.clone().map(|(head, _)| head);
            let lie = state.lie.clone();
            // A lying witness remembers nothing of it.
            let kept = (state.last.clone(), state.released.len());
            let honest = honest(&mut state, signers, is_post, &path, &body);
            if lie.is_some() {
                state.last = kept.0;
                state.released.truncate(kept.1);
            }
            (Asked { is_post, path, body, last, honest }, lie)
        };
        // A lie may be slow; others are answered meanwhile.
        let answer = match lie {
            None => Some(answer.honest),
            Some(lie) => lie(answer),
        };
        under_way.0.fetch_sub(1, Ordering::SeqCst);
        let Some((status, media_type, body)) = answer else { return };
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let stream = reader.get_mut();
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<(bool, String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut parts = first.split(' ');
    Some((parts.next()? == "POST", parts.next()?.to_owned(), body))
}

fn text(status: u16, text: impl Into<String>) -> Answer {
    (status, "text/plain", text.into().into_bytes())
}

fn honest(state: &mut State, signers: &[NoteSigner], is_post: bool, path: &str, body: &[u8]) -> Answer {
    if !is_post {
        let origin = state.log[0].name().as_str();
        let asked = format!("/{}/checkpoint", Hash::digest(origin.as_bytes()).to_hex());
        return match &state.last {
            Some((_, note)) if path == asked => text(200, note.to_string()),
            _ => text(404, "nothing"),
        };
    }
    let Ok(request) = AddCheckpoint::parse(body) else { return text(400, "malformed") };
    let Ok(signed) = checkpoint::open_note(request.checkpoint, &state.log) else {
        return text(403, "unsigned");
    };
    let head = signed.get();
    if request.old > head.size {
        return text(400, "reversed");
    }
    let (size, root) =
        state.last.as_ref().map_or((TreeSize::ZERO, Hash::EMPTY_ROOT), |(h, _)| (h.size, h.root));
    if request.old != size {
        return (409, SIZE_MEDIA_TYPE, format!("{size}\n").into_bytes());
    }
    if verify_consistency((size, &root), (head.size, &head.root), &request.proof).is_err() {
        return text(422, "inconsistent");
    }
    let lines: Vec<_> = signers.iter().map(|signer| cosign(head, signer, now())).collect();
    let mut note = signed.verified_note();
    lines.iter().for_each(|line| note.push(line.clone()));
    state.released.push(head.clone());
    state.last = Some((head.clone(), note));
    text(200, lines.iter().map(ToString::to_string).collect::<String>())
}
