//! Owns the way to a backend: the addresses of its host, tried side by side, and TLS on the first that answers.

use std::{io, net::SocketAddr, time::Duration};

use actix_rt::net::TcpStream;
use actix_service::Service;
use actix_tls::connect::{Connection, Host, rustls_0_23::TlsConnector};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::{TcpSocket, lookup_host},
    time::timeout,
};

use super::pool::{Io, io_words, tls};
use crate::{
    error::{Class, Failed},
    turn::Socket,
};

/// If an address has not answered within this, the next one is tried beside it, as RFC 8305, 5, recommends.
const HEAD_START: Duration = Duration::from_millis(250);

/// A host's name, or its IP address without brackets, against which a certificate is checked. The framework's own reading of a
/// string stops at the first colon and so cuts an IPv6 address.
struct Name(String);

impl Host for Name {
    fn hostname(&self) -> &str {
        &self.0
    }
}

/// Where a backend is.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) secure: bool,
    pub(super) connect_within: Duration,
}

impl Peer {
    /// Opens a connection within the time allowed.
    pub(super) async fn connect(&self) -> Result<Io, Failed> {
        let late = |_| Err(Failed::new(Class::ProviderTimeoutConnect, "no connection in time"));
        timeout(self.connect_within, self.open()).await.unwrap_or_else(late)
    }

    /// The addresses of its host, in the order in which they are tried.
    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, Failed> {
        match lookup_host((&*self.host, self.port)).await.map(in_turn) {
            Ok(found) if found.is_empty() => Err(addressless()),
            found => found.map_err(|error| unresolved(&error)),
        }
    }

    async fn open(&self) -> Result<Io, Failed> {
        let tcp = reach(self.resolve().await?).await?;
        // Without it a small request can wait for the acknowledgement of the one before.
        if let Err(error) = tcp.set_nodelay(true) {
            log::debug!("nodelay not set: {error}");
        }
        if !self.secure {
            return Ok(Io::Plain(Socket::new(tcp)));
        }
        let secured = TlsConnector::service(tls())
            .call(Connection::new(Name(self.host.clone()), tcp))
            .await
            .map_err(|error| self.unsecured(&error))?;
        Ok(Io::Secure(Box::new(secured.into_parts().0)))
    }

    /// Clients are told why, but no name: the error for a certificate that does not fit names the host that was asked and the
    /// one that answered.
    fn unsecured(&self, error: &io::Error) -> Failed {
        log::warn!("no TLS with {}:{}: {error}", self.host, self.port);
        let why = tls_words(error).unwrap_or_else(|| format!("the TLS handshake failed ({})", io_words(error)));
        Failed::new(Class::ProviderTransport, why)
    }
}

/// Why TLS refused a server, if that is the error.
pub(super) fn tls_words(error: &io::Error) -> Option<String> {
    error.get_ref().and_then(|error| error.downcast_ref()).map(handshake_words)
}

/// The verifier's word for a server that shows the certificate of an authority, as `openssl req -x509` makes them.
const AUTHORITYS: &str = "CaUsedAsEndEntity";

/// Why a backend is not trusted, in words that repeat nothing of its certificate.
fn handshake_words(error: &rustls::Error) -> String {
    use rustls::{CertificateError as Bad, Error::InvalidCertificate, Error::InvalidMessage};
    let words = match error {
        InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name"
        }
        InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => "its certificate has expired",
        InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => "its certificate is not valid yet",
        // An unknown key under the name of a known authority is an unknown authority.
        InvalidCertificate(
            Bad::UnknownIssuer | Bad::BadSignature | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
        ) => "its certificate is signed by nobody known here",
        InvalidCertificate(Bad::Other(other)) if other.0.to_string() == AUTHORITYS => {
            "its certificate is self-signed: that of an authority, which no server may show as its own"
        }
        InvalidCertificate(_) => "its certificate is not valid",
        InvalidMessage(_) => "it does not speak TLS",
        _ => "the TLS handshake failed",
    };
    words.to_owned()
}

/// Connects to the first of `addresses` that answers.
pub(super) async fn reach(addresses: Vec<SocketAddr>) -> Result<TcpStream, Failed> {
    let tcp = first(addresses, TcpStream::connect).await.ok_or_else(addressless)?;
    tcp.map_err(|error| unreachable(&error))
}

/// The addresses in the system's order, except that the families take turns (RFC 8305, 4): if one family is out of reach, the
/// other must not come last.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<_> = addresses.collect();
    let preferred = all.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        all.iter().partition(|address| address.is_ipv6() == preferred);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut turns = Vec::with_capacity(all.len());
    while turns.len() < all.len() {
        turns.extend([one.next(), other.next()].into_iter().flatten());
    }
    turns
}

