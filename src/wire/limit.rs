//! Owns the answer limit of a short question to OpenAI's reasoning models, which give it another name and count their
//! thoughts in it.

use serde_json::Value;

use super::translate::THOUGHTS;

/// Puts a question's limit in their words, with room for thoughts.
pub fn reword(question: &mut Value) {
    let limit = question.as_object_mut().and_then(|members| members.remove("max_tokens"));
    if let Some(limit) = limit.as_ref().and_then(Value::as_u64) {
        question["max_completion_tokens"] = limit.saturating_add(THOUGHTS.into()).into();
    }
}

/// Whether a 400 that names this member says that the model is one of them. Its own name need not: a deployment at Azure has any.
pub fn is_unknown(param: Option<&str>) -> bool {
    param == Some("max_tokens")
}
