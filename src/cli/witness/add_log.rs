//! `treehead witness add-log`: lets a witness cosign for a log.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::config::Config;
use crate::checkpoint::{LogKey, Origin, SignsFor};
use crate::cli::exit::{CliResult, Failure};
use crate::cli::{files, output};
use crate::format::quote;
use crate::note::NoteKey;
use crate::witness::{AppendError, LOGS_FILE, Logs, MAX_LOGS_BYTES};

/// Let a witness cosign for a log; a running one takes it up within a second
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treehead witness add-log mywitness log.vkey log.mldsa.vkey
  treehead witness add-log mywitness log.example.com/releases+1a2b3c4d+AdfG...
  treehead witness add-log mywitness sum.golang.org+033de0ae+Ac4z... --origin 'go.sum database tree'

It cosigns checkpoints that begin with the log's origin and that one of its keys signed.
Run again, it adds what is new.")]
pub struct WitnessAddLog {
    /// Directory of the witness
    pub dir: PathBuf,
    /// Public keys of the log: as text, or files with one a line
    #[arg(value_name = "VKEY", required = true)]
    pub vkeys: Vec<String>,
    /// First line of the log's checkpoints [default: the name of its key]
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
}

/// Largest file of vkeys.
const MAX_VKEYS_BYTES: usize = 64 * 1024;

pub fn run(args: &WitnessAddLog, json: bool) -> CliResult {
    let config = Config::load(&args.dir)?;
    let origin = args.origin.as_deref().map(Origin::new).transpose();
    let origin = origin.map_err(|e| Failure::Usage(format!("--origin: {e}")))?;
    let mut keys = Vec::new();
    for vkey in &args.vkeys {
        let of_log = |key: NoteKey| match &origin {
            Some(origin) => LogKey::new(origin.clone(), key),
            None => key.into(),
        };
        keys.extend(read_keys(vkey)?.into_iter().map(of_log));
    }
    let added = add(&config, &keys)?;
    let mut origins: Vec<&str> = keys.iter().map(SignsFor::origin).collect();
    origins.dedup();
    // Names the origin of the checkpoints, not the log: nobody has asked the log whether it writes this origin.
    let shown = origins.iter().map(|origin| quote(origin)).collect::<Vec<_>>().join(", ");
    output::result(
        json,
        &json!({ "ok": true, "logs": origins, "added": added }),
        &format!("{} cosigns checkpoints of origin {shown} ({} new)\n", config.name, keys_in_words(added)),
    )
}

/// Adds keys of logs to those that a witness knows, and returns the number of new ones.
pub fn add(config: &Config, keys: &[LogKey]) -> Result<usize, Failure> {
    // Two concurrent commands would each lose the other's log.
    let _lock = files::lock(&config.dir.join("logs.lock"))?;
    let path = config.dir.join(LOGS_FILE);
    let old = files::read(&path, "a list of logs", MAX_LOGS_BYTES)?;
    let (new, added) = Logs::append_to(&old, &config.name, keys).map_err(|e| match e {
        AppendError::File(e) => Failure::file(&path, &e),
        e => Failure::Usage(e.to_string()),
    })?;
    if added > 0 {
        files::replace(&path, &new)?;
    }
    Ok(added)
}

fn keys_in_words(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}

/// Parses a vkey, or reads those in the file that the argument names.
fn read_keys(argument: &str) -> Result<Vec<NoteKey>, Failure> {
    let path = Path::new(argument);
    if path.exists() {
        return files::parse(path, "a file of verifier keys", MAX_VKEYS_BYTES, NoteKey::parse_lines);
    }
    let key = NoteKey::parse(argument)
        .map_err(|e| Failure::Usage(format!("{argument} is neither a file nor a verifier key: {e}")))?;
    Ok(vec![key])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::init::create;
    use super::*;
    use crate::note::{KeyName, NoteSigner, SignatureType};

    fn vkey(name: &str, kind: SignatureType) -> String {
        NoteSigner::from_seed(KeyName::new(name).unwrap(), kind, &[3; 32]).public().to_string()
    }

    #[test]
    fn logs_are_added_once_and_comments_stay() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("w");
        create(&dir, "witness.example/w", "http://x", "127.0.0.1:9", false).unwrap();
        let path = dir.join(LOGS_FILE);
        let text = fs::read_to_string(&path).unwrap() + "# mine\n";
        fs::write(&path, &text).unwrap();
        let (log, ml_dsa) = (
            vkey("log.example", SignatureType::Ed25519),
            vkey("log.example", SignatureType::CosignatureMlDsa44),
        );
        let file = place.path().join("log.vkey");
        fs::write(&file, format!("\n{log}\n \r\n{ml_dsa}\n\n")).unwrap();
        let add = |vkeys: &[&str]| {
            let vkeys = vkeys.iter().map(ToString::to_string).collect();
            run(&WitnessAddLog { dir: dir.clone(), vkeys, origin: None }, true)
        };
        add(&[file.to_str().unwrap()]).unwrap();
        let expected = format!("{text}log {log}\nlog {ml_dsa}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        add(&[&log, file.to_str().unwrap()]).unwrap();
        let empty = place.path().join("empty.vkey");
        for nothing in ["", "\n \n"] {
            fs::write(&empty, nothing).unwrap();
            let refused = add(&[empty.to_str().unwrap()]);
            assert!(
                matches!(&refused, Err(Failure::Usage(why)) if why.contains("at least one verifier key, one a line")),
                "{refused:?}"
            );
        }
        let own = vkey("witness.example/w", SignatureType::Ed25519);
        let witness = vkey("witness.example/v", SignatureType::CosignatureEd25519);
        for bad in [own.as_str(), &witness, "nothing", &log[..20]] {
            assert!(matches!(add(&[bad]), Err(Failure::Usage(_))), "{bad}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_log_whose_origin_is_not_the_name_of_its_key_is_added_as_what_it_is() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("w");
        create(&dir, "witness.example/w", "http://x", "127.0.0.1:9", false).unwrap();
        let key = vkey("sum.example", SignatureType::Ed25519);
        let add = |origin: Option<&str>| {
            let (vkeys, origin) = (vec![key.clone()], origin.map(ToOwned::to_owned));
            run(&WitnessAddLog { dir: dir.clone(), vkeys, origin }, true)
        };
        for bad in ["", "two\nlines", "witness.example/w", &"x".repeat(256)] {
            assert!(matches!(add(Some(bad)), Err(Failure::Usage(_))), "{bad:?}");
        }
        add(Some("go.sum database tree")).unwrap();
        add(Some("go.sum database tree")).unwrap();
        let text = fs::read_to_string(dir.join(LOGS_FILE)).unwrap();
        let lines = format!("log {key}\norigin go.sum database tree\n");
        assert!(text.ends_with(&lines) && text.matches("origin").count() == 1, "{text}");
        // It is another log under its key's name.
        assert!(matches!(add(None), Err(Failure::Usage(why)) if why.contains("go.sum database tree")));
        assert_eq!(fs::read_to_string(dir.join(LOGS_FILE)).unwrap(), text);
    }
}
