//! `treehead gate`: decides for installers.

pub mod args;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use args::Gate as Args;

use super::batch::{Answer, Line, answer_all};
use super::exit::{self, CliResult, Failure};
use super::output::{self, GREEN};
use super::trusting::learn_online;
use super::verify::failure::{Places, failure, tell};
use super::verify::folder::{differs, malformed};
use super::verify::{add_stated, verified};
use crate::disk::evidence_dir::EvidenceDir;
use crate::endpoint::{Arrival, Arrived, BatchLine, Gate, GateSettings, NoProof, Ruled, Ruling, Stop};

pub fn run(args: &Args, json: bool) -> CliResult {
    let gate = open(&args.config)?;
    let settings = gate.settings();
    let places = Arc::new(Places {
        policy: settings.trust.as_ref().unwrap_or(&settings.policy).display().to_string(),
        evidence: EvidenceDir::new(settings.state.join("evidence")),
    });
    let known = Arc::clone(&places);
    let gate = gate.on_notice(move |notice| tell(notice, &known));
    if args.batch {
        return answer_all(|group| answer(group, &gate, &places, json));
    }
    let arrivals = arrivals(args)?;
    let mut failures = Vec::new();
    for (arrival, ruled) in arrivals.iter().zip(gate.judge(&arrivals)) {
        let (Told { object, words, warning }, failure) = told(arrival, ruled, &places);
        if json || warning.is_none() && failure.is_none() {
            output::result(json, &object, &words)?;
        } else {
            warning.iter().for_each(|warning| output::warn(warning));
            failure.iter().for_each(say);
        }
        failures.extend(failure);
    }
    Failure::worst(failures.iter())
}

/// Opens the gate. One that is online learns newer trust files first.
fn open(config: &Path) -> Result<Gate, Failure> {
    let gate = Gate::open(config)?;
    let GateSettings { trust, state, online, log, .. } = gate.settings();
    match trust {
        Some(trust) if *online => {
            let news = learn_online(trust, state, log.as_deref(), &[])?;
            if news.trusted.number() > news.before { Ok(Gate::open(config)?) } else { Ok(gate) }
        }
        _ => Ok(gate),
    }
}

/// The artifacts of the command line.
fn arrivals<'a>(args: &'a Args) -> Result<Vec<Arrival<'a>>, Failure> {
    let of = |artifact| Arrival {
        artifact,
        name: args.name.as_deref(),
        proof: args.proof.as_deref(),
        package: args.package.as_deref(),
        version: args.package_version.as_deref(),
        arch: args.arch.as_deref(),
    };
    let facts = [&args.name, &args.package, &args.package_version, &args.arch];
    let files = [&args.proof, &args.manifest, &args.files_proof];
    let is_of_one = args.sha256.is_some()
        || files.iter().any(|file| file.is_some())
        || facts.iter().any(|fact| fact.is_some());
    if is_of_one && args.files.len() > 1 {
        return Err(Failure::Usage(format!(
            "--sha256, --name, --proof, --manifest, --files-proof, --package, --package-version and --arch are for one artifact: expected one, saw {}",
            args.files.len()
        )));
    }
    let arrived = |file: &'a PathBuf| match (&args.manifest, &args.files_proof) {
        (None, None) => Ok(Arrived::File(file)),
        _ if !file.is_dir() => Err(Failure::Usage(format!(
            "{} is no folder: expected the folder of the release's files",
            output::path(file)
        ))),
        (Some(manifest), _) => Ok(Arrived::Folder { dir: file, manifest }),
        (None, Some(proof)) => Ok(Arrived::Files { dir: file, proof }),
    };
    match args.sha256 {
        Some(digest) => Ok(vec![of(Arrived::Digest(digest, args.files.first().map(PathBuf::as_path)))]),
        None => args.files.iter().map(|file| arrived(file).map(of)).collect(),
    }
}

