//! Credentials for an object store, from the sources of all S3 tools: the environment, a profile, a role.

mod profile;
mod role;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

pub(super) use self::profile::Profile;
use self::role::Role;
use super::Variables;
use crate::clock::Clock;
use crate::format::{FormatError, quote};

/// A role's credentials are renewed when they remain valid for less than this, in seconds.
const REFRESHED_BEFORE: u64 = 5 * 60;
/// Pause after a failed renewal of credentials that are still valid, in seconds.
const REFRESH_PAUSE: u64 = 30;
/// Longest key or token, in bytes. Session tokens take one or two KiB.
const MAX_BYTES: usize = 16 * 1024;

/// An access key, its secret, and the token of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    access_key: String,
    secret_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
    /// Seconds after 1970; `None` if they don't expire.
    expires: Option<u64>,
}

impl Credentials {
    /// Credentials that don't expire.
    ///
    /// # Errors
    /// [`FormatError`] unless all parts are printable ASCII. The error quotes nothing.
    pub fn new(access_key: &str, secret_key: &str, session_token: Option<&str>) -> Result<Self, FormatError> {
        let check = |what: &'static str, text: &str| {
            if (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
                return Ok(());
            }
            let seen = format!("{} bytes, some of them other characters, or too few or too many", text.len());
            Err(FormatError::malformed(what, "1 to 16384 characters of printable ASCII", seen))
        };
        check("an access key", access_key)?;
        check("a secret access key", secret_key)?;
        session_token.map_or(Ok(()), |token| check("a session token", token))?;
        Ok(Self {
            access_key: access_key.to_owned(),
            secret_key: Zeroizing::new(secret_key.to_owned()),
            session_token: session_token.map(|token| Zeroizing::new(token.to_owned())),
            expires: None,
        })
    }

    pub(super) fn access_key(&self) -> &str {
        &self.access_key
    }

    pub(super) fn secret_key(&self) -> &str {
        &self.secret_key
    }

    pub(super) fn session_token(&self) -> Option<&str> {
        self.session_token.as_ref().map(|token| token.as_str())
    }
}

/// Shows no secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Credentials");
        debug.field("access_key", &self.access_key).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Why there are no credentials.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// No source has credentials.
    #[error(
        "no credentials for the object store were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile of ~/.aws/credentials with AWS_PROFILE, or give this machine a role ({why})"
    )]
    Missing {
        /// Why there is no role.
        why: String,
    },
    /// One of two related variables or settings is missing.
    #[error("{place} has {has} but no {lacks}: give both or none")]
    Half {
        /// The environment, or a profile.
        place: String,
        /// The one that is set.
        has: &'static str,
        /// The one that is missing.
        lacks: &'static str,
    },
    /// A value or a file is malformed.
    #[error("in {place}: {source}")]
    Malformed {
        /// The environment, a profile, a file or an address.
        place: String,
        /// The error. It quotes no secret.
        source: FormatError,
    },
    /// A file can't be read.
    #[error("could not read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// The profile does not exist.
    #[error("there is no profile {} in {}", quote(name), files)]
    NoProfile {
        /// Its name.
        name: String,
        /// The files that were read.
        files: String,
    },
    /// A profile or the environment has a setting that treehead does not support.
    #[error(
        "{place} sets {key}, which treehead does not support: get keys by other means, as with `aws configure export-credentials --format env`"
    )]
    Unsupported {
        /// The profile, or the environment.
        place: String,
        /// The setting.
        key: String,
    },
    /// The service that provides a role's credentials failed.
    #[error("{url} gave no credentials: {detail}")]
    Role {
        /// The address asked.
        url: String,
        /// Description of the failure.
        detail: String,
        /// True if a retry may succeed.
        is_temporary: bool,
    },
}

impl CredentialsError {
    /// Returns true if a retry may succeed without any change.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Role { is_temporary: true, .. })
    }
}

