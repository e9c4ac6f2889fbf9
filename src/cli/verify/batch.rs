//! `treehead verify --batch`: questions in JSON, one a line; verdicts in the same order.

use std::path::Path;

use serde_json::Value;

use super::args::Verify;
use super::artifacts::{self, Asked};
use super::failure::{Places, failure};
use super::{about, online, pins, report, verified};
use crate::cli::batch::{Answer, Line, answer_all};
use crate::cli::exit::{self, CliResult, Failure};
use crate::endpoint::{
    Artifact, BatchArtifact, BatchLine, BatchQuestion, Endpoint, Freshness, OwnedPins, Question,
    hash_artifacts,
};
use crate::merkle::Hash;

/// A line that could be read as a question, and its artifact.
struct Read {
    line: usize,
    id: Option<Value>,
    pins: OwnedPins,
    max_age: Option<u64>,
    asked: Asked,
}

pub fn run(args: &Verify, endpoint: &Endpoint, places: &Places) -> CliResult {
    answer_all(|group| answer(group, args, endpoint, places))
}

fn answer(group: Vec<Line>, args: &Verify, endpoint: &Endpoint, places: &Places) -> Vec<Answer> {
    let (mut answers, mut lines) = (Vec::new(), Vec::new());
    for Line { number, text } in group {
        match BatchLine::question(&text) {
            BatchLine { id, content: Ok(question) } => lines.push((number, id, question)),
            BatchLine { id, content: Err(error) } => answers.push(Answer::malformed(number, id, &error)),
        }
    }
    let read = read(lines, args);
    let questions: Vec<Question<'_>> = read.iter().filter_map(|read| read.question(args)).collect();
    let checked = endpoint.check_all(&questions, online(args));
    args.report.iter().for_each(|url| report(url, &checked.heads));
    let mut verdicts = match checked.verdicts {
        Ok(verdicts) => verdicts,
        Err(error) => questions.iter().map(|_| Err(error.clone())).collect(),
    }
    .into_iter();
    for Read { line, id, asked, .. } in &read {
        let verdict = match &asked.read {
            Ok(_) => verdicts.next().expect("one for each question").map_err(|e| failure(e, places)),
            Err(unread) => Err(unread.clone()),
        };
        let (object, failure) = match verdict {
            Ok(accepted) => {
                let mut object = verified::object(asked.file.as_deref(), &accepted);
                object["message"] = verified::sentence(&accepted).into();
                (object, None)
            }
            Err(failure) => (exit::object(&failure, about(asked, endpoint)), Some(failure)),
        };
        answers.push(Answer { line: *line, id: id.clone(), object, failure });
    }
    answers.sort_by_key(|answer| answer.line);
    answers
}

/// Reads artifacts and proofs.
fn read(lines: Vec<(usize, Option<Value>, BatchQuestion)>, args: &Verify) -> Vec<Read> {
    let file = |(_, _, question): &(usize, Option<Value>, BatchQuestion)| match &question.artifact {
        BatchArtifact::File(file) => Some(file.clone()),
        BatchArtifact::Digest(..) => None,
    };
    let files: Vec<String> = lines.iter().filter_map(file).collect();
    let mut hashed = hash_artifacts(&files).into_iter();
    let read = |(line, id, question): (usize, Option<Value>, BatchQuestion)| {
        let BatchQuestion { artifact, proof, pins, max_age } = question;
        let digest = match artifact {
            BatchArtifact::File(_) => hashed.next().expect("one for each file").map_err(Failure::from),
            BatchArtifact::Digest(digest, _) => Ok(digest),
        };
        let proof = proof.as_deref().map(Path::new).or(args.proof.as_deref());
        let read = digest.and_then(|digest| with_proof(artifact.file(), proof, digest));
        let asked = Asked { title: String::new(), file: artifact.file().map(ToOwned::to_owned), read };
        Read { line, id, pins, max_age, asked }
    };
    lines.into_iter().map(read).collect()
}

fn with_proof(
    file: Option<&str>,
    proof: Option<&Path>,
    digest: Hash,
) -> Result<artifacts::Artifact, Failure> {
    if file.is_none() && proof.is_none() {
        let message = "a digest has no proof file beside it: expected a file or a proof";
        return Err(Failure::Usage(message.to_owned()));
    }
    artifacts::with_proof(proof, Path::new(file.unwrap_or_default()), file, digest)
}

impl Read {
    fn question<'a>(&'a self, args: &'a Verify) -> Option<Question<'a>> {
        let artifacts::Artifact { name, digest, proof } = self.asked.read.as_ref().ok()?;
        Some(Question {
            artifact: Artifact::File { digest, name: name.as_deref() },
            proof,
            freshness: Freshness::now(self.max_age.or(args.max_age)),
            pins: self.pins.pins().or(pins(args)),
        })
    }
}
