//! A process that has run out of file descriptors, or of memory: it says so, blames nobody else for it, and comes back by itself.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::{
    client::{Ask, Connection},
    eventually,
    launch::Launch,
    proxy::HELLO,
    script::{Answer, completion},
    settings::{Settings, TOKEN},
    upstream::Upstream,
    within,
};

/// What it may have open: a few dozen for itself, the rest for clients.
const FILES: usize = 96;

#[tokio::test]
async fn without_file_descriptors_it_says_so_blames_no_backend_and_recovers() {
    run_dry("127.0.0.1").await;
}

#[tokio::test]
async fn a_name_that_no_descriptor_is_left_to_look_up_is_no_backends_fault() {
    run_dry("localhost").await;
}

async fn run_dry(host: &str) {
    // Each request needs a connection of its own.
    let upstream = Upstream::always(Answer::json_with(200, "connection: close\r\n", &completion("hi"))).await;
    let backend =
        format!("protocol = \"openai\"\nbase_url = \"http://{host}:{}/v1\"\napi_key = \"key\"", upstream.addr.port());
    let settings = Settings::new()
        .set("backends.one", &backend)
        .set("models.m", "backends = [{ backend = \"one\" }]")
        .set(
            "users.limited",
            "token = \"limited\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nlimits = { tokens_per_day = 9000 }",
        )
        .set("history", "enabled = false");
    let proxy = Launch::new(&settings).files(FILES).start().await;
    let mut first = Connection::open(proxy.addr).await;
    eventually("the first client is let in", async || {
        first.send(&Ask::new("GET", "/livez")).await;
        (first.reply().await.status() == 200).then_some(())
    })
    .await;
    let mut crowd = Vec::new();
    let reply = eventually("a request finds none left", async || {
        crowd.push(Connection::open(proxy.addr).await);
        first.send(&Ask::chat(HELLO).bearer("limited")).await;
        let reply = first.reply().await;
        (reply.status() != 200).then_some(reply)
    })
    .await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (503, "gateway_overloaded"), "{reply:?}");
    assert!(reply.error("message").contains("file descriptor"), "{reply:?}");
    assert!(!reply.header("retry-after").is_empty());
    let used = 5 * (crowd.len() - 1);
    assert_eq!(reply.header("x-ratelimit-remaining-tokens"), (9000 - used).to_string(), "nobody has worked on it");
    crowd.push(Connection::open(proxy.addr).await);
    proxy.logged(&["actix_server::accept", "Too many open files", "ulimit -n"]).await;
    drop(crowd);
    eventually("the crowd is gone", async || (proxy.open_files() < FILES / 2 + 20).then_some(())).await;
    first.send(&Ask::chat(HELLO).bearer(TOKEN)).await;
    let reply = first.reply().await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let report = proxy.report("one").await;
    assert_eq!(
        (&report["state"], &report["last_error"]),
        (&serde_json::json!("healthy"), &serde_json::Value::Null),
        "{report}"
    );
}

#[tokio::test]
async fn one_that_cannot_start_ends_and_says_why_rather_than_let_its_clients_wait() {
    for history in ["enabled = false", "enabled = true"] {
        let settings = Settings::new().backend("one", ([127, 0, 0, 1], 9).into()).set("history", history);
        // The first limit with which it gets as far as to listen is too low for whoever is to serve, and to record.
        for files in 6.. {
            let said = Launch::new(&settings).files(files).until_ended().await;
            if said.out.contains("listening") {
                assert_eq!(said.code, Some(1), "{said:?}");
                assert!(said.err.contains("greenroom: Too many open files"), "{said:?}");
                assert_eq!(said.err.contains("history is not kept"), history.ends_with("true"), "{said:?}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn without_memory_for_a_body_its_request_is_refused_and_the_process_lives() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new().backend("one", upstream.addr).set("history", "enabled = false");
    let proxy = Launch::new(&settings).addresses(1536 << 20).start().await;
    // Each declares all that a body may have, and sends next to nothing of it.
    let head = Ask::new("POST", "/v1/chat/completions").bearer(TOKEN).header("content-length", &(32 << 20).to_string());
    let mut crowd = JoinSet::new();
    for _ in 0..64 {
        let mut client = Connection::open(proxy.addr).await;
        client.send(&head).await;
        client.send_bytes(b"{").await;
        crowd.spawn(async move { client.reply().await });
    }
    let reply = within("a request for which no memory is left", crowd.join_next()).await;
    let reply = reply.expect("it is one of the crowd").expect("it ends with an answer");
    assert_eq!((reply.status(), reply.error("code").as_str()), (503, "gateway_overloaded"), "{reply:?}");
    assert!(reply.error("message").contains("memory") && !reply.header("retry-after").is_empty(), "{reply:?}");
    assert_eq!(proxy.hello().await.status(), 200, "who needs none is served");
    drop(crowd);
    let long = HELLO.replace("Hello!", &"x".repeat(24 << 20));
    eventually("memory is there again", async || (proxy.chat(long.as_str()).await.status() == 200).then_some(())).await;
}

#[tokio::test]
async fn without_memory_for_an_answer_its_request_fails_and_the_process_lives() {
    let upstream = Upstream::start(|_, ask| {
        if !ask.text().contains("long") {
            return Answer::says("hi");
        }
        // It declares all that an answer may have, and sends next to nothing of it, in two pieces.
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", 64 << 20);
        Answer::new().raw(head + "{").work(Duration::from_millis(10)).raw(" ").hang()
    })
    .await;
    let settings = Settings::new().backend("one", upstream.addr).set("history", "enabled = false");
    let proxy = Launch::new(&settings).addresses(1536 << 20).start().await;
    let mut crowd = JoinSet::new();
    for _ in 0..48 {
        let mut client = proxy.begin(HELLO.replace("Hello!", "long")).await;
        crowd.spawn(async move { client.reply().await });
    }
    let reply = within("an answer for which no memory is left", crowd.join_next()).await;
    let reply = reply.expect("it is one of the crowd").expect("it ends with an answer");
    assert_eq!((reply.status(), reply.error("code").as_str()), (503, "gateway_overloaded"), "{reply:?}");
    assert!(reply.error("message").contains("memory"), "{reply:?}");
    assert_eq!(proxy.hello().await.status(), 200, "who needs none is served");
    let report = proxy.report("one").await;
    assert_eq!((&report["state"], &report["requests"]["failure"]), (&"healthy".into(), &0.into()), "{report}");
}
