//! Chooses the proxy of a request from the environment's variables, as curl does.
//!
//! | address | variable, the first that is set |
//! | --- | --- |
//! | `http://` | `http_proxy`, `all_proxy`, `ALL_PROXY` |
//! | `https://` | `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY` |
//!
//! `HTTP_PROXY` in capitals is not read: a web server sets it from a request's `Proxy` header. `no_proxy` or
//! `NO_PROXY` lists hosts to reach directly. Loopback addresses are always reached directly.

use std::net::{IpAddr, Ipv4Addr};

use ureq::Proxy;
use ureq::http::Uri;

use super::ClientError;

/// The proxy for requests to `url`, as the process's environment says.
///
/// # Errors
/// [`ClientError::Proxy`] if the variable that applies is not the address of a proxy.
pub(super) fn proxy_for(url: &str) -> Result<Option<Proxy>, ClientError> {
    choose(url, |name| std::env::var(name).ok())
}

fn choose(url: &str, env: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, ClientError> {
    let Some(uri) = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some()) else { return Ok(None) };
    let host = uri.host().expect("it was just seen");
    let set = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let names: &[&'static str] = if uri.scheme_str() == Some("https") {
        &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    } else {
        &["http_proxy", "all_proxy", "ALL_PROXY"]
    };
    let Some((variable, address)) = names.iter().find_map(|name| Some((*name, set(name)?))) else {
        return Ok(None);
    };
    let direct = set("no_proxy").or_else(|| set("NO_PROXY")).unwrap_or_default();
    if is_loopback(host) || is_listed(host, &direct) {
        return Ok(None);
    }
    // The address may hold a password, so the error does not quote it.
    Proxy::new(&address).map(Some).map_err(|_| ClientError::Proxy { variable })
}

/// The IP address that a URL's host is, if it is one.
fn as_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let ip = bare.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    ip.or_else(|| old_ipv4(bare).map(IpAddr::V4))
}

/// An IPv4 address in one of the older forms that resolvers accept, as in `inet_aton(3)`: one to four numbers, decimal,
/// octal behind `0` or hex behind `0x`, of which the last fills all bytes that are left.
fn old_ipv4(host: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| {
        let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (part, 10),
        };
        // The parser would accept a sign.
        let plain = digits.starts_with(|c: char| c.is_ascii_hexdigit());
        plain.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
    };
    let parts = host.split('.').map(number).collect::<Option<Vec<_>>>()?;
    let (last, bytes) = parts.split_last()?;
    let free = 32 - 8 * u32::try_from(bytes.len()).ok().filter(|count| *count < 4)?;
    if bytes.iter().any(|byte| *byte > 0xff) || u64::from(*last) >> free != 0 {
        return None;
    }
    let high = bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)) << free;
    u32::try_from(high | u64::from(*last)).ok().map(Ipv4Addr::from_bits)
}

fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    // RFC 6761 section 6.3: names under `localhost` are loopback as well.
    name == "localhost" || name.ends_with(".localhost") || is_this_machine(&name)
}

