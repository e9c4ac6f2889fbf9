//! A command that signs. docs/signing.md has the protocol.

use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::format::{FormatError, quote};
use crate::merkle::Hash;
use crate::threads::{self, ThreadError};

/// Largest signature. One by an RSA key of 16,384 bits has 2,048 bytes, one with ML-DSA-44 2,420.
pub const MAX_SIGNATURE_BYTES: usize = 8 * 1024;
/// Most bytes of standard error that are shown of one run.
const MAX_STDERR_BYTES: u64 = 16 * 1024;
/// Interval between two looks at the process: the system has no wait with a time limit.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Time that the pipes may stay open after the process ended.
const LINGER: Duration = Duration::from_secs(1);
/// The version of the protocol.
const PROTOCOL: &str = "1";

/// A command that did not answer with a signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It could not be started.
    #[error("could not start {signer}: {source}")]
    NotStarted {
        /// The program.
        signer: String,
        /// The system's error.
        source: io::Error,
    },
    /// It was not started, because the system has no threads for its pipes.
    #[error("could not start {signer}: {source}")]
    Threads {
        /// The program.
        signer: String,
        /// The error.
        source: ThreadError,
    },
    /// It ended with another exit code than 0, or by a signal.
    #[error("{signer} did not sign: {how}")]
    Failed {
        /// The program.
        signer: String,
        /// The exit code or signal.
        how: String,
    },
    /// It did not end in time, and was killed.
    #[error("{signer} did not sign within {} s, and was killed", timeout.as_secs_f32())]
    TimedOut {
        /// The program.
        signer: String,
        /// The time limit.
        timeout: Duration,
    },
    /// It answered with more than any signature has.
    #[error(
        "{signer} answered too much: expected a signature of at most {MAX_SIGNATURE_BYTES} bytes, saw more"
    )]
    TooLong {
        /// The program.
        signer: String,
    },
    /// It answered with nothing.
    #[error("{signer} answered nothing: expected the signature on standard output")]
    Empty {
        /// The program.
        signer: String,
    },
}

/// A program and its arguments, which signs what it reads.
#[derive(Debug)]
pub struct SignerCommand {
    words: Vec<String>,
    timeout: Duration,
    /// Environment variables that hold secrets of ours.
    hidden: Vec<String>,
    say: fn(&str),
}

impl SignerCommand {
    /// Splits a command line as a POSIX shell splits one without variables, globs and substitutions: at white space,
    /// except in quotes and after backslashes. A word that begins with `#` begins a comment. `say` gets its standard
    /// error, line by line.
    ///
    /// # Errors
    /// [`FormatError`] without a program, and for a quote that is not closed.
    pub fn parse(line: &str, timeout: Duration, say: fn(&str)) -> Result<Self, FormatError> {
        let wrong = |seen: &str| {
            FormatError::malformed("a signer", "a program and its arguments, quoted as in a shell", seen)
        };
        let words = shlex::split(line)
            .ok_or_else(|| wrong(&format!("a quote or backslash without its end in {}", quote(line))))?;
        if words.first().is_none_or(String::is_empty) || line.contains('\0') {
            return Err(wrong(&quote(line)));
        }
        Ok(Self { words, timeout, hidden: Vec::new(), say })
    }

    /// Keeps environment variables from the command.
    #[must_use]
    pub fn without_variables(self, hidden: Vec<String>) -> Self {
        Self { hidden, ..self }
    }

