//! `treehead monitor`, as a process of its own.

#![allow(dead_code, reason = "each bench uses some of it")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The result of following logs once.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub time: Duration,
    /// Most memory that it had of its own, in bytes: `VmHWM`.
    pub memory: u64,
}

/// Writes the settings of a monitor that follows one log from its beginning, and knows nothing yet.
pub fn settle(dir: &Path, url: &str, log: &Path, more: &str) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).expect("a directory");
    fs::copy(log.join("endpoint.policy"), dir.join("monitor.policy")).expect("a policy");
    let settings = format!("[[log]]\nurl = \"{url}\"\npolicy = \"monitor.policy\"\n{more}");
    fs::write(dir.join("monitor.toml"), settings).expect("settings");
}

fn program(dir: &Path) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_treehead"));
    program.args(["monitor", "--config"]).arg(dir.join("monitor.toml")).stdin(Stdio::null());
    program
}

/// Follows the log to its head.
pub fn once(dir: &Path) -> Run {
    let out = File::create(dir.join("out")).expect("a file");
    let begin = Instant::now();
    let mut child = program(dir).arg("--once").stdout(out).spawn().expect("the program runs");
    let status_file = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    let status = loop {
        if let Ok(status) = fs::read_to_string(&status_file)
            && let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:"))
        {
            memory = line
                .split_whitespace()
                .nth(1)
                .and_then(|kb| kb.parse::<u64>().ok())
                .map_or(memory, |kb| kb * 1_024);
        }
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let time = begin.elapsed();
    assert!(status.success(), "{status}; what it said is in {}", dir.display());
    Run { time, memory }
}

/// A monitor that runs. Killed when it is dropped.
pub struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<(Instant, String)>,
}

impl Running {
    pub fn start(dir: &Path) -> Self {
        let mut child =
            program(dir).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program runs");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| tell.send((Instant::now(), line)))
        });
        Self { child, lines: told }
    }

    /// When the monitor told an event of this code.
    pub fn wait_for(&self, code: &str) -> Instant {
        let wanted = format!("\"event\":\"{code}\"");
        let mut lines = self.lines.iter();
        lines.find(|(_, line)| line.contains(&wanted)).expect("it runs until it has told").0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
