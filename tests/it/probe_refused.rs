//! A probe that is refused: judged, and told, as a request is. One that is answered late.

use std::time::Duration;

use serde_json::json;

use crate::support::{proxy::Proxy, script::Answer, settings::Settings, upstream::Upstream};

#[tokio::test]
async fn a_probe_judges_what_an_error_says_as_a_request_does() {
    let key =
        json!({"error": {"code": 400, "message": "API key not valid. Please pass one.", "status": "INVALID_ARGUMENT"}});
    let daily = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED",
        "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}]}});
    let disabled = json!({"error": {"code": 403, "message": "The API has not been used in project 1", "status": "PERMISSION_DENIED",
        "details": [{"reason": "SERVICE_DISABLED"}]}});
    let rights = json!({"type": "error", "error": {"type": "permission_error", "message": "no"}});
    let poor = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}});
    for (protocol, status, said, class, words) in [
        ("gemini", 400, key, "provider_auth", "invalid_api_key"),
        ("gemini", 429, daily, "provider_quota", "insufficient_quota"),
        ("gemini", 403, disabled, "provider_auth", "PERMISSION_DENIED, SERVICE_DISABLED"),
        ("anthropic", 403, rights, "provider_auth", "permission_error"),
        ("anthropic", 400, poor, "provider_quota", "insufficient_quota"),
    ] {
        let one = Upstream::always(Answer::json(status, &said.to_string())).await;
        let lines = format!("protocol = \"{protocol}\"\nbase_url = \"http://{}/v1\"", one.addr);
        for probe in ["models", "completion"] {
            let settings = Settings::new()
                .set("backends.one", &format!("{lines}\nprobe = \"{probe}\""))
                .set("models.m", "backends = [{ backend = \"one\" }]");
            let proxy = Proxy::start(&settings).await;
            assert_eq!(proxy.hello().await.status(), 502);
            let report = proxy.until("one", "a failure", |report| !report["last_error"].is_null()).await;
            assert_eq!(report["last_error"]["class"], class, "{report}");
            assert!(report["last_error"]["message"].as_str().is_some_and(|told| told.contains(words)), "{report}");
            let told = proxy.post("/admin/backends/one/probe").await.json();
            assert_eq!((&told["class"], &told["status"]), (&json!(class), &json!(status)), "{probe}: {told}");
            assert!(told["message"].as_str().is_some_and(|told| told.contains(words)), "{told}");
        }
    }
}

#[tokio::test]
async fn a_probe_judges_a_status_as_a_request_does() {
    for (status, class) in
        [(408, "provider_server"), (401, "provider_auth"), (451, "provider_invalid"), (422, "provider_invalid")]
    {
        let one = Upstream::always(Answer::json(status, "{}")).await;
        let proxy = Proxy::before(&one).await;
        let said = proxy.post("/admin/backends/one/probe").await.json();
        assert_eq!((&said["class"], &said["status"]), (&json!(class), &json!(status)), "{said}");
    }
}

#[tokio::test]
async fn a_probe_has_more_time_than_passes_before_a_second_backend_is_asked() {
    let list = Answer::new().work(Duration::from_millis(50)).then(Answer::json(200, r#"{"object":"list","data":[]}"#));
    let one = Upstream::always(list).await;
    let settings = Settings::new().backend("one", one.addr).set("backends.one", "first_token_soft = \"1ms\"");
    let proxy = Proxy::start(&settings).await;
    let said = proxy.post("/admin/backends/one/probe").await.json();
    assert_eq!(said["healthy"], true, "{said}");
}
