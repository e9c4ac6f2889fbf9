//! Small file systems for single tests, if this user may mount them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use treehead::store::Layout;

/// A directory in memory if possible, where tests with thousands of fsyncs are fast.
pub fn quick_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let prefix = tempfile::Builder::new().prefix("treehead-test-").to_owned();
    let in_memory = if memory.is_dir() { prefix.tempdir_in(memory).ok() } else { None };
    in_memory.unwrap_or_else(|| TempDir::new().expect("a directory"))
}

/// Runs a system program.
///
/// # Errors
/// Its output, if it fails.
pub fn system(program: &str, arguments: &[&str]) -> Result<(), String> {
    let sbin = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let run = Command::new(program).args(arguments).env("PATH", sbin).env("LC_ALL", "C").output();
    let output = run.map_err(|e| format!("{program}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {arguments:?}: {}", said.trim())) }
}

/// A mounted file system. Dropping it unmounts it, however the test ends.
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// # Errors
    /// The system's error.
    pub fn new(options: &[&str], what: &Path, at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|e| e.to_string())?;
        let (what, place) = (what.display().to_string(), at.display().to_string());
        system("mount", &[options, &[&what, &place]].concat())?;
        Ok(Self { at: at.to_owned() })
    }

    /// Mounts a file system in memory.
    ///
    /// # Errors
    /// The system's error.
    pub fn tmpfs(size: &str, at: &Path) -> Result<Self, String> {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={size}")], Path::new("tmpfs"), at)
    }

    /// Mounts the ext4 file system of an image. The loop device disappears with the mount.
    ///
    /// # Errors
    /// The system's error.
    pub fn image(image: &Path, at: &Path, options: &str) -> Result<Self, String> {
        Self::new(&["-t", "ext4", "-o", &format!("loop,{options}")], image, at)
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Remounts with another option, such as the size.
    ///
    /// # Errors
    /// The system's error.
    pub fn remount(&self, options: &str) -> Result<(), String> {
        system("mount", &["-o", &format!("remount,{options}"), &self.at.display().to_string()])
    }

    /// Name of its block device, such as `loop3`.
    pub fn device(&self) -> Option<String> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let at = self.at.display().to_string();
        let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(&at))?;
        line.split(' ').next()?.strip_prefix("/dev/").map(ToOwned::to_owned)
    }

    /// Unmounts it as soon as it is unused.
    ///
    /// # Errors
    /// If it stays in use for too long.
    pub fn unmount(self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match system("umount", &[&self.at.display().to_string()]) {
                Err(e) if e.contains("busy") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                done => {
                    std::mem::forget(self);
                    return done;
                }
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a failed test may have open files in it.
        let _ = system("umount", &["-l", &self.at.display().to_string()]);
    }
}

/// Makes an image with a small, empty ext4 file system.
///
/// # Errors
/// The system's error.
pub fn ext4_image(image: &Path, mebibytes: u64, features: &[&str]) -> Result<(), String> {
    fs::File::create(image).and_then(|file| file.set_len(mebibytes << 20)).map_err(|e| e.to_string())?;
    let image = image.display().to_string();
    system("mkfs.ext4", &[&["-q", "-F", "-m", "0"], features, &[&image]].concat())
}

/// The boot ID of a machine after a restart.
const OTHER_BOOT: &str = "00000000-0000-4000-8000-000000000000";

/// Changes sled's mark as if it had been written before the last boot.
pub fn reboot(dir: &Path) {
    let mark = Layout::new(dir).sled_mark();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if fs::read_to_string(&mark).is_ok_and(|mark| mark == boot.trim()) {
        fs::write(mark, OTHER_BOOT).unwrap();
    }
}

/// Makes the file system that a test needs, or ignores the test.
///
/// # Errors
/// If it cannot be made, and `TREEHEAD_REQUIRE_LOOP` is 1.
#[macro_export]
macro_rules! mounted_or_ignored {
    ($mounted:expr) => {
        match $mounted {
            Ok(mounted) => mounted,
            Err(why) => {
                let why = format!("no file system can be mounted here: {why}");
                return $crate::common::needs::ignored(&why, "TREEHEAD_REQUIRE_LOOP");
            }
        }
    };
}
