//! Owns how a Responses stream tells that it failed: `response.failed` for those who follow events, then `error`, which makes
//! the official SDKs raise.

use std::time::Duration;

use memchr::memmem;
use serde_json::{Value, json};

use super::{
    super::{json::text, sse},
    reply_out::response,
};

/// What a client received of a stream before it failed: its first and its latest bytes.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// With the response's id.
    pub first: &'a [u8],
    /// With the number of the latest event.
    pub latest: &'a [u8],
}

/// Greenroom's code for a provider's limit, and OpenAI's own, by which Codex knows that it may try again.
const LIMITED: [&str; 2] = ["upstream_rate_limited", "rate_limit_exceeded"];

/// The two events. `error` has `code`, `message`, `param`; `id` is for a client that received no other. Of a limit it is told
/// after what `wait` it is over, where that is known.
pub fn failed(
    received: Received<'_>,
    error: &Value,
    wait: Option<Duration>,
    id: &str,
    created: u64,
    model: &str,
) -> Vec<u8> {
    let next = last_number(received.latest).map_or(0, |number| number.saturating_add(1));
    let mut response = begun(received.first).unwrap_or_else(|| {
        let known = between(received.first, "\"id\":\"resp_").map(|id| String::from_utf8_lossy(id).into_owned());
        let id = known.map_or_else(|| id.to_owned(), |known| format!("resp_{known}"));
        response(&id, created, model, "failed", &[])
    });
    response["status"] = "failed".into();
    response["error"] = reason(error, wait);
    let failed = json!({"type": "response.failed", "sequence_number": next, "response": response});
    // The SDKs look for the nested member, the reference names the flat ones.
    let ended = json!({
        "type": "error",
        "sequence_number": next.saturating_add(1),
        "code": error["code"],
        "message": error["message"],
        "param": error["param"],
        "error": error,
    });
    let mut out = Vec::new();
    sse::write("response.failed", &failed, &mut out);
    sse::write("error", &ended, &mut out);
    out
}

/// Why a response failed, in OpenAI's words where clients look for them.
fn reason(error: &Value, wait: Option<Duration>) -> Value {
    let (code, message) = (&error["code"], text(error, "message"));
    if code != LIMITED[0] {
        return json!({"code": code, "message": message});
    }
    let again = wait.map(|wait| format!(" Please try again in {}s.", wait.as_secs_f64().ceil().max(1.0)));
    json!({"code": LIMITED[1], "message": format!("{message}{}", again.unwrap_or_default())})
}

/// The response as the client knows it, with all that its request said.
fn begun(first: &[u8]) -> Option<Value> {
    let data = sse::frames(first).find_map(|frame| frame.data)?;
    let mut event: Value = serde_json::from_slice(&data).ok()?;
    event.get_mut("response").map(Value::take).filter(|response| text(response, "id").starts_with("resp_"))
}

/// What stands between a mark and the next quote.
fn between<'a>(bytes: &'a [u8], mark: &str) -> Option<&'a [u8]> {
    let rest = &bytes[memmem::find(bytes, mark.as_bytes())? + mark.len()..];
    Some(&rest[..memchr::memchr(b'"', rest)?])
}

fn last_number(bytes: &[u8]) -> Option<u64> {
    const MARK: &[u8] = b"\"sequence_number\":";
    let rest = &bytes[memmem::rfind(bytes, MARK)? + MARK.len()..];
    let rest = rest.trim_ascii_start();
    let end = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(received: Received<'_>) -> Vec<Value> {
        let error = json!({"code": "c", "message": "m", "param": null});
        let text = String::from_utf8(failed(received, &error, None, "req_1", 7, "m")).expect("UTF-8");
        let data = text.lines().filter_map(|l| l.strip_prefix("data: "));
        data.map(|l| serde_json::from_str(l).expect("JSON")).collect()
    }

    #[test]
    fn a_failure_goes_on_where_the_stream_was() {
        let first = br#"data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_abc","object":"response"}}"#;
        let latest = br#"data: {"type":"x","sequence_number":8}

data: {"type":"y","sequence_number": 9,"delta":"z"}"#;
        let both = events(Received { first, latest });
        assert_eq!((&both[0]["sequence_number"], &both[0]["response"]["id"]), (&json!(10), &json!("resp_abc")));
        assert_eq!(
            (&both[0]["response"]["status"], &both[0]["response"]["error"]["code"]),
            (&json!("failed"), &json!("c"))
        );
        assert_eq!((&both[1]["sequence_number"], &both[1]["error"]["message"]), (&json!(11), &json!("m")));
    }

    #[test]
    fn a_failure_repeats_what_the_response_began_with() {
        let begun = json!({"id": "resp_abc", "status": "in_progress", "metadata": {"team": "blue"}, "error": null});
        let first = format!(
            "event: response.created\ndata: {}\n\n",
            json!({"type": "response.created", "response": begun, "sequence_number": 0})
        );
        let both = events(Received { first: first.as_bytes(), latest: first.as_bytes() });
        let response = &both[0]["response"];
        assert_eq!((&response["metadata"], &response["status"]), (&json!({"team": "blue"}), &json!("failed")));
        assert_eq!((&both[0]["sequence_number"], &response["error"]["code"]), (&json!(1), &json!("c")));
    }

    #[test]
    fn a_limit_is_told_in_the_words_by_which_clients_wait() {
        let limited = json!({"code": "upstream_rate_limited", "message": "Limited."});
        let wait = Some(Duration::from_millis(6_400));
        assert_eq!(
            reason(&limited, wait),
            json!({"code": "rate_limit_exceeded", "message": "Limited. Please try again in 7s."})
        );
        assert_eq!(reason(&limited, None), json!({"code": "rate_limit_exceeded", "message": "Limited."}));
        let other = json!({"code": "upstream_error", "message": "It failed."});
        assert_eq!(reason(&other, wait), other);
    }

    #[test]
    fn a_failure_before_anything_else_has_an_id_of_its_own() {
        let both = events(Received { first: b"", latest: b": keepalive\n\n" });
        assert_eq!((&both[0]["sequence_number"], &both[0]["response"]["id"]), (&json!(0), &json!("resp_req_1")));
    }
}
