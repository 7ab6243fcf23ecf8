//! Owns telling a webhook of changes, in their order and beside the watch: one that hangs holds up no check.

use std::time::Duration;

use actix_web::http::Method;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{cli::complain, upstream::plain::Plain};

/// A webhook has this long to take a change, and the last ones this long in all once the watch is over.
const PATIENCE: Duration = Duration::from_secs(10);

/// Changes that may wait for a slow webhook.
const WAITING: usize = 64;

/// The webhook, and who tells it.
pub(super) struct Webhook {
    changes: mpsc::Sender<String>,
    telling: JoinHandle<()>,
}

impl Webhook {
    /// One at this URL; on a thread that runs actix.
    pub(super) fn new(url: String) -> Self {
        let (changes, mut waiting) = mpsc::channel::<String>(WAITING);
        let telling = actix_rt::spawn(async move {
            let plain = Plain::default();
            while let Some(text) = waiting.recv().await {
                tell(&plain, &url, &text).await;
            }
        });
        Self { changes, telling }
    }

    /// Tells it of a change, as soon as it has taken those before.
    pub(super) fn tell(&self, text: String) {
        if self.changes.try_send(text).is_err() {
            complain("the webhook is too slow; a change is not told");
        }
    }

    /// Waits for it to take what is left.
    pub(super) async fn finish(self) {
        drop(self.changes);
        if timeout(PATIENCE, self.telling).await.is_err() {
            complain("the webhook did not take the last changes in time");
        }
    }
}

/// Posts a change; a webhook that fails is told of and does not end the watch.
async fn tell(plain: &Plain, url: &str, text: &str) {
    let body = json!({"text": text}).to_string();
    match timeout(PATIENCE, plain.send(Method::POST, url, &[], Some(body.into()))).await {
        Ok(Ok(reply)) if (200..300).contains(&reply.status) => {}
        Ok(Ok(reply)) => complain(format_args!("the webhook answered {}", reply.status)),
        Ok(Err(why)) => complain(format_args!("the webhook cannot be reached: {why}")),
        Err(_) => complain("the webhook did not answer in time"),
    }
}
