//! Credentials from the environment, profiles and roles. Fake services on loopback provide the roles'.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fake::{answer, refusal, serve};
use crate::bucket::credentials::Source;
use crate::bucket::{Credentials, CredentialsError, Objects, S3, StoreOptions};
use crate::clock::{self, Clock};

/// 2026-11-29 00:00:00 UTC.
const NOW: u64 = 1_795_910_400;

fn find(variables: &[(&str, &str)], clock: Clock) -> Result<Source, CredentialsError> {
    let get =
        |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
    Source::find(&get, None, clock)
}

fn granted(key: &str, expiration: &str) -> Vec<u8> {
    let json = format!(
        "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"{key}\",\"SecretAccessKey\":\"hidden\",\"Token\":\"hush+token\",\"Expiration\":\"{expiration}\"}}"
    );
    answer("200 OK", "", json.as_bytes())
}

#[test]
fn the_environment_gives_both_halves_or_none() {
    let now = clock::system();
    let set =
        [("AWS_ACCESS_KEY_ID", " key "), ("AWS_SECRET_ACCESS_KEY", "hidden"), ("AWS_SESSION_TOKEN", "hush")];
    let found = find(&set, now.clone()).unwrap().current().unwrap();
    assert_eq!(*found, Credentials::new("key", "hidden", Some("hush")).unwrap());
    for shown in [format!("{found:?}"), format!("{:?}", find(&set, now.clone()).unwrap())] {
        assert!(shown.contains("key") && !shown.contains("hidden") && !shown.contains("hush"), "{shown}");
    }
    for half in [&set[..1], &set[1..2]] {
        let error = find(half, now.clone()).unwrap_err();
        assert!(
            matches!(error, CredentialsError::Half { .. }) && !error.to_string().contains("hidden"),
            "{error}"
        );
    }
    let bad = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "hid den")];
    let error = find(&bad, now.clone()).unwrap_err().to_string();
    assert!(error.contains("a secret access key") && !error.contains("hid den"), "{error}");
    let none = find(&[("AWS_EC2_METADATA_DISABLED", "true")], now.clone()).unwrap_err().to_string();
    assert!(none.contains("AWS_ACCESS_KEY_ID") && none.contains("AWS_PROFILE"), "{none}");
    let web = find(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/x")], now).unwrap_err();
    assert!(matches!(web, CredentialsError::Unsupported { .. }), "{web}");
}

#[test]
fn a_machine_is_asked_with_a_token_and_asked_again_before_its_credentials_expire() {
    let (url, asked) = serve(vec![
        answer("200 OK", "", b"the-token"),
        answer("200 OK", "", b"log-writer\n"),
        granted("key1", "2026-11-29T01:00:00Z"),
        answer("200 OK", "", b"the-token"),
        answer("200 OK", "", b"log-writer"),
        granted("key2", "2026-11-29T07:00:00.5Z"),
    ]);
    let time = Arc::new(AtomicU64::new(NOW));
    let clock: Clock = {
        let time = time.clone();
        Arc::new(move || time.load(Ordering::Relaxed))
    };
    let source = find(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)], clock).unwrap();
    let first = source.current().unwrap();
    assert_eq!((first.access_key(), first.session_token()), ("key1", Some("hush+token")));
    let lines: Vec<_> = asked.try_iter().collect();
    assert_eq!(lines[0].line(), "PUT /latest/api/token");
    assert_eq!(lines[0].header("x-aws-ec2-metadata-token-ttl-seconds"), Some("300"));
    assert_eq!(lines[1].header("x-aws-ec2-metadata-token"), Some("the-token"));
    assert_eq!(lines[2].line(), "GET /latest/meta-data/iam/security-credentials/log-writer");
    time.store(NOW + 3_000, Ordering::Relaxed);
    assert_eq!(source.current().unwrap().access_key(), "key1");
    time.store(NOW + 3_301, Ordering::Relaxed);
    assert_eq!(source.current().unwrap().access_key(), "key2");
    assert_eq!(asked.try_iter().count(), 3);
}

