//! Sound: passed on byte for byte as it comes, in place of another's while nothing of that has come, and never ended in order where
//! it broke off.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    client::{Ask, Connection},
    proxy::Proxy,
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    upstream::Upstream,
    wire::End,
};

const PATH: &str = "/v1/audio/speech";

fn ask() -> Ask {
    Ask::post(PATH, r#"{"model":"m","input":"Hello!","voice":"alloy"}"#).bearer(TOKEN)
}

/// Sound of this type that has begun.
fn begun(kind: &str) -> Answer {
    Answer::new().raw(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"))
}

/// Bytes of every value, of which none means anything.
fn noise() -> Vec<u8> {
    let bytes = (0..=255).cycle().take(3000);
    b"data: ".iter().copied().chain(bytes).collect()
}

#[tokio::test]
async fn sound_is_passed_on_byte_for_byte_with_its_own_type() {
    let event = b"data: {\"type\":\"speech.audio.delta\",\"audio\":\"aGk=\"}\n\n".to_vec();
    for (kind, bytes) in [
        ("audio/mpeg", noise()),
        ("application/octet-stream", noise()),
        ("audio/pcm", b":\n\n\n".to_vec()),
        ("", noise()),
        ("text/event-stream", event),
    ] {
        let upstream = Upstream::always(begun(kind).chunk(&bytes).chunk(&bytes).end()).await;
        let settings = Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"openai\"");
        let proxy = Proxy::start(&settings).await;
        let reply = proxy.ask(&ask().header("x-greenroom-explain", "1")).await;
        assert_eq!((reply.status(), reply.end, reply.header("content-type")), (200, End::Clean, kind), "{reply:?}");
        assert_eq!(reply.body, [&*bytes, &*bytes].concat(), "{kind}");
        let seen = upstream.last();
        assert_eq!(seen.head.line, format!("POST {PATH} HTTP/1.1"));
        assert_eq!(seen.head.get("accept"), Some("*/*"));
        assert_eq!(seen.text(), r#"{"model":"theirs","input":"Hello!","voice":"alloy"}"#);
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        assert_eq!((&entry["outcome"], &entry["stream"]), (&json!("success"), &json!(true)), "{entry}");
    }
}

#[tokio::test]
async fn sound_reaches_its_client_while_the_rest_is_still_being_made() {
    let gate = Gate::new();
    let upstream = Upstream::always(begun("audio/mpeg").chunk("first").wait(&gate).chunk("last").end()).await;
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr)).await;
    let mut connection = Connection::open(proxy.addr).await;
    connection.send(&ask()).await;
    assert_eq!((connection.head().await.status(), connection.piece().await), (200, Some(b"first".to_vec())));
    gate.open();
    assert_eq!(connection.rest().await, (b"last".to_vec(), End::Clean));
}

