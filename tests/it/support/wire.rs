//! Owns HTTP/1.1 on a raw socket, read strictly: heads as they came, bodies with a verdict on whether they were whole.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The head of a request or a response.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) line: String,
    /// Headers in order; names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let pair = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Self { line, headers: lines.filter_map(pair).collect() }
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a response has a status line")
    }

    /// The first value of a header.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As its framing promised.
    Clean,
    /// Before that.
    Truncated,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    UntilClose,
    Over(End),
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Only slows things down where it fails.
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: Vec::new(), framing: Framing::Over(End::Clean) }
    }

    /// Writes; false if the peer is gone.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Reads the next head; `None` if the connection ends before it is complete.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = Head::parse(&String::from_utf8_lossy(&self.buffer[..end]));
                self.buffer.drain(..end + 4);
                self.framing = framing(&head);
                return Some(head);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next bytes of the body; `None` when it is over.
    pub(crate) async fn piece(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.framing {
                Framing::Over(_) => return None,
                Framing::Length(0) => self.framing = Framing::Over(End::Clean),
                Framing::Length(left) => {
                    let piece = self.take(left).await?;
                    self.framing = Framing::Length(left - piece.len());
                    return Some(piece);
                }
                Framing::Chunk(0) => self.framing = Framing::ChunkEnd,
                Framing::Chunk(left) => {
                    let piece = self.take(left).await?;
                    self.framing = Framing::Chunk(left - piece.len());
                    return Some(piece);
                }
                Framing::ChunkEnd => {
                    self.line().await?;
                    self.framing = Framing::ChunkSize;
                }
                Framing::ChunkSize => {
                    let size = self.line().await?;
                    let size = usize::from_str_radix(size.trim(), 16).expect("a chunk begins with its size");
                    self.framing = if size == 0 { Framing::Trailer } else { Framing::Chunk(size) };
                }
                Framing::Trailer => {
                    if self.line().await?.is_empty() {
                        self.framing = Framing::Over(End::Clean);
                    }
                }
                Framing::UntilClose => match self.take(usize::MAX).await {
                    Some(piece) => return Some(piece),
                    None => self.framing = Framing::Over(End::Clean),
                },
            }
        }
    }

    /// How the body ended, once `piece` has said that it did.
    pub(crate) fn end(&self) -> End {
        match self.framing {
            Framing::Over(end) => end,
            _ => End::Truncated,
        }
    }

    /// Waits until the peer closes or resets the connection.
    pub(crate) async fn closed(&mut self) {
        while self.fill().await {}
    }

    /// Closes with a reset rather than an orderly end.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("an open socket takes the option");
    }

    /// Up to `most` bytes; marks the body as cut off if the connection ends.
    async fn take(&mut self, most: usize) -> Option<Vec<u8>> {
        if self.buffer.is_empty() && !self.fill().await {
            self.framing = Framing::Over(End::Truncated);
            return None;
        }
        Some(self.buffer.drain(..most.min(self.buffer.len())).collect())
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            if !self.fill().await {
                self.framing = Framing::Over(End::Truncated);
                return None;
            }
        }
    }

    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0)
    }
}

fn framing(head: &Head) -> Framing {
    let response = head.line.starts_with("HTTP/");
    if head.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Framing::ChunkSize;
    }
    match head.get("content-length") {
        Some(length) => Framing::Length(length.parse().expect("a length is a number")),
        None if response && !matches!(head.status(), 100..=199 | 204 | 304) => Framing::UntilClose,
        None => Framing::Length(0),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
