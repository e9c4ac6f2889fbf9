//! `treehead witness init`: makes a new witness.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::config::{KEY, ML_DSA_KEY, SETTINGS};
use crate::checkpoint::policy::is_reserved;
use crate::cli::exit::{CliResult, Failure};
use crate::cli::new_dir::{self, NewFile};
use crate::cli::values::{parse_listen, parse_name};
use crate::cli::{keygen, output, values};
use crate::feeder::settings::{URL, WitnessBlock, is_url};
use crate::format::{quote, toml_string};
use crate::note::{KeyName, NoteSigner, SignatureType};
use crate::witness::{JOURNAL, LOGS_FILE, Ledger, Logs};

/// Make a new witness in a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  treehead witness init mywitness --name witness.example.com/w1 --url https://witness.example.com

It writes treehead-witness.toml (settings), witness.key and witness.mldsa.key (secret, mode 600),
logs.policy (the logs that it knows), heads.journal (what it cosigned) and card.toml: what the
operator of a log adds to treehead.toml.")]
pub struct WitnessInit {
    /// Directory to make; it must be empty or not exist
    pub dir: PathBuf,
    /// Name of the witness for its whole life: its public address without https://
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub name: String,
    /// Where logs reach it [default: the address to listen on]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = super::config::DEFAULT_LISTEN, value_parser = parse_listen)]
    pub listen: String,
    /// Cosign with Ed25519 alone: no ML-DSA-44, no subtrees
    #[arg(long)]
    pub no_pq: bool,
}

/// Name of the file for the operators of logs.
pub const CARD: &str = "card.toml";

pub fn run(args: &WitnessInit, json: bool) -> CliResult {
    if args.url.is_none() && !values::is_reachable(&args.listen) {
        return Err(Failure::Usage(format!(
            "--url: expected the address where logs reach this witness, as in https://witness.example.com: nobody can connect to {}",
            args.listen
        )));
    }
    let url = args.url.clone().unwrap_or_else(|| format!("http://{}", args.listen));
    let vkeys = create(&args.dir, &args.name, &url, &args.listen, !args.no_pq)?;
    let (dir, card) = (args.dir.display(), args.dir.join(CARD));
    // An ML-DSA-44 key has 1,800 characters: too many to copy from a terminal.
    let keys: String = vkeys[..1].iter().map(|vkey| format!("public key  {vkey}\n")).collect();
    output::result(
        json,
        &json!({ "ok": true, "dir": dir.to_string(), "name": args.name, "vkeys": vkeys, "card": card.display().to_string() }),
        &format!(
            "made the witness {} in {dir}\n{keys}card        {} has all of it, for the operators of logs: they add it to their treehead.toml\n\n\
             Next:\n  treehead witness add-log {dir} LOG/log.vkey LOG/log.mldsa.vkey\n  \
             treehead witness {dir}\n",
            args.name,
            card.display()
        ),
    )
}

/// Makes a witness's directory whole or not at all, and returns its vkeys.
pub fn create(
    dir: &Path,
    name: &str,
    url: &str,
    listen: &str,
    post_quantum: bool,
) -> Result<Vec<String>, Failure> {
    let name = KeyName::new(name).map_err(|e| Failure::Usage(format!("--name: {e}")))?;
    if is_reserved(name.as_str()) {
        let expected = "a name that is no word of policy files";
        return Err(Failure::Usage(format!("--name: expected {expected}, saw {}", quote(name.as_str()))));
    }
    if !is_url(url) {
        return Err(Failure::Usage(format!("--url: expected {URL}, saw {}", quote(url))));
    }
    let mut kinds = vec![(KEY, SignatureType::CosignatureEd25519)];
    if post_quantum {
        kinds.push((ML_DSA_KEY, SignatureType::CosignatureMlDsa44));
    }
    let (mut files, mut vkeys) = (Vec::new(), Vec::new());
    for (file, kind) in kinds {
        let signer = NoteSigner::from_seed(name.clone(), kind, &*keygen::random_seed()?);
        files.push(NewFile::secret(file, signer.to_secret().as_str()));
        vkeys.push(signer.public().to_string());
    }
    let logs = format!("# Add a log with: treehead witness add-log DIR VKEY\n{}", Logs::default());
    files.push(NewFile::public(LOGS_FILE, logs));
    files.push(NewFile::public(JOURNAL, Ledger::empty_journal(&name)));
    files.push(NewFile::public(CARD, card(&name, url, &vkeys)));
    files.push(NewFile::public(SETTINGS, settings(&name, listen, post_quantum)));
    new_dir::make(dir, "a witness", &files)?;
    Ok(vkeys)
}

