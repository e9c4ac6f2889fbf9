//! Settings of a store, from options, the environment and a profile.

use std::path::PathBuf;
use std::time::Duration;

use super::credentials::Profile;
use super::{Address, BucketError};
use crate::format::{FormatError, decimal, quote};

/// Reads an environment variable.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads an environment variable. `None` if it is unset or only white space.
pub(super) fn set(variables: &Variables<'_>, name: &str) -> Option<String> {
    variables(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Reads a variable of this process's environment.
#[must_use]
pub fn process_variables(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit of a repeatable request, including retries.
const PATIENCE: Duration = Duration::from_secs(30);

/// Options of a store. `None` takes a setting from the environment, or else from the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// `http://HOST[:PORT]` or `https://HOST[:PORT]`. `None`: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the profile,
    /// or else Amazon's endpoint.
    pub endpoint: Option<String>,
    /// The region. `None`: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile, or `us-east-1` if there is an endpoint.
    pub region: Option<String>,
    /// True to name the bucket in the path instead of the host name. `None`: in the path if there is an endpoint.
    pub path_style: Option<bool>,
    /// A PEM file of certificate authorities to trust in addition to the system's. `None`: `AWS_CA_BUNDLE`, the
    /// profile.
    pub ca_file: Option<PathBuf>,
    /// True to leave payloads out of signatures. Only over TLS, which protects payloads in transit.
    pub unsigned_payload: bool,
    /// Time limit of one request: 15 s by default.
    pub timeout: Duration,
    /// Time limit of a connection attempt: 3 s by default.
    pub connect_timeout: Duration,
    /// Time limit of a repeatable request, including retries: 30 s by default.
    pub patience: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: None,
            ca_file: None,
            unsigned_payload: false,
            timeout: TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            patience: PATIENCE,
        }
    }
}

/// A store's resolved endpoint and addressing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The value of the `Host` header: the host, and the port unless it is the scheme's default.
    pub host: String,
    /// The path of the bucket; empty if the host name contains the bucket.
    pub base: String,
    pub region: String,
    pub ca_file: Option<PathBuf>,
}

impl Place {
    pub fn decide(
        address: &Address,
        options: &StoreOptions,
        variables: &Variables<'_>,
        profile: Option<&Profile>,
    ) -> Result<Self, BucketError> {
        let first = |given: Option<&str>, names: &[&str], key: &str| {
            let given = given.map(str::to_owned);
            let of_environment = || names.iter().find_map(|name| set(variables, name));
            let of_profile = || profile.and_then(|profile| profile.setting(key)).map(str::to_owned);
            given.or_else(of_environment).or_else(of_profile)
        };
        let names = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        let endpoint = first(options.endpoint.as_deref(), &names, "endpoint_url");
        let region = first(options.region.as_deref(), &["AWS_REGION", "AWS_DEFAULT_REGION"], "region");
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => {
                let expected = "--region or AWS_REGION for a bucket on AWS, or --endpoint for another store";
                return Err(
                    FormatError::malformed("the place of the bucket", expected, "none of them").into()
                );
            }
        };
        if !(1..=64).contains(&region.len())
            || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            let expected = "1 to 64 letters, digits and hyphens";
            return Err(FormatError::malformed("a region", expected, quote(&region)).into());
        }
        let (scheme, host) = if let Some(endpoint) = &endpoint {
            parse_endpoint(endpoint)?
        } else {
            let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            ("https", format!("s3.{region}.{domain}"))
        };
        if options.unsigned_payload && scheme != "https" {
            let expected =
                "an https endpoint for unsigned payloads: over http, anybody on the way could change them";
            return Err(
                FormatError::malformed("the settings of the store", expected, "an http endpoint").into()
            );
        }
        // A wildcard certificate does not match a host name that contains a bucket's dots.
        let is_dotted = address.bucket().contains('.');
        let path_style = options.path_style.unwrap_or(endpoint.is_some() || is_dotted);
        let (host, base) = if path_style {
            (host, format!("/{}", address.bucket()))
        } else {
            (format!("{}.{host}", address.bucket()), String::new())
        };
        let ca_file = first(None, &["AWS_CA_BUNDLE"], "ca_bundle").map(PathBuf::from);
        let ca_file = options.ca_file.clone().or(ca_file);
        Ok(Self { scheme, host, base, region, ca_file })
    }
}

/// Splits an endpoint into its scheme and the value of the `Host` header.
fn parse_endpoint(text: &str) -> Result<(&'static str, String), FormatError> {
    let malformed = || {
        let expected = "http://HOST[:PORT] or https://HOST[:PORT], without a path";
        FormatError::malformed("the endpoint of the store", expected, quote(text))
    };
    let (scheme, rest, port) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => ("http", rest, ":80"),
        (_, Some(rest)) => ("https", rest, ":443"),
        _ => return Err(malformed()),
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let uri: ureq::http::Uri = format!("{scheme}://{host}/").parse().map_err(|_| malformed())?;
    let is_plain = uri.path() == "/" && uri.query().is_none() && !host.contains(['@', '/', '?', '#', '%']);
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let port_of = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    let has_port = port_of.is_none_or(|port| decimal(port, 65_535).is_some_and(|port| port > 0));
    if !is_plain || !has_host || !has_port {
        return Err(malformed());
    }
    Ok((scheme, host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase()))
}
