//! A simulated LLM provider on a local port: its settings, its routes, and the set the demo runs on.
//!
//! It stands on the ground floor: it speaks the providers' wire formats by itself and shares no code with the proxy,
//! so that a mistake in the proxy's translation cannot hide behind the same mistake here.

mod answer;
mod anthropic;
mod directive;
mod fault;
mod gemini;
mod hearing;
mod listing;
mod openai;
mod openai_chat;
mod pace;
mod provider;
mod schema;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle, web};

use self::provider::Provider;

/// The largest request body taken, in bytes: room for a few images in base64.
const BODY_LIMIT: usize = 64 << 20;

/// The wire format that a simulated provider calls its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Chat completions, legacy completions, embeddings, moderations, pictures, speech, recordings, and reranking as many of its servers offer it.
    #[default]
    Openai,
    /// The Messages API.
    Anthropic,
    /// The `generateContent` API.
    Gemini,
}

/// How a simulated provider goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Every request is refused.
    Status {
        /// The HTTP status; one outside 400 to 599 counts as 500.
        status: u16,
        /// The `retry-after` header, in seconds.
        retry_after: Option<u64>,
        /// How long the refusal takes.
        after: Duration,
    },
    /// Requests are accepted and never answered.
    Hang,
    /// The connection breaks in the middle of an answer.
    Cut {
        /// How many tokens arrive before the break; an answer with fewer is whole.
        after_tokens: usize,
    },
}

/// Settings of one simulated provider.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// The name it gives itself in its answers.
    pub name: String,
    /// Its native wire format. Chat completions are answered whatever this is.
    pub protocol: Protocol,
    /// The key it asks for; `None` lets everyone in.
    pub api_key: Option<String>,
    /// The models it knows; an empty list knows every model.
    pub models: Vec<String>,
    /// From the request to the first token of the answer.
    pub first_token: Duration,
    /// Between two tokens.
    pub per_token: Duration,
    /// How many answers run at full pace; more share it. 0 is no limit.
    pub slots: u32,
    /// How it goes wrong, if it does.
    pub failure: Option<Failure>,
}

impl Default for Simulated {
    fn default() -> Self {
        Self {
            name: "simulated".to_owned(),
            protocol: Protocol::default(),
            api_key: None,
            models: Vec::new(),
            first_token: Duration::ZERO,
            per_token: Duration::ZERO,
            slots: 0,
            failure: None,
        }
    }
}

/// A simulated provider that listens; dropping it stops it.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, always on 127.0.0.1.
    pub addr: SocketAddr,
    handle: ServerHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The order to stop is sent by the call itself; the future only waits for it to be carried out.
        drop(self.handle.stop(false));
    }
}

/// Starts a provider on a free local port, on the current actix system.
///
/// Errors when no port can be had. Panics outside an actix system, as `actix_rt::spawn` does.
pub fn start(sim: Simulated) -> io::Result<Running> {
    let provider = web::Data::new(Provider::new(sim));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(provider.clone())
            .app_data(web::PayloadConfig::new(BODY_LIMIT))
            .configure(|routes| lay(routes, provider.settings.protocol))
    })
    .workers(1)
    .disable_signals()
    .tcp_nodelay(true)
    .bind(("127.0.0.1", 0))?;
    let addr = server.addrs().first().copied().ok_or_else(|| io::Error::other("no address was bound"))?;
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(Running { addr, handle })
}

fn lay(routes: &mut web::ServiceConfig, protocol: Protocol) {
    for prefix in ["/v1", "/v1beta"] {
        routes.route(&format!("{prefix}/chat/completions"), web::post().to(openai_chat::chat));
    }
    match protocol {
        Protocol::Openai => {
            openai::lay(routes);
            listing::lay(routes);
            hearing::lay(routes);
        }
        Protocol::Anthropic => anthropic::lay(routes),
        Protocol::Gemini => gemini::lay(routes),
    }
    routes.default_service(web::to(fault::no_such_path));
}

/// The providers of the demo: a backend name, the path to put after its address, and its settings.
pub fn demo() -> Vec<(&'static str, &'static str, Simulated)> {
    let provider = |name: &'static str, path, protocol, key: &str, models: &[&str], first, gap| {
        let simulated = Simulated {
            name: name.to_owned(),
            protocol,
            api_key: Some(key.to_owned()),
            models: models.iter().map(|&model| model.to_owned()).collect(),
            first_token: Duration::from_millis(first),
            per_token: Duration::from_millis(gap),
            slots: 16,
            failure: None,
        };
        (name, path, simulated)
    };
    let gpt = ["gpt-4o", "gpt-4o-mini"];
    let claude = ["claude-sonnet-4-5", "claude-haiku-4-5"];
    let gemini = ["gemini-2.5-pro", "gemini-2.5-flash"];
    let mut providers = vec![
        provider("openai_official", "/v1", Protocol::Openai, "sk-demo-openai", &gpt, 30, 3),
        provider("anthropic_claude", "/v1", Protocol::Anthropic, "sk-demo-anthropic", &claude, 60, 5),
        provider("google_gemini", "/v1beta", Protocol::Gemini, "sk-demo-gemini", &gemini, 20, 2),
        provider("problematic_backend", "/v1", Protocol::Openai, "sk-demo-problematic", &gpt, 20, 2),
    ];
    if let Some((_, _, problematic)) = providers.last_mut() {
        problematic.failure =
            Some(Failure::Status { status: 500, retry_after: None, after: Duration::from_millis(10) });
    }
    providers
}
