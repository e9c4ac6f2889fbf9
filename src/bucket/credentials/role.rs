//! Credentials of a role, which the machine's or the container's host provides over HTTP.
//!
//! - AWS machines (IMDSv2): a token by `PUT /latest/api/token`, then the role's name, then its credentials.
//! - Containers: one address, which `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `..._FULL_URI` names, with a token.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use ureq::Agent;
use ureq::http::Uri;
use zeroize::Zeroizing;

use super::{Credentials, CredentialsError};
use crate::bucket::{Variables, set};
use crate::client::{AgentOptions, NAME, in_words, printable, read_capped};
use crate::disk::read_plain;
use crate::format::{FormatError, quote};

/// Address of the metadata service of AWS machines.
const MACHINE: &str = "http://169.254.169.254";
/// Address of the credentials service of containers on ECS.
const CONTAINER: &str = "http://169.254.170.2";
/// Hosts that may be asked without TLS, as in Amazon's tools: this machine, and the hosts of ECS and EKS.
const PLAIN_HOSTS: [&str; 6] =
    ["127.0.0.1", "[::1]", "localhost", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
/// Time limit of a request. The service is on the same machine, so a longer silence means that there is none.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Requested lifetime of a token of the machine's service, in seconds.
const TOKEN_SECONDS: &str = "300";
/// Largest answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A role and the service that provides its credentials.
pub(in crate::bucket) struct Role {
    agent: Agent,
    place: Place,
}

enum Place {
    Machine { base: String, is_given: bool },
    Container { url: String, token: Option<Token> },
}

/// The value of the `Authorization` header.
enum Token {
    Text(Zeroizing<String>),
    /// A file, read on each request because its content changes.
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    code: Option<String>,
    access_key_id: Option<String>,
    #[serde(default, deserialize_with = "wiped")]
    secret_access_key: Option<Zeroizing<String>>,
    #[serde(default, deserialize_with = "wiped")]
    token: Option<Zeroizing<String>>,
    expiration: Option<String>,
}

fn wiped<'de, D: Deserializer<'de>>(text: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(text)?.map(Zeroizing::new))
}

impl Role {
    /// The role that the environment names, or else the machine's.
    pub fn find(variables: &Variables<'_>) -> Result<Self, CredentialsError> {
        let place = Place::find(variables)?;
        let url = match &place {
            Place::Machine { base, .. } => base,
            Place::Container { url, .. } => url,
        };
        let options =
            AgentOptions { may_be_proxied: false, ..AgentOptions::new(TIMEOUT, CONNECT_TIMEOUT, NAME) };
        let agent = options.agent(url).map_err(|e| refused(url, e.to_string()))?;
        Ok(Self { agent, place })
    }

    /// Fetches credentials.
    pub fn fetch(&self) -> Result<Credentials, CredentialsError> {
        match &self.place {
            Place::Container { url, token } => {
                let token = token.as_ref().map(Token::read).transpose()?;
                let authorization = token.as_ref().map(|token| ("authorization", token.as_str()));
                let body = self.ask(url, authorization, false)?;
                parse(url, &body)
            }
            Place::Machine { base, is_given } => self.fetch_of_machine(base).map_err(|error| match error {
                // On machines outside AWS, nothing answers at this address.
                CredentialsError::Role { detail, is_temporary: true, .. } if !is_given => {
                    CredentialsError::Missing { why: format!("{base}: {detail}") }
                }
                other => other,
            }),
        }
    }

    fn fetch_of_machine(&self, base: &str) -> Result<Credentials, CredentialsError> {
        let wanted = Some(("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS));
        let url = format!("{base}/latest/api/token");
        let token = header_text(&url, &self.ask(&url, wanted, true)?)?;
        let token = Some(("x-aws-ec2-metadata-token", token.as_str()));
        let list = format!("{base}/latest/meta-data/iam/security-credentials/");
        let roles = self.ask(&list, token, false)?;
        let role = std::str::from_utf8(&roles).ok().and_then(|roles| roles.lines().next()).map(str::trim);
        let is_name = |role: &&str| {
            (1..=64).contains(&role.len())
                && role.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b))
        };
        let role = role.filter(is_name).ok_or_else(|| refused(&list, "it names no role".to_owned()))?;
        let url = format!("{list}{role}");
        parse(&url, &self.ask(&url, token, false)?)
    }

    /// Sends a GET or a PUT and returns the body of the answer.
    fn ask(
        &self,
        url: &str,
        header: Option<(&str, &str)>,
        is_put: bool,
    ) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
        let answer = if is_put {
            let mut request = self.agent.put(url);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            request.send_empty()
        } else {
            let mut request = self.agent.get(url);
            if let Some((name, value)) = header {
                request = request.header(name, value);
            }
            request.call()
        };
        let failed = |detail| CredentialsError::Role { url: url.to_owned(), detail, is_temporary: true };
        let mut answer = answer.map_err(|e| failed(in_words(url, &e)))?;
        let body = read_capped(&mut answer, MAX_ANSWER_BYTES).map_err(|e| failed(e.to_string()))?;
        let body = Zeroizing::new(body);
        match answer.status().as_u16() {
            200..=299 => Ok(body),
            status @ (408 | 429 | 500..) => Err(failed(format!("it answered {status}"))),
            404 => Err(refused(url, "it answered 404: the machine has no role".to_owned())),
            status => Err(refused(url, format!("it answered {status}"))),
        }
    }
}

