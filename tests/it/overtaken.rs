//! Probes that others have overtaken: what they end with moves no gate that has opened since, or was told to wait.

use serde_json::json;

use crate::support::{
    client::Connection,
    heard::hello,
    proxy::Proxy,
    script::{Answer, Gate},
    settings::Settings,
    upstream::Upstream,
};

/// Failures in a row that shut the gate.
const SHUT: usize = 3;

/// A backend that has failed and been shut, and a probe of it that is under way. Once that has had the gate for itself for
/// 100 ms, others are let in.
struct Stage {
    one: Upstream,
    proxy: Proxy,
    /// Lets the probe's answer come.
    late: Gate,
    probe: Connection,
}

impl Stage {
    /// The probe is streamed or not, and answered with `late`; who overtakes it with `second`, and all others well.
    async fn new(streamed: bool, late: Answer, second: Answer) -> Self {
        let gate = Gate::new();
        let late = Answer::new().wait(&gate).then(late);
        let one = Upstream::start(move |n, _| match n {
            0..SHUT => Answer::json(500, "{}"),
            SHUT => late.clone(),
            n if n == SHUT + 1 => second.clone(),
            _ => Answer::says("hi"),
        })
        .await;
        let lines = format!("breaker_failures = {SHUT}\nbackoff_min = \"100ms\"\nfirst_token_soft = \"100ms\"");
        let settings =
            Settings::new().backend("one", one.addr).set("failover", "max_attempts = 1").set("backends.one", &lines);
        let proxy = Proxy::start(&settings).await;
        for _ in 0..SHUT {
            assert_eq!(proxy.hello().await.status(), 502);
        }
        proxy.until("one", "the end of the backoff", |r| r["state"] == "half_open").await;
        let probe = proxy.begin(hello(streamed)).await;
        one.until("the probe", |seen| seen.busy == 1).await;
        Self { one, proxy, late: gate, probe }
    }

    /// What comes of the first who overtakes the probe; before its time everybody is refused.
    async fn overtake(&self) -> u16 {
        loop {
            let status = self.proxy.hello().await.status();
            if self.one.asked() > SHUT + 1 {
                return status;
            }
            assert_eq!(status, 503);
        }
    }

    async fn opened(&self) {
        assert_eq!(self.overtake().await, 200);
        self.proxy.until("one", "an open gate", |r| r["state"] == "healthy").await;
        for _ in 0..8 {
            assert_eq!(self.proxy.hello().await.status(), 200);
        }
    }
}

#[tokio::test]
async fn one_that_fails_late_is_one_failure_beside_all_that_went_well() {
    let mut stage = Stage::new(false, Answer::json(500, "{}"), Answer::says("hi")).await;
    stage.opened().await;
    stage.late.open();
    assert_eq!(stage.probe.reply().await.status(), 502);
    let report = stage.proxy.until("one", "its failure", |r| r["consecutive_failures"] == 1).await;
    assert_ne!(report["state"], "open", "{report}");
    assert_eq!(stage.proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn one_whose_client_leaves_late_shuts_nothing() {
    let stage = Stage::new(true, Answer::new().hang(), Answer::says("hi")).await;
    stage.opened().await;
    let Stage { one, proxy, probe, .. } = stage;
    drop(probe);
    one.until("its end", |seen| seen.abandoned == 1).await;
    let report = proxy.until("one", "its lease given back", |r| r["requests"]["cancelled"] == 1).await;
    assert_eq!((&report["state"], &report["consecutive_failures"]), (&json!("healthy"), &json!(0)), "{report}");
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn one_that_ends_well_late_opens_no_gate_whose_provider_has_named_a_wait_since() {
    let limited = Answer::json_with(429, "retry-after: 60\r\n", "{}");
    let mut stage = Stage::new(false, Answer::says("hi"), limited).await;
    assert_eq!(stage.overtake().await, 429);
    stage.late.open();
    assert_eq!(stage.probe.reply().await.status(), 200);
    let report = stage.proxy.until("one", "its success", |r| r["requests"]["success"] == 1).await;
    assert!(report["reopens_in_ms"].as_u64() > Some(50_000), "{report}");
    assert_eq!((stage.proxy.hello().await.status(), stage.one.asked()), (503, SHUT + 2));
}