    /// The program.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.words[0]
    }

    /// Runs the command, which gets the message on its standard input.
    ///
    /// # Errors
    /// [`CommandError`]. The signature is not verified.
    pub fn sign(&self, keyid: &Hash, payload: &[u8], message: &[u8]) -> Result<Vec<u8>, CommandError> {
        let signer = || self.name().to_owned();
        // Somebody at a terminal may be asked for a PIN, which only a process of the foreground group can do. Ctrl-C
        // ends all of that group. Elsewhere a group of its own is killed with all that it started.
        let attended = io::stdin().is_terminal() && io::stderr().is_terminal();
        let pipes = Pipes::prepare(message, self.say);
        let pipes = pipes.map_err(|source| CommandError::Threads { signer: signer(), source })?;
        let started = self.command(keyid, payload, message, attended).spawn();
        let child = started.map_err(|source| CommandError::NotStarted { signer: signer(), source })?;
        let mut running = Running::new(child, pipes, attended);
        let status = running.wait(self.timeout);
        let status = status.map_err(|source| CommandError::Failed {
            signer: signer(),
            how: format!("could not wait for it: {source}"),
        })?;
        let answer = running.finish();
        if answer.as_deref().is_some_and(is_too_long) {
            return Err(CommandError::TooLong { signer: signer() });
        }
        let Some(status) = status else {
            return Err(CommandError::TimedOut { signer: signer(), timeout: self.timeout });
        };
        if !status.success() {
            return Err(CommandError::Failed { signer: signer(), how: in_words(status) });
        }
        let Some(answer) = answer else {
            let how = "a process that it started keeps its standard output open".to_owned();
            return Err(CommandError::Failed { signer: signer(), how });
        };
        if answer.is_empty() {
            return Err(CommandError::Empty { signer: signer() });
        }
        Ok(answer)
    }

    fn command(&self, keyid: &Hash, payload: &[u8], message: &[u8], attended: bool) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.hidden.iter().for_each(|name| {
            command.env_remove(name);
        });
        command
            .env("TREEHEAD_SIGNER_PROTOCOL", PROTOCOL)
            .env("TREEHEAD_KEYID", keyid.to_hex())
            .env("TREEHEAD_MESSAGE_SHA256", Hash::digest(message).to_hex())
            .env("TREEHEAD_STATEMENT_SHA256", Hash::digest(payload).to_hex());
        if !attended {
            command.process_group(0);
        }
        command
    }
}

/// The threads at the pipes of a command, which is started when they are. They end with the pipes, even if the program does
/// not read.
struct Pipes {
    stdin: SyncSender<ChildStdin>,
    stdout: SyncSender<ChildStdout>,
    stderr: SyncSender<ChildStderr>,
    answers: Receiver<Vec<u8>>,
    told: JoinHandle<Option<()>>,
}

impl Pipes {
    fn prepare(message: &[u8], say: fn(&str)) -> Result<Self, ThreadError> {
        let message = message.to_vec();
        // A program may sign without reading, by the digest in its environment.
        let write = move |mut stdin: ChildStdin| drop(stdin.write_all(&message));
        let (stdin, _) = threads::start_waiting("signer-input", write)?;
        let (done, answers) = mpsc::channel();
        let (stdout, _) = threads::start_waiting("signer-answer", move |stdout| done.send(read(stdout)))?;
        let (stderr, told) = threads::start_waiting("signer-errors", move |stderr| tell(stderr, say))?;
        Ok(Self { stdin, stdout, stderr, answers, told })
    }
}

/// A command that runs.
struct Running {
    child: Child,
    attended: bool,
    answers: Receiver<Vec<u8>>,
    /// The answer, once standard output is closed or too long.
    answer: Option<Vec<u8>>,
    told: JoinHandle<Option<()>>,
}

impl Running {
    fn new(mut child: Child, pipes: Pipes, attended: bool) -> Self {
        let Pipes { stdin, stdout, stderr, answers, told } = pipes;
        // The threads wait for them.
        let _ = stdin.send(child.stdin.take().expect("it is piped"));
        let _ = stdout.send(child.stdout.take().expect("it is piped"));
        let _ = stderr.send(child.stderr.take().expect("it is piped"));
        Self { child, attended, answers, answer: None, told }
    }

