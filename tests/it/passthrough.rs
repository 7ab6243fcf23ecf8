//! What crosses the proxy and what does not: bodies byte for byte, headers by list, credentials never.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::support::{
    client::Ask,
    proxy::{HELLO, HELLO_STREAM, Proxy},
    settings::{Settings, TOKEN},
    sse,
    upstream::{Answer, Upstream, completion},
    wire::End,
};

/// A body with everything that a parser and a writer between client and backend could spoil.
const ODD: &str = "\r\n{ \"temperature\" : 1.0, \"seed\":12345678901234567890123, \"p\": 1E+2,\"q\":-0.10,\t\"big\":1e400,\n \
    \"model\":\"m\", \"messages\":[{\"role\":\"user\",\"content\":\"h\\u00e9 \\/ \\ud83d\\ude00 é 日本 \\\"\"}],\"x\":{\"model\":\"no\",\
    \"backend\":\"neither\",\"stream\":7}, \"x\":{}, \"\":null , \"user\":\"\u{7f}\" } \n ";

fn one(upstream: &Upstream) -> Settings {
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
        ": a comment\n\n".to_owned(),
        sse::role().replace("data: ", "data:"),
        format!("event: message\nid: 7\n{}", sse::text("é\u{1f600}")),
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
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr)).await;
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
}

/// A member of an object: its key and its value as they are written.
type Member = (String, String);

fn blank() -> impl Strategy<Value = String> {
    "[ \n\r\t]{0,2}"
}

/// A string as it can be written in JSON.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -!#-\\[\\]-~]{0,4}",
        "[\u{a0}-\u{d7ff}\u{10000}-\u{10ffff}]{1,2}",
        prop::sample::select(vec![
            "\\\"",
            "\\\\",
            "\\/",
            "\\n",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\\u0000",
            "{",
            "}",
            ",",
            "backend"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A word, with some of its letters written as escapes.
fn spelled(word: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::bool::weighted(0.2), word.len()).prop_map(move |escape| {
        let letter = |(c, escape): (char, bool)| if escape { format!("\\u{:04x}", c as u32) } else { c.to_string() };
        format!("\"{}\"", word.chars().zip(escape).map(letter).collect::<String>())
    })
}

fn value() -> impl Strategy<Value = String> {
    let number = ["0", "-0", "1.0", "1e400", "-1.50E-7", "12345678901234567890123", "true", "false", "null"];
    let leaf = prop_oneof![string(), prop::sample::select(number.to_vec()).prop_map(str::to_owned)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let key = prop_oneof![string(), Just("\"backend\"".to_owned()), Just("\"model\"".to_owned())];
        let member = (key, blank(), inner.clone()).prop_map(|(k, b, v)| format!("{k}{b}:{v}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..3), blank()).prop_map(|(items, b)| format!("[{b}{}]", items.join(","))),
            (prop::collection::vec(member, 0..3), blank())
                .prop_map(|(members, b)| format!("{{{}{b}}}", members.join(","))),
        ]
    })
}

/// Members that a gateway has no business with, some of them with the names of other endpoints' members.
fn strangers() -> impl Strategy<Value = Vec<Member>> {
    let named = prop::sample::select(vec!["input", "prompt", "temperature", "models", "Backend", "model "])
        .prop_flat_map(spelled);
    let any = string().prop_map(|s| format!("\"x{}", &s[1..]));
    prop::collection::vec((prop_oneof![3 => any, 1 => named], value()), 0..5)
}

/// All members of a request in any order, and whether it goes by the name that the backend uses.
fn request() -> impl Strategy<Value = (Vec<Member>, bool)> {
    let model = prop_oneof![spelled("m"), spelled("alias")];
    let pin = prop::option::of((spelled("backend"), spelled("one")));
    let stream =
        prop::option::of((spelled("stream"), prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned)));
    let messages = (spelled("messages"), value().prop_map(|v| format!("[{v}]")));
    (strangers(), (spelled("model"), model), messages, pin, stream)
        .prop_map(|(mut members, model, messages, pin, stream)| {
            let same = serde_json::from_str::<String>(&model.1).is_ok_and(|name| name == "m");
            members.extend([model, messages].into_iter().chain(pin).chain(stream));
            (members, same)
        })
        .prop_flat_map(|(members, same)| (Just(members).prop_shuffle(), Just(same)))
}

/// A request as text, each member with its own blanks, and the members' own texts.
fn written() -> impl Strategy<Value = (String, Vec<(Member, String)>, bool)> {
    request().prop_flat_map(|(members, same)| {
        let blanks = prop::collection::vec([blank(), blank(), blank(), blank()], members.len());
        (Just(members), blanks, Just(same)).prop_map(|(members, blanks, same)| {
            let (mut text, mut pieces) = ("{".to_owned(), Vec::new());
            for (n, ((key, value), [before, a, b, after])) in members.into_iter().zip(blanks).enumerate() {
                let comma = if n == 0 { "" } else { "," };
                let colon = format!("{a}:{b}");
                text += &format!("{comma}{before}{key}{colon}{value}{after}");
                pieces.push(((key, value), colon));
            }
            (text + "}", pieces, same)
        })
    })
}

/// What is left of `text` behind `piece`, with blanks before it skipped.
fn behind<'t>(text: &'t str, piece: &str) -> Result<&'t str, TestCaseError> {
    let text = text.trim_start_matches([' ', '\n', '\r', '\t']);
    text.strip_prefix(piece).ok_or_else(|| TestCaseError::fail(format!("no {piece:?} at {text:?}")))
}

#[test]
fn whatever_the_body_only_the_reserved_members_are_touched() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (upstream, proxy) = runtime.block_on(async {
        let upstream = Upstream::saying("hi").await;
        let proxy = Proxy::start(&one(&upstream)).await;
        (upstream, proxy)
    });
    let config = Config { cases: 300, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&written(), |(sent, pieces, same)| {
        let reply = runtime.block_on(proxy.chat(sent.clone()));
        prop_assert_eq!(reply.status(), 200, "{}", reply.text());
        let got = upstream.last().text();
        let is = |key: &str, word: &str| serde_json::from_str::<String>(key).is_ok_and(|key| key == word);
        let pinned = pieces.iter().any(|((key, _), _)| is(key, "backend"));
        if same && !pinned {
            prop_assert_eq!(&got, &sent);
        }
        let mut rest = behind(&got, "{")?;
        let kept: Vec<_> = pieces.iter().filter(|((key, _), _)| !is(key, "backend")).collect();
        for (n, ((key, value), colon)) in kept.iter().enumerate() {
            let value = if is(key, "model") && !same { "\"real-name\"" } else { value };
            rest = behind(if n == 0 { rest } else { behind(rest, ",")? }, &format!("{key}{colon}{value}"))?;
        }
        prop_assert_eq!(behind(rest, "}")?, "");
        Ok(())
    });
    drop(proxy);
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
