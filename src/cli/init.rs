//! `treehead init`

use std::fs;
use std::path::Path;

use serde_json::json;

use super::args::{Init, ProfileArg};
use super::config::DEFAULT_LISTEN;
use super::exit::{CliResult, Failure};
use super::{files, keygen, output};
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
    // Temporary directories are private; a log's is as the system's umask would have made it.
    fs::set_permissions(new.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(io)?;
    if dir.exists() {
        // Perhaps a mount point, which can't be replaced. Without its treehead.toml it is no log yet.
        for name in ["log.key", "log.vkey", "publishers.toml", "endpoint.policy", "treehead.toml"] {
            if new.path().join(name).exists() {
                let secret = if name == "log.key" { 0o600 } else { 0o644 };
                let text = files::read(&new.path().join(name), "a new file", 64 * 1024)?;
                files::create_new(&dir.join(name), &text, secret)?;
            }
        }
    } else {
        // A crash before this line leaves only the hidden directory.
        fs::rename(new.path(), dir).map_err(io)?;
        let _ = new.keep();
    }
    fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(io)?;
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
