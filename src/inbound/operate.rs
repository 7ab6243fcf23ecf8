//! Owns what operators do to backends and routers: each action is sent to the actor that it is about, and waits a bounded
//! time.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Addr, dev::ToEnvelope};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::{
    admin::{audit, reply, unknown},
    shared, worker,
};
use crate::{
    backend::{
        Backend, Handle,
        diagnose::LONGEST,
        messages::{Crash, Diagnose, Drain, ProbeNow, ResetBreaker, Resume},
    },
    error::Error,
    router,
    supervision::messages::Revive,
};

/// How long to wait for an actor that only has to take note.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// `drain`, `resume`, `reset`.
pub(super) async fn act(request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let (name, action) = path.into_inner();
    reply(&request, async |user| {
        match action.as_str() {
            "drain" => ask(living(&request, &name)?, Drain, PATIENCE).await?,
            "reset" => ask(living(&request, &name)?, ResetBreaker, PATIENCE).await?,
            "resume" => match handle(&request, &name)?.addr.clone() {
                addr if addr.connected() => ask(addr, Resume, PATIENCE).await?,
                _ => ask(shared(&request).overseer.clone(), Revive(name.clone()), PATIENCE).await?,
            },
            _ => {
                let known = "use drain, resume, reset, probe or diagnose";
                return Err(Error::NotFound(format!("There is no action '{action}'; {known}.")));
            }
        }
        audit(&request, &user, &action, &name);
        Ok(json!({"backend": name, "action": action, "done": true}))
    })
    .await
}

/// Asks a backend's provider now whether it is well.
pub(super) async fn probe(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    reply(&request, async |user| {
        // A models list says nothing about answers, so the reader is told which of the two was asked for.
        let asked = handle(&request, &name)?.settings.probe.on_demand();
        let said = ask(living(&request, &name)?, ProbeNow, LONGEST).await?;
        audit(&request, &user, "probe", &name);
        Ok(match said {
            Ok(()) => json!({"backend": *name, "asked": asked, "healthy": true}),
            Err(failed) => json!({
                "backend": *name, "asked": asked, "healthy": false, "class": failed.class.as_str(),
                "status": failed.status, "message": failed.message,
            }),
        })
    })
    .await
}

/// Tries a backend step by step.
pub(super) async fn diagnose(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    reply(&request, async |user| {
        let steps = ask(living(&request, &name)?, Diagnose, LONGEST).await?;
        audit(&request, &user, "diagnose", &name);
        Ok(json!({"backend": *name, "steps": steps}))
    })
    .await
}

/// Kills a Backend actor, where the settings allow it.
pub(super) async fn crash_backend(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    reply(&request, async |user| {
        chaos_allowed(&request)?;
        living(&request, &name)?.do_send(Crash);
        audit(&request, &user, "crash", &name);
        Ok(json!({"crashed": format!("backend {name}")}))
    })
    .await
}

/// Kills the Router actor of this worker, where the settings allow it.
pub(super) async fn crash_router(request: HttpRequest) -> HttpResponse {
    reply(&request, async |user| {
        chaos_allowed(&request)?;
        let none = || Error::NotFound("This listener has no router; ask the clients' one.".to_owned());
        let words = "crashed on request of an operator".to_owned();
        worker(&request).ok_or_else(none)?.router().do_send(router::messages::Crash(words));
        audit(&request, &user, "crash_router", "*");
        Ok(json!({"crashed": "router"}))
    })
    .await
}

fn chaos_allowed(request: &HttpRequest) -> Result<(), Error> {
    if shared(request).table().settings.server.chaos {
        return Ok(());
    }
    Err(Error::NotFound("Chaos actions are off; set server.chaos = true to allow them.".to_owned()))
}

/// The backend of this name.
fn handle(request: &HttpRequest, name: &str) -> Result<Arc<Handle>, Error> {
    shared(request).table().handles.get(name).cloned().ok_or_else(|| unknown(name))
}

/// Its actor, unless that was given up.
fn living(request: &HttpRequest, name: &str) -> Result<Addr<Backend>, Error> {
    let addr = handle(request, name)?.addr.clone();
    if addr.connected() {
        return Ok(addr);
    }
    Err(Error::Conflict(format!(
        "The actor of backend '{name}' was given up after too many crashes. \
         POST /admin/backends/{name}/resume starts it anew; do that first."
    )))
}

/// Asks an actor and waits for its answer for at most `patience`. It is also an error if the actor panics over the question.
pub(super) async fn ask<A, M>(actor: Addr<A>, message: M, patience: Duration) -> Result<M::Result, Error>
where
    A: Actor<Context: ToEnvelope<A, M>> + actix::Handler<M>,
    M: actix::Message<Result: Send> + Send + 'static,
{
    actor.send(message).timeout(patience).await.map_err(|_| Error::Internal)
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header, test::TestRequest};
    use futures_util::future::join;
    use tokio::{
        io::AsyncReadExt,
        net::TcpListener,
        time::{Instant, pause},
    };

    use super::*;
    use crate::{inbound::Shared, settings, supervision, telemetry::counts::Counts};

    #[actix::test]
    async fn an_operator_hears_what_came_of_a_probe_of_a_server_that_hangs() {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let text = settings::SMALL.replace("127.0.0.1:9", &server.local_addr().expect("bound").to_string());
        let settings = settings::parse("test", &format!("{text}admin = true\n")).expect("sound settings");
        let counts = Arc::new(Counts::default());
        let (overseer, installed) = supervision::start(settings, counts.clone());
        let request = TestRequest::default()
            .app_data(Shared::new(installed, overseer, counts, None))
            .insert_header((header::AUTHORIZATION, "Bearer t"))
            .to_http_request();
        let hangs = async {
            let (mut asked, _) = server.accept().await.expect("a probe");
            asked.read_u8().await.expect("it asks");
            // From here on time goes by as soon as nobody has anything to do.
            pause();
            (asked, Instant::now())
        };
        let (reply, (_asked, heard)) = join(probe(request, "a".to_owned().into()), hangs).await;
        assert!(heard.elapsed() > PATIENCE, "the probe itself has more patience than those who only take note");
        assert_eq!(reply.status(), 200);
    }
}
