//! Owns the way to the collector: the URL, its headers, the deadline.

use std::time::{Duration, SystemTime};

use actix_web::http::Method;
use bytes::Bytes;
use tokio::time::timeout;

use super::delivery::{Verdict, verdict};
use crate::{
    settings,
    upstream::plain::{Plain, Reply},
};

/// Most bytes of an answer that are read.
const LONGEST_ANSWER: usize = 64 << 10;

/// How this program calls itself.
const USER_AGENT: (&str, &str) = ("user-agent", concat!("greenroom/", env!("CARGO_PKG_VERSION")));

/// The collector, as it is sent to.
pub(super) struct Collector {
    plain: Plain,
    to: settings::Collector,
    timeout: Duration,
}

impl Collector {
    /// On a thread that runs actix.
    pub(super) fn new(to: settings::Collector, timeout: Duration) -> Self {
        Self { plain: Plain::default(), to, timeout }
    }

    /// Its URL, which has no credentials in it.
    pub(super) fn url(&self) -> &str {
        &self.to.url
    }

    /// Sends a request's body and tells what came of it. No words of the collector's own are passed on: what it says of a
    /// request may repeat its headers.
    pub(super) async fn post(&self, body: Bytes) -> Verdict {
        let late = || Verdict::Later(format!("it did not answer within {} s", self.timeout.as_secs_f64()), None);
        timeout(self.timeout, self.ask(body)).await.unwrap_or_else(|_| late())
    }

    async fn ask(&self, body: Bytes) -> Verdict {
        let mut sent = self.send(body.clone()).await;
        if sent.is_err() {
            // The connection kept since the last time may have been dead.
            sent = self.send(body).await;
        }
        let mut reply = match sent {
            Ok(reply) => reply,
            Err(why) => return Verdict::Later(why, None),
        };
        let retry_after = reply.headers.get("retry-after").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let mut answer = Vec::new();
        while let Some(Ok(piece)) = reply.chunk().await {
            answer.extend_from_slice(&piece);
            if answer.len() > LONGEST_ANSWER {
                break;
            }
        }
        verdict(reply.status, retry_after.as_deref(), &answer, SystemTime::now())
    }

    async fn send(&self, body: Bytes) -> Result<Reply, String> {
        let own = self.to.headers.iter().map(|(name, value)| (name.as_str(), value.reveal()));
        let headers: Vec<(&str, &str)> = [USER_AGENT].into_iter().chain(own).collect();
        self.plain.send(Method::POST, &self.to.url, &headers, Some(body)).await
    }
}
