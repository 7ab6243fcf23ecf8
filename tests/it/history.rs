//! History: what happened is there afterwards, after a stop and after a kill, and writing it never stands in anybody's way.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OpenFlags, params};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::support::{
    client::Ask,
    eventually,
    process::run,
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

/// Settings with a database in `dir`.
fn kept_in(dir: &TempDir, flush_every: &str) -> Settings {
    let path = dir.path().join("history.db");
    Settings::new().set("history", &format!("path = {:?}\nflush_every = \"{flush_every}\"", path.display().to_string()))
}

/// Attempts in the file; none while it has no tables yet.
fn attempts(path: &Path) -> Option<u64> {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let sum = "SELECT coalesce(sum(count.value), 0) FROM minutes, json_each(minutes.outcomes) AS count";
    file.query_row(sum, [], |row| row.get::<_, i64>(0)).ok().map(i64::cast_unsigned)
}

/// Waits until history tells of what is wanted.
async fn told(proxy: &Proxy, query: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let ask = async || {
        let reply = proxy.get(&format!("/admin/history{query}")).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        Some(reply.json()).filter(|answer| wanted(answer))
    };
    eventually(what, ask).await
}

/// The sum of a member over all points of a backend.
fn sum(answer: &Value, backend: &str, member: &str) -> u64 {
    let points = answer["points"].as_array().expect("an answer has points");
    points.iter().filter(|point| point["backend"] == backend).filter_map(|point| point[member].as_u64()).sum()
}

#[tokio::test]
async fn counts_times_tokens_pins_and_events_are_told_by_backend() {
    let answer = Answer::stream().chunk(sse::text("a")).chunk(sse::finish()).chunk(sse::usage(7, 3)).chunk(sse::DONE);
    let (failing, working) = (Upstream::always(Answer::json(500, "{}")).await, Upstream::always(answer.end()).await);
    let settings = Settings::new()
        .target("bad", failing.addr, "priority = 1")
        .target("good", working.addr, "priority = 2")
        .set("defaults.backend", "breaker_failures = 2\nbackoff_min = \"30s\"")
        .set("failover", "retry_budget = 1.0")
        .set("server", "chaos = true")
        .set("history", "path = \":memory:\"\nflush_every = \"10ms\"");
    let proxy = Proxy::start(&settings).await;
    for _ in 0..2 {
        assert_eq!(proxy.chat(HELLO_STREAM).await.status(), 200);
    }
    proxy.until("bad", "its gate shut", |report| report["state"] == "open").await;
    assert_eq!(proxy.chat(HELLO_STREAM).await.status(), 200);
    let pinned = HELLO_STREAM.replace("{\"model\"", "{\"backend\":\"good\",\"model\"");
    assert_eq!(proxy.chat(pinned).await.status(), 200);
    assert_eq!(proxy.chat(hello_at("nobody")).await.status(), 400);
    assert_eq!(proxy.post("/admin/chaos/backends/good").await.status(), 200);
    let all = |answer: &Value| {
        let restarted =
            answer["events"].as_array().is_some_and(|events| events.iter().any(|e| e["event"] == "restart"));
        restarted && sum(answer, "good", "success") == 4 && sum(answer, "none", "attempts") == 1
    };
    let answer = told(&proxy, "", "all of it", all).await;
    assert_eq!((sum(&answer, "bad", "failure"), sum(&answer, "bad", "success")), (2, 0), "{answer}");
    assert_eq!((sum(&answer, "good", "tokens_in"), sum(&answer, "good", "tokens_out")), (28, 12), "{answer}");
    assert_eq!((sum(&answer, "good", "pins"), sum(&answer, "none", "caller_fault")), (1, 1), "{answer}");
    let good = answer["points"].as_array().and_then(|p| p.iter().find(|p| p["backend"] == "good")).expect("a point");
    for times in ["latency_ms", "first_token_ms"] {
        assert!(good[times]["p95"].as_f64() > Some(0.0), "{good}");
    }
    let counts = |member: &str| good[member].as_array().map_or(0, Vec::len);
    assert_eq!(Some(counts("latency_counts")), answer["latency_bounds_s"].as_array().map(|bounds| bounds.len() + 1));
    assert!(good["routes"]["failover"].as_u64() >= Some(1), "{good}");
    let shut = answer["events"].as_array().expect("events").iter().find(|e| e["event"] == "gate").expect("a gate shut");
    assert_eq!((&shut["backend"], &shut["model"], &shut["state"]), (&"bad".into(), &"m".into(), &"open".into()));

    let only = told(&proxy, "?backend=bad&model=m&from=2h&step=1h", "the failing one alone", |_| true).await;
    assert!(sum(&only, "bad", "failure") == 2 && sum(&only, "good", "success") == 0, "{only}");
    assert_eq!(only["step_s"], 3600);
    let none = told(&proxy, "?model=another", "nothing", |_| true).await;
    assert_eq!(none["points"], Value::Array(Vec::new()), "{none}");
}

