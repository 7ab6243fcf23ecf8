//! Owns the head of a prompt, by which requests that begin alike are known.

use memchr::{memchr2, memmem};

use super::Envelope;
use crate::wire::anthropic::request_in::BILLING;

/// Bytes of a prompt's first member that are its head.
const HEAD: usize = 1024;

/// Bytes of a prompt within which its first text begins, whatever other members its block has.
const NEAR: usize = 256;

impl Envelope {
    /// The beginning of the prompt: what requests have in common that share a system prompt or are of one conversation.
    pub fn head<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        let Some((at, _)) = self.prompts.iter().flatten().next() else { return &[] };
        let prompt = unbilled(&body[at.clone()]);
        &prompt[..prompt.len().min(HEAD)]
    }
}

/// A prompt from behind the line that is another in each request of one conversation, if it begins with one.
fn unbilled(prompt: &[u8]) -> &[u8] {
    let near = &prompt[..prompt.len().min(NEAR)];
    let found =
        memmem::find(near, BILLING.as_bytes()).filter(|at| at.checked_sub(1).map(|before| near[before]) == Some(b'"'));
    // It ends with its text, or with an escape for the end of a line.
    let rest = found.map(|at| &prompt[at..]);
    rest.and_then(|rest| Some(&rest[memchr2(b'"', b'\\', rest)?..])).unwrap_or(prompt)
}

#[cfg(test)]
mod tests {
    use super::{super::read, *};

    #[test]
    fn the_head_is_of_what_a_model_reads_first() {
        for (body, want) in [
            (r#"{"messages":[1],"model":"m","system":"S"}"#, "\"S\""),
            (r#"{"messages": [1] }"#, "[1]"),
            (r#"{"input":"x"}"#, "\"x\""),
            (r#"{"model":"m"}"#, ""),
        ] {
            assert_eq!(read(body.as_bytes()).expect("readable").head(body.as_bytes()), want.as_bytes());
        }
        let long = format!(r#"{{"prompt":"{}"}}"#, "é".repeat(HEAD));
        assert_eq!(read(long.as_bytes()).expect("readable").head(long.as_bytes()).len(), HEAD);
    }

    #[test]
    fn what_claude_code_draws_anew_for_each_request_is_no_part_of_the_head() {
        let head = |system: &str| {
            let body = format!(r#"{{"system":{system},"messages":[]}}"#);
            String::from_utf8_lossy(read(body.as_bytes()).expect("readable").head(body.as_bytes())).into_owned()
        };
        let billed = |drawn: &str, members: &str| {
            let line = format!("x-anthropic-billing-header: cc_version=2.1; cch={drawn};");
            format!(r#"[{{"type":"text",{members}"text":"{line}"}}, {{"type":"text","text":"You are"}}]"#)
        };
        assert_eq!(head(&billed("fa690", "")), r#""}, {"type":"text","text":"You are"}]"#);
        assert_eq!(head(&billed("0", "\"cache_control\":{},")), head(&billed("fa690", "")));
        assert_eq!(head(r#""x-anthropic-billing-header: a;\nYou are""#), r#"\nYou are""#);
        for said in [r#""of x-anthropic-billing-header: a;""#, "[]", "\"\""] {
            assert_eq!(head(said), said);
        }
    }
}
