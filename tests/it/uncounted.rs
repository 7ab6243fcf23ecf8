//! Streams that end without their provider's count, because their client left, their backend broke off or Greenroom stops: what
//! they used is estimated, by their bytes, for limits, budgets and all that tells of them.

use serde_json::{Value, json};

use crate::{
    history::{sum, told as told_of},
    rescue::{PASSED_ON, entry},
    support::{
        client::{Ask, Connection},
        eventually,
        proxy::{HELLO_STREAM, Proxy},
        script::Answer,
        settings::Settings,
        sse,
        upstream::Upstream,
    },
};

const SPENDER: &str = "token-of-spender";

/// A dollar a million tokens.
const PRICE: &str = "price = { input = 1, output = 1 }";

/// A word of so many tokens, at four bytes each.
fn word(tokens: usize) -> String {
    "word".repeat(tokens)
}

/// A stream of chat of a hundred tokens that nobody has counted, which goes no further.
fn chat() -> Answer {
    Answer::stream().chunk(sse::role()).chunk(sse::text(&word(60))).chunk(sse::text(&word(40)))
}

/// How Anthropic's streams begin.
fn message_start() -> String {
    let usage = json!({"input_tokens": 900, "output_tokens": 1});
    sse::data(&json!({"type": "message_start", "message": {"id": "msg_1", "model": "c", "usage": usage}}))
}

/// The same of Anthropic's, whose beginning counts the prompt, and of a thought, a text and a call.
fn messages() -> Answer {
    let delta = |kind: &str, member: &str, tokens| {
        let mut delta = json!({"type": kind});
        delta[member] = word(tokens).into();
        sse::data(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    };
    let block = |block: Value| sse::data(&json!({"type": "content_block_start", "index": 0, "content_block": block}));
    let stop = || sse::data(&json!({"type": "content_block_stop", "index": 0}));
    Answer::stream()
        .chunk(message_start())
        .chunk(block(json!({"type": "thinking", "thinking": ""})))
        .chunk(delta("thinking_delta", "thinking", 20))
        .chunk(delta("thinking_delta", "thinking", 10))
        .chunk(stop())
        .chunk(block(json!({"type": "text", "text": ""})))
        .chunk(delta("text_delta", "text", 30))
        .chunk(stop())
        .chunk(block(json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})))
        .chunk(delta("input_json_delta", "partial_json", 39))
}

/// The same of Gemini's, which counts as it goes.
fn gemini() -> Answer {
    let chunk = |tokens: usize, usage: Value| {
        sse::data(&json!({"candidates": [{"content": {"parts": [{"text": word(tokens)}]}}], "usageMetadata": usage}))
    };
    let counted = json!({"promptTokenCount": 900, "candidatesTokenCount": 77});
    Answer::stream().chunk(chunk(60, counted)).chunk(chunk(23, json!(null)))
}

/// Events of OpenAI's Responses: each of its pieces counts as a token, whatever it is a piece of.
fn responses() -> Answer {
    let delta = sse::data(&json!({"type": "response.output_text.delta", "delta": "word"}));
    let created =
        sse::data(&json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}));
    (0..100).fold(Answer::stream().chunk(created), |answer, _| answer.chunk(&delta))
}

fn completions() -> Answer {
    let chunk = |tokens| sse::data(&json!({"choices": [{"index": 0, "text": word(tokens), "finish_reason": null}]}));
    Answer::stream().chunk(chunk(60)).chunk(chunk(40))
}

/// The settings of a backend, and of a user of so many dollars and tokens.
fn settings(upstream: &Upstream, backend: &str) -> Settings {
    let model = format!("backends = [{{ backend = \"one\", {PRICE} }}]\nrescue = \"off\"");
    let user = "limits = { usd_per_day = 0.001, tokens_per_day = 1000000 }";
    Settings::new()
        .set("backends.one", &format!("base_url = \"http://{}/v1\"\n{backend}", upstream.addr))
        .set("models.m", &model)
        .set("server", "metrics_by_user = true")
        .set("history", "path = \":memory:\"\nflush_every = \"10ms\"")
        .set("users.spender", &format!("token = \"{SPENDER}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\n{user}"))
}

/// Begins a stream under this id, and reads until the text has come so often.
async fn read(proxy: &Proxy, path: &str, body: &str, id: &str, (text, times): (&str, usize)) -> Connection {
    let mut client = Connection::open(proxy.addr).await;
    client.send(&Ask::post(path, body).bearer(SPENDER).header("x-request-id", id)).await;
    assert_eq!(client.head().await.status(), 200, "{path}");
    let mut seen = String::new();
    while seen.matches(text).count() < times {
        seen.push_str(&client.frame().await.unwrap_or_else(|| panic!("{path}: {seen}")));
    }
    client
}

