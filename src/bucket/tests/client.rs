//! Tests the S3 client with answers of every kind.

use std::time::{Duration, Instant};

use super::fake::{answer, refusal, serve};
use crate::bucket::{
    BucketError, Creation, Headers, Listing, Object, Objects, Operation, Refusal, Replacement, S3,
    StoreOptions, Tag, TagStyle,
};
use crate::clock;
use crate::merkle::Hash;

/// A client with short time limits.
pub(super) fn client(url: &str) -> S3 {
    let options = StoreOptions {
        endpoint: Some(url.to_owned()),
        timeout: Duration::from_millis(700),
        patience: Duration::ZERO,
        ..StoreOptions::default()
    };
    let set = [("AWS_ACCESS_KEY_ID", "testkey"), ("AWS_SECRET_ACCESS_KEY", "testsecret")];
    let variables =
        |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
    let address = "s3://bucket/a/log".parse().unwrap();
    S3::open_with(&address, &options, &variables, clock::system()).unwrap()
}

fn tagged(status: &str, body: &[u8]) -> Vec<u8> {
    answer(status, "ETag: \"e1\"\r\n", body)
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

const PLAIN: Headers<'_> = Headers {
    content_type: "text/plain",
    cache_control: Some("no-cache"),
    content_encoding: None,
    tagging: Some("kind=partial"),
    sha256: None,
};

#[test]
fn requests_say_what_they_want_and_are_signed() {
    let list = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    let ok = tagged("200 OK", b"");
    let answers =
        vec![ok.clone(), ok.clone(), ok.clone(), ok, tagged("200 OK", b"body"), tagged("200 OK", list)];
    let (url, asked) = serve(answers);
    let store = client(&url);
    assert_eq!(store.create("batch/1", b"one", &PLAIN).unwrap(), Creation::Created(tag("e1")));
    let first = asked.recv().unwrap();
    assert_eq!((first.line(), &*first.body), ("PUT /bucket/a/log/batch/1", &b"one"[..]));
    for (name, value) in [
        ("if-none-match", "*"),
        ("content-type", "text/plain"),
        ("cache-control", "no-cache"),
        ("x-amz-tagging", "kind=partial"),
        ("host", url.strip_prefix("http://").unwrap()),
        ("x-amz-content-sha256", "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"),
    ] {
        assert_eq!(first.header(name), Some(value), "{name}");
    }
    let authorization = first.header("authorization").unwrap();
    let signed = "SignedHeaders=cache-control;content-type;host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-tagging,";
    assert!(
        authorization.contains("Credential=testkey/") && authorization.contains(signed),
        "{authorization}"
    );

    let replaced = Replacement::Replaced(tag("e1"));
    assert_eq!(store.replace("checkpoint", b"", &tag("\"e0\""), &PLAIN).unwrap(), replaced);
    assert_eq!(asked.recv().unwrap().header("if-match"), Some("\"e0\""));
    store.use_tag_style(TagStyle::Bare);
    assert_eq!(store.replace("checkpoint", b"", &tag("e0"), &PLAIN).unwrap(), replaced);
    assert_eq!(asked.recv().unwrap().header("if-match"), Some("e0"));

    let sha256 = Hash::digest(b"known");
    let known = Headers { sha256: Some(sha256), ..Headers::default() };
    assert_eq!(store.put("tile/0/x001/000.p/5", b"x", &known).unwrap(), tag("e1"));
    let put = asked.recv().unwrap();
    assert_eq!(put.header("x-amz-content-sha256"), Some(&*sha256.to_hex()), "it is not computed again");
    assert_eq!(put.line(), "PUT /bucket/a/log/tile/0/x001/000.p/5");
    assert_eq!((put.header("if-match"), put.header("if-none-match")), (None, None));
    let object = Object { bytes: b"body".to_vec(), tag: tag("e1") };
    assert_eq!(store.get("checkpoint", 4).unwrap(), Some(object));
    assert_eq!(asked.recv().unwrap().header("accept-encoding"), Some("identity"));
    assert_eq!(store.list("batch/", "batch/1", 7).unwrap(), Listing::default());
    let line =
        "GET /bucket/?list-type=2&max-keys=7&prefix=a%2Flog%2Fbatch%2F&start-after=a%2Flog%2Fbatch%2F1";
    assert_eq!(asked.recv().unwrap().line(), line);

    let counts = store.requests().of(Operation::Create);
    assert_eq!((counts.requests, counts.errors, counts.sent), (1, 0, 3));
    assert_eq!((store.requests().of(Operation::Get).received, store.requests().total()), (4, 6));
}

