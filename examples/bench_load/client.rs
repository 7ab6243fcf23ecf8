//! One keep-alive HTTP/1.1 connection: sends prebuilt requests and checks every body byte that comes back.

use std::{io, net::SocketAddr};

use memchr::{memchr, memmem};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The largest response head taken.
const BUFFER: usize = 16 << 10;

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// How the body of a response is delimited, and how far it was read.
enum Framing {
    Sized { left: usize },
    Chunked { left: usize, state: Chunk },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size,
    Extension,
    Data,
    DataEnd,
    Trailer { line: usize },
}

/// The body as it should be, compared with what arrives.
pub(crate) struct Check<'a> {
    expected: &'a [u8],
    /// Body bytes that arrived so far.
    pub at: usize,
    /// Whether all of them were the expected ones.
    pub same: bool,
}

impl<'a> Check<'a> {
    pub(crate) fn new(expected: &'a [u8]) -> Self {
        Self { expected, at: 0, same: true }
    }

    fn take(&mut self, piece: &[u8]) {
        let end = self.at + piece.len();
        self.same = self.same && self.expected.get(self.at..end) == Some(piece);
        self.at = end;
    }

    /// Whether exactly the expected bytes came.
    pub(crate) fn exact(&self) -> bool {
        self.same && self.at == self.expected.len()
    }
}

impl Framing {
    /// Decodes `input`; gives how much of it belonged to this body and whether the body ended.
    fn decode(&mut self, input: &[u8], check: &mut Check<'_>) -> io::Result<(usize, bool)> {
        match self {
            Self::Sized { left } => {
                let n = input.len().min(*left);
                check.take(&input[..n]);
                *left -= n;
                Ok((n, *left == 0))
            }
            Self::Chunked { left, state } => {
                let mut at = 0;
                while at < input.len() {
                    if *state == Chunk::Data {
                        let n = (input.len() - at).min(*left);
                        check.take(&input[at..at + n]);
                        at += n;
                        *left -= n;
                        if *left == 0 {
                            *state = Chunk::DataEnd;
                        }
                        continue;
                    }
                    let byte = input[at];
                    at += 1;
                    *state = match (*state, byte) {
                        (Chunk::Size | Chunk::Extension, b'\n') if *left == 0 => Chunk::Trailer { line: 0 },
                        (Chunk::Size | Chunk::Extension, b'\n') | (Chunk::Data, _) => Chunk::Data,
                        (Chunk::Size, b'\r' | b';') | (Chunk::Extension, _) => Chunk::Extension,
                        (Chunk::Size, _) => {
                            let digit = char::from(byte).to_digit(16).ok_or_else(|| broken("bad chunk size"))?;
                            *left = *left * 16 + digit as usize;
                            Chunk::Size
                        }
                        (Chunk::DataEnd, b'\n') => Chunk::Size,
                        (Chunk::DataEnd, b'\r') => Chunk::DataEnd,
                        (Chunk::DataEnd, _) => return Err(broken("no line end after a chunk")),
                        (Chunk::Trailer { line: 0 }, b'\n') => return Ok((at, true)),
                        (Chunk::Trailer { .. }, b'\n') => Chunk::Trailer { line: 0 },
                        (Chunk::Trailer { line }, b'\r') => Chunk::Trailer { line },
                        (Chunk::Trailer { line }, _) => Chunk::Trailer { line: line + 1 },
                    };
                }
                Ok((at, false))
            }
        }
    }
}

/// A connection and the bytes read ahead on it.
pub(crate) struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    framing: Framing,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: vec![0; BUFFER], filled: 0, framing: Framing::Sized { left: 0 } })
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.socket.read(&mut self.buffer[self.filled..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.filled += n;
                Ok(())
            }
        }
    }

    fn consume(&mut self, n: usize) {
        self.buffer.copy_within(n..self.filled, 0);
        self.filled -= n;
    }

    /// Sends `request` and reads the answer's head, which must be a 200.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<()> {
        self.socket.write_all(request).await?;
        let end = loop {
            if let Some(at) = memmem::find(&self.buffer[..self.filled], b"\r\n\r\n") {
                break at + 4;
            }
            if self.filled == self.buffer.len() {
                return Err(broken("response head too long"));
            }
            self.read().await?;
        };
        let head = &self.buffer[..end];
        if !head.starts_with(b"HTTP/1.1 200") {
            let line = String::from_utf8_lossy(&head[..head.len().min(12)]);
            return Err(broken(&format!("status {}", line.trim_start_matches("HTTP/1.1 "))));
        }
        let mut framing = None;
        for line in head.split(|&b| b == b'\n').skip(1) {
            let Some(colon) = memchr(b':', line) else { continue };
            let value = line[colon + 1..].trim_ascii();
            if line[..colon].eq_ignore_ascii_case(b"content-length") {
                let left = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
                framing = left.map(|left| Framing::Sized { left });
            } else if line[..colon].eq_ignore_ascii_case(b"transfer-encoding") {
                framing = Some(Framing::Chunked { left: 0, state: Chunk::Size });
            }
        }
        self.framing = framing.ok_or_else(|| broken("body without length"))?;
        self.consume(end);
        Ok(())
    }

    /// Takes the next body bytes, waiting for them if none were read ahead; true at the body's end.
    pub(crate) async fn more(&mut self, check: &mut Check<'_>) -> io::Result<bool> {
        if self.filled == 0 {
            self.read().await?;
        }
        let (used, done) = self.framing.decode(&self.buffer[..self.filled], check)?;
        self.consume(used);
        Ok(done)
    }

    /// One whole plain exchange; true if the answer was `expected` to the byte.
    pub(crate) async fn exchange(&mut self, request: &[u8], expected: &[u8]) -> io::Result<bool> {
        self.ask(request).await?;
        let mut check = Check::new(expected);
        while !self.more(&mut check).await? {}
        Ok(check.exact())
    }
}