#[test]
fn a_failed_refresh_keeps_what_is_still_valid_and_no_longer() {
    let (url, asked) = serve(vec![
        granted("key1", "2026-11-29T00:02:00Z"),
        refusal("500 Internal Server Error", "x"),
        refusal("500 Internal Server Error", "x"),
        answer("200 OK", "", b"{\"Code\":\"Failed\"}"),
        granted("key2", "2026-11-29T02:00:00Z"),
    ]);
    let time = Arc::new(AtomicU64::new(NOW));
    let clock: Clock = {
        let time = time.clone();
        Arc::new(move || time.load(Ordering::Relaxed))
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "Bearer one\n").unwrap();
    let full = format!("{url}/creds?x=1");
    let set = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
    ];
    let source = find(&set, clock).unwrap();
    assert_eq!(source.current().unwrap().access_key(), "key1");
    let first = asked.recv().unwrap();
    assert_eq!((first.line(), first.header("authorization")), ("GET /creds?x=1", Some("Bearer one")));
    std::fs::write(&file, "Bearer two").unwrap();
    assert_eq!(source.current().unwrap().access_key(), "key1", "it is valid for two minutes");
    assert_eq!(asked.recv().unwrap().header("authorization"), Some("Bearer two"));
    assert_eq!(source.current().unwrap().access_key(), "key1");
    assert_eq!(asked.try_iter().count(), 0, "not asked again at once");
    time.store(NOW + 121, Ordering::Relaxed);
    for _ in 0..2 {
        let error = source.current().unwrap_err();
        assert!(error.is_temporary() && !error.to_string().contains("hidden"), "{error}");
    }
    assert_eq!(source.current().unwrap().access_key(), "key2");
}

#[test]
fn addresses_of_credentials_are_checked_and_answers_are_not_quoted() {
    let now = clock::system();
    for (name, value) in [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/x"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1.example.com/x"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "x"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/x"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "https://x"),
    ] {
        assert!(
            matches!(find(&[(name, value)], now.clone()), Err(CredentialsError::Malformed { .. })),
            "{value}"
        );
    }
    for (body, is_temporary) in [
        (&b"{\"AccessKeyId\":\"k\",\"SecretAccessKey\":[\"hidden\"]}"[..], false),
        (b"{\"AccessKeyId\":\"k\",\"Token\":\"hidden\"}", false),
        (b"{\"AccessKeyId\":\"k\",\"SecretAccessKey\":\"hidden\",\"Expiration\":\"soon\"}", false),
        (b"{\"AccessKeyId\":\"k\",\"SecretAccessKey\":\"hid\\nden\"}", false),
        (b"<html>hidden", false),
        (b"{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"SecretAccessKey\":\"hidden\"}", true),
    ] {
        let (url, _asked) = serve(vec![answer("200 OK", "", body)]);
        let error = find(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)], now.clone())
            .unwrap()
            .current()
            .unwrap_err();
        assert_eq!(error.is_temporary(), is_temporary, "{error}");
        assert!(!format!("{error} {error:?}").contains("hid"), "{error}");
    }
}

#[test]
fn a_role_whose_token_the_store_calls_expired_is_asked_again_once() {
    let (role, _) =
        serve(vec![granted("key1", "2099-01-01T00:00:00Z"), granted("key2", "2099-01-01T00:00:00Z")]);
    let (store, asked) =
        serve(vec![refusal("400 Bad Request", "ExpiredToken"), answer("200 OK", "ETag: \"e\"\r\n", b"x")]);
    let options = StoreOptions { endpoint: Some(store), ..StoreOptions::default() };
    let variables = move |name: &str| (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI").then(|| role.clone());
    let address = "s3://bucket".parse().unwrap();
    let store = S3::open_with(&address, &options, &variables, clock::system()).unwrap();
    assert!(store.get("k", 9).unwrap().is_some());
    for key in ["key1", "key2"] {
        let asked = asked.recv().unwrap();
        assert!(asked.header("authorization").unwrap().contains(&format!("Credential={key}/")));
        assert_eq!(asked.header("x-amz-security-token"), Some("hush+token"));
    }
}