#[test]
fn conditions_have_outcomes_and_not_errors() {
    let lost = || refusal("412 Precondition Failed", "PreconditionFailed");
    let (url, _asked) = serve(vec![
        lost(),
        lost(),
        refusal("404 Not Found", "NoSuchKey"),
        refusal("404 Not Found", "NoSuchKey"),
    ]);
    let store = client(&url);
    assert_eq!(store.create("k", b"", &PLAIN).unwrap(), Creation::Exists);
    assert_eq!(store.replace("k", b"", &tag("e"), &PLAIN).unwrap(), Replacement::Stale);
    assert_eq!(store.replace("k", b"", &tag("e"), &PLAIN).unwrap(), Replacement::Missing);
    assert_eq!(store.get("k", 10).unwrap(), None);
    assert_eq!(store.requests().of(Operation::Replace).errors, 0);
}

/// The errors of a creation and of a read that get the same answer.
fn errors(reply: &[u8]) -> [BucketError; 2] {
    let (url, _asked) = serve(vec![reply.to_vec(), reply.to_vec()]);
    let store = client(&url);
    let errors = [store.create("k", b"", &PLAIN).unwrap_err(), store.get("k", 10).unwrap_err()];
    for error in &errors {
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
        assert!(!format!("{error:?} {error} {store:?}").contains("testsecret"));
    }
    let counts = store.requests().of(Operation::Create);
    assert_eq!((counts.errors, counts.unclear), (1, u64::from(errors[0].may_be_done())));
    errors
}

#[test]
fn after_a_failure_of_the_server_or_the_network_a_write_is_unclear() {
    for reply in [
        refusal("500 Internal Server Error", "InternalError"),
        refusal("500 Internal Server Error", "UnknownError"),
        refusal("503 Service Unavailable", "ServiceUnavailable"),
        refusal("409 Conflict", "ConditionalRequestConflict"),
        refusal("409 Conflict", "OperationAborted"),
        refusal("400 Bad Request", "RequestTimeout"),
        answer("502 Bad Gateway", "", b"<html>a proxy</html>"),
        answer("504 Gateway Timeout", "", b""),
        answer("599 Own", "", b""),
        Vec::new(),
        b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(),
        b"SSH-2.0-hello\r\n\r\n".to_vec(),
        b"hang".to_vec(),
    ] {
        let [create, get] = errors(&reply);
        let shown = String::from_utf8_lossy(&reply).into_owned();
        assert!(
            matches!(create, BucketError::Unclear { operation: Operation::Create, .. }),
            "{shown}: {create}"
        );
        assert!(create.may_be_done() && create.is_temporary());
        assert!(matches!(get, BucketError::Unavailable { .. }) && !get.may_be_done(), "{shown}: {get}");
    }
    // A sign-in page answers 200 to everything.
    let [create, get] = errors(&answer("200 OK", "", b"<html>"));
    assert!(create.may_be_done() && create.to_string().contains("a header ETag"), "{create}");
    assert!(matches!(get, BucketError::Malformed { .. }), "{get}");
}

#[test]
fn a_write_to_an_unreachable_store_had_no_effect() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client(&format!("http://{closed}")).create("k", b"", &PLAIN).unwrap_err();
    assert!(matches!(error, BucketError::Unavailable { .. }) && error.is_temporary(), "{error}");
}

