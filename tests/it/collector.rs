//! The collector of traces: whatever it does, requests are served as ever, each span is counted, and none waits for ever.

use std::time::Duration;

use tokio::{net::TcpListener, time::Instant};

use crate::support::{
    collector::{Span, spans_of, traced, traced_to, willing},
    eventually,
    proxy::Proxy,
    script::Answer,
    settings::Settings,
    upstream::{Seen, Upstream},
};

/// Waits until the metrics page has this line.
async fn counted(proxy: &Proxy, line: &str) {
    let has = async || proxy.get("/metrics").await.text().lines().any(|l| l == line).then_some(());
    eventually(line, has).await;
}

/// How often words stand in the log.
fn times(proxy: &Proxy, words: &str) -> usize {
    proxy.log().matches(words).count()
}

const WARNED: &str = "does not take all spans";
const AGAIN: &str = "takes spans again";

async fn served(proxy: &Proxy, times: usize) {
    for _ in 0..times {
        assert_eq!(proxy.hello().await.status(), 200);
    }
}

#[tokio::test]
async fn what_it_puts_off_is_sent_again_when_it_said() {
    let upstream = Upstream::saying("hi").await;
    for status in [429, 502, 503, 504] {
        let off = Answer::json_with(status, "retry-after: 1\r\n", "{}");
        let script = move |n: usize, _: &_| if n == 0 { off.clone() } else { Answer::json(200, "{}") };
        let collector = Upstream::start(script).await;
        let proxy = Proxy::start(&traced(Settings::new().backend("one", upstream.addr), &collector)).await;
        served(&proxy, 1).await;
        collector.until("the first try", |seen| seen.requests.len() == 1).await;
        let first = Instant::now();
        collector.until("the second", |seen| seen.requests.len() == 2).await;
        assert!(first.elapsed() > Duration::from_millis(800), "{:?}", first.elapsed());
        let [one, two] = collector.seen(|seen| [0, 1].map(|n| spans_of(&seen.requests[n])));
        assert_eq!((one.len(), &one), (2, &two));
        counted(&proxy, "greenroom_traces_exported_spans_total{} 2").await;
        proxy.logged(&[AGAIN]).await;
        assert_eq!((times(&proxy, WARNED), times(&proxy, AGAIN)), (1, 1), "{status}");
        assert!(proxy.log().contains(&format!("it answered {status}")), "{}", proxy.log());
    }
}

#[tokio::test]
async fn one_that_is_away_is_told_of_once_and_gets_all_when_it_is_back() {
    let upstream = Upstream::saying("hi").await;
    let place = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = place.local_addr().expect("an address");
    drop(place);
    let settings = traced_to(Settings::new().backend("one", upstream.addr), addr, "flush_every = \"20ms\"");
    let proxy = Proxy::start(&settings).await;
    served(&proxy, 1).await;
    proxy.logged(&[WARNED, "no connection"]).await;
    served(&proxy, 4).await;
    let collector = Upstream::start_at(addr, |_, _| Answer::json(200, "{}")).await;
    let all = |seen: &Seen| seen.requests.iter().map(|r| spans_of(r).len()).sum::<usize>();
    collector.until("all that waited", |seen| all(seen) == 10).await;
    proxy.logged(&[AGAIN]).await;
    assert_eq!((times(&proxy, WARNED), times(&proxy, AGAIN)), (1, 1), "{}", proxy.log());
    counted(&proxy, "greenroom_traces_exported_spans_total{} 10").await;
}

#[tokio::test]
async fn one_that_hangs_holds_up_nobody_and_no_more_waits_than_may() {
    let (upstream, collector) = (Upstream::saying("hi").await, Upstream::always(Answer::new().hang()).await);
    let lines = "flush_every = \"20ms\"\ntimeout = \"60s\"\nbatch = 2\nqueue = 8";
    let settings = traced_to(Settings::new().backend("one", upstream.addr), collector.addr, lines);
    let proxy = Proxy::start(&settings).await;
    served(&proxy, 1).await;
    collector.until("it to be asked", |seen| seen.busy == 1).await;
    let begun = Instant::now();
    served(&proxy, 20).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    counted(&proxy, "greenroom_traces_dropped_spans_total{reason=\"queue_full\"} 34").await;
    assert_eq!(collector.asked(), 1, "one request at a time");
}