/// What the ledger tells of a request that has ended.
async fn story(proxy: &Proxy, id: &str) -> Value {
    let ask = async || {
        let reply = proxy.get(&format!("/admin/requests/{id}")).await;
        (reply.status() == 200).then(|| reply.json()).filter(|story| story["outcome"] != "running")
    };
    eventually("a story that has ended", ask).await
}

/// Tokens of the prompt, where nobody has counted them.
fn prompt(body: &str) -> u64 {
    body.len() as u64 / 4
}

#[tokio::test]
async fn who_leaves_a_stream_pays_for_its_prompt_and_for_what_has_come_of_it_on_every_way() {
    let openai = "protocol = \"openai\"\nnative_responses = true";
    let (claude, google) = ("protocol = \"anthropic\"", "protocol = \"gemini\"");
    let chat_path = "/v1/chat/completions";
    let prompted = r#"{"model":"m","stream":true,"prompt":"Hello!"}"#;
    let asked = r#"{"model":"m","stream":true,"input":"Hello!"}"#;
    let messaged = r#"{"model":"m","stream":true,"max_tokens":9000,"messages":[{"role":"user","content":"Hello!"}]}"#;
    for (backend, answer, path, body, last, (input, output)) in [
        (openai, chat(), chat_path, HELLO_STREAM, (word(40), 2), (None, 100)),
        (openai, completions(), "/v1/completions", prompted, (word(40), 2), (None, 100)),
        (openai, responses(), "/v1/responses", asked, ("\"delta\":\"word\"".into(), 100), (None, 100)),
        (openai, chat(), "/v1/messages", messaged, (word(40), 2), (None, 100)),
        (claude, messages(), "/v1/messages", messaged, (word(39), 1), (Some(900), 100)),
        // A call's beginning is translated, and so is a piece.
        (claude, messages(), chat_path, HELLO_STREAM, (word(39), 1), (Some(900), 101)),
        (google, gemini(), chat_path, HELLO_STREAM, (word(23), 2), (Some(900), 100)),
    ] {
        let upstream = Upstream::always(answer.hang()).await;
        let proxy = Proxy::start(&settings(&upstream, backend)).await;
        drop(read(&proxy, path, body, "left", (&last.0, last.1)).await);
        let input = input.unwrap_or(prompt(body));
        let cost = format!("{:.6}", (input + output) as f64 / 1e6);
        let cost = cost.trim_end_matches('0');
        let used = format!(" tokens_in={input} tokens_out={output} cost_usd={cost} estimated=true ");
        let line = proxy.logged(&["id=left ", "status=499"]).await;
        assert!(line.contains(&used), "{backend} {path}: {line}, not {used}");
        let told = story(&proxy, "left").await;
        let attempt = &told["attempts"][0];
        assert_eq!((&told["tokens_out"], &told["estimated"]), (&json!(output), &json!(true)), "{told}");
        assert_eq!((&attempt["cost_usd"], &attempt["estimated"]), (&told["cost_usd"], &json!(true)), "{told}");
        let page = proxy.get("/metrics").await.text();
        for line in [
            format!("tokens_total{{backend=\"one\",model=\"m\",direction=\"output\"}} {output}\n"),
            format!("user_tokens_total{{user=\"spender\",model=\"m\",direction=\"output\"}} {output}\n"),
            format!("user_tokens_total{{user=\"spender\",model=\"m\",direction=\"input\"}} {input}\n"),
        ] {
            assert!(page.contains(&format!("greenroom_{line}")), "{backend} {path} {line}: {page}");
        }
        told_of(&proxy, "", "its tokens", |history| sum(history, "one", "tokens_out") == output).await;
    }
}

#[tokio::test]
async fn who_leaves_before_any_content_has_come_pays_for_the_prompt() {
    let upstream = Upstream::always(Answer::stream().chunk(sse::role()).hang()).await;
    let settings = settings(&upstream, "protocol = \"openai\"").set("failover", "keepalive_after = \"50ms\"");
    let proxy = Proxy::start(&settings).await;
    let mut ids = 0..;
    // The backend's head may be later than the comment that tells the client that there is nothing yet.
    let paid = async || {
        let id = format!("left-{}", ids.next()?);
        drop(read(&proxy, "/v1/chat/completions", HELLO_STREAM, &id, (":", 1)).await);
        story(&proxy, &id).await["cost_usd"].as_f64()
    };
    let (paid, cost) = (eventually("a cost", paid).await, prompt(HELLO_STREAM) as f64 / 1e6);
    assert!((paid - cost).abs() < 1e-12, "{paid}");
}

#[tokio::test]
async fn a_budget_is_spent_by_streams_that_are_left_before_their_end() {
    let upstream = Upstream::always(chat().hang()).await;
    let proxy = Proxy::start(&settings(&upstream, "protocol = \"openai\"")).await;
    // A thousand tokens' worth.
    let each = prompt(HELLO_STREAM) + 100;
    for n in 0..1000_u64.div_ceil(each) {
        let id = format!("left-{n}");
        drop(read(&proxy, "/v1/chat/completions", HELLO_STREAM, &id, (&word(40), 2)).await);
        proxy.logged(&[&format!("id={id} "), "status=499"]).await;
    }
    let refused = proxy.ask(&Ask::chat(HELLO_STREAM).bearer(SPENDER)).await;
    assert_eq!((refused.status(), refused.error("code").as_str()), (429, "insufficient_quota"), "{refused:?}");
    assert_eq!(upstream.asked() as u64, 1000_u64.div_ceil(each));
}

