//! `treehead prove --manifest`: proves files of a release from its manifest, offline.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::exit::{CliResult, Failure};
use crate::cli::files::{self, OutFile};
use crate::cli::output;
use crate::proof::{FILES_EXTENSION, FilesProof};

/// Writes a proof that `paths` are in a manifest, by default to `NAME.tlog-files` beside `NAME.manifest`.
pub fn run(manifest: &Path, paths: &[String], out: Option<&PathBuf>, json: bool) -> CliResult {
    let default = || manifest.with_extension(FILES_EXTENSION.trim_start_matches('.'));
    let out = files::prepare_out(&out.cloned().unwrap_or_else(default), OutFile::Files)?;
    let listed = super::read(manifest)?;
    let proof = FilesProof::new(&listed, paths.iter().map(String::as_str))
        .map_err(|e| Failure::Usage(format!("{}: {e}", manifest.display())))?;
    let (bytes, path) = (proof.to_bytes(), out.path().display().to_string());
    out.finish(&bytes)?;
    let hashes: usize = proof.parts().map(|(_, part)| part.hashes.len()).sum();
    let (count, total) = (proof.files().len(), proof.total());
    let object = json!({
        "ok": true, "files": count, "of": total, "hashes": hashes, "bytes": bytes.len(), "proof": path,
    });
    let lines = format!(
        "{count} of {total} files, with {hashes} hashes\nproof  {path}, {} bytes\nCheck it with `treehead verify DIR --files-proof {path}`, together with the release's proof file.\n",
        bytes.len()
    );
    output::result(json, &object, &lines)
}
