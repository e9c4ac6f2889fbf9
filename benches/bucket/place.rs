//! The object store to measure, and logs in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use treehead::bucket::probe::{Extent, check_store};
use treehead::bucket::{MAX_LISTED, Objects as _, S3};
use treehead::note::{KeyName, NoteSigner, SignatureType};
use treehead::sequencer::{Options, Sequencer};
use treehead::store::OpenOptions;
use treehead::store::bucket::{BucketOptions, BucketStore, WriterId};

use super::object_store::Store;
use super::wrapped::Wrapped;

const ORIGIN: &str = "bench.example/log";
/// The lease and the linger of `treehead init`.
pub const LEASE_SECONDS: u32 = 3;
pub const LINGER: Duration = Duration::from_secs(1);

/// The store that `TREEHEAD_TEST_S3` names: `http://KEY:SECRET@HOST:PORT/BUCKET`.
#[derive(Clone)]
pub struct Place {
    pub store: Store,
    /// The prefix of everything that this run writes.
    run: String,
}

impl Place {
    /// The store, whose bucket is created if needed. `None` if the variable is unset.
    pub fn find() -> Option<Self> {
        let run = format!("bench-{}", WriterId::random().expect("random numbers"));
        Some(Self { store: Store::find()?, run })
    }

    /// The address of a log or of other objects.
    pub fn url(&self, name: &str) -> String {
        format!("s3://{}/{}/{name}", self.store.bucket, self.run)
    }

    /// A client with connections and counters of its own.
    pub fn client(&self, name: &str) -> S3 {
        self.store.client(&format!("{}/{name}", self.run))
    }

    /// A client that knows the form of tags that the store accepts.
    pub fn probed(&self, name: &str) -> S3 {
        let client = self.client(name);
        check_store(&client, Extent { rounds: 1, racers: 2, objects: 1 }).expect("the store answers");
        client
    }

    /// Deletes all objects under this name.
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

/// The sequencer's options, as `treehead serve` sets them for `linger_ms`.
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

/// Opens a log and starts its sequencer.
pub fn open(objects: &Arc<Wrapped>, dir: &Path, options: &Options) -> Sequencer {
    open_with(objects, dir, options, |_| ())
}

/// Opens a log with changed options of its store.
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
