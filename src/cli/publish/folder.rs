//! `publish DIR --manifest`: a release of all files in a folder, whose artifact is their manifest.

use std::path::Path;

use super::args::Publish;
use super::artifact::Artifact;
use super::target::NOT_SENT;
use crate::cli::exit::Failure;
use crate::cli::files::{self, OutFile};
use crate::cli::output::say;
use crate::endpoint::{manifest_of_folder, manifest_path};
use crate::release::ManifestRef;

/// A folder whose manifest is written.
pub struct Folder {
    /// The manifest file.
    pub artifact: Artifact,
    pub manifest: ManifestRef,
}

/// Hashes the folder, and writes its manifest before anything is sent; `None` without `--manifest`.
pub fn read(args: &Publish, json: bool) -> Result<Option<Folder>, Failure> {
    let Some(out) = &args.manifest else { return Ok(None) };
    let [dir] = args.files.as_slice() else {
        let seen = args.files.len();
        return Err(Failure::Usage(format!(
            "--manifest is for the files of one folder: expected one, saw {seen}"
        )));
    };
    if !dir.is_dir() {
        let dir = dir.display();
        return Err(Failure::Usage(format!(
            "{dir} is no folder: expected one with --manifest, or a file without it"
        )));
    }
    let path = out.clone().map_or_else(|| manifest_path(dir), Ok)?;
    for place in [Some(&path), args.out.as_ref()].into_iter().flatten() {
        check_outside(dir, place)?;
    }
    let name = path.file_name().and_then(|name| name.to_str()).map(ToOwned::to_owned);
    let name =
        name.ok_or_else(|| Failure::Usage(format!("{}: expected a file name in UTF-8", path.display())))?;
    let file = files::prepare_out(&path, OutFile::Manifest).map_err(|e| e.and(NOT_SENT))?;
    let manifest = manifest_of_folder(dir).map_err(|e| Failure::from(e).and(NOT_SENT))?;
    file.finish(manifest.to_string().as_bytes())?;
    if !json {
        say(&format!("wrote {} with {} files", path.display(), manifest.files().len()));
    }
    Ok(Some(Folder { artifact: Artifact { name, path }, manifest: manifest.reference() }))
}

/// A file in the folder would change the release that it describes.
fn check_outside(dir: &Path, place: &Path) -> Result<(), Failure> {
    let inside = match (dir.canonicalize(), files::dir_of(place).canonicalize()) {
        (Ok(dir), Ok(place)) => place.starts_with(dir),
        _ => false,
    };
    if inside {
        let (dir, place) = (dir.display(), place.display());
        return Err(Failure::Usage(format!(
            "{place} would be in {dir}, whose files are released: expected a place outside"
        )));
    }
    Ok(())
}
