//! `treehead rebuild-check`: compares an artifact with a rebuilt one, and summarizes the result for `treehead attest`.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Map, Value, json};

use super::attest::document::name_by_digest;
use super::exit::{self, CliResult, Exit, Failure};
use super::files::{self, OutFile, Replacement};
use super::output::{self, GREEN};
use crate::clock::now;
use crate::format::{quote, shown};
use crate::merkle::Hash;
use crate::rebuild::{
    About, AllowList, Around, Comparison, Difference, MAX_ALLOW_BYTES, POLICY_IDENTICAL, RebuildError, Seen,
    Tally, compare,
};
use crate::release::{Resource, Statement, StatementKind};

/// Most files to print for people.
const LISTED: usize = 10;
const ADVICE: &str = "`diffoscope ARTIFACT REBUILT` shows what the bytes mean. If a difference is meant to be there, --allow takes a list of such.";

/// Compare an artifact with one that was rebuilt from source, bit by bit
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  treehead rebuild-check scanner-4.2.0.tar.gz rebuilt/scanner-4.2.0.tar.gz
  treehead rebuild-check scanner.exe rebuilt/scanner.exe --allow scanner.allow.toml \\
      --verifier https://rebuilder.example.com --resource pkg:generic/example/scanner@4.2.0 \\
      --summary scanner.summary.json
  treehead attest scanner.exe --type verification-summary --predicate scanner.summary.json \\
      --log http://127.0.0.1:8080 --key rebuilder.pem

The third signs what the second found, and appends it to a log: also that they differ. Of two
folders, the names and contents of all files are compared. docs/rebuilds.md says what a list of
allowed differences has.")]
pub struct RebuildCheck {
    /// The artifact that was released: a file or a folder
    pub artifact: PathBuf,
    /// The one that was rebuilt
    pub rebuilt: PathBuf,
    /// List of differences that are allowed, in TOML, each with its reason
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Write the result to this file, as the predicate of a SLSA verification summary
    #[arg(long, value_name = "OUT.json", requires_all = ["verifier", "resource"])]
    pub summary: Option<PathBuf>,
    /// With --summary: URI of whoever rebuilt it
    #[arg(long, value_name = "URI", requires = "summary", value_parser = NonEmptyStringValueParser::new())]
    pub verifier: Option<String>,
    /// With --summary: URI of what was rebuilt, such as its package and version
    #[arg(long, value_name = "URI", requires = "summary", value_parser = NonEmptyStringValueParser::new())]
    pub resource: Option<String>,
    /// With --summary: URI of the list of allowed differences [default: `ni:///sha-256;...`, which names it by its
    /// digest; without a list `urn:treehead:rebuild:identical:v1`]
    #[arg(long, value_name = "URI", requires = "summary", value_parser = NonEmptyStringValueParser::new())]
    pub policy: Option<String>,
}

pub fn run(args: &RebuildCheck, json: bool) -> CliResult {
    let allow = match &args.allow {
        Some(path) => files::parse(path, "a list of allowed differences", MAX_ALLOW_BYTES, AllowList::parse)?,
        None => AllowList::default(),
    };
    // A path that can't be written shows before gigabytes are read.
    let out = args.summary.as_deref().map(|path| files::prepare_out(path, OutFile::Summary)).transpose()?;
    if out.is_some() {
        check_names(args)?;
    }
    let compared = output::with_progress("comparing", "bytes", |progress| {
        compare(&args.artifact, &args.rebuilt, &allow, progress).map_err(|e| match (&args.allow, e) {
            (Some(list), e @ (RebuildError::Rule { .. } | RebuildError::NothingCompared)) => {
                Failure::Usage(format!("{}: {e}", list.display()))
            }
            (_, e) => e.into(),
        })
    })?;
    let written = out.map(|out| summarize(args, &allow, &compared, out)).transpose()?;
    let mut object = object(&compared, &allow);
    if let Some(path) = &written {
        object.insert("summary".to_owned(), path.as_str().into());
    }
    if compared.matches() {
        object.insert("ok".to_owned(), true.into());
        let written = written.map(|path| format!("summary  {path}\n")).unwrap_or_default();
        return output::result(json, &Value::Object(object), &(lines(args, &compared, &allow) + &written));
    }
    let failure = Failure::refused("rebuild-differs", differences(args, &compared), ADVICE);
    exit::tell(&failure, json, object);
    if let (Some(path), false) = (written, json) {
        output::say(&format!("summary  {path}"));
    }
    Err(Failure::Told(Exit::Refused))
}

