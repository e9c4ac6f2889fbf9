//! `treehead init`: makes a new log.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::bucket::{BucketArgs, BucketSettings};
use super::config::{DEFAULT_LISTEN, MAX_CONFIG_BYTES};
use super::exit::{CliResult, Failure};
use super::keys::{ED25519, ML_DSA};
use super::new_dir::{self, NewFile};
use super::values::parse_name;
use super::{files, keygen, output, policy};
use crate::checkpoint::policy::Policy;
use crate::checkpoint::{Checkpoint, LogSigner};
use crate::clock;
use crate::feeder::settings::{WitnessBlock, parse_card, policy_of};
use crate::format::toml_string;
use crate::merkle::{Hash, TreeSize};
use crate::note::{KeyName, NoteKey, NoteSigner, SignatureType};
use crate::server::{PROFILE_FILE, Profile};
use crate::store::bucket::make;

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum ProfileArg {
    /// Signed release statements by registered publishers
    Release,
    /// Any bytes up to 65,535; nothing is checked
    Opaque,
}

/// Make a new log in a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  treehead init mylog --origin log.example.com/releases
  treehead serve mylog

It writes treehead.toml (settings), log.key and log.mldsa.key (secret, mode 600), log.vkey and
log.mldsa.vkey (public), endpoint.policy (what endpoints trust), publishers.toml (who may publish)
and checkpoint (the signed, empty tree).

With witnesses, whose operators gave you their cards:
  treehead init mylog --origin log.example.com/releases --quorum 2 \\
      --witness w1/card.toml --witness w2/card.toml --witness w3/card.toml")]
pub struct Init {
    /// Directory to make; it must be empty or not exist
    pub dir: PathBuf,
    /// Identity of the log for its whole life: its public address without https://
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub origin: String,
    /// What the log admits
    #[arg(long, value_enum, default_value = "release")]
    pub profile: ProfileArg,
    /// Sign with Ed25519 alone, not with the post-quantum ML-DSA-44 as well
    #[arg(long)]
    pub no_pq: bool,
    /// Card of a witness that has to be asked, as `treehead witness init` writes it; repeat for more
    #[arg(long = "witness", value_name = "CARD", requires = "quorum")]
    pub witnesses: Vec<PathBuf>,
    /// How many of the witnesses have to agree before a tree head is published
    #[arg(long, value_name = "K", requires = "witnesses")]
    pub quorum: Option<u64>,
    #[command(flatten)]
    pub bucket: BucketArgs,
}

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
    let witnesses = args.witnesses.iter().map(|card| read_card(card)).collect::<Result<_, _>>()?;
    let new = NewLog {
        origin: &args.origin,
        profile,
        post_quantum: !args.no_pq,
        witnesses,
        quorum: args.quorum,
        bucket: args.bucket.settings()?,
    };
    let keys = create(&args.dir, &new)?;
    let vkeys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let dir = args.dir.display();
    // The ML-DSA-44 key has 1,800 characters: too many to copy from a terminal.
    let second = keys.get(1).map_or_else(String::new, |key| {
        format!("            {}+{}, of ML-DSA-44, is in {dir}/{}\n", key.name(), key.id(), ML_DSA.public)
    });
    let next = match profile {
        Profile::Release => format!(
            "  treehead keygen publisher --name example-vendor --out publisher.pem\n  \
             treehead publisher add {dir} --name example-vendor --key publisher.pub --purl 'pkg:generic/example/*' --kind build\n"
        ),
        Profile::Opaque => String::new(),
    };
    let mut object = json!({
        "ok": true, "dir": dir.to_string(), "vkey": vkeys[0], "vkeys": vkeys, "profile": profile.as_str(),
    });
    output::warn_in(&mut object, new.policy()?.and_then(|policy| policy.split_warning()));
    output::result(
        json,
        &object,
        &format!(
            "made the log {} in {dir}\npublic key  {}\n{second}\nNext:\n{next}  treehead serve {dir}\n",
            args.origin, vkeys[0]
        ),
    )
}

/// Reads a witness's card.
pub fn read_card(path: &Path) -> Result<WitnessBlock, Failure> {
    files::parse(path, "a witness's card", MAX_CONFIG_BYTES, parse_card)
        .map_err(|e| e.and("`treehead witness init` writes a card"))
}

/// The settings of a log to be made.
pub struct NewLog<'a> {
    pub origin: &'a str,
    pub profile: Profile,
    /// Whether it signs with ML-DSA-44 too.
    pub post_quantum: bool,
    pub witnesses: Vec<WitnessBlock>,
    /// How many of the witnesses have to agree; required if there are any.
    pub quorum: Option<u64>,
    /// The bucket that the log is in, unless it is in its directory.
    pub bucket: Option<BucketSettings>,
}

impl NewLog<'_> {
    /// Makes keys from the operating system's randomness, Ed25519 first.
    fn keys(&self) -> Result<Vec<NoteSigner>, Failure> {
        let origin = KeyName::new(self.origin).map_err(|e| Failure::Usage(format!("--origin: {e}")))?;
        let key = |kind| keygen::random_seed().map(|seed| NoteSigner::from_seed(origin.clone(), kind, &seed));
        let mut keys = vec![key(SignatureType::Ed25519)?];
        if self.post_quantum {
            keys.push(key(SignatureType::CosignatureMlDsa44)?);
        }
        Ok(keys)
    }

    fn policy(&self) -> Result<Option<Policy>, Failure> {
        if let Some(witness) = self.witnesses.iter().find(|witness| witness.is_named(self.origin)) {
            return Err(Failure::Usage(format!(
                "--witness {}: expected a witness of another name than the log's own, --origin {}",
                witness.name, self.origin
            )));
        }
        let quorum = (!self.witnesses.is_empty()).then_some(self.quorum.unwrap_or_default());
        let policy = quorum.map(|quorum| policy_of(&self.witnesses, quorum)).transpose();
        policy.map_err(|fault| {
            let block = fault.block.and_then(|at| self.witnesses.get(at));
            let option = block.map_or("--quorum".to_owned(), |witness| format!("--witness {}", witness.name));
            Failure::Usage(format!("{option}: {}", fault.error))
        })
    }
}

