//! Owns the requests that a diagnosis or a probe sends to a backend, and reads the answers strictly.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    diagnose::LIST_PATIENCE,
    question::question,
    vouch::{List, Shown},
};
use crate::{
    error::{Class, Failed},
    settings::{Backend, Style},
    upstream::{
        Along, Answer, BrokenOff, Client, Endpoint,
        classify::{classify, classify_answer, has_no_models_list},
        codes::words,
        strange::{PAGE, Strange, is_page},
    },
    wire::{
        Fault, Malformed, limit, sse,
        translate::{self, Dialect, ReplyContext, StreamTranslator},
    },
};

/// Bytes of an answer that are looked at.
const MOST: usize = 256 << 10;

/// Bytes of a models list that are looked at: `OpenRouter`'s has most of a million.
const LONGEST_LIST: usize = 4 << 20;

/// Within the time for a list: what has come of it by then has to do.
const LIST_TIME: Duration = LIST_PATIENCE.saturating_sub(Duration::from_secs(1));

/// A stream that has begun and says nothing for so long stands still, or for the backend's `idle_timeout` if that is shorter.
const STALL: Duration = Duration::from_secs(10);

/// A backend on trial.
pub(super) struct Trial {
    backend: Arc<Backend>,
    client: Rc<Client>,
    model: Arc<str>,
    /// The model has said that it reasons.
    reasons: Cell<bool>,
}

/// What a whole answer showed.
pub(super) struct Reply {
    /// It tells its tokens.
    pub(super) counted: bool,
    /// It calls a tool.
    pub(super) called: bool,
}

impl Trial {
    pub(super) fn new(backend: Arc<Backend>, client: Rc<Client>, model: Arc<str>) -> Self {
        Self { backend, client, model, reasons: Cell::default() }
    }

    pub(super) async fn resolve(&self) -> Result<Vec<SocketAddr>, Failed> {
        self.client.resolve().await
    }

    pub(super) async fn connect(&self, addresses: Vec<SocketAddr>) -> Result<String, Failed> {
        let peer = self.client.reach(addresses).await?;
        Ok(peer.map_or_else(|| "connected".to_owned(), |peer| format!("connected to {peer}")))
    }

    pub(super) async fn secure(&self) -> Result<String, Failed> {
        self.client.connect().await?;
        Ok("secured".to_owned())
    }

    /// Asks for the models list, which is free.
    pub(super) async fn list(&self) -> Result<Shown, Failed> {
        let now = Instant::now();
        let mut answer = self.client.send(now, Endpoint::Models, &self.model, Along::default(), Vec::new()).await?;
        match answer.status() {
            status @ 200..300 => {
                let list = begun_json(&mut answer, now + LIST_TIME).await.ok_or_else(|| {
                    // A page to sign in at, say.
                    let said = format!("HTTP {status}, but no models list: something else answers there");
                    Failed { status: Some(status), ..invalid(said) }
                })?;
                // Azure's names base models, and says nothing of deployments.
                let is_azure = self.backend.style == Style::Azure;
                Ok(Shown::List(if is_azure { List::default() } else { List::read(&list) }))
            }
            status if has_no_models_list(status) => Ok(Shown::Reachable),
            _ => Err(self.refusal(&mut answer).await),
        }
    }

    pub(super) async fn ask_for_one_token(&self) -> Result<Reply, Failed> {
        self.ask(json!({"max_tokens": 1})).await
    }

    pub(super) async fn call_a_tool(&self) -> Result<Reply, Failed> {
        let tool = json!({"type": "function", "function": {
            "name": "get_time", "description": "Tells the time.", "parameters": {"type": "object", "properties": {}},
        }});
        self.ask(json!({"max_tokens": 50, "tools": [tool]})).await
    }

    /// Asks for a stream, which has to be whole; whether it counted its tokens.
    pub(super) async fn stream(&self) -> Result<bool, Failed> {
        let mut answer = self.well(Endpoint::ChatStream, json!({"max_tokens": 5, "stream": true})).await?;
        let is_stream = match answer.is_event_stream() {
            Some(told) => told,
            None => answer.begins_events().await.map_err(cut)?,
        };
        if !is_stream {
            return Err(invalid("it answered a stream request without a stream"));
        }
        let mut reader = StreamTranslator::new(self.backend.protocol, Dialect::Chat, self.context(), true);
        let (mut splitter, mut unread) = (sse::Splitter::default(), Vec::new());
        let (mut counted, mut read) = (false, 0);
        // How long a prompt takes is for the step's own limit.
        let (mut patience, stall) = (Duration::MAX, self.backend.deadlines.idle.min(STALL));
        loop {
            let piece = timeout(patience, answer.chunk()).await;
            let (run, over) = match piece.map_err(|_| stalled(stall))? {
                Some(piece) => {
                    let piece = piece.map_err(cut)?;
                    read += piece.len();
                    (splitter.push(piece).map_err(|_| invalid("a frame is too long"))?, false)
                }
                None => (splitter.rest(), true),
            };
            for frame in sse::frames(&run) {
                let Some(data) = frame.data else { continue };
                let seen = reader.frame(frame.event, &data, &mut unread).map_err(malformed)?;
                if let Some(fault) = &seen.fault {
                    return Err(self.told_within(fault));
                }
                counted |= seen.usage.is_some();
                if seen.content {
                    patience = stall;
                }
            }
            unread.clear();
            if over && reader.end(&mut unread) {
                answer.accept();
                return Ok(counted);
            }
            if over {
                return Err(invalid("its stream ended before it was complete"));
            }
            if read > MOST {
                return Err(invalid("its stream does not end, though few tokens were asked for"));
            }
        }
    }

