//! Where backends are: IPv6 addresses, with TLS and without, and models whose names do not fit into a URL as they are.

use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::support::{
    process::run,
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
    let proxy = Proxy::before(&one).await;
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

const AZURE: &str = "protocol = \"openai\"\nstyle = \"azure\"\napi_version = \"v 1\"";

#[tokio::test]
async fn a_models_name_is_escaped_where_it_is_part_of_the_url() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "", "dep 1?#%", AZURE)).await;
    let reply = proxy.hello().await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let line = upstream.last().head.line;
    assert_eq!(line, "POST /openai/deployments/dep%201%3F%23%25/chat/completions?api-version=v%201 HTTP/1.1");
}

#[tokio::test]
async fn a_name_that_cannot_be_part_of_a_url_is_refused_where_it_has_to_be_one() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let validate = async |name: &str, lines: &str| {
        let settings = Settings::only("127.0.0.1:9".parse().expect("an address"), "", name, lines);
        std::fs::write(dir.path().join("greenroom.toml"), settings.toml()).expect("a temporary file can be written");
        run(dir.path(), &["validate", "greenroom.toml"], "").await
    };
    for name in ["..", "a/../b", "a//b", "./a", "a\\nb"] {
        for lines in [AZURE, "protocol = \"gemini\""] {
            let said = validate(name, lines).await;
            let told = said.err.contains("models.m.backends[0].model: cannot stand in a URL");
            assert_eq!((said.code, told), (Some(64), true), "{name}: {said:?}");
        }
        let said = validate(name, "protocol = \"openai\"").await;
        assert_eq!(said.code, Some(0), "{name}: {said:?}");
    }
    assert_eq!(validate("tuned/a b", "protocol = \"gemini\"").await.code, Some(0));
}
