//! The object store that `TREEHEAD_TEST_S3` names, for tests and benches.

use treehead::bucket::{Address, S3, StoreOptions};

/// A store and the key to it.
#[derive(Debug, Clone)]
pub struct Store {
    pub endpoint: String,
    pub key: String,
    pub secret: String,
    pub bucket: String,
}

impl Store {
    /// The store that `TREEHEAD_TEST_S3` names, whose bucket is created if needed. `None` if the variable is unset.
    pub fn find() -> Option<Self> {
        let text = std::env::var("TREEHEAD_TEST_S3").ok()?;
        let store = Self::parse(&text).expect("TREEHEAD_TEST_S3 is http://KEY:SECRET@HOST:PORT/BUCKET");
        store.create_bucket();
        Some(store)
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (account, place) = rest.split_once('@')?;
        let ((key, secret), (host, bucket)) = (account.split_once(':')?, place.split_once('/')?);
        let [key, secret, bucket] = [key, secret, bucket].map(str::to_owned);
        Some(Self { endpoint: format!("{scheme}://{host}"), key, secret, bucket })
    }

    /// A client for a prefix, with connections and counters of its own.
    pub fn client(&self, prefix: &str) -> S3 {
        let address: Address = format!("s3://{}/{prefix}", self.bucket).parse().expect("an address");
        let mut options = StoreOptions::default();
        options.endpoint = Some(self.endpoint.clone());
        let set = |name: &str| self.variable(name);
        S3::open_with(&address, &options, &set, treehead::clock::system()).expect("its settings are right")
    }

    /// A variable of [`variables`](Self::variables).
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables().into_iter().find(|(set, _)| *set == name).map(|(_, value)| value)
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

    /// Creates the bucket if it does not exist. `Objects` has no such request, because operators create buckets.
    pub fn create_bucket(&self) {
        let (status, body) = self.client("x").administer(&[], Vec::new(), b"").expect("the store answers");
        let text = String::from_utf8_lossy(&body);
        assert!(matches!(status, 200 | 409), "the bucket was not created: {status} {text}");
    }
}