    /// Asks with `extra` members, and reads the whole answer.
    async fn ask(&self, extra: Value) -> Result<Reply, Failed> {
        let mut answer = self.well(Endpoint::Chat, extra).await?;
        let bytes = read(&mut answer).await?;
        let reply = translate::reply(self.backend.protocol, Dialect::Chat, &bytes, &self.context());
        let (chat, seen) = reply.map_err(|why| if is_page(&bytes) { invalid(PAGE) } else { malformed(why) })?;
        if let Some(fault) = &seen.fault {
            return Err(self.told_within(fault));
        }
        let chat: Value =
            serde_json::from_slice(&chat).map_err(|error| invalid(format!("its answer is not JSON ({error})")))?;
        let called = chat["choices"][0]["message"]["tool_calls"].is_array();
        Ok(Reply { counted: seen.usage.is_some(), called })
    }

    /// Sends a question; its answer is a 2xx that can be read.
    async fn well(&self, endpoint: Endpoint, extra: Value) -> Result<Answer, Failed> {
        let (mut answer, refusal) = self.put(endpoint, extra).await?;
        if let Some(refusal) = refusal {
            return Err(self.told(400, refusal));
        }
        if !answer.is_good() {
            return Err(self.refusal(&mut answer).await);
        }
        answer.packed().map_or(Ok(answer), |why| Err(invalid(why)))
    }

    /// Sends a question, once more where the model says that it reasons. Of a 400 the body is read, and what it says.
    async fn put(&self, endpoint: Endpoint, extra: Value) -> Result<(Answer, Option<Refusal>), Failed> {
        loop {
            let body = question(&self.backend, &self.model, &extra, self.reasons.get())?;
            let mut answer = self.client.send(Instant::now(), endpoint, &self.model, Along::default(), body).await?;
            if answer.status() != 400 {
                return Ok((answer, None));
            }
            let refusal = self.read_refusal(&mut answer).await;
            if !limit::is_unknown(refusal.fault.param.as_deref()) || self.reasons.replace(true) {
                return Ok((answer, Some(refusal)));
            }
        }
    }

    fn context(&self) -> ReplyContext {
        ReplyContext { id: "diagnose".to_owned(), created: 0, model: self.model.to_string(), ..ReplyContext::default() }
    }

    /// A refusal in words that tell no secret: status, and type and code or what else it is.
    fn told(&self, status: u16, refusal: Refusal) -> Failed {
        let Refusal { fault, class, strange } = refusal;
        let said = strange.map_or_else(|| format!(" {}", words(&fault)), |strange| format!(": {}", strange.words()));
        // What nobody serves at this address says nothing of the model.
        let is_lost = matches!(strange, Some(Strange::Redirect | Strange::NoPath));
        let class = if is_lost { Class::ProviderInvalid } else { class };
        self.redacted(class, Some(status), format!("HTTP {status}{said}"))
    }

    /// An error in an answer that began well, in words that tell no secret.
    fn told_within(&self, fault: &Fault) -> Failed {
        self.redacted(classify(fault), None, words(fault))
    }

    fn redacted(&self, class: Class, status: Option<u16>, mut said: String) -> Failed {
        self.backend.redact(&mut said);
        Failed { status, ..Failed::new(class, said) }
    }

    async fn refusal(&self, answer: &mut Answer) -> Failed {
        let refusal = self.read_refusal(answer).await;
        self.told(answer.status(), refusal)
    }

    async fn read_refusal(&self, answer: &mut Answer) -> Refusal {
        // The status alone says enough where the body breaks off.
        let body = read(answer).await.unwrap_or_default();
        let fault = translate::fault(self.backend.protocol, answer.status(), &body);
        let class = classify_answer(&fault, &body, &self.model);
        let strange = Strange::of(answer.status(), &fault, &body);
        Refusal { fault, class, strange }
    }
}

/// What an answer that is no 2xx says.
struct Refusal {
    fault: Fault,
    /// As that of a request.
    class: Class,
    strange: Option<Strange>,
}

/// A stream that has said nothing for so long.
fn stalled(after: Duration) -> Failed {
    Failed::new(Class::ProviderTimeoutIdle, format!("its stream began, and then stood still for {after:?}"))
}

/// An answer that has broken off.
fn cut(BrokenOff(why): BrokenOff) -> Failed {
    Failed::new(Class::ProviderStreamCut, why)
}

/// A body that begins as an object or a list does, as far as it comes `by` then. Nothing can be said before its first piece.
async fn begun_json(answer: &mut Answer, by: Instant) -> Option<Vec<u8>> {
    let mut seen = match answer.chunk().await {
        Some(Ok(piece)) => piece.to_vec(),
        _ => Vec::new(),
    };
    while seen.len() < LONGEST_LIST
        && let Ok(Some(Ok(piece))) = timeout_at(by, answer.chunk()).await
    {
        seen.extend_from_slice(&piece);
    }
    let body = seen.strip_prefix(sse::BYTE_ORDER_MARK).unwrap_or(&seen).trim_ascii_start();
    matches!(body.first(), Some(b'{' | b'[')).then(|| body.to_vec())
}

/// A whole body; with it the connection is done with.
async fn read(answer: &mut Answer) -> Result<Bytes, Failed> {
    let mut all = Vec::new();
    while let Some(piece) = answer.chunk().await {
        all.extend_from_slice(&piece.map_err(cut)?);
        if all.len() > MOST {
            return Err(invalid("its answer is too long, though few tokens were asked for"));
        }
    }
    answer.accept();
    Ok(sse::unmarked(all.into()))
}

fn malformed(Malformed(why): Malformed) -> Failed {
    invalid(format!("it is not what its protocol says ({why})"))
}

/// The failure of an answer that is not what it should be.
pub(super) fn invalid(said: impl Into<String>) -> Failed {
    Failed::new(Class::ProviderInvalid, said)
}
