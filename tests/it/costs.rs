//! What requests cost: by the prices of the settings and the tokens that providers counted, of every attempt, in all places that
//! tell of it.

use serde_json::{Value, json};

use crate::{
    rescue,
    support::{
        client::{Ask, Connection},
        eventually,
        launch::Launch,
        process::run,
        proxy::{HELLO, HELLO_STREAM, Proxy},
        script::{Answer, Gate},
        settings::{Settings, TOKEN},
        sse,
        upstream::Upstream,
    },
};

/// Of a prompt 2.5 dollars a million tokens, of what was cached half, of answers 10.
const PRICE: &str = "price = { input = 2.5, output = 10, cached = 1.25 }";

/// What 7 and 3 tokens cost by that.
const SMALL: f64 = 0.000_047_5;

fn counted() -> Answer {
    let usage =
        json!({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}});
    let choice = json!({"message": {"content": "hi"}, "finish_reason": "stop"});
    Answer::json(200, &json!({"choices": [choice], "usage": usage}).to_string())
}

fn stream() -> Answer {
    Answer::stream().chunk(sse::text("hi")).chunk(sse::finish()).chunk(sse::usage(7, 3)).chunk(sse::DONE).end()
}

/// A backend at a price that counts what it answers.
async fn upstream() -> Upstream {
    Upstream::start(|_, ask| if ask.wants_stream() { stream() } else { counted() }).await
}

/// What the ledger knows of a request, once it has ended.
async fn story(proxy: &Proxy, id: &str) -> Value {
    let ask = async || {
        let reply = proxy.get(&format!("/admin/requests/{id}")).await;
        (reply.status() == 200).then(|| reply.json())
    };
    eventually("the request's story", ask).await
}

async fn ask(proxy: &Proxy, body: &str, id: &str) -> u16 {
    proxy.ask(&Ask::chat(body).bearer(TOKEN).header("x-request-id", id)).await.status()
}

/// What each attempt cost, by its backend.
fn attempts(story: &Value) -> Vec<(&str, Option<f64>)> {
    let all = story["attempts"].as_array().expect("attempts");
    all.iter().map(|one| (one["backend"].as_str().unwrap_or_default(), one["cost_usd"].as_f64())).collect()
}

#[tokio::test]
async fn what_a_request_costs_is_told_wherever_it_is_told_of() {
    let upstream = upstream().await;
    let settings = Settings::new()
        .target("one", upstream.addr, PRICE)
        .set("server", "metrics_by_user = true")
        .set("history", "path = \":memory:\"\nflush_every = \"10ms\"");
    let proxy = Proxy::start(&settings).await;
    let page = async || proxy.get("/metrics").await.text();
    assert!(page().await.contains("greenroom_cost_usd_total{backend=\"one\",model=\"m\"} 0.0\n"), "{}", page().await);
    for (body, id, cost) in [(HELLO, "whole", 0.003), (HELLO_STREAM, "stream", SMALL)] {
        assert_eq!(ask(&proxy, body, id).await, 200);
        let told = story(&proxy, id).await;
        assert_eq!((told["cost_usd"].as_f64(), attempts(&told)), (Some(cost), vec![("one", Some(cost))]), "{told}");
    }
    proxy.logged(&["id=whole ", " tokens_out=100 cost_usd=0.003 "]).await;
    proxy.logged(&["id=stream ", " cost_usd=0.0000475 "]).await;
    let page = page().await;
    for line in ["cost_usd_total{backend=\"one\"", "user_cost_usd_total{user=\"tester\""] {
        assert!(page.contains(&format!("greenroom_{line},model=\"m\"}} 0.0030475\n")), "{line}: {page}");
    }
    let history = async || {
        let answer = proxy.get("/admin/history").await.json();
        let costs = answer["points"].as_array()?.iter().filter_map(|point| point["cost_usd"].as_f64());
        Some(costs.sum::<f64>()).filter(|sum| (sum - 0.003_047_5).abs() < 1e-12)
    };
    eventually("both costs in history", history).await;
    let explained = proxy.ask(&Ask::chat(HELLO).bearer(TOKEN).header("x-greenroom-explain", "1")).await;
    assert_eq!(explained.json()["greenroom"]["cost_usd"], 0.003);
}

