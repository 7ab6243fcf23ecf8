//! Owns what scripted backends answer: exact bytes, pauses that the test ends, and all the ways to break off.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::sse;

/// A place in an answer that waits until the test lets it go on.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one waiting place go on.
    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    /// Lets all go on, now and later.
    pub(crate) fn open_for_all(&self) {
        self.0.close();
    }

    pub(super) async fn pass(&self) {
        // An error means that the gate is open for all.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// One step of an answer.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Write(Vec<u8>),
    Flood(Vec<u8>, usize),
    Wait(Gate),
    Work(Duration),
    Hang,
    Reset,
    Close,
}

/// An answer, step by step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer(pub(super) Vec<Step>);

impl Answer {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A whole answer with a JSON body.
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::json_with(status, "", body)
    }

    /// As `json`, with further header lines, each with its line end.
    pub(crate) fn json_with(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::new().raw(format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
    }

    /// A chat completion that says `text`.
    pub(crate) fn says(text: &str) -> Self {
        Self::json(200, &completion(text))
    }

    /// The head of a chunked event stream.
    pub(crate) fn stream() -> Self {
        Self::new().raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    }

    /// A complete stream that says `text`.
    pub(crate) fn streams(text: &str) -> Self {
        Self::stream().chunk(sse::role()).chunk(sse::text(text)).finished()
    }

    /// Bytes as they are.
    pub(crate) fn raw(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Write(bytes.into()))
    }

    /// One chunk of a chunked body.
    pub(crate) fn chunk(self, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        self.raw([format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat())
    }

    /// The orderly end of a chunked body.
    pub(crate) fn end(self) -> Self {
        self.raw("0\r\n\r\n")
    }

    /// Finish reason, `[DONE]`, and the end of the body.
    pub(crate) fn finished(self) -> Self {
        self.chunk(sse::finish()).chunk(sse::DONE).end()
    }

    /// The same bytes many times over, counted in `Seen::flooded`.
    pub(crate) fn flood(self, bytes: impl Into<Vec<u8>>, times: usize) -> Self {
        self.step(Step::Flood(bytes.into(), times))
    }

    /// Waits until the test opens the gate.
    pub(crate) fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// Goes on as another answer does.
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Takes its time: part of what is simulated, not a way to wait for something.
    pub(crate) fn work(self, time: Duration) -> Self {
        self.step(Step::Work(time))
    }

    /// Says nothing more until the proxy closes.
    pub(crate) fn hang(self) -> Self {
        self.step(Step::Hang)
    }

    /// Breaks the connection with a reset.
    pub(crate) fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    /// Closes the connection.
    pub(crate) fn close(self) -> Self {
        self.step(Step::Close)
    }

    fn step(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

/// A chat completion that says `text`.
pub(crate) fn completion(text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(
        r#"{{"id":"chatcmpl-7","object":"chat.completion","created":1700000000,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":{text}}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}}}"#
    )
}

/// What a model of OpenAI's answers that reasons: it knows no `max_tokens`, and takes no limit that leaves its thoughts no room.
pub(crate) fn reasoning(body: &serde_json::Value) -> Answer {
    let room = body["max_completion_tokens"].as_u64().is_none_or(|limit| limit >= 500);
    let refused = |param: &str| {
        let error = r#"{"error":{"message":"no","type":"invalid_request_error","code":null,"param":PARAM}}"#;
        Answer::json(400, &error.replace("PARAM", param))
    };
    match (body.get("max_tokens"), room) {
        (Some(_), _) => refused(r#""max_tokens""#),
        (None, false) => refused("null"),
        (None, true) if body["stream"] == true => Answer::streams("hi"),
        (None, true) => Answer::says("hi"),
    }
}
