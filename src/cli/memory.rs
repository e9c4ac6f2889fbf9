//! The file in which an endpoint remembers, shared by many processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::exit::{CliResult, Failure};
use super::files;
use crate::disk::evidence_dir::EvidenceDir;
use crate::endpoint::{EndpointState, MAX_STATE_BYTES, STATE_VERSION};

/// What is remembered, locked while this is there. Without a directory it is forgotten with it.
pub struct Memory {
    pub state: EndpointState,
    /// The file, and the lock beside it.
    file: Option<(PathBuf, File)>,
}

impl Memory {
    pub fn open(dir: Option<&Path>) -> Result<Self, Failure> {
        let Some(dir) = dir else { return Ok(Self { state: EndpointState::default(), file: None }) };
        fs::create_dir_all(dir).map_err(|e| Failure::io("create", dir, &e))?;
        let lock = files::lock(&dir.join("lock"))?;
        let path = dir.join("state.json");
        // One that can't be looked for may be there.
        let there = path.try_exists().map_err(|e| Failure::io("read", &path, &e))?;
        let state = if there { read(&path)? } else { EndpointState::default() };
        Ok(Self { state, file: Some((path, lock)) })
    }

    /// Writes the file anew, at once: whoever reads it, also after a crash, sees it before or after.
    pub fn save(&self) -> CliResult {
        let Some((path, _)) = &self.file else { return Ok(()) };
        let bytes = self.state.to_bytes();
        // What could not be read again must not be written.
        if bytes.len() > MAX_STATE_BYTES {
            let (path, seen) = (path.display(), bytes.len());
            return Err(Failure::CouldNotTell(format!(
                "{path} is full: expected at most {MAX_STATE_BYTES} bytes, saw {seen}; use another --state for some of the packages"
            )));
        }
        files::replace(path, &bytes)
    }
}

/// Fails closed: an endpoint that forgot would take an old release for a new one.
fn read(path: &Path) -> Result<EndpointState, Failure> {
    let damaged = |e: Failure| match e {
        Failure::Usage(message) => Failure::refused(
            "state-damaged",
            message,
            "Restore the file; delete it only if you accept that rollbacks before today pass unseen.",
        ),
        other => other,
    };
    let bytes = files::read(path, "an endpoint's state", MAX_STATE_BYTES).map_err(damaged)?;
    if let Some(version) = EndpointState::later_version(&bytes) {
        let path = path.display();
        return Err(Failure::refused(
            "state-newer",
            format!("{path} is of a newer program: expected at most version {STATE_VERSION}, saw {version}"),
            "Nothing is wrong with the file; run the newer program.",
        ));
    }
    EndpointState::parse(&bytes).map_err(|e| damaged(Failure::file(path, &e)))
}

/// Where evidence goes: into the memory, or where the command runs.
pub fn evidence_dir(state: Option<&Path>) -> EvidenceDir {
    EvidenceDir::new(state.map_or_else(|| PathBuf::from("."), |dir| dir.join("evidence")))
}
