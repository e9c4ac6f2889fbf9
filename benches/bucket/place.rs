//! The object store at hand, and logs in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use treehead::bucket::probe::{Extent, check_store};
use treehead::bucket::{Address, MAX_LISTED, Objects as _, S3, StoreOptions};
use treehead::note::{KeyName, NoteSigner, SignatureType};
use treehead::sequencer::{Options, Sequencer};
use treehead::store::OpenOptions;
use treehead::store::bucket::{BucketOptions, BucketStore, WriterId};

use super::wrapped::Wrapped;

const ORIGIN: &str = "bench.example/log";
/// The lease and the linger of `treehead init`.
pub const LEASE_SECONDS: u32 = 3;
pub const LINGER: Duration = Duration::from_secs(1);

/// The store that `TREEHEAD_TEST_S3` names: `http://KEY:SECRET@HOST:PORT/BUCKET`.
#[derive(Clone)]
pub struct Place {
    pub endpoint: String,
    key: String,
    secret: String,
    pub bucket: String,
    /// The prefix of everything that this run writes.
    run: String,
}

impl Place {
    /// The store at hand, whose bucket is there afterwards. `None` if none is named.
    pub fn find() -> Option<Self> {
        let text = std::env::var("TREEHEAD_TEST_S3").ok()?;
        let place = Self::parse(&text).expect("TREEHEAD_TEST_S3 is http://KEY:SECRET@HOST:PORT/BUCKET");
        let made = place.client("x").administer(&[], Vec::new(), b"").expect("the store answers");
        assert!(matches!(made.0, 200 | 409), "the bucket was not created: {}", made.0);
        Some(place)
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (account, place) = rest.split_once('@')?;
        let ((key, secret), (host, bucket)) = (account.split_once(':')?, place.split_once('/')?);
        let [key, secret, bucket] = [key, secret, bucket].map(str::to_owned);
        let run = format!("bench-{}", WriterId::random().expect("random numbers"));
        Some(Self { endpoint: format!("{scheme}://{host}"), key, secret, bucket, run })
    }

    /// The address of a log, or of something else.
    pub fn url(&self, name: &str) -> String {
        format!("s3://{}/{}/{name}", self.bucket, self.run)
    }

    /// A client with connections and counters of its own.
    pub fn client(&self, name: &str) -> S3 {
        let address: Address = self.url(name).parse().expect("an address");
        let mut options = StoreOptions::default();
        options.endpoint = Some(self.endpoint.clone());
        let set = |name: &str| self.variables().into_iter().find(|(set, _)| *set == name).map(|(_, v)| v);
        S3::open_with(&address, &options, &set, treehead::clock::system()).expect("its settings are right")
    }

    /// A client that knows how the store wants tags.
    pub fn probed(&self, name: &str) -> S3 {
        let client = self.client(name);
        check_store(&client, Extent { rounds: 1, racers: 2, objects: 1 }).expect("the store answers");
        client
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

    /// Removes what was written under this name.
    pub fn clear(&self, name: &str) {
        let client = self.client(name);
        loop {
            let listed = client.list("", "", MAX_LISTED).expect("a list");
            let next = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let take = || next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        while let Some(object) = listed.objects.get(take()) {
                            client.delete(&object.key).expect("it is deleted");
                        }
                    });
                }
            });
            if !listed.more {
                return;
            }
        }
    }
}

/// The sequencer's settings, as `treehead serve` makes them of `linger_ms`.
pub fn options(linger: Duration) -> Options {
    Options { linger, ..Options::default() }
}

/// Opens a log whose cache is in `dir`.
pub fn store(objects: &Arc<Wrapped>, dir: &Path) -> BucketStore {
    store_with(objects, dir, |_| ())
}

fn store_with(objects: &Arc<Wrapped>, dir: &Path, set: impl Fn(&mut BucketOptions)) -> BucketStore {
    let bucket = BucketOptions::new(objects.clone(), OpenOptions::new(ORIGIN)).expect("random numbers");
    let mut bucket = BucketOptions { lease_seconds: Some(LEASE_SECONDS), ..bucket };
    set(&mut bucket);
    BucketStore::open(dir, bucket).expect("a log in the store")
}

/// Opens a log and begins to sequence.
pub fn open(objects: &Arc<Wrapped>, dir: &Path, options: &Options) -> Sequencer {
    open_with(objects, dir, options, |_| ())
}

/// Opens a log with other settings of its store.
pub fn open_with(
    objects: &Arc<Wrapped>,
    dir: &Path,
    options: &Options,
    set: impl Fn(&mut BucketOptions),
) -> Sequencer {
    let name = KeyName::new(ORIGIN).expect("a name");
    let signer = NoteSigner::from_seed(name, SignatureType::Ed25519, &[7; 32]);
    Sequencer::start(Box::new(store_with(objects, dir, set)), signer, options, None).expect("the log begins")
}
