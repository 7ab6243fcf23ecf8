//! Owns what a subcommand asks of a backend: a short chat, its limit in the words that the model takes.

use serde_json::{Value, json};

use super::aim::Aim;
use crate::wire::translate::THOUGHTS;

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
        });
        if reasons {
            body["max_completion_tokens"] = self.max_tokens.saturating_add(THOUGHTS).into();
        } else {
            // Most other servers know only this one.
            body["max_tokens"] = self.max_tokens.into();
        }
        if self.stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        body.to_string()
    }
}

/// Whether an error says that the model knows no `max_tokens`: those of OpenAI that reason do not.
pub(super) fn reasons(error: &Value) -> bool {
    error["error"]["param"] == "max_tokens"
}
