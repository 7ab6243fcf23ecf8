//! Faults of the settings or of the account that providers tell as the caller's: never told to a client as its own, and other backends
//! answer. Each body is as its provider sends it.

use serde_json::{Value, json};

use crate::support::{
    client::Reply,
    proxy::{HELLO, Proxy},
    script::Answer,
    settings::Settings,
    upstream::Upstream,
};

const NO_MODEL: &str = "does not know this model";
const NO_QUOTA: &str = "no money or quota left";
const NO_RIGHT: &str = "does not accept our credentials";

/// A body of this type.
fn typed(status: u16, kind: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::new()
        .raw(format!("HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

/// A backend that refuses so, before another for `m`, and alone for `alone`; it knows both as `m`.
async fn stage(refusal: Answer, protocol: &str) -> (Upstream, Upstream, Proxy) {
    let (one, two) = (Upstream::always(refusal).await, Upstream::saying("hi").await);
    let of = |protocol: &str, addr| format!("protocol = \"{protocol}\"\nbase_url = \"http://{addr}/v1\"");
    let settings = Settings::new()
        .set("backends.one", &of(protocol, one.addr))
        .set("backends.two", &of("openai", two.addr))
        .set("models.m", "backends = [{ backend = \"one\" }, { backend = \"two\", priority = 2 }]")
        .set("models.alone", "backends = [{ backend = \"one\", model = \"m\" }]");
    (one, two, Proxy::start(&settings).await)
}

async fn alone(proxy: &Proxy) -> Reply {
    proxy.chat(HELLO.replace(r#""m""#, r#""alone""#)).await
}

/// What refuses is out for this reason, its client reads nothing of it, and others are served by another.
async fn is_out(refusal: Answer, protocol: &str, code: &str, reason: &str) {
    let (one, _two, proxy) = stage(refusal, protocol).await;
    let reply = alone(&proxy).await;
    assert_eq!((reply.face(), one.asked()), ((502, code.to_owned()), 1), "{reply:?}");
    assert!(!reply.text().contains("user_x"), "{reply:?}");
    proxy.until("one", reason, |report| report.to_string().contains(reason)).await;
    assert_eq!((proxy.hello().await.backend(), alone(&proxy).await.status()), ("two", 503));
}

#[tokio::test]
async fn a_model_that_the_settings_name_in_vain_is_not_the_clients_fault_whatever_the_status() {
    let ended = json!({"type": "about:blank", "title": "Gone", "status": 410,
        "detail": "The model 'm' has reached its end of life on 2026-05-14T00:00:00Z and is no longer available."});
    for (status, said) in [
        (400, json!({"error": {"message": "m is not a valid model ID", "code": 400}, "user_id": "user_x"})),
        (410, ended),
        (
            400,
            json!({"error": {"code": "unknown_model", "message": "Unknown model: m", "details": "Unknown model: m"}}),
        ),
        (
            400,
            json!({"error": {"message": "/chat/completions: Invalid model name passed in model=m. Call `/v1/models` to view available models for your key.", "type": "invalid_request_error", "param": "model", "code": "400"}}),
        ),
        (400, json!({"error": {"message": "litellm.BadRequestError: Invalid model name passed in model=m"}})),
        (400, json!({"error": {"code": "1211", "message": "Unknown Model, please check the model code."}})),
        (400, json!({"error": {"code": "1211", "message": "模型不存在，请检查模型代码。"}})),
        (400, json!({"detail": "Server is pinned to './smollm2'; requested 'does/not-exist'."})),
        (400, json!({"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": null})),
        (
            403,
            json!({"code": 30011, "message": "The selected model requires paid balance. Please top up.", "data": null}),
        ),
        (400, json!({"code": "Client specified an invalid argument", "error": "Model not found: m"})),
    ] {
        is_out(Answer::json(status, &said.to_string()), "openai", "upstream_model_not_found", NO_MODEL).await;
    }
}

#[tokio::test]
async fn an_account_without_money_is_not_the_clients_fault_nor_a_limit_that_passes() {
    let spent = "Your team 0a1b has either used all available credits or reached its monthly spending limit.";
    let fresh = "Your newly created team doesn't have any credits or licenses yet.";
    let zai = "Insufficient balance or no resource package. Please recharge.";
    let restricted = "Organization has been restricted. Please reach out to support.";
    for (protocol, status, said, reason) in [
        (
            "openai",
            400,
            json!({"error": {"message": "no", "type": "invalid_request_error", "code": "blocked_api_access"}}),
            NO_QUOTA,
        ),
        ("openai", 400, json!({"error": {"message": restricted, "code": "organization_restricted"}}), NO_RIGHT),
        (
            "openai",
            400,
            json!({"error": {"message": "Budget has been exceeded! Current cost: 2.1, Max budget: 2.0", "code": "400"}}),
            NO_QUOTA,
        ),
        ("openai", 429, json!({"error": {"code": "1113", "message": zai}}), NO_QUOTA),
        ("openai", 429, json!({"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}), NO_QUOTA),
        (
            "anthropic",
            429,
            json!({"type": "error", "error": {"type": "rate_limit_error", "code": "1113", "message": format!("[1113][{zai}][2026]")}}),
            NO_QUOTA,
        ),
        (
            "openai",
            429,
            json!({"error": {"message": "Your account x is suspended", "type": "exceeded_current_quota_error"}}),
            NO_QUOTA,
        ),
        (
            "openai",
            403,
            json!({"error": {"code": "AllocationQuota.FreeTierOnly", "message": "The free tier of the model has been exhausted.", "type": "AllocationQuota.FreeTierOnly"}}),
            NO_QUOTA,
        ),
        ("openai", 429, json!({"code": "Some resource has been exhausted", "error": spent}), NO_QUOTA),
        ("openai", 403, json!({"code": "The caller does not have permission", "error": fresh}), NO_QUOTA),
        (
            "openai",
            403,
            json!({"code": "x", "error": "You have run out of credits or need a Grok subscription."}),
            NO_QUOTA,
        ),
        (
            "openai",
            403,
            json!({"error": {"code": "AccountOverdueError", "message": "The request failed because your account has an overdue balance.", "param": "", "type": "Forbidden"}}),
            NO_QUOTA,
        ),
        (
            "openai",
            403,
            json!({"code": 30001, "message": "Sorry, your account balance is insufficient", "data": null}),
            NO_QUOTA,
        ),
    ] {
        is_out(Answer::json(status, &said.to_string()), protocol, "upstream_auth_failed", reason).await;
    }
}

#[tokio::test]
async fn what_no_api_says_is_not_told_as_the_clients_fault() {
    let json = |said: Value| Answer::json(400, &said.to_string());
    for refusal in [
        typed(400, "text/plain; charset=utf-8", "Client sent an HTTP request to an HTTPS server.\n"),
        json(json!({"error": {"code": "BadRequest", "message": "API version not supported"}})),
        json(
            json!({"error": {"code": "BadRequest", "message": "Model {modelName} is enabled only for api versions 2024-12-01-preview and later"}}),
        ),
        typed(406, "text/html", "<html><h1>Not Acceptable!</h1>Mod_Security</html>"),
        typed(415, "text/html", " <!doctype html>"),
        typed(422, "text/html", "<html>"),
        typed(415, "text/plain", "Expected request with `Content-Type: application/json`"),
        typed(418, "text/plain", "teapot"),
        typed(409, "text/plain", ""),
    ] {
        let (one, _two, proxy) = stage(refusal, "openai").await;
        let reply = alone(&proxy).await;
        assert_eq!((reply.face(), one.asked()), ((502, "upstream_error".to_owned()), 1), "{reply:?}");
        assert_eq!(proxy.hello().await.backend(), "two", "{reply:?}");
    }
}

#[tokio::test]
async fn what_is_too_large_for_something_in_front_of_a_backend_is_tried_elsewhere_and_shuts_nothing() {
    for (status, body) in [(413, "<html>413 Request Entity Too Large</html>"), (413, ""), (400, "")] {
        let (one, _two, proxy) = stage(typed(status, "text/html", body), "openai").await;
        for _ in 0..4 {
            let reply = alone(&proxy).await;
            assert_eq!(
                reply.face(),
                (status, if status == 413 { "request_too_large" } else { "-" }.to_owned()),
                "{reply:?}"
            );
            assert!(!reply.text().contains("html"), "{reply:?}");
            assert_eq!(proxy.hello().await.backend(), "two");
        }
        assert_eq!((proxy.report("one").await["state"].as_str(), one.asked()), (Some("healthy"), 8));
    }
}

#[tokio::test]
async fn what_servers_say_of_a_request_in_their_own_shapes_stays_the_clients() {
    let said = |message: &str| json!({"error": {"message": message, "type": "x", "code": null}}).to_string();
    for (status, kind, body) in [
        (400, "text/plain", "Failed to parse the request body as JSON".to_owned()),
        (422, "text/plain", "Failed to deserialize the JSON body into the target type: missing field `n`".to_owned()),
        (413, "text/plain", "payload too large".to_owned()),
        (413, "application/json", said("Payload too large")),
        (406, "application/json", said("no")),
        (415, "application/json", said("no such media")),
        (409, "application/json", "\"conflict\"".to_owned()),
        // A client may name models, tools and much else: what is said of those is no fault of the settings.
        (400, "application/json", said("other is not a valid model ID")),
        (400, "application/json", said("insufficient balance is not a valid model ID")),
        (400, "application/json", said("Unknown model is not a valid model ID")),
        (400, "application/json", said("invalid api key is not a valid model ID")),
        (400, "application/json", said("/chat/completions: Invalid model name passed in model=mine. Call")),
        (400, "application/json", said("No tool 'Invalid model name passed in model=m'")),
        (400, "application/json", said("No tool 'insufficient balance' or 'unknown model'")),
        (400, "application/json", said("The tool API version not supported")),
    ] {
        let (one, two, proxy) = stage(typed(status, kind, &body), "openai").await;
        for _ in 0..4 {
            assert_eq!(proxy.hello().await.status(), status, "{body}");
        }
        assert_eq!((one.asked(), two.asked()), (4, 0), "{body}");
        assert_eq!(proxy.report("one").await["state"], "healthy", "{body}");
    }
}