#[tokio::test]
async fn a_stream_that_its_backend_breaks_off_or_does_not_count_is_estimated_and_one_that_is_counted_is_not() {
    let (id, path) = ("the-one", "/v1/chat/completions");
    for (answer, used) in [
        (chat().close(), Some((prompt(HELLO_STREAM), 100))),
        (chat().finished(), Some((prompt(HELLO_STREAM), 100))),
        // What was counted stays counted, though the end did not come.
        (chat().chunk(sse::finish()).chunk(sse::usage(7, 3)).close(), None),
    ] {
        let upstream = Upstream::always(answer).await;
        let proxy = Proxy::start(&settings(&upstream, "protocol = \"openai\"")).await;
        read(&proxy, path, HELLO_STREAM, id, (&word(40), 2)).await.rest().await;
        let told = story(&proxy, id).await;
        let (input, output) = used.unwrap_or((7, 3));
        assert_eq!((&told["tokens_in"], &told["tokens_out"]), (&json!(input), &json!(output)), "{told}");
        assert_eq!(told["cost_usd"].as_f64(), Some((input + output) as f64 / 1e6), "{told}");
        assert_eq!(told.get("estimated").is_some(), used.is_some(), "{told}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_as_greenroom_stops_is_estimated() {
    let upstream = Upstream::always(chat().hang()).await;
    let mut proxy = Proxy::start(&settings(&upstream, "protocol = \"openai\"")).await;
    let mut client = read(&proxy, "/v1/chat/completions", HELLO_STREAM, "cut", (&word(40), 2)).await;
    proxy.signal("TERM");
    client.rest().await;
    assert_eq!(proxy.ended().await.code(), Some(0));
    let line = proxy.logged(&["id=cut "]).await;
    assert!(line.contains(" tokens_out=100 ") && line.contains(" estimated=true "), "{line}");
}

#[tokio::test]
async fn a_rescue_that_fails_takes_nothing_from_what_its_client_has_had() {
    let longer = Answer::stream().chunk(sse::role()).chunk(sse::text(&word(150))).work(PASSED_ON).close();
    for (answer, outcome, tokens) in
        [(Answer::streams("another text"), "let_go", 100), (longer, "provider_stream_cut", 150)]
    {
        let (bad, peer) = (Upstream::always(chat().work(PASSED_ON).close()).await, Upstream::always(answer).await);
        let settings = Settings::bad_and_peer(&bad, &peer).set("failover", "max_attempts = 2");
        let proxy = Proxy::start(&settings).await;
        let reply = proxy.chat(HELLO_STREAM).await;
        assert_eq!(sse::text_of(&reply.body), word(tokens));
        let told = entry(&proxy).await;
        assert_eq!((&told["rescue"], &told["attempts"][1]["outcome"]), (&json!("failed"), &json!(outcome)), "{told}");
        let used = (&told["tokens_in"], &told["tokens_out"], &told["estimated"]);
        assert_eq!(used, (&json!(prompt(HELLO_STREAM)), &json!(tokens), &json!(true)), "{told}");
    }
}

#[tokio::test]
async fn a_refusal_behind_a_count_costs_no_tokens() {
    let refusal = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let answer = Answer::stream().chunk(message_start()).chunk(sse::data(&refusal)).end();
    let upstream = Upstream::always(answer).await;
    let settings = settings(&upstream, "protocol = \"anthropic\"").set("failover", "max_attempts = 1");
    let proxy = Proxy::start(&settings).await;
    let refused = proxy.ask(&Ask::chat(HELLO_STREAM).bearer(SPENDER).header("x-request-id", "refused")).await;
    assert_eq!((refused.status(), upstream.asked()), (503, 1), "{refused:?}");
    let told = story(&proxy, "refused").await;
    assert!(told["tokens_in"].is_null() && told["tokens_out"].is_null(), "{told}");
    let page = proxy.get("/metrics").await.text();
    let counted = |line: &&str| line.starts_with("greenroom_tokens_total{") && !line.ends_with(" 0");
    assert_eq!(page.lines().find(counted), None);
    // Of those a day; nothing of it has to be there again.
    let unused = async || {
        let users = proxy.get("/admin/users").await.json();
        let spender = users["users"].as_array()?.iter().find(|user| user["name"] == "spender")?.clone();
        spender["limits"]["tokens_per_day"]["used"].as_u64().filter(|used| *used == 0)
    };
    eventually("all tokens given back", unused).await;
}
