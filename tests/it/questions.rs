//! Questions to history: who may put them, which have an answer, and how long one may be.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, params};
use tempfile::tempdir;

use crate::{
    history::{kept_in, sum, told},
    support::{
        client::Ask,
        process::run,
        proxy::Proxy,
        settings::{Settings, TOKEN},
        upstream::Upstream,
    },
};

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
    assert!(shown.code == Some(0) && (shown.out.contains(" b99 ") || shown.out.contains("\nb99 ")), "{shown:?}");
    // 310 minutes are 62 steps, or touch 63.
    let table = tool(&["--csv", "--step", "5m"]).await.out;
    assert!(matches!(table.lines().filter(|line| line.contains(",b99,")).count(), 62 | 63), "{table}");
    // A plot has another step than its own, too, where it is asked for one.
    for asked in [&["--csv"][..], &["--step", "1m"]] {
        let refused = tool(asked).await;
        assert!(refused.code == Some(2) && refused.err.contains("30000 points"), "{asked:?}: {refused:?}");
    }
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
