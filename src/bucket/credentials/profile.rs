//! Profiles in `~/.aws/credentials` and `~/.aws/config`: a strict subset of their format.
//!
//! ```text
//! # ~/.aws/credentials           # ~/.aws/config
//! [releases]                     [profile releases]
//! aws_access_key_id = AKIA...    region = eu-central-1
//! aws_secret_access_key = ...    endpoint_url = https://s3.example.com
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Credentials, CredentialsError, both};
use crate::bucket::{Variables, set};
use crate::disk::read_plain;
use crate::format::{FormatError, cap, file_text};

/// Largest file.
const MAX_FILE_BYTES: usize = 1024 * 1024;
/// Settings that make a profile get its keys from elsewhere.
const UNSUPPORTED: [&str; 9] = [
    "role_arn",
    "credential_source",
    "source_profile",
    "credential_process",
    "web_identity_token_file",
    "sso_session",
    "sso_start_url",
    "sso_account_id",
    "login_session",
];

type Settings = BTreeMap<String, Zeroizing<String>>;

/// A profile, merged from both files.
pub(in crate::bucket) struct Profile {
    place: String,
    settings: Settings,
}

impl Profile {
    /// Reads the profile that the environment names, or else `default`. `None` if `default` does not exist.
    ///
    /// # Errors
    /// [`CredentialsError`] for a file that can't be read or parsed, and for a named profile that does not exist.
    pub fn read(variables: &Variables<'_>) -> Result<Option<Self>, CredentialsError> {
        let named = set(variables, "AWS_PROFILE");
        let name = named.as_deref().unwrap_or("default");
        let home = set(variables, "HOME").map(PathBuf::from);
        let file = |variable: &str, file: &str| {
            let given = set(variables, variable).map(PathBuf::from);
            let usual = home.as_ref().map(|home| home.join(".aws").join(file));
            given.map(|path| (path, true)).or(usual.map(|path| (path, false)))
        };
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config = file("AWS_CONFIG_FILE", "config");
        let in_config = if name == "default" { name.to_owned() } else { format!("profile {name}") };
        let (mut settings, mut files, mut is_there) = (Settings::new(), Vec::new(), false);
        // The credentials file wins over the config file.
        for (file, section) in [(config, in_config.as_str()), (credentials, name)] {
            let Some((path, is_given)) = file else { continue };
            files.push(path.display().to_string());
            if let Some(found) = read_section(&path, is_given, section)? {
                is_there = true;
                settings.extend(found);
            }
        }
        let files =
            if files.is_empty() { "any file: HOME is not set".to_owned() } else { files.join(" and ") };
        match (is_there, &named) {
            (true, _) => Ok(Some(Self { place: format!("the profile {name}"), settings })),
            (false, Some(name)) => Err(CredentialsError::NoProfile { name: name.clone(), files }),
            (false, None) => Ok(None),
        }
    }

    /// The value of a setting that is not secret.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The profile's keys; `None` if it has none.
    ///
    /// # Errors
    /// [`CredentialsError`] if one of the two keys is missing, or if the profile takes its keys from elsewhere.
    pub fn credentials(&self) -> Result<Option<Credentials>, CredentialsError> {
        if let Some(key) = UNSUPPORTED.into_iter().find(|key| self.settings.contains_key(*key)) {
            let place = self.place.clone();
            return Err(CredentialsError::Unsupported { place, key: key.to_owned() });
        }
        let names = ("aws_access_key_id", "aws_secret_access_key");
        let (key, secret) = (self.setting(names.0), self.setting(names.1));
        both(&self.place, names, key, secret, self.setting("aws_session_token"))
    }
}

/// The settings of a section. `None` if there is no such section, or no such file unless it `must_be`.
fn read_section(path: &Path, must_be: bool, section: &str) -> Result<Option<Settings>, CredentialsError> {
    let bytes = match read_plain(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound && !must_be => return Ok(None),
        Err(source) => {
            return Err(CredentialsError::File { path: path.to_owned(), source: Arc::new(source) });
        }
    };
    let place = || path.display().to_string();
    parse(&bytes, section).map_err(|source| CredentialsError::Malformed { place: place(), source })
}

