//! Pages that ask from within a browser: those of origins on the list may, and nobody else is told a word of it.

use crate::support::{
    client::{Ask, Connection, Reply},
    proxy::{HELLO, HELLO_STREAM, stage},
    settings::TOKEN,
};

const PAGE: &str = "https://chat.example.com";

/// What a browser asks before it sends a page's request.
fn preflight(path: &str, page: &str) -> Ask {
    let ask = Ask::new("OPTIONS", path).header("origin", page).header("access-control-request-method", "POST");
    ask.header("access-control-request-headers", "authorization,content-type,x-stainless-lang")
}

fn told(reply: &Reply) -> Vec<(&str, &str)> {
    let of_browsers = |name: &str| name.starts_with("access-control-") || name == "vary";
    let lines = reply.head.headers.iter().filter(|(name, _)| of_browsers(name));
    lines.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn granted(page: &str) -> Vec<(&str, &str)> {
    vec![("access-control-allow-origin", page), ("access-control-expose-headers", "*"), ("vary", "origin")]
}

#[tokio::test]
async fn a_browser_that_asks_whether_a_page_may_send_is_told_without_a_token() {
    let (upstream, proxy) = stage(&format!("cors_origins = [\"app://obsidian.md\", \"{PAGE}\"]")).await;
    let mut connection = Connection::open(proxy.addr).await;
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/models", "/v1/models/m"] {
        for page in [PAGE, "app://obsidian.md"] {
            connection.send(&preflight(path, page)).await;
            let reply = connection.reply().await;
            let mut wanted = vec![
                ("access-control-allow-methods", "GET, HEAD, POST"),
                ("access-control-allow-headers", "authorization,content-type,x-stainless-lang"),
                ("access-control-max-age", "7200"),
            ];
            wanted.extend(granted(page));
            assert_eq!((reply.status(), told(&reply)), (200, wanted), "{path} {page}");
            assert!(reply.body.is_empty() && reply.header("x-request-id").starts_with("req_"), "{reply:?}");
        }
        for page in ["https://other.example.com", "https://chat.example.com:8443", "http://chat.example.com", "null"] {
            connection.send(&preflight(path, page)).await;
            let reply = connection.reply().await;
            assert_eq!((reply.status(), told(&reply)), (405, vec![]), "{path} {page}");
        }
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn every_answer_to_a_page_on_the_list_may_be_read_by_it() {
    for (list, page) in [(PAGE, PAGE), ("*", "http://localhost:8080")] {
        let (upstream, proxy) = stage(&format!("cors_origins = [\"{list}\"]")).await;
        let broken = Ask::chat("{").bearer(TOKEN);
        let ended = Ask::new("POST", "/v1/chat/completions").bearer(TOKEN).header("content-length", "99999999");
        for (ask, status) in [
            (Ask::chat(HELLO).bearer(TOKEN), 200),
            (Ask::chat(HELLO_STREAM).bearer(TOKEN), 200),
            (Ask::post("/v1/messages", HELLO).bearer("wrong"), 401),
            (broken, 400),
            (ended, 413),
            (Ask::new("GET", "/v1/models").bearer(TOKEN), 200),
            (Ask::new("GET", "/v1/nothing").bearer(TOKEN), 404),
            (Ask::new("GET", "/v1/responses").bearer(TOKEN), 405),
        ] {
            let reply = proxy.ask(&ask.clone().header("origin", page)).await;
            assert_eq!((reply.status(), told(&reply)), (status, granted(page)), "{reply:?}");
            // Who is no browser is told nothing.
            let reply = proxy.ask(&ask).await;
            assert_eq!((reply.status(), told(&reply)), (status, vec![]), "{reply:?}");
        }
        assert_eq!(upstream.asked(), 4);
        // What operators ask is for no page.
        for path in ["/admin/backends", "/metrics", "/livez"] {
            let reply = proxy.ask(&Ask::new("GET", path).bearer(TOKEN).header("origin", page)).await;
            assert_eq!((reply.status(), told(&reply)), (200, vec![]), "{path}");
            let reply = proxy.ask(&preflight(path, page)).await;
            assert_eq!((reply.status(), told(&reply)), (405, vec![]), "{path}");
        }
    }
}

#[tokio::test]
async fn without_a_list_pages_are_told_nothing_until_a_reload_brings_one() {
    let (_upstream, proxy) = stage("").await;
    let page = Ask::chat(HELLO).bearer(TOKEN).header("origin", PAGE);
    for (ask, status) in [(&page, 200), (&preflight("/v1/chat/completions", PAGE), 405)] {
        let reply = proxy.ask(ask).await;
        assert_eq!((reply.status(), told(&reply)), (status, vec![]), "{reply:?}");
    }
    let settings = std::fs::read_to_string(proxy.config()).expect("its settings");
    proxy.rewrite(&settings.replacen("[server]", &format!("[server]\ncors_origins = [\"{PAGE}\"]"), 1));
    let plan = proxy.post("/admin/reload").await;
    assert!(plan.status() == 200 && !plan.text().contains("server.cors_origins"), "{plan:?}");
    assert_eq!(told(&proxy.ask(&page).await), granted(PAGE));
    assert_eq!(proxy.ask(&preflight("/v1/chat/completions", PAGE)).await.status(), 200);
}