impl Place {
    fn find(variables: &Variables<'_>) -> Result<Self, CredentialsError> {
        let malformed = |place: &str, expected: &str, seen: &str| {
            let source = FormatError::malformed("an address of credentials", expected, quote(seen));
            Err(CredentialsError::Malformed { place: place.to_owned(), source })
        };
        let relative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        let full = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let url = if let Some(path) = set(variables, relative) {
            if !path.starts_with('/') || format!("{CONTAINER}{path}").parse::<Uri>().is_err() {
                return malformed(relative, "a path that begins with /", &path);
            }
            Some(format!("{CONTAINER}{path}"))
        } else if let Some(url) = set(variables, full) {
            let uri = url.parse::<Uri>().ok();
            let scheme = uri.as_ref().and_then(Uri::scheme_str);
            let host = uri.as_ref().and_then(Uri::host).filter(|host| !host.is_empty());
            let is_allowed = match (scheme, host) {
                (Some("https"), Some(_)) => true,
                (Some("http"), Some(host)) => PLAIN_HOSTS.contains(&host),
                _ => false,
            };
            if !is_allowed {
                return malformed(full, "https://..., or http:// to this machine, ECS or EKS", &url);
            }
            Some(url)
        } else {
            None
        };
        if let Some(url) = url {
            let file = set(variables, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
            let text = set(variables, "AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Zeroizing::new);
            let token = file.map(|file| Token::File(file.into())).or(text.map(Token::Text));
            return Ok(Self::Container { url, token });
        }
        if set(variables, "AWS_EC2_METADATA_DISABLED").is_some_and(|is| is.eq_ignore_ascii_case("true")) {
            let why = "AWS_EC2_METADATA_DISABLED is set".to_owned();
            return Err(CredentialsError::Missing { why });
        }
        let variable = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
        let given = set(variables, variable);
        let base = given.as_deref().unwrap_or(MACHINE).trim_end_matches('/');
        if !base.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some()) {
            return malformed(variable, "http://HOST[:PORT]", base);
        }
        Ok(Self::Machine { base: base.to_owned(), is_given: given.is_some() })
    }
}

impl Token {
    fn read(&self) -> Result<Zeroizing<String>, CredentialsError> {
        let file = match self {
            Self::Text(text) => {
                return header_text("AWS_CONTAINER_AUTHORIZATION_TOKEN", text.as_bytes());
            }

            Self::File(file) => file,
        };
        let source =
            |source| CredentialsError::File { path: file.clone(), source: std::sync::Arc::new(source) };
        header_text(&file.display().to_string(), &Zeroizing::new(read_plain(file).map_err(source)?))
    }
}

/// A secret that a header can hold.
fn header_text(place: &str, bytes: &[u8]) -> Result<Zeroizing<String>, CredentialsError> {
    let text = std::str::from_utf8(bytes).map(str::trim).ok();
    let is_text = |text: &&str| !text.is_empty() && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let text = text.filter(is_text).map(|text| Zeroizing::new(text.to_owned()));
    text.ok_or_else(|| {
        let source = FormatError::malformed("a token", "one line of printable ASCII", "something else");
        CredentialsError::Malformed { place: place.to_owned(), source }
    })
}

fn refused(url: &str, detail: String) -> CredentialsError {
    CredentialsError::Role { url: url.to_owned(), detail, is_temporary: false }
}

fn parse(url: &str, body: &[u8]) -> Result<Credentials, CredentialsError> {
    let malformed = |expected: &str, seen: String| {
        let source = FormatError::malformed("an answer with credentials", expected, seen);
        CredentialsError::Malformed { place: url.to_owned(), source }
    };
    // The parser's error may quote a secret, so it is not shown.
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| malformed("JSON with AccessKeyId", "another".to_owned()))?;
    if let Some(code) = answer.code.filter(|code| code != "Success") {
        let detail = format!("it says {}", printable(&quote(&code)));
        return Err(CredentialsError::Role { url: url.to_owned(), detail, is_temporary: true });
    }
    let (Some(key), Some(secret)) = (answer.access_key_id, answer.secret_access_key) else {
        return Err(malformed("AccessKeyId and SecretAccessKey", "JSON without them".to_owned()));
    };
    let token = answer.token.as_ref().map(|token| token.as_str());
    let mut credentials = Credentials::new(&key, &secret, token)
        .map_err(|source| CredentialsError::Malformed { place: url.to_owned(), source })?;
    if let Some(expiration) = answer.expiration {
        let time = expiration.parse::<jiff::Timestamp>().ok();
        let time = time.and_then(|time| u64::try_from(time.as_second()).ok());
        let time = time.ok_or_else(|| malformed("a time in RFC 3339 as Expiration", quote(&expiration)))?;
        credentials.expires = Some(time);
    }
    Ok(credentials)
}