fn settings(name: &KeyName, listen: &str, post_quantum: bool) -> String {
    format!(
        "# Settings of this witness. Its name and its keys are for life.\n\
         name = {}\n\
         # Whether there is an ML-DSA-44 key, in {ML_DSA_KEY}.\n\
         post_quantum = {post_quantum}\n\
         # TLS is a reverse proxy's part.\n\
         listen = {}\n",
        toml_string(name.as_str()),
        toml_string(listen)
    )
}

fn card(name: &KeyName, url: &str, vkeys: &[String]) -> String {
    let block = WitnessBlock { name: name.to_string(), url: url.to_owned(), vkeys: vkeys.to_vec() };
    format!(
        "# The operator of a log adds this to treehead.toml, and gives the witness log.vkey.\n{}",
        block.to_toml()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::witness::config::Config;
    use crate::note::NoteKey;
    use crate::witness::Witness;

    #[test]
    fn what_is_made_opens_and_its_card_is_its_keys() {
        let place = tempfile::tempdir().unwrap();
        for (at, post_quantum) in [true, false].into_iter().enumerate() {
            let dir = place.path().join(at.to_string());
            let name = "witness.example/a\"quoted\"one";
            let vkeys = create(&dir, name, "http://127.0.0.1:9", "127.0.0.1:9", post_quantum).unwrap();
            let config = Config::load(&dir).unwrap();
            let witness = Witness::open(&dir, config.signers().unwrap()).unwrap();
            assert_eq!(witness.name().as_str(), name);
            let keys: Vec<NoteKey> = witness.keys().cloned().collect();
            let read: toml::Table = toml::from_str(&fs::read_to_string(dir.join(CARD)).unwrap()).unwrap();
            let card = &read["witness"][0];
            assert_eq!(card["name"].as_str(), Some(name));
            assert_eq!(card["url"].as_str(), Some("http://127.0.0.1:9"));
            let on_card: Vec<&str> =
                card["vkeys"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
            assert_eq!(on_card, vkeys);
            let parsed: Vec<NoteKey> = on_card.iter().map(|vkey| NoteKey::parse(vkey).unwrap()).collect();
            assert_eq!(parsed, keys);
            assert_eq!(keys.len(), if post_quantum { 2 } else { 1 });
            for secret in fs::read_dir(&dir).unwrap().map(|item| item.unwrap()) {
                if secret.file_name().to_string_lossy().ends_with(".key") {
                    let mode =
                        std::os::unix::fs::PermissionsExt::mode(&secret.metadata().unwrap().permissions());
                    assert_eq!(mode & 0o777, 0o600);
                }
            }
            assert!(create(&dir, name, "http://x", "127.0.0.1:9", true).is_err(), "it is there already");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_before_anything_is_made() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("w");
        for url in [
            "",
            "127.0.0.1:9001",
            "ftp://x",
            "http://",
            "http://a b",
            "http://a\n",
            "http://a/?x",
            "http://a:b@c/",
            "http:///a",
        ] {
            assert!(
                matches!(create(&dir, "w", url, "127.0.0.1:9", false), Err(Failure::Usage(_))),
                "{url:?}"
            );
        }
        for word in ["none", "any", "quorum"] {
            let made = create(&dir, word, "http://x", "127.0.0.1:9", false);
            assert!(matches!(made, Err(Failure::Usage(why)) if why.contains("--name: ")), "{word}");
        }
        assert!(matches!(create(&dir, "a name", "http://x", "127.0.0.1:9", false), Err(Failure::Usage(_))));
        assert!(!dir.exists());
    }
}