/// Makes a log's directory whole or not at all, and returns the log's public keys.
pub fn create(dir: &Path, log: &NewLog<'_>) -> Result<Vec<NoteKey>, Failure> {
    let (keys, witnesses) = (log.keys()?, log.policy()?);
    let mut files = Vec::new();
    for (pair, key) in [ED25519, ML_DSA].iter().zip(&keys) {
        files.push(NewFile::secret(pair.secret, &key.to_secret()));
        files.push(NewFile::public(pair.public, format!("{}\n", key.public())));
    }
    let mut keys = keys.into_iter();
    let signer = LogSigner::new(keys.next().expect("an Ed25519 key"), keys.next());
    files.push(NewFile::public("endpoint.policy", policy::text(&signer.keys(), witnesses.as_ref(), false)));
    if log.profile == Profile::Release {
        files.push(NewFile::public("publishers.toml", PUBLISHERS));
    }
    files.push(NewFile::public(PROFILE_FILE, log.profile.to_file()));
    // The head of the empty tree: a log without a checkpoint has lost it.
    let empty = Checkpoint::new(signer.origin().clone(), TreeSize::ZERO, Hash::EMPTY_ROOT);
    let empty = signer.sign(&empty, clock::now()).to_string();
    let bucket = log.bucket.as_ref().map(BucketSettings::open).transpose()?;
    if bucket.is_none() {
        files.push(NewFile::public("checkpoint", &empty));
    }
    files.push(NewFile::public("treehead.toml", config(signer.origin(), log)));
    new_dir::make(dir, "a log", &files)?;
    if let Some(bucket) = bucket {
        // The keys are durable. A crash before this line leaves a directory without a log.
        let (origin, profile) = (signer.origin().as_str(), log.profile.as_str());
        make(bucket.as_ref(), origin, profile, empty.as_bytes(), !log.witnesses.is_empty())?;
    }
    Ok(signer.keys())
}

fn config(origin: &KeyName, log: &NewLog<'_>) -> String {
    let (store, bucket) = log.bucket.as_ref().map(BucketSettings::to_toml).unwrap_or_default();
    let mut text = format!(
        "# Settings of this log. Origin and profile are for life.\n\
         origin = {}\n\
         profile = \"{}\"\n\
         {store}\
         # TLS is a reverse proxy's part.\n\
         listen = \"{DEFAULT_LISTEN}\"\n\
         # The longest pause between two tree heads while entries wait for one.\n\
         publish_interval_ms = 100\n",
        toml_string(origin.as_str()),
        log.profile.as_str()
    );
    if let Some(quorum) = log.quorum.filter(|_| !log.witnesses.is_empty()) {
        text += &format!(
            "# A tree head is published when so many of the witnesses below have cosigned it. After a change:\n\
             #   treehead policy DIR --out DIR/endpoint.policy\n\
             quorum = {quorum}\n"
        );
        log.witnesses.iter().for_each(|witness| text += &format!("\n{}", witness.to_toml()));
    }
    text + &bucket
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_log_has_another_name_than_its_witnesses() {
        let place = tempfile::tempdir().unwrap();
        let witness = place.path().join("w");
        crate::cli::witness::init::create(
            &witness,
            "w.example.com",
            "http://127.0.0.1:9",
            "127.0.0.1:9",
            true,
        )
        .unwrap();
        let card = read_card(&witness.join("card.toml")).unwrap();
        for (origin, may) in [("w.example.com", false), ("log.example.com", true)] {
            let log = NewLog {
                origin,
                profile: Profile::Opaque,
                post_quantum: false,
                witnesses: vec![card.clone()],
                quorum: Some(1),
                bucket: None,
            };
            match create(&place.path().join(origin), &log) {
                Ok(_) => assert!(may, "{origin}"),
                Err(e) => assert!(!may && e.message().contains("another name than the log's own"), "{e:?}"),
            }
        }
    }

    #[test]
    fn a_log_is_made_in_a_directory_that_is_there_and_in_one_that_is_not() {
        let place = tempfile::tempdir().unwrap();
        let there = place.path().join("there");
        fs::create_dir(&there).unwrap();
        for dir in [there, place.path().join("a/new/one")] {
            let log = NewLog {
                origin: "log.example.com",
                profile: Profile::Release,
                post_quantum: true,
                witnesses: Vec::new(),
                quorum: None,
                bucket: None,
            };
            create(&dir, &log).unwrap();
            let mut names: Vec<_> =
                fs::read_dir(&dir).unwrap().map(|item| item.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(
                names,
                [
                    "checkpoint",
                    "endpoint.policy",
                    "log.key",
                    "log.mldsa.key",
                    "log.mldsa.vkey",
                    "log.vkey",
                    "profile",
                    "publishers.toml",
                    "treehead.toml"
                ]
            );
            for secret in ["log.key", "log.mldsa.key"] {
                let mode = fs::metadata(dir.join(secret)).unwrap().permissions();
                assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "{secret}");
            }
        }
        let hidden = fs::read_dir(place.path())
            .unwrap()
            .filter(|item| item.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0, "nothing half-done stays behind");
    }
}
