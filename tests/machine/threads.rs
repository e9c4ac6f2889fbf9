//! A user who may have few threads: a server does not start and says why; one that runs goes on when there are no more.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use tempfile::TempDir;

use crate::common::http::{get, post, request, try_exchange};
use crate::common::kill::{Running, program, succeeds};
use crate::common::needs::{Outcome, ignored};

const REQUIRED: &str = "TREEHEAD_REQUIRE_LOOP";
/// Time that requests may take on a machine without threads.
const PATIENCE: Duration = Duration::from_secs(20);

/// A log of a user who has no other process.
struct Limited {
    _home: TempDir,
    dir: PathBuf,
    user: u32,
}

impl Limited {
    /// Fails where no other user can be had: the limit is nothing to root.
    fn new() -> Result<Self, String> {
        let user = 61_000 + std::process::id() % 4_000;
        let version = limited(user, 1_000).arg("--version").output();
        let version = version.map_err(|error| format!("this user can't act as another one: {error}"))?;
        if !version.status.success() {
            return Err(format!("another user can't run it: {}", String::from_utf8_lossy(&version.stderr)));
        }
        let home = TempDir::new().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        chown(home.path(), Some(user), Some(user)).unwrap();
        let dir = home.path().join("log");
        let init = ["--origin", "example.com/threads", "--profile", "opaque"];
        succeeds(limited(user, 1_000).arg("init").arg(&dir).args(init));
        Ok(Self { _home: home, dir, user })
    }

    fn command(&self, threads: usize, words: &[&str]) -> Command {
        let mut command = limited(self.user, threads);
        command.args(words).arg(&self.dir);
        command
    }

    fn serve(&self, threads: usize) -> Command {
        let mut serve = self.command(threads, &["serve"]);
        serve.args(["--listen", "127.0.0.1:0"]);
        serve
    }
}

/// The program as this user, who may have so many threads.
fn limited(user: u32, threads: usize) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nproc={threads}")).arg(program().get_program());
    command.uid(user).gid(user).current_dir("/");
    command
}

macro_rules! limited_or_ignored {
    () => {
        match Limited::new() {
            Ok(log) => log,
            Err(why) => return ignored(&why, REQUIRED),
        }
    };
}

fn add(address: SocketAddr, entry: &str) -> u64 {
    let asked = request("POST", "/add?wait=published", &[], entry.as_bytes());
    let reply = try_exchange(address, &asked).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().trim().parse().unwrap()
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

pub fn a_program_without_enough_threads_says_so_and_does_not_panic() -> Outcome {
    let log = limited_or_ignored!();
    let ends = |mut command: Command| {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{command:?}: {stderr}");
        (output.status.code(), stderr)
    };
    for threads in [1, 2, 5, 10, 20, 30] {
        let (code, stderr) = ends(log.serve(threads));
        assert_eq!(code, Some(3), "{threads}: {stderr}");
        assert!(stderr.contains("error: could not start a server: expected the system to allow"), "{stderr}");
        assert!(
            stderr.contains("more threads, saw ") && stderr.contains("pids.max of a container"),
            "{stderr}"
        );
    }
    // So that it has a tree in sled.
    let (running, url) = Running::serve(&mut log.serve(1_000));
    add(address(&url), "an entry");
    running.stop();
    let mut first = None;
    for threads in 1..=16 {
        match ends(log.command(threads, &["fsck"])) {
            (Some(0), _) => first = first.or(Some(threads)),
            (Some(3), stderr) => assert!(stderr.contains("could not start") && first.is_none(), "{stderr}"),
            other => panic!("{threads}: {other:?}"),
        }
    }
    assert!(first.is_some_and(|first| first > 2), "{first:?}");
    Ok(Completion::Completed)
}

pub fn a_server_goes_on_when_there_are_no_more_threads() -> Outcome {
    let log = limited_or_ignored!();
    let (running, url) = Running::serve(&mut log.serve(1_000));
    assert_eq!(add(address(&url), "before"), 0);
    let limit = |threads: usize| {
        let mut prlimit = Command::new("prlimit");
        // As the same user: even root may lack the right to limit another one's process.
        prlimit.uid(log.user).gid(log.user);
        succeeds(prlimit.args(["--pid", &running.id().to_string(), &format!("--nproc={threads}:1000")]));
    };
    limit(1);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let at = address(&url);
            scope.spawn(move || {
                for number in 0..20 {
                    let index = add(at, &format!("{writer} {number}"));
                    // Each of them does its work on a thread of its own.
                    assert_eq!(get(at, "/tile/entries/000.p/1").status, 200);
                    assert_eq!(get(at, &format!("/proof/inclusion/{}/{index}", index + 1)).status, 200);
                    assert_eq!(get(at, "/metrics").status, 200);
                    assert_eq!(get(at, "/healthz").status, 200);
                }
            });
        }
    });
    running.signal("HUP");
    let batch: Vec<u8> = (0..300_u16).flat_map(|n| [&[0, 2][..], &n.to_be_bytes()].concat()).collect();
    assert_eq!(post(address(&url), "/add-batch?wait=published", &batch).status, 200);
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    let wrote = running.stop();
    assert!(!wrote.contains("panicked"), "{wrote}");
    let sound = succeeds(&mut log.command(1_000, &["fsck"]));
    assert!(sound.contains("461 entries"), "{sound}");
    Ok(Completion::Completed)
}
