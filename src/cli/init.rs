//! `treehead init`

use std::fs;
use std::path::Path;

use serde_json::json;
use zeroize::Zeroizing;

use super::args::{Init, ProfileArg};
use super::config::DEFAULT_LISTEN;
use super::exit::{CliResult, Failure};
use super::{files, keygen, output};
use crate::checkpoint::Checkpoint;
use crate::merkle::{Hash, TreeSize};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::server::Profile;

const PUBLISHERS: &str = "\
# Who may publish to this log. Add one with:
#   treehead publisher add DIR --name NAME --key PUBLIC.pem --purl 'pkg:generic/example/*' --kind build
# A running log reads this file again when it changes.
";

pub fn run(args: &Init, json: bool) -> CliResult {
    let profile = match args.profile {
        ProfileArg::Release => Profile::Release,
        ProfileArg::Opaque => Profile::Opaque,
    };
    let vkey = create(&args.dir, &args.origin, profile)?;
    let dir = args.dir.display();
    let next = match profile {
        Profile::Release => format!(
            "  treehead keygen publisher --name example-vendor --out publisher.pem\n  \
             treehead publisher add {dir} --name example-vendor --key publisher.pub --purl 'pkg:generic/example/*' --kind build\n"
        ),
        Profile::Opaque => String::new(),
    };
    output::result(
        json,
        &json!({ "ok": true, "dir": dir.to_string(), "vkey": vkey, "profile": profile.as_str() }),
        &format!(
            "made the log {} in {dir}\npublic key  {vkey}\n\nNext:\n{next}  treehead serve {dir}\n",
            args.origin
        ),
    )
}

/// Makes a log's directory whole or not at all, and returns the log's vkey.
pub fn create(dir: &Path, origin: &str, profile: Profile) -> Result<String, Failure> {
    let origin = KeyName::new(origin).map_err(|e| Failure::Usage(format!("--origin: {e}")))?;
    let io = |e: std::io::Error| Failure::io("create", dir, &e);
    let occupied = dir.exists() && fs::read_dir(dir).map_err(io)?.next().is_some();
    if occupied {
        return Err(Failure::Usage(format!(
            "{} is not empty: a log needs a directory of its own; choose another",
            dir.display()
        )));
    }
    let parent =
        dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).map_err(|e| Failure::io("create", parent, &e))?;
    let new = tempfile::Builder::new().prefix(".treehead-init-").tempdir_in(parent).map_err(io)?;
    let signer = NoteSigner::from_seed(origin, SignatureType::Ed25519, &*keygen::random_seed()?);
    let vkey = signer.public().to_string();
    let file =
        |name: &str, text: &str, mode| files::create_new(&new.path().join(name), text.as_bytes(), mode);
    file("log.key", &format!("{}\n", *signer.to_secret()), 0o600)?;
    file("log.vkey", &format!("{vkey}\n"), 0o644)?;
    file("treehead.toml", &config(signer.public().name(), profile), 0o644)?;
    file("endpoint.policy", &policy(&vkey), 0o644)?;
    if profile == Profile::Release {
        file("publishers.toml", PUBLISHERS, 0o644)?;
    }
    // The head of the empty tree, so that a log without a checkpoint is known to have lost it.
    let empty = Checkpoint::new(signer.public().name().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    file("checkpoint", &empty.sign(&signer).to_string(), 0o644)?;
    // Temporary directories are private; a log's is as the system's umask would have made it.
    fs::set_permissions(new.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(io)?;
    if dir.exists() {
        fill(dir, new.path())?;
    } else {
        // A crash before this line leaves only the hidden directory.
        fs::rename(new.path(), dir).map_err(io)?;
        let _ = new.keep();
    }
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io)?;
    Ok(vkey)
}

/// Fills a directory that is there and empty: perhaps a mount point, which can't be replaced, or one
/// with an owner of its own. `treehead.toml` comes last: without it, it is no log.
fn fill(dir: &Path, new: &Path) -> CliResult {
    let mut made = Vec::new();
    for name in ["log.key", "log.vkey", "publishers.toml", "endpoint.policy", "checkpoint", "treehead.toml"] {
        let (from, to) = (new.join(name), dir.join(name));
        if !from.exists() {
            continue;
        }
        let mode = if name == "log.key" { 0o600 } else { 0o644 };
        let bytes = Zeroizing::new(files::read(&from, "a new file", 64 * 1024)?);
        if let Err(e) = files::create_new(&to, &bytes, mode) {
            // Half a log would stand in the way of the next try.
            made.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(e);
        }
        made.push(to);
    }
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Failure::io("fsync", dir, &e))
}

fn config(origin: &KeyName, profile: Profile) -> String {
    format!(
        "# Settings of this log. Origin and profile are for life.\n\
         origin = \"{origin}\"\n\
         profile = \"{}\"\n\
         # TLS is a reverse proxy's part.\n\
         listen = \"{DEFAULT_LISTEN}\"\n\
         # Under load, a tree head is signed at most this often.\n\
         publish_interval_ms = 100\n",
        profile.as_str()
    )
}

fn policy(vkey: &str) -> String {
    format!(
        "# What endpoints trust: https://c2sp.org/tlog-policy. Ship it with your product.\n\
         log {vkey}\n\
         # No witnesses yet: the log alone is believed. With witnesses, a quorum of them has to agree.\n\
         quorum none\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_can_not_be_filled_is_left_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let (new, dir) = (place.path().join("new"), place.path().join("dir"));
        for path in [&new, &dir] {
            fs::create_dir(path).unwrap();
        }
        for name in ["log.key", "log.vkey", "endpoint.policy", "treehead.toml"] {
            fs::write(new.join(name), name).unwrap();
        }
        // Somebody else was quicker with this one.
        fs::write(dir.join("endpoint.policy"), "theirs").unwrap();
        assert!(matches!(fill(&dir, &new), Err(Failure::Usage(_))));
        let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|item| item.unwrap().file_name()).collect();
        assert_eq!(left, ["endpoint.policy"]);
        assert_eq!(fs::read(dir.join("endpoint.policy")).unwrap(), b"theirs");
    }

    #[test]
    fn a_log_is_made_in_a_directory_that_is_there_and_in_one_that_is_not() {
        let place = tempfile::tempdir().unwrap();
        let there = place.path().join("there");
        fs::create_dir(&there).unwrap();
        for dir in [there, place.path().join("a/new/one")] {
            create(&dir, "log.example.com", Profile::Release).unwrap();
            let mut names: Vec<_> =
                fs::read_dir(&dir).unwrap().map(|item| item.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(
                names,
                ["checkpoint", "endpoint.policy", "log.key", "log.vkey", "publishers.toml", "treehead.toml"]
            );
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &fs::metadata(dir.join("log.key")).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o600);
        }
        let hidden = fs::read_dir(place.path())
            .unwrap()
            .filter(|item| item.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0, "nothing half-done stays behind");
    }
}
