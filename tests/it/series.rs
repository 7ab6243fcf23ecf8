//! The series of the metrics page go with the names of the settings.

use crate::{
    metrics::{page, sample, until},
    support::{
        client::{Ask, Connection},
        proxy::{HELLO, Proxy, hello_at},
        script::{Answer, Gate},
        settings::Settings,
        sse,
        upstream::Upstream,
    },
};

#[tokio::test]
async fn what_a_reload_takes_away_is_gone_from_the_next_page_and_begins_anew_where_it_comes_back() {
    let gate = Gate::new();
    let waits = Answer::stream().chunk(sse::text("before")).wait(&gate).finished();
    let (one, two) = (Upstream::saying("hi").await, Upstream::always(waits).await);
    let guest = "token = \"token-of-guest\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_pin = true";
    let base = Settings::new().backend("one", one.addr).set("server", "metrics_by_user = true");
    let price = "price = { input = 1, output = 1 }";
    let more = base.clone().target("two", two.addr, price).set("users.guest", guest);
    let more = more.set("models.n", "backends = [{ backend = \"one\" }]");
    let proxy = Proxy::start(&more).await;
    assert_eq!(proxy.chat(HELLO.replace("\"m\"", "\"n\"")).await.status(), 200);
    assert_eq!(proxy.chat(hello_at("one")).await.status(), 200);
    let stream = hello_at("two").replacen('{', "{\"stream\":true,", 1);
    let mut client = Connection::open(proxy.addr).await;
    client.send(&Ask::chat(stream).bearer("token-of-guest")).await;
    assert_eq!(client.head().await.status(), 200);
    let names = ["\"two\"", "\"n\"", "\"guest\""];
    let counted = "greenroom_pinned_requests_total{backend=\"one\",model=\"m\",outcome=\"served\"}";
    let before = until(&proxy, counted, 1.0).await;
    assert!(before.contains(names[0]) && before.contains(names[1]), "{before}");
    proxy.rewrite(&base.toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    let gone = |page: &str| names.iter().all(|name| !page.contains(name));
    let after = page(&proxy).await;
    assert!(gone(&after), "{after}");
    // All that was counted of the others, as it was.
    let stays = |page: &str| -> Vec<String> {
        let is_count = |line: &str| ["_total{", "_bucket{", "_count{", "_sum{"].iter().any(|form| line.contains(form));
        let lines = page.lines().filter(|line| is_count(line) && gone(line) && !line.contains("greenroom_config_"));
        lines.map(str::to_owned).collect()
    };
    assert!(sample(&before, counted) == Some(1.0) && stays(&before).len() > 50, "{before}");
    assert_eq!(stays(&after), stays(&before));
    // What was under way at it ends, and is counted where nobody sees it.
    gate.open();
    client.rest().await;
    proxy.logged(&["greenroom::request", "backend=two"]).await;
    let after = page(&proxy).await;
    assert!(gone(&after), "{after}");
    proxy.rewrite(&more.toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    let back = page(&proxy).await;
    let two = "greenroom_requests_total{backend=\"two\",model=\"m\",status_class=\"2xx\",outcome=\"success\",stream=\"true\"}";
    assert_eq!(sample(&back, two), Some(0.0), "{back}");
}