#[tokio::test]
async fn a_rescue_is_told_of_who_broke_off_and_its_tokens_are_of_who_took_over() {
    let words = Answer::stream().chunk(sse::text(&rescue::story())).chunk(sse::finish());
    let rescuer = Upstream::always(words.chunk(sse::usage(7, 3)).chunk(sse::DONE).end()).await;
    let bad = Upstream::always(rescue::cut(40)).await;
    let settings = Settings::bad_and_peer(&bad, &rescuer).set("history", "path = \":memory:\"");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(sse::text_of(&proxy.chat(HELLO_STREAM).await.body), rescue::story());
    let both = async || {
        let mut answer = proxy.get("/admin/history").await.json();
        let points = answer["points"].as_array_mut().map(std::mem::take)?;
        (points.len() == 2).then_some(points)
    };
    let told = |point: &Value| {
        json!(["backend", "success", "failure", "rescued", "tokens_in", "tokens_out"].map(|member| &point[member]))
    };
    let points = eventually("both attempts in history", both).await;
    let wanted = [json!(["bad", 0, 1, 1, 0, 0]), json!(["peer", 1, 0, 0, 7, 3])];
    assert_eq!(points.iter().map(told).collect::<Vec<_>>(), wanted);
    let page = proxy.get("/metrics").await.text();
    assert!(page.contains("greenroom_tokens_total{backend=\"peer\",model=\"m\",direction=\"input\"} 7\n"), "{page}");
}

#[tokio::test]
async fn without_a_price_or_a_count_no_cost_is_told() {
    let uncounted = Answer::json(200, r#"{"choices":[{"message":{"content":"hi"}}]}"#);
    let upstream = Upstream::start(move |_, ask| if ask.wants_stream() { stream() } else { uncounted.clone() }).await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("models.priced", &format!("backends = [{{ backend = \"one\", {PRICE} }}]"));
    let proxy = Proxy::start(&settings).await;
    for (body, id) in [(HELLO_STREAM.to_owned(), "no-price"), (HELLO.replace("\"m\"", "\"priced\""), "no-count")] {
        assert_eq!(ask(&proxy, &body, id).await, 200);
        let told = story(&proxy, id).await;
        assert_eq!((told["cost_usd"].as_f64(), attempts(&told)), (None, vec![("one", None)]), "{told}");
        assert!(!proxy.logged(&[&format!("id={id} ")]).await.contains("cost_usd"));
    }
    let page = proxy.get("/metrics").await.text();
    assert_eq!(page.matches("greenroom_cost_usd_total{").count(), 1, "{page}");
    assert!(page.contains("greenroom_cost_usd_total{backend=\"one\",model=\"priced\"} 0.0\n"), "{page}");
}

#[tokio::test]
async fn cached_and_written_tokens_of_a_translated_answer_have_their_own_prices() {
    let usage = json!({"input_tokens": 200, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 500,
        "output_tokens": 200});
    let message = json!({"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
        "usage": usage});
    let mut begun = usage.clone();
    begun["output_tokens"] = 1.into();
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "c", "usage": begun}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 200}}),
        json!({"type": "message_stop"}),
    ];
    let upstream = Upstream::start(move |_, ask| {
        if ask.wants_stream() {
            events.iter().fold(Answer::stream(), |answer, event| answer.chunk(sse::data(event))).end()
        } else {
            Answer::json(200, &message.to_string())
        }
    })
    .await;
    let price = "price = { input = 3, output = 15, cached = 0.3, written = 3.75 }";
    let backend = format!("protocol = \"anthropic\"\nbase_url = \"http://{}\"", upstream.addr);
    let model = format!("backends = [{{ backend = \"claude\", {price} }}]");
    let proxy = Proxy::start(&Settings::new().set("backends.claude", &backend).set("models.m", &model)).await;
    for (body, id) in [(HELLO, "whole"), (HELLO_STREAM, "stream")] {
        assert_eq!(ask(&proxy, body, id).await, 200);
        // 200 × 3 + 1,000 × 0.3 + 500 × 3.75 + 200 × 15
        assert_eq!(story(&proxy, id).await["cost_usd"], 0.005_775, "{id}");
    }
}

/// A beginning that counts a prompt and says nothing yet.
fn counts_first() -> Answer {
    Answer::stream().chunk(sse::role()).chunk(sse::usage(100, 0))
}

