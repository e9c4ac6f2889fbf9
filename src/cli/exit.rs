//! How commands end: exit codes, and the report of a failure.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value, json};

use crate::format::{FormatError, shown, to_json};

/// The exit codes of all commands. Of several failures, the lowest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Verification failed: the thing is not what it should be.
    Refused = 1,
    /// The command, or a file given with it, is not understood.
    Usage = 2,
    /// The command could not tell: network, missing file, no permission.
    CouldNotTell = 3,
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone)]
pub enum Failure {
    /// [`Exit::Refused`], with a stable reason code and advice.
    Refused {
        /// Stable, for machines.
        code: String,
        /// Expected and seen.
        message: String,
        /// The advice.
        advice: String,
        /// Expected and seen, each by itself, where both are known.
        contrast: Option<Box<(String, String)>>,
    },
    /// [`Exit::Usage`].
    Usage(String),
    /// [`Exit::CouldNotTell`].
    CouldNotTell(String),
    /// Several failures, each already reported.
    Told(Exit),
}

/// The result of a command.
pub type CliResult = Result<(), Failure>;

impl Failure {
    /// A refusal that has no error type of its own.
    pub fn refused(code: &str, message: impl Into<String>, advice: &str) -> Self {
        let (code, advice) = (code.to_owned(), advice.to_owned());
        Self::Refused { code, message: message.into(), advice, contrast: None }
    }

    /// The worst exit code of failures that were reported one by one.
    pub fn worst<'a>(failures: impl Iterator<Item = &'a Self>) -> CliResult {
        failures.map(Self::exit).min().map_or(Ok(()), |worst| Err(Self::Told(worst)))
    }

    /// A file could not be read or written.
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "; check its owner and permissions",
            io::ErrorKind::StorageFull => "; free some space and run the command again",
            _ => "",
        };
        Self::CouldNotTell(format!("could not {doing} {}: {error}{advice}", path.display()))
    }

    /// A file could not be opened or written: anything but a regular file is a usage error, all else is the system's.
    pub fn file_access(doing: &str, path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidInput => Self::Usage(format!("{} is {error}", path.display())),
            _ => Self::io(doing, path, error),
        }
    }

    /// A file that the user named is not what it should be.
    pub fn file(path: &Path, error: &FormatError) -> Self {
        Self::Usage(format!("{}: {error}", path.display()))
    }

    /// An option asks for the proof of something that is only sequenced.
    pub fn no_proof_yet(option: &str) -> Self {
        Self::Usage(format!(
            "{option}: a release that is only sequenced has no proof yet; expected --wait published or witnessed"
        ))
    }

    /// Appends a hint to the message.
    pub fn and(self, hint: &str) -> Self {
        self.reword(|message| format!("{message}; {hint}"))
    }

    /// Puts the name of its subject before the message.
    pub fn of(self, subject: &str) -> Self {
        self.reword(|message| format!("{subject}: {message}"))
    }

    fn reword(mut self, words: impl FnOnce(&str) -> String) -> Self {
        match &mut self {
            Self::Refused { message, .. } | Self::Usage(message) | Self::CouldNotTell(message) => {
                *message = words(message);
            }
            Self::Told(_) => {}
        }
        self
    }

    /// The message, without the advice.
    pub fn message(&self) -> &str {
        match self {
            Self::Refused { message, .. } | Self::Usage(message) | Self::CouldNotTell(message) => message,
            Self::Told(_) => "",
        }
    }

    /// The reason code for machines.
    fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } => code,
            Self::Usage(_) => "usage",
            Self::CouldNotTell(_) => "could-not-tell",
            Self::Told(_) => "",
        }
    }

    /// The advice, and what was expected and seen.
    fn details(&self) -> (&str, Option<&(String, String)>) {
        match self {
            Self::Refused { advice, contrast, .. } => (advice, contrast.as_deref()),
            Self::Usage(_) | Self::CouldNotTell(_) | Self::Told(_) => ("", None),
        }
    }

    /// The exit code of a program that fails in this way alone.
    pub const fn exit_code(&self) -> u8 {
        self.exit() as u8
    }

    const fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. } => Exit::Refused,
            Self::Usage(_) => Exit::Usage,
            Self::CouldNotTell(_) => Exit::CouldNotTell,
            Self::Told(exit) => *exit,
        }
    }
}

/// Ends the program at once, in the middle of its work, because the user insists.
pub fn at_once() -> ! {
    let failure = Failure::CouldNotTell("interrupted before everything was checked".to_owned());
    tell(&failure, false, Map::new());
    std::process::exit(failure.exit() as i32)
}

/// Reports how a command ended, and returns its exit code.
pub fn finish(result: CliResult, json: bool) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    tell(&failure, json, Map::new());
    ExitCode::from(failure.exit() as u8)
}

/// The object of a failure, which also holds `about`.
pub fn object(failure: &Failure, about: Map<String, Value>) -> Value {
    let (advice, contrast) = failure.details();
    let mut object =
        json!({ "ok": false, "code": failure.code(), "message": failure.message(), "advice": advice });
    if let Some((expected, seen)) = contrast {
        object["expected"] = expected.as_str().into();
        object["seen"] = seen.as_str().into();
    }
    about.into_iter().for_each(|(key, value)| object[key] = value);
    object
}

/// Reports a failure: in words on stderr, or with `--json` as an object on stdout, which also holds `about`.
pub fn tell(failure: &Failure, json: bool, about: Map<String, Value>) {
    if matches!(failure, Failure::Told(_)) {
        return;
    }
    if json {
        // A closed pipe is not worth another error: the exit code says it all.
        let _ = writeln!(io::stdout(), "{}", to_json(&object(failure, about)));
        return;
    }
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let code = failure.code();
    let what = if failure.exit() == Exit::Refused { format!("refused ({code})") } else { "error".to_owned() };
    anstream::eprintln!("{red}{}:{red:#} {}", shown(&what), shown(failure.message()));
    let (advice, _) = failure.details();
    if !advice.is_empty() {
        anstream::eprintln!("{}", shown(advice));
    }
}
