//! Over HTTP, on small file systems that fill up or turn read-only: appends are refused with the
//! reason, reads go on, and appends work again without a restart as soon as they can.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use treehead::merkle::TreeSize;
use treehead::server::Profile;

use crate::common::log::{Served, batch, eventually, leaf_hashes, numbered, quick, root_of};
use crate::common::mounts::{Mount, ext4_image, skip};

/// A served log, and what became of what it was sent.
struct Log {
    served: Served,
    entries: Vec<Vec<u8>>,
    refused: Vec<Vec<u8>>,
}

impl Log {
    fn start(dir: &Path) -> Self {
        let served = Served::start(dir, Profile::Opaque, quick());
        let entries = numbered(600);
        served.add_all(&entries);
        Self { served, entries, refused: Vec::new() }
    }

    /// Appends an entry; what is refused has to say so.
    fn add(&mut self, path: &str, entry: &[u8]) -> Result<(), String> {
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

    /// Everything that was published before is read as ever.
    fn reads_go_on(&self) {
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

    /// Health is bad, and says why; it stays so while nobody appends.
    fn is_ill_of(&self, reason: &str) {
        for _ in 0..20 {
            let (status, health) = self.health();
            let named = health["faults"]
                .as_array()
                .is_some_and(|faults| faults.iter().any(|f| f.to_string().contains(reason)));
            assert!(status == 503 && named, "{status} {health}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Appends and publishes as if nothing had been.
    fn goes_on(&mut self, name: &str) {
        eventually("it is well again", || self.health().0 == 200);
        // What was refused may be in the log all the same, and gets its place there.
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

/// Leaves no room in a directory; dropped, gives it back.
struct Filler<'a>(&'a Path);

impl Filler<'_> {
    fn fill(&self) {
        let mut file = fs::File::options().create(true).append(true).open(self.0).unwrap();
        for size in [1 << 16, 1 << 12, 1 << 9, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }
}

impl Drop for Filler<'_> {
    fn drop(&mut self) {
        fs::remove_file(self.0).unwrap();
    }
}

/// Sends large entries until one is refused, and returns why.
fn refusal(log: &mut Log, name: &str) -> String {
    for at in 0..400 {
        let entry = [format!("{name} {at} ").as_bytes(), &[b'.'; 20_000]].concat();
        if let Err(why) = log.add("/add?wait=sequenced", &entry) {
            return why;
        }
        log.reads_go_on();
    }
    panic!("the disk is full, and nothing is refused");
}

/// Fills the disk of a log in `dir` several times, each time for long enough that sled notices, too.
fn fills_up_and_gets_room_again(dir: &Path, filler: &Path) {
    const FULL: &str = "No space left on device";
    let mut log = Log::start(dir);
    for round in 0..3 {
        let filler = Filler(filler);
        filler.fill();
        let refused = refusal(&mut log, &format!("full {round}"));
        assert!(refused.contains(FULL), "{refused}");
        assert!(refused.contains("free some space: the log goes on by itself"), "{refused}");
        log.is_ill_of(FULL);
        std::thread::sleep(Duration::from_millis(if round == 1 { 1_200 } else { 0 }));
        for at in 0..10 {
            let refused = log.add("/add?wait=sequenced", format!("still {round} {at}").as_bytes());
            assert!(refused.is_err_and(|why| why.contains(FULL)), "round {round}, {at}");
            log.reads_go_on();
        }
        log.is_ill_of(FULL);
        drop(filler);
        log.goes_on(&format!("room again {round}"));
    }
}

#[test]
fn a_full_tmpfs() {
    let home = TempDir::new().unwrap();
    match Mount::tmpfs("16m", &home.path().join("mnt")) {
        Ok(mount) => fills_up_and_gets_room_again(&mount.path().join("log"), &mount.path().join("filler")),
        Err(why) => skip("a full tmpfs", &why),
    }
}

#[test]
fn a_full_disk_that_only_sled_and_the_checkpoint_are_on() {
    let home = TempDir::new().unwrap();
    let (dir, place) = (home.path().join("mnt/log"), home.path().join("mnt"));
    let mounted =
        Mount::tmpfs("16m", &place).and_then(|mount| Ok((Mount::tmpfs("64m", &dir.join("journal"))?, mount)));
    match mounted {
        Ok(_mounts) => fills_up_and_gets_room_again(&dir, &place.join("filler")),
        Err(why) => skip("a full disk beside the journal", &why),
    }
}

#[test]
fn a_full_ext4() {
    let home = TempDir::new().unwrap();
    let (image, place) = (home.path().join("image"), home.path().join("mnt"));
    let mounted = ext4_image(&image, 24, &["-O", "^has_journal"]);
    match mounted.and_then(|()| Mount::image(&image, &place, "rw")) {
        Ok(_mount) => fills_up_and_gets_room_again(&place.join("log"), &place.join("filler")),
        Err(why) => skip("a full ext4", &why),
    }
}
