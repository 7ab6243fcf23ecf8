//! The requests sent: a chat of a given size that carries the plan of its answer, with an SDK's headers.

use std::net::SocketAddr;

use crate::wire::{MARK, MODEL, Plan};

/// The API that the load speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// OpenAI chat completions, as the mock backends do.
    Chat,
    /// Anthropic Messages, which a proxy has to translate.
    Messages,
}

/// The body of a request that asks for `plan`, filled up to `size` bytes where it is shorter.
fn body(api: Api, plan: Plan, size: usize) -> Vec<u8> {
    let stream = match api {
        _ if plan.chunks == 0 => "",
        Api::Chat => ",\"stream\":true,\"stream_options\":{\"include_usage\":true}",
        Api::Messages => ",\"stream\":true",
    };
    let head = format!(
        "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{MARK}{}:{}:{}: Sum up the following. ",
        plan.chunks, plan.interval_us, plan.delay_us
    );
    let tail = format!("\"}}],\"temperature\":0.7,\"max_tokens\":256{stream}}}");
    let mut body = head.into_bytes();
    // English-like text with an escape now and then: what a JSON scanner meets in real prompts.
    let words = b"the quick brown fox said \\\"jump\\\" over a lazy dog; ";
    while body.len() + tail.len() + words.len() <= size {
        body.extend_from_slice(words);
    }
    body.resize(body.len().max(size.saturating_sub(tail.len())), b'x');
    body.extend_from_slice(tail.as_bytes());
    body
}

/// A whole request to the proxy at `address`, in the headers an SDK sends, in number and size.
pub(crate) fn request(api: Api, address: SocketAddr, key: &str, plan: Plan, size: usize) -> Vec<u8> {
    let body = body(api, plan, size);
    let path = match api {
        Api::Chat => "chat/completions",
        Api::Messages => "messages",
    };
    let mut request = format!(
        "POST /v1/{path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\n\
         Accept-Encoding: gzip, deflate\r\nContent-Type: application/json\r\nUser-Agent: bench-load/1\r\n\
         Authorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    request
}
