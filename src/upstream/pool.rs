//! Owns the connections to one backend from one worker: opened on demand, kept while idle, never shared with another backend.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_rt::net::TcpStream;
use actix_tls::connect::rustls_0_23::reexports::AsyncTlsStream;
use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep},
};

use super::dial::Peer;
use crate::{
    error::Failed,
    turn::{self, Socket},
};

/// Idle connections are closed when they have been found idle this often, which is after 10 to 15 s: below the usual idle
/// limits of load balancers in front of providers.
const SWEEPS: u32 = 3;

/// How often idle connections are checked. Each pool has one timer, and none while it is empty.
const SWEEP: Duration = Duration::from_secs(5);

/// A connection is closed when it is idle and this old, so that changed DNS records take effect.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A connection to the backend.
pub(super) struct Connection {
    pub(super) io: Io,
    /// Bytes that were read from it and not used yet.
    pub(super) buffer: BytesMut,
    opened: Instant,
    /// It has carried a request before, and may have died since.
    pub(super) reused: bool,
}

/// The pool.
pub(super) struct Pool {
    pub(super) peer: Peer,
    idle: Rc<RefCell<Vec<Idle>>>,
    /// A task checks the idle ones.
    swept: Rc<Cell<bool>>,
}

struct Idle {
    connection: Connection,
    /// How often it was found idle: a clock that costs requests nothing to read.
    sweeps: u32,
}

impl Pool {
    pub(super) fn new(peer: Peer) -> Self {
        Self { peer, idle: Rc::default(), swept: Rc::default() }
    }

    /// The most recently used connection that is still alive, or a new one.
    pub(super) async fn take(&self) -> Result<Connection, Failed> {
        while let Some(Idle { connection, .. }) = self.idle.borrow_mut().pop() {
            if is_quiet(&connection) {
                return Ok(Connection { reused: true, ..connection });
            }
        }
        self.open().await
    }

    /// A new connection.
    pub(super) async fn open(&self) -> Result<Connection, Failed> {
        // Boxed: most requests do not need it, and all would carry it.
        let io = Box::pin(self.peer.connect()).await?;
        Ok(Connection { io, buffer: BytesMut::new(), opened: Instant::now(), reused: false })
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(super) fn give_back(&self, mut connection: Connection) {
        // Bytes behind the answer would be read as the answer to the next request, and the socket would not show them.
        if !connection.buffer.is_empty() || connection.io.has_decrypted() {
            return;
        }
        self.idle.borrow_mut().push(Idle { connection, sweeps: 0 });
        if !self.swept.replace(true) {
            actix_rt::spawn(sweep(Rc::downgrade(&self.idle), self.swept.clone()));
        }
    }
}

/// Closes connections that are idle for too long or were closed by their peers, until none is idle or the pool is gone.
async fn sweep(idle: Weak<RefCell<Vec<Idle>>>, swept: Rc<Cell<bool>>) {
    loop {
        sleep(SWEEP).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.borrow_mut();
        let now = Instant::now();
        idle.retain_mut(|idle| {
            idle.sweeps += 1;
            idle.sweeps < SWEEPS && now - idle.connection.opened < LIFETIME && is_quiet(&idle.connection)
        });
        if idle.is_empty() {
            swept.set(false);
            return;
        }
    }
}

/// Nothing has come since the last answer. The runtime knows without a system call if the peer has closed or sent something
/// out of turn.
fn is_quiet(Connection { io, buffer, .. }: &Connection) -> bool {
    buffer.is_empty() && io.is_drained() && !io.is_readable()
}

/// An input/output error in words that name the side at fault.
pub(super) fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "it reset the connection".to_owned()
        }
        // The error text of TLS for this is the URL of a manual.
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

/// TLS as clients speak it: the system's roots, ring's ciphers.
pub(super) fn tls() -> Arc<rustls::ClientConfig> {
    static TLS: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    TLS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            log::warn!("a system certificate cannot be used: {error}");
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    })
    .clone()
}

/// A socket, secured or not.
pub(super) enum Io {
    Plain(Socket),
    Secure(Box<AsyncTlsStream<TcpStream>>),
}

impl Io {
    /// Nothing of a request is still held back.
    fn is_drained(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_drained(),
            // Flushed with each request.
            Self::Secure(_) => true,
        }
    }

    /// Whether more bytes have left the socket than were read: TLS decrypts whole records.
    fn has_decrypted(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Secure(io) => {
                let (mut byte, mut nobody) = ([0], Context::from_waker(Waker::noop()));
                Pin::new(io).poll_read(&mut nobody, &mut ReadBuf::new(&mut byte)).is_ready()
            }
        }
    }

    fn is_readable(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_readable(),
            Self::Secure(io) => turn::is_readable(io.get_ref().0),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Secure(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Secure(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Secure(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Secure(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken() -> (Pool, Connection, tokio::net::TcpListener) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let peer = Peer { host: "127.0.0.1".to_owned(), port, secure: false, connect_within: Duration::from_secs(5) };
        let pool = Pool::new(peer);
        let first = pool.take().await.expect("it listens");
        (pool, first, listener)
    }

    #[actix::test]
    async fn who_wants_a_new_connection_leaves_the_idle_ones_to_others() {
        let (pool, first, _listener) = taken().await;
        pool.give_back(first);
        assert!(!pool.open().await.expect("it listens").reused);
        assert!(pool.take().await.expect("it listens").reused);
    }

    #[actix::test]
    async fn a_connection_on_which_more_came_than_its_answer_is_closed_at_once() {
        let (pool, mut first, _listener) = taken().await;
        first.buffer.extend_from_slice(b"HTTP/1.1 200 OK");
        pool.give_back(first);
        assert!(pool.idle.borrow().is_empty());
    }
}
