//! Where backends are: IPv6 addresses, with TLS and without.

use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::support::{
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::Settings,
    upstream::Upstream,
    within,
};

#[tokio::test]
async fn a_backend_at_an_ipv6_address_is_reached() {
    let addr = "[::1]:0".parse().expect("an address");
    let one = Upstream::start_at(addr, |_, _| Answer::says("hi")).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr)).await;
    let reply = proxy.hello().await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(one.last().head.get("host"), Some(format!("[::1]:{}", one.addr.port()).as_str()));
}

#[tokio::test]
async fn a_backend_at_an_ipv6_address_is_greeted_with_tls() {
    let listener = TcpListener::bind("[::1]:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let settings = Settings::new()
        .set("backends.one", &format!("protocol = \"openai\"\nbase_url = \"https://[::1]:{port}/v1\""))
        .set("models.m", "backends = [{ backend = \"one\" }]");
    let proxy = Proxy::start(&settings).await;
    let _asking = proxy.begin(HELLO).await;
    let mut begin = [0; 2];
    let (mut stream, _) = within("a connection", listener.accept()).await.expect("it listens");
    within("a greeting", stream.read_exact(&mut begin)).await.expect("it greets");
    assert_eq!(begin, [22, 3], "a TLS handshake record");
}
