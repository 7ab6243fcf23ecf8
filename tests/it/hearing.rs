//! Recordings: forms whose bytes go on to a backend as they are, and what was heard, whole or as it comes.

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::support::{
    client::Ask,
    proxy::Proxy,
    script::Answer,
    settings::{Settings, TOKEN},
    upstream::Upstream,
    wire::End,
};

const PATH: &str = "/v1/audio/transcriptions";

const HEARD: &str =
    r#"{"text":"Hi.","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}"#;

/// A part of a form that is text.
fn field(name: &str, value: &str) -> Vec<u8> {
    format!("--q-Z\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").into_bytes()
}

/// A form with a recording of this many bytes, in which another model is named.
fn form(parts: &[Vec<u8>], bytes: usize) -> Vec<u8> {
    let sound = [b"\r\n--q-", &b"name=\"model\"\r\n\r\nother\r\n\0\xff"[..]].concat();
    let sound: Vec<u8> = sound.into_iter().cycle().take(bytes).collect();
    // A quote as Go's clients write it.
    let disposition = "Content-Disposition: form-data; name=\"file\"; filename=\"a\\\"b.wav\"";
    let head = format!("--q-Z\r\n{disposition}\r\nContent-Type: audio/wav\r\n\r\n");
    [head.as_bytes(), &sound, b"\r\n", &parts.concat(), b"--q-Z--\r\n"].concat()
}

fn post(path: &str, body: Vec<u8>) -> Ask {
    Ask::typed(path, "multipart/form-data; boundary=\"q-Z\"", body).bearer(TOKEN)
}

fn ask() -> Ask {
    post(PATH, form(&[field("model", "m")], 100))
}

fn typed(kind: &str, body: &str) -> Answer {
    Answer::new()
        .raw(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// Events of what was heard.
fn events() -> Answer {
    Answer::stream()
        .chunk("data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi.\"}\n\n")
        .chunk("data: {\"type\":\"transcript.text.done\",\"text\":\"Hi.\"}\n\n")
        .end()
}

#[tokio::test]
async fn a_form_goes_on_in_its_own_bytes_but_for_the_models_name_and_the_pin() {
    for (path, bytes) in [(PATH, 100), ("/v1/audio/translations", 300_000)] {
        let upstream = Upstream::always(Answer::json(200, HEARD)).await;
        let settings = Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"openai\"");
        let proxy = Proxy::start(&settings).await;
        let parts = |model: &str| [field("model", model), field("language", "en")];
        let sent = [&[field("backend", "only")][..], &parts("m")].concat();
        let reply = proxy.ask(&post(path, form(&sent, bytes))).await;
        assert_eq!((reply.status(), reply.text().as_str(), reply.backend()), (200, HEARD, "only"), "{reply:?}");
        assert_eq!((reply.header("x-greenroom-route"), reply.header("content-type")), ("pinned", "application/json"));
        let seen = upstream.last();
        assert_eq!(seen.head.line, format!("POST {path} HTTP/1.1"));
        let kinds = seen.head.headers.iter().filter(|(name, _)| name == "content-type").collect::<Vec<_>>();
        assert_eq!(kinds.len(), 1, "{kinds:?}");
        assert_eq!(seen.head.get("content-type"), Some("multipart/form-data; boundary=\"q-Z\""));
        assert!(seen.body == form(&parts("theirs"), bytes), "{}", seen.text());
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        assert_eq!(
            json!([entry["tokens_in"], entry["tokens_out"], entry["stream"]]),
            json!([14, 45, false]),
            "{entry}"
        );
    }
}

#[tokio::test]
async fn a_packed_form_goes_on_plain() {
    let upstream = Upstream::always(Answer::json(200, HEARD)).await;
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr)).await;
    let plain = form(&[field("model", "m")], 100_000);
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = packer.write_all(&plain).and_then(|()| packer.finish()).expect("memory is there");
    let reply = proxy.ask(&post(PATH, packed).header("content-encoding", "gzip")).await;
    assert_eq!((reply.status(), upstream.last().body == plain), (200, true), "{reply:?}");
}