/// Checks the URIs as the log will, before gigabytes are read.
fn check_names(args: &RebuildCheck) -> CliResult {
    let none = Tally { sha256: Hash::EMPTY_ROOT, bytes: 0, files: None };
    let nothing = Comparison {
        artifact: none.clone(),
        rebuilt: none,
        differences: Vec::new(),
        allowed: Vec::new(),
        unused: Vec::new(),
    };
    let digests = vec![("sha256".to_owned(), Hash::EMPTY_ROOT.to_hex())];
    let subject = Resource { name: Some("artifact".to_owned()), uri: None, digests };
    let predicate = predicate(args, &AllowList::default(), &nothing).to_string();
    let of = super::attest::predicate_type(&StatementKind::VerificationSummary, &Value::Null);
    let payload = Statement::attestation(&of, predicate.as_bytes(), &[subject]);
    let parsed = payload.and_then(|payload| Statement::parse(&payload));
    parsed.map(drop).map_err(|e| Failure::Usage(format!("--verifier, --resource or --policy: {e}")))
}

fn predicate(args: &RebuildCheck, allow: &AllowList, compared: &Comparison) -> Value {
    let policy = args.policy.clone().unwrap_or_else(|| match &args.allow {
        Some(_) => name_by_digest(allow.sha256()),
        None => POLICY_IDENTICAL.to_owned(),
    });
    let [verifier, resource] =
        [&args.verifier, &args.resource].map(|text| text.as_deref().expect("clap requires it"));
    compared.predicate(allow, &About { verifier, resource, policy: &policy, time: now() })
}

fn summarize(
    args: &RebuildCheck,
    allow: &AllowList,
    compared: &Comparison,
    out: Replacement,
) -> Result<String, Failure> {
    let predicate = predicate(args, allow, compared);
    let text = serde_json::to_string_pretty(&predicate).expect("JSON") + "\n";
    let path = out.path().display().to_string();
    out.finish(text.as_bytes())?;
    Ok(path)
}

/// The result for people, if they match.
fn lines(args: &RebuildCheck, compared: &Comparison, allow: &AllowList) -> String {
    let (artifact, rebuilt) = (args.artifact.display(), args.rebuilt.display());
    let Tally { sha256, bytes, files } = &compared.artifact;
    let size = plural(*bytes, "byte", "bytes");
    let of =
        files.map_or_else(|| size.clone(), |files| format!("{}, {size}", plural(files, "file", "files")));
    let mut lines = if compared.is_identical() {
        format!("{GREEN}identical{GREEN:#}  {artifact} and {rebuilt}, {of}\n")
    } else {
        let allowed = plural(compared.allowed_bytes(), "byte", "bytes");
        format!(
            "{GREEN}matches{GREEN:#}  {artifact} and {rebuilt}, {of}, of which the list allows {allowed} to differ\n"
        )
    };
    lines += &format!("sha256   {}\n", sha256.to_hex());
    for allowed in &compared.allowed {
        let file = allowed.file.as_ref().map(|file| format!(" of {file}")).unwrap_or_default();
        let (rule, reason) = (allowed.rule + 1, &allowed.reason);
        let bytes = plural(allowed.bytes, "byte", "bytes");
        lines += &format!("allowed  by rule {rule}, {bytes}{file}: {reason}\n");
    }
    for rule in &compared.unused {
        lines += &format!("not needed  rule {}: {}\n", rule + 1, allow.rules()[*rule].reason);
    }
    lines
}

