//! What crosses the proxy and what does not: bodies byte for byte, headers by list, credentials never.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    client::Ask,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, completion},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
    within,
};

/// A body with everything that a parser and a writer between client and backend could spoil.
const ODD: &str = "\r\n{ \"temperature\" : 1.0, \"seed\":12345678901234567890123, \"p\": 1E+2,\"q\":-0.10,\t\"big\":1e400,\n \
    \"model\":\"m\", \"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9 \\/ \\ud83d\\ude00 é 日本 \\\"\"}],\"x\":{\"model\":\"no\",\
    \"backend\":\"neither\",\"stream\":7}, \"x\":{}, \"\":null , \"user\":\"\u{7f}\" } \n ";

/// A backend that calls `m` by the same name and `alias` by another.
pub(crate) fn one(upstream: &Upstream) -> Settings {
    Settings::new()
        .backend("one", upstream.addr)
        .set("defaults.backend", "ask_usage = false")
        .set("models.alias", "backends = [{ backend = \"one\", model = \"real-name\" }]")
}

#[tokio::test]
async fn a_body_for_a_model_of_the_same_name_arrives_byte_for_byte() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&one(&upstream)).await;
    let reply = proxy.chat(ODD).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(upstream.last().text(), ODD);
}

#[tokio::test]
async fn only_the_value_of_model_is_replaced_where_the_backend_calls_it_otherwise() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&one(&upstream)).await;
    let sent = ODD.replace("\"model\":\"m\"", "\"mod\\u0065l\" : \"al\\u0069as\"");
    let reply = proxy.chat(sent.clone()).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(reply.header("x-greenroom-upstream-model"), "real-name");
    assert_eq!(upstream.last().text(), sent.replace("\"al\\u0069as\"", "\"real-name\""));
}

#[tokio::test]
async fn the_backend_member_is_cut_out_with_one_comma_and_nothing_else() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&one(&upstream)).await;
    for (sent, kept) in [
        (r#"{"backend":"one","model":"m","messages":[]}"#, r#"{"model":"m","messages":[]}"#),
        (r#"{"model":"m","backend":"one","messages":[]}"#, r#"{"model":"m","messages":[]}"#),
        (r#"{"model":"m","messages":[],"backend":"one"}"#, r#"{"model":"m","messages":[]}"#),
        (r#"{"model":"m","messages":[],"b\u0061ckend":"\u006fne"}"#, r#"{"model":"m","messages":[]}"#),
    ] {
        let reply = proxy.chat(sent).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        assert_eq!(upstream.last().text(), kept);
    }
}

#[tokio::test]
async fn a_prompt_of_five_megabytes_arrives_byte_for_byte() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&one(&upstream)).await;
    let prompt = "0123456789abcdeé".repeat(5 * 64 * 1024);
    let sent = format!(r#"{{"model":"alias","messages":[{{"role":"user","content":"{prompt}"}}],"backend":"one"}}"#);
    let reply = proxy.chat(sent.clone()).await;
    assert_eq!(reply.status(), 200);
    let kept = sent.replace("\"alias\"", "\"real-name\"").replace(",\"backend\":\"one\"", "");
    assert!(upstream.last().text() == kept, "the body was changed on its way");
}

#[tokio::test]
async fn the_bytes_of_a_whole_answer_are_untouched() {
    let body = completion("hi").replace("\"created\"", " \"x\" : 1.50,\t\"é\":\"\\u00e9\\/\",\n\"created\"");
    let upstream = Upstream::always(Answer::json(200, &body)).await;
    let proxy = Proxy::start(&one(&upstream)).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), reply.text(), reply.end), (200, body, End::Clean));
}

#[tokio::test]
async fn the_bytes_of_a_stream_are_untouched() {
    let frames = [
        sse::role().replace("data: ", "data:"),
        format!("event: message\nid: 7\n{}", sse::text("é\u{1f600}")),
        ": a comment\n\n".to_owned(),
        sse::text("two ").replace('\n', "\r\n"),
        sse::text("three").replace("\"created\":", "\"created\" :  "),
        sse::finish(),
        sse::DONE.to_owned(),
    ];
    let answer = frames.iter().fold(Answer::stream(), Answer::chunk).end();
    let upstream = Upstream::always(answer).await;
    let proxy = Proxy::start(&one(&upstream)).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    assert_eq!((reply.status(), reply.text(), reply.end), (200, frames.concat(), End::Clean));
    assert!(reply.header("content-type").starts_with("text/event-stream"));
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(reply.header("x-accel-buffering"), "no");
}

#[tokio::test]
async fn credentials_and_private_headers_of_the_client_never_reach_a_backend() {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&one(&upstream).set("backends.one", "headers = { \"x-team\" = \"blue\" }")).await;
    let ask = Ask::chat(HELLO)
        .bearer(TOKEN)
        .header("cookie", "session=cookie-secret")
        .header("x-api-key", "header-secret")
        .header("api-key", "header-secret")
        .header("proxy-authorization", "Basic proxy-secret")
        .header("connection", "x-secret, keep-alive")
        .header("x-secret", "named-secret")
        .header("te", "trailers");
    assert_eq!(proxy.ask(&ask).await.status(), 200);
    let head = upstream.last().head;
    assert_eq!(head.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(head.all("authorization"), ["Bearer key-of-one"]);
    assert_eq!(head.all("x-team"), ["blue"]);
    assert_eq!(head.all("content-type"), ["application/json"]);
    assert_eq!(head.all("host"), [upstream.addr.to_string()]);
    let secrets: Vec<_> = head.headers.iter().filter(|(_, v)| v.contains("secret") || v.contains(TOKEN)).collect();
    assert!(secrets.is_empty(), "{secrets:?}");
    assert!(head.get("te").is_none() && head.get("proxy-authorization").is_none());
}

