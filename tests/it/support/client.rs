//! Owns the clients of the tests: exact bytes out; heads, bodies and frames in, with a verdict on how they ended.

use std::{
    fmt::{self, Write},
    net::SocketAddr,
};

use serde_json::Value;
use tokio::net::TcpStream;

use super::{
    wire::{End, Head, Wire},
    within,
};

/// A request to write.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    head: String,
    body: Vec<u8>,
}

impl Ask {
    /// A request without a body.
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { head: format!("{method} {path} HTTP/1.1\r\nhost: greenroom\r\n"), body: Vec::new() }
    }

    /// A chat request, without a token.
    pub(crate) fn chat(body: impl Into<Vec<u8>>) -> Self {
        Self::post("/v1/chat/completions", body)
    }

    /// A request with a JSON body, without a token.
    pub(crate) fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::typed(path, "application/json", body)
    }

    /// A request with a body of this type, without a token.
    pub(crate) fn typed(path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new("POST", path).header("content-type", kind) }
    }

    /// Adds a header as it stands.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(self.head, "{name}: {value}\r\n");
        self
    }

    /// Adds a bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// The bytes, with the length of the body added.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length =
            if self.body.is_empty() { String::new() } else { format!("content-length: {}\r\n", self.body.len()) };
        [self.head.as_bytes(), length.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// A whole answer.
pub(crate) struct Reply {
    /// Status and headers.
    pub(crate) head: Head,
    /// The body, without its framing.
    pub(crate) body: Vec<u8>,
    /// Whether it was whole.
    pub(crate) end: End,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?} {}", self.head.line, self.head.headers, self.end, self.text())
    }
}

impl Reply {
    /// The status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("not JSON ({error}): {self:?}"),
        }
    }

    /// The data of its events, as far as they are JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    }

    /// Its status and the code of its error.
    pub(crate) fn face(&self) -> (u16, String) {
        (self.status(), self.error("code"))
    }

    /// A member of the error object as text; `-` for one that is missing or null.
    pub(crate) fn error(&self, member: &str) -> String {
        self.json()["error"][member].as_str().unwrap_or("-").to_owned()
    }

    /// A header, which has to be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.get(name).unwrap_or_else(|| panic!("no header {name} in {self:?}"))
    }

    /// The backend that served.
    pub(crate) fn backend(&self) -> &str {
        self.header("x-greenroom-backend")
    }
}

/// A connection to the proxy. Dropped, it closes: a client that leaves.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    frames: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        let stream = within("a connection to the proxy", TcpStream::connect(addr)).await;
        Self { wire: Wire::new(stream.expect("the proxy listens")), frames: Vec::new() }
    }

    /// Writes a request.
    pub(crate) async fn send(&mut self, ask: &Ask) {
        self.send_bytes(&ask.bytes()).await;
    }

    /// Writes bytes as they are; a proxy that has closed already is not this function's concern.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        within("bytes written to the proxy", self.wire.write(bytes)).await;
    }

    /// Reads the head of the response.
    pub(crate) async fn head(&mut self) -> Head {
        self.maybe_head().await.expect("the proxy answers with a head")
    }

    /// Reads the head of the response; `None` if the connection is closed instead.
    pub(crate) async fn maybe_head(&mut self) -> Option<Head> {
        within("a response head", self.wire.head()).await
    }

    /// The next bytes of the body; `None` when it is over.
    pub(crate) async fn piece(&mut self) -> Option<Vec<u8>> {
        within("a piece of the body", self.wire.piece()).await
    }

    /// The next SSE frame without its blank line; `None` when the body is over.
    pub(crate) async fn frame(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.frames.windows(2).position(|w| w == b"\n\n") {
                let frame = String::from_utf8_lossy(&self.frames[..at]).into_owned();
                self.frames.drain(..at + 2);
                return Some(frame);
            }
            let piece = self.piece().await?;
            self.frames.extend_from_slice(&piece);
        }
    }

    /// The rest of the body and how it ended.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let mut body = std::mem::take(&mut self.frames);
        while let Some(piece) = self.piece().await {
            body.extend_from_slice(&piece);
        }
        (body, self.wire.end())
    }

    /// Reads a whole answer.
    pub(crate) async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let (body, end) = self.rest().await;
        Reply { head, body, end }
    }

    /// Waits until the proxy closes the connection.
    pub(crate) async fn closed(&mut self) {
        within("the end of the connection", self.wire.closed()).await;
    }
}

/// One request on a connection of its own, and its whole answer.
pub(crate) async fn ask(addr: SocketAddr, ask: &Ask) -> Reply {
    let mut connection = Connection::open(addr).await;
    connection.send(ask).await;
    connection.reply().await
}