/// The source of credentials.
pub(super) enum Source {
    /// Credentials that don't change.
    Fixed(Arc<Credentials>),
    /// Credentials that are fetched, and renewed before they expire.
    Role { role: Box<Role>, current: Mutex<Current>, clock: Clock },
}

/// A role's credentials.
#[derive(Default)]
pub(super) struct Current {
    credentials: Option<Arc<Credentials>>,
    /// Time of the next renewal at the earliest, in seconds after 1970.
    not_before: u64,
}

impl Source {
    /// Finds the source, in the order of Amazon's tools: environment, profile, container role, machine role.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn find(
        variables: &Variables<'_>,
        profile: Option<&Profile>,
        clock: Clock,
    ) -> Result<Self, CredentialsError> {
        let set = |name| super::set(variables, name);
        let (key, secret) = (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY").map(Zeroizing::new));
        let token = set("AWS_SESSION_TOKEN").map(Zeroizing::new);
        let names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
        let token = token.as_ref().map(|token| token.as_str());
        let secret = secret.as_ref().map(|secret| secret.as_str());
        let found = both("the environment", names, key.as_deref(), secret, token)?;
        let found = match (found, profile) {
            (None, Some(profile)) => profile.credentials()?,
            (found, _) => found,
        };
        if let Some(found) = found {
            return Ok(Self::Fixed(Arc::new(found)));
        }
        if set("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
            let (place, key) = ("the environment".to_owned(), "AWS_WEB_IDENTITY_TOKEN_FILE".to_owned());
            return Err(CredentialsError::Unsupported { place, key });
        }
        let role = Box::new(Role::find(variables)?);
        Ok(Self::Role { role, current: Mutex::default(), clock })
    }

    /// The current credentials.
    ///
    /// # Errors
    /// [`CredentialsError`] if a role has no valid credentials.
    pub fn current(&self) -> Result<Arc<Credentials>, CredentialsError> {
        let (role, current, clock) = match self {
            Self::Fixed(credentials) => return Ok(credentials.clone()),
            Self::Role { role, current, clock } => (role, current, clock),
        };
        let now = clock();
        // Other threads wait while one fetches: without credentials they can do nothing either.
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = current.credentials.clone() {
            let left = known.expires.map_or(u64::MAX, |expires| expires.saturating_sub(now));
            if left > REFRESHED_BEFORE || left > 0 && now < current.not_before {
                return Ok(known);
            }
            match role.fetch() {
                Ok(fresh) => current.credentials = Some(Arc::new(fresh)),
                Err(_) if left > 0 => {
                    current.not_before = now + REFRESH_PAUSE;
                    return Ok(known);
                }
                Err(error) => return Err(error),
            }
        } else {
            current.credentials = Some(Arc::new(role.fetch()?));
        }
        Ok(current.credentials.clone().expect("they were just fetched"))
    }

    /// Discards credentials that the store calls expired. Returns true if there may be others.
    pub fn forget(&self, expired: &Arc<Credentials>) -> bool {
        let Self::Role { current, .. } = self else { return false };
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.credentials.as_ref().is_some_and(|known| Arc::ptr_eq(known, expired)) {
            *current = Current::default();
        }
        true
    }
}

/// Shows no secret.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(credentials) => credentials.fmt(f),
            Self::Role { .. } => f.write_str("Role"),
        }
    }
}

/// Credentials from a key and its secret; `None` if neither is set.
fn both(
    place: &str,
    names: (&'static str, &'static str),
    key: Option<&str>,
    secret: Option<&str>,
    token: Option<&str>,
) -> Result<Option<Credentials>, CredentialsError> {
    let half = |has, lacks| Err(CredentialsError::Half { place: place.to_owned(), has, lacks });
    match (key, secret) {
        (None, None) => Ok(None),
        (Some(_), None) => half(names.0, names.1),
        (None, Some(_)) => half(names.1, names.0),
        (Some(key), Some(secret)) => {
            let made = Credentials::new(key, secret, token);
            made.map(Some).map_err(|source| CredentialsError::Malformed { place: place.to_owned(), source })
        }
    }
}
