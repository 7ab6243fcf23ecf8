//! Owns talking to backends: the only user of awc. One client per backend and worker, prepared heads, honest errors.

mod headers;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    io,
    pin::Pin,
    rc::Rc,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use actix_http::error::ParseError;
use actix_service::ServiceExt as _;
use actix_web::{
    body::{BodySize, MessageBody},
    http::{
        Method, Version,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};
use awc::{
    Connector, FrozenClientRequest,
    error::{ConnectError, SendRequestError},
};
use bytes::Bytes;
use futures_util::{Stream, future::poll_fn};

use crate::{
    error::{Class, Failed},
    settings::{Backend, Style},
    wire::Protocol,
};

/// Idle upstream connections are closed after this: below the usual idle limits of load balancers in front of providers.
const IDLE: Duration = Duration::from_secs(15);

/// A connection is not used for longer than this, so that changed DNS records take effect.
const LIFETIME: Duration = Duration::from_secs(3600);

/// What is asked of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Chat in the backend's own protocol, answered whole.
    Chat,
    /// Chat in the backend's own protocol, streamed.
    ChatStream,
    /// OpenAI embeddings.
    Embeddings,
    /// OpenAI legacy completions.
    Completions,
    /// OpenAI responses.
    Responses,
    /// Anthropic token counting.
    CountTokens,
    /// The list of models.
    Models,
}

impl Endpoint {
    fn method(self) -> Method {
        if self == Self::Models { Method::GET } else { Method::POST }
    }

    /// The URL at `backend` for its model `model`.
    fn url(self, backend: &Backend, model: &str) -> String {
        let base = &backend.base_url;
        let path = match (backend.protocol, self) {
            (Protocol::Openai, Self::Chat | Self::ChatStream) => "chat/completions",
            (Protocol::Anthropic, Self::Chat | Self::ChatStream) => "messages",
            (Protocol::Gemini, Self::Chat) => return format!("{base}/models/{model}:generateContent"),
            (Protocol::Gemini, Self::ChatStream) => {
                return format!("{base}/models/{model}:streamGenerateContent?alt=sse");
            }
            (_, Self::Embeddings) => "embeddings",
            (_, Self::Completions) => "completions",
            (_, Self::Responses) => "responses",
            (_, Self::CountTokens) => "messages/count_tokens",
            (_, Self::Models) => "models",
        };
        if backend.style == Style::Azure {
            let version = &backend.api_version;
            return match self {
                Self::Models => format!("{base}/openai/models?api-version={version}"),
                _ => format!("{base}/openai/deployments/{model}/{path}?api-version={version}"),
            };
        }
        format!("{base}/{path}")
    }
}

/// Whether a backend's URLs name the model.
fn names_model(backend: &Backend) -> bool {
    backend.protocol == Protocol::Gemini || backend.style == Style::Azure
}

/// The clients of one worker, by backend.
#[derive(Default)]
pub struct Clients {
    by_id: RefCell<HashMap<u64, Rc<Client>>>,
}

impl Clients {
    /// The client for a backend; `id` is its `Handle::id`.
    pub fn get(&self, id: u64, backend: &Arc<Backend>) -> Rc<Client> {
        if let Some(client) = self.by_id.borrow().get(&id) {
            return client.clone();
        }
        let client = Rc::new(Client::new(backend.clone()));
        self.by_id.borrow_mut().insert(id, client.clone());
        client
    }

    /// Drops the clients of backends that are gone; requests that still run keep theirs.
    pub fn retain(&self, keep: impl Fn(u64) -> bool) {
        self.by_id.borrow_mut().retain(|id, _| keep(*id));
    }
}

/// Connections to one backend from one worker.
pub struct Client {
    awc: awc::Client,
    backend: Arc<Backend>,
    heads: RefCell<Vec<Head>>,
    /// Connections opened so far: tells a reused one from a new one.
    opened: Rc<Cell<u64>>,
}

/// A request head, built once.
struct Head {
    endpoint: Endpoint,
    model: Option<Arc<str>>,
    request: FrozenClientRequest,
}

/// A request that got no answer.
#[derive(Debug)]
pub struct Unanswered {
    /// Why.
    pub failed: Failed,
    /// It went out on a reused connection that turned out to be dead: worth one silent retry.
    pub stale: bool,
}

impl Client {
    /// A client for `backend` on this thread.
    pub fn new(backend: Arc<Backend>) -> Self {
        let opened = Rc::new(Cell::new(0));
        let count = opened.clone();
        let tcp = actix_tls::connect::Connector::default().service().map(move |connection| {
            let connection: actix_tls::connect::Connection<_, actix_rt::net::TcpStream> = connection;
            // Without it a small request can wait for the acknowledgement of the one before.
            if let Err(error) = connection.io_ref().set_nodelay(true) {
                log::debug!("nodelay not set: {error}");
            }
            count.set(count.get() + 1);
            connection
        });
        let connect = backend.deadlines.connect;
        // Every default here is wrong for a proxy: 100 sockets, 5 s, redirects followed, HTTP/2 without pings.
        let mut connector = Connector::new()
            .connector(tcp)
            .limit(0)
            .timeout(connect)
            .handshake_timeout(connect)
            .conn_keep_alive(IDLE)
            .conn_lifetime(LIFETIME)
            .max_http_version(Version::HTTP_11);
        if backend.base_url.starts_with("https") {
            connector = connector.rustls_0_23(tls());
        }
        let awc = awc::Client::builder()
            .connector(connector)
            .disable_timeout()
            .disable_redirects()
            .no_default_headers()
            .finish();
        Self { awc, backend, heads: RefCell::default(), opened }
    }

