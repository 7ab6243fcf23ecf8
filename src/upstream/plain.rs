//! Owns a plain HTTP client for the command line and for the collector of traces: any URL, any headers, the caller's deadline.

use std::time::Duration;

use actix_web::http::{Method, Version, header::HeaderMap};
use awc::{
    Connector,
    error::{ConnectError, SendRequestError},
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{
    dial::tls_words,
    pool::{io_words, tls},
};

/// Connections are made within this.
const CONNECT: Duration = Duration::from_secs(5);

/// The client.
pub struct Plain(awc::Client);

/// An answer whose head has come.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    response: awc::ClientResponse,
}

impl Default for Plain {
    fn default() -> Self {
        // Every default here is wrong for measuring: redirects followed, five seconds at most, answers unpacked.
        let connector = Connector::new()
            .timeout(CONNECT)
            .handshake_timeout(CONNECT)
            .limit(0)
            .max_http_version(Version::HTTP_11)
            .rustls_0_23(tls());
        let client = awc::Client::builder().connector(connector).disable_timeout().disable_redirects().finish();
        Self(client)
    }
}

impl Plain {
    /// Sends a request and waits for the head of the answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
    ) -> Result<Reply, String> {
        let mut request = self.0.request(method, url).no_decompress();
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let sent = match body {
            Some(body) => request.insert_header(("content-type", "application/json")).send_body(body).await,
            None => request.send().await,
        };
        let response = sent.map_err(|error| words(&error))?;
        Ok(Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            response: awc::ClientResponse::into(response),
        })
    }
}

fn words(error: &SendRequestError) -> String {
    match error {
        SendRequestError::Connect(ConnectError::Io(why)) => {
            format!("no connection: {}", tls_words(why).unwrap_or_else(|| io_words(why)))
        }
        SendRequestError::Connect(why) => format!("no connection: {why}"),
        other => other.to_string(),
    }
}

impl Reply {
    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, String>> {
        self.response.next().await.map(|piece| piece.map_err(|error| error.to_string()))
    }

    /// The whole body.
    pub async fn text(mut self) -> Result<String, String> {
        let mut all = Vec::new();
        while let Some(piece) = self.chunk().await {
            all.extend_from_slice(&piece?);
        }
        Ok(String::from_utf8_lossy(&all).into_owned())
    }
}
