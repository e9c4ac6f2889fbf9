//! `treehead move`, killed at requests in flight, and run again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use rustix::process::Signal;
use treehead::bucket::{Objects as _, S3};

use crate::REQUIRED;
use crate::faults::Plan;
use crate::fleet::{PATIENCE, World};
use crate::moving::{KEYS_AND_SETTINGS, with_log};
use crate::needs::{Outcome, ignored};
use crate::proxy::{Link, Proxy};
use crate::store::store;

/// The request that a move does not outlive: the one of this number with this method, about a key that has this part. Those
/// about the lease and of the check of the store do not count.
type Last = (usize, &'static str, &'static str);

/// A log that moves between its directory and a bucket, with every entry ever appended to it.
struct Moving {
    world: World,
    proxy: Proxy,
    entries: Vec<String>,
}

impl Moving {
    /// Kills the move at each of these requests, one after the other, and finally lets it complete.
    fn killed_at(&self, requests: &[Last], from: &str, to: &str) {
        for request in requests {
            self.kill_at(*request, from, to);
        }
        let (moved, said) = self.world.run(&["move", from, to]);
        assert!(moved && said.contains("moved "), "{said}");
    }

    fn kill_at(&self, (number, method, part): Last, from: &str, to: &str) {
        let mut count = 0;
        self.proxy.silence_at(move |request| {
            let is_own = !request.path().contains("probe") && !request.path().ends_with("/lease");
            let counts = is_own && request.method().contains(method) && request.path().contains(part);
            count += usize::from(counts);
            counts && count == number
        });
        let mut command = self.world.command(&["move", from, to]);
        command.env("AWS_ENDPOINT_URL", &self.proxy.url).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while !self.proxy.is_silent() {
            let ended = process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < until,
                "{method} {part} {number} does not come: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        self.proxy.set_link(Link::Up);
        let bucket = self.bucket_at(if from == "log" { to } else { from });
        let (is_in_bucket, head) =
            (self.settings().contains("\nstore = "), bucket.get("checkpoint", 1 << 20).unwrap());
        println!(
            "{from}: {method} {part} {number}: in the bucket {is_in_bucket}, with a head {}",
            head.is_some()
        );
        assert!(is_in_bucket || head.is_none() || from != "log", "two places have the log");
        // Its lease would expire within ten seconds.
        bucket.delete("lease").unwrap();
        if is_in_bucket && head.is_none() {
            // No server accepts it as a log yet, and the message says what to do.
            let (served, said) = self.world.run(&["serve", "log", "--listen", "127.0.0.1:0"]);
            assert!(!served && said.contains("treehead move"), "{said}");
        }
    }

    fn settings(&self) -> String {
        std::fs::read_to_string(self.world.path("log/treehead.toml")).unwrap()
    }

    fn bucket_at(&self, url: &str) -> S3 {
        let prefix = url.strip_prefix(&format!("s3://{}/", self.world.store.bucket)).unwrap();
        self.world.store.client(prefix)
    }

    /// Checks that all entries have kept their indices, and that the log continues.
    fn goes_on(&mut self) {
        let count = self.entries.len();
        let mut server = self.world.serve("log");
        for at in [0, count / 2, count - 1] {
            assert_eq!(server.add(&self.entries[at]), at as u64);
        }
        self.entries.push(format!("entry {count}"));
        assert_eq!(server.add(&self.entries[count]), count as u64);
        server.end(Signal::TERM);
        let (sound, said) = self.world.run(&["fsck", "log", "--since", "kept"]);
        assert!(sound && said.contains(&format!("at tree size {}", count + 1)), "{said}");
    }

    /// A server with the keys and the settings of the time when the log was in a bucket.
    fn old_server_is_refused(&self, name: &str) {
        let (served, said) = self.world.run(&["serve", name, "--listen", "127.0.0.1:0"]);
        assert!(!served && said.contains("refused (log-moved)"), "{said}");
    }

    fn add_server(&self, name: &str) {
        std::fs::create_dir(self.world.path(name)).unwrap();
        for file in KEYS_AND_SETTINGS {
            std::fs::copy(self.world.path("log").join(file), self.world.path(name).join(file)).unwrap();
        }
    }
}

pub fn a_move_that_is_killed_goes_on_when_it_is_run_again() -> Outcome {
    let store = match store() {
        Ok(store) if store.endpoint.starts_with("http:") => store,
        Ok(_) => return ignored("the store has TLS of its own", REQUIRED),
        Err(why) => return ignored(&why, REQUIRED),
    };
    let world = World::empty(store, "killed");
    with_log(&world, 20);
    let proxy = Proxy::before(&world.store.endpoint, Plan::none(1));
    let entries = (0..20).map(|at| format!("entry {at}")).collect();
    let mut log = Moving { world, proxy, entries };
    let url = log.world.url.clone();
    // Batches, tiles, the name after the settings were switched, the head.
    let there = [
        (11, "PUT", "/batch/"),
        (60, "", ""),
        (3, "PUT", "/tile/"),
        (1, "PUT", "/origin"),
        (1, "PUT", "/checkpoint"),
    ];
    log.killed_at(&there, "log", &url);
    log.goes_on();
    log.add_server("other");
    // Batches are read, the seal is created, and the heads are read again, after it.
    let back = [(10, "GET", "/batch/"), (1, "PUT", "/batch/"), (3, "GET", "/checkpoint")];
    log.killed_at(&back, &url, "log");
    log.old_server_is_refused("other");
    log.goes_on();
    Ok(Completion::Completed)
}
