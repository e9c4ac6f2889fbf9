//! A command as a sink: a process for each event, which gets the line on its standard input.

use std::fmt::Display;
use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::sink::{NotDelivered, Notification, Sink};
use crate::client::printable;
use crate::format::{FormatError, quote};
use crate::threads;

/// Time after which a program is killed, with every process that it started.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer it may take once the delivery is being closed.
const LAST_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between two looks at the process: the system has no wait with a time limit.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Most bytes that are kept of its standard error.
const MAX_STDERR_BYTES: u64 = 4 * 1024;

/// A program and its arguments.
#[derive(Debug)]
pub struct Command {
    argv: Vec<String>,
    timeout: Duration,
}

impl Command {
    /// Starts `argv[0]`, without a shell, with the other words as its arguments.
    ///
    /// # Errors
    /// [`FormatError`] without a program.
    pub fn new(argv: Vec<String>) -> Result<Self, FormatError> {
        if argv.first().is_none_or(String::is_empty) || argv.iter().any(|word| word.contains('\0')) {
            let seen = argv.first().map_or_else(|| "nothing".to_owned(), |word| quote(word));
            return Err(FormatError::malformed("a command", "a program, and its arguments", seen));
        }
        Ok(Self { argv, timeout: TIMEOUT })
    }

    /// Sets another time limit, for tests.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn start(&self) -> std::io::Result<Child> {
        std::process::Command::new(&self.argv[0])
            .args(&self.argv[1..])
            // A group of its own: Ctrl-C at the monitor's terminal does not reach it, and the processes that it
            // starts are killed with it.
            .process_group(0)
            .stdin(Stdio::piped())
            // The monitor's own output is for events.
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    }
}

impl Sink for Command {
    fn send(&self, notification: &Notification<'_>) -> Result<(), NotDelivered> {
        let name = &self.argv[0];
        let not_started = |why: &dyn Display| {
            NotDelivered::because("not-started", format!("could not start {name}: {why}"))
        };
        // Before the program: without them it would do its work, and have to do it again. A program that neither reads nor
        // ends would stop these threads: they end with the pipes.
        let line = format!("{}\n", notification.line);
        let tells = threads::start_waiting("sink-input", move |mut stdin: ChildStdin| {
            // A program may succeed without reading.
            let _ = stdin.write_all(line.as_bytes());
        });
        let (tell, _) = tells.map_err(|error| not_started(&error))?;
        let listens = threads::start_waiting("sink-errors", |mut stderr: ChildStderr| {
            let mut head = Vec::new();
            let _ = stderr.by_ref().take(MAX_STDERR_BYTES).read_to_end(&mut head);
            // The rest is read as well: a full pipe would stop the program.
            let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            head
        });
        let (listen, said) = listens.map_err(|error| not_started(&error))?;
        let mut child = self.start().map_err(|error| not_started(&error))?;
        // The threads wait for them.
        let _ = tell.send(child.stdin.take().expect("it is piped"));
        let _ = listen.send(child.stderr.take().expect("it is piped"));
        let ended = wait(&mut child, self.timeout, notification);
        let refused = matches!(ended, Ok(End::Itself(_)));
        let (code, why) = match ended {
            Ok(End::Itself(status)) if status.success() => return Ok(()),
            Ok(End::Itself(status)) => ("exit-code", in_words(status)),
            Ok(End::TooLong) => {
                ("timeout", format!("expected an end within {} s, and killed it", self.timeout.as_secs()))
            }
            Ok(End::Closing) => (
                "stopping",
                format!(
                    "the monitor was stopping, and killed it after another {} s; it gets this event again after the next start",
                    LAST_TIMEOUT.as_secs()
                ),
            ),
            Err(e) => ("not-started", format!("could not wait for it: {e}")),
        };
        // A process that it left behind may keep the pipe open for ever.
        let until = Instant::now() + Duration::from_millis(200);
        while !said.is_finished() && Instant::now() < until {
            thread::sleep(LOOK_INTERVAL);
        }
        let said =
            if said.is_finished() { said.join().ok().flatten().unwrap_or_default() } else { Vec::new() };
        let said = String::from_utf8_lossy(&said);
        let first = printable(said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default());
        let first = if first.is_empty() { first } else { format!(": {}", quote(&first)) };
        Err(NotDelivered { refused, ..NotDelivered::because(code, format!("{name}: {why}{first}")) })
    }
}

enum End {
    Itself(ExitStatus),
    TooLong,
    /// Killed before that: the delivery is being closed.
    Closing,
}

/// Waits for the end of the process, and kills it when its time is over.
fn wait(child: &mut Child, timeout: Duration, notification: &Notification<'_>) -> std::io::Result<End> {
    let begin = Instant::now();
    let (mut last, mut end) = (timeout, End::TooLong);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(End::Itself(status));
        }
        let early = begin.elapsed() + LAST_TIMEOUT;
        if notification.stop.load(Ordering::Relaxed) && early < last {
            (last, end) = (early, End::Closing);
        }
        if begin.elapsed() >= last {
            // The process has not been reaped, so its ID can't belong to another one.
            kill_process_group(Pid::from_child(child), Signal::KILL)?;
            child.wait()?;
            return Ok(end);
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("expected exit code 0, saw {code}"),
        (_, Some(signal)) => format!("expected exit code 0, was ended by signal {signal}"),
        _ => "expected exit code 0".to_owned(),
    }
}