#[tokio::test]
async fn headers_of_an_answer_pass_by_a_list_and_repeated_ones_stay_repeated() {
    let headers = "set-cookie: a=b\r\nopenai-organization: org-secret\r\nserver: provider\r\nx-request-id: theirs\r\n\
        x-ratelimit-remaining-requests: 7\r\nopenai-processing-ms: 12\r\nwarning: 199 - \"one\"\r\nwarning: 199 - \"two\"\r\n\
        connection: x-hop\r\nx-hop: 1\r\nx-powered-by: them\r\n";
    let upstream = Upstream::always(Answer::json_with(200, headers, &completion("hi"))).await;
    let proxy = Proxy::start(&one(&upstream)).await;
    let reply = proxy.ask(&Ask::chat(HELLO).bearer(TOKEN).header("x-request-id", "mine-1.2_3")).await;
    for held_back in
        ["set-cookie", "openai-organization", "server", "x-ratelimit-remaining-requests", "x-hop", "x-powered-by"]
    {
        assert!(reply.head.get(held_back).is_none(), "{held_back} crossed: {reply:?}");
    }
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("openai-processing-ms"), "12");
    assert_eq!(reply.head.all("warning"), ["199 - \"one\"", "199 - \"two\""]);
    assert_eq!(reply.head.all("x-request-id"), ["mine-1.2_3"]);
    assert_eq!(reply.header("x-greenroom-upstream-request-id"), "theirs");
    assert_eq!(reply.backend(), "one");
    assert_eq!(reply.header("x-greenroom-upstream-model"), "m");
    assert_eq!(reply.header("x-greenroom-attempts"), "1");
    assert_eq!(reply.header("x-greenroom-route"), "only_candidate");
    assert!(reply.header("server-timing").contains("dur="));
}

#[tokio::test]
async fn a_providers_name_for_a_request_that_would_swell_the_head_is_not_told() {
    for (long, told) in [(256, true), (257, false), (5000, false)] {
        let id = "i".repeat(long);
        let headers = format!("x-request-id: {id}\r\n");
        let upstream = Upstream::always(Answer::json_with(200, &headers, &completion("hi"))).await;
        let reply = Proxy::start(&one(&upstream)).await.hello().await;
        assert_eq!(reply.head.get("x-greenroom-upstream-request-id"), told.then_some(&*id), "{long}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Upstream::saying("hi").await;
    let location = format!("location: http://{}/v1/chat/completions\r\n", elsewhere.addr);
    let upstream = Upstream::always(Answer::json_with(307, &location, "{}")).await;
    let proxy = Proxy::start(&one(&upstream).set("failover", "max_attempts = 1")).await;
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), elsewhere.asked()), (502, 0), "{reply:?}");
}

#[tokio::test]
async fn token_counts_are_asked_for_and_kept_from_a_client_that_did_not_ask() {
    let answer =
        Answer::stream().chunk(sse::text("hi")).chunk(sse::finish()).chunk(sse::usage(11, 22)).chunk(sse::DONE).end();
    let upstream = Upstream::always(answer).await;
    let proxy = Proxy::before(&upstream).await;
    let reply = proxy.chat(HELLO_STREAM).await;
    let sent = upstream.last().text();
    assert!(sent.starts_with(HELLO_STREAM.trim_end_matches('}')), "{sent}");
    let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["stream_options"]["include_usage"], true);
    assert_eq!(reply.text(), [sse::text("hi"), sse::finish(), sse::DONE.to_owned()].concat());
    proxy.logged(&["greenroom::request", "tokens_in=11", "tokens_out=22"]).await;
    // One that asked gets them, and its body is its own.
    let asking = HELLO_STREAM.replace("\"stream\":true", "\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    let reply = proxy.chat(asking.clone()).await;
    assert_eq!(upstream.last().text(), asking);
    assert!(reply.text().contains(&sse::usage(11, 22)));
    // One that says it wants none is served as one that says nothing; what is no option at all is for the backend to judge.
    for (options, sent) in [
        (r#"{"include_usage":false}"#, r#"{"include_usage":true}"#),
        (r#"{"include_usage":null}"#, r#"{"include_usage":true}"#),
        (r#""bad""#, r#""bad""#),
    ] {
        let with = |options: &str| asking.replace(r#"{"include_usage":true}"#, options);
        let reply = proxy.chat(with(options)).await;
        assert_eq!(upstream.last().text(), with(sent));
        assert_eq!(reply.text().contains(&sse::usage(11, 22)), options == sent, "{options}");
    }
}

#[tokio::test]
async fn an_idle_connection_that_its_backend_closes_is_closed_here_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let proxy = Proxy::start(&Settings::new().backend("one", addr)).await;
    let mut client = proxy.begin(HELLO).await;
    let (mut backend, _) = listener.accept().await.unwrap();
    let mut asked = vec![0; 4096];
    assert!(backend.read(&mut asked).await.unwrap() > 0);
    let body = completion("hi");
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    backend.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(client.reply().await.status(), 200);
    backend.shutdown().await.unwrap();
    // An orderly end from its side as well, though no request comes that would have needed the connection.
    assert_eq!(within("the end of the connection", backend.read(&mut asked)).await.unwrap(), 0);
}