#[test]
fn refusals_say_what_to_do() {
    for (status, code, refusal_of, advice) in [
        ("403 Forbidden", "AccessDenied", Refusal::Denied, "s3:PutObject"),
        ("403 Forbidden", "", Refusal::Denied, "allow these credentials"),
        ("403 Forbidden", "InvalidAccessKeyId", Refusal::UnknownKey, "check the access key"),
        ("403 Forbidden", "SignatureDoesNotMatch", Refusal::Signature, "check the secret key"),
        ("403 Forbidden", "RequestTimeTooSkewed", Refusal::Clock, "set this machine's clock"),
        ("400 Bad Request", "ExpiredToken", Refusal::Token, "AWS_SESSION_TOKEN"),
        ("404 Not Found", "NoSuchBucket", Refusal::NoBucket, "create the bucket"),
        ("400 Bad Request", "AuthorizationHeaderMalformed", Refusal::Region, "AWS_REGION"),
        ("301 Moved Permanently", "PermanentRedirect", Refusal::Region, "--endpoint"),
        ("307 Temporary Redirect", "", Refusal::Region, "--region"),
        ("501 Not Implemented", "NotImplemented", Refusal::NotImplemented, "conditional writes"),
        ("507 Insufficient Storage", "", Refusal::Full, "quota"),
        ("403 Forbidden", "QuotaExceeded", Refusal::Full, "quota"),
        ("400 Bad Request", "EntityTooLarge", Refusal::Other, "EntityTooLarge"),
        ("418 Teapot", "", Refusal::Other, "418"),
    ] {
        for error in errors(&refusal(status, code)) {
            let text = error.to_string();
            let BucketError::Refused { refusal, .. } = error else { panic!("{status} {code}: {text}") };
            assert_eq!(refusal, refusal_of, "{status} {code}");
            assert!(text.contains(advice), "{text}");
            assert!(!error.is_temporary() && !error.may_be_done());
        }
    }
    let bare = answer("404 Not Found", "", b"<Error><Code>NoSuchBucket</Code></Error>");
    let text = errors(&bare)[0].to_string();
    assert!(text.contains("answered 404 (NoSuchBucket); create the bucket"), "{text}");
    let there = answer("301 Moved", "x-amz-bucket-region: eu-west-7\r\n", b"");
    assert!(errors(&there)[0].to_string().contains("eu-west-7"));
    let [create, get] = errors(&answer("404 Not Found", "", b"<html>nothing here</html>"));
    assert!(
        create.may_be_done() && matches!(get, BucketError::Malformed { .. }),
        "a page is no answer of a store: {get}"
    );
}

#[test]
fn a_request_to_a_busy_store_is_retried_when_it_says_but_never_a_conditional_write() {
    let body = b"<Error><Code>SlowDown</Code></Error>";
    let busy = answer("503 Slow Down", "Retry-After: 1\r\n", body);
    let [create, get] = errors(&busy);
    for error in [create, get] {
        assert!(matches!(error, BucketError::Busy { .. }) && error.is_temporary() && !error.may_be_done());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    }
    assert!(matches!(errors(&answer("429 Too Many", "", b""))[0], BucketError::Busy { .. }));

    let (url, asked) = serve(vec![busy.clone(), Vec::new(), tagged("200 OK", b"x")]);
    let patient = client(&url).within(Duration::from_secs(2), Duration::from_secs(9));
    let begun = Instant::now();
    assert!(patient.get("k", 10).unwrap().is_some());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((asked.try_iter().count(), patient.requests().of(Operation::Get).errors), (3, 2));
    let (url, asked) = serve(vec![busy, tagged("200 OK", b"x")]);
    let patient = client(&url).within(Duration::from_secs(2), Duration::from_secs(9));
    assert!(patient.create("k", b"", &PLAIN).is_err());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(asked.try_iter().count(), 1);
}

#[test]
fn answers_are_read_up_to_their_limit() {
    let unknown_length = b"HTTP/1.1 200 OK\r\nETag: e\r\nConnection: close\r\n\r\n0123456789".to_vec();
    for reply in [tagged("200 OK", b"0123456789"), unknown_length] {
        let (url, _asked) = serve(vec![reply.clone(), reply]);
        let store = client(&url);
        let error = store.get("k", 9).unwrap_err();
        assert!(matches!(error, BucketError::TooLarge { limit: 9, seen: 10, .. }), "{error}");
        assert_eq!(store.get("k", 10).unwrap().unwrap().bytes.len(), 10);
    }
    let huge = vec![b' '; 5 * 1024 * 1024];
    let (url, _asked) = serve(vec![answer("200 OK", "", &huge)]);
    assert!(matches!(client(&url).list("", "", 1), Err(BucketError::TooLarge { .. })));
    // A long answer to a write is no error.
    let (url, _asked) = serve(vec![tagged("200 OK", &huge)]);
    assert!(client(&url).create("k", b"", &PLAIN).is_ok());
}