/// The first connection that is made. The next address is tried as soon as one has failed or been silent for `HEAD_START`;
/// otherwise one that drops packets would use up the time for all. `None`: there is no address.
async fn first<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Option<io::Result<T>> {
    let mut addresses = addresses.into_iter();
    let mut tried = FuturesUnordered::new();
    let mut failed = None;
    loop {
        tried.extend(addresses.next().map(&connect));
        let outcome = match addresses.len() {
            0 => tried.next().await,
            _ => match timeout(HEAD_START, tried.next()).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            },
        };
        match outcome {
            Some(Err(error)) => failed = Some(Err(error)),
            Some(made) => return Some(made),
            None => return failed,
        }
    }
}

/// The process, or the system, has no file descriptor left: `EMFILE`, `ENFILE` in Linux's errno(3).
const NO_DESCRIPTOR: [i32; 2] = [24, 23];

fn lacks_descriptor(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR.contains(&code))
}

fn unreachable(error: &io::Error) -> Failed {
    if lacks_descriptor(error) { exhausted() } else { Failed::new(Class::ProviderTransport, io_words(error)) }
}

/// Resolvers need file descriptors, too. glibc says so when it gets none, except in a process that has resolved nothing
/// before, where it reports an unknown name. So we check whether the system still gives us a socket.
fn unresolved(error: &io::Error) -> Failed {
    let none_left = || TcpSocket::new_v4().is_err_and(|error| lacks_descriptor(&error));
    if lacks_descriptor(error) || none_left() { exhausted() } else { nameless(&error.to_string()) }
}

/// Not a backend's fault: no other could be reached either.
fn exhausted() -> Failed {
    Failed::new(Class::GatewayOverload, "it has no file descriptor left for another connection")
}

fn addressless() -> Failed {
    nameless("it has no address")
}

fn nameless(why: &str) -> Failed {
    Failed::new(Class::ProviderTransport, format!("its host name does not resolve ({why})"))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use tokio::time::{Instant, sleep};

    use super::*;

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|address| address.parse().expect("an address")).collect()
    }

    #[test]
    fn the_families_take_turns_and_the_systems_choice_is_first() {
        for (found, turns) in [
            (&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"][..], &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"][..]),
            (&["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"]),
            (&["1.1.1.1:1"], &["1.1.1.1:1"]),
            (&[], &[]),
        ] {
            assert_eq!(in_turn(addresses(found).into_iter()), addresses(turns));
        }
    }

    /// Which address is taken, and after what time, of addresses that do as `ports` say: answer after so many milliseconds;
    /// 0 is silent for ever, 1 refuses.
    async fn taken(ports: &[u16]) -> (Option<io::Result<u16>>, Duration, Vec<u16>) {
        let (begin, tried) = (Instant::now(), RefCell::new(Vec::new()));
        let connect = |to: SocketAddr| {
            tried.borrow_mut().push(to.port());
            async move {
                match to.port() {
                    0 => pending().await,
                    1 => return Err(io::ErrorKind::ConnectionRefused.into()),
                    after => sleep(Duration::from_millis(after.into())).await,
                }
                Ok(to.port())
            }
        };
        let all = ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
        let taken = first(all, connect).await;
        (taken, begin.elapsed(), tried.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_says_nothing_holds_up_the_next_for_a_moment_only() {
        for (ports, port, after, tried) in [
            (&[0, 0, 40, 50][..], 40, 540, &[0, 0, 40][..]),
            // Refused is known at once.
            (&[1, 1, 40], 40, 40, &[1, 1, 40]),
            (&[0, 1, 40], 40, 290, &[0, 1, 40]),
            // Slow is not silent: the first is not given up for the second.
            (&[300, 400], 300, 300, &[300, 400]),
            (&[200, 10], 200, 200, &[200]),
            (&[900], 900, 900, &[900]),
        ] {
            let (taken, time, asked) = taken(ports).await;
            assert_eq!(taken.map(Result::ok), Some(Some(port)), "{ports:?}");
            assert_eq!((time, &asked[..]), (Duration::from_millis(after), tried), "{ports:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_out_of_reach_when_all_of_its_addresses_are() {
        let (none, time, asked) = taken(&[1, 1]).await;
        assert!(matches!(none, Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused));
        assert_eq!((time, asked), (Duration::ZERO, vec![1, 1]));
        assert!(taken(&[]).await.0.is_none());
    }
}