    fn head(&self, endpoint: Endpoint, model: &Arc<str>) -> Result<FrozenClientRequest, Failed> {
        let model = names_model(&self.backend).then(|| model.clone());
        let known = |head: &&Head| head.endpoint == endpoint && head.model == model;
        if let Some(head) = self.heads.borrow().iter().find(known) {
            return Ok(head.request.clone());
        }
        let url = endpoint.url(&self.backend, model.as_deref().unwrap_or_default());
        let mut request = self.awc.request(endpoint.method(), url).no_decompress();
        for header in headers::of_backend(&self.backend) {
            request = request.insert_header(header);
        }
        let accept = if endpoint == Endpoint::ChatStream { "text/event-stream" } else { "application/json" };
        let request = request
            .insert_header(("accept", accept))
            .freeze()
            .map_err(|error| Failed::new(Class::ProviderTransport, format!("its URL cannot be used ({error})")))?;
        self.heads.borrow_mut().push(Head { endpoint, model, request: request.clone() });
        Ok(request)
    }

    /// Sends a request and waits for the head of the answer. The caller sets the deadline.
    pub async fn send(
        &self,
        endpoint: Endpoint,
        model: &Arc<str>,
        extra: &[(HeaderName, HeaderValue)],
        body: Vec<Bytes>,
    ) -> Result<Answer, Unanswered> {
        let head = self.head(endpoint, model).map_err(|failed| Unanswered { failed, stale: false })?;
        let opened = self.opened.get();
        let body = Parts::new(body);
        let sent = if extra.is_empty() {
            head.send_body(body).await
        } else {
            let mut map = HeaderMap::with_capacity(extra.len());
            for (name, value) in extra {
                map.insert(name.clone(), value.clone());
            }
            head.extra_headers(map).send_body(body).await
        };
        match sent {
            Ok(answer) => Ok(Answer::new(answer)),
            Err(error) => {
                let stale =
                    opened == self.opened.get() && !matches!(error, SendRequestError::Connect(ConnectError::Timeout));
                Err(Unanswered { failed: unanswered(&error), stale })
            }
        }
    }
}

fn unanswered(error: &SendRequestError) -> Failed {
    let (class, text) = match error {
        SendRequestError::Connect(ConnectError::Timeout) => {
            (Class::ProviderTimeoutConnect, "no connection in time".to_owned())
        }
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords) => {
            (Class::ProviderTransport, "its host name does not resolve".to_owned())
        }
        SendRequestError::Connect(ConnectError::Disconnected) => {
            (Class::ProviderTransport, "it closed the connection without an answer".to_owned())
        }
        SendRequestError::Connect(ConnectError::Io(error)) | SendRequestError::Send(error) => {
            (Class::ProviderTransport, io_words(error))
        }
        SendRequestError::Response(ParseError::Io(error)) => (Class::ProviderTransport, io_words(error)),
        SendRequestError::Response(ParseError::Incomplete) => {
            (Class::ProviderTransport, "it closed the connection within the head of its answer".to_owned())
        }
        SendRequestError::Response(error) => (Class::ProviderInvalid, format!("its answer is not HTTP ({error})")),
        other => (Class::ProviderTransport, other.to_string()),
    };
    Failed::new(class, text)
}

fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "it reset the connection".to_owned()
        }
        _ => error.to_string(),
    }
}

fn tls() -> Arc<rustls::ClientConfig> {
    static TLS: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    TLS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            log::warn!("a system certificate cannot be used: {error}");
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    })
    .clone()
}

/// A body in parts, sent with its length.
struct Parts {
    parts: VecDeque<Bytes>,
    size: u64,
}

impl Parts {
    fn new(parts: Vec<Bytes>) -> Self {
        let size = parts.iter().map(|part| part.len() as u64).sum();
        Self { parts: parts.into(), size }
    }
}

impl MessageBody for Parts {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(self.parts.pop_front().map(Ok))
    }
}

/// A backend's answer: its head, and a body that tells a truncated end from a clean one as far as HTTP can.
pub struct Answer {
    response: awc::ClientResponse,
    /// Bytes still to come by the answer's own word.
    missing: Option<u64>,
}

/// The body broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenOff(pub String);

impl Answer {
    fn new<S>(response: awc::ClientResponse<S>) -> Self
    where
        awc::ClientResponse<S>: Into<awc::ClientResponse>,
    {
        let response = response.into();
        let missing = response.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        Self { response, missing }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Whether the body is a stream of server-sent events.
    pub fn is_event_stream(&self) -> bool {
        self.header("content-type")
            .is_some_and(|t| t.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
    }

    /// The headers that the client may see.
    pub fn headers_for_client(&self) -> Vec<(HeaderName, HeaderValue)> {
        headers::for_client(self.response.headers())
    }

    /// Bytes of the body still to come, if the head told.
    pub fn length(&self) -> Option<u64> {
        self.missing
    }

    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let next = std::task::ready!(Pin::new(&mut self.response).poll_next(cx));
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                if let Some(missing) = &mut self.missing {
                    *missing = missing.saturating_sub(bytes.len() as u64);
                }
                Some(Ok(bytes))
            }
            Some(Err(error)) => Some(Err(BrokenOff(format!("its answer broke off ({error})")))),
            // awc ends a body cleanly when the peer closes early; the head knows better.
            None => match self.missing {
                Some(missing) if missing > 0 => {
                    Some(Err(BrokenOff(format!("its answer broke off, {missing} bytes short"))))
                }
                _ => None,
            },
        })
    }
}