#[tokio::test]
async fn what_was_heard_comes_back_in_whichever_format_it_was_asked_for() {
    for (kind, body) in [
        ("application/json", r#"{"text":"Hi.","usage":{"type":"duration","seconds":9}}"#),
        ("text/plain; charset=utf-8", "Hi.\n"),
        ("application/x-subrip", "1\n00:00:00,000 --> 00:00:01,000\nHi.\n"),
        ("text/vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\nHi.\n"),
        // As whisper.cpp's server calls any text.
        ("text/html; charset=utf-8", " Hi.\n"),
        // Of silence.
        ("text/plain", ""),
        ("text/plain", "It is {as it is said}\n"),
        ("text/plain", "{laughs} Hi there.\n"),
    ] {
        let upstream = Upstream::always(typed(kind, body)).await;
        let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr)).await;
        // Some models are not able to stream, and answer whole.
        for more in [&[][..], &[field("stream", "true")]] {
            let parts = [&[field("model", "m")][..], more].concat();
            let ask = post(PATH, form(&parts, 100))
                .header("x-greenroom-explain", if body.starts_with('{') { "0" } else { "1" });
            let reply = proxy.ask(&ask).await;
            assert_eq!((reply.status(), reply.text().as_str(), reply.end), (200, body, End::Clean), "{reply:?}");
            assert_eq!(reply.header("content-type"), kind);
            let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
            assert_eq!((&entry["outcome"], &entry["tokens_in"]), (&json!("success"), &json!(null)), "{entry}");
        }
    }
}

#[tokio::test]
async fn events_are_passed_on_as_they_come() {
    let upstream = Upstream::always(events()).await;
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr)).await;
    let ask = post(PATH, form(&[field("model", "m"), field("stream", "true")], 100));
    let reply = proxy.ask(&ask.header("x-greenroom-explain", "1")).await;
    assert_eq!((reply.status(), reply.end, reply.header("content-type")), (200, End::Clean, "text/event-stream"));
    assert_eq!(reply.events().len(), 2);
    assert!(reply.text().starts_with("data: ") && reply.text().ends_with("\"text\":\"Hi.\"}\n\n"), "{reply:?}");
}

