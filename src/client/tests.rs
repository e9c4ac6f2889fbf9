//! The client against servers that lie in ways that no real one would.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::format::FormatError;
use crate::merkle::{Hash, TreeSize};

/// Answers one request with these bytes. Returns the address of the server.
fn server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        // The client hangs up when it has read enough.
        let _ = stream.write_all(&answer);
    });
    url
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.into_bytes(), body.to_vec()].concat()
}

#[test]
fn a_gzip_bomb_is_read_only_up_to_the_limit() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let megabyte = vec![0; 1 << 20];
    (0..512).for_each(|_| bomb.write_all(&megabyte).unwrap());
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "half a gigabyte in less than a megabyte");
    let url = server(response("200 OK", "Content-Encoding: gzip\r\n", &bomb));
    let error = LogClient::new(&url).unwrap().get("checkpoint", 1 << 20).unwrap_err();
    let ClientError::TooLarge { source, .. } = error else { panic!("{error}") };
    assert_eq!(
        source,
        FormatError::TooLarge { what: "the answer", limit: 1 << 20, unit: "bytes", seen: (1 << 20) + 1 }
    );
}

#[test]
fn foreign_text_can_not_drive_a_terminal() {
    let problem = "{\"code\":\"a\\u001b[2J\",\"detail\":\"\\u001b]0;owned\\u0007gone\"}";
    let url = server(response("403 Forbidden", "", problem.as_bytes()));
    let error = LogClient::new(&url).unwrap().get("checkpoint", 100).unwrap_err();
    assert!(!error.to_string().contains(char::is_control), "{error:?}");
    let ClientError::Status { code, status, .. } = error else { panic!("{error}") };
    assert_eq!((code, status), (None, 403), "a code that can't be one is dropped");
}

#[test]
fn redirects_are_not_followed() {
    let url = server(response("302 Found", "Location: http://127.0.0.1:1/\r\n", b""));
    let error = LogClient::new(&url).unwrap().get("checkpoint", 100).unwrap_err();
    assert!(matches!(error, ClientError::Status { status: 302, .. }), "{error}");
}

/// The refusal of a server that stands by.
fn standby(holder: &str) -> Vec<u8> {
    let problem =
        format!("{{\"code\":\"standby\",\"detail\":\"another one appends\",\"holder\":\"{holder}\"}}");
    response("503 Service Unavailable", "Retry-After: 1\r\n", problem.as_bytes())
}

#[test]
fn a_server_that_stands_by_leads_to_the_one_that_appends_and_no_further() {
    let once =
        |url: &str| LogClient::builder().tries(1).build(url).unwrap().post("add", "*/*", b"entry", 100);
    let holder = server(response("200 OK", "", b"7"));
    assert_eq!(once(&server(standby(&holder))).unwrap(), b"7");
    // What the other one says is the answer.
    let refuses = server(response("409 Conflict", "", b"{\"code\":\"sequence-taken\",\"detail\":\"taken\"}"));
    let error = once(&server(standby(&refuses))).unwrap_err();
    assert!(error.is_sequence_taken(), "{error}");
    // Two that name each other, or a third one.
    let third = server(response("200 OK", "", b"8"));
    let error = once(&server(standby(&server(standby(&third))))).unwrap_err();
    assert!(error.is_temporary(), "{error}");
    // One that is gone: another one takes over soon.
    let error = once(&server(standby("http://127.0.0.1:1"))).unwrap_err();
    assert!(
        error.is_temporary() && error.to_string().contains("another one appends; the server that"),
        "{error}"
    );
    // A second try follows again.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for holder in ["http://127.0.0.1:1", &server(response("200 OK", "", b"9"))] {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 2_000]).unwrap();
            stream.write_all(&standby(holder)).unwrap();
        }
    });
    assert_eq!(LogClient::new(&url).unwrap().post("add", "*/*", b"entry", 100).unwrap(), b"9");
}

#[test]
fn an_entry_is_not_sent_on_without_tls_if_it_came_with_it() {
    let refused = |holder: &str| {
        let body = format!("{{\"code\":\"standby\",\"detail\":\"\",\"holder\":\"{holder}\"}}");
        super::response::refused("https://log/add", 503, body.as_bytes(), Some(1))
    };
    let led = |asked: &str, holder: &str| super::holders::holder_of(&refused(holder), asked);
    assert_eq!(led("https://log", "https://b.example/log/").as_deref(), Some("https://b.example/log"));
    assert_eq!(led("http://log", "http://b.example").as_deref(), Some("http://b.example"));
    assert_eq!(led("https://log", "http://b.example"), None);
    for other in ["https://log/", "ftp://b", "", "b.example", "https://b.example/?x=1"] {
        assert_eq!(led("https://log", other), None, "{other}");
    }
}

