//! `treehead init`

use std::path::Path;

use serde_json::json;

use super::args::{Init, ProfileArg};
use super::config::DEFAULT_LISTEN;
use super::exit::{CliResult, Failure};
use super::new_dir::{self, NewFile};
use super::{keygen, output};
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
    let signer = NoteSigner::from_seed(origin, SignatureType::Ed25519, &*keygen::random_seed()?);
    let vkey = signer.public().to_string();
    // The head of the empty tree, so that a log without a checkpoint is known to have lost it.
    let empty = Checkpoint::new(signer.public().name().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    let mut files = vec![
        NewFile::secret("log.key", signer.to_secret().as_str()),
        NewFile::public("log.vkey", &format!("{vkey}\n")),
        NewFile::public("endpoint.policy", &policy(&vkey)),
        NewFile::public("checkpoint", &empty.sign(&signer).to_string()),
    ];
    if profile == Profile::Release {
        files.push(NewFile::public("publishers.toml", PUBLISHERS));
    }
    files.push(NewFile::public("treehead.toml", &config(signer.public().name(), profile)));
    new_dir::make(dir, "a log", &files)?;
    Ok(vkey)
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
    use std::fs;

    use super::*;

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