#[tokio::test]
async fn what_is_no_sound_is_asked_of_another_backend_before_the_first_byte() {
    let typed = |kind: &str, body: &str| begun(kind).chunk(body).end();
    for bad in [
        Answer::json(500, "{}"),
        Answer::json(404, r#"{"detail":"Not Found"}"#),
        Answer::json(200, r#"{"error":{"message":"The voices are gone.","type":"server_error"}}"#),
        Answer::json(200, r#"{"stray":1}"#),
        typed("text/html", "<html>Sign in.</html>"),
        typed("text/plain; charset=utf-8", "Not now."),
        typed("application/problem+json", r#"{"title":"Not now."}"#),
        typed("", r#" {"error":"Not now."}"#),
        typed("", "<html>Sign in.</html>"),
        begun("audio/mpeg").end(),
        begun("audio/mpeg").close(),
    ] {
        let (bad, peer) = (Upstream::always(bad).await, Upstream::always(begun("audio/wav").chunk("RIFF").end()).await);
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        let reply = proxy.ask(&ask()).await;
        assert_eq!((reply.status(), reply.backend(), reply.text().as_str()), (200, "peer", "RIFF"), "{reply:?}");
        assert!(bad.asked() > 0);
    }
}

#[tokio::test]
async fn a_server_that_answers_speech_with_json_keeps_its_model_for_chat() {
    let upstream = Upstream::start(|_, ask| {
        if ask.head.line.contains("/chat/") { Answer::says("hi") } else { Answer::json(200, r#"{"audio":"aGk="}"#) }
    })
    .await;
    let settings = Settings::new().backend("one", upstream.addr).set("backends.one", "breaker_failures = 1");
    let proxy = Proxy::start(&settings).await;
    let reply = proxy.ask(&ask()).await;
    assert_eq!((reply.status(), reply.error("param").as_str()), (400, "model"), "{reply:?}");
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn sound_that_breaks_off_breaks_off_its_clients_connection_and_says_nothing_in_between() {
    let cut = begun("audio/mpeg").chunk("half").close();
    let (cut, peer) = (Upstream::always(cut).await, Upstream::always(begun("audio/mpeg").chunk("whole").end()).await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&cut, &peer)).await;
    let reply = proxy.ask(&ask()).await;
    assert_eq!((reply.status(), reply.text().as_str(), reply.end), (200, "half", End::Truncated), "{reply:?}");
    assert_eq!(peer.asked(), 0);
    let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
    assert_eq!(entry["class"], "provider_stream_cut", "{entry}");
}

#[tokio::test]
async fn events_of_sound_that_fail_do_so_in_an_event_and_elsewhere_before_the_first() {
    let sse = || begun("text/event-stream");
    let sound = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"aGk=\"}\n\n";
    let done = "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":14,\"output_tokens\":101}}\n\n";
    let fault = "data: {\"error\":{\"message\":\"No voice.\",\"type\":\"server_error\"}}\n\n";
    for (first, status) in [(fault, End::Clean), (sound, End::Truncated)] {
        let bad = Upstream::always(sse().chunk(first).chunk(fault).end()).await;
        let peer = Upstream::always(sse().chunk(sound).chunk(done).end()).await;
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        let reply = proxy.ask(&ask()).await;
        assert_eq!((reply.status(), reply.end, reply.header("content-type")), (200, status, "text/event-stream"));
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        if status == End::Clean {
            assert_eq!((reply.backend(), reply.text()), ("peer", [sound, done].concat()));
            assert_eq!(json!([entry["tokens_in"], entry["tokens_out"]]), json!([14, 101]), "{entry}");
            // Events are no single tokens, so they tell nothing of the time from one to the next.
            let page = proxy.get("/metrics").await.text();
            let paced = page
                .lines()
                .find(|line| line.starts_with("greenroom_time_per_output_token_seconds_count{backend=\"peer\""));
            assert!(paced.is_none_or(|line| line.ends_with(" 0")), "{paced:?}");
        } else {
            assert!(reply.text().starts_with(&format!("{sound}data: {{\"error\":{{")), "{reply:?}");
            assert_eq!((&entry["class"], peer.asked()), (&json!("provider_server"), 0), "{entry}");
        }
    }
}

#[tokio::test]
async fn events_of_sound_that_end_within_one_are_not_ended_in_order() {
    let sound = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"aGk=\"}\n\n";
    for (last, end) in [
        (&sound[..40], End::Truncated),
        (sound.trim_end(), End::Clean),
        (": a comment", End::Clean),
        ("event: speech", End::Truncated),
    ] {
        let one = Upstream::always(begun("text/event-stream").chunk(sound).chunk(last).end()).await;
        let proxy = Proxy::before(&one).await;
        let reply = proxy.ask(&ask()).await;
        assert_eq!((reply.status(), reply.end), (200, end), "{reply:?}");
        assert_eq!(reply.text().contains("\"error\""), end == End::Truncated, "{reply:?}");
    }
}

#[tokio::test]
async fn an_event_of_sound_may_be_longer_than_those_of_chat() {
    let sound =
        |bytes: usize| format!("data: {{\"type\":\"speech.audio.delta\",\"audio\":\"{}\"}}\n\n", "A".repeat(bytes));
    for said in [sound(17 << 20), sound(4) + &sound(17 << 20)] {
        let one = Upstream::always(begun("text/event-stream").chunk(&said).end()).await;
        let proxy = Proxy::before(&one).await;
        let reply = proxy.ask(&ask()).await;
        assert_eq!((reply.status(), reply.end, reply.body.len()), (200, End::Clean, said.len()));
        assert!(reply.text() == said, "another sound");
        assert_eq!(proxy.report("one").await["consecutive_failures"], 0);
    }
}

#[tokio::test]
async fn silence_puts_no_comment_into_sound() {
    let pause = Duration::from_millis(200);
    let sound = Answer::new().work(pause).then(begun("audio/mpeg").chunk("a").work(pause).chunk("b").end());
    let upstream = Upstream::always(sound).await;
    let quick = "keepalive_after = \"50ms\"\nkeepalive_every = \"50ms\"";
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr).set("failover", quick)).await;
    let reply = proxy.ask(&ask()).await;
    assert_eq!((reply.status(), reply.text().as_str(), reply.header("content-type")), (200, "ab", "audio/mpeg"));
}

#[tokio::test]
async fn silence_between_events_is_filled_as_in_chat_and_before_the_first_nothing_goes_out() {
    let sound = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"aGk=\"}\n\n";
    let gate = Gate::new();
    let late = begun("text/event-stream").chunk(": waiting\n\n").work(Duration::from_millis(200)).chunk(sound);
    let upstream = Upstream::always(late.wait(&gate).chunk(sound).end()).await;
    let quick = "keepalive_after = \"50ms\"\nkeepalive_every = \"50ms\"";
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr).set("failover", quick)).await;
    let mut connection = Connection::open(proxy.addr).await;
    connection.send(&ask()).await;
    assert_eq!(connection.head().await.get("x-greenroom-backend"), Some("one"));
    for frame in [sound.trim_end(), ": keepalive", ": keepalive"] {
        assert_eq!(connection.frame().await.as_deref(), Some(frame));
    }
    gate.open();
    let (rest, end) = connection.rest().await;
    assert!(rest.ends_with(sound.as_bytes()) && end == End::Clean, "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn what_stream_means_for_sound_is_left_to_its_server() {
    let upstream = Upstream::always(begun("audio/mpeg").chunk("a").end()).await;
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr)).await;
    for stream in ["true", "false"] {
        let body = format!(r#"{{"model":"m","input":"Hello!","stream":{stream},"stream_format":"sse"}}"#);
        let reply = proxy.ask(&Ask::post(PATH, body.clone()).bearer(TOKEN)).await;
        assert_eq!((reply.status(), upstream.last().text()), (200, body));
    }
    let missing = Ask::post(PATH, r#"{"model":"m"}"#).bearer(TOKEN);
    let reply = proxy.ask(&missing).await;
    assert_eq!((reply.error("code"), reply.error("param")), ("missing_required_parameter".into(), "input".into()));
}
