//! Who may use what: tokens in all their forms, model lists, backend lists.

use serde_json::json;

use crate::support::{
    client::{Ask, Connection, Reply},
    launch::Launch,
    process::run,
    proxy::{HELLO, HELLO_STREAM, Proxy, hello_at},
    script::{Answer, completion},
    settings::{Settings, TOKEN},
    sse::{self, role, text},
    upstream::Upstream,
};

/// `printf digested | sha256sum`
const DIGEST: &str = "62f2b4a72d1b5d56ccac2eea669989c3ae07badc27c3022910f5a9fa9c219ab2";

async fn stage() -> (Upstream, Upstream, Proxy) {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let settings = Settings::new()
        .backend("one", one.addr)
        .backend("two", two.addr)
        .set("models.\"org/model-1.5\"", "backends = [{ backend = \"one\" }]")
        .set("models.only-two", "backends = [{ backend = \"two\" }]")
        .set("users.narrow", "token = \"${NARROW_TOKEN}\"\nmodels = [\"m\", \"org/model-1.5\"]\nbackends = [\"*\"]")
        .set("users.half", "token = \"token-of-half\"\nmodels = [\"*\"]\nbackends = [\"one\"]");
    let proxy = Launch::new(&settings).env("NARROW_TOKEN", "token-of-narrow").start().await;
    (one, two, proxy)
}

fn ids(reply: &Reply) -> Vec<String> {
    let models = reply.json();
    assert_eq!((reply.status(), &models["object"]), (200, &json!("list")), "{reply:?}");
    let models = models["data"].as_array().expect("a list");
    let id = |model: &serde_json::Value| {
        assert_eq!(model["object"], "model");
        assert!(model["created"].is_u64() && model["owned_by"].is_string(), "{model}");
        model["id"].as_str().unwrap_or_default().to_owned()
    };
    models.iter().map(id).collect()
}

#[tokio::test]
async fn the_list_of_models_is_what_the_user_may_use_and_no_backend_is_asked() {
    let (one, two, proxy) = stage().await;
    assert_eq!(ids(&proxy.get("/v1/models").await), ["m", "only-two", "org/model-1.5"]);
    let list = |token| Ask::new("GET", "/v1/models").bearer(token);
    assert_eq!(ids(&proxy.ask(&list("token-of-narrow")).await), ["m", "org/model-1.5"]);
    assert_eq!(ids(&proxy.ask(&list("token-of-half")).await), ["m", "org/model-1.5"]);
    assert_eq!((one.asked(), two.asked()), (0, 0));
}

#[tokio::test]
async fn one_model_is_shown_to_those_who_may_use_it() {
    let (_one, _two, proxy) = stage().await;
    let model = |id: &str, token| Ask::new("GET", &format!("/v1/models/{id}")).bearer(token);
    let reply = proxy.ask(&model("org/model-1.5", "token-of-narrow")).await;
    assert_eq!((reply.status(), &reply.json()["id"]), (200, &json!("org/model-1.5")));
    for (id, token) in [("only-two", "token-of-narrow"), ("only-two", "token-of-half"), ("absent", "token-of-narrow")] {
        let reply = proxy.ask(&model(id, token)).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (404, "model_not_found"), "{id} {token}");
    }
}

#[tokio::test]
async fn a_request_in_the_name_of_two_users_is_nobodys() {
    let (one, two, proxy) = stage().await;
    for path in ["/v1/chat/completions", "/v1/models", "/admin/backends"] {
        for tokens in [[TOKEN, "token-of-half"], ["token-of-half", TOKEN], [TOKEN, TOKEN]] {
            let by_key = Ask::post(path, HELLO).header("x-api-key", tokens[0]).header("X-Api-Key", tokens[1]);
            for ask in [Ask::post(path, HELLO).bearer(tokens[0]).bearer(tokens[1]), by_key] {
                let reply = proxy.ask(&ask).await;
                assert_eq!((reply.status(), reply.error("code").as_str()), (400, "bad_request"), "{path}: {reply:?}");
                assert!(reply.error("message").contains("more than one"), "{reply:?}");
            }
        }
    }
    assert_eq!(one.asked() + two.asked(), 0);
}

#[tokio::test]
async fn of_a_token_in_either_header_the_one_in_authorization_counts() {
    let (_one, _two, proxy) = stage().await;
    let list = Ask::new("GET", "/v1/models").bearer("token-of-half").header("x-api-key", TOKEN);
    assert_eq!(ids(&proxy.ask(&list).await), ["m", "org/model-1.5"]);
    let unknown = Ask::new("GET", "/v1/models").header("x-api-key", TOKEN).bearer("nobodys");
    assert_eq!(proxy.ask(&unknown).await.status(), 401);
}

