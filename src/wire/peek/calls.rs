//! Owns whether a frame that cannot be read has a piece of a call in it, in any protocol.

use memchr::memmem;

/// What a call, or a piece of one, is named by, up to the end of its name where that stands by itself.
const NAMES: [&[u8]; 8] = [
    b"tool_calls\"",
    b"function_call\"",
    b"functionCall\"",
    b"tool_use\"",
    b"input_json_delta\"",
    b"custom_tool_call\"",
    b"function_call_arguments.",
    b"custom_tool_call_input.",
];

/// Whether a call is named; many servers say in each frame that there are none.
pub fn names_call(data: &[u8]) -> bool {
    let told = |name: &&[u8], at: usize| {
        let mut rest = data[at + name.len()..].iter().filter(|byte| !byte.is_ascii_whitespace());
        !matches!(
            (rest.next(), rest.next(), rest.next()),
            (Some(b':'), Some(b'['), Some(b']')) | (Some(b':'), Some(b'n'), _)
        )
    };
    NAMES.iter().any(|name| memmem::find_iter(data, name).any(|at| told(name, at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_name_and_words_about_one_are_none() {
        for call in [
            r#"{"delta":{"tool_calls" : [{"index":7"#,
            r#"{"delta":{"function_call":{"arguments":"#,
            r#"{"functionCall":{"name":"f","args":7}}"#,
            r#"{"type":"input_json_delta","partial_json":"#,
            r#"{"content_block":{"type":"tool_use","#,
            r#"{"type":"response.function_call_arguments.delta","#,
            r#"{"item":{"type":"custom_tool_call"}}"#,
        ] {
            assert!(names_call(call.as_bytes()), "{call}");
        }
        for none in [
            "{",
            r#"{"content":7,"tool_calls": [ ],"function_call":null}"#,
            r#"{"content":"\"tool_calls\":[{ and \"functionCall\" of a tool_use"#,
        ] {
            assert!(!names_call(none.as_bytes()), "{none}");
        }
    }
}
