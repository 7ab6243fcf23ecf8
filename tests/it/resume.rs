//! Broken streams that a peer goes on with where it surely does, or says again: every blank is there, and there once.

use serde_json::{Value, json};

use crate::{
    rescue::{PASSED_ON, assert_broken, cut, entry, peer, story, words},
    support::{
        heard::{Heard, hear},
        proxy::{HELLO_STREAM, Proxy},
        script::{Answer, Gate},
        settings::Settings,
        sse,
        upstream::{Received, Upstream},
    },
};

/// `bad`, which breaks off, and `peer`, which declares that it goes on with a partial answer.
fn stage(bad: &Upstream, peer: &Upstream) -> Settings {
    Settings::new()
        .backend("bad", bad.addr)
        .target("peer", peer.addr, "priority = 2, continues = true")
        .set("models.m", "rescue = \"prefix\"")
}

/// As `stage`, the peer being a `model` of another protocol.
fn foreign(bad: &Upstream, peer: &Upstream, protocol: &str, model: &str) -> Settings {
    let backend = |protocol: &str, at: &Upstream, path: &str| {
        format!("protocol = \"{protocol}\"\nbase_url = \"http://{}{path}\"\napi_key = \"k\"", at.addr)
    };
    let targets = format!(
        "[{{ backend = \"bad\" }}, {{ backend = \"peer\", model = \"{model}\", priority = 2, continues = true }}]"
    );
    Settings::new()
        .set("backends.bad", &backend("openai", bad, "/v1"))
        .set("backends.peer", &backend(protocol, peer, if protocol == "gemini" { "/v1beta" } else { "/v1" }))
        .set("models.m", &format!("backends = {targets}\nrescue = \"prefix\""))
}

fn body(ask: &Received) -> Value {
    serde_json::from_slice(&ask.body).unwrap_or_default()
}

/// The role of the last message and its text.
fn last_message(ask: &Received) -> (String, String) {
    let body = body(ask);
    let last = body["messages"].as_array().or(body["contents"].as_array()).and_then(|all| all.last().cloned());
    let last = last.unwrap_or_default();
    let parts = if last["parts"].is_array() { &last["parts"] } else { &last["content"] };
    let text = parts.as_str().or(parts[0]["text"].as_str());
    (last["role"].as_str().unwrap_or_default().to_owned(), text.unwrap_or_default().to_owned())
}

