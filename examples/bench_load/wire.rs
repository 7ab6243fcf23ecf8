//! The bytes the benchmark's two ends agree on: the request's plan, the plain answer and each event of a stream.

/// The model every request names.
pub(crate) const MODEL: &str = "bench-model";
/// Different token events there are; a stream repeats them, so that both ends can build them beforehand.
pub(crate) const CYCLE: usize = 64;
/// Events of a stream that carry no token: role, finish, usage and `[DONE]`.
pub(crate) const FRAME_EVENTS: usize = 4;

/// What a plan begins with: `bench:CHUNKS:INTERVAL_US:DELAY_US:`, at the head of the first message's text, because no
/// proxy rewrites that.
pub(crate) const MARK: &str = "bench:";

/// How the mock backend is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Token events of the stream; 0 asks for the plain answer.
    pub chunks: usize,
    /// Microseconds between two token events.
    pub interval_us: u64,
    /// Microseconds before the answer, or before the first token of a stream.
    pub delay_us: u64,
}

/// The text of token `index`.
pub(crate) fn token(index: usize) -> String {
    format!(" tok{:04}", (index % CYCLE) * 37)
}

/// The plain answer: about 1 KB of JSON.
pub(crate) fn answer() -> Vec<u8> {
    let text = "All work and no play makes a dull benchmark. ".repeat(16);
    format!(
        "{{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"{MODEL}\",\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\",\"refusal\":null}},\
         \"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":256,\"completion_tokens\":160,\"total_tokens\":416}},\
         \"system_fingerprint\":\"fp_bench\"}}"
    )
    .into_bytes()
}

/// Event `index` of a stream of `chunks` tokens: role, tokens, finish, usage, `[DONE]`.
pub(crate) fn event(index: usize, chunks: usize) -> Vec<u8> {
    let choice = |delta: &str, finish: &str| format!("{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}");
    let (choices, usage) = match index {
        0 => (choice("{\"role\":\"assistant\",\"content\":\"\"}", "null"), "null".to_owned()),
        i if i <= chunks => (choice(&format!("{{\"content\":\"{}\"}}", token(i - 1)), "null"), "null".to_owned()),
        i if i == chunks + 1 => (choice("{}", "\"stop\""), "null".to_owned()),
        i if i == chunks + 2 => {
            let total = chunks + 256;
            (
                String::new(),
                format!("{{\"prompt_tokens\":256,\"completion_tokens\":{chunks},\"total_tokens\":{total}}}"),
            )
        }
        _ => return b"data: [DONE]\n\n".to_vec(),
    };
    format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
         \"model\":\"{MODEL}\",\"choices\":[{choices}],\"usage\":{usage}}}\n\n"
    )
    .into_bytes()
}
