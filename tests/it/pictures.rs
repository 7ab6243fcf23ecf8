//! Pictures: made or edited, whole or in events that each hold one, and told as broken off where they are.

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

const MAKE: &str = "/v1/images/generations";
const EDIT: &str = "/v1/images/edits";

const DRAWN: &str = r#"{"created":1,"data":[{"b64_json":"aGk="}],"usage":{"input_tokens":13,"output_tokens":1056,"total_tokens":1069}}"#;

/// A part of a form that is text.
fn field(name: &str, value: &str) -> String {
    format!("--Z\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// A form with two pictures, a mask and these fields.
fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let files = ["image[]", "image[]", "mask"].map(|name| {
        let head = format!("--Z\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\n");
        [head.as_bytes(), b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x1a\n\0\xff\r\n"].concat()
    });
    let fields: String = fields.iter().map(|(name, value)| field(name, value)).collect();
    [files.concat(), fields.into_bytes(), b"--Z--\r\n".to_vec()].concat()
}

fn edit(fields: &[(&str, &str)]) -> Ask {
    Ask::typed(EDIT, "multipart/form-data; boundary=Z", form(fields)).bearer(TOKEN)
}

/// Each way to ask for a stream of pictures.
fn streams() -> [Ask; 3] {
    let body = r#"{"model":"m","prompt":"A cat.","stream":true,"partial_images":1}"#;
    let fields = [("model", "m"), ("prompt", "A cat."), ("stream", "true"), ("partial_images", "1")];
    [Ask::post(MAKE, body).bearer(TOKEN), Ask::post(EDIT, body).bearer(TOKEN), edit(&fields)]
}

/// An event of OpenAI's with a picture.
fn event(kind: &str, more: &str) -> String {
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"b64_json\":\"aGk=\"{more}}}\n\n")
}

fn partial() -> String {
    event("image_generation.partial_image", ",\"partial_image_index\":0")
}

fn completed() -> String {
    event(
        "image_generation.completed",
        ",\"usage\":{\"input_tokens\":13,\"output_tokens\":1056,\"total_tokens\":1069,\"input_tokens_details\":{\"text_tokens\":13}}",
    )
}

#[tokio::test]
async fn pictures_to_be_edited_go_on_in_their_clients_own_bytes_as_a_form_or_in_json() {
    let upstream = Upstream::always(Answer::json(200, DRAWN)).await;
    let proxy = Proxy::start(&Settings::only(upstream.addr, "/v1", "theirs", "protocol = \"openai\"")).await;
    let form_of = |model: &str| form(&[("model", model), ("prompt", "A hat."), ("n", "2")]);
    let pinned = form(&[("backend", "only"), ("model", "m"), ("prompt", "A hat."), ("n", "2")]);
    let theirs = form_of("theirs");
    let json_of = |more: &str, model: &str| {
        format!(r#" {{{more}"model": "{model}", "image": {{"url": "https://example.com/a.png"}}, "prompt":"\u00e9"}}"#)
    };
    let (form_type, json_type) = ("multipart/form-data; boundary=Z", "application/json");
    for (kind, sent, got_type, got) in [
        (form_type, pinned, form_type, theirs),
        (json_type, json_of("\"backend\":\"only\",", "m").into(), json_type, json_of("", "theirs").into()),
        // What it is, and not what it is called, is what a backend is told.
        ("text/plain", json_of("\"backend\":\"only\",", "m").into(), json_type, json_of("", "theirs").into()),
    ] {
        let reply = proxy.ask(&Ask::typed(EDIT, kind, sent).bearer(TOKEN)).await;
        assert_eq!((reply.status(), reply.text().as_str(), reply.backend()), (200, DRAWN, "only"), "{reply:?}");
        assert_eq!(reply.header("x-greenroom-route"), "pinned");
        let seen = upstream.last();
        assert_eq!(seen.head.line, format!("POST {EDIT} HTTP/1.1"));
        let kinds: Vec<&str> =
            seen.head.headers.iter().filter(|(name, _)| name == "content-type").map(|(_, kind)| &**kind).collect();
        assert_eq!((kinds, seen.body == got), (vec![got_type], true), "{}", seen.text());
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        assert_eq!(
            json!([entry["tokens_in"], entry["tokens_out"], entry["stream"]]),
            json!([13, 1056, false]),
            "{entry}"
        );
    }
}

#[tokio::test]
async fn a_form_without_its_boundary_and_json_without_a_prompt_are_told_what_to_send() {
    let upstream = Upstream::always(Answer::json(200, DRAWN)).await;
    let proxy = Proxy::before(&upstream).await;
    for (ask, code, says) in [
        (Ask::typed(EDIT, "multipart/form-data", form(&[("model", "m")])), "invalid_header", "boundary"),
        (Ask::post(EDIT, form(&[("model", "m")])), "invalid_header", "multipart/form-data"),
        (Ask::post(EDIT, r#"{"model":"m"}"#), "missing_required_parameter", "prompt"),
        (Ask::post(EDIT, r#"{"prompt":"A hat."}"#), "missing_required_parameter", "model"),
        (Ask::post(EDIT, r#"{"model":"m","prompt":"A hat.""#), "invalid_json", "JSON"),
        (Ask::post(EDIT, "[]").header("content-type", "application/json"), "invalid_json", "object"),
    ] {
        let reply = proxy.ask(&ask.bearer(TOKEN)).await;
        assert_eq!(reply.face(), (400, code.to_owned()), "{reply:?}");
        assert!(reply.error("message").contains(says), "{reply:?}");
    }
    assert_eq!(upstream.asked(), 0);
    // What a form lacks is for its server to say.
    assert_eq!(proxy.ask(&edit(&[("model", "m")])).await.status(), 200);
}

#[tokio::test]
async fn each_picture_of_a_stream_reaches_its_client_while_the_next_is_being_drawn() {
    for ask in streams() {
        let gate = Gate::new();
        let answer = Answer::stream().chunk(partial()).wait(&gate).chunk(completed()).end();
        let upstream = Upstream::always(answer).await;
        let proxy = Proxy::before(&upstream).await;
        let mut connection = Connection::open(proxy.addr).await;
        connection.send(&ask.header("x-greenroom-explain", "1")).await;
        let head = connection.head().await;
        assert_eq!((head.status(), head.get("content-type")), (200, Some("text/event-stream")));
        assert_eq!(connection.frame().await.as_deref(), Some(partial().trim_end()));
        gate.open();
        assert_eq!(connection.rest().await, (completed().into_bytes(), End::Clean));
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        let told = json!([entry["tokens_in"], entry["tokens_out"], entry["stream"], entry["outcome"]]);
        assert_eq!(told, json!([13, 1056, true, "success"]), "{entry}");
    }
}

#[tokio::test]
async fn a_picture_may_take_longer_than_other_frames_and_have_many_megabytes() {
    let large = event("image_generation.completed", &format!(",\"more\":\"{}\"", "A".repeat(20 << 20)));
    let slow = Answer::new().work(Duration::from_millis(300));
    let answer = Answer::stream().chunk(partial()).then(slow).chunk(&large).end();
    let upstream = Upstream::always(answer).await;
    let settings = Settings::new().backend("one", upstream.addr).set("backends.one", "idle_timeout = \"50ms\"");
    let proxy = Proxy::start(&settings.set("models.m", "rewrite_model = true")).await;
    let [ask, ..] = streams();
    let reply = proxy.ask(&ask).await;
    assert_eq!((reply.status(), reply.end), (200, End::Clean));
    assert!(reply.body == (partial() + &large).into_bytes(), "{}", reply.body.len());
}

#[tokio::test]
async fn each_picture_to_be_edited_is_a_thousand_tokens_and_none_is_more_than_its_bytes_but_the_first() {
    let mut left = Vec::new();
    for sizes in [&[9][..], &[5000, 9, 9], &[5000, 100_000, 9_000_000]] {
        let hanging = Upstream::always(Answer::stream().chunk(partial()).hang()).await;
        let settings = Settings::new().backend("one", hanging.addr);
        let proxy = Proxy::start(&settings.set("users.tester.limits", "tokens_per_day = 100000")).await;
        let head = b"--Z\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a.png\"\r\n\r\n";
        let pictures = sizes.iter().map(|bytes| [head, &vec![b'a'; *bytes][..], b"\r\n"].concat());
        let body = [pictures.collect::<Vec<_>>().concat(), form(&[("model", "m"), ("stream", "true")])].concat();
        let mut client = Connection::open(proxy.addr).await;
        client.send(&Ask::typed(EDIT, "multipart/form-data; boundary=Z", body).bearer(TOKEN)).await;
        left.push(client.head().await.get("x-ratelimit-remaining-tokens").map(str::parse::<u32>));
    }
    assert!(left[0] == left[1] && left[0] == Some(Ok(99_000)) && left[2] == Some(Ok(97_000)), "{left:?}");
}

#[tokio::test]
async fn who_passes_over_the_wish_for_a_stream_is_passed_on_whole() {
    let upstream = Upstream::always(Answer::json(200, DRAWN)).await;
    let proxy = Proxy::before(&upstream).await;
    for ask in streams() {
        let reply = proxy.ask(&ask).await;
        assert_eq!((reply.status(), reply.text().as_str(), reply.end), (200, DRAWN, End::Clean), "{reply:?}");
        assert_eq!(reply.header("content-type"), "application/json");
        let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
        assert_eq!(json!([entry["tokens_in"], entry["outcome"]]), json!([13, "success"]), "{entry}");
    }
}

#[tokio::test]
async fn what_is_no_picture_is_asked_of_another_backend() {
    let events = |said: &str| Answer::stream().chunk(said).end();
    for bad in [
        Answer::json(500, "{}"),
        Answer::json(404, r#"{"detail":"Not Found"}"#),
        Answer::json(200, r#"{"error":{"message":"The paint is gone.","type":"server_error"}}"#),
        Answer::json(200, r#"{"created":1}"#),
        events(
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"server_error\",\"message\":\"No.\"}}\n\n",
        ),
        events("data: {\"error\":{\"message\":\"No.\",\"type\":\"server_error\"}}\n\n"),
        events(": waiting\n\n"),
    ] {
        for ask in streams() {
            let bad = Upstream::always(bad.clone()).await;
            let peer = Upstream::always(events(&completed())).await;
            let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer)).await;
            let reply = proxy.ask(&ask).await;
            assert_eq!((reply.status(), reply.backend(), reply.text()), (200, "peer", completed()), "{reply:?}");
            assert!(reply.end == End::Clean && bad.asked() > 0);
        }
    }
}

#[tokio::test]
async fn a_stream_of_pictures_that_breaks_off_ends_with_an_error_and_with_the_connection() {
    let fault = "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"sk-1 is gone.\",\"type\":\"server_error\"}}\n\n";
    let begun = || Answer::stream().chunk(partial());
    for (answer, class) in [
        (begun().chunk(fault).end(), "provider_server"),
        (begun().chunk("data: {\"b64_json\":\"aG").close(), "provider_stream_cut"),
        (begun().chunk(&completed()[..90]).end(), "provider_stream_cut"),
    ] {
        for ask in streams() {
            let cut = Upstream::always(answer.clone()).await;
            let peer = Upstream::always(begun().end()).await;
            let proxy = Proxy::start(&Settings::bad_and_peer(&cut, &peer)).await;
            let reply = proxy.ask(&ask).await;
            assert_eq!((reply.status(), reply.end, reply.events().len()), (200, End::Truncated, 2), "{reply:?}");
            assert!(reply.text().contains("\"error\":{") && !reply.text().contains("sk-1"), "{reply:?}");
            let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
            assert_eq!((entry["class"].as_str(), peer.asked()), (Some(class), 0), "{entry}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_behind_a_draft_has_no_picture_in_whatever_order_it_ends() {
    let edited = event("image_edit.partial_image", "");
    let unnamed = "event: image_edit.partial_image\ndata: {\"b64_json\":\"aGk=\"}\n\n";
    let untyped = "data: {\"b64_json\":\"aGk=\"}\n\n";
    for (said, end) in [
        (vec![partial()], End::Truncated),
        (vec![completed(), edited.trim_end().to_owned()], End::Truncated),
        (vec![unnamed.to_owned(), ": waiting\n\n".to_owned()], End::Truncated),
        (vec![partial(), event("image_edit.completed", "")], End::Clean),
        // It says itself that it is at its end.
        (vec![partial(), "data: [DONE]\n\n".to_owned()], End::Clean),
        (vec![event("image_generation.partial_succeeded", "")], End::Clean),
        (vec![untyped.to_owned()], End::Clean),
    ] {
        let answer = said.iter().fold(Answer::stream(), Answer::chunk).end();
        for ask in streams() {
            let upstream = Upstream::always(answer.clone()).await;
            let proxy = Proxy::before(&upstream).await;
            let reply = proxy.ask(&ask).await;
            assert_eq!((reply.status(), reply.end), (200, end), "{reply:?}");
            assert!(reply.text().starts_with(said.concat().trim_end()), "{reply:?}");
            let entry = proxy.get("/admin/requests?limit=1").await.json()["requests"][0].clone();
            let class = if end == End::Clean { json!(null) } else { json!("provider_stream_cut") };
            assert_eq!((&entry["class"], reply.text().contains("\"error\":{")), (&class, end != End::Clean), "{entry}");
        }
    }
}

#[tokio::test]
async fn a_picture_that_takes_its_time_is_drawn_by_nobody_else_as_well() {
    let slow = Answer::new().work(Duration::from_millis(500));
    let whole = [("model", "m"), ("prompt", "A hat.")];
    let [made, .., edited] = streams();
    for (ask, answer) in [(edit(&whole), Answer::json(200, DRAWN)), (made, events()), (edited, events())] {
        let slow = Upstream::always(slow.clone().then(answer)).await;
        let peer = Upstream::always(Answer::json(200, DRAWN)).await;
        let settings = Settings::bad_and_peer(&slow, &peer).set("failover", "hedge_budget = 1.0");
        let proxy = Proxy::start(&settings.set("backends.bad", "first_token_soft = \"50ms\"")).await;
        let reply = proxy.ask(&ask).await;
        assert_eq!((reply.status(), reply.backend(), peer.asked()), (200, "bad", 0), "{reply:?}");
    }
}

fn events() -> Answer {
    Answer::stream().chunk(completed()).end()
}