    /// Waits for the end. Kills the process, which is `None`, if its time is over or it answers too much.
    fn wait(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if self.answer.is_none() {
                self.answer = self.answers.try_recv().ok();
            }
            if begin.elapsed() >= timeout || self.answer.as_ref().is_some_and(|answer| is_too_long(answer)) {
                self.kill()?;
                return Ok(None);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        // The process has not been reaped, so its ID can't belong to another one.
        if self.attended {
            self.child.kill()?;
        } else {
            kill_process_group(Pid::from_child(&self.child), Signal::KILL)?;
        }
        self.child.wait().map(drop)
    }

    /// The answer, unless a process that was left behind keeps the pipe open.
    fn finish(self) -> Option<Vec<u8>> {
        let until = Instant::now() + LINGER;
        let answer = self.answer.or_else(|| self.answers.recv_timeout(LINGER).ok());
        while !self.told.is_finished() && Instant::now() < until {
            thread::sleep(LOOK_INTERVAL);
        }
        answer
    }
}

const fn is_too_long(answer: &[u8]) -> bool {
    answer.len() > MAX_SIGNATURE_BYTES
}

/// Reads the answer, and one byte more than a signature may have.
fn read(stdout: ChildStdout) -> Vec<u8> {
    let mut answer = Vec::new();
    // An answer that breaks off is no signature, which its verification finds.
    let _ = stdout.take(MAX_SIGNATURE_BYTES as u64 + 1).read_to_end(&mut answer);
    answer
}

/// Passes on the first lines of standard error, as they come.
fn tell(mut stderr: ChildStderr, say: fn(&str)) {
    let mut head = BufReader::new(stderr.by_ref().take(MAX_STDERR_BYTES));
    let mut line = Vec::new();
    while head.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            say(&format!("signer: {}", text.trim_end()));
        }
        line.clear();
    }
    // The rest is read as well: a full pipe would stop the program.
    let _ = io::copy(&mut stderr, &mut io::sink());
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("expected exit code 0, saw {code}"),
        (_, Some(signal)) => format!("expected exit code 0, was ended by signal {signal}"),
        _ => "expected exit code 0".to_owned(),
    }
}

