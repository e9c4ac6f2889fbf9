//! Commands for stores: `store-check` and `store-policy`.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use treehead::bucket::{BucketError, Headers, Objects as _, Refusal};

use crate::REQUIRED;
use crate::needs::{Outcome, ignored};
use crate::store::{Store, store};

pub fn store_check_prints_every_finding() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let url = format!("s3://{}/tests/store-check", store.bucket);
    let mut command = Command::new(env!("CARGO_BIN_EXE_treehead"));
    command.args(["store-check", &url, "--json"]).envs(store.variables());
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(found["verdict"], "right", "{text}");
    assert_eq!(found["findings"].as_array().map(Vec::len), Some(8), "{text}");
    assert!(!text.contains(&store.secret));
    Ok(Completion::Completed)
}

pub fn the_policy_keeps_batches_from_being_deleted() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    // Use a separate bucket, because the policy remains.
    let store = Store { bucket: format!("{}-rules", store.bucket), ..store };
    store.create_bucket();
    let log = store.client("log");
    let (status, said) = log.administer(&[("policy", "")], Vec::new(), &rules_of(&store, "--policy"))?;
    assert!(matches!(status, 200 | 204), "{status} {}", String::from_utf8_lossy(&said));
    let first = "batch/00000000000000000000";
    for key in [first, "checkpoint", "tile/0/000.p/1"] {
        log.create(key, b"x", &Headers::default())?;
    }
    if log.delete(first).is_ok() {
        return ignored("the store does not apply policies to the owner of a bucket", REQUIRED);
    }
    for key in [first, "checkpoint"] {
        let error = log.delete(key).unwrap_err();
        assert!(matches!(error, BucketError::Refused { refusal: Refusal::Denied, .. }), "{error}");
        assert!(log.get(key, 9)?.is_some());
    }
    log.delete("tile/0/000.p/1")?;
    assert_eq!(log.get("tile/0/000.p/1", 9)?, None);
    Ok(Completion::Completed)
}

pub fn partial_tiles_expire_and_nothing_else_does() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let store = Store { bucket: format!("{}-expiry", store.bucket), ..store };
    store.create_bucket();
    let log = store.client("log");
    let rules: serde_json::Value = serde_json::from_slice(&rules_of(&store, "--lifecycle"))?;
    let xml = lifecycle_in_xml(&rules);
    // S3 requires a checksum with this request.
    let Some(md5) = md5_in_base64(&xml) else { return ignored("openssl is not installed", REQUIRED) };
    let (status, said) = log.administer(&[("lifecycle", "")], vec![("content-md5", md5)], xml.as_bytes())?;
    if status == 501 {
        return ignored("the store has no lifecycle rules", REQUIRED);
    }
    assert!(matches!(status, 200 | 204), "{status} {}", String::from_utf8_lossy(&said));
    let partial = Headers { tagging: Some("treehead=partial"), ..Headers::default() };
    log.put("tile/0/000.p/1", b"x", &partial)?;
    log.put("tile/0/000", b"x", &Headers::default())?;
    log.put("batch/0", b"x", &partial)?;
    // `tests/bucket/ceph/start` makes a day two seconds long. A test can't wait for other stores.
    let begun = Instant::now();
    while log.get("tile/0/000.p/1", 9)?.is_some() {
        if begun.elapsed() > Duration::from_secs(40) {
            return Ok(Completion::ignored_with(
                "the store accepted the rules; its days are too long to wait for",
            ));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    std::thread::sleep(Duration::from_secs(5));
    assert!(log.get("tile/0/000", 9)?.is_some(), "it has no tag");
    assert!(log.get("batch/0", 9)?.is_some(), "it is no tile");
    Ok(Completion::Completed)
}

/// The rules that the program prints.
fn rules_of(store: &Store, which: &str) -> Vec<u8> {
    let url = format!("s3://{}/log", store.bucket);
    let mut command = Command::new(env!("CARGO_BIN_EXE_treehead"));
    // The tested stores' policies don't know the keys for conditional writes.
    let output =
        command.args(["store-policy", &url, which, "--deletions-only", "--partial-days", "2"]).output();
    output.expect("the program runs").stdout
}

/// The rules in the request's XML, which `aws s3api` also makes from the JSON.
fn lifecycle_in_xml(rules: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rules = rules["Rules"].as_array().expect("a list").iter().map(|rule| {
        let (id, and, old) = (text(&rule["ID"]), &rule["Filter"]["And"], &rule["NoncurrentVersionExpiration"]);
        let rest = if and.is_object() {
            let (prefix, tag, days) = (text(&and["Prefix"]), &and["Tags"][0], text(&rule["Expiration"]["Days"]));
            let tag = format!("<Key>{}</Key><Value>{}</Value>", text(&tag["Key"]), text(&tag["Value"]));
            format!(
                "<Filter><And><Prefix>{prefix}</Prefix><Tag>{tag}</Tag></And></Filter><Expiration><Days>{days}</Days></Expiration>"
            )
        } else {
            let (prefix, days) = (text(&rule["Filter"]["Prefix"]), text(&old["NoncurrentDays"]));
            format!(
                "<Filter><Prefix>{prefix}</Prefix></Filter><NoncurrentVersionExpiration><NoncurrentDays>{days}</NoncurrentDays></NoncurrentVersionExpiration>"
            )
        };
        format!("<Rule><ID>{id}</ID><Status>Enabled</Status>{rest}</Rule>")
    });
    format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", rules.collect::<String>())
}

fn md5_in_base64(text: &str) -> Option<String> {
    let mut openssl = Command::new("sh");
    openssl
        .args(["-c", "openssl dgst -md5 -binary | openssl base64"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut openssl = openssl.spawn().ok()?;
    openssl.stdin.take()?.write_all(text.as_bytes()).ok()?;
    let output = openssl.wait_with_output().ok()?;
    let md5 = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (md5.len() == 24).then_some(md5)
}
