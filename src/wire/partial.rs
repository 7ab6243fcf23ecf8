//! Owns whether and how a backend can be asked to continue a partial answer instead of beginning another.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// The beginning of an answer that a backend is to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial<'a> {
    /// Its text; does not end in white space, which some servers refuse and some templates cut off.
    pub text: &'a str,
    /// How the backend is told.
    pub by: By,
}

/// How a backend is told to go on with the assistant's message that stands last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// It does so in any case: Claude up to 4.5.
    Itself,
    /// By members of the request. vLLM wants both of them, `SGLang` the first; llama.cpp and TGI go on in any case.
    Members,
    /// By a mark on the message: Mistral and `DeepSeek`, of which the former refuses members that it does not know.
    Mark,
}

/// Members of a request that bind the form of the answer from its first word on, or have a word of their own in how it begins.
const BINDING: [&str; 14] = [
    "continue_final_message",
    "add_generation_prompt",
    "echo",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "guided_decoding_backend",
    "json_schema",
    "grammar",
    "regex",
    "ebnf",
    "structural_tag",
];

impl Partial<'_> {
    /// The assistant's message.
    pub(super) fn message(&self) -> Value {
        match self.by {
            By::Itself | By::Members => json!({"role": "assistant", "content": self.text}),
            By::Mark => json!({"role": "assistant", "content": self.text, "prefix": true}),
        }
    }

    /// What the request says beside it.
    pub(super) fn members(&self) -> &'static [u8] {
        match self.by {
            By::Itself | By::Mark => b"",
            By::Members => br#","continue_final_message":true,"add_generation_prompt":false"#,
        }
    }
}

/// Whether an answer to this chat request can be gone on with. It cannot where the client has begun the answer itself, nor
/// where a form is asked for, which a server would begin anew, nor where several answers are.
pub fn is_open(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
    }
    #[derive(Deserialize)]
    struct Form<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    let Ok(members) = serde_json::from_slice::<HashMap<Cow<'_, str>, &RawValue>>(body) else { return false };
    let said = |name: &str| members.get(name).map(|value| value.get()).filter(|text| *text != "null");
    let last = said("messages").and_then(|text| serde_json::from_str::<Vec<Message<'_>>>(text).ok()?.pop());
    let free = match said("response_format") {
        Some(form) => serde_json::from_str::<Form<'_>>(form).is_ok_and(|form| form.kind == "text"),
        None => true,
    };
    // The text is that of one choice; others would begin with it, and their clients not have it.
    let single = said("n").is_none_or(|n| n == "1");
    let bound = BINDING.iter().any(|name| said(name).is_some());
    free && single && !bound && last.is_some_and(|last| last.role != "assistant")
}

#[cfg(test)]
mod tests {
    use super::is_open;

    #[test]
    fn an_answer_is_gone_on_with_only_where_nothing_else_decides_how_it_begins() {
        let ask = |messages: &str, rest: &str| is_open(format!(r#"{{"messages":[{messages}]{rest}}}"#).as_bytes());
        let user = r#"{"role":"user","content":"x"}"#;
        for rest in ["", r#","response_format":{"type":"text"}"#, r#","echo":null,"max_tokens":7"#, r#","n":1"#] {
            assert!(ask(user, rest), "{rest}");
        }
        for (messages, rest) in [
            ("", ""),
            (r#"{"role":"user","content":"x"},{"role":"assistant","content":"Once"}"#, ""),
            (user, r#","response_format":{"type":"json_object"}"#),
            (user, r#","continue_final_message":false"#),
            (user, r#","guided_regex":"a+""#),
            (user, r#","echo":true"#),
            (user, r#","n":2"#),
        ] {
            assert!(!ask(messages, rest), "{messages} {rest}");
        }
        assert!(!is_open(b"{\"messages\":"));
    }
}