#[tokio::test]
async fn what_it_does_not_want_is_not_sent_again() {
    let upstream = Upstream::saying("hi").await;
    let partial = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"WORDS"}}"#;
    let script = move |n: usize, _: &_| match n {
        0 => Answer::json(400, r#"{"message":"WORDS"}"#),
        1 => Answer::json(200, partial),
        _ => Answer::json(200, "{}"),
    };
    let collector = Upstream::start(script).await;
    let proxy = Proxy::start(&traced(Settings::new().backend("one", upstream.addr), &collector)).await;
    for (n, rejected, exported) in [(1, 2, 0), (2, 3, 1), (3, 3, 3)] {
        served(&proxy, 1).await;
        counted(&proxy, &format!("greenroom_traces_dropped_spans_total{{reason=\"rejected\"}} {rejected}")).await;
        counted(&proxy, &format!("greenroom_traces_exported_spans_total{{}} {exported}")).await;
        assert_eq!(collector.asked(), n);
    }
    proxy.logged(&[AGAIN]).await;
    assert_eq!((times(&proxy, WARNED), times(&proxy, "WORDS")), (1, 0), "{}", proxy.log());
}

#[tokio::test]
async fn a_stop_gives_out_the_last_spans() {
    // One that takes its time, so that most of them have to wait for those before.
    let answer = Answer::new().work(Duration::from_millis(100)).then(Answer::json(200, "{}"));
    let (upstream, collector) = (Upstream::saying("hi").await, Upstream::always(answer).await);
    let lines = "flush_every = \"1h\"\nbatch = 2";
    let settings = traced_to(Settings::new().backend("one", upstream.addr), collector.addr, lines);
    let mut proxy = Proxy::start(&settings).await;
    served(&proxy, 10).await;
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());
    let spans = collector.seen(|seen| seen.requests.iter().flat_map(spans_of).collect::<Vec<Span>>());
    assert_eq!(spans.len(), 20, "{spans:?}");
}

#[tokio::test]
async fn a_stop_waits_for_no_collector_that_is_away_or_hangs() {
    let upstream = Upstream::saying("hi").await;
    let away = (Answer::json(503, "{}"), 3, "2 spans could not be sent and are lost");
    let hangs = (Answer::new().hang(), 9, "the last spans could not be sent in time");
    for (answer, most, words) in [away, hangs] {
        let collector = Upstream::always(answer).await;
        let lines = "flush_every = \"1h\"\ntimeout = \"1h\"";
        let settings = traced_to(Settings::new().backend("one", upstream.addr), collector.addr, lines);
        let mut proxy = Proxy::start(&settings).await;
        served(&proxy, 1).await;
        let begun = Instant::now();
        proxy.signal("TERM");
        assert!(proxy.ended().await.success());
        assert!(begun.elapsed() < Duration::from_secs(most), "{:?}", begun.elapsed());
        proxy.logged(&[words]).await;
        assert!((1..=2).contains(&collector.asked()), "once as ever and for a last time: {}", collector.asked());
    }
}

#[tokio::test]
async fn without_one_nothing_is_sent_and_settings_that_need_a_restart_are_named() {
    let (upstream, collector) = (Upstream::saying("hi").await, willing().await);
    let settings = Settings::new().backend("one", upstream.addr);
    let proxy = Proxy::start(&settings).await;
    proxy.rewrite(&traced(settings, &collector).toml());
    let plan = proxy.post("/admin/reload").await.json();
    assert_eq!(plan["plan"]["needs_restart"], serde_json::json!(["traces"]), "{plan}");
    served(&proxy, 1).await;
    let entry = proxy.get("/admin/requests?limit=1").await.json();
    assert!(entry["requests"][0].get("trace_id").is_none(), "{entry}");
    assert_eq!(collector.asked(), 0);
    counted(&proxy, "greenroom_traces_exported_spans_total{} 0").await;
}
