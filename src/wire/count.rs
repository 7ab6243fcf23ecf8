//! Owns requests that have the tokens of a Messages prompt counted by providers of other protocols, and the answers.

use serde_json::{Map, Value, json};

use super::{
    Malformed, Observed, Protocol,
    json::{malformed, says_nothing},
    members::Members,
    openai::{fault, prompt},
    translate::{self, Dialect, Refused, Target, Translated},
};

/// What Vertex AI's `countTokens` takes: the parts of a request side by side. Google's own API has a member for all of one, and
/// counts nothing but the conversation where that is missing (API references of both; firebase/firebase-ios-sdk#13813).
const VERTEX: [&str; 4] = ["contents", "systemInstruction", "tools", "generationConfig"];

/// Writes a request: what would be sent for an answer, as it is sent for its count. `vertex`: Vertex AI is asked.
pub fn request(body: &[u8], target: &Target<'_>, vertex: bool) -> Result<Translated, Refused> {
    let made = translate::request(Dialect::Messages, body, target)?;
    // What was just written is an object.
    let mut asked: Map<String, Value> = serde_json::from_slice(&made.body).unwrap_or_default();
    let body = match target.protocol {
        Protocol::Anthropic => Value::Object(asked),
        Protocol::Openai => Value::Object(prompt::of_chat(&asked)),
        Protocol::Gemini if vertex => {
            asked.retain(|member, _| VERTEX.contains(&member.as_str()));
            Value::Object(asked)
        }
        Protocol::Gemini => {
            // It wants the resource's name, though the URL has it (zed-industries/zed#29630).
            asked.set("model", format!("models/{}", target.model));
            json!({"generateContentRequest": asked})
        }
    };
    Ok(Translated { body: body.to_string().into_bytes(), ..made })
}

/// Translates an answer; of a provider's error only `Observed.fault` is given, the bytes being empty.
pub fn reply(protocol: Protocol, body: &[u8]) -> Result<(Vec<u8>, Observed<'static>), Malformed> {
    let said: Value = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if said.get("error").is_some_and(|error| !says_nothing(error)) {
        let fault = match protocol {
            Protocol::Gemini => super::gemini::fault::detail(&said["error"]),
            Protocol::Openai | Protocol::Anthropic => fault::told(body),
        };
        return Ok((Vec::new(), Observed::error(fault)));
    }
    let member = if protocol == Protocol::Gemini { "totalTokens" } else { "input_tokens" };
    let count = said.get(member).and_then(Value::as_u64);
    let count = count.ok_or_else(|| Malformed("an answer without a count".into()))?;
    Ok((json!({"input_tokens": count}).to_string().into_bytes(), Observed::default()))
}