/// Connections to the unspecified address go to this machine as well.
fn is_this_machine(host: &str) -> bool {
    as_ip(host).is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Reports whether a `no_proxy` list names the host. Its items stand between commas or spaces: `*`, an address, a
/// network as `10.0.0.0/8`, or a domain, which stands for itself and everything under it.
fn is_listed(host: &str, list: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let names_host = |item: &str| {
        if item == "*" {
            return true;
        }
        if let Some(ip) = as_ip(host) {
            return as_ip(item) == Some(ip) || is_in_network(ip, item);
        }
        let domain = item.strip_prefix('*').unwrap_or(item).trim_matches('.').to_ascii_lowercase();
        !domain.is_empty()
            && name.strip_suffix(&domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    list.split([',', ' ', '\t']).filter(|item| !item.is_empty()).any(names_host)
}

fn is_in_network(ip: IpAddr, item: &str) -> bool {
    let Some((network, bits)) = item.split_once('/') else { return false };
    let (Some(network), Ok(bits)) = (as_ip(network), bits.parse::<u32>()) else { return false };
    let same = |a: u128, b: u128, width: u32| bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0);
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => same(ip.to_bits().into(), network.to_bits().into(), 32),
        (IpAddr::V6(ip), IpAddr::V6(network)) => same(ip.to_bits(), network.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host and port of the proxy for an address, with these variables set.
    fn chosen(url: &str, set: &[(&str, &str)]) -> Option<String> {
        let env = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let proxy = choose(url, env).expect("an address of a proxy");
        proxy.map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let set = [("http_proxy", "http://p:1"), ("https_proxy", "http://p:2"), ("ALL_PROXY", "http://p:3")];
        assert_eq!(chosen("http://log.example.com/a", &set).as_deref(), Some("p:1"));
        assert_eq!(chosen("https://log.example.com", &set).as_deref(), Some("p:2"));
        assert_eq!(chosen("http://log.example.com", &set[1..]).as_deref(), Some("p:3"));
        assert_eq!(chosen("http://log.example.com", &set[1..2]), None, "https_proxy is for https");
        assert_eq!(chosen("https://log.example.com", &set[..1]), None, "http_proxy is for http");
        assert_eq!(chosen("http://log.example.com", &[("HTTP_PROXY", "http://p:1")]), None, "as curl");
        assert_eq!(chosen("https://x.example", &[("HTTPS_PROXY", "p:4")]).as_deref(), Some("p:4"));
        assert_eq!(chosen("https://x.example", &[("https_proxy", "")]), None, "an empty one is not set");
        let lower_first = [("HTTPS_PROXY", "http://p:1"), ("https_proxy", "http://p:2")];
        assert_eq!(chosen("https://x.example", &lower_first).as_deref(), Some("p:2"));
    }

    #[test]
    fn loopback_is_never_proxied() {
        let set = [("http_proxy", "http://p:1"), ("https_proxy", "http://p:1"), ("all_proxy", "http://p:1")];
        for host in [
            "127.0.0.1",
            "127.9.8.7",
            "localhost",
            "LOCALHOST.",
            "log.localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "127.1",
            "127.1.",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "0.0.0.0",
            "0",
            "[::]",
        ] {
            for scheme in ["http", "https"] {
                assert_eq!(chosen(&format!("{scheme}://{host}:8080/x"), &set), None, "{host}");
            }
        }
        for host in [
            "128.0.0.1",
            "notlocalhost",
            "localhost.example.com",
            "[::2]",
            "128.1",
            "127.1.example.com",
            "8.8",
        ] {
            assert_eq!(chosen(&format!("http://{host}/"), &set).as_deref(), Some("p:1"), "{host}");
        }
    }

    #[test]
    fn old_forms_of_addresses_are_read_as_resolvers_do() {
        for (text, address) in [
            ("127.1", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("10.1.515", "10.1.2.3"),
            ("192.66051", "192.1.2.3"),
            ("2130706433", "127.0.0.1"),
            ("0x7F000001", "127.0.0.1"),
            ("017700000001", "127.0.0.1"),
            ("0300.0.2.0X7", "192.0.2.7"),
            ("0", "0.0.0.0"),
            ("4294967295", "255.255.255.255"),
        ] {
            assert_eq!(old_ipv4(text), Some(address.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            ".",
            "127.",
            ".1",
            "1.2.3.4.5",
            "256.1",
            "1.2.3.256",
            "1.16777216",
            "4294967296",
            "0x",
            "08",
            "+1",
            "a.b",
        ] {
            assert_eq!(old_ipv4(text), None, "{text}");
        }
    }

    #[test]
    fn no_proxy_lists_domains_addresses_and_networks() {
        for (list, host, direct) in [
            ("*", "log.example.com", true),
            ("example.com", "log.example.com", true),
            (".example.com", "example.com", true),
            ("*.example.com", "log.example.com", true),
            ("EXAMPLE.com.", "log.example.COM", true),
            ("other.org, example.com", "log.example.com", true),
            ("other.org example.com", "example.com", true),
            ("example.com", "notexample.com", false),
            ("log.example.com", "example.com", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.70", false),
            ("192.0.2.0/24", "192.0.2.70", true),
            ("192.0.2.0/24", "192.0.3.70", false),
            ("0.0.0.0/0", "192.0.3.70", true),
            ("192.0.2.0/33", "192.0.2.0", false),
            ("2001:db8::/32", "[2001:db8::7]", true),
            ("2001:db8::/32", "[2001:db9::7]", false),
            ("[2001:db8::7]", "[2001:db8::7]", true),
            ("0.2.7", "192.0.2.7", false),
            ("/", "192.0.2.7", false),
            (",. ", "log.example.com", false),
            ("*.", "log.example.com", false),
        ] {
            for name in ["no_proxy", "NO_PROXY"] {
                let set = [("all_proxy", "http://p:1"), (name, list)];
                let seen = chosen(&format!("http://{host}/"), &set);
                assert_eq!(seen.is_none(), direct, "{list} {host}");
            }
        }
    }

    #[test]
    fn an_address_that_is_none_is_named_and_not_quoted() {
        let env = |name: &str| (name == "https_proxy").then(|| "ftp://user:secret@proxy".to_owned());
        let error = choose("https://log.example.com", env).unwrap_err().to_string();
        assert!(error.contains("https_proxy") && !error.contains("secret"), "{error}");
        assert!(choose("http://log.example.com", env).unwrap().is_none());
        assert!(choose("https://localhost", env).unwrap().is_none(), "it does not matter there");
    }
}
