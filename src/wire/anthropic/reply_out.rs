//! Owns the parts of a Messages reply, as they stand in a whole one and in a stream.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::{
    Usage,
    events::Finish,
    json::{Arguments, add, append},
};

/// A message.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) id: String,
    pub(super) r#type: &'static str,
    pub(super) role: &'static str,
    pub(super) model: &'a str,
    pub(super) content: &'a [Block],
    pub(super) stop_reason: Option<&'static str>,
    pub(super) stop_sequence: Option<&'a str>,
    pub(super) usage: Value,
}

/// A block of a message that is told whole. A call's input is no tree of values: that would not keep its digits.
#[derive(Debug, Serialize)]
pub(super) struct Block {
    #[serde(flatten)]
    plain: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Arguments>,
}

impl Block {
    /// A block as it begins in a stream.
    pub(super) fn new(mut plain: Value) -> Self {
        let input = plain.as_object_mut().and_then(|block| block.remove("input"));
        Self { plain, input: input.map(|_| Arguments::default()) }
    }

    /// Goes on with its input, or another of its texts.
    pub(super) fn go_on(&mut self, member: &str, more: &str) {
        match &mut self.input {
            Some(Arguments(input)) => input.push_str(more),
            None => append(&mut self.plain[member], more),
        }
    }

    pub(super) fn cite(&mut self, citation: Value) {
        add(&mut self.plain["citations"], citation);
    }
}

/// A stop reason's word.
pub(crate) fn word(reason: Finish, stop_sequence: Option<&str>) -> &'static str {
    match reason {
        Finish::Stop if stop_sequence.is_some() => "stop_sequence",
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::Refused | Finish::ContentFilter => "refusal",
    }
}

/// Counts in Anthropic's words: input without what a cache had to do with.
pub(crate) fn usage(count: Usage) -> Value {
    let mut out = json!({
        "input_tokens": count.input.saturating_sub(count.cached).saturating_sub(count.written),
        "cache_creation_input_tokens": count.written,
        "cache_read_input_tokens": count.cached,
        "output_tokens": count.output,
    });
    if count.reasoning > 0 {
        out["output_tokens_details"] = json!({"thinking_tokens": count.reasoning});
    }
    out
}