#[tokio::test]
async fn a_limited_user_is_told_what_is_left_where_no_model_is_asked_and_uses_none_of_it() {
    let upstream = Upstream::saying("hi").await;
    let left = "x-ratelimit-remaining-requests";
    let user = "token = \"limited\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nlimits = { requests_per_day = 2 }";
    let proxy = Proxy::start(&Settings::new().backend("one", upstream.addr).set("users.limited", user)).await;
    for (path, status) in [
        ("/v1/models", 200),
        ("/v1/models/m", 200),
        ("/v1/models/absent", 404),
        ("/v1/nowhere", 404),
        ("/v1/chat/completions", 405),
        ("/admin/backends", 403),
    ] {
        let ask = Ask::new("GET", path);
        let reply = proxy.ask(&ask.clone().bearer("limited")).await;
        assert_eq!((reply.status(), reply.head.all(left)), (status, vec!["2"]), "{path}: {reply:?}");
        for other in [ask.clone().bearer(TOKEN), ask] {
            assert_eq!(proxy.ask(&other).await.head.get(left), None, "{path}");
        }
    }
}

#[tokio::test]
async fn a_user_is_never_served_by_a_backend_outside_of_the_list() {
    let (one, two, proxy) = stage().await;
    for _ in 0..20 {
        let reply = proxy.ask(&Ask::chat(HELLO).bearer("token-of-half")).await;
        assert_eq!((reply.status(), reply.backend()), (200, "one"));
    }
    assert_eq!((one.asked(), two.asked()), (20, 0));
}

#[tokio::test]
async fn a_model_that_is_not_listed_for_a_user_cannot_be_asked_for() {
    let (one, two, proxy) = stage().await;
    for (model, token) in [("only-two", "token-of-half"), ("only-two", "token-of-narrow")] {
        let ask = Ask::chat(json!({"model": model, "messages": []}).to_string()).bearer(token);
        let reply = proxy.ask(&ask).await;
        assert_eq!((reply.status(), reply.error("code").as_str()), (404, "model_not_found"), "{token} {reply:?}");
    }
    assert_eq!((one.asked(), two.asked()), (0, 0));
}

#[tokio::test]
async fn each_request_of_a_connection_is_its_own_tokens_and_one_that_a_reload_takes_away_is_refused_there_too() {
    let (one, _two, proxy) = stage().await;
    let mut client = Connection::open(proxy.addr).await;
    let mut code = async |backend: &str, token: &str| {
        client.send(&Ask::chat(hello_at(backend)).bearer(token)).await;
        let reply = client.reply().await;
        (reply.status(), if reply.status() == 200 { String::new() } else { reply.error("code") })
    };
    let served = (200, String::new());
    for token in [TOKEN, TOKEN, "token-of-half", TOKEN] {
        let expected = if token == TOKEN { served.clone() } else { (403, "backend_not_allowed".to_owned()) };
        assert_eq!(code("one", token).await, expected, "{token}");
    }
    proxy.rewrite(&Settings::new().backend("one", one.addr).toml().replace(TOKEN, "another-token"));
    proxy.signal("HUP");
    proxy.logged(&["settings installed"]).await;
    assert_eq!(code("one", TOKEN).await, (401, "invalid_api_key".to_owned()), "it was taken away");
}

#[tokio::test]
async fn a_token_can_be_kept_as_its_digest_and_the_digest_is_no_token() {
    let upstream = Upstream::saying("hi").await;
    let dir = tempfile::tempdir().unwrap();
    let said = run(dir.path(), &["hash-token"], "digested\n").await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let digest = said.out.trim();
    assert_eq!(digest, DIGEST);
    let settings = Settings::new()
        .backend("one", upstream.addr)
        .set("users.digested", &format!("token_sha256 = \"{digest}\"\nmodels = [\"*\"]\nbackends = [\"*\"]"));
    let proxy = Proxy::start(&settings).await;
    assert_eq!(proxy.ask(&Ask::chat(HELLO).bearer("digested")).await.status(), 200);
    assert_eq!(proxy.ask(&Ask::chat(HELLO).bearer(digest)).await.status(), 401);
}