fn answer(group: Vec<Line>, gate: &Gate, places: &Places, json: bool) -> Vec<Answer> {
    let (mut answers, mut lines) = (Vec::new(), Vec::new());
    for Line { number, text } in group {
        match BatchLine::arrival(&text) {
            BatchLine { id, content: Ok(arrival) } => lines.push((number, id, arrival)),
            BatchLine { id, content: Err(error) } => answers.push(Answer::malformed(number, id, &error)),
        }
    }
    let arrivals: Vec<Arrival<'_>> = lines.iter().map(|(.., arrival)| arrival.into()).collect();
    let ruled = gate.judge(&arrivals);
    for ((line, id, _), (arrival, ruled)) in lines.iter().zip(arrivals.iter().zip(ruled)) {
        let (told, failure) = told(arrival, ruled, places);
        answers.push(Answer { line: *line, id: id.clone(), object: told.object, failure });
        told.warning.iter().filter(|_| !json).for_each(|warning| output::warn(warning));
    }
    answers.sort_by_key(|answer| answer.line);
    // An installer shows its user what it is told on stderr.
    answers.iter().filter_map(|answer| answer.failure.as_ref()).filter(|_| !json).for_each(say);
    answers
}

fn say(failure: &Failure) {
    exit::tell(failure, false, Map::new());
}

/// A decision, for machines and for people.
struct Told {
    object: Value,
    /// The line for people, if the artifact may be installed and there is no warning.
    words: String,
    warning: Option<String>,
}

/// The decision about an artifact, and the failure if it may not be installed.
fn told(arrival: &Arrival<'_>, ruled: Ruled, places: &Places) -> (Told, Option<Failure>) {
    let Ruled { digest, ruling } = ruled;
    let package = arrival.package();
    let file = arrival.artifact.path().map(Path::to_string_lossy);
    let title = match (&file, digest) {
        _ if arrival.package.is_some() => package.to_owned(),
        (Some(file), _) => file.clone().into_owned(),
        (None, Some(digest)) => format!("SHA-256 {}", digest.to_hex()),
        (None, None) => package.to_owned(),
    };
    let (mut words, mut warning, mut failure) = (String::new(), None, None);
    let (ruled, mut object) = match ruling {
        Ruling::Proven(accepted) => {
            let sentence = verified::sentence(&accepted);
            words = format!("{GREEN}proven{GREEN:#}   {title}: {sentence}\n");
            let mut object = verified::object(file.as_deref(), &accepted);
            object["message"] = sentence.into();
            ("proven", object)
        }
        Ruling::Skipped => {
            words = format!("skipped  {title}\n");
            let message = "a rule skips this package: nobody looked for a proof";
            ("skipped", json!({ "ok": true, "code": "skipped", "message": message }))
        }
        Ruling::Warned(why) => {
            let message = why.to_string();
            warning = Some(format!("{title} is not proven, and the rules let it pass: {message}"));
            ("warned", json!({ "ok": true, "code": why.code(), "message": message }))
        }
        Ruling::Stopped(stop) => {
            let (stopped, about) = stopped(*stop, places);
            let object = exit::object(&stopped, about);
            failure = Some(stopped.of(&title));
            ("stopped", object)
        }
    };
    object["ruling"] = ruled.into();
    object["package"] = package.into();
    object["file"] = file.as_deref().into();
    object["digest"] = digest.map(|digest| digest.to_hex()).into();
    (Told { object, words, warning }, failure)
}

/// The failure of an artifact that may not be installed, and what its proof states.
fn stopped(stop: Stop, places: &Places) -> (Failure, Map<String, Value>) {
    let mut about = Map::new();
    let message = stop.to_string();
    let failure = match stop {
        Stop::Artifact(error) => error.into(),
        Stop::File(error) => error.into(),
        Stop::Folder(error) => error.into(),
        Stop::Malformed { path, source } => malformed("manifest-malformed", &path, &source),
        Stop::Differs { dir, files, differences } => {
            let (failure, lists) = differs(&dir, files, &differences);
            about.extend(lists);
            failure
        }
        Stop::NoProof(NoProof::NotFetched(error)) => Failure::unsigned(error),
        Stop::NoProof(why) if why.is_certain() => Failure::refused(why.code(), message, advice(&why)),
        Stop::NoProof(NoProof::NoAddress) => {
            Failure::Usage(format!("{message}: expected log = URL in the settings of the gate"))
        }
        Stop::NoProof(_) => Failure::CouldNotTell(message),
        Stop::Refused { error, stated } => {
            stated.into_iter().for_each(|stated| add_stated(&mut about, *stated));
            failure(error, places)
        }
        _ => Failure::Usage(message),
    };
    (failure, about)
}

const fn advice(why: &NoProof) -> &'static str {
    match why {
        NoProof::NotAtHand { .. } => {
            "Do not install it; get its proof file from whoever ships it, or let the gate fetch it: fetch = true."
        }
        _ => "Do not install it, unless another log has it.",
    }
}
