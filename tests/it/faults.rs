//! The fault matrix: everything that can go wrong at a backend × streamed or whole × another backend free, none, or a pin.

use std::{cell::RefCell, fmt::Write, time::Duration};

use serde_json::{Value, json};
use tokio::{net::TcpSocket, task::JoinSet, time::timeout};

use crate::support::{
    client::{self, Ask, Reply},
    faults::{self, BEFORE, Fault, Mark, WHOLE},
    proxy::Proxy,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
    wire::End,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    None,
    Pinned,
}

/// One cell of the matrix, with backends and a model of its own.
struct Row {
    fault: Fault,
    stream: bool,
    place: Place,
    bad: Option<Upstream>,
    good: Option<Upstream>,
    number: usize,
}

/// What came of it, as far as it can be told from outside.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u16,
    code: String,
    text: String,
    done: bool,
    end: End,
    backend: String,
    attempts: String,
    bad_asked: usize,
    good_asked: usize,
}

impl Row {
    async fn new(number: usize, fault: Fault, stream: bool, place: Place) -> Self {
        let bad = match fault.answer {
            Some(answer) => Some(Upstream::start(move |_, ask| answer(ask.wants_stream())).await),
            None => None,
        };
        let good = if place == Place::None { None } else { Some(Upstream::saying(WHOLE).await) };
        Self { fault, stream, place, bad, good, number }
    }

    fn name(&self) -> String {
        format!("{}, {}, {:?}", self.fault.name, if self.stream { "stream" } else { "whole" }, self.place)
    }

    /// The body of its one request.
    fn body(&self) -> String {
        let mut body = json!({"model": format!("m{}", self.number), "stream": self.stream, "messages": []});
        if self.place == Place::Pinned {
            body["backend"] = Value::from(format!("bad{}", self.number));
        }
        body.to_string()
    }

    fn expected(&self) -> Outcome {
        let told = if self.stream { self.fault.stream } else { self.fault.whole };
        let (bad, good) = (format!("bad{}", self.number), format!("good{}", self.number));
        let passes_on = !matches!(self.fault.mark, Mark::Alive | Mark::Fine);
        let tries = if self.place == Place::None { told.tries } else { 1 };
        // A connection that is refused is seen by nobody.
        let bad_asked = if self.bad.is_some() { tries } else { 0 };
        if self.place == Place::Free && passes_on {
            // Once content is out, the head names who began.
            let (backend, attempts) = if told.late { (bad, "1") } else { (good, "2") };
            let (code, attempts) = ("-".to_owned(), attempts.to_owned());
            let text = WHOLE.to_owned();
            let done = self.stream;
            return Outcome {
                status: 200,
                code,
                text,
                done,
                end: End::Clean,
                backend,
                attempts,
                bad_asked,
                good_asked: 1,
            };
        }
        let fine = self.fault.mark == Mark::Fine;
        let late = told.late && !fine;
        Outcome {
            status: if late { 200 } else { told.status },
            code: told.code.to_owned(),
            text: if late {
                BEFORE
            } else if fine {
                WHOLE
            } else {
                ""
            }
            .to_owned(),
            done: fine && self.stream,
            end: if late { End::Truncated } else { End::Clean },
            backend: bad,
            attempts: if late { 1 } else { tries }.to_string(),
            bad_asked,
            good_asked: 0,
        }
    }

    fn found(&self, reply: &Reply) -> Outcome {
        let error = sse::error_of(&reply.body).or_else(|| {
            let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            body.get("error").cloned()
        });
        let code = error.and_then(|e| Some(e["code"].as_str()?.to_owned()));
        let whole = || Some(reply.json()["choices"][0]["message"]["content"].as_str()?.to_owned());
        let is_stream = reply.head.get("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        Outcome {
            status: reply.status(),
            code: code.unwrap_or_else(|| "-".to_owned()),
            text: if is_stream { sse::text_of(&reply.body) } else { whole().unwrap_or_default() },
            done: sse::is_done(&reply.body),
            end: reply.end,
            backend: reply.backend().to_owned(),
            attempts: reply.header("x-greenroom-attempts").to_owned(),
            bad_asked: self.bad.as_ref().map_or(0, Upstream::asked),
            good_asked: self.good.as_ref().map_or(0, Upstream::asked),
        }
    }

