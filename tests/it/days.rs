//! What users have used of a day outlasts Greenroom: a start after a stop, or after a kill, goes on from there. Of days, so that
//! next to nothing refills while a test runs.

use rusqlite::Connection as Database;
use serde_json::json;
use tempfile::{TempDir, tempdir};

use crate::{
    history::kept_in,
    support::{
        client::{Ask, Connection, Reply},
        eventually,
        proxy::{HELLO, HELLO_STREAM, Proxy},
        script::Answer,
        settings::Settings,
        sse,
        upstream::Upstream,
    },
};

const DAY: i64 = 24 * 60 * 60;

/// A user with these limits.
fn user(name: &str, limits: &str) -> String {
    format!("token = \"token-of-{name}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nlimits = {{ {limits} }}")
}

/// What 30 tokens cost.
const BUDGET: &str = "0.00003";

/// A backend that uses 20 and 10 tokens, a dollar a million of them, and two users of a day: one has a budget, the other a hundred
/// tokens.
fn settings(upstream: &Upstream, history: Settings, budget: &str) -> Settings {
    let spender = user("spender", &format!("usd_per_day = {budget}, requests_per_day = 100"));
    history
        .target("one", upstream.addr, "price = { input = 1, output = 1 }")
        .set("users.spender", &spender)
        .set("users.talker", &user("talker", "tokens_per_day = 100, tokens_per_minute = 100"))
}

async fn upstream() -> Upstream {
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 10});
    let whole = json!({"choices": [{"message": {"content": "hi"}}], "usage": usage}).to_string();
    let stream = Answer::stream().chunk(sse::text(&"word".repeat(40))).hang();
    Upstream::start(move |_, ask| if ask.wants_stream() { stream.clone() } else { Answer::json(200, &whole) }).await
}

async fn chat(proxy: &Proxy, user: &str) -> Reply {
    proxy.ask(&Ask::chat(HELLO).bearer(&format!("token-of-{user}"))).await
}

async fn stop(mut proxy: Proxy) {
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

fn file(dir: &TempDir) -> Database {
    Database::open(dir.path().join("history.db")).expect("the file opens")
}

/// Seconds until a refused user may come back.
fn wait(refused: &Reply) -> i64 {
    assert_eq!((refused.status(), refused.error("code").as_str()), (429, "insufficient_quota"), "{refused:?}");
    refused.header("retry-after").parse().expect("seconds")
}

#[tokio::test]
async fn what_was_used_of_a_day_is_still_used_after_a_restart_and_refills_in_the_time_between() {
    let (dir, upstream) = (tempdir().expect("a directory"), upstream().await);
    let settings = settings(&upstream, kept_in(&dir, "1h"), BUDGET);
    let proxy = Proxy::start(&settings).await;
    for user in ["spender", "talker"] {
        assert_eq!(chat(&proxy, user).await.status(), 200);
    }
    wait(&chat(&proxy, "spender").await);
    stop(proxy).await;
    // Nothing is written by then but what was told at the end.
    let proxy = Proxy::start(&settings).await;
    let refused = chat(&proxy, "spender").await;
    wait(&refused);
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), "100", "a day's requests begin anew");
    let left = chat(&proxy, "talker").await;
    assert_eq!(left.header("x-ratelimit-remaining-tokens"), "40", "{left:?}");
    stop(proxy).await;
    // Eighteen hours later a quarter of it is still used.
    file(&dir).execute("UPDATE days SET at = at - ?1", [DAY * 3 / 4]).expect("time passes");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(chat(&proxy, "spender").await.status(), 200);
    let owed = wait(&chat(&proxy, "spender").await);
    // A billionth of a dollar has to be there, which takes three seconds.
    assert!((DAY / 4 - 60..=DAY / 4 + 3).contains(&owed), "{owed}");
}

#[tokio::test]
async fn a_kill_costs_no_more_than_the_last_batch_and_another_limit_counts_as_if_it_were_reloaded() {
    let (dir, upstream) = (tempdir().expect("a directory"), upstream().await);
    let history = || kept_in(&dir, "10ms");
    let mut proxy = Proxy::start(&settings(&upstream, history(), BUDGET)).await;
    assert_eq!(chat(&proxy, "spender").await.status(), 200);
    eventually("a row", async || {
        let count = file(&dir).query_row("SELECT count(*) FROM days", [], |row| row.get::<_, i64>(0)).ok();
        count.filter(|count| *count == 1)
    })
    .await;
    proxy.signal("KILL");
    assert!(!proxy.ended().await.success());
    for (budget, statuses) in [("0.00006", [200, 429]), ("0.00001", [429, 429])] {
        let proxy = Proxy::start(&settings(&upstream, history(), budget)).await;
        for status in statuses {
            assert_eq!(chat(&proxy, "spender").await.status(), status, "{budget}");
        }
        // Six times as much was used as a day has now: no more than all of that counts, and some is there again soon.
        if budget == "0.00001" {
            let owed = wait(&chat(&proxy, "spender").await);
            assert!((1..=9).contains(&owed), "{owed}");
        }
        stop(proxy).await;
    }
}

#[tokio::test]
async fn what_a_stream_used_that_was_cut_at_the_end_is_kept_and_in_memory_nothing_is() {
    let (dir, upstream) = (tempdir().expect("a directory"), upstream().await);
    let in_memory = Settings::new().set("history", "path = \":memory:\"");
    for (history, status) in [(kept_in(&dir, "1h"), 429), (in_memory, 200)] {
        let settings = settings(&upstream, history, BUDGET);
        let mut proxy = Proxy::start(&settings).await;
        let mut client = Connection::open(proxy.addr).await;
        client.send(&Ask::chat(HELLO_STREAM).bearer("token-of-spender")).await;
        assert_eq!(client.head().await.status(), 200);
        client.frame().await.expect("its text");
        proxy.signal("TERM");
        client.rest().await;
        assert_eq!(proxy.ended().await.code(), Some(0));
        let proxy = Proxy::start(&settings).await;
        assert_eq!(chat(&proxy, "spender").await.status(), status);
    }
}

#[tokio::test]
async fn tokens_that_were_only_set_aside_when_greenroom_was_killed_are_not_used_up() {
    let (dir, upstream) = (tempdir().expect("a directory"), upstream().await);
    let settings = settings(&upstream, kept_in(&dir, "10ms"), BUDGET);
    let mut proxy = Proxy::start(&settings).await;
    // All that it has of a day.
    let all = HELLO_STREAM.replacen('{', "{\"max_tokens\":1000,", 1);
    let mut client = Connection::open(proxy.addr).await;
    client.send(&Ask::chat(all.as_str()).bearer("token-of-talker")).await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(chat(&proxy, "talker").await.status(), 429);
    eventually("a row", async || {
        let count = file(&dir).query_row("SELECT count(*) FROM days", [], |row| row.get::<_, i64>(0)).ok();
        count.filter(|count| *count == 1)
    })
    .await;
    proxy.signal("KILL");
    assert!(!proxy.ended().await.success());
    let proxy = Proxy::start(&settings).await;
    let reply = chat(&proxy, "talker").await;
    assert_eq!((reply.status(), reply.header("x-ratelimit-remaining-tokens")), (200, "70"), "{reply:?}");
}
