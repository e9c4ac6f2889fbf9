//! Verifies releases of many files: their manifest, their folder, or some files of it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::args::Verify;
use super::failure::{Places, failure};
use super::{online, pins, report, verified};
use crate::cli::exit::{self, CliResult, Failure};
use crate::cli::files::{self, OutFile, Replacement};
use crate::cli::{manifest, output};
use crate::endpoint::{
    Accepted, Artifact, Difference, Endpoint, FolderDifferences, Freshness, ManifestUpdate,
    ManifestUpdateError, MemoryError, Question, UpdatedManifest, compare_files, compare_folder,
};
use crate::format::{FormatError, quote};
use crate::merkle::Hash;
use crate::proof::{FilesProof, MAX_FILES_PROOF_BYTES, MAX_PROOF_BYTES};
use crate::release::{DeltaError, FileManifest, MAX_MANIFEST_BYTES};

/// The parts of `treehead verify` that all of this needs.
struct Run<'a> {
    args: &'a Verify,
    endpoint: &'a Endpoint,
    places: &'a Places,
    /// The log's answer about the trust file.
    learned: Option<&'a Value>,
    json: bool,
}

/// Answers `--manifest` and `--files-proof`; `None` if neither was given.
pub fn run(
    args: &Verify,
    endpoint: &Endpoint,
    places: &Places,
    learned: Option<&Value>,
    json: bool,
) -> Option<CliResult> {
    let run = Run { args, endpoint, places, learned, json };
    match (&args.manifest, &args.files_proof) {
        (Some(manifest), _) => Some(run.manifest(manifest)),
        (None, Some(proof)) => Some(run.some_files(proof)),
        (None, None) => None,
    }
}

impl Run<'_> {
    fn folder(&self) -> Result<Option<&Path>, Failure> {
        match self.args.files.as_slice() {
            [] => Ok(None),
            [dir] if dir.is_dir() => Ok(Some(dir)),
            [other] => Err(Failure::Usage(format!(
                "{} is no folder: expected the folder of the release's files",
                output::path(other)
            ))),
            several => {
                let seen = several.len();
                Err(Failure::Usage(format!("expected one folder of the release's files, saw {seen} paths")))
            }
        }
    }

    /// Reads the release's proof file. One byte more than allowed, so that the endpoint refuses a file that is too large.
    fn proof(&self, manifest: &Path) -> Result<Vec<u8>, Failure> {
        let path = self.args.proof.clone().unwrap_or_else(|| files::proof_beside(manifest));
        files::read_up_to(&path, MAX_PROOF_BYTES + 1)
    }

    fn question<'q>(&'q self, artifact: Artifact<'q>, proof: &'q [u8]) -> Question<'q> {
        Question { artifact, proof, freshness: Freshness::now(self.args.max_age), pins: pins(self.args) }
    }

    /// A manifest, or a delta to the remembered one, and perhaps the whole folder.
    fn manifest(&self, path: &Path) -> CliResult {
        let folder = self.folder()?;
        let prepare = |out: &PathBuf| files::prepare_out(out, OutFile::Manifest);
        let out = self.args.write_manifest.as_ref().map(prepare).transpose()?;
        let bytes = files::read_up_to(path, MAX_MANIFEST_BYTES + 1)?;
        let update = ManifestUpdate::parse(&bytes).map_err(|e| malformed("manifest-malformed", path, &e))?;
        let proof = self.proof(path)?;
        let UpdatedManifest { accepted, manifest, changes } = self.take(&update, &proof)?;
        if let Some(dir) = folder {
            let differences = compare_folder(dir, &manifest)?;
            self.check_same(dir, manifest.files().len(), differences)?;
        }
        if let Some(out) = out {
            Replacement::finish(out, manifest.to_string().as_bytes())?;
        }
        let mut object = verified::object(path.to_str(), &accepted);
        self.learned.into_iter().for_each(|learned| object["trust"] = learned.clone());
        let reference = manifest.reference();
        object["manifest"] = json!({ "root": reference.root.to_hex(), "files": reference.files });
        object["folder"] = folder.map(|dir| dir.to_string_lossy().into_owned()).into();
        let mut lines = verified::words(
            &output::path(folder.unwrap_or(path)),
            &of_manifest(&manifest, folder),
            &accepted,
        );
        if let Some(changes) = changes {
            object["changes"] = Value::Object(manifest::changes(&changes));
            lines += &format!("changes    {}\n{}", manifest::counts(&changes), manifest::listed(&changes));
        }
        output::result(self.json, &object, &lines)
    }

    /// Judges a manifest, and remembers it if there is a state.
    fn take(&self, update: &ManifestUpdate, proof: &[u8]) -> Result<UpdatedManifest, Failure> {
        let none = Hash::from_bytes([0; 32]);
        if self.args.state.is_some() {
            let question = self.question(Artifact::File { digest: &none, name: None }, proof);
            let checked = self.endpoint.update_manifest(update, &question, online(self.args));
            self.args.report.iter().for_each(|url| report(url, &checked.heads));
            return checked.updated.map_err(|e| not_taken(e, self.places));
        }
        let ManifestUpdate::Whole(manifest) = update else {
            return Err(not_taken(ManifestUpdateError::NoDirectory, self.places));
        };
        let (reference, digest) = (manifest.reference(), manifest.digest());
        let accepted = self.check(&[self.question(Artifact::Manifest(&reference, &digest), proof)])?;
        Ok(UpdatedManifest { accepted, manifest: manifest.clone(), changes: None })
    }

    /// The verdict on questions about one release.
    fn check(&self, questions: &[Question<'_>]) -> Result<Accepted, Failure> {
        let checked = self.endpoint.check_all(questions, online(self.args));
        self.args.report.iter().for_each(|url| report(url, &checked.heads));
        let verdicts = checked.verdicts.map_err(|e| failure(e, self.places))?;
        let accepted = verdicts.into_iter().collect::<Result<Vec<_>, _>>();
        accepted.map_err(|e| failure(e, self.places))?.pop().ok_or_else(|| unreachable!("a proof has a part"))
    }

    /// Files of a folder, by their proof.
    fn some_files(&self, path: &Path) -> CliResult {
        let folder = self.folder()?;
        let dir = folder.ok_or_else(|| {
            Failure::Usage("--files-proof: expected the folder of the release's files, saw none".to_owned())
        })?;
        let bytes = files::read_up_to(path, MAX_FILES_PROOF_BYTES + 1)?;
        let proven = FilesProof::parse(&bytes).map_err(|e| malformed("files-proof-malformed", path, &e))?;
        let proof = self.proof(path)?;
        let questions: Vec<Question<'_>> =
            proven.parts().map(|(files, part)| self.question(Artifact::Files(files, part), &proof)).collect();
        let accepted = self.check(&questions)?;
        let chosen = self.chosen(&proven)?;
        self.check_same(dir, chosen.len(), compare_files(dir, &chosen)?)?;
        let mut object = verified::object(path.to_str(), &accepted);
        self.learned.into_iter().for_each(|learned| object["trust"] = learned.clone());
        object["names"] = chosen.iter().map(|(path, _)| path.as_str()).collect();
        object["name"] = chosen[0].0.as_str().into();
        object["digest"] = chosen[0].1.to_hex().into();
        object["folder"] = dir.to_string_lossy().into();
        let files = format!("{} of {} files of the release", chosen.len(), proven.total());
        output::result(self.json, &object, &verified::words(&output::path(dir), &files, &accepted))
    }

    /// The files that `--file` names, or all of them.
    fn chosen(&self, proven: &FilesProof) -> Result<Vec<(String, Hash)>, Failure> {
        if self.args.file.is_empty() {
            return Ok(proven.files().to_vec());
        }
        let find = |wanted: &String| {
            let found = proven.files().iter().find(|(path, _)| path == wanted).cloned();
            let refuse = || {
                let (count, wanted) = (proven.files().len(), quote(wanted));
                Failure::refused(
                    "not-in-manifest",
                    format!(
                        "the proof does not cover a file: expected one of its {count} files, saw {wanted}"
                    ),
                    "Do not install it; fetch a proof that covers it.",
                )
            };
            found.ok_or_else(refuse)
        };
        self.args.file.iter().map(find).collect()
    }

    /// Refuses a folder that has other files.
    fn check_same(&self, dir: &Path, count: usize, mut differences: FolderDifferences) -> CliResult {
        if self.args.allow_extra {
            differences.extra.clear();
        }
        if differences.is_empty() {
            return Ok(());
        }
        let (refusal, about) = differs(dir, count, &differences);
        exit::tell(&refusal, self.json, about);
        Failure::worst(std::iter::once(&refusal))
    }
}

