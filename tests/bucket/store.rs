//! The store under test.

use std::sync::OnceLock;

use treehead::bucket::probe::{Extent, check_store};
use treehead::bucket::{Address, BucketError, S3, StoreOptions, TagStyle};

/// A store and the key to it, as `TREEHEAD_TEST_S3` names them.
#[derive(Debug, Clone)]
pub struct Store {
    pub endpoint: String,
    pub key: String,
    pub secret: String,
    pub bucket: String,
}

/// The store under test, whose bucket is there; otherwise, why there is none.
pub fn store() -> Result<Store, String> {
    static STORE: OnceLock<Result<Store, String>> = OnceLock::new();
    STORE.get_or_init(find).clone()
}

fn find() -> Result<Store, String> {
    let text = std::env::var("TREEHEAD_TEST_S3").map_err(|_| {
        "TREEHEAD_TEST_S3 names no object store (http://KEY:SECRET@HOST:PORT/BUCKET)".to_owned()
    })?;
    let store = parse(&text).expect("TREEHEAD_TEST_S3 is http://KEY:SECRET@HOST:PORT/BUCKET");
    store.create_bucket();
    Ok(store)
}

fn parse(text: &str) -> Option<Store> {
    let (scheme, rest) = text.split_once("://")?;
    let (account, place) = rest.split_once('@')?;
    let ((key, secret), (host, bucket)) = (account.split_once(':')?, place.split_once('/')?);
    let [key, secret, bucket] = [key, secret, bucket].map(str::to_owned);
    Some(Store { endpoint: format!("{scheme}://{host}"), key, secret, bucket })
}

impl Store {
    /// A client for a prefix of its own.
    pub fn client(&self, prefix: &str) -> S3 {
        self.client_with(prefix, |_| {}).expect("its settings are right")
    }

    /// The same with other options.
    pub fn client_with(&self, prefix: &str, change: impl Fn(&mut Store)) -> Result<S3, BucketError> {
        let mut store = self.clone();
        change(&mut store);
        let address: Address = format!("s3://{}/{prefix}", store.bucket).parse().expect("an address");
        let mut options = StoreOptions::default();
        options.endpoint = Some(store.endpoint.clone());
        let variables =
            |name: &str| store.variables().into_iter().find(|(set, _)| *set == name).map(|(_, v)| v);
        S3::open_with(&address, &options, &variables, treehead::clock::system())
    }

    /// The form of tags that the store takes.
    pub fn tag_style(&self) -> TagStyle {
        let client = self.client(&format!("tests/tags-{}", crate::settings::fresh_seed()));
        let found = check_store(&client, Extent { rounds: 1, racers: 4, objects: 1 }).expect("it answers");
        found.conditions().expect("it keeps its promises").tag_style
    }

    /// The environment of a program that uses the store.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ACCESS_KEY_ID", self.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Lets everybody read what is in the bucket.
    pub fn allow_reading(&self) {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::{}/*"}}]}}"#,
            self.bucket
        );
        let set = self
            .client("x")
            .administer(&[("policy", "")], Vec::new(), policy.as_bytes())
            .expect("it answers");
        assert!(matches!(set.0, 200 | 204), "{} {}", set.0, String::from_utf8_lossy(&set.1));
    }

    /// Creates the bucket if it is not there. The kit has no such request: operators make buckets.
    pub fn create_bucket(&self) {
        let made = self.client("x").administer(&[], Vec::new(), b"").expect("the store answers");
        let said = String::from_utf8_lossy(&made.1).into_owned();
        assert!(matches!(made.0, 200 | 409), "the bucket was not created: {} {said}", made.0);
    }
}