/// The settings of a section of a file. Errors quote nothing, because any line may hold a secret.
fn parse(file: &[u8], section: &str) -> Result<Option<Settings>, FormatError> {
    const WHAT: &str = "a file of profiles";
    cap(WHAT, file.len(), MAX_FILE_BYTES)?;
    let text = file_text(WHAT, file)?;
    let malformed = |at: usize, expected: &str, seen: &str| {
        Err(FormatError::malformed(WHAT, expected, seen).at_line(at + 1))
    };
    // Ignore lines outside the section, which may be meant for other tools.
    let (mut settings, mut is_within, mut has_empty) = (None::<Settings>, false, false);
    for (at, line) in text.lines().enumerate() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = bare.strip_prefix('[') {
            let name = header.split_once(']').map(|(name, _)| name);
            let Some(name) = name else { return malformed(at, "the name of a profile as [name]", "no ]") };
            is_within = name.split_whitespace().eq(section.split_whitespace());
            if is_within && settings.replace(Settings::new()).is_some() {
                return malformed(at, "one section for each profile", "a second one");
            }
            continue;
        }
        let Some(settings) = settings.as_mut().filter(|_| is_within) else { continue };
        // Indented lines belong to the empty setting before them, such as `s3 =`.
        if line.starts_with([' ', '\t']) && has_empty {
            continue;
        }
        let Some((key, value)) = bare.split_once('=') else {
            return malformed(at, "key = value", "a line without =");
        };
        let comment = [" #", " ;", "\t#", "\t;"].into_iter().filter_map(|mark| value.find(mark)).min();
        let value = value[..comment.unwrap_or(value.len())].trim();
        has_empty = value.is_empty();
        let key = key.trim().to_ascii_lowercase();
        if settings.insert(key, Zeroizing::new(value.to_owned())).is_some() {
            return malformed(at, "each key once in a profile", "a key for the second time");
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_and_the_others_are_left_alone() {
        let file = b"\xef\xbb\xbf# mine\n[other]\nanything goes\n[ releases ] ; here\naws_access_key_id=AKIA\nAWS_SECRET_ACCESS_KEY =  a/b+c== # old\n\n; no\ns3 =\n  max_queue = 1\n  nonsense\nregion = eu-1\r\n[last]\n[last]\n";
        let read = parse(file, "releases").unwrap().unwrap();
        let expected = [
            ("aws_access_key_id", "AKIA"),
            ("aws_secret_access_key", "a/b+c=="),
            ("region", "eu-1"),
            ("s3", ""),
        ];
        let read: Vec<_> = read.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(read, expected);
        assert!(parse(file, "release").unwrap().is_none());
        assert!(parse(b"[profile a]\n", "profile a").unwrap().unwrap().is_empty());
    }

    #[test]
    fn malformed_sections_are_refused_by_line_and_quote_nothing() {
        for (bad, line) in [
            ("[a]\nsecret wJalr\n", "line 2"),
            ("[a]\nk = wJalr\nk = wJalr\n", "line 3"),
            ("[a]\nk = wJalr\n[a]\n", "line 3"),
            ("[a\nk = wJalr\n", "line 1"),
            ("[a]\nk = v\n  wJalr\n", "line 3"),
        ] {
            let error = parse(bad.as_bytes(), "a").unwrap_err().to_string();
            assert!(error.contains(line) && !error.contains("wJalr"), "{bad:?}: {error}");
        }
        assert!(parse(b"\xff", "a").is_err());
        assert!(parse(&vec![b'\n'; MAX_FILE_BYTES + 1], "a").is_err());
    }

    #[test]
    fn profiles_are_found_as_the_environment_says() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".aws")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        let read = |more: &[(&str, &str)]| {
            let more: Vec<(String, String)> =
                more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let all = [vec![("HOME".to_owned(), home.clone())], more].concat();
            Profile::read(&move |name: &str| all.iter().find(|(set, _)| set == name).map(|(_, v)| v.clone()))
        };
        assert!(read(&[]).unwrap().is_none(), "there are no files");
        assert!(matches!(read(&[("AWS_PROFILE", "x")]), Err(CredentialsError::NoProfile { .. })));
        let other = dir.path().join("other");
        let given = [("AWS_SHARED_CREDENTIALS_FILE", other.to_str().unwrap())];
        assert!(matches!(read(&given), Err(CredentialsError::File { .. })));

        write(
            ".aws/credentials",
            "[default]\naws_access_key_id = d\naws_secret_access_key = s\n[x]\naws_access_key_id = k\n",
        );
        write(
            ".aws/config",
            "[default]\nregion = eu-1\naws_access_key_id = c\n[x]\nregion=no\n[profile x]\nregion = eu-2\n[profile r]\nrole_arn = a\n",
        );
        let default = read(&[]).unwrap().unwrap();
        assert_eq!(default.setting("region"), Some("eu-1"));
        assert_eq!(default.credentials().unwrap().unwrap().access_key(), "d", "the credentials file wins");
        let x = read(&[("AWS_PROFILE", "x")]).unwrap().unwrap();
        assert_eq!(x.setting("region"), Some("eu-2"));
        let error = x.credentials().unwrap_err().to_string();
        assert_eq!(
            error,
            "the profile x has aws_access_key_id but no aws_secret_access_key: give both or none"
        );
        let error = read(&[("AWS_PROFILE", "r")]).unwrap().unwrap().credentials().unwrap_err();
        assert!(matches!(error, CredentialsError::Unsupported { .. }), "{error}");
        write("other", "[default]\naws_access_key_id = o\naws_secret_access_key = s\n");
        assert_eq!(read(&given).unwrap().unwrap().credentials().unwrap().unwrap().access_key(), "o");
    }
}