fn of_manifest(manifest: &FileManifest, folder: Option<&Path>) -> String {
    let (files, root) = (manifest.files().len(), manifest.reference().root.to_hex());
    let which = if folder.is_some() { "all" } else { "a manifest of" };
    format!("{which} {files} files, root {root}")
}

/// The refusal of a folder with other files than these many of its release, and its lists for machines.
pub fn differs(dir: &Path, files: usize, differences: &FolderDifferences) -> (Failure, Map<String, Value>) {
    let refusal = Failure::refused(
        "not-in-manifest",
        differences.in_words(dir, files),
        "Do not install it; fetch these files again, and remove those that the manifest does not list.",
    );
    let paths = |of: &[Difference]| of.iter().map(|difference| difference.path.as_str()).collect();
    let about = differences.lists().into_iter().map(|(kind, of)| (kind.to_owned(), paths(of)));
    (refusal, about.collect())
}

/// The refusal of a malformed manifest, or of a malformed proof of files.
pub fn malformed(code: &str, path: &Path, error: &FormatError) -> Failure {
    let message = format!("{}: {error}", output::path(path));
    Failure::refused(code, message, "Do not install it; fetch the file again.")
}

/// The failure to report for a manifest that was not taken.
fn not_taken(error: ManifestUpdateError, places: &Places) -> Failure {
    let message = error.to_string();
    match error {
        ManifestUpdateError::Check(error) => failure(*error, places),
        ManifestUpdateError::Memory(MemoryError::Damaged { .. }) => Failure::refused(
            "state-damaged",
            message,
            "Verify the release's whole manifest, which takes the place of the remembered one.",
        ),
        ManifestUpdateError::Memory(error) => Failure::from(error).and("run the command again, which is safe"),
        ManifestUpdateError::Delta(DeltaError::WrongBase { .. })
        | ManifestUpdateError::NothingRemembered { .. } => {
            Failure::CouldNotTell(message).and("verify the release's whole manifest instead of the delta")
        }
        ManifestUpdateError::Delta(_) => Failure::refused(
            "delta-mismatch",
            message,
            "Do not install it; fetch the delta again, or verify the release's whole manifest.",
        ),
        ManifestUpdateError::SameSequence { .. } => Failure::refused(
            "same-sequence",
            message,
            "Do not install it; keep both manifests and their proof files: the publisher contradicts itself.",
        ),
        ManifestUpdateError::NoDirectory => Failure::Usage(
            "a delta is applied to the manifest that is remembered: expected --state DIR, or a whole manifest"
                .to_owned(),
        ),
    }
}
