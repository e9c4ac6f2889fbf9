//! Who sent a request, also where reverse proxies stand in between.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

/// The address that a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender(IpAddr);

/// An IPv4 address, or what one customer has of IPv6: 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// The whole address.
    V4([u8; 4]),
    /// Its first half.
    V6([u8; 8]),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(*address.octets().first_chunk().expect("16 octets")),
        }
    }
}

impl Network {
    /// For what is scarcer than bytes: all that one customer can have of IPv6 is 48 bits, and counts as one.
    pub fn site(self) -> Self {
        match self {
            Self::V6(mut octets) => {
                octets[6..].fill(0);
                Self::V6(octets)
            }
            Self::V4(_) => self,
        }
    }
}

impl Sender {
    /// The client behind a connection from this address, according to trusted proxies.
    pub fn of(from: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> Self {
        Self(sender(from, headers, proxies))
    }

    /// Somebody on this machine.
    pub const fn local() -> Self {
        Self(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }

    /// The address that the request came from, or the one that a trusted proxy named.
    pub const fn address(self) -> IpAddr {
        self.0
    }

    /// The network whose share it uses. Loopback has none: it is the operator, or a proxy that the settings
    /// don't name, with all its clients behind it.
    pub fn network(self) -> Option<Network> {
        network(self.0)
    }
}

/// Whose share an address takes.
pub fn network(address: IpAddr) -> Option<Network> {
    (!address.to_canonical().is_loopback()).then(|| address.into())
}

/// Whether an address is that of a trusted proxy.
pub fn is_proxy(address: IpAddr, proxies: &[IpAddr]) -> bool {
    proxies.iter().any(|proxy| proxy.to_canonical() == address.to_canonical())
}

/// What each proxy appends the address to that it was asked from.
const HEADER: &str = "x-forwarded-for";

/// The address that counts: of those that proxies named, the last one that is no proxy of ours. What stands
/// before it anybody may have written.
fn sender(from: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> IpAddr {
    let is_ours = |address| is_proxy(address, proxies);
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
    fn a_network_is_an_address_or_half_of_one_and_loopback_is_none() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::7"), of("2001:db8:0:1:ffff::9"));
        assert_ne!(of("2001:db8:0:1::7"), of("2001:db8:0:2::7"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.6"), of("192.0.2.7"));
        let site = |text: &str| of(text).map(Network::site);
        assert_eq!(site("2001:db8:0:1::7"), site("2001:db8:0:ffff::7"));
        assert_ne!(site("2001:db8:0:1::7"), site("2001:db8:1:1::7"));
        assert_ne!(site("192.0.2.6"), site("192.0.2.7"));
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(loopback), None, "{loopback}");
        }
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
