//! Artifacts on the command line: `FILE`, or `NAME=FILE`.

use std::path::{Path, PathBuf};

use crate::cli::exit::Failure;
use crate::cli::files;
use crate::release::Subject;

/// A file, and the name that the statement gives it.
#[derive(Debug, PartialEq, Eq)]
pub struct Artifact {
    pub name: String,
    pub path: PathBuf,
}

impl Artifact {
    /// Parses the artifacts of one release; each has a name of its own.
    pub fn all(given: &[PathBuf]) -> Result<Vec<Self>, Failure> {
        let artifacts = given.iter().map(|given| Self::parse(given)).collect::<Result<Vec<_>, _>>()?;
        for (at, second) in artifacts.iter().enumerate() {
            if let Some(first) = artifacts[..at].iter().find(|first| first.name == second.name) {
                let (name, first, second) = (&second.name, first.path.display(), second.path.display());
                return Err(Failure::Usage(format!(
                    "two artifacts are named {name}: {first} and {second}; expected each name once: give them names with NAME=FILE, as in other-{name}={second}"
                )));
            }
        }
        Ok(artifacts)
    }

    /// Parses one artifact. A slash before the first `=` makes it a path. So does an existing file of that whole name,
    /// unless a file has the name after the `=`, too: that is ambiguous, and an error.
    fn parse(given: &Path) -> Result<Self, Failure> {
        let named = given.to_str().and_then(|text| text.split_once('='));
        let named = named.filter(|(name, file)| !name.is_empty() && !name.contains('/') && !file.is_empty());
        let Some((name, file)) = named.filter(|(_, file)| !given.exists() || Path::new(file).exists()) else {
            let name = given.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Failure::Usage(format!("{}: expected a file name in UTF-8", given.display()))
            })?;
            return Ok(Self { name: name.to_owned(), path: given.to_owned() });
        };
        if given.exists() {
            let given = given.display();
            return Err(Failure::Usage(format!(
                "{given} is a file, and so is {file}: expected ./{given} for the first, or {name}=./{file} for the second under the name {name}"
            )));
        }
        if matches!(name, "." | "..") {
            return Err(Failure::Usage(format!(
                "{}: expected the name of a file before `=`, saw {name}, which names a directory",
                given.display()
            )));
        }
        Ok(Self { name: name.to_owned(), path: PathBuf::from(file) })
    }

    /// Makes the subject of the statement.
    pub fn subject(&self) -> Result<Subject, Failure> {
        Ok(Subject { name: self.name.clone(), sha256: files::hash_artifact(&self.path)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &str) -> Result<(String, PathBuf), String> {
        let parsed = Artifact::parse(Path::new(given)).map_err(|e| e.message().to_owned());
        parsed.map(|artifact| (artifact.name, artifact.path))
    }

    #[test]
    fn a_name_stands_before_the_file() {
        for (given, name, path) in [
            ("dist/scanner", "scanner", "dist/scanner"),
            ("linux-scanner=dist/scanner", "linux-scanner", "dist/scanner"),
            ("a=b=c", "a", "b=c"),
            ("./a=b", "a=b", "./a=b"),
            ("d/a=b", "a=b", "d/a=b"),
            ("=b", "=b", "=b"),
            ("a=", "a=", "a="),
        ] {
            assert_eq!(parse(given), Ok((name.to_owned(), PathBuf::from(path))), "{given}");
        }
    }

    #[test]
    fn a_directory_is_no_name_of_an_artifact() {
        for given in [".=dist/scanner", "..=dist/scanner"] {
            assert!(parse(given).is_err_and(|why| why.contains("the name of a file before `=`")), "{given}");
        }
    }

    #[test]
    fn a_file_whose_name_has_the_sign_is_itself_unless_it_can_be_read_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("scanner");
        std::fs::write(&file, "").unwrap();
        let file = file.to_str().unwrap();
        // This one exists whatever directory the test runs in, and it has no slash before the sign.
        assert_eq!(parse(&format!("x={file}")), Ok(("x".to_owned(), PathBuf::from(file))));
        let same = [PathBuf::from(format!("x={file}")), PathBuf::from(format!("x={file}"))];
        let Err(Failure::Usage(message)) = Artifact::all(&same) else { panic!("one name twice") };
        assert!(
            message.contains("two artifacts are named x: ") && message.contains("NAME=FILE"),
            "{message}"
        );
    }
}