/// A stream of another protocol that says `text`.
fn says(protocol: &str, text: &str) -> Answer {
    let frames = match protocol {
        "gemini" => vec![json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]},
            "finishReason": "STOP"}]})],
        _ => vec![
            json!({"type": "message_start", "message": {"id": "msg_1", "model": "c", "usage": {"input_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
            json!({"type": "message_stop"}),
        ],
    };
    frames.iter().fold(Answer::stream(), |answer, frame| answer.chunk(sse::data(frame))).end()
}

#[tokio::test]
async fn a_peer_that_declares_it_continues_a_partial_text_says_only_the_rest() {
    let bad = Upstream::always(cut(40)).await;
    // It is sent the text without the blank at its end, and so says that first.
    let rest = format!(" {}", words(60)[40..].concat());
    let peer = Upstream::start(move |_, _| Answer::streams(&rest)).await;
    let proxy = Proxy::start(&stage(&bad, &peer)).await;
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert_eq!(last_message(&peer.last()), ("assistant".to_owned(), words(40).concat().trim_end().to_owned()));
    let body = body(&peer.last());
    assert_eq!((&body["continue_final_message"], &body["add_generation_prompt"]), (&json!(true), &json!(false)));
    assert_eq!((peer.asked(), &entry(&proxy).await["rescue"]), (1, &json!("continued")));
}

#[tokio::test]
async fn a_peer_that_goes_on_without_the_blank_says_all_of_it_again() {
    let bad = Upstream::always(cut(40)).await;
    let peer = Upstream::start(move |_, ask| match last_message(ask).0.as_str() {
        "assistant" => Answer::streams(&words(60)[40..].concat()),
        _ => Answer::streams(&story()),
    })
    .await;
    let proxy = Proxy::start(&stage(&bad, &peer)).await;
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert_eq!((peer.asked(), &entry(&proxy).await["rescue"]), (2, &json!("replayed")));
    assert_eq!(proxy.report("peer").await["requests"]["failure"], 0);
}

const PROSE: &str =
    "The capital of France is Paris. It lies on the Seine and has two million inhabitants, who like bread.";

/// A stream that says `text` in pieces of `size` bytes.
fn pieces(text: &str, size: usize) -> Answer {
    let all = text.as_bytes().chunks(size).map(|piece| sse::text(&String::from_utf8_lossy(piece)));
    all.fold(Answer::stream().chunk(sse::role()), Answer::chunk)
}

#[tokio::test]
async fn a_peer_that_starts_over_or_repeats_what_it_was_sent_doubles_no_word() {
    for (had, asked) in [(3, 2), (40, 2), (41, 1), (60, 1)] {
        for size in [1, 7, PROSE.len()] {
            let bad = Upstream::always(pieces(&PROSE[..had], 3).work(PASSED_ON).close()).await;
            // Whatever it is asked: as a server that does not know what it is told, or one that says the partial text, too.
            let peer = Upstream::always(pieces(PROSE, size).finished()).await;
            let proxy = Proxy::start(&stage(&bad, &peer)).await;
            assert_eq!(hear(&proxy, true).await, Heard::said(PROSE, "bad"), "{had}, {size}");
            assert_eq!((peer.asked(), &entry(&proxy).await["rescue"]), (asked, &json!("replayed")), "{had}, {size}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_starts_over_with_other_words_later_on_is_not_sewn_on() {
    let bad = Upstream::always(pieces(&PROSE[..60], 3).work(PASSED_ON).close()).await;
    let peer = Upstream::always(pieces(&format!("{} something else", &PROSE[..50]), 5).finished()).await;
    let proxy = Proxy::start(&stage(&bad, &peer)).await;
    assert_broken(&proxy.chat(HELLO_STREAM).await, &PROSE[..60]);
}

#[tokio::test]
async fn a_continuation_that_begins_as_the_text_did_is_gone_on_with_and_held_back_no_longer() {
    let (gate, had) = (Gate::new(), "The cat. ");
    let bad = Upstream::always(pieces(had, 3).work(PASSED_ON).close()).await;
    let rest = Answer::stream().chunk(sse::text(" The c")).chunk(sse::text("ow")).wait(&gate);
    let peer = Upstream::always(rest.chunk(sse::text(" and The")).finished()).await;
    let proxy = Proxy::start(&stage(&bad, &peer)).await;
    let mut client = proxy.begin(HELLO_STREAM).await;
    client.head().await;
    let mut heard = String::new();
    while heard != "The cat. The cow" {
        heard += &sse::text_of(client.frame().await.expect("more").as_bytes());
    }
    gate.open();
    let (rest, _) = client.rest().await;
    assert_eq!((sse::text_of(&rest).as_str(), sse::is_done(&rest)), (" and The", true));
    assert_eq!((peer.asked(), &entry(&proxy).await["rescue"]), (1, &json!("continued")));
}

#[tokio::test]
async fn a_continuation_that_ends_within_words_that_the_text_began_with_is_whole() {
    let bad = Upstream::always(pieces("The end of The ", 3).work(PASSED_ON).close()).await;
    let peer = Upstream::always(pieces(" The e", 2).finished()).await;
    let proxy = Proxy::start(&stage(&bad, &peer)).await;
    assert_eq!(hear(&proxy, true).await, Heard::said("The end of The The e", "bad"));
}

const REFUSAL: &str = r#"{"error":{"message":"This model does not support assistant message prefill.","type":"invalid_request_error","param":"messages","code":null}}"#;

/// Refuses to continue, and says all of it when asked as usual.
async fn picky() -> Upstream {
    Upstream::start(|_, ask| match last_message(ask).0.as_str() {
        "assistant" => Answer::json(400, REFUSAL),
        _ => Answer::streams(&story()),
    })
    .await
}

#[tokio::test]
async fn a_peer_that_refuses_to_continue_after_all_repeats_it_from_the_start() {
    let (bad, picky) = (Upstream::always(cut(40)).await, picky().await);
    let proxy = Proxy::start(&stage(&bad, &picky)).await;
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert_eq!(picky.asked(), 2);
    let report = proxy.report("peer").await;
    assert_eq!((&report["requests"]["failure"], &report["requests"]["let_go"]), (&json!(0), &json!(1)), "{report}");
    let entry = entry(&proxy).await;
    let outcomes: Vec<_> = (0..3).map(|n| &entry["attempts"][n]["outcome"]).collect();
    assert_eq!(outcomes, ["provider_stream_cut", "let_go", "success"], "each is an attempt: {entry}");
}

#[tokio::test]
async fn a_refusal_to_continue_is_one_of_the_attempts_that_a_request_may_make() {
    let (bad, picky) = (Upstream::always(cut(40)).await, picky().await);
    let proxy = Proxy::start(&stage(&bad, &picky).set("failover", "max_attempts = 2")).await;
    assert_broken(&proxy.chat(HELLO_STREAM).await, &words(40).concat());
    assert_eq!((bad.asked(), picky.asked()), (1, 1));
}

#[tokio::test]
async fn a_peer_that_declares_nothing_is_never_sent_a_trailing_assistant_message() {
    let (bad, peer) = (Upstream::always(cut(40)).await, peer().await);
    let proxy = Proxy::start(&Settings::bad_and_peer(&bad, &peer).set("models.m", "rescue = \"prefix\"")).await;
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert_eq!(last_message(&peer.last()).0, "user");
}

#[tokio::test]
async fn a_model_that_answers_a_partial_text_with_a_turn_of_its_own_says_all_of_it_again() {
    for (protocol, model) in [
        ("gemini", "gemini-2.5-pro"),
        ("anthropic", "claude-sonnet-4-6"),
        ("anthropic", "claude-opus-5"),
        ("anthropic", "house-model"),
    ] {
        let bad = Upstream::always(cut(40)).await;
        let peer = Upstream::start(move |_, ask| match last_message(ask).1.as_str() {
            "Hello!" => says(protocol, &story()),
            _ => says(protocol, "Sure, here is more."),
        })
        .await;
        let proxy = Proxy::start(&foreign(&bad, &peer, protocol, model)).await;
        assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"), "{model}");
        assert_eq!((peer.asked(), &entry(&proxy).await["rescue"]), (1, &json!("replayed")), "{model}");
    }
}

#[tokio::test]
async fn claude_up_to_the_last_that_takes_a_prefill_goes_on_and_no_blank_is_doubled() {
    let bad = Upstream::always(cut(40)).await;
    // As Claude does, it goes on with just what it was sent.
    let peer = Upstream::start(|_, ask| {
        let said = last_message(ask).1;
        says("anthropic", story().strip_prefix(&said).unwrap_or("Sure, here is more."))
    })
    .await;
    let proxy = Proxy::start(&foreign(&bad, &peer, "anthropic", "claude-sonnet-4-5")).await;
    assert_eq!(hear(&proxy, true).await, Heard::said(&story(), "bad"));
    assert_eq!((peer.asked(), &entry(&proxy).await["rescue"]), (1, &json!("continued")));
}

#[tokio::test]
async fn an_answer_of_a_given_form_is_not_gone_on_with_but_said_again() {
    let (bad, peer) = (Upstream::always(cut(40)).await, peer().await);
    let proxy = Proxy::start(&stage(&bad, &peer)).await;
    let ask = HELLO_STREAM.replacen('{', r#"{"response_format":{"type":"json_object"},"#, 1);
    assert_eq!(Heard::of(&proxy.chat(ask).await), Heard::said(&story(), "bad"));
    assert_eq!(last_message(&peer.last()).0, "user");
}

#[tokio::test]
async fn several_answers_are_never_gone_on_with() {
    let (bad, peer) = (Upstream::always(cut(40)).await, peer().await);
    let proxy = Proxy::start(&stage(&bad, &peer)).await;
    proxy.chat(HELLO_STREAM.replacen('{', "{\"n\":2,", 1)).await;
    assert_eq!((peer.asked(), last_message(&peer.last()).0.as_str()), (1, "user"));
}

#[tokio::test]
async fn a_rescuer_that_breaks_off_in_its_turn_is_rescued_by_what_is_owed_by_then() {
    // Each goes on with what it is sent or says all of it, and the last says the finish.
    fn says(end: usize) -> impl Fn(usize, &Received) -> Answer {
        move |_, ask| {
            let said = last_message(ask).1;
            let text = if PROSE.starts_with(&said) { &PROSE[said.len()..end] } else { &PROSE[..end] };
            let answer = pieces(text, 3);
            if end == PROSE.len() { answer.finished() } else { answer.work(PASSED_ON).close() }
        }
    }
    for (way, second, third) in
        [("replay", false, false), ("prefix", true, true), ("prefix", true, false), ("prefix", false, true)]
    {
        // Both parts end with a blank, which stands in nobody's partial text.
        let one = Upstream::start(says(12)).await;
        let (two, three) = (Upstream::start(says(43)).await, Upstream::start(says(PROSE.len())).await);
        let settings = Settings::new()
            .backend("bad", one.addr)
            .target("two", two.addr, &format!("priority = 2, continues = {second}"))
            .target("three", three.addr, &format!("priority = 3, continues = {third}"))
            .set("models.m", &format!("rescue = \"{way}\""));
        let proxy = Proxy::start(&settings).await;
        assert_eq!(hear(&proxy, true).await, Heard::said(PROSE, "bad"), "{way} {second} {third}");
        assert_eq!((one.asked(), two.asked(), three.asked()), (1, 1, 1), "{way} {second} {third}");
        let how = if third { "continued" } else { "replayed" };
        assert_eq!(entry(&proxy).await["rescue"], how, "{way} {second} {third}");
    }
}