#[tokio::test]
async fn a_question_finds_what_workers_have_not_handed_in_by_themselves() {
    let upstream = Upstream::saying("hi").await;
    let user = format!("token = \"{TOKEN}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nadmin = true");
    let settings = Settings::default()
        .set("server", "workers = 3")
        .set("users.tester", &user)
        .backend("one", upstream.addr)
        .set("history", "path = \":memory:\"\nflush_every = \"10m\"");
    let proxy = Proxy::start(&settings).await;
    for asked in 1..=6 {
        // Each on a connection, and so on a worker, of its own.
        assert_eq!(proxy.hello().await.status(), 200);
        let answer = told(&proxy, "", "the last request", |answer| sum(answer, "one", "success") == asked).await;
        assert_eq!(sum(&answer, "one", "attempts"), asked, "{answer}");
    }
}

#[tokio::test]
async fn an_attempt_that_lost_to_a_quicker_one_is_told_apart_from_clients_that_left() {
    let (slow, peer) = (Upstream::always(Answer::new().hang()).await, Upstream::saying("hi").await);
    let settings = Settings::new()
        .backend("slow", slow.addr)
        .peer(peer.addr)
        .set("backends.slow", "first_token_soft = \"50ms\"")
        .set("failover", "hedge_budget = 1.0")
        .set("history", "path = \":memory:\"\nflush_every = \"10ms\"");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.chat(HELLO).await.backend(), "peer");
    let answer = told(&proxy, "", "both attempts", |answer| sum(answer, "slow", "attempts") == 1).await;
    let of = ["let_go", "cancelled", "failure"].map(|member| sum(&answer, "slow", member));
    assert_eq!((of, sum(&answer, "peer", "success")), ([1, 0, 0], 1), "{answer}");
    assert_eq!(answer["points"][1]["outcomes"], serde_json::json!({"let_go": 1}), "{answer}");
}

#[tokio::test]
async fn a_pin_that_is_refused_is_no_attempt_of_the_backend_it_names() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("users.plain", "token = \"plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]")
        .set("history", "path = \":memory:\"\nflush_every = \"10ms\"");
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.hello().await.status(), 200);
    assert_eq!(proxy.ask(&Ask::chat(hello_at("one")).bearer("plain")).await.status(), 403);
    assert_eq!(proxy.post("/admin/backends/one/drain").await.status(), 200);
    assert_eq!(proxy.chat(hello_at("one")).await.status(), 503);
    let answer = told(&proxy, "", "all three", |answer| sum(answer, "none", "attempts") == 2).await;
    assert_eq!((sum(&answer, "one", "attempts"), sum(&answer, "one", "success")), (1, 1), "{answer}");
    assert_eq!(sum(&answer, "none", "pins"), 2, "{answer}");
}

#[tokio::test]
async fn questions_are_for_admins_and_bad_ones_are_explained() {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("users.plain", "token = \"plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]")
        .set("history", "path = \":memory:\"");
    let proxy = Proxy::start(&settings).await;
    let ask = Ask::new("GET", "/admin/history");
    assert_eq!(proxy.ask(&ask).await.status(), 401);
    assert_eq!(proxy.ask(&ask.bearer("plain")).await.status(), 403);
    for (query, param) in [("?from=soon", "from"), ("?step=never", "step"), ("?form=1h", "query")] {
        let reply = proxy.get(&format!("/admin/history{query}")).await;
        assert_eq!((reply.status(), reply.error("param").as_str()), (400, param), "{reply:?}");
    }
    for from in ["2026-01-01T02:00:00+02:00", "2026-01-01T02:00:00%2B02:00", "2025-12-31t21:30:00-02:30"] {
        let answer = proxy.get(&format!("/admin/history?from={from}&to=2026-01-01T00:10:00Z")).await.json();
        assert_eq!(answer["from"], "2026-01-01T00:00:00Z", "{from}: {answer}");
    }
    let proxy = Proxy::start(&settings.set("history", "enabled = false")).await;
    assert_eq!(proxy.get("/admin/history").await.status(), 404);
}