#[test]
fn ranges_are_what_was_asked_for() {
    let part = |range: &str| {
        answer("206 Partial Content", &format!("ETag: e\r\nContent-Range: {range}\r\n"), b"234")
    };
    let (url, asked) = serve(vec![
        part("bytes 2-4/10"),
        part("bytes 0-2/10"),
        tagged("200 OK", b"234"),
        refusal("416 Range Not Satisfiable", "InvalidRange"),
        refusal("404 Not Found", "NoSuchKey"),
    ]);
    let store = client(&url);
    assert_eq!(store.get_range("k", 2, 3).unwrap().unwrap().bytes, b"234");
    assert_eq!(asked.recv().unwrap().header("range"), Some("bytes=2-4"));
    assert!(store.get_range("k", 2, 3).is_err(), "other bytes");
    assert!(store.get_range("k", 2, 3).is_err(), "a server that knows no ranges");
    assert_eq!(store.get_range("k", 90, 3).unwrap().unwrap().bytes, b"");
    assert_eq!(store.get_range("k", 2, 3).unwrap(), None);
}

#[test]
fn keys_that_stores_might_rewrite_are_not_sent() {
    let store = client("http://127.0.0.1:1");
    for key in
        ["", "/a", "a/", "a//b", "../a", "a/./b", "a b", "a?b", "a%2fb", "a\\b", "\u{e9}", &"a".repeat(1_020)]
    {
        assert!(matches!(store.get(key, 1), Err(BucketError::Format(_))), "{key}");
        assert!(matches!(store.create(key, b"", &PLAIN), Err(BucketError::Format(_))), "{key}");
    }
    let odd = Headers { cache_control: Some("a\r\nx: y"), ..PLAIN };
    assert!(matches!(store.put("a", b"", &odd), Err(BucketError::Format(_))));
}

#[test]
fn a_list_that_begins_again_is_refused() {
    let page = |keys: &[&str]| {
        let objects: String = keys
            .iter()
            .map(|key| format!("<Contents><Key>a/log/{key}</Key><Size>1</Size></Contents>"))
            .collect();
        let list = format!("<ListBucketResult><IsTruncated>true</IsTruncated>{objects}</ListBucketResult>");
        answer("200 OK", "", list.as_bytes())
    };
    let pages =
        [&["batch/1", "batch/2"][..], &["batch/2", "batch/3"], &["batch/1"], &["tile/1"], &["batch/3"]];
    let (url, _asked) = serve(pages.map(page).into());
    let store = client(&url);
    assert_eq!(store.list("batch/", "", 2).unwrap().objects.len(), 2);
    for _ in 0..3 {
        let error = store.list("batch/", "batch/2", 2).unwrap_err().to_string();
        assert!(error.contains("come after"), "{error}");
    }
    assert_eq!(store.list("batch/", "batch/2", 2).unwrap().objects[0].key, "batch/3");
}

#[test]
fn an_error_that_shows_the_request_shows_no_secret() {
    let page = b"x-amz-security-token: hush+token/==; that was a bad request";
    let xml = b"<Error><Code>AccessDenied</Code><Message>not hush+token/== by testsecret</Message></Error>";
    let statuses = ["400 Bad Request", "403 Forbidden", "404 Not Found", "500 Internal Server Error"];
    let answers = statuses.iter().flat_map(|status| [&page[..], xml].map(|body| answer(status, "", body)));
    let (url, _asked) = serve(answers.collect());
    let set = [
        ("AWS_ACCESS_KEY_ID", "testkey"),
        ("AWS_SECRET_ACCESS_KEY", "testsecret"),
        ("AWS_SESSION_TOKEN", "hush+token/=="),
    ];
    let options = StoreOptions { endpoint: Some(url), patience: Duration::ZERO, ..StoreOptions::default() };
    let variables =
        |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
    let store =
        S3::open_with(&"s3://bucket/a".parse().unwrap(), &options, &variables, clock::system()).unwrap();
    for _ in 0..2 * statuses.len() {
        let error = store.create("k", b"", &PLAIN).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("(hidden)"), "{shown}");
        assert!(!shown.contains("hush") && !shown.contains("testsecret"), "{shown}");
    }
}
