//! Owns what a subcommand asks of a backend: a short chat, its limit in the words that the model takes.

use serde_json::json;

use super::aim::Aim;
use crate::wire::limit;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) prompt: String,
    pub(super) max_tokens: u32,
    pub(super) stream: bool,
}

impl Question {
    /// The request, pinned; `reasons`: the model has said that it does.
    pub(super) fn body(&self, aim: &Aim, reasons: bool) -> String {
        let mut body = json!({
            "model": aim.model,
            "backend": aim.backend,
            "messages": [{"role": "user", "content": self.prompt}],
            "max_tokens": self.max_tokens,
        });
        if reasons {
            limit::reword(&mut body);
        }
        if self.stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        body.to_string()
    }
}
