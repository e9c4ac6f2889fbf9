//! A server that terminates TLS, like a reverse proxy, with a certificate of its own authority.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long each side is read before it is the other one's turn.
const TURN: Duration = Duration::from_millis(5);

pub struct TlsFront {
    /// `https://localhost:PORT`, with the path of the server behind it.
    pub url: String,
    /// The authority's certificate, in PEM.
    pub authority: String,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl TlsFront {
    /// Starts in front of the server at an `http` URL, with a certificate for these names.
    pub fn before(url: &str, names: &[&str]) -> Self {
        let rest = url.strip_prefix("http://").expect("a plain server");
        let (plain, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let plain: SocketAddr = plain.parse().expect("an address");
        let (config, authority) = certificate(names);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (config, stopped) = (config.clone(), stopped.clone());
                // The thread ends with the client's connection, or with the test.
                std::thread::spawn(move || pass(stream, config, plain, &stopped));
            }
        });
        Self { url: format!("https://localhost:{}{path}", address.port()), authority, address, stop }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// The TLS settings of a server with a certificate for these names, and the authority that signed it.
fn certificate(names: &[&str]) -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = || KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    let server_key = key();
    let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let params = CertificateParams::new(names).expect("names");
    let certificate = params.signed_by(&server_key, &issuer).expect("a certificate");
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .expect("a pair");
    (Arc::new(config), issuer.pem())
}

fn pass(
    client: TcpStream,
    config: Arc<ServerConfig>,
    plain: SocketAddr,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut server = TcpStream::connect(plain)?;
    server.set_read_timeout(Some(TURN))?;
    client.set_nodelay(true)?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(connection, client);
    // Complete the handshake first: it must not be cut short.
    client.flush()?;
    client.sock.set_read_timeout(Some(TURN))?;
    while !stop.load(Ordering::SeqCst) {
        if !copy_some(&mut client, &mut server)? || !copy_some(&mut server, &mut client)? {
            break;
        }
    }
    Ok(())
}

/// Copies the available bytes; returns false at the end.
fn copy_some(from: &mut impl Read, to: &mut impl Write) -> io::Result<bool> {
    let mut buffer = [0; 16 * 1024];
    match from.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(count) => to.write_all(&buffer[..count]).and_then(|()| to.flush()).map(|()| true),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(true),
        Err(e) => Err(e),
    }
}
