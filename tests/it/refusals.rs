//! What is refused at the door: in the client's own terms, without a backend being asked, with nothing smuggled past.

use serde_json::json;

use crate::support::{
    client::{Ask, Connection, Reply},
    proxy::{HELLO, Proxy},
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

async fn stage() -> (Upstream, Proxy) {
    let upstream = Upstream::saying("hi").await;
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("server", "body_limit = 4096")
        .set("models.hidden", "backends = [{ backend = \"one\" }]")
        .set("users.narrow", "token = \"token-of-narrow\"\nmodels = [\"m\"]\nbackends = [\"*\"]");
    let proxy = Proxy::start(&settings).await;
    (upstream, proxy)
}

/// Status, type, code and param; the shape, the id, and the attempts where it is known who asks are checked on the way.
fn face(reply: &Reply) -> (u16, String, String, String) {
    let others = ["invalid_api_key", "unknown_endpoint", "method_not_allowed", "not_found"];
    let is_known = !others.contains(&&*reply.error("code"));
    assert_eq!(reply.head.get("x-greenroom-attempts"), is_known.then_some("0"), "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json", "{reply:?}");
    assert_eq!(reply.error("request_id"), reply.header("x-request-id"), "{reply:?}");
    assert!(reply.error("message").len() > 10, "{reply:?}");
    (reply.status(), reply.error("type"), reply.error("code"), reply.error("param"))
}

fn refusal(status: u16, code: &str, param: &str) -> (u16, String, String, String) {
    (status, "invalid_request_error".to_owned(), code.to_owned(), param.to_owned())
}

#[tokio::test]
async fn json_that_is_cut_anywhere_is_refused_and_the_connection_goes_on() {
    let (upstream, proxy) = stage().await;
    let whole = r#"{"model":"m", "x":[1.5e3,{"é":"\u00e9\n"},true,null], "stream":false, "messages":[{"role":"user","content":"h"}]}"#;
    let mut connection = Connection::open(proxy.addr).await;
    for cut in 0..whole.len() {
        let mut ask = Ask::chat(&whole.as_bytes()[..cut]).bearer(TOKEN);
        if cut == 0 {
            ask = ask.header("content-length", "0");
        }
        connection.send(&ask).await;
        assert_eq!(face(&connection.reply().await), refusal(400, "invalid_json", "-"), "cut at {cut}");
    }
    connection.send(&Ask::chat(whole).bearer(TOKEN)).await;
    assert_eq!(connection.reply().await.status(), 200);
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn what_is_not_one_json_object_is_refused() {
    let (upstream, proxy) = stage().await;
    let not_utf8 = [&br#"{"model":"m","messages":[],"x":""#[..], b"\xff", br#""}"#].concat();
    let bodies =
        ["[]", "7", "\"model\"", "null", "{}{}", "{\"model\":\"m\",\"messages\":[]} x", "{'model':'m'}", "\u{feff}{}"];
    for body in bodies.map(|body| body.as_bytes().to_vec()).into_iter().chain([not_utf8]) {
        assert_eq!(face(&proxy.chat(body.clone()).await), refusal(400, "invalid_json", "-"), "{body:?}");
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_body_nested_very_deep_harms_nobody() {
    let (_upstream, proxy) = stage().await;
    let reply = proxy.chat(format!(r#"{{"model":"m","messages":{}}}"#, "[".repeat(4000))).await;
    assert_eq!(face(&reply), refusal(400, "invalid_json", "-"));
    let deep = format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(2000), "]".repeat(2000));
    let reply = proxy.chat(deep).await;
    assert!(matches!(reply.status(), 200 | 400), "{reply:?}");
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn a_deciding_key_that_stands_twice_is_refused_however_it_is_spelled() {
    let (upstream, proxy) = stage().await;
    for (twice, key) in [
        (r#""model":"m","model":"m""#, "model"),
        (r#""model":"m","mo\u0064el":"hidden""#, "model"),
        (r#""model":"m","backend":"one","backend":"one""#, "backend"),
        (r#""backend":7,"model":"m","\u0062ackend":"one""#, "backend"),
        (r#""model":"m","stream":false,"stream":true"#, "stream"),
        (r#""model":"m","stream":true,"x":1,"str\u0065am":true"#, "stream"),
    ] {
        let reply = proxy.chat(format!(r#"{{{twice},"messages":[]}}"#)).await;
        assert_eq!((reply.status(), reply.error("param").as_str()), (400, key), "{reply:?}");
        assert_eq!(reply.error("type"), "invalid_request_error");
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_missing_or_misshapen_member_is_named() {
    let (upstream, proxy) = stage().await;
    for (body, param) in [(r#"{"messages":[]}"#, "model"), (r#"{"model":"m"}"#, "messages"), ("{}", "model")] {
        assert_eq!(face(&proxy.chat(body).await), refusal(400, "missing_required_parameter", param), "{body}");
    }
    for (body, param) in [
        (json!({"model": 7, "messages": []}), "model"),
        (json!({"model": "", "messages": []}), "model"),
        (json!({"model": "m", "messages": "hello"}), "messages"),
        (json!({"model": "m", "messages": [], "stream": "yes"}), "stream"),
        (json!({"model": "m", "messages": [], "stream": "true"}), "stream"),
        (json!({"model": "m", "messages": [], "stream": 1}), "stream"),
        (json!({"model": "m", "messages": [], "stream": {}}), "stream"),
    ] {
        let reply = proxy.chat(body.to_string()).await;
        assert_eq!((reply.status(), reply.error("param").as_str()), (400, param), "{body} {reply:?}");
        assert_eq!(reply.error("type"), "invalid_request_error");
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_whether_its_length_is_told_or_not() {
    let (upstream, proxy) = stage().await;
    let fits = format!("{HELLO}{}", " ".repeat(4096 - HELLO.len()));
    assert_eq!(proxy.chat(fits.clone()).await.status(), 200);
    let told = proxy.chat(fits.clone() + " ").await;
    assert_eq!(face(&told), refusal(413, "request_too_large", "-"));
    let mut connection = Connection::open(proxy.addr).await;
    let head = Ask::new("POST", "/v1/chat/completions").bearer(TOKEN).header("transfer-encoding", "chunked").bytes();
    connection.send_bytes(&head).await;
    connection.send_bytes(format!("{:x}\r\n{fits}\r\n1\r\n \r\n0\r\n\r\n", fits.len()).as_bytes()).await;
    assert_eq!(face(&connection.reply().await), refusal(413, "request_too_large", "-"));
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn a_missing_and_a_wrong_token_get_the_same_answer_everywhere() {
    let (upstream, proxy) = stage().await;
    let mut texts = Vec::new();
    for path in ["/v1/chat/completions", "/v1/models", "/v1/models/m", "/admin/backends", "/admin/backends/one"] {
        let ask = || if path.ends_with("completions") { Ask::chat(HELLO) } else { Ask::new("GET", path) };
        for ask in [
            ask(),
            ask().bearer("wrong"),
            ask().bearer(""),
            ask().bearer(&TOKEN[..TOKEN.len() - 1]),
            ask().bearer(&format!("{TOKEN}x")),
            ask().header("authorization", TOKEN),
            ask().header("authorization", &format!("Basic {TOKEN}")),
        ] {
            let reply = proxy.ask(&ask).await;
            assert_eq!(face(&reply), refusal(401, "invalid_api_key", "-"), "{path}");
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            texts.push(reply.error("message"));
        }
    }
    texts.dedup();
    assert_eq!((texts.len(), upstream.asked()), (1, 0), "{texts:?}");
}

#[tokio::test]
async fn the_word_bearer_may_be_written_in_lower_case() {
    let (_upstream, proxy) = stage().await;
    let reply = proxy.ask(&Ask::chat(HELLO).header("authorization", &format!("bearer {TOKEN}"))).await;
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn a_model_that_is_not_there_and_one_that_is_not_yours_read_the_same() {
    let (upstream, proxy) = stage().await;
    let ask = |model: &str| Ask::chat(json!({"model": model, "messages": []}).to_string()).bearer("token-of-narrow");
    let absent = proxy.ask(&ask("absent")).await;
    let hidden = proxy.ask(&ask("hidden")).await;
    assert_eq!(face(&absent), refusal(404, "model_not_found", "model"));
    assert_eq!(face(&hidden), face(&absent));
    assert_eq!(hidden.error("message"), absent.error("message").replace("absent", "hidden"));
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn an_unknown_path_is_answered_in_the_same_shape() {
    let (_upstream, proxy) = stage().await;
    for ask in [Ask::new("GET", "/v1/nothing"), Ask::new("GET", "/"), Ask::new("GET", "/admin/nothing")] {
        assert_eq!(face(&proxy.ask(&ask.bearer(TOKEN)).await), refusal(404, "unknown_endpoint", "-"));
    }
    // Where one may ask, what is not found is something else.
    assert_eq!(face(&proxy.get("/admin/backends/nobody").await), refusal(404, "not_found", "-"));
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones_in_the_same_shape() {
    let (upstream, proxy) = stage().await;
    let posted = ["/v1/chat/completions", "/v1/completions", "/v1/images/generations", "/v2/rerank", "/admin/reload"];
    let wrong = posted.iter().flat_map(|path| [("GET", *path), ("DELETE", *path)]).map(|asked| (asked, "POST"));
    let read = ["/livez", "/health", "/readyz", "/v1/models", "/v1/models/m", "/admin/backends"];
    let wrong = wrong.chain(read.map(|path| (("POST", path), "GET, HEAD")));
    for ((method, path), allow) in wrong {
        let reply = proxy.ask(&Ask::new(method, path).bearer(TOKEN).header("x-request-id", "mine")).await;
        assert_eq!(face(&reply), refusal(405, "method_not_allowed", "-"), "{method} {path}");
        assert_eq!((reply.header("allow"), reply.header("x-request-id")), (allow, "mine"), "{method} {path}");
    }
    let messages = proxy.get("/v1/messages").await;
    assert_eq!(
        (messages.status(), &messages.json()["type"]),
        (405, &json!("error")),
        "the Messages API has its own shape"
    );
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn the_head_alone_is_served_where_there_is_something_to_read() {
    let (_upstream, proxy) = stage().await;
    let mut connection = Connection::open(proxy.addr).await;
    for path in ["/livez", "/health", "/readyz", "/v1/models", "/v1/models/m"] {
        connection.send(&Ask::new("HEAD", path).bearer(TOKEN)).await;
        let head = connection.head().await;
        let length = head.get("content-length").and_then(|length| length.parse::<usize>().ok());
        assert!(head.status() == 200 && length.is_some_and(|length| length > 0), "{path}: {head:?}");
        // Nothing of a body stands between two heads.
        connection.send(&Ask::new("GET", "/livez")).await;
        assert_eq!(connection.reply().await.text(), "ok\n");
    }
}

#[tokio::test]
async fn an_id_of_the_client_comes_back_only_if_it_is_a_plain_one() {
    let (_upstream, proxy) = stage().await;
    let with = |id: &str| Ask::chat("{}").bearer(TOKEN).header("x-request-id", id);
    assert_eq!(proxy.ask(&with("plain-1.0_x")).await.header("x-request-id"), "plain-1.0_x");
    for id in ["with space", "semi;colon", "", "é", &"x".repeat(129)] {
        let reply = proxy.ask(&with(id)).await;
        assert_eq!(reply.head.all("x-request-id").len(), 1);
        let own = reply.header("x-request-id");
        assert!(own != id && own.len() > 8, "{own}");
    }
}

#[tokio::test]
async fn two_lengths_for_one_body_never_make_two_requests() {
    let (upstream, proxy) = stage().await;
    let inner = String::from_utf8(Ask::chat(HELLO).bearer(TOKEN).bytes()).unwrap();
    let chat = || Ask::new("POST", "/v1/chat/completions").bearer(TOKEN);
    let both = chat().header("transfer-encoding", "chunked");
    let head = |ask: Ask| String::from_utf8(ask.bytes()).unwrap();
    for smuggled in [
        format!("{}0\r\n\r\n{inner}", head(both.clone().header("content-length", "4"))),
        format!(
            "{}0\r\n\r\n{inner}",
            head(chat().header("content-length", "5").header("transfer-encoding", "chunked"))
        ),
        format!("{}{inner}", head(chat().header("content-length", "0").header("content-length", "7"))),
        format!("{}0\r\n\r\n{inner}", head(chat().header("transfer-encoding", "x, chunked, x"))),
        format!("{}{inner}", head(chat().header("content-length", "-1"))),
        format!("{}{inner}", head(chat().header("content-length", "1, 2"))),
    ] {
        let mut connection = Connection::open(proxy.addr).await;
        connection.send_bytes(smuggled.as_bytes()).await;
        let status = connection.maybe_head().await.map(|head| head.status());
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?} for {smuggled}");
        connection.closed().await;
        assert_eq!(upstream.asked(), 0, "{smuggled}");
    }
    assert_eq!(proxy.hello().await.status(), 200);
}

#[tokio::test]
async fn line_ends_in_values_make_no_headers() {
    let (upstream, proxy) = stage().await;
    for raw in [
        "x-a: 1\rx-evil: 1",
        "x-a: 1\n x-evil: 1",
        "x-a: 1\r\n x-evil: 1",
        "x-evil : 1",
        "x-a: 1\0",
        "x-request-id: a\rx-evil: 1",
    ] {
        let mut connection = Connection::open(proxy.addr).await;
        let whole = String::from_utf8(Ask::chat(HELLO).bearer(TOKEN).bytes()).unwrap();
        connection.send_bytes(whole.replace("content-type", &format!("{raw}\r\ncontent-type")).as_bytes()).await;
        let head = connection.maybe_head().await;
        let evil = head.as_ref().is_some_and(|head| head.get("x-evil").is_some());
        let refused = head.is_none_or(|head| head.status() == 400);
        assert!(refused && !evil, "{raw:?}");
    }
    let asked = upstream.asked();
    let reply = proxy.chat(json!({"model": "m\r\nx-evil: 1", "messages": []}).to_string()).await;
    assert_eq!((reply.status(), reply.head.get("x-evil"), upstream.asked()), (404, None, asked));
    let reply = proxy.chat(json!({"model": "m", "messages": [], "backend": "one\r\nx-evil: 1"}).to_string()).await;
    assert_eq!((reply.status(), reply.head.get("x-evil"), upstream.asked()), (400, None, asked));
}

#[tokio::test]
async fn what_was_refused_at_the_door_leaves_no_mark_on_a_backend() {
    let (_upstream, proxy) = stage().await;
    for body in ["{", "{}", r#"{"model":"absent","messages":[]}"#] {
        assert!((400..500).contains(&proxy.chat(body).await.status()));
    }
    let report = proxy.report("one").await;
    assert_eq!((&report["requests"]["total"], &report["state"]), (&json!(0), &json!("healthy")));
}
