//! Owns reading token counts as leniently as they are written: some servers send null, fractions, or a text instead of a
//! number, which is no reason to lose an answer.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Beyond all reason: sums of such counts would not stay sums.
const MOST: u64 = u32::MAX as u64;

/// A count, if there is one in a number's text.
pub(crate) fn read(text: &str) -> Option<u64> {
    let fraction = || text.parse().ok().filter(|n: &f64| *n >= 0.0).map(|n| n as u64);
    text.parse().ok().or_else(fraction).filter(|n| *n <= MOST)
}

/// A count, if one can be read.
pub(crate) fn maybe<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Number(n) => read(&n.to_string()),
        Value::String(text) => read(text.trim()),
        _ => None,
    })
}

/// A count, nought if none can be read.
pub(crate) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    maybe(from).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{
        Protocol, Usage, peek,
        translate::{Dialect, ReplyContext, reply},
    };

    #[test]
    fn a_count_that_is_no_number_costs_no_answer() {
        for (odd, want) in [
            (json!(null), 0),
            (json!(3.0), 3),
            (json!("7"), 7),
            (json!({}), 0),
            (json!(-1), 0),
            (json!(1e30), 0),
            (json!(u64::MAX), 0),
        ] {
            let choice = json!({"index": 0, "message": {"content": "a"}, "finish_reason": "stop"});
            let chat = json!({"choices": [choice], "created": 1.5, "usage": {"prompt_tokens": odd, "completion_tokens": odd,
                "prompt_tokens_details": {"cached_tokens": odd}}});
            let message = json!({"type": "message", "content": [], "stop_reason": "end_turn",
                "usage": {"input_tokens": odd, "output_tokens": odd, "output_tokens_details": {"thinking_tokens": odd}}});
            let gemini = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": odd}});
            let response = json!({"type": "response.completed", "response": {"usage": {"input_tokens": odd,
                "output_tokens": odd, "input_tokens_details": {"cached_tokens": odd}}}});
            for (protocol, body) in
                [(Protocol::Openai, &chat), (Protocol::Anthropic, &message), (Protocol::Gemini, &gemini)]
            {
                let (_, seen) = reply(protocol, Dialect::Chat, body.to_string().as_bytes(), &ReplyContext::default())
                    .expect("an answer");
                assert_eq!(seen.usage.expect("counts").output, want, "{body}");
            }
            let seen = peek::whole(chat.to_string().as_bytes()).expect("an answer").usage.map(|u| (u.input, u.cached));
            assert_eq!(seen, Some((want, want)));
            let seen = peek::messages::whole(message.to_string().as_bytes()).expect("an answer").usage;
            assert_eq!(seen.map(|u| u.input), Some(want));
            let seen = peek::responses::frame(None, response.to_string().as_bytes()).expect("an event").usage;
            assert_eq!(seen, Some(Usage { input: want, output: want, cached: want, ..Usage::default() }));
        }
    }
}
