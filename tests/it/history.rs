//! History: what happened is there afterwards, after a stop and after a kill, and writing it never stands in anybody's way.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
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
pub(crate) fn kept_in(dir: &TempDir, flush_every: &str) -> Settings {
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
pub(crate) async fn told(proxy: &Proxy, query: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let ask = async || {
        let reply = proxy.get(&format!("/admin/history{query}")).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        Some(reply.json()).filter(|answer| wanted(answer))
    };
    eventually(what, ask).await
}

/// The sum of a member over all points of a backend.
pub(crate) fn sum(answer: &Value, backend: &str, member: &str) -> u64 {
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
async fn events_of_several_backends_are_told_in_the_order_in_which_they_came() {
    let upstream = Upstream::saying("hi").await;
    let names = ["one", "two", "three"];
    let settings = names.iter().fold(Settings::new(), |settings, name| settings.backend(name, upstream.addr));
    let proxy = Proxy::start(&settings.set("history", "path = \":memory:\"\nflush_every = \"10m\"")).await;
    for action in ["drain", "resume"] {
        for name in names {
            assert_eq!(proxy.post(&format!("/admin/backends/{name}/{action}")).await.status(), 200);
        }
    }
    let answer = told(&proxy, "", "all events", |answer| answer["events"].as_array().map_or(0, Vec::len) >= 6).await;
    let events = answer["events"].as_array().expect("events").iter();
    let told: Vec<_> = events.filter_map(|event| event["backend"].as_str()).collect();
    assert_eq!(told, [names, names].concat(), "{answer}");
    let args = ["history", "--url", &format!("http://{}", proxy.addr), "--token", TOKEN];
    let dir = tempdir().expect("a directory");
    let bad = Upstream::always(Answer::json(404, "{\"error\":{\"code\":\"model_not_found\"}}")).await;
    proxy.rewrite(&Settings::new().backend("bad", bad.addr).toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!(proxy.hello().await.status(), 502);
    // What concerns one of its models names that.
    let shown = async || Some(run(dir.path(), &args, "").await.out).filter(|out| out.contains("Z  bad  m  it "));
    eventually("the model in a line", shown).await;
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
    let settings = kept_in(&dir, "10ms").backend("one", upstream.addr);
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
        .set("history", &format!("path = {path:?}\nflush_every = \"10ms\"\nqueue = 1"));
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
    std::fs::remove_file(&file).expect("it was there");
    proxy.logged(&["INFO", "history is written again"]).await;
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
