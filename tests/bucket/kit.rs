//! The S3 client and the probe on a real store.

use treehead::bucket::probe::{Extent, Verdict, check_store};
use treehead::bucket::{
    BucketError, Creation, Headers, Objects as _, Operation, Refusal, Replacement, S3, StoreOptions,
};

use crate::REQUIRED;
use crate::needs::{Outcome, ignored};
use crate::store::store;
use crate::tls_front::TlsFront;

/// A prefix that no other test run uses.
fn own_prefix(name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    format!("tests/{name}-{}", now.as_nanos())
}

pub fn the_probe_finds_a_store_that_keeps_its_promises() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let client = store.client(&own_prefix("probe"));
    for extent in [Extent::FULL, Extent::START] {
        let found = check_store(&client, extent)?;
        println!("{}{} ms", found.in_words(), found.time().as_millis());
        assert_eq!(found.verdict(), Verdict::Right, "{}", found.in_words());
        assert!(found.is_clean() && found.conditions().is_ok());
    }
    Ok(libtest_mimic::Completion::Completed)
}

pub fn objects_are_created_replaced_read_listed_and_deleted() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let client = store.client(&own_prefix("objects"));
    check_store(&client, Extent { rounds: 1, racers: 4, objects: 1 })?.conditions()?;
    let immutable = "public, max-age=31536000, immutable";
    let headers =
        Headers { cache_control: Some(immutable), tagging: Some("kind=partial"), ..Headers::default() };
    let big: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let Creation::Created(tag) = client.create("a/(b)=1.p/~x", &big, &headers)? else { panic!("it is new") };
    let read = client.get("a/(b)=1.p/~x", big.len())?.expect("it was created");
    assert!(read.bytes == big && read.tag == tag);
    let error = client.get("a/(b)=1.p/~x", big.len() - 1).unwrap_err();
    assert!(matches!(error, BucketError::TooLarge { .. }), "{error}");
    for (offset, length) in [(0, 1), (1_000_000, 4_096), (2_999_999, 10), (3_000_000, 10), (9_000_000, 1)] {
        let part = client.get_range("a/(b)=1.p/~x", offset, length)?.expect("the object is there");
        let from = usize::try_from(offset).expect("small").min(big.len());
        assert_eq!(part.bytes, big[from..(from + length).min(big.len())], "{offset} {length}");
    }
    assert_eq!(client.get_range("a/none", 0, 1)?, None);
    let Replacement::Replaced(next) = client.replace("a/(b)=1.p/~x", b"", &tag, &headers)? else {
        panic!("its tag is current")
    };
    assert_ne!(next, tag);
    assert_eq!(client.get("a/(b)=1.p/~x", 0)?.expect("it is empty").bytes, b"");

    let keys: Vec<String> = (0..23).map(|at| format!("b/{at:020}")).collect();
    for key in keys.iter().rev() {
        client.put(key, key.as_bytes(), &Headers::default())?;
    }
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.list("b/", &after, 10)?;
        listed.extend(page.objects.iter().map(|object| object.key.clone()));
        after.clone_from(listed.last().expect("there are some"));
        if !page.more {
            break;
        }
    }
    assert_eq!(listed, keys);
    assert_eq!(client.list("b/", &keys[20], 10)?.objects.len(), 2);
    for key in listed.iter().map(String::as_str).chain(["a/(b)=1.p/~x"]) {
        client.delete(key)?;
    }
    assert!(client.list("", "", 10)?.objects.is_empty());
    let counts = client.requests().of(Operation::Get);
    assert!(counts.received > 3_000_000 && counts.classes.iter().sum::<u64>() == counts.requests);
    Ok(libtest_mimic::Completion::Completed)
}

pub fn refusals_of_a_real_store_are_understood() -> Outcome {
    let store = match store() {
        Ok(store) => store,
        Err(why) => return ignored(&why, REQUIRED),
    };
    let refusal = |result: Result<_, BucketError>| match result {
        Err(BucketError::Refused { refusal, .. }) => refusal,
        other => panic!("not refused: {other:?}"),
    };
    let ask = |change: &dyn Fn(&mut crate::store::Store)| {
        let mut changed = store.clone();
        change(&mut changed);
        let client = changed.client("x");
        [
            refusal(client.get("k", 10).map(drop)),
            refusal(client.create("k", b"", &Headers::default()).map(drop)),
        ]
    };
    assert_eq!(ask(&|store| "another".clone_into(&mut store.secret)), [Refusal::Signature; 2]);
    assert_eq!(ask(&|store| "another".clone_into(&mut store.key)), [Refusal::UnknownKey; 2]);
    assert_eq!(
        ask(&|store| "no-such-bucket-of-treehead".clone_into(&mut store.bucket)),
        [Refusal::NoBucket; 2]
    );
    let late = treehead::bucket::S3::open_with(
        &format!("s3://{}/x", store.bucket).parse()?,
        &treehead::bucket::StoreOptions::default(),
        &|name| store.variable(name),
        std::sync::Arc::new(|| treehead::clock::now() - 7_200),
    )?;
    assert_eq!(refusal(late.get("k", 10).map(drop)), Refusal::Clock);
    Ok(libtest_mimic::Completion::Completed)
}

pub fn a_store_behind_tls_takes_unsigned_payloads() -> Outcome {
    let store = match store() {
        Ok(store) if store.endpoint.starts_with("http:") => store,
        Ok(_) => return ignored("the store has TLS of its own", REQUIRED),
        Err(why) => return ignored(&why, REQUIRED),
    };
    let front = TlsFront::before(&store.endpoint, &["localhost"]);
    let dir = tempfile::tempdir()?;
    let bundle = dir.path().join("authority.pem");
    std::fs::write(&bundle, &front.authority)?;
    let open = |with_bundle: bool, unsigned_payload: bool| {
        let mut options = StoreOptions::default();
        options.endpoint = Some(front.url.clone());
        options.unsigned_payload = unsigned_payload;
        options.patience = std::time::Duration::ZERO;
        let own = (with_bundle, bundle.to_str().expect("UTF-8").to_owned());
        let variables = |name: &str| match name {
            "AWS_CA_BUNDLE" => own.0.then(|| own.1.clone()),
            name => store.variable(name),
        };
        let address = format!("s3://{}/{}", store.bucket, own_prefix("tls")).parse().expect("an address");
        S3::open_with(&address, &options, &variables, treehead::clock::system())
    };
    for unsigned in [false, true] {
        let client = open(true, unsigned)?;
        let Creation::Created(tag) = client.create("a", b"over TLS", &Headers::default())? else {
            panic!("it is new")
        };
        assert_eq!(client.get("a", 100)?.expect("it is there").tag, tag);
        client.delete("a")?;
    }
    // Without the authority, the client sends nothing, whatever the system trusts.
    let error = match open(false, true) {
        Ok(client) => client.create("a", b"x", &Headers::default()).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, BucketError::Client(_)) && !error.may_be_done(), "{error}");
    assert!(error.to_string().contains("--cacert"), "{error}");
    Ok(libtest_mimic::Completion::Completed)
}
