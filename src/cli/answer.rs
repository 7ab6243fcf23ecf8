//! Owns what came of one question to one backend, and finding out what that cost.

use std::time::Duration;

use actix_web::http::Method;
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    aim::Aim,
    client::{Client, escaped, is_no_endpoint},
};
use crate::{exchange::reply::REQUEST_ID, upstream::plain::Reply};

/// How it went, from best to worst; the value is the exit code. A subcommand's verdict is its worst answer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Well,
    /// A backend fails.
    Fails,
    /// Greenroom cannot be asked, or refuses the question, which says nothing about the backend. Bad arguments have
    /// this code, too.
    NotAsked,
}

impl Verdict {
    pub(super) fn of(is_well: bool) -> Self {
        if is_well { Self::Well } else { Self::Fails }
    }

    /// The worst of these.
    pub(super) fn on<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> Self {
        answers.into_iter().map(Answer::verdict).max().unwrap_or(Self::Well)
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Answer {
    pub(super) backend: String,
    /// Model asked for.
    pub(super) model: String,
    /// As in its aim.
    #[serde(skip)]
    pub(super) is_unserved: bool,
    pub(super) healthy: bool,
    /// HTTP status; absent where there was no answer.
    pub(super) status: Option<u16>,
    pub(super) seconds: f64,
    /// Streamed answers only.
    pub(super) first_token_seconds: Option<f64>,
    pub(super) tokens: Option<u64>,
    /// Generated tokens per second after the first one, or over all where the first was not seen.
    pub(super) tokens_per_second: Option<f64>,
    /// US dollars; only where somebody has asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_usd: Option<f64>,
    pub(super) finish_reason: Option<String>,
    /// Model that says it answered.
    pub(super) served_by: Option<String>,
    pub(super) text: String,
    pub(super) error: Option<String>,
    /// `x-request-id`.
    #[serde(skip)]
    pub(super) request_id: Option<String>,
    /// Greenroom cannot be asked, or refuses the question itself: a name that it does not know, a right that the token lacks.
    #[serde(skip)]
    pub(super) not_asked: bool,
}

#[cfg(test)]
impl Answer {
    /// A good answer of the backend `one`.
    pub(super) fn healthy_after(seconds: f64) -> Self {
        Self { healthy: true, seconds, ..Self::none(&Aim::of("one", "m")) }
    }
}

impl Answer {
    /// How it went.
    pub(super) fn verdict(&self) -> Verdict {
        if self.not_asked { Verdict::NotAsked } else { Verdict::of(self.healthy) }
    }

    /// Takes what the head of an answer tells.
    pub(super) fn begun(&mut self, reply: &Reply) {
        self.status = Some(reply.status);
        let id = reply.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        self.request_id = id.map(ToOwned::to_owned);
        // Greenroom's own refusal of the question, a limit of the user's apart: it says nothing of the backend.
        let untried = reply.headers.get("x-greenroom-attempts").is_some_and(|attempts| attempts == "0");
        self.not_asked = untried && (400..500).contains(&reply.status) && reply.status != 429;
    }

    /// Takes what a whole answer or a chunk tells.
    pub(super) fn take(&mut self, body: &Value, member: &str) {
        let choice = &body["choices"][0];
        self.text.push_str(choice[member]["content"].as_str().unwrap_or_default());
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        self.finish_reason = text(&choice["finish_reason"]).or(self.finish_reason.take());
        self.served_by = text(&body["model"]).or(self.served_by.take());
        self.tokens = body["usage"]["completion_tokens"].as_u64().or(self.tokens);
    }

    /// What was asked.
    pub(super) fn aim(&self) -> Aim {
        Aim { is_unserved: self.is_unserved, ..Aim::of(&self.backend, &self.model) }
    }

    /// None yet.
    pub(super) fn none(aim: &Aim) -> Self {
        let Aim { backend, model, is_unserved } = aim.clone();
        Self { backend, model, is_unserved, ..Self::default() }
    }
}

/// The ledger gets a request a moment after its client has the last byte, so it is asked this often, with this pause.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

impl Client {
    /// What a question cost, US dollars, as the ledger knows it; `None` where it has no price, or the token may not read that.
    pub(super) async fn cost(&self, answer: &Answer) -> Option<f64> {
        let path = format!("/admin/requests/{}", escaped(answer.request_id.as_deref()?));
        for _ in 0..LOOKS {
            match self.fetch(Method::GET, &path).await {
                Ok((200, story)) => return story["cost_usd"].as_f64(),
                Ok((404, body)) if !is_no_endpoint(&body) => sleep(PAUSE).await,
                _ => break,
            }
        }
        None
    }
}
