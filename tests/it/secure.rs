//! Backends behind TLS: their connections are used again, and nothing that they say out of turn is anybody's answer.

use std::{
    fmt::Display,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::support::{launch::Launch, proxy::Proxy, script::completion, settings::Settings};

/// A certificate for 127.0.0.1, of nobody but these tests.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBajCCARGgAwIBAgIBATAKBggqhkjOPQQDAjAdMRswGQYDVQQDDBJhIHNjcmlw
dGVkIGJhY2tlbmQwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMB0x
GzAZBgNVBAMMEmEgc2NyaXB0ZWQgYmFja2VuZDBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABBhsAj762QUov28ZvOJ5D0Dci2fIGZJSVKLZdEeovt/rMWfxLCCRxIfu
fF1UInXePyxfsUYqqlRass3BfAfY/x6jQDA+MA8GA1UdEQQIMAaHBH8AAAEwDAYD
VR0TAQH/BAIwADAdBgNVHQ4EFgQUt3NTk38rTWL2BdRAj77/UXVDdIYwCgYIKoZI
zj0EAwIDRwAwRAIgBguU7ltLVay0ZqeHUMs9LYIJKMq+toQYyy3UUetOM/0CIHPe
i7AL4BB8KxSiBDpMCGf2z3QOiBmBdcG9o/P1lnSj
-----END CERTIFICATE-----
";

/// One of an authority with the same key, as `openssl req -x509` makes them.
const AUTHORITYS: &str = "-----BEGIN CERTIFICATE-----
MIIBUzCB+aADAgECAgECMAoGCCqGSM49BAMCMB8xHTAbBgNVBAMMFGEgc2NyaXB0
ZWQgYXV0aG9yaXR5MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAf
MR0wGwYDVQQDDBRhIHNjcmlwdGVkIGF1dGhvcml0eTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABBhsAj762QUov28ZvOJ5D0Dci2fIGZJSVKLZdEeovt/rMWfxLCCR
xIfufF1UInXePyxfsUYqqlRass3BfAfY/x6jJDAiMA8GA1UdEQQIMAaHBH8AAAEw
DwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAwJ3j0GmF3YRnIRAa
Nf3C4aSMXLWsOOinEyK9HqWxU5MCIQCc+SYJLwrZ6A135y/nAPZkZ+x/g+r0NcQ9
T7KZ6EiPiw==
-----END CERTIFICATE-----
";

/// Its key, which guards nothing.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgwWgf8ubtdoBpeNWjLz+Fg10SB6/iAIwJEArcPf6JgayhRANC\
                   AAQYbAI++tkFKL9vGbzieQ9A3ItnyBmSUlSi2XRHqL7f6zFn8SwgkcSH7nxdVCJ13j8sX7FGKqpUWrLNwXwH2P8e";

/// A backend that gives each request these bytes, in one record, and counts its connections; without any it ends them.
fn backend(answer: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    backend_with(CERTIFICATE, answer)
}

fn backend_with(certificate: &str, answer: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("it is one");
    let key = PrivateKeyDer::try_from(STANDARD.decode(KEY).expect("it is base64")).expect("it is one");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks the default TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    let opened = Arc::new(AtomicUsize::new(0));
    let count = opened.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, SeqCst);
            let connection = ServerConnection::new(config.clone()).expect("it is sound");
            let (stream, answer) = (StreamOwned::new(connection, stream), answer.clone());
            thread::spawn(move || serve(stream, &answer));
        }
    });
    (addr, opened)
}

fn serve(mut stream: StreamOwned<ServerConnection, TcpStream>, answer: &[u8]) {
    let mut asked = Vec::new();
    let mut some = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut some) {
        asked.extend_from_slice(&some[..read]);
        // The smallest chat request is all that it is asked.
        if asked.ends_with(b"}]}") {
            asked.clear();
            if answer.is_empty() {
                return;
            }
            if stream.write_all(answer).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
    }
}

