//! Owns asking a running Greenroom: its admin endpoints, and one measured question to one backend.

use std::{cell::Cell, convert::Infallible, process::ExitCode, time::Duration};

use actix_web::http::Method;
use clap::Args;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{
    aim::Aim,
    answer::{Answer, Verdict},
    complain,
    question::Question,
    table::first_words,
    words::Lang,
};
use crate::{
    error::Error,
    settings::{Secret, check_token},
    upstream::{
        percent_encoded,
        plain::{Plain, Reply},
    },
    wire::{Malformed, limit, peek, sse},
};

/// Where Greenroom is, and who asks.
#[derive(Debug, Clone, Args)]
pub(super) struct Server {
    /// Address of Greenroom
    #[arg(long, env = "GREENROOM_URL", default_value = "http://127.0.0.1:3000", value_parser = address, global = true)]
    url: String,
    /// Address of the operators' listener, where `server.admin_bind` sets one; that of Greenroom, if left out
    #[arg(long, env = "GREENROOM_ADMIN_URL", value_name = "URL", value_parser = address, global = true)]
    admin_url: Option<String>,
    /// Token of a user; pinning needs `may_pin`, listing backends `admin`
    #[arg(
        long,
        env = "GREENROOM_TOKEN",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        value_parser = |token: &str| Ok::<_, Infallible>(Secret::new(token.to_owned())),
        global = true
    )]
    token: Secret,
    /// Seconds to wait for one answer
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds, global = true)]
    timeout: Duration,
}

/// An address with its scheme. The SDKs' one ends with `/v1`, which paths here begin with.
fn address(text: &str) -> Result<String, String> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(format!("must start with http:// or https://, such as http://{text}"));
    }
    let text = text.trim_end_matches('/');
    Ok(text.strip_suffix("/v1").unwrap_or(text).to_owned())
}

/// An address without the user and the password that may stand before its host.
fn anonymous(url: &str) -> String {
    let begin = url.find("://").map_or(0, |at| at + "://".len());
    let end = url[begin..].find('/').map_or(url.len(), |at| begin + at);
    let host = url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    format!("{}{}", &url[..begin], &url[host..])
}

/// A time of some length.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| "must be a number of seconds above 0".to_owned())
}

/// Asks a running Greenroom.
pub(super) struct Client {
    plain: Plain,
    server: Server,
    /// In which it tells what it cannot do.
    pub(super) lang: Lang,
    /// Whether it was refused the list of backends.
    pub(super) is_refused: Cell<bool>,
}

impl Client {
    pub(super) fn new(server: &Server, lang: Lang) -> Self {
        Self { plain: Plain::default(), server: server.clone(), lang, is_refused: Cell::default() }
    }

    /// Waits for at least so long: some work takes its time.
    pub(super) fn patient(mut self, at_least: Duration) -> Self {
        self.server.timeout = self.server.timeout.max(at_least);
        self
    }

