//! A served log on a disk that may fail, and the fate of each submission.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use treehead::merkle::TreeSize;
use treehead::server::Profile;

use crate::common::log::{Served, batch, eventually, leaf_hashes, numbered, quick, root_of};

/// A served log, with its accepted and refused entries.
pub struct Log {
    served: Served,
    entries: Vec<Vec<u8>>,
    refused: Vec<Vec<u8>>,
}

impl Log {
    pub fn start(dir: &Path) -> Self {
        let served = Served::start(dir, Profile::Opaque, quick());
        let entries = numbered(600);
        served.add_all(&entries);
        Self { served, entries, refused: Vec::new() }
    }

    /// Stops the log, repairs something, and starts the log again.
    pub fn restarted_after(self, repair: impl FnOnce()) -> Self {
        let Self { served, entries, refused } = self;
        let dir = served.dir.clone();
        drop(served);
        repair();
        Self { served: Served::start(&dir, Profile::Opaque, quick()), entries, refused }
    }

    /// Appends an entry. Checks the error if it is refused.
    pub fn add(&mut self, path: &str, entry: &[u8]) -> Result<(), String> {
        let reply = self.served.post(path, entry);
        if reply.status == 200 {
            assert_eq!(String::from_utf8_lossy(&reply.body).trim(), self.entries.len().to_string());
            self.entries.push(entry.to_vec());
            return Ok(());
        }
        self.refused.push(entry.to_vec());
        assert_eq!(reply.header("retry-after"), Some("5"));
        Err(reply.problem(503, "storage"))
    }

    /// Checks that everything published before can be read.
    pub fn reads_go_on(&self) {
        let head = self.served.head();
        assert!(head.size.get() >= 600, "{}", head.size);
        let size = usize::try_from(head.size.get()).unwrap();
        let known = &self.entries[..size.min(self.entries.len())];
        let tile = self.served.get("/tile/0/001");
        assert_eq!(tile.status, 200, "{tile}");
        assert_eq!(
            tile.body,
            leaf_hashes(&known[256..512]).iter().flat_map(|h| *h.as_bytes()).collect::<Vec<_>>()
        );
        let bundle = self.served.get("/tile/entries/000");
        assert_eq!((bundle.status, bundle.body), (200, batch(&known[..256])));
        let proof = self.served.get(&format!("/proof/inclusion/{}/7", head.size));
        assert_eq!(proof.status, 200, "{proof}");
    }

    fn health(&self) -> (u16, Value) {
        let reply = self.served.get("/healthz");
        (reply.status, serde_json::from_slice(&reply.body).expect("JSON"))
    }

    /// Checks that the log stays unhealthy for this reason while nobody appends.
    pub fn is_ill_of(&self, reason: &str) {
        for _ in 0..20 {
            let (status, health) = self.health();
            let named = health["faults"]
                .as_array()
                .is_some_and(|faults| faults.iter().any(|f| f.to_string().contains(reason)));
            assert!(status == 503 && named, "{status} {health}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Checks that the log recovers, appends and publishes.
    pub fn goes_on(&mut self, name: &str) {
        eventually("it is well again", || self.health().0 == 200);
        // A refused entry may be in the log all the same. Its answer is its place there.
        for entry in std::mem::take(&mut self.refused) {
            self.add("/add?wait=sequenced", &entry).unwrap();
        }
        for at in 0..5 {
            self.add("/add", format!("{name} {at}").as_bytes()).unwrap();
        }
        let head = self.served.head();
        assert_eq!(head.size, TreeSize::new(self.entries.len() as u64).unwrap());
        assert_eq!(head.root, root_of(&leaf_hashes(&self.entries)));
        self.reads_go_on();
    }
}