#[tokio::test]
async fn who_may_not_see_backends_gets_no_header_that_tells_whose_answer_it_is() {
    const HEAD: &str = "x-request-id: req_1\r\nx-ratelimit-limit-tokens: 9\r\nopenai-version: 2020-10-01\r\n\
        anthropic-version: 1\r\nlink: <https://api.example/>\r\ncontent-language: en\r\n";
    let telling = [
        "x-greenroom-upstream-request-id",
        "x-greenroom-upstream-x-ratelimit-limit-tokens",
        "openai-version",
        "anthropic-version",
        "link",
    ];
    let upstream = Upstream::start(|_, ask| match ask.wants_stream() {
        _ if ask.text().contains("fail") => Answer::json_with(500, HEAD, "{}"),
        true => Answer::new()
            .raw(format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{HEAD}transfer-encoding: chunked\r\n\r\n"
            ))
            .then(Answer::new().chunk(role()).chunk(text("hi")).finished()),
        false => Answer::json_with(200, HEAD, &completion("hi")),
    })
    .await;
    let guest = "token = \"token-of-guest\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_see_backends = false";
    let settings = Settings::new().backend("one", upstream.addr).set("users.guest", guest);
    let proxy = Proxy::start(&settings.set("failover", "max_attempts = 1")).await;
    let fail = HELLO.replace("Hello", "fail");
    for (body, status) in [(HELLO, 200), (HELLO_STREAM, 200), (&*fail, 502)] {
        for (token, sees) in [(TOKEN, true), ("token-of-guest", false)] {
            let reply = proxy.ask(&Ask::chat(body).bearer(token)).await;
            assert_eq!(reply.status(), status, "{reply:?}");
            let expected = if status == 200 { &telling[..] } else { &telling[..1] };
            assert!(expected.iter().all(|name| reply.head.get(name).is_some() == sees), "{token}: {reply:?}");
            let other = if status == 200 { "content-language" } else { "x-greenroom-upstream-status" };
            assert!(reply.head.get(other).is_some(), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn who_may_not_see_backends_is_named_none_in_any_answer() {
    let (bad, peer) = (Upstream::always(Answer::new().hang()).await, Upstream::saying("hi").await);
    let settings = Settings::bad_and_peer(&bad, &peer)
        .set("failover", "keepalive_after = \"50ms\"")
        .set("backends.bad", "first_token_hard = \"300ms\"")
        .set("models.at-peer", "backends = [{ backend = \"peer\", model = \"hidden\" }]")
        .set(
            "users.guest",
            "token = \"token-of-guest\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_see_backends = false",
        );
    let proxy = Proxy::start(&settings).await;
    let named = ["x-greenroom-backend", "x-greenroom-upstream-model"];
    let seen = async |body: &str, token| {
        let mut client = Connection::open(proxy.addr).await;
        client.send(&Ask::chat(body).bearer(token)).await;
        let reply = client.reply().await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        (named.map(|name| reply.head.get(name).unwrap_or_default().to_owned()), reply.text())
    };
    for body in [HELLO, HELLO_STREAM].map(|body| body.replace("\"m\"", "\"at-peer\"")) {
        assert_eq!(seen(&body, TOKEN).await.0, ["peer", "hidden"]);
        let (headers, text) = seen(&body, "token-of-guest").await;
        assert!(headers == ["", ""] && !text.contains("peer"), "{headers:?} {text}");
    }
    // Named behind an early head, in a comment.
    assert!(seen(HELLO_STREAM, TOKEN).await.1.contains("backend=peer"));
    let (_, text) = seen(HELLO_STREAM, "token-of-guest").await;
    assert!(
        text.starts_with(": keepalive") && sse::text_of(text.as_bytes()) == "hi" && !text.contains("peer"),
        "{text}"
    );
}

#[tokio::test]
async fn a_token_is_replaced_without_a_gap_where_both_are_listed() {
    let one = Upstream::saying("one").await;
    let with = |token: &str| {
        let user =
            format!("token = {token}\nmodels = [\"m\"]\nbackends = [\"*\"]\nlimits = {{ requests_per_minute = 4 }}");
        Settings::new().backend("one", one.addr).set("users.app", &user)
    };
    let proxy = Launch::new(&with(r#""old""#)).start().await;
    let status = async |token| proxy.ask(&Ask::chat(HELLO).bearer(token)).await.status();
    let reload = async |token: &str| {
        proxy.rewrite(&with(token).toml());
        assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    };
    assert_eq!((status("old").await, status("new").await), (200, 401));
    reload(r#"["new", "old"]"#).await;
    assert_eq!((status("old").await, status("new").await), (200, 200));
    reload(r#"["new"]"#).await;
    assert_eq!((status("old").await, status("new").await), (401, 200));
    assert_eq!(status("new").await, 429, "either token is the same user's");
}