#[tokio::test]
async fn what_was_counted_before_a_failure_or_a_lost_race_is_paid_as_well() {
    let overloaded = sse::data(&json!({"error": {"type": "overloaded_error", "message": "later"}}));
    for (bad, outcome) in
        [(counts_first().chunk(overloaded).end(), "provider_overloaded"), (counts_first().hang(), "let_go")]
    {
        let (bad, peer) = (Upstream::always(bad).await, upstream().await);
        let settings = Settings::new()
            .target("bad", bad.addr, "price = { input = 1, output = 1 }")
            .target("peer", peer.addr, &format!("priority = 2, {PRICE}"))
            .set("failover", "hedge_budget = 1.0")
            .set("backends.bad", "first_token_soft = \"100ms\"");
        let proxy = Proxy::start(&settings).await;
        assert_eq!(ask(&proxy, HELLO_STREAM, "the-one").await, 200);
        let told = story(&proxy, "the-one").await;
        assert_eq!(attempts(&told), [("bad", Some(0.0001)), ("peer", Some(SMALL))], "{told}");
        assert_eq!(
            (&told["attempts"][0]["outcome"], &told["cost_usd"]),
            (&json!(outcome), &json!(0.000_147_5)),
            "{told}"
        );
        let page = proxy.get("/metrics").await.text();
        for (backend, cost) in [("bad", "0.0001"), ("peer", "0.0000475")] {
            let line = format!("greenroom_cost_usd_total{{backend=\"{backend}\",model=\"m\"}} ");
            let value = page.lines().find_map(|text| text.strip_prefix(&line)).expect("a series");
            assert_eq!(value.parse::<f64>(), cost.parse(), "{page}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_has_to_pay_what_was_counted_by_then() {
    let upstream = Upstream::always(counts_first().chunk(sse::text("a")).hang()).await;
    let proxy = Proxy::start(&Settings::new().target("one", upstream.addr, PRICE)).await;
    let mut client = Connection::open(proxy.addr).await;
    client.send(&Ask::chat(HELLO_STREAM).bearer(TOKEN).header("x-request-id", "left")).await;
    client.head().await;
    while !client.frame().await.expect("a frame").contains("\"a\"") {}
    drop(client);
    proxy.logged(&["id=left ", "status=499", " cost_usd=0.00025 "]).await;
}

#[tokio::test]
async fn in_a_log_of_objects_a_cost_is_a_number_of_plain_digits_or_null() {
    let upstream = Upstream::start(|_, ask| if ask.wants_stream() { stream() } else { counted() }).await;
    let settings = Settings::new()
        .target("one", upstream.addr, "price = { input = 0.1, output = 0.4 }")
        .set("models.free", "backends = [{ backend = \"one\" }]");
    let proxy = Launch::new(&settings).env("GREENROOM_LOG_FORMAT", "json").start().await;
    ask(&proxy, HELLO_STREAM, "priced").await;
    ask(&proxy, &HELLO.replace("\"m\"", "\"free\""), "free").await;
    proxy.logged(&["\"id\":\"priced\"", "\"cost_usd\":0.0000019,"]).await;
    proxy.logged(&["\"id\":\"free\"", "\"cost_usd\":null,"]).await;
}

#[tokio::test]
async fn another_price_holds_for_what_begins_after_the_reload_and_restarts_nothing() {
    let gate = Gate::new();
    let slow = Answer::stream().chunk(sse::text("hi")).wait(&gate).chunk(sse::finish()).chunk(sse::usage(7, 3));
    let slow = slow.chunk(sse::DONE).end();
    let upstream = Upstream::start(move |n, _| if n == 0 { slow.clone() } else { stream() }).await;
    let settings = |price: &str| Settings::new().target("one", upstream.addr, price);
    let proxy = Proxy::start(&settings(PRICE)).await;
    let mut client = Connection::open(proxy.addr).await;
    client.send(&Ask::chat(HELLO_STREAM).bearer(TOKEN).header("x-request-id", "before")).await;
    client.head().await;
    proxy.rewrite(&settings("price = { input = 5, output = 20 }").toml());
    let plan = proxy.post("/admin/reload").await.json()["plan"].clone();
    assert_eq!((&plan["changed"], &plan["kept"][0]), (&json!(["models.m"]), &json!("backends.one")), "{plan}");
    gate.open();
    assert!(sse::is_done(&client.rest().await.0));
    assert_eq!(ask(&proxy, HELLO_STREAM, "after").await, 200);
    for (id, cost) in [("before", SMALL), ("after", 2.0 * SMALL)] {
        assert_eq!(story(&proxy, id).await["cost_usd"], cost, "{id}");
    }
    // What it learned before is known behind the reload.
    proxy.until("one", "both requests", |report| report["requests"]["success"] == 2).await;
}

#[tokio::test]
async fn a_comparison_shows_what_each_answer_cost_to_who_may_read_it() {
    let (one, two) = (upstream().await, upstream().await);
    let user = "token = \"plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_pin = true";
    let settings = Settings::new().target("one", one.addr, PRICE).backend("two", two.addr).set("users.plain", user);
    let proxy = Proxy::start(&settings).await;
    let (dir, url) = (tempfile::tempdir().expect("a directory"), format!("http://{}", proxy.addr));
    let compare = async |token: &str, more: &[&str]| {
        let args = [&["compare", "--url", &url, "--token", token, "--backends", "one", "two"][..], more].concat();
        let said = run(dir.path(), &args, "").await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    };
    for (mode, cost) in [("--stream", SMALL), ("--timeout=30", 0.003)] {
        let answers: Value = serde_json::from_str(&compare(TOKEN, &["--json", mode]).await).expect("JSON");
        assert_eq!((answers[0]["cost_usd"].as_f64(), answers[1].get("cost_usd")), (Some(cost), None), "{answers}");
    }
    let table = compare(TOKEN, &["--stream"]).await;
    assert!(table.contains(" COST ") && table.contains(" $0.0000475 "), "{table}");
    assert!(!compare("plain", &[]).await.contains('$'));
}