    /// The address that answers `path`.
    fn base(&self, path: &str) -> &str {
        let admin = self.server.admin_url.as_deref().filter(|_| path.starts_with("/admin/"));
        admin.unwrap_or(&self.server.url)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base(path))
    }

    /// Whether operators' endpoints were given an address of their own.
    pub(super) fn has_admin_url(&self) -> bool {
        self.server.admin_url.is_some()
    }

    /// A `GET` or `POST` of the admin endpoints.
    pub(super) async fn admin(&self, method: Method, path: &str) -> Result<Value, String> {
        match self.fetch(method, path).await? {
            (200, body) => Ok(body),
            (403, _) => Err("the token may not use the admin endpoints; use that of an admin".to_owned()),
            (status, body) => Err(self.refusal(status, &body, self.lang.no_admin_here())),
        }
    }

    /// What a refusal says; `nothing_here`: what to say where there is no such endpoint.
    pub(super) fn refusal(&self, status: u16, body: &Value, nothing_here: &str) -> String {
        match status {
            401 => self.lang.unknown_token().to_owned(),
            404 if is_no_endpoint(body) => nothing_here.to_owned(),
            _ => error_words(body, status),
        }
    }

    /// Status and JSON of an answer.
    pub(super) async fn fetch(&self, method: Method, path: &str) -> Result<(u16, Value), String> {
        // A request without a token gets an error of its own.
        let token = self.server.token.reveal();
        if let (false, Err(why)) = (token.is_empty(), check_token(token)) {
            return Err(format!("{} {why}", self.lang.the_token()));
        }
        let bearer = format!("Bearer {token}");
        let work = async {
            let reply = self.plain.send(method, &self.url(path), &[("authorization", &bearer)], None).await?;
            let status = reply.status;
            let text = reply.text().await?;
            let body = serde_json::from_str(&text).map_err(|_| format!("HTTP {status}: {}", first_words(&text, 60)))?;
            Ok((status, body))
        };
        let late = |_| Err(format!("{} {:?}", self.lang.no_answer_within(), self.server.timeout));
        timeout(self.server.timeout, work).await.unwrap_or_else(late).map_err(|why: String| self.unasked(path, &why))
    }

    /// Why Greenroom cannot be asked.
    fn unasked(&self, path: &str, why: &str) -> String {
        format!("{} {}: {why}", anonymous(self.base(path)), self.lang.cannot_be_asked())
    }

    /// Asks one backend, by pin; once more where its model knows the limit by another name.
    pub(super) async fn ask(&self, aim: &Aim, question: &Question) -> Answer {
        let mut began = Instant::now();
        let mut answer = Answer::none(aim);
        let work = self.try_ask(aim, question, &mut began, &mut answer);
        let late = |_| Err(format!("{} {:?}", self.lang.no_whole_answer_within(), self.server.timeout));
        let outcome = timeout(self.server.timeout, work).await.unwrap_or_else(late);
        answer.seconds = began.elapsed().as_secs_f64();
        let generating = answer.seconds - answer.first_token_seconds.unwrap_or(0.0);
        answer.tokens_per_second = answer.tokens.filter(|_| generating > 0.0).map(|n| n as f64 / generating);
        answer.healthy = outcome.is_ok();
        answer.error = outcome.err();
        answer
    }

    async fn try_ask(
        &self,
        aim: &Aim,
        question: &Question,
        began: &mut Instant,
        answer: &mut Answer,
    ) -> Result<(), String> {
        const PATH: &str = "/v1/chat/completions";
        let bearer = format!("Bearer {}", self.server.token.reveal());
        let headers = [("authorization", bearer.as_str())];
        let url = self.url(PATH);
        let put = async |body: String, answer: &mut Answer| {
            let sent = self.plain.send(Method::POST, &url, &headers, Some(body.into())).await;
            match &sent {
                Ok(reply) => answer.begun(reply),
                // Greenroom has gone away meanwhile.
                Err(_) => answer.not_asked = true,
            }
            sent.map_err(|why| self.unasked(PATH, &why))
        };
        let json = |text: String| {
            serde_json::from_str::<Value>(&text).map_err(|_| format!("not JSON: {}", first_words(&text, 60)))
        };
        let mut reply = put(question.body(aim, false), answer).await?;
        if reply.status == 400 {
            let refusal = json(reply.text().await?)?;
            if !limit::is_unknown(refusal["error"]["param"].as_str()) {
                return Err(error_words(&refusal, 400));
            }
            *began = Instant::now();
            reply = put(question.body(aim, true), answer).await?;
        }
        if reply.status == 200 && question.stream {
            return self.follow(reply, *began, answer).await;
        }
        let status = reply.status;
        let body = json(reply.text().await?)?;
        if status != 200 {
            return Err(error_words(&body, status));
        }
        answer.take(&body, "message");
        Ok(())
    }

    /// Reads an answer as it comes.
    async fn follow(&self, mut reply: Reply, began: Instant, answer: &mut Answer) -> Result<(), String> {
        let mut splitter = sse::Splitter::default();
        let mut complete = false;
        while let Some(piece) = reply.chunk().await {
            let run = splitter.push(piece?).map_err(|_| "a frame is too long")?;
            for frame in sse::frames(&run) {
                let Some(data) = frame.data else { continue };
                let seen = peek::frame(&data).map_err(|Malformed(why)| why)?;
                if seen.done {
                    complete = true;
                    continue;
                }
                let chunk: Value = serde_json::from_slice(&data).map_err(|error| error.to_string())?;
                if seen.fault.is_some() {
                    return Err(error_words(&chunk, 200));
                }
                // Thoughts and calls are counted among the tokens, too.
                if seen.content && answer.first_token_seconds.is_none() {
                    answer.first_token_seconds = Some(began.elapsed().as_secs_f64());
                }
                answer.take(&chunk, "delta");
            }
        }
        if complete { Ok(()) } else { Err(self.lang.cut_off().to_owned()) }
    }
}

/// Percent-encodes all but what every part of a URL may carry: a name from the command line is never a path or a query.
pub(super) fn escaped(text: &str) -> String {
    percent_encoded(text, b"")
}

/// Whether a 404 says that nothing is asked there, rather than that what was asked for is not known.
pub(super) fn is_no_endpoint(body: &Value) -> bool {
    body["error"]["code"] == Error::NO_ENDPOINT
}

/// What an error's body says, in a line.
fn error_words(body: &Value, status: u16) -> String {
    let (error, detail) = (&body["error"], &body["detail"]);
    let code = error["code"].as_str().unwrap_or_default();
    // A backend's own errors come through where they are the question's, each in its server's shape.
    let places = [&error["message"], error, &body["message"], detail, &detail[0]["msg"]];
    let message = places.into_iter().find_map(Value::as_str).unwrap_or("no message");
    if code.is_empty() { format!("HTTP {status}: {message}") } else { format!("{code}: {message}") }
}

/// Runs a subcommand's work on a thread of its own runtime; its error goes to standard error.
pub(super) fn run_work(work: impl Future<Output = Result<Verdict, String>>) -> ExitCode {
    let verdict = actix::System::new().block_on(work).unwrap_or_else(|why| {
        complain(why);
        Verdict::NotAsked
    });
    ExitCode::from(verdict as u8)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::net::TcpSocket;

    use super::{super::check::ping, *};

    #[actix::test]
    async fn a_greenroom_that_has_gone_away_is_no_fault_of_a_backends() {
        // Nobody listens there, and nobody else can.
        let away = TcpSocket::new_v4().expect("a socket");
        away.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let url = format!("http://{}", away.local_addr().expect("bound"));
        let server = Server {
            url: url.clone(),
            admin_url: None,
            token: Secret::new("t".to_owned()),
            timeout: Duration::from_secs(9),
        };
        let answer = Client::new(&server, Lang::En).ask(&Aim::of("one", "m"), &ping(false)).await;
        assert_eq!((answer.healthy, answer.verdict()), (false, Verdict::NotAsked));
        assert!(answer.error.is_some_and(|why| why.starts_with(&format!("{url} cannot be asked: "))));
    }

    #[test]
    fn a_token_is_in_nothing_that_is_printed() {
        let given = super::super::Arguments::parse_from(["greenroom", "check", "--token", "sk-live", "--lang", "en"]);
        let shown = format!("{given:?}");
        assert!(shown.contains("token: ***") && !shown.contains("sk-live"), "{shown}");
    }
}
