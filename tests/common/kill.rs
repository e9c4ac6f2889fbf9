//! Starting the program, waiting until it listens, and killing it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a start or a stop may take before it counts as hanging, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of kills: `TREEHEAD_KILL_ROUNDS`, or else the test's own number.
pub fn rounds(default: u64) -> u64 {
    std::env::var("TREEHEAD_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// A command of the program, without input and without settings from the environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_treehead"));
    command.stdin(Stdio::null());
    for name in ["CLICOLOR_FORCE", "NO_COLOR", "RUST_LOG", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end, which has to be a success. Returns its output.
#[track_caller]
pub fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A running program. Dropping it kills it, by its own id, however the test ends.
pub struct Running {
    child: Child,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let stderr = Arc::new(Mutex::new(String::new()));
        let keep = stderr.clone();
        // Read to the end: a full pipe would block the program.
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *keep.lock().expect("no panic") += &format!("{line}\n");
            }
        });
        Self { child, stderr, reader: Some(reader) }
    }

    /// Starts a server, and waits until it listens. Returns its URL, too.
    #[track_caller]
    pub fn serve(command: &mut Command) -> (Self, String) {
        Self::spawn(command.stdout(Stdio::null())).listening(" serving ")
    }

    /// Waits for the line on stderr that contains `says` and then the URL of the program.
    #[track_caller]
    pub fn listening(mut self, says: &str) -> (Self, String) {
        // Another server that does not answer is reported with its URL, too.
        let url = |line: &str| Some(line.split_once(says)?.1.split_once("url=")?.1.trim().to_owned());
        let mut found = None;
        self.wait_until(|running| {
            found = running.stderr().lines().find_map(url);
            found.is_some()
        });
        (self, found.expect("it was found"))
    }

    /// Waits for something that the program does while it runs.
    #[track_caller]
    pub fn wait_until(&mut self, mut is: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() || is(self), "it ended by itself: {}", self.kill());
            assert!(Instant::now() < deadline, "it does not start: {}", self.kill());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The process's ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill runs").success());
    }

    /// `kill -9`. Returns everything that the program wrote to stderr.
    pub fn kill(&mut self) -> String {
        let _ = self.child.kill();
        self.ended().1
    }

    /// Stops the program as service managers do: SIGTERM, then wait. Returns everything that it wrote to stderr.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
        let (status, wrote) = self.ended();
        assert!(status.success(), "{status}: {wrote}");
        wrote
    }

    fn ended(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("it is our child");
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        (status, self.stderr())
    }

    /// Everything that the program wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("no panic").clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
