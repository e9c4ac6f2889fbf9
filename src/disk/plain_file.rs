//! Opening files without waiting for pipes or following links.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file for reading. Follows links: settings and keys are often linked. Refuses anything but a
/// regular file: opening a pipe blocks until somebody writes to it, perhaps for ever, and a device may never
/// end.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidInput`] if it is no regular file.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(path)?;
    check_plain(file.metadata()?.file_type())?;
    Ok(file)
}

/// Reads a file, which is opened by [`open_plain`].
///
/// # Errors
/// [`open_plain`]'s, and the system's.
pub fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens one of the program's own files with `options`. Its name is no secret, so a link is refused: it would
/// make the program create, lock or overwrite a file of somebody else's choice.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidInput`] if it is a link, or no regular file.
pub fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let opened = options.custom_flags(flags(OFlags::NONBLOCK | OFlags::NOFOLLOW)).open(path);
    let file = opened.map_err(|error| {
        // The system's own words for links and pipes don't help: "Too many levels of symbolic links".
        let what = fs::symlink_metadata(path).map(|meta| meta.file_type());
        what.ok().and_then(|what| check_plain(what).err()).unwrap_or(error)
    })?;
    check_plain(file.metadata()?.file_type())?;
    Ok(file)
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Refuses anything but a regular file.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`], with a message that continues a sentence after "is".
pub fn check_plain(what: FileType) -> io::Result<()> {
    let seen = match what {
        what if what.is_file() => return Ok(()),
        what if what.is_symlink() => "a symbolic link: remove it, or give its target's own path",
        what if what.is_dir() => "a directory",
        what if what.is_fifo() => "a pipe: write its output to a file first",
        what if what.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no regular file: expected one, saw {seen}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Fails the test if `what` hangs.
    fn soon<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, waits) = mpsc::channel();
        thread::spawn(move || done.send(what()));
        waits.recv_timeout(Duration::from_secs(10)).expect("it does not hang")
    }

    fn pipe(dir: &Path) -> PathBuf {
        let path = dir.join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    #[test]
    fn a_pipe_a_device_and_a_directory_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        for (path, seen) in [
            (pipe(dir.path()), "saw a pipe: write its output"),
            (PathBuf::from("/dev/zero"), "saw a device"),
            (dir.path().to_owned(), "saw a directory"),
        ] {
            let error = soon(move || read_plain(&path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(seen), "{seen}: {error}");
        }
        let missing = read_plain(&dir.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_is_read_but_never_written_locked_or_made_a_file_of() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link, dangling) =
            (dir.path().join("target"), dir.path().join("link"), dir.path().join("dangling"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        symlink(dir.path().join("made"), &dangling).unwrap();
        assert_eq!(read_plain(&link).unwrap(), b"precious");
        for path in [&link, &dangling] {
            let mut options = File::options();
            let error = open_own(options.create(true).truncate(true).write(true), path).unwrap_err();
            assert!(error.to_string().contains("saw a symbolic link: remove it"), "{error}");
        }
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert!(!dir.path().join("made").exists());
        let pipe = pipe(dir.path());
        let error = soon(move || open_own(File::options().write(true), &pipe)).unwrap_err();
        assert!(error.to_string().contains("saw a pipe"), "{error}");
        open_own(File::options().create(true).write(true), &dir.path().join("new")).unwrap();
    }
}
