//! Addresses of host names, looked up once for many requests.
//!
//! The HTTP library asks for the addresses before every request, also if it has a connection to send it on, and its own
//! resolver starts a thread for each look-up, to give up in time, and panics if it can't.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::threads;

/// Time after which a name is looked up again.
const KEPT: Duration = Duration::from_secs(10);
/// Most addresses of a name: as many as the library takes.
const MOST: usize = 16;

/// Resolves host names through the system, and remembers the addresses for [`KEPT`]. An agent talks to one host, and at
/// most to a proxy besides, so there is little to remember.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    since: Instant,
    addresses: ResolvedSocketAddrs,
}

impl Addresses {
    fn known(&self, name: &str) -> Option<ResolvedSocketAddrs> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|known| known.since.elapsed() < KEPT).map(|known| known.addresses.clone())
    }

    fn keep(&self, name: String, addresses: ResolvedSocketAddrs) {
        let known = Known { since: Instant::now(), addresses };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, known);
    }
}

/// Asks the system, which has no time limit of its own, on a thread that is left behind when the time is over.
fn look_up(name: String, timeout: NextTimeout) -> Result<std::vec::IntoIter<SocketAddr>, ureq::Error> {
    let (tell, told) = sync_channel(1);
    let ask = move || tell.send(name.to_socket_addrs());
    threads::start("look-up", ask).map_err(io::Error::other)?;
    told.recv_timeout(*timeout.after)
        .map_err(|_| ureq::Error::Timeout(timeout.reason))?
        .map_err(ureq::Error::Io)
}

impl Resolver for Addresses {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let name = uri.scheme().zip(uri.authority());
        let name = name.and_then(|(scheme, host)| DefaultResolver::host_and_port(scheme, host));
        let name = name.ok_or(ureq::Error::HostNotFound)?;
        if let Ok(address) = name.parse::<SocketAddr>() {
            let mut addresses = self.empty();
            addresses.push(address);
            return Ok(addresses);
        }
        if let Some(known) = self.known(&name) {
            return Ok(known);
        }
        let mut addresses = self.empty();
        let found = look_up(name.clone(), timeout)?;
        config.ip_family().keep_wanted(found).take(MOST).for_each(|address| addresses.push(address));
        if addresses.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        self.keep(name, addresses.clone());
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use ureq::unversioned::transport::time;

    use super::*;

    fn resolve(addresses: &Addresses, url: &str) -> Result<Vec<SocketAddr>, ureq::Error> {
        let timeout = NextTimeout { after: time::Duration::from_secs(10), ..NextTimeout::default() };
        let found = addresses.resolve(&url.parse().unwrap(), &Config::default(), timeout);
        found.map(|found| found.to_vec())
    }

    #[test]
    fn an_address_is_what_it_says_and_a_name_is_looked_up_once() {
        let addresses = Addresses::default();
        for (url, address) in [
            ("http://127.0.0.1:81/path", "127.0.0.1:81"),
            ("http://192.0.2.7", "192.0.2.7:80"),
            ("https://[2001:db8::1]/", "[2001:db8::1]:443"),
        ] {
            assert_eq!(resolve(&addresses, url).unwrap(), [address.parse().unwrap()], "{url}");
        }
        assert!(addresses.known.lock().unwrap().is_empty());

        let found = resolve(&addresses, "http://localhost:82/").unwrap();
        assert!(found.iter().all(|found| found.ip().is_loopback() && found.port() == 82), "{found:?}");
        // What is remembered is used, and only for that name and port.
        let mut other = addresses.empty();
        other.push("192.0.2.9:82".parse().unwrap());
        addresses.keep("localhost:82".to_owned(), other);
        assert_eq!(resolve(&addresses, "http://localhost:82/").unwrap(), ["192.0.2.9:82".parse().unwrap()]);
        assert_eq!(resolve(&addresses, "http://localhost:83/").unwrap()[0].port(), 83);
        let long_ago = Instant::now().checked_sub(KEPT).unwrap();
        addresses.known.lock().unwrap().get_mut("localhost:82").unwrap().since = long_ago;
        assert_eq!(resolve(&addresses, "http://localhost:82/").unwrap(), found);
    }

    #[test]
    fn a_look_up_without_a_thread_fails() {
        let error =
            threads::limit::with(0, || resolve(&Addresses::default(), "http://localhost:82/")).unwrap_err();
        assert!(error.to_string().contains("could not start the thread look-up"), "{error}");
    }

    #[test]
    fn a_name_without_addresses_is_not_remembered() {
        let addresses = Addresses::default();
        assert!(resolve(&addresses, "http://no-such-host.invalid/").is_err());
        assert!(addresses.known.lock().unwrap().is_empty());
    }
}