/// Fills a database that Greenroom has made: each of so many backends had one request a minute for so long, to now.
fn filled(path: &Path, backends: u32, minutes: u32) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    let rows = "WITH RECURSIVE b(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM b WHERE n + 1 < ?1),
        m(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM m WHERE n + 1 < ?2)
        INSERT INTO minutes SELECT (?3 / 60 - m.n) * 60, 'b' || b.n, 'm', 'least_loaded', '{\"success\": 1}',
            '[[30, 1, 0.1]]', 0.1, '[]', 0, '[1,2,3,4]', 0, NULL, 0 FROM b, m";
    let file = Connection::open(path).expect("the file opens");
    file.execute(rows, params![backends, minutes, now.cast_signed()]).expect("it is filled");
}

#[tokio::test]
async fn a_question_whose_answer_would_not_end_is_refused_with_the_way_out() {
    let dir = tempdir().expect("a directory");
    let upstream = Upstream::saying("hi").await;
    let settings = kept_in(&dir, "1h").backend("b0", upstream.addr);
    let mut proxy = Proxy::start(&settings).await;
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());
    filled(&dir.path().join("history.db"), 100, 310);
    let proxy = Proxy::start(&settings).await;
    let refused = proxy.get("/admin/history?from=6h").await;
    assert_eq!((refused.status(), refused.error("param").as_str()), (400, "step"), "{refused:?}");
    assert!(["30000 points", "'backend'"].iter().all(|word| refused.error("message").contains(word)), "{refused:?}");
    for query in ["from=6h&step=2m", "from=6h&backend=b7", "from=100m"] {
        let answer = proxy.get(&format!("/admin/history?{query}")).await.json();
        assert!(sum(&answer, "b7", "success") > 95, "{query}");
    }
    // A plot has as many steps as a line has bars, a table of numbers those that it is asked for.
    let url = format!("http://{}", proxy.addr);
    let tool = async |args: &[&str]| {
        run(dir.path(), &[&["history", "--from", "24h", "--url", &url, "--token", TOKEN], args].concat(), "").await
    };
    let shown = tool(&[]).await;
    assert!(shown.code == Some(0) && shown.out.contains(" b99 ") || shown.out.contains("\nb99 "), "{shown:?}");
    assert_eq!(tool(&["--csv", "--step", "5m"]).await.out.lines().filter(|line| line.contains(",b99,")).count(), 63);
    let refused = tool(&["--csv"]).await;
    assert!(refused.code == Some(2) && refused.err.contains("30000 points"), "{refused:?}");
}

#[tokio::test]
async fn a_question_about_the_end_of_time_is_refused_and_costs_no_history() {
    let upstream = Upstream::saying("hi").await;
    let proxy =
        Proxy::start(&Settings::new().backend("one", upstream.addr).set("history", "path = \":memory:\"")).await;
    assert_eq!(proxy.hello().await.status(), 200);
    told(&proxy, "", "the request", |answer| sum(answer, "one", "success") == 1).await;
    for (query, field) in [
        ("?from=9999-12-31T23:00:00Z&to=9999-12-31T23:59:59Z", "to"),
        ("?to=9999-12-31T23:59:59Z", "to"),
        ("?from=9999-12-31T23:59:59Z", "from"),
        ("?from=253402300799&to=253402300800", "to"),
    ] {
        for _ in 0..12 {
            let reply = proxy.get(&format!("/admin/history{query}")).await;
            assert_eq!((reply.status(), reply.error("param").as_str()), (400, field), "{query}: {reply:?}");
        }
    }
    told(&proxy, "", "what was there before", |answer| sum(answer, "one", "success") == 1).await;
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}

