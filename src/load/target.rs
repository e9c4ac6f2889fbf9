//! The address of the server under load, in parts.

use std::net::SocketAddr;

use hyper::Uri;
use hyper::header::HeaderValue;

use super::LoadError;
use crate::format::quote;

/// A server and a prefix of its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT`, to be resolved.
    address: String,
    /// The value of the `Host` header.
    host: HeaderValue,
    /// Without a final slash.
    prefix: String,
    url: String,
}

impl Target {
    /// Reads `http://HOST[:PORT][/PREFIX]`.
    ///
    /// # Errors
    /// [`LoadError::Https`] for `https://`, [`LoadError::Address`] for anything else.
    pub fn parse(url: &str) -> Result<Self, LoadError> {
        if url.starts_with("https://") {
            return Err(LoadError::Https(quote(url)));
        }
        let wrong = || LoadError::Address(quote(url));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
        if uri.query().is_some() || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        // The parser ignores a malformed port; this rejects it.
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err(wrong());
        }
        Ok(Self {
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// The address as given, without a final slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The value of the `Host` header.
    pub(super) const fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The request target of a path below the prefix; the path may have a query.
    pub(super) fn uri(&self, path: &str) -> Result<Uri, LoadError> {
        let target = format!("{}/{}", self.prefix, path.trim_start_matches('/'));
        target.parse().map_err(|_| LoadError::Address(quote(&format!("{}{target}", self.url))))
    }

    /// The first address that the name resolves to.
    pub(super) async fn resolve(&self) -> Result<SocketAddr, LoadError> {
        let unknown = |detail: String| LoadError::Connect { url: self.url.clone(), detail };
        let mut found = tokio::net::lookup_host(&self.address).await.map_err(|e| unknown(e.to_string()))?;
        found.next().ok_or_else(|| unknown("the name has no address".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, address, path) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", "/add?wait=published"),
            ("http://[::1]:8080/", "[::1]:8080", "/add?wait=published"),
            ("http://log.example/a/b/", "log.example:80", "/a/b/add?wait=published"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(target.address, address);
            assert_eq!(target.uri("/add?wait=published").unwrap(), path);
        }
        for bad in [
            "",
            "log.example",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a b",
            "http://a?x",
            "http://u@a",
            "http://a:99999",
        ] {
            assert!(matches!(Target::parse(bad), Err(LoadError::Address(_))), "{bad}");
        }
        let https = Target::parse("https://log.example").unwrap_err().to_string();
        assert!(https.contains("behind the proxy"), "{https}");
    }
}
