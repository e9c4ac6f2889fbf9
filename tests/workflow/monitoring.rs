//! Running monitors with the program, and reading their events.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Ran, Server, World};

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A time limit that even a busy machine keeps.
const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: still not so");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The events on a monitor's standard output. While it runs, the last line may be incomplete.
pub fn events(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The code of each event.
pub fn codes(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().expect("a code")).collect()
}

/// The events with this code.
pub fn of(events: &[Value], code: &str) -> Vec<Value> {
    events.iter().filter(|event| event["event"] == code).cloned().collect()
}

impl World {
    /// A monitor's directory, made by `monitor init`. The monitor trusts the log's publishers, runs a round each
    /// second, and serves on a free port. `more` is appended to its settings.
    pub fn monitor(&self, name: &str, log: &str, more: &str) {
        let files = "--policy log/endpoint.policy --publishers log/publishers.toml";
        let line = format!("monitor init {name} --log {log} --listen 127.0.0.1:0 {files}");
        self.run(&line).done();
        let path = format!("{name}/monitor.toml");
        let settings = String::from_utf8(self.read(&path)).expect("text");
        let quick = settings.replace("interval = \"60s\"", "interval = \"1s\"");
        assert_ne!(quick, settings);
        self.write(&path, quick + more);
    }

    /// Follows the log once. `name` is the monitor's directory.
    #[track_caller]
    pub fn once(&self, name: &str) -> Ran {
        self.run(&format!("monitor --once --config {name}/monitor.toml"))
    }

    /// A `[[webhook]]` section for this address, and its secret.
    pub fn webhook(&self, url: &str) -> String {
        self.write("webhook.secret", format!("{SECRET}\n"));
        self.chmod("webhook.secret", 0o600);
        format!("\n[[webhook]]\nname = \"on-call\"\nurl = \"{url}\"\nsecret = \"../webhook.secret\"\n")
    }

    /// Starts a monitor.
    pub fn follow(&self, name: &str) -> Monitor<'_> {
        let output = format!("{name}.events");
        let file = File::options().create(true).append(true).open(self.path(&output)).expect("a file");
        let line = format!("monitor --config {name}/monitor.toml");
        let server = self.start_with(&line, " following ", file.into());
        Monitor { world: self, output, server }
    }
}

/// A running monitor. Dropping it kills it, by its id.
pub struct Monitor<'a> {
    world: &'a World,
    output: String,
    pub server: Server,
}

impl Monitor<'_> {
    pub fn events(&self) -> Vec<Value> {
        events(&fs::read_to_string(self.world.path(&self.output)).expect("its output"))
    }

    /// Waits for an event with this code for which `is` holds, and returns it.
    #[track_caller]
    pub fn wait_for(&self, code: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events();
            if let Some(event) = events.iter().find(|event| event["event"] == code && is_so(event)) {
                return event.clone();
            }
            assert!(Instant::now() < deadline, "no {code}: {events:#?}\n{}", self.server.talk());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the monitor has checked every entry up to a head of this size.
    #[track_caller]
    pub fn wait_for_head(&self, size: u64) {
        self.wait_for("head", |event| event["size"].as_u64() >= Some(size));
    }
}
