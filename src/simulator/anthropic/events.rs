//! The event sequence of a streamed Anthropic message.

use serde_json::{Value, json};

use super::{call_id, output_tokens, shell, stop_reason, usage};
use crate::simulator::{
    answer::{self, Answer, Ask, Content},
    pace::Frame,
};

fn event(body: &Value) -> String {
    format!("event: {}\ndata: {body}\n\n", body["type"].as_str().unwrap_or_default())
}

fn start(index: usize, block: &Value) -> Frame {
    Frame::framing(event(&json!({"type": "content_block_start", "index": index, "content_block": block})))
}

fn delta(index: usize, delta: &Value) -> String {
    event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn stop(index: usize) -> Frame {
    Frame::framing(event(&json!({"type": "content_block_stop", "index": index})))
}

/// The frames of an answer, from `message_start` to `message_stop`.
pub(super) fn frames(id: &str, ask: &Ask, answer: &Answer) -> Vec<Frame> {
    let message = shell(id, &ask.model, &usage(ask.input_tokens, 1));
    let mut frames = vec![
        Frame::framing(event(&json!({"type": "message_start", "message": message}))),
        Frame::framing(event(&json!({"type": "ping"}))),
    ];
    let mut index = 0;
    if !answer.thinking.is_empty() {
        frames.push(start(index, &json!({"type": "thinking", "thinking": "", "signature": ""})));
        for piece in &answer.thinking {
            frames.push(Frame::token(delta(index, &json!({"type": "thinking_delta", "thinking": piece}))));
        }
        let signature = answer::signature(&answer.thinking.concat());
        frames.push(Frame::framing(delta(index, &json!({"type": "signature_delta", "signature": signature}))));
        frames.push(stop(index));
        index += 1;
    }
    match &answer.content {
        Content::Text(pieces) => {
            frames.push(start(index, &json!({"type": "text", "text": ""})));
            for piece in pieces {
                frames.push(Frame::token(delta(index, &json!({"type": "text_delta", "text": piece}))));
            }
        }
        Content::Call { name, arguments } => {
            let block = json!({"type": "tool_use", "id": call_id(id), "name": name, "input": {}});
            frames.push(start(index, &block));
            // The provider opens the arguments with an empty piece.
            frames.push(Frame::framing(delta(index, &json!({"type": "input_json_delta", "partial_json": ""}))));
            for piece in arguments {
                frames.push(Frame::token(delta(index, &json!({"type": "input_json_delta", "partial_json": piece}))));
            }
        }
    }
    frames.push(stop(index));
    let end = json!({"type": "message_delta",
        "delta": {"stop_reason": stop_reason(answer.finish), "stop_sequence": null},
        "usage": {"output_tokens": output_tokens(answer)}});
    frames.push(Frame::framing(event(&end)));
    frames.push(Frame::framing(event(&json!({"type": "message_stop"}))));
    frames
}
