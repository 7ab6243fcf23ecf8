//! Owns whether a stream shows the model's reasoning, by its frames up to the first content.

use memchr::memmem;

/// Events of reasoning in streams of messages and of responses.
const EVENTS: [&[u8]; 3] = [b"\"thinking_delta\"", b"\"redacted_thinking\"", b"\"response.reasoning"];

/// Members of a chat chunk's delta that hold reasoning.
const MEMBERS: [&[u8]; 3] = [b"\"reasoning_content\":", b"\"reasoning\":", b"\"reasoning_details\":"];

/// Whether a stream's first content, the last of these frames, is reasoning. Within a text quotes are escaped, so that no text
/// looks like it.
pub fn shows(frames: &[u8]) -> bool {
    EVENTS.iter().any(|event| memmem::find(frames, event).is_some())
        || MEMBERS.iter().any(|member| memmem::find_iter(frames, member).any(|at| says(&frames[at + member.len()..])))
}

/// Whether a value is a text or a list that is not empty.
fn says(value: &[u8]) -> bool {
    match value.trim_ascii_start() {
        [b'"', next, ..] => *next != b'"',
        [b'[', rest @ ..] => rest.trim_ascii_start().first() != Some(&b']'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_seen_in_every_dialect_and_nothing_else_is_taken_for_it() {
        for shown in [
            r#"data: {"choices":[{"delta":{"role":"assistant","reasoning_content":"Hm"}}]}"#,
            r#"data: {"choices":[{"delta":{"reasoning": "Hm"}}]}"#,
            r#"data: {"choices":[{"delta":{"content":"","reasoning_details":[{"type":"reasoning.text"}]}}]}"#,
            r#"data: {"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"Hm"}}"#,
            r#"data: {"type":"response.reasoning_summary_text.delta","delta":"Hm"}"#,
        ] {
            assert!(shows(shown.as_bytes()), "{shown}");
        }
        for hidden in [
            r#"data: {"choices":[{"delta":{"reasoning_content":null,"reasoning":"","reasoning_details":[ ],"tool_calls":[{}]}}]}"#,
            r#"data: {"choices":[{"delta":{"content":"{\"reasoning\": \"Hm\"}"}}]}"#,
            r#"data: {"type":"response.created","response":{"reasoning":{"effort":"high"}}}"#,
            r#"data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hm"}}"#,
        ] {
            assert!(!shows(hidden.as_bytes()), "{hidden}");
        }
    }
}