#[tokio::test]
async fn a_stop_writes_everything_and_the_next_start_goes_on_from_there() {
    let dir = tempdir().expect("a directory");
    let upstream = Upstream::saying("hi").await;
    let settings = kept_in(&dir, "1h").backend("one", upstream.addr);
    for round in 1..=2 {
        let mut proxy = Proxy::start(&settings).await;
        for _ in 0..5 {
            assert_eq!(proxy.hello().await.status(), 200);
        }
        proxy.signal("TERM");
        assert!(proxy.ended().await.success());
        assert_eq!(attempts(&dir.path().join("history.db")), Some(5 * round));
    }
}

#[tokio::test]
async fn a_second_signal_keeps_what_was_gathered_and_what_it_cut() {
    let dir = tempdir().expect("a directory");
    let answer =
        |n: usize, _: &_| if n == 0 { Answer::says("hi") } else { Answer::stream().chunk(sse::text("a")).hang() };
    let upstream = Upstream::start(answer).await;
    let mut proxy = Proxy::start(&kept_in(&dir, "1h").backend("one", upstream.addr)).await;
    assert_eq!(proxy.hello().await.status(), 200);
    let mut client = proxy.begin(HELLO_STREAM).await;
    assert_eq!(client.head().await.status(), 200);
    proxy.signal("TERM");
    proxy.logged(&["draining"]).await;
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());
    assert_eq!(attempts(&dir.path().join("history.db")), Some(2));
}

#[tokio::test]
async fn a_kill_in_the_middle_of_writing_costs_no_more_than_the_last_batch() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("history.db");
    let upstream = Upstream::saying("hi").await;
    let settings = kept_in(&dir, "1ms").backend("one", upstream.addr);
    let mut before = 0;
    for round in 1..=5 {
        let mut proxy = Proxy::start(&settings).await;
        let served = async {
            loop {
                proxy.hello().await;
            }
        };
        let some_written =
            eventually("rows in the file", async || attempts(&path).filter(|n| *n >= before + 20 * round));
        let written = tokio::select! { never = served => never, written = some_written => written };
        proxy.signal("KILL");
        assert!(!proxy.ended().await.success());
        let left = attempts(&path).expect("the file can be read");
        assert!(left >= written, "{left} of {written} are left");
        // The request under way at each kill may be counted here and not have reached the backend.
        assert!(left <= upstream.asked() as u64 + round, "nothing is counted twice");
        let file = Connection::open(&path).expect("the file opens");
        let sound: String =
            file.pragma_query_value(None, "integrity_check", |row| row.get(0)).expect("it can be checked");
        assert_eq!(sound, "ok");
        before = left;
    }
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_one_line_in_the_log_and_nothing_else() {
    let dir = tempdir().expect("a directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "a file where a directory should be").expect("a file can be written");
    let path = file.join("history.db").display().to_string();
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("history", &format!("path = {path:?}\nflush_every = \"1ms\"\nqueue = 1"));
    let proxy = Proxy::start(&settings).await;
    proxy.hello().await;
    proxy.logged(&["history cannot be written"]).await;
    for _ in 0..20 {
        assert_eq!(proxy.hello().await.status(), 200);
        let reply = proxy.get("/admin/history").await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (503, "history_unavailable"), "{reply:?}");
        assert_eq!(reply.header("retry-after"), "1", "{reply:?}");
        assert!(["os error", "history.path"].iter().all(|word| reply.error("message").contains(word)), "{reply:?}");
    }
    assert_eq!(proxy.log().matches("history cannot be written").count(), 1, "{}", proxy.log());
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_dropped_and_counted() {
    let (one, two) = (Upstream::saying("hi").await, Upstream::saying("hi").await);
    let settings = Settings::new()
        .backend("one", one.addr)
        .backend("two", two.addr)
        .set("history", "path = \":memory:\"\nflush_every = \"50ms\"\nqueue = 1");
    let proxy = Proxy::start(&settings).await;
    let dropped = async || {
        for backend in ["one", "two"] {
            assert_eq!(proxy.chat(hello_at(backend)).await.status(), 200);
        }
        let page = proxy.ask(&Ask::new("GET", "/metrics").bearer(TOKEN)).await.text();
        let line = page.lines().find_map(|line| line.strip_prefix("greenroom_history_dropped_total{} "));
        line.and_then(|count| count.parse::<u64>().ok()).filter(|count| *count > 0)
    };
    eventually("a dropped request", dropped).await;
    assert_eq!(proxy.chat(HELLO).await.status(), 200);
}