#[test]
fn answers_that_end_early_are_no_answers() {
    let mut cut = response("200 OK", "", b"0123456789");
    cut.truncate(cut.len() - 3);
    let error = LogClient::new(&server(cut)).unwrap().get("checkpoint", 100).unwrap_err();
    assert!(matches!(error, ClientError::Network { .. }), "{error}");
    let error =
        LogClient::new(&server(b"SSH-2.0-hello\r\n\r\n".to_vec())).unwrap().get("x", 100).unwrap_err();
    assert!(matches!(error, ClientError::Network { .. }), "{error}");
}

#[test]
fn only_addresses_of_logs_are_taken() {
    for bad in ["", "log.example.com", "ftp://log", "http://", "http:///x", "https://log?x", "http://a b"] {
        assert!(matches!(LogClient::new(bad), Err(ClientError::Address(_))), "{bad}");
    }
    let client = LogClient::new("https://log.example.com/prefix/").unwrap();
    assert_eq!(client.url("/checkpoint"), "https://log.example.com/prefix/checkpoint");
}

#[test]
fn a_contact_is_told_and_nothing_else_can_be_said_with_it() {
    use std::sync::mpsc;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let (mut stream, mut head) = (stream.unwrap(), [0; 2_000]);
            let length = stream.read(&mut head).unwrap();
            told.send(String::from_utf8_lossy(&head[..length]).into_owned()).unwrap();
        }
    });
    let name = concat!("treehead/", env!("CARGO_PKG_VERSION"));
    let _ = LogClient::new(&url).unwrap().get("checkpoint", 100);
    let head = heard.recv().unwrap().to_ascii_lowercase();
    assert!(head.contains(&format!("user-agent: {name}\r\n")), "{head}");
    let client = LogClient::builder().contact(" ops@example.org").build(&url).unwrap();
    let _ = client.get("checkpoint", 100);
    let head = heard.recv().unwrap().to_ascii_lowercase();
    assert!(head.contains(&format!("user-agent: {name} (ops@example.org)\r\n")), "{head}");
    for bad in ["", "  ", "a\r\nX-Other: b", "a\0", "ö@example.org", &"a".repeat(201)] {
        let error = LogClient::builder().contact(bad).build(&url).unwrap_err();
        assert_eq!(error.code(), "contact", "{bad:?}");
    }
}

#[test]
fn each_error_has_a_code_of_its_own() {
    use crate::checkpoint::CheckpointError;
    use crate::merkle::{Hash, LeafIndex, ProofError, TreeSize};
    use crate::note::NoteError;
    let url = String::new;
    let format = || FormatError::malformed("a thing", "this", "that");
    let status = |status| ClientError::Status {
        url: url(),
        status,
        code: None,
        detail: String::new(),
        retry_after: None,
        entry: None,
    };
    let network = |fault| ClientError::Network { url: url(), fault, detail: String::new() };
    let length =
        |is_bundle, is_short| ClientError::Length { url: url(), is_bundle, is_short, source: format() };
    let head = |source| ClientError::Head { url: url(), came: String::new(), source: Box::new(source) };
    let unsigned = NoteError::Unsigned { expected: String::new(), seen: String::new() };
    let origin = CheckpointError::WrongOrigin { expected: String::new(), seen: String::new() };
    let range = ProofError::IndexOutOfRange { index: LeafIndex::new(1).unwrap(), size: TreeSize::ZERO };
    let (expected, seen) = (Hash::EMPTY_ROOT, Hash::EMPTY_ROOT);
    let no_threads = crate::threads::limit::with(0, || crate::threads::start("entries", || ())).unwrap_err();
    for (error, code) in [
        (ClientError::Address(url()), "address"),
        (ClientError::Contact(url()), "contact"),
        (network(NetworkFault::Unreachable), "unreachable"),
        (network(NetworkFault::Timeout), "timeout"),
        (network(NetworkFault::Closed), "closed"),
        (network(NetworkFault::Garbled), "garbled"),
        (status(301), "redirect"),
        (status(308), "redirect"),
        (status(400), "refused"),
        (status(404), "not-found"),
        (status(410), "not-found"),
        (status(408), "busy"),
        (status(429), "busy"),
        (status(503), "busy"),
        (status(500), "server-error"),
        (status(502), "server-error"),
        (ClientError::TooLarge { url: url(), source: format() }, "too-large"),
        (ClientError::Malformed { url: url(), source: format() }, "malformed"),
        (ClientError::Older { url: url(), expected: TreeSize::ZERO, seen: 0 }, "older-answer"),
        (length(true, true), "truncated-bundle"),
        (length(true, false), "oversized-bundle"),
        (length(false, true), "truncated-tile"),
        (length(false, false), "oversized-tile"),
        (head(CheckpointError::Format(format())), "not-a-checkpoint"),
        (head(CheckpointError::Note(NoteError::Format(format()))), "not-a-checkpoint"),
        (head(CheckpointError::Note(unsigned)), "checkpoint-signature"),
        (head(origin), "unknown-log"),
        (range.into(), "wrong-tile"),
        (ClientError::Entries { size: TreeSize::ZERO, expected, seen }, "wrong-bundle"),
        (ClientError::Stopped, "stopped"),
        (no_threads.into(), "no-threads"),
    ] {
        assert_eq!(error.code(), code, "{error:?}");
        assert!(super::response::is_code(code) && !error.to_string().is_empty());
    }
}

