//! A receiver of webhooks that checks its requests, and answers as it is told to.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status, with extra header lines.
    Status(u16, &'static str),
    /// The connection is closed.
    Close,
    /// One byte now and then, without an end.
    Drip,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Got {
    pub head: String,
    pub body: String,
}

impl Got {
    /// A header, by its lower-case name.
    pub fn header(&self, name: &str) -> String {
        let line = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        });
        line.unwrap_or_else(|| panic!("no {name}: {}", self.head))
    }
}

pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    got: Mutex<Vec<Got>>,
}

impl Receiver {
    /// Gives these answers, and 204 from then on.
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Mutex::new(answers.into_iter().collect());
        let shared = Arc::new(Shared { answers, got: Mutex::default() });
        let to = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = to.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks/monitor?token=abc", self.address)
    }

    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        while let Some(got) = read_request(&mut stream) {
            self.got.lock().unwrap().push(got);
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(204, ""));
            match answer {
                Answer::Status(status, headers) => {
                    let body = if status == 204 { "" } else { "so it is" };
                    let length = body.len();
                    let text =
                        format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
                    if stream.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
                Answer::Close => return,
                Answer::Drip => {
                    let text = "HTTP/1.1 200 OK\r\nX-Long: ".bytes().chain(std::iter::repeat(b'x'));
                    for byte in text {
                        if stream.write_all(&[byte]).is_err() {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            }
        }
    }
}

/// A request with a `Content-Length`; `None` if the connection ends.
fn read_request(stream: &mut TcpStream) -> Option<Got> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let mut got = Got { head: String::from_utf8(head).unwrap(), body: String::new() };
    let mut body = vec![0; got.header("content-length").parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    got.body = String::from_utf8(body).unwrap();
    Some(got)
}

impl Got {
    /// Checks the Standard Webhooks signature, made with the key after `whsec_`.
    #[track_caller]
    pub fn check(&self, secret: &str) {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let signed =
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        assert_eq!(self.header("webhook-signature"), format!("v1,{}", hmac(&key, signed.as_bytes())));
    }

    /// The event in the body.
    pub fn event(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("an event")
    }
}

/// HMAC-SHA256 as RFC 2104 section 2 writes it, for keys of at most 64 bytes.
pub fn hmac(key: &[u8], text: &[u8]) -> String {
    let padded =
        |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = Sha256::digest([&padded(0x36), text].concat());
    STANDARD.encode(Sha256::digest([&padded(0x5c), inner.as_slice()].concat()))
}