    /// What is wrong with the backend's report; nothing if it is right.
    fn misreported(&self, report: &Value) -> Option<&'static str> {
        let told = if self.stream { self.fault.stream } else { self.fault.whole };
        let tries = if self.place == Place::None { told.tries } else { 1 };
        let counts = &report["requests"];
        let (success, caller, failure) = match self.fault.mark {
            Mark::Fine => (tries, 0, 0),
            Mark::Alive => (0, tries, 0),
            _ => (0, 0, tries),
        };
        let reason = report["reason"].as_str().unwrap_or_default();
        let state = report["state"].as_str().unwrap_or_default();
        let shut = matches!(state, "open" | "half_open");
        let long = report["reopens_in_ms"].as_u64().is_some_and(|ms| ms > 60_000);
        let in_a_row = report["consecutive_failures"] == failure;
        match self.fault.mark {
            _ if report["waiting"] != 0 || report["streaming"] != 0 => Some("a lease was not given back"),
            _ if counts["success"] != success => Some("successes"),
            _ if counts["caller_fault"] != caller => Some("faults of callers"),
            _ if counts["failure"] != failure => Some("failures"),
            _ if counts["cancelled"] != 0 => Some("cancellations"),
            _ if !in_a_row => Some("failures in a row"),
            Mark::Fine | Mark::Alive if state != "healthy" => Some("not healthy"),
            Mark::Counts if failure >= 3 && !shut => Some("the third failure in a row did not shut the gate"),
            Mark::Counts if failure < 3 && state != "degraded" => Some("not degraded"),
            Mark::AskedToWait if !shut || !reason.contains("asked to wait") => Some("not shut as it asked"),
            Mark::Crowded if !shut || !reason.contains("too many requests") => Some("not shut for too many requests"),
            Mark::HardDown if !shut || !long || !reason.contains("credentials") => Some("not hard down"),
            Mark::Spent if !shut || !long || !reason.contains("no money") => Some("not out of money"),
            Mark::NotFound if !shut || long || !reason.contains("model") => Some("not shut for a short time"),
            Mark::NoModel if !shut || !long || !reason.contains("model") => Some("the model is not benched"),
            _ => None,
        }
    }
}

fn settings(rows: &[Row], refusing: &TcpSocket) -> Settings {
    let refusing = refusing.local_addr().expect("it is bound");
    let mut settings = Settings::new().set("failover", "retry_budget = 1.0\ndeadline = \"12s\"").set(
        "defaults.backend",
        "connect_timeout = \"2s\"\nfirst_token_soft = \"10s\"\nfirst_token_hard = \"900ms\"\nidle_timeout = \"900ms\"\n\
             total_timeout = \"2s\"\nbackoff_min = \"100ms\"\nbackoff_max = \"100ms\"",
    );
    for row in rows {
        let mut backend = |name: &str, addr| {
            let name = format!("{name}{}", row.number);
            let lines = format!("protocol = \"openai\"\nbase_url = \"http://{addr}/v1\"");
            settings = settings.clone().set(&format!("backends.{name}"), &lines);
            name
        };
        let bad = backend("bad", row.bad.as_ref().map_or(refusing, |bad| bad.addr));
        let mut targets = format!("{{ backend = \"{bad}\" }}");
        if let Some(good) = &row.good {
            let good = backend("good", good.addr);
            // Writing to a string cannot fail.
            let _ = write!(targets, ", {{ backend = \"{good}\", priority = 2 }}");
        }
        settings = settings.set(&format!("models.m{}", row.number), &format!("backends = [{targets}]"));
    }
    settings
}

/// Asks once for every cell, all at the same time, then compares everything.
async fn matrix(faults: Vec<Fault>) {
    let mut rows = Vec::new();
    for fault in faults {
        for stream in [true, false] {
            for place in [Place::Free, Place::None, Place::Pinned] {
                rows.push(Row::new(rows.len(), fault.clone(), stream, place).await);
            }
        }
    }
    // Bound and never listening: nobody else is given the port, and every connection is refused.
    let refusing = TcpSocket::new_v4().expect("a socket");
    refusing.bind("127.0.0.1:0".parse().expect("an address")).expect("a loopback port is free");
    let proxy = Proxy::start(&settings(&rows, &refusing)).await;
    let mut asking = JoinSet::new();
    for row in &rows {
        let (addr, number, ask) = (proxy.addr, row.number, Ask::chat(row.body()).bearer(TOKEN));
        asking.spawn(async move { (number, client::ask(addr, &ask).await) });
    }
    let mut wrong = String::new();
    while let Some(done) = asking.join_next().await {
        let (number, reply) = done.expect("the client ends with an answer");
        let row = &rows[number];
        let (found, expected) = (row.found(&reply), row.expected());
        if found != expected {
            // Writing to a string cannot fail.
            let _ = write!(wrong, "\n{}:\n   found {found:?}\n  wanted {expected:?}\n", row.name());
        }
        assert!(!reply.text().contains("secret"), "{}: the provider's words got out: {reply:?}", row.name());
        assert!(
            !matches!(reply.status(), 429 | 503) || reply.head.get("retry-after").is_some(),
            "{}: no Retry-After: {reply:?}",
            row.name()
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
    for row in &rows {
        let name = format!("bad{}", row.number);
        let last = RefCell::new(String::new());
        let right = |report: &Value| {
            let wrong = row.misreported(report);
            *last.borrow_mut() = format!("{wrong:?} in {report}");
            wrong.is_none()
        };
        let waited = timeout(Duration::from_secs(2), proxy.until(&name, "its report", right));
        if waited.await.is_err() {
            // Writing to a string cannot fail.
            let _ = write!(wrong, "\n{}: {}", row.name(), last.borrow());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn every_fault_of_the_transport_ends_in_the_best_answer_there_is() {
    matrix(faults::of_transport()).await;
}

#[tokio::test]
async fn every_fault_that_a_backend_admits_ends_in_the_best_answer_there_is() {
    matrix(faults::of_status()).await;
}