#[test]
fn a_log_that_waits_for_its_operator_is_not_asked_again() {
    let status = |status, code: Option<&str>| ClientError::Status {
        url: String::new(),
        status,
        code: code.and_then(|code| super::ProblemCode::parse(code.to_owned())),
        detail: String::new(),
        retry_after: None,
        entry: None,
    };
    assert!(!status(503, Some("rolled-back")).is_temporary());
    assert!(status(503, Some("not-published")).is_temporary() && status(503, None).is_temporary());
    assert!(!status(500, None).is_temporary() && status(522, None).is_temporary());
    let mut asks_for_time = status(500, None);
    if let ClientError::Status { retry_after, .. } = &mut asks_for_time {
        *retry_after = Some(1);
    }
    assert!(asks_for_time.is_temporary(), "it says when to come back");
}

#[test]
fn a_failed_connection_is_told_in_words_of_the_user_s() {
    let told = |error: ureq::Error| super::response::network("https://log.example.com/x", &error).to_string();
    let not_tls = || rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    let io = |text: &'static str| ureq::Error::Io(std::io::Error::other(text));
    for (error, words) in [
        (ureq::Error::Timeout(ureq::Timeout::Global), ": the answer was not complete in time; "),
        (ureq::Error::Timeout(ureq::Timeout::Connect), ": no connection in time; "),
        (ureq::Error::Timeout(ureq::Timeout::Resolve), ": its name was not resolved in time; "),
        (io("connection refused"), ": connection refused; is a server running there"),
        (ureq::Error::Rustls(not_tls()), ": the server does not speak https: is it http://?; "),
        (
            ureq::Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, not_tls())),
            ": the server does not speak https: is it http://?; ",
        ),
        (
            ureq::Error::ConnectProxyFailed("proxy server responded 403/Forbidden".to_owned()),
            ": the proxy makes no connection to it: proxy server responded 403/Forbidden; ",
        ),
    ] {
        let told = told(error);
        assert!(told.starts_with(&format!("no answer from https://log.example.com/x{words}")), "{told}");
    }
    let late = told(ureq::Error::Timeout(ureq::Timeout::Global));
    assert!(late.contains("waits for its witnesses") && late.contains("/healthz"), "{late}");
}

#[test]
fn an_empty_body_is_not_quoted() {
    let url = server(response("502 Bad Gateway", "", b""));
    let client = LogClient::builder().tries(1).build(&url).unwrap();
    let error = client.get("checkpoint", 100).unwrap_err();
    assert_eq!(error.to_string(), format!("{url}/checkpoint answered 502"));
}

#[test]
fn entries_are_fetched_with_fewer_threads_or_none_and_an_error() {
    let stream = |threads, url: &str| {
        let (client, size) = (LogClient::new(url).unwrap(), |size| TreeSize::new(size).unwrap());
        crate::threads::limit::with(threads, || {
            EntryStream::new(&client, size(0)..size(1), &StreamOptions::default())
        })
    };
    let mut refused = stream(0, "http://127.0.0.1:1");
    let error = refused.next().unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Threads(_)), "{error}");
    assert!(error.is_temporary());
    assert!(refused.next().is_none());
    let url = server(response("200 OK", "", b"\x00\x03one"));
    let bundle = stream(1, &url).next().unwrap().unwrap();
    assert_eq!(bundle.leaf_hashes, [Hash::leaf(b"one")]);
}
