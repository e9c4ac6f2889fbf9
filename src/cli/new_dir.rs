//! Makes the directory of a log or a witness, whole or not at all.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::exit::{CliResult, Failure};
use super::files;

/// A file of a new directory.
pub struct NewFile {
    name: &'static str,
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl NewFile {
    /// A file that everyone may read.
    pub fn public(name: &'static str, content: impl AsRef<[u8]>) -> Self {
        Self { name, bytes: Zeroizing::new(content.as_ref().to_vec()), mode: 0o644 }
    }

    /// A line that only the owner may read.
    pub fn secret(name: &'static str, line: &str) -> Self {
        let bytes = Zeroizing::new([line.as_bytes(), b"\n"].concat());
        Self { name, bytes, mode: 0o600 }
    }

    fn write(&self, dir: &Path) -> CliResult {
        files::create_new(&dir.join(self.name), &self.bytes, self.mode)
    }
}

/// Makes `dir` with these files, durably. The last file makes it count.
pub fn make(dir: &Path, what: &str, files: &[NewFile]) -> CliResult {
    let io = |e: io::Error| Failure::io("create", dir, &e);
    let occupied = dir.exists() && fs::read_dir(dir).map_err(io)?.next().is_some();
    if occupied {
        return Err(Failure::Usage(format!(
            "{} is not empty: {what} needs a directory of its own; choose another",
            dir.display()
        )));
    }
    if !dir.exists() {
        return whole(dir, |new| files.iter().try_for_each(|file| file.write(new)));
    }
    fill(dir, files)?;
    sync(files::dir_of(dir))
}

/// Makes `dir` appear at once with what `fill` writes, or not at all. Replaces an empty directory, and keeps its owner and
/// mode.
pub fn whole<T>(dir: &Path, fill: impl FnOnce(&Path) -> Result<T, Failure>) -> Result<T, Failure> {
    let io = |e: io::Error| Failure::io("create", dir, &e);
    let parent = files::dir_of(dir);
    fs::create_dir_all(parent).map_err(|e| Failure::io("create", parent, &e))?;
    let new = tempfile::Builder::new().prefix(".treehead-new-").tempdir_in(parent).map_err(io)?;
    let done = fill(new.path())?;
    // Temporary directories are private; a new one gets the usual mode.
    let mode = match fs::metadata(dir) {
        Ok(meta) => {
            std::os::unix::fs::chown(new.path(), Some(meta.uid()), Some(meta.gid())).map_err(io)?;
            meta.mode()
        }
        Err(_) => 0o755,
    };
    fs::set_permissions(new.path(), fs::Permissions::from_mode(mode & 0o7777)).map_err(io)?;
    sync(new.path())?;
    // A crash before this line leaves only the hidden directory.
    fs::rename(new.path(), dir).map_err(|e| match e.kind() {
        io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
            io(e).and("it is a mount point: choose a new directory in it")
        }
        _ => io(e),
    })?;
    let _ = new.keep();
    sync(parent)?;
    Ok(done)
}

/// Fills an empty directory, which may be a mount point or have another owner, and is not replaced.
fn fill(dir: &Path, files: &[NewFile]) -> CliResult {
    for (at, file) in files.iter().enumerate() {
        if let Err(e) = file.write(dir) {
            // Half a directory would block the next try.
            files[..at].iter().for_each(|made| drop(fs::remove_file(dir.join(made.name))));
            return Err(e);
        }
    }
    sync(dir)
}

fn sync(dir: &Path) -> CliResult {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Failure::io("fsync", dir, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_can_not_be_filled_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["log.key", "log.vkey", "endpoint.policy", "treehead.toml"];
        let files = names.map(|name| NewFile::public(name, name));
        // Somebody else was quicker with this one.
        fs::write(dir.path().join("endpoint.policy"), "theirs").unwrap();
        assert!(matches!(fill(dir.path(), &files), Err(Failure::Usage(_))));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
        assert_eq!(left, ["endpoint.policy"]);
        assert_eq!(fs::read(dir.path().join("endpoint.policy")).unwrap(), b"theirs");
    }
}