#[tokio::test]
async fn what_is_no_transcript_is_asked_of_another_backend() {
    for bad in [
        Answer::json(500, "{}"),
        Answer::json(404, r#"{"detail":"Not Found"}"#),
        Answer::json(200, r#"{"error":{"message":"The ears are gone.","type":"server_error"}}"#),
        Answer::json(200, r#"{"stray":1}"#),
        typed("application/json", ""),
        typed("text/html", "<html>Sign in.</html>"),
        typed("text/html", "<head><title>Sign in.</title></head>"),
        // As older ones of whisper.cpp answer what is no WAV.
        Answer::json(200, r#"{"error":"failed to read WAV file"}"#),
        Answer::new().raw("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nHi").close(),
    ] {
        for more in [&[][..], &[field("stream", "true")]] {
            let (bad, peer) = (Upstream::always(bad.clone()).await, Upstream::always(Answer::json(200, HEARD)).await);
            let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
            let reply = proxy.ask(&post(PATH, form(&[&[field("model", "m")][..], more].concat(), 100))).await;
            assert_eq!((reply.status(), reply.backend(), reply.text().as_str()), (200, "peer", HEARD), "{reply:?}");
            assert!(bad.asked() > 0);
        }
    }
}

#[tokio::test]
async fn a_recording_that_cannot_be_read_is_told_as_its_clients_and_weighs_on_nobody() {
    for (status, says) in [
        (200, r#"{"error":"failed to read WAV file"}"#),
        (400, r#"{"error":"failed to read audio data"}"#),
        (200, r#"{"error":{"message":"Invalid audio.","type":"invalid_request_error"}}"#),
        (200, r#"{"object":"error","message":"Invalid audio.","type":"BadRequestError","code":400}"#),
    ] {
        let upstream = Upstream::always(Answer::json(status, says)).await;
        let settings = Settings::new().backend("one", upstream.addr).set("backends.one", "breaker_failures = 1");
        let proxy = Proxy::start(&settings).await;
        for asked in 1..3 {
            let reply = proxy.ask(&ask()).await;
            assert_eq!((reply.status(), upstream.asked()), (400, asked), "{reply:?}");
            let message = reply.json()["error"].to_string();
            assert!(message.contains("audio") || message.contains("WAV"), "{reply:?}");
        }
        assert_eq!(proxy.report("one").await["state"], "healthy", "{says}");
    }
}

#[tokio::test]
async fn events_that_begin_with_an_error_or_say_nothing_are_asked_of_another_backend() {
    let ask = || post(PATH, form(&[field("model", "m"), field("stream", "true")], 100));
    for bad in [
        "data: {\"error\":{\"message\":\"No ears.\",\"type\":\"server_error\",\"code\":500}}\n\n",
        ": waiting\n\nevent: error\ndata: {\"message\":\"No ears.\"}\n\ndata: {\"delta\":\"Hi.\"}\n\n",
        "data: {\"type\":\"error\",\"message\":\"No ears.\"}",
        "data: [DONE]\n\n",
        ": waiting\n\n",
    ] {
        let bad = Upstream::always(Answer::stream().chunk(bad).end()).await;
        let peer = Upstream::always(events()).await;
        let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
        let reply = proxy.ask(&ask()).await;
        assert_eq!((reply.status(), reply.backend(), reply.events().len()), (200, "peer", 2), "{reply:?}");
        assert_eq!((reply.end, bad.asked()), (End::Clean, 1));
    }
}

#[tokio::test]
async fn events_that_break_off_end_with_an_error_and_with_the_connection() {
    let begun = || Answer::stream().chunk("data: {\"type\":\"transcript.text.delta\",\"delta\":\"Hi.\"}\n\n");
    let fault = "data: {\"error\":{\"message\":\"sk-1 is gone.\",\"type\":\"server_error\"}}\n\n";
    for (answer, class) in [
        (begun().chunk(fault).end(), "provider_server"),
        (begun().chunk(fault.trim_end()).end(), "provider_server"),
        (begun().chunk("data: half").close(), "provider_stream_cut"),
    ] {
        let upstream = Upstream::always(answer).await;
        let proxy = Proxy::before(&upstream).await;
        let reply = proxy.ask(&post(PATH, form(&[field("model", "m"), field("stream", "true")], 100))).await;
        assert_eq!((reply.status(), reply.end, reply.events().len()), (200, End::Truncated, 2), "{reply:?}");
        assert!(reply.text().contains("\"error\":{") && !reply.text().contains("sk-1"), "{reply:?}");
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        assert_eq!(entry["class"], class, "{entry}");
    }
}

#[tokio::test]
async fn tokens_that_the_last_event_tells_are_counted_and_words_without_json_are_passed_on() {
    let counted = r#"{"type":"transcript.text.done","text":"Hi.","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}"#;
    let chunks = r#"{"object":"transcription.chunk","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#;
    for (said, tokens) in [
        (format!("data: {{\"delta\":\"Hi.\"}}\n\ndata: {counted}\n\n"), json!([14, 45])),
        (format!("data: {{\"choices\":[]}}\n\ndata: {chunks}\n\ndata: [DONE]\n\n"), json!([7, 2])),
        ("data: Hi.\n\ndata: {there}\n\n: done\n\n".to_owned(), json!([null, null])),
    ] {
        let upstream = Upstream::always(Answer::stream().chunk(&said).end()).await;
        let proxy = Proxy::before(&upstream).await;
        let reply = proxy.ask(&post(PATH, form(&[field("model", "m"), field("stream", "true")], 100))).await;
        assert_eq!((reply.status(), reply.end, reply.text()), (200, End::Clean, said), "{reply:?}");
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        assert_eq!(json!([entry["tokens_in"], entry["tokens_out"]]), tokens, "{entry}");
    }
}

#[tokio::test]
async fn a_recording_that_takes_its_time_is_heard_by_nobody_else_as_well() {
    let slow = Answer::new().work(Duration::from_millis(500));
    for (answer, parts) in [
        (Answer::json(200, HEARD), vec![field("model", "m")]),
        (events(), vec![field("model", "m"), field("stream", "true")]),
    ] {
        let slow = Upstream::always(slow.clone().then(answer)).await;
        let peer = Upstream::always(Answer::json(200, HEARD)).await;
        let settings = Settings::bad_and_peer(&slow, &peer).set("failover", "hedge_budget = 1.0");
        let proxy = Proxy::start(&settings.set("backends.bad", "first_token_soft = \"50ms\"")).await;
        let reply = proxy.ask(&post(PATH, form(&parts, 100))).await;
        assert_eq!((reply.status(), reply.backend(), peer.asked()), (200, "bad", 0), "{reply:?}");
    }
}

#[tokio::test]
async fn a_recording_counts_as_a_prompt_of_a_thousand_tokens_whatever_its_bytes_and_has_no_favourite() {
    let (one, two) =
        (Upstream::always(Answer::json(200, HEARD)).await, Upstream::always(Answer::json(200, HEARD)).await);
    let settings = Settings::new().backend("one", one.addr).backend("two", two.addr);
    let settings = settings.set("models.m", "prefix_affinity = true");
    let proxy = Proxy::start(&settings.set("users.tester.limits", "tokens_per_minute = 5000")).await;
    for _ in 0..30 {
        let reply = proxy.ask(&post(PATH, form(&[field("model", "m")], 100_000))).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
    }
    assert!(one.asked() > 0 && two.asked() > 0, "{} {}", one.asked(), two.asked());
}

#[tokio::test]
async fn what_is_no_form_or_names_no_model_is_told_what_to_send() {
    let upstream = Upstream::always(Answer::json(200, HEARD)).await;
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr)).await;
    let form_of = |parts: &[Vec<u8>]| post(PATH, form(parts, 10));
    let model = || field("model", "m");
    for (ask, code, param, says) in [
        (Ask::post(PATH, r#"{"model":"m"}"#).bearer(TOKEN), "invalid_header", "-", "multipart/form-data"),
        (Ask::typed(PATH, "multipart/form-data", form(&[model()], 9)).bearer(TOKEN), "invalid_header", "-", "boundary"),
        (
            Ask::typed(PATH, "multipart/form-data; boundary=x", form(&[model()], 9)).bearer(TOKEN),
            "invalid_form",
            "-",
            "end",
        ),
        (form_of(&[]), "missing_required_parameter", "model", "'model'"),
        (form_of(&[field("model", "")]), "invalid_value", "model", "non-empty"),
        (form_of(&[model(), model()]), "invalid_value", "model", "twice"),
        (form_of(&[model(), field("stream", "x")]), "invalid_value", "stream", "true or false"),
        (form_of(&[model(), field("backend", "")]), "invalid_backend", "backend", "backend"),
    ] {
        let reply = proxy.ask(&ask).await;
        let face = (reply.status(), reply.error("code"), reply.error("param"));
        assert_eq!(face, (400, code.to_owned(), param.to_owned()), "{reply:?}");
        assert!(reply.error("message").contains(says), "{reply:?}");
    }
    let reply = proxy.ask(&form_of(&[field("model", "other")])).await;
    assert_eq!(reply.face(), (404, "model_not_found".to_owned()));
    assert_eq!(upstream.asked(), 0);
    assert_eq!(proxy.ask(&ask()).await.status(), 200);
}
