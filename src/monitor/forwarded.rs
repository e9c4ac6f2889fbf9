//! Who sent a request, where reverse proxies stand in front of the monitor.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// What each proxy appends the address to that it was asked from.
const HEADER: &str = "x-forwarded-for";

/// The address that counts: of those that proxies named, the last one that is no proxy of ours. What stands
/// before it anybody may have written.
pub fn sender(from: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> IpAddr {
    let is_ours = |address: IpAddr| proxies.iter().any(|ours| ours.to_canonical() == address.to_canonical());
    if !is_ours(from) {
        return from;
    }
    let lines: Vec<&str> = headers.get_all(HEADER).iter().map(|line| line.to_str().unwrap_or("?")).collect();
    let mut sender = from;
    for named in lines.iter().flat_map(|line| line.split(',')).rev() {
        // A proxy that names nobody sends for itself.
        let Some(address) = address(named.trim()) else { break };
        sender = address;
        if !is_ours(address) {
            break;
        }
    }
    sender
}

/// `192.0.2.7`, `2001:db8::7`, and with a port, as some write it.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(from: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, line.parse().unwrap());
        }
        let proxies = ["127.0.0.1", "10.0.0.2", "2001:db8::2"].map(|proxy| proxy.parse().unwrap());
        sender(from.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn a_stranger_is_who_it_is_whatever_it_says() {
        assert_eq!(who("192.0.2.7", &[]), "192.0.2.7");
        assert_eq!(who("192.0.2.7", &["198.51.100.1"]), "192.0.2.7");
    }

    #[test]
    fn a_proxy_sends_for_the_last_one_that_it_names() {
        assert_eq!(who("127.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(who("::ffff:127.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(who("127.0.0.1", &["192.0.2.7:4711"]), "192.0.2.7");
        assert_eq!(who("127.0.0.1", &["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(who("127.0.0.1", &["198.51.100.1, 192.0.2.7"]), "192.0.2.7", "the first is a claim");
        assert_eq!(who("127.0.0.1", &["198.51.100.1", "192.0.2.7"]), "192.0.2.7", "in two lines");
        assert_eq!(who("127.0.0.1", &["198.51.100.1, 192.0.2.7, 10.0.0.2"]), "192.0.2.7", "two proxies");
        assert_eq!(who("2001:db8::2", &["10.0.0.2, 127.0.0.1"]), "10.0.0.2", "nobody but proxies");
    }

    #[test]
    fn a_proxy_that_names_nobody_sends_for_itself() {
        for lines in [&[][..], &[""], &["unknown"], &["192.0.2.7, "], &["192.0.2.7, _hidden"]] {
            assert_eq!(who("127.0.0.1", lines), "127.0.0.1", "{lines:?}");
        }
        assert_eq!(who("127.0.0.1", &["192.0.2.7, x, 10.0.0.2"]), "10.0.0.2");
    }
}