/// Describes bytes that are not the signature that they should be.
#[must_use]
pub fn describe_wrong(answer: &[u8]) -> String {
    let count = match answer.len() {
        1 => "1 byte".to_owned(),
        count => format!("{count} bytes"),
    };
    let Ok(text) = core::str::from_utf8(answer) else {
        return match answer.len() {
            64 | 96 => format!("{count} that are none: if they are r and s of ECDSA, answer them in DER"),
            _ => format!("{count} that are none: made by another key, over other bytes, or in another form"),
        };
    };
    if text.starts_with("-----BEGIN SSH SIGNATURE-----") {
        return "what `ssh-keygen -Y sign` makes, which is over other bytes: use an agent (docs/signing.md)"
            .to_owned();
    }
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=-_\r\n".contains(c);
    if text.chars().all(is_base64) {
        return format!("{count} of text that looks like base64: answer the bytes themselves");
    }
    format!("{count} of text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<String>, String> {
        let command = SignerCommand::parse(line, Duration::from_secs(1), |_| ());
        command.map(|command| command.words).map_err(|e| e.to_string())
    }

    fn run(script: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        let line = format!("sh -c {}", shlex::try_quote(script).unwrap());
        let command = SignerCommand::parse(&line, timeout, |_| ()).unwrap();
        let command = command.without_variables(vec!["PATH".to_owned()]);
        let keyid = Hash::digest(b"key");
        command.sign(&keyid, b"payload", b"message").map_err(|e| e.to_string())
    }

    #[test]
    fn without_threads_for_its_pipes_it_is_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("touch {}/ran; echo signed", dir.path().display());
        let sign = |left| threads::limit::with(left, || run(&script, Duration::from_secs(30)));
        for left in 0..3 {
            let why = sign(left).unwrap_err();
            assert!(why.starts_with("could not start sh: could not start the thread signer-"), "{why}");
            assert!(!dir.path().join("ran").exists());
        }
        assert_eq!(sign(3).unwrap(), b"signed\n");
    }

    #[test]
    fn a_line_is_split_as_a_shell_does_and_nothing_is_expanded() {
        for (line, expected) in [
            ("sign", vec!["sign"]),
            ("  sign  a\tb ", vec!["sign", "a", "b"]),
            ("sign 'two words' \"it's\" a\\ b", vec!["sign", "two words", "it's", "a b"]),
            ("sign $KEY *.pem `id` a|b ''", vec!["sign", "$KEY", "*.pem", "`id`", "a|b", ""]),
            ("sign --id=a#b # a comment", vec!["sign", "--id=a#b"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        for line in ["", "  ", "# sign", "''", "sign 'a", "sign \"a", "sign \\"] {
            assert!(words(line).is_err_and(|e| e.contains("a program and its arguments")), "{line:?}");
        }
    }

    #[test]
    fn the_answer_is_what_stands_on_standard_output() {
        let minute = Duration::from_secs(60);
        assert_eq!(run("cat", minute).as_deref(), Ok(&b"message"[..]));
        assert_eq!(run("printf x", minute).as_deref(), Ok(&b"x"[..]));
        let variables = "printf %s $TREEHEAD_SIGNER_PROTOCOL $TREEHEAD_KEYID $TREEHEAD_MESSAGE_SHA256 \
            $TREEHEAD_STATEMENT_SHA256 ${PATH-hidden}";
        let digests = [b"key", &b"message"[..], b"payload"].map(|bytes| Hash::digest(bytes).to_hex());
        let expected = format!("1{}hidden", digests.concat());
        // A shell without PATH has one of its own.
        let ran = String::from_utf8(run(variables, minute).unwrap()).unwrap();
        assert!(ran.starts_with(&expected[..expected.len() - 6]), "{ran}");
    }

    #[test]
    fn each_way_not_to_sign_is_told() {
        let (minute, soon) = (Duration::from_secs(60), Duration::from_millis(300));
        for (script, timeout, expected) in [
            ("exit 3", minute, "sh did not sign: expected exit code 0, saw 3"),
            ("printf x; exit 1", minute, "saw 1"),
            ("kill -TERM $$", minute, "was ended by signal 15"),
            ("exec sleep 60", soon, "did not sign within 0.3 s, and was killed"),
            ("sleep 60 & wait", soon, "did not sign within 0.3 s, and was killed"),
            ("exec cat /dev/zero", minute, "answered too much: expected a signature of at most 8192 bytes"),
            ("head -c 8193 /dev/zero", minute, "answered too much"),
            ("exit 0", minute, "answered nothing"),
            ("printf x; sleep 5 & exit 0", minute, "keeps its standard output open"),
        ] {
            let begin = Instant::now();
            let error = run(script, timeout).unwrap_err();
            assert!(error.contains(expected), "{script}: {error}");
            assert!(begin.elapsed() < Duration::from_secs(30), "{script}");
        }
        let missing = SignerCommand::parse("/nowhere/sign", minute, |_| ()).unwrap();
        let error = missing.sign(&Hash::digest(b""), b"", b"").unwrap_err().to_string();
        assert!(error.starts_with("could not start /nowhere/sign: "), "{error}");
    }

    #[test]
    fn a_loud_command_is_heard_in_part_and_is_not_stopped() {
        assert_eq!(
            run("head -c 1000000 /dev/zero >&2; cat", Duration::from_secs(60)).as_deref(),
            Ok(&b"message"[..])
        );
    }

    #[test]
    fn other_forms_are_recognized() {
        for (answer, expected) in [
            (&[0xff; 64][..], "r and s of ECDSA"),
            (&[0xff; 71], "71 bytes that are none"),
            (b"MEUCIQDx+/==\n", "looks like base64"),
            (b"-----BEGIN SSH SIGNATURE-----\n", "ssh-keygen -Y sign"),
            (b"PIN: ", "5 bytes of text"),
        ] {
            assert!(describe_wrong(answer).contains(expected), "{}", describe_wrong(answer));
        }
    }
}
