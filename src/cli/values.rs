//! Values that several commands and settings files take, each parsed here and nowhere else. Malformed ones are rejected
//! before anything is done, and the error shows the expected form.

use std::net::Ipv6Addr;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::client::Wait;
use crate::endpoint::PackagePin;
use crate::format::parse_seconds;
use crate::merkle::LeafIndex;
use crate::release::{KeyFamily, Kind, Purl, PurlPattern};

impl ValueEnum for Wait {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Sequenced => "Durable, with an index; no proof file is written",
            Self::Published => "In a signed checkpoint that everybody is shown",
            Self::Witnessed => "In a checkpoint with the quorum of the log's witnesses",
        };
        Some(PossibleValue::new(self.as_str()).help(help))
    }
}

pub fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| "expected build, update, detection-rules or trust".to_owned())
}

pub fn parse_purl(text: &str) -> Result<Purl, String> {
    Purl::parse(text).map_err(|e| e.to_string())
}

pub fn parse_pin(text: &str) -> Result<PackagePin, String> {
    PackagePin::parse(text).map_err(|e| e.to_string())
}

pub fn parse_leaf(text: &str) -> Result<LeafIndex, String> {
    LeafIndex::parse(text).ok_or_else(|| "expected a decimal without leading zeros".to_owned())
}

/// Parses the scheme of an RSA key.
pub fn parse_scheme(text: &str) -> Result<KeyFamily, String> {
    let scheme = KeyFamily::parse(text).filter(|family| family.feature() == Some("rsa"));
    scheme.ok_or_else(|| "expected rsa-pkcs1-sha256 or rsa-pss-sha256".to_owned())
}

pub fn parse_pattern(text: &str) -> Result<PurlPattern, String> {
    PurlPattern::parse(text).map_err(|e| e.to_string())
}

/// Parses whole seconds, as in `90s`, `15m`, `24h`, `7d` or `1h 30m`. A day has 24 hours.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    parse_seconds(text).ok_or_else(|| "expected a number and a unit, as in 90s, 15m, 24h or 7d".to_owned())
}

/// The form of an address to listen on.
pub const LISTEN: &str = "HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080";
/// The form of a name that this program gives to a log or a witness. Others may have any name that c2sp.org allows.
pub const NAME: &str = "a name such as log.example.com/releases, a public address without https://, of letters, digits and .-_~:%/";

/// Whether this is an address to listen on: a port, and a host that may be a name.
pub fn is_listen(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let is_name = |host: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        !host.is_empty() && host.bytes().all(fits)
    };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    digits
        && port.parse::<u16>().is_ok()
        && v6.map_or_else(|| is_name(host), |v6| v6.parse::<Ipv6Addr>().is_ok())
}

/// Whether others can connect to this address: not to a wildcard address or port 0.
pub fn is_reachable(listen: &str) -> bool {
    let (host, port) = listen.rsplit_once(':').unwrap_or_default();
    !matches!(host, "0.0.0.0" | "[::]") && port.bytes().any(|digit| digit != b'0')
}

/// Whether a log or a witness may have this name for its whole life.
pub fn is_name(text: &str) -> bool {
    let fits =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~' | b':' | b'%' | b'/');
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..");
    text.len() <= 255 && text.bytes().all(fits) && text.split('/').all(is_segment)
}

/// Parses `--listen`.
pub fn parse_listen(text: &str) -> Result<String, String> {
    if is_listen(text) { Ok(text.to_owned()) } else { Err(format!("expected {LISTEN}")) }
}

/// Parses `--origin`, and a witness's `--name`.
pub fn parse_name(text: &str) -> Result<String, String> {
    if is_name(text) { Ok(text.to_owned()) } else { Err(format!("expected {NAME}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on() {
        for good in ["127.0.0.1:8080", "localhost:0", "[::1]:9001", "0.0.0.0:80", "log-1.example.com:65535"] {
            assert!(is_listen(good), "{good}");
        }
        for bad in [
            "",
            "1234",
            ":1234",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:65536",
            "127.0.0.1:+1",
            "::1:80",
            "[::1]",
            "[127.0.0.1]:80",
            "http://127.0.0.1:80",
            "a b:80",
            "127.0.0.1:80/log",
            "127.0.0.1:80 ",
        ] {
            assert!(parse_listen(bad).is_err(), "{bad}");
        }
        assert!(is_reachable("127.0.0.1:9001") && is_reachable("w.example.com:80"));
        assert!(!["0.0.0.0:9001", "[::]:9001", "127.0.0.1:0"].into_iter().any(is_reachable));
    }

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("2h", 7_200),
            ("24h", 86_400),
            ("30d", 2_592_000),
            ("1h 30m", 5_400),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(seconds), "{text}");
        }
        for bad in ["", "h", "24", "-1h", "1h ago", "99999999999999999d", "1é", "1mo", "1500ms", "PT1H"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_logs_and_witnesses() {
        for good in
            ["log.example.com/releases", "log.example.com", "localhost:8080/log", "w1", "a/b-c_d~e/%20"]
        {
            assert!(is_name(good), "{good}");
        }
        let long = "x".repeat(256);
        for bad in [
            "",
            "https://log.example.com",
            "http://log.example.com/x",
            "two words",
            "a+b",
            "log.example.com/",
            "/log",
            "a//b",
            "a/../b",
            "a\n",
            "a\"b",
            "log.example.com?x",
            "log.example.com#x",
            "l\u{f6}g.example",
            "a\\b",
            &long,
        ] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
