//! The address that a request counts for, also behind reverse proxies.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};

/// The address that a request counts for.
///
/// [`serve`](super::serve) puts it into the extensions of each request. A program that serves a router of this
/// crate itself has three ways, best first: it inserts a `ClientAddress` there; it serves with
/// `into_make_service_with_connect_info::<SocketAddr>()`, and the peer's address counts; or it does neither,
/// and requests count for loopback: bounded in total, without a share for each network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(IpAddr);

/// An IPv4 address, or the 64 bits of an IPv6 address that one customer usually has.
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
    /// The network for what is scarcer than bytes: the 48 bits of IPv6 that one customer can have count as one.
    #[must_use]
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

impl ClientAddress {
    /// The client behind a connection from this address. If the address is one of `proxies`, the last address
    /// in `X-Forwarded-For` that is not one of them counts. Clients can forge the addresses before it.
    #[must_use]
    pub fn of(from: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> Self {
        let is_ours = |address| is_proxy(address, proxies);
        if !is_ours(from) {
            return Self(from);
        }
        let lines: Vec<&str> =
            headers.get_all(HEADER).iter().map(|line| line.to_str().unwrap_or("?")).collect();
        let mut named = lines.iter().flat_map(|line| line.split(',')).rev();
        let mut client = from;
        // A proxy that names no client is the client itself.
        while is_ours(client)
            && let Some(before) = named.next().and_then(|text| address(text.trim()))
        {
            client = before;
        }
        Self(client)
    }

    /// A client on this machine.
    #[must_use]
    pub const fn local() -> Self {
        Self(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
    }

    /// The client of a request with these extensions; [`local`](Self::local) where they name none.
    pub(super) fn in_request(extensions: &Extensions) -> Self {
        let named = extensions.get().copied();
        let peer = || extensions.get().map(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| Self(peer.ip()));
        named.or_else(peer).unwrap_or(Self::local())
    }

    /// The address that the request came from, or the one that a trusted proxy named.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.0
    }

    /// The network whose share the request uses. Loopback has none: it is the operator, or a proxy that the
    /// settings don't name, with all its clients behind it.
    #[must_use]
    pub fn network(self) -> Option<Network> {
        network(self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::in_request(&parts.extensions))
    }
}

/// The network whose share an address uses.
pub fn network(address: IpAddr) -> Option<Network> {
    (!address.to_canonical().is_loopback()).then(|| address.into())
}

/// Returns whether an address is that of a trusted proxy.
pub fn is_proxy(address: IpAddr, proxies: &[IpAddr]) -> bool {
    proxies.iter().any(|proxy| proxy.to_canonical() == address.to_canonical())
}

/// Each proxy appends the address that its request came from.
const HEADER: &str = "x-forwarded-for";

/// Reads `192.0.2.7` and `2001:db8::7`, also with a port, which some proxies write.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(from: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, line.parse().unwrap());
        }
        let proxies = ["127.0.0.1", "10.0.0.2", "2001:db8::2"].map(|proxy| proxy.parse().unwrap());
        ClientAddress::of(from.parse().unwrap(), &headers, &proxies).address().to_string()
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
    fn without_the_accept_loop_the_peer_counts_and_else_loopback() {
        let mut extensions = Extensions::new();
        assert_eq!(ClientAddress::in_request(&extensions), ClientAddress::local());
        let peer: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        extensions.insert(ConnectInfo(peer));
        assert_eq!(ClientAddress::in_request(&extensions).address(), peer.ip());
        extensions.insert(ClientAddress::local());
        assert_eq!(ClientAddress::in_request(&extensions), ClientAddress::local());
    }

    #[test]
    fn a_header_from_a_stranger_says_nothing() {
        assert_eq!(client_of("192.0.2.7", &[]), "192.0.2.7");
        assert_eq!(client_of("192.0.2.7", &["198.51.100.1"]), "192.0.2.7");
    }

    #[test]
    fn a_proxy_asks_for_the_last_address_that_it_names() {
        assert_eq!(client_of("127.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client_of("::ffff:127.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client_of("127.0.0.1", &["192.0.2.7:4711"]), "192.0.2.7");
        assert_eq!(client_of("127.0.0.1", &["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(client_of("127.0.0.1", &["198.51.100.1, 192.0.2.7"]), "192.0.2.7", "the first is a claim");
        assert_eq!(client_of("127.0.0.1", &["198.51.100.1", "192.0.2.7"]), "192.0.2.7", "in two lines");
        assert_eq!(
            client_of("127.0.0.1", &["198.51.100.1, 192.0.2.7, 10.0.0.2"]),
            "192.0.2.7",
            "two proxies"
        );
        assert_eq!(client_of("2001:db8::2", &["10.0.0.2, 127.0.0.1"]), "10.0.0.2", "nobody but proxies");
    }

    #[test]
    fn a_proxy_that_names_nobody_asks_for_itself() {
        for lines in [&[][..], &[""], &["unknown"], &["192.0.2.7, "], &["192.0.2.7, _hidden"]] {
            assert_eq!(client_of("127.0.0.1", lines), "127.0.0.1", "{lines:?}");
        }
        assert_eq!(client_of("127.0.0.1", &["192.0.2.7, x, 10.0.0.2"]), "10.0.0.2");
    }
}
