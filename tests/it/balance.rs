//! Least-loaded choice, measured: equal backends share evenly, slow ones get less, failing ones attract nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

use crate::support::{
    client::{Ask, Connection},
    proxy::{HELLO, HELLO_STREAM, Proxy},
    script::{Answer, Gate},
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

/// A backend that takes this long to the first token of a stream.
async fn working(time: Duration) -> Upstream {
    Upstream::always(Answer::stream().work(time).chunk(sse::text("hi")).finished()).await
}

fn over(backends: &[(&str, &Upstream)]) -> Settings {
    let settings = Settings::new().set("failover", "max_attempts = 1");
    backends.iter().fold(settings, |settings, (name, upstream)| settings.backend(name, upstream.addr))
}

/// Keeps `clients` busy until `requests` streams are through; tells how many each backend was asked.
async fn load(
    proxy: &Proxy,
    clients: usize,
    requests: usize,
    backends: &[(&str, &Upstream)],
) -> BTreeMap<String, usize> {
    let left = Arc::new(tokio::sync::Semaphore::new(requests));
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let (left, addr) = (left.clone(), proxy.addr);
        running.spawn(async move {
            let mut connection = Connection::open(addr).await;
            while let Ok(turn) = left.try_acquire() {
                turn.forget();
                connection.send(&Ask::chat(HELLO_STREAM).bearer(TOKEN)).await;
                connection.reply().await;
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.expect("clients do not panic");
    }
    backends.iter().map(|(name, upstream)| ((*name).to_owned(), upstream.asked())).collect()
}

#[tokio::test]
async fn four_equal_backends_share_evenly() {
    const REQUESTS: usize = 400;
    let time = Duration::from_millis(10);
    let (a, b, c, d) = (working(time).await, working(time).await, working(time).await, working(time).await);
    let backends = [("a", &a), ("b", &b), ("c", &c), ("d", &d)];
    let proxy = Proxy::start(&over(&backends)).await;
    let asked = load(&proxy, 16, REQUESTS, &backends).await;
    // Drawn by lot one share in two would be farther off; the least loaded is chosen, which keeps them within three.
    for (name, count) in &asked {
        assert!(count.abs_diff(REQUESTS / 4) <= 6, "{name}: {asked:?}");
    }
}

#[tokio::test]
async fn ties_are_broken_at_random() {
    let (a, b, c, d) = (
        Upstream::saying("a").await,
        Upstream::saying("b").await,
        Upstream::saying("c").await,
        Upstream::saying("d").await,
    );
    let backends = [("a", &a), ("b", &b), ("c", &c), ("d", &d)];
    let proxy = Proxy::start(&over(&backends)).await;
    let mut choices = Vec::new();
    for _ in 0..200 {
        let reply = proxy.chat(HELLO).await;
        assert_eq!((reply.status(), reply.header("x-greenroom-route")), (200, "least_loaded"));
        choices.push(reply.backend().to_owned());
    }
    for (name, upstream) in backends {
        // A share below 22 of 200 is five standard deviations away from chance.
        assert!(upstream.asked() > 22, "{name} was asked {} times", upstream.asked());
    }
    let repeats = choices.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!((15..95).contains(&repeats), "{repeats} repeats of 199: taken in turns or stuck rather than by chance");
}

#[tokio::test]
async fn a_backend_at_half_speed_gets_about_half_the_work() {
    let quick = Duration::from_millis(25);
    let (a, b, c, slow) = (working(quick).await, working(quick).await, working(quick).await, working(2 * quick).await);
    let backends = [("a", &a), ("b", &b), ("c", &c), ("slow", &slow)];
    let proxy = Proxy::start(&over(&backends)).await;
    let asked = load(&proxy, 28, 560, &backends).await;
    let fair = (asked["a"] + asked["b"] + asked["c"]) as f64 / 3.0;
    let share = asked["slow"] as f64 / fair;
    assert!((0.3..0.75).contains(&share), "{share:.2} of a quick one's work: {asked:?}");
}

#[tokio::test]
async fn of_two_that_begin_alike_the_one_whose_tokens_follow_faster_gets_the_work() {
    let paced = |rest| {
        let answer = Answer::stream().work(Duration::from_millis(2)).chunk(sse::text("hi"));
        let answer = answer.work(Duration::from_millis(rest)).chunk(sse::finish()).chunk(sse::usage(7, 21));
        Upstream::always(answer.chunk(sse::DONE).end())
    };
    let (quick, slow) = (paced(10).await, paced(200).await);
    let backends = [("quick", &quick), ("slow", &slow)];
    let proxy = Proxy::start(&over(&backends)).await;
    let asked = load(&proxy, 1, 40, &backends).await;
    // Each is asked until it is known, in a random order; after that an idle estimate takes seconds to drift.
    assert!(asked["slow"] <= 5, "{asked:?}");
    let report = proxy.report("slow").await;
    let per_token = report["models"][0]["token_estimate_s"].as_f64().expect("a pace");
    assert!((0.002..0.05).contains(&per_token), "{per_token} s a token, of which 20 came in 200 ms");
}

#[tokio::test]
async fn who_was_never_asked_is_tried_though_the_others_have_nothing_to_do() {
    let time = Duration::from_millis(2);
    let (a, b, c) = (working(time).await, working(time).await, working(time).await);
    let backends = [("a", &a), ("b", &b), ("c", &c)];
    let proxy = Proxy::start(&over(&backends)).await;
    // What is usual is told ten times a second; these take about half of one.
    let asked = load(&proxy, 1, 150, &backends).await;
    assert!(asked.values().all(|count| *count > 0), "{asked:?}");
}

#[tokio::test]
async fn weights_divide_the_work() {
    let time = Duration::from_millis(10);
    let (light, heavy) = (working(time).await, working(time).await);
    let backends = [("light", &light), ("heavy", &heavy)];
    let proxy = Proxy::start(&over(&backends).set("backends.heavy", "weight = 3.0")).await;
    let asked = load(&proxy, 16, 320, &backends).await;
    let ratio = asked["heavy"] as f64 / asked["light"] as f64;
    assert!((2.0..4.5).contains(&ratio), "{ratio:.2}: {asked:?}");
}

#[tokio::test]
async fn a_backend_that_fails_in_a_millisecond_attracts_nothing() {
    const CLIENTS: usize = 4;
    const IN_A_ROW: usize = 3;
    let good = working(Duration::from_millis(10)).await;
    let bad = Upstream::always(Answer::json(500, "{}")).await;
    let backends = [("good", &good), ("bad", &bad)];
    let proxy = Proxy::start(&over(&backends).set("defaults.backend", "backoff_min = \"30s\"")).await;
    let asked = load(&proxy, CLIENTS, 200, &backends).await;
    // Those in flight when the gate shuts are beyond recall.
    assert!(asked["bad"] <= IN_A_ROW + CLIENTS, "{asked:?}");
}

#[tokio::test]
async fn a_fast_failure_does_not_look_fast_even_without_a_breaker() {
    let good = working(Duration::from_millis(10)).await;
    let bad = Upstream::always(Answer::json(500, "{}")).await;
    let backends = [("good", &good), ("bad", &bad)];
    let off =
        "breaker_failures = 0\nbreaker_min_samples = 1000000\nbackoff_min = \"30s\"\nexpected_first_token = \"10ms\"";
    let proxy = Proxy::start(&over(&backends).set("defaults.backend", off)).await;
    let asked = load(&proxy, 1, 100, &backends).await;
    let report = proxy.report("bad").await;
    let good = proxy.report("good").await;
    let (bad, good) = (report["cost"].as_f64().unwrap(), good["cost"].as_f64().unwrap());
    assert!(bad > good / 2.0, "bad costs {bad}, good {good}: {asked:?}");
}

#[tokio::test]
async fn the_report_expects_of_an_unknown_backend_what_the_router_does() {
    let (known, unknown) = (working(Duration::from_millis(5)).await, Upstream::always(Answer::json(500, "{}")).await);
    let settings = Settings::new().backend("known", known.addr).backend("unknown", unknown.addr);
    let far = "expected_first_token = \"50s\"\nbackoff_min = \"30s\"";
    let proxy = Proxy::start(&settings.set("defaults.backend", far)).await;
    assert_eq!(proxy.chat(HELLO_STREAM).await.status(), 200);
    // The median is told in the next tenth of a second at the latest, by whichever request comes then.
    proxy
        .until("known", "a measured first token", |report| report["first_token_estimate_s"].as_f64() < Some(10.0))
        .await;
    let mut expected = 50.0;
    for _ in 0..500 {
        assert_eq!(proxy.chat(HELLO_STREAM).await.status(), 200);
        expected = proxy.report("unknown").await["first_token_estimate_s"].as_f64().expect("a number");
        if expected < 10.0 {
            break;
        }
    }
    assert!(expected < 10.0, "{expected} s are still expected of the one that nobody has measured");
}

#[tokio::test]
async fn with_prefix_affinity_a_conversation_stays_at_one_backend_while_that_can_take_it() {
    let (a, b, c) = (Upstream::saying("a").await, Upstream::saying("b").await, Upstream::saying("c").await);
    let backends = [("a", &a), ("b", &b), ("c", &c)];
    let proxy = Proxy::start(&over(&backends).set("models.m", "prefix_affinity = true")).await;
    let turn = |conversation: usize, turn: usize| {
        let first = format!(r#"{{"role":"user","content":"{}{conversation}"}}"#, "x".repeat(900));
        let last = format!(r#"{{"role":"user","content":"{}{turn}"}}"#, "y".repeat(200));
        format!(r#"{{"messages":[{first},{last}],"model":"m"}}"#)
    };
    let (mut homes, mut routes) = (Vec::new(), BTreeSet::new());
    for conversation in 0..30 {
        let home = proxy.chat(turn(conversation, 0)).await.backend().to_owned();
        for later in 1..4 {
            let reply = proxy.chat(turn(conversation, later)).await;
            assert_eq!(reply.backend(), home);
            routes.insert(reply.header("x-greenroom-route").to_owned());
        }
        homes.push(home);
    }
    // Three alike: which is the cheapest is chance.
    assert_eq!(Vec::from_iter(&routes), ["affinity", "least_loaded"]);
    for (name, _) in backends {
        assert!(homes.iter().any(|home| home == name), "{name} is nobody's: {homes:?}");
    }
    // Who is away moves only its own, and has them back afterwards.
    assert_eq!(proxy.post("/admin/backends/a/drain").await.status(), 200);
    for (conversation, home) in homes.iter().enumerate() {
        let reply = proxy.chat(turn(conversation, 5)).await;
        assert_eq!((reply.status(), reply.backend() == home), (200, home != "a"));
    }
    assert_eq!(proxy.post("/admin/backends/a/resume").await.status(), 200);
    for (conversation, home) in homes.iter().enumerate() {
        assert_eq!(proxy.chat(turn(conversation, 6)).await.backend(), home);
    }
}

/// Holds `count` streams open at the backends.
async fn hold(proxy: &Proxy, count: usize) -> Vec<Connection> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut client = proxy.begin(HELLO_STREAM).await;
        assert_eq!(client.head().await.status(), 200);
        held.push(client);
    }
    held
}

async fn holding(gate: &Gate) -> Upstream {
    Upstream::always(Answer::stream().chunk(sse::text("hi")).wait(gate).finished()).await
}

#[tokio::test]
async fn beyond_its_limit_a_backend_is_full_and_the_answer_is_an_immediate_503() {
    let gate = Gate::new();
    let (a, b) = (holding(&gate).await, holding(&gate).await);
    let settings = over(&[("a", &a), ("b", &b)]).set("defaults.backend", "max_in_flight = 2");
    let proxy = Proxy::start(&settings).await;
    let held = hold(&proxy, 4).await;
    assert_eq!((a.asked(), b.asked()), (2, 2));
    let reply = proxy.hello().await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (503, "gateway_overloaded"), "{reply:?}");
    assert_eq!(reply.error("type"), "service_unavailable_error");
    assert!(reply.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!((a.asked(), b.asked()), (2, 2));
    // A stream holds its place to its last byte, and not beyond.
    gate.open_for_all();
    for mut client in held {
        client.rest().await;
    }
    proxy.until("a", "the leases given back", |r| r["streaming"] == 0).await;
    assert_eq!(proxy.chat(HELLO_STREAM).await.status(), 200);
}

#[tokio::test]
async fn a_lower_tier_is_used_only_when_the_higher_one_can_take_no_more() {
    let gate = Gate::new();
    let (first, second) = (holding(&gate).await, holding(&gate).await);
    let settings = Settings::new()
        .target("second", second.addr, "priority = 2")
        .target("first", first.addr, "priority = 1")
        .set("backends.first", "max_in_flight = 5");
    let proxy = Proxy::start(&settings).await;
    let held = hold(&proxy, 5).await;
    assert_eq!((first.asked(), second.asked()), (5, 0));
    let more = hold(&proxy, 2).await;
    assert_eq!((first.asked(), second.asked()), (5, 2));
    drop((held, more));
    proxy.until("first", "the leases given back", |r| r["streaming"] == 0).await;
    drop(hold(&proxy, 1).await);
    assert_eq!((first.asked(), second.asked()), (6, 2));
}
