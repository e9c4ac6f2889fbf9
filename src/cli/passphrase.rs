//! Passphrases of encrypted keys: from a file, the environment, or the terminal. Never an argument, which every process of
//! the machine can read.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::exit::Failure;
use super::files;
use crate::format::shown;

/// The environment variable that holds the passphrase.
pub const VARIABLE: &str = "TREEHEAD_PASSPHRASE";
/// Longest passphrase at the terminal, in bytes.
const MAX_TYPED_BYTES: usize = 1_024;

/// A passphrase.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// Finds the passphrase of a key: in the file if there is one, or else in the variable, or else at the terminal.
pub fn of(what: &str, file: Option<&Path>) -> Result<Passphrase, Failure> {
    if let Some(path) = file {
        return Ok(without_newline(files::read_publisher_secret(path)?));
    }
    if let Some(value) = std::env::var_os(VARIABLE) {
        return Ok(Zeroizing::new(value.into_encoded_bytes()));
    }
    ask(&format!("passphrase of {}: ", shown(what))).map_err(|e| {
        Failure::Usage(format!(
            "{what} is encrypted: expected its passphrase in --passphrase-file, in the variable {VARIABLE} or at a terminal, saw none ({e})"
        ))
    })
}

/// Asks twice for the passphrase of a new key.
pub fn new(what: &str, file: Option<&Path>) -> Result<Passphrase, Failure> {
    let first = of(what, file)?;
    let is_typed = file.is_none() && std::env::var_os(VARIABLE).is_none();
    if is_typed && *first != *of(&format!("{what} again"), None)? {
        return Err(Failure::Usage("expected the same passphrase twice, saw two".to_owned()));
    }
    if first.is_empty() {
        return Err(Failure::Usage("expected a passphrase, saw an empty one".to_owned()));
    }
    Ok(first)
}

/// Drops the newline at the end, which editors and `echo` write.
fn without_newline(mut text: Passphrase) -> Passphrase {
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    text
}

/// Asks at the terminal of the process, wherever its streams lead, and shows nothing of the answer.
fn ask(prompt: &str) -> io::Result<Passphrase> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    terminal.write_all(prompt.as_bytes())?;
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let typed = read_line(&mut terminal);
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    terminal.write_all(b"\n")?;
    typed
}

fn read_line(terminal: &mut File) -> io::Result<Passphrase> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_TYPED_BYTES));
    let mut byte = [0];
    while line.len() < MAX_TYPED_BYTES && terminal.read(&mut byte)? == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    Ok(without_newline(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_belongs_to_the_file() {
        for (text, expected) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("", ""), ("\n", "")]
        {
            let text = Zeroizing::new(text.as_bytes().to_vec());
            assert_eq!(*without_newline(text), expected.as_bytes());
        }
    }
}
