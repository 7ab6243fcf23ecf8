//! What is given to commands, taken for what it is: names, addresses and tokens, a Greenroom that cannot be asked, and limits.

use std::net::TcpListener;

use crate::support::{
    process::{Said, run},
    proxy::Proxy,
    script::reasoning,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

async fn said(args: &[&str], input: &str) -> Said {
    run(tempfile::tempdir().expect("a temporary directory can be made").path(), args, input).await
}

#[tokio::test]
async fn a_name_is_no_path_to_another_endpoint() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
    let url = format!("http://{}", proxy.addr);
    for name in ["a/drain#", "a/drain?", "a%2Fdrain%23", "../backends/a/drain#", "é b", ".", ".."] {
        let said = said(&["diagnose", name, "--url", &url, "--token", TOKEN], "").await;
        assert!(said.code == Some(2) && said.err.contains("There is no backend"), "{name}: {said:?}");
    }
    assert_eq!(said(&["diagnose", "", "--url", &url, "--token", TOKEN], "").await.code, Some(2));
    assert_eq!(proxy.report("a").await["state"], "healthy");
    let said = said(&["diagnose", "a", "--url", &url, "--token", TOKEN], "").await;
    assert!(said.out.starts_with("STEP"), "{said:?}");
}

#[tokio::test]
async fn a_greenroom_that_cannot_be_asked_is_no_backend_that_fails() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
    let url = format!("http://{}", proxy.addr);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = format!("http://{}", taken.local_addr().expect("it is bound"));
    drop(taken);
    for names in [&["--backends", "a", "--model", "m"][..], &["--backends", "a"], &[]] {
        for (url, token, word) in [(&url, "wrong", "GREENROOM_TOKEN"), (&gone, TOKEN, &*gone)] {
            let said = said(&[&["check", "--url", url, "--token", token][..], names].concat(), "").await;
            assert!(said.code == Some(2) && said.err.contains(word) && said.out.is_empty(), "{names:?}: {said:?}");
        }
        let said = said(&[&["check", "--url", &url, "--token", TOKEN][..], names].concat(), "").await;
        assert_eq!(said.code, Some(0), "{names:?}: {said:?}");
    }
    let known = gone.replace("http://", "http://me:pass@word@");
    let said = said(&["check", "--url", &known, "--token", TOKEN], "").await;
    assert!(said.err.contains(&gone) && !said.err.contains("word") && !said.err.contains("me:"), "{said:?}");
}

#[tokio::test]
async fn the_base_url_that_clients_use_is_an_address_too() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr)).await;
    for end in ["/v1", "/v1/", "/"] {
        let url = format!("http://{}{end}", proxy.addr);
        let said = said(&["check", "--url", &url, "--token", TOKEN], "").await;
        assert_eq!(said.code, Some(0), "{end}: {said:?}");
    }
}

#[tokio::test]
async fn a_token_that_no_request_can_carry_has_no_digest() {
    for token in [" tok ", "t\u{e9}", "a\nb", "", "\n"] {
        let said = said(&["hash-token"], token).await;
        assert!(said.code == Some(1) && said.out.is_empty() && said.err.contains("token"), "{token:?}: {said:?}");
    }
    // `echo` ends it with a line end, which is none of it.
    for token in ["secret", "secret\n", "secret\r\n"] {
        let said = said(&["hash-token"], token).await;
        let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n";
        assert_eq!((said.code, &*said.out), (Some(0), digest), "{said:?}");
    }
}

#[tokio::test]
async fn a_model_that_reasons_is_asked_in_words_that_it_takes_once_it_has_said_so() {
    let one = Upstream::start(|_, ask| reasoning(&serde_json::from_slice(&ask.body).unwrap_or_default())).await;
    let proxy = Proxy::start(&Settings::new().backend("one", one.addr)).await;
    let url = format!("http://{}", proxy.addr);
    for args in [&["check"][..], &["check", "--streaming"], &["compare", "--prompt", "Why?"], &["benchmark"]] {
        let said = said(&[args, &["--url", &url, "--token", TOKEN]].concat(), "").await;
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    }
    assert_eq!(one.asked(), 2 * (1 + 1 + 1 + 3));
}