async fn proxy(addr: SocketAddr) -> (Proxy, tempfile::TempDir) {
    by_name(addr.ip(), addr.port()).await
}

/// A proxy whose backend is asked for by this name.
async fn by_name(host: impl Display, port: u16) -> (Proxy, tempfile::TempDir) {
    let roots = tempfile::tempdir().expect("a temporary directory can be made");
    let file = roots.path().join("roots.pem");
    std::fs::write(&file, CERTIFICATE).expect("a temporary file can be written");
    let settings = Settings::new()
        .set("failover", "max_attempts = 1")
        .set("backends.one", &format!("protocol = \"openai\"\nbase_url = \"https://{host}:{port}/v1\""))
        .set("models.m", "backends = [{ backend = \"one\" }]");
    let proxy = Launch::new(&settings).env("SSL_CERT_FILE", &file.to_string_lossy()).start().await;
    (proxy, roots)
}

/// An answer that says `text`, and more blanks, so many bytes long.
fn padded(text: &str, size: usize) -> Vec<u8> {
    let body = completion(text);
    let head = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
    };
    let length = size - head(size).len();
    format!("{}{body}{}", head(length), " ".repeat(length - body.len())).into_bytes()
}

#[tokio::test]
async fn a_connection_with_tls_is_used_again() {
    let (addr, opened) = backend(padded("hi", 4096));
    let (proxy, _roots) = proxy(addr).await;
    for _ in 0..3 {
        let reply = proxy.hello().await;
        assert_eq!((reply.status(), reply.text().contains("hi")), (200, true), "{reply:?}");
    }
    assert_eq!(opened.load(SeqCst), 1);
}

#[tokio::test]
async fn what_stands_behind_an_answer_in_its_record_is_not_the_next_requests_answer() {
    // As long as the room for reading, so that it is all that one read brings; and where the rest is read along with it.
    for size in [2048, 4096, 8192] {
        let (addr, opened) = backend([padded("hi", size), padded("somebody else's", 1024)].concat());
        let (proxy, _roots) = proxy(addr).await;
        for asked in 1..=4 {
            let reply = proxy.hello().await;
            assert!(reply.text().contains("hi") && !reply.text().contains("else's"), "{size}: {reply:?}");
            assert_eq!(opened.load(SeqCst), asked, "{size}");
        }
    }
}

#[tokio::test]
async fn clients_are_told_neither_the_name_of_a_backend_nor_those_in_its_certificate() {
    let (addr, _) = backend(padded("hi", 4096));
    let (proxy, _roots) = by_name("localhost", addr.port()).await;
    let reply = proxy.hello().await;
    let (code, message) = (&reply.json()["error"]["code"], reply.json()["error"]["message"].to_string());
    assert_eq!((reply.status(), code), (502, &"upstream_unreachable".into()), "{reply:?}");
    assert!(message.contains("its certificate is for another name"), "{message}");
    assert!(!reply.text().contains("localhost") && !reply.text().contains("127.0.0.1"), "{reply:?}");
    proxy.logged(&["no TLS with localhost", "127.0.0.1"]).await;
}

#[tokio::test]
async fn a_certificate_that_no_server_may_show_is_told_from_others_that_are_not_valid() {
    let (addr, _) = backend_with(AUTHORITYS, padded("hi", 4096));
    let (proxy, _roots) = proxy(addr).await;
    let message = proxy.hello().await.json()["error"]["message"].to_string();
    assert!(message.contains("its certificate is self-signed"), "{message}");
}

#[tokio::test]
async fn a_backend_that_ends_a_secured_connection_without_a_word_has_closed_it() {
    let (addr, _) = backend(Vec::new());
    let (proxy, _roots) = proxy(addr).await;
    let message = proxy.hello().await.json()["error"]["message"].to_string();
    assert!(message.contains("it closed the connection") && !message.contains("rustls"), "{message}");
}