/// The differences for people.
fn differences(args: &RebuildCheck, compared: &Comparison) -> String {
    let first = compared.differences.first().map(in_words).unwrap_or_default();
    let (artifact, rebuilt) = (args.artifact.display(), args.rebuilt.display());
    let (Some(files), [_, others @ ..]) = (compared.artifact.files, compared.differences.as_slice()) else {
        return format!("{rebuilt} is not {artifact}: {first}");
    };
    let name = |difference: &Difference| difference.file.clone().unwrap_or_default();
    let mut more: Vec<String> = others.iter().take(LISTED).map(name).collect();
    if others.len() > LISTED {
        more.push(format!("and {} more, which --json lists", others.len() - LISTED));
    }
    let more = if more.is_empty() { String::new() } else { format!("; also {}", more.join(", ")) };
    let count = plural(compared.differences.len() as u64, "file differs", "files differ");
    format!(
        "{rebuilt} is not {artifact}, which has {}: {count}; {first}{more}",
        plural(files, "file", "files")
    )
}

/// A difference in a sentence.
fn in_words(difference: &Difference) -> String {
    let file = difference.file.as_ref().map(|file| quote(file));
    match &difference.seen {
        Seen::OnlyIn(side) => format!("{} is in the {side} alone", file.unwrap_or_default()),
        Seen::Content { bytes, places, first, artifact, rebuilt } => {
            let what = file.map(|file| format!("{file} differs ")).unwrap_or_default();
            let shifted = if first.artifact == first.rebuilt {
                String::new()
            } else {
                format!(" ({} of the rebuilt one)", first.rebuilt)
            };
            let bytes = plural(*bytes, "byte differs", "bytes differ");
            let places = plural(*places, "place", "places");
            format!(
                "{what}first at offset {}{shifted}, expected {}, saw {}; {bytes}, in {places}",
                first.artifact,
                around(artifact),
                around(rebuilt)
            )
        }
    }
}

fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Bytes in hexadecimal, with brackets around the one at the place.
fn around(bytes: &Around) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    let at = bytes.at.map_or_else(|| "[end]".to_owned(), |at| format!("[{at:02x}]"));
    [hex(&bytes.before), vec![at], hex(&bytes.after)].concat().join(" ")
}

/// The result for machines.
fn object(compared: &Comparison, allow: &AllowList) -> Map<String, Value> {
    let tally = |tally: &Tally| {
        let mut object = json!({ "sha256": tally.sha256.to_hex(), "bytes": tally.bytes });
        if let Some(files) = tally.files {
            object["files"] = files.into();
        }
        object
    };
    let bytes = |around: &Around| {
        let at = around.at.map(|at| hex::encode([at]));
        json!({ "before": hex::encode(&around.before), "at": at, "after": hex::encode(&around.after) })
    };
    let difference = |difference: &Difference| {
        let mut object = match &difference.seen {
            Seen::OnlyIn(side) => json!({ "only_in": side.as_str() }),
            Seen::Content { bytes: count, places, first, artifact, rebuilt } => json!({
                "bytes": count, "places": places, "offset": first.artifact, "rebuilt_offset": first.rebuilt,
                "expected": bytes(artifact), "seen": bytes(rebuilt),
            }),
        };
        if let Some(file) = &difference.file {
            object["file"] = shown(file).into();
        }
        object
    };
    let allowed = compared.allowed.iter().map(|allowed| {
        json!({
            "rule": allowed.rule + 1, "reason": allowed.reason, "file": allowed.file, "bytes": allowed.bytes,
        })
    });
    let members = [
        ("identical", compared.is_identical().into()),
        ("artifact", tally(&compared.artifact)),
        ("rebuilt", tally(&compared.rebuilt)),
        ("allow_sha256", (!allow.rules().is_empty()).then(|| allow.sha256().to_hex()).into()),
        ("allowed", allowed.collect()),
        ("not_needed", compared.unused.iter().map(|rule| rule + 1).collect()),
        ("differences", compared.differences.iter().map(difference).collect()),
    ];
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

impl From<RebuildError> for Failure {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Folder(error) => error.into(),
            RebuildError::Artifact(error) => error.into(),
            other => Self::Usage(other.to_string()),
        }
    }
}
